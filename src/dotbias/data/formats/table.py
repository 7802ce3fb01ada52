"""What every format gives: a table whose columns are known."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, Self, TypeVar

import polars as pl

from dotbias.data.columns import Wanted
from dotbias.data.sources import damaged

_T = TypeVar("_T")

SAMPLED_ROWS = 100
"""Rows at the beginning of a text that are looked at to see what it holds."""


class Row(NamedTuple):
    """A row as it stands in its source, for messages.

    Args:
        place: line of the file or row of the frame, counted from 1.
        values: raw value of each role.
        fault: what is wrong with the row as a whole, empty where nothing is.
    """

    place: int
    values: Mapping[str, Any]
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Table(ABC):
    """A source whose columns are known.

    Args:
        name: of the source, in messages.
        format: of the source, in messages.
        columns: names of all columns, or their numbers where there is no header.
        wanted: the roles (user, item, rating, time...) with the column that the user named.
        places: position among the columns of each role that was found.
        header: whether the columns have names.
        integers: the smallest integers that the ids of a role may turn out to be; without an
            entry they are text.
        notices: what the user should know.
    """

    name: str
    format: str
    columns: Sequence[str]
    wanted: Wanted
    places: Mapping[str, int]
    header: bool = True
    integers: Mapping[str, type[pl.DataType]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @abstractmethod
    def typed(self) -> pl.LazyFrame:
        """A column for each role; collecting it may fail where a value is not of its type."""

    @abstractmethod
    def text(self) -> pl.LazyFrame:
        """The same as text where the source is text, and ``row``, the number of each row."""

    @abstractmethod
    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """The rows with the given ascending numbers."""

    def repaired(self, error: Exception) -> Self:
        """A table whose ``text`` works, where that of this one failed with an error.

        Raises:
            DataError: where nothing helps.
        """
        raise damaged(self.name, self.format, error) from error

    def without(self, role: str, *notices: str) -> Self:
        """The table without the column of a role, and why."""
        places = {known: place for known, place in self.places.items() if known != role}
        return replace(self, places=places, notices=(*self.notices, *notices))


def at(items: Iterator[_T], numbers: Iterable[int]) -> Iterator[_T]:
    """The items with the given ascending numbers, as far as there are any."""
    n_passed = 0
    for number in numbers:
        yield from islice(items, number - n_passed, number - n_passed + 1)
        n_passed = number + 1
