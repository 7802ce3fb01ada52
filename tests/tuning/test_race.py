"""The race: fair to all, blind to what is held out, and never stopped by one that falls."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.fitting.fit import fit
from dotbias.models import DotBias
from dotbias.solvers.base import Epoch
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD, Adam, Momentum, Rule
from dotbias.tuning.lr_finder import lr_find
from dotbias.tuning.race import Race, Runner, race, race_table
from tests.ratings import random_ratings

MODEL = DotBias(n_factors=4, init_std=0.1)
SOLVER = GradientDescent(n_epochs=4, schedule="cosine")
RATES = {"sgd": 0.05, "momentum": 0.005}


@dataclass(frozen=True, kw_only=True)
class Unmoved(Rule):
    """A user's own rule, which takes steps a thousandth of a millionth as long as SGD."""

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:  # noqa: ARG004
        return g * lr * np.float32(1e-9), state


@dataclass(frozen=True, kw_only=True)
class Halved(Rule):
    """A user's own rule with a setting: half of SGD's step, as it comes."""

    share: float = 0.5

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        return c[0] * lr * g, state


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=40, n_items=30, n=600, seed=0)


def test_choices_race_for_the_loss_on_fixed_draws(ratings: Ratings) -> None:
    solver = GradientDescent(loss="bpr", n_negatives=2, n_epochs=3)
    model = DotBias(n_factors=4, output="preference")
    outcome = race(ratings, [SGD()], model, solver, rates={"sgd": 0.1}, seed=1)
    (runner,) = outcome.runners
    assert race(ratings, [SGD()], solver=solver, rates={"sgd": 0.1}).runners[0].state == "done"
    train, test = ratings.split(0.2, seed=1)
    users = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
    items = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]
    run = runner.solver.start(model, train, seed=1).run()
    expected = run.choices(users, items).mean(model, run.parameters())
    assert outcome.frame()["final_loss"].to_list() == [expected]
    assert outcome.curves()["held_out_loss"].to_list()[-1] == expected
    assert outcome.picture().panels[0].y_label == "held-out BPR loss"


def curve(outcome: Race, name: str, column: str = "held_out_rmse") -> list[float]:
    return outcome.curves().filter(pl.col("name") == name)[column].to_list()


@pytest.fixture(scope="module")
def outcome(ratings: Ratings) -> Race:
    return race(ratings, [SGD(), Momentum()], MODEL, SOLVER, rates=RATES, seed=1)


# The same course for all.


def test_two_runners_of_one_rule_and_rate_run_alike(ratings: Ratings) -> None:
    outcome = race(ratings, [Adam(), Adam()], MODEL, SOLVER, rates={"adam": 0.01})
    first, second = ([(e.train_rmse, e.validation_rmse) for e in r.epochs] for r in outcome.runners)
    assert first == second
    assert len(first) == 4


def test_runners_of_one_rule_have_names_of_their_own(ratings: Ratings) -> None:
    rules = [SGD(), Momentum(momentum=0.0), Momentum(momentum=0.9)]
    outcome = race(ratings, rules, MODEL, SOLVER, rates={"sgd": 0.1, "momentum": 0.02})
    names = [runner.name for runner in outcome.runners]
    assert names == ["sgd", "momentum", "momentum 2"]
    drawn = {line.name: line.y for line in outcome.picture().panels[0].lines}
    for runner in outcome.runners:
        assert drawn[runner.name] == [epoch.validation_rmse for epoch in runner.epochs]


def test_momentum_of_nothing_runs_like_sgd(ratings: Ratings) -> None:
    rules = [SGD(), Momentum(momentum=0.0)]
    outcome = race(ratings, rules, MODEL, SOLVER, rates={"sgd": 0.1, "momentum": 0.1})
    for column in ("train_rmse", "held_out_rmse"):
        sgd = curve(outcome, "sgd", column)
        assert_allclose(curve(outcome, "momentum", column), sgd, rtol=1e-5)
        assert sgd[-1] < sgd[0]


@pytest.mark.parametrize("average", [1, 2])
def test_a_runner_ends_where_a_fit_ends(average: int, ratings: Ratings) -> None:
    solver = replace(SOLVER, average=average)
    outcome = race(ratings, [SGD(lr=0.05)], MODEL, solver, rates={"sgd": 0.05}, seed=7)
    train, test = ratings.split(0.2, seed=7)
    rec = fit(train, MODEL, replace(solver, rule=SGD(lr=0.05)), seed=7, progress=False)
    pairs = test.to_frame()
    prediction = rec.predict(pairs["user"].to_list(), pairs["item"].to_list())
    rmse = math.sqrt(np.mean((prediction - test.values) ** 2))
    (row,) = outcome.frame().iter_rows(named=True)
    assert row["final_rmse"] == pytest.approx(rmse, rel=1e-6)


def test_users_and_items_of_the_held_out_part_alone_are_cold() -> None:
    columns = [1, 1, 2, 2, 3, 3, 4], [1, 2, 1, 2, 1, 2, 9], [4.0, 2.0, 5.0, 1.0, 4.0, 2.0, 3.0]
    ratings = Ratings.from_columns(*columns)
    seed = next(s for s in range(99) if 4 not in ratings.split(1, seed=s)[0].user_vocabulary.ids)
    outcome = race(ratings, [SGD()], MODEL, SOLVER, rates={"sgd": 0.01}, test_size=1, seed=seed)
    mean = ratings.split(1, seed=seed)[0].global_mean
    assert curve(outcome, "sgd") == pytest.approx([abs(mean - 3.0)] * 4)


def test_all_batch_sizes_start_from_the_same_parameters(ratings: Ratings) -> None:
    sizes = [1, 64, None]
    outcome = race(ratings, [SGD()], MODEL, SOLVER, batch_sizes=sizes, rates={"sgd": 1e-12})
    assert [r.name for r in outcome.runners] == ["sgd 1", "sgd 64", "sgd full"]
    assert [r.solver.batch_size for r in outcome.runners] == sizes
    train, test = ratings.split(0.2, seed=0)
    start = SOLVER.start(MODEL, train, seed=0).parameters()
    users = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
    items = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]
    rmse = math.sqrt(np.mean((MODEL.predict(start, users, items) - test.values) ** 2))
    for runner in outcome.runners:
        assert [e.validation_rmse for e in runner.epochs] == pytest.approx([rmse] * 4)


def test_the_settings_of_rule_and_solver_are_kept(ratings: Ratings) -> None:
    rules = [Momentum(lr={"user_bias": 0.02, "item_bias": 0.01}, momentum=0.5)]
    solver = replace(SOLVER, frozen=("user_factors",), clip=3.0)
    (runner,) = race(ratings, rules, MODEL, solver, rates={"momentum": 0.1}).runners
    assert runner.solver == replace(
        solver, rule=Momentum(lr={"user_bias": 0.1, "item_bias": 0.05}, momentum=0.5)
    )


# What is held out stays out of sight.


def test_held_out_values_change_neither_rates_nor_training(ratings: Ratings) -> None:
    known = replace(
        ratings, declared_scale=ratings.scale, times=np.arange(len(ratings), dtype=np.int64)
    )
    held_out = known.split(0.2, seed=3)[1].times
    assert held_out is not None
    values = known.values.copy()
    values[held_out] = 6 - values[held_out]
    mirrored = replace(known, values=values)
    first, second = (
        race(r, [SGD(), Adam()], MODEL, SOLVER, batch_sizes=[64], seed=3, n_trials=2)
        for r in (known, mirrored)
    )
    for name in ("sgd", "adam"):
        for column in ("lr", "train_rmse"):
            assert curve(first, name, column) == curve(second, name, column)
        assert curve(first, name) != curve(second, name)
    train, _ = known.split(0.2, seed=3)
    wanted = lr_find(
        MODEL, replace(SOLVER, rule=SGD(), batch_size=64), train, seed=3, n_trials=2
    ).suggestion
    assert curve(first, "sgd", "lr") == [wanted] * 4


def test_the_scale_of_the_held_out_part_is_not_known() -> None:
    """Predictions are clipped to the scale of the training part, not to that of all ratings."""
    rng = np.random.default_rng(0)
    values = rng.choice([2.0, 3.0], 400)
    ratings = Ratings.from_columns(np.arange(400) // 20, np.arange(400) % 20, values)
    ratings = replace(ratings, times=np.arange(400))
    _, test = ratings.split(0.2, seed=0)
    values[test.times] = 100.0
    ratings = replace(ratings, values=values.astype(np.float32))
    outcome = race(ratings, [SGD()], MODEL, SOLVER, rates={"sgd": 0.05})
    assert all(97 <= rmse <= 98 for rmse in curve(outcome, "sgd"))


# Those that fall, and Ctrl-C.


def test_one_that_diverges_is_out_and_the_others_go_on(ratings: Ratings) -> None:
    outcome = race(
        ratings, [SGD(), Momentum()], MODEL, SOLVER, rates={"sgd": 1e4, "momentum": 0.005}
    )
    assert [r.state for r in outcome.runners] == ["diverged", "done"]
    assert len(outcome.runners[1].epochs) == 4
    frame = outcome.frame()
    assert frame["name"].to_list() == ["momentum", "sgd"]
    assert frame["best_rmse"].is_null().to_list() == [False, True]
    assert frame["final_rmse"].is_null().to_list() == [False, True]


def test_one_without_a_rate_is_out_and_the_others_go_on(ratings: Ratings) -> None:
    outcome = race(ratings, [Unmoved(), SGD()], MODEL, SOLVER, rates={"sgd": 0.05}, n_trials=1)
    assert [r.state for r in outcome.runners] == ["no rate", "done"]
    assert outcome.runners[0].epochs == []
    row = outcome.frame().row(by_predicate=pl.col("name") == "unmoved", named=True)
    assert row["lr"] is None
    assert row["best_rmse"] is None
    assert row["finder_s"] > 0


def test_a_rule_of_ones_own_races_and_its_compilation_does_not_count(ratings: Ratings) -> None:
    outcome = race(ratings, [SGD(), Halved()], MODEL, SOLVER, rates={"sgd": 0.05, "halved": 0.1})
    assert_allclose(curve(outcome, "halved"), curve(outcome, "sgd"), rtol=1e-5)
    assert outcome.runners[1].seconds[0] < 0.5  # compiling takes seconds


@pytest.mark.parametrize("n_epochs", [0, 2])
def test_ctrl_c_keeps_what_has_run(n_epochs: int, ratings: Ratings) -> None:
    pressed = []

    def press(runners: list[Runner]) -> None:
        if len(runners[1].epochs) == n_epochs and runners[1].state == "running" and not pressed:
            pressed.append(True)
            raise KeyboardInterrupt

    rules = [SGD(), Momentum(), Adam()]
    outcome = race(ratings, rules, MODEL, SOLVER, rates=RATES | {"adam": 0.01}, on_change=press)
    assert [r.state for r in outcome.runners] == ["done", "interrupted", "interrupted"]
    assert [len(r.epochs) for r in outcome.runners] == [4, n_epochs, 0]
    assert outcome.curves().height == 4 + n_epochs


def test_ctrl_c_while_a_rate_is_looked_for_keeps_what_has_run(ratings: Ratings) -> None:
    pressed = []

    def press(runners: list[Runner]) -> None:
        if runners[1].state == "looking for a rate" and not pressed:
            pressed.append(True)
            raise KeyboardInterrupt

    outcome = race(
        ratings, [SGD(), Momentum()], MODEL, SOLVER, rates={"sgd": 0.05}, on_change=press
    )
    assert [(r.state, len(r.epochs)) for r in outcome.runners] == [("done", 4), ("interrupted", 0)]
    assert outcome.frame()["lr"].to_list() == [0.05, None]  # there was none yet


# Rates and arguments.


def test_a_given_rate_needs_no_finder(ratings: Ratings) -> None:
    states: list[list[str]] = []
    outcome = race(
        ratings,
        [SGD(), Momentum()],
        MODEL,
        SOLVER,
        rates={"sgd": 0.05},
        n_trials=1,
        on_change=lambda runners: states.append([r.state for r in runners]),
    )
    given, found = outcome.runners
    assert given.solver.rule.top_rate == 0.05
    assert given.finder_seconds == 0 < found.finder_seconds
    assert [s for s, _ in states[:6]] == ["running"] * 5 + ["done"]
    assert [s for _, s in states[:6]] == ["waiting"] * 6
    assert [s for _, s in states[6:]] == ["looking for a rate", *["running"] * 5, "done"]


def test_a_rate_of_a_rule_that_does_not_race_is_refused(ratings: Ratings) -> None:
    with pytest.raises(SettingError, match=r"'adam', which is not in the race: \['sgd'\]"):
        race(ratings, [SGD()], MODEL, SOLVER, rates={"adam": 0.1})


# Tables and pictures.


def test_the_table_has_the_best_first() -> None:
    def runner(name: str, *rmses: float) -> Runner:
        epochs = [Epoch(n, 3, 0.1, 1.0, rmse, 2.0, 50.0) for n, rmse in enumerate(rmses, start=1)]
        return Runner(name, SOLVER, epochs, "done" if rmses else "waiting")

    runners = [runner("a", 0.9, 0.8), runner("b"), runner("c", 0.7, 0.6, 0.75), runner("d", 0.7)]
    table = race_table(runners)
    assert table["name"].to_list() == ["c", "d", "a", "b"]
    assert table["best_rmse"].to_list() == [0.6, 0.7, 0.8, None]
    assert table["epoch"].to_list() == [2, 1, 2, None]
    assert table["final_rmse"].to_list() == [0.75, 0.7, 0.8, None]
    assert table["seconds"].to_list() == [4.0, 2.0, 4.0, None]


def test_the_curves_have_a_row_for_each_epoch(outcome: Race) -> None:
    curves = outcome.curves()
    assert curves.height == 8
    assert curves["name"].to_list() == ["sgd"] * 4 + ["momentum"] * 4
    assert curves["epoch"].to_list() == [1, 2, 3, 4] * 2
    for name in ("sgd", "momentum"):
        seconds = np.array(curve(outcome, name, "seconds"))
        assert (np.diff(seconds, prepend=0) > 0).all()
        speed = np.array(curve(outcome, name, "ratings_per_second"))
        assert_allclose(np.diff(seconds, prepend=0) * speed, 480)
        assert curve(outcome, name, "lr") == [RATES[name]] * 4


def test_the_table_and_the_curves_agree(outcome: Race) -> None:
    for row in outcome.frame().iter_rows(named=True):
        rmses = curve(outcome, row["name"])
        assert row["best_rmse"] == min(rmses)
        assert row["epoch"] == rmses.index(min(rmses)) + 1
        assert row["seconds"] == curve(outcome, row["name"], "seconds")[row["epoch"] - 1]
        assert row["final_rmse"] == rmses[-1]


def test_the_protocol_says_what_was_raced_on(outcome: Race) -> None:
    for words in ("480 training", "120 held-out", "seed 1", "4 factors", "4 epochs", "cosine"):
        assert words in outcome.protocol


@pytest.mark.parametrize("ending", ["png", "html"])
def test_the_picture_shows_every_runner_by_name(outcome: Race, ending: str, tmp_path: Path) -> None:
    picture = outcome.picture()
    epochs, seconds = picture.panels
    for name in ("sgd", "momentum"):
        for panel, column in ((epochs, "epoch"), (seconds, "seconds")):
            (line,) = [line for line in panel.lines if line.name == name]
            assert list(line.x) == curve(outcome, name, column)
            assert list(line.y) == curve(outcome, name)
    path = picture.save(tmp_path / f"race.{ending}")
    assert path.stat().st_size > 10_000
    if ending == "html":
        text = path.read_text("utf-8")
        assert '"name":"sgd"' in text
        assert '"name":"momentum"' in text
        assert outcome.protocol in text


def test_a_race_that_nobody_ran_still_has_tables_and_a_picture(
    ratings: Ratings, tmp_path: Path
) -> None:
    outcome = race(ratings, [SGD()], MODEL, SOLVER, rates={"sgd": 1e30})
    assert outcome.runners[0].state == "diverged"
    assert "held_out_rmse" in outcome.curves().columns
    assert outcome.frame().height == 1
    outcome.picture().save(tmp_path / "race.png")


def test_a_step_into_nothing_leaves_no_error_that_is_no_number(
    ratings: Ratings, tmp_path: Path
) -> None:
    """A full batch is measured before its only step: the first epoch ends well, at no parameters."""
    outcome = race(ratings, [SGD()], MODEL, SOLVER, batch_sizes=[None], rates={"sgd": 1e30})
    assert outcome.runners[0].state == "diverged"
    assert not any(map(math.isnan, outcome.frame()["best_rmse"].drop_nulls()))
    outcome.picture().save(tmp_path / "race.png")
