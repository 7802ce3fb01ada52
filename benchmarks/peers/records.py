"""One JSON line for each finding: by them a run goes on, and tables are made of nothing else."""

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]

KEY = "kind", "task", "set", "split", "method", "settings", "threads", "seed", "repeat"
"""What a record of a fit is known by."""


def key(record: Record) -> str:
    return json.dumps([record.get(name) for name in KEY], sort_keys=True)


def plain(value: Any) -> Any:
    """As it is read again: tuples are lists."""
    return json.loads(json.dumps(value))


def first_repeat(fits: Iterable[Record]) -> float:
    """Seconds that the first repeat of a method took, of its fits on all splits of a set."""
    return sum(fit.get("seconds", 0.0) for fit in fits if fit["repeat"] == 0)


@dataclass
class Records:
    """The records of a file, and those that are added to it.

    A fit belongs to the run that it comes after: ``run`` is the number of that.
    """

    path: Path
    found: list[Record] = field(default_factory=list)
    keys: dict[str, Record] = field(default_factory=dict)
    n_runs: int = 0

    @classmethod
    def of(cls, path: Path) -> "Records":
        """What the file has. A line that was cut off, as a run was ended, is no record."""
        records = cls(path)
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            with suppress(json.JSONDecodeError):
                records._take(json.loads(line))
        return records

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While nobody else adds to the file.

        Raises:
            BlockingIOError: where somebody does.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            if file.read()[-1:] not in ("", "\n"):
                print(file=file, flush=True)
            yield

    def _take(self, record: Record) -> None:
        self.found.append(record)
        if record["kind"] == "run":
            self.n_runs += 1
        if record["kind"] in ("try", "fit"):
            record["run"] = self.n_runs - 1
            self.keys[key(record)] = record

    def tidied(self) -> Iterator[Record]:
        """Those that anything is made of, in order: the last of each fit and try and environment, and
        runs that have fits.
        """
        with_fits = {record["run"] for record in self.all("fit")}
        last = {record["library"]: record for record in self.all("environment")}
        n_runs = 0
        for record in self.found:
            kept = record
            if record["kind"] == "run":
                used, n_runs = n_runs in with_fits, n_runs + 1
            elif record["kind"] == "environment":
                used = last[record["library"]] is record
            else:
                used = self.keys[key(record)] is record
                kept = {name: value for name, value in record.items() if name != "run"}
            if used:
                yield kept

    def add(self, record: Record) -> None:
        self._take(plain(record))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def get(self, record: Record) -> Record | None:
        """What was found of it before."""
        return self.keys.get(key(record))

    def all(self, kind: str, **which: Any) -> Iterator[Record]:
        """Those of a kind, the last of each key, whose fields are these."""
        for record in self.keys.values() if kind in ("try", "fit") else self.found:
            if record["kind"] == kind and all(record.get(k) == v for k, v in which.items()):
                yield record
