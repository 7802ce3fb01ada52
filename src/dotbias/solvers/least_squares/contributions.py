"""What a prediction is made of: one part for each rating that the row rests on.

A user's row that is solved with everything else held (``fold_in``) is a weighted sum of the ratings it
is solved from, and so is each prediction.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import csr_array

from dotbias.data.vocabulary import Index
from dotbias.models.base import Model, Observed
from dotbias.models.feature_prior import prior_of_rows
from dotbias.models.parameters import Array, Parameters
from dotbias.models.row_form import Response
from dotbias.solvers.least_squares.fold_in import Table, checked_ratings, fold_in, units

# Directions that hold a smaller share of the normal equations than this count as open.
_OPEN = 1e-12
# Reciprocal condition above which none does.
_FAR_FROM_OPEN = 1e-9
# Nearer to the global mean than this, in ``z``, the slope there serves for that of the line to it.
_AT_THE_MEAN = 1e-7


class Contributions(NamedTuple):
    """Parts of one prediction before it is cut off at the ends of the scale, in rating units.

    Args:
        global_mean: what is predicted where nothing is known.
        user_bias: bias of the folded-in row.
        item_bias: bias of the item.
        assumed: what the prior's mean puts into the factors; 0 where that mean is 0.
        rated: the part of each rating of the user, shape (n,).
    """

    global_mean: float
    user_bias: float
    item_bias: float
    assumed: float
    rated: Table

    @property
    def total(self) -> float:
        """Their sum: the prediction by the folded-in row."""
        fixed = self.global_mean + self.user_bias + self.item_bias + self.assumed
        return fixed + float(self.rated.sum())


def contributions(
    model: Model,
    parameters: Parameters,
    rated: Index,
    values: Array,
    item: int,
    *,
    observed: Observed | None = None,
    features: csr_array | None = None,
) -> Contributions:
    """What the rating that a folded-in user would give to one item is made of (``contributions_to``)."""
    items = np.array([item], np.int32)
    return contributions_to(
        model, parameters, rated, values, items, observed=observed, features=features
    )[0]


def contributions_to(
    model: Model,
    parameters: Parameters,
    rated: Index,
    values: Array,
    items: Index,
    *,
    observed: Observed | None = None,
    features: csr_array | None = None,
) -> list[Contributions]:
    """What the ratings that a folded-in user would give to each of several items are made of.

    The user's row ``x = (b, p)`` minimises ``½ Σ (r̂ - r)² + ½ w (x - m)ᵀ P (x - m)`` (``fold_in``), with
    ``y = (1, q)`` of each rating's item and that item's bias ``b_i``. Where the gradient vanishes, with
    ``s`` the slope of ``r̂`` in ``z`` and ``e = r̂ - r``, the row is a sum over the ratings:

    ``x = A⁻¹ (Σ y t + w P m)``, ``A = Σ s² y yᵀ + w P``, ``t = s² yᵀx - s e``.

    In the linear form ``s`` is 1 and ``t = r - μ - b_i``, so this is ridge regression. For the item
    asked about, ``(0, q)ᵀA⁻¹ y t`` is the part of a rating and ``(0, q)ᵀA⁻¹ w P m`` that of the prior.
    Where ratings and penalty leave a direction open, ``A⁻¹`` is the pseudo-inverse; there the row stays
    at the prior's mean, which counts as the prior's part.

    Where a model has targets in the place of ratings and weighs errors by ``c`` (``Model.observed``),
    ``A = Σ c s² y yᵀ + w P`` and ``t = c (s² yᵀx - s e)``.

    In the sigmoid form these parts are in ``z`` and become ratings by integrated gradients
    (Sundararajan, Taly & Yan 2017, eq. 1) on the straight line from the global mean to the prediction:
    ``z`` is a sum, so each part is multiplied by the mean slope on the line.

    What the model projects (``RowForm.projected``) adds ``c t y · q / s`` to the part of a rating.

    All of it in double precision.

    Args:
        model: the formula.
        parameters: its fitted arrays.
        rated: indices of the items that the user has rated, shape (n,).
        values: the ratings, shape (n,).
        items: indices of the m items whose predictions are taken apart, by one regression; -1 for one of
            which nothing is known.
        observed: as in ``fold_in``.
        features: of the user, shape (1, n_features), as in ``fold_in``.

    Returns:
        For each item parts that add up to the folded-in prediction before it is cut off.

    Raises:
        ModelFileError: for a model without priors, which an older version has saved.
        SettingError: for a model without row form, or arrays that do not fit together.
        DataError: for ratings that do not.
    """
    form = model.row_form(parameters, "user")
    prior, moved = prior_of_rows(form, "user", 1, features)
    ends, rated, values = checked_ratings(form, np.array([0, len(rated)]), rated, values)
    mean = prior.mean.astype(np.float64) + (0 if moved is None else moved[0])
    width = form.regressed.width
    # (n, 1 + k) and (n, w)
    y, beside = np.split(form.others(rated).astype(np.float64), [width], axis=1)
    held, y[:, 0] = y[:, 0].copy(), form.lead
    asked = np.zeros((len(items), form.width))
    asked[items >= 0] = form.others(items[items >= 0])
    asked, asked_beside = np.split(asked, [width], axis=1)  # (m, 1 + k) and (m, w)
    item_bias, asked[:, 0] = asked[:, 0].copy(), 0

    x = mean  # from where the linear form takes one step to the solution
    if not form.response.linear:
        folded = fold_in(
            model, parameters, "user", ends, rated, values, observed=observed, features=features
        )
        x = folded[0, :width].astype(np.float64)
    z = held + y @ x
    rating, (slope, _) = form.response.rating(z), form.response.derivatives(z)
    known = observed or model.observed(parameters, "user", ends, rated, values)
    wanted, importance = known.checked(len(values))
    slope_here = slope if importance is None else slope * importance
    squares = slope_here * slope
    targets = squares * (y @ x) - slope_here * (rating - wanted)  # (n,)
    penalty = float(prior.weights(np.diff(ends))[0]) * prior.precision.astype(np.float64)
    penalty.flat[:: len(penalty) + 1] += prior.ridge(np.diff(ends))[0]
    normal = (y * squares[:, None]).T @ y + penalty
    normal[0, 0] += 1 - form.lead  # without a bias nothing else is there
    # A⁻¹ of what the items have, of the bias alone, and of what takes the prior's mean away.
    rights = np.column_stack([asked.T, np.eye(1, width).T, y.T @ (squares * (y @ mean))])
    # In units, lest that of the ratings decide which directions are open.
    unit = units(form.response, y, prior.precision).astype(np.float64)
    solved = unit[:, None] * _solved(np.outer(unit, unit) * normal, unit[:, None] * rights)
    of_items, of_bias, back = solved[:, :-2], solved[:, -2], solved[:, -1]
    kept = mean - back  # w P m and what stays at the mean in open directions

    user_bias = float(of_bias @ (y.T @ targets) + kept[0])
    assumed = asked @ kept  # (m,)
    parts = (y @ of_items) * targets[:, None]  # (n, m)
    if form.projected:
        pull = wanted if importance is None else importance * wanted
        parts += pull[:, None] * (beside @ (asked_beside / form.singular_values).T)
    found = []
    for one, end in enumerate(user_bias + item_bias + assumed + parts.sum(axis=0)):
        start, mean_slope = _line(form.response, float(end))
        made = Contributions(
            global_mean=start,
            user_bias=mean_slope * user_bias,
            item_bias=mean_slope * float(item_bias[one]),
            assumed=mean_slope * float(assumed[one]),
            rated=mean_slope * parts[:, one],
        )
        found.append(made)
    return found


def _solved(normal: Table, rights: Table) -> Table:
    """The solutions, shape (1 + k, m), for m right sides; and where ratings and penalty leave directions
    open, those of the pseudo-inverse.
    """
    factor, failed = lapack.dpotrf(normal, lower=1)
    if not failed:
        closeness, _ = lapack.dpocon(factor, np.linalg.norm(normal, 1), uplo="L")
        if closeness > _FAR_FROM_OPEN:  # by far the quicker way
            solved: Table = lapack.dpotrs(factor, rights, lower=1)[0]
            return solved
    return np.asarray(np.linalg.pinv(normal, rcond=_OPEN, hermitian=True) @ rights, np.float64)


def _line(response: Response, z: float) -> tuple[float, float]:
    """The rating at the global mean, and the mean slope from there to ``z``."""
    ends = np.array([0.0, z])
    start, end = response.rating(ends).tolist()
    if abs(z) < _AT_THE_MEAN or response.linear:
        return start, float(response.derivatives(ends)[0][0])
    return start, (end - start) / z
