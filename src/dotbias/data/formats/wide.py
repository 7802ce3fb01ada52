"""Wide tables: a row for each user, and a column for each item."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import polars as pl

from dotbias.data.columns import Wanted, find_columns, usual_place
from dotbias.data.formats.table import Row, Table, id_integers
from dotbias.data.reading import NONE
from dotbias.errors import DataError


@dataclass(frozen=True, kw_only=True)
class WideTable(Table):
    """The ratings of a wide table, one after the other; blank cells are none.

    A row's number times the number of columns, and the column's number added, is the number of a cell.

    Args:
        inner: the table itself, with a role for each of its columns.
        user: the column of the users; None where each row is a user.
    """

    inner: Table
    user: int | None

    def typed(self) -> pl.LazyFrame:
        """See ``Table``."""
        return self.text().drop("row")

    def text(self) -> pl.LazyFrame:
        """See ``Table``."""
        lf = self._told_apart()
        items = [role for role in self.inner.places if role != str(self.user)]
        n = len(self.columns)
        names = [
            self.columns[int(role)] if self.header else str(number)
            for number, role in enumerate(items, 1)
        ]
        user = pl.col("row") + 1 if self.user is None else pl.col(str(self.user))
        cells = lf.with_columns(user=user).unpivot(
            items, index=["row", "user", "extra"], variable_name="item", value_name="rating"
        )
        rating = pl.col("rating").cast(pl.String).str.strip_chars()
        place, first = pl.col("item").cast(pl.Int64), int(items[0])
        return (
            cells.with_columns(rating=rating, row=pl.col("row").cast(pl.Int64) * n + place)
            .filter((pl.col("rating") != "") | (pl.col("extra").is_not_null() & (place == first)))
            .with_columns(item=pl.col("item").replace_strict(items, names, return_dtype=pl.String))
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
        shown = []
        for line, at in cells:
            row = found[line]
            user: Any = line + 1 if self.user is None else row.values[str(self.user)]
            values = {"user": user, "rating": row.values[str(at)]}
            shown.append(Row(row.place, values, row.fault, self.columns[at], row.part))
        return shown

    def check_quotes(self) -> None:
        """See ``Table``."""
        self.inner.check_quotes()

    def column(self, role: str) -> str:
        """See ``Table``."""
        at_hand = self.user is not None and role == "user"
        return self.columns[self.user] if at_hand else f"of {role}s"  # type: ignore[index]

    def repaired(self, error: Exception) -> Self:
        """See ``Table``."""
        return replace(self, inner=self.inner.repaired(error))


def widened(table: Table, sample: Sequence[Sequence[str]] = ()) -> WideTable:
    """The ratings of a table that has a row for each user.

    Args:
        table: any table, without roles.
        sample: first rows of one whose columns have no names.
    """
    columns, given = table.columns, table.wanted.reading
    user, notices, dropped = None, [], set()
    if given.user not in (None, NONE):
        alone = Wanted(("user",), given)
        user = find_columns(table.name, columns, alone).places["user"]
    elif given.user is None and table.header:
        user = usual_place(columns, "user")
        if user is None and columns[0].strip() in ("", "Unnamed: 0", "index"):
            user = 0
    elif sample and _counts_cells(sample):
        dropped = {0}
        notices.append("column 1 counts the ratings of each row: left out")
    items = [at for at in range(len(columns)) if at != user and at not in dropped]
    if not items:
        raise DataError(f"{table.name}: a wide table has a column for each item, and here is none")
    roles = [*([] if user is None else [user]), *items]
    inner = replace(table, places={str(at): at for at in roles})
    numbered = [] if table.header else ["item"]
    integers = id_integers(table.wanted, {"user": 0, "item": 1}, ["user", *numbered])
    return WideTable(
        name=table.name,
        format=f"wide {table.format}",
        columns=columns,
        wanted=table.wanted,
        places={"user": user or 0, "item": items[0], "rating": items[0]},
        reading=replace(
            table.reading,
            layout="wide",
            user=NONE if user is None else _named(table, user),
            item=None,
            rating=None,
        ),
        integers=integers,
        notices=(*table.notices, *notices),
        inner=inner,
        user=user,
    )


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
