"""How preferences are estimated when nobody says: the penalty whose lists are the best, or no penalty at
all.

How strong the penalty must be depends on how sparse the data are, and no formula says it. So it is
chosen by what counts, the lists for users whose choices were partly held out, and beside what needs no
model: a list must be better than the most rated items, or they are recommended.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.ratings import Ratings
from dotbias.data.split import held_out
from dotbias.data.vocabulary import Index
from dotbias.fitting.checkpoints import Checkpoints
from dotbias.fitting.choosing import check_budget, factors_within
from dotbias.models.base import Model, Parameters
from dotbias.models.dot_product import DotProduct
from dotbias.progress import Progress, progress_bar
from dotbias.recommender.facts import ChosenPreference, TriedPenalty
from dotbias.recommender.fitted import MIN_RATINGS
from dotbias.recommender.list_quality import figures_per_user
from dotbias.recommender.lists import top_items
from dotbias.settings import generator
from dotbias.shown import Shown
from dotbias.solvers.base import Solver
from dotbias.solvers.epochs import run_identity
from dotbias.solvers.least_squares.implicit_als import USUAL_DECAY, ImplicitALS
from dotbias.solvers.least_squares.most_rated import MostRated

_log = logging.getLogger("dotbias")

PATH = tuple(round(0.0141 * math.sqrt(2) ** step, 4) for step in range(11))
"""The values of ``ImplicitALS.weight_decay`` that are tried, the weakest penalty first."""

K = 10
HELD_OUT = 0.1
MOST_USERS = 2_000
"""Users whose lists are measured, at most."""

MANY_PAIRS, MANY_FACTORS = 500_000, 256
SVD_FACTORS = 256

# The path ends when so many values in a row were worse than the best.
_PATIENCE = 2
# The first value starts from random embeddings; the others from those of the one before. A stronger
# penalty empties directions at once, so a few iterations end where a fit from random embeddings does.
# The other way round they would not: what a penalty has emptied takes many iterations to fill, and the
# path would choose too weak a penalty.
_FIRST_ITERATIONS, _MORE_ITERATIONS = 5, 3
# What the path may take beside the model of ratings, as a share of that model's budget, and what one
# thread of the reference machine takes for a pair and iteration at 128 factors on a busy day; so many
# pairs are worth it under any budget.
_SHARE, _SECONDS_PER_PAIR, _LEAST_PAIRS = 0.25, 2e-7, 50_000

OnPenalty: TypeAlias = Callable[[TriedPenalty], None]


@dataclass(frozen=True)
class PreferenceChoice(Shown):
    """What estimates preferences, and why.

    Args:
        model: what is estimated.
        solver: ``ImplicitALS`` with the penalty that was chosen, or ``MostRated``.
        record: what a model keeps of the choice.
    """

    model: Model
    solver: Solver
    record: ChosenPreference

    def __str__(self) -> str:
        return f"{self.record.solver}. {self.record.reason}"


def usual_model(ratings: Ratings) -> DotProduct:
    """What ``ImplicitALS`` estimates when nobody says: 128 factors, and of half a million pairs or more
    256; and 256 of an SVD, or as many as there are users or items. Of ratings on disk no more than fit
    into their memory, and no SVD, which takes all pairs at once.
    """
    if isinstance(ratings, PreparedPart):
        return DotProduct(n_factors=factors_within(ratings, DotProduct().n_factors))
    usual = DotProduct(n_svd_factors=min(SVD_FACTORS, ratings.n_users, ratings.n_items))
    return replace(usual, n_factors=MANY_FACTORS) if len(ratings) >= MANY_PAIRS else usual


def choose_preference(
    ratings: Ratings,
    solver: ImplicitALS | None = None,
    model: Model | None = None,
    *,
    budget: float,
    seed: int = 0,
    n_threads: int | None = None,
    progress: Progress = "auto",
    checkpoints: Checkpoints | None = None,
) -> PreferenceChoice:
    """The penalty of ``ImplicitALS`` under which lists hold most of what was held out.

    A tenth of the choices of up to 2,000 users is held out, and the model fitted to the others under
    one penalty after the other (``PATH``), from weak to strong, each fit going on from the one before,
    until lists get worse. What counts is nDCG@10 as ``evaluate`` measures it, all held-out choices being
    relevant. The penalty lies at the top of the parabola through the best value and its neighbours (in
    the logarithm), times the share that was kept: the more is held out, the stronger the best penalty.

    Unless the best is better than the most rated items on the same rows, by more than the standard error
    of the difference, it is ``MostRated``; where a solver or a model is named, it stays with that.
    Either is logged as a warning (logger ``dotbias``), and a choice that is better as information.

    Where a path over all pairs would take more than a quarter of the budget, it is over those of a
    random part of the users. Which part follows from the size of the data, the budget and the seed.

    Args:
        ratings: all training ratings, counts or events.
        solver: the other settings; its own ``weight_decay`` does not count.
        model: what is estimated, ``usual_model`` by default; the path is then over 128 factors.
        budget: seconds that a model of ratings may take.
        seed: of what is held out, and of the fits.
        n_threads: threads of all fits, where the solver leaves them open; they change no choice.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.
        checkpoints: those of the command: where one says what was chosen, it is not chosen again.

    Raises:
        KeyboardInterrupt: on Ctrl-C, for there is nothing to keep.
        SettingError: for a ``budget`` or ``seed`` that is none, or a model that ``ImplicitALS`` does not
            estimate.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> choose_preference(ratings, budget=30).record.n_users
    200
    """
    check_budget(budget)
    named = solver is not None or model is not None
    solver = solver or ImplicitALS()
    solver = replace(solver, n_threads=solver.n_threads or n_threads)
    run = run_identity(model, solver, ratings, seed) | {"budget": budget}
    decision = None if checkpoints is None else checkpoints.recalled("penalty", _Decision, run)
    if decision is None:
        decision = _decided(ratings, solver, model, budget, seed, progress, named=named)
        if checkpoints is not None:
            checkpoints.note("penalty", decision, run)
    record = decision.record
    chosen: Solver = replace(solver, weight_decay=record.weight_decay)
    model = model or usual_model(ratings)
    if record.solver == MostRated.__name__:
        chosen, model = MostRated(), MostRated().default_model
    choice = PreferenceChoice(model, chosen, record)
    _log.log(logging.INFO if decision.better else logging.WARNING, "Lists: %s", choice)
    return choice


@dataclass(frozen=True)
class _Decision:
    """What was chosen, and whether it is better than the most rated items."""

    record: ChosenPreference
    better: bool


def _decided(
    ratings: Ratings,
    solver: ImplicitALS,
    model: Model | None,
    budget: float,
    seed: int,
    progress: Progress,
    *,
    named: bool,
) -> _Decision:
    """What ``choose_preference`` chooses, worked out."""
    started = time.perf_counter()
    task = ListTask.of(_affordable(ratings, budget, seed), seed)
    tried: list[TriedPenalty] = []
    penalty, popular, better = USUAL_DECAY, None, False
    if task is None:
        reason = "no list can be measured: no user has two choices, or others share none."
    else:
        most_rated = MostRated().default_model
        parameters, _ = MostRated().fit(most_rated, task.rows, seed=seed)
        of_popular = task.figures(most_rated, parameters)["ndcg"]
        popular = float(of_popular.mean())
        with progress_bar("choosing the penalty", len(PATH), enabled=progress) as advance:

            def on_penalty(tried: TriedPenalty) -> None:
                advance(1, f"penalty {tried.weight_decay:.3g}  nDCG {tried.ndcg:.4f}")

            usual = replace(usual_model(ratings), n_factors=DotProduct().n_factors)
            tried, of_best = _walk(task, model or usual, solver, on_penalty)
        penalty = float(f"{(1 - HELD_OUT) * _top(tried):.2g}")
        better = _is_better(of_best, of_popular)
        reason = (
            f"nDCG@{K} {float(of_best.mean()):.3f} on held-out training rows, where that of the most "
            f"rated items is {popular:.3f}"
        )
        reason += "." if better else ": that is not clearly better."
    stays = better or named
    if stays:
        reason = f"{(model or usual_model(ratings)).label}, penalty {penalty:g}: {reason}"
    else:
        reason = f"Everyone is recommended those: of ImplicitALS {reason}"
    record = ChosenPreference(
        solver=type(solver if stays else MostRated()).__name__,
        weight_decay=penalty if stays else None,
        reason=reason,
        tried=tuple(tried),
        most_rated=popular,
        n_users=0 if task is None else len(task.users),
        seconds=time.perf_counter() - started,
    )
    return _Decision(record, better)


def _path_seconds(n_pairs: int) -> float:
    n_iterations = _FIRST_ITERATIONS + _MORE_ITERATIONS * (len(PATH) - 1)
    return n_iterations * n_pairs * _SECONDS_PER_PAIR


def _affordable(ratings: Ratings, budget: float, seed: int) -> Ratings:
    """The ratings, or those of so many users that a path over them takes its share of the budget."""
    most = max(_LEAST_PAIRS, int(_SHARE * budget / _path_seconds(1)))
    if len(ratings) <= most:
        return ratings.take_users(np.ones(ratings.n_users, np.bool_))
    order = generator(seed).permutation(ratings.n_users)
    within = np.cumsum(ratings.user_counts[order]) <= most
    within[0] = True
    chosen = np.zeros(ratings.n_users, np.bool_)
    chosen[order[within]] = True
    return ratings.take_users(chosen)


@dataclass(frozen=True, eq=False)
class ListTask(Shown):
    """Rows to fit to, and the users whose lists are measured.

    Args:
        rows: what is fitted to.
        users: whose lists are measured, shape (n,).
        rated: for each of them the items that the lists leave out.
        relevant: what was held out, a sparse (n, n_items) table.
        seed: of the fits.
    """

    rows: Ratings
    users: Index
    rated: list[Index]
    relevant: csr_array
    seed: int

    @classmethod
    def of(cls, ratings: Ratings, seed: int) -> "ListTask | None":
        """The task, or None where no list can be measured."""
        held = held_out(ratings.user_indices, None, HELD_OUT, seed=seed, by="user")
        several = np.flatnonzero(np.bincount(ratings.user_indices[held], minlength=ratings.n_users))
        if len(several) > MOST_USERS:
            several = generator(seed).choice(several, MOST_USERS, replace=False)
            held &= np.isin(ratings.user_indices, several)
        rows = ratings.rows(np.flatnonzero(~held))
        held &= (rows.item_counts > 0)[ratings.item_indices]
        if not held.any():
            return None
        users, row = np.unique(ratings.user_indices[held], return_inverse=True)
        shape = len(users), ratings.n_items
        relevant = csr_array(
            (np.ones(len(row), np.bool_), (row, ratings.item_indices[held])), shape=shape
        )
        table = csr_array(
            (np.ones(len(rows), np.bool_), (rows.user_indices, rows.item_indices)),
            shape=(ratings.n_users, ratings.n_items),
        )
        table.sort_indices()
        rated = [table.indices[table.indptr[u] : table.indptr[u + 1]] for u in users]
        return cls(rows, users, rated, relevant, seed)

    def figures(
        self, model: Model, parameters: Parameters, k: int = K
    ) -> dict[str, NDArray[np.float64]]:
        """Of the list of k that ``recommend`` would give to each user, arrays of shape (n,) by name."""
        rare = self.rows.item_counts < MIN_RATINGS
        top = top_items(model, parameters, self.users, k, rare=rare, rated=self.rated)
        return figures_per_user(top, self.relevant, k)


def _walk(
    task: ListTask, model: Model, solver: ImplicitALS, on_penalty: OnPenalty
) -> tuple[list[TriedPenalty], NDArray[np.float64]]:
    """The path, from weak to strong, until it goes down; the nDCG of each user at its best value."""
    parameters = None
    tried: list[TriedPenalty] = []
    of_best, best = np.zeros(0), 0
    for value in PATH:
        n_iterations = _MORE_ITERATIONS if tried else _FIRST_ITERATIONS
        own = replace(solver, weight_decay=value, n_iterations=n_iterations)
        parameters, history = own.fit(
            model, task.rows, seed=task.seed, start=parameters, svd=parameters
        )
        if history.stopped == "interrupted":
            raise KeyboardInterrupt
        of_users = task.figures(model, parameters)["ndcg"]
        tried.append(TriedPenalty(value, float(of_users.mean())))
        on_penalty(tried[-1])
        if len(tried) == 1 or tried[-1].ndcg > tried[best].ndcg:
            of_best, best = of_users, len(tried) - 1
        if len(tried) - 1 - best >= _PATIENCE:
            break
    return tried, of_best


def _is_better(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether the mean over users is higher by more than its standard error."""
    difference = one - other
    error = float(difference.std(ddof=min(1, len(difference) - 1))) / math.sqrt(len(difference))
    return float(difference.mean()) > error


def _top(tried: list[TriedPenalty]) -> float:
    """Where the parabola through the best value and its neighbours is highest."""
    at = max(range(len(tried)), key=lambda n: tried[n].ndcg)
    best = tried[at]
    if not 0 < at < len(tried) - 1:
        return best.weight_decay
    before, after = tried[at - 1].ndcg - best.ndcg, tried[at + 1].ndcg - best.ndcg
    if before + after == 0:
        return best.weight_decay
    shift = 0.5 * (before - after) / (before + after)  # in steps of the path, within half a step
    step = math.log(tried[at + 1].weight_decay / best.weight_decay)
    return best.weight_decay * math.exp(shift * step)
