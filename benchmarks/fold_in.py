"""New ratings without retraining: how long an answer takes, and what it costs in accuracy.

    python benchmarks/fold_in.py

First the time of ``rec.fold_in_user`` for 100 ratings at 64 factors, Python included. Then the RMSE on
the held-out part when 10 % of the training rows, or all rows of 10 % of the users, reach the model by
``partial_fit`` alone, against a model without them and against a fit on everything. "Newcomers" are the
held-out rows of the users who joined. The splits are the first of each set in protocols.py; what joins
is drawn with seed 0, and every fit has seed 0.
"""

import statistics
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


def latency() -> str:
    ratings, _ = db.simulate(n_users=2000, n_items=3000, n_ratings=200_000, seed=0)
    rec = db.fit(ratings, db.DotBias(n_factors=64))
    rng = np.random.default_rng(0)
    items = rng.choice(rec.item_vocabulary.ids.to_numpy(), 100, replace=False)
    one = dict(zip(items.tolist(), rng.integers(1, 6, 100).tolist(), strict=True))
    seconds = []
    for _ in range(1000):
        start = time.perf_counter()
        rec.fold_in_user(one)
        seconds.append(time.perf_counter() - start)
    quick, slow = statistics.median(seconds), statistics.quantiles(seconds, n=100)[-1]
    return (
        f"fold_in_user, 100 ratings, 64 factors: median {quick * 1e3:.2f} ms, "
        f"99th percentile {slow * 1e3:.2f} ms"
    )


def parts(train: db.Ratings) -> Iterator[tuple[str, db.Ratings, db.Ratings]]:
    """What joins, the ratings before, and those that join."""
    rng = np.random.default_rng(0)
    by_row = rng.random(len(train)) < SHARE
    by_user = (rng.random(train.n_users) < SHARE)[train.users]
    for what, joins in (("rows", by_row), ("users", by_user)):
        yield f"{SHARE:.0%} of {what}", train.take(~joins), train.take(joins)


def timed(work: Callable[[], db.Recommender]) -> tuple[db.Recommender, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def main() -> None:
    console = Console()
    console.print(latency())
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
                theirs = np.isin(test.users, test.user_vocabulary.indices(list(late)))
                for way, (rec, took) in ways.items():
                    rmse = f"{db.evaluate(rec, test).rmse:.4f}"
                    of_late = "-"
                    if late and theirs.any():
                        of_late = f"{db.evaluate(rec, test.take(theirs)).rmse:.4f}"
                    table.add_row(fit, what, way, rmse, of_late, f"{took:.2f}")
        console.print(table)


if __name__ == "__main__":
    main()
