"""One JSON line for each finding: by them a run goes on, and tables are made of nothing else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]

KEY = "kind", "task", "set", "split", "method", "settings", "threads", "seed", "repeat"
"""What a record of a fit is known by."""


def key(record: Record) -> str:
    return json.dumps([record.get(name) for name in KEY], sort_keys=True)


@dataclass
class Records:
    """The records of a file, and those that are added to it."""

    path: Path
    found: list[Record] = field(default_factory=list)
    keys: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> "Records":
        """What the file has. A last line that was cut off is no record, and goes."""
        records = cls(path)
        whole = ""
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            try:
                records._take(json.loads(line))
            except json.JSONDecodeError:
                continue
            whole += line + "\n"
        if path.exists() and whole != path.read_text("utf-8"):
            half_way = path.with_suffix(".part")
            half_way.write_text(whole, "utf-8")
            half_way.replace(path)
        return records

    def _take(self, record: Record) -> None:
        self.found.append(record)
        if record["kind"] in ("try", "fit"):
            self.keys[key(record)] = record

    def add(self, record: Record) -> None:
        self._take(json.loads(json.dumps(record)))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def get(self, record: Record) -> Record | None:
        """What was found of it before."""
        return self.keys.get(key(json.loads(json.dumps(record))))

    def all(self, kind: str, **which: Any) -> Iterator[Record]:
        """Those of a kind, the last of each key, whose fields are these."""
        for record in self.keys.values() if kind in ("try", "fit") else self.found:
            if record["kind"] == kind and all(record.get(k) == v for k, v in which.items()):
                yield record
