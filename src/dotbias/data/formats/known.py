"""All formats: how to tell them by their first bytes, and what opens them.

A new format is one entry here: of a binary one that Polars scans the entry is all.
"""

import codecs
import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from dotbias.data.columns import Wanted
from dotbias.data.encodings import as_utf8
from dotbias.data.formats.arrow import check_messages
from dotbias.data.formats.frames import open_frame, scanned
from dotbias.data.formats.json_values import open_json
from dotbias.data.formats.matrix_market import open_matrix_market
from dotbias.data.formats.objects import open_object
from dotbias.data.formats.parquet import check_pages
from dotbias.data.formats.parts import open_parts
from dotbias.data.formats.printed import BLOCKS, PRINTED, open_blocks, open_printed
from dotbias.data.formats.table import Table
from dotbias.data.formats.text import open_text
from dotbias.data.sources.blob import Blob, Frame, Parts, named_errors
from dotbias.data.sources.refused import refuse
from dotbias.errors import DataError


class Format(NamedTuple):
    """A file format.

    Args:
        magic: what files begin with, white space apart.
        suffixes: of their names.
        open: the table of a file, given the wanted columns.
        is_text: whether it is text, and none with zero bytes in it.
        lines: what its first lines look like, where that takes more than some bytes to tell.
    """

    magic: tuple[bytes, ...]
    suffixes: tuple[str, ...]
    open: Callable[[Blob, Wanted], Table]
    is_text: bool = False
    lines: re.Pattern[bytes] | None = None

    def begins(self, head: bytes) -> bool:
        """Whether a file that begins so is of this format."""
        return head.startswith(self.magic) and (self.lines is None or bool(self.lines.match(head)))


def _arrow_stream(file: Path | io.BytesIO) -> pl.LazyFrame:
    return pl.read_ipc_stream(file).lazy()


FORMATS = (
    Format(
        (b"PAR1",),
        ("parquet",),
        scanned("Parquet", partial(pl.scan_parquet, glob=False), check_pages),
    ),
    Format(
        (b"ARROW1",),
        ("arrow", "feather", "ipc"),
        scanned("Arrow IPC", partial(pl.scan_ipc, glob=False), check_messages),
    ),
    Format(
        (b"\xff\xff\xff\xff",),
        ("arrows",),
        scanned("Arrow stream", _arrow_stream, check_messages),
    ),
    Format((b"%%MatrixMarket",), ("mtx",), open_matrix_market, is_text=True),
    Format((b"{", b"["), ("jsonl", "json", "ndjson"), open_json, is_text=True),
    Format((b"",), (), open_printed, is_text=True, lines=PRINTED),
    Format((b"",), (), open_blocks, is_text=True, lines=BLOCKS),
    Format((b"",), ("csv", "tsv", "dat", "data"), open_text, is_text=True),
)
"""The first whose magic bytes are there opens a file."""

# Endings of files that are tables among others in a folder: of workbooks and databases too.
SUFFIXES = (
    *(suffix for known in FORMATS for suffix in known.suffixes),
    "xlsx",
    "db",
    "sqlite",
    "duckdb",
)


def open_table(content: Any, wanted: Wanted) -> Table:
    """The table in what ``locate`` has found, with the columns of the wanted roles.

    Raises:
        DataError: for a file that is empty, damaged, or of no known format, or a column that is missing.
    """
    if isinstance(content, Frame):
        with named_errors(content.name):
            table: Table = open_frame(content.name, content.format, content.lf, wanted)
        return replace(table, notices=(*content.notices, *table.notices))
    if isinstance(content, Parts):
        with named_errors(content.name):
            return open_parts(content, wanted, _open_blob)
    if isinstance(content, Blob):
        return _open_blob(content, wanted)
    return open_object(content, wanted)


def _open_blob(content: Blob, wanted: Wanted) -> Table:
    with named_errors(content.name):
        blob, packing = content.unpacked()
        head = blob.head()
        refuse(blob.name, head)
        if not head.strip():
            raise DataError(f"{blob.name}: the file is empty")
        known = format_of(head)
        encoding, notices = None, content.notices
        if known.is_text:
            # The last line may break off where the head does, but not where the file does.
            whole = head if blob.size() == len(head) else head[: head.rfind(b"\n") + 1] or head
            blob, encoding, more = as_utf8(blob, wanted.reading.encoding, whole)
            notices = (*notices, *more)
            known = format_of(head := blob.head())
            if _is_binary(head):
                raise DataError(
                    f"{blob.name}: a binary file of a kind that dotbias does not read, or text that is "
                    "not in UTF-8 or Windows-1252: pass encoding= (on the command line --encoding)"
                )
        table = known.open(blob, wanted)
        return replace(
            table.known(encoding=table.reading.encoding or encoding),
            format=(content.format or table.format) + packing,
            notices=(*notices, *table.notices),
        )


def format_of(head: bytes) -> Format:
    """The format of a file that begins so."""
    begin = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return next(known for known in FORMATS if known.begins(begin))


# What text has none of, or few: a stray one is an error of its row.
_CONTROL = re.compile(rb"[\x02-\x08\x0e-\x1a\x7f]")
_MOST_CONTROL = 0.05


def _is_binary(head: bytes) -> bool:
    return b"\0" in head or len(_CONTROL.findall(head)) > _MOST_CONTROL * len(head)
