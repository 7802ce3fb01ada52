"""A digest of what each solver makes of one table, to compare processes by.

python -m tests.same_bits               # compiles all of it for the tests, and notes the digests
python -m tests.same_bits adam,als      # prints some of them
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numba
import numpy as np

import dotbias as db
from dotbias.models.base import Parameters
from dotbias.solvers.descent.losses import LOSSES
from dotbias.solvers.descent.rules import RULES
from tests.conftest import COMPILED, PROJECT
from tests.ratings import random_ratings

N_THREADS = numba.config.NUMBA_NUM_THREADS
RATINGS = random_ratings(n_users=40, n_items=30, n=600, seed=0)
MODEL = db.DotBias(n_factors=16)
SAMPLED = [name for name, loss in LOSSES.items() if loss.samples()]


def results(what: str) -> Iterator[tuple[str, Parameters]]:
    """Parameters by what has made them."""
    if what in RULES:
        for size in (1, 64, None):
            solver = db.GradientDescent(
                RULES[what](), batch_size=size, n_epochs=2, n_threads=N_THREADS
            )
            yield f"{what}, batch size {size}", solver.fit(MODEL, RATINGS)[0]
    elif what in SAMPLED:
        choices = db.DotBias(n_factors=16, output="preference")
        for size in (1, 64):
            solver = db.GradientDescent(
                loss=what, n_negatives=2, batch_size=size, n_epochs=2, n_threads=N_THREADS
            )
            yield f"{what}, batch size {size}", solver.fit(choices, RATINGS)[0]
    elif what == "shared":  # with so many factors a full batch is shared out to threads
        solver = db.GradientDescent(batch_size=None, n_epochs=2, n_threads=N_THREADS)
        yield what, solver.fit(db.DotBias(n_factors=64), RATINGS)[0]
    elif what == "als":
        yield what, db.ALS(n_iterations=2, n_threads=N_THREADS).fit(MODEL, RATINGS)[0]
    elif what == "implicit":
        solver = db.ImplicitALS(n_iterations=2, n_threads=N_THREADS)
        model = db.DotProduct(n_factors=16, n_svd_factors=8)
        yield what, solver.fit(model, RATINGS)[0]
    elif what == "gibbs":
        # Scales are drawn from the sixth sample on.
        solver = db.Gibbs(n_samples=8, burn_in=1, n_threads=N_THREADS)
        yield what, solver.fit(MODEL, RATINGS)[0]
    elif what == "net":
        solver = db.GradientDescent(batch_size=64, n_epochs=1, device="cpu")
        yield what, solver.fit(db.EmbeddingNet(n_factors=4, hidden=(3,)), RATINGS)[0]
    elif what == "finder":
        curve = db.lr_find(MODEL, db.GradientDescent(db.SGD(), batch_size=64), RATINGS)
        yield what, {"lr": np.array(curve.suggestion)}


def halves() -> tuple[list[str], list[str]]:
    """All that there is to compare, in two parts of about the same work."""
    rules = list(RULES)
    return (
        [*rules[::2], "shared", "als", "implicit", "bpr"],
        [*rules[1::2], "gibbs", "net", "finder", "logistic"],
    )


def digests(
    parts: Iterable[list[str]], compiled: Path, n_threads: int = numba.config.NUMBA_NUM_THREADS
) -> list[str]:
    """What processes print that run at once, one for each part, with machine code kept in a folder."""
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(compiled),
        "NUMBA_NUM_THREADS": str(n_threads),
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.same_bits", ",".join(part)],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for part in parts
    ]
    lines = [line for process in running for line in process.communicate()[0].splitlines()]
    if any(process.returncode for process in running):
        raise RuntimeError("a process has failed")
    return lines


def noted() -> Path:
    """Where the digests of the process that compiled are noted, for the sources as they are now."""
    sources = hashlib.sha256()
    for path in sorted((PROJECT / "src").rglob("*.py")):
        sources.update(path.read_bytes())
    return COMPILED / f"digests-{sources.hexdigest()[:16]}.txt"


def main() -> None:
    if len(sys.argv) > 1:
        for what in sys.argv[1].split(","):
            for name, parameters in results(what):
                digest = hashlib.sha256()
                for group in sorted(parameters):
                    digest.update(np.ascontiguousarray(parameters[group]).tobytes())
                print(f"{name}: {digest.hexdigest()}")
    elif not noted().is_file():
        print("Compiling for the tests, once")
        lines = digests(halves(), COMPILED, n_threads=2)
        noted().write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main()
