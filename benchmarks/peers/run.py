"""Does the jobs: each visit a process, pinned to its cores, that is handed one job after the other.

What is timed runs alone. Searches run side by side, one on each core, and give way to other work: their
seconds decide nothing.
"""

import contextlib
import json
import os
import selectors
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

import sets
from contestants import Contestant
from environments import Environment
from jobs import Visit, visits
from machine import QUIET, THREAD_VARIABLES, Clock, give_way, pinned
from records import Record, Records, first_repeat, plain

START_SECONDS = 120.0
"""What a process may take besides its first fit: it imports, compiles, and fits a small part."""
OVER = "over the limit"


@dataclass
class Worker:
    """A process of one method on so many threads. Leaving it ends it and all that it has started."""

    environment: Environment
    visit: Visit
    cores: Sequence[int]
    process: subprocess.Popen[str] | None = None
    errors: IO[str] = field(default_factory=lambda: tempfile.TemporaryFile("w+"))  # noqa: SIM115
    fresh: bool = True

    def __enter__(self) -> Self:
        who, n = self.visit.contestant, str(self.visit.threads)
        script = str(Path(__file__).with_name("worker.py"))
        self.process = subprocess.Popen(
            [self.environment.python, script, who.task, who.library, who.name, n],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | dict.fromkeys(THREAD_VARIABLES, n),
            start_new_session=True,
            preexec_fn=self._settle,
        )
        return self

    def _settle(self) -> None:
        os.sched_setaffinity(0, self.cores)
        if self.visit.kind == "try":
            give_way()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None:
            self.kill()
            self.process.wait()
            for end in (self.process.stdin, self.process.stdout):
                if end is not None:
                    end.close()
        self.errors.close()

    def kill(self) -> None:
        """End it, from whichever thread."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def ask(self, job: Record, limit: float) -> Record:
        """What the process says of a job: seconds of the fit, or why it failed; and how many cores
        others kept busy meanwhile.
        """
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        before = Clock.of(process.pid)
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return {"failed": self._last_words()}
        allowed, self.fresh = limit + START_SECONDS * self.fresh, False
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(allowed):
                return {"failed": f"{OVER} of {limit:g} s"}
        line = process.stdout.readline()
        if not line:
            return {"failed": self._last_words()}
        said: Record = json.loads(line)
        if said.get("seconds", 0) > limit:
            said = {"failed": f"{OVER} of {limit:g} s"}
        return said | {"others": round(before.others(Clock.of(process.pid)), 2)}

    def _last_words(self) -> str:
        assert self.process is not None
        code = self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        return f"ended with {code}: {lines[-1] if lines else 'no word'}"[:300]


@dataclass
class Queue:
    """Everything that was asked for, as far as the records do not have it.

    Args:
        records: where results go.
        environments: of the libraries, by name.
        n_tries: settings tried of each method on each split.
        n_splits: of each set, None for all.
        repeats, threads: of the fits that are timed.
        limit: seconds that a fit may take.
        search: seconds after which no more settings are tried of a method on a split; the first is in
            any case, unless it alone took longer on another split.
        enough: seconds of the first repeat of a method, all splits together, after which there is no
            other.
        budget: seconds after which nothing more is begun.
        say: takes a line of progress.
        again: kinds of fits that are done once more: failed, noisy.
        fits: whether more is done than to choose settings.
    """

    records: Records
    environments: dict[str, Environment]
    n_tries: int
    n_splits: int | None
    repeats: int
    threads: Sequence[int]
    limit: float
    search: float
    enough: float
    budget: float
    say: Callable[[str], None]
    again: frozenset[str] = frozenset()
    fits: bool = True
    began: float = field(default_factory=time.monotonic)
    walls: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)
    _running: list[Worker] = field(default_factory=list, repr=False)

    def run(self, name: str, who: Sequence[Contestant]) -> bool:
        """One set; False where the budget is used up."""
        todo = list(visits(name, who, self.threads, self.repeats))
        fits = [visit for visit in todo if visit.kind == "fit"] if self.fits else []
        searches = [visit for visit in todo if visit.kind == "try"]
        with tempfile.TemporaryDirectory() as folder:
            if not self._search(searches, fits, Path(folder)):
                return False
            for at, visit in enumerate(fits):
                if not self._visit(visit, Path(folder), pinned(visit.threads)):
                    return False
                self._tell_left(visit, self._left(fits[at + 1 :]))
        return True

    def _search(self, searches: Sequence[Visit], fits: Sequence[Visit], folder: Path) -> bool:
        """All searches of a set; False where the budget is used up."""
        idle = sorted(os.sched_getaffinity(0))
        n_cores, waiting = len(idle), list(searches)

        def one(visit: Visit) -> bool:
            with self._lock:
                core = idle.pop()
            try:
                done = self._visit(visit, folder, [core])
            finally:
                with self._lock:
                    idle.append(core)
            with self._lock:
                waiting.remove(visit)
                self._tell_left(visit, self._left(waiting) / n_cores + self._left(fits))
            return done

        with ThreadPoolExecutor(n_cores) as pool:
            try:
                return all(list(pool.map(one, searches)))
            except BaseException:
                self._ended.set()
                with self._lock:
                    for worker in self._running:
                        worker.kill()
                raise

    def _tell_left(self, visit: Visit, seconds: float) -> None:
        if seconds > 0:
            self.say(f"{visit.name}, {visit.contestant.task}: about {seconds / 60:.0f} min left")

    def splits(self, visit: Visit) -> list[str]:
        return sets.labels(visit.contestant.task, visit.name)[: self.n_splits]

    def open_jobs(self, visit: Visit) -> list[Record]:
        """Jobs of a visit that are still to be done."""
        jobs = visit.jobs(self.splits(visit), self.n_tries, self.records)
        known = self._known(visit)
        return [
            job for job in jobs if not self._done(job) and not self._too_long(visit, job, known)
        ]

    def _known(self, visit: Visit) -> list[Record]:
        """Records of this kind of fits of the contestant, with as many threads."""
        who = {"task": visit.contestant.task, "method": visit.contestant.name}
        with self._lock:
            return list(self.records.all(visit.kind, set=visit.name, threads=visit.threads, **who))

    def _done(self, job: Record) -> bool:
        known = self.records.get(job)
        if known is None:
            return False
        noisy = known.get("others", 0) > QUIET and known["kind"] == "fit"
        failed = "failed" in known
        return not (("failed" in self.again and failed) or ("noisy" in self.again and noisy))

    def _too_long(self, visit: Visit, job: Record, known: Sequence[Record]) -> bool:
        """Whether others like it took so long that this one is left out."""
        over = [one for one in known if str(one.get("failed", "")).startswith(OVER)]
        if "failed" in self.again:
            over = []
        if visit.kind == "fit":
            return bool(over) or (visit.repeat > 0 and first_repeat(known) > self.enough)
        first = plain(visit.contestant.tries(1)[0])
        of_split = [one for one in known if one["split"] == job["split"]]
        spent = [one["wall"] for one in of_split] or visit.first_seconds(self.records)[:1]
        return (
            any(one["settings"] == first or one in of_split for one in over)
            or sum(spent) > self.search
        )

    def _visit(self, visit: Visit, folder: Path, cores: Sequence[int]) -> bool:
        """False where the budget is used up."""
        jobs = self.open_jobs(visit)
        environment = self.environments[visit.contestant.library]
        known = self._known(visit)
        while jobs:
            with Worker(environment, visit, cores) as worker, self._watched(worker):
                while jobs:
                    if time.monotonic() - self.began > self.budget or self._ended.is_set():
                        return False
                    job = jobs.pop(0)
                    if self._too_long(visit, job, known):
                        continue
                    started = time.monotonic()
                    found = job | self._job(worker, visit, job, folder)
                    found["wall"] = round(time.monotonic() - started, 3)
                    if self._ended.is_set():  # and the process was killed
                        return False
                    known.append(found)
                    self._add(visit, found)
                    if "failed" in found and "others" not in found:  # the process has gone
                        break
        return True

    @contextlib.contextmanager
    def _watched(self, worker: Worker) -> Iterator[None]:
        """While this is ended with a search, its process is."""
        with self._lock:
            self._running.append(worker)
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(worker)

    def _add(self, visit: Visit, found: Record) -> None:
        with self._lock:
            self.walls.setdefault((visit.name, visit.contestant.name), []).append(found["wall"])
            self.records.add(found)
            self._tell(found)

    def _job(self, worker: Worker, visit: Visit, job: Record, folder: Path) -> Record:
        inner = visit.kind == "try"
        rows = folder / f"{job['task']}-{job['split']}{'-inner' * inner}.npz"
        with self._lock:
            part = _part(job["task"], job["set"], job["split"], inner)
            if not rows.exists():
                part.save(rows)
        out = folder / f"found-{worker.cores[0]}.npy"
        asked = {
            "rows": str(rows),
            "out": str(out),
            "settings": job["settings"],
            "seed": job["seed"],
        }
        said = worker.ask(asked, self.limit)
        if "failed" in said:
            return said
        found = np.load(out, allow_pickle=False)
        figures = part.figures(found)
        if not all(np.isfinite(list(figures.values()))):
            return said | {"failed": "its predictions are not finite"}
        return said | {"figures": {name: round(value, 6) for name, value in figures.items()}}

    def _tell(self, record: Record) -> None:
        who = f"{record['set']} {record['split']} {record['method']}"
        if "failed" in record:
            self.say(f"{who}: {record['failed']}")
            return
        figures = ", ".join(f"{k} {v:.4f}" for k, v in record["figures"].items() if k != "loss")
        noise = f", others {record['others']:.1f}" if record["others"] > QUIET else ""
        how = f"{record['kind']}, {record['threads']} thread" + "s" * (record["threads"] > 1)
        self.say(f"{who} ({how}): {figures} in {record['seconds']:.3g} s{noise}")

    def _left(self, todo: Sequence[Visit]) -> float:
        """Seconds that the rest of a set takes, by what fits of the same methods took so far."""
        means = {key: statistics.fmean(walls) for key, walls in self.walls.items()}
        if not means:
            return 0.0
        usual = statistics.median(means.values())
        return sum(
            means.get((visit.name, visit.contestant.name), usual) * len(self._open_or_likely(visit))
            for visit in todo
        )

    def _open_or_likely(self, visit: Visit) -> Sequence[Any]:
        if visit.kind == "fit" and len(visit.contestant.tries(2)) > 1 and not self._searched(visit):
            return self.splits(visit)
        return self.open_jobs(visit)

    def _searched(self, visit: Visit) -> bool:
        return any(
            visit.chosen(split, self.n_tries, self.records) is not None
            for split in self.splits(visit)
        )


_INNER: dict[tuple[str, str, str], sets.Part] = {}


def _part(task: str, name: str, split: str, inner: bool) -> sets.Part:
    """A split, or the one inside its training rows; of one set at a time."""
    whole = sets.part(task, name, split)
    if not inner:
        return whole
    if (task, name, split) not in _INNER:
        for key in [key for key in _INNER if key[:2] != (task, name)]:
            del _INNER[key]
        _INNER[task, name, split] = whole.inner()
    return _INNER[task, name, split]
