"""New ratings without retraining: what it costs in accuracy, and how long it takes.

    python benchmarks/fold_in.py

The RMSE on the held-out part when 10 % of the training rows, or all rows of 10 % of the users, reach
the model by ``partial_fit`` alone, against a model without them and against a fit on everything.
"Newcomers" are the held-out rows of the users who joined. The splits are the first of each set in
protocols.py; what joins is drawn with seed 0, and every fit has seed 0.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

import dotbias as db
from dotbias.solvers.base import Solver
from dotbias.solvers.gibbs.gibbs import Gibbs
from protocols import splits

SHARE = 0.1
FITS: dict[str, tuple[db.DotBias, Solver | None]] = {
    "gradient descent": (db.DotBias(), None),
    "sigmoid form": (db.DotBias(n_factors=64, output="sigmoid"), None),
    "ALS, 64 factors": (db.DotBias(n_factors=64), db.ALS()),
    "Gibbs with histories": (db.DotBias(), Gibbs()),
}


def parts(train: db.Ratings) -> Iterator[tuple[str, db.Ratings, db.Ratings]]:
    """What joins, the ratings before, and those that join."""
    rng = np.random.default_rng(0)
    by_row = rng.random(len(train)) < SHARE
    by_user = (rng.random(train.n_users) < SHARE)[train.user_indices]
    for what, joins in (("rows", by_row), ("users", by_user)):
        yield f"{SHARE:.0%} of {what}", train.take(~joins), train.take(joins)


def timed(work: Callable[[], db.Recommender]) -> tuple[db.Recommender, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def main() -> None:
    console = Console()
    for name in ("ml-latest-small", "ml-100k"):
        label, train, test = next(splits(name))
        columns = ("RMSE", "newcomers", "seconds")
        table = Table("model", "joins", "by", *columns, title=f"{name}, {label}")
        for fit, (model, solver) in FITS.items():
            whole, whole_seconds = timed(lambda r=train, m=model, s=solver: db.fit(r, m, s))
            for what, first, new in parts(train):
                before, seconds = timed(lambda r=first, m=model, s=solver: db.fit(r, m, s))
                ways = {
                    "fit without them": (before, seconds),
                    "partial_fit": timed(lambda r=before, new=new: r.partial_fit(new)),
                    "fit on all": (whole, whole_seconds),
                }
                late = set(new.user_vocabulary.ids) - set(first.user_vocabulary.ids)
                theirs = np.isin(test.user_indices, test.user_vocabulary.indices(list(late)))
                for way, (rec, took) in ways.items():
                    rmse = f"{db.evaluate(rec, test).rmse:.4f}"
                    of_late = "-"
                    if late and theirs.any():
                        of_late = f"{db.evaluate(rec, test.take(theirs)).rmse:.4f}"
                    table.add_row(fit, what, way, rmse, of_late, f"{took:.2f}")
        console.print(table)


if __name__ == "__main__":
    main()
