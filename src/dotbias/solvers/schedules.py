"""Schedules: the learning rate as a pure function of progress.

A schedule takes the share of training that is done, from 0 (inclusive) to 1, and returns the factor
by which the rule's ``lr`` is multiplied.
"""

from collections.abc import Callable
from typing import TypeAlias

Schedule: TypeAlias = Callable[[float], float]


def constant(progress: float) -> float:  # noqa: ARG001
    """The same rate throughout."""
    return 1.0


def linear(progress: float) -> float:
    """From the full rate straight down to zero.

    >>> [linear(p) for p in (0, 0.25, 0.5, 1)]
    [1, 0.75, 0.5, 0]
    """
    return 1 - progress


SCHEDULES: dict[str, Schedule] = {"linear": linear, "constant": constant}
"""Every schedule by name."""
