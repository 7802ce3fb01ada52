"""What every format gives: a table whose columns are known."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, Self, TypeVar

import polars as pl

from dotbias.data.columns import IDS, Found, Wanted
from dotbias.data.reading import Reading
from dotbias.data.sources.blob import damaged

_T = TypeVar("_T")

SAMPLED_ROWS = 100
"""Rows at the beginning of a text that are looked at to see what it holds."""


class Row(NamedTuple):
    """A row as it stands in its source, for messages.

    Args:
        place: line of the file or row of the frame, counted from 1.
        values: raw value of each role.
        fault: what is wrong with the row as a whole, empty where nothing is.
        column: name of the column of the value, where it is not that of the role.
        part: the file that it is in, of a table in several files.
    """

    place: int
    values: Mapping[str, Any]
    fault: str = ""
    column: str = ""
    part: str = ""


Origin = Callable[[int], tuple[str, int]]
"""From the place of a row in a whole table to the part of it, and the place there."""


@dataclass(frozen=True, kw_only=True)
class Table(ABC):
    """A source whose columns are known.

    Args:
        name: of the source, in messages.
        format: of the source, in messages.
        columns: names of all columns, or their numbers where there is no header.
        wanted: the roles (user, item, rating, time...), and what is known of the source.
        places: position among the columns of each role that was found.
        reading: how it is read, as far as that is known by now.
        integers: the smallest integers that the ids of a role may turn out to be; without an
            entry they are text.
        notices: what the user should know.
        origin: where its rows come from, if it is in several files.
    """

    name: str
    format: str
    columns: Sequence[str]
    wanted: Wanted
    places: Mapping[str, int]
    reading: Reading
    integers: Mapping[str, type[pl.DataType]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    origin: Origin | None = None

    @abstractmethod
    def typed(self) -> pl.LazyFrame:
        """A column for each role; collecting it may fail where a value is not of its type."""

    @abstractmethod
    def text(self) -> pl.LazyFrame:
        """The same as text where the source is text, and ``row``, the number of each row."""

    @abstractmethod
    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """The rows with the given ascending numbers, by their places in the whole table."""

    def shown(self, numbers: Sequence[int]) -> list[Row]:
        """Those rows by their places in the files that they are in."""
        found = self.rows(numbers)
        if self.origin is None:
            return found
        parts = (self.origin(row.place) for row in found)
        return [
            row._replace(part=part, place=place)
            for row, (part, place) in zip(found, parts, strict=True)
        ]

    def from_parts(self, origin: Origin) -> Self:
        """The table, once it is known where its rows come from."""
        return replace(self, origin=origin)

    def lengths(self, numbers: Sequence[int]) -> list[int]:
        """How many fields the rows with the given ascending numbers have."""
        return [len(self.columns)] * len(numbers)

    def check_quotes(self) -> None:  # noqa: B027 - there are quotation marks in text alone
        """Make sure that all quotation marks are where they may be.

        Raises:
            DataError: naming the row where one is not.
        """

    def repaired(self, error: Exception) -> Self:
        """A table whose ``text`` works, where that of this one failed with an error.

        Raises:
            DataError: where nothing helps.
        """
        raise damaged(self.name, self.format, error) from error

    @property
    def header(self) -> bool:
        """Whether the columns have names."""
        return bool(self.reading.header)

    def column(self, role: str) -> str:
        """The name, or number, of the column of a role."""
        return self.columns[self.places[role]]

    def without(self, role: str, *notices: str) -> Self:
        """The table without the column of a role, and why."""
        places = {known: place for known, place in self.places.items() if known != role}
        return replace(self, places=places, notices=(*self.notices, *notices))

    def noted(self, *notices: str) -> Self:
        """The table, and something more that the user should know."""
        return replace(self, notices=(*self.notices, *notices))

    def located(self, found: Found, integers: Iterable[str]) -> Self:
        """The long table, once it is known where its columns are, and which ids seem to be integers."""
        return replace(
            self,
            places=found.places,
            reading=replace(self.reading, layout="long", passed_over=found.passed_over),
            integers=id_integers(self.wanted, found.places, integers),
            notices=(*self.notices, *found.notices),
        )

    def recoded(self, encoding: str, notices: Sequence[str]) -> Self:
        """The table, whose text was in an encoding that its beginning did not show, if there are notices
        of it.
        """
        return self.noted(*notices).known(encoding=encoding) if notices else self

    def known(self, **found: Any) -> Self:
        """The table, with what is now known of the reading."""
        return replace(self, reading=self.reading.known(**found))


def id_integers(
    wanted: Wanted, places: Mapping[str, int], integers: Iterable[str]
) -> dict[str, type[pl.DataType]]:
    """Which ids are to be read as integers at first.

    Args:
        wanted: roles, and what is known of them.
        places: roles that are there.
        integers: those whose ids seem to be integers.
    """
    seem = set(integers)
    kinds: dict[str, type[pl.DataType]] = {}
    for role in places:
        given = id_type(wanted.reading, role)
        if role in IDS and given == "integers":
            kinds[role] = pl.Int64  # nothing but these will do, so none may be too large
        elif role in IDS and given is None and role in seem:
            kinds[role] = pl.Int32
    return kinds


def id_type(reading: Reading, role: str) -> str | None:
    """What the ids of a role are said to be."""
    return reading.user_ids if role == "user" else reading.item_ids


def at(items: Iterator[_T], numbers: Iterable[int]) -> Iterator[_T]:
    """The items with the given ascending numbers, as far as there are any."""
    n_passed = 0
    for number in numbers:
        yield from islice(items, number - n_passed, number - n_passed + 1)
        n_passed = number + 1
