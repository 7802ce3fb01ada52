"""JSON lines: one object a line."""

import codecs
import glob
import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

import polars as pl

from dotbias.data.columns import VALUES, Wanted, find_columns, is_wide
from dotbias.data.encodings import as_utf8
from dotbias.data.formats.table import SAMPLED_ROWS, Row, Table, at
from dotbias.data.formats.wide import widened
from dotbias.data.sources.blob import Blob, damaged
from dotbias.errors import DataError


@dataclass(frozen=True, kw_only=True)
class JsonLinesTable(Table):
    """A table of one JSON object a line.

    Args:
        blob: its bytes.
        broken: rows that are not JSON objects, once it is known that there are any.
    """

    blob: Blob
    broken: Set[int] | None = None

    def typed(self) -> pl.LazyFrame:
        """See ``Table``."""
        types = {role: pl.Int64 if role in self.integers else pl.String for role in self.places}
        return self._scan(types | dict.fromkeys(VALUES, pl.Float64) | {"time": pl.Int64})

    def text(self) -> pl.LazyFrame:
        """See ``Table``."""
        return self._scan(dict.fromkeys(self.places, pl.String)).with_row_index("row")

    def _scan(self, types: Mapping[str, type[pl.DataType]]) -> pl.LazyFrame:
        names = {role: self.columns[place] for role, place in self.places.items()}
        schema = {name: types[role] for role, name in names.items()}
        content = self.blob.content
        # Unlike the other scans this one takes every path for a pattern.
        source = content if isinstance(content, bytes) else glob.escape(str(content))
        lf = pl.scan_ndjson(source, schema=schema)
        return lf.select(**{role: pl.col(name) for role, name in names.items()})

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """See ``Table``."""
        found = []
        with self.blob.lines() as lines:
            filled = ((place, line) for place, line in enumerate(lines, 1) if line.strip())
            for number, (place, line) in zip(numbers, at(filled, numbers), strict=True):
                fault = "is not a JSON object" if number in (self.broken or ()) else ""
                values = json_object(line) or {}
                raw = {role: values.get(self.columns[k]) for role, k in self.places.items()}
                found.append(Row(place, raw, fault))
        return found

    def repaired(self, error: Exception) -> Self:
        """The table of the text in another encoding, where it is not UTF-8, or else without what is no
        object.
        """
        blob, encoding, notices = as_utf8(self.blob)
        if blob is not self.blob:
            return replace(self, blob=blob).recoded(encoding, notices)
        if self.broken is not None:
            raise damaged(self.name, self.format, error) from error
        return self._without_broken()

    def _without_broken(self) -> Self:
        """An empty object in the place of each line that is none."""
        lines = self.blob.read().split(b"\n")
        filled = [k for k, line in enumerate(lines) if line.strip()]
        broken = {row for row, k in enumerate(filled) if json_object(lines[k]) is None}
        for row in broken:
            lines[filled[row]] = b"{}"
        return replace(self, broken=broken, blob=replace(self.blob, content=b"\n".join(lines)))


def open_json_lines(blob: Blob, wanted: Wanted) -> Table:
    """The table of a text of one JSON object a line, in UTF-8."""
    head = blob.head()
    if head.startswith(codecs.BOM_UTF8):
        blob = replace(blob, content=blob.read().removeprefix(codecs.BOM_UTF8))
    lines = blob.head().decode(errors="replace").split("\n")[:SAMPLED_ROWS]
    objects = [one for line in lines if (one := json_object(line)) is not None]
    if not objects:
        raise DataError(f"{blob.name}: JSON, but not with one object on each line")
    # What few objects have may be the name of another column, misspelt.
    columns = [name for name, _ in Counter(name for one in objects for name in one).most_common()]
    reading = replace(wanted.reading, header=True)
    table = JsonLinesTable(
        name=blob.name,
        format="JSON lines",
        columns=columns,
        wanted=wanted,
        places={},
        reading=reading,
        blob=blob,
    )
    cells = [[_cell(one.get(name)) for name in columns] for one in objects]
    if is_wide(columns, True, cells, wanted):
        return widened(table, cells)
    found = find_columns(blob.name, columns, wanted)
    whole = {
        role
        for role, place in found.places.items()
        if any(type(one.get(columns[place])) in (int, float) for one in objects)
    }
    return table.located(found, whole)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def json_object(line: bytes | str) -> dict[str, Any] | None:
    """The object that a line holds, if it holds one."""
    try:
        value = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
