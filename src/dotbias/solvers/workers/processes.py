"""Workers that are processes of this machine: blocks lie in memory that all of them see."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from dotbias.errors import DataError, SettingError
from dotbias.memory import in_units, reserve
from dotbias.solvers.workers.blocks import Block, Place, Plan
from dotbias.solvers.workers.exchange import Exchange, Task, WorkerLostError

# Each worker takes one thread of every library.
_THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
_SHARED = "/dev/shm"


class Processes(Exchange):
    """A process for each worker. It reads tasks from its standard input, and ends where that ends, so
    none outlives this one, however it ends. The shared memory has no name, and goes with the last of
    them.
    """

    def __init__(self, n_workers: int, plan: Plan, spec: dict[str, Any]) -> None:
        super().__init__(n_workers, plan, spec)
        if os.name != "posix":
            raise SettingError("cluster='processes' needs Linux or macOS: leave cluster out")
        self._blocks: dict[Place, Block] = {}
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> list[int]:
        """See ``Exchange.start``."""
        folder = _SHARED if Path(_SHARED).is_dir() else tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                reserve(file, self.plan.n_bytes)
            except OSError as error:
                needed = in_units(self.plan.n_bytes)
                raise SettingError(
                    f"cluster='processes': the tables take {needed} of shared memory, and {folder} has "
                    f"no room ({error.strerror}): make it larger, or leave cluster out"
                ) from error
            memory = np.memmap(file, np.uint8, "r+", shape=(self.plan.n_bytes,))
            self._blocks = self.plan.views(np.asarray(memory))
            for _ in range(self.n_workers):
                worker = subprocess.Popen(
                    [sys.executable, "-m", "dotbias.solvers.workers.serve", str(file.fileno())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    pass_fds=[file.fileno()],
                    env=os.environ | dict.fromkeys(_THREADS, "1"),
                    start_new_session=True,  # Ctrl-C is for this process to answer
                )
                self._workers.append(worker)
        for number in range(self.n_workers):
            self._say(number, {"plan": self.plan.to_plain(), "spec": self.spec})
        for number in range(self.n_workers):
            self._hear(number)
        return [worker.pid for worker in self._workers]

    def put(self, blocks: Mapping[Place, Block]) -> None:
        """See ``Exchange.put``."""
        for place, block in blocks.items():
            for name, array in block.items():
                self._blocks[place][name][...] = array

    def get(self, places: Iterable[Place]) -> Iterator[tuple[Place, Block]]:
        """See ``Exchange.get``."""
        return ((place, self._blocks[place]) for place in places)

    def run_joined(self, rounds: Sequence[Sequence[Task]]) -> Iterable[list[Any]]:
        """See ``Exchange.run_joined``."""
        return [self._run(tasks) for tasks in rounds]

    def _run(self, tasks: Sequence[Task]) -> list[Any]:
        """One round."""
        share: list[list[int]] = [[] for _ in range(self.n_workers)]
        for number, task in enumerate(tasks):
            share[self.owner(task["block"])].append(number)
        for worker, own in enumerate(share):
            if own:
                self._say(worker, [tasks[number] for number in own])
        found: list[Any] = [None] * len(tasks)
        for worker, own in enumerate(share):
            if own:
                for number, result in zip(own, self._hear(worker), strict=True):
                    found[number] = result
        return found

    def close(self) -> None:
        """See ``Exchange.close``."""
        for worker in self._workers:
            _end(worker)
        self._workers.clear()
        self._blocks.clear()

    def _say(self, number: int, message: Any) -> None:
        stdin = self._pipe(number, "stdin")
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
        except OSError as error:
            raise self._lost(number) from error

    def _hear(self, number: int) -> Any:
        line = self._pipe(number, "stdout").readline()
        if not line.endswith(b"\n"):
            raise self._lost(number)
        said = json.loads(line)
        if "error" in said:  # a damaged file, say: no other worker would read it either
            raise DataError(f"worker {number}: {said['error']}")
        return said["found"]

    def _pipe(self, number: int, name: str) -> IO[bytes]:
        pipe: IO[bytes] = getattr(self._workers[number], name)
        return pipe

    def _lost(self, number: int) -> WorkerLostError:
        return WorkerLostError(
            f"worker {number} has ended (exit status {self._workers[number].wait()})"
        )


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with suppress(OSError):  # what was still to be written has no reader
                pipe.close()
