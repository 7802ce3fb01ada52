"""Folding in: the row of one user or item, solved exactly with everything else held.

Someone who was not there at training is a regression on the vectors of the items they rate. That is what
alternating least squares solves for a row, so an answer needs no retraining.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from dotbias.data.vocabulary import Index
from dotbias.errors import DataError, SettingError
from dotbias.models.base import Model, Observed
from dotbias.models.feature_prior import prior_of_rows
from dotbias.models.parameters import Array, Parameters, refuse_not_finite
from dotbias.models.row_form import Prior, Response, RowForm, Side
from dotbias.solvers.least_squares.conjugate_gradients import ONE, improve_rows
from dotbias.solvers.least_squares.eigenbasis import Eigenbasis, turned
from dotbias.solvers.least_squares.normal_equations import padded, solve_rows
from dotbias.solvers.threads import threads

# Steps of the kernel, which is written for single precision; after the second one only rounding is left.
_N_STEPS = 3
# A penalty that is a smaller share of a row's normal equations than this needs double precision: below
# 0.001 rows of single precision were seen to be off by more than a millionth.
_WEAK = 2e-3
# The same, where there is no penalty at all: keeps the factorisation from failing.
_DAMPING = 1e-10
# Length of the step where double precision ends its steps, relative to that of the row, both as the
# normal equations measure it.
_TOLERANCE = 1e-8
_MOST_STEPS, _MOST_HALVINGS = 100, 40
# Rows without biases that are solved together rather than one by one, and how much more a prior may hold
# one direction than another where single precision is to find the solution.
_MANY, _NARROW = 32, 1e-6
# Ratings whose vectors are gathered at once.
_CHUNK = 100_000

Table: TypeAlias = NDArray[np.float64]


def fold_in(
    model: Model,
    parameters: Parameters,
    side: Side,
    starts: NDArray[np.integer[Any]],
    partners: Index,
    values: Array,
    *,
    observed: Observed | None = None,
    before: Array | None = None,
    linear: Array | None = None,
    features: csr_array | None = None,
) -> Array:
    """The rows of m users or items that minimise the objective with everything else held.

    Each row ``x = (b, p)`` minimises ``½ Σ (r̂ - r)² + ½ w (x - m)ᵀ P (x - m) - g · x`` over its ratings,
    ``r̂`` before it is cut off at the ends of the scale, with the penalty of the solver that has fitted
    the model (``Prior``). A model may put targets in the place of ratings, and weigh their errors
    (``Model.observed``). The linear form has one solution: ridge regression, as in alternating least
    squares (Zhou et al. 2008, section 3.1). The sigmoid form is solved by Newton steps.

    Where the ratings leave a direction open and no penalty closes it, the row stays where it was
    before in that direction; a row without ratings stays there altogether.

    What a model projects (``RowForm.projected``) stands beside that: ``(Σ c t y + g) / s``, with ``t``
    and ``c`` the targets and their weights (Deerwester et al. 1990, "folding in").

    Args:
        model: what it says of a row (``Model.row_form``) is all that is asked of it.
        parameters: its fitted arrays.
        side: what the rows are.
        starts: where each row's ratings start, and the end of the last, shape (m + 1,).
        partners: index of the other side of each rating, shape (n,).
        values: the ratings, shape (n,).
        observed: targets and weights in the place of the model's own (``Model.observed``).
        before: where the rows are, shape (m, 1 + k); by default that of someone of whom nothing is
            known (``Model.stranger``).
        linear: ``g``, shape (m, 1 + k); zero by default.
        features: of the rows, shape (m, n_features), as the model was fitted to: each has a prior mean
            of its own (``FeaturePrior``), where it stays without ratings. None where they are not known.

    Returns:
        Bias and factors of each row, shape (m, 1 + k), float32.

    Raises:
        ModelFileError: for a model without priors, which an older version has saved.
        SettingError: for a model without row form, or with weights or without biases and a response
            that is not linear; and arrays of the model, of the prior, ``before``, ``linear`` or
            ``observed`` that have another shape or are not finite.
        DataError: for ratings whose arrays do not fit together, or are not finite.
    """
    form = model.row_form(parameters, side)
    starts, partners, values = checked_ratings(form, starts, partners, values)
    counts = np.diff(starts)
    prior, moved = prior_of_rows(form, side, len(counts), features)
    if before is None:
        stranger = model.stranger(parameters, side)
        start = form.widened(prior.mean) if stranger is None else stranger
        before = np.tile(start, (len(counts), 1)) + (0 if moved is None else moved)
    if linear is None:
        linear = np.zeros_like(before)
    wanted = len(counts), form.width
    before, linear = _table("before", before, wanted), _table("linear", linear, wanted)
    distinct, local = np.unique(partners, return_inverse=True)
    others = form.others(distinct)
    refuse_not_finite(f"what {' and '.join(form.held_groups)} hold", others)
    known = observed or model.observed(parameters, side, starts, partners, values)
    known = known.checked(len(values))
    width = form.regressed.width
    found = _regressed(
        model,
        form.regressed,
        prior,
        starts,
        local,
        known,
        others[:, :width],
        before[:, :width],
        linear[:, :width],
        moved,
    )
    if not form.projected:
        return found
    pulls = pulled(known, starts, local, others[:, width:]) + linear[:, width:]
    beside = np.where(counts[:, None] > 0, pulls / form.singular_values, before[:, width:])
    return np.hstack([found, beside.astype(np.float32)])


def _regressed(
    model: Model,
    form: RowForm,
    prior: Prior,
    starts: NDArray[np.int64],
    local: NDArray[np.intp],
    known: Observed,
    others: Array,
    before: Array,
    linear: Array,
    moved: Array | None,
) -> Array:
    """Bias and terms of each row, shape (m, width); ``local`` are partners as places in ``others``, and
    ``moved`` is how far the mean of each row's prior is from that of ``prior``.
    """
    counts = np.diff(starts)
    weights = prior.weights(counts)
    targets, importance = known
    means = np.tile(prior.mean, (len(counts), 1))
    pulls = linear
    if moved is not None:  # ½ w (x - m - d)ᵀ P (x - m - d) is that around m, less w dᵀ P x
        means, pulls = means + moved, linear + prior.pull(counts, moved)
    if importance is not None or not form.lead:
        if not form.response.linear:
            raise SettingError(
                f"{type(model).__name__} has weights or no biases, and a response that is not linear: "
                "such rows cannot be solved"
            )
        many = len(counts) >= _MANY and not form.lead and not prior.per_rating
        solve = _solve_many if many else _solve_weighted
        return solve(_Weighted(form, prior, weights, starts, local, known, others, before, pulls))
    alone = counts > 0  # rows that take their Newton steps one by one
    if form.response.linear:
        alone &= _is_weak(prior, weights, counts, others)
        from_0 = targets - np.float32(form.response.offset)
        rows = _solve(
            ~alone,
            form.response,
            prior,
            means,
            weights,
            starts,
            local,
            from_0,
            others,
            before,
            linear,
        )
    else:
        rows = before.copy()
    for row in np.flatnonzero(alone):
        own = slice(starts[row], starts[row + 1])
        y = others[local[own]].astype(np.float64)
        rows[row] = _descend(
            form.response, prior, weights[row], y, targets[own], before[row], pulls[row]
        )
    return rows


def pulled(
    known: Observed, starts: NDArray[np.integer[Any]], partners: NDArray[Any], others: Array
) -> Array:
    """``Σ c t y`` over the ratings of each row, shape (m, w).

    Args:
        known: ``t`` and ``c`` of each rating.
        starts, partners: as in ``fold_in``, with places in ``others`` for partners.
        others: ``y`` of each partner, shape (n_others, w).
    """
    targets, weights = known
    values = targets if weights is None else targets * weights
    table = csr_array((values, partners, starts), shape=(len(starts) - 1, len(others)))
    sums: Array = (table @ others).astype(np.float32, copy=False)
    return sums


def gradients(
    model: Model,
    parameters: Parameters,
    side: Side,
    rows: Index,
    starts: NDArray[np.integer[Any]],
    partners: Index,
    values: Array,
    *,
    features: csr_array | None = None,
) -> Array:
    """Gradient of the objective of ``fold_in`` where the rows are, shape (m, 1 + k).

    Zero where a solver has gone all the way; what it has left where it stopped early. Raises what
    ``fold_in`` does.
    """
    form = model.row_form(parameters, side)
    starts, partners, values = checked_ratings(form, starts, partners, values)
    counts = np.diff(starts)
    prior, moved = prior_of_rows(form, side, len(counts), features)
    width = form.regressed.width
    x, projection = np.split(form.rows(rows), [width], axis=1)
    of_rating = np.repeat(rows, counts)
    known = model.observed(parameters, side, starts, partners, values).checked(len(values))
    targets, importance = known
    slopes = np.empty(len(values), np.float64)
    for start in range(0, len(values), _CHUNK):
        part = slice(start, start + _CHUNK)
        z = form.regressed.z(of_rating[part], partners[part], double=True)
        slope, _ = form.response.derivatives(z)
        slopes[part] = slope * (form.response.rating(z) - targets[part])
    if importance is not None:
        slopes *= importance
    others = form.others(np.arange(form.n_partners, dtype=np.int32))
    others[:, 0] = form.lead
    others, partner_projections = np.split(others, [width], axis=1)
    errors = csr_array((slopes, partners, starts), shape=(len(rows), len(others)))
    away = prior.pull(counts, x - prior.mean if moved is None else x - prior.mean - moved)
    with np.errstate(over="ignore"):  # fold_in refuses what is not finite
        total: Array = (errors @ others + away).astype(np.float32)
    if not form.projected:
        return total
    beside = projection * form.singular_values - pulled(
        known, starts, partners, partner_projections
    )
    return np.hstack([total, beside])


def checked_ratings(
    form: RowForm, starts: NDArray[np.integer[Any]], partners: Index, values: Array
) -> tuple[NDArray[np.int64], Index, Array]:
    """The ratings of some rows, as compiled loops may read them.

    Raises:
        DataError: when the arrays do not fit together, partners are none of the model's, or ratings are
            not finite.
    """
    starts, partners, values = np.asarray(starts), np.asarray(partners), np.asarray(values)
    for name, array in (("starts", starts), ("partners", partners), ("values", values)):
        kinds = "iuf" if name == "values" else "iu"
        if array.ndim != 1 or (array.size and array.dtype.kind not in kinds):
            raise DataError(
                f"{name} must be one row of {'numbers' if name == 'values' else 'whole numbers'}, not "
                f"{array.dtype} of shape {array.shape}"
            )
    n = len(values)
    if len(partners) != n:
        raise DataError(
            f"{n:,} ratings (values) of {len(partners):,} partners: give as many of each"
        )
    if not len(starts) or starts[0] != 0 or starts[-1] != n or (starts[1:] < starts[:-1]).any():
        raise DataError(f"starts must rise from 0 to the number of ratings, {n:,}")
    if n and not 0 <= partners.min() <= partners.max() < form.n_partners:
        raise DataError(
            f"partners must be indices from 0 to {form.n_partners - 1:,}, not "
            f"{partners.min():,} to {partners.max():,}"
        )
    values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise DataError(f"rating {int(np.argmin(np.isfinite(values))):,} (in values) is not finite")
    return starts.astype(np.int64, copy=False), partners.astype(np.int32, copy=False), values


def _table(name: str, table: Array, shape: tuple[int, int]) -> Array:
    """A row of numbers for each row that is solved, in single precision.

    Raises:
        SettingError: for another shape, or numbers that are not finite.
    """
    table = np.asarray(table, np.float32)
    if table.shape != shape:
        raise SettingError(f"{name} must have the shape {shape}, not {table.shape}")
    refuse_not_finite(name, table)
    return table


def _is_weak(
    prior: Prior, weights: Array, counts: NDArray[np.int64], others: Array
) -> NDArray[np.bool_]:
    """Whether the penalty of each row is too small for single precision, shape (m,)."""
    longest = _longest_square(others) or 1.0
    of_bias, *of_factors = np.diagonal(prior.precision).tolist()
    share = min(of_bias, min(of_factors, default=np.inf) / longest)
    weak: NDArray[np.bool_] = share * weights < _WEAK * counts
    return weak


def _longest_square(others: NDArray[np.floating[Any]]) -> float:
    """Square of the length of the longest embedding of a table; 0 where there is none."""
    terms = others[:, 1:]
    return float(np.einsum("nk,nk->n", terms, terms, dtype=np.float64).max(initial=0))


def units(
    response: Response, others: NDArray[np.floating[Any]], precision: NDArray[np.floating[Any]]
) -> Array:
    """What bias and factors of a row are measured in, shape (1 + k,), given those of its partners and
    the precision of its prior.

    In these units partners' embeddings, or the penalty where they have shrunk to nothing, are about as
    large as the 1 in place of a bias, so that damping and open directions weigh biases and factors
    alike, whatever the unit of the ratings. Powers of two: nothing is rounded.
    """
    slope = float(response.derivatives(np.zeros(1))[0][0])  # of squared errors it is there twice
    penalty = float(precision.diagonal()[1:].max(initial=0)) / slope**2
    most = max(_longest_square(others), penalty) or 1.0
    unit = np.full(others.shape[1], np.exp2(-np.round(np.log2(most) / 2)), np.float32)
    unit[0] = 1
    return unit


def _solve(
    chosen: NDArray[np.bool_],
    response: Response,
    prior: Prior,
    means: Array,
    weights: Array,
    starts: NDArray[np.integer[Any]],
    partners: NDArray[np.intp],
    targets: Array,
    others: Array,
    before: Array,
    linear: Array,
) -> Array:
    """The linear form, all chosen rows at once; the others stay where they were. ``means`` are those of
    each row's prior.
    """
    size = len(prior.mean)
    width = padded(size)
    unit = units(response, others, prior.precision)
    if linear[chosen].any():  # ½ w (x - m)ᵀ P (x - m) - g · x is the penalty around another mean
        shift = np.linalg.solve(prior.precision.astype(np.float64), linear.T).T
        means = means + (shift / np.maximum(weights, 1)[:, None]).astype(np.float32)
    rows = _within((len(before), width), before / unit)
    costliest_first = np.argsort(-np.diff(starts), kind="stable")
    with threads(None, len(partners)):  # a single row is done before a second thread has woken up
        solve_rows(
            costliest_first[chosen[costliest_first]],
            starts.astype(np.int32),
            partners.astype(np.int32),
            targets,
            _within((len(others), width), others * unit),
            rows,
            _within((len(means), width), means / unit),
            _within((width, width), prior.precision * unit * unit[:, None]),
            weights,
            0,
            _N_STEPS,
        )
    return rows[:, :size] * unit


def _within(shape: tuple[int, int], table: Array) -> Array:
    """A table with zeros to its right and below it; of a small one ``np.pad`` would take longer than the
    solution does.
    """
    whole = np.zeros(shape, np.float32)
    whole[: table.shape[0], : table.shape[1]] = table
    return whole


class _Weighted(NamedTuple):
    """Regressions in the linear form with errors that weigh unequally, or without biases.

    Args:
        form, prior: what a row is, and its prior.
        weights: ``w`` of each row, shape (m,).
        starts, partners: as in ``fold_in``, with places in ``others`` for partners.
        known: targets and weights of the ratings.
        others: what the partners are to a row (``RowForm.others``).
        before, linear: as in ``fold_in``.
    """

    form: RowForm
    prior: Prior
    weights: Array
    starts: NDArray[np.int64]
    partners: NDArray[np.intp]
    known: Observed
    others: Array
    before: Array
    linear: Array


def _solve_weighted(regressions: _Weighted) -> Array:
    """Row by row, exactly."""
    form, prior, weights, starts, partners, known, others, before, linear = regressions
    rows, (targets, importance) = before.copy(), known
    y, held = others.astype(np.float64), others[:, 0] + form.response.offset
    y[:, 0] = form.lead
    ridge = prior.ridge(np.diff(starts))
    for row in np.flatnonzero(np.diff(starts)):
        own = slice(starts[row], starts[row + 1])
        mine = y[partners[own]]
        weighted = mine if importance is None else mine * importance[own, None]
        precision = weights[row] * prior.precision.astype(np.float64)
        precision.flat[:: len(precision) + 1] += ridge[row]
        wanted = weighted.T @ (targets[own] - held[partners[own]])
        wanted += precision @ prior.mean + linear[row]
        normal = precision + weighted.T @ mine
        normal[0, 0] += 1 - form.lead  # without a bias nothing else is there
        wanted -= normal @ before[row]
        normal.flat[:: len(normal) + 1] += _DAMPING * normal.diagonal().max()
        _, step, failed = lapack.dposv(normal, wanted, lower=1)
        if failed:  # rounding has made it none that is positive definite
            step = np.linalg.solve(normal, wanted)
        rows[row] += step.astype(np.float32)
    return rows


def _solve_many(regressions: _Weighted) -> Array:
    """Without biases, where rows share a prior but for its ridge: all at once by conjugate gradients, to
    what single precision holds.
    """
    form, prior, _, starts, partners, known, others, before, linear = regressions
    k = others.shape[1] - 1
    precision = prior.precision[1:, 1:].astype(np.float64)
    mean, ridge = prior.mean[1:], prior.ridge(np.diff(starts)).astype(np.float32)
    pulled = linear[:, 1:] + (precision @ mean).astype(np.float32) + np.outer(ridge, mean)
    with threads(None, len(partners)), threadpool_limits(1, "blas"):
        basis = Eigenbasis.of(precision, padded(k))
        if basis.values[k - 1] <= _NARROW * basis.values[0]:
            return _solve_weighted(regressions)
        y, rows, pulled = (
            turned(_within((len(table), padded(k)), table), basis.vectors)
            for table in (others[:, 1:], before[:, 1:], pulled)
        )
        costliest_first = np.argsort(-np.diff(starts), kind="stable")
        improve_rows(
            costliest_first[: np.count_nonzero(np.diff(starts))],
            starts,
            partners.astype(np.int32),
            known.targets - (others[:, 0] + np.float32(form.response.offset))[partners],
            ONE if known.weights is None else known.weights,
            ONE,
            ONE,
            y,
            basis.values.astype(np.float32),
            ONE,
            ridge,
            rows,
            pulled,
            _MOST_STEPS,
        )
        back = turned(rows, np.ascontiguousarray(basis.vectors.T))[:, :k]
    solved = before.copy()
    moved = np.diff(starts) > 0
    solved[moved, 1:] = back[moved]
    return solved


def _descend(
    response: Response,
    prior: Prior,
    weight: float,
    y: Table,
    values: Array,
    before: Array,
    linear: Array,
) -> Table:
    """One row in double precision: Newton steps, halved until the objective falls.

    A rating whose second derivative is negative counts as flat, so that every step leads downhill.

    Args:
        response: how ``z`` becomes a rating.
        prior: of the row.
        weight: ``w`` of the row.
        y: what its ratings' partners are to it (``RowForm.others``), shape (n, 1 + k), which is changed.
        values: the ratings, shape (n,).
        before, linear: as in ``fold_in``, of this row.
    """
    mean = prior.mean.astype(np.float64)
    penalty = weight * prior.precision.astype(np.float64)
    unit = units(response, y, prior.precision).astype(np.float64)
    held = y[:, 0].copy()
    y[:, 0] = 1

    def look(x: Table) -> tuple[float, Table, Table]:
        """Objective, and first and second derivatives of its squared errors, where the row is x."""
        z = held + y @ x
        slope, second = response.derivatives(z)
        e, away = response.rating(z) - values, x - mean
        objective = 0.5 * float(e @ e + away @ penalty @ away) - float(linear @ x)
        return objective, slope * e, np.maximum(slope**2 + second * e, 0)

    x = before.astype(np.float64)
    objective, first, second = look(x)
    for _ in range(_MOST_STEPS):
        hessian = (y * second[:, None]).T @ y + penalty
        largest = float((unit**2 * hessian.diagonal()).max()) or 1.0
        hessian.flat[:: len(x) + 1] += _DAMPING * largest / unit**2
        gradient = first @ y + penalty @ (x - mean) - linear
        step = np.linalg.solve(hessian, gradient)
        if step @ gradient <= _TOLERANCE**2 * (x @ hessian @ x):
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
