"""Splits: every way to hold out a part of the ratings, exact and repeatable.

What is held out is a mask over the rows; ``Ratings.split`` and ``k_fold`` make two parts of it.
"""

import numbers
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.errors import DataError, SettingError
from dotbias.settings import generator

SplitBy = Literal["rows", "user", "users", "time", "last"]
Mask = NDArray[np.bool_]

TEST_SIZE = 0.2


def held_out(
    users: Index,
    times: NDArray[np.int64] | None,
    test_size: float | int,
    *,
    seed: int,
    by: SplitBy,
    new_users: float | int = 0,
) -> Mask:
    """Which rows ``Ratings.split`` holds out, shape (n,).

    Args:
        users: user of each row, shape (n,).
        times: time of each row, shape (n,), or None.
        test_size, seed, by, new_users: as for ``Ratings.split``.

    Raises:
        SettingError: for a setting outside its range.
        DataError: when there are no times, and ``by`` needs them.
    """
    if by not in get_args(SplitBy):
        known = ", ".join(map(repr, get_args(SplitBy)))
        raise SettingError(f"split(by={by!r}): by must be one of {known}")
    if by == "last" and test_size != TEST_SIZE:
        raise SettingError(
            f"split(test_size={test_size!r}, by='last'): by 'last' holds out one rating of each "
            "user; leave test_size out"
        )
    if by != "last" and not _legal(test_size):
        raise SettingError(
            f"split(test_size={test_size!r}): test_size must be a share above 0 and below 1, or a "
            "whole number at least 1"
        )
    _check_new_users(new_users)
    rng = generator(seed)
    held = _by(users, times, test_size, rng, by)
    return held | _of_users(users, new_users, rng) if new_users else held


def _by(
    users: Index,
    times: NDArray[np.int64] | None,
    test_size: float | int,
    rng: np.random.Generator,
    by: SplitBy,
) -> Mask:
    if by == "users":
        return _of_users(users, test_size, rng)
    n, counts = len(users), np.bincount(users)
    if by == "rows":
        return _mask(rng.permutation(n)[_n_train(n, test_size) :], n)
    if by == "user":
        return _beyond(_n_train(counts, test_size), rng.permutation(n), users)
    if times is None:
        raise DataError(
            f"split(by={by!r}) needs the time of each rating, and these ratings have none; read "
            "them with their time column, or split by 'rows', 'user' or 'users'"
        )
    if by == "time":
        never = np.iinfo(np.int64).max
        late: Mask = times >= np.sort(times)[_n_train(n, test_size) :].min(initial=never)
        return late
    return _beyond(counts - 1, times, users)


def folds(users: Index, n_folds: int, *, seed: int, new_users: float | int = 0) -> Iterator[Mask]:
    """Which rows each fold of ``k_fold`` holds out, shape (n,) each.

    Raises:
        SettingError: for ``n_folds`` outside its range.
    """
    n = len(users)
    if not isinstance(n_folds, numbers.Integral) or not 2 <= n_folds <= n:
        raise SettingError(
            f"k_fold(n_folds={n_folds!r}): n_folds must be a whole number from 2 to {n:,}, the "
            "number of ratings"
        )
    _check_new_users(new_users)
    rng = generator(seed)
    held = (_mask(part, n) for part in np.array_split(rng.permutation(n), n_folds))
    if not new_users:
        return held
    return (mask | _of_users(users, new_users, rng) for mask in held)


def _check_new_users(new_users: float | int) -> None:
    if new_users != 0 and not _legal(new_users):
        raise SettingError(
            f"new_users={new_users!r}: new_users must be a share of the users, at least 0 and below "
            "1, or their number"
        )


def _legal(test_size: float | int) -> bool:
    if isinstance(test_size, bool):
        return False
    if isinstance(test_size, numbers.Integral):
        return test_size >= 1
    return isinstance(test_size, numbers.Real) and 0 < test_size < 1


def _n_train(n: int | NDArray[np.int64], test_size: float | int) -> NDArray[np.int64]:
    """How many of n rows are for training, for one n or an array of them."""
    if isinstance(test_size, numbers.Integral):
        return np.maximum(n - np.int64(min(test_size, np.iinfo(np.int64).max)), 0)
    return np.floor(n * (1 - test_size) + 0.5).astype(np.int64)


def _mask(rows: NDArray[np.int64], n: int) -> Mask:
    mask = np.zeros(n, np.bool_)
    mask[rows] = True
    return mask


def _of_users(users: Index, test_size: float | int, rng: np.random.Generator) -> Mask:
    """All rows of a share (or number) of the users who have any, drawn at random."""
    present = np.flatnonzero(np.bincount(users))
    drawn = rng.permutation(present)[_n_train(len(present), test_size) :]
    return np.isin(users, drawn)


def _beyond(n_first: NDArray[np.int64], key: NDArray[np.int64], users: Index) -> Mask:
    """The rows after the first ``n_first`` (at least one) of each user in order of key."""
    counts = np.bincount(users)
    order = np.lexsort((key, users))
    starts = np.cumsum(counts) - counts
    stops = np.repeat(starts + np.maximum(n_first, 1), counts)
    return _mask(order[np.arange(len(users)) >= stops], len(users))
