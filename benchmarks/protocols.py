"""The splits on which figures are reported, and the folder of the real sets."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

import dotbias as db
from dotbias.data.catalog import cache_folder

DATA = Path(
    os.environ.get("DOTBIAS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
SPREAD = {
    "ml-latest-small": "random 80/20, seeds 42-46",
    "ml-100k": "official u1-u5",
    "ml-1m": "random 90/10, seeds 42-44",
}
FILES = {
    "ml-100k": "ml-100k/u.data",
    "ml-latest-small": "ml-latest-small.zip",
    "ml-1m": "ml-1m/ratings.csv.gz",
    "movietweetings": "movietweetings/ratings-50K.dat",
}
LARGE = "ml-10m", "ml-20m", "ml-25m", "ml-32m"
"""Sets that are used by name where they have been downloaded."""
_RANDOM = {
    "ml-latest-small": (0.8, range(42, 47)),
    "ml-1m": (0.9, range(42, 45)),
    "movietweetings": (0.8, range(42, 45)),
    **{name: (0.9, range(42, 45)) for name in LARGE},
}


def splits(name: str, *, titled: bool = False) -> Iterator[tuple[str, db.Ratings, db.Ratings]]:
    """Label, training part and held-out part of each repeat.

    Args:
        name: of the set.
        titled: whether titles and genres are read too, by which Gibbs gets better: other libraries are
            not told of them.
    """
    for label in labels(name):
        yield label, *split(name, label, titled=titled)


def labels(name: str) -> list[str]:
    """Of the repeats."""
    return (
        [f"u{fold}" for fold in range(1, 6)] if name == "ml-100k" else [*map(str, _RANDOM[name][1])]
    )


def split(name: str, label: str, *, titled: bool = False) -> tuple[db.Ratings, db.Ratings]:
    """Training part and held-out part of one repeat."""
    if name == "ml-100k":
        folder = DATA / "ml-100k"
        titles = folder / "u.item" if titled else "none"
        train, test = (folder / f"{label}.{part}" for part in ("base", "test"))
        return db.read_ratings(train, titles=titles), db.read_ratings(test, titles=titles)
    read = ratings(name, titled=titled)
    order = np.random.default_rng(int(label)).permutation(len(read))
    cut = round(_RANDOM[name][0] * len(read))
    return read.take(np.sort(order[:cut])), read.take(np.sort(order[cut:]))


@lru_cache(maxsize=1)
def ratings(name: str, *, titled: bool = False) -> db.Ratings:
    """All of a set."""
    source = name if name in LARGE else DATA / FILES[name]
    return db.read_ratings(source, titles=None if titled else "none")


def downloaded(name: str) -> bool:
    """Whether a large set is in the folder of downloads."""
    return (cache_folder() / f"{name}.zip").exists()
