"""What the options of ``Solving`` make: the model and the solver, or a choice left to the data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from dotbias.cli import show
from dotbias.cli.solving import MODELS, SOLVERS, SolverName, Solving
from dotbias.errors import SettingError, listed
from dotbias.settings import named

if TYPE_CHECKING:
    from pathlib import Path

    from dotbias.data.ratings import Ratings
    from dotbias.fitting.choosing import Choice
    from dotbias.models.base import Model
    from dotbias.solvers.base import Solver
    from dotbias.solvers.descent.gradient import GradientDescent

S = TypeVar("S", bound=Any)


@dataclass(frozen=True)
class Plan:
    """What is to be fitted.

    Args:
        model, solver: as for ``dotbias.fit``; None where no ratings are predicted.
        choice: where the data decided.
        because: which option decided, where one did.
    """

    model: "Model | None"
    solver: "Solver | None"
    choice: "Choice | None" = None
    because: str | None = None

    @property
    def ranks(self) -> bool:
        """Whether a model of preferences was named."""
        return self.model is not None and self.model.scores == "preference"

    def say(self, ratings: "Ratings") -> None:
        """Notes about a solver that the user did not name, and the features that it reads."""
        from dotbias.solvers.gibbs.gibbs import Gibbs

        if self.choice is not None:
            show.say(f"Solver: {self.choice}")
        elif self.because is not None:
            show.say(f"Solver: {self.because}")
        if isinstance(self.solver, Gibbs):
            say_features(ratings)


def say_features(ratings: "Ratings") -> None:
    """Notes which features there are."""
    if ratings.features is None:
        return
    for nouns, encoder in zip(("users", "items"), ratings.features.encoders, strict=True):
        if encoder.columns:
            show.say(f"Features of {nouns}: {listed(c.name for c in encoder.columns)}.")


def plan(solving: Solving, also: Mapping[str, tuple[SolverName, ...]] | None = None) -> Plan | None:
    """Model and solver, or None where the data are to decide (``choose``).

    Args:
        solving: the options.
        also: further given options of the command, and the solvers that they are meant for.

    Raises:
        SettingError: for options that contradict each other, and illegal settings.
    """
    if solving.settings_file is not None:
        return _from_file(solving, solving.settings_file, also or {})
    meant = {o.typed: o.sets.meant_for for o in solving.given() if o.sets.meant_for}
    meant |= also or {}
    if solving.form not in (None, "linear"):
        meant[f"--form {solving.form}"] = ("sgd",)
    names = {name: name for name in ("auto", *SOLVERS)}
    named(f"--solver {solving.solver_name}", solving.solver_name, names)
    model = make_model(solving)
    if solving.model_name == "net":
        if solving.solver_name not in ("auto", "sgd") or solving.budget is not None:
            raise SettingError(
                "--model net is trained by gradient descent: leave --solver and --budget out"
            )
        for option, solvers in (also or {}).items():
            if "sgd" not in solvers:
                raise SettingError(f"{option} has no meaning for --model net")
        return Plan(model, descent(model, solving))
    if solving.model_name == "baseline":
        from dotbias.fitting.fit import default_solver

        for option in meant:
            raise SettingError(f"{option} has no meaning for --model baseline")
        if solving.solver_name != "auto" or solving.budget is not None:
            raise SettingError(
                "--model baseline is fitted in closed form: leave --solver and --budget out"
            )
        return Plan(model, default_solver(model))
    name, option = _named(solving.solver_name, meant)
    if name is None:
        budget(solving)  # a bad text is refused before the ratings are read
        return None
    if solving.budget is not None:
        raise SettingError(
            f"--budget: there is nothing to choose, {option} leaves only the solver {name}"
        )
    because = None
    if solving.solver_name == "auto":
        because = f"{name}, because of {option}, which it is meant for."
    return Plan(*_made(solving, name), because=because)


def _from_file(solving: Solving, file: "Path", also: Mapping[str, tuple[SolverName, ...]]) -> Plan:
    """Model and solver of a file, with which nothing but threads can be said."""
    from dotbias.fitting.named import SOLVERS as KINDS
    from dotbias.fitting.settings_file import SettingsFile

    budget = [] if solving.budget is None else [f"--budget {solving.budget}"]
    typed = [given.typed for given in solving.given() if given.name != "threads"]
    for option in (*solving.named(), *budget, *typed):
        raise SettingError(
            f"{option} contradicts --settings {file}, which says it all: leave one out"
        )
    kept = SettingsFile.load(file)
    for option, names in also.items():
        if not any(type(kept.solver) is KINDS[name] for name in names):
            raise SettingError(
                f"{option} is meant for the solver {' or '.join(names)}, and {file} has "
                f"{type(kept.solver).__name__}"
            )
    solver: Any = kept.solver
    if solving.threads is not None:
        solver = replace(solver, n_threads=solving.threads)
    return Plan(kept.model, solver, because=f"{solver.brief()}, from {file}.")


def choose(solving: Solving, ratings: "Ratings") -> Plan:
    """Model and solver by the size of the data."""
    from dotbias.fitting.choosing import choose_solver

    choice = choose_solver(
        ratings,
        budget=budget(solving),
        n_threads=solving.threads,
        n_factors=solving.factors,
    )
    return Plan(choice.model, choice.solver, choice)


def make_model(solving: Solving, solver: SolverName = "sgd") -> "Model":
    """The model that the options name, as this solver is to estimate it.

    Raises:
        SettingError: for a model that there is not, settings that it does not have, and illegal ones.
    """
    from dotbias.models import Baseline, DotBias, EmbeddingNet
    from dotbias.solvers.descent.losses import LOSSES, Squared

    name = solving.model_name
    for option in solving.given():
        if option.sets.net and name != "net":
            raise SettingError(f"{option.typed} is meant for --model net, not {name}")
    settings = solving.model_settings(solver)
    if name == "net":
        return EmbeddingNet(**settings)
    if name == "baseline":
        return Baseline()
    names = {known: known for known in MODELS}
    named(f"--model {name}", name, names)
    if LOSSES.get(solving.loss or "squared", Squared).samples():
        settings.setdefault("output", "preference")
    if solver == "als":
        from dotbias.solvers.least_squares.als import ALS_FACTORS

        settings.setdefault("n_factors", ALS_FACTORS)
    return DotBias(**settings)


def descent(model: "Model", solving: Solving) -> "GradientDescent":
    """Gradient descent as the options describe it; ``--lr auto`` is left to ``find_rate``.

    Raises:
        SettingError: for illegal settings, and a model that it does not estimate.
    """
    from dotbias.fitting.fit import default_solver
    from dotbias.models.network import TorchModel
    from dotbias.solvers.descent.gradient import GradientDescent

    solver = default_solver(model)
    if not isinstance(solver, GradientDescent):
        raise SettingError("--model baseline is fitted in closed form: there is no rate to find")
    given = solving.settings("sgd")
    if "batch_size" in given and "rule" not in given and not isinstance(model, TorchModel):
        given.setdefault("rule.lr", None)  # a rate of the default solver is for its own batches
    return _with(replace(solver, weight_decay=solver.decay), given)


def find_rate(
    solving: Solving, model: "Model", solver: "GradientDescent", train: "Ratings", seed: int
) -> "GradientDescent":
    """The solver with the finder's rate on the training ratings, where the user asked for it."""
    from dotbias.tuning.lr_finder import lr_find

    if not solving.finds_rate:
        return solver
    curve = lr_find(model, solver, train, seed=seed, progress=not show.quiet())
    tuned = curve.tuned()
    show.say(f"Learning rate {tuned.rule.top_rate:.3g}: the finder's, on the training ratings.")
    return tuned


def _named(
    solver_name: str, meant: Mapping[str, tuple[SolverName, ...]]
) -> tuple[SolverName | None, str]:
    """The solver that the options leave, or None for any; and the option that decides."""
    left: tuple[SolverName, ...] = tuple(n for n in SOLVERS if solver_name in ("auto", n))
    decisive = f"--solver {solver_name}"
    for option, solvers in meant.items():
        both = tuple(n for n in left if n in solvers)
        if not both:
            raise SettingError(
                f"{option} is meant for the solver {' or '.join(solvers)}: it contradicts {decisive}"
            )
        if both != left:
            left, decisive = both, option
    return (None if left == SOLVERS else left[0]), decisive


def _made(solving: Solving, name: SolverName) -> tuple["Model", "Solver"]:
    """The model and the solver of this name."""
    from dotbias.solvers.gibbs.gibbs import Gibbs
    from dotbias.solvers.least_squares.als import ALS

    model = make_model(solving, name)
    if name == "sgd":
        return model, descent(model, solving)
    settings = solving.settings(name)
    if "n_samples" in settings:
        settings.setdefault("burn_in", settings["n_samples"] // 5)
    return model, _with(ALS() if name == "als" else Gibbs(), settings)


def _with(settings: S, given: Mapping[str, Any]) -> S:
    """Settings with those given by path: ``rule.lr`` is the ``lr`` of ``rule``."""
    changes: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for path, value in given.items():
        whole, _, part = path.partition(".")
        if part:
            parts.setdefault(whole, {})[part] = value
        else:
            changes[whole] = value
    for whole, inner in parts.items():
        changes[whole] = replace(changes.get(whole, getattr(settings, whole)), **inner)
    return replace(settings, **changes)


def budget(solving: Solving) -> float:
    """Seconds that a fit whose solver is chosen may take."""
    from dotbias.fitting.choosing import BUDGET

    return BUDGET if solving.budget is None else seconds(solving.budget)


def seconds(text: str, option: str = "--budget") -> float:
    """A time: a number of seconds, or one with the unit s, m or h.

    >>> seconds("90"), seconds("30s"), seconds("1.5m"), seconds("6h")
    (90.0, 30.0, 90.0, 21600.0)
    """
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        value = float(number) * units[unit]
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SettingError(f"{option} {text}: write a time above 0, such as 30s, 2m, 6h or 90")
    return value
