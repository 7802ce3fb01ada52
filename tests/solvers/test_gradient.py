import numba
import numpy as np
import pytest

from dotbias.errors import DivergenceError, SettingError
from dotbias.models import DotBias
from dotbias.solvers.gradient import GradientDescent
from dotbias.solvers.rules import SGD, Momentum
from tests.ratings import random_ratings
from tests.solvers.contract import SolverContract


class TestSGD(SolverContract):
    model = DotBias(n_factors=4)
    solver = GradientDescent(n_epochs=15)


class TestSigmoid(SolverContract):
    model = DotBias(n_factors=4, output="sigmoid")
    solver = GradientDescent(n_epochs=15)


class TestMomentum(SolverContract):
    model = DotBias(n_factors=4)
    solver = GradientDescent(Momentum(), n_epochs=15)


@pytest.fixture(scope="module")
def ratings():
    return random_ratings(n_users=300, n_items=100, n=9000, seed=0)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="this machine has one core")
def test_one_thread_and_two_leave_the_same_bits(ratings):
    model = DotBias(n_factors=8)
    one, _ = GradientDescent(n_epochs=5, n_threads=1).fit(model, ratings, seed=1)
    two, _ = GradientDescent(n_epochs=5, n_threads=2).fit(model, ratings, seed=1)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_another_scale_changes_nothing_else(ratings, output):
    """On a scale from 0 to 100 the default rate used to diverge, and the decay meant less."""
    from dataclasses import replace

    solver = GradientDescent(n_epochs=15)
    model = DotBias(n_factors=8, output=output)
    wide_model = DotBias(n_factors=8, output=output, margin=25 * model.margin)
    wide = replace(ratings, values=ratings.values * 25 - 20)
    parameters, _ = solver.fit(model, ratings, seed=1)
    wide_parameters, _ = solver.fit(wide_model, wide, seed=1)
    expected = 25 * model.predict(parameters, ratings.users, ratings.items) - 20
    predicted = wide_model.predict(wide_parameters, ratings.users, ratings.items)
    np.testing.assert_allclose(predicted, expected, atol=0.02)


def test_another_seed_gives_other_embeddings(ratings):
    model, solver = DotBias(n_factors=8), GradientDescent(n_epochs=2)
    a, b = (solver.fit(model, ratings, seed=s)[0] for s in (1, 2))
    assert not np.array_equal(a["user_factors"], b["user_factors"])


def test_the_number_of_threads_is_set_back(ratings):
    before = numba.get_num_threads()
    GradientDescent(n_epochs=1, n_threads=1).fit(DotBias(n_factors=2), ratings)
    assert numba.get_num_threads() == before


def test_it_overfits_when_asked_and_is_the_mean_when_over_regularised(ratings):
    def train_rmse(decay, n_epochs):
        model = DotBias(n_factors=32)
        solver = GradientDescent(SGD(lr=0.05), n_epochs=n_epochs, weight_decay=decay)
        parameters, _ = solver.fit(model, ratings)
        error = model.predict(parameters, ratings.users, ratings.items) - ratings.values
        return float(np.sqrt(np.mean(error**2)))

    assert train_rmse(0.0, 200) < 0.1
    assert train_rmse(15.0, 20) == pytest.approx(ratings.values.std(), rel=0.02)


def test_early_stopping_restores_the_best_epoch(ratings):
    solver = GradientDescent(
        SGD(lr=0.05),
        n_epochs=200,
        schedule="constant",
        weight_decay=0.0,
        validation_size=0.2,
        patience=4,
    )
    model = DotBias(n_factors=16)
    parameters, history = solver.fit(model, ratings, seed=3)
    curve = [e.validation_rmse for e in history.epochs]
    assert history.stopped == "early"
    assert history.best_epoch == 1 + int(np.argmin(curve))
    assert len(curve) == history.best_epoch + 4

    shorter = GradientDescent(
        SGD(lr=0.05),
        n_epochs=history.best_epoch,
        schedule="constant",
        weight_decay=0.0,
        validation_size=0.2,
        patience=100,
    )
    again, _ = shorter.fit(model, ratings, seed=3)
    for name in parameters:
        np.testing.assert_array_equal(parameters[name], again[name])


def test_validation_rows_are_not_trained_on(ratings):
    """Without decay a long run fits its own rows perfectly, and the validation rows not at all."""
    solver = GradientDescent(
        SGD(lr=0.05), n_epochs=150, weight_decay=0.0, validation_size=0.3, patience=1000
    )
    _, history = solver.fit(DotBias(n_factors=32), ratings)
    assert history.epochs[-1].train_rmse < 0.1
    assert history.epochs[-1].validation_rmse > 0.4


def test_the_schedule_is_linear_down_to_zero(ratings):
    _, history = GradientDescent(SGD(lr=0.02), n_epochs=4).fit(DotBias(n_factors=2), ratings)
    np.testing.assert_allclose([e.lr for e in history.epochs], [0.02, 0.015, 0.01, 0.005])


def test_divergence_stops_with_advice(ratings):
    solver = GradientDescent(SGD(lr=2.0), n_epochs=50)
    with pytest.raises(DivergenceError, match=r"diverged in epoch \d+.*lr=0.5 \(it was 2\)"):
        solver.fit(DotBias(n_factors=8), ratings)


def test_ctrl_c_keeps_what_there_is(ratings):
    def interrupt(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    model = DotBias(n_factors=4)
    parameters, history = GradientDescent(n_epochs=10, schedule="constant").fit(
        model, ratings, seed=2, on_epoch=interrupt
    )
    three, _ = GradientDescent(n_epochs=3, schedule="constant").fit(model, ratings, seed=2)
    assert history.stopped == "interrupted"
    assert history.best_epoch == 3
    for name in three:
        np.testing.assert_array_equal(parameters[name], three[name])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientDescent(n_epochs=0), "n_epochs must be at least 1"),
        (
            lambda: GradientDescent(weight_decay=-1.0),
            "weight_decay of user_factors must be at least 0",
        ),
        (
            lambda: GradientDescent(weight_decay="much"),
            "user_factors must be at least 0, not 'much'",
        ),
        (lambda: GradientDescent(weight_decay={"users": 0.1}), "no group 'users'.*user_factors"),
        (
            lambda: GradientDescent(schedule="cosmic"),
            "schedule must be one of 'linear', 'constant'",
        ),
        (
            lambda: GradientDescent(validation_size=1.0),
            "validation_size must be at least 0 and below 1",
        ),
        (lambda: GradientDescent("sgd"), "rule must be an update rule"),
    ],
)
def test_bad_settings_fail_at_once(make, message):
    with pytest.raises(SettingError, match=message):
        make()


def test_more_threads_than_there_are_is_refused(ratings):
    with pytest.raises(SettingError, match="n_threads=999"):
        GradientDescent(n_threads=999).fit(DotBias(n_factors=2), ratings)


def test_a_validation_part_of_nothing_is_refused():
    from dotbias.data.ratings import Ratings

    with pytest.raises(SettingError, match="leaves no rows"):
        GradientDescent(validation_size=0.1).fit(
            DotBias(n_factors=2), Ratings.from_columns([1], [1], [3.0])
        )
