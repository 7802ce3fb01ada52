"""A model, databases and a service that all tests of this folder may ask."""

import os
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import polars as pl
import pytest

import dotbias as db
from dotbias.recommender.recommender import Recommender
from tests.serving.postgres import Postgres, postgres
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


def make_model(folder: Path) -> Path:
    """A model of stars and one of preferences, of 60 users and 40 items, in a file."""
    drawn, _ = db.simulate(60, 40, 900, n_factors=2, seed=0)
    ratings = db.read_ratings(drawn.to_frame(), titles=ITEMS)
    solver, preference = db.ALS(n_iterations=2), db.ImplicitALS(n_iterations=2)
    rec = db.fit(ratings, db.DotBias(n_factors=2), solver, preference=preference, seed=0)
    path = folder / "m.dotbias"
    rec.save(path)
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="session")
def rec(model: Path) -> Recommender:
    return Recommender.load(model)


@pytest.fixture(scope="session")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that tests share: each takes users of its own."""
    with serving(model, tmp_path_factory.mktemp("database") / "ratings.db") as client:
        yield client


@pytest.fixture(scope="session")
def mapped(client: httpx.Client) -> None:
    """The map is there."""
    while client.get("/v1/map/state").json()["state"] == "making":
        time.sleep(0.05)


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


_numbers = count()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes the address of a new database, of either kind."""
    if request.param == "sqlite":
        return lambda: str(tmp_path / f"{next(_numbers)}.db")
    server: Postgres = request.getfixturevalue("server")
    return lambda: server.database(f"ratings{os.getpid()}_{next(_numbers)}")


@pytest.fixture
def address(new_database: Callable[[], str]) -> str:
    """The address of a new database, of either kind."""
    return new_database()
