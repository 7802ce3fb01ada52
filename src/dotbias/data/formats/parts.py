"""Parts: a table in several files, as Spark and others write it."""

import codecs
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from dotbias.data.columns import Wanted
from dotbias.data.encodings import as_utf8
from dotbias.data.formats.frames import FrameTable, open_frame
from dotbias.data.formats.parquet import check_pages
from dotbias.data.formats.table import Table
from dotbias.data.sources.blob import Blob, Parts
from dotbias.errors import DataError


def open_parts(parts: Parts, wanted: Wanted, open_blob: Callable[[Blob, Wanted], Table]) -> Table:
    """The table of several files of one format, in their order.

    Parquet may be in folders of partitions (``year=2020/``), whose names are columns. Texts are put one
    after the other, with the header that all begin with once.

    Args:
        parts: the files.
        wanted: the columns.
        open_blob: what opens one file.

    Raises:
        DataError: where they are none, or of different formats.
    """
    blobs = [(blob, blob.head()) for blob in parts.blobs]
    blobs = [(blob, head) for blob, head in blobs if head.strip()]
    if not blobs:
        raise DataError(f"{parts.name}: all parts are empty")
    paths = [blob.content for blob, head in blobs if head.startswith(b"PAR1")]
    on_disk = [path for path in paths if isinstance(path, Path)]
    partitioned = any("=" in part for part in _beyond(parts))
    if len(on_disk) == len(blobs):
        for blob, _ in blobs:
            check_pages(blob)
        lf = pl.scan_parquet(on_disk, hive_partitioning=partitioned, glob=False)
        return _noted(open_frame(parts.name, "Parquet", lf, wanted), parts)
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
        lf = pl.concat([table.lf for table in frames], how="vertical_relaxed")
        first = frames[0]
        return _noted(open_frame(parts.name, first.format, lf, wanted, header=first.header), parts)
    # Each may be in an encoding of its own.
    texts = [as_utf8(blob.unpacked()[0], wanted.reading.encoding) for blob, _ in blobs]
    joined = _joined(parts.name, [text for text, _, _ in texts])
    encoding = next((encoding for _, encoding, _ in texts if encoding != "utf-8"), "utf-8")
    notices = dict.fromkeys(notice for _, _, notices in texts for notice in notices)
    given = replace(wanted, reading=wanted.reading.where(encoding=None))
    table = open_blob(joined, given).noted(*notices).known(encoding=encoding)
    return _noted(replace(table, format=tables[0].format), parts)


def _beyond(parts: Parts) -> list[str]:
    """The folders of the parts below their own."""
    return [blob.name.removeprefix(parts.name).rpartition("/")[0] for blob in parts.blobs]


def _joined(name: str, blobs: list[Blob]) -> Blob:
    texts = [blob.read().removeprefix(codecs.BOM_UTF8) for blob in blobs]
    first = texts[0].partition(b"\n")[0].rstrip(b"\r")
    # A line that all begin with is no row of theirs, if it has letters.
    repeated = first.upper() != first.lower() and all(
        text.partition(b"\n")[0].rstrip(b"\r") == first for text in texts
    )
    if repeated:
        texts[1:] = [text.partition(b"\n")[2] for text in texts[1:]]
    texts = [text if text.endswith(b"\n") else text + b"\n" for text in texts]
    starts, line = [], 1
    for blob, text in zip(blobs, texts, strict=True):
        starts.append((line, blob.name, 1 + (repeated and line > 1)))
        line += text.count(b"\n")
    return Blob(name, b"".join(texts), parts=tuple(starts))


def _noted(table: Table, parts: Parts) -> Table:
    return replace(table, notices=(*parts.notices, *table.notices))
