"""What tuning may vary: the settings of each solver, with their ranges around what is usual."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.ratings import Ratings
from dotbias.errors import DataError, SettingError
from dotbias.fitting.choosing import BUDGET, choose_solver
from dotbias.fitting.preference import PreferenceChoice, choose_preference
from dotbias.models.base import Model
from dotbias.models.dot_bias import DotBias
from dotbias.models.dot_product import DotProduct
from dotbias.plain import to_plain
from dotbias.progress import Progress
from dotbias.settings import named
from dotbias.shown import Shown
from dotbias.solvers.base import Solver
from dotbias.solvers.decay import DEFAULT_DECAY, WeightDecay
from dotbias.solvers.descent.default_rates import default_rate
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import RULES
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.least_squares.als import ALS, ALS_FACTORS
from dotbias.solvers.least_squares.als import DEFAULT_DECAY as ALS_DECAY
from dotbias.solvers.least_squares.implicit_als import USUAL_DECAY, ImplicitALS

Values: TypeAlias = dict[str, Any]
"""Values of the settings of one solver, by name."""

SOLVER = "solver"
"""What the choice among solvers is called, beside ``"gibbs n_factors"`` and so on."""

# A value nearer than this share of its range (of its logarithm, where it is tried by factors) is on the
# edge.
_EDGE = 0.02
# How far rates and penalties go to both sides of what is usual.
_TIMES = 5.0


@dataclass(frozen=True, kw_only=True)
class Range(Shown):
    """Numbers that a setting may take.

    Args:
        low, high: the smallest and the largest.
        usual: what it is when nobody says; the range is widened to hold it.
        log: whether it is tried by factors, not by differences.
        whole: whether the numbers are whole.
        given: a setting and the value that it must have for this one to mean anything, or None.
    """

    low: float
    high: float
    usual: float
    log: bool = True
    whole: bool = False
    given: tuple[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", min(self.low, self.usual))
        object.__setattr__(self, "high", max(self.high, self.usual))

    def draw(self, trial: Any, name: str) -> Any:
        """A value from one of Optuna's trials."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return self.short(trial.suggest_float(name, self.low, self.high, log=self.log))

    def short(self, value: Any) -> Any:
        """A value in so many digits as matter, within the range."""
        if self.whole or value == self.usual:
            return value
        return min(max(_rounded(value), self.low), self.high)

    @property
    def neighbours(self) -> tuple[Any, ...]:
        """Of whole numbers, halfway to the ends from what is usual; others are left to be drawn.

        >>> Range(low=1, high=100, usual=4, whole=True).neighbours
        (20, 2)
        """
        if not self.whole:
            return ()
        halfway = (round(math.sqrt(end * self.usual)) for end in (self.high, self.low))
        return tuple(value for value in halfway if value != self.usual)

    def edge(self, value: float) -> str | None:
        """Which end of the range a value is on, or None.

        >>> Range(low=1, high=100, usual=10).edge(99), Range(low=1, high=100, usual=10).edge(50)
        ('the highest of 1 to 100', None)
        """
        low, high, at = (
            (math.log(x) for x in (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        near = _EDGE * (high - low)
        of = f"of {self.low:.3g} to {self.high:.3g}"
        if at <= low + near:
            return f"the lowest {of}"
        return f"the highest {of}" if at >= high - near else None


@dataclass(frozen=True, kw_only=True)
class Options(Shown):
    """Values that a setting may take, in no order.

    Args:
        choices: what there is.
        usual: what it is when nobody says.
        given: as for ``Range``.
    """

    choices: tuple[Any, ...]
    usual: Any
    given: tuple[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.usual not in self.choices:
            object.__setattr__(self, "choices", (*self.choices, self.usual))

    def draw(self, trial: Any, name: str) -> Any:
        """A value from one of Optuna's trials."""
        return trial.suggest_categorical(name, self.choices)

    def short(self, value: Any) -> Any:
        """A value as it is."""
        return value

    @property
    def neighbours(self) -> tuple[Any, ...]:
        """All but what is usual."""
        return tuple(choice for choice in self.choices if choice != self.usual)

    def edge(self, value: Any) -> None:  # noqa: ARG002
        """They have no edge."""
        return


@dataclass(frozen=True, kw_only=True)
class Way(Shown):
    """One solver, and what may vary of it and of its model.

    Args:
        name: of the solver, on the command line.
        model, solver: what is usual.
        vary: the settings that vary, each after the one that it depends on. Those whose names end in
            ``_scale`` multiply what is usual.
        make: model and solver of values of these settings.
        shapes: settings that shape the learning curve: early in a fit, those of other values say
            nothing of each other.
    """

    name: str
    model: Model
    solver: Solver
    vary: Mapping[str, Range | Options] = field(default_factory=dict)
    make: Callable[[Values], tuple[Model, Solver]] | None = field(default=None, repr=False)
    shapes: tuple[str, ...] = ()

    def present(self, values: Values, name: str) -> bool:
        """Whether a setting means anything beside these values."""
        given = self.vary[name].given
        return given is None or values.get(given[0]) == given[1]

    def beside(self, changed: Values) -> Values:
        """The values that are usual, beside some that are changed."""
        values: Values = {}
        for name, what in self.vary.items():
            if self.present(values, name):
                values[name] = changed.get(name, what.usual)
        return values

    @property
    def usual(self) -> Values:
        """The values that are usual."""
        return self.beside({})

    @property
    def neighbours(self) -> list[Values]:
        """The usual ones with one setting changed at a time."""
        changes = [{name: value} for name, what in self.vary.items() for value in what.neighbours]
        return [self.beside(change) for change in changes if self.usual.keys() >= change.keys()]

    def made(self, values: Values) -> tuple[Model, Solver]:
        """Model and solver with these values; with the usual ones, those that are usual."""
        if self.make is None or values == self.usual:
            return self.model, self.solver
        return self.make(values)


@dataclass(frozen=True)
class Configuration(Shown):
    """A model and a solver to try.

    Args:
        way: name of the solver, on the command line.
        values: of the settings that vary.
        model, solver: with these values.
    """

    way: str
    values: Values
    model: Model
    solver: Solver


@dataclass(frozen=True)
class Space(Shown):
    """All that is tried: one solver and its settings, or several.

    Args:
        ways: the solvers, first the one that a fit takes when nobody says.
    """

    ways: tuple[Way, ...]

    @property
    def default(self) -> Configuration:
        """What a fit would take."""
        way = self.ways[0]
        return Configuration(way.name, way.usual, way.model, way.solver)

    @property
    def first(self) -> list[Values]:
        """What is tried first, by the names that Optuna has for it: the defaults of all solvers, and
        the first of them with one setting changed at a time.
        """
        tried = [(way, way.usual) for way in self.ways]
        tried += [(self.ways[0], values) for values in self.ways[0].neighbours]
        return [
            ({SOLVER: way.name} if len(self.ways) > 1 else {})
            | {f"{way.name} {name}": value for name, value in values.items()}
            for way, values in tried
        ]

    def draw(self, trial: Any) -> Configuration:
        """A candidate with the values of one of Optuna's trials."""
        name = self.ways[0].name
        if len(self.ways) > 1:
            name = trial.suggest_categorical(SOLVER, tuple(way.name for way in self.ways))
        way = self._way(name)
        values: Values = {}
        for setting, what in way.vary.items():
            if way.present(values, setting):
                values[setting] = what.draw(trial, f"{name} {setting}")
        return self.candidate(name, values)

    def kept(self, params: Values) -> tuple[str, Values]:
        """The solver and the values of what Optuna keeps of a trial."""
        name = params.get(SOLVER, self.ways[0].name)
        vary = self._way(name).vary
        drawn = {n.removeprefix(f"{name} "): v for n, v in params.items() if n != SOLVER}
        return name, {n: vary[n].short(value) for n, value in drawn.items()}

    def candidate(self, name: str, values: Values) -> Configuration:
        """A candidate from the name of a solver, and values."""
        return Configuration(name, values, *self._way(name).made(values))

    def curve(self, candidate: Configuration) -> str:
        """What candidates have in common whose learning curves can be compared."""
        shapes = self._way(candidate.way).shapes
        return " ".join([candidate.way, *(f"{name}={candidate.values[name]}" for name in shapes)])

    def _way(self, name: str) -> Way:
        (way,) = (way for way in self.ways if way.name == name)
        return way

    def edges(self, candidate: Configuration) -> list[str]:
        """Each of its values that is on the edge of a range, in words."""
        way = self._way(candidate.way)
        told = ((name, way.vary[name].edge(value)) for name, value in candidate.values.items())
        return [
            f"{name} {candidate.values[name]:.4g} is {edge}"
            for name, edge in told
            if edge is not None
        ]

    @property
    def identity(self) -> Any:
        """Plain data that differ where the space does."""
        return {
            way.name: {
                "vary": to_plain(way.vary),
                "usual": [to_plain(way.model), to_plain(way.solver)],
            }
            for way in self.ways
        }


def space_of_ratings(ratings: Ratings, solver: Solver | str | None = None) -> Space:
    """What there is to try for the error in stars.

    Args:
        ratings: the training ratings.
        solver: one solver, whose other settings stay as they are, or its name; None tries all.

    Raises:
        SettingError: for a solver that estimates no ratings, or that there is not.
    """
    choice = choose_solver(ratings, budget=BUDGET)
    usual: dict[str, Solver] = {"gibbs": Gibbs(), "sgd": GradientDescent(), "als": ALS()}
    chosen = next(name for name, one in usual.items() if type(one) is type(choice.solver))
    usual[chosen] = choice.solver
    if isinstance(solver, str):
        names = {name: name for name in usual}
        solver = usual[named(f"solver={solver!r}", solver, names)]
    if solver is not None:
        name = next((n for n, one in usual.items() if type(one) is type(solver)), None)
        if name is None:
            raise SettingError(
                f"{type(solver).__name__} has no settings that are tuned for the error in stars: take "
                f"{', '.join(usual)}, or a metric of lists such as ndcg@10"
            )
        return Space((_WAYS[name](ratings, solver),))
    order = sorted(usual, key=lambda name: name != chosen)
    return Space(tuple(_WAYS[name](ratings, usual[name]) for name in order))


def space_of_lists(
    ratings: Ratings,
    solver: Solver | None = None,
    *,
    seed: int = 0,
    progress: Progress = "auto",
) -> Space:
    """What there is to try for lists.

    Args:
        ratings: the training ratings, counts or events.
        solver: an ``ImplicitALS``, whose other settings stay as they are.
        seed: of the choice of the usual penalty, as of ``choose_preference``.
        progress: whether to show a bar.

    Raises:
        SettingError: for another solver.
    """
    if not isinstance(solver, ImplicitALS | None):
        raise SettingError(
            f"{type(solver).__name__} makes no lists that are tuned: leave the solver out, or take "
            "ImplicitALS"
        )
    choice: PreferenceChoice = choose_preference(
        ratings, solver, budget=BUDGET, seed=seed, progress=progress
    )
    if isinstance(choice.solver, ImplicitALS) and isinstance(choice.model, DotProduct):
        return Space((_implicit(ratings, choice.model, choice.solver),))
    other = ImplicitALS(weight_decay=USUAL_DECAY)
    popular = Way(name="most-rated", model=choice.model, solver=choice.solver)
    return Space((popular, _implicit(ratings, DotProduct(), other)))


def check_in_memory(ratings: Ratings) -> None:
    """Refuse ratings that stay on disk.

    Raises:
        DataError: for those.
    """
    if isinstance(ratings, PreparedPart):
        raise DataError(
            "tuning needs ratings in memory, and prepared ones stay on disk: tune on a part of them "
            "that is read as it is"
        )


def _rounded(value: float) -> float:
    """A number that people can read.

    >>> _rounded(0.0123456)
    0.01235
    """
    return float(f"{value:.4g}")


def _scaled(usual: Mapping[str, float], values: Values) -> dict[str, float]:
    """The decay of each group, times the scale of biases or of factors."""
    scales = {
        name: values["bias_decay_scale" if name.endswith("bias") else "factor_decay_scale"]
        for name in usual
    }
    return {name: _rounded(decay * scales[name]) for name, decay in usual.items()}


def _scale() -> Range:
    return Range(low=1 / _TIMES, high=_TIMES, usual=1.0)


def _gibbs(ratings: Ratings, usual: Solver) -> Way:
    assert isinstance(usual, Gibbs)
    freedom = usual.noise_freedom

    def make(values: Values) -> tuple[Model, Solver]:
        own = values["noise"] == "own"
        changed = replace(
            usual,
            n_factors=values["n_factors"],
            histories=values["histories"],
            noise_freedom=values["noise_freedom"] if own else None,
        )
        return DotBias(), changed

    k = usual.n_factors_for(len(ratings))
    return Way(
        name="gibbs",
        model=DotBias(),
        solver=usual,
        vary={
            "n_factors": Range(low=2, high=63, usual=k, whole=True),
            "histories": Options(choices=(True, False), usual=usual.histories),
            # Whether users and items differ in their noise, and if so, how little.
            "noise": Options(
                choices=("own", "same"), usual="own" if freedom is not None else "same"
            ),
            "noise_freedom": Range(low=4, high=100, usual=freedom or 20.0, given=("noise", "own")),
        },
        make=make,
        shapes=("histories",),  # which take many samples to be worth anything
    )


def _sgd(ratings: Ratings, usual: Solver) -> Way:
    assert isinstance(usual, GradientDescent)
    if usual.loss != "squared":
        raise SettingError(
            f"loss={usual.loss!r} learns what is chosen: it has no settings that are tuned"
        )
    model = DotBias()
    settled = usual.settled(model, ratings)
    decay = settled.decay
    groups = decay.by_group(DEFAULT_DECAY)
    rule = type(settled.rule).__name__.lower()

    def make(values: Values) -> tuple[Model, Solver]:
        chosen = settled.rule if values["rule"] == rule else RULES[values["rule"]]()
        as_usual = values["rule"] == rule and values["batch_size"] == settled.batch_size
        rate = chosen.top_rate if as_usual else default_rate(chosen, values["batch_size"], ratings)
        changed = replace(
            settled,
            rule=chosen.with_rate(_rounded(rate * values["lr_scale"])),
            n_epochs=values["n_epochs"],
            batch_size=values["batch_size"],
            weight_decay=replace(decay, amount=_scaled(groups, values)),
        )
        return replace(model, n_factors=values["n_factors"], output=values["output"]), changed

    return Way(
        name="sgd",
        model=model,
        solver=usual,
        vary={
            "rule": Options(choices=("sgd", "adagrad", "adam"), usual=rule),
            "lr_scale": _scale(),
            "batch_size": Options(choices=(1, 256), usual=settled.batch_size),
            "n_epochs": Range(low=10, high=120, usual=settled.n_epochs, whole=True),
            "factor_decay_scale": _scale(),
            "bias_decay_scale": _scale(),
            "n_factors": Range(low=8, high=512, usual=model.n_factors, whole=True),
            "output": Options(choices=("linear", "sigmoid"), usual=model.output),
        },
        make=make,
    )


def _als(ratings: Ratings, usual: Solver) -> Way:  # noqa: ARG001
    assert isinstance(usual, ALS)
    model, decay = DotBias(n_factors=ALS_FACTORS), usual.decay
    groups = decay.by_group(ALS_DECAY[decay.per])

    def make(values: Values) -> tuple[Model, Solver]:
        changed = replace(
            usual,
            n_iterations=values["n_iterations"],
            weight_decay=WeightDecay(_scaled(groups, values), per=decay.per),
            weighting=None,
        )
        return replace(model, n_factors=values["n_factors"]), changed

    return Way(
        name="als",
        model=model,
        solver=usual,
        vary={
            "n_factors": Range(low=4, high=128, usual=ALS_FACTORS, whole=True),
            "n_iterations": Range(low=5, high=40, usual=usual.n_iterations, whole=True),
            "factor_decay_scale": _scale(),
            "bias_decay_scale": _scale(),
        },
        make=make,
    )


def _implicit(ratings: Ratings, model: DotProduct, usual: ImplicitALS) -> Way:
    vary: dict[str, Range | Options] = {
        "weight_decay": Range(low=0.005, high=0.7, usual=usual.weight_decay or USUAL_DECAY),
        "unobserved_weight": Range(low=0.02, high=1, usual=usual.unobserved_weight),
        "balance": Range(low=0, high=1, usual=usual.balance, log=False),
        "frequency_scaling": Range(low=0, high=1, usual=usual.frequency_scaling, log=False),
        "n_factors": Range(low=16, high=512, usual=model.n_factors, whole=True),
    }
    if ratings.kind == "ratings":
        vary["liking"] = Range(low=0, high=1, usual=usual.liking, log=False)
    if ratings.kind == "counts":
        vary["alpha"] = Range(low=0.1, high=50, usual=usual.alpha)
        vary["weighting"] = Options(choices=("log", "linear", "bm25"), usual=usual.weighting)

    def make(values: Values) -> tuple[Model, Solver]:
        settings = {name: value for name, value in values.items() if name != "n_factors"}
        return replace(model, n_factors=values["n_factors"]), replace(usual, **settings)

    return Way(name="implicit-als", model=model, solver=usual, vary=vary, make=make)


_WAYS: Mapping[str, Callable[[Ratings, Solver], Way]] = {
    "gibbs": _gibbs,
    "sgd": _sgd,
    "als": _als,
}
