"""Half steps of least squares on several workers: each reads the ratings of its own rows from disk, and
solves them with the other side's table held.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.ratings import Ratings
from dotbias.data.stripes import OTHER, Side, Stripe
from dotbias.errors import SettingError
from dotbias.models import MODELS
from dotbias.models.base import Array, Model
from dotbias.plain import settings_from_plain
from dotbias.settings import Settings
from dotbias.solvers.least_squares.stripes import Regressions
from dotbias.solvers.workers.blocks import Field, Plan
from dotbias.solvers.workers.choose import exchange_of
from dotbias.solvers.workers.exchange import Exchange
from dotbias.solvers.workers.jobs import Blocks, Job, name_of, spec_of

Move: TypeAlias = Callable[[Regressions, Array, Array, Mapping[str, Any]], list[float]]
"""Moves rows with the other side's table held: of a stripe, that table, the rows (changed in place), and
what the half step says besides; plain numbers about them.
"""


class SharedHalfSteps:
    """What shares half steps out.

    Args:
        exchange: the workers.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    @classmethod
    def of(
        cls,
        make: "Callable[..., Regress]",
        solver: Any,
        model: Model,
        ratings: Ratings,
        width: int,
        **said: Any,
    ) -> "SharedHalfSteps":
        """For a solver whose ``cluster`` says where.

        Args:
            make: makes the job.
            solver, model, ratings: what is estimated, how, and from what.
            width: of both tables.
            said: what the jobs must know besides, plain.

        Raises:
            SettingError: for ratings in memory, or a cluster that there is not.
        """
        if not isinstance(ratings, PreparedPart):
            raise SettingError(
                f"cluster={solver.cluster!r}: workers read prepared ratings: leave cluster out"
            )
        spec = said | spec_of(name_of(make), solver, model, ratings)
        plan = Plan.of(ratings, [Field("rows", (), width)], "float32")
        return cls(exchange_of(solver.cluster, solver.n_workers, plan, spec))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Workers that wait for half steps."""
        with self.exchange.working(lambda: None, lambda: None):
            self.round = 0
            yield

    def half_step(self, side: Side, rows: Array, other: Array, **how: Any) -> Iterator[list[float]]:
        """Move all rows of a side, in place; what each block's move says, block by block.

        Args:
            side: which.
            rows: its table.
            other: the other side's.
            how: what moves need to know, plain.
        """
        plan, self.round = self.exchange.plan, self.round + 1
        tables = {side: rows, OTHER[side]: other}
        places = [(of, number) for of in OTHER for number in range(plan.n_blocks)]
        self.exchange.put({p: {"rows": tables[p[0]][plan.rows(*p)]} for p in places})
        edges = plan.edges[side]
        numbers = [n for n in range(plan.n_blocks) if edges[n] < edges[n + 1]]
        after = dict(zip(numbers, numbers[self.exchange.n_workers :], strict=False))
        tasks = [
            {
                "block": number,
                "moves": [[side, number]],
                "reads": OTHER[side],
                "round": self.round,
                "next": after.get(number),
                "how": how,
            }
            for number in numbers
        ]
        (said,) = self.exchange.run([tasks])
        for place, block in self.exchange.get((side, number) for number in numbers):
            rows[plan.rows(*place)] = block["rows"]
        yield from said


class Regress(Job):
    """Moves the rows of one block after the other; the ratings of the next are read meanwhile.

    Args:
        ratings: where they are.
        made: what a side's kernels want of a stripe.
        move: what moves rows of a side.
    """

    def __init__(
        self,
        ratings: PreparedPart,
        made: Mapping[Side, Callable[[Stripe], Regressions]],
        move: Mapping[Side, Move],
    ) -> None:
        self.ratings, self.made, self.move = ratings, made, move
        self.reader = ThreadPoolExecutor(1)
        self.coming: tuple[tuple[Side, int], Future[Regressions]] | None = None
        self.held: tuple[int, Array] = (0, np.zeros((0, 0), np.float32))

    def run(self, task: Mapping[str, Any], blocks: Blocks) -> list[float]:
        """Move the rows of a block."""
        ((side, number),) = task["moves"]
        stripe = self._stripe(side, number, task["next"])
        if self.held[0] != task["round"]:
            every = range(self.ratings.n_blocks)
            parts = [blocks(task["reads"], n)["rows"] for n in every]
            self.held = task["round"], np.concatenate(parts)
        rows = blocks(side, number)["rows"]
        return self.move[side](stripe, self.held[1], rows, task["how"])

    def _stripe(self, side: Side, number: int, following: int | None) -> Regressions:
        coming, self.coming = self.coming, None
        if following is not None:
            ahead = self.reader.submit(self._read, side, following)
            self.coming = (side, following), ahead
        if coming is not None and coming[0] == (side, number):
            return coming[1].result()
        return self._read(side, number)

    def _read(self, side: Side, number: int) -> Regressions:
        return self.made[side](self.ratings.read_rows(side, number))


def of_task(spec: Mapping[str, Any], *kinds: type[Settings]) -> tuple[Any, Any]:
    """The solver and the model that a job's data describe; the kinds are what the solver is made of."""
    solver = settings_from_plain(spec["solver"], {kind.__name__: kind for kind in kinds})
    return solver, settings_from_plain(spec["model"], MODELS)
