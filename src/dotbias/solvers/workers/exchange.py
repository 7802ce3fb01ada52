"""Workers that share out blocks of ratings, and what carries tables and tasks between them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dotbias.data.stripes import Side
from dotbias.errors import DotbiasError
from dotbias.solvers.workers.blocks import Block, Plan

Task = dict[str, Any]
"""What a worker is to do, as plain data. ``"block"`` is the number of the block that it is about, which
says whose task it is; ``"moves"``, a side and a number, the block that comes for it, is changed and goes
on; ``"reads"`` a side all of whose blocks it reads, if any.
"""


class WorkerLostError(DotbiasError):
    """A worker has ended, and with it the blocks that it held."""


class Exchange(ABC):
    """Workers, the blocks that they hold, and how these get from one to another.

    Each worker reads its own ratings from the folder in which they lie. What is about block ``number``
    is done by worker ``number % n_workers``. The blocks of a side may stay there; others go from worker
    to worker. A task changes blocks that no other of the same round touches, so the number of workers
    changes no bit of what comes out.

    Args:
        n_workers: how many.
        plan: the arrays of each block.
        spec: plain data, from which a worker makes its job (``dotbias.solvers.workers.jobs``).
    """

    def __init__(self, n_workers: int, plan: Plan, spec: dict[str, Any]) -> None:
        self.n_workers, self.plan, self.spec = n_workers, plan, spec

    def owner(self, block: int) -> int:
        """Which worker a block stays with."""
        return block % self.n_workers

    @abstractmethod
    def start(self) -> list[int]:
        """Start the workers, whose blocks are still to be put; the number of each one's process.

        Raises:
            WorkerLostError: where one does not start.
        """

    @abstractmethod
    def put(self, side: Side, number: int, block: Block) -> None:
        """Set the arrays of a block."""

    @abstractmethod
    def get(self, side: Side, number: int) -> Block:
        """The arrays of a block, copied."""

    @abstractmethod
    def run(self, tasks: Sequence[Task]) -> list[Any]:
        """What each task of a round has returned, plain data, in the order of the tasks.

        Raises:
            WorkerLostError: when a worker has ended; blocks are then as nobody knows.
            DataError: for ratings that cannot be read.
        """

    @contextmanager
    def working(
        self, spread: Callable[[], None], collect: Callable[[], None]
    ) -> Iterator[list[int]]:
        """Workers that have what ``spread`` puts, from which ``collect`` gets it when they have done,
        unless one is lost; the numbers of their processes.
        """
        try:
            processes = self.start()
            spread()
            try:
                yield processes
            except KeyboardInterrupt:
                collect()
                raise
            collect()
        finally:
            self.close()  # those, too, of whom one has not started

    @abstractmethod
    def close(self) -> None:
        """End the workers, and let go of the blocks; they can be started again."""
