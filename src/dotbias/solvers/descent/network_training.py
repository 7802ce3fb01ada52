"""A run of gradient descent on a network: PyTorch takes the gradients, the rule takes the steps.

Ratings lie in memory as tensors, and a batch is a slice of them. Of an embedding only the rows that a
batch looks up take part in its graph, and with lazy semantics only they are moved. So a step costs what
its batch costs, however many users and items there are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Parameters
from dotbias.models.network import TorchModel, load_state, rated, state_of
from dotbias.solvers.descent.network_steps import Lookup, Optimiser
from dotbias.solvers.descent.passes import Floats, Pass, given_order
from dotbias.solvers.descent.rules import Steps
from dotbias.solvers.descent.run import NOISE_DECAY, Run

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


class Shuffled(Pass):
    """Batches of a new (or a given) order, with some ids taken for unknown; ratings in units of their
    std.

    A last batch of a single rating, which batch normalisation cannot take, joins the one before it.
    """

    def __init__(
        self,
        ratings: Ratings,
        *,
        batch_size: int,
        order: NDArray[np.int64] | None,
        masked: float,
        std: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        n = len(ratings)
        self.ratings, self.order, self.masked = ratings, order, masked
        self.device, self.dtype = device, dtype
        self.values = torch.tensor(ratings.values, dtype=dtype, device=device) / std
        self.std = std
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
        for ids, unknown in (
            (ratings.user_indices, ratings.n_users),
            (ratings.item_indices, ratings.n_items),
        ):
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
    """A run on a network. The loss is ``½ ((r̂ - r) / std)²``, in the mean over a batch.

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
        rest = self.validation.rest
        self.device = find_device(solver.device)
        real = torch.float64 if dtype == np.float64 else torch.float32
        self.module = model.to_torch(self.start).to(self.device, real).train()
        if self.batch_size == 1 and _normalises(self.module):
            raise SettingError(
                "batch_size=1: batch normalisation needs at least 2 ratings in each batch"
            )
        self._pass = Shuffled(
            rest,
            batch_size=self.batch_size,
            order=given_order(solver.order, rest),
            masked=model.masked,
            std=ratings.std,
            device=self.device,
            dtype=real,
        )
        self._optimiser = Optimiser(self.module, groups_of(self.module), solver)

    def take(self, low: int, high: int, multiples: Steps, momentum: Steps | None) -> Floats:
        """See ``Run.take``."""
        work, rule = self._pass, self.solver.rule
        half = torch.tensor(0.5, dtype=work.dtype, device=self.device)
        t = self.n_updates + work.t[low:high]
        noise = np.sqrt(self.solver.gradient_noise / t**NOISE_DECAY).tolist()
        moved = None if momentum is None else momentum[low:high]
        coefficients = rule.coefficient_table(t, moved)
        losses = []
        with torch.random.fork_rng(), self._optimiser.watching():
            torch.manual_seed(work.seed + low)
            for n in range(low, high):
                if work.starts[n] == 0:
                    self._refresh()
                users, items = work.users[n], work.items[n]
                self._optimiser.foresee(users, items)
                ratings = rated(self.module, users.ids, items.ids)
                loss: Any = mse_loss(ratings / work.std, work.targets[n])
                loss.backward(half)
                at = n - low
                self._optimiser.step(float(multiples[at]), coefficients[at], noise=noise[at])
                losses.append(loss.detach())
        if not losses:
            return np.zeros(0)
        means = torch.stack(losses).cpu().numpy().astype(np.float64)
        return means * work.sizes[low:high] / 2

    def _refresh(self) -> None:
        """Let the module do what it does before each epoch, if it has a method ``refresh``."""
        refresh: Any = getattr(self.module, "refresh", None)
        if refresh is not None:
            refresh()

    def parameters(self) -> Parameters:
        """The parameters as they are now."""
        self._refresh()
        return self.start | state_of(self.module) | self._evaluated()

    def fitted_rmse(self) -> float | None:
        """Of training without dropout and unknown ids; None with validation rows, which have it."""
        if len(self.validation.values):
            return None
        rest = self._pass.ratings
        found = self.model.predict(self.result(), rest.user_indices, rest.item_indices)
        return float(np.sqrt(np.mean(np.square(found.astype(np.float64) - rest.values))))

    def _evaluated(self) -> Parameters:
        """The parameters to predict with, where they are others than those that move."""
        shapes = {n: w.shape for n, w in self._optimiser.trained.items()}
        found = self._optimiser.evaluated().items()
        return {n: array.reshape(shapes[n]).astype(np.float32) for n, array in found}

    def identity(self) -> dict[str, Any]:
        """See ``EpochLoop.identity``: another device rounds differently."""
        return super().identity() | {"device": self.device.type}

    def state(self) -> dict[str, Floats]:
        """Parameters and buffers, and the optimiser's numbers, copied."""
        values = {f"value/{n}": _array(t) for n, t in self.module.state_dict().items()}
        return values | {f"state/{n}": a for n, a in self._optimiser.state().items()}

    def set_state(self, arrays: dict[str, Floats]) -> None:
        """Put back what ``state`` gave."""
        load_state(self.module, _below("value/", arrays))
        self._optimiser.set_state(_below("state/", arrays))

    def compile(self) -> None:
        """Compile the rule now, so that the first epoch does not include it."""
        self._optimiser.compile()

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
