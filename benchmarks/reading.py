"""Rows per second and peak memory of reading ratings, as CSV, with text ids too, and as Parquet.

    python benchmarks/reading.py --rows 20000000
    python benchmarks/reading.py --rows 20000000 --against ../older/src

The files have the shape of MovieLens 20M (half stars; ids are integers, in text_ids.csv text such as
user-17; the CSVs with times, the Parquet without), their rows in random order. Each is read in a
process of its own, ids mapped and repeated pairs looked for. Memory is the peak of the process beyond
what it held before it began to read.
With another version's sources the two take turns, and the last column is the ratio of their best times.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

RATINGS_PER_USER = 144
N_ITEMS = 26_744


class Measured(NamedTuple):
    seconds: float
    n_bytes: int
    n_ratings: int


def make(folder: Path, n_rows: int) -> None:
    """Write ratings.csv, ratings.parquet and text_ids.csv."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    n_users = -(-n_rows // RATINGS_PER_USER)
    # The k-th rating of a user is of item k * step + start: popular or not, never twice.
    users = np.arange(n_rows) % n_users
    step = rng.integers(1, N_ITEMS // RATINGS_PER_USER, n_users)[users]
    items = (np.arange(n_rows) // n_users * step) + rng.integers(0, 100, n_users)[users]
    order = rng.permutation(n_rows)
    frame = pl.DataFrame(
        {
            "userId": users[order] + 1,
            "movieId": items[order] * 5 + 1,
            "rating": rng.integers(1, 11, n_rows) / 2,
            "timestamp": rng.integers(789_652_009, 1_427_784_002, n_rows),
        }
    )
    frame.write_csv(folder / "ratings.csv")
    frame.drop("timestamp").write_parquet(folder / "ratings.parquet")
    ids = pl.format("user-{}", "userId"), pl.format("B{}", "movieId")
    frame.with_columns(userId=ids[0], movieId=ids[1]).write_csv(folder / "text_ids.csv")


def measure(path: Path) -> Measured:
    """Read a file in a process that has everything imported."""
    import numba  # noqa: F401 - whoever reads ratings goes on to fit them

    from dotbias.data.read import read_ratings

    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    n_ratings = len(read_ratings(path))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Measured(seconds, (peak - before) * unit, n_ratings)


def measured(path: Path, sources: str | None) -> Measured:
    """``measure`` in a process of its own, which takes the package from there.

    No process of ``multiprocessing``: it would take the package from where this one does.
    """
    own = [] if sources is None else [sources]
    paths = [*own, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, __file__, "--measure", str(path)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    seconds, n_bytes, n_ratings, package = json.loads(done.stdout.splitlines()[-1])
    if sources is not None and not Path(package).is_relative_to(Path(sources).resolve()):
        raise SystemExit(f"{sources}: the package was taken from {package}")
    return Measured(seconds, n_bytes, n_ratings)


def main() -> None:
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against", help="src folder of another version, to compare with")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        import dotbias

        print(json.dumps([*measure(options.measure), dotbias.__file__]))
        return

    columns = ["file", "size, MB", "best, s", "million rows/s", "peak, bytes/rating"]
    table = Table(*columns, *(["times the other's"] if options.against else []))
    table.title = f"Reading {options.rows:,} ratings, best of {options.repeats}"
    with TemporaryDirectory() as folder:
        # In another process: what this one has held counts for those that it starts.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            process.submit(make, Path(folder), options.rows).result()
        for path in sorted(Path(folder).iterdir()):
            runs, others = [], []
            for _ in range(options.repeats):
                runs.append(measured(path, None))
                if options.against:
                    others.append(measured(path, options.against).seconds)
            best = min(run.seconds for run in runs)
            peak = max(run.n_bytes / run.n_ratings for run in runs)
            size = path.stat().st_size / 1e6
            speed = options.rows / best / 1e6
            ratio = [f"{best / min(others):.2f}"] if others else []
            shown = f"{size:,.0f}", f"{best:.2f}", f"{speed:.1f}", f"{peak:.1f}"
            table.add_row(path.name, *shown, *ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
