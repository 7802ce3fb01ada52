"""Kinds of files that hold tables and are not read: what they are, and what to do instead."""

import re
from typing import NamedTuple

from dotbias.errors import DataError


class Refused(NamedTuple):
    """A kind of file.

    Args:
        what: it is.
        advice: what to do instead.
        magic: what such files begin with.
        suffixes: the ends of their names, where no beginning tells.
    """

    what: str
    advice: str
    magic: re.Pattern[bytes] | None
    suffixes: tuple[str, ...] = ()


_FRAME = "and pass the frame, or save it as Parquet or CSV"
_UNPACK = "unpack it and pass the file inside"

REFUSED = (
    Refused(
        "an Excel workbook of the old kind (.xls), or one with a password",
        "save it as .xlsx without a password, or as CSV",
        re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ),
    Refused(
        "a pickle, which is never opened since it may run anything",
        f"where you trust it, load it yourself (pandas.read_pickle) {_FRAME}",
        re.compile(rb"\x80[\x02-\x05]"),
        ("pkl", "pickle", "joblib"),
    ),
    Refused(
        "a NumPy array in a file",
        "load it yourself (numpy.load) and pass the array",
        re.compile(rb"\x93NUMPY"),
    ),
    Refused("HDF5", f"load it yourself (pandas.read_hdf) {_FRAME}", re.compile(rb"\x89HDF\r\n")),
    Refused(
        "a file of MATLAB",
        "load it yourself (scipy.io.loadmat) and pass the matrix",
        re.compile(rb"MATLAB [57]"),
    ),
    Refused(
        "a file of R",
        "save it from R with write.csv",
        re.compile(rb"RD[AX][23]\n|[XA]\n\0\0\0[23]"),
    ),
    Refused(
        "a file of Stata",
        f"load it yourself (pandas.read_stata) {_FRAME}",
        re.compile(rb"<stata_dta>"),
    ),
    Refused(
        "a file of SPSS",
        f"load it yourself (pandas.read_spss) {_FRAME}",
        re.compile(rb"\$FL[23]@"),
    ),
    Refused(
        "a file of SAS",
        f"load it yourself (pandas.read_sas) {_FRAME}",
        re.compile(rb"\0{12}\xc2\xea\x81\x60"),
    ),
    Refused("Avro", f"load it yourself (polars.read_avro) {_FRAME}", re.compile(rb"Obj\x01")),
    Refused("ORC", f"load it yourself (pandas.read_orc) {_FRAME}", re.compile(rb"ORC[\0-\x20]")),
    Refused(
        "Feather of the first version",
        f"load it yourself (pandas.read_feather) {_FRAME}",
        re.compile(rb"FEA1"),
    ),
    Refused("an archive of 7-Zip", _UNPACK, re.compile(rb"7z\xbc\xaf\x27\x1c")),
    Refused("an archive of RAR", _UNPACK, re.compile(rb"Rar!\x1a\x07")),
    Refused("packed with LZ4", _UNPACK, re.compile(rb"\x04\x22\x4d\x18")),
    Refused("packed with Snappy", _UNPACK, re.compile(rb"\xff\x06\0\0sNaPpY")),
    Refused("packed with compress", _UNPACK, re.compile(rb"\x1f\x9d")),
    Refused(
        "an XML document", "save the table as CSV", re.compile(rb"(\xef\xbb\xbf)?\s*<\?xml", re.I)
    ),
    Refused(
        "a web page: a table saved as one, or what a download has left in place of the file",
        "open it in a spreadsheet and save it as CSV, or download the file itself",
        re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|table)\b", re.I),
    ),
    Refused(
        "a dump of SQL",
        "load it into a database and pass that (sqlite:///file.db?table=ratings), or export the table "
        "as CSV",
        re.compile(
            rb"(\s*(--[^\n]*|/\*.*?\*/;?|SET [^\n]*|USE [^\n]*|DROP [^\n]*)\n)*\s*"
            rb"(INSERT INTO|CREATE (TABLE|DATABASE|SCHEMA)|BEGIN;|PRAGMA |COPY )\b|-- (MySQL|PostgreSQL|"
            rb"MariaDB) |--\s*\n-- PostgreSQL",
            re.I | re.S,
        ),
        ("sql",),
    ),
    Refused(
        "a pointer of Git LFS, which stands for a file that was not fetched",
        "run git lfs pull, or download the file itself",
        re.compile(rb"version https://git-lfs"),
    ),
    Refused(
        "made of features and their values (libSVM, libFM, libFFM, Vowpal Wabbit)",
        "make rows of user, item and rating of it",
        re.compile(rb"\S+( +(\d+:)?\d+:[-+.\deE]+){2,} *\r?\n|[-+.\d]+ \|[A-Za-z]\w* [^|\n]*\|"),
    ),
    Refused("YAML", "save the table as CSV or JSON", re.compile(rb"(---\s*\n)?- \w+: ")),
    Refused("a PDF document", "export the table as CSV", re.compile(rb"%PDF-")),
    Refused(
        "a model of dotbias",
        "pass the ratings it is to be fitted to",
        re.compile(rb'.{5}\0\0\0\{.{0,200}"dotbias (model|run)', re.S),
    ),
)

# What a zip archive with such a member is.
REFUSED_ZIPS = {
    r"mimetype": Refused("an OpenDocument file (.ods)", "save the sheet as .xlsx or CSV", None),
    r"xl/workbook\.bin": Refused("a binary workbook (.xlsb)", "save it as .xlsx or CSV", None),
    r"word/document\.xml": Refused("a Word document", "save the table as CSV", None),
    r".*\.npy": Refused(
        "a file of NumPy arrays (.npz)", "load it yourself and pass the array or matrix", None
    ),
    r"(.*/)?data\.pkl": Refused(
        "a file of PyTorch, which holds a pickle", f"load it {_FRAME}", None
    ),
    r"Metadata/.*\.iwa|Index/.*\.iwa": Refused("a document of Numbers", "export it as CSV", None),
}


def refuse(name: str, head: bytes) -> None:
    """Name what a file is that begins so, where it is of a kind that is not read.

    Raises:
        DataError: then, with what to do instead.
    """
    ending = re.sub(r"(\.(gz|zst|bz2|xz))?$", "", name.lower()).rpartition(".")[2]
    for kind in REFUSED:
        if (kind.magic and kind.magic.match(head)) or ending in kind.suffixes:
            raise _error(name, kind)


def refuse_zip(name: str, members: list[str]) -> None:
    """The same of a zip archive with these members."""
    for pattern, kind in REFUSED_ZIPS.items():
        if any(re.fullmatch(pattern, member) for member in members):
            raise _error(name, kind)


def _error(name: str, kind: Refused) -> DataError:
    return DataError(f"{name} is not read, since it is {kind.what}: {kind.advice}")
