"""What every solver is, and the history it leaves."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model, Parameters, has_formula_of
from dotbias.models.dot_bias import DotBias
from dotbias.plain import to_plain
from dotbias.settings import Settings
from dotbias.shown import Shown

if TYPE_CHECKING:
    from dotbias.pictures import LinePicture
    from dotbias.solvers.epochs import CarryOn


@dataclass(frozen=True)
class Epoch(Shown):
    """One pass over the training ratings.

    Args:
        epoch: its number, from 1.
        n_epochs: how many were asked for.
        lr: learning rate at its start; 0 for solvers that have none.
        train_rmse: RMSE of the predictions made during the epoch, each before its own update; None where
            another loss than the squared error is minimised.
        validation_rmse: RMSE on the validation rows after the epoch, or None without any.
        seconds: time of the epoch.
        ratings_per_second: training ratings per second of the epoch, validation apart.
        objective: what is minimised, after the epoch, in squared rating units; None where the solver
            does not compute it.
        noise: standard deviation of the ratings' noise as the sampler sees it, in rating units; None
            for other solvers.
        train_loss, validation_loss: in the place of the two RMSEs, the mean of the loss that is
            minimised instead.
        momentum: at its start, of rules that have one (the first decay rate of Adam counts as one).
    """

    epoch: int
    n_epochs: int
    lr: float
    train_rmse: float | None
    validation_rmse: float | None
    seconds: float
    ratings_per_second: float
    objective: float | None = None
    noise: float | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    momentum: float | None = None

    @property
    def train_figure(self) -> float | None:
        """The training RMSE, or the mean training loss in its place."""
        return self.train_loss if self.train_rmse is None else self.train_rmse

    @property
    def validation_figure(self) -> float | None:
        """The same on the validation rows."""
        return self.validation_loss if self.validation_rmse is None else self.validation_rmse


@dataclass
class History(Shown):
    """What happened during a fit.

    Args:
        epochs: one entry per epoch.
        best_epoch: the epoch whose parameters were kept.
        stopped: why training ended.
        seconds: time of the whole fit.
        cycle_parameters: the parameters at the end of each cycle of warm restarts.
        half_steps: the objective after each half step of alternating least squares.
        biases_rmse: of gradient descent that has come to its end: RMSE of biases alone (``ClosedForm``)
            on the validation rows, or without any, on the training rows.
        fitted_rmse: of a network without validation rows that has come to its end: RMSE of what was
            fitted on the training rows. Those of the epochs are with dropout and unknown ids.
        cycle_end: epochs after which the cycle of the schedule would have ended in the middle of which
            training has; None where it has not.
        epochs_are: what the solver calls its epochs (``Solver.epochs_are``).
    """

    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    stopped: Literal["finished", "early", "interrupted"] = "finished"
    seconds: float = 0.0
    cycle_parameters: list[Parameters] = field(
        default_factory=list, repr=False, metadata={"plain": False}
    )
    half_steps: list[float] = field(default_factory=list, repr=False)
    biases_rmse: float | None = field(default=None, repr=False)
    fitted_rmse: float | None = field(default=None, repr=False)
    cycle_end: float | None = field(default=None, repr=False)
    epochs_are: str = field(default="epochs", repr=False)

    @property
    def rmse(self) -> float | None:
        """Of what was kept, on the validation rows; without any, on the training rows."""
        if not self.epochs:
            return None
        held_out = self.epochs[self.best_epoch - 1].validation_rmse
        found = (held_out, self.fitted_rmse, self.epochs[-1].train_rmse)
        return next((rmse for rmse in found if rmse is not None), None)

    @property
    def passes(self) -> str:
        """How many there were, and what the solver calls them.

        >>> History([], epochs_are="samples").passes
        '0 samples'
        """
        n = len(self.epochs)
        return f"{n} {self.epochs_are.removesuffix('s') if n == 1 else self.epochs_are}"

    @property
    def above_biases(self) -> bool:
        """Whether training has ended above biases alone on those rows."""
        mine, biases = self.rmse, self.biases_rmse
        return mine is not None and biases is not None and mine > biases

    def picture(self) -> "LinePicture":
        """Errors (or losses) over epochs, and beside them the rate and the momentum where there are any.

        Raises:
            SettingError: where no epoch has an error.
        """
        from dotbias.pictures import Line, LinePicture, Mark, Panel

        # What is measured stands at the end of its epoch, what is set at the beginning.
        ends = [epoch.epoch for epoch in self.epochs]
        starts = [end - 1 for end in ends]

        def line(name: str, x: list[int], values: Sequence[float | None]) -> tuple[Line, ...]:
            if not any(values):
                return ()
            numbers = [math.nan if value is None else value for value in values]
            return (Line(name=name, x=x, y=numbers),)

        training = [epoch.train_figure for epoch in self.epochs]
        held_out = [epoch.validation_figure for epoch in self.epochs]
        of_loss = any(epoch.train_loss is not None for epoch in self.epochs)
        errors = line("training", ends, training) + line("validation", ends, held_out)
        if not errors:
            raise SettingError("there is nothing to draw: no epoch of this fit has an error")
        one = self.epochs_are.removesuffix("s")
        best = Mark(x=self.best_epoch, label=f"{one} {self.best_epoch} is kept")
        sampled = any(epoch.noise is not None for epoch in self.epochs)  # a mean is kept, no sample
        panels = [
            Panel(
                title="Loss" if of_loss else "Error",
                x_label=self.epochs_are,
                y_label="mean loss" if of_loss else "RMSE",
                lines=errors,
                marks=(best,) if any(held_out) and not sampled else (),
            )
        ]
        for name, values in (
            ("learning rate", [epoch.lr for epoch in self.epochs]),
            ("momentum", [epoch.momentum for epoch in self.epochs]),
        ):
            if lines := line(name, starts, values):
                title = name.capitalize()
                panels.append(
                    Panel(title=title, x_label=self.epochs_are, y_label=name, lines=lines)
                )
        ended = {"early": ", stopped early", "interrupted": ", interrupted"}.get(self.stopped, "")
        return LinePicture(title=f"A fit of {self.passes}{ended}", panels=tuple(panels))

    plot = picture
    """What fast.ai and pandas call it."""

    def summary(self) -> dict[str, Any]:
        """The history as plain data, for a model file or JSON: without the parameters of cycles."""
        data: dict[str, Any] = to_plain(self)
        return data


OnEpoch: TypeAlias = Callable[[Epoch], None]


class Solver(Settings, ABC):
    """Estimates the parameters of a model. Settings only: fitting leaves the solver as it was."""

    epochs_are: ClassVar[str] = "epochs"
    """What the passes of a fit are called."""

    @property
    def n_epochs(self) -> int:
        """How many epochs a fit goes through at most."""
        return 1

    @property
    def default_model(self) -> Model:
        """What it estimates when nobody says."""
        return DotBias()

    def settled(self, model: Model, ratings: Ratings) -> Self:  # noqa: ARG002
        """The same solver with numbers where it leaves settings to the data."""
        return self

    @abstractmethod
    def fit(
        self, model: Model, ratings: Ratings, *, seed: int = 0, on_epoch: OnEpoch | None = None
    ) -> tuple[Parameters, History]:
        """Parameters estimated from the training ratings, and what happened on the way.

        Raises:
            SettingError: for a model that this solver cannot estimate.
        """


def estimate(
    solver: Solver,
    model: Model,
    ratings: Ratings,
    *,
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
    carry_on: "CarryOn | None" = None,
) -> tuple[Parameters, History]:
    """What the solver returns, checked: a solver of one's own, too, gives arrays that may be relied on.

    Args:
        solver, model, ratings, seed, on_epoch: what is estimated, how and from what.
        carry_on: of an ``IteratingSolver``, as for its ``fit``.

    Raises:
        SettingError: for parameters that are not finite or none of the model's (``Model.check``), and
            what the solver raises.
    """
    more: dict[str, Any] = {} if carry_on is None else {"carry_on": carry_on}
    parameters, history = solver.fit(model, ratings, seed=seed, on_epoch=on_epoch, **more)
    try:
        model.check(parameters, ratings.n_users, ratings.n_items)
    except SettingError as error:
        raise SettingError(
            f"{type(solver).__name__} has found no parameters of {type(model).__name__}: {error}. "
            "Numbers that are not finite come of a weight decay or ratings too large for single "
            "precision: lower them; anything else is a fault of the solver"
        ) from None
    return parameters, history


def linear_dot_bias(solver: Solver, model: Model) -> DotBias:
    """The model, if it is one that linear regression can estimate.

    Raises:
        SettingError: for a model other than ``DotBias`` with linear output.
    """
    name = type(solver).__name__
    if not has_formula_of(model, DotBias):
        raise SettingError(f"{name} estimates DotBias, not {type(model).__name__}")
    if model.output != "linear":
        raise SettingError(
            f"{name} estimates DotBias(output='linear'), not output={model.output!r}: "
            "GradientDescent estimates both"
        )
    return model
