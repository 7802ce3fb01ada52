"""Cross-validation: the figures of several folds, with their mean and standard deviation."""

import logging
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dotbias.data.ratings import Ratings, k_fold
from dotbias.errors import DataError
from dotbias.evaluation.evaluate import Evaluation, evaluate, text_table
from dotbias.fitting.choosing import BUDGET, choose_solver
from dotbias.fitting.fit import fit
from dotbias.models.base import Model
from dotbias.progress import progress_bar
from dotbias.solvers.base import Solver

_log = logging.getLogger("dotbias")


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What the folds gave.

    Args:
        folds: the evaluation of each fold's held-out part.
        seconds: time of each fold's fit.
    """

    folds: tuple[Evaluation, ...]
    seconds: tuple[float, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Mean over the folds of ``rmse``, ``mae`` and, if measured, ``precision@10`` and so on."""
        return {name: statistics.fmean(values) for name, values in self._columns().items()}

    @property
    def std(self) -> dict[str, float]:
        """Standard deviation over the folds (divided by their number less one) of the same."""
        return {name: statistics.stdev(values) for name, values in self._columns().items()}

    spread = std
    """Its name in version 0.5."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "mean": self.mean,
            "spread": self.std,
            "seconds": list(self.seconds),
            "folds": [fold.to_dict() for fold in self.folds],
        }

    def __str__(self) -> str:
        columns = self._columns()
        rows = [
            [str(fold), *(f"{value:.4f}" for value in values), f"{seconds:.2f}"]
            for fold, (*values, seconds) in enumerate(
                zip(*columns.values(), self.seconds, strict=True), start=1
            )
        ]
        means = [f"{value:.4f}" for value in self.mean.values()]
        stds = [f"{value:.4f}" for value in self.std.values()]
        rows += [
            ["mean", *means, f"{statistics.fmean(self.seconds):.2f}"],
            ["spread", *stds, f"{statistics.stdev(self.seconds):.2f}"],
        ]
        names = [name.upper() if name in ("rmse", "mae") else name for name in columns]
        return text_table(["fold", *names, "seconds"], rows)

    def _columns(self) -> dict[str, list[float]]:
        """The values of each figure that every fold has, fold by fold."""
        figures = [_figures(fold) for fold in self.folds]
        shared = [name for name in figures[0] if all(name in fold for fold in figures)]
        return {name: [fold[name] for fold in figures] for name in shared}


def cross_validate(
    ratings: Ratings | Iterable[tuple[Ratings, Ratings]],
    model: Model | None = None,
    solver: Solver | None = None,
    *,
    n_folds: int = 5,
    budget: float = BUDGET,
    seed: int = 0,
    k: int = 10,
    ranking: bool = False,
    progress: bool = False,
) -> CrossValidation:
    """Fit on each fold's training part, and evaluate on the part held out of it.

    Args:
        ratings: what ``k_fold`` cuts into folds; or the folds themselves, as pairs of training and
            held-out ratings.
        model: as for ``fit``; with neither model nor solver, what is chosen for the first fold's
            training part is used for all.
        solver: as for ``fit``.
        n_folds: number of folds; without effect on given ones.
        budget: seconds that each fold's fit may take, where the solver is chosen.
        seed: of the folds and of every fit.
        k: length of the lists of recommendations.
        ranking: whether to measure recommendations too.
        progress: show a progress bar on stderr when it is a terminal.

    Raises:
        DataError: for fewer than two given folds.
        SettingError: for ``n_folds`` outside its range, or as ``fit`` and ``evaluate``.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> result = cross_validate(ratings, db.Baseline(), n_folds=3)
    >>> len(result.folds), result.std["rmse"] < 0.1 < result.mean["rmse"] < 1
    (3, True)
    """
    pairs: Iterable[tuple[Ratings, Ratings]]
    if isinstance(ratings, Ratings):
        pairs, total = k_fold(ratings, n_folds, seed=seed), n_folds
    else:
        pairs, total = ratings, None
    folds: list[Evaluation] = []
    seconds: list[float] = []
    with progress_bar("cross-validation", total, enabled=progress) as advance:
        for train, test in pairs:
            if model is None and solver is None:
                choice = choose_solver(train, budget=budget)
                _log.info("Solver: %s", choice)
                model, solver = choice.model, choice.solver
            started = time.perf_counter()
            rec = fit(train, model, solver, seed=seed)
            if rec.facts.history.stopped == "interrupted":
                raise KeyboardInterrupt  # whoever interrupts one fit does not want the next
            seconds.append(time.perf_counter() - started)
            folds.append(evaluate(rec, test, k=k, ranking=ranking))
            advance(1, f"fold {len(folds)}  RMSE {folds[-1].rmse:.4f}")
    if len(folds) < 2:
        raise DataError(f"cross-validation needs at least 2 folds, not {len(folds)}: use evaluate")
    return CrossValidation(tuple(folds), tuple(seconds))


def _figures(fold: Evaluation) -> dict[str, float]:
    figures = {"rmse": fold.rmse, "mae": fold.mae}
    if fold.ranking is not None:
        figures |= {f"{name}@{fold.ranking.k}": x for name, x in fold.ranking.metrics().items()}
    return figures
