"""Default rates and lengths: what they scale with, what they leave alone, and what a bad end says."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.models import DotBias
from dotbias.solvers.base import History
from dotbias.solvers.descent.default_rates import default_epochs, default_rate
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import RULES, SGD, Adadelta, Adam, GroupRule, Momentum, Rule
from dotbias.solvers.descent.schedules import OneCycle, Schedule, WarmRestarts, WarmUp

MODEL = DotBias(n_factors=4)


def complete(n_users: int, n_items: int) -> Ratings:
    """Every user rates every item."""
    users, items = np.indices((n_users, n_items)).reshape(2, -1)
    return Ratings.from_columns(
        users, items, np.random.default_rng(0).normal(3, 1, n_users * n_items)
    )


@pytest.fixture(scope="module")
def table() -> Ratings:
    return complete(20, 50)


@pytest.fixture(scope="module")
def invented() -> tuple[Ratings, Ratings]:
    ratings, _ = db.simulate(n_users=100, n_items=60, n_ratings=3000, n_factors=2, seed=0)
    return ratings.split(test_size=0.2, seed=42)


@pytest.mark.parametrize("rule", [r for r in RULES.values() if not issubclass(r, GroupRule)])
def test_rates_grow_with_the_batch(rule: type[Rule], table: Ratings) -> None:
    rates = [default_rate(rule(), size, table) for size in (1, 2, 20, 200, 1000)]
    assert rates == sorted(rates)
    assert rates[-1] > 2 * rates[0]
    assert default_rate(rule(), None, table) == default_rate(rule(), 5000, table) == rates[-1]


def test_steps_in_proportion_to_the_gradient_scale_linearly_up_to_the_curvature(
    table: Ratings,
) -> None:
    assert default_rate(SGD(), 1, table) == SGD.usual_rate
    assert default_rate(SGD(), 200, table) == pytest.approx(200 * SGD.usual_rate)
    assert default_rate(SGD(), None, table) == pytest.approx(1000 / (20 + 50))


def test_steps_of_one_length_scale_with_the_root_of_the_share_of_a_row_in_the_batch(
    table: Ratings,
) -> None:
    single, whole = (default_rate(Adam(), size, table) for size in (1, None))
    assert single == pytest.approx(Adam.usual_rate * math.sqrt(500 / 50))
    assert whole == pytest.approx(math.sqrt(1 + 0.999 * 50) * single)
    # Busier rows take more steps, so shorter ones; and hardly a row comes twice among a few.
    often = Ratings.from_columns([0] * 500, range(500), np.linspace(1, 5, 500))
    assert default_rate(Adam(), 1, often) == Adam.usual_rate
    once = Ratings.from_columns(range(500), range(500), np.linspace(1, 5, 500))
    assert default_rate(Adam(), 64, once) < 1.1 * default_rate(Adam(), 1, once)


def test_adadelta_goes_over_to_the_rate_of_descent() -> None:
    table = complete(100, 50)
    assert default_rate(Adadelta(), 2, table) < 1.1 * default_rate(Adadelta(), 1, table)
    assert default_rate(Adadelta(), 1000, table) == pytest.approx(1000 * SGD.usual_rate)
    assert default_rate(Adadelta(), None, table) == pytest.approx(2 * 5000 / (100 + 50))


def test_the_default_rate_of_the_full_batch_never_lets_the_loss_rise() -> None:
    rng = np.random.default_rng(3)
    users = np.append(np.zeros(400, int), np.arange(1, 401))  # one rates everything
    items = np.append(np.arange(400), np.arange(400) % 20)
    ratings = Ratings.from_columns(users, items, rng.normal(3, 1, 800))
    _, history = GradientDescent(batch_size=None, schedule="constant").fit(MODEL, ratings)
    losses = [epoch.train_figure for epoch in history.epochs]
    assert len(losses) == 300
    assert losses == sorted(losses, reverse=True)


def test_few_steps_in_an_epoch_are_made_up_for_by_epochs() -> None:
    assert [default_epochs(size, 1000) for size in (1, 100, 200, 999, None)] == [
        40,
        40,
        60,
        150,
        300,
    ]


def test_what_was_given_is_left_alone(table: Ratings) -> None:
    given = GradientDescent(SGD(lr=0.5), n_epochs=3, batch_size=None)
    assert given.settled(MODEL, table) == given
    spread = GradientDescent(SGD(lr=slice(0.1, 0.2)), n_epochs=3, batch_size=None)
    assert spread.settled(MODEL, table) == spread
    usual = default_rate(Momentum(), 64, table)
    some = GradientDescent(Momentum(lr={"item_bias": 0.5}), batch_size=64).settled(MODEL, table)
    assert some.rule.rates(MODEL.groups) == {
        "user_factors": usual,
        "item_factors": usual,
        "user_bias": usual,
        "item_bias": 0.5,
    }


def test_defaults_are_those_numbers_to_the_bit() -> None:
    ratings = complete(30, 20)
    usual, told = (
        solver.fit(MODEL, ratings)[0]
        for solver in (GradientDescent(), GradientDescent(SGD(lr=0.022), n_epochs=40))
    )
    for name, array in usual.items():
        np.testing.assert_array_equal(array, told[name])
    solver = GradientDescent(Adam(), batch_size=64)
    assert solver.settled(MODEL, ratings).settled(MODEL, ratings) == solver.settled(MODEL, ratings)
    rec = db.fit(ratings, MODEL, solver, progress=False)
    assert rec.facts.solver["GradientDescent"]["n_epochs"] == 40


# RAdam's warm-up lasts as long as runs on so few ratings, Lion hardly decays at its rates, and DoG has
# hardly left its start after some hundred steps.
@pytest.mark.parametrize("batch_size", [1, 64, 1024, None])
@pytest.mark.parametrize("rule", sorted(RULES.keys() - {"radam", "lion", "dog"}))
def test_every_rule_beats_biases_with_every_batch(
    rule: str, batch_size: int | None, invented: tuple[Ratings, Ratings]
) -> None:
    train, test = invented
    solver = GradientDescent(RULES[rule](), batch_size=batch_size)
    report = db.evaluate(db.fit(train, MODEL, solver, progress=False), test, ranking=False)
    assert report.rmse < report.baseline_rmse


# A bad end.


@pytest.mark.parametrize("validation_size", [0, 0.2])
def test_a_run_that_ends_above_biases_says_so_once(
    validation_size: float, table: Ratings, caplog: pytest.LogCaptureFixture
) -> None:
    crawling = GradientDescent(SGD(lr=1e-6), n_epochs=2, validation_size=validation_size)
    users = np.arange(1000) // 50
    biased = Ratings.from_columns(users, np.arange(1000) % 50, table.values + users / 5)
    with caplog.at_level(logging.WARNING, "dotbias"):
        rec = db.fit(biased, MODEL, crawling, progress=False)
        assert rec.history.above_biases
        db.fit(biased, MODEL, replace(crawling, rule=SGD(), n_epochs=20), progress=False)
    (record,) = caplog.records
    rows = "validation" if validation_size else "training"
    assert f"worse than biases alone: RMSE {rec.history.rmse:.4f} on its {rows}" in record.message
    assert "--lr auto" in record.message


def test_biases_alone_are_measured_on_the_same_rows(table: Ratings) -> None:
    _, history = GradientDescent(n_epochs=1).fit(MODEL, table)
    alone = db.fit(table, db.Baseline())
    assert history.biases_rmse == pytest.approx(alone.history.epochs[0].train_rmse)
    frozen = GradientDescent(n_epochs=1, frozen=("user_factors",))
    assert frozen.fit(MODEL, table)[1].biases_rmse is None
    assert not History().above_biases


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        (WarmRestarts(), 40, 63),
        (WarmRestarts(), 31, None),
        (WarmRestarts(first_cycle=3, cycle_mult=1), 10, 12),
        (WarmRestarts(first_cycle=0.1, cycle_mult=1), 3, None),
        (WarmUp(length=2, then=WarmRestarts()), 10, 17),
        (WarmUp(length=2, then=WarmRestarts()), 2, None),
        (WarmUp(length=2, then="cosine"), 10, None),
        (OneCycle(), 10, 40),
        (OneCycle(), 40, None),
    ],
    ids=str,
)
def test_the_end_of_the_cycle_in_which_a_run_stops(
    schedule: Schedule, epochs: int, expected: float | None
) -> None:
    assert schedule.open_cycle(epochs, 40) == expected


def test_a_cycle_that_ends_in_mid_air_says_how_many_epochs_would_end_it(
    table: Ratings, caplog: pytest.LogCaptureFixture
) -> None:
    restarts = GradientDescent(schedule="warm-restarts", n_epochs=5)
    with caplog.at_level(logging.WARNING, "dotbias"):
        assert db.fit(table, MODEL, restarts, progress=False).history.cycle_end == 7
        db.fit(table, MODEL, replace(restarts, n_epochs=7), progress=False)
    (message,) = (r.message for r in caplog.records if "cycle" in r.message)
    assert "after 5 epochs" in message
    assert "after 7 it ends" in message
