"""Update rules: how one parameter moves along its gradient.

A rule is a dataclass of its settings with one pure function of scalars, ``update``, which the
kernel compiles into its inner loop:

``update(g, state, lr, hyper) -> (step, state)``

- ``g``: the gradient of the loss with respect to one parameter, weight decay included;
- ``state``: a tuple of ``n_slots`` numbers that the rule keeps for each parameter, zero at first;
- ``lr``: the learning rate of the parameter's group at this moment;
- ``hyper``: the rule's settings other than ``lr``, in the order in which they are declared;
- ``step``: what is taken from the parameter, ``w ← w - step``.

All numbers are float32. Writing a rule takes just that: a subclass with settings and ``update``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from dotbias.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class Rule(Settings, ABC):
    """Base of all rules.

    Args:
        lr: learning rate, before the schedule.
    """

    lr: float = setting(0.022, above=0)

    n_slots: ClassVar[int] = 0
    """How many numbers of state the rule keeps for each parameter: 0, 1, 2 or 3."""

    @property
    def hyper(self) -> tuple[np.float32, ...]:
        """The settings other than ``lr``, as ``update`` gets them."""
        return tuple(np.float32(getattr(self, f.name)) for f in fields(self) if f.name != "lr")

    @staticmethod
    @abstractmethod
    def update(g: Any, state: Any, lr: Any, hyper: Any) -> Any:
        """Step and new state of one parameter; compiled, so written in plain arithmetic."""


@dataclass(frozen=True, kw_only=True)
class SGD(Rule):
    """Stochastic gradient descent: ``w ← w - η g`` (Robbins & Monro 1951; Ruder 2016, eq. 2)."""

    @staticmethod
    def update(g: Any, state: Any, lr: Any, hyper: Any) -> Any:  # noqa: ARG004
        """``step = η g``."""
        return lr * g, state


@dataclass(frozen=True, kw_only=True)
class Momentum(Rule):
    """Momentum: ``v ← γ v + g``, ``w ← w - η v`` (Polyak 1964; Ruder 2016, eq. 4).

    The learning rate stands outside the velocity, as in PyTorch; Ruder writes it inside. The two
    agree while the rate is constant. Near a minimum a step is ``1 / (1 - γ)`` times as long as that
    of plain SGD with the same rate.

    Args:
        momentum: share ``γ`` of the velocity that is kept.
    """

    lr: float = setting(0.002, above=0)
    momentum: float = setting(0.9, at_least=0, below=1)

    n_slots: ClassVar[int] = 1

    @staticmethod
    def update(g: Any, state: Any, lr: Any, hyper: Any) -> Any:
        """``step = η v`` with ``v = γ v + g``."""
        v = hyper[0] * state[0] + g
        return lr * v, (v,)


RULES: dict[str, type[Rule]] = {"sgd": SGD, "momentum": Momentum}
"""Every rule by the name it has on the command line, in the documentation and in the tests."""
