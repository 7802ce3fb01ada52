"""A model and a service that all tests of this folder may ask."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest

import dotbias as db
from dotbias.recommender.recommender import Recommender
from tests.serving.server import serving

ITEMS = pl.DataFrame(
    {
        "id": range(1, 41),
        "title": [
            *("Matrix, The (1999)", "Léon (1994)", "Matrix Reloaded, The (2003)"),
            *(f"Film {n} ({1980 + n})" for n in range(4, 41)),
        ],
        "genres": ["Action|Sci-Fi", "Action|Drama", "Action", *["Drama"] * 37],
    }
)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of stars and one of preferences, of 60 users and 40 items, in a file."""
    drawn, _ = db.simulate(60, 40, 900, n_factors=2, seed=0)
    ratings = db.read_ratings(drawn.to_frame(), titles=ITEMS)
    solver, preference = db.ALS(n_iterations=2), db.ImplicitALS(n_iterations=2)
    rec = db.fit(ratings, db.DotBias(n_factors=2), solver, preference=preference, seed=0)
    path = tmp_path_factory.mktemp("serving") / "m.dotbias"
    rec.save(path)
    return path


@pytest.fixture(scope="session")
def rec(model: Path) -> Recommender:
    return Recommender.load(model)


@pytest.fixture(scope="session")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that tests share: each takes users of its own."""
    with serving(model, tmp_path_factory.mktemp("database") / "ratings.db") as client:
        yield client
