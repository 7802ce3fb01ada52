"""Schedules: the learning rate as a pure function of progress.

A schedule is a dataclass of its settings. ``lr(epochs, n_epochs)`` takes the moments at which steps
are made, ``e``, in epochs done so far (fractions of an epoch included, ``0 ≤ e < n``), and the
length ``n`` of the whole run; it returns the factor on the rule's ``lr`` at each of them. Some
schedules also set the momentum, and some come in cycles, at whose ends a model is worth keeping.

================  ==========================================================================
name              factor after ``e`` of ``n`` epochs
================  ==========================================================================
constant          ``1``
linear            ``1 - e/n``
step              ``factor ^ floor(e / every)``
exponential       ``lowest ^ (e/n)``
inverse-time      ``1 / (1 + e / half_life)``
warm-up           ``start + (1 - start) e / length`` while ``e < length``, then another schedule
cosine            ``lowest + (1 - lowest) (1 + cos(π e/n)) / 2``
warm-restarts     ``lowest + (1 - lowest) (1 + cos(π T_cur / T_i)) / 2``, cycle after cycle
one-cycle         half a cosine from ``start`` up to 1, half a cosine down to ``lowest``
================  ==========================================================================

Writing a schedule takes a subclass with settings and ``lr``:

>>> @dataclass(frozen=True, kw_only=True)
... class Polynomial(Schedule):
...     power: float = setting(2.0, above=0)
...
...     def lr(self, epochs, n_epochs):
...         return (1 - epochs / n_epochs) ** self.power
>>> Polynomial().lr(np.array([0.0, 1.0, 2.0, 3.0]), 4).tolist()
[1.0, 0.5625, 0.25, 0.0625]
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.settings import Settings, named, setting

Steps: TypeAlias = NDArray[np.float64]
"""One number for each step, shape (n_steps,)."""


@dataclass(frozen=True, kw_only=True)
class Schedule(Settings, ABC):
    """Base of all schedules."""

    @abstractmethod
    def lr(self, epochs: Steps, n_epochs: float) -> Steps:
        """Multiple of the rule's ``lr`` at each moment.

        Args:
            epochs: (n_steps,) epochs done so far, from 0 (inclusive) to ``n_epochs`` (exclusive),
                in any order.
            n_epochs: length of the whole run in epochs, above 0; need not be whole.

        Returns:
            (n_steps,) multiples of the rule's rate; those of this module lie in [0, 1].
        """

    def momentum(self, epochs: Steps, n_epochs: float) -> Steps | None:  # noqa: ARG002
        """Momentum at each moment, or None where the rule keeps its own; arguments as for ``lr``."""
        return None

    def cycle_ends(self, n_epochs: float) -> Steps:  # noqa: ARG002
        """Epochs at which a cycle ends, rising, in (0, ``n_epochs``]; none without cycles."""
        return np.empty(0)

    def open_cycle(self, epochs: float, n_epochs: float) -> float | None:  # noqa: ARG002
        """Where the cycle would end in the middle of which a run stops, in epochs; None in no cycle's.

        Args:
            epochs: after how many epochs it stops.
            n_epochs: how long it was to be.
        """
        return None


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The same rate throughout."""

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:  # noqa: ARG002
        """``1``."""
        return np.ones(epochs.shape)


@dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """From the full rate straight down to zero.

    >>> Linear().lr(np.array([0.0, 10.0, 20.0]), 40).tolist()
    [1.0, 0.75, 0.5]
    """

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:
        """``1 - e/n``."""
        return 1 - epochs / n_epochs


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """The same rate for a while, then a share of it, and so on.

    Args:
        every: epochs (or a fraction of one) between two changes.
        factor: what the rate is multiplied by at each change.

    >>> Step(every=10, factor=0.5).lr(np.array([0.0, 9.9, 10.0, 25.0]), 40).tolist()
    [1.0, 1.0, 0.5, 0.25]
    """

    every: float = setting(10.0, above=0)
    factor: float = setting(0.5, above=0, at_most=1)

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:  # noqa: ARG002
        """``factor ^ floor(e / every)``."""
        return np.power(self.factor, np.floor(_snapped(epochs / self.every)))


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Down by the same share in every epoch, to ``lowest`` at the end of the run.

    Args:
        lowest: factor at the end of the run.
    """

    lowest: float = setting(0.01, above=0, at_most=1)

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:
        """``lowest ^ (e/n)``."""
        return np.power(self.lowest, epochs / n_epochs)


@dataclass(frozen=True, kw_only=True)
class InverseTime(Schedule):
    """Down as one over time, whatever the length of the run.

    The rates of an endless run sum to infinity and their squares to a finite number, under which
    stochastic descent converges (Robbins & Monro 1951); the form is that of Bottou 2012,
    "Stochastic Gradient Descent Tricks".

    Args:
        half_life: epochs until the rate is half of what it was at the start.
    """

    half_life: float = setting(5.0, above=0)

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:  # noqa: ARG002
        """``1 / (1 + e / half_life)``."""
        return self.half_life / (self.half_life + epochs)


@dataclass(frozen=True, kw_only=True)
class WarmUp(Schedule):
    """A gentle start, then another schedule over what remains of the run.

    During the warm-up the momentum is the one with which ``then`` begins. A warm-up longer than the
    run fills it: ``then`` has no turn. ``OneCycle`` warms up by itself and needs none.

    Args:
        length: epochs (or a fraction of one) until the full rate.
        start: factor at the first step.
        then: the schedule that follows, or its name; it sees a run of ``n_epochs - length`` epochs.

    Raises:
        SettingError: also when ``then`` is neither a schedule nor the name of one.

    >>> WarmUp(length=2, start=0.5).lr(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), 6).tolist()
    [0.5, 0.75, 1.0, 0.75, 0.5, 0.25]
    """

    length: float = setting(1.0, above=0)
    start: float = setting(0.1, at_least=0, at_most=1)
    then: Schedule | str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        as_schedule(self.then, "then")

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:
        """``start + (1 - start) e / length``, then the factor of ``then``."""
        ramp = self.start + (1 - self.start) * (np.minimum(epochs, self.length) / self.length)
        then = as_schedule(self.then).lr(*self._rest(epochs, n_epochs))
        return np.where(epochs < self.length, ramp, then)

    def momentum(self, epochs: Steps, n_epochs: float) -> Steps | None:
        """The momentum of ``then``."""
        return as_schedule(self.then).momentum(*self._rest(epochs, n_epochs))

    def cycle_ends(self, n_epochs: float) -> Steps:
        """The ends of the cycles of ``then``, in epochs of the whole run."""
        if n_epochs <= self.length:
            return np.empty(0)
        ends = self.length + as_schedule(self.then).cycle_ends(n_epochs - self.length)
        return np.minimum(ends, n_epochs)  # rounding may carry the last one past the end

    def open_cycle(self, epochs: float, n_epochs: float) -> float | None:
        """That of ``then``; the warm-up is no cycle."""
        if epochs <= self.length:
            return None
        then = as_schedule(self.then)
        end = then.open_cycle(epochs - self.length, n_epochs - self.length)
        return None if end is None else self.length + end

    def _rest(self, epochs: Steps, n_epochs: float) -> tuple[Steps, float]:
        """Progress as ``then`` sees it: at its start during the warm-up."""
        # A run that only warms up leaves no epochs, but `then` still needs a length to be asked with.
        rest = n_epochs - self.length if n_epochs > self.length else n_epochs
        return np.maximum(epochs - self.length, 0), rest


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Down along half a cosine: slow at first and at last, fast between (one cycle of SGDR).

    Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5 with ``T_i = n``.

    Args:
        lowest: factor at the end of the run.
    """

    lowest: float = setting(0.0, at_least=0, at_most=1)

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:
        """``lowest + (1 - lowest) (1 + cos(π e/n)) / 2``."""
        return self.lowest + (1 - self.lowest) * _half_cosine(epochs / n_epochs)


@dataclass(frozen=True, kw_only=True)
class WarmRestarts(Schedule):
    """Half a cosine down, again and again: stochastic gradient descent with warm restarts (SGDR).

    Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5. As there, ``T_cur`` moves with every
    step, not just once an epoch. At the very border of two cycles the new one has begun. The
    parameters are at their best where a cycle ends: with the default settings that is after 1, 3, 7,
    15, 31 and 63 epochs.

    Args:
        first_cycle: length ``T_0`` of the first cycle in epochs (or a fraction of one).
        cycle_mult: how many times as long as the last one the next cycle is, ``T_mult``.
        lowest: factor at the end of a cycle.

    >>> schedule = WarmRestarts(first_cycle=1, cycle_mult=2)
    >>> schedule.lr(np.array([0.0, 0.5, 1.0, 2.0, 3.0, 5.0]), 7).round(3).tolist()
    [1.0, 0.5, 1.0, 0.5, 1.0, 0.5]
    >>> schedule.cycle_ends(7).tolist()
    [1.0, 3.0, 7.0]
    """

    first_cycle: float = setting(1.0, above=0)
    cycle_mult: float = setting(2.0, at_least=1)
    lowest: float = setting(0.0, at_least=0, at_most=1)

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:  # noqa: ARG002
        """``lowest + (1 - lowest) (1 + cos(π T_cur / T_i)) / 2``."""
        position = self._position(epochs)
        done = position - np.floor(position)
        growth = self.cycle_mult - 1
        if growth:
            done = np.expm1(done * np.log1p(growth)) / growth  # T_cur / T_i
        return self.lowest + (1 - self.lowest) * _half_cosine(done)

    def cycle_ends(self, n_epochs: float) -> Steps:
        """``T_0 (1 + T_mult + T_mult² + …)``, up to ``n_epochs``."""
        n_cycles = int(self._position(np.array(n_epochs)))
        check_memory(3 * n_cycles, f"{n_epochs:,} epochs of {self}", size=8)
        ends = self.first_cycle * np.cumsum(self.cycle_mult ** np.arange(float(n_cycles)))
        return np.minimum(ends, n_epochs)  # rounding may carry the last one past the end

    def open_cycle(self, epochs: float, n_epochs: float) -> float | None:  # noqa: ARG002
        """The next end after a moment that is none.

        >>> WarmRestarts().open_cycle(20, 40), WarmRestarts().open_cycle(31, 40)
        (31.0, None)
        """
        done = float(self._position(np.array(epochs)))
        if done == math.floor(done):
            return None
        n_cycles = math.ceil(done)
        if self.cycle_mult == 1:
            return self.first_cycle * n_cycles
        return self.first_cycle * (self.cycle_mult**n_cycles - 1) / (self.cycle_mult - 1)

    def _position(self, epochs: Steps) -> Steps:
        """Number of the running cycle, from 0, plus a fraction that grows from 0 to 1 within it.

        Cycle ``i`` begins after ``T_0 (T_mult^i - 1) / (T_mult - 1)`` epochs. Solved for ``i``, this
        is the position at any moment, whole numbers at the borders.
        """
        position = epochs / self.first_cycle
        growth = self.cycle_mult - 1
        if growth:
            position = np.log1p(growth * position) / np.log1p(growth)
        return _snapped(position)


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """One long cycle: the rate up and far down again, the momentum down and up.

    Smith 2018, arXiv 1803.09820, with half cosines in place of straight lines. A rule without
    momentum takes the rates alone.

    PyTorch's ``OneCycleLR`` (two phases, cosine) is this schedule with its peak one step early and
    its last step on the very end. Its step ``i`` of ``total_steps = T`` is here the moment
    ``e/n = i / (T - 1)``, its ``pct_start = s`` is ``warm_up = (s T - 1) / (T - 1)``, its
    ``div_factor`` is ``1 / start`` and its ``final_div_factor`` is ``start / lowest``. PyTorch ends at
    a hundredth of our default ``lowest``.

    Args:
        warm_up: share of the run until the peak.
        start: factor at the first step.
        lowest: factor at the end, as a share of ``lr``, not of ``start``.
        low_momentum: momentum at the peak of the rate.
        high_momentum: momentum at both ends of the run.

    Raises:
        SettingError: also when ``low_momentum`` is above ``high_momentum``.

    >>> epochs = np.array([0.0, 6.0, 12.0, 26.0])
    >>> OneCycle().lr(epochs, 40).round(4).tolist()
    [0.04, 0.52, 1.0, 0.5002]
    >>> OneCycle().momentum(epochs, 40).round(4).tolist()
    [0.95, 0.9, 0.85, 0.9]
    """

    warm_up: float = setting(0.3, above=0, below=1)
    start: float = setting(0.04, at_least=0, at_most=1)
    lowest: float = setting(0.0004, at_least=0, at_most=1)
    low_momentum: float = setting(0.85, at_least=0, below=1)
    high_momentum: float = setting(0.95, at_least=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low_momentum > self.high_momentum:
            wanted = f"at most high_momentum={self.high_momentum!r}"
            self._refuse("low_momentum", self.low_momentum, wanted)

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:
        """From ``start`` up to 1 and down to ``lowest``."""
        end = np.where(epochs / n_epochs < self.warm_up, self.start, self.lowest)
        return end + (1 - end) * self._height(epochs / n_epochs)

    def momentum(self, epochs: Steps, n_epochs: float) -> Steps:
        """From ``high_momentum`` down to ``low_momentum`` and up again."""
        height = self._height(epochs / n_epochs)
        return self.high_momentum - (self.high_momentum - self.low_momentum) * height

    def open_cycle(self, epochs: float, n_epochs: float) -> float | None:
        """The end of the run."""
        return n_epochs if epochs < n_epochs else None

    def _height(self, progress: Steps) -> Steps:
        """0 at both ends of the run, 1 at the peak, half cosines between."""
        up, down = progress / self.warm_up, (1 - progress) / (1 - self.warm_up)
        return _half_cosine(1 - np.minimum(up, down))


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "linear": Linear,
    "step": Step,
    "exponential": Exponential,
    "inverse-time": InverseTime,
    "warm-up": WarmUp,
    "cosine": Cosine,
    "warm-restarts": WarmRestarts,
    "one-cycle": OneCycle,
}
"""Every schedule by the name it has on the command line, in the documentation and in the tests."""


def as_schedule(value: Schedule | str, where: str = "schedule") -> Schedule:
    """The schedule itself, or the one of that name with its default settings.

    Args:
        value: what was given.
        where: as what, for the message.

    Raises:
        SettingError: for anything else, with the list of names.

    >>> as_schedule("Cosine")
    Cosine(lowest=0.0)
    """
    if isinstance(value, str):
        return named(f"{where}={value!r}", value, SCHEDULES)()
    if not isinstance(value, Schedule):
        raise SettingError(
            f"{where}={value!r}: it must be a Schedule or one of {', '.join(SCHEDULES)}"
        )
    return value


def _half_cosine(share: Steps) -> Steps:
    """From 1 down to 0 while ``share`` goes from 0 to 1."""
    return (1 + np.cos(np.pi * share)) / 2


def _snapped(position: Steps) -> Steps:
    """Positions, with those that miss a whole number by rounding alone set on it.

    0.3 / 0.1 is a little below 3, but the step at that border belongs to the new cycle. The
    tolerance is thousands of roundings wide, and far narrower than a step.
    """
    whole = np.round(position)
    return np.where(np.abs(position - whole) <= 1e-12 * whole, whole, position)
