"""Wide tables: a row for each user and a column for each item, or the other way round."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from typing import Any, Literal, Self

import polars as pl

from dotbias.data.columns import (
    ASKED,
    Wanted,
    clipped,
    find_columns,
    holds_text,
    items_in_rows,
    names_users,
)
from dotbias.data.formats.table import Origin, Row, Table, id_integers
from dotbias.data.forms import NOTHING
from dotbias.data.names import is_about_users, usual_place
from dotbias.data.reading import NONE
from dotbias.errors import DataError


@dataclass(frozen=True, kw_only=True)
class WideTable(Table):
    """The ratings of a wide table, one after the other; blank cells, and words for nothing, are none.

    A row's number times the number of columns, and the column's number added, is the number of a cell.

    Args:
        inner: the table itself, with a role for each of its columns that is used.
        by: what the rows are.
        key: the column that says which; None where they are numbered.
        names: the ids of the columns, in the order of ``inner``'s roles.
    """

    inner: Table
    by: Literal["user", "item"]
    key: int | None
    names: Sequence[str]

    @property
    def _across(self) -> str:
        """What the columns are."""
        return "item" if self.by == "user" else "user"

    def typed(self) -> pl.LazyFrame:
        """See ``Table``."""
        return self.text().drop("row")

    def text(self) -> pl.LazyFrame:
        """See ``Table``."""
        lf = self._told_apart()
        across = self._across
        columns = [role for role in self.inner.places if role != str(self.key)]
        n = len(self.columns)
        key = pl.col("row") + 1 if self.key is None else pl.col(str(self.key))
        cells = lf.with_columns(key.alias(self.by)).unpivot(
            columns, index=["row", self.by, "extra"], variable_name=across, value_name="rating"
        )
        rating = pl.col("rating").cast(pl.String).str.strip_chars()
        place, first = pl.col(across).cast(pl.Int64), int(columns[0])
        name = pl.col(across).replace_strict(columns, self.names, return_dtype=pl.String)
        is_rating = pl.col("rating").is_not_null() & ~pl.col("rating").is_in(NOTHING)
        return (
            cells.with_columns(rating=rating, row=pl.col("row").cast(pl.Int64) * n + place)
            .filter(is_rating | (pl.col("extra").is_not_null() & (place == first)))
            .with_columns(name.alias(across))
            .sort("row")
            .select("row", "user", "item", "rating", "extra")
        )

    def _told_apart(self) -> pl.LazyFrame:
        """The rows, and ``extra`` that is not null where one is longer or shorter than the others: each
        of its cells may stand in the place of another.
        """
        wrong = pl.when(pl.col("row").is_in(self._odd)).then(pl.lit(""))
        return self.inner.text().with_columns(extra=wrong)

    @cached_property
    def _odd(self) -> list[int]:
        rows = self.inner.text().select("row").collect(engine="streaming")["row"].to_list()
        lengths = zip(rows, self.inner.lengths(rows), strict=True)
        return [row for row, length in lengths if length != len(self.columns)]

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """See ``Table``."""
        cells = [divmod(number, len(self.columns)) for number in numbers]
        lines = sorted({line for line, _ in cells})
        found = dict(zip(lines, self.inner.rows(lines), strict=True))
        columns = [at for role, at in self.inner.places.items() if role != str(self.key)]
        names = dict(zip(columns, self.names, strict=True))
        shown = []
        for line, at in cells:
            row = found[line]
            key: Any = line + 1 if self.key is None else row.values[str(self.key)]
            values = {self.by: key, self._across: names[at], "rating": row.values[str(at)]}
            shown.append(Row(row.place, values, row.fault, self.columns[at]))
        return shown

    def check_quotes(self) -> None:
        """See ``Table``."""
        self.inner.check_quotes()

    def column(self, role: str) -> str:
        """See ``Table``."""
        return self.columns[self.key] if self.key is not None and role == self.by else f"of {role}s"

    def repaired(self, error: Exception) -> Self:
        """See ``Table``."""
        inner = self.inner.repaired(error)
        found, new = inner.reading, inner.notices[len(self.inner.notices) :]
        again = replace(self, inner=inner).noted(*new)
        return again.known(encoding=found.encoding, quote=found.quote)

    def from_parts(self, origin: Origin) -> Self:
        """See ``Table``."""
        return replace(self, origin=origin, inner=self.inner.from_parts(origin))


def widened(table: Table, sample: Sequence[Sequence[str]]) -> WideTable:
    """The ratings of a table that has a row for each user, or for each item.

    Args:
        table: any table, without roles.
        sample: its first rows.
    """
    columns, given = table.columns, table.wanted.reading
    cells = list(zip_longest(*sample))[: len(columns)]
    notices = []
    by: Literal["user", "item"] = "user"
    if given.item not in (None, NONE) or (
        table.header and given.user is None and items_in_rows(columns)
    ):
        by = "item"
    key, dropped = None, set()
    if getattr(given, by) not in (None, NONE):
        key = find_columns(table.name, columns, Wanted((by,), given)).places[by]
    elif given.user is None and table.header:
        key = _key(columns, sample, by)
    elif not table.header and sample and _counts_cells(sample):
        dropped = {0}
        notices.append("column 1 counts the ratings of each row: left out")
    elif given.user is None and sample and names_users(sample):
        key = 0
    if table.header:
        dropped |= {
            at
            for at, name in enumerate(columns)
            if at != key and (is_about_users(name) or (at < len(cells) and holds_text(cells[at])))
        }
        if dropped:
            shown = ", ".join(repr(clipped(columns[at])) for at in sorted(dropped)[:_SHOWN])
            more = f" and {len(dropped) - _SHOWN:,} more" if len(dropped) > _SHOWN else ""
            notices.append(f"columns that hold no ratings are left out: {shown}{more}")
    across = [at for at in range(len(columns)) if at != key and at not in dropped]
    if not across:
        raise DataError(f"{table.name}: a wide table has a column for each item, and here is none")
    roles = [*([] if key is None else [key]), *across]
    inner = replace(table, places={str(at): at for at in roles})
    names = (
        [columns[at] for at in across]
        if table.header
        else list(map(str, range(1, len(across) + 1)))
    )
    other = "item" if by == "user" else "user"
    asked = [ASKED.fullmatch(name) for name in names]
    if all(asked):
        names = [part[1].strip() for part in asked if part]
    numbered = [other] if all(map(_INTEGER.fullmatch, names)) else []
    reading = {"layout": "wide", by: NONE if key is None else _named(table, key), other: None}
    places = {"user": across[0], "item": across[0], "rating": across[0]}
    return WideTable(
        name=table.name,
        format=f"wide {table.format}",
        columns=columns,
        wanted=table.wanted,
        places=places | {by: key or 0},
        reading=table.reading.known(**reading),
        integers=id_integers(table.wanted, {"user": 0, "item": 1}, [by, *numbered]),
        notices=(*table.notices, *notices),
        inner=inner,
        by=by,
        key=key,
        names=names,
    )


_INTEGER = re.compile(r"0|-?[1-9]\d*")
_SHOWN = 10


def _key(columns: Sequence[str], sample: Sequence[Sequence[str]], by: str) -> int | None:
    """The column that says which user, or item, each row is: by its name, or the first one if it tells
    rows apart.
    """
    if (place := usual_place(columns, by)) is not None:
        return place
    if columns[0].strip().lower() in ("", "unnamed: 0", "index", "id", "no", "nr"):
        return 0
    if not sample or is_about_users(columns[0]):
        return None
    first = [fields[0] for fields in sample if fields and fields[0]]
    if holds_text(first) and len(set(first)) < len(first):
        return None
    return 0 if names_users(sample) else None


def _named(table: Table, at: int) -> str | int:
    return table.columns[at] if table.header else at + 1


def _counts_cells(sample: Sequence[Sequence[str]]) -> bool:
    """Whether the first column says how many of the others hold a rating."""
    first = [fields[0].strip() for fields in sample if fields]
    if not all(map(str.isdecimal, first)):
        return False
    cells = Counter(cell.strip() for fields in sample for cell in fields[1:])
    codes = [cell for cell, _ in cells.most_common(3)]
    return any(
        all(
            int(fields[0]) == sum(cell.strip() not in ("", code) for cell in fields[1:])
            for fields in sample
            if fields
        )
        for code in codes
    )
