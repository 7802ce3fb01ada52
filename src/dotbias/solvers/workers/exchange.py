"""Workers that share out blocks of ratings, and what carries tables and tasks between them."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from typing import Any

from dotbias.errors import DotbiasError
from dotbias.solvers.workers.blocks import Block, Place, Plan

_log = logging.getLogger("dotbias")

Task = dict[str, Any]
"""What a worker is to do, as plain data. ``"block"`` is the number of the block that it is about, which
says whose task it is; ``"moves"`` are the places of the blocks that it changes; ``"reads"`` is a side,
if there is one, all of whose blocks it reads.
"""


class WorkerLostError(DotbiasError):
    """A worker has ended, and with it the blocks that it held."""


@cache  # a command may share out several fits
def _say_idle(n_workers: int, n_blocks: int) -> None:
    _log.warning(
        "Of %s workers %s have something to do, for the ratings lie in %s blocks on a side: "
        "prepare them in more, n_blocks=%d (dotbias prepare --blocks %d)",
        *(n_workers, n_blocks, n_blocks, n_workers, n_workers),
    )


class Exchange(ABC):
    """Workers, the blocks that they hold, and how these get from one to another.

    Each worker reads its own ratings from the folder in which they lie. What is about block ``number``
    is done by worker ``number % n_workers``, and blocks go to the worker that changes them next, or
    stay. A task changes blocks that no other of the same round touches, so the number of workers changes
    no bit of what comes out.

    Args:
        n_workers: how many; there are no more than blocks on a side, and it is said once.
        plan: the arrays of each block.
        spec: plain data, from which a worker makes its job (``dotbias.solvers.workers.jobs``).
    """

    def __init__(self, n_workers: int, plan: Plan, spec: dict[str, Any]) -> None:
        if n_workers > plan.n_blocks:
            _say_idle(n_workers, plan.n_blocks)
        self.n_workers, self.plan, self.spec = min(n_workers, plan.n_blocks), plan, spec

    def owner(self, block: int) -> int:
        """Which worker does what is about a block."""
        return block % self.n_workers

    @abstractmethod
    def start(self) -> list[int]:
        """Start the workers, whose blocks are still to be put; the number of each one's process.

        Raises:
            WorkerLostError: where one does not start.
        """

    @abstractmethod
    def put(self, blocks: Mapping[Place, Block]) -> None:
        """Set the arrays of blocks."""

    @abstractmethod
    def get(self, places: Iterable[Place]) -> Iterator[tuple[Place, Block]]:
        """The arrays of blocks: to be copied, for they are what workers go on to change."""

    def run(self, rounds: Sequence[Sequence[Task]]) -> list[list[Any]]:
        """What each task of each round has returned, plain data, in the order of the tasks.

        Tasks begin when those of earlier rounds whose blocks they need are over. Rounds between which no
        block goes to another worker are one to the workers.

        Raises:
            WorkerLostError: when a worker has ended; blocks are then as nobody knows.
            DataError: for ratings that cannot be read.
        """
        joined: list[list[Task]] = []
        owners: dict[Place, int] = {}
        for tasks in rounds:
            now = {tuple(p): self.owner(task["block"]) for task in tasks for p in task["moves"]}
            stay = all(owners.get(place, worker) == worker for place, worker in now.items())
            if not joined or not stay or any(task["reads"] for task in tasks):
                joined.append([])
                owners = {}
            joined[-1] += tasks
            owners |= now
        results = iter(chain.from_iterable(self.run_joined(joined)))
        return [list(islice(results, len(tasks))) for tasks in rounds]

    @abstractmethod
    def run_joined(self, rounds: Sequence[Sequence[Task]]) -> Iterable[list[Any]]:
        """See ``run``: each worker does its tasks of a round one after the other, and no other worker
        changes their blocks.
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
