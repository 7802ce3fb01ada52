"""Ratings: immutable columns of user index, item index and value, with their two vocabularies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.features import Features, codes, encode
from dotbias.data.vocabulary import Index, Vocabulary
from dotbias.errors import DataError

if TYPE_CHECKING:
    from dotbias.data.split import SplitBy


LARGEST = 1e18
"""No rating may be larger: single precision overflows at its square."""


class Scale(NamedTuple):
    """Lowest and highest possible rating."""

    lowest: float
    highest: float


@dataclass(frozen=True, eq=False)
class Ratings:
    """A table of n ratings.

    Args:
        users: user index of each rating, shape (n,), int32.
        items: item index of each rating, shape (n,), int32.
        values: the rating, shape (n,), float32, finite.
        user_vocabulary: raw id of each user index; every user has a rating.
        item_vocabulary: raw id (and title) of each item index; every item has a rating.
        times: seconds since 1970 of each rating, shape (n,), int64, or None.
        declared_scale: the scale where the user named it; else None, and the scale is the range of
            these very ratings, so that a training part never learns it from held-out rows.
        features: what else is known of users, items and single ratings; see ``with_features``.
    """

    users: Index
    items: Index
    values: NDArray[np.float32]
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    times: NDArray[np.int64] | None = None
    declared_scale: Scale | None = None
    features: Features | None = None

    def __post_init__(self) -> None:
        for name in ("users", "items", "values", "times"):
            column = getattr(self, name)
            if column is not None:
                # A view, lest the array that was handed in become read-only too.
                column = column.view()
                column.setflags(write=False)
                object.__setattr__(self, name, column)

    @classmethod
    def from_columns(
        cls,
        users: pl.Series | Iterable[Any],
        items: pl.Series | Iterable[Any],
        values: pl.Series | NDArray[Any] | Iterable[float],
        *,
        times: NDArray[np.int64] | None = None,
        titles: pl.DataFrame | None = None,
        scale: tuple[float, float] | None = None,
    ) -> "Ratings":
        """Ratings from raw ids that are already known to be clean (see ``read_ratings`` for files).

        >>> r = Ratings.from_columns(["ann", "bob", "ann"], [7, 7, 9], [4.0, 5.0, 3.0])
        >>> r
        Ratings(3 ratings, 2 users, 2 items, scale 3-5)
        """
        user_vocabulary, user_index = Vocabulary.encode(_series(users))
        item_vocabulary, item_index = Vocabulary.encode(_series(items))
        if titles is not None:
            item_vocabulary = item_vocabulary.with_titles(titles)
        array = np.asarray(values, np.float32)
        if not len(array) == len(user_index) == len(item_index):
            raise DataError("users, items and ratings must be equally long")
        if len(array) == 0:
            raise DataError("there are no ratings")
        if not np.isfinite(array).all():
            raise DataError(f"rating {int(np.argmin(np.isfinite(array)))} is not a finite number")
        declared = None if scale is None else Scale(*map(float, scale))
        return cls(user_index, item_index, array, user_vocabulary, item_vocabulary, times, declared)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        low, high = self.scale
        return (
            f"Ratings({len(self):,} ratings, {self.n_users:,} users, {self.n_items:,} items, "
            f"scale {low:g}-{high:g})"
        )

    @property
    def n_users(self) -> int:
        """Number of distinct users."""
        return len(self.user_vocabulary)

    @property
    def n_items(self) -> int:
        """Number of distinct items."""
        return len(self.item_vocabulary)

    @cached_property
    def scale(self) -> Scale:
        """Lowest and highest possible rating: as declared, else the range of these ratings."""
        if self.declared_scale is not None:
            return self.declared_scale
        return Scale(float(self.values.min()), float(self.values.max()))

    @cached_property
    def global_mean(self) -> float:
        """Mean of all ratings."""
        return float(self.values.mean(dtype=np.float64))

    @cached_property
    def spread(self) -> float:
        """Standard deviation of all ratings; 1 where they are all the same."""
        return float(self.values.std(dtype=np.float64)) or 1.0

    @cached_property
    def user_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each user, shape (n_users,)."""
        return np.bincount(self.users, minlength=self.n_users)

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each item, shape (n_items,)."""
        return np.bincount(self.items, minlength=self.n_items)

    def take(self, rows: NDArray[Any]) -> "Ratings":
        """The given rows as ratings in their own right: ids that do not occur leave the vocabularies.

        Args:
            rows: row numbers, shape (m,), or a mask, shape (n,).
        """
        users, user_vocabulary, kept_users = _compact(self.users[rows], self.user_vocabulary)
        items, item_vocabulary, kept_items = _compact(self.items[rows], self.item_vocabulary)
        features = self.features
        if features is not None:
            features = features.take_rows(rows).take_sides(kept_users, kept_items)
        return replace(
            self,
            users=users,
            items=items,
            values=self.values[rows],
            times=None if self.times is None else self.times[rows],
            user_vocabulary=user_vocabulary,
            item_vocabulary=item_vocabulary,
            features=features,
        )

    def rows(self, rows: NDArray[Any]) -> "Ratings":
        """Some rows under the same vocabularies and scale: every user and item keeps its index.

        Args:
            rows: row numbers, shape (m,), or a mask, shape (n,).
        """
        return replace(
            self,
            users=self.users[rows],
            items=self.items[rows],
            values=self.values[rows],
            times=None if self.times is None else self.times[rows],
            declared_scale=self.scale,
            features=None if self.features is None else self.features.take_rows(rows),
        )

    def with_features(
        self,
        *,
        users: pl.DataFrame | None = None,
        items: pl.DataFrame | None = None,
        ratings: Mapping[str, Any] | None = None,
    ) -> "Ratings":
        """These ratings with what else is known: age and occupation, genres, the month of a rating.

        Solvers that can use it do (``Gibbs``); a split keeps it.

        Args:
            users: a frame whose first column holds user ids, and the others features (see
                ``dotbias.data.features.encode``).
            items: the same for items.
            ratings: for each named feature its value for every rating, shape (n,); equal values are
                one category.

        Raises:
            DataError: for features that fit no id, or have another length.

        >>> r = Ratings.from_columns(["ann", "bob", "ann"], [7, 7, 9], [4.0, 5.0, 3.0])
        >>> r = r.with_features(users=pl.DataFrame({"id": ["ann", "bob"], "job": ["artist", "cook"]}))
        >>> r.features.names
        (('job=artist', 'job=cook'), ())
        """
        user_table, item_table = None, None
        user_names: tuple[str, ...] = ()
        item_names: tuple[str, ...] = ()
        if users is not None:
            user_table, user_names = encode(users, self.user_vocabulary, "user")
        if items is not None:
            item_table, item_names = encode(items, self.item_vocabulary, "item")
        by_rating = {
            name: codes(column, len(self), name) for name, column in (ratings or {}).items()
        }
        names = user_names, item_names
        return replace(self, features=Features(user_table, item_table, by_rating, names))

    def split(
        self, test_size: float | int = 0.2, *, seed: int = 0, by: "SplitBy" = "rows"
    ) -> "tuple[Ratings, Ratings]":
        """Training and held-out part; see ``dotbias.data.split.split``."""
        from dotbias.data.split import split

        return split(self, test_size, seed=seed, by=by)

    def to_frame(self) -> pl.DataFrame:
        """Columns ``user``, ``item``, ``rating`` (and ``timestamp``) with the raw ids."""
        columns = {
            "user": self.user_vocabulary.ids.gather(self.users),
            "item": self.item_vocabulary.ids.gather(self.items),
            "rating": pl.Series(self.values),
        }
        if self.times is not None:
            columns["timestamp"] = pl.Series(self.times)
        return pl.DataFrame(columns)


def _series(column: pl.Series | Iterable[Any]) -> pl.Series:
    return column if isinstance(column, pl.Series) else pl.Series("id", list(column))


def _compact(
    index: Index, vocabulary: Vocabulary
) -> tuple[Index, Vocabulary, NDArray[np.int64] | None]:
    """Renumber an index column so that it uses every id of the vocabulary it comes back with.

    The last of the three are the old indices of those ids, or None where all are still there.
    """
    present = np.zeros(len(vocabulary), np.bool_)
    present[index] = True
    if present.all():
        return index, vocabulary, None
    renumbered = np.cumsum(present, dtype=np.int32) - np.int32(1)
    kept = np.flatnonzero(present)
    return renumbered[index], vocabulary.take(kept.astype(np.int32)), kept
