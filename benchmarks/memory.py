"""Peak memory of a whole fit from a Parquet file, in bytes per rating.

    python benchmarks/memory.py --ratings 20000000 --users 138000 --items 27000 --factors 64

Simulates and writes the file in a process of its own, then fits in another and reports that one's peak
resident memory, Python and all libraries included.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

_WRITE = """
import sys, dotbias as db
path, users, items, n = sys.argv[1], *map(int, sys.argv[2:5])
ratings, _ = db.simulate(users, items, n, seed=0)
ratings.to_frame().write_parquet(path)
"""
_FIT = """
import json, resource, sys, time
import dotbias as db
path, k, epochs = sys.argv[1], *map(int, sys.argv[2:4])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
start = time.perf_counter()
ratings = db.read_ratings(path)
read = time.perf_counter() - start
after_reading = peak()
rec = db.fit(ratings, db.DotBias(n_factors=k), db.GradientDescent(n_epochs=epochs))
history = rec.facts["history"]
print(json.dumps({
    "n": len(ratings), "read_s": read, "fit_s": history["seconds"],
    "epochs_s": sum(e["seconds"] for e in history["epochs"]),
    "after_reading": after_reading, "peak": peak(),
}))
"""


def main(
    n_ratings: Annotated[int, typer.Option("--ratings")] = 4_000_000,
    users: int = 30_000,
    items: int = 10_000,
    factors: int = 64,
    epochs: int = 3,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "ratings.parquet")
        sizes = map(str, (users, items, n_ratings))
        subprocess.run([sys.executable, "-c", _WRITE, path, *sizes], check=True)
        command = [sys.executable, "-c", _FIT, path, str(factors), str(epochs)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures = json.loads(done.stdout)
    n = figures["n"]
    print(
        f"{n:,} ratings, {factors} factors, {epochs} epochs: read in {figures['read_s']:.1f} s, fit in "
        f"{figures['fit_s']:.1f} s ({figures['epochs_s']:.1f} s of it epochs)\n"
        f"peak {figures['peak'] / 1e6:,.0f} MB = {figures['peak'] / n:.1f} bytes per rating; "
        f"after reading {figures['after_reading'] / n:.1f}"
    )


if __name__ == "__main__":
    typer.run(main)
