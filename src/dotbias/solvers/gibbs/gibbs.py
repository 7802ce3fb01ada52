"""Bayesian matrix factorisation: what linear regression gives when its uncertainty is averaged out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from dotbias.data.ratings import Ratings
from dotbias.errors import DataError, SettingError
from dotbias.models.base import Model, Parameters
from dotbias.models.dot_bias import DotBias
from dotbias.models.parameters import MOST_FACTORS
from dotbias.settings import generator, setting
from dotbias.solvers.base import History, OnEpoch, linear_dot_bias
from dotbias.solvers.checkpoint import Arrays
from dotbias.solvers.epochs import EpochLoop, Figures, IteratingSolver
from dotbias.solvers.gibbs.chain import Chain
from dotbias.solvers.gibbs.posterior import Posterior
from dotbias.solvers.threads import SOLVED, threads
from dotbias.solvers.validation import Validation

# Chosen on validation parts of training rows alone (benchmarks/gibbs.py): fewer factors and more
# ratings than that, or the other way round, cost time or accuracy. One less than a whole number of
# vector registers.
DEFAULT_FACTORS, MANY_RATINGS = (15, 31), 300_000
# Samples that take more memory than this are thinned out evenly.
_MOST_BYTES = 1_500_000_000


@dataclass(frozen=True, kw_only=True)
class Gibbs(IteratingSolver):
    """Gibbs sampling of a Bayesian ``DotBias`` (Salakhutdinov & Mnih 2008).

    Each user and item has a vector of bias and factors. Users' vectors are normal around a mean with a
    covariance, both unknown, and so are items'; a rating is ``μ + b_u + b_i + p_u · q_i`` plus normal
    noise whose precision is unknown too, and may differ between users and between items by a factor
    around 1. One sample draws each of these in turn from its distribution given the rest. The
    prediction is the mean over samples.

    With ``histories``, a user's mean moves with the items the user rated, and an item's with the users
    who rated it (SVD++, Koren 2008, on both sides). Features of users and items, by default the genres
    of items and the years of their titles (``Ratings.titled``), move the means in the same way.

    What ``fit`` returns is a single ``DotBias``: the mean of all samples, of the smallest number of
    factors (at most the model's ``n_factors``) that keeps its predictions within what is stated in
    ``dotbias.solvers.gibbs.posterior``. ``sample`` returns the samples themselves.

    The same data, settings and seed give the same samples for any number of threads.

    Args:
        n_samples: samples drawn in all, those dropped included.
        burn_in: samples dropped at the beginning.
        n_factors: length of each sampled embedding, or None for one that suits the number of ratings.
        histories: whether who rated what says something by itself.
        noise_freedom: degrees of freedom of the noise precision's factor for each user and item, or None
            to give all the same noise.
        likelihood: ``"normal"``, or ``"ordinal"`` for ratings as ordered categories (see
            ``dotbias.solvers.gibbs.ordinal``), which ``sample`` offers alone: a ``DotBias`` has no
            thresholds.
        keep_samples: how many samples go into the model's file, evenly spread, so that predictions come
            with their uncertainty.
        validation_size: share of the *training* rows that is held out to measure the error on.
        n_threads: threads, or None for as many as the machine has and the ratings keep busy.
    """

    epochs_are: ClassVar[str] = "samples"

    n_samples: int = setting(200, at_least=1)
    burn_in: int = setting(40, at_least=0)
    n_factors: int | None = setting(None, at_least=1, at_most=MOST_FACTORS)
    histories: bool = setting(True, choices=(True, False))
    noise_freedom: float | None = setting(20.0, above=0, optional=True)
    likelihood: Literal["normal", "ordinal"] = setting("normal", choices=("normal", "ordinal"))
    keep_samples: int = setting(0, at_least=0)
    validation_size: float = setting(0.0, at_least=0, below=1)
    n_threads: int | None = setting(None, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_samples <= self.burn_in:
            raise SettingError(
                f"Gibbs(n_samples={self.n_samples}, burn_in={self.burn_in}): the first burn_in of "
                "n_samples are dropped, so n_samples must be larger"
            )

    def n_factors_for(self, n_ratings: int) -> int:
        """The length of each sampled embedding for so many ratings."""
        few, many = DEFAULT_FACTORS
        return self.n_factors or (few if n_ratings < MANY_RATINGS else many)

    @property
    def n_epochs(self) -> int:
        """Epochs are samples here."""
        return self.n_samples

    def start(self, model: Model, ratings: Ratings, *, seed: int = 0) -> "_Sampling":
        """Sampling that has not begun. Its result is the posterior mean as one ``DotBias``, which may
        have fewer factors than the model allows.

        Ctrl-C ends sampling after the running sample; what was drawn so far is used.

        Raises:
            SettingError: for a model other than ``DotBias`` with linear output, or the ordinal
                likelihood.
        """
        model = linear_dot_bias(self, model)
        if self.likelihood == "ordinal":
            raise SettingError(
                "Gibbs(likelihood='ordinal'): a DotBias has no thresholds, so fit cannot return one; "
                "sample(ratings) gives the posterior, which predicts"
            )
        return _Sampling(self, model, ratings, seed)

    def chain(self, ratings: Ratings, *, n_factors: int, seed: int) -> Chain:
        """A chain of these settings that has not begun."""
        return Chain(
            ratings,
            n_factors=n_factors,
            histories=self.histories,
            noise_freedom=self.noise_freedom,
            ordinal=self.likelihood == "ordinal",
            seed=seed,
        )

    def sample(
        self, ratings: Ratings, *, seed: int = 0, on_epoch: OnEpoch | None = None
    ) -> tuple[Posterior, History]:
        """The samples after burn-in, and the history: each epoch is one sample, burn-in included.

        An epoch's ``train_rmse`` is that of its sample alone, its ``validation_rmse`` that of the mean
        of all samples so far (in the burn-in, of the sample alone).
        """
        sampling = _Sampling(self, DotBias(), ratings, seed).run(on_epoch=on_epoch)
        return sampling.drawn, sampling.history


class _Sampling(EpochLoop):
    """One chain, and what was drawn so far."""

    solver: Gibbs
    model: DotBias

    def __init__(self, solver: Gibbs, model: DotBias, ratings: Ratings, seed: int) -> None:
        self.solver, self.model, self.ratings, self.seed = solver, model, ratings, seed
        self.start, self.burn_in = {}, solver.burn_in  # there are no best parameters
        rng = generator(seed)
        super().__init__(solver.n_epochs, Validation.hold_out(ratings, solver.validation_size, rng))
        held, rest = self.validation, self.validation.rest
        n_factors = solver.n_factors_for(len(ratings))
        self.chain = solver.chain(rest, n_factors=n_factors, seed=seed)
        self.rng = self.chain.rng
        self.posterior = Posterior.of(self.chain, rest)
        every = 1 + (solver.n_samples - solver.burn_in) * self.chain.bytes // _MOST_BYTES
        self.every = every | 1  # odd: samples lie on both sides of their mean by turns
        self.held = self.chain.members(held.users, held.items, held.codes)
        self.total = np.zeros(len(self.held))  # of predictions, since the burn-in

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Numba's threads."""
        # Matrices of a few columns are slower on several threads, and not the same to the bit.
        with (
            threads(self.solver.n_threads, len(self.ratings), SOLVED),
            threadpool_limits(1, "blas"),
        ):
            yield

    def one_epoch(self) -> Figures:
        """One more sample."""
        self.chain.sweep()
        after = self.epoch + 1 - self.burn_in
        if after > 0 and after % self.every == 0:
            self.posterior.add(self.chain)
        return Figures(train_rmse=self.chain.train_rmse, noise=self.chain.noise)

    def validate(self) -> float | None:
        """RMSE of the mean of all samples since the burn-in; within it, of the sample alone."""
        if len(self.held) == 0:
            return None
        after = self.epoch + 1 - self.burn_in
        predicted = self.chain.predict(self.held)
        self.total = predicted if after <= 1 else self.total + predicted
        return self.validation.rmse_of(self.total / max(1, after))

    @property
    def drawn(self) -> Posterior:
        """The samples after burn-in; before there are any, the present state of the chain."""
        if self.posterior.samples:
            return self.posterior
        first = Posterior.of(self.chain, self.posterior.ratings)
        first.add(self.chain)
        return first

    def result(self) -> Parameters:
        """The mean of the samples as one model, with some of them if they were asked for."""
        posterior, solver = self.drawn, self.solver
        parameters = posterior.compress(self.model.n_factors, seed=self.seed)
        if solver.keep_samples:
            parameters |= posterior.kept(solver.keep_samples)
        return parameters

    def state(self) -> Arrays:
        """The state of the chain, and the sum of predictions of the validation rows."""
        return self.chain.state() | {"total": self.total.copy()}

    def set_state(self, arrays: Arrays) -> None:
        """Put them back."""
        self.chain.set_state(arrays)
        self.total = arrays["total"].copy()

    def kept(self) -> dict[str, list[Arrays]]:
        """The samples so far, which a checkpoint does not copy: they may be most of the memory."""
        return super().kept() | {"sample": self.posterior.sets()}

    def set_kept(self, kept: dict[str, list[Arrays]]) -> None:
        """Put them back."""
        super().set_kept(kept)
        self.posterior.set_sets(kept["sample"])

    def check_kept(self, n: dict[str, int], epoch: int) -> None:
        """There is a sample for every so many epochs since the burn-in."""
        due = max(0, epoch - self.burn_in) // self.every
        if n.get("sample", 0) != due:
            raise DataError(f"facts.kept.sample must be {due} after {epoch} samples")

    def kept_form(self, kind: str) -> Arrays:
        """A sample of the chain as it is now."""
        if kind != "sample":
            return super().kept_form(kind)
        now = Posterior.of(self.chain, self.posterior.ratings)
        now.add(self.chain)
        return now.sets()[0]
