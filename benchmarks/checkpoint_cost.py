"""What checkpoints cost: seconds and bytes of each, and their share of a fit.

    python benchmarks/checkpoint_cost.py ml-1m/ratings.csv.gz

The default fit of both models with the usual time between checkpoints and with a sixth of it, and two
other solvers. Checkpoints are written in a temporary folder (``TMPDIR`` says on which disk).
"""

import argparse
import tempfile
import time
from pathlib import Path

import dotbias as db
from dotbias.fitting import checkpoints
from dotbias.fitting.checkpoints import EVERY
from dotbias.solvers.checkpoint import Checkpoint

FITS = {
    f"default, every {EVERY:g} s": ((None, None), EVERY),
    f"default, every {EVERY / 6:g} s": ((None, None), EVERY / 6),
    "gradient descent, every 5 s": ((db.DotBias(), db.GradientDescent()), 5.0),
    "ALS, 64 factors, every 5 s": ((db.DotBias(n_factors=64), db.ALS()), 5.0),
}


def main() -> None:
    """Fit, and print a line for each checkpoint and each fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ratings")
    ratings = db.read_ratings(parser.parse_args().ratings)
    began = time.perf_counter()
    assert ratings.digest
    print(f"digest of {len(ratings):,} ratings: {time.perf_counter() - began:.3f} s")
    save, spent = checkpoints._save, 0.0

    def timed(checkpoint: Checkpoint, path: Path) -> None:
        nonlocal spent
        began = time.perf_counter()
        save(checkpoint, path)
        seconds = time.perf_counter() - began
        spent += seconds
        print(f"    {path.stem:12} {path.stat().st_size / 1e6:7.1f} MB {seconds:6.2f} s")

    checkpoints._save = timed
    for name, ((model, solver), every) in FITS.items():
        with tempfile.TemporaryDirectory() as folder:
            began, spent = time.perf_counter(), 0.0
            print(name)
            db.fit(ratings, model, solver, checkpoint=Path(folder) / "run", checkpoint_every=every)
            whole = time.perf_counter() - began
        print(f"    in all {spent:.2f} s of {whole:.1f} s: {spent / whole:.1%}")


if __name__ == "__main__":
    main()
