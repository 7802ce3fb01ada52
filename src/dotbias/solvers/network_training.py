"""A run of gradient descent on a network: PyTorch takes the gradients, its optimisers take the steps.

Ratings lie in memory as tensors, and a batch is a slice of them. Embeddings get sparse gradients: with
lazy semantics only the rows that a batch touches go to the optimiser, with their part of its state.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Parameters
from dotbias.models.network import NETWORK_GROUPS, TorchModel, load_state, rated, state_of
from dotbias.solvers.passes import Floats, Pass
from dotbias.solvers.rules import Steps
from dotbias.solvers.run import NOISE_DECAY, Run, given_order

if TYPE_CHECKING:
    from dotbias.solvers.gradient import GradientDescent

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


class Shuffled(Pass):
    """Batches of a new (or a given) order, with some ids taken for unknown.

    A last batch of a single rating, which batch normalisation cannot take, joins the one before it.
    """

    def __init__(
        self,
        ratings: Ratings,
        spread: float,
        *,
        batch_size: int,
        order: NDArray[np.int64] | None,
        masked: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        n = len(ratings)
        self.ratings, self.order, self.masked, self.device = ratings, order, masked, device
        self.values = torch.tensor(ratings.values, dtype=dtype, device=device) / spread
        self.starts = np.append(np.arange(0, n, batch_size), n)
        if len(self.starts) > 2 and batch_size > 1 and n % batch_size == 1:
            self.starts = np.delete(self.starts, -2)
        self.sizes = np.diff(self.starts)
        self.share_done = self.starts[:-1] / n
        self.t = np.arange(1.0, len(self.starts))
        self.n_updates = len(self.sizes)

    def begin(self, rng: np.random.Generator, *, first: bool) -> None:  # noqa: ARG002
        """Shuffle, and mask ids."""
        ratings, n = self.ratings, len(self.ratings)
        order = rng.permutation(n) if self.order is None else self.order
        columns = []
        for ids, unknown in ((ratings.users, ratings.n_users), (ratings.items, ratings.n_items)):
            ids = ids[order].astype(np.int64)
            if self.masked:
                ids[rng.random(n, np.float32) < self.masked] = unknown
            columns.append(torch.from_numpy(ids).to(self.device))
        self.users, self.items = columns
        self.targets = self.values[torch.from_numpy(order).to(self.device)]
        self.seed = int(rng.integers(2**62))


class NetworkTraining(Run[TorchModel]):
    """A run on a network. The loss is ``½ ((r̂ - r) / spread)²``, in the mean over a batch.

    Args:
        solver, model, ratings, seed, dtype: as for ``Run``.
        steps_per_epoch: not needed, as each batch is a step.
    """

    _pass: Shuffled

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
            ratings.spread,
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
        squares = torch.zeros(high - low, dtype=torch.float64, device=self.device)
        with torch.random.fork_rng():
            torch.manual_seed(work.seed + low)
            for n in range(low, high):
                if work.starts[n] == 0:
                    self._refresh()
                batch = slice(int(work.starts[n]), int(work.starts[n + 1]))
                ratings = rated(self.module, work.users[batch], work.items[batch])
                error = ratings / self.ratings.spread - work.targets[batch]
                loss = 0.5 * (error * error).mean()
                self.module.zero_grad()
                loss.backward()
                t = self.n_updates + n + 1
                self._optimiser.step(
                    float(factors[n - low]),
                    None if momentum is None else float(momentum[n]),
                    n_ratings=batch.stop - batch.start,
                    noise=math.sqrt(solver.gradient_noise / t**NOISE_DECAY),
                )
                squares[n - low] = (error.detach() ** 2).sum()
        return squares.cpu().numpy()

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
        self.tables = {part.weight for part in module.modules() if isinstance(part, nn.Embedding)}
        for part in module.modules():
            if isinstance(part, nn.Embedding):
                part.sparse = True  # the gradient names the rows that a batch has touched
        named = dict(module.named_parameters())
        for name, group in groups.items():
            named[name].requires_grad_(group not in solver.frozen)
        self.names = {n: g for n, g in groups.items() if named[n].requires_grad}
        if not self.names:
            raise SettingError("there is nothing to train: every group of the network is frozen")
        self.trained = {name: named[name] for name in self.names}
        self.decay = {name: decay[group] for name, group in self.names.items()}
        # A table whose touched rows alone are moved is handed over as a parameter of those rows.
        self.handed = {
            name: nn.Parameter(w.detach()[:0].clone()) if self._by_rows(w) else w
            for name, w in self.trained.items()
        }
        self.full: dict[str, dict[str, Tensor]] = {
            n: {} for n in self.names if self._by_rows(named[n])
        }
        self.rates = {name: rates[group] for name, group in self.names.items()}
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

        for name, full in self.full.items():  # Adagrad has its numbers from the beginning
            for key, value in self.torch.state[self.handed[name]].items():
                if value.ndim:
                    full[key] = torch.zeros_like(named[name])

    def _by_rows(self, weight: nn.Parameter) -> bool:
        return self.lazy and weight in self.tables

    @torch.no_grad()
    def step(self, factor: float, momentum: float | None, *, n_ratings: int, noise: float) -> None:
        """Move what the gradients of a batch say.

        Args:
            factor: of the rates.
            momentum: in the place of the rule's own, or None.
            n_ratings: size of the batch.
            noise: standard deviation of what is added to each gradient.
        """
        self._set_rates(factor, momentum)
        gradients: dict[str, Tensor] = {}
        rows: dict[str, Tensor] = {}
        shares: dict[str, Any] = {}
        for name, weight in self.trained.items():
            gradient, shares[name] = weight.grad, 1.0
            if gradient is None:
                gradient = torch.zeros_like(weight)
            if gradient.is_sparse:
                gradient, rows[name], shares[name] = self._touched(weight, n_ratings)
            if noise:
                gradient = gradient + noise * torch.randn_like(gradient)
            gradients[name] = gradient
        if self.clip is not None:
            norm = torch.sqrt(sum(((g * g).sum() for g in gradients.values()), torch.zeros(())))
            shrink = (self.clip / norm.clamp(min=self.clip)).item()
            gradients = {name: g * shrink for name, g in gradients.items()}
        for name, gradient in gradients.items():
            lr = self.rates[name] * factor
            self._hand_over(name, gradient, rows.get(name), shares[name], lr)
        self.torch.step()
        for name, full in self.full.items():
            self._take_back(name, full, rows.get(name))

    def _touched(self, weight: nn.Parameter, n_ratings: int) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of the touched rows, the rows, and the share of the batch that touches each."""
        sparse = weight.grad
        assert sparse is not None
        rows, place, counts = torch.unique(
            sparse._indices()[0], return_inverse=True, return_counts=True
        )
        gradient = weight.new_zeros(len(rows), weight.shape[1]).index_add_(
            0, place, sparse._values()
        )
        shares = (counts / n_ratings).to(weight.dtype)[:, None]
        if self.lazy:
            return gradient, rows, shares
        dense = torch.zeros_like(weight).index_copy_(0, rows, gradient)
        return dense, rows, weight.new_zeros(len(weight), 1).index_copy_(0, rows, shares)

    def _hand_over(
        self, name: str, gradient: Tensor, rows: Tensor | None, share: Any, lr: float
    ) -> None:
        weight, handed = self.trained[name], self.handed[name]
        if name in self.full:
            if rows is None:  # nothing was looked up
                handed.grad = None
                return
            handed.data = weight.index_select(0, rows)
            state = self.torch.state[handed]
            for key, table in self.full[name].items():
                state[key] = table.index_select(0, rows)
        decay = self.decay[name]
        if decay and self.decoupled:
            handed.mul_(1 - lr * decay * share)
        elif decay:
            gradient = gradient + decay * share * handed
        handed.grad = gradient

    def _take_back(self, name: str, full: dict[str, Tensor], rows: Tensor | None) -> None:
        if rows is None:
            return
        weight, handed = self.trained[name], self.handed[name]
        weight.index_copy_(0, rows, handed.data)
        for key, value in self.torch.state[handed].items():
            if isinstance(value, Tensor) and value.shape == handed.shape:
                if key not in full:
                    full[key] = torch.zeros_like(weight)
                full[key].index_copy_(0, rows, value)

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
                value = self.full.get(name, {}).get(key, value)
                if isinstance(value, Tensor):
                    arrays[f"{name}/{key}"] = _array(value)
        return arrays

    def set_state(self, arrays: dict[str, Floats]) -> None:
        """Put back what ``state`` gave."""
        for name, handed in self.handed.items():
            state = self.torch.state[handed]
            state.clear()
            self.full.get(name, {}).clear()
            for key, array in _below(f"{name}/", arrays).items():
                value = torch.tensor(array).to(handed.device)
                # A file keeps a single number as an array of one.
                if name in self.full and value.ndim == 2:
                    self.full[name][key] = value
                    state[key] = value[:0]
                else:
                    state[key] = value if value.shape == handed.shape else value.reshape(())


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
