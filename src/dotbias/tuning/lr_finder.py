"""The learning-rate finder: which rate a rule needs on these ratings."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from dotbias.data.ratings import Ratings
from dotbias.data.read import as_ratings
from dotbias.errors import DivergenceError, SettingError
from dotbias.fitting.fit import default_descent
from dotbias.fitting.named import ModelLike, SolverLike, model_and_descent
from dotbias.models.base import Model
from dotbias.models.network import TorchModel
from dotbias.progress import Progress, part, progress_bar
from dotbias.shown import Part, Shown
from dotbias.solvers.base import Epoch
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import GroupRule, Steps
from dotbias.solvers.descent.run import Run

if TYPE_CHECKING:
    from dotbias.data.sources.locate import Source
    from dotbias.pictures import LinePicture

_EPOCHS = 3.0
_HELD_OUT = 0.1
_MOST_HELD_OUT = 20_000
# Two are held out at least.
_FEWEST = 3
# A sweep is over when the loss is this many times the smallest so far.
_DIVERGED = 1.5
# A loss that never fell by this share has not moved.
_FLAT = 0.01

_SHORT = 0.25
"""Length of a short run in epochs."""
_N_SHORT = 8
_LEAST_STEPS = 32
"""Of an epoch, so that a short run of it shows anything."""
_TRUST = 0.8
"""How far the short runs move the answer from the default rate, on a logarithmic scale."""
_USUAL, _SHORTEST = 40, 4
"""Lengths of runs, in epochs, that the rules' ``haste`` is meant for, and at which it is gone."""
_COMPLETE = 8
"""Complete runs, where short ones do not tell."""


@dataclass(frozen=True)
class Suggestion(Shown):
    """A rate that one way of reading the curve suggests.

    Args:
        lr: the rate, or None.
        why: how it was found, or why there is none.
    """

    lr: float | None
    why: str


@dataclass(frozen=True, eq=False)
class LrCurve(Shown):
    """What a learning-rate range test has seen.

    Args:
        solver: the solver that was tested.
        lrs: rates, one for each point of the sweep, or short run, shape (n_points,); where groups have
            rates of their own, the highest.
        losses: loss on held-out training ratings after each: mean squared error in rating units
            squared, or the mean of the solver's loss; infinite where a short run diverged.
        smoothed: the same, smoothed.
        trials: rate and final held-out RMSE (or loss) of each complete run, infinite where it diverged.
        stopped: why the sweep ended; of short runs, how long they were.
        suggestions: by name: ``short``; or of a sweep ``steepest``, ``valley``, ``tenth`` and, with
            trials, ``trials``.
        spent: the work of it all, in epochs.
    """

    solver: GradientDescent
    lrs: Steps
    losses: Steps
    smoothed: Steps
    trials: tuple[tuple[float, float], ...]
    stopped: str
    suggestions: dict[str, Suggestion]
    spent: float = math.nan

    @property
    def suggestion(self) -> float | None:
        """The rate to use: that of short runs or of trials, else a tenth of the minimum."""
        return self._decisive.lr

    @property
    def _decisive(self) -> Suggestion:
        known = self.suggestions
        return known[next(name for name in ("short", "trials", "tenth") if name in known)]

    def tuned(self) -> GradientDescent:
        """The solver with the suggested rate.

        Raises:
            SettingError: when the curve suggests none; it says why.
        """
        lr = self.suggestion
        if lr is None:
            raise SettingError(f"no learning rate suits: {self._decisive.why}")
        return replace(self.solver, rule=self.solver.rule.with_rate(lr))

    def frame(self) -> pl.DataFrame:
        """The curve as a table: ``lr``, ``loss``, ``smoothed`` (short runs are not smoothed)."""
        return pl.DataFrame({"lr": self.lrs, "loss": self.losses, "smoothed": self.smoothed})

    def picture(self) -> "LinePicture":
        """The curve with the suggestions marked; ``picture().save("curve.png")`` or ``.html``."""
        from dotbias.pictures import Line, LinePicture, Mark, Panel

        name, loss = type(self.solver.rule).__name__, self.solver.loss_class
        marks = tuple(
            Mark(x=s.lr, label=f"{key} {s.lr:.2g}")
            for key, s in self.suggestions.items()
            if s.lr is not None
        )
        y_range = None
        finite = np.isfinite(self.losses)
        x, y = self.lrs[finite], self.losses[finite]
        if len(y):
            low = float(y.min())
            # The divergence at the end would press the rest of the curve flat.
            high = max(1.05 * float(self.smoothed[0]), low + 1.3 * float(y.std()))
            y_range = (0.97 * low, high) if 0.97 * low < high else None
        lines = [Line(name="each point", x=x, y=y, faint=True)]
        lines += [Line(name="smoothed", x=self.lrs, y=self.smoothed)]
        if "short" in self.suggestions:
            y_range, lines = None, [Line(name="each run", x=x, y=y)]
        panels = [
            Panel(
                title="Short runs" if "short" in self.suggestions else "Range test",
                x_label="learning rate",
                y_label=f"held-out {loss.mean_label}",
                x_log=True,
                lines=tuple(lines),
                marks=marks,
                y_range=y_range,
            )
        ]
        ended = sorted(trial for trial in self.trials if math.isfinite(trial[1]))
        if ended:
            lrs, figures = map(np.array, zip(*ended, strict=True))
            best = float(lrs[figures.argmin()])
            panels.append(
                Panel(
                    title="Complete runs",
                    x_label="learning rate",
                    y_label=f"held-out {loss.label}",
                    x_log=True,
                    lines=(Line(name=f"final {loss.label}", x=lrs, y=figures),),
                    marks=(Mark(x=best, label=f"{best:.2g}"),),
                )
            )
        batch = self.solver.batch_size or "all"
        return LinePicture(
            title=f"Learning-rate finder: {name}, batch size {batch}",
            panels=tuple(panels),
            note=f"Held out: a tenth of the training ratings, {_MOST_HELD_OUT:,} at most.",
        )

    def _parts(self) -> Iterable[Part]:
        rows = [(name, s.lr, s.why) for name, s in self.suggestions.items()]
        yield pl.DataFrame(rows, ["suggestion", "lr", "why"], orient="row")
        yield self._ending

    @property
    def _ending(self) -> str:
        if "short" in self.suggestions:
            return f"Work of {self.spent:.1f} epochs: {self.stopped}."
        return f"The sweep ended because {self.stopped}."

    def __str__(self) -> str:
        lines = [f"{name:9} {s.why}" for name, s in self.suggestions.items()]
        return "\n".join([*lines, self._ending])


def lr_find(
    model: ModelLike,
    solver: SolverLike,
    ratings: "Ratings | Source",
    *,
    seed: int = 0,
    lowest: float = 1e-6,
    highest: float = 1e4,
    n_points: int = 150,
    sweep: Literal["exponential", "linear"] = "exponential",
    smoothing: float = 0.6,
    n_trials: int | None = None,
    progress: Progress = "auto",
) -> LrCurve:
    """A learning rate from short runs; or from a range test, and complete runs near its answer.

    A tenth of the ratings, 20,000 at most, is held out and judges. By default eight runs of a quarter of
    an epoch, each with the whole schedule, look for the rate that is best in so short a time: the work
    of two epochs. It is higher than that of a whole run by a factor that is known of the rule
    (``Rule.haste``, for 40 epochs), and the answer is what follows, drawn to the default rate by a
    fifth. Where short runs say nothing, ``n_trials`` is 8: of networks, losses of preferences, epochs of
    fewer than 32 steps, and rules that find their rate by themselves; likewise where anything is said of
    the range test.

    With ``n_trials`` a range test (Smith 2017, arXiv 1506.01186) comes in their place: surer, and work
    of hundreds of epochs. From the starting parameters, steps are taken at rates that rise
    from ``lowest`` to ``highest`` over three epochs (or ``n_points`` steps, where that is more), and
    the loss on what was held out is measured after each point, until it diverges. Then ``n_trials``
    complete runs around the tenth of the minimum decide: how long a rate is kept, and how the schedule
    ends, matters as much as how far it is from diverging, and no sweep of a few epochs shows that.

    Args:
        model, solver, ratings: as for ``fit``; without a solver, that of ``default_solver``. The
            solver's own rates set the proportions of the groups.
        seed: seed of the starting embeddings, the order and what is held out.
        lowest, highest: ends of the sweep.
        n_points: at how many rates the loss is measured.
        sweep: whether rates rise by a factor or by an amount from point to point.
        smoothing: weight of the past in the moving average of the loss, which is corrected for
            starting at nothing.
        n_trials: complete runs at most; 0 reads the curve of the range test alone, and None makes short
            runs.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.

    Raises:
        SettingError: for ends or numbers that make no sweep, or too few ratings.
    """
    named_model, named_solver = model_and_descent(model, solver)
    solver = default_descent(named_model) if named_solver is None else named_solver
    model = solver.default_model if named_model is None else named_model
    ratings = as_ratings(ratings)
    if not 0 < lowest < highest < math.inf:
        raise SettingError(
            f"the sweep must rise between rates above 0, not from {lowest!r} to {highest!r}"
        )
    if n_points < 5 or (n_trials or 0) < 0 or not 0 <= smoothing < 1:
        raise SettingError(
            f"n_points={n_points!r}, n_trials={n_trials!r}, smoothing={smoothing!r}: at least 5 points, "
            "no fewer than 0 trials, and a smoothing from 0 to below 1"
        )
    if sweep not in ("exponential", "linear"):
        raise SettingError(f"sweep must be 'exponential' or 'linear', not {sweep!r}")
    if len(ratings) < _FEWEST:
        raise SettingError(f"{len(ratings)} ratings are too few to find a rate on")
    # Groups that are not named keep a rate of their own, and so their proportion.
    solver = solver.settled(model, ratings)
    judge = solver.loss_class
    spacing = np.geomspace if sweep == "exponential" else np.linspace
    rates = spacing(lowest, highest, n_points)
    share = min(_HELD_OUT, _MOST_HELD_OUT / len(ratings))
    validated = replace(solver, validation_size=max(share, 2 / len(ratings)))
    swept = (lowest, highest, n_points, sweep, smoothing) != (1e-6, 1e4, 150, "exponential", 0.6)
    if n_trials is None:
        short = None if swept else _short_runs(model, solver, validated, ratings, seed, progress)
        if short is not None:
            return short
        n_trials = _COMPLETE
    training = replace(validated, rule=solver.rule.with_rate(1.0)).start(
        model, ratings, seed=seed, steps_per_epoch=round(n_points / _EPOCHS)
    )
    # In epochs: of the sweep, then of the complete runs.
    total = _EPOCHS + n_trials * solver.n_epochs
    with progress_bar("finding a rate", total, enabled=progress) as advance:
        losses, stopped = range_test(
            training,
            rates,
            lambda lr, loss: advance(
                _EPOCHS / n_points, f"lr {lr:.2g}  {judge.mean_label} {loss:.4f}"
            ),
        )
        smoothed = smooth(losses, smoothing)
        lrs = rates[: len(losses)]
        suggestions = _read(lrs, smoothed, diverged=len(losses) < n_points)
        start = suggestions["tenth"].lr
        trials: dict[float, float] = {}
        if start is not None and n_trials:
            if solver.validation_size == 0:
                validated = replace(validated, patience=solver.n_epochs)

            def try_rate(lr: float) -> float:
                whole = f"whole run at lr {lr:.2g}"
                run = replace(validated, rule=solver.rule.with_rate(lr))
                with (
                    part(run.n_epochs),
                    progress_bar(whole, run.n_epochs, enabled=progress) as step,
                ):
                    return _final_figure(
                        run, model, ratings, seed, lambda epoch: step(1, f"epoch {epoch.epoch}")
                    )

            trials = _search(try_rate, start, n_trials)
            suggestions["trials"] = _best_trial(trials, judge.label)
    # Complete runs that diverge, or stop early, are counted as whole ones.
    spent = _EPOCHS * len(losses) / n_points + len(trials) * solver.n_epochs
    found = tuple(trials.items())
    return LrCurve(solver, lrs, losses, smoothed, found, stopped, suggestions, spent)


def _short_runs(
    model: Model,
    solver: GradientDescent,
    validated: GradientDescent,
    ratings: Ratings,
    seed: int,
    progress: Progress,
) -> LrCurve | None:
    """What short runs suggest; None where they say nothing.

    Args:
        solver: settled.
        validated: the same with validation rows.
    """
    rule, judge = solver.rule, solver.loss_class
    if isinstance(model, TorchModel) or isinstance(rule, GroupRule) or judge.samples():
        return None
    training = replace(validated, rule=rule.with_rate(1.0)).start(
        model, ratings, seed=seed, steps_per_epoch=2 * _LEAST_STEPS
    )
    n_steps = training.steps_per_epoch
    if n_steps < _LEAST_STEPS:
        return None
    done = np.arange(round(_SHORT * n_steps)) / round(_SHORT * n_steps)
    multiples = solver.schedule_object.lr(done * solver.n_epochs, solver.n_epochs)
    usual = replace(solver, rule=replace(rule, lr=None)).settled(model, ratings).rule.top_rate
    before = training.checkpoint()
    with progress_bar("finding a rate", _N_SHORT, enabled=progress) as advance, training.threads():

        def try_rate(lr: float) -> float:
            try:
                with np.errstate(all="ignore"):
                    training.step(lr * multiples)
                    loss = training.validation_loss()
            finally:
                training.restore(before)
            advance(1, f"lr {lr:.2g}  {judge.mean_label} {loss:.4f}")
            return loss if math.isfinite(loss) else math.inf

        nothing = training.validation_loss()
        runs = _search(try_rate, usual * type(rule).haste, _N_SHORT)
    lrs, losses = (np.array(column) for column in zip(*runs.items(), strict=True))
    best = int(losses.argmin())
    if losses[best] < (1 - _FLAT) * nothing:
        lr = _slowed_down(float(lrs[best]), usual, type(rule).haste, solver.n_epochs)
        why = f"{lr:.2g}, for {solver.n_epochs} epochs what {lrs[best]:.2g} is for a quarter of one"
        suggestion = Suggestion(lr, why)
    elif math.isfinite(losses[best]):
        suggestion = Suggestion(None, "none, because the loss never fell by one per cent")
    else:
        suggestion = Suggestion(None, "none, because every short run diverged")
    said = f"{len(runs)} runs of a quarter of an epoch"
    spent = _SHORT * len(runs)
    return LrCurve(solver, lrs, losses, losses, (), said, {"short": suggestion}, spent)


def _slowed_down(lr: float, usual: float, haste: float, n_epochs: int) -> float:
    """The rate for a whole run, of one that suits a quarter of an epoch.

    Args:
        lr: the latter.
        usual: the default rate.
        haste: the rule's, by which they differ in a run of 40 epochs.
        n_epochs: length of the whole run.

    >>> round(_slowed_down(0.12, 0.022, 5.0, 40), 3), round(_slowed_down(0.12, 0.022, 5.0, 4), 3)
    (0.024, 0.118)
    """
    length = math.log(n_epochs / _SHORTEST) / math.log(_USUAL / _SHORTEST)
    length = min(max(length, 0.0), 1.5)
    usual *= haste ** (1 - length)  # which is meant for 40 epochs
    return usual * float((lr / haste**length / usual) ** _TRUST)


def range_test(
    training: Run[Any], rates: Steps, on_point: Callable[[float, float], None] | None = None
) -> tuple[Steps, str]:
    """Sweep a run through rates, then put it back as it was, bit for bit.

    Args:
        training: any run that holds out validation rows, begun or not; its rates are multiplied.
        rates: multiples of the run's rates, one for each point, shape (n_points,).
        on_point: called with the multiple and the loss.

    Returns:
        The loss on the validation rows after each point (``Run.validation_loss``), and why the sweep
        ended.
    """
    before = training.checkpoint()
    steps = max(1, round(training.steps_per_epoch * _EPOCHS / len(rates)))
    losses: list[float] = []
    stopped = "it had reached the highest rate"
    try:
        with training.threads(), np.errstate(all="ignore"):
            for rate in rates:
                training.step(np.full(steps, rate))
                loss = training.validation_loss()
                if math.isfinite(loss):
                    losses.append(loss)
                if on_point is not None:
                    on_point(float(rate), loss)
                if not math.isfinite(loss) or loss > _DIVERGED * min(losses):
                    stopped = f"the loss diverged at the rate {rate:.2g}"
                    break
    finally:
        training.restore(before)
    return np.array(losses), stopped


def smooth(losses: Steps, smoothing: float) -> Steps:
    """Moving average, corrected for starting at nothing like the averages of Adam.

    >>> smooth(np.array([4.0, 4.0, 4.0]), 0.9)
    array([4., 4., 4.])
    """
    average, out = 0.0, np.empty(len(losses))
    for t, loss in enumerate(losses):
        average = smoothing * average + (1 - smoothing) * loss
        out[t] = average / (1 - smoothing ** (t + 1))
    return out


def _read(lrs: Steps, loss: Steps, *, diverged: bool = False) -> dict[str, Suggestion]:
    """What the smoothed curve suggests, each as a number or a reason."""
    names = ("steepest", "valley", "tenth")
    if len(loss) < 5:
        why = "none, because the loss diverged at once: begin the sweep at a lower rate"
        return dict.fromkeys(names, Suggestion(None, why))
    best = int(loss.argmin())
    if loss[best] >= (1 - _FLAT) * loss[0]:
        why = "none, because the loss never fell by one per cent"
        if not diverged:
            why += ": end the sweep at a higher rate"
        return dict.fromkeys(names, Suggestion(None, why))
    slope = np.gradient(loss, np.log(lrs))
    steepest = lrs[int(slope[: best + 1].argmin())]
    begin, end = _longest_fall(loss)
    valley = math.exp(np.interp(begin + 2 / 3 * (end - begin), np.arange(len(lrs)), np.log(lrs)))
    return {
        "steepest": Suggestion(
            float(steepest), f"{steepest:.2g}, where the loss falls fastest over the logarithm"
        ),
        "valley": Suggestion(
            valley,
            f"{valley:.2g}, two thirds down the longest fall ({lrs[begin]:.2g} to {lrs[end]:.2g})",
        ),
        "tenth": Suggestion(
            float(lrs[best] / 10),
            f"{lrs[best] / 10:.2g}, a tenth of where the loss is smallest ({lrs[best]:.2g})",
        ),
    }


def _longest_fall(loss: Steps) -> tuple[int, int]:
    """First and last point of the longest stretch over which the loss falls from point to point."""
    best, begin = (0, 0), 0
    for n in range(1, len(loss)):
        if loss[n] >= loss[n - 1]:
            begin = n
        if n - begin > best[1] - best[0]:
            best = begin, n
    return best


def _final_figure(
    solver: GradientDescent,
    model: Model,
    ratings: Ratings,
    seed: int,
    on_epoch: Callable[[Epoch], None],
) -> float:
    """Held-out RMSE, or loss, of a complete run, infinite if it diverges."""
    training = solver.start(model, ratings, seed=seed)
    try:
        training.run(on_epoch=on_epoch)
    except DivergenceError:
        return math.inf
    if training.history.stopped == "interrupted":
        raise KeyboardInterrupt
    early = solver.patience < solver.n_epochs
    epoch = training.history.epochs[training.history.best_epoch - 1 if early else -1]
    return math.inf if epoch.validation_figure is None else epoch.validation_figure


def _search(evaluate: Callable[[float], float], start: float, n_trials: int) -> dict[float, float]:
    """Minimum over rates: downhill by factors of three, then finer and finer around the best."""
    seen: dict[int, float] = {}
    factor, at, reach = 3.0 ** (1 / 4), 0, 4

    def try_at(place: int) -> float:
        if place not in seen and len(seen) < n_trials:
            seen[place] = evaluate(start * factor**place)
        return seen.get(place, math.inf)

    try_at(0)
    while len(seen) < n_trials and reach:
        sides = {place: try_at(place) for place in (at - reach, at + reach)}
        best = min(sides, key=lambda place: sides[place])
        # Where everything has diverged so far, only lower rates can help.
        if not math.isfinite(min(seen[at], sides[best])):
            at -= reach
        elif sides[best] < seen[at]:
            at = best
        else:
            reach //= 2
    return {start * factor**place: figure for place, figure in sorted(seen.items())}


def _best_trial(trials: dict[float, float], label: str) -> Suggestion:
    lr, figure = min(trials.items(), key=lambda trial: trial[1])
    if not math.isfinite(figure):
        return Suggestion(None, "none, because every complete run diverged")
    return Suggestion(
        lr, f"{lr:.2g}, the best of {len(trials)} complete runs ({label} {figure:.4f})"
    )
