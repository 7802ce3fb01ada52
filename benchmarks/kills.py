"""Kill ``dotbias fit`` with SIGKILL again and again, go on with --resume, and compare with no break.

    python benchmarks/kills.py [--kills 20] [--seed 0] [--only WORDS] [RATINGS]

For each of several ways to fit, the command is run without a break and then with kills, each run going
on from the checkpoints of the last; ``dotbias prepare`` is killed, too. The moment of a kill is drawn
from the time that the run has left, from its first instruction to its last, and half as much again, so
that one in three comes to its end. Where there are workers, one of them is killed now and then in the
place of the command, which must go on to its end by itself. After each end it all begins anew.

At each end what is printed and what is in the model's file must be the same as without a break but for
times, and nothing else may lie there. After each kill all processes must end that the command had
started, which are known by the folder that they were started in. Without RATINGS it takes 12,000
invented ones, and a million to prepare, which are read in parts.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dotbias as db
from dotbias import model_file
from dotbias.solvers.checkpoint import CHECKPOINT_KIND

_ADAM = ["--rule", "adam", "--batch", "64", "--epochs", "300", "--average", "3"]
_ONE = ["--for", "predict"]
WAYS = {
    "the default, two models": ["--budget", "6s"],
    "gradient descent": ["--solver", "sgd", "--epochs", "1500", "--early-stopping", "0.1", *_ONE],
    "batches, Adam, averages": [*_ADAM, *_ONE],
    "ALS": ["--solver", "als", "--iterations", "200", *_ONE],
    "Gibbs, with samples": ["--solver", "gibbs", "--samples", "300", "--keep-samples", "5", *_ONE],
}
FROM_DISK = {
    "from disk": ["--epochs", "200", *_ONE],
    "on processes": ["--epochs", "60", "--cluster", "processes", *_ONE],
    "on Ray": ["--epochs", "25", "--cluster", "ray", *_ONE],
}
# What differs from run to run: times, and what follows from them.
_TIMES = {"seconds", "ratings_per_second", "fitted_at"}
# How the workers of a fit call themselves.
_WORKER = re.compile(rb"dotbias\.solvers\.workers\.serve|^ray::_Actor")
# Where a cluster is gone, these of Ray wait a minute for it before they end, and do nothing meanwhile.
_AGENT = re.compile(
    rb"^ray::(DashboardAgent|RuntimeEnvAgent)|dashboard/agent\.py|runtime_env/agent/main\.py"
)
_KEPT = ["--checkpoint", "run", "--checkpoint-every", "0.001", "--resume"]
# How often a worker is killed in the place of its command, which then must come to its end.
_LOSES = 1 / 3
# Seconds within which what a killed command had started must have ended, and the agents of Ray.
_GRACE, _GRACE_OF_AGENTS = 10.0, 90.0
# Seconds within which any command must come to its end.
_LONGEST = 600.0
_STEP = 0.01


def main() -> None:
    """Compare, and print one line for each way to fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ratings", type=Path, nargs="?")
    parser.add_argument("--kills", type=int, default=20, help="of each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="ways whose name holds these words")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name).resolve()
        ratings = large = asked.ratings and asked.ratings.resolve()
        if ratings is None:
            ratings, large = base / "ratings.csv", base / "large.csv"
            db.simulate(400, 300, 12_000, seed=1)[0].to_frame().write_csv(ratings)
            db.simulate(20_000, 5_000, 1_000_000, seed=1)[0].to_frame().write_csv(large)
        db.prepare(ratings, base / "ratings.blocks")
        ways: dict[str, _Fit | _Prepare] = {way: _Fit(ratings, how) for way, how in WAYS.items()}
        ways |= {way: _Fit(base / "ratings.blocks", how) for way, how in FROM_DISK.items()}
        ways["prepare"] = _Prepare(large)
        for way in (each for each in ways if asked.only in each):
            folder = base / "here"
            folder.mkdir()
            found = kill_again_and_again(ways[way], folder, asked.kills, random.Random(asked.seed))
            print(f"{way:26} {found}", flush=True)
            shutil.rmtree(folder)


class _Fit:
    """A fit that leaves checkpoints."""

    def __init__(self, ratings: Path, how: list[str]) -> None:
        self.line = ["fit", str(ratings), "-o", "m.dotbias", *how]
        self.again = [*self.line, *_KEPT]

    def content(self, folder: Path) -> dict[str, Any]:
        """What is in the model's file, but for times."""
        arrays, metadata = model_file.read(folder / "m.dotbias")
        exact = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}
        return {"arrays": exact, "facts": _without_times(metadata)}

    def fitting(self, folder: Path) -> tuple[int, float]:
        """Epochs of a command that has come to its end, and their seconds: it has fitted twice."""
        fits = list(_histories(model_file.read(folder / "m.dotbias")[1]))
        return 2 * sum(len(fit["epochs"]) for fit in fits), 2 * sum(fit["seconds"] for fit in fits)

    def n_done(self, folder: Path) -> int:
        """Epochs that are in checkpoints, each of which must be whole."""
        kept = [model_file.read(p, CHECKPOINT_KIND)[1] for p in folder.glob("run/*.checkpoint")]
        return sum(len(fit["epochs"]) for fit in _histories(kept))


class _Prepare:
    """Ratings that are prepared in parts; whoever is killed there begins again."""

    def __init__(self, ratings: Path) -> None:
        self.line = self.again = ["prepare", str(ratings), "-o", "r.blocks", "--memory", "512MiB"]

    def content(self, folder: Path) -> dict[str, Any]:
        """All files that were prepared."""
        return {path.name: path.read_bytes() for path in (folder / "r.blocks").iterdir()}

    def fitting(self, _: Path) -> tuple[int, float]:
        """Nothing is spared."""
        return 1, 0.0

    def n_done(self, folder: Path) -> int:
        """Nothing; what is in its place must be whole."""
        if (folder / "r.blocks").exists():
            db.PreparedRatings.open(folder / "r.blocks")
        return 0


def kill_again_and_again(
    way: _Fit | _Prepare, folder: Path, n_kills: int, rng: random.Random
) -> str:
    """Run a command without and with kills in an empty folder; what came of it, in words."""
    with running(way.line, folder) as process:  # which may compile
        process.wait(_LONGEST)
    unbroken = came_of(way, folder)
    began = time.monotonic()
    with running(way.again, folder) as process:
        seconds = wait(process, _LONGEST)
    n_epochs, fitting = way.fitting(folder)
    share = min(0.9, fitting / (time.monotonic() - began))
    differing = differences(came_of(way, folder), unbroken)
    struck: Counter[str] = Counter()
    orphans: Counter[str] = Counter()
    n_ends = n_lost = 0
    ended = False
    while struck.total() < n_kills or not ended:
        left = seconds * (1 - share * min(1.0, way.n_done(folder) / n_epochs))
        before = files(folder)
        with running(way.again, folder) as process:
            if struck.total() == n_kills:
                process.wait(_LONGEST)
            else:
                wait(process, rng.uniform(0, 1.5 * left))
            ended = process.poll() is not None
            if not ended and rng.random() < _LOSES and (workers := workers_in(folder)):
                os.kill(rng.choice(workers), signal.SIGKILL)
                n_lost, ended = n_lost + 1, True
            if not ended:
                process.kill()
            if process.wait(_LONGEST) and ended:
                raise RuntimeError(told(folder, "said"))
        orphans += outlived(folder, _GRACE, but=_AGENT)
        if ended:
            n_ends += 1
            differing += differences(came_of(way, folder), unbroken)
        else:
            struck[moment_of(files(folder) - before, told(folder, "said"))] += 1
    orphans += outlived(folder, _GRACE_OF_AGENTS)
    moments = ", ".join(f"{n} {moment}" for moment, n in sorted(struck.items()))
    lost = f" and {n_lost} lost workers" if n_lost else ""
    return (
        f"{seconds:5.1f} s, {struck.total()} kills ({moments}){lost}, {n_ends} ends; "
        f"differing: {dict(differing) or 'nothing'}; orphans: {dict(orphans) or 'none'}"
    )


def files(folder: Path) -> set[str]:
    """What lies there, and in the folder of checkpoints."""
    paths = [*folder.glob("*"), *folder.glob("run/*")]
    return {str(path.relative_to(folder)) for path in paths}


def moment_of(new: set[str], said: str) -> str:
    """When a kill has come, by the files that are new since the command began, and what it has said."""
    parts = [name for name in new if name.endswith(".part")]
    if any(name.startswith("run") for name in parts):
        return "in a checkpoint"
    if parts:
        return "in saving"
    if {"m.dotbias", "r.blocks"} & new:
        return "after it"
    return "in fitting" if " ratings from " in said else "before"


@contextmanager
def running(line: list[str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A command in a folder; what it says is kept beside it."""
    beside = folder.parent
    with (beside / "printed").open("wb") as printed, (beside / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "dotbias", *line],
            cwd=folder,
            env=os.environ | {"RAY_TMPDIR": str(beside)},
            stdout=printed,
            stderr=said,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait(process: "subprocess.Popen[bytes]", most: float) -> float:
    """Wait for the end of a command, but so many seconds at most; how many it was. They are counted in
    small steps, so that none passes while both are stopped.
    """
    n_steps = 0
    while process.poll() is None and n_steps * _STEP < most:
        time.sleep(_STEP)
        n_steps += 1
    return n_steps * _STEP


def came_of(way: _Fit | _Prepare, folder: Path) -> dict[str, Any]:
    """All that a command has left, which is removed."""
    left = sorted(path.name for path in folder.iterdir())
    found = {"printed": told(folder, "printed"), "left": left, **way.content(folder)}
    shutil.rmtree(folder)
    folder.mkdir()
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> Counter[str]:
    """What is not the same of what came of two commands."""
    return Counter(what for what in one.keys() | other.keys() if one.get(what) != other.get(what))


def told(folder: Path, what: str) -> str:
    """What the last command has printed, or said."""
    return (folder.parent / what).read_text()


def in_folder(folder: Path) -> dict[int, bytes]:
    """Processes that were started in a folder, and how they call themselves."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # someone else's, or over
            if place.readlink() == folder and (name := place.with_name("cmdline").read_bytes()):
                found[int(place.parent.name)] = name
    return found


def workers_in(folder: Path) -> list[int]:
    """The processes of workers."""
    return [number for number, name in in_folder(folder).items() if _WORKER.search(name)]


def outlived(folder: Path, seconds: float, but: re.Pattern[bytes] | None = None) -> Counter[str]:
    """The processes that are still there after a time, by name, but for some."""
    end = time.monotonic() + seconds
    while True:
        names = [n for n in in_folder(folder).values() if but is None or not but.search(n)]
        if not names or time.monotonic() > end:
            return Counter(name.replace(b"\0", b" ").decode(errors="replace") for name in names)
        time.sleep(0.1)


def _histories(data: Any) -> Iterator[dict[str, Any]]:
    """The histories of fits that are somewhere in plain data."""
    if isinstance(data, dict) and "epochs" in data:
        yield data
    elif isinstance(data, dict | list):
        for each in data.values() if isinstance(data, dict) else data:
            yield from _histories(each)


def _without_times(data: Any) -> Any:
    """Plain data without its times."""
    if isinstance(data, dict):
        return {name: _without_times(each) for name, each in data.items() if name not in _TIMES}
    return [_without_times(each) for each in data] if isinstance(data, list) else data


if __name__ == "__main__":
    main()
