"""Which solver a fit uses when nobody says: the most accurate that is expected to end in time.

Time is counted on a reference machine, by the size of the data, so that the same data and budget give
the same model everywhere: never by a clock, nor by the cores that happen to be there.
"""

import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model
from dotbias.models.dot_bias import DotBias
from dotbias.plain import to_plain
from dotbias.recommender.facts import Chosen, Considered
from dotbias.shown import Part, Shown
from dotbias.solvers.base import Solver
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.gibbs.gibbs import Gibbs

BUDGET = 30.0
"""Seconds of the reference machine that a model of ratings may take when nothing else is said."""

# Numbers of samples that are considered: the sampler's default, and fewer where those take too long;
# still fewer have not left their start. Being far between, they mostly are the same for a part of the
# data as for the whole.
SAMPLES = Gibbs().n_samples, 100, 60

# Nanoseconds of the reference machine, one thread of an AMD EPYC (Zen 3), for each rating and each row,
# of one sample or epoch at the default number of factors (of Gibbs: a bias and 15 factors). There a
# sample took 22 ms on a fold of ml-100k, 100 ms on ml-latest-small, 244 ms on ml-1m, and 445 ms on
# 200,000 invented ratings with 58,000 rows; an epoch of gradient descent 4, 12 and 81 ms on the first
# three. These are met within a quarter, all but the shortest.
GIBBS_COST, GIBBS_COLUMNS = (70.0, 8_000.0), 16
DESCENT_COST = 75.0, 600.0
# Loading compiled code, and what is done once; compiling it for the first time is not counted.
START_SECONDS = 0.5
# Of ratings on disk: each number of an embedding is held four times at most, as the parameters of two
# models and those under way, and fewer factors than these are not worth it.
_BYTES_OF_A_FACTOR, _LEAST_FACTORS = 16, 8


@dataclass(frozen=True)
class Candidate(Shown):
    """One way to fit, and what it is expected to take.

    Args:
        name: what it is called on the command line, with its length.
        model: what it estimates.
        solver: with the length that the budget allows.
        seconds: expected time of the fit on the reference machine.
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
        budget: seconds of the reference machine that the fit may take.
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
        """How long it is expected to take on the reference machine."""
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
        expected = f"{_rounded(self.seconds)} s of a budget of {self.budget:g} s"
        return f"{self.chosen.name} ({expected} on the reference machine). {self.reason}"


def choose_solver(
    ratings: Ratings,
    *,
    budget: float = BUDGET,
    n_threads: int | None = None,
    n_factors: int | None = None,
) -> Choice:
    """The most accurate solver that is expected to end within a budget of time.

    In the order of their error on validation rows (docs/results.md): ``Gibbs`` with histories and 200,
    100 or 60 samples; ``GradientDescent``. (``ALS`` is behind it, and takes longer.) Each is expected
    to take

        start + length · (a · ratings + b · (users + items))

    seconds of a reference machine, one thread, with constants of this module, in which ``length`` is the
    number of samples or epochs. Where nothing fits, the fastest is chosen. Of ratings on disk it is
    always ``GradientDescent``, with as many factors as fit into their memory. The choice follows from
    the size of the data and the budget alone, so it is the same on any machine, with any number of
    threads; features of ratings are not counted.

    A part of the ratings may be given more samples than the whole would be. To measure what is to be
    fitted to all of them, choose once:

        choice = choose_solver(ratings)
        rec = fit(train, choice.model, choice.solver, purpose="both")

    Args:
        ratings: what is to be fitted.
        budget: seconds of the reference machine that the fit may take.
        n_threads: threads of the solver, or None for as many as it would use.
        n_factors: length of the embeddings (those sampled, for ``Gibbs``); by default each solver's own.
            More than its own take longer; fewer are expected to take as long.

    Raises:
        SettingError: for a budget that is no positive number, or settings that no solver takes.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> choice = choose_solver(ratings, n_threads=1)
    >>> choice.chosen.name, choice.reason
    ('gibbs with histories, 200 samples', 'Next best: sgd, 40 epochs, 0.52 s.')
    """
    check_budget(budget)
    descent = _descent(ratings, n_threads, n_factors)
    if isinstance(ratings, PreparedPart):
        return Choice(descent, "Gibbs does not read ratings from disk.", (descent,), float(budget))
    return _decide((_gibbs(ratings, budget, n_threads, n_factors), descent), float(budget))


def check_budget(budget: float) -> None:
    """Refuse what is no number of seconds above 0.

    Raises:
        SettingError: saying so.
    """
    positive = isinstance(budget, numbers.Real) and math.isfinite(budget) and budget > 0
    if isinstance(budget, bool) or not positive:
        raise SettingError(f"budget={budget!r}: budget must be a number of seconds above 0")


def factors_within(ratings: Ratings, usual: int) -> int:
    """The usual number of factors; of ratings on disk half of them, a quarter or less, until the tables
    of all rows fit into their memory.

    >>> import dotbias as db
    >>> factors_within(db.simulate(n_users=100, n_items=50, n_ratings=1000, seed=0)[0], 256)
    256
    """
    if not isinstance(ratings, PreparedPart):
        return usual
    rows = ratings.n_users + ratings.n_items
    while usual > _LEAST_FACTORS and rows * usual * _BYTES_OF_A_FACTOR > ratings.of.memory:
        usual //= 2
    return usual


def _once(ratings: Ratings, cost: tuple[float, float], growth: float) -> float:
    """Seconds of one sample or epoch.

    Args:
        ratings: what is fitted.
        cost: nanoseconds of each rating and each row.
        growth: factor of the time with the number of factors; below 1 it counts as 1.
    """
    per_rating, per_row = cost
    work = len(ratings) * per_rating + (ratings.n_users + ratings.n_items) * per_row
    return 1e-9 * work * max(growth, 1.0)


def _gibbs(
    ratings: Ratings, budget: float, n_threads: int | None, n_factors: int | None
) -> Candidate:
    k = Gibbs(n_factors=n_factors).n_factors_for(len(ratings))
    x = (1 + k) / GIBBS_COLUMNS
    # 32 columns took 1.6 times as long as 16, and 64 columns 3.6 times.
    once = _once(ratings, GIBBS_COST, (5 + x + x**2) / 7)
    n = next((n for n in SAMPLES if START_SECONDS + n * once <= budget), min(SAMPLES))
    # The factors are said too, so that a part of the ratings is fitted as the whole.
    solver = Gibbs(n_samples=n, burn_in=n // 5, n_factors=k, n_threads=n_threads)
    name = f"gibbs with histories, {n} samples"
    return Candidate(name, DotBias(), solver, START_SECONDS + n * once)


def _descent(ratings: Ratings, n_threads: int | None, n_factors: int | None) -> Candidate:
    usual = DotBias()
    if n_factors is None:
        n_factors = factors_within(ratings, usual.n_factors)
    model = replace(usual, n_factors=n_factors)
    # Settled here, so that a part of the ratings is fitted as the whole.
    solver = GradientDescent(n_threads=n_threads).settled(model, ratings)
    once = _once(ratings, DESCENT_COST, model.n_factors / usual.n_factors)
    seconds = START_SECONDS + solver.n_epochs * once
    return Candidate(f"sgd, {solver.n_epochs} epochs", model, solver, seconds)


def _decide(candidates: tuple[Candidate, ...], budget: float) -> Choice:
    fitting = [c for c in candidates if c.seconds <= budget]
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
    return "; ".join(f"{c.name}, {_rounded(c.seconds)} s" for c in candidates)


def _rounded(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"
