"""All formats: how to tell them by their first bytes, and what opens them.

A new format is one entry here: of a binary one that Polars scans the entry is all.
"""

import codecs
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import polars as pl

from dotbias.data.columns import Wanted
from dotbias.data.encodings import MARKS
from dotbias.data.formats.frames import open_frame, open_pandas, scanned
from dotbias.data.formats.json_lines import open_json_lines
from dotbias.data.formats.table import Table
from dotbias.data.formats.text import open_text
from dotbias.data.sources import Blob, named_errors
from dotbias.errors import DataError


class Format(NamedTuple):
    """A file format.

    Args:
        magic: what files begin with, white space apart.
        suffixes: of their names.
        open: the table of a file, given the wanted columns.
        is_text: whether it is text, and none with zero bytes in it.
    """

    magic: tuple[bytes, ...]
    suffixes: tuple[str, ...]
    open: Callable[[Blob, Wanted], Table]
    is_text: bool = False


FORMATS = (
    Format((b"PAR1",), ("parquet",), scanned("Parquet", partial(pl.scan_parquet, glob=False))),
    Format(
        (b"ARROW1",),
        ("arrow", "feather", "ipc"),
        scanned("Arrow IPC", partial(pl.scan_ipc, glob=False)),
    ),
    Format((b"{", b"["), ("jsonl", "json", "ndjson"), open_json_lines, is_text=True),
    Format((b"",), ("csv", "tsv", "dat", "data"), open_text, is_text=True),
)
"""The first whose magic bytes are there opens a file."""

SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)


def open_table(content: Any, wanted: Wanted) -> Table:
    """The table in a blob or a frame, with the columns of the wanted roles.

    Raises:
        DataError: for a file that is empty, damaged, or of no known format, or a column that is missing.
    """
    if isinstance(content, pl.DataFrame | pl.LazyFrame):
        return open_frame("the frame", "Polars frame", content.lazy(), wanted)
    if not isinstance(content, Blob):
        return open_pandas(content, wanted)
    with named_errors(content.name):
        blob, packing = content.unpacked()
        head = blob.head()
        if not head.strip():
            raise DataError(f"{blob.name}: the file is empty")
        begin = head.removeprefix(codecs.BOM_UTF8).lstrip()
        known = next(known for known in FORMATS if begin.startswith(known.magic))
        wide = wanted.reading.encoding or head.startswith(MARKS)
        if known.is_text and b"\0" in head and not wide:
            raise DataError(
                f"{blob.name}: a binary file of a kind that dotbias does not read, or text that is "
                "not in UTF-8 or Windows-1252: pass encoding= (on the command line --encoding)"
            )
        table = known.open(blob, wanted)
        return replace(table, format=table.format + packing)
