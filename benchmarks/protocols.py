"""The splits on which figures are reported, and the folder of the real sets."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import dotbias as db

DATA = Path(
    os.environ.get("DOTBIAS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
SPREAD = {
    "ml-latest-small": "random 80/20, seeds 42-46",
    "ml-100k": "official u1-u5",
    "ml-1m": "random 90/10, seeds 42-44",
}


def splits(name: str) -> Iterator[tuple[str, db.Ratings, db.Ratings]]:
    """Label, training part and held-out part of each repeat."""
    if name == "ml-100k":
        for fold in range(1, 6):
            train, test = (DATA / "ml-100k" / f"u{fold}.{part}" for part in ("base", "test"))
            yield f"u{fold}", db.read_ratings(train), db.read_ratings(test)
        return
    file, share, seeds = {
        "ml-latest-small": ("ml-latest-small.zip", 0.8, range(42, 47)),
        "ml-1m": ("ml-1m/ratings.csv.gz", 0.9, range(42, 45)),
    }[name]
    ratings = db.read_ratings(DATA / file)
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(ratings))
        cut = round(share * len(ratings))
        yield str(seed), ratings.take(np.sort(order[:cut])), ratings.take(np.sort(order[cut:]))
