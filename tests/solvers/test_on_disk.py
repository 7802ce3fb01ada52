"""Solvers that read ratings from disk find what they find in memory."""

from dataclasses import replace

import numpy as np
import pytest

import dotbias as db
from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.stripes import Columns
from dotbias.errors import DataError, SettingError
from dotbias.solvers.descent import passes
from dotbias.solvers.descent.from_disk import OnDisk, staying_order
from dotbias.solvers.descent.grid import Grid
from tests.killed import fill

MODEL = db.DotBias(n_factors=6)
SOLVERS = [
    (MODEL, db.ALS(n_iterations=3)),
    (MODEL, db.ALS(n_iterations=3, n_steps=3, biases="held")),
    (db.Baseline(), db.ClosedForm()),
    (db.DotProduct(n_factors=6), db.ImplicitALS(n_iterations=3)),
    (db.DotProduct(n_factors=1), db.MostRated()),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    ratings, _ = db.simulate(n_users=300, n_items=120, n_ratings=9_000, seed=1)
    path = tmp_path_factory.mktemp("on-disk") / "ratings.blocks"
    return db.prepare(ratings, path, test_size=0.1, seed=2)


@pytest.fixture(scope="module")
def training(prepared):
    """The same ratings in memory."""
    columns = joined(prepared.training.chunks())
    ratings = db.Ratings(*columns, prepared.user_vocabulary, prepared.item_vocabulary)
    assert (ratings.user_counts > 0).all()
    assert (ratings.item_counts > 0).all()
    return ratings


def joined(parts):
    return Columns(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def grid_of(part: PreparedPart) -> Grid:
    """What lies on disk, as the grid that is laid out in memory."""
    n_blocks = part.n_blocks
    blocks = [part.read_block(a, b) for a in range(n_blocks) for b in range(n_blocks)]
    starts = np.append(0, np.cumsum([len(block.users) for block in blocks]))
    users, items, values = joined(blocks)
    return Grid(users, items, values / np.float32(part.std), starts, n_blocks, part.edges("item"))


@pytest.mark.parametrize(
    ("n", "workers"), [(1, [1]), (2, [2]), (7, [7]), (12, [2, 4, 12]), (16, [2, 4, 8, 16])]
)
def test_items_go_to_another_worker_as_seldom_as_they_can(n, workers):
    rng = np.random.default_rng(n)
    orders = [staying_order(n, rng) for _ in range(200)]
    for order in orders:
        assert sorted(order) == list(range(n))
        for n_workers in workers:
            assert np.count_nonzero(np.diff(order % n_workers)) == n_workers - 1
    assert set(np.array(orders)[:, 0]) == set(range(n))  # each may be the first


@pytest.mark.parametrize(("model", "solver"), SOLVERS, ids=lambda each: type(each).__name__)
def test_the_parameters_are_those_of_ratings_in_memory(prepared, training, model, solver):
    in_memory, told = solver.fit(model, training, seed=3)
    on_disk, history = solver.fit(model, prepared.training, seed=3)
    assert history.epochs[-1].train_rmse == pytest.approx(told.epochs[-1].train_rmse, rel=1e-5)
    assert history.half_steps == pytest.approx(told.half_steps, rel=1e-5)
    assert on_disk.keys() == in_memory.keys()
    for name, array in in_memory.items():
        np.testing.assert_allclose(on_disk[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "solver",
    [
        db.GradientDescent(n_epochs=3),
        db.GradientDescent(rule="adam", n_epochs=3),  # whose first steps are short
        db.GradientDescent(n_epochs=3, schedule=db.WarmRestarts(first_cycle=1), gradient_noise=0.1),
    ],
    ids=["sgd", "adam", "restarts, noise"],
)
def test_descent_takes_the_same_steps(prepared, training, solver, monkeypatch):
    monkeypatch.setattr(passes, "lay_out", lambda *_: grid_of(prepared.training))
    monkeypatch.setattr(passes.OneByOne, "_new_order", OnDisk._new_order)
    # The std of either is a sum in another order; the last bit of it would be one of every step.
    training = replace(training)
    vars(training).update(std=prepared.training.std, global_mean=prepared.training.global_mean)
    in_memory, told = solver.fit(MODEL, training, seed=3)
    on_disk, history = solver.fit(MODEL, prepared.training, seed=3)
    if not solver.gradient_noise:  # which is drawn by the place in the grid
        assert [e.train_rmse for e in history.epochs] == [e.train_rmse for e in told.epochs]
        for name, array in in_memory.items():
            np.testing.assert_array_equal(on_disk[name], array, err_msg=name)
    assert history.epochs[-1].train_rmse == pytest.approx(told.epochs[-1].train_rmse, rel=1e-2)


@pytest.mark.parametrize(
    ("model", "solver"),
    [*(s for s in SOLVERS if hasattr(s[1], "n_threads")), (MODEL, db.GradientDescent(n_epochs=2))],
    ids=lambda each: type(each).__name__,
)
def test_threads_leave_the_same_bits(prepared, model, solver):
    one, two = (
        replace(solver, n_threads=n).fit(model, prepared.training, seed=3)[0] for n in (1, 2)
    )
    for name, array in one.items():
        np.testing.assert_array_equal(two[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("model", "solver"),
    [
        (MODEL, db.Gibbs(n_samples=2, burn_in=0)),
        (MODEL, db.GradientDescent(batch_size=64)),
        (MODEL, db.GradientDescent(order="stored")),
        (MODEL, db.GradientDescent(parallel="hogwild")),
        (MODEL, db.GradientDescent(validation_size=0.1)),
        (MODEL, db.ALS(validation_size=0.1)),
        (db.DotBias(output="preference"), db.GradientDescent(loss="bpr")),
        (db.DotProduct(n_svd_factors=2), db.ImplicitALS(n_iterations=1)),
    ],
)
def test_what_needs_all_ratings_in_memory_says_so(prepared, model, solver):
    with pytest.raises(SettingError, match="read from disk block by block"):
        db.fit(prepared, model, solver)


def test_held_out_rows_on_disk_are_measured_as_in_memory(prepared):
    rec = db.fit(prepared, "dot-bias", db.ALS(n_iterations=3), purpose="both", seed=1)
    users, items, values = joined(prepared.held_out())
    test = db.Ratings.from_columns(
        prepared.user_vocabulary.ids.gather(users),
        prepared.item_vocabulary.ids.gather(items),
        values,
    )
    on_disk, in_memory = (flat(db.evaluate(rec, held).to_dict()) for held in (prepared, test))
    assert on_disk["n_rows"] == len(test)
    assert on_disk.keys() == in_memory.keys()
    for name, value in in_memory.items():
        near = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
        assert on_disk[name] == near, name


def flat(data, name=""):
    """Numbers and words by their place in nested plain data."""
    if isinstance(data, dict | list | tuple):
        parts = data.items() if isinstance(data, dict) else enumerate(data)
        return {k: v for key, part in parts for k, v in flat(part, f"{name}/{key}").items()}
    return {name.removeprefix("/"): data}


def test_users_whom_training_does_not_know_are_cold(tmp_path):
    ratings = db.Ratings.from_columns(
        [*range(40), *range(40)], [*[1] * 40, *range(2, 42)], [3.0, 4.0] * 40
    )
    prepared = db.prepare(ratings, tmp_path / "r.blocks", test_size=0.5, seed=0)
    new_users = (prepared.training.user_counts == 0) & (prepared.whole.user_counts > 0)
    new_items = (prepared.training.item_counts == 0) & (prepared.whole.item_counts > 0)
    assert new_users.any()
    assert new_items.any()
    found = db.evaluate(db.fit(prepared, MODEL, db.ALS(n_iterations=1)), prepared)
    assert (found.cold_users, found.cold_items) == (new_users.sum(), new_items.sum())


def test_no_room_for_what_everyone_has_rated_is_an_error(small_disk):
    """And no signal that ends the process."""
    ratings, _ = db.simulate(n_users=60, n_items=40, n_ratings=900, seed=1)
    prepared = db.prepare(ratings, small_disk / "r.blocks")
    fill(small_disk)
    with pytest.raises(
        DataError, match=rf"no room in {small_disk} for the .* everyone has rated: No"
    ):
        db.fit(prepared, db.Baseline())
