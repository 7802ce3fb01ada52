"""Whether several chains of the Gibbs sampler tell the same, and how much they know."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.progress import Progress, progress_bar
from dotbias.settings import generator
from dotbias.shown import Part, Shown
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.threads import SOLVED, threads
from dotbias.solvers.validation import Validation

Traces = NDArray[np.float64]
"""A figure of each sample of each chain, shape (n_chains, n_samples)."""

# Half a chain has a variance from two samples on.
_LEAST_KEPT = 4
_HELD_OUT = 0.1


@dataclass(frozen=True, eq=False)
class Convergence(Shown):
    """What the samples after the burn-in say about themselves.

    Args:
        rmse: RMSE of each single sample on the validation rows, shape (n_chains, n), in rating units.
        noise: standard deviation of the noise in each sample, likewise.
    """

    rmse: Traces
    noise: Traces

    @property
    def rmse_r_hat(self) -> float:
        """Split R-hat of the validation RMSE: near 1 where chains agree."""
        return split_r_hat(self.rmse)

    @property
    def noise_r_hat(self) -> float:
        """Split R-hat of the noise."""
        return split_r_hat(self.noise)

    @property
    def rmse_size(self) -> float:
        """Effective sample size of the validation RMSE, over all chains."""
        return effective_sample_size(self.rmse)

    @property
    def noise_size(self) -> float:
        """Effective sample size of the noise, over all chains."""
        return effective_sample_size(self.noise)

    def to_dict(self) -> dict[str, Any]:
        """The figures, and the traces, as plain data for JSON."""
        return {
            "n_chains": len(self.rmse),
            "n_samples": self.rmse.shape[1],
            "rmse": {
                "r_hat": self.rmse_r_hat,
                "effective_size": self.rmse_size,
                "traces": self.rmse.tolist(),
            },
            "noise": {
                "r_hat": self.noise_r_hat,
                "effective_size": self.noise_size,
                "traces": self.noise.tolist(),
            },
        }

    def _parts(self) -> Iterable[Part]:
        told = self.to_dict()
        yield f"{told['n_chains']} chains of {told['n_samples']} samples after the burn-in."
        yield pl.DataFrame(
            [(n, told[n]["r_hat"], told[n]["effective_size"]) for n in ("rmse", "noise")],
            ["figure", "r_hat", "effective_size"],
            orient="row",
        )

    def __str__(self) -> str:
        n_chains, n = self.rmse.shape
        figures = "; ".join(
            f"{name}: R-hat {r_hat:.3f}, effective sample size {size:.0f}"
            for name, r_hat, size in (
                ("validation RMSE", self.rmse_r_hat, self.rmse_size),
                ("noise", self.noise_r_hat, self.noise_size),
            )
        )
        return f"{n_chains} chains of {n} samples after the burn-in. {figures}."


def convergence(
    solver: Gibbs,
    ratings: Ratings,
    *,
    n_chains: int = 2,
    seed: int = 0,
    progress: Progress = "auto",
) -> Convergence:
    """Run several chains of a sampler's settings, and compare them.

    All chains are measured on the same validation rows, which are held out of the ratings: the solver's
    share, or a tenth where it has none.

    Args:
        solver: with the number of samples and the burn-in of each chain.
        ratings: the training ratings.
        n_chains: how many chains.
        seed: of the validation rows and of the first chain; the others follow.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.

    Raises:
        SettingError: for no chain, or fewer than 4 samples after the burn-in.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=100, n_items=50, n_ratings=2000, seed=0)
    >>> result = convergence(Gibbs(n_samples=30, burn_in=10), ratings)
    >>> result.rmse.shape, result.noise.shape
    ((2, 20), (2, 20))
    """
    kept = solver.n_samples - solver.burn_in
    if n_chains < 1:
        raise SettingError(f"n_chains={n_chains}: n_chains must be at least 1")
    if kept < _LEAST_KEPT:
        raise SettingError(
            f"n_samples={solver.n_samples}, burn_in={solver.burn_in}: convergence needs at least "
            f"{_LEAST_KEPT} samples after the burn-in"
        )
    check_memory(2 * n_chains * kept, f"figures of {n_chains} chains of {kept:,} samples", size=8)
    share = solver.validation_size or _HELD_OUT
    validation = Validation.hold_out(ratings, share, generator(seed))
    rmse, noise = np.empty((2, n_chains, kept))
    with (
        threads(solver.n_threads, len(ratings), SOLVED),
        threadpool_limits(1, "blas"),
        progress_bar("chains", n_chains * solver.n_samples, enabled=progress) as advance,
    ):
        for number in range(n_chains):
            n_factors = solver.n_factors_for(len(validation.rest))
            chain = solver.chain(validation.rest, n_factors=n_factors, seed=seed + number)
            held = chain.members(validation.users, validation.items, validation.codes)
            for sample in range(-solver.burn_in, kept):
                chain.sweep()
                if sample >= 0:
                    rmse[number, sample] = validation.rmse_of(chain.predict(held))
                    noise[number, sample] = chain.noise
                advance(1, f"chain {number + 1}  noise {chain.noise:.4f}")
    return Convergence(rmse, noise)


def split_r_hat(traces: Traces) -> float:
    """How much wider all chains are together than each half of one, 1 where they agree.

    ``√(((n - 1) W / n + B / n) / W)``, with ``W`` the mean variance within half chains of ``n`` samples
    and ``B`` that of their means times ``n`` (Gelman et al. 2013, "Bayesian Data Analysis", section
    11.4). 1 for traces that never move; infinite where only their means differ.

    Args:
        traces: shape (n_chains, n_samples), 4 samples at least; of an odd number the middle one is left
            out.
    """
    halves = _halves(traces)
    within, pooled = _variances(halves)
    if within == 0:
        return 1.0 if pooled == 0 else float("inf")
    return float(np.sqrt(pooled / within))


def effective_sample_size(traces: Traces) -> float:
    """How many independent samples would tell the mean of all chains as precisely.

    ``m n / τ`` with ``τ = -1 + 2 Σ P_t`` over the initial sequence of pairs ``P_t = ρ_2t + ρ_2t+1`` that
    are positive (Geyer 1992, section 3.3), never rising, and ``ρ`` the autocorrelation of all half
    chains combined (Vehtari et al. 2021, "Rank-normalization, folding, and localization", eq. 10-11,
    without the ranks). At most ``m n log10(m n)``, as there. Traces that never move count in full.

    Args:
        traces: as in ``split_r_hat``.
    """
    halves = _halves(traces)
    within, pooled = _variances(halves)
    if pooled == 0:
        return float(halves.size)
    covariance = np.mean([_autocovariance(half) for half in halves], axis=0)
    correlation = 1 - (within - covariance) / pooled
    n_pairs = len(correlation) // 2
    pairs = correlation[: 2 * n_pairs].reshape(n_pairs, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    initial = np.minimum.accumulate(pairs[: ends[0] if len(ends) else n_pairs])
    time = max(-1 + 2 * initial.sum(), 1 / np.log10(halves.size))
    return float(halves.size / time)


def _halves(traces: Traces) -> Traces:
    """Each chain as two, shape (2 n_chains, n_samples // 2)."""
    half = traces.shape[1] // 2
    return np.concatenate([traces[:, :half], traces[:, -half:]])


def _variances(halves: Traces) -> tuple[float, float]:
    """Within chains, and of all chains together."""
    n = halves.shape[1]
    within = float(halves.var(axis=1, ddof=1).mean())
    return within, (n - 1) / n * within + float(halves.mean(axis=1).var(ddof=1))


def _autocovariance(trace: NDArray[np.float64]) -> NDArray[np.float64]:
    """At each lag, divided by the number of samples less one, as the variance is."""
    moved, n = trace - trace.mean(), len(trace)
    products: NDArray[np.float64] = np.correlate(moved, moved, "full")[n - 1 :]
    return products / (n - 1)
