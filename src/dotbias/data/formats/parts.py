"""Parts: a table in several files, as Spark and others write it."""

import codecs
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, takewhile
from pathlib import Path

import polars as pl

from dotbias.data.columns import Wanted
from dotbias.data.encodings import as_utf8
from dotbias.data.formats.frames import FrameTable, open_frame
from dotbias.data.formats.json_lines import JsonLinesTable
from dotbias.data.formats.parquet import check_pages
from dotbias.data.formats.table import Origin, Table
from dotbias.data.formats.wide import WideTable
from dotbias.data.sources.blob import Blob, Parts
from dotbias.errors import DataError, listed


def open_parts(parts: Parts, wanted: Wanted, open_blob: Callable[[Blob, Wanted], Table]) -> Table:
    """The table of several files of one format, in their order.

    Parquet may be in folders of partitions (``year=2020/``), whose names are columns. Texts are put one
    after the other, in UTF-8, with the header that all begin with once.

    Args:
        parts: the files.
        wanted: the columns.
        open_blob: what opens one file.

    Raises:
        DataError: where they are none, or of different formats.
    """
    blobs = [(blob, blob.head()) for blob in parts.blobs]
    empty = [blob.name for blob, head in blobs if not head.strip()]
    blobs = [(blob, head) for blob, head in blobs if head.strip()]
    if not blobs:
        raise DataError(f"{parts.name}: all parts are empty")
    if empty:
        left_out = f"{len(empty):,} of {len(parts.blobs):,} parts are empty: {listed(empty)}"
        parts = replace(parts, notices=(*parts.notices, left_out))
    names = [blob.name for blob, _ in blobs]
    paths = [blob.content for blob, head in blobs if head.startswith(b"PAR1")]
    on_disk = [path for path in paths if isinstance(path, Path)]
    partitioned = any("=" in part for part in _beyond(parts))
    if len(on_disk) == len(blobs):
        for blob, _ in blobs:
            check_pages(blob)
        lf = pl.scan_parquet(on_disk, hive_partitioning=partitioned, glob=False)
        table = open_frame(parts.name, "Parquet", lf, wanted)
        scans = [pl.scan_parquet(path, glob=False) for path in on_disk]
        return _noted(table.from_parts(_of_frames(names, scans)), parts)
    if partitioned:
        raise DataError(
            f"{parts.name}: partitions whose columns are names of folders are read of Parquet only"
        )
    tables = [open_blob(blob, wanted) for blob, _ in blobs]
    if len({type(table) for table in tables}) > 1:
        formats = dict.fromkeys(table.format for table in tables)
        raise DataError(f"{parts.name}: its parts are of different formats: {', '.join(formats)}")
    frames = [table for table in tables if isinstance(table, FrameTable)]
    if len(frames) == len(tables):
        scans = [table.lf for table in frames]
        lf = pl.concat(scans, how="vertical_relaxed")
        first = frames[0]
        table = open_frame(parts.name, first.format, lf, wanted, header=first.header)
        return _noted(table.from_parts(_of_frames(names, scans)), parts)
    given = wanted.reading.encoding
    texts: list[bytes] = []
    encodings: set[str] = set()
    notices: dict[str, None] = {}  # each once
    for (blob, _), part in zip(blobs, tables, strict=True):
        text, encoding, said = _in_utf8(blob, part, given)
        texts.append(text)
        encodings |= set() if text.isascii() else {encoding}
        notices |= dict.fromkeys(said)
    joined, origin = _joined(parts.name, names, texts)
    table = open_blob(joined, replace(wanted, reading=replace(wanted.reading, encoding=None)))
    table = table.noted(*notices).from_parts(origin)
    # Where they differ, what is given back leaves each part to be recognised anew.
    known = given or (None if len(encodings) > 1 else max(encodings, default="utf-8"))
    return _noted(replace(table, format=tables[0].format).known(encoding=known), parts)


def _beyond(parts: Parts) -> list[str]:
    """The folders of the parts below their own, which is the one that was named, or else the one that
    holds all of them.
    """
    names = [blob.name for blob in parts.blobs]
    if all(name.startswith(parts.name) for name in names):
        return [name.removeprefix(parts.name).rpartition("/")[0] for name in names]
    folders = [name.split("/")[:-1] for name in names]
    n_common = sum(1 for _ in takewhile(lambda at: len(set(at)) == 1, zip(*folders, strict=False)))
    return ["/".join(folder[n_common:]) for folder in folders]


def _in_utf8(blob: Blob, table: Table, encoding: str | None) -> tuple[bytes, str, tuple[str, ...]]:
    """The text of a part, the encoding that it was in, and what the user should know."""
    text, found, notices = as_utf8(blob.unpacked()[0], encoding)
    lines = table.inner if isinstance(table, WideTable) else table
    if isinstance(lines, JsonLinesTable):  # which has made lines of an array
        text, _, _ = as_utf8(lines.blob)
    return text.read().removeprefix(codecs.BOM_UTF8), found, notices


def _joined(name: str, names: Sequence[str], texts: list[bytes]) -> tuple[Blob, Origin]:
    """The texts one after the other, and where the lines come from."""
    first = texts[0].partition(b"\n")[0].rstrip(b"\r")
    # A line that all begin with is no row of theirs, if it has letters.
    repeated = first.upper() != first.lower() and all(
        text.partition(b"\n")[0].rstrip(b"\r") == first for text in texts
    )
    if repeated:
        texts[1:] = [text.partition(b"\n")[2] for text in texts[1:]]
    texts = [text if text.endswith(b"\n") else text + b"\n" for text in texts]
    ends = list(accumulate(text.count(b"\n") for text in texts))

    def origin(line: int) -> tuple[str, int]:
        part = bisect_left(ends, line)
        before = ends[part - 1] - repeated if part else 0
        return names[part], line - before

    return Blob(name, b"".join(texts)), origin


def _of_frames(names: Sequence[str], scans: Sequence[pl.LazyFrame]) -> Origin:
    """Where the rows of frames, one after the other, come from."""

    def origin(row: int) -> tuple[str, int]:
        heights = (lf.select(pl.len()).collect().item() for lf in scans)
        ends = list(accumulate(heights))
        part = bisect_left(ends, row)
        return names[part], row - (ends[part - 1] if part else 0)

    return origin


def _noted(table: Table, parts: Parts) -> Table:
    return replace(table, notices=(*parts.notices, *table.notices))
