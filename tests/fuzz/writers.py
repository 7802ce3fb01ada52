"""Tables of ratings in every format, each with a plain reader that tells what damaged bytes say.

The readers share nothing with the package but its documented rules: they are Python's own ``csv``,
``json`` and ``sqlite3``, and pyarrow, with every check that the format allows.
"""

import bz2
import codecs
import contextlib
import csv
import datetime
import gzip
import io
import json
import lzma
import math
import random
import re
import sqlite3
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Row = tuple[Any, ...]
"""User, item, rating, and seconds since 1970 or None; None in the place of a row that is bad."""
Files = dict[str, bytes]

NAMES = ("user", "item", "rating", "timestamp")


@dataclass(frozen=True)
class Written:
    """A table in some format.

    Args:
        rows: that were written.
        content: the file.
        suffix: of its name.
        plain: what such bytes say; an error where they say nothing, or are known to be damaged.
        is_text: whether rows have lines.
        how: options that reading needs.
        header: whether columns have names.
        layout: of the table.
        n_header: number of lines that each part begins with, where it can be cut into parts.
    """

    rows: list[Row]
    content: bytes
    suffix: str
    plain: Callable[[bytes], list[Row | None]]
    is_text: bool = False
    how: Mapping[str, Any] = field(default_factory=dict)
    header: bool = True
    layout: str = "long"
    n_header: int | None = None


# Tables -------------------------------------------------------------------------------------------

SCALES = (
    [1, 2, 3, 4, 5],
    [k / 2 for k in range(1, 11)],
    list(range(1, 11)),
    list(range(5, 105, 5)),
)
TEXTS = [
    "007",
    "Ann Lee",
    "zoë",
    "Ærø",
    "u1",
    "x-2",
    "B00012",
    "+7",
    "1e3",
    "a.b",
    "007x",
    "é",
    "Q",
]
QUOTED = ['say "x"', "a,b", "x; y", "it's", '"', "t|u", "#1"]
CHINESE = ["用户7", "电影 1"]


def draw(
    rng: random.Random, texts: Sequence[str] = (), *, halves: bool = True, times: bool = True
) -> list[Row]:
    """Ratings of unequal pairs, in any order; each rating of the scale is there about equally often."""
    users, items = (_ids(rng, texts, n) for n in (rng.randint(3, 8), rng.randint(4, 12)))
    pairs = [(user, item) for user in users for item in items]
    pairs = rng.sample(pairs, min(len(pairs), rng.randint(9, 40)))
    scale = rng.choice([scale for scale in SCALES if halves or scale[0] >= 1])
    ratings = rng.sample(scale * 8, 8 * len(scale))
    if len(set(ratings[: len(pairs)])) < 4:
        ratings = scale * 8
    timed = times and rng.random() < 0.5
    return [
        (user, item, float(rating), 10**9 + rng.randrange(10**8) if timed else None)
        for (user, item), rating in zip(pairs, ratings, strict=False)
    ]


def _ids(rng: random.Random, texts: Sequence[str], n: int) -> list[Any]:
    if texts and rng.random() < 0.5:
        return rng.sample(texts, min(n, len(texts)))
    return rng.sample(range(*rng.choice([(0, 20), (101, 140), (10**5, 10**6)])), n)


def cells(row: Row, decimal: str = ".") -> list[str]:
    """A row as text; seconds where it has any."""
    user, item, rating, time = row
    shown = f"{rating:g}".replace(".", decimal)
    return [str(user), str(item), shown, *([] if time is None else [str(time)])]


def frame_of(rows: Sequence[Row]) -> pl.DataFrame:
    """A frame with a column of times where there are any."""
    frame = pl.DataFrame(rows, NAMES, orient="row")
    return frame if rows[0][3] is not None else frame.drop("timestamp")


class CannotTellError(Exception):
    """A plain reader refuses what may well be read."""


# Plain readers ------------------------------------------------------------------------------------

NOTHING = {
    *("", "NULL", "Null", "null", "\\N", "NA", "<NA>", "N/A", "n/a", "#N/A", "nan", "NaN", "NAN"),
    *("None", "NaT"),
}
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def plain_row(values: Sequence[Any], decimal: str = ".") -> Row | None:
    """The row that some cells say; None where one of them is wrong."""
    user, item, rating, *rest = values
    ids = [_plain_id(user), _plain_id(item)]
    number = _plain_number(rating, decimal)
    time = _plain_time(rest[0]) if rest else None
    if None in ids or number is None or time is False:
        return None
    return (*ids, number, time)


def _plain_id(value: Any) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return None
    text = str(value).strip()
    return None if text in NOTHING else text


def _plain_number(value: Any, decimal: str = ".") -> float | None:
    text = str(value).strip().replace(decimal, ".")
    number = float(text) if NUMBER.fullmatch(text) else math.nan
    return number if abs(number) <= 1e18 else None


def _plain_time(value: Any) -> int | bool | None:
    if value is None or str(value).strip() in NOTHING:
        return None
    number = _plain_number(value)
    with contextlib.suppress(ValueError):
        return int(str(value).strip())
    return False if number is None else math.floor(number)


def decoded(content: bytes, encoding: str | None = None) -> str:
    """Text in a named encoding, or the one that its mark tells, or UTF-8, or Windows-1252."""
    marks = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    marked = next((name for mark, name in marks.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding or marked).removeprefix("\ufeff")
    except UnicodeDecodeError:
        if encoding or marked != "utf-8":
            raise
    text = content.removeprefix(codecs.BOM_UTF8).decode("cp1252", "surrogateescape")
    return "".join(chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in text)


def of_frame(frame: pa.Table) -> list[Row | None]:
    """The rows of a table with the usual columns."""
    names = [name for name in NAMES if name != "timestamp" or name in frame.column_names]
    columns = [frame.column(name).to_pylist() for name in names]
    return [plain_row(row) for row in zip(*columns, strict=True)]


# Text ---------------------------------------------------------------------------------------------

SEPARATORS = (",", ";", "\t", "|", "::", "\t\t")


def _csv(text: str, **options: Any) -> list[list[str]]:
    """Rows of cells, in which a carriage return that ends no line is a letter like others."""
    alone = re.sub(r"\r(?!\n|\Z)", "\ue000", text)
    lines = csv.reader(io.StringIO(alone, newline=""), **options)
    return [[cell.replace("\ue000", "\r") for cell in line] for line in lines]


def separated(rng: random.Random) -> Written:
    """CSV with any separator, header, quotation marks, encoding, ends of lines, decimal mark."""
    separator = rng.choice(SEPARATORS)
    encoding = rng.choice(["utf-8"] * 3 + ["utf-8-sig", "utf-16", "cp1252", "gb18030"])
    texts = [*TEXTS, *(QUOTED if len(separator) == 1 else [])]
    texts += CHINESE if encoding != "cp1252" else []
    rows = draw(rng, texts)
    decimal = "," if separator == ";" and rng.random() < 0.3 else "."
    if all(row[2].is_integer() for row in rows):
        decimal = "."
    header, end = rng.random() < 0.6, rng.choice(["\n", "\n", "\r\n"])
    quoting: Any = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    lines = [cells(row, decimal) for row in rows]
    if header:
        lines.insert(0, list(NAMES[: len(lines[0])]))
    if len(separator) > 1:
        text = "".join(separator.join(line) + end for line in lines)
    else:
        out = io.StringIO()
        csv.writer(out, delimiter=separator, quoting=quoting, lineterminator=end).writerows(lines)
        text = out.getvalue()
    named = "gb18030" if encoding == "gb18030" else None
    n_columns = len(lines[0])

    def plain(content: bytes) -> list[Row | None]:
        said = decoded(content, named)
        options: Any = {"delimiter": separator, "strict": True}
        if len(separator) > 1:
            said, options = (
                said.replace(separator, "\x1f"),
                {"delimiter": "\x1f", "quoting": csv.QUOTE_NONE},
            )
        found = list(filter(any, _csv(said, **options)))
        is_named = header and not {*NAMES}.isdisjoint(map(str.strip, found[0]))
        return [
            plain_row(line, decimal) if len(line) == n_columns else None
            for line in found[is_named:]
        ]

    suffix = "tsv" if separator == "\t" else "csv"
    how = {} if named is None else {"encoding": named}
    n_header = None if encoding == "utf-16" else int(header)
    return Written(rows, text.encode(encoding), suffix, plain, True, how, header, n_header=n_header)


def blanks(rng: random.Random) -> Written:
    """Numbers between one or several blanks."""
    rows = draw(rng)
    text = "".join(rng.choice([" ", "  ", "\t "]).join(cells(row)) + "\n" for row in rows)
    n_columns = len(cells(rows[0]))

    def plain(content: bytes) -> list[Row | None]:
        text = decoded(content).replace("\r\n", "\n")
        lines = [re.split("[ \t]+", line.strip(" \t")) for line in text.split("\n") if line.strip()]
        usual = n_columns if len(lines) != 1 else len(lines[0])
        return [plain_row(line) if len(line) == usual else None for line in lines]

    return Written(rows, text.encode(), "txt", plain, True, header=False, n_header=0)


def wide(rng: random.Random) -> Written:
    """A row for each user, and a column for each item."""
    rows = draw(rng, TEXTS, times=False)
    while len({row[1] for row in rows}) < 4:  # fewer columns may be anything
        rows = draw(rng, TEXTS, times=False)
    users, items = (list(dict.fromkeys(row[k] for row in rows)) for k in (0, 1))
    given = {row[:2]: f"{row[2]:g}" for row in rows}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["user", *items])
    writer.writerows([user, *(given.get((user, item), "") for item in items)] for user in users)

    def plain(content: bytes) -> list[Row | None]:
        names, *lines = _csv(decoded(content), strict=True)
        found: list[Row | None] = []
        for line in filter(any, lines):
            if len(line) != len(names):
                found.append(None)
                continue
            pairs = zip(names[1:], line[1:], strict=True)
            found += [
                plain_row((line[0], item, cell)) for item, cell in pairs if re.search(r"\d", cell)
            ]  # words are no ratings
        return found

    return Written(rows, out.getvalue().encode(), "csv", plain, True, layout="wide")


def netflix(rng: random.Random) -> Written:
    """A line with an item before the lines of its users."""
    rows = [
        (user, item, rating, 86_400 * (time // 86_400) if time else None)
        for user, item, rating, time in draw(rng, halves=False)
    ]
    rows.sort(key=lambda row: row[1])
    text, last = "", None
    for user, item, rating, time in rows:
        text += f"{item}:\n" if item != last else ""
        day = (
            ""
            if time is None
            else f",{datetime.datetime.fromtimestamp(time, datetime.UTC):%Y-%m-%d}"
        )
        text += f"{user},{rating:g}{day}\n"
        last = item

    def plain(content: bytes) -> list[Row | None]:
        found: list[Row | None] = []
        item = None
        text = decoded(content)
        for line in map(str.strip, text.split("\n")):
            if line.endswith(":"):
                item = line.rstrip(": ")
            elif line:
                found.append(
                    _netflix_row(
                        item, line.split(","), timed=re.search(r",\d{4}-", text) is not None
                    )
                )
        return found

    return Written(rows, text.encode(), "txt", plain, True, header=False, layout="netflix")


def _netflix_row(item: str | None, fields: list[str], *, timed: bool) -> Row | None:
    if item is None or not 2 + timed <= len(fields) <= 3:
        return None
    row = plain_row((fields[0], item, fields[1], *([] if timed else fields[2:])))
    if row is None or not timed or not fields[2].strip():
        return row
    parts = re.fullmatch(r"(\d{4})-(\d\d?)-(\d\d?)", fields[2].strip())
    try:
        assert parts
        day = datetime.datetime(*map(int, parts.groups()), tzinfo=datetime.UTC)
    except (AssertionError, ValueError):
        return None
    return (*row[:3], int(day.timestamp()))


def _json_row(value: Any) -> Row | None:
    if not isinstance(value, dict):
        return None
    row = [value.get(name) for name in NAMES]
    return plain_row(row)


def _objects(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in zip(NAMES, row, strict=True) if value is not None}
        for row in rows
    ]


def json_lines(rng: random.Random) -> Written:
    """An object a line."""
    rows = draw(rng, [*TEXTS, *QUOTED, *CHINESE])
    ascii, encoding = rng.random() < 0.5, rng.choice(["utf-8", "utf-8", "utf-8-sig"])
    text = "".join(json.dumps(one, ensure_ascii=ascii) + "\n" for one in _objects(rows))

    def plain(content: bytes) -> list[Row | None]:
        lines = [line for line in decoded(content).split("\n") if line.strip()]
        return [_json_row(_json(line)) for line in lines]

    return Written(rows, text.encode(encoding), "jsonl", plain, True, n_header=0)


def _json(line: str) -> Any:
    """What a text holds, None where it is not JSON; of a name that is there twice the first value."""
    try:
        return json.loads(line, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    except ValueError:
        return None


def json_array(rng: random.Random) -> Written:
    """An array of objects, on a line or on several, or of rows."""
    rows = draw(rng, [*TEXTS, *QUOTED, *CHINESE])
    as_rows, indent = rng.random() < 0.3, rng.choice([None, 1])
    values: Any = [row[: 3 + (row[3] is not None)] for row in rows] if as_rows else _objects(rows)
    text = json.dumps(values, indent=indent, ensure_ascii=rng.random() < 0.5)

    def plain(content: bytes) -> list[Row | None]:
        values = _json(decoded(content))
        width = len(values[0])
        if as_rows:
            return [plain_row(row) if len(row) == width else None for row in values]
        return list(map(_json_row, values))

    return Written(rows, text.encode(), "json", plain, True, header=not as_rows)


def matrix_market(rng: random.Random) -> Written:
    """Rows and columns from 1."""
    drawn = draw(rng, times=False)
    users, items = (sorted({row[k] for row in drawn}) for k in (0, 1))
    rows = [(1 + users.index(row[0]), 1 + items.index(row[1]), *row[2:]) for row in drawn]
    size = [max(row[k] for row in rows) for k in (0, 1)]
    head = f"%%MatrixMarket matrix coordinate real general\n%\n{size[0]} {size[1]} {len(rows)}\n"
    text = head + "".join(" ".join(cells(row)) + "\n" for row in rows)

    def plain(content: bytes) -> list[Row | None]:
        first, *lines = decoded(content).split("\n")
        filled = [line for line in lines if line.strip() and not line.startswith("%")]
        entries = [re.split("[ \t]+", line.strip(" \t\r")) for line in filled]
        found = [plain_row(entry) if len(entry) == 3 else None for entry in entries]
        if not first.startswith("%%MatrixMarket"):  # nothing tells that it was one
            return [row for row in found if row] if None in found[:1] else found
        if first.split() != head.partition("\n")[0].split():
            raise ValueError(first)
        n_users, n_items, n = entries[0]
        found = [row and (str(int(row[0])), str(int(row[1])), *row[2:]) for row in found[1:]]
        for row in found:
            if row and not (1 <= int(row[0]) <= int(n_users) and 1 <= int(row[1]) <= int(n_items)):
                raise ValueError(row)
        if len(found) != int(n):
            raise ValueError(n)
        return found

    return Written(rows, text.encode(), "mtx", plain, True, header=False)


# Binary -------------------------------------------------------------------------------------------


def parquet(rng: random.Random) -> Written:
    """By Polars, or with checksums by Arrow, as Spark has them."""
    rows = draw(rng, [*TEXTS, *QUOTED, *CHINESE])
    packing: Any = rng.choice(["zstd", "snappy", "gzip", "none"])
    out = io.BytesIO()
    if rng.random() < 0.5:
        frame_of(rows).write_parquet(
            out, compression="uncompressed" if packing == "none" else packing
        )
    else:
        flags = {"write_page_checksum": True, "use_dictionary": rng.random() < 0.5}
        pq.write_table(frame_of(rows).to_arrow(), out, compression=packing, **flags)

    def plain(content: bytes) -> list[Row | None]:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
        table.validate(full=True)
        return of_frame(table)

    return Written(rows, out.getvalue(), "parquet", plain)


def arrow(rng: random.Random) -> Written:
    """Files and streams."""
    rows = draw(rng, [*TEXTS, *QUOTED, *CHINESE])
    packing: Any = rng.choice(["uncompressed", "zstd", "lz4"])
    is_file = rng.random() < 0.5
    out = io.BytesIO()
    write = frame_of(rows).write_ipc if is_file else frame_of(rows).write_ipc_stream
    write(out, compression=packing)

    def plain(content: bytes) -> list[Row | None]:
        try:
            table = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(content).read_all()
        except OSError as error:
            if "flatbuffer" in str(error):  # parts that nobody needs are looked at too
                raise CannotTellError from error
            raise
        table.validate(full=True)
        return of_frame(table)

    return Written(rows, out.getvalue(), "arrow" if is_file else "arrows", plain)


def _checked(_: bytes) -> list[Row | None]:
    raise ValueError("checksums tell every change")


def workbook(rng: random.Random) -> Written:
    """A sheet."""
    rows = draw(rng, [*TEXTS, *QUOTED, *CHINESE])
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_formulas": False}) as book:
        book.set_properties({"created": datetime.datetime(2020, 1, 1)})
        sheet = book.add_worksheet("ratings")
        frame = frame_of(rows)
        for k, line in enumerate([tuple(frame.columns), *frame.rows()]):
            sheet.write_row(k, 0, line)
    return Written(rows, out.getvalue(), "xlsx", _checked)


def sqlite(rng: random.Random) -> Written:
    """A table of ratings."""
    frame = frame_of(rows := draw(rng, [*TEXTS, *QUOTED, *CHINESE]))
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE ratings ({', '.join(frame.columns)})")
    marks = ", ".join("?" * frame.width)
    connection.executemany(f"INSERT INTO ratings VALUES ({marks})", frame.rows())
    connection.commit()
    content = bytes(connection.serialize())
    connection.close()

    def plain(content: bytes) -> list[Row | None]:
        with contextlib.closing(sqlite3.connect(":memory:")) as copy:
            copy.deserialize(content)
            faults = copy.execute("PRAGMA integrity_check").fetchall()
            if faults != [("ok",)]:
                raise ValueError(faults)
            found = copy.execute(f"SELECT {', '.join(frame.columns)} FROM ratings").fetchall()
        return list(map(plain_row, found))

    return Written(rows, content, "db", plain)


@cache
def _duck(seed: int) -> tuple[list[Row], bytes]:
    """One of a few, for each takes long to write."""
    rows = draw(random.Random(seed), [*TEXTS, *QUOTED, *CHINESE])
    frame = frame_of(rows)  # noqa: F841  (DuckDB finds it by its name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ratings.duckdb")
        with duckdb.connect(path) as connection:
            connection.execute("CREATE TABLE ratings AS FROM frame")
        return rows, path.read_bytes()


def duck(rng: random.Random) -> Written:
    """A table of ratings."""
    rows, content = _duck(rng.randrange(4))

    def plain(content: bytes) -> list[Row | None]:
        """As DuckDB reads it: its checksums are the same whatever the order of a block's words."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "ratings.duckdb")
            path.write_bytes(content)
            with duckdb.connect(path, read_only=True) as connection:
                return list(map(plain_row, connection.execute("FROM ratings").fetchall()))

    return Written(rows, content, "duckdb", plain)


FORMATS: dict[str, Callable[[random.Random], Written]] = {
    "CSV": separated,
    "blanks": blanks,
    "wide": wide,
    "Netflix": netflix,
    "JSON lines": json_lines,
    "JSON array": json_array,
    "MatrixMarket": matrix_market,
    "Parquet": parquet,
    "Arrow": arrow,
    "workbook": workbook,
    "SQLite": sqlite,
    "DuckDB": duck,
}

# Containers ---------------------------------------------------------------------------------------


def _zip(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _unzip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(archive.namelist()[0])


def _tar(mode: str) -> Callable[[str, bytes], bytes]:
    def tar(name: str, content: bytes) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        return out.getvalue()

    return tar


def _untar(content: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        file = archive.extractfile(archive.getmembers()[0])
        assert file is not None
        return file.read()


def _packed(pack: Callable[[bytes], bytes]) -> Callable[[str, bytes], bytes]:
    return lambda _, content: pack(content)


CONTAINERS: dict[str, tuple[Callable[[str, bytes], bytes], Callable[[bytes], bytes]]] = {
    "": (lambda _, content: content, lambda content: content),
    "gz": (_packed(lambda content: gzip.compress(content, mtime=0)), gzip.decompress),
    "bz2": (_packed(bz2.compress), bz2.decompress),
    "xz": (_packed(lzma.compress), lzma.decompress),
    "zst": (_packed(zstd.compress), zstd.decompress),
    "zip": (_zip, _unzip),
    "tar": (_tar("w"), _untar),
    "tar.gz": (_tar("w:gz"), lambda content: _untar(gzip.decompress(content))),
}
"""By their ending: how one file becomes another, and back."""

NEVER_PACKED = ("DuckDB",)


# Objects ------------------------------------------------------------------------------------------

OBJECTS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "frame": lambda frame: frame,
    "lazy frame": lambda frame: frame.lazy(),
    "pandas": lambda frame: frame.to_pandas(),
    "Arrow table": lambda frame: frame.to_arrow(),
    "tuples": lambda frame: frame.rows(),
    "dictionaries": lambda frame: frame.to_dicts(),
    "columns": lambda frame: frame.to_dict(as_series=False),
    "array": lambda frame: np.array(frame.rows(), object),
}
