"""Workers that are actors of Ray, on one machine or many. Blocks lie in the actors; on their way from
one to another they are in Ray's object store, in one bundle for all that go the same way.
"""

import logging
import os
from collections import ChainMap, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any

from dotbias.errors import SettingError
from dotbias.extras import install
from dotbias.solvers.workers.blocks import Block, Place, Plan
from dotbias.solvers.workers.exchange import Exchange, Task, WorkerLostError

# Rounds that are asked for before the first of them is over, so that no worker waits for a call.
_AHEAD = 8


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
                ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray has many of its own
                where = "a local cluster" if address is None else f"the cluster {address}"
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                said = " ".join(lines[:: len(lines) - 1] if len(lines) > 1 else lines)
                raise SettingError(
                    f"cluster: {where} cannot be reached: {said}. Where it asks for a token, set "
                    "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
                ) from error
        n = n_workers or max(1, int(_resources(ray).get("CPU", 1)))
        super().__init__(n, plan, spec)
        self._where: dict[Place, Any] = {}  # a worker, or what refers to a bundle
        self._actors: list[Any] = []
        self._round = 0

    def start(self) -> list[int]:
        """See ``Exchange.start``."""
        kind = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Actor)
        for _, where in zip(range(self.n_workers), cycle(_places_near(self._ray)), strict=False):
            self._actors.append(kind.options(scheduling_strategy=where).remote(self.spec))
        self._round = 0
        return self._get([actor.process.remote() for actor in self._actors])

    def put(self, blocks: Mapping[Place, Block]) -> None:
        """See ``Exchange.put``."""
        bundles: dict[int, dict[Place, Block]] = {}
        for place, block in blocks.items():
            bundles.setdefault(self.owner(place[1]), {})[place] = block
        for bundle in bundles.values():
            self._where |= dict.fromkeys(bundle, self._ray.put(bundle))

    def get(self, places: Iterable[Place]) -> Iterator[tuple[Place, Block]]:
        """See ``Exchange.get``."""
        bundles = self._bundles(places)
        for inside, bundle in zip(bundles.values(), self._get(list(bundles)), strict=True):
            for place in inside:
                yield place, bundle[place]

    def run_joined(self, rounds: Sequence[Sequence[Task]]) -> Iterable[list[Any]]:
        """See ``Exchange.run_joined``."""
        found: list[list[Any]] = []
        under_way: deque[list[Any]] = deque()
        for tasks, following in pairwise([*rounds, ()]):
            under_way.append(self._begin(tasks, following))
            if len(under_way) > _AHEAD:
                found.append(self._end(under_way.popleft()))
        return found + [self._end(asked) for asked in under_way]

    def _begin(self, tasks: Sequence[Task], following: Sequence[Task]) -> list[Any]:
        """Ask each worker to do its tasks of a round; which they are, and what refers to the results."""
        self._round += 1
        goes_to = {tuple(p): self.owner(task["block"]) for task in following for p in task["moves"]}
        reads = {task["reads"] for task in tasks} - {None}
        read = list(self._bundles((side, n) for side in reads for n in range(self.plan.n_blocks)))
        asked, where = [], dict[Place, Any]()
        for worker, actor in enumerate(self._actors):
            own = [n for n, task in enumerate(tasks) if self.owner(task["block"]) == worker]
            if not own:
                continue
            moves = (tuple(place) for n in own for place in tasks[n]["moves"])
            places: list[Any] = list(dict.fromkeys(moves))
            takes = self._bundles(places, worker)
            leaves: dict[int, list[Place]] = {}
            for place in places:
                leaves.setdefault(goes_to.get(place, worker), []).append(place)
            where |= dict.fromkeys(leaves.pop(worker, []), worker)
            call = actor.run.options(num_returns=1 + len(leaves))
            what = [tasks[n] for n in own], list(takes.values()), list(leaves.values())
            refers = call.remote(self._round, *what, *takes, *read)
            result, *bundles = refers if leaves else [refers]
            for bundle, inside in zip(bundles, leaves.values(), strict=True):
                where |= dict.fromkeys(inside, bundle)
            asked.append((own, result))
        self._where |= where
        return asked

    def _end(self, asked: list[Any]) -> list[Any]:
        """What the tasks of a round have returned."""
        results = self._get([result for _, result in asked])
        found = {
            n: each
            for (own, _), of_worker in zip(asked, results, strict=True)
            for n, each in zip(own, of_worker, strict=True)
        }
        return [found[n] for n in range(len(found))]

    def _bundles(
        self, places: Iterable[Place], worker: int | None = None
    ) -> dict[Any, list[Place]]:
        """Bundles that hold blocks, and which of them; those that the worker has are left out."""
        found: dict[Any, list[Place]] = {}
        elsewhere: dict[int, list[Place]] = {}
        for place in places:
            where = self._where[place]
            if not isinstance(where, int):
                found.setdefault(where, []).append(place)
            elif where != worker:
                elsewhere.setdefault(where, []).append(place)
        for owner, inside in elsewhere.items():
            found[self._actors[owner].give.remote(inside)] = inside
        return found

    def close(self) -> None:
        """See ``Exchange.close``."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()
        self._where.clear()

    def _get(self, refs: list[Any]) -> list[Any]:
        try:
            return list(self._ray.get(refs))
        except self._ray.exceptions.RayError as error:
            if isinstance(error, self._ray.exceptions.RayTaskError):
                raise error.as_instanceof_cause() from None  # type: ignore[no-untyped-call]
            first = str(error).partition("\n")[0]
            raise WorkerLostError(f"a worker has ended ({first})") from error


def _places_near(ray: Any) -> list[Any]:
    """Where workers are to be: dealt out to machines, so that where the number of these divides theirs,
    items seldom leave their machine (``staying_order``).
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    machines = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    near = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=True) for node in machines]
    return near or ["DEFAULT"]  # machines that are still to come


def _resources(ray: Any) -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()
    return found


class _Actor:
    """A worker, and the blocks that it has changed last."""

    def __init__(self, spec: dict[str, Any]) -> None:
        import numba

        from dotbias.solvers.workers.jobs import job_of

        numba.set_num_threads(1)
        self.job, self.round = job_of(spec), 0
        self.blocks: dict[Place, Block] = {}

    def process(self) -> int:
        return os.getpid()

    def give(self, places: list[Place]) -> dict[Place, Block]:
        return {place: self.blocks[place] for place in places}

    def run(
        self,
        number: int,
        tasks: list[Task],
        takes: list[list[Place]],
        leaves: list[list[Place]],
        *bundles: dict[Place, Block],
    ) -> Any:
        """What the tasks of a round return, and then a bundle for each worker that is to have blocks."""
        if number != self.round + 1:
            raise WorkerLostError(
                f"a worker that has done {self.round} rounds is asked for {number}"
            )
        self.round = number
        for places, bundle in zip(takes, bundles, strict=False):
            for place in places:
                self.blocks[place] = {name: array.copy() for name, array in bundle[place].items()}
        moves = {tuple(place): self.blocks[*place] for task in tasks for place in task["moves"]}
        here = ChainMap(moves, *bundles[len(takes) :])
        results = [self.job.run(task, lambda *place: here[place]) for task in tasks]
        gone = [{place: self.blocks.pop(place) for place in places} for places in leaves]
        return [results, *gone] if gone else results
