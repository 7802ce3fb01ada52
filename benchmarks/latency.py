"""How long one answer takes, for one user at a time: what a service waits for.

    python benchmarks/latency.py                     # both models of ml-latest-small, and 60,000 items
    python benchmarks/latency.py --only ml-latest-small --threads 2

"arrays" is what takes and gives indices: ``folded_user``, ``top_items``, ``scored``. "Python" is what
takes ids and gives frames or floats: ``fold_in_user``, ``recommend``, ``predict``, ``explain``. All
users are different ones, and the kinds take turns. Figures are the median and the 99th percentile in
microseconds, after one round that loads compiled code and whatever a model keeps of its items.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

LARGE = "60,000 items"
N_RATED, K = (20, 100), 10


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of the sets.")] = None,
    threads: int = 1,
    n: Annotated[int, typer.Option(help="How many answers of each kind.")] = 300,
) -> None:
    # Libraries read them when they are imported.
    for library in ("OMP", "OPENBLAS", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    for name in only or ("ml-latest-small", LARGE):
        rec = recommender(name)
        for scores in ("rating", "preference"):
            if not rec.has(scores):
                continue
            alone = rec.by(scores)
            table = Table("answer", "median µs", "p99 µs", title=f"{name}: {alone.model.label}")
            for what, seconds in timed(ways(alone, n), n).items():
                slow = statistics.quantiles(seconds, n=100)[-1]
                table.add_row(
                    what, *(f"{1e6 * s:,.0f}" for s in (statistics.median(seconds), slow))
                )
            console.print(table)


def recommender(name: str) -> Any:
    """Both models of a set; of 60,000 items preferences alone, by 64 factors and 256 of an SVD."""
    import dotbias as db
    from protocols import DATA

    if name != LARGE:
        return db.fit(db.read_ratings(DATA / f"{name}.zip"), seed=0)
    ratings, _ = db.simulate(20_000, 60_000, 2_000_000, seed=0)
    model = db.DotProduct(n_factors=64, n_svd_factors=256)
    return db.fit(ratings, model, db.ImplicitALS(n_iterations=4, weight_decay=0.1), seed=0)


def ways(rec: Any, n: int) -> dict[str, Callable[[int], object]]:
    """By name, what gives the nth answer."""
    import numpy as np

    from dotbias.recommender.fold_in import folded_user
    from dotbias.recommender.given import Given
    from dotbias.recommender.list_options import ListOptions

    rng = np.random.default_rng(0)
    users = rng.integers(0, len(rec.user_vocabulary), n).astype(np.int32)
    items = np.flatnonzero(~rec.rare(5)).astype(np.int32)
    asked = rng.choice(items, n)
    u, i = rec.user_vocabulary.ids[users].to_list(), rec.item_vocabulary.ids[asked].to_list()
    low, high = rec.parameters["scale"].tolist()
    some = {
        m: [
            Given(
                rng.choice(items, m, replace=False), rng.integers(low + 1, high + 1, m).astype("f4")
            )
            for _ in range(n)
        ]
        for m in N_RATED
    }
    spoken = {
        m: [
            dict(zip(rec.item_vocabulary.ids[g.rated].to_list(), g.values.tolist(), strict=True))
            for g in given
        ]
        for m, given in some.items()
    }
    last, usual = N_RATED[-1], ListOptions()
    folded = [folded_user(rec, given) for given in some[last]]
    lists = [user.top_items(K, usual) for user in folded]
    return {
        f"list of {K}, arrays": lambda at: rec.top_items(users[at : at + 1], K),
        f"list of {K}, Python": lambda at: rec.recommend(u[at], K),
        f"list of {K} of someone folded in, arrays": lambda at: folded[at].top_items(K, usual),
        f"list of {K} of someone folded in, Python": lambda at: folded[at].recommend(K),
        f"{K} scores, arrays": lambda at: folded[at].scored(lists[at]),
        "one score, Python": lambda at: rec.predict(u[at], i[at]),
        **{
            f"folding in {m} ratings, arrays": lambda at, m=m: folded_user(rec, some[m][at])
            for m in N_RATED
        },
        **{
            f"folding in {m} ratings, Python": lambda at, m=m: rec.fold_in_user(spoken[m][at])
            for m in N_RATED
        },
        "explanation, Python": lambda at: rec.explain(u[at], i[at]),
    }


def timed(ways: dict[str, Callable[[int], object]], n: int) -> dict[str, list[float]]:
    """Seconds of each answer, all kinds taking turns."""
    seconds: dict[str, list[float]] = {what: [] for what in ways}
    for way in ways.values():
        way(0)
    for at in range(n):
        for what, way in ways.items():
            start = time.perf_counter()
            way(at)
            seconds[what].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    typer.run(main)
