"""How long lists take, beside a BLAS product with ``argpartition``.

    python benchmarks/recommend.py                  # one thread
    python benchmarks/recommend.py --threads 2
    python benchmarks/recommend.py --factors 256 --only ml-latest-small

Parameters are random and every user has rated 165 items, the mean of ml-latest-small. "arrays" is
``Recommender.top_items`` on indices, "frame" is ``Recommender.recommend`` on ids, "BLAS" scores all items
for as many users as fit in 64 MB at a time, takes out what they have rated, and sorts what
``argpartition`` leaves. All three take turns, so that a machine that is slower for a while is so for all;
the figures are the minima, in all and per user and item.
"""

import os
import time
from collections.abc import Callable
from typing import Annotated

import typer

SHAPES = {
    "ml-latest-small": (610, 9_724),
    "30,000 items": (1_000, 30_000),
    "1,000,000 items": (1_000, 1_000_000),
}
N_RATED, K = 165, 10


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of the shapes.")] = None,
    factors: int = 64,
    threads: int = 1,
    seconds: Annotated[float, typer.Option(help="How long each line may take.")] = 10.0,
) -> None:
    # Libraries read them when they are imported.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    os.environ["NUMBA_NUM_THREADS"] = str(threads)
    import numpy as np
    import polars as pl
    from rich.console import Console
    from rich.table import Table
    from scipy.sparse import csr_array

    import dotbias as db
    from dotbias.data.vocabulary import Vocabulary

    def recommender(n_users: int, n_items: int) -> db.Recommender:
        rng = np.random.default_rng(0)
        users = np.repeat(np.arange(n_users), N_RATED)
        items = rng.integers(0, n_items, len(users))
        parameters = {
            "user_factors": rng.standard_normal((n_users, factors), np.float32) / factors,
            "item_factors": rng.standard_normal((n_items, factors), np.float32),
            "user_bias": rng.standard_normal(n_users, np.float32),
            "item_bias": rng.standard_normal(n_items, np.float32),
            "global_mean": np.array([3], np.float32),
            "scale": np.array([1, 5], np.float32),
        }
        rated = csr_array((np.ones(len(users), np.float32), (users, items)), (n_users, n_items))
        named = Vocabulary(pl.Series(range(n_items)), pl.Series(map(str, range(n_items))))
        return db.Recommender(
            db.DotBias(n_factors=factors),
            parameters,
            Vocabulary(pl.Series(range(n_users))),
            named,
            rated,
        )

    def by_blas(rec: db.Recommender, users: "np.ndarray") -> "np.ndarray":
        p = rec.parameters
        step = max(1, 16_000_000 // len(p["item_bias"]))
        tops = []
        for start in range(0, len(users), step):
            chunk = users[start : start + step]
            scores = p["user_factors"][chunk] @ p["item_factors"].T
            scores += p["item_bias"]
            for row, user in enumerate(chunk):
                scores[
                    row, rec.rated.indices[rec.rated.indptr[user] : rec.rated.indptr[user + 1]]
                ] = -np.inf
            np.negative(scores, out=scores)
            best = np.argpartition(scores, K - 1, axis=1)[:, :K]
            order = np.argsort(np.take_along_axis(scores, best, axis=1), axis=1)
            tops.append(np.take_along_axis(best, order, axis=1))
        return np.concatenate(tops)

    console = Console(width=120)
    table = Table("items", "users", title=f"{factors} factors, {threads} threads, lists of {K}")
    for name in ("arrays", "frame", "BLAS"):
        table.add_column(name, justify="right")
        table.add_column("ns", justify="right")
    table.add_column("BLAS / arrays", justify="right")
    for shape in only or SHAPES:
        n_users, n_items = SHAPES[shape]
        rec = recommender(n_users, n_items)
        for n in (1, n_users):
            users = np.arange(n, dtype=np.int32)
            ids = users.tolist()
            ways: list[Callable[[], object]] = [
                lambda: rec.top_items(users, K, min_ratings=0),
                lambda: rec.recommend(ids, K, min_ratings=0),
                lambda: by_blas(rec, users),
            ]
            assert np.array_equal(ways[0](), ways[2]())
            least = fastest(ways, seconds)
            figures = [
                cell for best in least for cell in (in_ms(best), f"{1e9 * best / n / n_items:.1f}")
            ]
            table.add_row(shape, f"{n:,}", *figures, f"{least[2] / least[0]:.1f}")
            console.print(shape, n, *figures, style="dim")
    console.print(table)


def fastest(ways: list[Callable[[], object]], seconds: float) -> list[float]:
    """The least seconds of each, all of them taking turns for so long, and at least three times."""
    times: list[list[float]] = [[] for _ in ways]
    begun = time.perf_counter()
    while len(times[0]) < 3 or time.perf_counter() < begun + seconds:
        for way, own in zip(ways, times, strict=True):
            start = time.perf_counter()
            way()
            own.append(time.perf_counter() - start)
    return [min(own) for own in times]


def in_ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


if __name__ == "__main__":
    typer.run(main)
