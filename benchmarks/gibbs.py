"""The Gibbs sampler: its defaults, its threads, and its test error against its single model's.

    python benchmarks/gibbs.py choose              # validation RMSE on parts of the training rows alone
    python benchmarks/gibbs.py accuracy            # all protocols, ids only and with histories
    python benchmarks/gibbs.py side                # ml-100k u1 with side information and time
    python benchmarks/gibbs.py newcomers           # those whom training lacks, by their features
    python benchmarks/gibbs.py accuracy --only ml-100k --threads 1
    python benchmarks/gibbs.py threads             # from how many ratings on two threads pay
    python benchmarks/gibbs.py lengths             # is a longer chain worse on any shape of data?

``choose`` holds out a tenth (seed 7) of each protocol's first training parts, one or ``--splits``, and
prints the mean. ``accuracy`` prints for each split the test RMSE of the samples' mean and of the
single model it is compressed to, its rank, and the seconds of sampling and of the whole fit.
``threads`` draws samples of invented ratings on one thread and on two by turns, and prints the least
milliseconds of each: other programs only ever add to them.
``lengths`` prints the test RMSE of the samples' mean after 100, 200, 400 and 800 samples beside that of
biases alone, over two splits of twelve invented sets and four real ones. The invented ones are on a
scale from 1 to 100, most with three or four ratings a row, some piled up at both ends.
``newcomers`` holds out a fifth of the users (or items) with all of their ratings, seeds 0 to 2, and
prints the test RMSE where nothing is known of them and where their features are; then the same of each
protocol's own splits, of all rows and of those whose user or item training lacks.
"""

import logging
import statistics
import time
from itertools import islice
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

FREEDOMS = None, 5.0, 10.0, 40.0, 80.0
CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    "ids only": {"histories": False},
    **{f"n_factors={k}": {"n_factors": k} for k in (7, 31, 47)},
    **{f"ids only, n_factors={k}": {"n_factors": k, "histories": False} for k in (7, 31, 47, 63)},
    **{f"noise_freedom={f}": {"noise_freedom": f} for f in FREEDOMS},
    **{f"ids only, noise_freedom={f}": {"noise_freedom": f, "histories": False} for f in FREEDOMS},
}


@app.command()
def choose(
    only: Only = None,
    labels: Annotated[list[str] | None, typer.Option()] = None,
    splits: Annotated[int, typer.Option(help="Of each set.")] = 1,
) -> None:
    table = Table("candidate", *(only or protocols.SPREAD))
    rows: dict[str, list[str]] = {label: [] for label in labels or CANDIDATES}
    for name in only or protocols.SPREAD:
        parts = [train for _, train, _ in islice(protocols.splits(name), splits)]
        for label, cells in rows.items():
            solver = Gibbs(validation_size=0.1, **CANDIDATES[label])
            found = [solver.sample(part, seed=7)[1].epochs[-1].validation_rmse for part in parts]
            cells.append(f"{statistics.fmean(found):.4f}")
            print(name, label, cells[-1], *(f"{one:.4f}" for one in found), flush=True)
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


# Users, items, ratings, planted factors, noise in scale units; whether ratings are piled up at both
# ends, and whether people rate what they like.
SHAPES: dict[str, tuple[int, int, int, int, float, bool, bool]] = {
    "biases alone": (1500, 1500, 5000, 0, 20, False, False),
    "few a row": (1500, 1500, 5000, 4, 14, True, False),
    "few a user": (1500, 300, 5000, 4, 14, True, False),
    "few an item": (300, 1500, 5000, 4, 14, False, False),
    "next to noise": (1500, 1500, 5000, 0, 160, True, False),
    "ten a row": (500, 500, 5000, 2, 10, True, False),
    "small": (200, 100, 1400, 2, 10, False, False),
    "few a row, by taste": (3000, 1000, 10_000, 4, 14, True, True),
    "four a row": (5000, 5000, 20_000, 8, 14, False, False),
    "little noise": (1000, 500, 20_000, 8, 8, True, False),
    "many items, by taste": (600, 9000, 20_000, 8, 14, False, True),
    "dense": (100, 50, 2000, 2, 8, False, False),
}
LENGTHS = 100, 200, 400, 800


@app.command()
def lengths(only: Only = None) -> None:
    table = Table("set", "biases alone", *(str(n) for n in LENGTHS), "800 less 200")
    for name in only or [*SHAPES, *REAL]:
        rows, biases = [], []
        for seed in range(2):
            train, test = _of_length(name, seed)
            with use_threads(1, len(train)), threadpool_limits(1, "blas"):
                rows.append(_by_length(train, test))
            flat = db.fit(train, db.Baseline())
            biases.append(float(db.evaluate(flat, test, ranking=False).rmse))
        longer = [row[-1] - row[1] for row in rows]
        mean = np.mean(rows, axis=0)
        spread = f"{statistics.fmean(longer):+.4f} ({min(longer):+.4f} to {max(longer):+.4f})"
        table.add_row(name, f"{np.mean(biases):.4f}", *(f"{x:.4f}" for x in mean), spread)
        print(name, f"{np.mean(biases):.4f}", *(f"{x:.4f}" for x in mean), spread, flush=True)
    Console(width=140).print(table)


def _by_length(train: db.Ratings, test: db.Ratings) -> list[float]:
    solver = Gibbs()
    chain = solver.chain(train, n_factors=solver.n_factors_for(len(train)), seed=0)
    members = chain.members(*_aligned(train, test), {})
    total, errors = np.zeros(len(test)), []
    for sample in range(1, LENGTHS[-1] + 1):
        chain.sweep()
        if sample > solver.burn_in:
            total += chain.predict(members)
        if sample in LENGTHS:
            errors.append(_rmse(total / (sample - solver.burn_in), test, train))
    return errors


def _few_of_ml(seed: int) -> db.Ratings:
    ratings = protocols.ratings("ml-latest-small")
    return ratings.take(np.sort(np.random.default_rng(seed).permutation(len(ratings))[:5000]))


REAL: dict[str, Any] = {
    "5,000 rows of ml-latest-small": _few_of_ml,
    "MovieTweetings": lambda _: protocols.ratings("movietweetings"),
    "ml-latest-small": lambda _: protocols.ratings("ml-latest-small"),
    "ml-100k": lambda _: protocols.ratings("ml-100k"),
}


def _of_length(name: str, seed: int) -> tuple[db.Ratings, db.Ratings]:
    if name in REAL:
        return REAL[name](seed).split(test_size=0.2, seed=42 + seed)
    n_users, n_items, n, k, noise, ends, by_taste = SHAPES[name]
    ratings, _ = db.simulate(
        n_users,
        n_items,
        n,
        n_factors=k,
        noise=noise,
        scale=(1, 100),
        step=1,
        by_taste=by_taste,
        seed=seed,
    )
    if ends:
        z = (ratings.values - ratings.global_mean) / ratings.std
        frame = ratings.to_frame()
        ratings = db.Ratings.from_columns(
            frame["user"], frame["item"], np.rint(1 + 99 / (1 + np.exp(-3 * z)))
        )
    return ratings.split(test_size=0.2, seed=42 + seed)


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


@app.command()
def newcomers(only: Only = None, samples: Annotated[int, typer.Option()] = 200) -> None:
    logging.getLogger("dotbias").setLevel(logging.ERROR)  # who is unknown is known here
    table = Table("set", "held out", "rows", "unknown", "by features")
    solver = Gibbs(n_samples=samples, burn_in=samples // 5)
    for name, (user_file, item_file) in DESCRIBED.items():
        if name not in (only or DESCRIBED):
            continue
        frames = {
            f"{side}s": db.read_features(protocols.DATA / file, side)
            for side, file in (("user", user_file), ("item", item_file))
            if file is not None
        }
        whole = protocols.ratings(name)
        for sides in frames:
            rows = []
            for seed in range(3):
                train, test = _without_some(whole, sides, seed)
                rows += _known_and_not(solver, train, test, {sides: frames[sides]})
            table.add_row(name, f"a fifth of the {sides}", *_compared(rows))
        every, new = [], []
        for label, train, test in protocols.splits(name):
            u, i = _aligned(train, test)
            plain = db.fit(train, solver=solver, purpose="predict").predict(test)
            (_, _, informed), *unknown = _known_and_not(
                solver, train, test, frames, (u < 0) | (i < 0)
            )
            every.append((len(test), _rmse(plain, test, train), informed))
            new += unknown
            print(name, label, every[-1], *unknown, flush=True)
        table.add_row(name, "its splits; unknown: without features", *_compared(every))
        if new:
            table.add_row(name, "of these, new users and items", *_compared(new))
    Console(width=120).print(table)


DESCRIBED = {
    "ml-100k": ("ml-100k/u.user", "ml-100k/u.item"),
    "ml-latest-small": (None, "ml-latest-small.zip"),
    "ml-1m": ("ml-1m/users.dat", "ml-1m/movies.dat"),
}
"""Files of users' and of items' features."""


def _without_some(whole: db.Ratings, sides: str, seed: int) -> tuple[db.Ratings, db.Ratings]:
    n, of = (
        (whole.n_users, whole.user_indices)
        if sides == "users"
        else (whole.n_items, whole.item_indices)
    )
    gone = np.random.default_rng(seed).random(n) < 0.2
    return whole.take(~gone[of]), whole.take(gone[of])


def _known_and_not(
    solver: Gibbs, train: db.Ratings, test: db.Ratings, frames: Any, *parts: Any
) -> list[tuple[int, float, float]]:
    """Rows, and RMSE without and with the features of newcomers: of all rows, and of parts of them that
    are not empty.
    """
    rec = db.fit(train.with_features(**frames), solver=solver, purpose="predict")
    predicted = rec.predict(test), rec.partial_fit(**frames).predict(test)
    found = []
    for part in (np.ones(len(test), bool), *parts):
        if part.any():
            strangers, told = (
                float(np.sqrt(np.mean((p - test.values)[part] ** 2))) for p in predicted
            )
            found.append((int(part.sum()), strangers, told))
    return found


def _compared(rows: list[Any]) -> list[str]:
    n, *errors = (np.array(column) for column in zip(*rows, strict=True))
    told = [f"{e.mean():.4f} ± {e.std(ddof=1):.4f}" for e in errors]
    return [f"{n.min():,}-{n.max():,}", *told]


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
