"""How sure a mean over users is, by drawing the users again (Efron 1979)."""

import numpy as np
from numpy.typing import NDArray

from dotbias.settings import generator

N_RESAMPLES = 2000
# Numbers that are drawn at once.
_CHUNK = 2_000_000


def bootstrap_interval(
    values: NDArray[np.float64],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Percentile intervals of the means of columns whose rows are drawn together, with replacement.

    Of differences between two methods for the same users this is the paired bootstrap.

    Args:
        values: shape (n, c), n > 0.
        level: share of the resampled means that lies between the ends.
        n_resamples: how often n rows are drawn.
        seed: of the draws.

    Returns:
        Lower and upper ends, shape (2, c).

    >>> bootstrap_interval(np.array([[0.0, 2.0], [1.0, 2.0], [2.0, 2.0], [3.0, 2.0]]))
    array([[0.5, 2. ],
           [2.5, 2. ]])
    """
    rng, n = generator(seed), len(values)
    columns = np.ascontiguousarray(values.T)
    means = np.empty((len(columns), n_resamples))
    step = max(1, _CHUNK // n)
    for start in range(0, n_resamples, step):
        part = slice(start, min(start + step, n_resamples))
        drawn = rng.integers(0, n, (part.stop - part.start, n), np.int32)
        for column, of_column in zip(columns, means, strict=True):
            of_column[part] = column[drawn].mean(axis=1)
    ends = (1 - level) / 2, (1 + level) / 2
    interval: NDArray[np.float64] = np.quantile(means, ends, axis=1)
    return interval
