"""How features of a row move its prior mean."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.sparse import csc_array, csr_array, hstack

from dotbias.data.ratings import Ratings
from dotbias.models.base import Array
from dotbias.solvers.checkpoint import Arrays
from dotbias.solvers.gibbs.kernels import draw_effects, from_groups, key_of, moments, to_groups
from dotbias.solvers.least_squares.normal_equations import LANES, padded

# What the prior takes effects for: it moves rows by a tenth of the variance that they have around it.
_PRECISION = 10.0
# Precision of the effects that a chain starts from.
_START = 1.0


class Effects:
    """How the features of a mode's rows move their prior means (Simm et al. 2015; one block for each
    source of features, with a precision of its own).

    The standard deviation ``1 / √λ`` of a block's effects has a flat prior, and ``weight`` times as many
    effects as there are of precision 10 speak beside the drawn ones.

    Args:
        blocks: the features of each source, (n_rows, n_features).
        shape: of the table of rows, (n_rows, width).
        k: columns of the table in use.
        weight: of the prior.
    """

    def __init__(
        self, blocks: Sequence[csr_array], shape: tuple[int, ...], k: int, weight: float
    ) -> None:
        columns = csc_array(hstack(blocks, format="csc", dtype=np.float32))
        self.starts, self.rows = columns.indptr, columns.indices
        self.values = columns.data
        ends = np.cumsum([block.shape[1] for block in blocks])
        self.blocks = [
            slice(int(e) - b.shape[1], int(e)) for e, b in zip(ends, blocks, strict=True)
        ]
        self.decay = np.full(int(ends[-1]), _START, np.float32)
        n, groups = len(self.decay), padded(k) // LANES
        self.k, self.weight = k, weight
        self.table = np.zeros((n, shape[1]), np.float32)
        self.moved = np.zeros(shape, np.float32)
        self._effects = np.zeros((groups, n, LANES), np.float32)
        self._residual = np.zeros((groups, shape[0], LANES), np.float32)

    def arrays(self) -> Arrays:
        """What one draw leaves to the next: precisions, effects, and how they move the means."""
        return {"decay": self.decay, "table": self.table, "moved": self.moved}

    def scatter(self) -> tuple[int, NDArray[np.float64]]:
        """Number of features, and what their effects say about the rows' covariance."""
        k = self.k
        total = np.zeros((k, k))
        nothing = np.zeros_like(self.table[:1])
        for block in self.blocks:
            total += self.decay[block][0] * moments(self.table[block], nothing)[1][:k, :k]
        return len(self.decay), total

    def draw(
        self,
        rows: Array,
        prior_mean: Array,
        factor: NDArray[np.float64],
        relaxation: float,
        rng: np.random.Generator,
    ) -> None:
        """Draw the effects, and take the change of the rows' prior means over."""
        k, width = len(factor), rows.shape[1]
        there, back = np.zeros((2, width, width), np.float32)
        there[:k, :k] = factor
        back[:k, :k] = solve_triangular(factor, np.eye(k), lower=True)
        nothing = np.zeros_like(self.table)
        to_groups(rows, prior_mean, there, self._residual)
        to_groups(self.table, nothing, there, self._effects)
        draw_effects(
            self.starts,
            self.rows,
            self.values,
            self.decay,
            self._effects,
            self._residual,
            np.float32(relaxation),
            key_of(rng),
        )
        from_groups(self._effects, back, self.table)
        from_groups(self._residual, back, prior_mean)
        np.subtract(rows, prior_mean, out=prior_mean)
        for block in self.blocks:
            drawn = self._effects[:, block].astype(np.float64)
            flat = drawn.transpose(1, 0, 2).reshape(len(drawn[0]), -1)[:, :k]
            size = float(np.einsum("fk,fk->", flat, flat))
            shape, rate = self._prior(block)
            self.decay[block] = rng.gamma(shape + flat.size / 2, 1 / (rate + size / 2))

    def _prior(self, block: slice) -> tuple[float, float]:
        """Shape and rate of the gamma prior of a block's precision."""
        pseudo = self.weight * self.k * (block.stop - block.start) / 2
        return pseudo - 0.5, pseudo / _PRECISION

    def log_prior(self, u: float) -> float:
        """What the prior says of effects and their deviations, all ``exp(u)`` times as large."""
        total = 0.0
        for block in self.blocks:
            shape, rate = self._prior(block)
            total -= 2 * shape * u + rate * float(self.decay[block.start]) * float(np.exp(-2 * u))
        return total

    def scale(self, factor: float) -> None:
        """Make effects and their standard deviations so many times as large."""
        self.decay /= np.float32(factor**2)
        self.table *= np.float32(factor)
        self.moved *= np.float32(factor)


def features_of(ratings: Ratings, histories: bool) -> tuple[list[csr_array], list[csr_array]]:
    """The blocks of features of users and of items."""
    users: list[csr_array] = []
    items: list[csr_array] = []
    if histories:
        shape = ratings.n_users, ratings.n_items
        ones = np.ones(len(ratings), np.float32)
        rated = csr_array((ones, (ratings.user_indices, ratings.item_indices)), shape=shape)
        users.append(_normalised(rated))
        items.append(_normalised(csr_array(rated.T)))
    if ratings.features is not None:
        if ratings.features.users is not None:
            users.append(ratings.features.users)
        if ratings.features.items is not None:
            items.append(ratings.features.items)
    return users, items


def _normalised(table: csr_array) -> csr_array:
    """Each row divided by the root of its number of entries, as in SVD++."""
    counts = np.maximum(np.diff(table.indptr), 1)
    scaled = (1 / np.sqrt(np.repeat(counts, np.diff(table.indptr)))).astype(np.float32)
    return csr_array((scaled, table.indices, table.indptr), shape=table.shape)
