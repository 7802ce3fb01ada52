"""The finder: sweeps that leave no trace, readings of known curves, and rates that are good rates."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.data.simulate import simulate
from dotbias.errors import DivergenceError, SettingError
from dotbias.models import DotBias
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD, Adam
from dotbias.solvers.descent.schedules import WarmRestarts
from dotbias.solvers.descent.training import Training
from dotbias.tuning.lr_finder import (
    LrCurve,
    Suggestion,
    _best_trial,
    _read,
    _search,
    lr_find,
    range_test,
    smooth,
)
from tests.ratings import random_ratings

MODEL = DotBias(n_factors=4, init_std=0.1)
# Unlike rates, so that a mix-up of groups or a lost proportion shows.
TABLE = {"user_factors": 0.08, "item_factors": 0.04, "user_bias": 0.02, "item_bias": 0.01}


@dataclass(frozen=True)
class Case:
    """A solver, and the model where it is another than ``MODEL``."""

    solver: GradientDescent
    model: DotBias = MODEL


RUNS = {
    "one rating at a time": Case(GradientDescent(SGD(lr=0.05), n_epochs=4)),
    "mini-batches": Case(GradientDescent(SGD(lr=1.0), batch_size=64, n_epochs=4)),
    "the full batch": Case(GradientDescent(SGD(lr=10.0), batch_size=None, n_epochs=4)),
    "a rate for each group": Case(
        GradientDescent(SGD(lr=TABLE), n_epochs=4, frozen=("item_bias",))
    ),
    "a range of rates": Case(GradientDescent(SGD(lr=slice(0.01, 0.1)), n_epochs=4)),
    "adam": Case(GradientDescent(Adam(lr=0.01), n_epochs=4)),
    "adam on mini-batches": Case(GradientDescent(Adam(lr=0.03), batch_size=64, n_epochs=4)),
    "a sigmoid": Case(
        GradientDescent(SGD(lr=0.05), n_epochs=4),
        DotBias(n_factors=4, init_std=0.1, output="sigmoid"),
    ),
    "averaged warm restarts": Case(
        GradientDescent(
            SGD(lr=0.5),
            batch_size=64,
            n_epochs=4,
            schedule=WarmRestarts(first_cycle=0.75, cycle_mult=1.5),
            average=2,
            patience=1,
        )
    ),
    "the stored order": Case(
        GradientDescent(SGD(lr=0.5), batch_size=64, n_epochs=4, order="stored")
    ),
}
every_run = pytest.mark.parametrize("name", RUNS)
RATES = np.geomspace(1e-3, 10, 40)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=40, n_items=30, n=600, seed=0)


def begin(name: str, ratings: Ratings) -> Training:
    case = RUNS[name]
    return replace(case.solver, validation_size=0.1).start(case.model, ratings, seed=3)


def state(training: Training) -> dict[str, Any]:
    """Everything that a run has computed and remembers, but for times on the clock."""
    several = [*training.window, *training.history.cycle_parameters, training.validation.best]
    return {
        "tables": [table.tobytes() for table in training.tables.values],
        "slots": [table.tobytes() for table in training.tables.states],
        "random": training.rng.bit_generator.state,
        "updates": training.n_updates,
        "epochs": [
            {k: v for k, v in asdict(e).items() if "second" not in k}
            for e in training.history.epochs
        ],
        "ended": (training.history.stopped, training.history.best_epoch),
        "best": (training.validation.best_figure, training.validation.best_epoch),
        "kept": [{name: array.tobytes() for name, array in p.items()} for p in several],
    }


# A sweep leaves no trace.


@every_run
def test_a_sweep_before_the_first_epoch_leaves_no_trace(name: str, ratings: Ratings) -> None:
    swept, untouched = begin(name, ratings), begin(name, ratings)
    losses, _ = range_test(swept, RATES)
    assert np.ptp(losses) > 0.02 * losses[0]  # it did train
    assert state(swept) == state(untouched)
    assert state(swept.run()) == state(untouched.run())


@every_run
def test_a_sweep_in_the_middle_of_a_run_leaves_no_trace(name: str, ratings: Ratings) -> None:
    swept, unbroken = begin(name, ratings).run(2), begin(name, ratings)
    before, seconds = state(swept), swept.history.seconds
    losses, _ = range_test(swept, RATES)
    assert len(set(losses)) > 1
    assert state(swept) == before
    assert swept.history.seconds == seconds
    assert state(swept.run()) == state(unbroken.run())


def test_two_sweeps_of_one_run_are_the_same(ratings: Ratings) -> None:
    training = begin("adam", ratings).run(1)
    first, again = (range_test(training, RATES)[0] for _ in range(2))
    assert_array_equal(first, again)


def test_a_sweep_that_diverges_leaves_no_trace(ratings: Ratings) -> None:
    training = begin("adam", ratings).run(1)
    before = state(training)
    losses, stopped = range_test(training, np.geomspace(1, 1e30, 20))
    assert "diverged" in stopped
    assert len(losses) < 20
    assert state(training) == before


def test_a_sweep_that_is_interrupted_leaves_no_trace(ratings: Ratings) -> None:
    training = begin("one rating at a time", ratings).run(1)
    before = state(training)

    def interrupt(rate: float, _loss: float) -> None:
        if rate > 0.01:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        range_test(training, RATES, interrupt)
    assert state(training) == before


def test_a_frozen_group_does_not_move_in_a_sweep(ratings: Ratings) -> None:
    training = begin("a rate for each group", ratings)
    seen: list[tuple[bool, bool]] = []

    def look(_rate: float, _loss: float) -> None:
        now = training.parameters()
        seen.append((bool(now["item_bias"].any()), bool(now["user_bias"].any())))

    range_test(training, RATES[:10], look)
    assert seen == [(False, True)] * 10


def test_lr_find_leaves_solver_and_ratings_alone(ratings: Ratings) -> None:
    solver = RUNS["a rate for each group"].solver
    before = repr(solver), ratings.values.tobytes(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    lr_find(MODEL, solver, ratings, n_points=30, n_trials=1)
    after = repr(solver), ratings.values.tobytes(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    assert before == after


# What a sweep measures.


def test_a_full_batch_sweep_equals_plain_gradient_descent_at_rising_rates(ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=0.022), batch_size=None, weight_decay=0.0, validation_size=0.1)
    training = solver.start(MODEL, ratings, seed=3)
    rest, unit = training.validation.rest, ratings.std
    u, i, r = rest.user_indices, rest.item_indices, rest.values / unit
    p, q, b_u, b_i = (np.array(t, np.float64) for t in training.tables.values)  # biases (n, 1)
    wanted, rates = [], np.geomspace(0.1, 30, 25)
    for rate in rates * solver.rule.top_rate:
        z = ratings.global_mean / unit + (p[u] * q[i]).sum(1) + b_u[u, 0] + b_i[i, 0]
        g = ((z - r) / len(r))[:, None]
        moves = [np.zeros_like(t) for t in (p, q, b_u, b_i)]
        for move, rows, part in zip(moves, (u, i, u, i), (g * q[i], g * p[u], g, g), strict=True):
            np.add.at(move, rows, part)
        for table, move in zip((p, q, b_u, b_i), moves, strict=True):
            table -= rate * move
        held = training.validation
        z = (p[held.users] * q[held.items]).sum(1) + b_u[held.users, 0] + b_i[held.items, 0]
        prediction = np.clip(ratings.global_mean + unit * z, *ratings.scale)
        wanted.append(np.mean((prediction - held.values) ** 2))
    assert wanted[-1] < 0.99 * wanted[0]
    losses, stopped = range_test(training, rates)
    assert_allclose(losses, wanted, rtol=1e-4)
    assert stopped == "it had reached the highest rate"


def test_an_exponential_sweep_rises_by_a_factor(ratings: Ratings) -> None:
    curve = lr_find(
        MODEL, GradientDescent(), ratings, lowest=1e-4, highest=1e-2, n_points=21, n_trials=0
    )
    assert_allclose(curve.lrs, [1e-4 * 100 ** (k / 20) for k in range(21)])
    assert len(curve.losses) == len(curve.smoothed) == 21


def test_a_linear_sweep_rises_by_an_amount(ratings: Ratings) -> None:
    curve = lr_find(
        MODEL,
        GradientDescent(),
        ratings,
        lowest=0.01,
        highest=0.05,
        n_points=5,
        sweep="linear",
        n_trials=0,
    )
    assert_allclose(curve.lrs, [0.01, 0.02, 0.03, 0.04, 0.05])
    assert "highest rate" in curve.stopped


def test_a_sweep_ends_where_it_diverges_and_says_where(ratings: Ratings) -> None:
    seen: list[tuple[float, float]] = []
    training = begin("one rating at a time", ratings)
    rates = np.geomspace(1e-3, 1e4, 150)
    losses, stopped = range_test(training, rates, lambda *point: seen.append(point))
    assert 10 < len(losses) == len(seen) < 150
    assert [rate for rate, _ in seen] == rates[: len(seen)].tolist()
    assert stopped == f"the loss diverged at the rate {seen[-1][0]:.2g}"
    assert losses[-1] > 1.5 * losses.min()
    assert (losses[:-1] <= 1.5 * np.minimum.accumulate(losses[:-1])).all()


def test_the_curve_goes_down_and_up_again(ratings: Ratings) -> None:
    curve = lr_find(MODEL, RUNS["one rating at a time"].solver, ratings, n_trials=0)
    lowest = int(curve.smoothed.argmin())
    assert curve.smoothed[lowest] < 0.92 * curve.losses[0] < curve.losses[-1]
    assert 10 < lowest < len(curve.lrs) - 1
    assert f"diverged at the rate {curve.lrs[-1]:.2g}" in curve.stopped
    assert curve.stopped in str(curve)


def test_the_same_seed_gives_the_same_curve(ratings: Ratings) -> None:
    solver = RUNS["adam"].solver
    first, again, other = (
        lr_find(MODEL, solver, ratings, seed=seed, n_trials=2) for seed in (1, 1, 2)
    )
    assert_array_equal(first.losses, again.losses)
    assert first.trials == again.trials
    assert first.suggestions == again.suggestions
    assert first.losses[0] != other.losses[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"lowest": 0.0},
        {"lowest": -0.1},
        {"lowest": math.nan},
        {"lowest": 1.0, "highest": 1.0},
        {"lowest": 1.0, "highest": 0.1},
        {"highest": math.inf},
        {"n_points": 4},
        {"n_trials": -1},
        {"smoothing": 1.0},
        {"smoothing": -0.1},
        {"sweep": "cubic"},
    ],
    ids=str,
)
def test_numbers_that_make_no_sweep_are_refused(settings: dict[str, Any], ratings: Ratings) -> None:
    name = next(iter(settings))
    with pytest.raises(SettingError, match="the sweep must rise|" + name):
        lr_find(MODEL, GradientDescent(), ratings, **settings)


def test_two_ratings_are_too_few() -> None:
    two = Ratings.from_columns([1, 2], [1, 1], [3.0, 4.0])
    with pytest.raises(SettingError, match="2 ratings are too few to find a rate on"):
        lr_find(MODEL, GradientDescent(), two)


# Smoothing.

numbers = st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=1, max_size=30), st.floats(0, 0.99))
def test_smoothing_is_a_weighted_mean_of_the_past(losses: list[float], smoothing: float) -> None:
    """Each weight is ``smoothing`` times that of the next point; the weights sum to one."""
    smoothed = smooth(np.array(losses), smoothing)
    for t in range(len(losses)):
        weights = [smoothing ** (t - k) for k in range(t + 1)]
        wanted = sum(w * x for w, x in zip(weights, losses, strict=False)) / sum(weights)
        assert smoothed[t] == pytest.approx(wanted, rel=1e-9, abs=1e-6)


@given(st.lists(numbers, min_size=1, max_size=30))
def test_no_smoothing_changes_nothing(losses: list[float]) -> None:
    assert_array_equal(smooth(np.array(losses), 0.0), losses)


# Reading a curve.

# Ten rates to a decade. The loss stands still, falls fastest at point 15, and is smallest at 18.
LRS = 1e-4 * 10 ** (np.arange(25) / 10)
FALLS = (
    [0.0] * 11 + [0.01, 0.02, 0.03, 0.05, 0.04, 0.02, 0.01] + [-0.02, -0.05, -0.1, -0.2, -0.3, -1]
)
U_CURVE = 1 - np.cumsum([0.0, *FALLS])


def test_the_known_curve_is_read_exactly() -> None:
    found = {name: s.lr for name, s in _read(LRS, U_CURVE).items()}
    assert found == {
        "steepest": pytest.approx(1e-4 * 10**1.5),
        "valley": pytest.approx(1e-4 * 10 ** ((11 + 7 * 2 / 3) / 10)),
        "tenth": pytest.approx(1e-4 * 10**1.8 / 10),
    }


def test_each_reading_says_how_it_was_found() -> None:
    for suggestion in _read(LRS, U_CURVE).values():
        assert suggestion.lr is not None
        assert suggestion.why.startswith(f"{suggestion.lr:.2g}, ")


def test_the_valley_is_that_of_the_longest_fall() -> None:
    bumpy = U_CURVE.copy()
    bumpy[15:] += 0.06  # falls from point 11 to 14, rises, falls from 15 to 18
    bumpy[4:] -= 1e-4 * np.minimum(np.arange(21), 6)  # and a slow fall from 4 to 10
    valley = _read(LRS, bumpy)["valley"].lr
    assert valley == pytest.approx(1e-4 * 10 ** ((4 + 6 * 2 / 3) / 10))


def test_the_steepest_place_is_looked_for_before_the_minimum_only() -> None:
    cliff = U_CURVE.copy()
    cliff[20:] = [3.0, 9.0, 2.0, 1.9, 1.8]  # after the minimum: up, and far down again
    assert _read(LRS, cliff)["steepest"].lr == pytest.approx(1e-4 * 10**1.5)


@pytest.mark.parametrize(
    "loss",
    [
        np.full(25, 0.8),
        np.linspace(0.8, 0.8 * 0.991, 25),
        np.linspace(0.8, 1.1, 25),
        np.zeros(25),
    ],
    ids=["constant", "falls by less than a hundredth", "rises", "nothing to learn"],
)
def test_a_curve_that_does_not_fall_suggests_nothing_and_says_why(loss: np.ndarray) -> None:
    for suggestion in _read(LRS, loss).values():
        assert suggestion.lr is None
        assert "never fell by one per cent" in suggestion.why


def test_a_curve_that_falls_by_more_than_a_hundredth_suggests_a_rate() -> None:
    for suggestion in _read(LRS, np.linspace(0.8, 0.8 * 0.989, 25)).values():
        assert suggestion.lr is not None


def test_a_curve_of_fewer_than_five_points_suggests_nothing_and_says_why() -> None:
    for n in range(5):
        for suggestion in _read(LRS[:n], U_CURVE[:n]).values():
            assert suggestion.lr is None
            assert "diverged at once" in suggestion.why
            assert "lower rate" in suggestion.why


@pytest.mark.parametrize("lowest", [5.0, 1e30])
def test_a_sweep_that_diverges_at_once_suggests_nothing(
    lowest: float, ratings: Ratings, tmp_path: Path
) -> None:
    curve = lr_find(MODEL, GradientDescent(), ratings, lowest=lowest, highest=1e35)
    assert curve.suggestion is None
    assert curve.trials == ()
    assert "diverged at the rate" in curve.stopped
    with pytest.raises(SettingError, match="no learning rate suits: none, because the loss div"):
        curve.tuned()
    assert curve.frame().height == len(curve.losses) < 5
    curve.picture().save(tmp_path / "curve.png")


def test_a_sweep_that_diverged_without_a_fall_is_not_told_to_go_on_to_higher_rates(
    ratings: Ratings,
) -> None:
    solver = GradientDescent(SGD(lr={"user_factors": 1e-3, "item_factors": 1e-3}))
    solver = replace(solver, frozen=("user_factors", "item_factors", "user_bias"))
    curve = lr_find(MODEL, solver, ratings, n_trials=8)  # items have no bias in these ratings
    assert "diverged" in curve.stopped
    assert curve.suggestion is None
    assert "higher rate" not in str(curve)


def test_ratings_that_are_all_the_same_suggest_nothing() -> None:
    same = Ratings.from_columns([k // 6 for k in range(36)], [k % 6 for k in range(36)], [4.0] * 36)
    assert lr_find(MODEL, RUNS["one rating at a time"].solver, same).suggestion is None


# The search by complete runs. A place is a number of steps of 3^(1/4) from the start.

FACTOR = 3 ** (1 / 4)
slopes = st.floats(0.01, 100)


def unimodal(minimum: float, left: float, right: float, power: float, limit: float = math.inf):
    """A function of the rate with one minimum, infinite from a place on."""

    def loss(lr: float) -> float:
        place = math.log(lr) / math.log(FACTOR)
        if place >= limit:
            return math.inf
        distance = place - minimum
        return 0.5 + (left if distance < 0 else right) * abs(distance) ** power

    return loss


def searched(loss: Any, n_trials: int, start: float = 1.0) -> tuple[dict[float, float], float]:
    """Trials of a search, having seen that none is made twice, and the best rate."""
    asked: list[float] = []

    def evaluate(lr: float) -> float:
        asked.append(lr)
        return loss(lr)

    trials = _search(evaluate, start, n_trials)
    assert sorted(asked) == list(trials)
    assert len(asked) == len(set(asked)) <= n_trials
    return trials, min(trials, key=lambda lr: trials[lr])


@given(st.floats(-4, 4), slopes, slopes, st.floats(0.5, 3), st.floats(0.1, 30))
def test_eight_trials_find_a_minimum_within_a_factor_of_three(
    minimum: float, left: float, right: float, power: float, gap: float
) -> None:
    loss = unimodal(minimum, left, right, power, limit=minimum + gap)
    _, best = searched(loss, n_trials=8)
    assert abs(math.log(best) - minimum * math.log(FACTOR)) <= math.log(1.32)


@given(st.floats(-6, 6), slopes, st.floats(0.5, 3))
def test_eight_trials_find_the_minimum_of_a_symmetric_curve_from_farther(
    minimum: float, slope: float, power: float
) -> None:
    _, best = searched(unimodal(minimum, slope, slope, power), n_trials=8)
    assert abs(math.log(best) - minimum * math.log(FACTOR)) <= math.log(1.32)


@given(st.floats(-60, 60), slopes, slopes, st.floats(0.5, 3), st.floats(0.1, 200))
def test_more_trials_find_a_minimum_however_far(
    minimum: float, left: float, right: float, power: float, gap: float
) -> None:
    loss = unimodal(minimum, left, right, power, limit=minimum + gap)
    _, best = searched(loss, n_trials=40)
    assert abs(math.log(best) - minimum * math.log(FACTOR)) <= math.log(1.32)


@given(st.floats(-23.9, 0))
def test_where_all_rates_near_diverge_eight_trials_find_one_that_does_not(limit: float) -> None:
    trials, best = searched(unimodal(limit - 2, 1, 1, 1, limit=limit), n_trials=8)
    assert math.isfinite(trials[best])


@given(st.integers(1, 12), st.floats(-10, 10), st.floats(1e-6, 10))
def test_a_search_begins_at_its_start_and_keeps_to_its_number(
    n_trials: int, minimum: float, start: float
) -> None:
    trials, best = searched(unimodal(minimum, 1, 2, 1), n_trials, start)
    assert start in trials
    assert trials[best] <= trials[start]
    steps = np.log(np.array(list(trials)) / start) / math.log(FACTOR)
    assert_allclose(steps, np.round(steps), atol=1e-9)


def test_a_flat_function_ends_the_search_early() -> None:
    trials, _ = searched(lambda _: 1.0, n_trials=40)
    assert len(trials) == 7  # the start, and both sides at the reaches 4, 2 and 1


def test_when_all_trials_diverge_there_is_no_best_one() -> None:
    trials, _ = searched(lambda _: math.inf, n_trials=8)
    assert len(trials) == 8
    found = _best_trial(trials, "RMSE")
    assert found.lr is None
    assert "every complete run diverged" in found.why


def test_the_best_trial_is_that_of_the_smallest_error() -> None:
    assert _best_trial({0.1: 0.9, 0.3: 0.85, 0.9: math.inf}, "RMSE").lr == 0.3


# The answer.


def curve_with(**lrs: float | None) -> LrCurve:
    suggestions = {name: Suggestion(lr, f"why {name}") for name, lr in lrs.items()}
    ends = np.array([1e-3, 1.0])
    return LrCurve(GradientDescent(), ends, ends, ends, (), "it ended", suggestions)


def test_complete_runs_are_trusted_more_than_any_reading_of_the_curve() -> None:
    read = {"steepest": 0.1, "valley": 0.2, "tenth": 0.3}
    assert curve_with(**read, trials=0.4).suggestion == 0.4
    assert curve_with(**read).suggestion == 0.3
    assert curve_with(**read | {"tenth": None}).suggestion is None  # they come all or none


def test_a_rate_that_was_seen_to_diverge_is_not_suggested() -> None:
    """The first complete run is that at the tenth of the minimum."""
    curve = curve_with(steepest=0.1, valley=0.2, tenth=0.3, trials=None)
    assert curve.suggestion is None
    with pytest.raises(SettingError, match="why trials"):
        curve.tuned()


@every_run
def test_every_kind_of_run_gets_a_rate_that_trains_it(name: str, ratings: Ratings) -> None:
    case = RUNS[name]
    curve = lr_find(case.model, case.solver, ratings, n_trials=4)
    tuned = curve.tuned()
    assert tuned.rule.top_rate == pytest.approx(curve.suggestion)
    assert replace(tuned, rule=case.solver.rule) == case.solver
    training = replace(tuned, n_epochs=8).start(case.model, ratings).run()
    assert training.history.epochs[-1].train_rmse < 0.92 * ratings.std
    assert min(rmse for _, rmse in curve.trials) < ratings.std


@pytest.mark.parametrize(
    "lr",
    [TABLE, slice(0.01, 0.1), {"user_factors": 0.2}],
    ids=["each group", "a range", "one group, the others by default"],
)
def test_a_tuned_solver_keeps_the_proportions_of_the_groups(lr: Any, ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=lr), n_epochs=4)
    before = solver.rule.rates(MODEL.groups)
    curve = lr_find(MODEL, solver, ratings, n_trials=2)
    after = curve.tuned().rule.rates(MODEL.groups)
    assert max(after.values()) == pytest.approx(curve.suggestion)
    factors = [after[group] / before[group] for group in MODEL.groups]
    assert factors == pytest.approx([factors[0]] * 4)


def test_the_trials_are_complete_runs_on_what_is_left(ratings: Ratings) -> None:
    solver = RUNS["one rating at a time"].solver
    curve = lr_find(MODEL, solver, ratings, seed=5, n_trials=3)
    assert len(curve.trials) == 3
    assert curve.suggestion == min(curve.trials, key=lambda trial: trial[1])[0]
    for lr, rmse in curve.trials:
        run = replace(solver, rule=SGD(lr=lr), validation_size=0.1, patience=99)
        if math.isfinite(rmse):
            _, history = run.fit(MODEL, ratings, seed=5)
            assert rmse == history.epochs[-1].validation_rmse
        else:
            with pytest.raises(DivergenceError):
                run.fit(MODEL, ratings, seed=5)


SIMULATED = simulate(300, 200, 12_000, n_factors=4).ratings


@pytest.mark.parametrize(
    ("rule", "grid"),
    [(SGD(), np.geomspace(0.01, 1, 13)), (Adam(), np.geomspace(0.0005, 0.05, 13))],
    ids=["sgd", "adam"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_suggested_rate_is_as_good_as_the_best_of_a_grid(rule, grid, seed: int) -> None:
    model = DotBias(n_factors=8)
    solver = GradientDescent(rule, n_epochs=40)
    train, test = SIMULATED.split(0.2, seed=seed)
    users = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
    items = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]

    def rmse(lr: float) -> float:
        try:
            parameters, _ = replace(solver, rule=rule.with_rate(lr)).fit(model, train, seed=seed)
        except DivergenceError:
            return math.inf
        error = model.predict(parameters, users, items) - test.values
        return math.sqrt(np.mean(error**2))

    best = min(map(rmse, grid))
    for n_trials, worse in ((None, 1.02), (8, 1.01)):
        curve = lr_find(model, solver, train, seed=seed, n_trials=n_trials)
        assert curve.suggestion is not None
        assert rmse(curve.suggestion) < worse * best


# Short runs.


SHORT_RULES = ("sgd", "momentum", "adagrad", "adam", "adamax", "rmsprop")


@pytest.mark.parametrize("name", SHORT_RULES)
def test_short_runs_are_work_of_two_epochs_and_better_than_the_default(name: str) -> None:
    model, solver = DotBias(n_factors=8), GradientDescent(name)
    train, test = SIMULATED.split(0.2, seed=0)
    curve = lr_find(model, solver, train)
    assert list(curve.suggestions) == ["short"]
    assert curve.spent == 0.25 * len(curve.lrs) <= 2
    assert (np.diff(curve.lrs) > 0).all()
    found, default = (
        db.evaluate(db.fit(train, model, s, progress=False), test, ranking=False).rmse
        for s in (curve.tuned(), solver)
    )
    assert found < 0.99 * default


def test_a_short_run_is_a_quarter_of_an_epoch_with_all_of_the_schedule(ratings: Ratings) -> None:
    solver = RUNS["mini-batches"].solver  # 9 batches would be too few
    solver = replace(solver, batch_size=10)
    curve = lr_find(MODEL, solver, ratings, seed=3)
    run = replace(solver, rule=SGD(lr=1.0), validation_size=0.1).start(MODEL, ratings, seed=3)
    assert run.steps_per_epoch == 54
    n = round(54 / 4)
    for lr, loss in zip(curve.lrs, curve.losses, strict=True):
        run = replace(solver, rule=SGD(lr=1.0), validation_size=0.1).start(MODEL, ratings, seed=3)
        run.step(lr * (1 - np.arange(n) / n))
        assert run.validation_loss() == loss


@pytest.mark.parametrize(
    ("case", "settings"),
    [
        (Case(GradientDescent(SGD(lr=10.0), batch_size=None, n_epochs=2)), {}),
        (Case(GradientDescent(SGD(lr=1.0), batch_size=64, n_epochs=2)), {}),
        (Case(GradientDescent("prodigy", n_epochs=2)), {}),
        (Case(GradientDescent(n_epochs=2)), {"lowest": 1e-4}),
    ],
    ids=["full batch", "few batches", "prodigy", "a sweep is asked for"],
)
def test_where_short_runs_say_nothing_complete_ones_are_made(
    case: Case, settings: dict[str, Any], ratings: Ratings
) -> None:
    curve = lr_find(case.model, case.solver, ratings, **settings)
    assert 3 <= len(curve.trials) <= 8
    assert "trials" in curve.suggestions
    assert len(curve.trials) * 2 <= curve.spent <= len(curve.trials) * 2 + 3


def test_short_runs_of_ratings_that_are_all_the_same_suggest_nothing() -> None:
    n = 60
    users, items = np.divmod(np.arange(n * n), n)
    same = Ratings.from_columns(users, items, np.full(n * n, 4.0))
    curve = lr_find(MODEL, GradientDescent(n_epochs=4), same)
    assert curve.suggestion is None
    with pytest.raises(SettingError, match="never fell by one per cent"):
        curve.tuned()


def test_short_runs_leave_the_rates_of_groups_in_proportion(ratings: Ratings) -> None:
    curve = lr_find(MODEL, GradientDescent(SGD(lr=TABLE), n_epochs=4), ratings)
    rates = curve.tuned().rule.rates(MODEL.groups)
    assert "short" in curve.suggestions
    assert [rates[g] / rates["item_bias"] for g in MODEL.groups] == pytest.approx([8, 4, 2, 1])


def test_the_picture_of_short_runs_shows_those_that_did_not_diverge(tmp_path: Path) -> None:
    curve = lr_find(DotBias(n_factors=8), GradientDescent(), SIMULATED)
    (panel,) = curve.picture().panels
    finite = np.isfinite(curve.losses)
    assert_array_equal(panel.lines[0].x, curve.lrs[finite])
    assert [mark.x for mark in panel.marks] == [curve.suggestion]
    assert curve.picture().save(tmp_path / "curve.png").stat().st_size > 10_000


# Table and picture.


@pytest.fixture(scope="module")
def curve(ratings: Ratings) -> LrCurve:
    return lr_find(MODEL, RUNS["one rating at a time"].solver, ratings, n_trials=0)


def test_the_frame_holds_the_curve(curve: LrCurve) -> None:
    frame = curve.frame()
    assert frame.columns == ["lr", "loss", "smoothed"]
    for column, wanted in zip(frame, (curve.lrs, curve.losses, curve.smoothed), strict=True):
        assert_array_equal(column.to_numpy(), wanted)
    assert_array_equal(curve.smoothed, smooth(curve.losses, 0.6))


def test_the_picture_marks_the_three_readings(curve: LrCurve) -> None:
    (panel,) = curve.picture().panels
    assert panel.x_log
    assert {mark.label.split()[0]: mark.x for mark in panel.marks} == {
        name: suggestion.lr for name, suggestion in curve.suggestions.items()
    }
    assert len(panel.marks) == 3
    assert_array_equal(panel.lines[1].y, curve.smoothed)


def test_the_picture_shows_the_complete_runs_that_did_not_diverge(ratings: Ratings) -> None:
    curve = lr_find(MODEL, RUNS["one rating at a time"].solver, ratings, n_trials=8)
    finite = sorted(trial for trial in curve.trials if math.isfinite(trial[1]))
    sweep, runs = curve.picture().panels
    assert len(sweep.marks) == 4
    assert list(zip(runs.lines[0].x, runs.lines[0].y, strict=True)) == finite
    assert [mark.x for mark in runs.marks] == [curve.suggestion]


@pytest.mark.parametrize("ending", ["png", "html"])
def test_the_picture_is_written(curve: LrCurve, ending: str, tmp_path: Path) -> None:
    path = curve.picture().save(tmp_path / f"curve.{ending}")
    assert path.stat().st_size > 10_000
