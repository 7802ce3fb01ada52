"""What is known of users, items and single ratings beside the ratings themselves."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from dotbias.data.arrays import LARGEST, as_column
from dotbias.data.vocabulary import Index, Vocabulary, years_of
from dotbias.errors import DataError, SettingError, listed
from dotbias.shown import Shown

_log = logging.getLogger("dotbias")
TEXT = (pl.String, pl.Categorical, pl.Enum)
"""The types of text."""


@dataclass(frozen=True)
class FeatureColumn(Shown):
    """How one column of a frame becomes features.

    Args:
        name: of the column.
        kind: what it holds.
        values: of text, a feature each.
        mean, std: of numbers, which are centred and divided by it.

    Raises:
        SettingError: for values that are there twice, or numbers that no column leads to.
    """

    name: str
    kind: Literal["text", "number", "boolean"]
    values: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if len(set(self.values)) < len(self.values):
            raise SettingError(f"feature {self.name!r} has a value twice")
        if not (abs(self.mean) <= LARGEST and 1 / LARGEST <= self.std <= LARGEST):
            raise SettingError(
                f"feature {self.name!r} has the mean {self.mean:g} and the deviation {self.std:g}, "
                f"which may be {1 / LARGEST:g} to {LARGEST:g}"
            )

    @classmethod
    def learn(cls, series: pl.Series) -> "FeatureColumn":
        """What the values of a column lead to.

        Raises:
            DataError: for a column of another type, or numbers above ``LARGEST`` in size.
        """
        name = series.name
        if series.dtype in TEXT:
            values = _parts(series.cast(pl.String))["value"].unique().sort()
            return cls(name, "text", tuple(values.to_list()))
        if series.dtype == pl.Boolean:
            return cls(name, "boolean")
        if not series.dtype.is_numeric():
            raise DataError(f"feature {name!r} is {series.dtype}: give text, numbers or booleans")
        numbers = _numbers(series)
        here = numbers[np.isfinite(numbers)]
        if len(here) == 0:
            return cls(name, "number")
        std = float(here.std())
        return cls(name, "number", (), float(here.mean()), std if std >= 1 / LARGEST else 1.0)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features."""
        if self.kind == "text":
            return tuple(f"{self.name}={value}" for value in self.values)
        return (self.name,)

    def table(self, series: pl.Series) -> csr_array:
        """The features of each value, shape (n, number of names), float32.

        Raises:
            DataError: for values of another kind.
        """
        allowed = series.dtype.is_numeric() or series.dtype == pl.Null
        if self.kind == "text":
            # Numbers too: another file may hold nothing but numbers there.
            if not (allowed or series.dtype in (*TEXT, pl.Boolean)):
                self._refuse(series)
            return self._of_text(_as_text(series))
        if not (allowed or (self.kind == "boolean" and series.dtype == pl.Boolean)):
            self._refuse(series)
        number = _numbers(series)
        here = np.isfinite(number)
        if self.kind == "boolean" and not np.isin(number[here], (0, 1)).all():
            self._refuse(series)
        value = np.where(here, (number - self.mean) / self.std, 0.0)
        return csr_array(value.astype(np.float32)[:, None])

    def _refuse(self, series: pl.Series) -> None:
        """Say what a column is and what it was."""
        raise DataError(
            f"feature {self.name!r} is {series.dtype}: the model was fitted to {self._in_words} there"
        )

    @property
    def _in_words(self) -> str:
        """What it holds."""
        return {"text": "text", "number": "numbers", "boolean": "true and false"}[self.kind]

    def _of_text(self, series: pl.Series) -> csr_array:
        long = _parts(series)
        known = long.filter(pl.col("value").is_in(list(self.values)))
        if known.height < long.height:
            others = long.filter(~pl.col("value").is_in(list(self.values)))["value"].unique().sort()
            _log.warning(
                "Of feature %r training had no %s: nothing is known of it.",
                self.name,
                listed(map(repr, others)),
            )
        at = known["value"].cast(pl.Enum(self.values)).to_physical().to_numpy()
        share = (1 / np.sqrt(known["n"].to_numpy())).astype(np.float32)
        shape = (series.len(), len(self.values))
        return csr_array((share, (known["row"].to_numpy(), at)), shape=shape)


@dataclass(frozen=True)
class FeatureEncoder(Shown):
    """How a frame becomes features: learned from the users (or items) that have ratings, and the same
    for those that come later.
    """

    columns: tuple[FeatureColumn, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all features, in order."""
        return tuple(name for column in self.columns for name in column.names)

    def table(self, frame: pl.DataFrame, noun: str) -> csr_array:
        """The features of each row of a frame, shape (n, n_features), float32.

        A column that lacks counts as missing, and other columns are none of the features.

        Raises:
            DataError: when all columns lack, or one is of another kind.
        """
        here = [column for column in self.columns if column.name in frame.columns]
        if not here:
            raise DataError(
                f"{noun} features have none of the columns that the model was fitted to: "
                + listed(repr(column.name) for column in self.columns)
            )
        blocks = [
            column.table(frame[column.name])
            if column in here
            else csr_array((frame.height, len(column.names)), dtype=np.float32)
            for column in self.columns
        ]
        return csr_array(hstack(blocks, format="csr", dtype=np.float32))

    def row(self, features: Mapping[str, Any], noun: str) -> csr_array:
        """The features of one user or item, shape (1, n_features), float32.

        Raises:
            DataError: for a name that is none of a column, or a value of another kind.
        """
        known = [column.name for column in self.columns]
        for name in features:
            if name not in known:
                raise DataError(
                    f"{noun} feature {name!r} is none of those that the model was fitted to: "
                    + listed(map(repr, known))
                )
        try:
            frame = pl.DataFrame({str(name): [value] for name, value in features.items()})
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            said = str(error).partition(":")[0]
            raise DataError(f"{noun} features are no text, numbers or booleans: {said}") from None
        return self.table(frame, noun)


@dataclass(frozen=True, eq=False)
class Features(Shown):
    """Sparse features of the rows of a rating table.

    Args:
        users: shape (n_users, n_user_features), float32, or None.
        items: shape (n_items, n_item_features), float32, or None.
        ratings: for each named feature of a rating the category of each rating, shape (n,), int32.
        encoders: how the users' and the items' features came from frames.
        by_titles: whether they are what titles and genres say, and nobody has handed any over.
    """

    users: csr_array | None = None
    items: csr_array | None = None
    ratings: Mapping[str, Index] = field(default_factory=dict)
    encoders: tuple[FeatureEncoder, FeatureEncoder] = (FeatureEncoder(), FeatureEncoder())
    by_titles: bool = False

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the users' and of the items' features."""
        of_users, of_items = self.encoders
        return of_users.names, of_items.names

    def check(self, n_users: int, n_items: int, n_ratings: int) -> None:
        """Refuse features that are not those of so many users, items and ratings.

        Raises:
            DataError: naming the table.
        """
        for noun, table, n in (("user", self.users, n_users), ("item", self.items, n_items)):
            if table is not None and table.shape[0] != n:
                raise DataError(f"{noun} features have {table.shape[0]:,} rows for {n:,} {noun}s")
            if table is not None and not np.isfinite(table.data).all():
                raise DataError(f"{noun} features have a value that is not a finite number")
        for name, column in self.ratings.items():
            if column.shape != (n_ratings,) or column.dtype.kind != "i" or column.min() < 0:
                raise DataError(
                    f"rating feature {name!r} must have a category, a whole number at least 0, for each "
                    f"of {n_ratings:,} ratings"
                )

    def add_to(self, digest: Any) -> None:
        """Add all numbers, and names of ratings' features, to a digest of ``hashlib``."""
        for table in (self.users, self.items):
            parts = () if table is None else (table.indptr, table.indices, table.data)
            digest.update(f"{None if table is None else table.shape}".encode())
            for part in parts:
                digest.update(np.ascontiguousarray(part).data)
        for name, column in self.ratings.items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(column).data)

    def take_rows(self, rows: NDArray[Any]) -> "Features":
        """The features of some of the ratings, users and items as they are."""
        ratings = {name: codes[rows] for name, codes in self.ratings.items()}
        return replace(self, ratings=ratings)

    def take_sides(self, users: NDArray[Any] | None, items: NDArray[Any] | None) -> "Features":
        """The features of some of the users and items (None: of all)."""
        return replace(
            self,
            users=self.users if users is None or self.users is None else self.users[users],
            items=self.items if items is None or self.items is None else self.items[items],
        )


def encode(
    frame: pl.DataFrame, vocabulary: Vocabulary, noun: str
) -> tuple[csr_array, FeatureEncoder]:
    """Features of each user or item from a frame whose first column holds their ids.

    Text becomes one feature per value; where a text names several, separated by bars as the genres of
    MovieLens are, they share a sum of squares of 1. Booleans become 0 or 1. Numbers are centred and
    divided by their standard deviation. What is missing counts as zero, and so does an id without a
    row. An id without ratings leaves no trace (``Recommender.partial_fit`` takes it in), nor does a
    column ``title`` of items.

    Args:
        frame: ids, and a column for each feature.
        vocabulary: the users or items.
        noun: "user" or "item", for messages.

    Returns:
        Shape (len(vocabulary), n_features), float32, and how later frames become such features.

    Raises:
        DataError: for a frame without features, repeated ids, no known id, or a column of another type.
    """
    ids = ids_of(frame, noun)
    rows = vocabulary.indices(ids)
    known = np.flatnonzero(rows >= 0)
    if len(known) == 0:
        raise DataError(f"no id in column {ids.name!r} is that of any {noun} with ratings")
    refuse_repeated(ids.gather(known), noun)
    # A title names one item, and tells nothing of any other.
    no_features = [ids.name, *(["title"] if noun == "item" else [])]
    own = frame.select(pl.exclude(no_features))
    if own.width == 0:
        raise DataError(f"{noun} features are nothing but ids and titles")
    own = own[known]
    encoder = FeatureEncoder(tuple(FeatureColumn.learn(column) for column in own))
    if not encoder.names:
        raise DataError(f"no {noun} has any of the features " + listed(map(repr, own.columns)))
    table = encoder.table(own, noun)
    spread = csr_array(
        (np.ones(len(known), np.float32), (rows[known], np.arange(len(known)))),
        shape=(len(vocabulary), len(known)),
    )
    return csr_array(spread @ table), encoder


def told_by_titles(items: Vocabulary, *, few: bool = False) -> pl.DataFrame | None:
    """What is known of items by their genres, and by the years at the end of their titles, as a frame of
    features; None where neither tells anything of another item.

    Args:
        items: with titles, genres, or neither.
        few: whether what tells nothing of another of them stays: those that are to join a model may be
            a few.

    >>> films = Vocabulary(pl.Series([1, 2]), pl.Series(["Heat (1995)", "Ran (1985)"]))
    >>> told_by_titles(films).rows()
    [(1, 1995), (2, 1985)]
    """
    columns = [items.ids]
    if items.genres is not None and (few or tells(items.genres)):
        columns.append(items.genres)
    if items.titles is not None:
        years = years_of(items.titles)
        if few or years.drop_nulls().n_unique() > 1:
            columns.append(years)
    return pl.DataFrame(columns) if len(columns) > 1 else None


def tells(column: pl.Series) -> bool:
    """Whether a column may tell one row something of another: of text, values come twice on average."""
    here = column.drop_nulls()
    if column.dtype in TEXT:
        here = here.cast(pl.String).str.split("|").explode()
        here = here.filter(here != "")
        return 0 < 2 * here.n_unique() <= here.len()
    return here.len() > 0


def ids_of(frame: pl.DataFrame, noun: str) -> pl.Series:
    """The ids of a frame of features: its first column.

    Raises:
        DataError: for what is no frame of ids and features.
    """
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"{noun} features must be a Polars frame, not {type(frame).__name__}")
    if frame.width < 2:
        raise DataError(f"{noun} features need a column of ids and at least one more")
    return frame.to_series(0)


def refuse_repeated(ids: pl.Series, noun: str) -> None:
    """Refuse an id that has features twice.

    Raises:
        DataError: naming it.
    """
    twice = ids.filter(ids.is_duplicated())
    if twice.len():
        raise DataError(f"{noun} {twice[0]!r} has features twice")


def codes(column: pl.Series | Sequence[Any] | NDArray[Any], n: int, name: str) -> Index:
    """The category of each rating, shape (n,), int32: equal values get the same number.

    Raises:
        DataError: for a column of another length or type, or with missing values.
    """
    series = pl.Series(name, as_column(column, f"value of {name}"))
    if series.dtype.is_nested() or series.dtype == pl.Object:
        raise DataError(f"rating feature {name!r} is {series.dtype}: give text, numbers or dates")
    if series.len() != n:
        raise DataError(f"rating feature {name!r} has {series.len():,} values for {n:,} ratings")
    if series.null_count():
        raise DataError(f"rating feature {name!r} is missing in row {series.is_null().arg_max()}")
    return (series.rank("dense") - 1).cast(pl.Int32).to_numpy()


def _parts(series: pl.Series) -> pl.DataFrame:
    """The values that texts name between bars: ``row``, ``value`` and ``n``, how many a row names."""
    lists = pl.DataFrame({"row": np.arange(series.len()), "value": series.str.split("|")})
    long = lists.explode("value").filter(pl.col("value").is_not_null() & (pl.col("value") != ""))
    return long.unique(maintain_order=True).with_columns(n=pl.len().over("row"))


def _as_text(series: pl.Series) -> pl.Series:
    """A column as text: whole numbers without a point, also where others that are missing have made them
    floats.
    """
    if series.dtype.is_float():
        whole = series.cast(pl.Int64, strict=False)
        series = whole if (whole == series).all() else series.fill_nan(None)
    return series.cast(pl.String)


def _numbers(series: pl.Series) -> NDArray[np.float64]:
    """A column of numbers in double precision, shape (n,); what is missing is not finite.

    Raises:
        DataError: for one above ``LARGEST`` in size.
    """
    numbers = series.cast(pl.Float64).to_numpy()
    large = np.isfinite(numbers) & (np.abs(numbers) > LARGEST)
    if large.any():
        raise DataError(
            f"feature {series.name!r} has {numbers[np.argmax(large)]:g}: numbers may be up to "
            f"{LARGEST:g} in size"
        )
    return numbers
