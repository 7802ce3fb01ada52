"""The Gibbs sampler: its defaults, its threads, and its test error against its single model's.

    python benchmarks/gibbs.py choose              # validation RMSE on parts of the training rows alone
    python benchmarks/gibbs.py accuracy            # all protocols, ids only and with histories
    python benchmarks/gibbs.py side                # ml-100k u1 with side information and time
    python benchmarks/gibbs.py accuracy --only ml-100k --threads 1
    python benchmarks/gibbs.py threads             # from how many ratings on two threads pay

``choose`` holds out a tenth (seed 7) of each protocol's first training part. ``accuracy`` prints for
each split the test RMSE of the samples' mean and of the single model it is compressed to, its rank, and
the seconds of sampling and of the whole fit. ``threads`` draws samples of invented ratings on one thread
and on two by turns, and prints the least milliseconds of each: other programs only ever add to them.
"""

import statistics
import time
from typing import Annotated, Any

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import dotbias as db
import protocols
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.threads import threads as use_threads

app = typer.Typer(add_completion=False)
Only = Annotated[list[str] | None, typer.Option(help="Names of the sets.")]

CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    "ids only": {"histories": False},
    **{f"n_factors={k}": {"n_factors": k} for k in (7, 31, 47)},
    **{f"ids only, n_factors={k}": {"n_factors": k, "histories": False} for k in (7, 31, 47, 63)},
    **{f"noise_freedom={f}": {"noise_freedom": f} for f in (None, 5.0, 10.0, 50.0)},
    **{
        f"ids only, noise_freedom={f}": {"noise_freedom": f, "histories": False}
        for f in (None, 5.0, 10.0, 50.0)
    },
}


@app.command()
def choose(only: Only = None, labels: Annotated[list[str] | None, typer.Option()] = None) -> None:
    table = Table("candidate", *(only or protocols.SPREAD))
    rows: dict[str, list[str]] = {label: [] for label in labels or CANDIDATES}
    for name in only or protocols.SPREAD:
        _, train, _ = next(protocols.splits(name))
        for label, cells in rows.items():
            _, history = Gibbs(validation_size=0.1, **CANDIDATES[label]).sample(train, seed=7)
            cells.append(f"{history.epochs[-1].validation_rmse:.4f}")
            print(name, label, cells[-1], flush=True)
    for label, cells in rows.items():
        table.add_row(label, *cells)
    Console(width=120).print(table)


@app.command()
def accuracy(
    only: Only = None,
    threads: Annotated[int | None, typer.Option()] = None,
    samples: Annotated[int, typer.Option()] = 200,
    factors: Annotated[int | None, typer.Option()] = None,
    histories: Annotated[bool | None, typer.Option("--histories/--ids-only")] = None,
) -> None:
    Gibbs(n_samples=3, burn_in=1, n_factors=factors).sample(db.simulate(seed=0).ratings)
    table = Table("set", "form", "mean of samples", "single model", "rank", "sampling, s", "fit, s")
    for name in only or protocols.SPREAD:
        for with_histories in (False, True) if histories is None else (histories,):
            solver = Gibbs(
                n_samples=samples, n_factors=factors, histories=with_histories, n_threads=threads
            )
            splits = [_measure(solver, train, test) for _, train, test in protocols.splits(name)]
            form = "histories" if with_histories else "ids only"
            table.add_row(name, form, *_summary(splits))
            for one in splits:
                print(name, form, *(f"{value:.4f}" for value in one), flush=True)
    Console(width=120).print(table)


@app.command()
def threads(
    ratings: Annotated[list[int] | None, typer.Option(help="How many of them.")] = None,
    factors: Annotated[list[int] | None, typer.Option()] = None,
    seconds: Annotated[float, typer.Option(help="How long each line takes turns.")] = 20.0,
) -> None:
    table = Table("ratings", "factors", "one thread, ms", "two threads, ms", "one / two")
    for n in ratings or (20_000, 80_000):
        # In the shape of ml-latest-small.
        world = db.simulate(n_users=610, n_items=9_000, n_ratings=n, seed=0).ratings
        for k in factors or (15, 31, 63, 127):
            chain = Gibbs().chain(world, n_factors=k, seed=0)
            least = {1: float("inf"), 2: float("inf")}
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                for n_threads in least:
                    with use_threads(n_threads, n), threadpool_limits(1, "blas"):
                        chain.sweep()  # wakes them up
                        begin = time.perf_counter()
                        chain.sweep()
                        least[n_threads] = min(least[n_threads], time.perf_counter() - begin)
            one, two = (1e3 * least[n_threads] for n_threads in (1, 2))
            table.add_row(f"{n:,}", str(k), f"{one:.1f}", f"{two:.1f}", f"{one / two:.2f}")
            print(n, k, f"{one:.1f} {two:.1f} {one / two:.2f}", flush=True)
    Console(width=120).print(table)


@app.command()
def side(
    samples: Annotated[int, typer.Option()] = 200,
    factors: Annotated[int | None, typer.Option()] = None,
) -> None:
    _, train, test = next(protocols.splits("ml-100k"))
    users = pl.read_csv(
        protocols.DATA / "ml-100k/u.user",
        separator="|",
        has_header=False,
        new_columns=["id", "age", "sex", "job", "zip"],
    ).drop("zip")
    users = users.with_columns(decade=(pl.col("age") // 10).cast(pl.String))
    items = pl.read_csv(
        protocols.DATA / "ml-100k/u.item", separator="|", has_header=False, encoding="latin1"
    )
    items = items.select("column_0", *[f"column_{c}" for c in range(5, 24)]).with_columns(
        pl.exclude("column_0").cast(pl.Boolean)
    )
    for label, known, days in (
        ("histories", False, {}),
        ("side information", True, {}),
        ("weeks", False, {"week": 7}),
        ("side information and weeks", True, {"week": 7}),
        ("side information, days", True, {"day": 1}),
    ):
        spans = {n: 86_400 * d for n, d in days.items()}
        # One numbering of the weeks for both parts: it comes from the clock, not from the ratings.
        times = np.concatenate([train.times, test.times])
        columns = {n: times // span for n, span in spans.items()}
        given = train.with_features(
            users=users if known else None,
            items=items if known else None,
            ratings={n: c[: len(train)] for n, c in columns.items()},
        )
        coded = {n: _codes_like(c[: len(train)], c[len(train) :]) for n, c in columns.items()}
        posterior, _ = Gibbs(n_samples=samples, n_factors=factors).sample(given, seed=0)
        mean, _ = posterior.predict(*_aligned(train, test), coded)
        print(label, f"{_rmse(mean, test, train):.4f}", flush=True)


def _codes_like(train: Any, test: Any) -> Any:
    """Categories of the test rows in the training rows' numbering; -1 for those not seen there."""
    seen = np.unique(train)
    at = np.minimum(np.searchsorted(seen, test), len(seen) - 1)
    return np.where(seen[at] == test, at, -1).astype(np.int32)


def _measure(solver: Gibbs, train: db.Ratings, test: db.Ratings) -> tuple[float, ...]:
    started = time.perf_counter()
    posterior, history = solver.sample(train, seed=0)
    parameters = posterior.compress(db.DotBias().n_factors)
    seconds = time.perf_counter() - started
    users, items = _aligned(train, test)
    mean, _ = posterior.predict(users, items)
    model = db.DotBias().fitted(parameters)
    single = model.predict(parameters, users, items)
    errors = _rmse(mean, test, train), _rmse(single, test, train)
    return *errors, model.n_factors, history.seconds, seconds


def _aligned(train: db.Ratings, test: db.Ratings) -> Any:
    return tuple(
        ours.indices(theirs.ids)[index]
        for ours, theirs, index in (
            (train.user_vocabulary, test.user_vocabulary, test.user_indices),
            (train.item_vocabulary, test.item_vocabulary, test.item_indices),
        )
    )


def _rmse(predicted: Any, test: db.Ratings, train: db.Ratings) -> float:
    return float(np.sqrt(np.mean((np.clip(predicted, *train.scale) - test.values) ** 2)))


def _summary(splits: list[tuple[float, ...]]) -> list[str]:
    columns = list(zip(*splits, strict=True))
    errors = [f"{statistics.fmean(c):.4f} ± {statistics.stdev(c):.4f}" for c in columns[:2]]
    rank = f"{min(columns[2]):.0f}-{max(columns[2]):.0f}"
    return [*errors, rank, *(f"{statistics.fmean(c):.1f}" for c in columns[3:])]


if __name__ == "__main__":
    app()
