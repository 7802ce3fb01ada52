"""Orders, batches and threads: which ratings a step takes, and that nothing else matters."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models import DotBias
from dotbias.models.base import Parameters, initialised
from dotbias.settings import generator
from dotbias.solvers.descent import passes
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD, Momentum
from dotbias.solvers.descent.training import Training
from tests.conftest import PROJECT
from tests.ratings import random_ratings

MODEL = DotBias(n_factors=4, init_std=0.1)
GROUPS = DotBias.groups
BATCHED = GradientDescent(SGD(lr=0.5), batch_size=32, n_epochs=2)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=40, n_items=30, n=600, seed=0)


def fitted(solver: GradientDescent, ratings: Ratings, seed: int = 1) -> Parameters:
    return solver.fit(MODEL, ratings, seed=seed)[0]


def assert_same(a: Parameters, b: Parameters) -> None:
    for name in GROUPS:
        np.testing.assert_array_equal(a[name], b[name])


def differ(a: Parameters, b: Parameters) -> bool:
    return any(not np.allclose(a[name], b[name], rtol=1e-3) for name in GROUPS)


# Order.


def descended(ratings: Ratings, start: Parameters, batch_size: int, lr: float) -> Parameters:
    """One pass of plain gradient descent in the stored order, without decay, in float64."""
    model_unit = DotBias().units(ratings.std)
    rate = {name: lr * unit**2 for name, unit in model_unit.items()}  # dw = unit · d(w / unit)
    w = {name: start[name].astype(np.float64) for name in GROUPS}
    mean = ratings.values.mean(dtype=np.float64)
    for begin in range(0, len(ratings), batch_size):
        gradient = {name: np.zeros_like(table) for name, table in w.items()}
        rows = range(begin, min(begin + batch_size, len(ratings)))
        for row in rows:
            u, i = ratings.user_indices[row], ratings.item_indices[row]
            p, q = w["user_factors"][u], w["item_factors"][i]
            e = mean + w["user_bias"][u] + w["item_bias"][i] + p @ q - ratings.values[row]
            e /= ratings.std**2 * len(rows)
            gradient["user_factors"][u] += e * q
            gradient["item_factors"][i] += e * p
            gradient["user_bias"][u] += e
            gradient["item_bias"][i] += e
        w = {name: table - rate[name] * gradient[name] for name, table in w.items()}
    return start | w


@pytest.mark.parametrize(("batch_size", "lr"), [(1, 0.05), (32, 0.8), (599, 5.0), (600, 5.0)])
def test_the_stored_order_is_the_order_of_the_rows(
    ratings: Ratings, batch_size: int, lr: float
) -> None:
    solver = GradientDescent(
        SGD(lr=lr),
        batch_size=batch_size,
        order="stored",
        n_epochs=1,
        schedule="constant",
        weight_decay=0.0,
    )
    start = initialised(MODEL, ratings, generator(1))
    training = solver.start(MODEL, ratings, seed=1).run()
    expected = descended(ratings, start, batch_size, lr)
    for name in GROUPS:
        np.testing.assert_allclose(training.parameters()[name], expected[name], atol=1e-5)
        assert np.abs(expected[name] - start[name]).max() > 1e-3


def test_a_batch_that_threads_share_out_takes_the_same_step(ratings: Ratings) -> None:
    """From some size on, other compiled code takes the step."""
    model = replace(MODEL, n_factors=64)
    assert len(ratings) * model.n_factors >= passes._SHARED_FROM
    solver = GradientDescent(
        SGD(lr=5.0), batch_size=None, n_epochs=1, schedule="constant", weight_decay=0.0
    )
    start = initialised(model, ratings, generator(1))
    training = solver.start(model, ratings, seed=1).run()
    expected = descended(ratings, start, len(ratings), 5.0)
    for name in GROUPS:
        np.testing.assert_allclose(training.parameters()[name], expected[name], atol=1e-5)
        assert np.abs(expected[name] - start[name]).max() > 1e-3


SHARED_AND_ALONE = """
from dotbias.models import DotBias
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD
from tests.ratings import random_ratings

ratings = random_ratings(n_users=40, n_items=30, n=600, seed=0)
for n_factors in (64, 4):
    solver = GradientDescent(SGD(lr=5.0), batch_size=None, n_epochs=1)
    parameters, _ = solver.fit(DotBias(n_factors=n_factors), ratings)
    print(abs(parameters["user_bias"]).sum())
"""


def test_what_is_shared_out_and_what_is_not_have_machine_code_of_their_own(
    tmp_path: Path,
) -> None:
    """Kept on disk under one name, a loop compiled for threads used to be loaded for none.

    A process that finds an empty cache and one that finds what the first has left see the same.
    Factors start near zero, so the first step of the biases hardly depends on their number.
    """
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", SHARED_AND_ALONE],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        shared, alone = map(float, done.stdout.split())
        assert shared == pytest.approx(alone, rel=1e-3)
        assert shared > 0.01


@pytest.mark.parametrize("batch_size", [1, 32])
def test_in_the_stored_order_it_matters_how_the_rows_stand(
    ratings: Ratings, batch_size: int
) -> None:
    solver = GradientDescent(
        SGD(lr=0.01 * batch_size), order="stored", batch_size=batch_size, n_epochs=2
    )
    backwards = ratings.rows(np.arange(len(ratings))[::-1])
    assert differ(fitted(solver, ratings), fitted(solver, backwards))


def test_for_a_full_batch_it_does_not_matter_how_the_rows_stand(ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=5.0), batch_size=None, n_epochs=5)
    backwards = ratings.rows(np.arange(len(ratings))[::-1])
    a, b = fitted(solver, ratings), fitted(solver, backwards)
    for name in GROUPS:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-6)


def orders(training: Training) -> list[list[int]]:
    """In which order the rows were taken, in each of three epochs."""
    return [training.run(1)._pass.order.tolist() for _ in range(3)]


def test_every_epoch_is_shuffled_anew_by_the_seed_alone(ratings: Ratings) -> None:
    solver = replace(BATCHED, n_epochs=3)
    np.random.seed(0)  # noqa: NPY002
    first = orders(solver.start(MODEL, ratings, seed=1))
    np.random.seed(1)  # noqa: NPY002
    other_values = replace(ratings, values=6 - ratings.values)
    assert orders(solver.start(MODEL, other_values, seed=1)) == first
    assert all(sorted(order) == list(range(600)) for order in first)
    assert len({tuple(order) for order in first}) == 3
    assert orders(solver.start(MODEL, ratings, seed=2)) != first


def test_a_seed_repeats_a_shuffled_run_and_another_does_not(ratings: Ratings) -> None:
    assert_same(fitted(BATCHED, ratings), fitted(BATCHED, ratings))
    # Without factors to start from, nothing but the order depends on the seed.
    model = replace(MODEL, init_std=0.0)
    a, b = (BATCHED.fit(model, ratings, seed=seed)[0] for seed in (1, 2))
    assert not np.array_equal(a["user_bias"], b["user_bias"])


# Curricula.


def by_distance(ratings: Ratings) -> Any:
    """Ratings near the mean are easy; many are equally so."""
    return np.abs(ratings.values - 3)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_curriculum_takes_the_easy_ratings_first(ratings: Ratings, batch_size: int) -> None:
    """The same as the stored order of ratings that have been sorted, stably, by hand."""
    solver = replace(BATCHED, rule=SGD(lr=0.01 * batch_size), batch_size=batch_size)
    in_order = sorted(range(len(ratings)), key=lambda row: abs(ratings.values[row] - 3))
    assert in_order != list(range(len(ratings)))
    curriculum = fitted(replace(solver, order=by_distance), ratings)
    stored = replace(solver, order="stored")
    assert_same(curriculum, fitted(stored, ratings.rows(np.array(in_order))))
    assert differ(curriculum, fitted(stored, ratings))


def test_a_curriculum_sees_the_training_ratings_alone(ratings: Ratings) -> None:
    seen: list[Ratings] = []

    def note(given: Ratings) -> Any:
        seen.append(given)
        return -given.values

    training = replace(BATCHED, order=note, validation_size=0.25).start(MODEL, ratings, seed=1)
    training.run()
    (given,) = seen
    assert len(given) == 450
    held_out = zip(training.validation.users, training.validation.items, strict=True)
    assert not set(zip(given.user_indices, given.item_indices, strict=True)) & set(held_out)
    taken = given.values[training._pass.order]
    assert taken.tolist() == sorted(given.values.tolist(), reverse=True)


@pytest.mark.parametrize(
    "order",
    [
        lambda ratings: ratings.values[1:],
        lambda ratings: ratings.values[:, None],
        lambda ratings: 1.0,  # noqa: ARG005
        lambda ratings: None,  # noqa: ARG005
        lambda ratings: np.where(ratings.values == 5, np.nan, ratings.values),
        lambda ratings: np.where(ratings.values == 5, np.inf, ratings.values),
        lambda ratings: ["hard"] * len(ratings),
        lambda ratings: [None] * len(ratings),
    ],
    ids=["too few", "a table", "one number", "nothing", "nan", "infinite", "words", "nothings"],
)
def test_a_curriculum_gives_each_rating_a_finite_number(
    ratings: Ratings, order: Callable[[Ratings], Any]
) -> None:
    with pytest.raises(SettingError, match="one finite number for each of the 600 ratings"):
        replace(BATCHED, order=order).fit(MODEL, ratings)


# Batches.


@pytest.mark.parametrize("semantics", ["lazy", "dense"])
@pytest.mark.parametrize("batch_size", [600, 601, 10**15])
def test_a_batch_of_all_ratings_or_more_is_the_full_batch(
    ratings: Ratings, semantics: Any, batch_size: int
) -> None:
    solver = GradientDescent(SGD(lr=5.0), batch_size=None, n_epochs=4, semantics=semantics)
    assert_same(fitted(solver, ratings), fitted(replace(solver, batch_size=batch_size), ratings))


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 600), (32, 19), (300, 2), (None, 1)])
def test_an_epoch_has_a_step_for_each_batch(
    ratings: Ratings, batch_size: int | None, steps: int
) -> None:
    solver = replace(BATCHED, batch_size=batch_size, order="stored")
    assert solver.start(MODEL, ratings).steps_per_epoch == steps


def one_step(ratings: Ratings, **settings: Any) -> Training:
    """A step of one batch, after another that has set all rows in motion."""
    solver = GradientDescent(Momentum(lr=1.0), weight_decay=0.5, order="stored", **settings)
    training = solver.start(MODEL, ratings, seed=1)
    training.step(np.ones(1))
    return training


def test_lazy_rows_rest_until_a_batch_touches_them_and_dense_ones_never(ratings: Ratings) -> None:
    for semantics in ("lazy", "dense"):
        training = one_step(ratings, batch_size=8, semantics=semantics)
        before = [table.copy() for table in training.tables.values]
        training.step(np.ones(1))
        touched = {"user": set(ratings.user_indices[8:16]), "item": set(ratings.item_indices[8:16])}
        for name, now, then in zip(GROUPS, training.tables.values, before, strict=True):
            if name.endswith("bias"):
                continue  # dense too: it rests at zero until a batch has touched it
            moved = set(np.flatnonzero((now != then).any(axis=1)))
            rows = set(range(len(now))) if semantics == "dense" else touched[name[:4]]
            assert moved == rows, (semantics, name)


# Threads.

two_threads = pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="this machine has one core"
)


@pytest.fixture(scope="module")
def many() -> Ratings:
    return random_ratings(n_users=300, n_items=100, n=9000, seed=0)


PASSES = {
    "grid": {"batch_size": 1},
    "small batches": {"batch_size": 64},
    "shared batches": {"batch_size": 4500},  # with 8 factors, above the size worth sharing
    "full batch": {"batch_size": None},
    "dense full batch": {"batch_size": None, "semantics": "dense"},
    "stored one by one": {"batch_size": 1, "order": "stored"},
}


@two_threads
@pytest.mark.parametrize("form", PASSES)
def test_one_thread_and_two_leave_the_same_bits(many: Ratings, form: str) -> None:
    settings: dict[str, Any] = PASSES[form]
    lr = 0.02 * min(settings["batch_size"] or 500, 500)
    solver = GradientDescent(SGD(lr=lr), n_epochs=3, gradient_noise=0.001, clip=5.0, **settings)
    one, two = (
        replace(solver, n_threads=n).fit(DotBias(n_factors=8), many, seed=1)[0] for n in (1, 2)
    )
    assert_same(one, two)


# Hogwild.


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 64}, {"batch_size": None}, {"order": "stored"}, {"semantics": "dense"}],
    ids=str,
)
def test_hogwild_takes_one_shuffled_rating_at_a_time(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="parallel='hogwild' takes one rating at a time"):
        GradientDescent(parallel="hogwild", **settings)


def train_rmse(model: DotBias, parameters: Parameters, ratings: Ratings) -> float:
    error = model.predict(parameters, ratings.user_indices, ratings.item_indices) - ratings.values
    return float(np.sqrt(np.mean(error.astype(np.float64) ** 2)))


def test_hogwild_learns_as_much_as_the_grid(many: Ratings) -> None:
    model = DotBias(n_factors=8)
    n_threads = min(2, numba.config.NUMBA_NUM_THREADS)
    solver = GradientDescent(SGD(lr=0.05), n_epochs=30, n_threads=n_threads)
    grid, hogwild = (
        train_rmse(model, replace(solver, parallel=p).fit(model, many, seed=1)[0], many)
        for p in ("grid", "hogwild")
    )
    assert grid < 0.6 * many.values.std()
    assert hogwild == pytest.approx(grid, rel=0.05)


def test_hogwild_on_one_thread_repeats_itself(many: Ratings) -> None:
    solver = GradientDescent(n_epochs=2, parallel="hogwild", n_threads=1)
    assert_same(fitted(solver, many), fitted(solver, many))
