"""Cross-validation: the figures of several folds, with their mean and standard deviation."""

import logging
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import polars as pl

from dotbias.data.prepared.prepared import PreparedRatings
from dotbias.data.ratings import Ratings, k_fold
from dotbias.data.read import as_ratings
from dotbias.errors import DataError, SettingError
from dotbias.evaluation.evaluate import Evaluation, Metric, evaluate, text_table
from dotbias.evaluation.new_users import FOLD_SHARE
from dotbias.evaluation.ranking import NAMES, By, Ranking, relevant_text
from dotbias.fitting.choosing import BUDGET, choose_solver
from dotbias.fitting.fit import Purpose, fit, purpose_of
from dotbias.fitting.named import ModelLike, SettingsLike, SolverLike, model_and_solver
from dotbias.fitting.preference import PreferenceChoice
from dotbias.models.base import Scores
from dotbias.progress import Progress, part, progress_bar
from dotbias.shown import Part, Rows, Shown
from dotbias.solvers.base import Solver

if TYPE_CHECKING:
    from dotbias.data.sources.locate import Source

_log = logging.getLogger("dotbias")


@dataclass(frozen=True, eq=False)
class CrossValidation(Shown):
    """What the folds gave.

    Args:
        folds: the evaluation of each fold's held-out part.
        seconds: time of each fold's fit.
    """

    folds: tuple[Evaluation, ...]
    seconds: tuple[float, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Mean over the folds of the figures that every fold has.

        ``rmse`` and ``mae``, and metrics of one's own by name; if measured, ``ndcg@10`` and so on of
        ``Evaluation.ranking``; and all of the rankings by users, order, reading and length:
        ``known/preference/all/ndcg@10``, ``new/rating/liked/recall@10``. Errors for new users are
        ``new/rmse`` and ``new/mae``.
        """
        return {name: statistics.fmean(values) for name, values in self._columns().items()}

    @property
    def std(self) -> dict[str, float]:
        """Standard deviation over the folds (divided by their number less one) of the same."""
        return {name: statistics.stdev(values) for name, values in self._columns().items()}

    spread = std
    """Its name in version 0.5."""

    def frame(self) -> pl.DataFrame:
        """A row for each fold: ``fold``, from 1, the figures of ``mean``, and ``seconds`` of the fit."""
        numbers = range(1, len(self.folds) + 1)
        return pl.DataFrame({"fold": numbers, **self._columns(), "seconds": self.seconds})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "mean": self.mean,
            "spread": self.std,
            "seconds": list(self.seconds),
            "folds": [fold.to_dict() for fold in self.folds],
        }

    def _parts(self) -> Iterable[Part]:
        of_lists = {name: mean for name, mean in self.mean.items() if name.count("/") == 3}
        rows = [(n, mean, self.std[n]) for n, mean in self.mean.items() if n not in of_lists]
        yield Rows(pl.DataFrame(rows, ["figure", "mean", "std"], orient="row"))
        yield self.frame().drop(*of_lists)
        if of_lists:
            split = [(*name.rsplit("/", 1), mean) for name, mean in of_lists.items()]
            means = pl.DataFrame(split, ["lists", "figure", "mean"], orient="row")
            yield Rows(means.pivot("figure", index="lists", values="mean"))

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        own = self.folds[0].metrics
        shown = ("rmse", "mae", *own, *(n for n in self.mean if n.startswith("ndcg@")))
        columns = {name: column for name, column in self._columns().items() if name in shown}
        rows = [
            [str(fold), *(f"{value:.4f}" for value in values), f"{seconds:.2f}"]
            for fold, (*values, seconds) in enumerate(
                zip(*columns.values(), self.seconds, strict=True), start=1
            )
        ]
        for name, figures, of_seconds in (
            ("mean", self.mean, statistics.fmean(self.seconds)),
            ("spread", self.std, statistics.stdev(self.seconds)),
        ):
            rows.append([name, *(f"{figures[c]:.4f}" for c in columns), f"{of_seconds:.2f}"])
        names = [name.upper() if name in ("rmse", "mae") else name for name in columns]
        yield text_table(["fold", *names, "seconds"], rows)
        yield from self._new_users_line()
        yield from self._ranking_lines()

    def _new_users_line(self) -> Iterator[str]:
        if "new/rmse" in self.mean:
            yield ""
            yield (
                f"new users: RMSE {self.mean['new/rmse']:.4f} ± {self.std['new/rmse']:.4f}, "
                f"MAE {self.mean['new/mae']:.4f} ± {self.std['new/mae']:.4f}"
            )

    def _ranking_lines(self) -> Iterator[str]:
        """A table of means and spreads for each kind of users, reading and length."""
        tables: dict[tuple[str, int, str], list[tuple[By | None, list[Ranking]]]] = {}
        every = [_rankings(fold) for fold in self.folds]
        for key in every[0]:
            if all(key in fold for fold in every):
                (whom, by, reading, k), rankings = key, [fold[key] for fold in every]
                tables.setdefault((whom, k, reading), []).append((by, rankings))
        for (whom, k, _), orders in tables.items():
            relevant = relevant_text(orders[0][1][0].relevant_from)
            names = list(orders[0][1][0].metrics())
            yield ""
            yield f"the first {k} recommendations to {whom} users, {relevant}"
            rows = []
            for by, rankings in orders:
                columns = [[r.metrics()[name] for r in rankings] for name in names]
                rows.append([NAMES[by], *(f"{statistics.fmean(c):.4f}" for c in columns)])
                rows.append(["  spread", *(f"{statistics.stdev(c):.4f}" for c in columns)])
            yield text_table(["", *names], rows)
            for by, rankings in orders:
                gains = [r.gain for r in rankings if r.gain is not None]
                if gains:
                    better = sum(gain.low > 0 for gain in gains)
                    gain = statistics.fmean(gain.mean for gain in gains)
                    yield (
                        f"{NAMES[by]}: better than most rated items in {better} of {len(gains)} folds "
                        f"({gain:+.3f} in nDCG@{k} on average)"
                    )

    def _columns(self) -> dict[str, list[float]]:
        """The values of each figure that every fold has, fold by fold."""
        figures = [_figures(fold) for fold in self.folds]
        shared = [name for name in figures[0] if all(name in fold for fold in figures)]
        return {name: [fold[name] for fold in figures] for name in shared}


def cross_validate(
    ratings: "Ratings | Source | Iterable[tuple[Ratings, Ratings]]",
    model: ModelLike = None,
    solver: SolverLike = None,
    *,
    settings: SettingsLike = None,
    purpose: Purpose | None = None,
    preference: Solver | PreferenceChoice | None = None,
    n_folds: int = 5,
    budget: float = BUDGET,
    seed: int = 0,
    split_seed: int | None = None,
    k: int | Sequence[int] = 10,
    relevant_from: float | None = None,
    ranking: bool = False,
    rank_by: Scores | None = None,
    metrics: Sequence[Metric] = (),
    new_users: float | int = 0,
    fold_share: float = FOLD_SHARE,
    progress: Progress = "auto",
) -> CrossValidation:
    """Fit on each fold's training part, and evaluate on the part held out of it.

    Args:
        ratings: what ``k_fold`` cuts into folds, also a frame or path; or the folds themselves, as pairs
            of training and held-out ratings, such as the official ones of a set.
        model: as for ``fit``; with neither model nor solver, what is chosen for the ratings (of
            given folds: for the first training part) is used for all.
        solver, settings: as for ``fit``.
        purpose, preference: as for ``fit``; each fold chooses for itself what is left open. Without
            ``ranking`` nothing would be measured of a second model, and none is fitted.
        n_folds: number of folds; without effect on given ones.
        budget: as for ``fit``, of each fold.
        seed: of every fit and of every evaluation.
        split_seed: of the folds; by default the same.
        k: length of the lists of recommendations, or several.
        relevant_from, rank_by, metrics, fold_share: as for ``evaluate``.
        ranking: whether to measure recommendations too.
        new_users: share of the users, or their number, whom each fold holds out whole besides, to fold
            them in (``evaluate``); not for given folds.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.

    Raises:
        DataError: for fewer than two given folds.
        SettingError: for ``n_folds`` or ``new_users`` outside its range, ``new_users`` for given folds,
            or as ``fit`` and ``evaluate``.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> result = cross_validate(ratings, db.Baseline(), n_folds=3)
    >>> len(result.folds), result.std["rmse"] < 0.1 < result.mean["rmse"] < 1
    (3, True)
    """
    model, solver = model_and_solver(model, solver, settings)
    split = seed if split_seed is None else split_seed
    pairs: Iterable[tuple[Ratings, Ratings]]
    known = (Ratings, PreparedRatings, str, PathLike, Mapping)
    if isinstance(ratings, known) or hasattr(type(ratings), "columns"):
        ratings = as_ratings(ratings)
        pairs, total = k_fold(ratings, n_folds, seed=split, new_users=new_users), n_folds
    else:
        if new_users:
            raise SettingError(
                f"cross_validate(new_users={new_users!r}): nobody can be held out of folds that are "
                "given; give the ratings themselves"
            )
        pairs, total = _folds(ratings), None
    named = model, solver
    folds: list[Evaluation] = []
    seconds: list[float] = []
    with progress_bar("cross-validation", total, enabled=progress) as advance:
        for train, test in pairs:
            wanted = purpose_of(purpose, train, *named, preference, tuned=settings is not None)
            if wanted == "both" and not ranking:
                wanted, preference = "predict", None
            if model is None and solver is None and wanted != "recommend":
                whole = ratings if isinstance(ratings, Ratings) else train
                choice = choose_solver(whole, budget=budget)
                _log.info("Solver: %s", choice)
                model, solver = choice.model, choice.solver
            started = time.perf_counter()
            with part(1):
                rec = fit(
                    train,
                    model,
                    solver,
                    purpose=wanted,
                    preference=preference,
                    budget=budget,
                    seed=seed,
                    progress=progress,
                )
            if rec.interrupted:
                raise KeyboardInterrupt  # whoever interrupts one fit does not want the next
            seconds.append(time.perf_counter() - started)
            found = evaluate(
                rec,
                test,
                k=k,
                relevant_from=relevant_from,
                ranking=ranking,
                rank_by=rank_by,
                metrics=metrics,
                new_users="fold" if new_users else "cold",
                fold_share=fold_share,
                seed=seed,
            )
            folds.append(found)
            error = "" if found.rmse is None else f"  RMSE {found.rmse:.4f}"
            advance(0, f"fold {len(folds)}{error}")
    if len(folds) < 2:
        raise DataError(f"cross-validation needs at least 2 folds, not {len(folds)}: use evaluate")
    return CrossValidation(tuple(folds), tuple(seconds))


def _folds(given: Any) -> Iterator[tuple[Ratings, Ratings]]:
    """Folds that are given, each read where it is not read yet."""
    for pair in given:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise DataError(
                "cross-validation needs ratings, or folds as pairs of training and held-out ratings, "
                f"not a {type(pair).__name__}"
            )
        train = as_ratings(pair[0])
        yield train, as_ratings(pair[1], of_model=train.kind)


def _figures(fold: Evaluation) -> dict[str, float]:
    new = fold.new_users
    errors = {"rmse": fold.rmse, "mae": fold.mae}
    figures = {name: value for name, value in errors.items() if value is not None}
    figures |= fold.metrics
    if new is not None and new.rmse is not None and new.mae is not None:
        figures |= {"new/rmse": new.rmse, "new/mae": new.mae}
    if fold.ranking is not None:
        figures |= {f"{name}@{fold.ranking.k}": x for name, x in fold.ranking.metrics().items()}
    for (whom, by, reading, k), ranking in _rankings(fold).items():
        figures |= {f"{whom}/{by}/{reading}/{name}@{k}": x for name, x in ranking.metrics().items()}
    return figures


def _rankings(fold: Evaluation) -> dict[tuple[str, By | None, str, int], Ranking]:
    """Every ranking by whom it is for, what orders it, what is relevant, and its length."""
    new = () if fold.new_users is None else fold.new_users.rankings
    return {
        (whom, ranking.by, "all" if ranking.relevant_from is None else "liked", ranking.k): ranking
        for whom, rankings in (("known", fold.rankings), ("new", new))
        for ranking in rankings
    }
