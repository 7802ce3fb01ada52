"""Ratings row by row: consecutive users with all their ratings, or consecutive items."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from dotbias.data.vocabulary import Index

Side: TypeAlias = Literal["user", "item"]
OTHER: dict[Side, Side] = {"user": "item", "item": "user"}

T = TypeVar("T")


class Columns(NamedTuple):
    """Some ratings.

    Args:
        users, items: their indices, int32, shape (n,).
        values: the ratings, float32, shape (n,).
    """

    users: Index
    items: Index
    values: NDArray[np.float32]

    @classmethod
    def empty(cls, n: int, dtype: type[np.floating]) -> "Columns":
        """Room for ratings, whose values are of another precision, if need be."""
        return cls(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, dtype))

    def part(self, rows: slice) -> "Columns":
        """Some of the rows, as views."""
        return Columns(self.users[rows], self.items[rows], self.values[rows])

    def of(self, side: Side) -> Index:
        """The indices of one side."""
        return self.users if side == "user" else self.items


class Stripe(NamedTuple):
    """Consecutive rows of one side with all their ratings, as in a compressed sparse table.

    Args:
        first: index of the first row.
        starts: where each row's ratings start, and the end of the last's: shape (n_rows + 1,), int64.
        partners: index on the other side of each rating, int32.
        values: the ratings, float32.
    """

    first: int
    starts: NDArray[np.int64]
    partners: Index
    values: NDArray[np.float32]

    @property
    def rows(self) -> slice:
        """Where they are among the rows of their side."""
        return slice(self.first, self.first + len(self.starts) - 1)


def stripe(
    own: Index, partners: Index, values: NDArray[np.float32], first: int, n_rows: int
) -> Stripe:
    """The ratings of some rows, sorted by row; those of a row stay in their order.

    Args:
        own: row of each rating, from ``first``, shape (n,).
        partners, values: the ratings, each of shape (n,).
        first: the first row.
        n_rows: how many rows there are.
    """
    own = own - np.int32(first) if first else own
    table = coo_array((values, (own, partners)), (n_rows, int(partners.max(initial=0)) + 1))
    table.has_canonical_format = True  # else a pair that is there twice would be added up
    by_row = table.tocsr()
    # The types that folding in has too, lest loops be compiled for both.
    starts = by_row.indptr.astype(np.int64, copy=False)
    return Stripe(first, starts, by_row.indices.astype(np.int32, copy=False), by_row.data)


def ahead(source: Iterable[T]) -> Iterator[T]:
    """The same, each made in a thread of its own while the one before it is in use.

    What is made and not taken any more is made to its end, and an error comes up where its item would.
    """
    rest = iter(source)
    with ThreadPoolExecutor(1, "dotbias-ahead") as maker:
        coming = maker.submit(next, rest, _END)
        while (item := coming.result()) is not _END:
            coming = maker.submit(next, rest, _END)
            yield item  # type: ignore[misc]


_END = object()
