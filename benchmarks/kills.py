"""Kill ``dotbias fit`` with SIGKILL again and again, go on with --resume, and compare with no break.

    python benchmarks/kills.py [--kills 20] [--seed 0] [RATINGS]

For each of several solvers the command is run without a break and with kills at random moments, each run
going on from the checkpoints of the last. What it prints and what is in the model's file must be the
same but for times. Without RATINGS it takes 12,000 invented ones. A kill may strike at any moment: in
choosing, in an epoch, while a checkpoint is written, or while the model is saved.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dotbias as db
from dotbias import model_file

WAYS = {
    "the default, two models": ["--budget", "6s"],
    "gradient descent": ["--solver", "sgd", "--epochs", "200", "--early-stopping", "0.1"],
    "batches, Adam, averages": [
        "--rule",
        "adam",
        "--batch",
        "64",
        "--epochs",
        "30",
        "--average",
        "3",
    ],
    "ALS": ["--solver", "als", "--iterations", "60"],
    "Gibbs, with samples": ["--solver", "gibbs", "--samples", "150", "--keep-samples", "5"],
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
    told = parser.parse_args()
    rng = random.Random(told.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratings = told.ratings
        if ratings is None:
            ratings = folder / "ratings.csv"
            db.simulate(400, 300, 12_000, seed=1)[0].to_frame().write_csv(ratings)
        kills = 0
        for number, (way, how) in enumerate(WAYS.items()):
            due = told.kills * (number + 1) // len(WAYS) - kills
            kills += due
            print(f"{way:26} {one(folder, ratings, how, due, rng)}", flush=True)


def one(folder: Path, ratings: Path, how: list[str], n_kills: int, rng: random.Random) -> str:
    """Fit in one way, with and without kills."""
    whole, broken = folder / "whole.dotbias", folder / "broken.dotbias"
    subprocess.run(command(ratings, whole, how), capture_output=True, check=True)  # it may compile
    started = time.perf_counter()
    done = subprocess.run(command(ratings, whole, how), capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    broken.unlink(missing_ok=True)
    run = folder / "run"
    keeping = ["--checkpoint", str(run), "--checkpoint-every", "0.05", "--resume"]
    line = command(ratings, broken, [*how, *keeping])
    struck = found = 0
    for _ in range(n_kills):
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                process.communicate(timeout=rng.uniform(0.3, 1.0) * seconds)
                continue  # it came to its end: the next one begins again
            except subprocess.TimeoutExpired:
                process.kill()
        struck += 1
        found += any(run.glob("*.checkpoint"))
    last = subprocess.run(line, capture_output=True, text=True, check=True)
    arrays = content(broken)[0] == content(whole)[0]
    facts = content(broken)[1] == content(whole)[1]
    printed = last.stdout == done.stdout
    left = sorted(path.name for path in folder.iterdir() if "part" in path.name or path == run)
    same = json.dumps({"arrays": arrays, "facts": facts, "printed": printed})
    goes_on = len(re.findall("On from ", last.stderr))
    return (
        f"{seconds:5.1f} s unbroken, {struck} kills, {found} left checkpoints, the last run took up "
        f"{goes_on}; same: {same}; left behind: {left}"
    )


if __name__ == "__main__":
    main()
