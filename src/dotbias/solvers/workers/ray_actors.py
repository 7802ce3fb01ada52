"""Workers that are actors of Ray, on one machine or many: what stays with a worker lies in its actor,
and what goes from one to another in Ray's object store.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any

from dotbias.data.stripes import Side
from dotbias.errors import SettingError
from dotbias.extras import install
from dotbias.solvers.workers.blocks import Block, Plan
from dotbias.solvers.workers.exchange import Exchange, Task, WorkerLostError


class RayActors(Exchange):
    """An actor for each worker.

    An actor that dies stays dead: one that Ray started anew would answer without its blocks. Each round
    has a number besides, and an actor refuses any but the next.
    """

    def __init__(
        self, address: str | None, n_workers: int | None, plan: Plan, spec: dict[str, Any]
    ) -> None:
        # Else Ray, which reads this as it is imported, prints of lost workers among a command's results.
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
        try:
            import ray
        except ImportError:
            raise SettingError(
                f"cluster: this needs Ray, which is not installed: {install('cluster')}"
            ) from None
        self._ray, self._mine = ray, not ray.is_initialized()
        if self._mine:
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray has many of its own
                where = "a local cluster" if address is None else f"the cluster {address}"
                raise SettingError(f"cluster: {where} cannot be reached: {error}") from error
        n = n_workers or max(1, int(_resources(ray).get("CPU", 1)))
        super().__init__(min(n, plan.n_blocks), plan, spec)
        self._moving: dict[tuple[Side, int], Any] = {}
        self._actors: list[Any] = []
        self._round = 0

    def start(self) -> list[int]:
        """See ``Exchange.start``."""
        kind = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        self._actors = [kind.remote(self.spec, self.plan.stays) for _ in range(self.n_workers)]
        self._round = 0
        return self._get([actor.process.remote() for actor in self._actors])

    def put(self, side: Side, number: int, block: Block) -> None:
        """See ``Exchange.put``."""
        if side == self.plan.stays:
            self._get([self._actors[self.owner(number)].put.remote(number, block)])
        else:
            self._moving[side, number] = self._ray.put(block)

    def get(self, side: Side, number: int) -> Block:
        """See ``Exchange.get``."""
        if side == self.plan.stays:
            (block,) = self._get([self._actors[self.owner(number)].get.remote(number)])
        else:
            (block,) = self._get([self._moving[side, number]])
        return {name: array.copy() for name, array in block.items()}

    def run(self, tasks: Sequence[Task]) -> list[Any]:
        """See ``Exchange.run``."""
        self._round += 1
        found: list[Any] = [None] * len(tasks)
        asked = []
        for worker, actor in enumerate(self._actors):
            own = [n for n, task in enumerate(tasks) if self.owner(task["block"]) == worker]
            if not own:
                continue
            places = [tuple(tasks[n]["moves"]) for n in own]
            reads = tasks[own[0]]["reads"]
            read = [] if reads is None else range(self.plan.n_blocks)
            given = [self._moving[place] for place in places]
            given += [self._moving[reads, number] for number in read]
            call = actor.run.options(num_returns=len(own) + 1)
            refs = call.remote(self._round, [tasks[n] for n in own], *given)
            self._moving |= dict(zip(places, refs[1:], strict=True))
            asked.append((own, refs[0]))
        for (own, _), results in zip(asked, self._get([ref for _, ref in asked]), strict=True):
            for n, result in zip(own, results, strict=True):
                found[n] = result
        return found

    def close(self) -> None:
        """See ``Exchange.close``."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()
        self._moving.clear()

    def _get(self, refs: list[Any]) -> list[Any]:
        try:
            return list(self._ray.get(refs))
        except self._ray.exceptions.RayError as error:
            if isinstance(error, self._ray.exceptions.RayTaskError):
                raise error.as_instanceof_cause() from None  # type: ignore[no-untyped-call]
            first = str(error).partition("\n")[0]
            raise WorkerLostError(f"a worker has ended ({first})") from error


def _resources(ray: Any) -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()
    return found


class _Actor:
    """A worker, and the blocks that stay with it."""

    def __init__(self, spec: dict[str, Any], stays: Side | None) -> None:
        import numba

        from dotbias.solvers.workers.jobs import job_of

        numba.set_num_threads(1)
        self.job, self.stays, self.round = job_of(spec), stays, 0
        self.blocks: dict[int, Block] = {}

    def process(self) -> int:
        return os.getpid()

    def put(self, number: int, block: Block) -> None:
        self.blocks[number] = {name: array.copy() for name, array in block.items()}

    def get(self, number: int) -> Block:
        return self.blocks[number]

    def run(self, number: int, tasks: list[Task], *given: Block) -> Any:
        """What the tasks of a round return, and then the blocks that came with them to be changed."""
        if number != self.round + 1:
            raise WorkerLostError(
                f"a worker that has done {self.round} rounds is asked for {number}"
            )
        self.round = number
        moving, read = given[: len(tasks)], given[len(tasks) :]
        changed = [{name: array.copy() for name, array in block.items()} for block in moving]
        here = {tuple(task["moves"]): new for task, new in zip(tasks, changed, strict=True)}
        here |= {(tasks[0]["reads"], at): block for at, block in enumerate(read)}
        here |= {(self.stays, at): block for at, block in self.blocks.items()}
        results = [self.job.run(task, lambda *place: here[place]) for task in tasks]
        return [results, *changed]
