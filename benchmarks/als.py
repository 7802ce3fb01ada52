"""Alternating least squares: the default decay, the time of an iteration, and a large fit.

    python benchmarks/als.py defaults     # validation RMSE on parts of the training rows alone
    python benchmarks/als.py speed        # one iteration on ml-1m, 64 factors, by threads
    python benchmarks/als.py large        # 20 million simulated ratings, 10 iterations: time, memory
    python benchmarks/als.py large --steps 5 --steps 0    # conjugate gradients, and exact solutions

``defaults`` holds out a tenth (seed 7) of each protocol's first training part; no test part is used.
Another busy process takes the second core away: look at ``top`` while ``speed`` runs.
``large`` simulates in a process of its own and fits in another, whose peak resident memory it reports,
Python and all libraries included.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numba
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols

app = typer.Typer(add_completion=False)
MODEL = db.DotBias(n_factors=64)

_SIMULATE = """
import sys, dotbias as db
path, users, items, n = sys.argv[1], *map(int, sys.argv[2:5])
ratings, _ = db.simulate(users, items, n, seed=0)
ratings.to_frame().write_parquet(path)
"""
_FIT = """
import json, resource, sys, dotbias as db
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
ratings = db.read_ratings(sys.argv[1])
read = peak()
solver = db.ALS(n_iterations=int(sys.argv[3]), n_steps=int(sys.argv[4]))
rec = db.fit(ratings, db.DotBias(n_factors=int(sys.argv[2])), solver)
history = rec.facts["history"]
print(json.dumps({"n": len(ratings), "read": read, "peak": peak(), "fit": history["seconds"],
    "iterations": [e["seconds"] for e in history["epochs"]],
    "rmse": history["epochs"][-1]["train_rmse"], "objective": history["half_steps"][1::2]}))
"""


def candidates() -> dict[str, dict[str, Any]]:
    """Settings of ``ALS`` by label: the defaults, and neighbours with one of them changed."""
    made: dict[str, dict[str, Any]] = {"default": {}, "biases held": {"biases": "held"}}
    for per, decays in (("rating", (0.06, 0.07, 0.09, 0.11)), ("row", (12.0, 15.0, 18.0))):
        for f in decays:
            decay = {"user_factors": f, "item_factors": f}
            made[f"per {per}, factors {f:g}"] = {"weight_decay": db.WeightDecay(decay, per=per)}
    for u, i in ((0.03, 0.03), (0.1, 0.1), (0.03, 0.3)):
        made[f"ratings, biases {u:g} {i:g}"] = {"weight_decay": {"user_bias": u, "item_bias": i}}
    return made


@app.command()
def defaults(only: Annotated[list[str] | None, typer.Option(help="Labels.")] = None) -> None:
    ends = [5, 10, 15, 20]
    rows: dict[str, list[str]] = {label: [] for label in only or candidates()}
    for name in protocols.SPREAD:
        _, train, _ = next(protocols.splits(name))
        for label, cells in rows.items():
            # Patience without end: the errors of all iterations come from one fit.
            watched = {"n_iterations": ends[-1], "validation_size": 0.1, "patience": 10**6}
            _, history = db.ALS(**watched, **candidates()[label]).fit(MODEL, train, seed=7)
            errors = [history.epochs[end - 1].validation_rmse or 0.0 for end in ends]
            cells += [f"{error:.4f}" for error in errors]
            print(name, label, *cells[-len(ends) :], flush=True)
    table = Table("candidate", *[f"{name} @{n}" for name in protocols.SPREAD for n in ends])
    for label, cells in rows.items():
        table.add_row(label, *cells)
    Console(width=200).print(table)


@app.command()
def speed(iterations: int = 10, steps: int = 0) -> None:
    _, ratings, _ = next(protocols.splits("ml-1m"))
    seconds: dict[int, list[float]] = {}
    for n in sorted({1, min(2, numba.config.NUMBA_NUM_THREADS)}):
        # The first may have to compile.
        solver = db.ALS(n_iterations=iterations + 1, n_threads=n, n_steps=steps)
        _, history = solver.fit(MODEL, ratings)
        seconds[n] = [epoch.seconds for epoch in history.epochs[1:]]
        median, low, high = statistics.median(seconds[n]), min(seconds[n]), max(seconds[n])
        print(f"{n} threads: {median:.3f} s an iteration ({low:.3f} - {high:.3f})")
    medians = [statistics.median(s) for s in seconds.values()]
    print(f"{ratings}: {medians[0] / medians[-1]:.2f} times as fast")


@app.command()
def large(
    n_ratings: Annotated[int, typer.Option("--ratings")] = 20_000_000,
    users: int = 138_000,
    items: int = 27_000,
    factors: int = 64,
    iterations: int = 10,
    steps: Annotated[
        list[int] | None, typer.Option(help="Of conjugate gradients; 0: exact.")
    ] = None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "ratings.parquet")
        sizes = map(str, (users, items, n_ratings))
        subprocess.run([sys.executable, "-c", _SIMULATE, path, *sizes], check=True)
        for n_steps in steps or [0]:
            command = [sys.executable, "-c", _FIT, path, *map(str, (factors, iterations, n_steps))]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            figures = json.loads(done.stdout)
            print(
                f"{figures['n']:,} ratings, {factors} factors, {iterations} iterations"
                f"{f' of {n_steps} steps' if n_steps else ''}: fit in {figures['fit']:.1f} s, "
                f"{statistics.median(figures['iterations']):.1f} s an iteration, training RMSE "
                f"{figures['rmse']:.4f}; peak {figures['peak'] / 2**30:.2f} GiB, "
                f"{figures['read'] / 2**30:.2f} GiB of it after reading"
            )
            print("objective", *(f"{value:.6g}" for value in figures["objective"]), flush=True)


if __name__ == "__main__":
    app()
