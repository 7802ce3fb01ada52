"""The options that say what is fitted and how: their texts, and the model and solver they make."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

import typer

from dotbias.cli import show, specs
from dotbias.solvers.descent.rules import RULES
from dotbias.solvers.descent.schedules import SCHEDULES

if TYPE_CHECKING:
    from dotbias.data.ratings import Ratings
    from dotbias.fitting.choosing import Choice
    from dotbias.models.base import Model
    from dotbias.solvers.base import Solver

_MODEL = "Model"
_TRAINING = "Training"
_FINE = "Gradient descent, in detail"
_OTHERS = "Other solvers"

SolverName = Annotated[
    str,
    typer.Option(
        "--solver",
        help="sgd (gradient descent), als (alternating least squares), gibbs (Gibbs sampling), or auto: "
        "the most accurate that fits the budget. An option that is meant for one solver chooses it.",
        metavar="NAME",
        rich_help_panel=_MODEL,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="Time for which the solver is chosen: seconds, 30s or 2m. In `fit` for measuring and the "
        "refit together, in `cross-validate` for each fold.",
        metavar="TIME",
        show_default="30s",
        rich_help_panel=_MODEL,
    ),
]

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="dot-bias, net (embeddings through hidden layers; needs the extra torch), or baseline "
        "(biases only).",
        rich_help_panel=_MODEL,
    ),
]
Factors = Annotated[
    int | None,
    typer.Option("--factors", min=1, help="Length of each embedding.", rich_help_panel=_MODEL),
]
OutputForm = Annotated[
    str | None,
    typer.Option("--form", help="linear, or sigmoid (stretched).", rich_help_panel=_MODEL),
]
Hidden = Annotated[
    str | None,
    typer.Option(
        "--hidden",
        help="net: sizes of the hidden layers, separated by commas.",
        metavar="SIZES",
        show_default="10",
        rich_help_panel=_MODEL,
    ),
]
Dropout = Annotated[
    float | None,
    typer.Option(
        "--dropout",
        help="net: share of each hidden layer that a training step leaves out.",
        show_default="0.5",
        rich_help_panel=_MODEL,
    ),
]
EmbeddingDropout = Annotated[
    float | None,
    typer.Option(
        "--embedding-dropout",
        help="net: the same of the embeddings.",
        show_default="0.05",
        rich_help_panel=_MODEL,
    ),
]
BatchNorm = Annotated[
    bool | None,
    typer.Option(
        "--batch-norm/--no-batch-norm",
        help="net: whether hidden layers are normalised.",
        show_default="no",
        rich_help_panel=_MODEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="net: cpu, cuda or mps.",
        show_default="the fastest that is there",
        rich_help_panel=_TRAINING,
    ),
]
RuleName = Annotated[
    str | None,
    typer.Option(
        "--rule",
        help=f"Update rule, NAME or NAME:SETTING=NUMBER,... Names: {', '.join(RULES)}; "
        "FILE.py/CLASS for one of your own.",
        metavar="RULE",
        show_default="sgd, for net momentum",
        rich_help_panel=_TRAINING,
    ),
]
Lr = Annotated[
    list[str] | None,
    typer.Option(
        "--lr",
        help="Learning rate: a number, auto (the finder's), LOW:HIGH (spread over the groups), or "
        "GROUP=NUMBER (repeatable).",
        metavar="RATE",
        rich_help_panel=_TRAINING,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        help="Passes over the ratings.",
        show_default="40, for net 16",
        rich_help_panel=_TRAINING,
    ),
]
Batch = Annotated[
    str | None,
    typer.Option(
        "--batch",
        help="Ratings per step: 1, a number, or full.",
        metavar="SIZE",
        show_default="1, for net 512",
        rich_help_panel=_TRAINING,
    ),
]
WeightDecay = Annotated[
    list[str] | None,
    typer.Option(
        "--weight-decay",
        help="A number for all groups, or GROUP=NUMBER (repeatable; groups: user_factors, "
        "item_factors, user_bias, item_bias; of net: embeddings, hidden, output, biases).",
        metavar="DECAY",
        rich_help_panel=_TRAINING,
    ),
]
ScheduleName = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help="Learning rate over the epochs, NAME or NAME:SETTING=NUMBER,... Names: "
        f"{', '.join(SCHEDULES)}.",
        metavar="SCHEDULE",
        rich_help_panel=_TRAINING,
    ),
]
EarlyStopping = Annotated[
    float | None,
    typer.Option(
        "--early-stopping",
        help="Share of the training rows to watch: stop when it no longer improves.",
        metavar="SHARE",
        rich_help_panel=_TRAINING,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", help="Threads; the result is the same.", rich_help_panel=_TRAINING),
]

Decoupled = Annotated[
    bool | None,
    typer.Option(
        "--decoupled/--coupled",
        help="Weight decay beside the gradient (as AdamW), or in it (L2).",
        show_default=False,
        rich_help_panel=_FINE,
    ),
]
DecayPer = Annotated[
    str | None,
    typer.Option(
        "--decay-per",
        help="Weight decay counts per rating, or per row.",
        show_default="rating",
        rich_help_panel=_FINE,
    ),
]
Freeze = Annotated[
    list[str] | None,
    typer.Option(
        "--freeze",
        help="Group that keeps its starting values (repeatable).",
        metavar="GROUP",
        rich_help_panel=_FINE,
    ),
]
Semantics = Annotated[
    str | None,
    typer.Option(
        "--semantics",
        help="Rows that a batch does not touch: lazy leaves them, dense moves them too.",
        show_default="lazy",
        rich_help_panel=_FINE,
    ),
]
OrderName = Annotated[
    str | None,
    typer.Option(
        "--order",
        help="Ratings shuffled, or as stored.",
        show_default="shuffled",
        rich_help_panel=_FINE,
    ),
]
Clip = Annotated[
    float | None,
    typer.Option("--clip", help="Largest norm of a step's gradient.", rich_help_panel=_FINE),
]
Noise = Annotated[
    float | None,
    typer.Option(
        "--gradient-noise",
        help="Variance of the noise on each gradient.",
        show_default="0",
        rich_help_panel=_FINE,
    ),
]
Average = Annotated[
    int | None,
    typer.Option(
        "--average",
        help="Average the parameters of so many last epochs (or cycles).",
        show_default="1",
        rich_help_panel=_FINE,
    ),
]
Parallel = Annotated[
    str | None,
    typer.Option(
        "--parallel",
        help="grid, or hogwild (no locks, other bits each time).",
        show_default="grid",
        rich_help_panel=_FINE,
    ),
]
Iterations = Annotated[
    int | None,
    typer.Option(
        "--iterations", help="als: how often both sides are solved.", rich_help_panel=_OTHERS
    ),
]
Weighting = Annotated[
    str | None,
    typer.Option(
        "--weighting",
        help="als: weight decay counts for a row's ratings, or for rows.",
        show_default="ratings",
        rich_help_panel=_OTHERS,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option("--samples", help="gibbs: samples in all.", rich_help_panel=_OTHERS),
]
BurnIn = Annotated[
    int | None,
    typer.Option(
        "--burn-in",
        help="gibbs: samples dropped at the beginning.",
        show_default="a fifth",
        rich_help_panel=_OTHERS,
    ),
]
Histories = Annotated[
    bool | None,
    typer.Option(
        "--histories/--no-histories",
        help="gibbs: whether who rated what says something by itself.",
        show_default="histories",
        rich_help_panel=_OTHERS,
    ),
]
KeepSamples = Annotated[
    int | None,
    typer.Option(
        "--keep-samples",
        help="gibbs: samples kept in the model's file, for `predict --with-std`.",
        show_default="0",
        rich_help_panel=_OTHERS,
    ),
]

Name: TypeAlias = Literal["sgd", "als", "gibbs"]

_ALL: tuple[Name, ...] = ("sgd", "als", "gibbs")
_SGD: tuple[Name, ...] = ("sgd",)
_WITH_DECAY: tuple[Name, ...] = ("sgd", "als")
_ALS: tuple[Name, ...] = ("als",)
_GIBBS: tuple[Name, ...] = ("gibbs",)

# For which solvers an option is meant; the others work with each.
MEANT_FOR: dict[str, tuple[Name, ...]] = {
    "factors": _ALL,
    "rule": _SGD,
    "lr": _SGD,
    "epochs": _SGD,
    "batch": _SGD,
    "weight_decay": _WITH_DECAY,
    "schedule": _SGD,
    "early_stopping": _WITH_DECAY,
    "decoupled": _SGD,
    "decay_per": _SGD,
    "freeze": _SGD,
    "semantics": _SGD,
    "order": _SGD,
    "clip": _SGD,
    "gradient_noise": _SGD,
    "average": _SGD,
    "parallel": _SGD,
    "groups": _SGD,
    "device": _SGD,
    "iterations": _ALS,
    "weighting": _ALS,
    "samples": _GIBBS,
    "burn_in": _GIBBS,
    "histories": _GIBBS,
    "keep_samples": _GIBBS,
    "convergence": _GIBBS,
}


@dataclass(frozen=True)
class Plan:
    """What is to be fitted.

    Args:
        model, solver: as for ``dotbias.fit``.
        choice: where the data decided.
        n_fits: for how many fits within the budget.
        because: which option decided, where one did.
    """

    model: "Model"
    solver: "Solver"
    choice: "Choice | None" = None
    n_fits: int = 1
    because: str | None = None

    def say(self) -> None:
        """A note about a solver that the user did not name."""
        if self.choice is not None:
            each = f", for each of {self.n_fits} fits" if self.n_fits > 1 else ""
            show.say(f"Solver{each}: {self.choice}")
        elif self.because is not None:
            show.say(f"Solver: {self.because}")


@dataclass(frozen=True, kw_only=True)
class Solving:
    """The options that say what is fitted and how, as typed; None where they were not given."""

    model_name: ModelName = "dot-bias"
    factors: Factors = None
    form: OutputForm = None
    hidden: Hidden = None
    dropout: Dropout = None
    embedding_dropout: EmbeddingDropout = None
    batch_norm: BatchNorm = None
    solver_name: SolverName = "auto"
    budget: Budget = None
    rule: RuleName = None
    lr: Lr = None
    epochs: Epochs = None
    batch: Batch = None
    weight_decay: WeightDecay = None
    schedule: ScheduleName = None
    early_stopping: EarlyStopping = None
    threads: Threads = None
    decoupled: Decoupled = None
    decay_per: DecayPer = None
    freeze: Freeze = None
    semantics: Semantics = None
    order: OrderName = None
    clip: Clip = None
    gradient_noise: Noise = None
    average: Average = None
    parallel: Parallel = None
    device: Device = None
    iterations: Iterations = None
    weighting: Weighting = None
    samples: Samples = None
    burn_in: BurnIn = None
    histories: Histories = None
    keep_samples: KeepSamples = None

    def plan(self, *also: str) -> Plan | None:
        """Model and solver, or None where the data are to decide (``choose``).

        Args:
            also: further names of ``MEANT_FOR`` that the command has and the user gave.

        Raises:
            SettingError: for options that contradict each other, and illegal settings.
        """
        from dotbias.errors import SettingError
        from dotbias.models import Baseline, EmbeddingNet
        from dotbias.solvers.least_squares.closed_form import ClosedForm

        meant = self._meant(also)
        if self.solver_name not in ("auto", *_ALL):
            raise SettingError(
                f"--solver {self.solver_name}: it must be one of auto, {', '.join(_ALL)}"
            )
        model = make_model(self.model_name, None, None, self._net())
        if isinstance(model, EmbeddingNet):
            if self.solver_name not in ("auto", "sgd") or self.budget is not None:
                raise SettingError(
                    "--model net is trained by gradient descent: leave --solver and --budget out"
                )
            model = self._model()
            return Plan(model, self._descent(model))
        if isinstance(model, Baseline):
            for option in meant:
                raise SettingError(f"{option} has no meaning for --model baseline")
            if self.solver_name != "auto" or self.budget is not None:
                raise SettingError(
                    "--model baseline is fitted in closed form: leave --solver and --budget out"
                )
            return Plan(Baseline(), ClosedForm())
        name, option = self._named(meant)
        if name is None:
            self._seconds()  # a bad text is refused before the ratings are read
            return None
        if self.budget is not None:
            raise SettingError(
                f"--budget: there is nothing to choose, {option} leaves only the solver {name}"
            )
        because = None
        if self.solver_name == "auto":
            because = f"{name}, because of {option}, which it is meant for."
        return Plan(*self._made(name), because=because)

    def choose(self, ratings: "Ratings", *, n_fits: int) -> Plan:
        """Model and solver by the size of the data, for so many fits within the budget."""
        from dotbias.fitting.choosing import choose_solver

        choice = choose_solver(
            ratings,
            budget=self._seconds() / n_fits,
            n_threads=self.threads,
            n_factors=self.factors,
        )
        return Plan(choice.model, choice.solver, choice, n_fits)

    def _seconds(self) -> float:
        from dotbias.fitting.choosing import BUDGET

        return BUDGET if self.budget is None else seconds(self.budget)

    def _meant(self, also: tuple[str, ...]) -> dict[str, tuple[Name, ...]]:
        """The given options that are not for every solver, as typed."""
        given = [f.name for f in fields(self) if getattr(self, f.name) not in (None, [])]
        meant = {}
        for name in (*given, *also):
            option = "--" + name.replace("_", "-")
            if name == "histories" and not self.histories:
                option = "--no-histories"
            if name in MEANT_FOR:
                meant[option] = MEANT_FOR[name]
        if self.form not in (None, "linear"):
            meant[f"--form {self.form}"] = _SGD
        return meant

    def _named(self, meant: Mapping[str, tuple[Name, ...]]) -> tuple[Name | None, str]:
        """The solver that the options leave, or None for any; and the option that decides."""
        from dotbias.errors import SettingError

        left: tuple[Name, ...] = tuple(n for n in _ALL if self.solver_name in ("auto", n))
        decisive = f"--solver {self.solver_name}"
        for option, solvers in meant.items():
            both = tuple(n for n in left if n in solvers)
            if not both:
                raise SettingError(
                    f"{option} is meant for the solver {' or '.join(solvers)}: it contradicts {decisive}"
                )
            if both != left:
                left, decisive = both, option
        return (None if left == _ALL else left[0]), decisive

    def _made(self, name: Name) -> tuple["Model", "Solver"]:
        """The model and the solver of this name."""
        from dotbias.fitting.choosing import ALS_FACTORS
        from dotbias.solvers.gibbs.gibbs import Gibbs
        from dotbias.solvers.least_squares.als import ALS

        if name == "sgd":
            model = self._model()
            return model, self._descent(model)
        if name == "als":
            model = make_model(self.model_name, self.factors or ALS_FACTORS, self.form)
            settings = {
                "n_iterations": self.iterations,
                "weight_decay": specs.decay(self.weight_decay),
                "weighting": self.weighting,
                "validation_size": self.early_stopping,
                "n_threads": self.threads,
            }
            return model, ALS(**_given(settings))
        burn_in = self.burn_in
        if burn_in is None and self.samples is not None:
            burn_in = self.samples // 5
        settings = {
            "n_samples": self.samples,
            "burn_in": burn_in,
            "n_factors": self.factors,
            "histories": self.histories,
            "keep_samples": self.keep_samples,
            "n_threads": self.threads,
        }
        return make_model(self.model_name, None, self.form), Gibbs(**_given(settings))

    def _net(self) -> dict[str, Any]:
        """The settings that only networks have."""
        return {
            "hidden": specs.sizes(self.hidden),
            "dropout": self.dropout,
            "embedding_dropout": self.embedding_dropout,
            "batch_norm": self.batch_norm,
        }

    def _model(self) -> "Model":
        return make_model(self.model_name, self.factors, self.form, self._net())

    def _descent(self, model: "Model") -> "Solver":
        settings = {
            "n_epochs": self.epochs,
            "batch_size": self.batch,
            "schedule": self.schedule,
            "validation_size": self.early_stopping,
            "n_threads": self.threads,
            "frozen": self.freeze,
            "semantics": self.semantics,
            "order": self.order,
            "clip": self.clip,
            "gradient_noise": self.gradient_noise,
            "average": self.average,
            "parallel": self.parallel,
            "device": self.device,
        }
        decay = {
            "amount": self.weight_decay,
            "per": self.decay_per,
            "decoupled": self.decoupled,
        }
        return make_solver(model, self.rule, self.lr, settings, decay)


def with_solving(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer is to see it: its parameter ``solving`` is all fields of ``Solving``."""
    own = inspect.signature(command, eval_str=True).parameters
    types = get_type_hints(Solving, include_extras=True)
    options = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=types[f.name]
        )
        for f in fields(Solving)
    ]
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.items():
        if name == "solving":
            parameters += options
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        solving = Solving(**{option.name: given.pop(option.name) for option in options})
        command(**given, solving=solving)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def seconds(text: str) -> float:
    """A time: a number of seconds, or one with the unit s or m.

    >>> seconds("90"), seconds("30s"), seconds("1.5m")
    (90.0, 30.0, 90.0)
    """
    from dotbias.errors import SettingError

    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m") else (text, "s")
    try:
        value = float(number) * (60 if unit == "m" else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SettingError(f"--budget {text}: write a time above 0, such as 30s, 2m or 90")
    return value


def make_model(
    name: str, factors: int | None, form: str | None, net: Mapping[str, Any] | None = None
) -> "Model":
    """The model that the options name; ``net`` are settings that only networks have."""
    from dotbias.errors import SettingError
    from dotbias.models import Baseline, DotBias, EmbeddingNet

    given: dict[str, Any] = _given({"n_factors": factors, "output": form})
    layers = _given(net or {})
    if name == "net":
        return EmbeddingNet(**given, **layers)
    if layers:
        option = "--" + next(iter(layers)).replace("_", "-")
        raise SettingError(f"{option} is meant for --model net, not {name}")
    if name == "baseline":
        return Baseline()
    if name != "dot-bias":
        raise SettingError(f"--model {name}: it must be dot-bias, net or baseline")
    return DotBias(**given)


def make_solver(
    model: "Model",
    rule: str | None,
    lr: list[str] | None,
    settings: Mapping[str, Any],
    decay: Mapping[str, Any],
) -> "Solver":
    """The solver that the options describe; ``--lr auto`` is left to ``find_rate``.

    Args:
        model: what it is to estimate.
        rule, lr: texts as in ``dotbias.cli.specs``.
        settings: of ``GradientDescent``; those that are None keep their defaults.
        decay: of ``WeightDecay``, likewise.
    """
    from dotbias.errors import SettingError
    from dotbias.fitting.fit import default_solver
    from dotbias.solvers.decay import WeightDecay
    from dotbias.solvers.descent.gradient import GradientDescent

    solver = default_solver(model)
    if not isinstance(solver, GradientDescent):
        return solver
    given = _given(settings)
    if "batch_size" in given:
        given["batch_size"] = specs.batch(given["batch_size"])
    if given.get("order", "shuffled") not in ("shuffled", "stored"):
        raise SettingError(f"--order {given['order']}: it must be shuffled or stored")
    if "schedule" in given:
        given["schedule"] = specs.schedule(given["schedule"])
    given["frozen"] = tuple(given.get("frozen", ()))
    amount = specs.decay(decay["amount"])
    given["weight_decay"] = WeightDecay(**{**_given(decay), "amount": amount})
    chosen = solver.rule if rule is None else specs.rule(rule)
    return specs.with_rates(replace(solver, rule=chosen, **given), specs.rates(lr))


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def find_rate(
    lr: list[str] | None, model: "Model", solver: "Solver", train: "Ratings", seed: int
) -> "Solver":
    """The solver with the finder's rate on the training ratings, where the user asked for it."""
    from dotbias.solvers.descent.gradient import GradientDescent
    from dotbias.tuning.lr_finder import lr_find

    if lr != ["auto"] or not isinstance(solver, GradientDescent):
        return solver
    curve = lr_find(model, solver, train, seed=seed, progress=not show.quiet())
    tuned = curve.tuned()
    show.say(f"Learning rate {tuned.rule.top_rate:.3g}: the finder's, on the training ratings.")
    return tuned
