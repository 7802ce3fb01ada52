"""Ratings: immutable columns of user index, item index and value, with their two vocabularies."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.arrays import LARGEST as LARGEST
from dotbias.data.arrays import as_numbers, as_whole_numbers
from dotbias.data.features import Features, codes, encode, told_by_titles
from dotbias.data.kind import KINDS as KINDS
from dotbias.data.kind import Kind as Kind
from dotbias.data.reading import Reading
from dotbias.data.split import TEST_SIZE, Mask, SplitBy, folds, held_out
from dotbias.data.stripes import Columns, Side, Stripe, stripe
from dotbias.data.vocabulary import Index, Vocabulary, as_ids
from dotbias.errors import DataError, SettingError
from dotbias.shown import N_ROWS, Part, Rows, Shown

_log = logging.getLogger("dotbias")


class Scale(NamedTuple):
    """Lowest and highest possible rating."""

    lowest: float
    highest: float

    @classmethod
    def of(cls, given: Any) -> "Scale":
        """A scale that a user has named.

        Raises:
            SettingError: for anything but two finite numbers that differ in single precision, the lower
                one first.
        """
        try:
            scale = cls(*map(float, given))
        except (TypeError, ValueError):
            scale = cls(np.nan, np.nan)
        low, high = scale
        if not (-LARGEST <= low < high <= LARGEST and np.float32(low) < np.float32(high)):
            raise SettingError(
                f"scale={given!r}: scale must be (lowest, highest) possible rating, two numbers up to "
                f"{LARGEST:g} in size"
            )
        return scale


class ColdCount(NamedTuple):
    """What of a held-out part was never seen in training."""

    users: int
    items: int
    rows: int


@dataclass(frozen=True, eq=False)
class Ratings(Shown):
    """A table of n ratings, or of what people did where they rated nothing, checked once, here.

    Ratings are kept in single precision, to seven digits, and predictions are no more exact than that:
    of ratings that lie far from zero against how much they differ, such as years, subtract a constant.

    Args:
        user_indices: user index of each rating, shape (n,), int32: a place in the vocabulary, no id.
        item_indices: item index of each rating, likewise.
        values: the rating, or the count, shape (n,), float32, up to ``LARGEST`` in size.
        user_vocabulary: raw id of each user index; every user has a rating.
        item_vocabulary: raw id (and title) of each item index; every item has a rating.
        times: seconds since 1970 of each rating, shape (n,), int64, or None.
        declared_scale: the scale where the user named it; else None, and the scale is the range of
            these very ratings, so that a training part never learns it from held-out rows.
        features: what else is known of users, items and single ratings; see ``with_features`` and
            ``titled``.
        kind: what the values are: "ratings"; "counts", how often or how much (plays, purchases, hours),
            all above 0, since a pair with a count of 0 is one that is not there; or "events", of which
            only the pair is known, and every value is 1.
        reading: how they were read, where they were.

    Raises:
        DataError: for columns that are empty, not equally long, or of the wrong kind; an index that is
            not in its vocabulary; a rating that is not finite, too large, or outside the declared scale;
            a count that is not above 0, an event that is not 1.
            That pairs are different is up to whoever makes them: ``from_columns``, ``read_ratings``.
        SettingError: for a kind that is none.
    """

    user_indices: Index
    item_indices: Index
    values: NDArray[np.float32]
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    times: NDArray[np.int64] | None = None
    declared_scale: Scale | None = None
    features: Features | None = None
    kind: Kind = "ratings"
    reading: Reading | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SettingError(f"kind={self.kind!r}: kind must be one of {', '.join(KINDS)}")
        checked: dict[str, NDArray[Any]] = {
            "user_indices": _index("user", self.user_indices, self.n_users),
            "item_indices": _index("item", self.item_indices, self.n_items),
            "values": as_values(self.values, self.kind),
        }
        if self.times is not None:
            checked["times"] = as_whole_numbers(self.times, "time")
        if len({len(column) for column in checked.values()}) > 1:
            counted = ", ".join(
                f"{len(column):,} {name.replace('_indices', 's')}"
                for name, column in checked.items()
            )
            raise DataError(f"users, items and ratings must be equally long: there are {counted}")
        for name, column in checked.items():
            # A view, lest the array that was handed in become read-only too.
            column = column.view()
            column.setflags(write=False)
            object.__setattr__(self, name, column)
        if self.declared_scale is not None:
            object.__setattr__(self, "declared_scale", Scale(*self.declared_scale))
            low, high = np.array(self.declared_scale, np.float32)
            outside = (self.values < low) | (self.values > high)
            if outside.any():
                row = int(np.argmax(outside))
                raise DataError(
                    f"rating {row}, {self.values[row]:g}, is outside the scale {low:g}-{high:g}"
                )
        if self.features is not None:
            self.features.check(self.n_users, self.n_items, len(self))

    @classmethod
    def from_columns(
        cls,
        users: pl.Series | Iterable[Any],
        items: pl.Series | Iterable[Any],
        values: pl.Series | NDArray[Any] | Iterable[float] | None = None,
        *,
        kind: Kind | None = None,
        times: pl.Series | NDArray[Any] | Iterable[int] | None = None,
        titles: pl.DataFrame | None = None,
        scale: tuple[float, float] | None = None,
    ) -> "Ratings":
        """Ratings from columns of raw ids and numbers (see ``read_ratings`` for files and frames).

        Args:
            users: raw id of each rating's user, integers or text, shape (n,).
            items: raw id of each rating's item, likewise.
            values: the ratings or counts, numbers up to ``LARGEST`` in size, shape (n,); None for
                events.
            kind: what the values are: by default "ratings", and "events" where there are none.
            times: seconds since 1970 of each rating, whole numbers, shape (n,).
            titles: a frame of columns ``id``, ``title`` and perhaps ``genres``.
            scale: lowest and highest possible rating; by default the range of the ratings at hand.

        Raises:
            DataError: for a column that is none (a set, a table, masked values...), values that cannot
                be used, columns of different lengths, a rating outside the scale, or a pair of user and
                item that is there twice.
            SettingError: for a scale that is none, or of anything but ratings; a kind that is none, or
                that needs the values that are not there.

        >>> r = Ratings.from_columns(["ann", "bob", "ann"], [7, 7, 9], [4.0, 5.0, 3.0])
        >>> r
        Ratings(3 ratings, 2 users, 2 items, scale 3-5)
        >>> Ratings.from_columns(["ann", "bob", "ann"], [7, 7, 9], [31, 2, 1], kind="counts")
        Ratings(3 interactions, 2 users, 2 items, counts 1-31)
        >>> Ratings.from_columns(["ann", "bob", "ann"], [7, 7, 9])
        Ratings(3 interactions, 2 users, 2 items, events)
        """
        if kind is None:
            kind = "events" if values is None else "ratings"
        declared = declared_scale(scale, kind)
        user_vocabulary, user_index = Vocabulary.encode(as_ids(users))
        item_vocabulary, item_index = Vocabulary.encode(as_ids(items))
        if values is None:
            if kind != "events":
                raise SettingError(
                    f"kind={kind!r}: there are no values, which only events do without"
                )
            values = np.ones(len(user_index), np.float32)
        ratings = cls(
            user_index,
            item_index,
            values,  # type: ignore[arg-type]
            user_vocabulary,
            item_vocabulary,
            times,  # type: ignore[arg-type]
            declared,
            kind=kind,
        )
        repeated = ratings.repeated()
        if not repeated.is_empty():
            first, second = repeated.filter(pl.col("pair") == pl.col("pair").first())["row"].head(2)
            user = user_vocabulary.raw(user_index[first])
            item = item_vocabulary.raw(item_index[first])
            raise DataError(
                f"{kind} {first} and {second} are both of user {user!r} and item {item!r}: make one of "
                "each pair, as read_ratings does with a frame"
            )
        return ratings if titles is None else ratings.titled(item_vocabulary.with_titles(titles))

    if not TYPE_CHECKING:  # to which any name would then be one

        def __getattr__(self, name: str) -> Any:
            # What was called so would be taken for the ids, of which rec.predict(users, items) is asked.
            if name in ("users", "items"):
                side = name[:-1]
                raise AttributeError(
                    f"Ratings has no {name}: {side}_indices are places in {side}_vocabulary, and "
                    f"to_frame()[{side!r}] are ids; rec.predict takes the ratings themselves"
                )
            raise AttributeError(f"'Ratings' object has no attribute {name!r}")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        low, high = self.scale
        values = {"ratings": f"scale {low:g}-{high:g}", "counts": f"counts {low:g}-{high:g}"}
        return (
            f"Ratings({len(self):,} {self.noun}, {self.n_users:,} users, {self.n_items:,} items, "
            f"{values.get(self.kind, self.kind)})"
        )

    def _parts(self) -> Iterable[Part]:
        low, high = self.scale
        figures: dict[str, float] = {
            self.noun: len(self),
            "users": self.n_users,
            "items": self.n_items,
        }
        if self.kind != "events":
            figures |= {"lowest": low, "highest": high, "mean": self.global_mean, "std": self.std}
        yield figures
        yield Rows(self.rows(np.arange(min(N_ROWS, len(self)))).to_frame(), len(self))

    @property
    def noun(self) -> str:
        """What the rows are called: "ratings", else "interactions"."""
        return "ratings" if self.kind == "ratings" else "interactions"

    def require_ratings(self) -> None:
        """Refuse counts and events, for what predicts ratings.

        Raises:
            SettingError: for any kind but ratings.
        """
        if self.kind != "ratings":
            raise SettingError(
                f"these are {self.kind}: there is nothing to predict in stars; use ImplicitALS (on the "
                "command line --for recommend), or read them with kind='ratings' (--kind ratings)"
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
    def std(self) -> float:
        """Standard deviation of all ratings; 1 where they are all the same, to ``1 / LARGEST``."""
        std = float(self.values.std(dtype=np.float64))
        return std if std >= 1 / LARGEST else 1.0

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the pairs, the values and the features, in hexadecimal: what a fit reads, beside
        the scale. Ids do not count, nor do times.
        """
        digest = hashlib.sha256()
        for column in (self.user_indices, self.item_indices, self.values):
            digest.update(np.ascontiguousarray(column).data)
        if self.features is not None:
            self.features.add_to(digest)
        return digest.hexdigest()

    @property
    def spread(self) -> float:
        """The name of ``std`` in version 0.5."""
        return self.std

    @cached_property
    def user_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each user, shape (n_users,)."""
        return np.bincount(self.user_indices, minlength=self.n_users)

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each item, shape (n_items,)."""
        return np.bincount(self.item_indices, minlength=self.n_items)

    def chunks(self) -> Iterator[Columns]:
        """The ratings in any order: here all of them at once."""
        yield Columns(self.user_indices, self.item_indices, self.values)

    def stripes(self, side: Side) -> Iterator[Stripe]:
        """The ratings row by row: here all rows of a side are one stripe."""
        users, items = self.user_indices, self.item_indices
        if side == "user":
            yield stripe(users, items, self.values, 0, self.n_users)
        else:
            yield stripe(items, users, self.values, 0, self.n_items)

    def row_blocks(self, side: Side) -> list[slice]:
        """Which rows of a side each of its stripes is about."""
        return [slice(0, self.n_users if side == "user" else self.n_items)]

    def take(self, rows: NDArray[Any]) -> "Ratings":
        """The given rows as ratings in their own right: ids that do not occur leave the vocabularies.

        Args:
            rows: row numbers, shape (m,), or a mask, shape (n,).
        """
        users, user_vocabulary, kept_users = _compact(self.user_indices[rows], self.user_vocabulary)
        items, item_vocabulary, kept_items = _compact(self.item_indices[rows], self.item_vocabulary)
        features = self.features
        if features is not None:
            features = features.take_rows(rows).take_sides(kept_users, kept_items)
        return replace(
            self,
            user_indices=users,
            item_indices=items,
            values=self.values[rows],
            times=None if self.times is None else self.times[rows],
            user_vocabulary=user_vocabulary,
            item_vocabulary=item_vocabulary,
            features=features,
        )

    def take_users(self, chosen: NDArray[np.bool_]) -> "Ratings":
        """The ratings of some users, as ``take`` gives them.

        Args:
            chosen: which users, shape (n_users,).
        """
        return self if chosen.all() else self.take(np.flatnonzero(chosen[self.user_indices]))

    def rows(self, rows: NDArray[Any]) -> "Ratings":
        """Some rows under the same vocabularies and scale: every user and item keeps its index.

        Args:
            rows: row numbers, shape (m,), or a mask, shape (n,).
        """
        return replace(
            self,
            user_indices=self.user_indices[rows],
            item_indices=self.item_indices[rows],
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

        Solvers that can use it do (``Gibbs``); a split keeps it. What is not given stays as it is:
        genres of items and years of their titles, where these are known, need no saying.

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
        before = self.features or Features()
        user_table, item_table = before.users, before.items
        of_users, of_items = before.encoders
        if users is not None:
            user_table, of_users = encode(users, self.user_vocabulary, "user")
        if items is not None:
            item_table, of_items = encode(items, self.item_vocabulary, "item")
        by_rating = dict(before.ratings)
        for name, column in (ratings or {}).items():
            by_rating[name] = codes(column, len(self), name)
        encoders = of_users, of_items
        return replace(self, features=Features(user_table, item_table, by_rating, encoders))

    def without_features(self) -> "Ratings":
        """These ratings, of which nothing else is known, whatever titles say.

        >>> titles = pl.DataFrame({"id": [7, 9], "title": ["Heat (1995)", "Ran (1985)"]})
        >>> r = Ratings.from_columns(["ann", "bob"], [7, 9], [4.0, 5.0], titles=titles)
        >>> r.features.names, r.without_features().features
        (((), ('year',)), None)
        """
        return replace(self, features=None)

    def titled(self, items: Vocabulary) -> "Ratings":
        """These ratings with what a vocabulary of the same items says of them: titles and genres.

        Genres, and the years of titles that end in one, are features from then on, unless some of items
        were handed over; none is where it tells nothing of another item.
        """
        ratings = replace(self, item_vocabulary=items)
        before = self.features or Features(by_titles=True)
        told = told_by_titles(items) if before.by_titles or before.items is None else None
        if told is None:
            return ratings
        table, encoder = encode(told, items, "item")
        features = replace(before, items=table, encoders=(before.encoders[0], encoder))
        return replace(ratings, features=features)

    def split(
        self,
        test_size: float | int = TEST_SIZE,
        *,
        seed: int = 0,
        by: SplitBy = "rows",
        new_users: float | int = 0,
    ) -> "tuple[Ratings, Ratings]":
        """Training and held-out part of the ratings.

        Both keep the order of the rows, share none, are the whole together, and have their own
        vocabularies and scale, so that nothing of the held-out part is known in training.

        Of n rows, ``floor(n * (1 - test_size) + 0.5)`` are for training, where n counts

        - by ``"rows"``: all rows; the first of ``numpy.random.default_rng(seed).permutation(n)``.
        - by ``"user"``: each user's rows, drawn at random; at least one of each user is for training.
        - by ``"users"``: the users, drawn at random: all rows of a user go the same way, so that those
          held out are new to the model.
        - by ``"time"``: all rows; the earliest, less those as late as the first that is held out, so
          that training ends before the held-out part begins.

        By ``"last"``, each user's last row in time is held out (of several at that time, the last in
        the order of rows), except a user's only one.

        Args:
            test_size: the share of rows to hold out, between 0 and 1, or their number (by ``"user"``:
                of each user's rows; by ``"users"``: of users); not for ``"last"``.
            seed: of the random choice; without effect on ``"time"`` and ``"last"``.
            by: how to choose the held-out rows.
            new_users: share of the users, or their number, who are held out whole besides.

        Raises:
            SettingError: for a ``test_size``, ``seed``, ``by`` or ``new_users`` outside its range.
            DataError: when a part would be empty, or the ratings lack the times that ``by`` needs.

        >>> ratings = Ratings.from_columns([1, 1, 1, 2, 2], [7, 8, 9, 7, 8], [4, 3, 5, 2, 1])
        >>> train, test = ratings.split(0.4, seed=1)
        >>> train
        Ratings(3 ratings, 2 users, 2 items, scale 1-4)
        >>> test
        Ratings(2 ratings, 2 users, 2 items, scale 2-5)
        >>> cold(train, test)
        ColdCount(users=0, items=1, rows=1)
        """
        held = held_out(
            self.user_indices, self.times, test_size, seed=seed, by=by, new_users=new_users
        )
        if held.all() or not held.any():
            part = "training" if held.all() else "held-out"
            size = "" if by == "last" else f", test_size={test_size!r}"
            size += f", new_users={new_users!r}" if new_users else ""
            raise DataError(f"split(by={by!r}{size}) of {self!r} leaves no {part} rating")
        return _parts(self, held)

    def repeated(self) -> pl.DataFrame:
        """Columns ``row`` and ``pair`` of all ratings whose (user, item) pair occurs more than once."""
        pairs = self._pairs()
        pairs.sort()
        repeats = pl.Series(pairs[1:][pairs[1:] == pairs[:-1]])
        del pairs
        if repeats.is_empty():
            return pl.DataFrame(schema={"row": pl.UInt32, "pair": repeats.dtype})
        numbered = pl.DataFrame({"pair": self._pairs()}).with_row_index("row")
        return numbered.filter(pl.col("pair").is_in(repeats.implode()))

    def _pairs(self) -> NDArray[np.unsignedinteger[Any]]:
        """One number for each rating's (user, item) pair, shape (n,), in four bytes where that fits."""
        fits = self.n_users * self.n_items <= 2**32
        number: type[np.unsignedinteger[Any]] = np.uint32 if fits else np.uint64
        pairs = self.user_indices.astype(number)
        pairs *= number(self.n_items)
        pairs += self.item_indices.view(np.uint32)
        return pairs

    def to_frame(self) -> pl.DataFrame:
        """Columns ``user``, ``item``, ``rating`` (of counts ``count``, of events neither) and, where
        there are times, ``timestamp``, with the raw ids.
        """
        columns = {
            "user": self.user_vocabulary.ids.gather(self.user_indices),
            "item": self.item_vocabulary.ids.gather(self.item_indices),
        }
        if self.kind != "events":
            columns[_ONE[self.kind]] = pl.Series(self.values)
        if self.times is not None:
            columns["timestamp"] = pl.Series(self.times)
        return pl.DataFrame(columns)


def k_fold(
    ratings: Ratings, n_folds: int = 5, *, seed: int = 0, new_users: float | int = 0
) -> Iterator[tuple[Ratings, Ratings]]:
    """Training and held-out part of each fold; every row is held out in exactly one.

    The rows are ``numpy.random.default_rng(seed).permutation(n)``, cut into parts whose sizes
    differ by at most one, the larger ones first.

    Args:
        ratings: what to split.
        n_folds: number of folds, from 2 to the number of ratings.
        seed: of the random choice.
        new_users: share of the users, or their number, whom each fold holds out whole besides, drawn
            anew for each.

    Raises:
        SettingError: for ``n_folds``, ``seed`` or ``new_users`` outside its range.

    >>> ratings = Ratings.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 8, 8], [4, 3, 5, 2, 1])
    >>> [(len(train), len(test)) for train, test in k_fold(ratings, 2)]
    [(2, 3), (3, 2)]
    """
    masks = folds(ratings.user_indices, n_folds, seed=seed, new_users=new_users)
    return (_parts(ratings, held) for held in masks)


def cold(train: Ratings, test: Ratings) -> ColdCount:
    """How many users and items of ``test`` are not in ``train``, and how many rows have either."""
    users = train.user_vocabulary.indices(test.user_vocabulary.ids) < 0
    items = train.item_vocabulary.indices(test.item_vocabulary.ids) < 0
    rows = users[test.user_indices] | items[test.item_indices]
    return ColdCount(*(int(np.count_nonzero(mask)) for mask in (users, items, rows)))


def _parts(ratings: Ratings, held: Mask) -> tuple[Ratings, Ratings]:
    train, test = ratings.take(~held), ratings.take(held)
    count = cold(train, test)
    if count.rows:
        _log.info(
            "never seen in training: %s users and %s items of the held-out part, "
            "in %s of its %s %s",
            *(f"{number:,}" for number in (*count, len(test))),
            test.noun,
        )
    return train, test


def declared_scale(scale: Any, kind: Kind) -> Scale | None:
    """The scale that a user has named for values of a kind, or None where none is named.

    Raises:
        SettingError: as ``Scale.of``, and for a scale of anything but ratings.
    """
    if scale is None or kind == "ratings":
        return None if scale is None else Scale.of(scale)
    raise SettingError(
        f"scale={scale!r}: only ratings have a scale, and these are {kind}; leave it out, or pass "
        "kind='ratings' (on the command line --kind ratings)"
    )


# What one value of a kind is called.
_ONE: dict[Kind, str] = {"ratings": "rating", "counts": "count", "events": "event"}


def as_values(raw: Any, kind: Kind) -> NDArray[np.float32]:
    """A column of values of a kind, in single precision.

    Raises:
        DataError: for one that is empty, or a value that is no number or none of the kind.
    """
    noun = _ONE[kind]
    values = as_numbers(raw, noun)
    if len(values) == 0:
        raise DataError(f"there are no {kind}")
    # A comparison with NaN does not hold, and these two passes need no memory.
    if not (float(values.min()) >= -LARGEST and float(values.max()) <= LARGEST):
        row = int(np.argmin(np.abs(values) <= LARGEST))
        if not np.isfinite(values[row]):
            raise DataError(f"{noun} {row} is not a finite number")
        raise DataError(
            f"{noun} {row}, {values[row]:g}, is too large: divide all, to be at most {LARGEST:g} in size"
        )
    single: NDArray[np.float32] = values.astype(np.float32, copy=False)
    if kind == "counts" and not single.min() > 0:
        row = int(np.argmin(single > 0))
        raise DataError(
            f"count {row}, {values[row]:g}, is not above 0: leave out pairs that have nothing to count"
        )
    if kind == "events" and not (single.min() == single.max() == 1):
        row = int(np.argmax(single != 1))
        raise DataError(f"event {row}, {values[row]:g}, is not 1: pass kind='counts', or no values")
    return single


def _index(noun: str, raw: Any, n: int) -> Index:
    """A column of row numbers of a vocabulary of n ids, checked."""
    index = np.asarray(raw)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise DataError(
            f"{noun} indices must be whole numbers, shape (n,), not {index.dtype} of {index.shape}"
        )
    if len(index) and not (index.min() >= 0 and index.max() < n):
        row = int(np.argmax((index < 0) | (index >= n)))
        raise DataError(f"{noun} index {index[row]} in row {row} is not one of {n:,} {noun}s")
    return index.astype(np.int32, copy=False)


def ratings_of(
    users: tuple[Index, Vocabulary],
    items: tuple[Index, Vocabulary],
    values: NDArray[np.float32],
    scale: Scale | None,
    kind: Kind,
) -> Ratings:
    """Ratings of some of the ids of larger vocabularies, in which the others do not occur.

    Args:
        users, items: index of each rating's, and what it is an index of.
        values: the ratings.
        scale: as it was declared.
        kind: what they are.
    """
    (user_indices, user_vocabulary, _), (item_indices, item_vocabulary, _) = (
        _compact(*users),
        _compact(*items),
    )
    return Ratings(
        user_indices,
        item_indices,
        values,
        user_vocabulary,
        item_vocabulary,
        declared_scale=scale,
        kind=kind,
    )


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
