"""Errors of predicted ratings, in rating units and in float64."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from dotbias.errors import DataError, SettingError
from dotbias.shown import Shown

COUNT_EDGES = (1, 5, 20, 100, 500)
"""Where the groups of ``rmse_by_count`` begin."""

NoBetterThan: TypeAlias = Literal["mean", "biases"]

# Of fewer rows than these, chance decides which error is lower.
_FEW = 50
# An error that is lower by a smaller share than this is as good, for people see four digits of it.
_AS_GOOD = 1e-4
_TRY = (
    "try more ratings, another solver (--solver als, gibbs), or more shrinkage (--weight-decay)",
    "plays, purchases and hours are no ratings: --kind counts",
)
_NO_BETTER: dict[NoBetterThan, str] = {
    "mean": "no better than the mean alone: the model tells neither users nor items apart",
    "biases": "no better than biases alone (--model baseline): the model has learned nothing of tastes",
}


@dataclass(frozen=True, kw_only=True)
class StarErrors(Shown):
    """Errors in rating units; all None where no ratings are predicted, or none were held out.

    Args:
        rmse: root of the mean squared error.
        mae: mean absolute error.
        baseline_rmse: the same rows predicted by ``Baseline`` fitted to the same training ratings.
        mean_rmse: the same rows predicted by the mean of the training ratings.
        no_better_than: ``"mean"`` or ``"biases"``, where one of these predicts as well; None where the
            model is better than both.
    """

    rmse: float | None = None
    mae: float | None = None
    baseline_rmse: float | None = None
    mean_rmse: float | None = None
    no_better_than: NoBetterThan | None = None

    def error_lines(self, n_rows: int) -> Iterator[str]:
        """The errors of so many rows in words, in a line, and ``no_better_lines``."""
        if None not in (self.rmse, self.mae, self.baseline_rmse, self.mean_rmse):
            yield (
                f"RMSE {self.rmse:.4f} (biases alone {self.baseline_rmse:.4f}, "
                f"the mean alone {self.mean_rmse:.4f}), MAE {self.mae:.4f}"
            )
        yield from self.no_better_lines(n_rows)

    def no_better_lines(self, n_rows: int) -> Iterator[str]:
        """That simpler models have the same error, and what to try, in lines; nothing of better models.

        Args:
            n_rows: how many rows were measured.
        """
        if self.no_better_than is None:
            return
        if n_rows < _FEW:
            than, _, _ = _NO_BETTER[self.no_better_than].partition(":")
            yield f"{than}; {n_rows} rows are too few to judge by"
        else:
            yield from (_NO_BETTER[self.no_better_than], *_TRY)


class ErrorSums:
    """Errors of rows that come in portions.

    Args:
        mean: of the training ratings, as a prediction.
    """

    def __init__(self, mean: float) -> None:
        self.mean, self.n, self.absolute = mean, 0, 0.0
        self.squares: dict[str, float] = {"model": 0.0, "mean": 0.0, "biases": 0.0}

    def add(self, rating: ArrayLike, prediction: ArrayLike, baseline: ArrayLike) -> None:
        """A portion of rows, n > 0.

        Args:
            rating: the true ratings, shape (n,).
            prediction: predicted ratings, shape (n,).
            baseline: those of biases alone, shape (n,).
        """
        errors = _errors(prediction, rating)
        self.n += len(errors)
        self.absolute += float(np.abs(errors).sum())
        for name, other in (("biases", baseline), ("mean", np.full(len(errors), self.mean))):
            self.squares[name] += float((_errors(other, rating) ** 2).sum())
        self.squares["model"] += float((errors**2).sum())

    def fields(self, *, biases_alone: bool = False) -> dict[str, Any]:
        """The fields of ``StarErrors``.

        Args:
            biases_alone: whether the predictions are those of a model of biases alone, which need not be
                better than such a model.
        """
        roots = {name: float(np.sqrt(total / self.n)) for name, total in self.squares.items()}
        error = roots["model"]
        simple: dict[NoBetterThan, float] = {"mean": roots["mean"], "biases": roots["biases"]}
        as_good = [name for name, other in simple.items() if error >= (1 - _AS_GOOD) * other]
        if biases_alone and "biases" in as_good:
            as_good.remove("biases")
        return {
            "rmse": error,
            "mae": self.absolute / self.n,
            "baseline_rmse": simple["biases"],
            "mean_rmse": simple["mean"],
            "no_better_than": as_good[0] if as_good else None,
        }


def star_errors(
    rating: ArrayLike,
    prediction: ArrayLike,
    baseline: ArrayLike,
    mean: float,
    *,
    biases_alone: bool = False,
) -> dict[str, Any]:
    """The fields of ``StarErrors`` of rows that are all there; arguments as of ``ErrorSums``."""
    sums = ErrorSums(mean)
    sums.add(rating, prediction, baseline)
    return sums.fields(biases_alone=biases_alone)


def rmse(prediction: ArrayLike, rating: ArrayLike) -> float:
    """Root of the mean squared error, ``sqrt(mean((r̂ - r)²))``.

    Args:
        prediction: predicted ratings, shape (n,).
        rating: the true ones, shape (n,).

    Raises:
        DataError: when the shapes differ, are not (n,), or n is 0.

    >>> rmse([3, 4, 5], [3, 5, 3])
    1.290...
    """
    return float(np.sqrt(np.mean(_errors(prediction, rating) ** 2)))


def mae(prediction: ArrayLike, rating: ArrayLike) -> float:
    """Mean absolute error, ``mean(|r̂ - r|)``; arguments and errors as of ``rmse``.

    >>> mae([3, 4, 5], [3, 5, 3])
    1.0
    """
    return float(np.mean(np.abs(_errors(prediction, rating))))


class CountGroups:
    """RMSE of rows that come in portions, grouped by how much was known about their user, or item, at
    training.

    Args:
        edges: first count of each group after the cold one, from 1 upwards.

    Raises:
        SettingError: when ``edges`` do not start at 1 or do not ascend.
    """

    def __init__(self, edges: Sequence[int] = COUNT_EDGES) -> None:
        if not edges or edges[0] != 1 or any(a >= b for a, b in pairwise(edges)):
            raise SettingError(f"edges={edges!r}: edges must start at 1 and ascend")
        self.edges = edges
        self.n_rows = np.zeros(len(edges) + 1, np.int64)
        self.squares = np.zeros(len(edges) + 1)

    def add(self, prediction: ArrayLike, rating: ArrayLike, counts: ArrayLike) -> None:
        """A portion of rows, as for ``rmse_by_count``."""
        errors, n = _errors(prediction, rating), len(self.n_rows)
        counts = _same_shape(counts, errors, "counts")
        group = np.searchsorted(self.edges, counts, side="right")
        self.n_rows += np.bincount(group, minlength=n)
        self.squares += np.bincount(group, errors**2, minlength=n)

    def frame(self) -> pl.DataFrame:
        """What ``rmse_by_count`` returns."""
        ends = [*(edge - 1 for edge in self.edges[1:]), None]
        names = ["0 (cold)", *map(_group_name, self.edges, ends)]
        filled = np.flatnonzero(self.n_rows)
        return pl.DataFrame(
            {
                "group": [names[g] for g in filled],
                "n_rows": self.n_rows[filled],
                "rmse": np.sqrt(self.squares[filled] / self.n_rows[filled]),
            },
            schema={"group": pl.String, "n_rows": pl.Int64, "rmse": pl.Float64},
        )


def rmse_by_count(
    prediction: ArrayLike,
    rating: ArrayLike,
    counts: ArrayLike,
    edges: Sequence[int] = COUNT_EDGES,
) -> pl.DataFrame:
    """RMSE of the rows grouped by how much was known about their user, or item, at training.

    Args:
        prediction: predicted ratings, shape (n,).
        rating: the true ones, shape (n,).
        counts: number of training ratings of each row's user (or item), shape (n,); 0 is cold.
        edges: as of ``CountGroups``.

    Returns:
        Columns ``group``, ``n_rows`` and ``rmse``; a row for each group that has any, cold first.

    Raises:
        DataError: as ``rmse``.
        SettingError: as ``CountGroups``.

    >>> rmse_by_count([3, 4, 5], [3, 5, 3], [0, 19, 7]).rows()
    [('0 (cold)', 1, 0.0), ('5-19', 2, 1.581...)]
    """
    groups = CountGroups(edges)
    groups.add(prediction, rating, counts)
    return groups.frame()


def _group_name(first: int, last: int | None) -> str:
    if last is None:
        return f"{first}+"
    return f"{first}" if first == last else f"{first}-{last}"


def _errors(prediction: ArrayLike, rating: ArrayLike) -> NDArray[np.float64]:
    """Prediction minus rating, shape (n,), after checking that they belong together."""
    ratings = np.asarray(rating, np.float64)
    if ratings.ndim != 1 or ratings.size == 0:
        raise DataError(f"an error needs ratings of shape (n,) with n > 0, not {ratings.shape}")
    return _same_shape(prediction, ratings, "predictions") - ratings


def _same_shape(values: ArrayLike, ratings: NDArray[np.float64], noun: str) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.shape != ratings.shape:
        raise DataError(f"{noun} of shape {array.shape} for ratings of shape {ratings.shape}")
    return array
