"""Alternating least squares: exact half steps, the same objective as gradient descent, the same bits."""

from collections.abc import Callable
from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from dotbias.data.ratings import Ratings
from dotbias.data.simulate import simulate
from dotbias.errors import SettingError
from dotbias.models import Baseline, DotBias
from dotbias.models.base import Parameters
from dotbias.solvers.base import Solver
from dotbias.solvers.decay import WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import SGD, Momentum
from dotbias.solvers.least_squares import als as als_module
from dotbias.solvers.least_squares.als import ALS
from dotbias.solvers.least_squares.closed_form import ClosedForm
from dotbias.solvers.objective import objective
from dotbias.testing import SolverContract
from tests.ratings import random_ratings

MODEL = DotBias(n_factors=3)
UNEVEN = {"user_factors": 0.1, "item_factors": 0.2, "user_bias": 0.05, "item_bias": 0.3}


class TestALS(SolverContract):
    model = DotBias(n_factors=4)
    solver = ALS()


class TestALSWithHeldBiases(SolverContract):
    model = DotBias(n_factors=4)
    solver = ALS(biases="held", weighting="rows", weight_decay=1.0)


class TestALSByConjugateGradients(SolverContract):
    model = DotBias(n_factors=4)
    solver = ALS(n_steps=2)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=40, n_items=30, n=500, seed=6)


# Half steps.


@given(
    n_users=st.integers(1, 12),
    n_items=st.integers(1, 12),
    share=st.floats(0.01, 1),
    k=st.integers(1, 9),
    decay=st.sampled_from([0.0, 1e-4, 0.05, 1.0, 50.0]),
    weighting=st.sampled_from(["ratings", "rows"]),
    biases=st.sampled_from(["together", "held"]),
    n_steps=st.sampled_from([None, 0, 1, 3]),
    seed=st.integers(0, 100),
)
@settings(max_examples=80)
def test_the_objective_falls_at_every_half_step(
    n_users, n_items, share, k, decay, weighting, biases, n_steps, seed
):
    n = max(1, round(share * n_users * n_items))
    some = random_ratings(n_users, n_items, n, seed)
    shape = {"weighting": weighting, "biases": biases, "n_steps": n_steps if decay else 0}
    solver = ALS(n_iterations=4, weight_decay=decay, **shape)
    parameters, history = solver.fit(DotBias(n_factors=k), some, seed=seed)
    scale = 0.5 * n * some.std**2
    for earlier, later in zip(history.half_steps, history.half_steps[1:], strict=False):
        assert later <= earlier + 1e-5 * scale
    assert len(history.half_steps) == 8
    assert all(np.isfinite(array).all() for array in parameters.values())


@pytest.mark.parametrize("weighting", ["ratings", "rows"])
@pytest.mark.parametrize("biases", ["together", "held"])
def test_an_iteration_is_two_rounds_of_ridge_regressions(ratings, weighting, biases):
    solver = ALS(n_iterations=1, weight_decay=UNEVEN, weighting=weighting, biases=biases, n_steps=0)
    model = DotBias(n_factors=3, init_std=0.5)
    fitted, _ = solver.fit(model, ratings, seed=2)
    x = model.initialise(ratings, np.random.default_rng(2))
    if biases == "held":
        x |= {g: ClosedForm().fit(Baseline(), ratings)[0][g] for g in Baseline.groups}
    s = ratings.std
    for side, rows, other, partners in (
        ("user", ratings.user_indices, "item", ratings.item_indices),
        ("item", ratings.item_indices, "user", ratings.user_indices),
    ):
        for row in range(rows.max() + 1):
            mine = rows == row
            y = x[f"{other}_factors"][partners[mine]].astype(np.float64)
            t = ratings.values[mine] - ratings.global_mean - x[f"{other}_bias"][partners[mine]]
            ridge = np.full(3, s * UNEVEN[f"{side}_factors"])
            if biases == "held":
                t = t - x[f"{side}_bias"][row]
            else:
                y = np.column_stack([np.ones(len(y)), y])
                ridge = np.append(UNEVEN[f"{side}_bias"], ridge)
            ridge *= mine.sum() if weighting == "ratings" else 1
            solution = np.linalg.solve(y.T @ y + np.diag(ridge), y.T @ t)
            if biases == "together":
                x[f"{side}_bias"][row] = solution[0]
            x[f"{side}_factors"][row] = solution[-3:]
    for group in model.groups:
        np.testing.assert_allclose(fitted[group], x[group], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighting", ["ratings", "rows"])
@pytest.mark.parametrize("biases", ["together", "held"])
def test_many_steps_of_conjugate_gradients_are_the_exact_solution(ratings, weighting, biases):
    exact = ALS(n_iterations=3, weight_decay=UNEVEN, weighting=weighting, biases=biases, n_steps=0)
    fits = [
        solver.fit(DotBias(n_factors=3, init_std=0.5), ratings, seed=2)
        for solver in (exact, replace(exact, n_steps=30))
    ]
    for group in MODEL.groups:
        np.testing.assert_allclose(*(x[group] for x, _ in fits), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(*(history.half_steps for _, history in fits), rtol=1e-5)


@pytest.mark.parametrize("weighting", ["ratings", "rows"])
def test_the_history_tells_the_objective_and_the_error(ratings, weighting):
    solver = ALS(n_iterations=4, weighting=weighting)
    parameters, history = solver.fit(MODEL, ratings)
    assert [e.objective for e in history.epochs] == history.half_steps[1::2]
    assert history.epochs[-1].objective == pytest.approx(
        objective(MODEL, parameters, ratings, weight_decay=solver.decay), rel=1e-5
    )
    start = MODEL.initialise(ratings, np.random.default_rng(0))
    assert history.half_steps[0] < objective(MODEL, start, ratings, weight_decay=solver.decay)
    e = objective(MODEL, parameters, ratings, weight_decay=0.0)
    assert history.epochs[-1].train_rmse == pytest.approx(np.sqrt(2 * e / len(ratings)), rel=1e-4)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="this machine has one core")
def test_any_number_of_threads_leaves_the_same_bits():
    many = random_ratings(n_users=300, n_items=200, n=9000, seed=3)
    (one, history), (two, again) = (
        ALS(n_iterations=3, n_threads=n).fit(DotBias(n_factors=9), many) for n in (1, 2)
    )
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    assert history.half_steps == again.half_steps


# The minimum.


def minimum(solver: Solver, ratings: Ratings, decay: WeightDecay) -> float:
    parameters, _ = solver.fit(MODEL, ratings, seed=1)
    return objective(MODEL, parameters, ratings, weight_decay=decay)


@pytest.mark.parametrize("per", ["row", "rating"])
def test_gradient_descent_on_both_sides_at_once_reaches_the_same_objective(ratings, per):
    """The form of Ng's course: mean normalisation, and all parameters along the full gradient."""
    decay = WeightDecay(2.0 if per == "row" else 0.15, per=per)
    descent = GradientDescent(
        SGD(lr=10.0),
        n_epochs=2000,
        batch_size=None,
        weight_decay=decay,
        semantics="dense",
        schedule="constant",
    )
    als = ALS(n_iterations=200, weight_decay=decay)
    reached = minimum(als, ratings, decay)
    assert reached < 0.95 * 0.5 * len(ratings) * ratings.std**2
    assert minimum(descent, ratings, decay) == pytest.approx(reached, rel=1e-4)


def test_planted_factors_are_recovered_to_near_the_noise_floor():
    planted, truth = simulate(2000, 800, 500_000, n_factors=4, seed=1)
    train, test = planted.split(0.2, seed=1)
    model = DotBias(n_factors=4)
    parameters, _ = ALS(weight_decay=0.02).fit(model, train)
    u = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
    i = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]
    rmse = np.sqrt(np.mean((model.predict(parameters, u, i) - test.values) ** 2))
    floor = truth.noise_floor(test)
    assert floor < rmse < 1.03 * floor


def test_without_decay_few_ratings_are_fitted_exactly():
    some = random_ratings(n_users=8, n_items=8, n=20, seed=0)
    parameters, history = ALS(weight_decay=0.0).fit(DotBias(n_factors=10), some)
    assert history.epochs[-1].train_rmse < 1e-3
    assert all(np.isfinite(array).all() for array in parameters.values())


def test_endless_decay_leaves_the_global_mean(ratings):
    parameters, _ = ALS(weight_decay=1e9).fit(MODEL, ratings)
    prediction = MODEL.predict(parameters, ratings.user_indices, ratings.item_indices)
    np.testing.assert_allclose(prediction, ratings.global_mean, rtol=1e-5)


@pytest.mark.parametrize("n_steps", [0, 30])
def test_endless_decay_of_the_biases_alone_leaves_the_factors_free(ratings, n_steps):
    decay = {"user_bias": 1e9, "item_bias": 1e9}
    parameters, history = ALS(weight_decay=decay, n_steps=n_steps).fit(MODEL, ratings)
    assert np.abs(parameters["user_bias"]).max() < 1e-6
    assert history.epochs[-1].train_rmse < 0.9 * ratings.values.std()


def test_held_biases_are_those_of_the_closed_form(ratings):
    parameters, _ = ALS(biases="held").fit(MODEL, ratings)
    biases, _ = ClosedForm().fit(Baseline(), ratings)
    for group in Baseline.groups:
        np.testing.assert_array_equal(parameters[group], biases[group])


# Settings.


def test_large_sets_take_steps_and_small_ones_exact_solutions(ratings, monkeypatch):
    assert ALS().settled(MODEL, ratings).n_steps == 0
    monkeypatch.setattr(als_module, "_MANY", len(ratings))
    assert ALS().settled(MODEL, ratings).n_steps == 5
    assert ALS(weight_decay={"user_bias": 0}).settled(MODEL, ratings).n_steps == 0
    assert ALS(n_steps=3).settled(MODEL, ratings).n_steps == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_iterations": 0}, "n_iterations must be at least 1"),
        ({"weighting": "row"}, "weighting must be one of 'ratings', 'rows'"),
        ({"biases": "none"}, "biases must be one of 'together', 'held'"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, not -1"),
        ({"weight_decay": {"users": 1.0}}, "weight_decay names no group 'users'"),
        ({"weight_decay": {"hidden": 1.0}}, "weight_decay names no group 'hidden'"),
        (
            {"weight_decay": WeightDecay(per="row"), "weighting": "ratings"},
            r"weighting='ratings' contradicts WeightDecay\(per='row'\)",
        ),
        ({"weight_decay": WeightDecay(decoupled=True)}, r"decoupled=True.*ALS takes none"),
        ({"validation_size": 1.0}, "validation_size must be at least 0 and below 1"),
        (
            {"n_steps": 3, "weight_decay": {"user_bias": 0}},
            r"n_steps=3: .* weight decay, which is 0 for user_bias",
        ),
    ],
)
def test_illegal_settings_are_refused_at_once(settings, message):
    with pytest.raises(SettingError, match=message):
        ALS(**settings)


def test_a_sigmoid_and_too_many_threads_are_refused(ratings):
    with pytest.raises(SettingError, match=r"output='linear'.*GradientDescent estimates both"):
        ALS().fit(DotBias(output="sigmoid"), ratings)
    with pytest.raises(SettingError, match="n_threads=999"):
        ALS(n_threads=999).fit(MODEL, ratings)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"weighting": "rows"}, {"weight_decay": WeightDecay(per="row")}),
        ({"weighting": "ratings"}, {}),
        (
            {"weighting": "rows", "weight_decay": {"item_bias": 7.0}},
            {"weight_decay": WeightDecay({"item_bias": 7.0}, per="row")},
        ),
        ({"weighting": "rows", "weight_decay": 2.0}, {"weight_decay": WeightDecay(2.0, per="row")}),
        (
            {"weighting": "rows", "weight_decay": WeightDecay(2.0, per="row")},
            {"weight_decay": WeightDecay(2.0, per="row")},
        ),
    ],
)
def test_the_weighting_is_the_decays_per_in_another_word(old, new):
    assert ALS(**old).decay == ALS(**new).decay


def test_groups_not_named_keep_the_defaults_of_the_weighting():
    for weighting in ("ratings", "rows"):
        default = ALS(weighting=weighting).decay.amount
        some = ALS(weighting=weighting, weight_decay={"item_bias": 7.0}).decay
        assert some.amount == {**default, "item_bias": 7.0}


# Prior constants: they state the regression whose solution each row is.


def gradients(
    model: DotBias | Baseline, x: Parameters, ratings: Ratings, side: str
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of each row's squared error, and of its penalty, in rating units: (n, K) each."""
    k = model.n_factors if isinstance(model, DotBias) else 0
    empty = {f"{s}_factors": np.zeros((len(x[f"{s}_bias"]), 0)) for s in ("user", "item")}
    x = {name: array.astype(np.float64) for name, array in (empty | x).items()}
    p, q = x["user_factors"][ratings.user_indices], x["item_factors"][ratings.item_indices]
    z = x["user_bias"][ratings.user_indices] + x["item_bias"][ratings.item_indices] + (p * q).sum(1)
    if isinstance(model, DotBias) and model.output == "sigmoid":
        low, width = model.stretch(x)
        share = expit(z + model.offset(x))
        e, slope = low + width * share - ratings.values, width * share * (1 - share)
    else:
        e, slope = z + ratings.global_mean - ratings.values, np.ones(len(z))
    rows, others = (ratings.user_indices, q) if side == "user" else (ratings.item_indices, p)
    y = np.column_stack([np.ones(len(z)), others])
    table = np.column_stack([x[f"{side}_bias"], x[f"{side}_factors"]])
    error = np.zeros((len(table), 1 + k))
    np.add.at(error, rows, (e * slope)[:, None] * y)
    n = np.bincount(rows, minlength=len(table))[:, None]
    weight = n if x["prior_per_rating"][0] else 1
    precision, mean = x[f"{side}_prior_precision"], x[f"{side}_prior_mean"]
    assert precision.shape == mean.shape == (1 + k,)
    return error, weight * precision * (table - mean)


def full_batch(decay: WeightDecay) -> GradientDescent:
    return GradientDescent(
        Momentum(lr=0.5, momentum=0.95),
        n_epochs=3000,
        batch_size=None,
        weight_decay=decay,
        semantics="dense",
        schedule="constant",
    )


ROW, RATING = WeightDecay({**UNEVEN, "user_factors": 0.5}, per="row"), WeightDecay(UNEVEN)
BOTH, ITEMS, USERS = ("user", "item"), ("item",), ("user",)


@pytest.mark.parametrize(
    ("solver", "model", "sides"),
    [
        (ALS(weight_decay=UNEVEN), MODEL, ITEMS),
        (ALS(weight_decay=UNEVEN, weighting="rows"), MODEL, ITEMS),
        (full_batch(RATING), MODEL, BOTH),
        (full_batch(ROW), MODEL, BOTH),
        (full_batch(RATING), replace(MODEL, output="sigmoid"), BOTH),
        (full_batch(ROW), replace(MODEL, output="sigmoid"), BOTH),
        (ClosedForm(user_decay=4.0), Baseline(), USERS),
    ],
)
def test_each_row_minimises_what_the_prior_constants_state(ratings, solver, model, sides):
    parameters, _ = solver.fit(model, ratings)
    for side in sides:
        error, penalty = gradients(model, parameters, ratings, side)
        scale = np.abs(penalty).max()
        assert scale > 0.1
        np.testing.assert_allclose(error, -penalty, rtol=0.01, atol=2e-3 * scale)


def test_the_prior_constants_are_plain_arrays_that_a_file_can_hold(ratings):
    fits: list[Callable[[], tuple[Parameters, object]]] = [
        lambda: ALS(n_iterations=1).fit(MODEL, ratings),
        lambda: GradientDescent(n_epochs=1).fit(MODEL, ratings),
        lambda: ClosedForm().fit(Baseline(), ratings),
    ]
    for fit in fits:
        parameters, _ = fit()
        prior = {name for name in parameters if "prior" in name}
        assert prior == {
            "user_prior_mean",
            "user_prior_precision",
            "item_prior_mean",
            "item_prior_precision",
            "prior_per_rating",
        }
        assert all(parameters[name].dtype == np.float32 for name in prior)
