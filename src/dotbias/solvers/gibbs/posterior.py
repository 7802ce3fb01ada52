"""The samples of a Gibbs chain, their predictions, and their mean as a single model."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, svd
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.models.parameters import DRAWN_WITH_FEATURES, Array, Parameters, constants
from dotbias.models.row_form import OTHER, Side
from dotbias.models.strangers import unknown_variance
from dotbias.settings import generator
from dotbias.solvers.checkpoint import Arrays
from dotbias.solvers.gibbs.chain import Chain
from dotbias.solvers.gibbs.kernels import predict_rows
from dotbias.solvers.gibbs.new_user import normal_of
from dotbias.solvers.gibbs.newcomers import regressed
from dotbias.solvers.gibbs.ordinal import Ordinal

# The single model's predictions may differ from the mean of all samples by so much that an error
# independent of theirs would raise the RMSE by this share of the ratings' std. Where what is cut off
# still held taste, the rise was up to three times as much (docs/results.md), and stays under 0.0005.
MOST_LOST = 0.0001
# Pairs on which that is measured, at most.
_MOST_PAIRS = 20_000
# Columns by which the rank that is tried grows.
_STEP = 48
# Columns beyond the rank that is asked for, and power iterations, of the randomised decomposition.
_OVERSAMPLE, _POWER = 10, 2


@dataclass(eq=False)
class Posterior:
    """Samples of all rows: of users, items and further modes, each mode's stranger last.

    Args:
        chain: where they come from.
        ratings: the training ratings.
        samples: for each sample the used columns of the chain's table, in units of their std.
        noise_variances: of each sample, in squared rating units.
        likelihoods: of each sample, where ratings are ordered categories.
        weights: of each sample, the factor of the noise precision of each row.
    """

    chain: Chain
    ratings: Ratings
    samples: list[Array] = field(default_factory=list)
    noise_variances: list[float] = field(default_factory=list)
    likelihoods: list[Ordinal] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)

    @classmethod
    def of(cls, chain: Chain, ratings: Ratings) -> "Posterior":
        """No samples yet."""
        return cls(chain, ratings)

    def add(self, chain: Chain) -> None:
        """Keep the present state of the chain as a sample."""
        self.samples.append(chain.table[:, : chain.n_columns].copy())
        self.noise_variances.append(chain.noise**2)
        self.weights.append(chain.weights.copy())
        if chain.ordinal is not None:
            self.likelihoods.append(replace(chain.ordinal))

    def sets(self) -> list[Arrays]:
        """Each sample as arrays by name, those of the sample itself."""
        sets: list[Arrays] = [
            {"table": table, "weights": weights, "noise_variance": np.array([variance])}
            for table, weights, variance in zip(
                self.samples, self.weights, self.noise_variances, strict=True
            )
        ]
        for one, likelihood in zip(sets, self.likelihoods, strict=False):
            one["thresholds"] = likelihood.thresholds
        return sets

    def set_sets(self, sets: list[Arrays]) -> None:
        """Put those back."""
        self.samples = [one["table"] for one in sets]
        self.weights = [one["weights"] for one in sets]
        self.noise_variances = [float(one["noise_variance"][0]) for one in sets]
        ordinal = self.chain.ordinal
        self.likelihoods = (
            []
            if ordinal is None
            else [replace(ordinal, thresholds=one["thresholds"]) for one in sets]
        )

    @property
    def noise_factors(self) -> NDArray[np.float64]:
        """Mean over samples of each row's factor of the noise variance."""
        inverse = [1 / weights for weights in self.weights]
        factors: NDArray[np.float64] = np.mean(inverse, axis=0, dtype=np.float64)
        return factors

    def predict(
        self, users: Index, items: Index, codes: dict[str, Index] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the rating that each pair would get, not clipped.

        Args:
            users: user indices, shape (n,); -1 for a user of whom nothing is known, who may be as far
                from the mean as others are.
            items: item indices, likewise.
            codes: categories of the ratings' own features; those not given are unknown.

        Returns:
            Two arrays of shape (n,), in rating units; the deviation includes the noise.
        """
        chain = self.chain
        members = chain.members(users, items, codes or {})
        total, squares = np.zeros((2, len(members)))
        n = len(self.samples)
        if self.likelihoods:
            drawn = zip(self.samples, self.weights, self.likelihoods, strict=True)
            for sample, weights, likelihood in drawn:
                z = predict_rows(sample, members).astype(np.float64)
                precision = np.prod(weights[members], axis=1, dtype=np.float64)
                expected, square = likelihood.expected(z, precision)
                total += expected
                squares += square
            return total / n, np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))
        parts = chain.parts
        rows = [members[:, m] - part.start for m, part in enumerate(parts)]
        unknown = np.zeros(len(members))
        for sample in self.samples:
            z = chain.std * predict_rows(sample, members).astype(np.float64)
            total += z
            squares += z**2
            unknown += unknown_variance([sample[part] for part in parts], rows)
        mean = total / n
        noise = np.mean(self.noise_variances) * np.prod(self.noise_factors[members], axis=1)
        variance = np.maximum(squares / n - mean**2, 0) + chain.std**2 * unknown / n
        return chain.mean + mean, np.sqrt(variance + noise)

    def _averaged(self, sample: Array) -> list[NDArray[np.float64]]:
        """A sample's rows of users and of items, (size + 1, 1 + k) each, the stranger last, in which
        features of single ratings count as their mean over the training ratings.
        """
        chain = self.chain
        parts = chain.parts
        constant, context = 0.0, np.zeros(chain.n_columns)
        for mode, part in zip(chain.modes[2:], parts[2:], strict=True):
            row = mode.counts @ sample[part][:-1].astype(np.float64) / mode.counts.sum()
            constant += row[0] + context[1:] @ row[1:]
            context += row
        users, items = (sample[part].astype(np.float64) for part in parts[:2])
        users[:, 0] += users[:, 1:] @ context[1:] + constant
        items[:, 0] += items[:, 1:] @ context[1:]
        return [users, items]

    def dot_bias(self) -> tuple[NDArray[np.float64], NDArray[np.float64], Array, Array]:
        """The mean over samples as a sum of biases and of stacked dot products.

        Features of single ratings are averaged over the training ratings.

        Returns:
            Biases of users and of items, each mode's stranger last; stacked factors of users,
            (n_users + 1, n_samples · k), and of items, whose dot products are the mean's. In units of
            their std.
        """
        n, k = len(self.samples), self.chain.n_columns - 1
        biases = [np.zeros(size + 1) for size in self.chain.sizes[:2]]
        stacked = [np.empty((len(bias), n, k), np.float32) for bias in biases]
        for s, sample in enumerate(self.samples):
            for bias, table, rows in zip(biases, stacked, self._averaged(sample), strict=True):
                bias += rows[:, 0] / n
                table[:, s] = rows[:, 1:]
        stacked[0] /= np.float32(n)
        p, q = (table.reshape(len(table), -1) for table in stacked)
        return biases[0], biases[1], p, q

    def compress(self, n_factors: int, *, seed: int = 0) -> Parameters:
        """The mean of all samples as one ``DotBias``, by truncated singular value decomposition.

        Of the stacked factors' product the largest singular values are kept: as many as were sampled,
        and more until the mean square ``d²`` of what is left would raise the RMSE by ``d² / 2 RMSE`` =
        ``MOST_LOST`` at most, in units of their std. It is measured on pairs of a user and an item that
        are drawn independently of each other from the training ratings.

        Args:
            n_factors: the largest rank.
            seed: of the decomposition and of the pairs.

        Returns:
            Parameters of a ``DotBias`` with linear output in which a stranger's row is zero, and the
            prior of its rows for folding in, with features (``FeaturePrior``) and without.
        """
        # Matrices of a few dozen columns: several threads would mostly wait for each other.
        with threadpool_limits(1, "blas"):
            return self._compress(n_factors, generator(seed))

    def _compress(self, n_factors: int, rng: np.random.Generator) -> Parameters:
        chain = self.chain
        b_u, b_i, p, q = self.dot_bias()
        # Around the strangers' rows, which keeps their predictions whatever is cut off.
        p_0, q_0 = p[-1].copy(), q[-1].copy()
        p, q = p - p_0, q - q_0
        constant = b_u[-1] + b_i[-1] + float(p_0 @ q_0)
        b_u, b_i = b_u - b_u[-1] + p @ q_0, b_i - b_i[-1] + q @ p_0
        n = min(len(self.ratings), _MOST_PAIRS)
        u, i = (
            rng.choice(side, n) for side in (self.ratings.user_indices, self.ratings.item_indices)
        )
        whole = _dots(p, q, u, i)
        allowed = 2 * np.sqrt(np.mean(self.noise_variances)) * MOST_LOST / chain.std
        most = min(n_factors, *p.shape, *q.shape)
        least = min(chain.n_columns - 1, most)
        found, lost = LowRank(p, q, rng), whole.copy()
        # A few columns beyond the rank that is asked for make its own better.
        columns = min(most + _OVERSAMPLE, *p.shape, *q.shape)
        while found.rank < columns and (found.rank < least or np.mean(lost**2) > allowed):
            lost -= _dots(*found.grow(min(_STEP, columns - found.rank)), u, i)
        p_low, q_low = found.factors(min(found.rank, most))
        lost, rank = whole, 0
        while rank < p_low.shape[1] and (rank < least or np.mean(lost**2) > allowed):
            lost -= p_low[u, rank].astype(np.float64) * q_low[i, rank]
            rank += 1
        rank = max(rank, 1)
        p_low, q_low = p_low[:, :rank].astype(np.float64), q_low[:, :rank].astype(np.float64)
        units = np.full(1 + rank, np.sqrt(chain.std))
        units[0] = chain.std
        out = constants(self.ratings)
        out["global_mean"] = np.array([chain.mean + chain.std * constant], np.float32)
        tables = zip(OTHER, (b_u, b_i), (p_low, q_low), strict=True)
        for name, bias, factors in tables:
            rows = np.column_stack([bias, factors])[:-1]
            out |= self._priors(name, rows, units)
            rows = units * rows
            out[f"{name}_bias"] = rows[:, 0].astype(np.float32)
            out[f"{name}_factors"] = rows[:, 1:].astype(np.float32)
        out["prior_per_rating"] = np.zeros(1, np.float32)
        return out

    def _features(self, side: Side) -> csr_array | None:
        """What the training ratings say of users (or items) beside ratings."""
        given = self.ratings.features
        return None if given is None else given.users if side == "user" else given.items

    def _priors(
        self, side: Side, rows: NDArray[np.float64], units: NDArray[np.float64]
    ) -> Parameters:
        """What a row of a side is taken for before its ratings, in rating units: of one of whom nothing
        is known, and of one whose features are.

        Args:
            side: which.
            rows: around the stranger's, in units of their std.
            units: of each column.
        """
        found = {
            f"{side}_prior_mean": np.zeros(len(units)),
            f"{side}_prior_precision": self._precision(rows) / np.outer(units, units),
        }
        if (features := self._features(side)) is not None:
            told = regressed(features, rows)
            rest = self._precision(told.rest) / np.outer(units, units)
            found[f"{side}_feature_mean"] = units * told.mean
            found[f"{side}_feature_effects"] = units * told.effects
            found[f"{side}_feature_precision"] = rest
        return {name: array.astype(np.float32) for name, array in found.items()}

    def _precision(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Noise variance times the inverse of the mean square of rows, which are around the mean of
        their prior and in units of their std.
        """
        covariance = rows.T @ rows / len(rows)
        covariance[np.diag_indices(len(covariance))] += (
            1e-3 * np.trace(covariance) / len(covariance) + 1e-9
        )
        precision: NDArray[np.float64] = np.mean(self.noise_variances) * np.linalg.inv(covariance)
        return precision

    def kept(self, n: int) -> Parameters:
        """Some of the samples, evenly spread, as arrays that a model can predict with.

        Returns:
            ``user_samples`` (n, n_users + 1, 1 + k) and ``item_samples``, strangers last, in rating
            units; ``noise_variance`` (1,); ``user_noise`` (n_users + 1,) and ``item_noise``, factors of
            it. Where users have features, also their effects ``user_feature_samples`` (n, n_features,
            1 + k), and the mean and covariance of what these leave of users' rows,
            ``user_feature_means`` (n, 1 + k) and ``user_feature_covariances`` (n, 1 + k, 1 + k).
        """
        chain = self.chain
        n = min(n, len(self.samples))
        chosen = np.unique(np.linspace(0, len(self.samples) - 1, n).round().astype(int))
        drawn = [self._averaged(self.samples[s]) for s in chosen]
        scale = np.full(chain.n_columns, np.sqrt(chain.std))
        scale[0] = chain.std
        out: Parameters = {
            "noise_variance": np.array([np.mean(self.noise_variances)], np.float32),
        }
        for m, name in enumerate(("user", "item")):
            out[f"{name}_samples"] = np.stack([rows[m] * scale for rows in drawn]).astype(
                np.float32
            )
            out[f"{name}_noise"] = self.noise_factors[chain.parts[m]].astype(np.float32)
        if (features := self._features("user")) is not None:
            rests = []
            for users, _ in drawn:
                told = regressed(features, users[:-1] * scale)
                rests.append((told.effects, *normal_of(told.mean + told.rest)))
            for name, found in zip(DRAWN_WITH_FEATURES, zip(*rests, strict=True), strict=True):
                out[name] = np.stack(found).astype(np.float32)
        return out


def _dots(p: Array, q: Array, u: Index, i: Index) -> NDArray[np.float64]:
    """Dot products of many pairs of long rows, a thousand pairs at a time."""
    out = np.empty(len(u))
    for start in range(0, len(u), 1000):
        part = slice(start, start + 1000)
        out[part] = np.einsum("nk,nk->n", p[u[part]], q[i[part]])
    return out


class LowRank:
    """Factors of ``p qᵀ`` of a low rank, which grow by some columns at a time.

    Randomised decomposition by blocks (Martinsson & Voronin 2016, randQB_b) with power iterations
    (Halko, Martinsson & Tropp 2011, algorithm 4.4), which never forms the product. What has been found
    is not found again: all ranks together cost what the highest alone does.

    Args:
        p: shape (n, m).
        q: shape (l, m).
        rng: of the directions that are looked into.
    """

    def __init__(self, p: Array, q: Array, rng: np.random.Generator) -> None:
        self.p, self.q, self.rng = p, q, rng
        self._basis, self._rest = (np.empty((len(side), 0), np.float32) for side in (p, q))

    @property
    def rank(self) -> int:
        """Columns found so far."""
        return self._basis.shape[1]

    def grow(self, n: int) -> tuple[Array, Array]:
        """Find n more columns; the factors of what they add."""
        p, q = self.p, self.q
        block = self._new(p @ (q.T @ self.rng.standard_normal((len(q), n), np.float32)))
        for _ in range(_POWER):
            block = self._new(p @ (q.T @ _orthonormal(q @ (p.T @ block))))
        block = self._new(block)  # where next to nothing was left, once is not enough
        rest = q @ (p.T @ block)
        self._basis = np.hstack([self._basis, block])
        self._rest = np.hstack([self._rest, rest])
        return block, rest

    def _new(self, columns: Array) -> Array:
        """An orthonormal basis of what of some columns is not found yet."""
        return _orthonormal(columns - self._basis @ (self._basis.T @ columns))

    def factors(self, rank: int) -> tuple[Array, Array]:
        """The best of a rank among what was found, (n, rank) and (l, rank), the most important column
        first.
        """
        left, values, right = svd(self._rest.T, full_matrices=False, check_finite=False)
        root = np.sqrt(values[:rank])
        return (self._basis @ left[:, :rank]) * root, right[:rank].T * root


def _orthonormal(columns: Array) -> Array:
    return qr(columns, mode="economic", check_finite=False)[0]  # type: ignore[no-any-return]
