"""Kill ``dotbias fit`` with SIGKILL again and again, go on with --resume, and compare with no break.

    python benchmarks/kills.py [--kills 20] [--seed 0] [--only WORDS] [RATINGS]

For each of several solvers the command is run without a break and with kills at random moments, each run
going on from the checkpoints of the last. What it prints and what is in the model's file must be the
same but for times. Without RATINGS it takes 12,000 invented ones. A kill may strike at any moment: in
choosing, in an epoch, while a checkpoint is written, or while the model is saved. Those from disk fit
prepared ratings, and all processes that a killed command had started must end with it. ``dotbias
prepare`` is killed, too, and must end in the same files.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dotbias as db
from dotbias import model_file

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
    "from disk": ["--epochs", "400", *_ONE],
    "on processes": ["--epochs", "200", "--cluster", "processes", *_ONE],
    "on Ray": ["--epochs", "100", "--cluster", "ray", *_ONE],
}
# What differs from run to run: times, and what follows from them.
_TIMES = {"seconds", "ratings_per_second", "fitted_at"}


def without_times(data: Any) -> Any:
    """Plain data without its times."""
    if isinstance(data, dict):
        return {name: without_times(each) for name, each in data.items() if name not in _TIMES}
    return [without_times(each) for each in data] if isinstance(data, list) else data


def content(path: Path) -> tuple[dict[str, Any], Any]:
    """What is in a model's file, as bytes and plain data."""
    arrays, metadata = model_file.read(path)
    return {n: (a.dtype.str, a.shape, a.tobytes()) for n, a in arrays.items()}, without_times(
        metadata
    )


def command(ratings: Path, model: Path, how: list[str]) -> list[str]:
    """The command line of a fit."""
    return [sys.executable, "-m", "dotbias", "fit", str(ratings), "-o", str(model), *how]


def main() -> None:
    """Compare, and print one line for each way to fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ratings", type=Path, nargs="?")
    parser.add_argument("--kills", type=int, default=20, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="ways whose name holds these words")
    told = parser.parse_args()
    rng = random.Random(told.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratings = told.ratings
        if ratings is None:
            ratings = folder / "ratings.csv"
            db.simulate(400, 300, 12_000, seed=1)[0].to_frame().write_csv(ratings)
        blocks = folder / "ratings.blocks"
        db.prepare(ratings, blocks)
        ways = {w: (ratings, how) for w, how in WAYS.items()}
        ways |= {w: (blocks, how) for w, how in FROM_DISK.items()}
        ways = {way: each for way, each in ways.items() if told.only in way}
        kills = 0
        for number, (way, (source, how)) in enumerate(ways.items()):
            due = told.kills * (number + 1) // len(ways) - kills
            kills += due
            print(f"{way:26} {one(folder, source, how, due, rng)}", flush=True)
        if told.only in "prepare":
            print(f"{'prepare':26} {prepared(folder, ratings, told.kills, rng)}", flush=True)


def prepared(folder: Path, ratings: Path, n_kills: int, rng: random.Random) -> str:
    """Prepare without and with kills."""
    whole, broken = folder / "whole.blocks", folder / "broken.blocks"
    whole_line, broken_line = (
        [sys.executable, "-m", "dotbias", "prepare", str(ratings), "-o", str(path)]
        for path in (whole, broken)
    )
    started = time.perf_counter()
    subprocess.run(whole_line, capture_output=True, check=True)
    seconds = time.perf_counter() - started
    struck = passed = 0
    while struck < n_kills:
        process = subprocess.Popen(broken_line, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.3, 1.0) * seconds)
            shutil.rmtree(broken)
            continue
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        struck += 1
        passed += broken.exists()  # which is for a kill after its end alone
        shutil.rmtree(broken, ignore_errors=True)
    subprocess.run(broken_line, capture_output=True, check=True)
    same = all(
        (broken / path.name).read_bytes() == path.read_bytes()
        for path in whole.iterdir()
        if path.name != "manifest.json"
    )
    left = sorted(path.name for path in folder.iterdir() if ".part" in path.name)
    return f"{seconds:5.1f} s, {struck} kills, {passed} after its end; same: {same}; left: {left}"


def started_by(process: int) -> set[int]:
    """All processes below one."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {process}


def outlived(processes: set[int]) -> int:
    """How many are still there after five seconds."""
    end = time.monotonic() + 5
    while time.monotonic() < end and (processes := {p for p in processes if _runs(p)}):
        time.sleep(0.1)
    return len(processes)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def begun(line: list[str]) -> "subprocess.Popen[str]":
    """A command that has said what it has read."""
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(line, **piped)
    assert process.stderr is not None
    next(line for line in process.stderr if " ratings from " in line)
    return process


def one(folder: Path, ratings: Path, how: list[str], n_kills: int, rng: random.Random) -> str:
    """Fit in one way, with and without kills."""
    whole, broken = folder / "whole.dotbias", folder / "broken.dotbias"
    subprocess.run(command(ratings, whole, how), capture_output=True, check=True)  # it may compile
    with begun(command(ratings, whole, how)) as process:
        started = time.perf_counter()
        printed, _ = process.communicate()
    seconds = time.perf_counter() - started
    broken.unlink(missing_ok=True)
    run = folder / "run"
    keeping = ["--checkpoint", str(run), "--checkpoint-every", "0.05", "--resume"]
    line = command(ratings, broken, [*how, *keeping])
    struck = found = orphans = 0
    while struck < n_kills:
        with begun(line) as process:
            try:
                process.communicate(timeout=rng.uniform(0.2, 1.0) * seconds)
                continue  # it came to its end: the next one begins again
            except subprocess.TimeoutExpired:
                children = started_by(process.pid)
                process.kill()
        struck += 1
        orphans += outlived(children)
        found += any(run.glob("*.checkpoint"))
    last = subprocess.run(line, capture_output=True, text=True, check=True)
    arrays = content(broken)[0] == content(whole)[0]
    facts = content(broken)[1] == content(whole)[1]
    left = sorted(path.name for path in folder.iterdir() if "part" in path.name or path == run)
    same = json.dumps({"arrays": arrays, "facts": facts, "printed": last.stdout == printed})
    goes_on = len(re.findall("On from ", last.stderr))
    return (
        f"{seconds:5.1f} s of fitting, {struck} kills, {found} left checkpoints, the last run took up "
        f"{goes_on}; same: {same}; left behind: {left}; {orphans} orphans"
    )


if __name__ == "__main__":
    main()
