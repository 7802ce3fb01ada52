"""What is known of users, items and single ratings beside the ratings themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from dotbias.data.arrays import as_column
from dotbias.data.vocabulary import Index, Vocabulary
from dotbias.errors import DataError, listed
from dotbias.shown import Shown


@dataclass(frozen=True, eq=False)
class Features(Shown):
    """Sparse features of the rows of a rating table.

    Args:
        users: shape (n_users, n_user_features), float32, or None.
        items: shape (n_items, n_item_features), float32, or None.
        ratings: for each named feature of a rating the category of each rating, shape (n,), int32.
        names: names of the users' and of the items' features.
    """

    users: csr_array | None = None
    items: csr_array | None = None
    ratings: Mapping[str, Index] = field(default_factory=dict)
    names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

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
        return Features(self.users, self.items, ratings, self.names)

    def take_sides(self, users: NDArray[Any] | None, items: NDArray[Any] | None) -> "Features":
        """The features of some of the users and items (None: of all)."""
        return Features(
            self.users if users is None or self.users is None else self.users[users],
            self.items if items is None or self.items is None else self.items[items],
            self.ratings,
            self.names,
        )


def encode(
    frame: pl.DataFrame, vocabulary: Vocabulary, noun: str
) -> tuple[csr_array, tuple[str, ...]]:
    """Features of each user or item from a frame whose first column holds their ids.

    Text becomes one feature per value; where a text names several, separated by bars as the genres of
    MovieLens are, they share a sum of squares of 1. Booleans become 0 or 1. Numbers are centred and
    divided by their standard deviation. What is missing counts as zero, and so does an id without a
    row.

    Args:
        frame: ids, and a column for each feature.
        vocabulary: the users or items.
        noun: "user" or "item", for messages.

    Returns:
        Shape (len(vocabulary), n_features), float32, and the features' names.

    Raises:
        DataError: for a frame without features, repeated ids, no known id, or a column of another type.
    """
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"{noun} features must be a Polars frame, not {type(frame).__name__}")
    if frame.width < 2:
        raise DataError(f"{noun} features need a column of ids and at least one more")
    ids, columns = frame.to_series(0), frame.columns[1:]
    rows = vocabulary.indices(ids)
    known = np.flatnonzero(rows >= 0)
    if len(known) == 0:
        raise DataError(f"no id in column {frame.columns[0]!r} is that of any {noun} with ratings")
    if len(np.unique(rows[known])) < len(known):
        twice = np.flatnonzero(np.bincount(rows[known]) > 1)[0]
        raise DataError(f"{noun} {vocabulary.raw(int(twice))!r} has features twice")
    blocks, names = [], []
    for column in columns:
        series = frame[column].gather(known)
        if series.dtype == pl.String:
            block, values = _text(series)
        elif series.dtype == pl.Boolean or series.dtype.is_numeric():
            block, values = _number(series), [""]
        else:
            raise DataError(f"feature {column!r} is {series.dtype}: give text, numbers or booleans")
        blocks.append(block)
        names += [f"{column}={value}" if value else column for value in values]
    if not names:
        raise DataError(f"no {noun} has any of the features " + listed(map(repr, columns)))
    table = csr_array(hstack(blocks, format="csr", dtype=np.float32))
    spread = csr_array(
        (np.ones(len(known), np.float32), (rows[known], np.arange(len(known)))),
        shape=(len(vocabulary), len(known)),
    )
    return csr_array(spread @ table), tuple(names)


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


def _text(series: pl.Series) -> tuple[csr_array, list[str]]:
    lists = pl.DataFrame({"row": np.arange(series.len()), "value": series.str.split("|")})
    long = lists.explode("value").filter(pl.col("value").is_not_null() & (pl.col("value") != ""))
    long = long.unique(maintain_order=True).with_columns(n=pl.len().over("row"))
    values = sorted(long["value"].unique().to_list())
    at = long["value"].cast(pl.Enum(values)).to_physical().to_numpy()
    share = 1 / np.sqrt(long["n"].to_numpy())
    shape = (series.len(), len(values))
    return csr_array((share.astype(np.float32), (long["row"].to_numpy(), at)), shape=shape), values


def _number(series: pl.Series) -> csr_array:
    number = series.cast(pl.Float64).to_numpy()
    here = np.isfinite(number)
    if series.dtype == pl.Boolean:
        value = np.where(here, number, 0)
    else:
        std = number[here].std() if here.any() else 0.0
        value = (
            np.where(here, number - number[here].mean(), 0) / (std or 1.0) if here.any() else number
        )
        value = np.nan_to_num(value)
    return csr_array(value.astype(np.float32)[:, None])
