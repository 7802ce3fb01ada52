"""The race: update rules and batch sizes side by side on the same ratings."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl

from dotbias.data.read import as_ratings
from dotbias.errors import DivergenceError, SettingError
from dotbias.evaluation.metrics import rmse
from dotbias.fitting.fit import default_descent
from dotbias.fitting.named import ModelLike, SolverLike, model_and_descent
from dotbias.models.base import Parameters
from dotbias.progress import Progress, part, progress_bar
from dotbias.shown import Part, Rows, Shown
from dotbias.solvers.base import Epoch
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.losses import Loss, Squared
from dotbias.solvers.descent.rules import RULES, Rule, as_rule
from dotbias.solvers.descent.run import Run
from dotbias.tuning.lr_finder import lr_find

if TYPE_CHECKING:
    from dotbias.data.ratings import Ratings
    from dotbias.data.sources.locate import Source
    from dotbias.pictures import LinePicture


def _held_out(epoch: Epoch) -> float:
    return math.inf if epoch.validation_figure is None else epoch.validation_figure


@dataclass(eq=False)
class Runner(Shown):
    """One rule with one batch size, and what became of it.

    Args:
        name: the rule's name, with the batch size where several are in the race.
        solver: rule, rate and batch size.
        epochs: its epochs; ``validation_rmse`` (or ``validation_loss``) is that on the held-out ratings.
        state: ``waiting``, ``looking for a rate``, ``running``, ``done``, ``diverged``, ``no rate`` or
            ``interrupted``.
        lr: the highest rate of any group, once it is known.
        finder_seconds: time of the learning-rate finder.
    """

    name: str
    solver: GradientDescent
    epochs: list[Epoch] = field(default_factory=list)
    state: str = "waiting"
    lr: float | None = None
    finder_seconds: float = 0.0

    @property
    def best(self) -> Epoch | None:
        """The epoch with the smallest held-out RMSE, or loss."""
        return min(self.epochs, key=_held_out, default=None)

    @property
    def seconds(self) -> list[float]:
        """Training time up to the end of each epoch; measuring and compiling apart."""
        return list(accumulate(e.seconds for e in self.epochs))


OnChange: TypeAlias = Callable[[list[Runner]], None]


@dataclass(eq=False)
class Race(Shown):
    """The outcome of a race.

    Args:
        runners: in the order in which they ran.
        protocol: what was raced on, in words.
    """

    runners: list[Runner]
    protocol: str

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C has ended it before all had run."""
        return any(runner.state == "interrupted" for runner in self.runners)

    def frame(self) -> pl.DataFrame:
        """The table of results, the best first.

        ``best_rmse`` is the smallest held-out RMSE of any epoch, so the held-out ratings have chosen
        the epoch; ``final_rmse``, after the last epoch, is free of that. Where another loss is
        minimised it stands in their place, as ``best_loss`` and ``final_loss``.
        """
        return race_table(self.runners)

    def _parts(self) -> Iterable[Part]:
        yield from (Rows(self.frame()), self.protocol)

    def curves(self) -> pl.DataFrame:
        """All numbers: one row for each epoch of each runner."""
        short = self.loss.short
        schema = {
            "name": pl.String,
            "rule": pl.String,
            "batch_size": pl.Int64,
            "lr": pl.Float64,
            "epoch": pl.Int64,
            "seconds": pl.Float64,
            f"train_{short}": pl.Float64,
            f"held_out_{short}": pl.Float64,
            "ratings_per_second": pl.Float64,
        }
        rows = [
            {
                "name": r.name,
                "rule": type(r.solver.rule).__name__.lower(),
                "batch_size": r.solver.batch_size,
                "lr": r.solver.rule.top_rate,
                "epoch": e.epoch,
                "seconds": s,
                f"train_{short}": e.train_figure,
                f"held_out_{short}": e.validation_figure,
                "ratings_per_second": e.ratings_per_second,
            }
            for r in self.runners
            for e, s in zip(r.epochs, r.seconds, strict=True)
        ]
        return pl.DataFrame(rows, schema=schema)

    @property
    def loss(self) -> type[Loss]:
        """What all runners minimise."""
        return _loss(self.runners)

    def picture(self) -> "LinePicture":
        """Held-out RMSE, or loss, over epochs and over seconds."""
        from dotbias.pictures import Line, LinePicture, Panel

        ran = [r for r in self.runners if r.epochs]
        curves = [[_held_out(e) for e in r.epochs] for r in ran]
        # Early epochs would fill the picture: the frame is for where the race is decided.
        lows = [min(c) for c in curves] or [0.0]
        low, start = min(lows), max((c[0] for c in curves), default=1.0)
        high = min(start, low + 3 * max(float(np.median(lows)) - low, 0.05 * low))
        panels = [
            Panel(
                title=title,
                x_label=x_label,
                y_label=f"held-out {self.loss.label}",
                x_log=x_log,
                y_range=(low - 0.05 * (high - low), high) if low < high else None,
                lines=tuple(
                    Line(name=r.name, x=xs(r), y=curve)
                    for r, curve in zip(ran, curves, strict=True)
                ),
            )
            for title, x_label, x_log, xs in (
                ("Over epochs", "epochs", False, lambda r: [float(e.epoch) for e in r.epochs]),
                ("Over time", "seconds of training", True, lambda r: r.seconds),
            )
        ]
        return LinePicture(
            title="Race of update rules",
            panels=tuple(panels),
            note=self.protocol,
            order=tuple(RULES),
        )


def _loss(runners: Sequence[Runner]) -> type[Loss]:
    return runners[0].solver.loss_class if runners else Squared


def race_table(runners: Sequence[Runner]) -> pl.DataFrame:
    """The table of a race, finished or not: the best first, then those that are still to run."""
    short = _loss(runners).short

    def row(r: Runner) -> dict[str, object]:
        best = r.best
        return {
            "name": r.name,
            "lr": r.lr,
            f"best_{short}": None if best is None else best.validation_figure,
            "epoch": None if best is None else best.epoch,
            "seconds": None if best is None else r.seconds[best.epoch - 1],
            f"final_{short}": r.epochs[-1].validation_figure if r.epochs else None,
            "M_per_s": np.median([e.ratings_per_second for e in r.epochs]) / 1e6
            if r.epochs
            else None,
            "finder_s": r.finder_seconds or None,
            "state": r.state,
        }

    schema = {
        "name": pl.String,
        "lr": pl.Float64,
        f"best_{short}": pl.Float64,
        "epoch": pl.Int64,
        "seconds": pl.Float64,
        f"final_{short}": pl.Float64,
        "M_per_s": pl.Float64,
        "finder_s": pl.Float64,
        "state": pl.String,
    }
    return pl.DataFrame([row(r) for r in runners], schema=schema).sort(
        f"best_{short}", nulls_last=True, maintain_order=True
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of rules, the second of one name with a 2 behind it: one may race with several settings."""
    numbers = Counter[str]()
    distinct = []
    for name in names:
        numbers[name] += 1
        distinct.append(name if numbers[name] == 1 else f"{name} {numbers[name]}")
    return distinct


def race(
    ratings: "Ratings | Source",
    rules: Sequence[Rule | str] | None = None,
    model: ModelLike = None,
    solver: SolverLike = None,
    *,
    batch_sizes: Sequence[int | None] | None = None,
    rates: Mapping[str, float] | None = None,
    test_size: float = 0.2,
    seed: int = 0,
    n_trials: int = 3,
    on_change: OnChange | None = None,
    progress: Progress = "auto",
) -> Race:
    """Race rules and batch sizes: the same starting parameters, order of ratings and held-out part.

    A share of the ratings is held out. Each rule gets the rate that the learning-rate finder suggests
    on the training part alone, or the one that is given, and runs through all its epochs.

    Args:
        ratings: what to race on.
        rules: the rules, with their settings or by name; all of ``RULES`` by default.
        model: ``DotBias()`` by default, with the output that the solver's loss judges.
        solver: all settings but the rule; that of ``default_solver`` by default.
        batch_sizes: each rule runs with each of them; None in it is the full batch. By default, that of
            the solver.
        rates: learning rate by the rule's name, for rules that need no finder.
        test_size: share of the ratings that is held out.
        seed: seed of the split, the starting parameters and the order.
        n_trials: complete runs of each finder (see ``lr_find``). Shorter ones would name rates that
            win early: for Adam on ml-latest-small one that ends at 0.853, where complete ones find one
            that ends at 0.842.
        on_change: called with all runners whenever something has changed.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.

    A runner that diverges, or for which no rate is found, is out of the race and says so. Ctrl-C ends
    the race: what has run so far is returned.

    Raises:
        SettingError: for a rate of a rule that is not in the race.
    """
    ratings = as_ratings(ratings)
    named_model, named_solver = model_and_descent(model, solver)
    solver = default_descent(named_model) if named_solver is None else named_solver
    model = solver.default_model if named_model is None else named_model
    batch_sizes = [solver.batch_size] if batch_sizes is None else batch_sizes
    racing = [as_rule(rule) for rule in (RULES if rules is None else rules)]
    rates = {} if rates is None else dict(rates)
    names = [type(rule).__name__.lower() for rule in racing]
    for name in rates:
        if name not in names:
            raise SettingError(f"a rate is given for {name!r}, which is not in the race: {names}")
    train, test = ratings.split(test_size, seed=seed)
    # As many epochs for all, whatever their batches.
    solver = replace(solver, n_epochs=solver.settled(model, train).n_epochs)
    users = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
    items = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]
    for runner_solver in (replace(solver, batch_size=size) for size in batch_sizes):
        runner_solver.start(model, train, seed=seed)  # refuses a batch larger than the data
    runners = [
        Runner(
            name if len(batch_sizes) == 1 else f"{name} {size or 'full'}",
            replace(solver, rule=rule, batch_size=size),
        )
        for name, rule in zip(_distinct(names), racing, strict=True)
        for size in batch_sizes
    ]

    loss = solver.loss_class

    def judge(training: Run[Any]) -> Callable[[Parameters], float]:
        """What measures the held-out ratings."""
        if loss.samples():
            return partial(training.choices(users, items).mean, model)
        return lambda parameters: rmse(model.predict(parameters, users, items), test.values)

    def changed(runner: Runner, state: str) -> None:
        runner.state = state
        if on_change is not None:
            on_change(runners)

    def run(runner: Runner) -> None:
        given = rates.get(type(runner.solver.rule).__name__.lower())
        if given is not None:
            runner.solver = replace(runner.solver, rule=runner.solver.rule.with_rate(given))
        else:
            changed(runner, "looking for a rate")
            started = time.perf_counter()
            advance(0, f"{runner.name}: looking for a rate")
            with part(n_trials * solver.n_epochs):
                curve = lr_find(
                    model, runner.solver, train, seed=seed, n_trials=n_trials, progress=progress
                )
            runner.finder_seconds = time.perf_counter() - started
            if curve.suggestion is None:
                return changed(runner, "no rate")
            runner.solver = curve.tuned()
        runner.lr = runner.solver.rule.top_rate
        changed(runner, "running")
        training = runner.solver.start(model, train, seed=seed)
        training.compile()
        measured = judge(training)

        def on_epoch(epoch: Epoch) -> None:
            figure = measured(training.candidate())
            if not math.isfinite(figure):
                raise DivergenceError(f"the held-out {loss.label} of {runner.name} is {figure}")
            if loss.samples():
                epoch = replace(epoch, validation_loss=figure)
            else:
                epoch = replace(epoch, validation_rmse=figure)
            runner.epochs.append(epoch)
            changed(runner, "running")
            shown = f"{runner.name}, epoch {epoch.epoch}  held-out {loss.label} {figure:.4f}"
            advance(1, shown)

        try:
            training.run(on_epoch=on_epoch)
        except DivergenceError:
            return changed(runner, "diverged")
        if training.history.stopped == "interrupted":
            raise KeyboardInterrupt
        return changed(runner, "done")

    # A finder takes about as long as its complete runs.
    n_found = sum(type(r.solver.rule).__name__.lower() not in rates for r in runners)
    total = solver.n_epochs * (len(runners) + n_trials * n_found)
    try:
        with progress_bar("race", total, enabled=progress) as advance:
            for runner in runners:
                run(runner)
    except KeyboardInterrupt:
        for runner in runners:
            if runner.state not in ("done", "diverged", "no rate"):
                changed(runner, "interrupted")
    protocol = (
        f"{len(train):,} training and {len(test):,} held-out {test.noun} (seed {seed}), {model.label}, "
        f"{solver.n_epochs} epochs, schedule {solver.schedule or 'of the rule'}, {loss.label}; rates "
        "from the finder on the training part unless given."
    )
    return Race(runners, protocol)
