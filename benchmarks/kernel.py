"""Speed of the compiled epoch: ratings per second by number of factors and threads.

    python benchmarks/kernel.py                              # 1 million ratings, quick
    python benchmarks/kernel.py --ratings 20000000 --users 138000 --items 27000 --factors 64

Simulates ratings (not timed), lays them out (timed apart), compiles, then times epochs; each figure is
the median of the epochs with their range.
"""

import time
from typing import Annotated

import numba
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
from dotbias.solvers.gradient import _Run, _threads
from dotbias.solvers.grid import lay_out


def main(
    n_ratings: Annotated[int, typer.Option("--ratings")] = 1_000_000,
    users: int = 6040,
    items: int = 3706,
    factors: Annotated[list[int] | None, typer.Option()] = None,
    epochs: int = 5,
    output: str = "linear",
) -> None:
    console = Console()
    ratings, _ = db.simulate(users, items, n_ratings, seed=0)
    lay_out(ratings.take(np.arange(1000)), 0)  # compiles
    started = time.perf_counter()
    grid = lay_out(ratings, 0)
    console.print(
        f"{ratings}; {numba.config.NUMBA_NUM_THREADS} cores; grid of {grid.n_blocks} x "
        f"{grid.n_blocks} laid out in {time.perf_counter() - started:.2f} s"
    )
    table = Table("factors", "threads", "ns per rating", "million ratings/s", "range", title=output)
    for k in factors or [16, 64, 128, 256]:
        for threads in sorted({1, numba.config.NUMBA_NUM_THREADS}):
            model = db.DotBias(n_factors=k, output=output)
            parameters = model.initialise(ratings, np.random.default_rng(0))
            run = _Run(db.GradientDescent(), model, parameters, grid, ratings.spread)
            order = np.arange(grid.n_blocks)
            with _threads(threads, n_ratings):
                run.epoch(0.01, order)  # compiles, and warms the caches
                seconds = []
                for _ in range(epochs):
                    started = time.perf_counter()
                    run.epoch(0.01, order)
                    seconds.append(time.perf_counter() - started)
            rates = len(ratings) / np.sort(seconds) / 1e6
            table.add_row(
                str(k),
                str(threads),
                f"{1e9 * np.median(seconds) / len(ratings):.1f}",
                f"{np.median(rates):.1f}",
                f"{rates.min():.1f} - {rates.max():.1f}",
            )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
