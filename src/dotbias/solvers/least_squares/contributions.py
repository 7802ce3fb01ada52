"""What a prediction is made of: one part for each rating that the row rests on.

A user's row that is solved with everything else held (``fold_in``) is a weighted sum of the ratings it
is solved from, and so is each prediction.
"""

from typing import NamedTuple

import numpy as np

from dotbias.data.vocabulary import Index
from dotbias.models.base import Array, Model, Parameters
from dotbias.solvers.least_squares.fold_in import (
    Prior,
    Table,
    _curve,
    _is_sigmoid,
    fold_in,
    rows_of,
)
from dotbias.solvers.objective import row_weights

# Directions that hold a smaller share of the normal equations than this count as open.
_OPEN = 1e-12
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
    model: Model, parameters: Parameters, rated: Index, values: Array, item: int
) -> Contributions:
    """What the rating that a folded-in user would give to one item is made of.

    The user's row ``x = (b, p)`` minimises ``½ Σ (r̂ - r)² + ½ w (x - m)ᵀ P (x - m)`` (``fold_in``), with
    ``y = (1, q)`` of each rating's item and that item's bias ``b_i``. Where the gradient vanishes, with
    ``s`` the slope of ``r̂`` in ``z`` and ``e = r̂ - r``, the row is a sum over the ratings:

    ``x = A⁻¹ (Σ y t + w P m)``, ``A = Σ s² y yᵀ + w P``, ``t = s² yᵀx - s e``.

    In the linear form ``s`` is 1 and ``t = r - μ - b_i``, so this is ridge regression. For the item
    asked about, ``(0, q)ᵀA⁻¹ y t`` is the part of a rating and ``(0, q)ᵀA⁻¹ w P m`` that of the prior.
    Where ratings and penalty leave a direction open, ``A⁻¹`` is the pseudo-inverse; there the row stays
    at the prior's mean, which counts as the prior's part.

    In the sigmoid form these parts are in ``z`` and become ratings by integrated gradients
    (Sundararajan, Taly & Yan 2017, eq. 1) on the straight line from the global mean to the prediction:
    ``z`` is a sum, so each part is multiplied by the mean slope on the line.

    All of it in double precision.

    Args:
        model: the formula.
        parameters: its fitted arrays.
        rated: indices of the items that the user has rated, shape (n,).
        values: the ratings, shape (n,).
        item: index of the item whose prediction is taken apart.

    Returns:
        Parts that add up to the folded-in prediction before it is cut off.

    Raises:
        ModelFileError: for a model without priors, which an older version has saved.
        SettingError: for a network.
    """
    prior = Prior.of(parameters, "user")
    mean = prior.mean.astype(np.float64)
    y = rows_of(model, parameters, "item", rated).astype(np.float64)  # (n, 1 + k)
    held, y[:, 0] = y[:, 0].copy(), 1
    asked = rows_of(model, parameters, "item", np.array([item], np.int32))[0].astype(np.float64)
    item_bias, asked[0] = float(asked[0]), 0

    ends = np.array([0, len(rated)])
    x = mean  # from where the linear form takes one step to the solution
    if _is_sigmoid(model):
        x = fold_in(model, parameters, "user", ends, rated, values)[0].astype(np.float64)
    rating, slope, _ = _curve(model, parameters, held + y @ x)
    squares = slope**2
    targets = squares * (y @ x) - slope * (rating - values)  # (n,)
    penalty = float(row_weights(parameters, np.diff(ends))[0]) * prior.precision.astype(np.float64)
    normal = (y * squares[:, None]).T @ y + penalty
    inverse = np.linalg.pinv(normal, rcond=_OPEN, hermitian=True)
    # w P m and what stays at the mean in open directions.
    kept = mean - inverse @ (y.T @ (squares * (y @ mean)))

    user_bias = float(inverse[0] @ (y.T @ targets) + kept[0])
    assumed = float(asked @ kept)
    parts = (y @ (inverse @ asked)) * targets
    z = user_bias + item_bias + assumed + float(parts.sum())
    start, mean_slope = _line(model, parameters, z)
    return Contributions(
        global_mean=start,
        user_bias=mean_slope * user_bias,
        item_bias=mean_slope * item_bias,
        assumed=mean_slope * assumed,
        rated=mean_slope * parts,
    )


def _line(model: Model, parameters: Parameters, z: float) -> tuple[float, float]:
    """The rating at the global mean, and the mean slope from there to ``z``."""
    ratings, slopes, _ = _curve(model, parameters, np.array([0.0, z]))
    start, end = ratings.tolist()
    if abs(z) < _AT_THE_MEAN:
        return start, float(slopes[0])
    return start, (end - start) / z
