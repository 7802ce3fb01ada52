"""One chain of the Gibbs sampler: its state, and how one sample follows from the last."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import csc_array, csr_array, hstack

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import DataError
from dotbias.memory import check_memory
from dotbias.models.base import Array
from dotbias.settings import generator
from dotbias.solvers.checkpoint import Arrays
from dotbias.solvers.gibbs.kernels import (
    draw_effects,
    draw_rows,
    from_groups,
    moments,
    predict_rows,
    to_groups,
)
from dotbias.solvers.gibbs.ordinal import Ordinal
from dotbias.solvers.least_squares.normal_equations import LANES, padded

# Weak priors, for ratings whose standard deviation is 1: the mean of a mode's rows counts as two rows
# (Salakhutdinov & Mnih 2008, section 3.1: β₀ = 2, W₀ the identity, as many degrees of freedom as
# columns).
_PRIOR_ROWS = 2.0
# Standard deviation of the factors that a chain starts from; biases start from zero.
_START = 0.1
# Precision of the effects that a chain starts from. It moves slowly: from 10, the error of 200 samples
# on validation rows of ml-latest-small was 0.824, from here 0.812, and 0.809 after long chains from
# either.
_EFFECT_START = 0.3
# Shape and rate of the gamma priors of the noise precision and of the effects' precision.
_NOISE_PRIOR = 1.0, 1.0
_EFFECT_PRIOR = 1.0, 0.1

# Parts of a chain's state, beside the precisions of effects, that are above 0.
_POSITIVE = ("weights", "noise_precision", "step")


class Chain:
    """The state of one chain.

    Ratings count in units of their standard deviation, less their mean. A mode is a kind of row: users,
    items, and each feature of single ratings; every rating has one row of each. After its own rows a
    mode has one more, the stranger: a row that nothing is known of, at the mean of its prior.

    Args:
        ratings: the training ratings, with the features that they carry.
        n_factors: length of the embeddings.
        histories: whether a row's prior mean moves with the set of its partners.
        noise_freedom: degrees of freedom of each user's and item's noise, or None.
        ordinal: whether ratings are ordered categories; predictions are latent numbers then.
        seed: of everything that is drawn.

    Raises:
        SettingError: for counts or events.
    """

    def __init__(
        self,
        ratings: Ratings,
        *,
        n_factors: int,
        histories: bool,
        noise_freedom: float | None,
        ordinal: bool,
        seed: int,
    ) -> None:
        ratings.require_ratings()
        self.rng = generator(seed)
        self.mean, self.std = ratings.global_mean, ratings.std
        self.ordinal = Ordinal.of(ratings.values) if ordinal else None
        self.n_columns, self.noise_freedom = 1 + n_factors, noise_freedom
        codes = {} if ratings.features is None else ratings.features.ratings
        self.features = tuple(codes)
        sizes = [ratings.n_users, ratings.n_items, *(int(c.max()) + 1 for c in codes.values())]
        self.sizes = tuple(sizes)
        columns = padded(self.n_columns + 1)
        taken = columns * (sum(sizes) + len(sizes)) + 2 * columns**2  # rows, and their precisions
        check_memory(taken, f"Gibbs sampling with n_factors={n_factors}")
        ends = np.cumsum([size + 1 for size in sizes])
        self.table = np.zeros((int(ends[-1]), columns), np.float32)
        self.firsts = tuple(int(end) - size - 1 for end, size in zip(ends, sizes, strict=True))
        for first, size in zip(self.firsts, sizes, strict=True):
            start = self.rng.standard_normal((size, n_factors), np.float32) * np.float32(_START)
            self.table[first : first + size, 1 : self.n_columns] = start
        self.weights = np.ones(len(self.table), np.float32)
        self.noise_precision = 1.0
        self._squares = float(len(ratings))
        self._members = members = self.members(ratings.user_indices, ratings.item_indices, codes)
        targets = ((ratings.values - self.mean) / self.std).astype(np.float32)
        effects = _effects(ratings, histories)
        self.modes = [
            _Mode(
                self.table,
                self.n_columns,
                members,
                m,
                slice(first, first + size),
                targets,
                effects[m] if m < 2 else [],
            )
            for m, (first, size) in enumerate(zip(self.firsts, sizes, strict=True))
        ]
        self.n_ratings = len(ratings)

    @property
    def bytes(self) -> int:
        """Memory of one kept sample."""
        return 4 * len(self.table) * self.n_columns

    @property
    def noise(self) -> float:
        """Standard deviation of the noise, in rating units."""
        return self.std / float(np.sqrt(self.noise_precision))

    @property
    def train_rmse(self) -> float:
        """Of the present sample, in rating units; errors count by the weights of their rows."""
        return self.std * float(np.sqrt(self._squares / self.n_ratings))

    def members(self, users: Index, items: Index, codes: Mapping[str, Index]) -> Index:
        """The row of the table that each rating has in every mode, (n, n_modes).

        An index of -1 is the stranger, and so is a category that no training rating has had.
        """
        columns = [
            users,
            items,
            *(codes.get(name, np.full(len(users), -1)) for name in self.features),
        ]
        out = np.empty((len(users), len(self.sizes)), np.int32)
        for m, (column, size) in enumerate(zip(columns, self.sizes, strict=True)):
            known = (column >= 0) & (column < size)
            out[:, m] = self.firsts[m] + np.where(known, column, size)
        return out

    def predict(self, members: Index) -> NDArray[np.float64]:
        """The present sample's predictions, in rating units, not clipped."""
        z = predict_rows(self.table, members).astype(np.float64)
        if self.ordinal is not None:
            return self.ordinal.expected(z, self.precisions(members))[0]
        rating: NDArray[np.float64] = self.mean + self.std * z
        return rating

    def precisions(self, members: Index) -> NDArray[np.float64]:
        """The present sample's noise precision of single ratings, (n,), as a factor of the common
        one.
        """
        precisions: NDArray[np.float64] = np.prod(self.weights[members], axis=1, dtype=np.float64)
        return precisions

    def sweep(self) -> None:
        """One more sample."""
        if self.ordinal is not None:
            z = predict_rows(self.table, self._members).astype(np.float64)
            latent = self.ordinal.draw(z, self.precisions(self._members), self.rng)
            for mode in self.modes:
                mode.targets = latent[mode.by_row]
        for m, mode in enumerate(self.modes):
            mode.draw_prior(self.rng)
            squares = mode.draw_rows(self.noise_precision, self.weights, self.rng)
            freedom = self.noise_freedom
            if freedom is not None and m < 2:
                rates = (freedom + self.noise_precision * squares) / 2
                drawn = self.rng.gamma((freedom + mode.counts) / 2, 1 / rates)
                self.weights[mode.here] = drawn
            self._squares = float(self.weights[mode.here] @ squares)
        if self.ordinal is not None:
            return  # the noise is what a latent number is measured in
        shape, rate = _NOISE_PRIOR
        self.noise_precision = self.rng.gamma(
            shape + self.n_ratings / 2, 1 / (rate + self._squares / 2)
        )

    def state(self) -> Arrays:
        """All arrays that a sweep changes and the next one reads, copied."""
        arrays: Arrays = {"table": self.table, "weights": self.weights}
        arrays["noise_precision"] = np.array([self.noise_precision])
        if (walk := self.ordinal) is not None:
            arrays |= {"thresholds": walk.thresholds, "step": np.array([walk.step])}
            arrays["n_draws"] = np.array([walk.n_draws])
        for m, mode in enumerate(self.modes):
            if mode.effects is not None:
                arrays |= {f"effects/{m}/{n}": a for n, a in mode.effects.arrays().items()}
        return {name: array.copy() for name, array in arrays.items()}

    def set_state(self, arrays: Arrays) -> None:
        """Put back what ``state`` gave.

        Raises:
            DataError: for precisions that are not above 0, or thresholds that do not rise.
        """
        for name in self.state():
            positive = name in _POSITIVE or name.endswith("/decay")
            if positive and not (arrays[name] > 0).all():
                raise DataError(f"the array {name} must be above 0")
        if (walk := self.ordinal) is not None:
            if not (np.diff(arrays["thresholds"]) > 0).all():
                raise DataError("the array thresholds must rise")
            walk.thresholds = arrays["thresholds"].copy()
            walk.step, walk.n_draws = float(arrays["step"][0]), int(arrays["n_draws"][0])
        self.table[:], self.weights[:] = arrays["table"], arrays["weights"]
        self.noise_precision = float(arrays["noise_precision"][0])
        for m, mode in enumerate(self.modes):
            if mode.effects is not None:
                for name, own in mode.effects.arrays().items():
                    own[:] = arrays[f"effects/{m}/{name}"]


class _Mode:
    """The rows of one kind, their ratings row by row, and their prior."""

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
        self.precision = np.zeros((table.shape[1], table.shape[1]), np.float32)
        self.effects = _Effects(features, self.prior_mean.shape, n_columns) if features else None

    def draw_prior(self, rng: np.random.Generator) -> None:
        """Mean and covariance of the rows, and the effects of features on their means."""
        rows, k, effects = self.table[self.here], self.n_columns, self.effects
        shift = np.zeros_like(rows[:1]) if effects is None else effects.moved
        total, products = moments(rows, shift)
        n, more, scatter = len(rows), 0, np.zeros((k, k))
        if effects is not None:
            more, scatter = effects.scatter(k)
        mean, factor = _normal_wishart(total[:k], products[:k, :k], n, more, scatter, rng)
        self.precision[:k, :k] = factor @ factor.T
        self.prior_mean[:, :k] = mean
        self.table[self.here.stop, :k] = mean
        if effects is not None:
            self.prior_mean += effects.moved
            effects.draw(rows, self.prior_mean, factor, rng)
            np.subtract(self.prior_mean[:, :k], mean.astype(np.float32), out=effects.moved[:, :k])

    def draw_rows(
        self, noise_precision: float, weights: Array, rng: np.random.Generator
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
            self.precision,
            np.float32(noise_precision),
            weights,
            _key(rng),
            squares,
        )
        return squares


class _Effects:
    """How the features of a mode's rows move their prior means (Simm et al. 2015; one block for each
    source of features, with a precision of its own).
    """

    def __init__(self, blocks: Sequence[csr_array], shape: tuple[int, ...], k: int) -> None:
        columns = csc_array(hstack(blocks, format="csc", dtype=np.float32))
        self.starts, self.rows = columns.indptr, columns.indices
        self.values = columns.data
        ends = np.cumsum([block.shape[1] for block in blocks])
        self.blocks = [
            slice(int(e) - b.shape[1], int(e)) for e, b in zip(ends, blocks, strict=True)
        ]
        self.decay = np.full(int(ends[-1]), _EFFECT_START, np.float32)
        n, groups = len(self.decay), padded(k) // LANES
        self.table = np.zeros((n, shape[1]), np.float32)
        self.moved = np.zeros(shape, np.float32)
        self._effects = np.zeros((groups, n, LANES), np.float32)
        self._residual = np.zeros((groups, shape[0], LANES), np.float32)

    def arrays(self) -> Arrays:
        """What one draw leaves to the next: precisions, effects, and how they move the means."""
        return {"decay": self.decay, "table": self.table, "moved": self.moved}

    def scatter(self, k: int) -> tuple[int, NDArray[np.float64]]:
        """Number of features, and what their effects say about the rows' covariance."""
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
            _key(rng),
        )
        from_groups(self._effects, back, self.table)
        from_groups(self._residual, back, prior_mean)
        np.subtract(rows, prior_mean, out=prior_mean)
        shape, rate = _EFFECT_PRIOR
        for block in self.blocks:
            drawn = self._effects[:, block].astype(np.float64)
            flat = drawn.transpose(1, 0, 2).reshape(len(drawn[0]), -1)[:, :k]
            size = float(np.einsum("fk,fk->", flat, flat))
            self.decay[block] = rng.gamma(shape + flat.size / 2, 1 / (rate + size / 2))


def _effects(ratings: Ratings, histories: bool) -> tuple[list[csr_array], list[csr_array]]:
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


def _normal_wishart(
    total: NDArray[np.float64],
    products: NDArray[np.float64],
    n: int,
    n_more: int,
    more: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of normal vectors, drawn from their posterior (Salakhutdinov & Mnih, eq. 14).

    Args:
        total: sum of the n vectors.
        products: sum of their outer products.
        n: number of vectors.
        n_more: number of further vectors, known to have mean zero.
        more: sum of their outer products.
        rng: source of the draws.

    Returns:
        The mean, and the lower Cholesky factor of the precision.
    """
    k = len(total)
    mean = total / n
    scatter = products - n * np.outer(mean, mean)
    shrinkage = _PRIOR_ROWS * n / (_PRIOR_ROWS + n) * np.outer(mean, mean)
    inverse_scale = np.eye(k) + scatter + shrinkage + more
    # Bartlett: a Wishart matrix is (F A)(F A)ᵀ, with F Fᵀ the scale.
    upper = cholesky(inverse_scale)
    bartlett = np.tril(rng.standard_normal((k, k)), -1)
    bartlett[np.diag_indices(k)] = np.sqrt(rng.chisquare(k + n + n_more - np.arange(k)))
    root = solve_triangular(upper, bartlett)
    factor = cholesky(root @ root.T, lower=True)
    noise = solve_triangular(factor, rng.standard_normal(k), lower=True, trans="T")
    return n * mean / (_PRIOR_ROWS + n) + noise / np.sqrt(_PRIOR_ROWS + n), factor


def _key(rng: np.random.Generator) -> np.uint64:
    return np.uint64(rng.integers(1, 2**63))
