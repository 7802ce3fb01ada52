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
from numba.np.unsafe.ndarray import to_fixed_tuple
from torch import Tensor, nn
from torch.nn.functional import embedding

from dotbias.compiled import compiled
from dotbias.errors import SettingError
from dotbias.models.network import NETWORK_GROUPS
from dotbias.solvers.arithmetic import fma
from dotbias.solvers.descent.kernels import RuleForm, steps_of
from dotbias.solvers.descent.passes import Floats
from dotbias.solvers.descent.rules import GroupRule, RowRule, Rule

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
            name: torch.zeros(
                rule.n_slots,
                shapes[name][0],
                1 if rule.per_row else shapes[name][1],
                dtype=w.dtype,
                device=w.device,
            )
            for name, w in self.trained.items()
        }
        # A layer, or a table, is a group to rules that look at groups.
        self.groups = {
            name: rule.begin(_array(w)) if isinstance(rule, GroupRule) else ()
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
        rows = self.every_row[name][:0]
        w = weight.detach().view(len(self.every_row[name]), -1)
        c = np.append(self.rule.coefficient_table(np.ones(1))[0], self.groups[name][:1])
        self._move(Rows(w, self.slots[name], rows, w[:0], w[:0, :1]), 0.0, c, self.decoupled)

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
                self.trained[name].detach().view(slots.shape[1], -1),
                slots,
                rows[name],
                gradient.reshape(n_rows, -1),
                decay.expand(n_rows, 1),
            )
            c = np.append(coefficients, self.groups[name][:1])
            self._move(moved, self.rates[name] * multiple, c, self.decoupled)
        rule = self.rule
        if isinstance(rule, GroupRule):
            known = self.groups.items()
            self.groups = {n: rule.summed_up(g, _array(self.slots[n])) for n, g in known}

    def evaluated(self) -> dict[str, Floats]:
        """The parameters that moved, where others are to predict with."""
        rule = self.rule
        if type(rule).evaluated is Rule.evaluated:
            return {}
        with torch.no_grad():
            return {n: _array(rule.evaluated(w, self.slots[n])) for n, w in self.trained.items()}

    def state(self) -> dict[str, Floats]:
        """What the rule keeps, by parameter, shapes (n_slots, n_rows, k)."""
        kept = {name: _array(s).copy() for name, s in self.slots.items() if s.numel()}
        return kept | {f"group/{name}": np.array(g) for name, g in self.groups.items() if g}

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
        self.groups = {
            name: tuple(arrays[f"group/{name}"].tolist()) if group else ()
            for name, group in self.groups.items()
        }


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


def _array(tensor: Tensor) -> Floats:
    """As NumPy has it, wherever it lies."""
    return tensor.detach().cpu().numpy()


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
        kernel = _row_kernel(RuleForm.of(type(rule)), len(c))
        w, slots, rows, g, decay = what
        arrays = (t.numpy() for t in (w, slots, rows, g.contiguous(), decay.contiguous()))
        real = np.float64 if w.dtype == torch.float64 else np.float32
        kernel(*arrays, real(lr), c.astype(real), decoupled)

    return move


@cache
def _row_kernel(form: RuleForm, n_coefficients: int) -> Callable[..., Any]:
    """The compiled ``Move`` of one rule; ``w``, ``s``, ``g``: parameter, its state, gradient."""
    move_number, look, rate, _, by_row = steps_of(form)

    def move_rows(
        w: Any, s: Any, rows: Any, g: Any, decay: Any, usual: Any, coefficients: Any, decoupled: Any
    ) -> None:
        c: Any = to_fixed_tuple(coefficients, n_coefficients)  # type: ignore[call-arg]
        one = g.dtype.type(1)
        for m in range(len(rows)):
            row, l2, pull, lr = np.uint32(rows[m]), decay[m, 0], one - one, usual
            if decoupled:
                pull, l2 = l2, one - one
            if by_row:
                sum_a = sum_b = one - one
                for f in range(w.shape[1]):
                    w_f = w[row, f]
                    a, b = look(w_f, fma(l2, w_f, g[m, f]), pull, s, row, f, c)
                    sum_a, sum_b = sum_a + a, sum_b + b
                lr = rate(sum_a, sum_b, g.dtype.type(w.shape[1]), s, row, lr, c)
            keep = one
            if decoupled:
                keep = one - lr * pull
            for f in range(w.shape[1]):
                w_f = w[row, f]
                g_f = fma(l2, w_f, g[m, f])
                w[row, f] = move_number(w_f, g_f, keep, pull, s, row, f, lr, c)

    return compiled(kept=form.is_ours)(move_rows)  # type: ignore[no-any-return]


def move_tensors(rule: Rule) -> Move:
    """The rule on whole tensors, on any device.

    Raises:
        SettingError: when its function takes only single numbers.
    """
    kind = type(rule)
    update = _on_tensors(kind.update)
    row = None
    if isinstance(rule, RowRule):
        row = _on_tensors(rule.look), _on_tensors(rule.rate)

    def move(what: Rows, lr: Any, c: Floats, decoupled: bool) -> None:
        w, slots, rows, g, decay = what
        w_rows, decay, known = w[rows], decay.to(w.device), tuple(c.tolist())
        pull = decay * w_rows if decoupled else torch.zeros_like(w_rows)
        g = g if decoupled else g + decay * w_rows
        kept = tuple(slots[:, rows])
        if row is not None:
            look, rate = row
            sums = tuple(x.sum(1, keepdim=True) for x in look(g, w_rows, pull, kept, known))
            lr, of_row = rate(sums, w.shape[1], kept if kind.per_row else (), lr, known)
            if kind.per_row:
                slots[:, rows] = torch.stack(of_row)
        if kind.per_row:
            kept = ()
        if kind.takes_decay:
            step, kept = update(g, pull, kept, lr, known)
            w[rows] = w_rows - step
        else:
            step, kept = update(g, kept, lr, known)
            w[rows] = (w_rows * (1 - lr * decay) if decoupled else w_rows) - step
        if kept:
            slots[:, rows] = torch.stack(kept)

    two, c = torch.ones(1, 2), rule.coefficient_table(np.ones(1))[0]
    if isinstance(rule, GroupRule):
        c = np.append(c, 1.0)
    try:
        slots = torch.zeros(rule.n_slots, 1, 1 if kind.per_row else 2)
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
