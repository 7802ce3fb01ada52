"""Update rules: how one parameter moves along its gradient.

A rule is a dataclass of its settings with one pure function of scalars, ``update``, which is compiled
into the inner loops:

``update(g, state, lr, c) -> (step, state)``

- ``g``: the gradient of the loss with respect to one parameter, coupled weight decay included;
- ``state``: a tuple of ``n_slots`` numbers that the rule keeps for each parameter, zero at first;
- ``lr``: the learning rate of the parameter's group at this step;
- ``c``: the coefficients of this step, a tuple: the rule's settings other than ``lr`` in the order in
  which they are declared, unless the rule computes others (``coefficients``);
- ``step``: what is taken from the parameter, ``w ← w - step``.

All of them are float32; a literal like ``1`` would turn the arithmetic to double precision and halve its
speed, which is why some rules get ``1 - β`` as a coefficient.

Networks are moved by the same function. On a graphics processor it gets whole tensors in the place of
numbers, and PyTorch in the place of ``math`` and ``np``; so it has no ``if``, but ``np.where`` and
``np.sign``.

Writing a rule takes just that: a subclass with settings and ``update``. One that is named in ``RULES``
is also in ``db``, the command line, the documentation, the race and the tests.

Some rules look at more than one number. A ``RowRule`` gives each row a rate of its own before its
numbers move. A ``GroupRule`` has a number for each group, which is brought up to date between steps.

Letters as in Ruder (2016), "An overview of gradient descent optimization algorithms",
arXiv 1609.04747: ``η`` learning rate, ``g`` gradient, ``γ``, ``β`` shares that are kept, ``t`` the step,
from 1. Where implementations differ, each rule says which it follows.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dotbias.errors import SettingError
from dotbias.settings import Settings, named, setting

Steps: TypeAlias = NDArray[np.float64]
"""One number for each step, shape (n_steps,)."""

Rates: TypeAlias = float | Mapping[str, float] | slice


@dataclass(frozen=True, kw_only=True)
class Rule(Settings, ABC):
    """Base of all rules.

    Args:
        lr: learning rate before the schedule: a number for all groups, a mapping from group name to
            its rate (groups not named keep the default), or ``slice(low, high)``, which spreads the
            rates geometrically over the groups in their order. By default, the rate that suits the
            rule, the batch and the ratings (``default_rates.default_rate``).
    """

    lr: Rates | None = setting(None, above=0)

    usual_rate: ClassVar[float] = 0.02
    """The default rate where ratings are taken one at a time; see ``default_rates``."""

    adaptive: ClassVar[bool] = False
    """Whether a step is as long if all gradients are multiplied by a number; decides how the default
    rate grows with the batch."""

    n_slots: ClassVar[int] = 0
    """How many numbers of state the rule keeps for each parameter, from 0 to 5."""

    per_row: ClassVar[bool] = False
    """Whether it keeps them for each row instead."""

    takes_decay: ClassVar[bool] = False
    """Whether ``update`` takes decoupled weight decay into its step by itself. It is then
    ``update(g, pull, state, lr, c)``, with ``pull = λ w``, or 0 where the decay is coupled."""

    schedule: ClassVar[str] = "linear"
    """The schedule of a solver that names none."""

    momentum_name: ClassVar[str | None] = None
    """The setting that a schedule with momentum (one-cycle) moves; None: there is none."""

    decoupled: ClassVar[bool] = False
    """Whether weight decay acts beside the gradient unless the solver is told otherwise."""

    haste: ClassVar[float] = 6.0
    """How many times the rate of a run of 40 epochs is best for a quarter of one; measured, and known
    to a factor of two or three (``lr_find``)."""

    def _check(self, name: str, value: Any, legal: Any) -> None:
        """Each of several rates must be as legal as a single one."""
        several = isinstance(value, (Mapping, slice)) and name == "lr"
        if not several:
            super()._check(name, value, legal)
            return
        legal = {**legal, "optional": False}
        if isinstance(value, slice):
            super()._check("lr.start", value.start, legal)
            super()._check("lr.stop", value.stop, legal)
            if value.step is not None:
                self._refuse(name, value, "slice(low, high), without a step")
        else:
            for group, rate in value.items():
                super()._check(f"lr[{group!r}]", rate, legal)

    def rates(self, groups: tuple[str, ...]) -> dict[str, float]:
        """Learning rate of each group.

        Raises:
            SettingError: for a group that does not exist.

        >>> SGD(lr=slice(0.001, 0.1)).rates(("first", "second", "third"))
        {'first': 0.001, 'second': 0.01, 'third': 0.1}
        """
        if isinstance(self.lr, slice):
            spread = np.geomspace(self.lr.start, self.lr.stop, len(groups))
            return dict(zip(groups, spread.tolist(), strict=True))
        if isinstance(self.lr, Mapping):
            for name in self.lr:
                if name not in groups:
                    known = ", ".join(groups)
                    raise SettingError(f"lr names no group {name!r}: the groups are {known}")
            return dict.fromkeys(groups, type(self)().top_rate) | dict(self.lr)
        return dict.fromkeys(groups, self.top_rate)

    def settled(self, groups: tuple[str, ...], usual: float) -> Self:
        """The same rule with this rate where it has none of its own."""
        if self.lr is None:
            return replace(self, lr=usual)
        if isinstance(self.lr, Mapping):
            others = type(self)().settled(groups, usual).rates(groups)
            return replace(self, lr=others | dict(self.lr))
        return self

    @property
    def top_rate(self) -> float:
        """The highest rate of any group that is named; of a default rate, that of single ratings."""
        if self.lr is None:
            return self.usual_rate
        if isinstance(self.lr, slice):
            return float(max(self.lr.start, self.lr.stop))
        return float(max(self.lr.values()) if isinstance(self.lr, Mapping) else self.lr)

    def with_rate(self, lr: float) -> Self:
        """The same rule with all rates multiplied so that ``top_rate`` is ``lr``."""
        factor = lr / self.top_rate
        if isinstance(self.lr, slice):
            return replace(self, lr=slice(self.lr.start * factor, self.lr.stop * factor))
        if isinstance(self.lr, Mapping):
            return replace(self, lr={name: rate * factor for name, rate in self.lr.items()})
        return replace(self, lr=lr)

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:  # noqa: ARG002
        """What ``update`` gets as ``c`` at each step.

        Args:
            t: numbers of the steps, from 1.
            momentum: what a schedule puts in the place of the setting ``momentum_name``, if anything.
        """
        return tuple(self._settings(momentum).values())

    def coefficient_table(self, t: Steps, momentum: Steps | None = None) -> Steps:
        """The coefficients of all steps, shape (n_steps, n_coefficients)."""
        columns = [np.broadcast_to(column, len(t)) for column in self.coefficients(t, momentum)]
        return np.column_stack(columns or [np.zeros((len(t), 0))]).astype(np.float64)

    def _settings(self, momentum: Steps | None) -> dict[str, Any]:
        """The settings other than ``lr``, in their order."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "lr"}
        if momentum is not None and self.momentum_name is not None:
            values[self.momentum_name] = momentum
        return values

    def evaluated(self, values: Any, state: Any) -> Any:  # noqa: ARG002
        """The parameters to predict with, where they are others than those that gradients are taken at.

        Args:
            values: the parameters, an array or a tensor of any shape.
            state: what the rule keeps of them, (n_slots, *shape).
        """
        return values

    @staticmethod
    @abstractmethod
    def update(*numbers: Any, **named: Any) -> Any:
        """Step and new state of one parameter; compiled, so written in plain arithmetic."""


@dataclass(frozen=True, kw_only=True)
class RowRule(Rule):
    """A rule that looks at a row as a whole: two sums over its numbers make the row's own rate.

    ``update`` then gets that rate. In networks what is no table of embeddings is one row: a layer.
    """

    @staticmethod
    @abstractmethod
    def look(g: Any, w: Any, pull: Any, state: Any, c: Any) -> Any:
        """Two terms of each number, to be summed over the row; compiled like ``update``.

        Args:
            g, state, c: as for ``update``, before the step.
            w: the parameter.
            pull: its decoupled weight decay ``λ w``, 0 where it is coupled.
        """

    @staticmethod
    @abstractmethod
    def rate(sums: Any, n: Any, state: Any, lr: Any, c: Any) -> Any:
        """The row's rate, and new state of the row where it is kept by row.

        Args:
            sums: of the two terms.
            n: numbers in the row.
            state: the row's, with ``per_row``, else ``()``.
            lr: the group's rate.
            c: as for ``update``.
        """


@dataclass(frozen=True, kw_only=True)
class GroupRule(Rule):
    """A rule that looks at a group as a whole: between steps its state makes a number of the group.

    ``update`` gets that number as the last of ``c``. The state is summed up after each step of a batch,
    and where ratings are taken one at a time, after each of at least 64 parts of an epoch: so threads
    share nothing, and the bits do not depend on them.
    """

    usual_rate: ClassVar[float] = 1.0
    adaptive: ClassVar[bool] = True
    takes_decay: ClassVar[bool] = True

    @abstractmethod
    def begin(self, values: NDArray[Any]) -> tuple[float, ...]:
        """What the rule knows of a group at first; the first is the number that ``update`` gets.

        Args:
            values: the group's starting parameters.
        """

    @abstractmethod
    def summed_up(self, known: tuple[float, ...], state: NDArray[Any]) -> tuple[float, ...]:
        """What it knows after a step.

        Args:
            known: what it knew before.
            state: what is kept of the group's parameters, (n_slots, n_rows, k).
        """


@dataclass(frozen=True, kw_only=True)
class SGD(Rule):
    """Gradient descent: ``w ← w - η g`` (Robbins & Monro 1951; Ruder eq. 1-3).

    Stochastic, mini-batch or full-batch by the solver's ``batch_size``. As ``torch.optim.SGD``.
    """

    usual_rate: ClassVar[float] = 0.022
    haste: ClassVar[float] = 5.0

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:  # noqa: ARG004
        """``step = η g``."""
        return lr * g, state


@dataclass(frozen=True, kw_only=True)
class Momentum(Rule):
    """Momentum: ``v ← γ v + g``, ``w ← w - η v`` (Polyak 1964; Ruder eq. 4).

    The learning rate stands outside the velocity, as in ``torch.optim.SGD(momentum=0.9)``; Ruder writes
    it inside. The two agree while the rate is constant. Near a minimum a step is ``1 / (1 - γ)`` times
    as long as that of plain SGD with the same rate.

    Args:
        momentum: share ``γ`` of the velocity that is kept.
    """

    usual_rate: ClassVar[float] = 0.002
    haste: ClassVar[float] = 7.0
    momentum: float = setting(0.9, at_least=0, below=1)

    n_slots: ClassVar[int] = 1
    momentum_name: ClassVar[str | None] = "momentum"

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = η v`` with ``v = γ v + g``."""
        v = c[0] * state[0] + g
        return lr * v, (v,)


@dataclass(frozen=True, kw_only=True)
class Nesterov(Momentum):
    """Nesterov's accelerated gradient: ``v ← γ v + g``, ``w ← w - η (g + γ v)`` (Ruder eq. 5).

    The form in which the stored parameters are those looked ahead at, so that the gradient is taken
    where they stand (Sutskever et al. 2013; Bengio et al. 2013), as in
    ``torch.optim.SGD(momentum=0.9, nesterov=True)``.
    """

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = η (g + γ v)`` with ``v = γ v + g``."""
        v = c[0] * state[0] + g
        return lr * (g + c[0] * v), (v,)


@dataclass(frozen=True, kw_only=True)
class Adagrad(Rule):
    """Adagrad: ``G ← G + g²``, ``w ← w - η g / (√G + ε)`` (Duchi et al. 2011; Ruder eq. 8-10).

    The rate of a parameter falls with all that it has moved before: large steps for what is seldom
    rated. ``ε`` stands outside the root, as in ``torch.optim.Adagrad``; Ruder writes it inside.

    Args:
        eps: ``ε``, keeps the first step finite.
    """

    usual_rate: ClassVar[float] = 0.012
    haste: ClassVar[float] = 3.0
    adaptive: ClassVar[bool] = True
    eps: float = setting(1e-10, above=0)

    n_slots: ClassVar[int] = 1

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = η g / (√G + ε)`` with ``G = G + g²``."""
        total = state[0] + g * g
        return lr * g / (math.sqrt(total) + c[0]), (total,)


@dataclass(frozen=True, kw_only=True)
class Adadelta(Rule):
    """Adadelta: Adagrad with a decaying average, and steps in the units of the parameter.

    ``E ← ρ E + (1 - ρ) g²``, ``Δ = √(D + ε) / √(E + ε) · g``, ``D ← ρ D + (1 - ρ) Δ²``,
    ``w ← w - η Δ`` (Zeiler 2012; Ruder eq. 11-16). The paper has no learning rate: that is ``η = 1``,
    as in ``torch.optim.Adadelta``.

    Args:
        rho: share ``ρ`` of both averages that is kept.
        eps: ``ε``; sets the length of the first steps too.
    """

    usual_rate: ClassVar[float] = 1.0
    adaptive: ClassVar[bool] = True
    rho: float = setting(0.9, at_least=0, below=1)
    eps: float = setting(1e-6, above=0)

    n_slots: ClassVar[int] = 2

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:  # noqa: ARG002
        """``ρ``, ``1 - ρ`` and ``ε``."""
        return self.rho, 1 - self.rho, self.eps

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = η Δ``."""
        rho, rest, eps = c
        squares = rho * state[0] + rest * g * g
        delta = math.sqrt((state[1] + eps) / (squares + eps)) * g
        return lr * delta, (squares, rho * state[1] + rest * delta * delta)


@dataclass(frozen=True, kw_only=True)
class RMSprop(Rule):
    """RMSprop: ``E ← ρ E + (1 - ρ) g²``, ``w ← w - η g / (√E + ε)`` (Hinton 2012; Ruder eq. 17-18).

    ``ε`` stands outside the root, as in ``torch.optim.RMSprop(alpha=0.9)``; ``ρ = 0.9`` is Hinton's and
    Ruder's (PyTorch: 0.99).

    Args:
        rho: share ``ρ`` of the average that is kept.
        eps: ``ε``.
    """

    usual_rate: ClassVar[float] = 0.0013
    haste: ClassVar[float] = 10.0
    adaptive: ClassVar[bool] = True
    rho: float = setting(0.9, at_least=0, below=1)
    eps: float = setting(1e-8, above=0)

    n_slots: ClassVar[int] = 1

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:  # noqa: ARG002
        """``ρ``, ``1 - ρ`` and ``ε``."""
        return self.rho, 1 - self.rho, self.eps

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = η g / (√E + ε)``."""
        rho, rest, eps = c
        squares = rho * state[0] + rest * g * g
        return lr * g / (math.sqrt(squares) + eps), (squares,)


@dataclass(frozen=True, kw_only=True)
class Adam(Rule):
    """Adam: averages of the gradient and of its square, both corrected for starting at zero.

    ``m ← β₁ m + (1 - β₁) g``, ``v ← β₂ v + (1 - β₂) g²``,
    ``w ← w - η m̂ / (√v̂ + ε)``, ``m̂ = m / (1 - β₁ᵗ)``, ``v̂ = v / (1 - β₂ᵗ)``
    (Kingma & Ba 2015; Ruder eq. 19-21), as ``torch.optim.Adam``.

    ``t`` counts all steps, not those of a row: in the lazy form it equals ``torch.optim.SparseAdam``,
    which however adds ``ε`` before it corrects ``v``.

    Args:
        beta1: share ``β₁`` of the average gradient that is kept.
        beta2: share ``β₂`` of the average square that is kept.
        eps: ``ε``.
    """

    usual_rate: ClassVar[float] = 0.0005
    haste: ClassVar[float] = 8.0
    adaptive: ClassVar[bool] = True
    beta1: float = setting(0.9, at_least=0, below=1)
    beta2: float = setting(0.999, at_least=0, below=1)
    eps: float = setting(1e-8, above=0)

    n_slots: ClassVar[int] = 2
    momentum_name: ClassVar[str | None] = "beta1"

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:
        """``β₁, 1 - β₁, β₂, 1 - β₂, ε`` and the corrections ``1 / (1 - β₁ᵗ)`` and ``1 / (1 - β₂ᵗ)``.

        They are factors: a division of each element would cost more than the rest of the step.
        """
        beta1, beta2, eps = self._settings(momentum).values()
        return beta1, 1 - beta1, beta2, 1 - beta2, eps, 1 / (1 - beta1**t), 1 / (1 - beta2**t)

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = η m̂ / (√v̂ + ε)``."""
        beta1, rest1, beta2, rest2, eps, correct1, correct2 = c
        m = beta1 * state[0] + rest1 * g
        v = beta2 * state[1] + rest2 * g * g
        return lr * correct1 * m / (math.sqrt(correct2 * v) + eps), (m, v)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam whose weight decay acts beside the gradient, ``w ← w - η λ w`` (Loshchilov & Hutter 2019).

    The same update as ``Adam``; only the solver's weight decay is decoupled by default, as in
    ``torch.optim.AdamW``: it is then not divided by ``√v̂``.
    """

    usual_rate: ClassVar[float] = 0.00025
    decoupled: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class AdaMax(Adam):
    """AdaMax: Adam with the largest recent gradient in the place of the average square.

    ``u ← max(β₂ u, |g| + ε)``, ``w ← w - η m̂ / u`` (Kingma & Ba 2015, section 7.1; Ruder eq. 22-24).
    ``ε`` keeps ``u`` above zero, as in ``torch.optim.Adamax``; the paper has none.
    """

    usual_rate: ClassVar[float] = 0.003
    haste: ClassVar[float] = 25.0
    adaptive: ClassVar[bool] = True

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = η m̂ / u``."""
        beta1, rest1, beta2, _, eps, correct1, _ = c
        m = beta1 * state[0] + rest1 * g
        u = max(beta2 * state[1], abs(g) + eps)
        return lr * correct1 * m / u, (m, u)


@dataclass(frozen=True, kw_only=True)
class Nadam(Adam):
    """Nadam: Adam with Nesterov's look-ahead, and a momentum that warms up (Dozat 2016).

    The variant with a momentum schedule, as in Dozat's paper and ``torch.optim.NAdam``:
    ``μ_t = β₁ (1 - ½ 0.96^(t ψ))`` and
    ``w ← w - η (μ_{t+1} m / (1 - Π_{i≤t+1} μ_i) + (1 - μ_t) g / (1 - Π_{i≤t} μ_i)) / (√v̂ + ε)``.
    The other known variant (Ruder eq. 33-40; optax) keeps ``μ = β₁`` throughout: ``psi`` far above 0
    comes to that. Having a momentum schedule of its own, it ignores that of one-cycle.

    Args:
        psi: ``ψ``, how fast the momentum warms up.
    """

    psi: float = setting(0.004, at_least=0)

    momentum_name: ClassVar[str | None] = None

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:  # noqa: ARG002
        """``β₁, 1 - β₁, β₂, 1 - β₂, ε, 1 / (1 - β₂ᵗ)`` and the factors of ``g`` and of ``m``."""
        share_g = (1 - self._momentum(t)) / (1 - self._product(t))
        share_m = self._momentum(t + 1) / (1 - self._product(t + 1))
        beta1, beta2 = self.beta1, self.beta2
        return beta1, 1 - beta1, beta2, 1 - beta2, self.eps, 1 / (1 - beta2**t), share_g, share_m

    def _momentum(self, t: Steps) -> Steps:
        return self.beta1 * (1 - 0.5 * 0.96 ** (t * self.psi))

    def _product(self, t: Steps) -> Steps:
        """``Π_{i≤t} μ_i``, which is at most ``β₁ᵗ`` and so soon vanishes beside 1."""
        if self.beta1 == 0:
            return np.zeros_like(t)
        last = math.ceil(40 / -math.log(self.beta1))
        products = np.append(np.cumprod(self._momentum(np.arange(1.0, last + 1))), 0.0)
        return products[np.minimum(t, last + 1).astype(np.int64) - 1]

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """The look-ahead mixes the new average with the gradient itself."""
        beta1, rest1, beta2, rest2, eps, correct2, share_g, share_m = c
        m = beta1 * state[0] + rest1 * g
        v = beta2 * state[1] + rest2 * g * g
        return lr * (share_m * m + share_g * g) / (math.sqrt(correct2 * v) + eps), (m, v)


@dataclass(frozen=True, kw_only=True)
class AMSGrad(Adam):
    """AMSGrad: Adam whose ``v`` never falls, so that the rates never rise (Reddi et al. 2018).

    ``v̂_max ← max(v̂_max, v)``, ``w ← w - η m̂ / (√(v̂_max / (1 - β₂ᵗ)) + ε)``. Corrected for starting
    at zero like Adam, as in ``torch.optim.Adam(amsgrad=True)``; the paper and Ruder (section 4.9) leave
    the correction out.
    """

    n_slots: ClassVar[int] = 3

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = η m̂ / (√v̂_max + ε)``."""
        beta1, rest1, beta2, rest2, eps, correct1, correct2 = c
        m = beta1 * state[0] + rest1 * g
        v = beta2 * state[1] + rest2 * g * g
        v_max = max(state[2], v)
        return lr * correct1 * m / (math.sqrt(correct2 * v_max) + eps), (m, v, v_max)


@dataclass(frozen=True, kw_only=True)
class RAdam(Adam):
    """RAdam: Adam that trusts ``v̂`` only as far as it has seen gradients (Liu et al. 2020, algorithm 2).

    ``ρ_∞ = 2 / (1 - β₂) - 1``, ``ρ_t = ρ_∞ - 2 t β₂ᵗ / (1 - β₂ᵗ)``,
    ``r_t = √((ρ_t - 4) (ρ_t - 2) ρ_∞ / ((ρ_∞ - 4) (ρ_∞ - 2) ρ_t))``,
    ``w ← w - η r_t m̂ √(1 - β₂ᵗ) / (√v + ε)`` where ``ρ_t > 5``, and ``w ← w - η m̂`` before, as
    ``torch.optim.RAdam``: ``ε`` is added before ``v`` is corrected. The paper has no ``ε`` and begins
    where ``ρ_t > 4``; its authors' program begins at 5, with no steps before; optax adds ``ε`` after.
    """

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:
        """``β₁, 1 - β₁, β₂, 1 - β₂, ε, 1 - β₁ᵗ`` and the factors of ``m̂ / (√v + ε)`` and of ``m̂``."""
        *shares, correct1, correct2 = super().coefficients(t, momentum)
        limit = 2 / (1 - self.beta2) - 1
        length = limit - 2 * t * self.beta2**t * correct2
        variance = _inverse_variance(length) / _inverse_variance(limit)
        share = np.where(length > 5, np.sqrt(variance / correct2), 0.0)
        return *shares, correct1, share, np.where(length > 5, 0.0, 1.0)

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """One of the two shares is 0."""
        beta1, rest1, beta2, rest2, eps, correct1, share, plain = c
        m = beta1 * state[0] + rest1 * g
        v = beta2 * state[1] + rest2 * g * g
        return lr * correct1 * m * (share / (math.sqrt(v) + eps) + plain), (m, v)


def _inverse_variance(length: Any) -> Any:
    """What ``r_t²`` compares, of averages as long as 5 squares or more."""
    length = np.maximum(length, 5.0)
    return (length - 4) * (length - 2) / length


@dataclass(frozen=True, kw_only=True)
class Lion(Rule):
    """Lion: steps of one length, along the sign of an average of the gradient (Chen et al. 2023).

    ``d ← β₁ m + (1 - β₁) g``, ``m ← β₂ m + (1 - β₂) g``, ``w ← w - η sign(d)`` (algorithm 2): the step
    heeds the newest gradient more than the average does that is kept. Weight decay is decoupled by
    default, ``w ← w - η λ w``, as in the paper and optax; PyTorch has no Lion. It wants a lower rate
    than Adam (the paper: by 3 to 10), as a step is not shortened where gradients contradict each other.

    Args:
        beta1: share ``β₁`` of the average in the step.
        beta2: share ``β₂`` of the average that is kept.
    """

    usual_rate: ClassVar[float] = 0.00008
    adaptive: ClassVar[bool] = True
    beta1: float = setting(0.9, at_least=0, below=1)
    beta2: float = setting(0.99, at_least=0, below=1)

    n_slots: ClassVar[int] = 1
    momentum_name: ClassVar[str | None] = "beta1"
    decoupled: ClassVar[bool] = True

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:  # noqa: ARG002
        """``β₁, 1 - β₁, β₂, 1 - β₂``."""
        beta1, beta2 = self._settings(momentum).values()
        return beta1, 1 - beta1, beta2, 1 - beta2

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = η sign(d)``."""
        beta1, rest1, beta2, rest2 = c
        d = beta1 * state[0] + rest1 * g
        return lr * np.sign(d), (beta2 * state[0] + rest2 * g,)


@dataclass(frozen=True, kw_only=True)
class RowAdagrad(RowRule):
    """Row-wise Adagrad: ``G ← G + Σ g² / k``, ``w ← w - η g / (√G + ε)`` (Gupta et al. 2014).

    One ``G`` for a row of ``k`` numbers: what DLRM and TorchRec train tables of embeddings with
    (Mudigere et al. 2022, arXiv 2104.05158), as it needs a ``k``-th of Adagrad's memory. As
    ``RWSAdagrad`` of DLRM. A bias is a row of one number, and has Adagrad.

    Args:
        eps: ``ε``, keeps the first step finite.
    """

    usual_rate: ClassVar[float] = 0.012
    haste: ClassVar[float] = 3.0
    adaptive: ClassVar[bool] = True
    eps: float = setting(1e-10, above=0)

    n_slots: ClassVar[int] = 1
    per_row: ClassVar[bool] = True

    @staticmethod
    def look(g: Any, w: Any, pull: Any, state: Any, c: Any) -> Any:  # noqa: ARG004
        """``Σ g²``."""
        return g * g, g - g

    @staticmethod
    def rate(sums: Any, n: Any, state: Any, lr: Any, c: Any) -> Any:
        """``η / (√G + ε)`` with ``G = G + Σ g² / k``."""
        total = state[0] + sums[0] / n
        return lr / (math.sqrt(total) + c[0]), (total,)

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:  # noqa: ARG004
        """``step = η g``, with the rate of the row."""
        return lr * g, state


@dataclass(frozen=True, kw_only=True)
class LARS(RowRule):
    """LARS: momentum with steps in proportion to the size of what they move (You et al. 2017).

    ``v ← γ v + η |w| / |g| g``, ``w ← w - v`` (arXiv 1708.03888, algorithm 1), with both norms taken
    over a row of an embedding, or a layer of a network. ``η`` includes the paper's trust coefficient.
    The gradient has its weight decay in it; the paper divides by ``|g| + λ |w|``. A bias, and a row
    without length or gradient, has plain momentum with the rate ``η``.

    Args:
        momentum: share ``γ`` of the velocity that is kept.
    """

    usual_rate: ClassVar[float] = 0.002
    adaptive: ClassVar[bool] = True
    momentum: float = setting(0.9, at_least=0, below=1)

    n_slots: ClassVar[int] = 1
    momentum_name: ClassVar[str | None] = "momentum"

    @staticmethod
    def look(g: Any, w: Any, pull: Any, state: Any, c: Any) -> Any:  # noqa: ARG004
        """``|w|²`` and ``|g|²``."""
        return w * w, g * g

    @staticmethod
    def rate(sums: Any, n: Any, state: Any, lr: Any, c: Any) -> Any:  # noqa: ARG004
        """``η`` times the root of the first sum over the second, where there is such."""
        one = n / n
        known = np.sign(sums[0] * (n - one)) * np.sign(sums[1])  # 1, or 0
        rest = one - known
        return lr * math.sqrt((known * sums[0] + rest) / (known * sums[1] + rest)), state

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        """``step = v``; gradients keep the rates that they came with."""
        v = c[0] * state[0] + lr * g
        return v, (v,)


@dataclass(frozen=True, kw_only=True)
class LAMB(Adam, RowRule):
    """LAMB: Adam with steps in proportion to the size of what they move (You et al. 2020, algorithm 2).

    ``r ← m̂ / (√v̂ + ε) + λ w``, ``w ← w - η |w| / |r| r`` (arXiv 1904.00962), with ``m̂`` and ``v̂`` as in
    ``Adam``, decay decoupled by default, and both norms taken over a row of an embedding, or a layer of
    a network. The paper's ``φ`` is the identity. As ``optax.lamb``; many programs leave out the
    corrections of ``m`` and ``v``, as the paper's earlier versions did. A bias, and a row without
    length, has Adam's step.
    """

    usual_rate: ClassVar[float] = 0.002
    eps: float = setting(1e-6, above=0)
    decoupled: ClassVar[bool] = True

    @staticmethod
    def look(g: Any, w: Any, pull: Any, state: Any, c: Any) -> Any:
        """``|w|²`` and ``|r|²``."""
        beta1, rest1, beta2, rest2, eps, correct1, correct2 = c
        m = beta1 * state[0] + rest1 * g
        v = beta2 * state[1] + rest2 * g * g
        r = correct1 * m / (math.sqrt(correct2 * v) + eps) + pull
        return w * w, r * r

    rate = staticmethod(LARS.rate)


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeSGD(Rule):
    """Schedule-free descent: an average in the place of a schedule (Defazio et al. 2024, algorithm 1).

    ``y = (1 - β) z + β x``, ``z ← z - η g(y)``, ``x ← (1 - c) x + c z``, ``c = η² / Σ η²``, and
    ``w ← w - η (1 - β (1 - c)) g + c (z - w)`` for ``w = y`` (arXiv 2405.15682). Gradients are taken at
    ``y``, which is what a run moves; predictions, and the parameters that it gives, are those of the
    average ``x``. As ``schedulefree.SGDScheduleFree``. The sum is over the steps of the parameter
    itself: a row that is seldom rated would otherwise never leave where its average began. The schedule
    is constant unless the solver is told otherwise.

    Args:
        beta: share ``β`` of the average in what gradients are taken at.
    """

    usual_rate: ClassVar[float] = 0.03
    beta: float = setting(0.9, above=0, below=1)

    n_slots: ClassVar[int] = 2
    takes_decay: ClassVar[bool] = True
    schedule: ClassVar[str] = "constant"

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:  # noqa: ARG002
        """``β``, 1, and a number that keeps the first share of a frozen group finite."""
        return self.beta, 1.0, _TINY

    @staticmethod
    def update(g: Any, pull: Any, state: Any, lr: Any, c: Any) -> Any:
        """The state is ``z - y`` and ``Σ η²``."""
        beta, one, tiny = c
        squares = state[1] + lr * lr
        share = lr * lr / (squares + tiny)
        kept, move = one - share, lr * (g + pull)
        step = (one - beta * kept) * move - share * state[0]
        return step, (kept * (state[0] - beta * move), squares)

    def evaluated(self, values: Any, state: Any) -> Any:
        """``x = y - (1 - β) / β (z - y)``."""
        return values - (1 - self.beta) / self.beta * state[0].reshape(values.shape)


_TINY = 1e-30


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeAdamW(ScheduleFreeSGD):
    """Schedule-free AdamW: an average in the place of Adam's and of the schedule (Defazio et al. 2024).

    ``v ← β₂ v + (1 - β₂) g²``, ``ĝ = g / (√v̂ + ε) + λ y``, ``z ← z - η ĝ``, ``x ← (1 - c) x + c z``, and
    ``w ← w - η (1 - β (1 - c)) ĝ + c (z - w)`` for ``w = y = (1 - β) z + β x`` (arXiv 2405.15682,
    section 4.1). As ``schedulefree.AdamWScheduleFree``; the sum in ``c`` is over the steps of the
    parameter itself, as in ``ScheduleFreeSGD``. Decay is decoupled by default.

    Args:
        beta: share ``β`` of the average in what gradients are taken at.
        beta2: share ``β₂`` of the average square that is kept.
        eps: ``ε``.
    """

    usual_rate: ClassVar[float] = 0.0003
    adaptive: ClassVar[bool] = True
    beta2: float = setting(0.999, at_least=0, below=1)
    eps: float = setting(1e-8, above=0)

    n_slots: ClassVar[int] = 3
    decoupled: ClassVar[bool] = True

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:
        """Those of ``ScheduleFreeSGD``, ``β₂``, ``1 - β₂``, ``ε`` and ``1 / (1 - β₂ᵗ)``."""
        plain = super().coefficients(t, momentum)
        return *plain, self.beta2, 1 - self.beta2, self.eps, 1 / (1 - self.beta2**t)

    @staticmethod
    def update(g: Any, pull: Any, state: Any, lr: Any, c: Any) -> Any:
        """The state is ``z - y``, ``Σ η²`` and ``v``."""
        beta, one, tiny, beta2, rest2, eps, correct2 = c
        v = beta2 * state[2] + rest2 * g * g
        squares = state[1] + lr * lr
        share = lr * lr / (squares + tiny)
        kept = one - share
        move = lr * (g / (math.sqrt(correct2 * v) + eps) + pull)
        step = (one - beta * kept) * move - share * state[0]
        return step, (kept * (state[0] - beta * move), squares, v)


@dataclass(frozen=True, kw_only=True)
class DoG(GroupRule):
    """DoG, distance over gradients: no learning rate to choose (Ivgi et al. 2023, arXiv 2302.12022).

    ``d = max_{i≤t} |w_i - w_0|``, ``G = Σ_{i<t} |g_i|²``, ``w ← w - η d / √(G + ε) g``, for each group,
    as in the paper's L-DoG. ``η = 1`` is the paper. ``G`` is of the steps before, so that all numbers of
    a step can be moved at once; the paper has ``i ≤ t``. The first step only looks. The paper averages
    the path; here the schedule brings the rate down, and the solver's ``average`` is at hand.

    Args:
        start: ``d`` at first, as a share of ``1 + |w_0|``.
        eps: ``ε``.
    """

    start: float = setting(1e-6, above=0)
    eps: float = setting(1e-8, above=0)

    n_slots: ClassVar[int] = 2

    def begin(self, values: NDArray[Any]) -> tuple[float, ...]:
        """Rate 0, and ``d``."""
        return 0.0, self.start * (1 + math.sqrt(_total(values, values)))

    def summed_up(self, known: tuple[float, ...], state: NDArray[Any]) -> tuple[float, ...]:
        """``d / √(G + ε)`` and ``d``."""
        way, squares = state
        distance = max(known[1], math.sqrt(_total(way, way)))
        return distance / math.sqrt(float(squares.sum(dtype=np.float64)) + self.eps), distance

    @staticmethod
    def update(g: Any, pull: Any, state: Any, lr: Any, c: Any) -> Any:
        """The state is the way from the start and the sum of the squares."""
        step = lr * c[2] * (g + pull)
        return step, (state[0] + step, state[1] + g * g)


def _total(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Of products, in double precision and an order of its own, whatever threads there are."""
    return float(np.sum(np.multiply(a, b, dtype=np.float64)))


@dataclass(frozen=True, kw_only=True)
class Prodigy(GroupRule):
    """Prodigy: Adam that finds its rate, by how far the gradients say there is to go.

    ``m ← β₁ m + (1 - β₁) d g``, ``v ← β₂ v + (1 - β₂) d² g²``,
    ``r ← β₃ r + (1 - β₃) η d² g·(w_0 - w)``, ``s ← β₃ s + (1 - β₃) η d² g``,
    ``w ← w - η d m / (√v + d ε)``, ``d ← max(d, r / |s|₁)``, ``β₃ = √β₂`` (Mishchenko & Defazio 2023,
    arXiv 2306.06101, algorithm 4), with one ``d`` for each group. ``η = 1`` is the paper. As
    ``prodigyopt.Prodigy``, whose ``d`` beside ``ε`` is that of after the step.

    Args:
        beta1: share ``β₁`` of the average gradient that is kept.
        beta2: share ``β₂`` of the average square that is kept.
        eps: ``ε``.
        start: ``d`` at first.
    """

    beta1: float = setting(0.9, at_least=0, below=1)
    beta2: float = setting(0.999, at_least=0, below=1)
    eps: float = setting(1e-8, above=0)
    start: float = setting(1e-6, above=0)

    n_slots: ClassVar[int] = 5

    def coefficients(self, t: Steps, momentum: Steps | None = None) -> tuple[Steps | float, ...]:  # noqa: ARG002
        """``β₁, 1 - β₁, β₂, 1 - β₂, β₃, 1 - β₃, ε``; ``d`` of the group follows."""
        beta3 = math.sqrt(self.beta2)
        beta1, beta2 = self.beta1, self.beta2
        return beta1, 1 - beta1, beta2, 1 - beta2, beta3, 1 - beta3, self.eps

    def begin(self, values: NDArray[Any]) -> tuple[float, ...]:  # noqa: ARG002
        """``d``."""
        return (self.start,)

    def summed_up(self, known: tuple[float, ...], state: NDArray[Any]) -> tuple[float, ...]:
        """The larger of ``d`` and its new estimate."""
        below = float(np.abs(state[2]).sum(dtype=np.float64))
        above = float(state[3].sum(dtype=np.float64))
        return (max(known[0], above / below if below > 0 else 0.0),)

    @staticmethod
    def update(g: Any, pull: Any, state: Any, lr: Any, c: Any) -> Any:
        """The state is ``m``, ``v``, ``s``, this parameter's part of ``r``, and ``w_0 - w``."""
        beta1, rest1, beta2, rest2, beta3, rest3, eps, d = c
        m = beta1 * state[0] + rest1 * d * g
        v = beta2 * state[1] + rest2 * (d * g) * (d * g)
        along = rest3 * lr * d * d * g
        s, r = beta3 * state[2] + along, beta3 * state[3] + along * state[4]
        step = lr * d * (m / (math.sqrt(v) + d * eps) + pull)
        return step, (m, v, s, r, state[4] + step)


RULES: dict[str, type[Rule]] = {
    rule.__name__.lower(): rule
    for rule in (
        SGD,
        Momentum,
        Nesterov,
        Adagrad,
        Adadelta,
        RMSprop,
        Adam,
        AdamW,
        AdaMax,
        Nadam,
        AMSGrad,
        RAdam,
        Lion,
        RowAdagrad,
        LARS,
        LAMB,
        ScheduleFreeSGD,
        ScheduleFreeAdamW,
        DoG,
        Prodigy,
    )
}
"""Every rule by the name it has on the command line, in the documentation, the race and the tests."""


def as_rule(value: Any) -> Rule:
    """The rule itself, or the one of that name with its default settings.

    Raises:
        SettingError: for anything else, with what to write.

    >>> as_rule("Adam") == Adam()
    True
    """
    if isinstance(value, str):
        return named(f"rule={value!r}", value, RULES)()
    if isinstance(value, type) and issubclass(value, Rule):
        raise SettingError(f"rule={value.__name__}: write {value.__name__}(), with its settings")
    if not isinstance(value, Rule):
        raise SettingError(
            f"rule must be an update rule such as SGD(lr=0.022), or the name of one, not {value!r}"
        )
    return value
