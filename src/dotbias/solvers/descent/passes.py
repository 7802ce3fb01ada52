"""How one pass over the ratings is cut into steps, and which compiled loop takes them.

- ``OneByOne``: one rating at a time over the grid whose blocks share no rows (``batch_size=1``).
- ``Hogwild``: one rating at a time, shared out to threads that overwrite each other.
- ``Batches``: mini-batches up to the full batch, and any given order of the ratings.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.data.stripes import OTHER
from dotbias.errors import SettingError
from dotbias.solvers.decay import row_counts
from dotbias.solvers.descent.batch_kernels import SideTables, batch_kernel
from dotbias.solvers.descent.grid import Grid, lay_out
from dotbias.solvers.descent.kernels import RuleForm, walk_kernel
from dotbias.solvers.descent.losses import Loss
from dotbias.solvers.descent.negatives import Negatives
from dotbias.solvers.descent.rules import Rule, Steps

if TYPE_CHECKING:
    from dotbias.solvers.descent.gradient import GradientDescent

Floats: TypeAlias = NDArray[Any]
Order: TypeAlias = str | Callable[[Ratings], NDArray[Any]]

# Below this many multiplications a step is over before a second thread has begun.
_SHARED_FROM = 1 << 15


@dataclass(eq=False, kw_only=True)
class Tables:
    """What is trained, in the order of the groups, in units of the ratings' std.

    Args:
        values: the parameters, each (n_rows, k) or (n_rows, 1).
        states: the rule's numbers for each parameter, each (n_slots, n_rows, k), or with ``per_row``
            (n_slots, n_rows, 1).
        form: offset, lowest rating, width of the range, and whether the output is a sigmoid.
    """

    values: list[Floats]
    states: list[Floats]
    form: tuple[Any, ...]


@dataclass(eq=False, kw_only=True)
class StepSettings:
    """What the compiled loops need to know about each of n steps.

    Args:
        rates: (n, 4), learning rate of each group; (n, 8) if a ``GroupRule``'s numbers follow.
        coefficients: (n, n_coefficients), the rule's.
        noise: (n,), standard deviation of the noise.
        keys: (n,), its seeds.
        clip: largest norm of the gradient, 0 for no limit (compiled code takes no infinite numbers).
    """

    rates: Floats
    coefficients: Floats
    noise: Floats
    keys: NDArray[np.uint64]
    clip: Any

    def part(self, low: int, high: int) -> "StepSettings":
        """Those of some of the steps."""
        here = slice(low, high)
        per_step = (self.rates, self.coefficients, self.noise, self.keys)
        rates, coefficients, noise, keys = (array[here] for array in per_step)
        return StepSettings(
            rates=rates, coefficients=coefficients, noise=noise, keys=keys, clip=self.clip
        )


@dataclass(eq=False, kw_only=True)
class PassInputs:
    """What every kind of pass needs to know.

    Args:
        rule: the update rule.
        n_coefficients: how many numbers it gets about each step.
        noisy: whether noise is added to the gradients.
        decoupled: whether weight decay acts beside the gradient.
        tables: what is trained.
        ratings: the training ratings.
        std: the unit in which they are measured.
        decay: for users and items, (n_rows, 2): ``Λ`` of each row's factors and bias.
        loss: what is minimised.
        n_negatives: items that are drawn for each rating, if the loss draws any.
    """

    rule: Rule
    n_coefficients: int
    noisy: bool
    decoupled: bool
    tables: Tables
    ratings: Ratings
    std: Any
    decay: tuple[Floats, Floats]
    loss: type[Loss]
    n_negatives: int

    @property
    def values(self) -> Floats:
        """Their values in units of their std, shape (n,)."""
        values: Floats = self.ratings.values.astype(type(self.std)) / self.std
        return values

    def negatives(self) -> Negatives:
        """What is drawn from."""
        if not self.loss.samples():
            return Negatives.none()
        return Negatives.of(self.ratings, self.n_negatives)


def pass_inputs(
    solver: "GradientDescent", ratings: Ratings, tables: Tables, std: Any
) -> PassInputs:
    """What every kind of pass needs to know of a run.

    Args:
        solver: settled.
        ratings: what it is trained on.
        tables: what is trained.
        std: the unit of the ratings, in the precision of all arithmetic.
    """
    penalty = solver.decay.of_rows(row_counts(ratings))
    users, items = (
        np.stack([penalty[f"{s}_factors"], penalty[f"{s}_bias"]], axis=1).astype(type(std))
        for s in OTHER
    )
    return PassInputs(
        rule=solver.rule,
        n_coefficients=len(solver.rule.coefficients(np.ones(1))),
        noisy=solver.gradient_noise > 0,
        decoupled=solver.decoupled,
        tables=tables,
        ratings=ratings,
        std=std,
        decay=(users, items),
        loss=solver.loss_class,
        n_negatives=solver.n_negatives,
    )


class Pass(ABC):
    """One pass over the ratings after the other, each in steps.

    Attributes:
        share_done: (n,), share of the pass that is done when each step begins.
        t: (n,), number of each step within its pass, from 1: where a step of ours takes many
            ratings one at a time, that of the rating in its middle.
        n_updates: how far ``t`` counts in a pass.
        sizes: (n,), ratings of each step.
    """

    share_done: Steps
    t: Steps
    n_updates: int
    sizes: NDArray[np.int64]

    @abstractmethod
    def begin(self, rng: np.random.Generator, *, first: bool) -> None:
        """Put the ratings in order for the next pass; ``first``: it is the run's first."""


class CompiledPass(Pass):
    """A pass whose steps a compiled loop takes."""

    @abstractmethod
    def take(self, low: int, high: int, settings: StepSettings) -> Floats:
        """Take the steps from low to high; sum of the losses of each, shape (high - low,)."""

    def collect(self) -> None:
        """Bring the tables up to date, where steps are taken on copies."""

    def spread(self) -> None:
        """Bring those copies up to date with the tables."""


def decay_per_rating(decay: Floats, counts: NDArray[np.int64]) -> Floats:
    """``Λ`` of each row, shared out to its ratings: shape (n_rows, 2)."""
    each: Floats = decay / np.maximum(counts, 1)[:, None].astype(decay.dtype)
    return each


class OneByOne(CompiledPass):
    """One rating at a time; threads share out blocks that have no row in common.

    A step, at which the rate can change, is a diagonal of the grid or a part of one.

    Attributes:
        order: the diagonals as this pass takes them.
        of_step: (n_steps,), which of them each step is of, as a place in ``order``.
    """

    def __init__(self, inputs: PassInputs, *, seed: int, parts: int, warms_up: bool) -> None:
        rule, ratings = inputs.rule, inputs.ratings
        self.tables, self.parts, self.warms_up = inputs.tables, parts, warms_up
        self.kernel = walk_kernel(
            RuleForm.of(type(rule)), inputs.n_coefficients, inputs.noisy, inputs.loss
        )
        self.negatives = inputs.negatives()
        self.decoupled = inputs.decoupled
        self.decay = (
            decay_per_rating(inputs.decay[0], ratings.user_counts),
            decay_per_rating(inputs.decay[1], ratings.item_counts),
        )
        self.n_updates = len(ratings)
        self._lay_out(inputs, seed)

    def _lay_out(self, inputs: PassInputs, seed: int) -> None:
        self.columns, self.seed = (inputs.ratings, inputs.values), seed
        if not self.negatives.n:
            self._take_grid(lay_out(inputs.ratings, seed, self.columns[1]))

    def _take_grid(self, grid: Grid) -> None:
        self.users, self.items, self.values = grid.users, grid.items, grid.values
        blocks = np.arange(grid.n_blocks)
        of_items = (blocks + blocks[:, None]) % grid.n_blocks  # (n_diagonals, n_blocks)
        diagonals = blocks * grid.n_blocks + of_items
        self.begins = grid.starts[diagonals]
        self.lengths = grid.starts[diagonals + 1] - self.begins
        self.edges = np.stack([grid.edges[of_items], grid.edges[of_items + 1]], axis=2)

    def begin(self, rng: np.random.Generator, *, first: bool) -> None:
        """The diagonals in a new order.

        Where items are drawn they are drawn from the block, so that threads still share no row, and
        items are dealt out to the blocks anew, so that each comes to stand beside every other.
        """
        if self.negatives.n:
            ratings, values = self.columns
            deal = self._new_draws(rng, rng.permutation(ratings.n_items))
            self._take_grid(lay_out(ratings, self.seed, values, deal))
        order = self.order = self._new_order(rng)
        self._cut(self.begins[order], self.lengths[order], self.edges[order], first=first)

    def _new_order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.permutation(len(self.begins))

    def _new_draws(self, rng: np.random.Generator, pool: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw from this pool with a new key."""
        key = np.uint64(rng.integers(2**63))
        self.negatives = self.negatives._replace(pool=pool.astype(np.int32), key=key)
        return pool

    def _cut(
        self,
        begins: NDArray[np.int64],
        lengths: NDArray[np.int64],
        edges: NDArray[np.int64],
        *,
        first: bool,
    ) -> None:
        """Cut each row of ranges (n_rows, n_ranges), with the pools that they draw from, into parts."""
        even = np.arange(self.parts + 1) / self.parts
        cuts = [even] * len(begins)
        if first and self.warms_up:
            # The corrections of Adam and its kin change fast at first, so the first steps are short.
            total = max(int(lengths[0].sum()), 2)
            growing = np.geomspace(1, total, int(8 * np.log2(total)) + 2) / total
            cuts[0] = np.union1d(even, growing)
        ranges, pools = [], []
        for begin, length, edge, cut in zip(begins, lengths, edges, cuts, strict=True):
            ends = begin + np.ceil(length * cut[:, None]).astype(np.int64)  # (parts + 1, n_ranges)
            ranges.append(np.stack([ends[:-1], ends[1:]], axis=2))
            pools.append(np.broadcast_to(edge, ranges[-1].shape))
        self.ranges, self.pools = np.concatenate(ranges), np.concatenate(pools)
        sizes = (self.ranges[:, :, 1] - self.ranges[:, :, 0]).sum(axis=1)
        self.of_step = np.repeat(np.arange(len(cuts)), [len(cut) - 1 for cut in cuts])
        some = sizes > 0
        self.of_step = self.of_step[some]
        self.ranges, self.pools, self.sizes = self.ranges[some], self.pools[some], sizes[some]
        done = np.cumsum(self.sizes) - self.sizes
        self.share_done = done / self.n_updates
        self.t = np.ceil(done + self.sizes / 2)

    def take(self, low: int, high: int, settings: StepSettings) -> Floats:
        """Walk over the ranges of the steps."""
        return self._walk(self.users, self.items, self.values, low, high, settings)

    def _walk(
        self,
        users: Floats,
        items: Floats,
        values: Floats,
        low: int,
        high: int,
        settings: StepSettings,
    ) -> Floats:
        losses: Floats = self.kernel(
            users,
            items,
            values,
            self.ranges[low:high],
            *self.tables.values,
            *self.tables.states,
            *self.tables.form,
            settings.rates,
            settings.coefficients,
            *self.decay,
            self.decoupled,
            settings.clip,
            settings.noise,
            settings.keys,
            self.negatives,
            self.pools[low:high],
        )
        return losses


class Hogwild(OneByOne):
    """One rating at a time in random order, shared out to threads without locks (Niu et al. 2011).

    Threads overwrite each other now and then, so two runs differ.
    """

    n_steps: ClassVar[int] = 16

    def _lay_out(self, inputs: PassInputs, seed: int) -> None:  # noqa: ARG002
        self.columns = inputs.ratings, inputs.values

    def begin(self, rng: np.random.Generator, *, first: bool) -> None:
        """All ratings in a new order, cut into a range for each thread."""
        import numba

        order = rng.permutation(self.n_updates)
        ratings, values = self.columns
        self.users, self.items = ratings.user_indices[order], ratings.item_indices[order]
        self.values = values[order]
        if self.negatives.n:
            self._new_draws(rng, np.arange(ratings.n_items))
        n_ranges = self.n_steps * numba.get_num_threads()
        edges = np.linspace(0, self.n_updates, n_ranges + 1).astype(np.int64)
        begins = edges[:-1].reshape(self.n_steps, -1)
        every = np.broadcast_to(np.array([0, len(self.negatives.pool)]), (*begins.shape, 2))
        self._cut(begins, edges[1:].reshape(self.n_steps, -1) - begins, every, first=first)


class Batches(CompiledPass):
    """Mini-batches, up to the full batch: one step each."""

    def __init__(
        self,
        inputs: PassInputs,
        *,
        batch_size: int,
        order: NDArray[np.int64] | None,
        dense: bool,
    ) -> None:
        rule, ratings, tables = inputs.rule, inputs.ratings, inputs.tables
        n, k = len(ratings), tables.values[0].shape[1]
        self.users, self.items, self.values = (
            ratings.user_indices,
            ratings.item_indices,
            inputs.values,
        )
        self.given, self.order, self.batch_size = order, order, batch_size
        self.starts = np.append(np.arange(0, n, batch_size), n)
        self.sizes = np.diff(self.starts)
        self.share_done = self.starts[:-1] / n
        self.t = np.arange(1.0, len(self.starts))
        self.n_updates = len(self.sizes)
        self.dense, self.decoupled, self.form = dense, inputs.decoupled, tables.form
        self.negatives = inputs.negatives()
        counts = ratings.user_counts, ratings.item_counts
        n_scores = {
            "error": 1,
            "preference": 1 + inputs.n_negatives,
            "pair": 2 * inputs.n_negatives,
        }
        self.sides = tuple(
            _side_tables(
                tables,
                s,
                inputs.decay[s] / n if dense else decay_per_rating(inputs.decay[s], counts[s]),
                batch_size * n_scores[inputs.loss.of],
            )
            for s in (0, 1)
        )
        shared = batch_size * k >= _SHARED_FROM
        self.kernel = batch_kernel(
            RuleForm.of(type(rule)),
            inputs.n_coefficients,
            inputs.noisy,
            shared,
            inputs.loss,
        )

    def begin(self, rng: np.random.Generator, *, first: bool) -> None:  # noqa: ARG002
        """The given order, or a new one; that of a full batch does not matter."""
        if self.negatives.n:
            self.negatives = self.negatives._replace(key=np.uint64(rng.integers(2**63)))
        if self.given is None:
            n = len(self.values)
            full = self.n_updates == 1
            self.order = np.arange(n) if full else rng.permutation(n)

    def take(self, low: int, high: int, settings: StepSettings) -> Floats:
        """One step for each batch."""
        losses: Floats = self.kernel(
            self.users,
            self.items,
            self.values,
            self.order,
            self.starts[low : high + 1],
            self.sides,
            self.form,
            settings.rates,
            settings.coefficients,
            self.dense,
            self.decoupled,
            settings.clip,
            settings.noise,
            settings.keys,
            self.negatives,
        )
        return losses


def _side_tables(tables: Tables, s: int, decay: Floats, n_scores: int) -> SideTables:
    """The users (0) or the items (1), with room for the gradients of a batch of so many scores."""
    factors, bias = tables.values[s], tables.values[2 + s]
    most = min(n_scores, len(factors))
    return SideTables(
        factors=factors,
        bias=bias,
        s_factors=tables.states[s],
        s_bias=tables.states[2 + s],
        decay=decay,
        g_factors=np.zeros((most + 1, factors.shape[1]), factors.dtype),
        g_bias=np.zeros((most + 1, 1), factors.dtype),
        place=np.full(len(factors), most, np.int64),
        touched=np.empty(most, np.int64),
        begin=np.zeros(most + 1, np.int64),
        members=np.empty(n_scores, np.int64),
    )


def given_order(order: Any, ratings: Ratings) -> NDArray[np.int64] | None:
    """The order of the ratings in every epoch, or None for a new one each time."""
    if order == "shuffled":
        return None
    if order == "stored":
        return np.arange(len(ratings))
    difficulty = np.asarray(order(ratings))
    numeric = difficulty.dtype.kind in "biuf"
    if not numeric or difficulty.shape != (len(ratings),) or not np.isfinite(difficulty).all():
        raise SettingError(
            f"order: the function must give one finite number for each of the {len(ratings):,} "
            f"ratings, not {type(difficulty).__name__} of shape {difficulty.shape}"
        )
    return np.argsort(difficulty, kind="stable")
