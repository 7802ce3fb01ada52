"""Gradient descent by its settings: what each of them changes, and what it leaves alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dotbias.data.ratings import Ratings
from dotbias.errors import DivergenceError, SettingError
from dotbias.models import DotBias
from dotbias.models.base import initialised
from dotbias.settings import generator
from dotbias.solvers.decay import DEFAULT_DECAY, WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD, Adam, AdamW, Momentum
from dotbias.solvers.descent.schedules import OneCycle, WarmRestarts
from dotbias.solvers.descent.training import Training
from dotbias.testing import TINY, SolverContract
from tests.ratings import random_ratings

GROUPS = DotBias.groups


class TestSGD(SolverContract):
    model = DotBias(n_factors=4)
    solver = GradientDescent(n_epochs=15)


class TestSigmoid(SolverContract):
    model = DotBias(n_factors=4, output="sigmoid")
    solver = GradientDescent(n_epochs=15)


class TestMomentum(SolverContract):
    model = DotBias(n_factors=4)
    solver = GradientDescent(Momentum(), n_epochs=15)


class BatchContract(SolverContract):
    """The contract of a solver whose batches would be larger than the tiny ratings."""

    @pytest.mark.parametrize("name", TINY)
    def test_tiny_ratings_never_give_nan(self, name: str) -> None:
        full = type("Full", (SolverContract,), {"model": self.model})()
        full.solver = replace(self.solver, batch_size=len(TINY[name]))
        full.test_tiny_ratings_never_give_nan(name)


class TestMiniBatch(BatchContract):
    model = DotBias(n_factors=4)
    solver = GradientDescent(SGD(lr=0.5), batch_size=32, n_epochs=15)


class TestFullBatch(SolverContract):
    model = DotBias(n_factors=4)
    solver = GradientDescent(SGD(lr=0.5), batch_size=None, n_epochs=400)


class TestDenseMomentum(BatchContract):
    model = DotBias(n_factors=4)
    solver = GradientDescent(Momentum(lr=0.05), batch_size=32, semantics="dense", n_epochs=15)


class TestAdam(BatchContract):
    model = DotBias(n_factors=4)
    solver = GradientDescent(Adam(lr=0.02), batch_size=32, n_epochs=15)


class TestAveragedWarmRestarts(BatchContract):
    model = DotBias(n_factors=4)
    solver = GradientDescent(
        SGD(lr=0.5), batch_size=32, n_epochs=15, schedule="warm-restarts", average=2
    )


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=300, n_items=100, n=9000, seed=0)


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_another_scale_changes_nothing_else(ratings: Ratings, output: str) -> None:
    """On a scale from 0 to 100 the default rate used to diverge, and the decay meant less."""
    solver = GradientDescent(n_epochs=15)
    model = DotBias(n_factors=8, output=output)
    wide_model = DotBias(n_factors=8, output=output, margin=25 * model.margin)
    wide = replace(ratings, values=ratings.values * 25 - 20)
    parameters, _ = solver.fit(model, ratings, seed=1)
    wide_parameters, _ = solver.fit(wide_model, wide, seed=1)
    expected = 25 * model.predict(parameters, ratings.user_indices, ratings.item_indices) - 20
    predicted = wide_model.predict(wide_parameters, ratings.user_indices, ratings.item_indices)
    np.testing.assert_allclose(predicted, expected, atol=0.02)


def test_another_seed_gives_other_embeddings(ratings: Ratings) -> None:
    model, solver = DotBias(n_factors=8), GradientDescent(n_epochs=2)
    a, b = (solver.fit(model, ratings, seed=s)[0] for s in (1, 2))
    assert not np.array_equal(a["user_factors"], b["user_factors"])


def test_it_overfits_when_asked_and_is_the_mean_when_over_regularised(ratings: Ratings) -> None:
    def train_rmse(decay: float, n_epochs: int) -> float:
        model = DotBias(n_factors=32)
        solver = GradientDescent(SGD(lr=0.05), n_epochs=n_epochs, weight_decay=decay)
        parameters, _ = solver.fit(model, ratings)
        error = (
            model.predict(parameters, ratings.user_indices, ratings.item_indices) - ratings.values
        )
        return float(np.sqrt(np.mean(error**2)))

    assert train_rmse(0.0, 200) < 0.1
    assert train_rmse(15.0, 20) == pytest.approx(ratings.values.std(), rel=0.02)


def test_early_stopping_restores_the_best_epoch(ratings: Ratings) -> None:
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


def test_validation_rows_are_not_trained_on(ratings: Ratings) -> None:
    """Without decay a long run fits its own rows perfectly, and the validation rows not at all."""
    solver = GradientDescent(
        SGD(lr=0.05), n_epochs=150, weight_decay=0.0, validation_size=0.3, patience=1000
    )
    _, history = solver.fit(DotBias(n_factors=32), ratings)
    assert history.epochs[-1].train_rmse < 0.1
    assert history.epochs[-1].validation_rmse > 0.4


def test_the_schedule_is_linear_down_to_zero(ratings: Ratings) -> None:
    _, history = GradientDescent(SGD(lr=0.02), n_epochs=4).fit(DotBias(n_factors=2), ratings)
    np.testing.assert_allclose([e.lr for e in history.epochs], [0.02, 0.015, 0.01, 0.005])


def test_divergence_stops_with_advice(ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=2.0), n_epochs=50)
    with pytest.raises(DivergenceError, match=r"diverged in epoch \d+.*lr=0.5 \(it was 2\)"):
        solver.fit(DotBias(n_factors=8), ratings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientDescent(n_epochs=0), "n_epochs must be at least 1"),
        (
            lambda: GradientDescent(schedule="cosmic"),
            "schedule='cosmic': it must be one of constant, linear",
        ),
        (
            lambda: GradientDescent(validation_size=1.0),
            "validation_size must be at least 0 and below 1",
        ),
        (lambda: GradientDescent(None), "rule must be an update rule .*, or the name of one"),
        (lambda: GradientDescent(SGD), r"rule=SGD: write SGD\(\), with its settings"),
        (lambda: GradientDescent("adm"), "rule='adm': .*did you mean 'adam'"),
        (lambda: GradientDescent(batch_size=0), "batch_size must be at least 1"),
        (lambda: GradientDescent(batch_size=1.5), "batch_size must be a whole number at least 1"),
        (lambda: GradientDescent(batch_size=True), "batch_size must be a number at least 1"),
        (lambda: GradientDescent(clip=0.0), "clip must be above 0"),
        (lambda: GradientDescent(gradient_noise=-0.1), "gradient_noise must be at least 0"),
        (lambda: GradientDescent(average=0), "average must be at least 1"),
        (lambda: GradientDescent(patience=0), "patience must be at least 1"),
        (lambda: GradientDescent(semantics="sparse"), "semantics must be one of 'lazy', 'dense'"),
        (lambda: GradientDescent(parallel="gpu"), "parallel must be one of 'grid', 'hogwild'"),
        (lambda: GradientDescent(order="random"), "order must be 'shuffled', 'stored' or a func"),
        (lambda: GradientDescent(frozen=("users",)), "frozen must name some of .*not \\('users',"),
        (lambda: GradientDescent(frozen="user_bias"), "frozen must name some of .*not 'user_bias'"),
        (lambda: GradientDescent(SGD(lr={"bias": 0.1})), "lr names no group 'bias': .*user_bias"),
    ],
)
def test_bad_settings_fail_at_once(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()


def test_more_threads_than_there_are_is_refused(ratings: Ratings) -> None:
    with pytest.raises(SettingError, match="n_threads=999"):
        GradientDescent(n_threads=999).fit(DotBias(n_factors=2), ratings)


def test_a_validation_part_of_nothing_is_refused() -> None:
    with pytest.raises(SettingError, match="leaves no rows"):
        GradientDescent(validation_size=0.1).fit(
            DotBias(n_factors=2), Ratings.from_columns([1], [1], [3.0])
        )


# Groups.

EQUAL = dict.fromkeys(GROUPS, 0.5)


def movement(solver: GradientDescent, ratings: Ratings, n_steps: int = 1) -> dict[str, Any]:
    """How far each group has moved after some steps, in units of the ratings' std, float64."""
    training = Training(
        solver, DotBias(n_factors=4, init_std=0.3), ratings, seed=2, dtype=np.float64
    )
    before = [table.copy() for table in training.tables.values]
    training.step(np.ones(n_steps))
    pairs = zip(training.tables.values, before, strict=True)
    return dict(zip(GROUPS, (now - then for now, then in pairs), strict=True))


@pytest.mark.parametrize("group", GROUPS)
def test_a_groups_rate_moves_that_group_and_no_other(ratings: Ratings, group: str) -> None:
    once, twice = (
        movement(GradientDescent(SGD(lr=lr), batch_size=None), ratings)
        for lr in (EQUAL, EQUAL | {group: 1.0})
    )
    for name in GROUPS:
        assert np.abs(once[name]).max() > 1e-4
        if name == group:
            np.testing.assert_allclose(twice[name], 2 * once[name], rtol=1e-9, atol=1e-14)
        else:
            np.testing.assert_array_equal(twice[name], once[name])


FORMS = {
    "one rating at a time": {"batch_size": 1},
    "lazy mini-batches": {"batch_size": 256},
    "dense mini-batches": {"batch_size": 256, "semantics": "dense"},
    "lazy full batch": {"batch_size": None},
    "dense full batch": {"batch_size": None, "semantics": "dense"},
}


@pytest.mark.parametrize("decoupled", [False, True], ids=["coupled", "decoupled"])
@pytest.mark.parametrize("frozen", [("item_factors",), ("user_factors", "item_bias")])
@pytest.mark.parametrize("form", FORMS)
def test_frozen_groups_keep_their_bits_in_every_form_of_batch(
    ratings: Ratings, form: str, frozen: tuple[str, ...], decoupled: bool
) -> None:
    settings: dict[str, Any] = FORMS[form]
    solver = GradientDescent(
        Momentum(lr=0.01),
        n_epochs=3,
        frozen=frozen,
        weight_decay=WeightDecay(0.1, decoupled=decoupled),
        **settings,
    )
    training = solver.start(DotBias(n_factors=4), ratings, seed=1)
    before = [table.copy() for table in training.tables.values]
    training.run()
    for name, table, then in zip(GROUPS, training.tables.values, before, strict=True):
        assert np.array_equal(table, then) == (name in frozen), name


def test_a_frozen_group_comes_out_as_it_went_in(ratings: Ratings) -> None:
    """Divided and multiplied by its unit, a number may come back with another last bit."""
    solver = GradientDescent(n_epochs=1, frozen=("user_factors",))
    start = initialised(DotBias(n_factors=4), ratings, generator(1))
    training = solver.start(DotBias(n_factors=4), ratings, seed=1).run()
    result = training.result()
    np.testing.assert_array_equal(result["user_factors"], start["user_factors"])
    assert not np.array_equal(result["item_factors"], start["item_factors"])


def test_a_slice_spreads_the_rates_geometrically(ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=slice(0.001, 1.0)), batch_size=None)
    table = solver.groups(DotBias(n_factors=4), ratings)
    np.testing.assert_allclose(table["lr"], [0.001, 0.01, 0.1, 1.0])
    one = movement(GradientDescent(SGD(lr=1.0), batch_size=None), ratings)
    spread = movement(solver, ratings)
    for name, share in zip(GROUPS, (0.001, 0.01, 0.1, 1.0), strict=True):
        np.testing.assert_allclose(spread[name], share * one[name], rtol=1e-9, atol=1e-14)


def test_the_table_of_groups_says_what_each_gets(ratings: Ratings) -> None:
    solver = GradientDescent(
        SGD(lr={"user_factors": 0.5, "item_bias": 0.25}),
        frozen=("item_bias",),
        weight_decay=WeightDecay({"user_bias": 7.0}, per="row", decoupled=True),
    )
    users, items = ratings.n_users, ratings.n_items
    per_user, per_item = len(ratings) / users, len(ratings) / items
    table = solver.groups(DotBias(n_factors=4), ratings)
    assert table["group"].to_list() == list(GROUPS)
    assert table["rows"].to_list() == [users, items, users, items]
    assert table["numbers"].to_list() == [4 * users, 4 * items, users, items]
    assert table["lr"].to_list() == [0.5, 0.022, 0.022, 0.0]
    expected = [
        DEFAULT_DECAY["user_factors"] * per_user,
        DEFAULT_DECAY["item_factors"] * per_item,
        7.0,
        DEFAULT_DECAY["item_bias"] * per_item,
    ]
    np.testing.assert_allclose(table["weight_decay"], expected)
    assert set(table["decay_per"]) == {"row"}
    assert set(table["decay_form"]) == {"decoupled"}


@pytest.mark.parametrize(("rule", "form"), [(Adam(), "coupled"), (AdamW(), "decoupled")])
def test_the_table_of_groups_knows_the_rules_own_form_of_decay(
    ratings: Ratings, rule: Adam, form: str
) -> None:
    table = GradientDescent(rule).groups(DotBias(n_factors=4), ratings)
    assert set(table["decay_form"]) == {form}
    assert dict(table.select("group", "weight_decay").rows()) == dict(DEFAULT_DECAY)
    assert set(table["decay_per"]) == {"rating"}


# Clipping and noise.


def length(moves: dict[str, Any]) -> float:
    return float(np.sqrt(sum((move**2).sum() for move in moves.values())))


def test_clip_shortens_a_batchs_step_to_its_norm_and_keeps_the_direction(ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=1.0), batch_size=256, weight_decay=0.0, order="stored")
    free = movement(solver, ratings)
    clip = length(free) / 3
    clipped = movement(replace(solver, clip=clip), ratings)
    assert length(clipped) == pytest.approx(clip)
    for name in GROUPS:
        np.testing.assert_allclose(clipped[name], free[name] / 3, rtol=1e-6, atol=1e-12)


def test_clip_shortens_the_step_of_a_single_rating_to_its_norm() -> None:
    one = Ratings.from_columns([1], [1], [9.0])
    one = replace(one, declared_scale=(0.0, 10.0))
    solver = GradientDescent(SGD(lr=1.0), weight_decay=0.0)
    model = DotBias(n_factors=4, init_std=1.0)

    def moved(clip: float | None) -> list[Any]:
        training = Training(replace(solver, clip=clip), model, one, seed=2, dtype=np.float64)
        before = [table.copy() for table in training.tables.values]
        training.step(np.ones(1))
        pairs = zip(training.tables.values, before, strict=True)
        return [now - then for now, then in pairs]

    free = np.concatenate([move.ravel() for move in moved(None)])
    clipped = np.concatenate([move.ravel() for move in moved(0.01)])
    assert np.linalg.norm(free) > 0.02
    np.testing.assert_allclose(clipped, free * 0.01 / np.linalg.norm(free), rtol=1e-6)


def test_a_clip_beyond_every_gradient_changes_nothing(ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=0.5), batch_size=256)
    free, clipped = (movement(s, ratings) for s in (solver, replace(solver, clip=1e6)))
    for name in GROUPS:
        np.testing.assert_allclose(clipped[name], free[name], rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 256])
@pytest.mark.parametrize("change", [{"clip": 0.1}, {"gradient_noise": 0.01}], ids=["clip", "noise"])
def test_clip_and_noise_change_a_run_and_stay_finite(
    ratings: Ratings, change: dict[str, float], batch_size: int
) -> None:
    solver = GradientDescent(SGD(lr=0.022), n_epochs=3, batch_size=batch_size)
    model = DotBias(n_factors=4)
    plain, _ = solver.fit(model, ratings, seed=1)
    changed, _ = replace(solver, **change).fit(model, ratings, seed=1)
    for name in GROUPS:
        assert np.isfinite(changed[name]).all()
        assert not np.array_equal(changed[name], plain[name])


@pytest.mark.parametrize("t", [1, 10])
def test_the_variance_of_the_noise_falls_with_the_steps(ratings: Ratings, t: int) -> None:
    """Steps of rate zero let time pass without moving anything."""
    model = DotBias(n_factors=32)
    factors = np.append(np.zeros(t - 1), 1.0)

    def after(gradient_noise: float) -> Any:
        solver = GradientDescent(SGD(lr=1.0), batch_size=None, gradient_noise=gradient_noise)
        training = solver.start(model, ratings, seed=1)
        training.step(factors)
        return np.concatenate([table.ravel() for table in training.tables.values])

    noise = after(0.25) - after(0.0)
    # 13,200 numbers: their mean square is good to 1.2 %, and the mean to 0.009 of a deviation.
    assert np.mean(noise**2) == pytest.approx(0.25 / t**0.55, rel=0.05)
    assert abs(noise.mean()) < 0.04 * noise.std()


# Divergence.


@pytest.mark.parametrize("batch_size", [64, None])
def test_batches_that_diverge_stop_with_advice(ratings: Ratings, batch_size: int | None) -> None:
    solver = GradientDescent(SGD(lr=2000.0), batch_size=batch_size, n_epochs=50)
    with pytest.raises(DivergenceError, match=r"in epoch \d+.*lr=5e\+02 \(it was 2000\)"):
        solver.fit(DotBias(n_factors=8), ratings)


@pytest.mark.parametrize(
    ("schedule", "lr"),
    [(OneCycle(), 0.3), (WarmRestarts(first_cycle=1.125, cycle_mult=1), 0.2)],
    ids=["one-cycle", "warm restarts"],
)
def test_a_loss_that_rises_with_the_rate_is_no_divergence(
    schedule: OneCycle | WarmRestarts, lr: float
) -> None:
    """Three rises in a row, far above the best, would be one at a rate that does not rise."""
    few = random_ratings(n_users=60, n_items=40, n=1200, seed=0)
    solver = GradientDescent(SGD(lr=lr), n_epochs=40, weight_decay=0.0, schedule=schedule)
    _, history = solver.fit(DotBias(n_factors=8, init_std=0.5), few)
    loss = np.array([e.train_rmse for e in history.epochs])
    rises = np.diff(loss) > 0
    in_a_row = rises[:-2] & rises[1:-1] & rises[2:]
    assert (in_a_row & (loss[3:] > 1.05 * np.minimum.accumulate(loss)[3:])).any()
    assert history.stopped == "finished"
