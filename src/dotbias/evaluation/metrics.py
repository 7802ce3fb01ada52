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


def star_errors(
    rating: ArrayLike,
    prediction: ArrayLike,
    baseline: ArrayLike,
    mean: float,
    *,
    biases_alone: bool = False,
) -> dict[str, Any]:
    """The fields of ``StarErrors``.

    Args:
        rating: the true ratings, shape (n,), n > 0.
        prediction: predicted ratings, shape (n,).
        baseline: those of biases alone, shape (n,).
        mean: of the training ratings.
        biases_alone: whether the predictions are those of a model of biases alone, which need not be
            better than such a model.
    """
    error = rmse(prediction, rating)
    simple: dict[NoBetterThan, float] = {
        "mean": rmse(np.full(np.shape(rating), mean), rating),
        "biases": rmse(baseline, rating),
    }
    as_good = [name for name, other in simple.items() if error >= (1 - _AS_GOOD) * other]
    if biases_alone and "biases" in as_good:
        as_good.remove("biases")
    return {
        "rmse": error,
        "mae": mae(prediction, rating),
        "baseline_rmse": simple["biases"],
        "mean_rmse": simple["mean"],
        "no_better_than": as_good[0] if as_good else None,
    }


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
        edges: first count of each group after the cold one, from 1 upwards.

    Returns:
        Columns ``group``, ``n_rows`` and ``rmse``; a row for each group that has any, cold first.

    Raises:
        DataError: as ``rmse``.
        SettingError: when ``edges`` do not start at 1 or do not ascend.

    >>> rmse_by_count([3, 4, 5], [3, 5, 3], [0, 19, 7]).rows()
    [('0 (cold)', 1, 0.0), ('5-19', 2, 1.581...)]
    """
    if not edges or edges[0] != 1 or any(a >= b for a, b in pairwise(edges)):
        raise SettingError(f"edges={edges!r}: edges must start at 1 and ascend")
    errors = _errors(prediction, rating)
    group = np.searchsorted(edges, _same_shape(counts, errors, "counts"), side="right")
    n_rows = np.bincount(group, minlength=len(edges) + 1)
    squares = np.bincount(group, errors**2, minlength=len(edges) + 1)
    ends = [*(edge - 1 for edge in edges[1:]), None]
    names = ["0 (cold)", *map(_group_name, edges, ends)]
    filled = np.flatnonzero(n_rows)
    return pl.DataFrame(
        {
            "group": [names[g] for g in filled],
            "n_rows": n_rows[filled],
            "rmse": np.sqrt(squares[filled] / n_rows[filled]),
        }
    )


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
