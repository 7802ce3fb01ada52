"""Frames: tables whose columns have types, in memory or in a binary file."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from dotbias.data.columns import IDS, Wanted, find_columns
from dotbias.data.formats.table import Row, Table
from dotbias.data.sources import Blob
from dotbias.errors import DataError

Scan = Callable[[Path | io.BytesIO], pl.LazyFrame]


@dataclass(frozen=True, kw_only=True)
class FrameTable(Table):
    """A table whose columns have types: a frame, Parquet or Arrow."""

    lf: pl.LazyFrame

    def typed(self) -> pl.LazyFrame:
        """See ``Table``."""
        return self.lf.select(pl.nth(place).alias(role) for role, place in self.places.items())

    def text(self) -> pl.LazyFrame:
        """See ``Table``."""
        return self.typed().with_row_index("row")

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """See ``Table``."""
        found = self.text().filter(pl.col("row").is_in(numbers)).collect()
        return [Row(values["row"] + 1, values) for values in found.iter_rows(named=True)]


def open_frame(name: str, format: str, lf: pl.LazyFrame, wanted: Wanted) -> FrameTable:
    """The table of a frame."""
    schema = lf.collect_schema()
    columns = schema.names()
    places = find_columns(name, columns, wanted)
    whole = {role for role, at in places.items() if schema.dtypes()[at].is_integer()}
    return FrameTable(
        name=name,
        format=format,
        columns=columns,
        wanted=wanted,
        places=places,
        integers={role: pl.Int32 for role in places if role in IDS and role in whole},
        lf=lf,
    )


def scanned(format: str, scan: Scan) -> Callable[[Blob, Wanted], FrameTable]:
    """What opens a binary format that Polars scans."""

    def opened(blob: Blob, wanted: Wanted) -> FrameTable:
        content = blob.content
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        return open_frame(blob.name, format, scan(file), wanted)

    return opened


def open_pandas(frame: Any, wanted: Wanted) -> FrameTable:
    """The table of a pandas frame, of which only the wanted columns are converted."""
    if type(frame).__module__.partition(".")[0] != "pandas" or not hasattr(frame, "columns"):
        raise DataError(
            f"cannot read ratings from a {type(frame).__name__}: pass a path or a frame"
        )
    columns = [str(column) for column in frame.columns]
    places = find_columns("the frame", columns, wanted)
    # Among the columns that are picked a number would be another column's.
    named = {r: None if column is None else columns[places[r]] for r, column in wanted.items()}
    try:
        picked = {
            columns[place]: pl.from_pandas(frame.iloc[:, place])
            for place in sorted(places.values())
        }
    except (TypeError, ValueError) as error:
        raise DataError(f"the frame has a column of mixed types: {error}") from error
    return open_frame("the frame", "pandas frame", pl.LazyFrame(picked), named)
