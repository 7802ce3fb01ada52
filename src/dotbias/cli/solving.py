"""The options that say what is fitted and how, each with what it sets of which solver."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args, get_type_hints

import typer

from dotbias.cli import completion, specs
from dotbias.solvers.descent.losses import LOSSES
from dotbias.solvers.descent.rules import RULES
from dotbias.solvers.descent.schedules import SCHEDULES

SolverName: TypeAlias = Literal["sgd", "als", "gibbs"]
SOLVERS: tuple[SolverName, ...] = get_args(SolverName)
MODELS = ("dot-bias", "net", "baseline")

_MODEL = "Model"
_TRAINING = "Training"
_FINE = "Gradient descent, in detail"
_OTHERS = "Other solvers"

_OF_MODEL = "model."


# Options whose values are names of this library.
_NAMES = (
    *("model_name", "solver_name", "loss", "form", "batch", "order", "semantics", "decay_per"),
    *("parallel", "weighting", "device"),
)


def _as_typed(value: Any) -> Any:
    return value


@dataclass(frozen=True, kw_only=True)
class Sets:
    """What an option sets, and of which solvers.

    Settings are named by path: ``n_epochs`` is the solver's, ``rule.lr`` that of the solver's rule,
    ``model.output`` that of the model it estimates.

    Args:
        sgd, als, gibbs: of the solvers that the option is meant for: it contradicts the others.
        every: of any solver, where the option is meant for none in particular.
        net: whether ``--model net`` alone has it.
        read: makes the setting of what was typed.
    """

    sgd: str | None = None
    als: str | None = None
    gibbs: str | None = None
    every: str | None = None
    net: bool = False
    read: Callable[[Any], Any] = _as_typed

    @property
    def meant_for(self) -> tuple[SolverName, ...]:
        """The solvers that the option is meant for."""
        return tuple(name for name in SOLVERS if getattr(self, name) is not None)

    def path(self, solver: SolverName) -> str | None:
        """What it sets of this solver or the model that it estimates."""
        named: str | None = getattr(self, solver)
        return self.every if named is None else named


@dataclass(frozen=True, kw_only=True)
class Solving:
    """The options that say what is fitted and how, as typed; None where they were not given.

    One whose setting has another name in Python can be typed by that name too.
    """

    model_name: Annotated[
        str,
        typer.Option(
            "--model",
            help="dot-bias, net (embeddings through hidden layers; needs the extra torch), or baseline "
            "(biases only).",
            autocompletion=completion.among(*MODELS),
            rich_help_panel=_MODEL,
        ),
    ] = "dot-bias"
    factors: Annotated[
        int | None,
        typer.Option(
            "--factors",
            "--n-factors",
            min=1,
            help="Length of each embedding.",
            rich_help_panel=_MODEL,
        ),
        Sets(sgd="model.n_factors", als="model.n_factors", gibbs="n_factors"),
    ] = None
    form: Annotated[
        str | None,
        typer.Option(
            help="linear, sigmoid (stretched), or preference (no ratings: see --loss).",
            autocompletion=completion.among("linear", "sigmoid", "preference"),
            rich_help_panel=_MODEL,
        ),
        Sets(every="model.output"),
    ] = None
    hidden: Annotated[
        str | None,
        typer.Option(
            help="net: sizes of the hidden layers, separated by commas.",
            metavar="SIZES",
            show_default="100",
            rich_help_panel=_MODEL,
        ),
        Sets(every="model.hidden", net=True, read=specs.sizes),
    ] = None
    dropout: Annotated[
        float | None,
        typer.Option(
            help="net: share of each hidden layer that a training step leaves out.",
            show_default="0.3",
            rich_help_panel=_MODEL,
        ),
        Sets(every="model.dropout", net=True),
    ] = None
    embedding_dropout: Annotated[
        float | None,
        typer.Option(
            help="net: the same of the embeddings.",
            show_default="0.05",
            rich_help_panel=_MODEL,
        ),
        Sets(every="model.embedding_dropout", net=True),
    ] = None
    batch_norm: Annotated[
        bool | None,
        typer.Option(
            "--batch-norm/--no-batch-norm",
            help="net: whether hidden layers are normalised.",
            show_default="no",
            rich_help_panel=_MODEL,
        ),
        Sets(every="model.batch_norm", net=True),
    ] = None
    solver_name: Annotated[
        str,
        typer.Option(
            "--solver",
            help="sgd (gradient descent), als (alternating least squares), gibbs (Gibbs sampling), or "
            "auto: the most accurate that fits the budget. An option that is meant for one solver "
            "chooses it.",
            metavar="NAME",
            autocompletion=completion.among("auto", *SOLVERS),
            rich_help_panel=_MODEL,
        ),
    ] = "auto"
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time for which the solver is chosen: seconds, 30s or 2m of one fit on the reference "
            "machine of docs/which-solver.md. The choice is the same on every machine, with -o and "
            "without.",
            metavar="TIME",
            show_default="30s",
            rich_help_panel=_MODEL,
        ),
    ] = None
    settings_file: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="Solver, model and their settings from a file that `dotbias tune` has written.",
            metavar="FILE",
            rich_help_panel=_MODEL,
        ),
    ] = None
    rule: Annotated[
        str | None,
        typer.Option(
            help=f"Update rule, NAME or NAME:SETTING=NUMBER,... Names: {', '.join(RULES)}; "
            "FILE.py/CLASS for one of your own.",
            metavar="RULE",
            show_default="sgd, for net momentum",
            autocompletion=completion.among(*RULES),
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="rule", read=specs.rule),
    ] = None
    loss: Annotated[
        str | None,
        typer.Option(
            help=f"What is minimised: {', '.join(LOSSES)}. Those after the first learn what is chosen, "
            "not how it is rated.",
            show_default="squared",
            autocompletion=completion.among(*LOSSES),
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="loss"),
    ] = None
    negatives: Annotated[
        int | None,
        typer.Option(
            "--negatives",
            "--n-negatives",
            help="logistic, bpr: items drawn for each known pair that its user has not chosen.",
            show_default="4",
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="n_negatives"),
    ] = None
    lr: Annotated[
        list[str] | None,
        typer.Option(
            help="Learning rate: a number, auto (the finder's), LOW:HIGH (spread over the groups), or "
            "GROUP=NUMBER (repeatable).",
            metavar="RATE",
            show_default="what suits rule and batch",
            autocompletion=completion.among("auto"),
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="rule.lr", read=specs.rates),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            "--n-epochs",
            help="Passes over the ratings.",
            show_default="40, or 300 steps if that is more; for net 10",
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="n_epochs"),
    ] = None
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            "--batch-size",
            help="Ratings per step: 1, a number, or full.",
            metavar="SIZE",
            show_default="1, for net 512",
            autocompletion=completion.among("full"),
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="batch_size", read=specs.batch),
    ] = None
    weight_decay: Annotated[
        list[str] | None,
        typer.Option(
            help="A number for all groups, or GROUP=NUMBER (repeatable; groups: user_factors, "
            "item_factors, user_bias, item_bias; of net: embeddings, hidden, output, biases).",
            metavar="DECAY",
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="weight_decay.amount", als="weight_decay", read=specs.decay),
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Learning rate over the epochs, NAME or NAME:SETTING=NUMBER,... Names: "
            f"{', '.join(SCHEDULES)}.",
            metavar="SCHEDULE",
            autocompletion=completion.among(*SCHEDULES),
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="schedule", read=specs.schedule),
    ] = None
    early_stopping: Annotated[
        float | None,
        typer.Option(
            "--early-stopping",
            "--validation-size",
            help="Share of the training rows for validation: stop when their error no longer falls.",
            metavar="SHARE",
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="validation_size", als="validation_size"),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            "--n-threads",
            help="Threads; the result is the same.",
            rich_help_panel=_TRAINING,
        ),
        Sets(every="n_threads"),
    ] = None
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Share prepared ratings out to workers: processes of this machine, ray (which is "
            "started here), auto (one that is there), or ray://host:10001. The result is the same.",
            metavar="WHERE",
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="cluster", als="cluster"),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "--n-workers",
            help="Workers of a --cluster: by default 2 processes, or an actor for each processor.",
            show_default=False,
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="n_workers", als="n_workers"),
    ] = None
    decoupled: Annotated[
        bool | None,
        typer.Option(
            "--decoupled/--coupled",
            help="Weight decay beside the gradient (as AdamW), or in it (L2).",
            show_default=False,
            rich_help_panel=_FINE,
        ),
        Sets(sgd="weight_decay.decoupled"),
    ] = None
    decay_per: Annotated[
        str | None,
        typer.Option(
            help="Weight decay counts per rating, or per row.",
            show_default="rating",
            autocompletion=completion.among("rating", "row"),
            rich_help_panel=_FINE,
        ),
        Sets(sgd="weight_decay.per"),
    ] = None
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            "--freeze",
            "--frozen",
            help="Group that keeps its starting values (repeatable).",
            metavar="GROUP",
            rich_help_panel=_FINE,
        ),
        Sets(sgd="frozen", read=tuple),
    ] = None
    semantics: Annotated[
        str | None,
        typer.Option(
            help="Rows that a batch does not touch: lazy leaves them, dense moves them too.",
            show_default="lazy",
            autocompletion=completion.among("lazy", "dense"),
            rich_help_panel=_FINE,
        ),
        Sets(sgd="semantics"),
    ] = None
    order: Annotated[
        str | None,
        typer.Option(
            help="Ratings shuffled, or as stored.",
            show_default="shuffled",
            autocompletion=completion.among("shuffled", "stored"),
            rich_help_panel=_FINE,
        ),
        Sets(sgd="order", read=specs.order),
    ] = None
    clip: Annotated[
        float | None,
        typer.Option(help="Largest norm of a step's gradient.", rich_help_panel=_FINE),
        Sets(sgd="clip"),
    ] = None
    gradient_noise: Annotated[
        float | None,
        typer.Option(
            help="Variance of the noise on each gradient.",
            show_default="0",
            rich_help_panel=_FINE,
        ),
        Sets(sgd="gradient_noise"),
    ] = None
    average: Annotated[
        int | None,
        typer.Option(
            help="Average the parameters of so many last epochs (or cycles).",
            show_default="1",
            rich_help_panel=_FINE,
        ),
        Sets(sgd="average"),
    ] = None
    parallel: Annotated[
        str | None,
        typer.Option(
            help="grid, or hogwild (no locks, other bits each time).",
            show_default="grid",
            autocompletion=completion.among("grid", "hogwild"),
            rich_help_panel=_FINE,
        ),
        Sets(sgd="parallel"),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            help="net: cpu, cuda or mps.",
            show_default="the fastest that is there",
            autocompletion=completion.among("cpu", "cuda", "mps"),
            rich_help_panel=_TRAINING,
        ),
        Sets(sgd="device"),
    ] = None
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations",
            "--n-iterations",
            help="als: how often both sides are solved.",
            rich_help_panel=_OTHERS,
        ),
        Sets(als="n_iterations"),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            "--n-steps",
            help="als: steps of conjugate gradients of a row; 0 solves it exactly.",
            show_default="0, and 5 from half a million ratings on",
            rich_help_panel=_OTHERS,
        ),
        Sets(als="n_steps"),
    ] = None
    weighting: Annotated[
        str | None,
        typer.Option(
            help="als: weight decay counts for a row's ratings, or for rows.",
            show_default="ratings",
            autocompletion=completion.among("ratings", "rows"),
            rich_help_panel=_OTHERS,
        ),
        Sets(als="weighting"),
    ] = None
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", "--n-samples", help="gibbs: samples in all.", rich_help_panel=_OTHERS
        ),
        Sets(gibbs="n_samples"),
    ] = None
    burn_in: Annotated[
        int | None,
        typer.Option(
            help="gibbs: samples dropped at the beginning.",
            show_default="a fifth",
            rich_help_panel=_OTHERS,
        ),
        Sets(gibbs="burn_in"),
    ] = None
    histories: Annotated[
        bool | None,
        typer.Option(
            "--histories/--no-histories",
            help="gibbs: whether who rated what says something by itself.",
            show_default="histories",
            rich_help_panel=_OTHERS,
        ),
        Sets(gibbs="histories"),
    ] = None
    keep_samples: Annotated[
        int | None,
        typer.Option(
            help="gibbs: samples kept in the model's file, for `predict --with-std`.",
            show_default="0",
            rich_help_panel=_OTHERS,
        ),
        Sets(gibbs="keep_samples"),
    ] = None

    def __post_init__(self) -> None:
        for name in _NAMES:  # in any case
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, value.lower())

    @property
    def finds_rate(self) -> bool:
        """Whether the learning rate is to be the finder's."""
        return self.lr == ["auto"]

    @property
    def n_workers(self) -> int:
        """How many workers are asked for."""
        return 1 if self.cluster is None else self.workers or 1

    def named(self) -> list[str]:
        """Model and solver as they are typed, where one is named."""
        names = {"solver": self.solver_name, "model": self.model_name}
        usual = {"solver": Solving.solver_name, "model": Solving.model_name}
        return [f"--{what} {name}" for what, name in names.items() if name != usual[what]]

    def given(self) -> "list[Given]":
        """The given options that set something, in the order of the fields."""
        return [
            Given(name, option.typed(value), option.sets, value)
            for name, option in OPTIONS.items()
            if (value := getattr(self, name)) not in (None, [])
        ]

    def settings(self, solver: SolverName) -> dict[str, Any]:
        """What the given options set of this solver, by path; the finder's rate is left to it.

        Raises:
            SettingError: for a text that means nothing.
        """
        return {
            path: option.sets.read(option.value)
            for option in self.given()
            if (path := option.sets.path(solver)) and not path.startswith(_OF_MODEL)
            if not (option.name == "lr" and self.finds_rate)
        }

    def model_settings(self, solver: SolverName) -> dict[str, Any]:
        """Likewise of the model that this solver is to estimate."""
        return {
            path.removeprefix(_OF_MODEL): option.sets.read(option.value)
            for option in self.given()
            if (path := option.sets.path(solver)) and path.startswith(_OF_MODEL)
        }


class Given(NamedTuple):
    """An option that was given: its field, how it was typed, what it sets, its value."""

    name: str
    typed: str
    sets: Sets
    value: Any


class Option(NamedTuple):
    """A declared option that sets something."""

    names: str
    sets: Sets

    def typed(self, value: Any) -> str:
        """The option as it is typed for this value, which a flag has in its name."""
        on, _, off = self.names.partition("/")
        return off if value is False else on


def _declared() -> Mapping[str, Option]:
    """The fields of ``Solving`` that set something."""
    found = {}
    for name, annotation in get_type_hints(Solving, include_extras=True).items():
        _, option, *sets = get_args(annotation)
        # Typer keeps the first of the names that were declared, if any, where a default would be.
        names = option.default if isinstance(option.default, str) else "--" + name.replace("_", "-")
        for one in sets:
            found[name] = Option(names, one)
    return found


OPTIONS = _declared()
