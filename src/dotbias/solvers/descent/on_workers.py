"""One rating at a time on several workers: each walks over blocks of its own users, and items go from
one to another (Gemulla et al. 2011).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from dotbias.compiled import compiled
from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.stripes import OTHER, Columns, Side
from dotbias.models import MODELS
from dotbias.plain import settings_from_plain
from dotbias.solvers.descent.from_disk import OnDisk
from dotbias.solvers.descent.kernels import RuleForm, walk_kernel
from dotbias.solvers.descent.negatives import Negatives
from dotbias.solvers.descent.passes import (
    Floats,
    PassInputs,
    StepSettings,
    Tables,
    decay_per_rating,
    pass_inputs,
)
from dotbias.solvers.workers.blocks import Block, Field, Place, Plan
from dotbias.solvers.workers.choose import exchange_of
from dotbias.solvers.workers.exchange import Exchange, Task
from dotbias.solvers.workers.jobs import Blocks, Job, spec_of

WALK = "dotbias.solvers.descent.gradient:walk"
"""What makes the job of a worker, where it is known what a solver is made of."""


class OnWorkers(OnDisk):
    """The blocks of a diagonal, shared out to workers; a diagonal is over when all are.

    Attributes:
        pids: the processes of the workers, while they work.
    """

    def __init__(
        self, inputs: PassInputs, *, exchange: Exchange, parts: int, warms_up: bool
    ) -> None:
        super().__init__(inputs, seed=0, parts=parts, warms_up=warms_up)
        self.exchange, self.are_working = exchange, False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Workers that have what is in the tables."""
        with self.exchange.working(self._put, self._fetch) as self.pids:
            self.are_working = True
            try:
                yield
            finally:
                self.are_working = False

    def take(self, low: int, high: int, settings: StepSettings) -> Floats:
        """A round for each diagonal."""
        rounds = [
            self._tasks(*of_diagonal) for of_diagonal in self.by_diagonal(low, high, settings)
        ]
        losses = [
            np.array(said).T for said in self.exchange.run(rounds)
        ]  # (n_steps, n_blocks) each
        sums = [_sums(np.ascontiguousarray(each)) for each in losses]
        return np.concatenate([np.zeros(0), *sums])

    def _tasks(self, number: int, low: int, high: int, settings: StepSettings) -> list[Task]:
        """Those of a diagonal."""
        diagonal = self.order[number]
        ranges = self.ranges[low:high] - self.begins[diagonal][:, None]
        following = self.order[number + 1] if number + 1 < len(self.order) else None
        common = {
            "rates": settings.rates.tolist(),
            "coefficients": settings.coefficients.tolist(),
            "clip": float(settings.clip),
        }
        return [
            common
            | {
                "block": a,
                "moves": [["user", a], ["item", int(b)]],
                "reads": None,
                "ranges": ranges[:, a].tolist(),
                "next": None if following is None else int(self.of_items[following, a]),
            }
            for a, b in enumerate(self.of_items[diagonal])
        ]

    def spread(self) -> None:
        """Hand the tables out."""
        if self.are_working:
            self._put()

    def collect(self) -> None:
        """Bring the tables back."""
        if self.are_working:
            self._fetch()

    def _put(self) -> None:
        self.exchange.put(self._blocks())

    def _fetch(self) -> None:
        here = self._blocks()
        for place, block in self.exchange.get(here):
            for name, array in block.items():
                here[place][name][...] = array

    def _blocks(self) -> dict[Place, Block]:
        """All blocks, as views of the tables."""
        plan = self.exchange.plan
        places: list[Place] = [(side, n) for side in OTHER for n in range(plan.n_blocks)]
        return {place: _block(self.tables, place[0], plan.rows(*place)) for place in places}


@compiled()
def _sums(losses: Any) -> Any:
    """The losses of steps, added in the order in which one process adds them."""
    return losses.sum(axis=1)


def _block(tables: Tables, side: Side, rows: slice) -> Block:
    """The rows of all tables of a side, as views."""
    s = 0 if side == "user" else 1
    return {
        "factors": tables.values[s][rows],
        "bias": tables.values[2 + s][rows],
        "factors_state": tables.states[s][:, rows],
        "bias_state": tables.states[2 + s][:, rows],
    }


def exchange_for(
    cluster: str, n_workers: int | None, inputs: PassInputs, solver: Any, model: Any
) -> Exchange:
    """The workers of a run."""
    ratings, tables = inputs.ratings, inputs.tables
    assert isinstance(ratings, PreparedPart)
    k, n_slots = tables.values[0].shape[1], inputs.rule.n_slots
    k_state = tables.states[0].shape[2]
    fields = [
        Field("factors", (), k),
        Field("bias", (), 1),
        Field("factors_state", (n_slots,), k_state),
        Field("bias_state", (n_slots,), 1),
    ]
    plan = Plan.of(ratings, fields, tables.values[0].dtype.name)
    form = [float(x) for x in tables.form[:3]]
    spec = spec_of(WALK, solver, model, ratings) | {"form": form, "dtype": plan.dtype}
    return exchange_of(cluster, n_workers, plan, spec)


class Walk(Job):
    """Walks over one block of ratings after the other; the system fetches the next meanwhile."""

    def __init__(self, ratings: PreparedPart, spec: Mapping[str, Any], solver: Any) -> None:
        dtype: Any = np.dtype(spec["dtype"]).type
        model = settings_from_plain(spec["model"], MODELS)
        form = (*map(dtype, spec["form"]), model.output == "sigmoid")
        tables = Tables(values=[], states=[], form=form)
        inputs = pass_inputs(solver, ratings, tables, dtype(ratings.std))
        self.ratings, self.inputs, self.dtype = ratings, inputs, dtype
        self.kernel = walk_kernel(
            RuleForm.of(type(inputs.rule)), inputs.n_coefficients, False, inputs.loss
        )
        counts = ratings.user_counts, ratings.item_counts
        self.decay = [decay_per_rating(d, n) for d, n in zip(inputs.decay, counts, strict=True)]
        self.memory = Columns.empty(int(ratings.block_sizes.max()), dtype)

    def run(self, task: Mapping[str, Any], blocks: Blocks) -> list[float]:
        """Walk over the ranges of a block; the losses of each."""
        a, (_, b) = task["block"], task["moves"][1]
        columns = self._read(a, b)
        if task["next"] is not None:
            self.ratings.fetch([(a, task["next"])])
        user, item = blocks("user", a), blocks("item", b)
        ranges = np.array(task["ranges"], np.int64)[:, None]
        n_steps = len(ranges)
        edges = self.ratings.edges("user"), self.ratings.edges("item")
        losses = self.kernel(
            *columns,
            ranges,
            *(side[name] for name in ("factors", "bias") for side in (user, item)),
            *(side[f"{name}_state"] for name in ("factors", "bias") for side in (user, item)),
            *self.inputs.tables.form,
            np.array(task["rates"], self.dtype),
            np.array(task["coefficients"], self.dtype).reshape(n_steps, -1),
            self.decay[0][edges[0][a] : edges[0][a + 1]],
            self.decay[1][edges[1][b] : edges[1][b + 1]],
            self.inputs.decoupled,
            self.dtype(task["clip"]),
            np.zeros(n_steps, self.dtype),
            np.zeros(n_steps, np.uint64),
            Negatives.none(),
            np.zeros((n_steps, 1, 2), np.int64),
        )
        return [float(loss) for loss in losses]

    def _read(self, a: int, b: int) -> Columns:
        """A block, its rows counted from the first of the block."""
        columns = self.memory.part(slice(0, int(self.ratings.block_sizes[a, b])))
        self.ratings.read_blocks([(a, b)], self.inputs.std, columns)
        for side, number in zip(OTHER, (a, b), strict=True):
            rows = columns.of(side)
            rows -= np.int32(self.ratings.edges(side)[number])
        return columns
