"""One run of gradient descent: it can be stopped, saved, and continued as if nothing had happened."""

import copy
import math
from abc import abstractmethod
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import DivergenceError
from dotbias.models.base import Model, Parameters, initialised
from dotbias.models.baseline import Baseline
from dotbias.settings import generator
from dotbias.solvers.base import OnEpoch
from dotbias.solvers.checkpoint import Arrays
from dotbias.solvers.descent.negatives import HeldOutChoices
from dotbias.solvers.descent.passes import Floats, Pass
from dotbias.solvers.descent.rules import Steps
from dotbias.solvers.epochs import EpochLoop, Figures
from dotbias.solvers.least_squares.closed_form import ClosedForm
from dotbias.solvers.validation import Validation

if TYPE_CHECKING:
    from dotbias.solvers.descent.gradient import GradientDescent

# Decay of the gradient noise (Neelakantan et al. 2015, section 3).
NOISE_DECAY = 0.55

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class GuardFacts:
    """What a run's guard against divergence has seen of the training loss; None is nothing yet."""

    best: float | None = None
    last: float | None = None
    last_lr: float | None = None
    rises: int = 0


@dataclass(frozen=True, kw_only=True)
class DescentFacts:
    """What a checkpoint of gradient descent keeps beside arrays.

    Args:
        n_updates: updates until now.
        guard: what the divergence guard remembers.
    """

    n_updates: int
    guard: GuardFacts = field(default_factory=GuardFacts)


class Run(EpochLoop, Generic[M]):
    """A run of ``GradientDescent`` on one model and one set of ratings.

    The same solver, model, ratings and seed make the same run. What moves the parameters is left to
    subclasses, one for each kind of model.

    Args:
        solver, model, ratings, seed: as for ``GradientDescent.fit``.
        dtype: precision of all arithmetic.
    """

    _pass: Pass
    solver: "GradientDescent"
    model: M
    facts_kind = DescentFacts
    noisy: ClassVar[bool] = False
    """Whether the loss of an epoch may rise by chance, as it does with dropout (and with draws)."""

    def __init__(
        self,
        solver: "GradientDescent",
        model: M,
        ratings: Ratings,
        *,
        seed: int = 0,
        dtype: Any = np.float32,
    ) -> None:
        self.solver, self.model, self.ratings, self.seed, self.dtype = (
            solver,
            model,
            ratings,
            seed,
            dtype,
        )
        self.rng = generator(seed)
        self.start = initialised(model, ratings, self.rng)
        validation = Validation.hold_out(ratings, solver.validation_size, self.rng)
        super().__init__(solver.n_epochs, validation, patience=solver.patience)
        n = len(validation.rest)
        self.batch_size = min(solver.batch_size or n, n)
        self.n_updates = 0
        self.window: deque[Parameters] = deque(maxlen=solver.average)
        self.loss = solver.loss_class
        self._choices = None
        if self.loss.samples():
            self._choices = self.choices(validation.users, validation.items)
        self._guard = self._new_guard()
        self._sweeping: tuple[int, int] | None = None

    # What depends on the kind of model.

    @abstractmethod
    def take(self, low: int, high: int, multiples: Steps, momentum: Steps | None) -> Floats:
        """Take steps of this epoch.

        Args:
            low, high: first step, and the one after the last.
            multiples: of the rule's rates, shape (high - low,).
            momentum: of each step of the epoch, or None where the rule keeps its own.

        Returns:
            The sum of the losses of each step's predictions, made before it moved anything, shape
            (high - low,); of the squared error in units of the ratings' std.
        """

    @abstractmethod
    def parameters(self) -> Parameters:
        """The parameters as they are now, in rating units."""

    @abstractmethod
    def compile(self) -> None:
        """Compile the loop now, so that the first epoch does not include it."""

    @property
    def top_rate(self) -> float:
        """The highest rate of any group that is not frozen."""
        rates = self.solver.rule.rates(self.model.groups)
        return max((r for g, r in rates.items() if g not in self.solver.frozen), default=0.0)

    # The run itself.

    def one_epoch(self) -> Figures:
        """Take the steps of the next epoch.

        Raises:
            DivergenceError: when the loss is no longer finite, or keeps growing.
        """
        solver, epoch = self.solver, self.epoch
        self._pass.begin(self.rng, first=epoch == 0)
        moments = epoch + self._pass.share_done
        multiples = self._schedule(moments)
        ends = solver.schedule_object.cycle_ends(self.n_epochs)
        ends = ends[(ends > epoch) & (ends <= epoch + 1)]
        # Rounding: an end that is a step's beginning may differ from it in the last bit.
        total, done = 0.0, 0
        for stop in np.searchsorted(moments, ends - 1e-9).tolist():
            total += self.take(done, stop, multiples[0][done:stop], multiples[1]).sum()
            done = stop
            self.history.cycle_parameters.append(self.parameters())
            self.window.append(self.history.cycle_parameters[-1])
        total += self.take(done, len(moments), multiples[0][done:], multiples[1]).sum()
        self.n_updates += self._pass.n_updates
        figure = self.figure(total / len(self.validation.rest))
        lr = float(multiples[0][0] * self.top_rate)
        self._guard.check(epoch + 1, figure, lr)
        if solver.average > 1 and not len(solver.schedule_object.cycle_ends(self.n_epochs)):
            self.window.append(self.parameters())
        squared = not self.loss.samples()
        return Figures(
            lr=lr,
            train_rmse=figure if squared else None,
            train_loss=None if squared else figure,
            momentum=self._momentum(multiples[1]),
        )

    def validate(self) -> float | None:
        """See ``EpochLoop.validate``; remembers the parameters where they are the best so far."""
        if self._choices is None:
            return self.validation.rmse(self.model, self.candidate, self.epoch + 1)
        measured = partial(self._choices.mean, self.model)
        return self.validation.watch(measured, self.candidate, self.epoch + 1)

    def figure(self, mean: float) -> float:
        """A mean of losses, per training rating, as it is reported: RMSE, or the mean per example."""
        examples = self.loss.examples(self.solver.n_negatives)
        return float(self.loss.figure(mean / examples, self.ratings.std))

    def choices(self, users: Index, items: Index) -> HeldOutChoices:
        """Held-out pairs to measure a loss of preferences on: indices, -1 for what is not known."""
        n, seed = self.solver.n_negatives, self.seed
        return HeldOutChoices.of(self.loss, self.ratings, users, items, n, seed)

    def _new_guard(self) -> "_DivergenceGuard":
        # The figure of who predicts the mean, or cannot tell one item from another.
        known_nothing = self.loss.figure(
            float(self.loss.value(self.loss.nothing)), self.ratings.std
        )
        return _DivergenceGuard(
            self.loss.label,
            known_nothing,
            self.solver.rule.top_rate,
            noisy=self.noisy or self.loss.samples(),
        )

    def _schedule(self, moments: Steps) -> tuple[Steps, Steps | None]:
        schedule, n_epochs = self.solver.schedule_object, self.n_epochs
        return schedule.lr(moments, n_epochs), schedule.momentum(moments, n_epochs)

    def _momentum(self, scheduled: Steps | None) -> float | None:
        """What the rule has at the start of an epoch."""
        rule = self.solver.rule
        if rule.momentum_name is None:
            return None
        own = getattr(rule, rule.momentum_name)
        return float(own if scheduled is None else scheduled[0])

    def step(self, multiples: Steps) -> Steps:
        """Take steps outside the schedule, at given multiples of the rule's rates.

        Args:
            multiples: one for each step, shape (n,).

        Returns:
            The loss of each step's predictions, made before it moved anything, as ``validation_loss``
            counts it, shape (n,).
        """
        losses = []
        for multiple in multiples:
            if self._sweeping is None or self._sweeping[0] == len(self._pass.sizes):
                number = 0 if self._sweeping is None else self._sweeping[1] + 1
                self._pass.begin(self.rng, first=self.epoch + number == 0)
                self.n_updates += self._pass.n_updates if number else 0
                self._sweeping = (0, number)
            at, number = self._sweeping
            total = self.take(at, at + 1, np.array([multiple]), None)
            losses.append(self.figure(float(total[0]) / self._pass.sizes[at]))
            self._sweeping = (at + 1, number)
        return np.array(losses) if self.loss.samples() else np.array(losses) ** 2

    def validation_loss(self) -> float:
        """The loss on the validation rows now: mean squared error in squared rating units, or the mean
        of the loss of preferences.
        """
        if self._choices is not None:
            return self._choices.mean(self.model, self.parameters())
        return self.validation.loss(self.model, self.parameters())

    @property
    def steps_per_epoch(self) -> int:
        """How many steps an epoch has."""
        probe = copy.copy(self._pass)
        probe.begin(copy.deepcopy(self.rng), first=False)
        return len(probe.sizes)

    # What comes out.

    def run(self, n_epochs: int | None = None, on_epoch: OnEpoch | None = None) -> Self:
        """See ``EpochLoop.run``; at its end the history says what biases alone would have done."""
        super().run(n_epochs, on_epoch)
        history = self.history
        ended = self.epoch == self.n_epochs or history.stopped == "early"
        # Frozen groups leave less than biases where they are not meant to leave more.
        if ended and not (self.loss.samples() or self.solver.frozen):
            history.biases_rmse = self._biases_rmse()
            history.fitted_rmse = self.fitted_rmse()
        schedule = self.solver.schedule_object
        history.cycle_end = schedule.open_cycle(self.epoch, self.n_epochs)
        return self

    def _biases_rmse(self) -> float | None:
        held, biases = self.validation, Baseline()
        parameters, history = ClosedForm().fit(biases, held.rest)
        if len(held.values):
            return math.sqrt(held.loss(biases, parameters))
        return history.epochs[0].train_rmse

    def fitted_rmse(self) -> float | None:
        """RMSE of the result on the training rows, where the figures of epochs are of something else."""
        return None

    def candidate(self) -> Parameters:
        """What the fit would give now: the parameters, or their mean over the last epochs or cycles."""
        if self.solver.average == 1 or not self.window:
            return self.parameters()
        mean = dict(self.window[-1])
        for name in (name for name, array in mean.items() if array.dtype.kind == "f"):
            total = np.sum([p[name] for p in self.window], axis=0, dtype=np.float64)
            mean[name] = np.asarray(total / len(self.window), np.float32)
        return mean

    def result(self) -> Parameters:
        """The best parameters seen on the validation rows, or without any, the latest."""
        return self.validation.best or self.candidate()

    # Stopping and going on.

    def own_facts(self) -> "DescentFacts":
        """Number of updates, and what the guard remembers."""
        return DescentFacts(n_updates=self.n_updates, guard=self._guard.seen)

    def set_own_facts(self, facts: "DescentFacts") -> None:
        """Put those back; steps outside the schedule are forgotten."""
        self.n_updates, self._sweeping = facts.n_updates, None
        self._guard = self._new_guard()
        self._guard.seen = facts.guard

    def kept(self) -> dict[str, list[Arrays]]:
        """The best parameters, those to be averaged, those at ends of cycles."""
        cycles = self.history.cycle_parameters
        return super().kept() | {"window": list(self.window), "cycle": cycles}

    def set_kept(self, kept: dict[str, list[Arrays]]) -> None:
        """Put those back."""
        super().set_kept(kept)
        self.window = deque(kept["window"], maxlen=self.solver.average)
        self.history.cycle_parameters = kept["cycle"]

    def identity(self) -> dict[str, Any]:
        """What makes a run the same run: settings, and plain data."""
        order = self.solver.order
        same = super().identity()
        # The place of a function in memory is no part of a run; threads without locks refuse "stored".
        return same | {
            "solver": replace(same["solver"], order="stored", parallel="grid"),
            "order": order if isinstance(order, str) else order.__qualname__,
            "parallel": self.solver.parallel,
            "precision": np.dtype(self.dtype).name,
        }


class _DivergenceGuard:
    """Stops a run whose training loss is not finite, absurd, or has risen three times in a row.

    The last does not count where the loss is noisy.
    """

    def __init__(self, label: str, known_nothing: float, top_rate: float, *, noisy: bool) -> None:
        self.label, self.top_rate, self.noisy = label, top_rate, noisy
        self.limit = 3 * known_nothing
        self.seen = GuardFacts()

    def check(self, epoch: int, figure: float, lr: float) -> None:
        best, last, last_lr = (
            np.inf if x is None else x for x in (self.seen.best, self.seen.last, self.seen.last_lr)
        )
        best = min(best, figure)
        # After a rate that has risen, as in a warm restart, so may the loss.
        rises = self.seen.rises + 1 if figure > last and lr <= last_lr else 0
        # Against the std: a loss that is almost nothing may rise by its rounding.
        grew = not self.noisy and rises >= 3 and figure > best + 0.05 * self.limit / 3
        if not np.isfinite(figure) or figure > self.limit or grew:
            raise DivergenceError(
                f"training diverged in epoch {epoch}: the training {self.label} is {figure:.4g}. "
                f"Lower the learning rate, for example lr={self.top_rate / 4:.2g} "
                f"(it was {self.top_rate:g})"
            )
        self.seen = GuardFacts(best, figure, lr, rises)
