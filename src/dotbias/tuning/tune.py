"""Tuning: which settings suit these ratings, and whether they are better than the default at all.

A search on one part of the training rows finds what is good there, by skill and by luck. So the best of
it are fitted again on parts that decided nothing yet, beside the default, and the default is given up
only for what is clearly better on those.
"""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.read import as_ratings
from dotbias.errors import DivergenceError, SettingError
from dotbias.extras import install
from dotbias.fitting.choosing import check_budget
from dotbias.fitting.named import SOLVERS, SolverLike, model_and_solver
from dotbias.fitting.settings_file import SettingsFile
from dotbias.models.base import Model
from dotbias.plain import to_plain
from dotbias.progress import Progress, progress_bar
from dotbias.settings import generator
from dotbias.shown import Part, Rows, Shown
from dotbias.solvers.base import Epoch, Solver
from dotbias.tuning.objective import SHARE, Objective, objective_of, seed_of
from dotbias.tuning.space import (
    Configuration,
    Space,
    check_in_memory,
    space_of_lists,
    space_of_ratings,
)

if TYPE_CHECKING:
    from dotbias.data.ratings import Ratings
    from dotbias.data.sources.locate import Source
    from dotbias.pictures import BarPicture, LinePicture
    from dotbias.tuning.study import Study

BUDGET = 120.0
"""Seconds that tuning takes when nothing else is said."""

N_BEST = 5
"""How many of the trials are fitted again."""

N_SEEDS = 5
"""On how many fresh validation parts."""

# Share of the time that is kept for that, at least and at most; between, what the default and the best
# take.
_KEPT, _MOST_KEPT = 0.4, 0.75
# Fits differ in time, and the last is not to be in vain.
_LONGER = 1.2
# After so many fresh parts, what has gained nothing is left out.
_SOME = 2
# A gain of a smaller share of the figure is rounding.
_LEAST_GAIN = 1e-4
# Fresh validation parts have other seeds than those of the search.
_SEARCH, _FRESH = 0, 1
# What ends a fit of settings that are too bad, or ask for too much.
_NOT_MEASURED = DivergenceError, SettingError, MemoryError
# After fewer trials than these, a search that has found nothing has not looked around.
_FEW = 10
# What has mattered less is not drawn.
_LEAST_SHARE = 0.005

State: TypeAlias = Literal["complete", "pruned", "stopped"]


class _TimeUp(Exception):
    """The time is up in the middle of a fit."""


@dataclass(frozen=True)
class Trial(Shown):
    """One set of settings, and what the search made of it.

    Args:
        number: from 0, in the order in which they began.
        solver: its name on the command line.
        state: ``complete``; ``pruned``, broken off for a curve that was worse; ``stopped`` on the
            way.
        figure: on the validation parts of the search; None unless it is complete.
        seconds: how long it took.
        values: of the settings that vary.
        best_so_far: the best figure of it and those before.
    """

    number: int
    solver: str
    state: State
    figure: float | None
    seconds: float
    values: dict[str, Any]
    best_so_far: float | None = None


@dataclass(frozen=True)
class Refit(Shown):
    """One of the best, fitted again beside the default on fresh validation parts.

    Args:
        trial: its number.
        mean: of its figures.
        gain: by how much it was better than the default, in the mean over parts.
        standard_error: of the gain, corrected for the training rows that parts share (Nadeau & Bengio
            2003, eq. 7): ``s √(1/n + share / (1 - share))``, s being the standard deviation of the n
            differences.
        figures: on each part.
    """

    trial: int
    mean: float
    gain: float
    standard_error: float
    figures: tuple[float, ...]

    @property
    def is_better(self) -> bool:
        """Whether the gain exceeds two standard errors, and rounding."""
        least = max(2 * self.standard_error, _LEAST_GAIN * abs(self.mean))
        return self.gain > least

    @property
    def passes(self) -> bool:
        """Whether it is better on as many parts as it takes."""
        return self.is_better and len(self.figures) >= N_SEEDS


@dataclass(frozen=True)
class Tuning(Shown):
    """What tuning has found.

    Args:
        metric: what was measured.
        settings: what to fit: the default, unless something was clearly better.
        verdict: whether it is the default, and why, in a sentence.
        replaced: whether it is something else than the default.
        confirmed: False of what Ctrl-C has kept of the search, which was not fitted again.
        default: figures of the default on the fresh validation parts.
        refits: those of the best, the best first; what gained nothing on the first parts has no more.
        trials: all of the search.
        importances: how much each setting has mattered for being among the best, as shares.
        edges: values of what was chosen that lie on the edge of their range, in words.
        seconds: how long it took in all.
        fit_seconds: as much of that went into fits and measuring them.
        interrupted: whether Ctrl-C has ended it.
    """

    metric: str
    settings: SettingsFile
    verdict: str
    replaced: bool
    confirmed: bool
    default: tuple[float, ...]
    refits: tuple[Refit, ...]
    trials: tuple[Trial, ...]
    importances: dict[str, float] = field(default_factory=dict)
    edges: tuple[str, ...] = ()
    seconds: float = 0.0
    fit_seconds: float = 0.0
    interrupted: bool = False

    @property
    def model(self) -> Model:
        """What to estimate."""
        return self.settings.model

    @property
    def solver(self) -> Solver:
        """How."""
        return self.settings.solver

    @property
    def overhead(self) -> float:
        """Share of the time that went into anything else than fits."""
        return max(0.0, 1 - self.fit_seconds / self.seconds) if self.seconds else 0.0

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the settings to a file that ``fit`` takes; as ``SettingsFile.save``."""
        self.settings.save(path, force=force)

    def frame(self) -> pl.DataFrame:
        """All trials, a row each, the best first."""
        rows = [
            {
                "trial": trial.number,
                "state": trial.state,
                self.metric: trial.figure,
                "seconds": trial.seconds,
                "solver": trial.solver,
                "settings": _words(trial.values),
            }
            for trial in self.trials
        ]
        schema = {
            "trial": pl.Int64,
            "state": pl.String,
            self.metric: pl.Float64,
            "seconds": pl.Float64,
            "solver": pl.String,
            "settings": pl.String,
        }
        return pl.DataFrame(rows, schema=schema).sort(
            self.metric, descending=self.metric != "rmse", nulls_last=True, maintain_order=True
        )

    def counts(self) -> dict[str, int]:
        """How many trials there were of each state."""
        states: tuple[State, ...] = ("complete", "pruned", "stopped")
        return {state: sum(t.state == state for t in self.trials) for state in states}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data: dict[str, Any] = to_plain(self)
        data["settings"] = {"model": to_plain(self.model), "solver": to_plain(self.solver)}
        return data | {"overhead": self.overhead}

    def picture(self) -> "LinePicture":
        """The best figure against seconds, in which every trial ends.

        Raises:
            SettingError: where no trial has come to a figure.
        """
        from dotbias.pictures import Line, LinePicture, Panel

        ends = np.cumsum([trial.seconds for trial in self.trials]).tolist()
        points = [
            (end, trial.best_so_far)
            for end, trial in zip(ends, self.trials, strict=True)
            if trial.best_so_far is not None
        ]
        if not points:
            raise SettingError("there is nothing to draw: no trial has come to a figure")
        # The best stays until another trial has ended: a line of steps.
        x, y = [points[0][0]], [points[0][1]]
        for end, best in points[1:]:
            x += [end, end]
            y += [y[-1], best]
        panel = Panel(
            title="The best so far",
            x_label="seconds of trials",
            y_label=self.metric.upper() if self.metric == "rmse" else self.metric,
            lines=(
                Line(name="best", x=x, y=y),
                Line(name="first trial", x=[x[0], x[-1]], y=[y[0], y[0]]),
            ),
        )
        told = ", ".join(f"{n} {state}" for state, n in self.counts().items() if n)
        return LinePicture(
            title=f"Tuning {self.metric}",
            panels=(panel,),
            note=f"On validation parts of the search: {told}. {self.verdict}",
        )

    def importance_picture(self) -> "BarPicture":
        """How much each setting has mattered.

        Raises:
            SettingError: where too little was tried to tell.
        """
        from dotbias.pictures import Bar, BarPicture

        bars = tuple(
            Bar(name=name, value=share, label=f"{share:.0%}")
            for name, share in self.importances.items()
            if share >= _LEAST_SHARE
        )
        if not bars:
            raise SettingError("there is nothing to draw: too few trials tell what mattered")
        return BarPicture(
            title=f"What mattered for {self.metric}",
            bars=bars,
            x_label="share in what sets the best trials apart",
            note="PED-ANOVA over the complete trials; settings that only some trials have count in "
            "those.",
        )

    def _parts(self) -> Iterable[Part]:
        yield self.verdict
        yield {"trials": len(self.trials), **self.counts(), "seconds": self.seconds}
        if self.refits:
            yield Rows(self.refit_frame())
        yield self.frame()

    def refit_frame(self) -> pl.DataFrame:
        """The best beside the default on fresh validation parts."""
        by_number = {trial.number: trial for trial in self.trials}
        rows: list[tuple[Any, ...]] = []
        if self.default:
            rows.append(("default", len(self.default), np.mean(self.default), None, None, ""))
        rows += [
            (
                f"trial {refit.trial}",
                len(refit.figures),
                refit.mean,
                refit.gain,
                refit.standard_error,
                f"{by_number[refit.trial].solver} {_words(by_number[refit.trial].values)}",
            )
            for refit in self.refits
        ]
        names = ["of", "parts", self.metric, "gain", "standard_error", "settings"]
        return pl.DataFrame(rows, names, orient="row")

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        counts = self.counts()
        told = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        n = len(self.trials)
        yield f"{n} trial{'s' * (n != 1)} in {self.seconds:.0f} s: {told or 'none'}"
        yield self.verdict
        yield f"settings  {self.solver.brief()} of {self.model.brief()}"
        for edge in self.edges:
            yield f"on the edge of what was tried: {edge}"
        if not self.importances:
            yield f"too few complete trials to say what mattered: {counts['complete']}"
        else:
            most = list(self.importances.items())[:4]
            yield "what mattered: " + ", ".join(f"{name} {share:.0%}" for name, share in most)


def tune(
    ratings: "Ratings | Source",
    solver: SolverLike = None,
    *,
    metric: str = "rmse",
    budget: float | None = None,
    n_trials: int | None = None,
    seed: int = 0,
    study: str | Path | None = None,
    progress: Progress = "auto",
) -> Tuning:
    """Look for settings that suit these ratings better than the default.

    The default and then what TPE suggests (Bergstra et al. 2011; Optuna) are fitted to nine tenths of
    the ratings and measured on the others, the same for all; a fit whose learning curve falls behind is
    broken off. The best five are then fitted again beside the default on at least five fresh parts, and
    one of them takes the place of the default only where its gain, part by part, exceeds two standard
    errors. Otherwise what is returned is the default.

    Args:
        ratings: the training ratings, all of which decide; to measure what was found, hold some out
            before. A frame, a path or a named set is read as ``read_ratings`` reads it.
        solver: one solver, of which those settings stay as they are that do not vary; also by name. By
            default all of them, first that which ``fit`` would choose.
        metric: ``"rmse"``, or a figure of lists, ``"ndcg@10"``, ``"recall@20"`` and so on, for which
            ``ImplicitALS`` is tuned.
        budget: seconds that all of this may take, 120 by default. What a trial is worth that the end
            of its time has stopped is not known.
        n_trials: how many trials the study has in the end, in the place of a budget: then no clock
            decides anything, and the same ratings and seed give the same result.
        seed: of everything that is drawn.
        study: a file in which trials are kept. Where it is there, the study goes on from it; trials
            of processes that were killed are cleared. Several processes may go on with one.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.

    Ctrl-C ends the search, not the program: the best so far is returned as it is, and ``confirmed`` says
    that nobody has measured it again.

    Raises:
        SettingError: for a metric or solver that there is not, both a budget and a number of trials, or
            a study of other ratings or settings; where Optuna is missing.
        DataError: for ratings that stay on disk, or a file that is no study.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=60, n_items=40, n_ratings=1500, seed=1)
    >>> tuning = db.tune(ratings, "als", n_trials=3)
    >>> [trial.values["n_factors"] for trial in tuning.trials][0], tuning.metric
    (64, 'rmse')
    """
    started = time.perf_counter()
    _require_optuna()
    from dotbias.tuning.study import opened

    budget = _budget(budget, n_trials)
    generator(seed)  # refuses what is no seed
    ratings = as_ratings(ratings)
    check_in_memory(ratings)
    objective = objective_of(ratings, metric)
    space = _space(ratings, solver, objective, seed, progress)
    identity = {
        "ratings": f"{len(ratings)} {ratings.kind}, {ratings.digest[:16]}",
        "metric": objective.name,
        "seed": seed,
        "space": space.identity,
    }
    path = None if study is None else Path(study)
    with opened(space, objective.direction, identity, seed, path) as begun:
        search = _Search(objective, space, begun, seed, started, budget, n_trials)
        with progress_bar("tuning", search.total, enabled=progress) as advance:
            search.advance = advance
            return search.tuned()


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise SettingError(
            f"tuning needs Optuna, which is not installed: {install('tune')}"
        ) from None


def _budget(budget: float | None, n_trials: int | None) -> float | None:
    """The seconds that there are; None where trials are counted instead."""
    if budget is not None and n_trials is not None:
        raise SettingError(
            f"budget={budget!r} and n_trials={n_trials!r}: a clock would decide, or a count: name one"
        )
    if n_trials is not None:
        if isinstance(n_trials, bool) or not isinstance(n_trials, int) or n_trials < 1:
            raise SettingError(f"n_trials={n_trials!r}: it must be a whole number at least 1")
        return None
    budget = BUDGET if budget is None else budget
    check_budget(budget)
    return float(budget)


def _space(
    ratings: "Ratings", solver: SolverLike, objective: Objective, seed: int, progress: Progress
) -> Space:
    if objective.name == "rmse":
        if isinstance(solver, str) and solver.strip().lower() != "auto":
            return space_of_ratings(ratings, solver)
        return space_of_ratings(ratings, None if isinstance(solver, str) else solver)
    if isinstance(solver, str) and solver.strip().lower() in SOLVERS:
        raise SettingError(
            f"solver={solver!r} predicts stars, and {objective.name} is of lists: leave the solver out"
        )
    _, named = model_and_solver(None, solver)
    return space_of_lists(ratings, named, seed=seed, progress=progress)


@dataclass
class _Search:
    """Tuning under way.

    Args:
        objective, space, study, seed: what is measured, of what, where it is kept.
        started: when it began.
        budget, n_trials: seconds in all, or trials of the search.
        fit_seconds: spent in fits.
        interrupted: whether Ctrl-C has ended it.
        round_began: when the search was taken up last.
        of_default, again: figures on fresh parts of the default, and of trials by number.
        shown: seconds that the bar shows.
        warm: solvers that are compiled.
        advance: moves the bar.
    """

    objective: Objective
    space: Space
    study: "Study"
    seed: int
    started: float
    budget: float | None
    n_trials: int | None
    fit_seconds: float = 0.0
    interrupted: bool = False
    round_began: float = 0.0
    of_default: list[float] = field(default_factory=list)
    again: dict[int, list[float]] = field(default_factory=dict)
    shown: float = 0.0
    warm: set[str] = field(default_factory=set)
    advance: Any = None

    @property
    def total(self) -> float:
        """The end of the bar."""
        if self.n_trials is None:
            assert self.budget is not None
            return self.budget
        return self.n_trials + N_SEEDS * (1 + N_BEST)

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def tuned(self) -> Tuning:
        """Search, and fit the best again; where time is left, go on with the search."""
        with self._until_interrupted():
            more = True
            while more:
                self.round_began, n_told = self.elapsed, self.study.n_told
                self._search()
                trials = self._trials()
                default = self._default(trials)
                if default is None:
                    break
                self._confirm(default, self._best(trials, default))
                more = self.study.n_told > n_told and self._is_time_for_more(default)
        return self._result()

    def _is_time_for_more(self, default: Trial) -> bool:
        """Whether one more trial may end, and be fitted again."""
        if self.budget is None:
            return False
        again = N_SEEDS * self._part_seconds(default)
        return self.elapsed + default.seconds + again < self.budget

    # -- the search

    def _search(self) -> None:
        while not self._is_over():
            trial, candidate = self.study.ask()
            began, figure = time.perf_counter(), None
            state: State = "stopped"
            limit = None if self.budget is None else self._search_ends()
            try:
                self._warm_up(candidate)
                began = time.perf_counter()
                seeds = [self._seed(_SEARCH, n) for n in range(self.objective.n_parts)]
                with self._fitting():
                    curve = self.objective.curve(candidate, seeds, self._watch(limit))
                for step in range(1, 1_000):
                    with self._fitting():
                        value = next(curve, None)
                    if value is None:
                        state = "complete"
                        break
                    figure = value
                    trial.report(value, step)
                    if not math.isfinite(value) or trial.should_prune():
                        state, figure = "pruned", None
                        break
            except _NOT_MEASURED:
                if candidate == self.space.default:
                    raise
                state, figure = "pruned", None  # so bad that it is not measured
            except _TimeUp:
                figure = None
            finally:  # Ctrl-C among the reasons
                done = state == "complete"
                seconds = time.perf_counter() - began
                self.study.tell(trial, state, figure if done else None, seconds)
            told = "" if figure is None else f"  {self.objective.name} {figure:.4f}"
            self._show(f"trial {trial.number} {candidate.way}{told}")

    def _warm_up(self, candidate: Configuration) -> None:
        """Let a solver compile before its fits are timed."""
        if candidate.way not in self.warm:
            self.warm.add(candidate.way)
            with self._fitting():
                self.objective.warm_up(candidate)

    def _is_over(self) -> bool:
        if self.n_trials is not None:
            return self.study.n_told >= self.n_trials
        return self.elapsed >= self._search_ends()

    def _search_ends(self) -> float:
        """Seconds after which what is left is kept to fit the best again."""
        assert self.budget is not None
        trials = self._trials()
        default = self._default(trials)
        if default is None:  # without which there is nothing
            return self.budget if self.study.n_told == 0 else (1 - _KEPT) * self.budget
        left = self.budget - self.round_began
        best = self._best(trials, default)
        seconds = self._part_seconds(best[0] if best else default)
        if len(self.of_default) < N_SEEDS:
            seconds += self._part_seconds(default)
        return self.budget - min(max(_KEPT * left, N_SEEDS * seconds), _MOST_KEPT * left)

    # -- the best again

    def _best(self, trials: list[Trial], default: Trial) -> list[Trial]:
        """Up to five that were better than the default, and than what has passed, the best first; none
        that was fitted again already.
        """
        passed = {refit.trial for refit in self._refits(trials) if refit.passes}
        known = [t for t in trials if t.number in passed or t.number == default.number]
        least = max(known, key=self._worth)
        better = [t for t in trials if t.figure is not None and self._worth(t) > self._worth(least)]
        better.sort(key=self._worth, reverse=True)
        distinct: list[Trial] = []
        for trial in better:
            before = [*distinct, *(t for t in trials if t.number in self.again)]
            if all((trial.solver, trial.values) != (t.solver, t.values) for t in before):
                distinct.append(trial)
        return distinct[:N_BEST]

    def _worth(self, trial: Trial) -> float:
        """How good a complete trial was in the search."""
        assert trial.figure is not None
        return self.objective.gain(0.0, trial.figure)

    def _confirm(self, default: Trial, best: list[Trial]) -> None:
        """Figures of the default and of the best on fresh parts.

        What has gained nothing on the first parts is left out, and so is what there is no time for.
        """
        candidates = [self.space.candidate(trial.solver, trial.values) for trial in best]
        seconds = [self._part_seconds(trial) for trial in best]
        alive = list(range(len(best)))
        for part in range(N_SEEDS):
            known = part < len(self.of_default)
            if part:
                gains = {n: float(self._gains(best[n].number).mean()) for n in alive}
                alive.sort(key=lambda n: -gains[n])
            if part >= _SOME:
                alive = [n for n in alive if gains[n] > 0]
            if self.budget is not None:
                left = (self.budget - self.elapsed) / (N_SEEDS - part)
                left -= 0.0 if known else self._part_seconds(default)
                alive = _within(left, alive, seconds) or alive[:1]
            if not alive:
                return
            found = {}
            try:
                if not known:
                    self.of_default.append(self._again(self.space.default, part))
                for n in alive:
                    began = time.perf_counter()
                    try:
                        found[n] = self._again(candidates[n], part)
                    except _NOT_MEASURED:  # which counts for more than what it gained elsewhere
                        self.again[best[n].number] = []
                    seconds[n] = _LONGER * (time.perf_counter() - began)
            except _TimeUp:
                return
            alive = list(found)
            for n, figure in found.items():
                self.again.setdefault(best[n].number, []).append(figure)

    def _again(self, candidate: Configuration, part: int) -> float:
        """The figure of a candidate on a fresh part."""
        with self._fitting():
            seed, watch = self._seed(_FRESH, part), self._watch(self.budget)
            figure = self.objective.final(candidate, seed, watch)
        self._show(f"again, part {part + 1}  {candidate.way}")
        return figure

    def _part_seconds(self, trial: Trial) -> float:
        """What a fit of a trial's settings may take."""
        return _LONGER * trial.seconds / self.objective.n_parts

    def _gains(self, trial: int) -> NDArray[np.float64]:
        """By how much a trial's settings were better than the default, on each fresh part."""
        pairs = zip(self.of_default, self.again[trial], strict=False)
        return np.array([self.objective.gain(*pair) for pair in pairs])

    def _refits(self, trials: list[Trial]) -> list[Refit]:
        """All that were fitted again on some parts, the best first."""
        refits = [
            self._refit(trial.number)
            for trial in trials
            if len(self.again.get(trial.number, ())) > 1
        ]
        return sorted(refits, key=lambda refit: (-len(refit.figures), -refit.gain))

    def _refit(self, trial: int) -> Refit:
        gains, own = self._gains(trial), self.again[trial]
        # Fits to parts of the same rows are alike, so that their spread alone would say too little.
        shared = 1 / len(gains) + SHARE / (1 - SHARE)
        error = float(gains.std(ddof=1)) * math.sqrt(shared)
        return Refit(trial, float(np.mean(own)), float(gains.mean()), error, tuple(own))

    # -- the outcome

    def _result(self) -> Tuning:
        trials = self._trials()
        default, of_default = self._default(trials), self.of_default
        refits = self._refits(trials)
        passed = [refit for refit in refits if refit.passes]
        chosen, verdict = self.space.default, ""
        by_number = {trial.number: trial for trial in trials}
        if passed:
            best_trial = by_number[passed[0].trial]
            chosen = self.space.candidate(best_trial.solver, best_trial.values)
            verdict = self._gain_text(passed[0], of_default)
        elif self.interrupted and default is not None and (found := self._best(trials, default)):
            chosen = self.space.candidate(found[0].solver, found[0].values)
            verdict = (
                f"Interrupted: the best of the search is kept, {self.objective.name} "
                f"{found[0].figure:.4f} where the default has {default.figure:.4f}, and was not "
                "measured again."
            )
        else:
            verdict = (
                f"The default stays: {self._why_default(default, trials, refits, of_default)}."
            )
        replaced = chosen != self.space.default
        found_how: dict[str, Any] = {
            "metric": self.objective.name,
            "replaced_default": replaced,
            "confirmed": bool(passed) or not (self.interrupted or replaced),
            "verdict": verdict,
            "solver": chosen.way,
            "values": chosen.values,
            "edges": self.space.edges(chosen) if replaced else [],
            "default_figures": of_default,
            "tuned_figures": list(passed[0].figures) if passed else [],
            "ratings": f"{len(self.objective.ratings)} {self.objective.ratings.kind}",
            "seed": self.seed,
        }
        return Tuning(
            metric=self.objective.name,
            settings=SettingsFile(chosen.model, chosen.solver, found_how),
            verdict=verdict,
            replaced=replaced,
            confirmed=found_how["confirmed"],
            default=tuple(found_how["default_figures"]),
            refits=tuple(refits),
            trials=tuple(trials),
            importances=self.study.importances(),
            edges=tuple(found_how["edges"]),
            seconds=self.elapsed,
            fit_seconds=self.fit_seconds,
            interrupted=self.interrupted,
        )

    def _gain_text(self, refit: Refit, default: list[float]) -> str:
        mean = float(np.mean(default))
        share = f" ({refit.gain / abs(mean):.1%})" if mean else ""
        return (
            f"Better than the default: {self.objective.name} {refit.mean:.4f} where that has "
            f"{mean:.4f}, a gain of {refit.gain:.4f} ± {refit.standard_error:.4f}"
            f"{share} on {len(default)} fresh validation parts of the training rows."
        )

    def _why_default(
        self,
        default: Trial | None,
        trials: list[Trial],
        refits: list[Refit],
        of_default: list[float],
    ) -> str:
        if default is None and self.interrupted:
            return "it was interrupted before even that was fitted to its end"
        if default is None:
            return "there was no time to fit even that to its end; give more (--budget)"
        n_others = sum(trial.state != "stopped" for trial in trials) - 1
        one = default.seconds / self.objective.n_parts
        if n_others and not refits and not self._best(trials, default):
            few = (
                f"; one fit of it takes {one:.2g} s here, and a longer budget (--budget) tries more"
                if n_others < _FEW and self.budget is not None
                else ""
            )
            return (
                f"of {n_others} more none was better in the search, where it has "
                f"{self.objective.name} {default.figure:.4f}{few}"
            )
        # Where all were left out early, nothing was clearly better either.
        if refits and (len(of_default) >= N_SEEDS or all(refit.gain <= 0 for refit in refits)):
            best = refits[0]
            return (
                f"nothing was clearly better. The best gained {best.gain:.4f} ± "
                f"{best.standard_error:.4f} in {self.objective.name} on {len(best.figures)} fresh "
                f"validation parts, where the default has {np.mean(of_default):.4f}"
            )
        if self.interrupted:
            return f"it was interrupted before anything was fitted again on {N_SEEDS} fresh parts"
        if not n_others and self.budget is None:
            return "it is the first trial, and there was no other: give more (--trials)"
        enough = 2 * N_SEEDS * self._part_seconds(default) / _MOST_KEPT
        return (
            f"there was no time to fit anything again on {N_SEEDS} fresh validation parts. One fit of "
            f"it takes {one:.2g} s here, so give {enough:.0f} s or more (--budget), or go on with the "
            "study (--study)"
        )

    # -- what all of it shares

    def _trials(self) -> list[Trial]:
        """All trials that have ended."""
        trials: list[Trial] = []
        best: float | None = None
        states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "stopped"}
        for kept in self.study.trials():
            way, values = self.space.kept(kept.params)
            state = states[kept.state.name]
            figure = kept.value if state == "complete" else None
            if figure is not None and (best is None or self.objective.gain(best, figure) > 0):
                best = figure
            seconds = float(kept.user_attrs.get("seconds", 0.0))
            trials.append(Trial(kept.number, way, state, figure, seconds, values, best))
        return trials

    def _default(self, trials: list[Trial]) -> Trial | None:
        """The trial of the default, where it has come to its end."""
        usual = self.space.default
        found = (t for t in trials if (t.solver, t.values) == (usual.way, usual.values))
        return next((trial for trial in found if trial.figure is not None), None)

    def _seed(self, *what: int) -> int:
        return seed_of(self.seed, *what)

    def _watch(self, limit: float | None) -> Any:
        """What is called after each epoch: it ends fits whose time is up."""

        def on_epoch(_: Epoch) -> None:
            if limit is not None and self.elapsed > limit:
                raise _TimeUp
            if self.budget is not None:
                self._show("")

        return on_epoch

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.fit_seconds += time.perf_counter() - began

    @contextmanager
    def _until_interrupted(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True

    def _show(self, text: str) -> None:
        """Move the bar: by seconds, or by fits."""
        if self.budget is None:
            self.advance(1 if text else 0, text)
            return
        step, self.shown = self.elapsed - self.shown, self.elapsed
        self.advance(step, text)


def _within(left: float, which: list[int], seconds: list[float]) -> list[int]:
    """Those of some numbers, the first ones rather, that take no longer together than there is time.

    >>> _within(5, [3, 1, 2], [9, 3, 2, 7])
    [1, 2]
    """
    kept = []
    for n in which:
        if seconds[n] <= left:
            kept.append(n)
            left -= seconds[n]
    return kept


def _words(values: dict[str, Any]) -> str:
    """Values in a few words.

    >>> _words({"n_factors": 8, "lr_scale": 0.123456})
    'n_factors=8, lr_scale=0.1235'
    """
    return ", ".join(
        f"{n}={v:.4g}" if isinstance(v, float) else f"{n}={v}" for n, v in values.items()
    )
