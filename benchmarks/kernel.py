"""Speed of the compiled loops: nanoseconds per rating by factors, threads, update rule and batch size.

    python benchmarks/kernel.py                              # 1 million ratings, quick
    python benchmarks/kernel.py --ratings 20000000 --users 138000 --items 27000 --factors 64
    python benchmarks/kernel.py --rules all --factors 64 --threads 1 --batch 1 --batch 1024
    python benchmarks/kernel.py --rules all --factors 64 --batch 1024 --semantics dense

Simulates ratings (not timed), lays them out (timed apart), compiles, then times epochs; each figure is
the median of the epochs with their range. The epochs of all rules take turns, so that a machine that is
slower for a while is so for all; `times sgd` is the median ratio to the epoch of plain SGD in its turn.
"""

import time
from typing import Annotated

import numba
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
from dotbias.solvers.descent.grid import lay_out
from dotbias.solvers.descent.rules import RULES


def main(
    n_ratings: Annotated[int, typer.Option("--ratings")] = 1_000_000,
    users: int = 6040,
    items: int = 3706,
    factors: Annotated[list[int] | None, typer.Option()] = None,
    threads: Annotated[list[int] | None, typer.Option()] = None,
    rules: str = "sgd",
    batch: Annotated[list[str] | None, typer.Option(help="1, a number, or full")] = None,
    semantics: str = "lazy",
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
    header = ["batch", "factors", "threads", "rule", "ns per rating", "million/s", "range"]
    table = Table(*header, "times sgd", title=f"{output}, {semantics}")
    names = list(RULES) if rules == "all" else rules.split(",")
    for size in batch or ["1"]:
        for k in factors or [16, 64, 128, 256]:
            for n in threads or sorted({1, numba.config.NUMBA_NUM_THREADS}):
                model = db.DotBias(n_factors=k, output=output)
                runs = {
                    name: db.GradientDescent(
                        # No rate at which anything could diverge; the time does not depend on it.
                        RULES[name]().with_rate(1e-6),
                        n_epochs=epochs + 1,
                        batch_size=None if size == "full" else int(size),
                        semantics=semantics,
                        n_threads=n,
                    ).start(model, ratings)
                    for name in names
                }
                seconds = {name: np.zeros(epochs + 1) for name in names}
                for run in runs.values():
                    run.compile()
                for epoch in range(epochs + 1):  # the first warms the caches
                    for name, run in runs.items():
                        run.run(n_epochs=1)
                        seconds[name][epoch] = run.history.epochs[-1].seconds
                for name in names:
                    took = seconds[name][1:]
                    rates = len(ratings) / took / 1e6
                    times = np.median(took / seconds["sgd"][1:]) if "sgd" in seconds else np.nan
                    table.add_row(
                        size,
                        str(k),
                        str(n),
                        name,
                        f"{1e9 * np.median(took) / len(ratings):.1f}",
                        f"{np.median(rates):.1f}",
                        f"{rates.min():.1f} - {rates.max():.1f}",
                        f"{times:.2f}",
                    )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
