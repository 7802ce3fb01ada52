"""Folding in: the row of one user or item, solved exactly with everything else held.

Someone who was not there at training is a regression on the vectors of the items they rate. That is what
alternating least squares solves for a row, so an answer needs no retraining.
"""

from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit

from dotbias.data.vocabulary import Index
from dotbias.errors import ModelFileError, SettingError
from dotbias.models.base import Array, Model, Parameters
from dotbias.models.dot_bias import DotBias
from dotbias.solvers.descent.run import threads
from dotbias.solvers.least_squares.normal_equations import padded, solve_rows
from dotbias.solvers.objective import row_weights

Side: TypeAlias = Literal["user", "item"]
OTHER: dict[Side, Side] = {"user": "item", "item": "user"}

# Steps of the kernel, which is written for single precision; after the second one only rounding is left.
_N_STEPS = 3
# A penalty that is a smaller share of a row's normal equations than this needs double precision: below
# 0.001 rows of single precision were seen to be off by more than a millionth.
_WEAK = 2e-3
# The same, where there is no penalty at all: keeps the factorisation from failing.
_DAMPING = 1e-10
# What is left to gain where double precision ends its steps, relative to the row.
_TOLERANCE = 1e-8
_MOST_STEPS, _MOST_HALVINGS = 100, 40
# Ratings whose vectors are gathered at once.
_CHUNK = 100_000

Table: TypeAlias = NDArray[np.float64]


class Prior(NamedTuple):
    """What a row is taken for before its ratings, as the solver of the model has left it.

    Args:
        mean: ``m``, the bias and then the factors, shape (1 + k,).
        precision: ``P`` of the penalty ``½ w (x - m)ᵀ P (x - m)``, shape (1 + k, 1 + k).
    """

    mean: Array
    precision: Array

    @classmethod
    def of(cls, parameters: Parameters, side: Side) -> "Prior":
        """The prior of one side.

        Raises:
            ModelFileError: for a model without one, which an older version has saved.
            SettingError: for a network.
        """
        if "user_bias" not in parameters:
            raise SettingError(
                "users, items and ratings cannot be added to a network, only to models that are linear "
                "in each row (DotBias, Baseline): fit it again with them"
            )
        if "prior_per_rating" not in parameters:
            raise ModelFileError(
                "this model does not say how strongly its rows are shrunk, because an older version of "
                "dotbias saved it or because it was not fitted here: fit it again to add users, items "
                "or ratings"
            )
        precision = parameters[f"{side}_prior_precision"]
        full = precision if precision.ndim == 2 else np.diag(precision)
        return cls(parameters[f"{side}_prior_mean"], full)


def rows_of(model: Model, parameters: Parameters, side: Side, indices: Index) -> Array:
    """Biases and factors of some users or items as one table, shape (n, 1 + k)."""
    columns = [parameters[f"{side}_bias"][indices, None]]
    if f"{side}_factors" in model.groups:
        columns.append(parameters[f"{side}_factors"][indices])
    return np.hstack(columns)


def groups_of(model: Model, side: Side, rows: Array) -> Parameters:
    """The parameter groups that such a table holds."""
    groups = {f"{side}_bias": rows[:, 0], f"{side}_factors": rows[:, 1:]}
    return {name: group for name, group in groups.items() if name in model.groups}


def fold_in(
    model: Model,
    parameters: Parameters,
    side: Side,
    starts: NDArray[np.integer[Any]],
    partners: Index,
    values: Array,
    *,
    before: Array | None = None,
    pull: Array | None = None,
) -> Array:
    """The rows of m users or items that minimise the objective with everything else held.

    Each row ``x = (b, p)`` minimises ``½ Σ (r̂ - r)² + ½ w (x - m)ᵀ P (x - m) - g · x`` over its ratings,
    ``r̂`` before it is cut off at the ends of the scale, with the penalty of the solver that has fitted
    the model (``Prior``). The linear form has one solution: ridge regression, as in alternating least
    squares (Zhou et al. 2008, section 3.1). The sigmoid form is solved by Newton steps.

    Where the ratings leave a direction open and no penalty closes it, the row stays where it was
    before in that direction; a row without ratings stays there altogether.

    Args:
        model: the formula.
        parameters: its fitted arrays.
        side: what the rows are.
        starts: where each row's ratings start, and the end of the last, shape (m + 1,).
        partners: index of the other side of each rating, shape (n,).
        values: the ratings, shape (n,).
        before: where the rows are, shape (m, 1 + k); by default at the prior's mean.
        pull: ``g``, shape (m, 1 + k); zero by default.

    Returns:
        Bias and factors of each row, shape (m, 1 + k), float32.

    Raises:
        ModelFileError: for a model without priors, which an older version has saved.
    """
    prior, counts = Prior.of(parameters, side), np.diff(starts)
    if before is None:
        before = np.tile(prior.mean, (len(counts), 1))
    if pull is None:
        pull = np.zeros_like(before)
    distinct, local = np.unique(partners, return_inverse=True)
    others = rows_of(model, parameters, OTHER[side], distinct.astype(np.int32))
    weights = row_weights(parameters, counts)
    alone = counts > 0  # rows that take their Newton steps one by one
    if _is_sigmoid(model):
        rows = before.copy()
    else:
        alone &= _is_weak(prior, weights, counts, others)
        targets = values - parameters["global_mean"]
        rows = _solve(~alone, prior, weights, starts, local, targets, others, before, pull)
    for row in np.flatnonzero(alone):
        own = slice(starts[row], starts[row + 1])
        y = others[local[own]].astype(np.float64)
        rows[row] = _descend(
            model, parameters, prior, weights[row], y, values[own], before[row], pull[row]
        )
    return rows


def gradients(
    model: Model,
    parameters: Parameters,
    side: Side,
    rows: Index,
    starts: NDArray[np.integer[Any]],
    partners: Index,
    values: Array,
) -> Array:
    """Gradient of the objective of ``fold_in`` where the rows are, shape (m, 1 + k).

    Zero where a solver has gone all the way; what it has left where it stopped early.
    """
    prior, counts = Prior.of(parameters, side), np.diff(starts)
    x = rows_of(model, parameters, side, rows)
    of_rating = np.repeat(np.arange(len(rows)), counts)
    every = np.arange(len(parameters[f"{OTHER[side]}_bias"]), dtype=np.int32)
    others = rows_of(model, parameters, OTHER[side], every)
    slopes = np.empty(len(values), np.float64)
    for start in range(0, len(values), _CHUNK):
        part = slice(start, start + _CHUNK)
        y, own = others[partners[part]], x[of_rating[part]]
        dot = np.einsum("nf,nf->n", y[:, 1:], own[:, 1:], dtype=np.float64)
        rating, slope, _ = _curve(model, parameters, y[:, 0] + own[:, 0] + dot)
        slopes[part] = slope * (rating - values[part])
    others[:, 0] = 1
    errors = csr_array((slopes, partners, starts), shape=(len(rows), len(others)))
    away = row_weights(parameters, counts)[:, None] * ((x - prior.mean) @ prior.precision)
    total: Array = (errors @ others + away).astype(np.float32)
    return total


def _is_sigmoid(model: Model) -> TypeGuard[DotBias]:
    return isinstance(model, DotBias) and model.output == "sigmoid"


def _is_weak(
    prior: Prior, weights: Array, counts: NDArray[np.int64], others: Array
) -> NDArray[np.bool_]:
    """Whether the penalty of each row is too small for single precision, shape (m,)."""
    longest = max(1.0, float(np.square(others[:, 1:]).sum(1).max(initial=0)))  # |(1, q)|², nearly
    penalty = float(np.diagonal(prior.precision).min()) * weights
    weak: NDArray[np.bool_] = penalty < _WEAK * longest * counts
    return weak


def _solve(
    chosen: NDArray[np.bool_],
    prior: Prior,
    weights: Array,
    starts: NDArray[np.integer[Any]],
    partners: NDArray[np.intp],
    targets: Array,
    others: Array,
    before: Array,
    pull: Array,
) -> Array:
    """The linear form, all chosen rows at once; the others stay where they were."""
    size = len(prior.mean)
    wide = (0, padded(size) - size)
    mean = np.tile(prior.mean, (len(before), 1))
    if pull[chosen].any():  # ½ w (x - m)ᵀ P (x - m) - g · x is the penalty around another mean
        shift = np.linalg.solve(prior.precision.astype(np.float64), pull.T).T
        mean += (shift / np.maximum(weights, 1)[:, None]).astype(np.float32)
    rows = np.pad(before, ((0, 0), wide))
    costliest_first = np.argsort(-np.diff(starts), kind="stable")
    with threads(None, len(partners)):  # a single row is done before a second thread has woken up
        solve_rows(
            costliest_first[chosen[costliest_first]],
            starts.astype(np.int32),
            partners.astype(np.int32),
            targets,
            np.pad(others, ((0, 0), wide)),
            rows,
            np.pad(mean, ((0, 0), wide)),
            np.pad(prior.precision, wide),
            weights,
            0,
            _N_STEPS,
        )
    return rows[:, :size]


def _descend(
    model: Model,
    parameters: Parameters,
    prior: Prior,
    weight: float,
    y: Table,
    values: Array,
    before: Array,
    pull: Array,
) -> Table:
    """One row in double precision: Newton steps, halved until the objective falls.

    A rating whose second derivative is negative counts as flat, so that every step leads downhill.

    Args:
        model, parameters, prior: as above.
        weight: ``w`` of the row.
        y: bias and factors of its ratings' partners, shape (n, 1 + k), which is changed.
        values: the ratings, shape (n,).
        before, pull: as in ``fold_in``, of this row.
    """
    mean = prior.mean.astype(np.float64)
    penalty = weight * prior.precision.astype(np.float64)
    held = y[:, 0].copy()
    y[:, 0] = 1

    def look(x: Table) -> tuple[float, Table, Table]:
        """Objective, and first and second derivatives of its squared errors, where the row is x."""
        rating, slope, bend = _curve(model, parameters, held + y @ x)
        e, away = rating - values, x - mean
        objective = 0.5 * float(e @ e + away @ penalty @ away) - float(pull @ x)
        return objective, slope * e, np.maximum(slope**2 + bend * e, 0)

    x = before.astype(np.float64)
    objective, first, second = look(x)
    for _ in range(_MOST_STEPS):
        hessian = (y * second[:, None]).T @ y + penalty
        hessian.flat[:: len(x) + 1] += _DAMPING * max(float(hessian.diagonal().max()), _DAMPING)
        step = np.linalg.solve(hessian, first @ y + penalty @ (x - mean) - pull)
        if np.abs(step).max() <= _TOLERANCE * np.abs(x).max():
            break
        for _ in range(_MOST_HALVINGS):
            there = look(x - step)
            if there[0] < objective:
                break
            step /= 2
        else:
            break  # as good as rounding lets it be
        x = x - step
        objective, first, second = there
    return x


def _curve(model: Model, parameters: Parameters, z: Table) -> tuple[Table, Table, Table]:
    """Ratings before they are cut off, with first and second derivatives in ``z``, the sum of biases
    and dot product.
    """
    if not _is_sigmoid(model):
        return z + parameters["global_mean"], np.ones_like(z), np.zeros_like(z)
    low, width = model.stretch(parameters)
    share = expit(z + model.offset(parameters))
    slope = width * share * (1 - share)
    return low + width * share, slope, slope * (1 - 2 * share)
