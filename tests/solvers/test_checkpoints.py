"""Every solver that iterates goes on from a checkpoint of any epoch as if nothing had happened."""

import copy
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import ModelFileError, SettingError
from dotbias.models.base import Model
from dotbias.solvers.checkpoint import Checkpoint
from dotbias.solvers.epochs import EpochLoop, IteratingSolver
from tests.forged import array, put
from tests.ratings import random_ratings

PLAIN = random_ratings(n_users=40, n_items=25, n=500, seed=0)
RATINGS = PLAIN.with_features(ratings={"mood": np.arange(len(PLAIN)) % 3})
COUNTS = Ratings.from_columns(
    PLAIN.user_indices, PLAIN.item_indices, PLAIN.values.round() + 1, kind="counts"
)
N = 7
DOT = db.DotBias(n_factors=3)
DESCENT = db.GradientDescent(db.Adam(lr=0.02), n_epochs=N, batch_size=32)
PRODUCT = db.DotProduct(n_factors=4, n_svd_factors=3)

CASES: dict[str, tuple[Model, Any, Ratings]] = {
    "one rating at a time": (DOT, db.GradientDescent(n_epochs=N), RATINGS),
    "averages, cycles, noise": (
        DOT,
        replace(DESCENT, average=2, schedule=db.WarmRestarts(first_cycle=2), gradient_noise=0.1),
        RATINGS,
    ),
    "validation rows": (DOT, replace(DESCENT, validation_size=0.2, patience=2), RATINGS),
    "preferences": (
        db.DotBias(n_factors=3, output="preference"),
        replace(DESCENT, loss="bpr"),
        COUNTS,
    ),
    "a look at rows": (DOT, replace(DESCENT, rule=db.RowAdagrad()), RATINGS),
    "a look at groups": (DOT, db.GradientDescent(db.Prodigy(), n_epochs=N), RATINGS),
    "averages of the rule": (DOT, db.GradientDescent(db.ScheduleFreeSGD(), n_epochs=N), RATINGS),
    "network": (db.EmbeddingNet(n_factors=3, hidden=(4,)), DESCENT, RATINGS),
    "ALS": (DOT, db.ALS(n_iterations=N), RATINGS),
    "ALS, rows, validation rows": (
        DOT,
        db.ALS(n_iterations=N, weighting="rows", validation_size=0.2, patience=2),
        RATINGS,
    ),
    "ALS, held biases": (DOT, db.ALS(n_iterations=N, biases="held"), RATINGS),
    "ALS, steps": (DOT, db.ALS(n_iterations=N, n_steps=2), RATINGS),
    "ImplicitALS": (PRODUCT, db.ImplicitALS(n_iterations=N), RATINGS),
    "ImplicitALS, counts": (PRODUCT, db.ImplicitALS(n_iterations=N, weighting="bm25"), COUNTS),
    "Gibbs": (
        DOT,
        db.Gibbs(n_samples=N, burn_in=2, n_factors=3, keep_samples=2, validation_size=0.2),
        RATINGS,
    ),
    "Gibbs without histories": (
        DOT,
        db.Gibbs(n_samples=N, burn_in=2, n_factors=3, histories=False, noise_freedom=None),
        PLAIN,
    ),
}


def begun(name: str) -> EpochLoop:
    model, solver, ratings = CASES[name]
    return solver.start(model, ratings, seed=3)


def numbers(loop: EpochLoop) -> dict[str, Any]:
    """All that must be the same, as bytes: the result and what was told of each epoch, but for times."""
    history = asdict(replace(loop.history, cycle_parameters=[], seconds=0.0))
    for epoch in history["epochs"]:
        epoch.update(seconds=0, ratings_per_second=0)
    return {
        "result": {name: (a.dtype.str, a.tobytes()) for name, a in loop.result().items()},
        "history": history,
        "rng": loop.rng.bit_generator.state,
    }


@pytest.mark.parametrize("name", CASES)
def test_it_goes_on_from_any_epoch_to_the_same_bits(name: str, tmp_path: Path) -> None:
    unbroken = numbers(begun(name).run())
    loop, path = begun(name), tmp_path / "c"
    saved: list[bytes] = []

    def save(_: Any) -> None:
        loop.checkpoint().save(path)
        saved.append(path.read_bytes())

    loop.checkpoint().save(path)  # before the first epoch, too
    saved.append(path.read_bytes())
    assert numbers(loop.run(on_epoch=save)) == unbroken  # to save changes nothing
    assert len(saved) == 1 + len(unbroken["history"]["epochs"])
    for epoch, content in enumerate(saved):
        path.write_bytes(content)
        again = begun(name).restore(Checkpoint.load(path))
        assert again.epoch == epoch
        again.checkpoint().save(path)
        assert path.read_bytes() == content  # to restore loses nothing
        assert numbers(again.run()) == unbroken


@pytest.mark.parametrize("name", CASES)
def test_a_loop_that_has_gone_on_can_go_back(name: str) -> None:
    loop = begun(name).run(2)
    kept = loop.checkpoint()
    unbroken = numbers(loop.run())
    for _ in range(2):
        assert numbers(loop.restore(kept).run()) == unbroken


def test_thresholds_go_on_too() -> None:
    """Those of ordered categories, which ``fit`` does not offer."""
    solver = db.Gibbs(n_samples=N, burn_in=2, n_factors=3, likelihood="ordinal")
    ratings = replace(PLAIN, values=PLAIN.values.round())

    def sampling() -> Any:
        return type(begun("Gibbs"))(solver, DOT, ratings, 3)

    def predicted(loop: Any) -> bytes:
        mean, std = loop.drawn.predict(ratings.user_indices, ratings.item_indices)
        return mean.tobytes() + std.tobytes()

    unbroken = predicted(sampling().run())
    for epoch in range(N + 1):
        kept = sampling().run(epoch).checkpoint()
        assert predicted(sampling().restore(kept).run()) == unbroken


# What is refused.


FORGED = {
    "ALS, rows, validation rows": [
        (array("user_rows", lambda a: a[:-1]), "array user_rows must be of"),
        (array("item_rows", lambda a: a * np.nan), "array item_rows is not finite"),
        (array("item_rows", lambda a: a.astype(np.float64)), "array item_rows must be of"),
        (lambda arrays, _: arrays.pop("best/0/user_bias"), "array best/0/user_bias is missing"),
        (put("history.half_steps", ["x"]), r"facts.history.half_steps\[0\] must be a number"),
        (put("history.best_epoch", 99), "the best epoch must be one of"),
        (put("best", [0.5, 9]), "the best epoch must be one of"),
        (lambda _, f: f["history"]["epochs"].pop(0), "must be the first of 7 epochs, in order"),
        (lambda _, f: f.pop("rng"), "facts.rng is missing"),
    ],
    "ImplicitALS": [
        (array("user_rows", lambda a: a[:, :-1]), "array user_rows must be of"),
        (array("item_rows", lambda a: a + np.inf), "array item_rows is not finite"),
        (lambda arrays, _: arrays.clear(), "array user_rows is missing"),
    ],
    "Gibbs": [
        (array("weights", lambda a: -a), "array weights must be above 0"),
        (array("noise_precision", lambda a: 0 * a), "noise_precision must be above 0"),
        (array("modes/0/decay", lambda a: 0 * a), "modes/0/decay must be above 0"),
        (array("sample/0/table", lambda a: a[:1]), "array sample/0/table must be of"),
        (put("kept.sample", 1), "facts.kept.sample must be 2 after 4 samples"),
        (put("kept", {}), "facts.kept.sample must be 2"),
        (array("total", lambda a: a[1:]), "array total must be of"),
    ],
    "network": [
        (
            array("value/hidden.0.bias", lambda a: a[1:]),
            "array value/hidden.0.bias must be of",
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "alter", "reason"),
    [(name, *case) for name, cases in FORGED.items() for case in cases],
)
def test_a_forged_checkpoint_is_refused_and_leaves_the_loop_as_it_was(
    name: str, alter: Callable[[Any, Any], None], reason: str
) -> None:
    kept = begun(name).run(4).checkpoint()
    arrays, facts = dict(kept.arrays), copy.deepcopy(kept.facts)
    alter(arrays, facts)
    fresh = begun(name)
    before = {n: a.tobytes() for n, a in fresh.state().items()}
    with pytest.raises(ModelFileError, match=reason):
        fresh.restore(Checkpoint(arrays, facts))
    assert {n: a.tobytes() for n, a in fresh.state().items()} == before
    assert fresh.epoch == 0


def other(name: str) -> dict[str, EpochLoop]:
    """Runs that differ from that of a case in one thing each."""
    model, solver, ratings = CASES[name]
    rows = ratings.rows(np.arange(len(ratings) - 1))
    loops = {
        "seed": solver.start(model, ratings, seed=4),
        "model": solver.start(replace(model, n_factors=2), ratings, seed=3),
        "ratings": solver.start(model, rows, seed=3),
        "scale": solver.start(model, replace(ratings, declared_scale=(-9, 99)), seed=3),
    }
    length = "n_samples" if isinstance(solver, db.Gibbs) else "n_iterations"
    loops["solver"] = replace(solver, **{length: N + 1}).start(model, ratings, seed=3)
    return loops


@pytest.mark.parametrize("name", ["ALS", "ImplicitALS", "Gibbs"])
def test_a_checkpoint_of_another_run_is_refused_by_name(name: str) -> None:
    kept = begun(name).run(2).checkpoint()
    for what, loop in other(name).items():
        with pytest.raises(SettingError, match=f"another run: its {what} is "):
            loop.restore(kept)
        assert loop.epoch == 0


def test_the_number_of_threads_is_no_part_of_a_run() -> None:
    model, solver, ratings = CASES["ALS"]
    kept = replace(solver, n_threads=1).start(model, ratings, seed=3).run(2).checkpoint()
    assert replace(solver, n_threads=2).start(model, ratings, seed=3).restore(kept).epoch == 2


def test_all_solvers_that_iterate_are_here() -> None:
    tried = {type(solver) for _, solver, _ in CASES.values()}
    assert {
        kind for kind in IteratingSolver.__subclasses__() if "tests" not in kind.__module__
    } == tried


def test_features_are_part_of_what_a_run_reads() -> None:
    digests = [
        PLAIN.digest,
        RATINGS.digest,
        PLAIN.with_features(ratings={"mood": np.arange(len(PLAIN)) % 2}).digest,
        PLAIN.with_features(ratings={"year": np.arange(len(PLAIN)) % 3}).digest,
    ]
    assert len(set(digests)) == 4
    assert replace(RATINGS, times=np.arange(len(RATINGS))).digest == RATINGS.digest
