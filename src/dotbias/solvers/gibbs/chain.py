"""One chain of the Gibbs sampler: its state, and how one sample follows from the last."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import DataError
from dotbias.memory import check_memory
from dotbias.settings import generator
from dotbias.solvers.checkpoint import Arrays
from dotbias.solvers.gibbs.effects import features_of
from dotbias.solvers.gibbs.kernels import predict_rows
from dotbias.solvers.gibbs.mode import Mode
from dotbias.solvers.gibbs.ordinal import Ordinal
from dotbias.solvers.least_squares.normal_equations import padded

# Standard deviation of the factors that a chain starts from; biases start from zero.
_START = 0.1
# Shape and rate of the gamma prior of the noise precision.
_NOISE_PRIOR = 1.0, 1.0
# Rows are drawn at the other side of their mean from where they are (``kernels.draw_rows``): the errors
# of consecutive samples cancel, and a chain keeps its direction. 100 such samples predict better than
# 200 of independent sides did (docs/results.md).
_RELAXATION = -0.9
# In a chain's first samples rows have no size yet that a scale, or the other side, could be told of.
_SETTLED = 5
# Scales are drawn in each sample while the chain finds its way, and then in some.
_FINDING, _SCALES_EVERY = 20, 5

# Parts of a chain's state that are above 0, by the ends of their names.
_POSITIVE = ("weights", "noise_precision", "step", "decay", "variances")


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
        self.noise_precision, self.n_sweeps = 1.0, 0
        self._squares = float(len(ratings))
        self._members = members = self.members(ratings.user_indices, ratings.item_indices, codes)
        targets = ((ratings.values - self.mean) / self.std).astype(np.float32)
        features = features_of(ratings, histories)
        self.modes = [
            Mode(
                self.table,
                self.n_columns,
                members,
                m,
                slice(first, first + size),
                targets,
                features[m] if m < 2 else [],
            )
            for m, (first, size) in enumerate(zip(self.firsts, sizes, strict=True))
        ]
        self.n_ratings = len(ratings)

    @property
    def parts(self) -> list[slice]:
        """Where in the table each mode is, its stranger included."""
        return [slice(f, f + size + 1) for f, size in zip(self.firsts, self.sizes, strict=True)]

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
        self.n_sweeps += 1
        settled = self.n_sweeps > _SETTLED
        relaxation = _RELAXATION if settled else 0.0
        scales = settled and (self.n_sweeps <= _FINDING or self.n_sweeps % _SCALES_EVERY == 0)
        for m, mode in enumerate(self.modes):
            mode.draw_prior(relaxation, self.rng)
            if scales:
                mode.draw_scales(self.noise_precision, self.weights, self.rng)
            squares = mode.draw_rows(self.noise_precision, self.weights, relaxation, self.rng)
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
        arrays["n_sweeps"] = np.array([self.n_sweeps])
        if (walk := self.ordinal) is not None:
            arrays |= {"thresholds": walk.thresholds, "step": np.array([walk.step])}
            arrays["n_draws"] = np.array([walk.n_draws])
        for m, mode in enumerate(self.modes):
            arrays |= {f"modes/{m}/{n}": a for n, a in mode.arrays().items()}
        return {name: array.copy() for name, array in arrays.items()}

    def set_state(self, arrays: Arrays) -> None:
        """Put back what ``state`` gave.

        Raises:
            DataError: for precisions that are not above 0, or thresholds that do not rise.
        """
        for name in self.state():
            if name.endswith(_POSITIVE) and not (arrays[name] > 0).all():
                raise DataError(f"the array {name} must be above 0")
        if (walk := self.ordinal) is not None:
            if not (np.diff(arrays["thresholds"]) > 0).all():
                raise DataError("the array thresholds must rise")
            walk.thresholds = arrays["thresholds"].copy()
            walk.step, walk.n_draws = float(arrays["step"][0]), int(arrays["n_draws"][0])
        self.table[:], self.weights[:] = arrays["table"], arrays["weights"]
        self.noise_precision = float(arrays["noise_precision"][0])
        self.n_sweeps = int(arrays["n_sweeps"][0])
        for m, mode in enumerate(self.modes):
            for name, own in mode.arrays().items():
                own[:] = arrays[f"modes/{m}/{name}"]
