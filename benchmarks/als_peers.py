"""Objective against seconds: least squares beside implicit, cmfrec and Spark, all in one run.

    python -m venv /path/to/venv && /path/to/venv/bin/pip install implicit cmfrec pyspark   # and Java
    python benchmarks/als_peers.py ratings --peers /path/to/venv/bin/python
    python benchmarks/als_peers.py choices --peers /path/to/venv/bin/python --ratings 20000000

``ratings``: ``Σ (r - μ - p·q)² + λ (Σ n_u |p_u|² + Σ n_i |q_i|²)``, which Spark's ALS, cmfrec's CMF
without biases and this project's ALS with its biases held at zero minimise. ``choices``: every pair
that is there weighs 2 and wants 1, every other weighs 1 and wants 0, ``+ λ (Σ |p|² + Σ |q|²)``: implicit
and ImplicitALS. Spark's way with choices has a penalty of its own, and cmfrec's CMF_implicit (3.5.1)
comes to rest where the items' equations do not hold for the same λ: both are left out.

All have two threads and the same simulated ratings. After some numbers of iterations the objective is
computed here, in double precision, of the vectors that each library has then. Seconds are those of the
call that fits, with ratings in memory in the form that the library wants; implicit and this project tell
them after each iteration, of the others each point is a fit of its own. What is compiled or started
before is not counted.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import dotbias as db

app = typer.Typer(add_completion=False)
Peers = Annotated[str | None, typer.Option(help="A Python that has the others.")]

# Each reads the ratings, says how many seconds a number of iterations took, and writes its vectors.
_BEGIN = """
import json, sys, time, numpy as np
folder, k, decay, iterations = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4])
data = np.load(folder + "/ratings.npz")
users, items, values = data["users"], data["items"], data["values"]
shape = int(data["n_users"]), int(data["n_items"])
def tell(n, seconds, p, q):
    np.savez(f"{folder}/found.npz", p=p, q=q)
    print(json.dumps({"iterations": n, "seconds": seconds}), flush=True)
    sys.stdin.readline()
"""
_IMPLICIT = """
import implicit
from scipy.sparse import csr_matrix
pairs = csr_matrix((np.full(len(users), 2, np.float32), (users, items)), shape)
model = implicit.als.AlternatingLeastSquares(factors=k, regularization=decay, alpha=1.0,
    iterations=max(iterations), num_threads=2, random_state=0)
gone = 0.0
def turn(n, _, loss):
    global gone, started
    gone += time.perf_counter() - started
    if n + 1 in iterations:
        tell(n + 1, gone, model.user_factors, model.item_factors)
    started = time.perf_counter()
started = time.perf_counter()
model.fit(pairs, show_progress=False, callback=turn)
"""
_CMFREC = """
import cmfrec
from scipy.sparse import coo_matrix
how = dict(k=k, lambda_=decay, nthreads=2, use_float=True, verbose=False, random_state=0,
    finalize_chol=False, precompute_for_predictions=False)
table = coo_matrix((values, (users, items)), shape)
for n in iterations:
    model = cmfrec.CMF(method="als", niter=n, scale_lam=True, center=True, user_bias=False,
        item_bias=False, **how)
    started = time.perf_counter()
    model.fit(table)
    tell(n, time.perf_counter() - started, model.A_, model.B_)
"""
_SPARK = """
import pyarrow, pyarrow.parquet
from pyspark.sql import SparkSession
from pyspark.ml.recommendation import ALS
pyarrow.parquet.write_table(
    pyarrow.table({"u": users, "i": items, "r": values - values.mean(dtype=np.float64).astype("f4")}),
    folder + "/spark.parquet")
spark = (SparkSession.builder.master("local[2]").config("spark.driver.memory", "12g")
    .config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "8").getOrCreate())
spark.sparkContext.setLogLevel("OFF")
rows = spark.read.parquet(folder + "/spark.parquet").repartition(8).cache()
rows.count()
how = dict(rank=k, regParam=decay, userCol="u", itemCol="i", ratingCol="r", numUserBlocks=8,
    numItemBlocks=8, seed=0)
ALS(maxIter=1, **how).fit(rows.limit(1000))
def table(frame, n):
    found = frame.toPandas()
    out = np.zeros((n, k), np.float32)
    out[found["id"].to_numpy()] = np.array(found["features"].tolist(), np.float32)
    return out
for n in iterations:
    started = time.perf_counter()
    model = ALS(maxIter=n, **how).fit(rows)
    seconds = time.perf_counter() - started
    tell(n, seconds, table(model.userFactors, shape[0]), table(model.itemFactors, shape[1]))
"""


def of_ratings(
    ratings: db.Ratings, p: NDArray[Any], q: NDArray[Any], mean: float, decay: float
) -> float:
    """The objective of ``ratings``."""
    squares = sum(
        float(np.square(values - mean - np.einsum("nf,nf->n", p[users], q[items])).sum())
        for users, items, values in _parts(ratings)
    )
    penalty = sum(
        float(counts @ np.square(table).sum(axis=1))
        for counts, table in ((ratings.user_counts, p), (ratings.item_counts, q))
    )
    return squares + decay * penalty


def of_choices(ratings: db.Ratings, p: NDArray[Any], q: NDArray[Any], decay: float) -> float:
    """The objective of ``choices``."""
    total = float(((p.T @ p) * (q.T @ q)).sum()) + decay * float((p**2).sum() + (q**2).sum())
    for users, items, _ in _parts(ratings):
        scores = np.einsum("nf,nf->n", p[users], q[items])
        total += float((2 * (1 - scores) ** 2 - scores**2).sum())
    return total


def _parts(ratings: db.Ratings) -> Any:
    columns = ratings.user_indices, ratings.item_indices, ratings.values
    for start in range(0, len(ratings), 500_000):
        yield tuple(column[start : start + 500_000] for column in columns)


def _run(
    ratings: db.Ratings,
    own: dict[str, Any],
    peers: dict[str, str],
    python: str | None,
    objective: Any,
    decay: float,
    k: int,
    iterations: list[int],
) -> None:
    table = Table("library", "iterations", "seconds", "objective")
    console = Console()

    def row(name: str, n: int, seconds: float, p: NDArray[Any], q: NDArray[Any]) -> None:
        value = objective(p.astype(np.float64), q.astype(np.float64))
        table.add_row(name, str(n), f"{seconds:.1f}", f"{value:,.0f}")
        console.print(f"{name}: {n} iterations, {seconds:.1f} s, {value:,.0f}", highlight=False)

    for name, (model, solver, unit) in own.items():
        type(solver)(**vars(solver) | {"n_iterations": 1}).fit(model, ratings, seed=0)
        run = solver.start(model, ratings, seed=0)
        seconds = 0.0
        for n in range(1, max(iterations) + 1):
            started = time.perf_counter()
            run.run(1)
            seconds += time.perf_counter() - started
            if n in iterations:
                found = run.result()
                row(name, n, seconds, unit * found["user_factors"], unit * found["item_factors"])
    if python is not None:
        with tempfile.TemporaryDirectory() as folder:
            np.savez(
                Path(folder) / "ratings.npz",
                users=ratings.user_indices,
                items=ratings.item_indices,
                values=ratings.values,
                n_users=ratings.n_users,
                n_items=ratings.n_items,
            )
            for name, code in peers.items():
                _peer(
                    name, [python, "-c", _BEGIN + code, folder, str(k), str(decay)], iterations, row
                )
    console.print(table)


def _peer(name: str, command: list[str], iterations: list[int], row: Any) -> None:
    """Run a peer in a process of its own; it waits while its vectors are looked at."""
    process = subprocess.Popen(
        [*command, json.dumps(iterations)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        said = json.loads(line)
        found = np.load(Path(command[3]) / "found.npz")
        row(name, said["iterations"], said["seconds"], found["p"], found["q"])
        process.stdin.write("\n")
        process.stdin.flush()
    if process.wait():
        print(f"{name} has failed, or is not there", file=sys.stderr)


def _simulated(n: int) -> db.Ratings:
    ratings, _ = db.simulate(max(100, n // 145), max(100, n // 740), n, seed=0)
    return ratings


_Iterations = Annotated[list[int] | None, typer.Option()]


@app.command()
def ratings(
    n_ratings: Annotated[int, typer.Option("--ratings")] = 20_000_000,
    peers: Peers = None,
    factors: int = 64,
    decay: float = 0.05,
    iterations: _Iterations = None,
) -> None:
    """Of the ratings' values."""
    data = _simulated(n_ratings)
    model, mean = db.DotBias(n_factors=factors), data.global_mean
    none = {"user_bias": 1e4, "item_bias": 1e4}
    std = data.std
    own_decay = {"user_factors": decay / std, "item_factors": decay / std} | none
    own = {
        f"dotbias, {words}": (
            model,
            db.ALS(
                weight_decay=own_decay,
                weighting="ratings",
                n_steps=steps,
                n_threads=2,
                n_iterations=max(iterations or [5]),
            ),
            1.0,
        )
        for words, steps in (("5 steps", 5), ("exact", 0))
    }
    _run(
        data,
        own,
        {"cmfrec": _CMFREC, "Spark": _SPARK},
        peers,
        lambda p, q: of_ratings(data, p, q, mean, decay),
        decay,
        factors,
        iterations or [1, 2, 3, 5],
    )


@app.command()
def choices(
    n_ratings: Annotated[int, typer.Option("--ratings")] = 20_000_000,
    peers: Peers = None,
    factors: int = 64,
    decay: float = 10.0,
    iterations: _Iterations = None,
) -> None:
    """Of who has rated what."""
    data = _simulated(n_ratings)
    pairs = db.Ratings.from_columns(data.user_indices, data.item_indices)
    # A pair that is there counts as a choice and as all pairs do: as 2 that want 1/2, in its unit.
    solver = db.ImplicitALS(
        weight_decay=decay / 2 / np.sqrt(len(pairs)),
        unobserved_weight=1.0,
        balance=0.0,
        frequency_scaling=0.0,
        n_iterations=max(iterations or [5]),
        n_threads=2,
    )
    _run(
        pairs,
        {"dotbias": (db.DotProduct(n_factors=factors), solver, np.sqrt(2))},
        {"implicit": _IMPLICIT},
        peers,
        lambda p, q: of_choices(pairs, p, q, decay),
        decay,
        factors,
        iterations or [1, 2, 3, 5],
    )


if __name__ == "__main__":
    app()
