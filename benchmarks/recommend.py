"""How long lists take, beside a BLAS product with ``argpartition``.

    python benchmarks/recommend.py                  # one thread
    python benchmarks/recommend.py --threads 2
    python benchmarks/recommend.py --factors 256 --only ml-latest-small

Parameters are random, and every user has rated about 165 items, the mean of ml-latest-small. "arrays" is
``Recommender.top_items`` on indices, "frame" is ``Recommender.recommend`` on ids. "BLAS" scores all
items for as many users as fit in 64 MB at a time, takes out what they have rated, and sorts what
``argpartition`` leaves. No item counts as rarely rated. The three take turns, so that a machine that is
slower for a while is so for all; figures are the least milliseconds, and the least nanoseconds per user
and item.
"""

import os
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

SHAPES = {
    "ml-latest-small": (1_000, 9_724),
    "30,000 items": (1_000, 30_000),
    "1,000,000 items": (1_000, 1_000_000),
}
N_RATED, K = 165, 10


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of the shapes.")] = None,
    users: Annotated[list[int] | None, typer.Option(help="How many users, 1 and 1,000.")] = None,
    factors: int = 64,
    threads: int = 1,
    seconds: Annotated[float, typer.Option(help="How long each line takes turns.")] = 10.0,
) -> None:
    # Libraries read them when they are imported.
    for library in ("OMP", "OPENBLAS", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    table = Table("items", "users", title=f"{factors} factors, {threads} threads, lists of {K}")
    for name in ("arrays ms", "ns", "frame ms", "ns", "BLAS ms", "ns", "BLAS / arrays"):
        table.add_column(name, justify="right")
    for shape in only or SHAPES:
        rec = recommender(*SHAPES[shape], factors)
        for n in users or [1, 1_000]:
            least = fastest(ways(rec, n), seconds)
            pairs = n * SHAPES[shape][1]
            figures = [
                f for best in least for f in (f"{1e3 * best:.3g}", f"{1e9 * best / pairs:.1f}")
            ]
            row = (shape, f"{n:,}", *figures, f"{least[2] / least[0]:.1f}")
            table.add_row(*row)
            console.print(*row, style="dim")
    console.print(table)


def recommender(n_users: int, n_items: int, k: int) -> Any:
    """One with random parameters, whose users and items have their indices for ids."""
    import numpy as np
    import polars as pl
    from scipy.sparse import csr_array

    import dotbias as db
    from dotbias.data.vocabulary import Vocabulary

    rng = np.random.default_rng(0)
    rater = np.repeat(np.arange(n_users), N_RATED)
    rated = rng.integers(0, n_items, len(rater))
    parameters = {
        "user_factors": rng.standard_normal((n_users, k), np.float32),
        "item_factors": rng.standard_normal((n_items, k), np.float32),
        "user_bias": rng.standard_normal(n_users, np.float32),
        "item_bias": rng.standard_normal(n_items, np.float32),
        "global_mean": np.array([3], np.float32),
        "scale": np.array([1, 5], np.float32),
    }
    return db.Recommender(
        db.DotBias(n_factors=k),
        parameters,
        Vocabulary(pl.Series(range(n_users))),
        Vocabulary(pl.Series(range(n_items)), pl.Series([f"item {n}" for n in range(n_items)])),
        csr_array((np.ones(len(rater), np.float32), (rater, rated)), (n_users, n_items)),
    )


def ways(rec: Any, n: int) -> list[Callable[[], Any]]:
    """Lists of the first n users by ``top_items``, by ``recommend`` and by BLAS."""
    import numpy as np

    users = np.arange(n, dtype=np.int32)
    ids = users.tolist()
    return [
        lambda: rec.top_items(users, K, min_ratings=0),
        lambda: rec.recommend(ids, K, min_ratings=0),
        lambda: by_blas(rec, users),
    ]


def by_blas(rec: Any, users: Any) -> Any:
    import numpy as np

    p_u, q_i, b_i = (rec.parameters[n] for n in ("user_factors", "item_factors", "item_bias"))
    starts, items = rec.rated.indptr, rec.rated.indices
    tops = []
    step = max(1, 16_000_000 // len(b_i))
    for start in range(0, len(users), step):
        chunk = users[start : start + step]
        scores = p_u[chunk] @ q_i.T
        scores += b_i
        for row, user in enumerate(chunk):
            scores[row, items[starts[user] : starts[user + 1]]] = -np.inf
        best = np.argpartition(scores, -K, axis=1)[:, -K:]
        order = np.argsort(np.take_along_axis(scores, best, axis=1), axis=1)[:, ::-1]
        tops.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(tops)


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


if __name__ == "__main__":
    typer.run(main)
