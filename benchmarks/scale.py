"""Ratings larger than memory, and workers: seconds, anonymous memory and error, beside those in memory.

    python benchmarks/scale.py make --ratings 20000000 --folder /tmp/s20     # a simulated set, in parts
    python benchmarks/scale.py prepare --folder /tmp/s20 --memory 3GiB
    python benchmarks/scale.py fit --folder /tmp/s20 --how memory --how disk --how processes --how ray
    python benchmarks/scale.py command --folder /tmp/s20 --memory 3GiB       # as a user types it
    python benchmarks/scale.py project --ns 20       # the cost model of docs/scale.md

Users and items differ in how many ratings they have, and each rating is a mean, two biases, a product of
16 true factors and normal noise of 0.8, in half stars. ``fit`` fits ``DotBias`` by SGD (by ALS in five
steps with ``--solver als``) to the same training part in every way, each in a process of its own, twice,
and reports its second run: seconds of an epoch (the median without the first, which may compile), the
peak of anonymous memory (RssAnon) of the process that leads, and the error on what was held out. Workers
have one thread each; ``disk`` and ``memory`` take ``--threads``.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

import dotbias as db

app = typer.Typer(add_completion=False)
TRUE_FACTORS, NOISE = 16, 0.8
PART = 10_000_000

Folder = Annotated[Path, typer.Option()]


@app.command()
def make(
    folder: Folder, ratings: int = 20_000_000, users: int = 200_000, items: int = 30_000
) -> None:
    """Write the set as Parquet files of 10 million ratings."""
    source = folder / "source"
    source.mkdir(parents=True)
    rng = np.random.default_rng(0)
    p, q = (rng.standard_normal((n, TRUE_FACTORS), np.float32) * 0.45 for n in (users, items))
    b_u, b_i = (rng.standard_normal(n, np.float32) * 0.4 for n in (users, items))
    for part, start in enumerate(range(0, ratings, PART)):
        n, own = min(PART, ratings - start), np.random.default_rng(1 + part)
        u = (users * own.random(n) ** 1.5).astype(np.int32)
        i = (items * own.random(n) ** 2).astype(np.int32)
        stars = 3.5 + b_u[u] + b_i[i] + NOISE * own.standard_normal(n, np.float32)
        for f in range(TRUE_FACTORS):
            stars += p[u, f] * q[i, f]
        stars = np.clip(np.round(2 * stars) / 2, 0.5, 5).astype(np.float32)
        frame = pl.DataFrame({"user": u, "item": i, "rating": stars})
        frame.write_parquet(source / f"part-{part:05}.parquet")


@app.command()
def prepare(folder: Folder, memory: str = "3GiB") -> None:
    """Prepare it, and say what that took."""
    command = ["prepare", folder / "source", "-o", folder / "ratings.blocks", "--memory", memory]
    _watched(command)


@app.command()
def command(folder: Folder, memory: str = "3GiB", factors: int = 64, epochs: int = 3) -> None:
    """Fit and save as on the command line, and say what that took."""
    how = f"--memory {memory} --factors {factors} --epochs {epochs} --no-refit --for predict"
    _watched(["fit", folder / "ratings.blocks", "-o", folder / "m.dotbias", *how.split()])


@app.command()
def fit(
    folder: Folder,
    how: Annotated[list[str], typer.Option()],
    factors: int = 64,
    epochs: int = 4,
    threads: int = 2,
    solver: str = "sgd",
) -> None:
    """Fit to the training part in each of several ways."""
    for one in how:
        words = [
            str(folder / "ratings.blocks"),
            one,
            str(factors),
            str(epochs),
            str(threads),
            solver,
        ]
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, __file__, "one", *words],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        said = json.loads(done.stdout.splitlines()[-1])
        lasted = statistics.median(said["epochs"][1:])
        print(
            f"{one:>10}: {lasted:.2f} s an epoch, {lasted / said['n'] * 1e9:.1f} ns a rating; "
            f"peak RssAnon {said['peak'] / 2**20:.0f} MiB; RMSE {said['rmse']:.5f} held out; "
            f"{said['seconds']:.1f} s in all",
            flush=True,
        )


@app.command()
def project(
    ns: Annotated[float, typer.Option(help="Nanoseconds of a rating in an epoch, one core.")],
    factors: int = 64,
    disk: Annotated[float, typer.Option(help="GB a second of each machine's disk.")] = 2.0,
    network: Annotated[float, typer.Option(help="GB a second of each machine's network.")] = 3.0,
    cores: Annotated[int, typer.Option(help="Of each machine.")] = 32,
) -> None:
    """Seconds of an epoch of SGD by the cost model of docs/scale.md, and what takes them."""
    print(
        f"{'ratings':>16} {'machines':>9} {'tables':>9} {'compute':>9} {'disk':>9} {'network':>9} "
        f"{'leader':>9}"
    )
    for n, machines in ((2e8, 1), (1e9, 1), (1e10, 4), (1e10, 16), (1e11, 64)):
        users, items = n / 100, n / 1000
        row = 4 * (factors + 1)
        compute = n * ns * 1e-9 / (machines * cores)
        read = 12 * n / machines / (disk * 1e9)
        # As often as there are machines every item's row goes from one to another.
        moved = 0.0 if machines == 1 else items * row / (network * 1e9)
        # After it both tables come to the process that leads.
        taken = 0.0 if machines == 1 else (users + items) * row / (network * 1e9)
        print(
            f"{n:16,.0f} {machines:9,} {(users + items) * row / 1e9:6.0f} GB {compute:7.1f} s "
            f"{read:7.1f} s {moved:7.1f} s {taken:7.1f} s"
        )


@app.command(hidden=True)
def one(folder: Path, how: str, factors: int, epochs: int, threads: int, solver: str) -> None:
    """One fit, in this process."""
    peak = _watch(os.getpid())
    prepared = db.PreparedRatings.open(folder)
    ratings: db.Ratings = prepared.training
    if how == "memory":
        parts = zip(*ratings.chunks(), strict=True)
        columns = [np.concatenate(column) for column in parts]
        ratings = db.Ratings(*columns, prepared.user_vocabulary, prepared.item_vocabulary)
    model = db.DotBias(n_factors=factors)
    made: db.GradientDescent | db.ALS = db.GradientDescent(n_epochs=epochs)
    if solver == "als":
        made = db.ALS(n_iterations=epochs, n_steps=5)
    shared = {} if how in ("memory", "disk") else {"cluster": how, "n_workers": threads}
    shared = shared or {"n_threads": threads}
    start = time.perf_counter()
    made = type(made)(**{**vars(made), **shared})
    parameters, history = made.fit(model, ratings, seed=0)
    seconds, squares, n = time.perf_counter() - start, 0.0, 0
    for part in prepared.held_out():
        errors = model.predict(parameters, part.users, part.items).astype(np.float64) - part.values
        squares, n = squares + float(np.dot(errors, errors)), n + len(errors)
    epoch = [entry.seconds for entry in history.epochs]
    said = {"n": len(ratings), "epochs": epoch, "peak": peak(), "rmse": (squares / n) ** 0.5}
    print(json.dumps(said | {"seconds": seconds}))


def _watched(words: list[str | Path]) -> None:
    """Run a command of dotbias, and print its peak of anonymous memory and its time."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "dotbias", *map(str, words)])
    peak = _watch(process.pid)
    code = process.wait()
    print(
        f"exit {code}, {time.perf_counter() - start:.0f} s, peak RssAnon {peak() / 2**20:.0f} MiB"
    )


def _watch(pid: int):
    """Watch a process; what comes back tells its peak of anonymous memory so far."""
    most = 0

    def look() -> None:
        nonlocal most
        while True:
            try:
                text = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                return
            if found := re.search(r"RssAnon:\s+(\d+)", text):
                most = max(most, int(found[1]) * 1024)
            time.sleep(0.02)

    threading.Thread(target=look, daemon=True).start()
    return lambda: most


if __name__ == "__main__":
    app()
