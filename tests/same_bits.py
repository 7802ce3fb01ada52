"""Prints a digest of what each solver makes of one table: run as a process of its own.

python -m tests.same_bits gradient momentum,adam    # also: als, gibbs, net, finder
"""

import hashlib
import sys
from collections.abc import Iterator

import numba
import numpy as np

import dotbias as db
from dotbias.models.base import Parameters
from dotbias.solvers.descent.rules import RULES
from tests.ratings import random_ratings

N_THREADS = numba.config.NUMBA_NUM_THREADS
# As many multiplications as a full batch takes are shared out to threads; those of 64 are not.
RATINGS = random_ratings(n_users=40, n_items=30, n=600, seed=0)
MODEL = db.DotBias(n_factors=64)


def results(what: str) -> Iterator[tuple[str, Parameters]]:
    """Parameters by what has made them."""
    if what in RULES:
        for size in (1, 64, None):
            solver = db.GradientDescent(
                RULES[what](), batch_size=size, n_epochs=2, n_threads=N_THREADS
            )
            yield f"{what}, batch size {size}", solver.fit(MODEL, RATINGS)[0]
    elif what == "als":
        yield what, db.ALS(n_iterations=2, n_threads=N_THREADS).fit(MODEL, RATINGS)[0]
    elif what == "gibbs":
        solver = db.Gibbs(n_samples=3, burn_in=1, n_threads=N_THREADS)
        yield what, solver.fit(MODEL, RATINGS)[0]
    elif what == "net":
        solver = db.GradientDescent(batch_size=64, n_epochs=1, device="cpu")
        yield what, solver.fit(db.EmbeddingNet(n_factors=4, hidden=(3,)), RATINGS)[0]
    elif what == "finder":
        curve = db.lr_find(MODEL, db.GradientDescent(db.SGD(), batch_size=64), RATINGS)
        yield what, {"lr": np.array(curve.suggestion)}


if __name__ == "__main__":
    for what in sys.argv[1].split(","):
        for name, parameters in results(what):
            digest = hashlib.sha256()
            for group in sorted(parameters):
                digest.update(np.ascontiguousarray(parameters[group]).tobytes())
            print(f"{name}: {digest.hexdigest()}")
