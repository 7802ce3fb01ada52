"""Frames: tables whose columns have types, in memory or in a binary file."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from dotbias.data.columns import Wanted, find_columns, looks_wide
from dotbias.data.formats.table import SAMPLED_ROWS, Row, Table, id_integers
from dotbias.data.formats.wide import widened
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
        found = self.text().filter(pl.col("row").is_in(list(numbers))).collect()
        return [Row(values["row"] + 1, values) for values in found.iter_rows(named=True)]


def open_frame(name: str, format: str, lf: pl.LazyFrame, wanted: Wanted) -> Table:
    """The table of a frame."""
    schema = lf.collect_schema()
    columns = schema.names()
    reading = replace(wanted.reading, header=True)
    table = FrameTable(
        name=name,
        format=format,
        columns=columns,
        wanted=wanted,
        places={},
        reading=reading,
        lf=lf,
    )
    if _is_wide(lf, schema, wanted):
        return widened(table)
    found = find_columns(name, columns, wanted)
    types = schema.dtypes()
    whole = {role for role, at in found.places.items() if types[at].is_integer()}
    return replace(
        table,
        places=found.places,
        reading=replace(reading, layout="long", passed_over=found.passed_over),
        integers=id_integers(wanted, found.places, whole),
        notices=found.notices,
    )


def _is_wide(lf: pl.LazyFrame, schema: Mapping[str, pl.DataType], wanted: Wanted) -> bool:
    if wanted.reading.layout is not None:
        return wanted.reading.layout == "wide"
    columns = list(schema)
    plain = [
        pl.col(name).cast(pl.String).fill_null("")
        if dtype.is_numeric() or dtype == pl.String
        else pl.lit("x").alias(name)
        for name, dtype in schema.items()
    ]
    if len(columns) < 4:
        return False
    sample = lf.head(SAMPLED_ROWS).select(plain).collect().rows()
    return looks_wide(columns, True, sample, wanted)


def scanned(format: str, scan: Scan) -> Callable[[Blob, Wanted], Table]:
    """What opens a binary format that Polars scans."""

    def opened(blob: Blob, wanted: Wanted) -> Table:
        content = blob.content
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        return open_frame(blob.name, format, scan(file), wanted)

    return opened


def open_pandas(frame: Any, wanted: Wanted) -> Table:
    """The table of a pandas frame, of which only the wanted columns are converted."""
    if type(frame).__module__.partition(".")[0] != "pandas" or not hasattr(frame, "columns"):
        raise DataError(
            f"cannot read ratings from a {type(frame).__name__}: pass a path or a frame"
        )
    columns = [str(column) for column in frame.columns]
    head = frame.head(SAMPLED_ROWS)
    sample = [
        ["" if (cell := str(value)) in ("nan", "NaT", "<NA>", "None") else cell for value in row]
        for row in head.itertuples(index=False)
    ]
    layout = wanted.reading.layout
    wide = layout == "wide" or (layout is None and looks_wide(columns, True, sample, wanted))
    if wide:
        places = {str(at): at for at in range(len(columns))}
        reading = wanted.reading
    else:
        places = find_columns("the frame", columns, wanted).places
        # Among the columns that are picked a number would be another column's.
        roles = {
            {"id": "item", "count": "rating"}.get(role, role): columns[places[role]]
            for role in wanted.sought
            if wanted.column(role) is not None
        }
        reading = wanted.reading.where(**roles)
    try:
        picked = {
            columns[place]: pl.from_pandas(frame.iloc[:, place])
            for place in sorted(places.values())
        }
    except (TypeError, ValueError) as error:
        raise DataError(f"the frame has a column of mixed types: {error}") from error
    given = replace(wanted, reading=reading)
    return open_frame("the frame", "pandas frame", pl.LazyFrame(picked), given)
