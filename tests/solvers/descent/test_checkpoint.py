"""What is not of the right form in a checkpoint is refused by name, and leaves the run as it was."""

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dotbias as db
from dotbias.errors import ModelFileError, SettingError
from dotbias.solvers.checkpoint import Checkpoint
from dotbias.solvers.descent.run import Run
from tests.forged import array, put

RATINGS, _ = db.simulate(20, 15, 100, seed=1)
MODEL = db.DotBias(n_factors=2)


def run() -> Run[Any]:
    solver = db.GradientDescent(db.Adam(lr=0.01), n_epochs=4, batch_size=32, average=2)
    return solver.start(MODEL, RATINGS, seed=5)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return run().run(1).checkpoint()


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda arrays, _: arrays.pop("value/user_factors"), "array value/user_factors is missing"),
        (array("value/user_factors", lambda a: a[:1]), "array value/user_factors must be of"),
        (
            array("state/item_bias", lambda a: a.astype(np.float64)),
            "array state/item_bias must be of",
        ),
        (array("state/item_bias", lambda a: a * np.nan), "array state/item_bias is not finite"),
        (array("window/0/scale", lambda a: a[:1]), "array window/0/scale must be of"),
        (put("kept.window", 10**9), "array window/1/global_mean is missing"),
        (put("rng", {}), "facts.rng is no state of a generator"),
        (put("rng.state", {"state": -1, "inc": "x"}), "facts.rng is no state of a generator"),
        (put("best", [None]), "facts.best must be an RMSE and an epoch"),
        (put("history.epochs", [{}]), r"facts.history.epochs\[0\].epoch is missing"),
        (put("guard.rises", "x"), "facts.guard.rises must be a whole number"),
        (put("n_updates", None), "facts.n_updates must be a whole number"),
    ],
)
def test_a_checkpoint_is_refused(
    checkpoint: Checkpoint, alter: Callable[[Any, Any], None], reason: str
) -> None:
    arrays, facts = dict(checkpoint.arrays), copy.deepcopy(checkpoint.facts)
    alter(arrays, facts)
    fresh = run()
    before = {name: a.tobytes() for name, a in fresh.state().items()}
    with pytest.raises(ModelFileError, match=reason):
        fresh.restore(Checkpoint(arrays, facts))
    assert {name: a.tobytes() for name, a in fresh.state().items()} == before
    assert fresh.epoch == 0


def test_before_the_first_epoch_there_is_nothing_infinite_in_it() -> None:
    """JSON has no infinity, but 0.5.0 wrote it."""
    facts = run().checkpoint().facts
    json.dumps(facts, allow_nan=False)
    facts["guard"] = {"best": np.inf, "last": np.inf, "last_lr": np.inf, "rises": 0, "limit": 3.0}
    assert run().restore(Checkpoint(run().checkpoint().arrays, facts)).epoch == 0


def test_the_run_may_be_named_as_0_5_0_did(checkpoint: Checkpoint) -> None:
    facts = copy.deepcopy(checkpoint.facts)
    kept = facts["run"]
    kept["model"] = repr(MODEL)
    kept["solver"]["GradientDescent"].pop("clip")  # as if it had come later
    assert run().restore(Checkpoint(checkpoint.arrays, facts)).epoch == 1
    kept["solver"]["GradientDescent"]["average"] = 3
    with pytest.raises(SettingError, match=r"another run: its solver is .*average=3"):
        run().restore(Checkpoint(checkpoint.arrays, facts))
