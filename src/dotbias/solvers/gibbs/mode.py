"""The rows of one kind, and what they are drawn from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import csr_array

from dotbias.data.vocabulary import Index
from dotbias.models.base import Array
from dotbias.solvers.checkpoint import Arrays
from dotbias.solvers.gibbs.effects import Effects
from dotbias.solvers.gibbs.kernels import draw_rows, key_of, moments, part_sums
from dotbias.solvers.gibbs.scales import BIAS, EFFECTS, FACTORS, Parts

# Weak priors, for ratings whose standard deviation is 1: the mean of a mode's rows counts as two rows
# (Salakhutdinov & Mnih 2008, section 3.1: β₀ = 2).
_PRIOR_ROWS = 2.0
# Without ratings to tell, products of users' and items' factors make up this share of the variance.
# Rows with few ratings cannot tell taste from noise, and a chain that is left to itself takes one for
# the other: the noise that it finds falls, and its predictions get worse, for hundreds of samples.
_TASTE = 0.05
# The prior weighs as much as the rows themselves where they have next to no ratings, and a quarter of it
# where a rating's row has this many.
_FEW_RATINGS = 10.0


class Mode:
    """The rows of one kind, their ratings row by row, and their prior.

    A row's covariance has an inverse Wishart prior around ``diag(v)``. The variance of biases in ``v``
    is drawn as well, with a half-normal prior of its root; that of factors is fixed.

    Args:
        table: all rows of all modes.
        n_columns: columns of the table in use.
        members: the row of the table that each rating has in every mode.
        mode: which of the modes it is.
        here: where in the table its rows are; the stranger comes after them.
        targets: ratings less their mean, in units of their standard deviation.
        features: blocks of features of the rows.
    """

    def __init__(
        self,
        table: Array,
        n_columns: int,
        members: Index,
        mode: int,
        here: slice,
        targets: Array,
        features: Sequence[csr_array],
    ) -> None:
        rows = members[:, mode] - here.start
        self.table, self.n_columns = table, n_columns
        self.by_row = by_row = np.argsort(rows, kind="stable")
        self.counts = np.bincount(rows, minlength=here.stop - here.start)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])
        self.partners = np.ascontiguousarray(np.delete(members, mode, axis=1)[by_row])
        self.targets = targets[by_row]
        self.order = np.argsort(-self.counts, kind="stable")
        self.here = here
        self.prior_mean = np.zeros_like(table[self.here])
        self.factor = np.eye(n_columns)
        of_a_rating = float(np.square(self.counts, dtype=np.float64).sum()) / len(members)
        weight = (_FEW_RATINGS / (_FEW_RATINGS + of_a_rating)) ** 2
        self.freedom = n_columns + weight * len(self.counts)
        self.variances = np.full(n_columns, np.sqrt(_TASTE / max(1, n_columns - 1)))
        self.effects = (
            Effects(features, self.prior_mean.shape, n_columns, weight) if features else None
        )

    def arrays(self) -> Arrays:
        """What one draw leaves to the next, beside the rows."""
        arrays: Arrays = {"variances": self.variances}
        if self.effects is not None:
            arrays |= self.effects.arrays()
        return arrays

    def draw_prior(self, relaxation: float, rng: np.random.Generator) -> None:
        """Mean and covariance of the rows, and the effects of features on their means."""
        rows, k, effects = self.table[self.here], self.n_columns, self.effects
        shift = np.zeros_like(rows[:1]) if effects is None else effects.moved
        total, products = moments(rows, shift)
        n, freedom, scatter = len(rows), self.freedom, np.diag(self.freedom * self.variances)
        if effects is not None:
            more, of_effects = effects.scatter()
            freedom, scatter = freedom + more, scatter + of_effects
        mean, self.factor = _normal_wishart(total[:k], products[:k, :k], n, freedom, scatter, rng)
        # Given a bias' precision Λ₀₀, that of its prior: Λ is Wishart around 1 / v.
        rate = (1 + self.freedom * float(self.factor[0, 0] ** 2)) / 2
        self.variances[0] = rng.gamma((1 + self.freedom) / 2, 1 / rate)
        self.prior_mean[:, :k] = mean
        self.table[self.here.stop, :k] = mean
        if effects is not None:
            self.prior_mean += effects.moved
            effects.draw(rows, self.prior_mean, self.factor, relaxation, rng)
            np.subtract(self.prior_mean[:, :k], mean.astype(np.float32), out=effects.moved[:, :k])

    def draw_scales(self, noise_precision: float, weights: Array, rng: np.random.Generator) -> None:
        """Draw how large effects, biases and factors are, rows and their prior together."""
        effects, k = self.effects, self.n_columns
        moved = np.zeros_like(self.prior_mean) if effects is None else effects.moved
        sums = part_sums(
            self.starts, self.partners, self.targets, self.table, self.here.start, moved, weights
        )
        # Added up here: compiled for several threads, the order of a sum may depend on their number.
        parts = Parts(sums.sum(axis=0), noise_precision)
        if effects is not None:
            factor = parts.draw_scale(EFFECTS, effects.log_prior, rng)
            more = np.float32(factor - 1) * effects.moved
            self.prior_mean += more
            self.table[self.here] += more
            effects.scale(factor)

        def bias_prior(u: float) -> float:
            return u - float(self.variances[0] * np.exp(2 * u)) / 2

        factor = parts.draw_scale(BIAS, bias_prior, rng)
        self.variances[0] *= factor**2
        self._scale(slice(0, 1), factor)
        trace = self.variances[1:] @ np.square(self.factor[1:]).sum(axis=1)

        def factors_prior(u: float) -> float:
            return -self.freedom * ((k - 1) * u + float(trace * np.exp(-2 * u)) / 2)

        self._scale(slice(1, k), parts.draw_scale(FACTORS, factors_prior, rng))

    def _scale(self, columns: slice, factor: float) -> None:
        """Make some columns of the rows and of their prior so many times as large."""
        by = np.float32(factor)
        self.factor[columns] /= factor
        self.prior_mean[:, columns] *= by
        self.table[self.here.start : self.here.stop + 1, columns] *= by
        if self.effects is not None:
            self.effects.table[:, columns] *= by
            self.effects.moved[:, columns] *= by

    def draw_rows(
        self, noise_precision: float, weights: Array, relaxation: float, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Draw all rows; each one's sum of squared errors, weighted by its partners' weights."""
        squares = np.zeros(len(self.counts))
        draw_rows(
            self.order,
            self.starts,
            self.partners,
            self.targets,
            self.table,
            self.n_columns,
            self.here.start,
            self.prior_mean,
            self.factor,
            noise_precision,
            weights,
            relaxation,
            key_of(rng),
            squares,
        )
        return squares


def _normal_wishart(
    total: NDArray[np.float64],
    products: NDArray[np.float64],
    n: int,
    freedom: float,
    more: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of normal vectors, drawn from their posterior (Salakhutdinov & Mnih, eq. 14).

    Args:
        total: sum of the n vectors.
        products: sum of their outer products.
        n: number of vectors.
        freedom: degrees of freedom of the Wishart prior of the precision.
        more: the inverse of that prior's scale.
        rng: source of the draws.

    Returns:
        The mean, and the lower Cholesky factor of the precision.
    """
    k = len(total)
    mean = total / n
    scatter = products - n * np.outer(mean, mean)
    shrinkage = _PRIOR_ROWS * n / (_PRIOR_ROWS + n) * np.outer(mean, mean)
    # Bartlett: a Wishart matrix is (F A)(F A)ᵀ, with F Fᵀ the scale.
    upper = cholesky(more + scatter + shrinkage)
    bartlett = np.tril(rng.standard_normal((k, k)), -1)
    bartlett[np.diag_indices(k)] = np.sqrt(rng.chisquare(freedom + n - np.arange(k)))
    root = solve_triangular(upper, bartlett)
    factor = cholesky(root @ root.T, lower=True)
    noise = solve_triangular(factor, rng.standard_normal(k), lower=True, trans="T")
    return n * mean / (_PRIOR_ROWS + n) + noise / np.sqrt(_PRIOR_ROWS + n), factor
