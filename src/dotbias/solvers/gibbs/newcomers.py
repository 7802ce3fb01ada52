"""What features say of users and items that come later: rows of a sample, regressed on them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, lsmr

# Precision of effects relative to that of what they leave of a row, as in ``effects``; three times as
# much or a third changed errors of ml-100k's newcomers by less than one per cent (docs/results.md).
_PRECISION = 10.0


class Regressed(NamedTuple):
    """Rows as ``a + Gᵀ f + rest``.

    Args:
        mean: ``a``, that of a row whose features are zero, shape (w,).
        effects: ``G``, shape (n_features, w).
        rest: what they leave of each row, shape (n, w), of mean zero.
    """

    mean: NDArray[np.float64]
    effects: NDArray[np.float64]
    rest: NDArray[np.float64]


def regressed(features: csr_array, rows: NDArray[np.float64]) -> Regressed:
    """Ridge regression of rows (n, w) on their features (n, n_features), with an intercept.

    These are not the effects that a chain draws. Beside histories, a feature has there what it says of a
    row whose history is known, and one without a history is one that nobody rates. Of a newcomer the
    history is not known, and features stand for it too.
    """
    table = features.astype(np.float64)
    n, n_features = table.shape
    centre, mean = np.asarray(table.mean(axis=0)).ravel(), rows.mean(axis=0)
    centred = LinearOperator(
        (n, n_features),
        matvec=lambda x: table @ x - centre @ x,
        rmatvec=lambda y: table.T @ y - centre * y.sum(),
        dtype=np.float64,
    )
    effects = np.empty((n_features, rows.shape[1]))
    for at, column in enumerate((rows - mean).T):
        effects[:, at] = lsmr(centred, column, damp=np.sqrt(_PRECISION))[0]
    mean = mean - centre @ effects
    return Regressed(mean, effects, rows - mean - table @ effects)
