"""A run of gradient descent on a network: PyTorch takes the gradients, its optimisers take the steps.

Ratings lie in memory as tensors, and a batch is a slice of them. Of an embedding only the rows that a
batch looks up take part in its graph, and with lazy semantics only they go to the optimiser, with their
part of its state. So a step costs what its batch costs, however many users and items there are.
"""

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding, mse_loss

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Parameters
from dotbias.models.network import NETWORK_GROUPS, TorchModel, load_state, rated, state_of
from dotbias.solvers.descent.passes import Floats, Pass
from dotbias.solvers.descent.rules import Steps
from dotbias.solvers.descent.run import NOISE_DECAY, Run, given_order

if TYPE_CHECKING:
    from dotbias.solvers.descent.gradient import GradientDescent

# Batches smaller than this are over before a second thread has begun.
_SHARED_FROM = 8192


def groups_of(module: nn.Module) -> dict[str, str]:
    """Group of each trained parameter, by its name (see ``Network``)."""
    groups = {}
    for path, part in module.named_modules():
        for name, parameter in part.named_parameters(path, recurse=False):
            if not parameter.requires_grad:
                continue
            if "bias" in name or isinstance(part, nn.modules.batchnorm._BatchNorm):
                groups[name] = "biases"
            elif "output" in name.split("."):
                groups[name] = "output"
            else:
                groups[name] = "embeddings" if isinstance(part, nn.Embedding) else "hidden"
    return groups


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


class Shuffled(Pass):
    """Batches of a new (or a given) order, with some ids taken for unknown.

    A last batch of a single rating, which batch normalisation cannot take, joins the one before it.
    """

    def __init__(
        self,
        ratings: Ratings,
        *,
        batch_size: int,
        order: NDArray[np.int64] | None,
        masked: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        n = len(ratings)
        self.ratings, self.order, self.masked = ratings, order, masked
        self.device, self.dtype = device, dtype
        self.values = torch.tensor(ratings.values, dtype=dtype, device=device)
        self.starts = np.append(np.arange(0, n, batch_size), n)
        if len(self.starts) > 2 and batch_size > 1 and n % batch_size == 1:
            self.starts = np.delete(self.starts, -2)
        self.sizes = np.diff(self.starts)
        self.share_done = self.starts[:-1] / n
        self.t = np.arange(1.0, len(self.starts))
        self.n_updates = len(self.sizes)

    def begin(self, rng: np.random.Generator, *, first: bool) -> None:  # noqa: ARG002
        """Shuffle, mask ids, and sort out which rows each batch looks up."""
        ratings, n = self.ratings, len(self.ratings)
        order = rng.permutation(n) if self.order is None else self.order
        sides = []
        for ids, unknown in ((ratings.users, ratings.n_users), (ratings.items, ratings.n_items)):
            ids = ids[order].astype(np.int64)
            if self.masked:
                ids[rng.random(n, np.float32) < self.masked] = unknown
            sides.append(self._lookups(ids, unknown + 1))
        self.users, self.items = sides
        targets = self.values[torch.from_numpy(order).to(self.device)]
        self.targets = torch.split(targets, self.sizes.tolist())
        self.seed = int(rng.integers(2**62))

    def _lookups(self, ids: NDArray[Any], n_rows: int) -> list[Lookup]:
        """The rows of all batches at once: to sort each by itself would cost more than its step."""
        batch = np.repeat(np.arange(len(self.sizes)), self.sizes)
        keys, places, counts = np.unique(
            batch * n_rows + ids, return_inverse=True, return_counts=True
        )
        of_batch = keys // n_rows
        begins = np.searchsorted(of_batch, np.arange(len(self.sizes)))
        lengths = np.diff(np.append(begins, len(keys))).tolist()
        shares = torch.from_numpy(counts / self.sizes[of_batch])[:, None].to(self.dtype)
        columns = (
            (ids, self.sizes.tolist()),
            (keys % n_rows, lengths),
            (places.reshape(-1) - begins[batch], self.sizes.tolist()),
            (shares, lengths),
        )
        parts = [torch.split(torch.as_tensor(c).to(self.device), sizes) for c, sizes in columns]
        last = (keys % n_rows)[np.append(begins[1:], len(keys)) - 1].tolist()
        return [Lookup(*columns) for columns in zip(*parts, last, strict=True)]


class NetworkTraining(Run[TorchModel]):
    """A run on a network. The loss is ``½ ((r̂ - r) / spread)²``, in the mean over a batch.

    Args:
        solver, model, ratings, seed, dtype: as for ``Run``.
        steps_per_epoch: not needed, as each batch is a step.
    """

    _pass: Shuffled
    noisy = True

    def __init__(
        self,
        solver: "GradientDescent",
        model: TorchModel,
        ratings: Ratings,
        *,
        seed: int = 0,
        dtype: Any = np.float32,
        steps_per_epoch: int = 1,  # noqa: ARG002
    ) -> None:
        super().__init__(solver, model, ratings, seed=seed, dtype=dtype)
        rest = self.watch.rest
        self.device = find_device(solver.device)
        real = torch.float64 if dtype == np.float64 else torch.float32
        self.module = model.to_torch(self.start).to(self.device, real).train()
        batch_size = solver.batch_size or len(rest)
        if min(batch_size, len(rest)) == 1 and _normalises(self.module):
            raise SettingError(
                f"batch_size={batch_size}: batch normalisation needs at least 2 ratings in each batch"
            )
        self._pass = Shuffled(
            rest,
            batch_size=batch_size,
            order=given_order(solver.order, rest),
            masked=model.masked,
            device=self.device,
            dtype=real,
        )
        self._optimiser = Optimiser(self.module, solver)

    def take(self, low: int, high: int, factors: Steps, momentum: Steps | None) -> Floats:
        """See ``Run.take``."""
        work, solver = self._pass, self.solver
        weight = torch.tensor(0.5 / self.ratings.spread**2, dtype=work.dtype, device=self.device)
        losses = []
        with torch.random.fork_rng(), self._optimiser.watching():
            torch.manual_seed(work.seed + low)
            for n in range(low, high):
                if work.starts[n] == 0:
                    self._refresh()
                users, items = work.users[n], work.items[n]
                self._optimiser.foresee(users, items)
                ratings = rated(self.module, users.ids, items.ids)
                loss: Any = mse_loss(ratings, work.targets[n])
                loss.backward(weight)
                t = self.n_updates + n + 1
                self._optimiser.step(
                    float(factors[n - low]),
                    None if momentum is None else float(momentum[n]),
                    noise=math.sqrt(solver.gradient_noise / t**NOISE_DECAY),
                )
                losses.append(loss.detach())
        if not losses:
            return np.zeros(0)
        means = torch.stack(losses).cpu().numpy().astype(np.float64)
        return means * work.sizes[low:high] / self.ratings.spread**2

    def _refresh(self) -> None:
        """Let the module do what it does before each epoch, if it has a method ``refresh``."""
        refresh: Any = getattr(self.module, "refresh", None)
        if refresh is not None:
            refresh()

    def parameters(self) -> Parameters:
        """The parameters as they are now."""
        self._refresh()
        return self.start | state_of(self.module)

    def state(self) -> dict[str, Floats]:
        """Parameters and buffers, and the optimiser's numbers, copied."""
        values = {f"value/{n}": _array(t) for n, t in self.module.state_dict().items()}
        return values | {f"state/{n}": a for n, a in self._optimiser.state().items()}

    def set_state(self, arrays: dict[str, Floats]) -> None:
        """Put back what ``state`` gave."""
        load_state(self.module, _below("value/", arrays))
        self._optimiser.set_state(_below("state/", arrays))

    def compile(self) -> None:
        """There is nothing to compile."""

    @contextmanager
    def threads(self) -> Iterator[None]:
        """PyTorch's threads: by default one, unless batches are large."""
        before = torch.get_num_threads()
        shared = int(self._pass.sizes.max()) >= _SHARED_FROM
        torch.set_num_threads(self.solver.n_threads or (before if shared else 1))
        try:
            yield
        finally:
            torch.set_num_threads(before)


class Optimiser:
    """One of PyTorch's optimisers, fed with groups, weight decay, clipping, and rows of tables.

    With ``n`` of a batch's ``B`` ratings on a row, weight decay adds ``λ n / B · w`` to its gradient:
    the decay of ``½ λ |w|²`` for each rating. The other parameters take part in every rating.
    """

    def __init__(self, module: nn.Module, solver: "GradientDescent") -> None:
        rule, groups = solver.rule, groups_of(module)
        self.rule, self.clip, self.decoupled = rule, solver.clip, solver.decoupled
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
        # A table whose touched rows alone are moved is handed over as a parameter of those rows.
        self.handed = {
            name: nn.Parameter(w.detach()[:0].clone()) if self.lazy and name in self.tables else w
            for name, w in self.trained.items()
        }
        # Of such a table, values and the optimiser's numbers in one block (1 + n_slots, n_rows, k), so
        # that rows are fetched and put back at once.
        self.blocks = {n: named[n].detach()[None] for n in self.tables if self.lazy}
        self.slots: dict[str, list[str]] = {n: [] for n in self.blocks}
        self.taken: dict[str, tuple[Tensor, list[Tensor]]] = {}
        self.seen: dict[str, list[Seen]] = {name: [] for name in self.tables}
        # As few groups as there are rates: each costs PyTorch a call.
        self.base = sorted(set(self.rates.values()))
        name, settings = rule.in_torch()
        self.torch = getattr(torch.optim, name)(
            [
                {"params": [self.handed[n] for n, r in self.rates.items() if r == rate]}
                for rate in self.base
            ],
            lr=rule.top_rate,
            weight_decay=0.0,
            **settings,
            **_fused(name),
        )
        # What PyTorch wraps around a step, for profilers and hooks, takes as long as the step.
        self._torch_step = inspect.unwrap(type(self.torch).step)
        for name in self.blocks:  # Adagrad has its numbers from the beginning
            state = self.torch.state[self.handed[name]]
            self._make_room(name, [key for key, value in state.items() if value.ndim])

    def _make_room(self, name: str, slots: list[str]) -> None:
        """Give a table's block room for the optimiser's numbers, 0 at first."""
        values = self.trained[name].detach()[None]
        self.slots[name] = slots
        self.blocks[name] = torch.cat([values, *[torch.zeros_like(values)] * len(slots)])
        self.trained[name].data = self.blocks[name][0]

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

    def foresee(self, *lookups: Lookup) -> None:
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
        block = self.blocks.get(name, table.weight.detach()[None]).index_select(1, lookup.rows)
        rows, *slots = block.unbind()
        rows.requires_grad_()
        self.seen[name].append(Seen(lookup, block, rows, slots, pad))
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
    def step(self, factor: float, momentum: float | None, *, noise: float) -> None:
        """Move what the gradients of a batch say.

        Args:
            factor: of the rates.
            momentum: in the place of the rule's own, or None.
            noise: standard deviation of what is added to each gradient.
        """
        self._set_rates(factor, momentum)
        gradients: dict[str, Tensor] = {}
        rows: dict[str, Tensor] = {}
        shares: dict[str, Any] = {}
        for name, weight in self.trained.items():
            touched = self._touched(name) if name in self.tables else None
            if name in self.blocks and weight.grad is not None:
                raise SettingError(
                    f"forward uses {name} as a whole, not only its rows: train this network with "
                    "semantics='dense'"
                )
            if touched is not None:
                rows[name], gradients[name], shares[name] = touched
                if not self.lazy:
                    gradients[name], shares[name] = _dense(weight, *touched)
                    if weight.grad is not None:
                        gradients[name] = gradients[name] + weight.grad
            elif weight.grad is not None:
                gradients[name], shares[name] = weight.grad, 1.0
            elif name not in self.blocks:
                gradients[name], shares[name] = torch.zeros_like(weight), 0.0
            else:
                self.handed[name].grad = None  # nothing was looked up
        if noise:
            gradients = {n: g + noise * torch.randn_like(g) for n, g in gradients.items()}
        if self.clip is not None:
            norm = torch.sqrt(torch.stack([(g * g).sum() for g in gradients.values()]).sum())
            shrink = self.clip / norm.clamp(min=self.clip)
            gradients = {name: g * shrink for name, g in gradients.items()}
        for name, gradient in gradients.items():
            lr = self.rates[name] * factor
            self._hand_over(name, gradient, rows.get(name), shares[name], lr)
        self._torch_step(self.torch)
        for name in rows:
            if name in self.blocks:
                self._take_back(name, rows[name])

    def _hand_over(self, name: str, gradient: Tensor, rows: Any, share: Any, lr: float) -> None:
        handed = self.handed[name]
        if name in self.blocks:
            (first, *more) = self.seen[name]
            block, values, slots = first.block, first.values, first.slots
            if more:
                block = self.blocks[name].index_select(1, rows)
                values, *slots = block.unbind()
            handed.data = values.detach()
            self.torch.state[handed].update(zip(self.slots[name], slots, strict=True))
            self.taken[name] = block, slots
        decay = self.decay[name]
        if decay and self.decoupled:
            handed.mul_(1 - lr * decay * share)
        elif decay and isinstance(share, float):
            gradient = gradient.add(handed, alpha=decay * share)
        elif decay:
            gradient = torch.addcmul(gradient, handed, share, value=decay)
        handed.grad = gradient

    def _take_back(self, name: str, rows: Tensor) -> None:
        handed, (block, slots) = self.handed[name], self.taken[name]
        state = self.torch.state[handed]
        if not self.slots[name]:
            shape = handed.shape
            made = [k for k, v in state.items() if isinstance(v, Tensor) and v.shape == shape]
            if made:  # by the first step
                self._make_room(name, made)
                block = torch.stack([handed.data, *(state[key] for key in made)])
        for key, value in zip(self.slots[name], slots, strict=False):
            if state[key].data_ptr() != value.data_ptr():  # it was not moved in place
                value.copy_(state[key])
        self.blocks[name].index_copy_(1, rows, block)

    def _set_rates(self, factor: float, momentum: float | None) -> None:
        for group, base in zip(self.torch.param_groups, self.base, strict=True):
            group["lr"] = base * factor
            if momentum is not None and self.rule.momentum_name is not None:
                if "betas" in group:
                    group["betas"] = momentum, group["betas"][1]
                else:
                    group["momentum"] = momentum

    def state(self) -> dict[str, Floats]:
        """The optimiser's numbers by parameter and key."""
        arrays = {}
        for name, handed in self.handed.items():
            for key, value in self.torch.state[handed].items():
                if key in self.slots.get(name, ()):
                    value = self.blocks[name][1 + self.slots[name].index(key)]
                if isinstance(value, Tensor):
                    arrays[f"{name}/{key}"] = _array(value)
        return arrays

    def set_state(self, arrays: dict[str, Floats]) -> None:
        """Put back what ``state`` gave."""
        for name, handed in self.handed.items():
            state = self.torch.state[handed]
            state.clear()
            given = {
                key: torch.tensor(array).to(handed.device)
                for key, array in _below(f"{name}/", arrays).items()
            }
            if name in self.blocks:
                whole = self.trained[name].shape
                self._make_room(name, [key for key, value in given.items() if value.shape == whole])
                for key, value in zip(self.slots[name], self.blocks[name][1:], strict=True):
                    value.copy_(given[key])
                    given[key] = value[:0]
            for key, value in given.items():
                # A file keeps a single number as an array of one.
                state[key] = (
                    value if value.shape == handed.shape else value.reshape(-1)[:1].reshape(())
                )


@dataclass(frozen=True, eq=False)
class Seen:
    """What a batch has looked up in one table.

    Args:
        lookup: the ids.
        block: the rows with the optimiser's numbers, shape (1 + n_slots, m, k).
        values: the first of the block, a leaf of the batch's graph, shape (m, k).
        slots: the others of the block.
        pad: which of the rows is padding, or None.
    """

    lookup: Lookup
    block: Tensor
    values: Tensor
    slots: list[Tensor]
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


def _fused(name: str) -> dict[str, bool]:
    """One call for all parameters instead of a dozen for each, where PyTorch has it."""
    return {"fused": True} if name in ("SGD", "Adam", "AdamW", "Adagrad") else {}


def _normalises(module: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


def _array(tensor: Tensor) -> Floats:
    return np.array(tensor.detach().cpu().numpy())


def _below(prefix: str, arrays: dict[str, Floats]) -> dict[str, Floats]:
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def find_device(name: str | None) -> torch.device:
    """The device of this name, or the fastest that is there.

    Raises:
        SettingError: for one that is not there.
    """
    if name is None:
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *["cuda"] * torch.cuda.is_available()]
        there += ["mps"] * torch.backends.mps.is_available()
        raise SettingError(
            f"device={name!r} is not there: this machine offers {', '.join(there)}"
        ) from error
    return device
