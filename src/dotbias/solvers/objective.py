"""The objective that all solvers of ``DotBias`` share, in rating units, to compare where they arrive."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Array, Model, Parameters
from dotbias.models.dot_bias import DotBias
from dotbias.solvers.decay import WeightDecay, as_weight_decay, prior_constants
from dotbias.solvers.descent.run import row_counts

# Ratings whose vectors are gathered at once.
_CHUNK = 100_000


def objective(
    model: Model,
    parameters: Parameters,
    ratings: Ratings,
    *,
    weight_decay: float | Mapping[str, float] | WeightDecay | None = None,
) -> float:
    """Squared error plus penalty: ``½ Σ (r̂ - r)² + ½ Σ w (x - m)ᵀ P (x - m)``, in squared rating units.

    The first sum goes over the ratings, with predictions before they are clipped to the scale; the
    second over all users and all items, where ``x`` is a row's bias and factors, ``m`` and ``P`` say
    how its side is shrunk, and ``w`` is the row's number of ratings or 1 (docs/notation.md).

    Args:
        model: ``DotBias``, linear or sigmoid.
        parameters: its fitted arrays.
        ratings: the training ratings, row for row those of the parameters.
        weight_decay: what ``GradientDescent`` takes by that name; None measures with the decay that
            the parameters were fitted with.

    Raises:
        SettingError: for a model other than ``DotBias``, or parameters that do not say how they were
            shrunk when ``weight_decay`` does not either.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(100, 50, 2000, seed=0)
    >>> model = db.DotBias(n_factors=4)
    >>> parameters, history = db.ALS(n_iterations=3).fit(model, ratings)
    >>> abs(db.objective(model, parameters, ratings) / history.epochs[-1].objective - 1) < 1e-5
    True
    """
    if not isinstance(model, DotBias):
        raise SettingError(f"objective measures DotBias, not {type(model).__name__}")
    prior = parameters
    if weight_decay is not None:
        decay = as_weight_decay(weight_decay)
        prior = prior_constants(decay, model, row_counts(ratings), ratings.spread)
    elif "prior_per_rating" not in parameters:
        raise SettingError("weight_decay=None, and the parameters do not say how they were shrunk")
    total = 0.5 * _squares(model, parameters, ratings)
    for side, counts in (("user", ratings.user_counts), ("item", ratings.item_counts)):
        rows = np.column_stack([parameters[f"{side}_bias"], parameters[f"{side}_factors"]])
        precision = prior[f"{side}_prior_precision"]
        weights = row_weights(prior, counts)
        total += penalty(rows, prior[f"{side}_prior_mean"], precision, weights)
    return total


def row_weights(prior: Parameters, counts: NDArray[np.int64]) -> Array:
    """``w`` of each row, shape (n,): its number of ratings, or 1."""
    per_rating = bool(prior["prior_per_rating"][0])
    return (counts if per_rating else np.ones_like(counts)).astype(np.float32)


def penalty(rows: Array, mean: Array, precision: Array, weights: Array) -> float:
    """``½ Σ w (x - m)ᵀ P (x - m)`` over the rows ``x`` of a table.

    Args:
        rows: shape (n, width).
        mean: ``m`` of all rows or of each, shape (width,) or (n, width).
        precision: ``P``, shape (width, width), or its diagonal, shape (width,).
        weights: ``w``, shape (n,).
    """
    away = rows - mean
    # No matrix product for a diagonal: its threads would go on waiting in the way of the kernel's.
    pulled = away * precision if precision.ndim == 1 else away @ precision
    squares = (pulled * away).sum(axis=1, dtype=np.float64)
    return 0.5 * float((weights * squares).sum())


def _squares(model: DotBias, parameters: Parameters, ratings: Ratings) -> float:
    """Sum of the squared errors of predictions that are not clipped."""
    p, q = parameters["user_factors"], parameters["item_factors"]
    b_u, b_i = parameters["user_bias"], parameters["item_bias"]
    low, width = model.stretch(parameters)
    total = 0.0
    for start in range(0, len(ratings), _CHUNK):
        part = slice(start, start + _CHUNK)
        u, i = ratings.users[part], ratings.items[part]
        dot = np.einsum("nk,nk->n", p[u], q[i], dtype=np.float64)
        z = model.offset(parameters) + b_u[u] + b_i[i] + dot
        prediction = z if model.output == "linear" else low + width * expit(z)
        total += float(((prediction - ratings.values[part]) ** 2).sum())
    return total
