"""What a map of ml-latest-small takes and how far it can be believed, and what neighbours are worth.

    python benchmarks/maps.py map
    python benchmarks/maps.py genres
    python benchmarks/maps.py neighbours
    python benchmarks/maps.py embeddings ml-latest-small ml-1m movietweetings

All ratings are fitted: nothing here is an error on held-out rows.
"""

import time

import numpy as np
import polars as pl
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols
from dotbias.insight.map_quality import nearest
from dotbias.insight.projection import METHODS

app = typer.Typer(add_completion=False)
console = Console()

SEEDS = (0, 1, 2)
FILES = {
    "ml-latest-small": "ml-latest-small.zip",
    "ml-1m": "ml-1m",
    "movietweetings": "movietweetings",
}
SETS_OF_VECTORS = ("rating", "preference")
_K, _LEAST = 10, 20
FITS = {
    "gradient descent": lambda ratings, seed: db.fit(
        ratings, solver=db.GradientDescent(), seed=seed
    ),
    "default (Gibbs)": lambda ratings, seed: db.fit(ratings, seed=seed, purpose="predict"),
}


@app.command("map")
def map_() -> None:
    """Every way to place the items, for fits with three seeds: seconds and quality."""
    ratings = db.read_ratings(protocols.DATA / "ml-latest-small.zip").without_features()
    table = Table("fit", "way", "points", "seconds", "trustworthiness", "kept", box=None)
    for name, fit in FITS.items():
        recs = [fit(ratings, seed) for seed in SEEDS]
        for method in METHODS:
            seconds, maps = [], []
            for rec in recs:
                started = time.perf_counter()
                maps.append(db.embedding_map(rec, method=method, by="rating"))
                seconds.append(time.perf_counter() - started)
            table.add_row(
                name,
                method,
                f"{maps[0].table.height:,}",
                _range(seconds, 1),
                _range([m.quality.trustworthiness for m in maps], 3),
                _range([m.quality.preservation for m in maps], 2),
            )
    console.print(table)


@app.command()
def genres() -> None:
    """How often the ten neighbours of a film share its genre, for fits with three seeds."""
    ratings = db.read_ratings(protocols.DATA / "ml-latest-small.zip").without_features()
    found = []
    for name, fit in FITS.items():
        worlds = [db.embedding_map(fit(ratings, seed), method="pca", by="rating") for seed in SEEDS]
        every = pl.concat([world.genres() for world in worlds]).group_by(
            "genre", "n_items", "share"
        )
        found.append(every.agg(pl.col("among_neighbours").mean().alias(name)))
    both = (
        found[0].join(found[1], on=["genre", "n_items", "share"]).sort("n_items", descending=True)
    )
    table = Table("genre", "films", "of all films", *FITS, box=None)
    for genre, n_items, *shares in both.rows():
        table.add_row(genre, f"{n_items:,}", *(f"{share:.0%}" for share in shares))
    console.print(table)


@app.command()
def embeddings(names: list[str], seeds: int = 3) -> None:
    """Genres that ten neighbours share, by the embedding of ratings and by that of preferences.

    The mean over items with 20 ratings of the Jaccard similarity of an item's genres and a neighbour's.
    """
    table = Table("set", "items", *SETS_OF_VECTORS, "ten at random", box=None)
    for name in names:
        ratings = db.read_ratings(protocols.DATA / FILES[name]).without_features()
        figures: dict[str, list[float]] = {by: [] for by in (*SETS_OF_VECTORS, "ten at random")}
        for seed in range(seeds):
            rec = db.fit(ratings, seed=seed)
            genres = rec.item_vocabulary.genres
            items = np.flatnonzero((rec.item_counts >= _LEAST) & genres.is_not_null().to_numpy())
            flags = genres[items].str.split("|").to_frame().with_row_index().explode("genres")
            flags = flags.to_dummies("genres").group_by("index", maintain_order=True).sum()
            own = flags.drop("index").to_numpy().astype(np.float32)
            others = {
                by: nearest(rec.by(by).unit_vectors()[items], _K)[0] for by in SETS_OF_VECTORS
            }
            rng = np.random.default_rng(seed)
            others["ten at random"] = rng.integers(len(items), size=(len(items), _K))
            for by, rows in others.items():
                both = np.einsum("ng,nkg->nk", own, own[rows])
                either = own.sum(1)[:, None] + own.sum(1)[rows] - both
                figures[by].append(float((both / either).mean()))
        shown = (f"{np.mean(x):.3f} ± {np.std(x):.3f}" for x in figures.values())
        table.add_row(name, f"{len(items):,}", *shown)
    console.print(table)


@app.command()
def neighbours() -> None:
    """The share of ten neighbours that is the same in three other fits, by ratings."""
    ratings = db.read_ratings(protocols.DATA / "ml-latest-small.zip").without_features()
    table = Table("fit", "items", "ratings", "same in another fit", "chance", box=None)
    for name, fit in FITS.items():
        found = db.neighbour_stability(fit(ratings, 0), n_fits=3, by="rating")
        for least, most in ((5, 9), (10, 29), (30, 99), (100, 999)):
            own = found.frame().filter(pl.col("n_ratings").is_between(least, most))
            table.add_row(
                name,
                f"{own.height:,}",
                f"{least}-{most}",
                f"{own['share'].mean():.0%}",
                f"{found.chance:.1%}",
            )
        table.add_row(name, f"{found.frame().height:,}", "all", f"{found.share:.0%}", "")
    console.print(table)


def _range(values: list[float], digits: int) -> str:
    return f"{min(values):.{digits}f}-{max(values):.{digits}f}"


if __name__ == "__main__":
    app()
