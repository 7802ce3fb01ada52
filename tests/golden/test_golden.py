"""Files of earlier versions: they load, predict, evaluate, explain and grow as they did."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dotbias as db
from dotbias.solvers.descent.run import Checkpoint
from tests.golden.make import Biases, answers, rows, solvers

VERSIONS = sorted(path for path in Path(__file__).parent.iterdir() if path.name[0].isdigit())
EXPECTED = {folder: json.loads((folder / "expected.json").read_text()) for folder in VERSIONS}
MODELS = [path for folder in VERSIONS for path in sorted(folder.glob("*.dotbias"))]
CHECKPOINTS = [path for folder in VERSIONS for path in sorted(folder.glob("*.checkpoint"))]


def load(path: Path) -> db.Recommender:
    return db.Recommender.load(path, db.Network(Biases) if path.stem == "network" else None)


def ratings(columns: list[Any], scale: tuple[float, float] | None = None) -> db.Ratings:
    return db.Ratings.from_columns(*map(list, zip(*columns, strict=True)), scale=scale)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_model_says_what_it_said(path: Path) -> None:
    expected = EXPECTED[path.parent]
    rec = load(path)
    held = expected["text" if isinstance(rec.user_vocabulary.raw(0), str) else "integers"]
    said = answers(rec, ratings(held))
    for what, value in said.items():
        close = pytest.approx(expected[path.stem][what], rel=2e-6, abs=2e-6)
        assert value == (expected[path.stem][what] if what == "recommended" else close), what
    assert said.keys() == expected[path.stem].keys() - {"info"}
    if "info" in expected[path.stem]:
        assert rec.info() == expected[path.stem]["info"]


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_run_goes_on_from_its_checkpoint(path: Path) -> None:
    expected = EXPECTED[path.parent]
    train = ratings(expected["train"], (0.5, 5.0))
    assert rows(train) == [tuple(row) for row in expected["train"]]
    model, solver = solvers()[path.stem]
    run = solver.start(model, train, seed=5).restore(Checkpoint.load(path))
    assert run.epoch == 2
    parameters = run.run().result()
    predictions = model.predict(parameters, train.users[:50], train.items[:50])
    # Other versions of NumPy and PyTorch, and other processors, round differently.
    assert np.allclose(predictions, expected[path.name], rtol=0, atol=1e-4)
