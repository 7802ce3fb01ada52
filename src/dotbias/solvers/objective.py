"""The objective that all solvers share, in rating units, to compare where they arrive."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model, has_formula_of
from dotbias.models.dot_bias import DotBias
from dotbias.models.parameters import Array, Parameters
from dotbias.models.row_form import Prior, RowForm, Side
from dotbias.solvers.decay import WeightDecay, as_weight_decay, prior_constants, row_counts

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
        model: one that has a row form (``Model.row_form``), such as ``DotBias`` or ``Baseline``.
        parameters: its fitted arrays.
        ratings: the training ratings, row for row those of the parameters.
        weight_decay: what ``GradientDescent`` takes by that name; None measures with the decay that
            the parameters were fitted with. Only for ``DotBias``, whose groups it names.

    Raises:
        SettingError: for a model of preferences, which was fitted to something else (``ImplicitALS``
            says its own objective in ``Epoch.objective``), one without row form, a weight decay of
            another model than ``DotBias``, or parameters that do not say how they were shrunk when
            ``weight_decay`` does not either.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(100, 50, 2000, seed=0)
    >>> model = db.DotBias(n_factors=4)
    >>> parameters, history = db.ALS(n_iterations=3).fit(model, ratings)
    >>> abs(db.objective(model, parameters, ratings) / history.epochs[-1].objective - 1) < 1e-5
    True
    """
    if model.scores == "preference":
        raise SettingError(
            f"{type(model).__name__} was fitted to what people chose, not to ratings: what its solver "
            "minimises stands in the history of the fit (history.epochs[-1].objective)"
        )
    if weight_decay is not None:
        if not has_formula_of(model, DotBias):
            raise SettingError(
                f"weight_decay counts for DotBias, not {type(model).__name__}: None measures with the "
                "penalty that the parameters were fitted with"
            )
        decay = as_weight_decay(weight_decay)
        counts = row_counts(ratings)
        parameters = parameters | prior_constants(decay, model, counts, ratings.std)
    n_ratings: dict[Side, NDArray[np.int64]] = {
        "user": ratings.user_counts,
        "item": ratings.item_counts,
    }
    total = 0.5 * _squares(model.row_form(parameters, "user"), ratings)
    if "prior_per_rating" not in parameters:
        raise SettingError("weight_decay=None, and the parameters do not say how they were shrunk")
    for side, n in n_ratings.items():
        form = model.row_form(parameters, side)
        prior = Prior.of(form, side)
        rows = form.rows(np.arange(form.n_rows, dtype=np.int32))
        total += penalty(rows, prior.mean, prior.precision, prior.weights(n))
    return total


def penalty(rows: Array, mean: Array, precision: Array, weights: Array) -> float:
    """``½ Σ w (x - m)ᵀ P (x - m)`` over the rows ``x`` of a table.

    Args:
        rows: shape (n, width).
        mean: ``m`` of all rows or of each, shape (width,) or (n, width).
        precision: ``P``, shape (width, width), or its diagonal, shape (width,).
        weights: ``w``, shape (n,).
    """
    squares = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        away = rows[part] - (mean[part] if mean.ndim == 2 else mean)
        # No matrix product for a diagonal: its threads would go on waiting in the way of the kernel's.
        pulled = away * precision if precision.ndim == 1 else away @ precision
        squares[part] = (pulled * away).sum(axis=1, dtype=np.float64)
    return 0.5 * float((weights * squares).sum())


def _squares(form: RowForm, ratings: Ratings) -> float:
    """Sum of the squared errors of predictions that are not clipped."""
    total = 0.0
    for start in range(0, len(ratings), _CHUNK):
        part = slice(start, start + _CHUNK)
        z = form.z(ratings.user_indices[part], ratings.item_indices[part], double=True)
        total += float(((form.response.rating(z) - ratings.values[part]) ** 2).sum())
    return total
