"""Splits: every way to hold out a part of the ratings, exact and repeatable.

Both parts of a split keep the order of the rows they come from, share no row, are the whole
together, and have their own vocabularies and scale, so that nothing of the held-out part is known
in training.
"""

import logging
import numbers
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.errors import DataError, SettingError

SplitBy = Literal["rows", "user", "time", "last"]

_TEST_SIZE = 0.2
_log = logging.getLogger("dotbias")


class ColdCount(NamedTuple):
    """What of a held-out part was never seen in training."""

    users: int
    items: int
    rows: int


def split(
    ratings: Ratings, test_size: float | int = _TEST_SIZE, *, seed: int = 0, by: SplitBy = "rows"
) -> tuple[Ratings, Ratings]:
    """Training and held-out part of the ratings.

    Of n rows, ``floor(n * (1 - test_size) + 0.5)`` are for training, where n counts

    - by ``"rows"``: all rows; the first of ``numpy.random.default_rng(seed).permutation(n)``.
    - by ``"user"``: each user's rows, drawn at random; at least one of each user is for training.
    - by ``"time"``: all rows; the earliest, less those as late as the first that is held out, so
      that training ends before the held-out part begins.

    By ``"last"``, each user's last row in time is held out (of several at that time, the last in
    the order of rows), except a user's only one.

    Args:
        ratings: what to split.
        test_size: the share of rows to hold out, between 0 and 1, or their number (by ``"user"``:
            of each user's rows); not for ``"last"``.
        seed: of the random choice; without effect on ``"time"`` and ``"last"``.
        by: how to choose the held-out rows.

    Raises:
        SettingError: for a ``test_size`` or ``by`` outside its range.
        DataError: when a part would be empty, or the ratings lack the times that ``by`` needs.

    >>> ratings = Ratings.from_columns([1, 1, 1, 2, 2], [7, 8, 9, 7, 8], [4, 3, 5, 2, 1])
    >>> train, test = split(ratings, 0.4, seed=1)
    >>> train
    Ratings(3 ratings, 2 users, 2 items, scale 1-4)
    >>> test
    Ratings(2 ratings, 2 users, 2 items, scale 2-5)
    >>> cold(train, test)
    ColdCount(users=0, items=1, rows=1)
    """
    if by not in get_args(SplitBy):
        known = ", ".join(map(repr, get_args(SplitBy)))
        raise SettingError(f"split(by={by!r}): by must be one of {known}")
    if by == "last" and test_size != _TEST_SIZE:
        raise SettingError(
            f"split(test_size={test_size!r}, by='last'): by 'last' holds out one rating of each "
            "user; leave test_size out"
        )
    if by != "last" and not _legal(test_size):
        raise SettingError(
            f"split(test_size={test_size!r}): test_size must be a share above 0 and below 1, or a "
            "whole number at least 1"
        )

    n = len(ratings)
    if by == "rows":
        order = np.random.default_rng(seed).permutation(n)
        held_out = _mask(order[_n_train(n, test_size) :], n)
    elif by == "user":
        order = np.random.default_rng(seed).permutation(n)
        held_out = _beyond(_n_train(ratings.user_counts, test_size), order, ratings)
    elif by == "time":
        times = _times(ratings, by)
        never = np.iinfo(np.int64).max
        held_out = times >= np.sort(times)[_n_train(n, test_size) :].min(initial=never)
    else:
        held_out = _beyond(ratings.user_counts - 1, _times(ratings, by), ratings)

    if held_out.all() or not held_out.any():
        part = "training" if held_out.all() else "held-out"
        size = "" if by == "last" else f", test_size={test_size!r}"
        raise DataError(f"split(by={by!r}{size}) of {ratings!r} leaves no {part} rating")
    return _parts(ratings, held_out)


def k_fold(
    ratings: Ratings, n_folds: int = 5, *, seed: int = 0
) -> Iterator[tuple[Ratings, Ratings]]:
    """Training and held-out part of each fold; every row is held out in exactly one.

    The rows are ``numpy.random.default_rng(seed).permutation(n)``, cut into parts whose sizes
    differ by at most one, the larger ones first.

    Args:
        ratings: what to split.
        n_folds: number of folds, from 2 to the number of ratings.
        seed: of the random choice.

    Raises:
        SettingError: for ``n_folds`` outside its range.

    >>> ratings = Ratings.from_columns([1, 1, 2, 2, 3], [7, 8, 7, 8, 8], [4, 3, 5, 2, 1])
    >>> [(len(train), len(test)) for train, test in k_fold(ratings, 2)]
    [(2, 3), (3, 2)]
    """
    n = len(ratings)
    if not isinstance(n_folds, numbers.Integral) or not 2 <= n_folds <= n:
        raise SettingError(
            f"k_fold(n_folds={n_folds!r}): n_folds must be a whole number from 2 to {n:,}, the "
            "number of ratings"
        )
    folds = np.array_split(np.random.default_rng(seed).permutation(n), n_folds)
    return (_parts(ratings, _mask(fold, n)) for fold in folds)


def cold(train: Ratings, test: Ratings) -> ColdCount:
    """How many users and items of ``test`` are not in ``train``, and how many rows have either."""
    users = train.user_vocabulary.indices(test.user_vocabulary.ids) < 0
    items = train.item_vocabulary.indices(test.item_vocabulary.ids) < 0
    rows = users[test.users] | items[test.items]
    return ColdCount(*(int(np.count_nonzero(mask)) for mask in (users, items, rows)))


def _legal(test_size: float | int) -> bool:
    if isinstance(test_size, numbers.Integral):
        return test_size >= 1
    return isinstance(test_size, numbers.Real) and 0 < test_size < 1


def _n_train(n: int | NDArray[np.int64], test_size: float | int) -> NDArray[np.int64]:
    """How many of n rows are for training, for one n or an array of them."""
    if isinstance(test_size, numbers.Integral):
        return np.maximum(n - np.int64(test_size), 0)
    return np.floor(n * (1 - test_size) + 0.5).astype(np.int64)


def _times(ratings: Ratings, by: SplitBy) -> NDArray[np.int64]:
    if ratings.times is None:
        raise DataError(
            f"split(by={by!r}) needs the time of each rating, and these ratings have none; read "
            "them with their time column, or split by 'rows' or 'user'"
        )
    return ratings.times


def _mask(rows: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    mask = np.zeros(n, np.bool_)
    mask[rows] = True
    return mask


def _beyond(
    n_first: NDArray[np.int64], key: NDArray[np.int64], ratings: Ratings
) -> NDArray[np.bool_]:
    """Mask of the rows after the first ``n_first`` (at least one) of each user in order of key."""
    order = np.lexsort((key, ratings.users))
    starts = np.cumsum(ratings.user_counts) - ratings.user_counts
    stops = np.repeat(starts + np.maximum(n_first, 1), ratings.user_counts)
    beyond = np.arange(len(ratings)) >= stops
    return _mask(order[beyond], len(ratings))


def _parts(ratings: Ratings, held_out: NDArray[np.bool_]) -> tuple[Ratings, Ratings]:
    train, test = ratings.take(~held_out), ratings.take(held_out)
    count = cold(train, test)
    if count.rows:
        _log.info(
            "never seen in training: %s users and %s items of the held-out part, "
            "in %s of its %s ratings",
            *(f"{number:,}" for number in (*count, len(test))),
        )
    return train, test
