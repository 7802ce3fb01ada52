"""Which solver a fit uses when nobody says: the most accurate that is expected to end in time."""

import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.fitting.preference import expected_seconds
from dotbias.models.base import Model
from dotbias.models.dot_bias import DotBias
from dotbias.plain import to_plain
from dotbias.recommender.facts import Chosen, Considered
from dotbias.shown import Part, Shown
from dotbias.solvers.base import Solver
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.least_squares.als import ALS, ALS_FACTORS
from dotbias.solvers.threads import threads

BUDGET = 30.0
"""Seconds that a fit may take when nothing else is said."""

# Fewer samples than this have not left their start; as many as the most are the sampler's default.
LEAST_SAMPLES, MOST_SAMPLES = 60, Gibbs().n_samples

# Nanoseconds of one thread for each rating and each row, of one sample, epoch or iteration at the
# default number of factors (of Gibbs: a bias and 15 factors). At least 1.5 times the processor time that
# was measured on a busy server (AMD EPYC, one thread), for which a sample took 22 ms on a fold of
# ml-100k, 100 ms on ml-latest-small, 244 ms on ml-1m, and 445 ms on 200,000 invented ratings with 58,000
# rows; an iteration of ALS 83, 291, 464 and 1,654 ms; an epoch of gradient descent 4, 12 and 81 ms on
# the first three. Compressing the samples to a single model took less than 1 µs for each row and sample.
GIBBS_COST, GIBBS_COLUMNS = (250.0, 12_000.0), 16
DESCENT_COST = 120.0, 1_100.0
ALS_COST = 310.0, 42_000.0
# Loading compiled code, and what is done once; compiling it for the first time is not counted.
START_SECONDS = 0.5
# Share of the work that more threads do not make faster.
SERIAL_SHARE = 0.3


@dataclass(frozen=True)
class Candidate(Shown):
    """One way to fit, and what it is expected to take.

    Args:
        name: what it is called on the command line, with its length.
        model: what it estimates.
        solver: with the length that the budget allows.
        seconds: expected time of the fit.
    """

    name: str
    model: Model
    solver: Solver
    seconds: float


@dataclass(frozen=True)
class Choice(Shown):
    """What was chosen, and from what.

    Args:
        chosen: the candidate that is used.
        reason: why.
        candidates: all of them, the most accurate first.
        budget: seconds that the fit may take.
    """

    chosen: Candidate
    reason: str
    candidates: tuple[Candidate, ...]
    budget: float

    @property
    def model(self) -> Model:
        """What the chosen solver estimates."""
        return self.chosen.model

    @property
    def solver(self) -> Solver:
        """The chosen solver."""
        return self.chosen.solver

    @property
    def seconds(self) -> float:
        """How long it is expected to take."""
        return self.chosen.seconds

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data: dict[str, Any] = to_plain(self.record)
        return data

    @property
    def record(self) -> Chosen:
        """What a model keeps of the choice."""
        candidates = (Considered(c.name, c.seconds) for c in self.candidates)
        return Chosen(self.chosen.name, self.seconds, self.budget, self.reason, tuple(candidates))

    def _parts(self) -> Iterable[Part]:
        yield from (str(self), self.candidates)

    def __str__(self) -> str:
        expected = f"about {_rounded(self.seconds)} s of a budget of {self.budget:g} s"
        return f"{self.chosen.name} ({expected}). {self.reason}"


def choose_solver(
    ratings: Ratings,
    *,
    budget: float = BUDGET,
    n_threads: int | None = None,
    n_factors: int | None = None,
    lists: bool = True,
) -> Choice:
    """The most accurate solver that is expected to end within a budget of time.

    In the order of their error on validation rows (docs/results.md): ``Gibbs`` with histories and 200
    samples, or as many as fit, 60 at least; ``GradientDescent``; ``ALS`` with 64 factors. Each is
    expected to take

        start + length · (a · ratings + b · (users + items)) / speed-up

    with constants of this module, in which ``length`` is the number of samples, epochs or iterations.
    They err on the long side. Where nothing fits, the fastest is chosen. The choice follows from the
    size of the data, the budget and the number of threads alone; features of ratings are not counted.

    Args:
        ratings: what is to be fitted.
        budget: seconds that the fit may take.
        n_threads: threads of the solver, or None for as many as it would use.
        n_factors: length of the embeddings (those sampled, for ``Gibbs``); by default each solver's own.
            More than its own take longer; fewer are expected to take as long.
        lists: whether preferences are estimated beside ratings: what that is expected to take comes off
            the budget.

    Raises:
        SettingError: for a budget that is no positive number, or settings that no solver takes.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> choice = choose_solver(ratings, n_threads=1)
    >>> choice.chosen.name, choice.reason
    ('gibbs with histories, 200 samples', 'Next best: sgd, 40 epochs, about 0.54 s.')
    """
    positive = isinstance(budget, numbers.Real) and math.isfinite(budget) and budget > 0
    if isinstance(budget, bool) or not positive:
        raise SettingError(f"budget={budget!r}: budget must be a number of seconds above 0")
    clock = _Clock(ratings, n_threads)
    left = budget - expected_seconds(len(ratings), budget) if lists else budget
    candidates = (
        _gibbs(clock, left, n_threads, n_factors),
        _descent(clock, n_threads, n_factors),
        _als(clock, n_threads, n_factors),
    )
    return _decide(candidates, float(budget), left)


class _Clock:
    """What fits of these ratings are expected to take."""

    def __init__(self, ratings: Ratings, n_threads: int | None) -> None:
        import numba

        with threads(n_threads, len(ratings)):
            n = numba.get_num_threads()
        self.speed_up = n / (1 + SERIAL_SHARE * (n - 1))  # Amdahl's law
        self.ratings = ratings
        self.n_ratings, self.n_rows = len(ratings), ratings.n_users + ratings.n_items

    def once(self, cost: tuple[float, float], growth: float) -> float:
        """Seconds of one sample, epoch or iteration.

        Args:
            cost: nanoseconds of each rating and each row.
            growth: factor of the time with the number of factors; below 1 it counts as 1.
        """
        per_rating, per_row = cost
        work = self.n_ratings * per_rating + self.n_rows * per_row
        return 1e-9 * work * max(growth, 1.0) / self.speed_up


def _gibbs(clock: _Clock, budget: float, n_threads: int | None, n_factors: int | None) -> Candidate:
    usual = Gibbs(n_factors=n_factors, n_threads=n_threads)
    x = (1 + usual.n_factors_for(clock.n_ratings)) / GIBBS_COLUMNS
    # 32 columns took 1.6 times as long as 16, and 64 columns 3.6 times.
    once = clock.once(GIBBS_COST, (5 + x + x**2) / 7)
    n = max(LEAST_SAMPLES, min(MOST_SAMPLES, int((budget - START_SECONDS) / once)))
    solver = replace(usual, n_samples=n, burn_in=n // 5)
    name = f"gibbs with histories, {n} samples"
    return Candidate(name, DotBias(), solver, START_SECONDS + n * once)


def _descent(clock: _Clock, n_threads: int | None, n_factors: int | None) -> Candidate:
    usual = DotBias()
    model = usual if n_factors is None else DotBias(n_factors=n_factors)
    solver = GradientDescent(n_threads=n_threads).settled(model, clock.ratings)
    once = clock.once(DESCENT_COST, model.n_factors / usual.n_factors)
    seconds = START_SECONDS + solver.n_epochs * once
    return Candidate(f"sgd, {solver.n_epochs} epochs", model, solver, seconds)


def _als(clock: _Clock, n_threads: int | None, n_factors: int | None) -> Candidate:
    solver = ALS(n_threads=n_threads)
    model = DotBias(n_factors=ALS_FACTORS if n_factors is None else n_factors)
    once = clock.once(ALS_COST, (model.n_factors / ALS_FACTORS) ** 3)
    seconds = START_SECONDS + solver.n_iterations * once
    return Candidate(f"als, {solver.n_iterations} iterations", model, solver, seconds)


def _decide(candidates: tuple[Candidate, ...], budget: float, left: float) -> Choice:
    fitting = [c for c in candidates if c.seconds <= left]
    if not fitting:
        fastest = min(candidates, key=lambda c: c.seconds)
        reason = "None is expected to end in time, and this is the fastest."
        return Choice(fastest, reason, candidates, budget)
    chosen = fitting[0]
    slower = candidates[: candidates.index(chosen)]
    if slower:
        reason = f"More accurate, but too slow: {_listed(slower)}."
    elif fitting[1:]:
        reason = f"Next best: {_listed(fitting[1:2])}."
    else:
        reason = "No other would end in time."
    return Choice(chosen, reason, candidates, budget)


def _listed(candidates: Sequence[Candidate]) -> str:
    return "; ".join(f"{c.name}, about {_rounded(c.seconds)} s" for c in candidates)


def _rounded(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"
