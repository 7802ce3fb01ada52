"""Frames: tables whose columns have types, in memory or in a binary file."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from dotbias.data.columns import Wanted, find_columns, is_wide
from dotbias.data.formats.table import SAMPLED_ROWS, Row, Table
from dotbias.data.formats.wide import widened
from dotbias.data.names import only_numbered
from dotbias.data.sources.blob import Blob

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
        found = self.text().filter(pl.col("row").is_in(list(numbers))).collect()
        return [Row(values["row"] + 1, values) for values in found.iter_rows(named=True)]


def open_frame(
    name: str, format: str, lf: pl.LazyFrame, wanted: Wanted, *, header: bool = True
) -> Table:
    """The table of a frame, whose columns have names or, as in a text without a header, none."""
    schema = lf.collect_schema()
    columns, sample = schema.names(), None
    header = header and not only_numbered(columns)
    if not header:
        columns = [str(number) for number in range(1, len(schema) + 1)]
        sample = [
            ["" if cell is None else str(cell) for cell in row]
            for row in lf.head(SAMPLED_ROWS).collect().iter_rows()
        ]
    reading = replace(wanted.reading, header=header)
    table = FrameTable(
        name=name,
        format=format,
        columns=columns,
        wanted=wanted,
        places={},
        reading=reading,
        lf=lf,
    )
    if header and (len(columns) >= 4 or wanted.reading.layout == "wide"):
        cells = _cells(lf, schema)
        if is_wide(columns, True, cells, wanted):
            return widened(table, cells)
    found = find_columns(name, columns, wanted, sample=sample)
    types = schema.dtypes()
    whole = {role for role, at in found.places.items() if types[at].is_integer()}
    return table.located(found, whole)


def _cells(lf: pl.LazyFrame, schema: Mapping[str, pl.DataType]) -> list[list[str]]:
    """The first rows as text, in which x stands for what is neither text, a number nor a truth value."""
    plain = [
        pl.col(name).cast(pl.String).fill_null("")
        if dtype.is_numeric() or dtype in (pl.String, pl.Boolean)
        else pl.lit("x").alias(name)
        for name, dtype in schema.items()
    ]
    return list(map(list, lf.head(SAMPLED_ROWS).select(plain).collect().iter_rows()))


def scanned(
    format: str, scan: Scan, check: Callable[[Blob], None] = lambda _: None
) -> Callable[[Blob, Wanted], Table]:
    """What opens a binary format that Polars scans.

    Args:
        format: in messages.
        scan: by Polars.
        check: what Polars does not look at.
    """

    def opened(blob: Blob, wanted: Wanted) -> Table:
        check(blob)
        content = blob.content
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        return open_frame(blob.name, format, scan(file), wanted)

    return opened
