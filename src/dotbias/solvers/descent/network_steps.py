"""A step of a network: the rule moves what a batch's gradients say.

The rule is the function that the compiled loops of ``DotBias`` take. On the CPU it is compiled here too;
on a graphics processor the same function gets whole tensors in the place of numbers.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numba.extending import register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple
from torch import Tensor, nn
from torch.nn.functional import embedding

from dotbias.compiled import compiled
from dotbias.errors import SettingError
from dotbias.models.network import NETWORK_GROUPS
from dotbias.solvers.arithmetic import fma
from dotbias.solvers.descent.kernels import LOAD, STORE, is_ours
from dotbias.solvers.descent.passes import Floats
from dotbias.solvers.descent.rules import Rule

if TYPE_CHECKING:
    from dotbias.solvers.descent.gradient import GradientDescent


@dataclass(frozen=True, eq=False)
class Lookup:
    """The ids of one side in a batch.

    Args:
        ids: index of each rating's user (or item), shape (B,).
        rows: the same, each once, rising, shape (m,).
        places: where in ``rows`` each id is, shape (B,).
        shares: share of the batch that has each row, shape (m, 1).
        last: the last of the rows.
    """

    ids: Tensor
    rows: Tensor
    places: Tensor
    shares: Tensor
    last: int

    @classmethod
    def of(cls, ids: Tensor, dtype: torch.dtype) -> "Lookup":
        """Sort ids out that were not foreseen."""
        rows, places, counts = torch.unique(ids, return_inverse=True, return_counts=True)
        shares = (counts / ids.numel()).to(dtype)[:, None]
        return cls(ids, rows, places, shares, int(rows[-1]))

    def place_of(self, row: int) -> int | None:
        """Where in ``rows`` one of them is, or None where it is not."""
        if row >= self.last:
            return len(self.rows) - 1 if row == self.last else None
        found = (self.rows == row).nonzero()
        return int(found[0, 0]) if len(found) else None


class Optimiser:
    """Moves the parameters of a network by a rule: groups, weight decay, clipping, rows of tables.

    With ``n`` of a batch's ``B`` ratings on a row, weight decay adds ``λ n / B · w`` to its gradient:
    the decay of ``½ λ |w|²`` for each rating. The other parameters take part in every rating.

    Args:
        module: the network.
        groups: group of each of its parameters, by name.
        solver: the settings.

    Raises:
        SettingError: when all groups are frozen, or the rule cannot be used on the module's device.
    """

    def __init__(
        self, module: nn.Module, groups: dict[str, str], solver: "GradientDescent"
    ) -> None:
        rule = self.rule = solver.rule
        self.clip, self.decoupled = solver.clip, solver.decoupled
        self.lazy = solver.semantics == "lazy"
        rates, decay = rule.rates(NETWORK_GROUPS), solver.decay.of_network()
        named = dict(module.named_parameters())
        for name, group in groups.items():
            named[name].requires_grad_(group not in solver.frozen)
        names = {n: g for n, g in groups.items() if named[n].requires_grad}
        if not names:
            raise SettingError("there is nothing to train: every group of the network is frozen")
        self.trained = {name: named[name] for name in names}
        self.decay = {name: decay[group] for name, group in names.items()}
        self.rates = {name: rates[group] for name, group in names.items()}
        self.tables = {
            f"{path}.weight": part
            for path, part in module.named_modules()
            if isinstance(part, nn.Embedding) and f"{path}.weight" in names
        }
        for weight in self.trained.values():
            weight.data = weight.data.contiguous()
        # What is no table is a single row to the rule.
        shapes = {
            n: tuple(w.shape) if n in self.tables else (1, w.numel())
            for n, w in self.trained.items()
        }
        self.slots = {
            name: torch.zeros(rule.n_slots, *shapes[name], dtype=w.dtype, device=w.device)
            for name, w in self.trained.items()
        }
        self.every_row = {
            name: torch.arange(shape[0], device=self.trained[name].device)
            for name, shape in shapes.items()
        }
        self.seen: dict[str, list[Seen]] = {name: [] for name in self.tables}
        compiles = all(w.device.type == "cpu" for w in self.trained.values())
        self._move = (move_compiled if compiles else move_tensors)(rule)

    def compile(self) -> None:
        """Compile the rule, where it is compiled, by moving no row."""
        name, weight = next(iter(self.trained.items()))
        slots = self.slots[name]
        rows = self.every_row[name][:0]
        w = weight.detach().view(slots.shape[1:])
        c = self.rule.coefficient_table(np.ones(1))[0]
        self._move(Rows(w, slots, rows, w[:0], w[:0, :1]), 0.0, c, self.decoupled)

    # What a batch looks up.

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let tables be looked up so that the rows of a batch have gradients of their own."""
        for name, table in self.tables.items():
            table.forward = partial(self._look_up, name, table)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for name, table in self.tables.items():
                del table.forward
                self.seen[name].clear()

    def foresee(self, *lookups: "Lookup") -> None:
        """What the next batch is expected to look up, and a blank for what it will."""
        self.expected = lookups
        for parameter in self.trained.values():
            parameter.grad = None
        for seen in self.seen.values():
            seen.clear()

    def _look_up(self, name: str, table: nn.Embedding, ids: Tensor) -> Tensor:
        lookup = next((known for known in self.expected if known.ids is ids), None)
        if lookup is None:
            lookup = Lookup.of(ids, table.weight.dtype)
        pad = None if table.padding_idx is None else lookup.place_of(table.padding_idx)
        rows = table.weight.detach().index_select(0, lookup.rows).requires_grad_()
        self.seen[name].append(Seen(lookup, rows, pad))
        return embedding(lookup.places, rows, pad)

    def _touched(self, name: str) -> tuple[Tensor, Tensor, Tensor] | None:
        """Rows of a table that the batch has looked up, their gradients and shares of the batch.

        No gradient and no share of the batch falls on the row that is padding: it stays.
        """
        seen = [s for s in self.seen[name] if s.values.grad is not None]
        if not seen:
            return None
        rows, gradients, shares = zip(*(s.parts(self.decay[name] > 0) for s in seen), strict=True)
        if len(seen) == 1:
            return rows[0], gradients[0], shares[0]
        # A table that is looked up twice: the gradients of a row are summed.
        every, place = torch.unique(torch.cat(rows), return_inverse=True)
        weight = self.trained[name]
        gradient = weight.new_zeros(len(every), weight.shape[1])
        share = weight.new_zeros(len(every), 1)
        gradient.index_add_(0, place, torch.cat(gradients))
        return every, gradient, share.index_add_(0, place, torch.cat(shares))

    # A step.

    @torch.no_grad()
    def step(self, multiple: float, coefficients: Floats, *, noise: float) -> None:
        """Move what the gradients of a batch say.

        Args:
            multiple: of the rates.
            coefficients: those of the rule at this step, shape (n_coefficients,).
            noise: standard deviation of what is added to each gradient.

        Raises:
            SettingError: when lazy semantics do not do for the network.
        """
        rows: dict[str, Tensor] = {}
        gradients: dict[str, Tensor] = {}
        shares: dict[str, Tensor | float] = {}
        for name, weight in self.trained.items():
            touched = self._touched(name) if name in self.tables else None
            lazy = self.lazy and name in self.tables
            if lazy and weight.grad is not None:
                raise SettingError(
                    f"forward uses {name} as a whole, not only its rows: train this network with "
                    "semantics='dense'"
                )
            if lazy and touched is None:
                continue
            rows[name] = self.every_row[name]
            if touched is None:
                shares[name] = 0.0 if weight.grad is None else 1.0
                gradients[name] = torch.zeros_like(weight) if weight.grad is None else weight.grad
            elif lazy:
                rows[name], gradients[name], shares[name] = touched
            else:
                gradients[name], shares[name] = _dense(weight, *touched)
                if weight.grad is not None:
                    gradients[name] = gradients[name] + weight.grad
        if noise:
            gradients = {n: g + noise * torch.randn_like(g) for n, g in gradients.items()}
        if self.clip is not None:
            norm = torch.sqrt(torch.stack([(g * g).sum() for g in gradients.values()]).sum())
            shrink = self.clip / norm.clamp(min=self.clip)
            gradients = {name: g * shrink for name, g in gradients.items()}
        for name, gradient in gradients.items():
            slots, n_rows = self.slots[name], len(rows[name])
            decay = torch.as_tensor(self.decay[name] * shares[name], dtype=slots.dtype)
            moved = Rows(
                self.trained[name].detach().view(slots.shape[1:]),
                slots,
                rows[name],
                gradient.reshape(n_rows, -1),
                decay.expand(n_rows, 1),
            )
            self._move(moved, self.rates[name] * multiple, coefficients, self.decoupled)

    def state(self) -> dict[str, Floats]:
        """What the rule keeps, by parameter, shapes (n_slots, n_rows, k)."""
        return {name: s.cpu().numpy().copy() for name, s in self.slots.items() if s.numel()}

    def set_state(self, arrays: dict[str, Floats]) -> None:
        """Put back what ``state`` gave.

        Raises:
            SettingError: for an array that is missing or of another shape.
        """
        for name, slots in self.slots.items():
            array = arrays.get(name, np.zeros(0)) if slots.numel() else np.zeros(slots.shape)
            if array.shape != slots.shape:
                raise SettingError(
                    f"the checkpoint does not have what the rule keeps of {name}: shape {array.shape}, "
                    f"not {tuple(slots.shape)}; it is of another version, or altered"
                )
            slots.copy_(torch.tensor(array))


@dataclass(frozen=True, eq=False)
class Seen:
    """What a batch has looked up in one table.

    Args:
        lookup: the ids.
        values: their rows, a leaf of the batch's graph, shape (m, k).
        pad: which of the rows is padding, or None.
    """

    lookup: Lookup
    values: Tensor
    pad: int | None

    def parts(self, shared: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, gradients, and, if they are needed, shares of the batch."""
        gradient, shares = self.values.grad, self.lookup.shares
        assert gradient is not None
        if shared and self.pad is not None:
            shares = shares.clone()
            shares[self.pad] = 0
        return self.lookup.rows, gradient, shares


def _dense(weight: Tensor, rows: Tensor, gradient: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and shares of all rows of a table."""
    whole = torch.zeros_like(weight).index_copy_(0, rows, gradient)
    return whole, weight.new_zeros(len(weight), 1).index_copy_(0, rows, shares)


class Rows(NamedTuple):
    """Rows of a parameter that are to be moved in place.

    Args:
        w: the parameter, shape (n, k).
        slots: what the rule keeps of it, shape (n_slots, n, k).
        rows: which rows, shape (m,).
        gradients: theirs, shape (m, k).
        decay: their weight decay, shape (m, 1).
    """

    w: Tensor
    slots: Tensor
    rows: Tensor
    gradients: Tensor
    decay: Tensor


Move = Callable[[Rows, float, Floats, bool], None]
"""Moves rows, given the learning rate, the rule's coefficients, and whether decay is decoupled."""


def move_compiled(rule: Rule) -> Move:
    """The rule compiled into a loop, on the CPU."""

    def move(what: Rows, lr: float, c: Floats, decoupled: bool) -> None:
        kernel = _row_kernel(type(rule).update, rule.n_slots, len(c))
        w, slots, rows, g, decay = what
        arrays = (t.numpy() for t in (w, slots, rows, g.contiguous(), decay.contiguous()))
        real = np.float64 if w.dtype == torch.float64 else np.float32
        kernel(*arrays, real(lr), c.astype(real), decoupled)

    return move


@cache
def _row_kernel(
    update: Callable[..., Any], n_slots: int, n_coefficients: int
) -> Callable[..., Any]:
    """The compiled ``Move`` of one rule; ``w``, ``s``, ``g``: parameter, its state, gradient."""
    update = register_jitable(update)
    load, store = LOAD[n_slots], STORE[n_slots]

    def move_rows(
        w: Any, s: Any, rows: Any, g: Any, decay: Any, lr: Any, coefficients: Any, decoupled: Any
    ) -> None:
        c: Any = to_fixed_tuple(coefficients, n_coefficients)  # type: ignore[call-arg]
        one = g.dtype.type(1)
        for m in range(len(rows)):
            row, l2, keep = np.uint32(rows[m]), decay[m, 0], one
            if decoupled:
                keep, l2 = one - lr * l2, one - one
            for f in range(w.shape[1]):
                w_f = w[row, f]
                step, slots = update(fma(l2, w_f, g[m, f]), load(s, row, f), lr, c)
                w[row, f] = fma(w_f, keep, -step)
                store(s, row, f, slots)

    return compiled(kept=is_ours(update))(move_rows)  # type: ignore[no-any-return]


def move_tensors(rule: Rule) -> Move:
    """The rule on whole tensors, on any device.

    Raises:
        SettingError: when its function takes only single numbers.
    """
    update = _on_tensors(type(rule).update)

    def move(what: Rows, lr: float, c: Floats, decoupled: bool) -> None:
        w, slots, rows, g, decay = what
        w_rows, decay = w[rows], decay.to(w.device)
        shrunk = w_rows * (1 - lr * decay) if decoupled else w_rows
        g = g if decoupled else g + decay * w_rows
        step, kept = update(g, tuple(slots[:, rows]), lr, tuple(c.tolist()))
        w[rows] = shrunk - step
        if kept:
            slots[:, rows] = torch.stack(kept)

    two, c = torch.ones(1, 2), rule.coefficient_table(np.ones(1))[0]
    try:
        slots = torch.zeros(rule.n_slots, 1, 2)
        first = torch.zeros(1, dtype=torch.int64)
        move(Rows(two.clone(), slots, first, two, two[:, :1]), 0.1, c, False)
    except (AttributeError, RuntimeError, TypeError) as error:
        raise SettingError(
            f"{type(rule).__name__}.update takes single numbers alone, and a graphics processor has it "
            f"take whole tensors ({error}): write numpy.where(condition, a, b) in the place of if, and "
            "functions of math and numpy; or train with device='cpu'"
        ) from error
    return move


def _on_tensors(update: Any) -> Callable[..., Any]:
    """The same function with PyTorch in the place of ``math``, NumPy, ``max`` and ``min``."""
    known = update.__globals__
    names = {name: torch for name, value in known.items() if value is math or value is np}
    known = known | names | {"max": torch.maximum, "min": torch.minimum}
    return FunctionType(update.__code__, known, update.__name__, None, update.__closure__)
