"""The half steps of ImplicitALS: time of a known pair beside implicit's; a large fit's time and memory.

    python benchmarks/implicit_als.py speed --peer /path/to/venv/bin/python
    python benchmarks/implicit_als.py large        # 20 million simulated events, 64 factors

``speed`` wants the package implicit in an environment of its own, and leaves it out where there is none:

    python -m venv /path/to/venv && /path/to/venv/bin/pip install implicit

Both minimise the same objective on ml-1m, users first, with three steps of conjugate gradients a half
step, on one thread: every rating counts 2 and wants 1, which is this project's target 1, weight 1 and
half the decay, but for the unit of the vectors. Their iterations take turns, so that a machine that is
slower for a while is so for both; the figure is the processor time of the fastest iteration, with the
median in brackets.
``large`` fits in a process of its own and tells how much its peak resident memory grew.
"""

import json
import os
import statistics
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
import protocols

app = typer.Typer(add_completion=False)

_DECAY = 0.065

_PEER = """
import sys, time, numpy as np, implicit
from scipy.sparse import csr_matrix
path, k, iterations, decay = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
data = np.load(path + ".npz")
pairs = csr_matrix((np.full(len(data["users"]), 2, np.float32), (data["users"], data["items"])))
model = implicit.als.AlternatingLeastSquares(factors=k, regularization=decay, alpha=1.0,
    iterations=iterations, num_threads=1, random_state=0)
def turn(iteration, seconds, loss):
    global started
    print(time.process_time() - started, flush=True)
    sys.stdin.readline()
    started = time.process_time()
print(implicit.__version__, flush=True)
sys.stdin.readline()
started = time.process_time()
model.fit(pairs, show_progress=False, callback=turn)
np.savez(path + ".done.npz", p=model.user_factors, q=model.item_factors)
"""
_LARGE = """
import json, sys, time, numpy as np, dotbias as db
def resident(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
users, items, n, k, iterations, n_svd = map(int, sys.argv[1:7])
kind = sys.argv[7]
fit = db.ImplicitALS(n_iterations=1).fit
small = db.Ratings.from_columns([1, 2, 3], [1, 2, 1])
model = db.DotProduct(n_factors=k, n_svd_factors=n_svd)
fit(db.DotProduct(n_factors=k, n_svd_factors=min(n_svd, 2)), small)  # compiles, or loads what has been
pairs, _ = db.simulate(users, items, n, seed=0)
if kind != "ratings":
    values = () if kind == "events" else (pairs.values * 2,)
    pairs = db.Ratings.from_columns(pairs.user_indices, pairs.item_indices, *values, kind=kind)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak is now what there is
before, started = resident("VmRSS"), time.process_time()
parameters, history = db.ImplicitALS(n_iterations=iterations).fit(model, pairs)
peak = resident("VmHWM")
tables = 4 * (k + n_svd) * (pairs.n_users + pairs.n_items)
print(json.dumps({"n": len(pairs), "grown": peak - before, "fit": history.seconds, "tables": tables,
    "processor": time.process_time() - started,
    "iterations": [epoch.seconds for epoch in history.epochs], "half_steps": history.half_steps}))
"""


def objective(pairs: db.Ratings, p: NDArray[Any], q: NDArray[Any], decay: float) -> float:
    """Of events, as ``ImplicitALS`` reports it."""
    p, q = p.astype(np.float64), q.astype(np.float64)
    total = float(((p.T @ p) * (q.T @ q)).sum()) + decay * float((p**2).sum() + (q**2).sum())
    for start in range(0, len(pairs), 100_000):
        part = slice(start, start + 100_000)
        scores = np.einsum("nf,nf->n", p[pairs.user_indices[part]], q[pairs.item_indices[part]])
        total += float(((1 - scores) ** 2).sum())
    return total / 2


class Peer:
    """implicit, in a process of its own: an iteration at a time."""

    def __init__(self, python: str, pairs: db.Ratings, path: str, k: int, n: int, decay: float):
        np.savez(path + ".npz", users=pairs.user_indices, items=pairs.item_indices)
        command = [python, "-c", _PEER, path, str(k), str(n), str(2 * decay)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        self.path, self.seconds = path, [0.0] * 0
        self.version = self._line()

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("implicit has failed in the environment that --peer names")
        return line.strip()

    def turn(self) -> None:
        """One iteration."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.seconds.append(float(self._line()))

    def factors(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """What it has found, in this project's unit."""
        self.process.communicate("\n")
        found = np.load(self.path + ".done.npz")
        return found["p"] / np.sqrt(2), found["q"] / np.sqrt(2)


class Clock:
    """Processor time of this process's iterations; after each it is the peer's turn."""

    def __init__(self, other: Peer | None) -> None:
        self.seconds, self.other = [0.0] * 0, other
        self.started = time.process_time()

    def turn(self, _: Any) -> None:
        """An iteration has ended."""
        self.seconds.append(time.process_time() - self.started)
        if self.other:
            self.other.turn()
        self.started = time.process_time()


@app.command()
def speed(
    peer: Annotated[str | None, typer.Option(help="A Python that has implicit.")] = None,
    factors: Annotated[list[int] | None, typer.Option()] = None,
    iterations: int = 10,
) -> None:
    ratings = db.read_ratings(protocols.DATA / "ml-1m" / "ratings.csv.gz")
    pairs = db.Ratings.from_columns(ratings.user_indices, ratings.item_indices)
    table = Table(
        "factors",
        "library",
        f"ns per pair and iteration of {len(pairs):,}",
        f"objective after {iterations}",
    )
    # The plain objective, which is implicit's: all users and items alike.
    solver = db.ImplicitALS(
        n_iterations=iterations,
        weight_decay=_DECAY,
        unobserved_weight=1.0,
        balance=0.0,
        frequency_scaling=0.0,
        n_threads=1,
    )
    # Its first call compiles.
    db.ImplicitALS(n_iterations=1).fit(db.DotProduct(n_factors=8), pairs)
    decay = _DECAY * np.sqrt(len(pairs))

    def per_pair(seconds: list[float]) -> str:
        """The first iteration warms the caches."""
        least, median = min(seconds[1:]), statistics.median(seconds[1:])
        return f"{1e9 * least / len(pairs):.0f} ({1e9 * median / len(pairs):.0f})"

    for k in factors or [64, 128, 256]:
        with tempfile.TemporaryDirectory() as folder:
            other = (
                None
                if peer is None
                else Peer(peer, pairs, str(Path(folder) / "pairs"), k, iterations, decay)
            )
            clock = Clock(other)
            parameters, _ = solver.fit(db.DotProduct(n_factors=k), pairs, on_epoch=clock.turn)
            own = clock.seconds
            found = parameters["user_factors"], parameters["item_factors"]
            table.add_row(
                str(k),
                f"dotbias {db.__version__}",
                per_pair(own),
                f"{objective(pairs, *found, decay):,.0f}",
            )
            if other:
                times = min(other.seconds[1:]) / min(own[1:])
                result = f"{objective(pairs, *other.factors(), decay):,.0f}"
                label = f"implicit {other.version}"
                table.add_row(str(k), label, f"{per_pair(other.seconds)}, {times:.2f} x", result)
    if not peer:
        print("implicit is left out: no --peer names a Python that has it")
    Console(width=120).print(table)


@app.command()
def large(
    n_events: Annotated[int, typer.Option("--events", help="Pairs.")] = 20_000_000,
    users: int = 138_000,
    items: int = 27_000,
    factors: int = 64,
    iterations: int = 5,
    svd_factors: int = 0,
    kind: str = "events",
) -> None:
    sizes = map(str, (users, items, n_events, factors, iterations, svd_factors))
    command = [sys.executable, "-c", _LARGE, *sizes, kind]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures = json.loads(done.stdout)
    n, grown, tables = figures["n"], figures["grown"], figures["tables"]
    print(
        f"{n:,} {kind}, {factors} factors and {svd_factors} of an SVD, {iterations} iterations: "
        f"fit in {figures['fit']:.1f} s, "
        f"{statistics.median(figures['iterations']):.2f} s an iteration "
        f"({min(figures['iterations']):.2f} - {max(figures['iterations']):.2f}); "
        f"{figures['processor']:.1f} s of processor time in all\n"
        f"memory grew by {grown / 1e6:,.0f} MB = {grown / n:.1f} bytes a pair, "
        f"{tables / n:.1f} of them one copy of the embeddings"
    )


if __name__ == "__main__":
    app()
