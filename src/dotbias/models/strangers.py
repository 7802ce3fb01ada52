"""How far a row that nothing is known of may be from the mean of its kind."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.models.parameters import Array


def unknown_variance(tables: Sequence[Array], rows: Sequence[Index]) -> NDArray[np.float64]:
    """Variance of predictions of one sample that comes from rows of which nothing is known.

    Such a row is taken for the stranger, the last of its table. It may be any row of its kind: one
    around the stranger with the covariance ``C`` of the others. With ``y = (1, q)``, ``q`` the sum of
    the factors of the other kinds, a prediction's variance is ``yᵀ C y``, and more where two kinds are
    unknown: the sum of all products of their factors' covariances.

    Args:
        tables: of each kind, (n + 1, 1 + k), bias first.
        rows: of each kind the rows of the predictions, (m,); -1 or n for the stranger.

    Returns:
        Shape (m,).
    """
    out = np.zeros(len(rows[0]))
    unknown = [
        index % len(table) == len(table) - 1 for table, index in zip(tables, rows, strict=True)
    ]
    covariances: dict[int, NDArray[np.float64]] = {}
    for m, (table, here) in enumerate(zip(tables, unknown, strict=True)):
        if not here.any():
            continue
        away = (table[:-1] - table[-1]).astype(np.float64)
        covariances[m] = away.T @ away / max(1, len(away))
        y = np.zeros((int(here.sum()), table.shape[1]))
        for n, (other, index) in enumerate(zip(tables, rows, strict=True)):
            if n != m:
                y += other[index[here]]
        y[:, 0] = 1
        out[here] += np.einsum("mk,kl,ml->m", y, covariances[m], y, optimize=True)
        for n in range(m):
            if n in covariances:
                both = covariances[m][1:, 1:] * covariances[n][1:, 1:]
                out[here & unknown[n]] += both.sum()
    return out
