"""The machine: what it is, which cores a fit has, and what else ran meanwhile."""

import contextlib
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

QUIET = 0.5
"""Cores' worth of others' work, during a fit, up to which its time counts."""

THREAD_VARIABLES = (
    *(f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON", "LK")),
    *("POLARS_MAX_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)

_NICE = 10


def pinned(n: int) -> list[int]:
    """The last n cores that this process may use.

    Raises:
        ValueError: where it has fewer.
    """
    cores = sorted(os.sched_getaffinity(0))
    if n > len(cores):
        raise ValueError(f"{n} threads need {n} cores, and this process may use {len(cores)}")
    return cores[-n:]


def give_way() -> None:
    """Let other work go first. Linux may weigh sessions against each other as groups: a process that is
    nice within a session of its own alone would still take half of a core from another.
    """
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # there are no groups, or they are not ours to weigh
        Path("/proc/self/autogroup").write_text(str(_NICE))


def description() -> dict[str, Any]:
    """What the timings are of."""
    cpu = _field("/proc/cpuinfo", "model name") or platform.processor()
    kib = (_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]
    names = "dotbias", "numpy", "numba", "scipy", "polars", "torch"
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(kib) / 2**20, 1),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in names},
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load": os.getloadavg()[0],
    }


def _field(path: str, name: str) -> str | None:
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)


@dataclass(frozen=True)
class Clock:
    """A moment: time, and processor seconds of the machine and of one session of processes.

    The machine's include those that its host took away (steal): to a fit both are somebody else's.
    """

    wall: float
    machine: float
    session: float

    @classmethod
    def of(cls, leader: int) -> "Clock":
        """Now, for the processes of the session whose first has this id."""
        tick = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, softirq, steal, *_ = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        )
        busy = user + nice + system + irq + softirq + steal
        return cls(time.perf_counter(), busy / tick, _session(leader) / tick)

    def others(self, later: "Clock") -> float:
        """Cores that others kept busy between two moments, on average. Both clocks tick, and what is
        less than a tick of each cannot be told from nothing.
        """
        work = (later.machine - self.machine) - (later.session - self.session)
        told = work - 2 / os.sysconf("SC_CLK_TCK")
        return max(0.0, told / max(later.wall - self.wall, 1e-9))


def _session(leader: int) -> int:
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == leader:
            ticks += sum(map(int, fields[11:15]))  # its own, and of its children that have ended
    return ticks
