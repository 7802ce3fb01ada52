"""Folded rows against plain double-precision regressions, written out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.sparse import csr_array

from dotbias.data.ratings import Ratings
from dotbias.errors import DataError, ModelFileError, SettingError
from dotbias.models import Baseline, DotBias, DotProduct
from dotbias.models.base import Array, Model, Observed, Parameters
from dotbias.models.row_form import OTHER, Linear, Side
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.least_squares.als import ALS
from dotbias.solvers.least_squares.fold_in import _descend, fold_in, gradients, units
from dotbias.solvers.least_squares.implicit_als import ImplicitALS
from tests.ratings import random_ratings

N_USERS, N_ITEMS, K = 12, 30, 5
sides = pytest.mark.parametrize("side", ["user", "item"])


def some_parameters(
    model: Model, penalty: float = 0.1, per_rating: bool = True, seed: int = 0
) -> Parameters:
    rng = np.random.default_rng(seed)
    parameters = {"global_mean": np.array([3.2], np.float32), "scale": np.array([1, 5], np.float32)}
    for side, n in (("user", N_USERS), ("item", N_ITEMS)):
        size = 1
        parameters[f"{side}_bias"] = rng.normal(0, 0.5, n).astype(np.float32)
        if isinstance(model, DotBias):
            size += model.n_factors
            factors = rng.normal(0, 0.5, (n, model.n_factors))
            parameters[f"{side}_factors"] = factors.astype(np.float32)
        parameters[f"{side}_prior_mean"] = rng.normal(0, 0.2, size).astype(np.float32)
        precision = penalty * rng.uniform(0.5, 2, size)
        parameters[f"{side}_prior_precision"] = precision.astype(np.float32)
    parameters["prior_per_rating"] = np.array([per_rating], np.float32)
    return parameters


def partners_of(parameters: Parameters, side: Side, partners: Any) -> tuple[Any, Any]:
    """Held biases, and the regressors: 1 and the partner's factors."""
    bias = parameters[f"{OTHER[side]}_bias"][partners].astype(float)
    factors = parameters.get(f"{OTHER[side]}_factors", np.zeros((N_USERS + N_ITEMS, 0)))[partners]
    return bias, np.column_stack([np.ones(len(bias)), factors.astype(float)])


def prior_of(parameters: Parameters, side: Side, n: int) -> tuple[Any, Any]:
    """Mean, and precision times weight."""
    precision = parameters[f"{side}_prior_precision"].astype(float)
    precision = np.diag(precision) if precision.ndim == 1 else precision
    weight = n if parameters["prior_per_rating"][0] else 1
    return parameters[f"{side}_prior_mean"].astype(float), weight * precision


def regression(parameters: Parameters, side: Side, partners: Any, values: Any) -> Any:
    """The one solution of the linear form."""
    held, y = partners_of(parameters, side, partners)
    mean, penalty = prior_of(parameters, side, len(values))
    t = values - float(parameters["global_mean"][0]) - held
    return np.linalg.solve(y.T @ y + penalty, y.T @ t + penalty @ mean)


def fold_one(model: Model, parameters: Parameters, side: Side, partners: Any, values: Any) -> Array:
    starts = np.array([0, len(partners)])
    given = np.asarray(values, np.float32)
    return fold_in(model, parameters, side, starts, np.asarray(partners, np.int32), given)[0]


def assert_close(row: Any, expected: Any, share: float = 1e-6) -> None:
    # A row that nearly cancels out still carries the rounding of the ratings it is made of.
    assert np.abs(row - expected).max() <= share * max(np.abs(expected).max(), 0.2)


lengths = st.lists(st.integers(0, N_USERS), min_size=1, max_size=6)


@sides
@example([7], 0.00390625, False, 54, False)  # single precision was too coarse for these two
@example([6], 0.01, False, 5, False)
@given(lengths, st.floats(1e-3, 10), st.booleans(), st.integers(0, 99), st.booleans())
def test_every_row_is_its_regression(
    side: Side, lengths: list[int], penalty: float, per_rating: bool, seed: int, baseline: bool
) -> None:
    model: Model = Baseline() if baseline else DotBias(n_factors=K)
    parameters = some_parameters(model, penalty, per_rating, seed)
    rng = np.random.default_rng(seed)
    n_partners = N_ITEMS if side == "user" else N_USERS
    partners = [rng.choice(n_partners, n, replace=False) for n in lengths]
    values = [rng.uniform(1, 5, n).astype(np.float32) for n in lengths]
    starts = np.cumsum([0, *lengths])
    joined = np.concatenate(partners).astype(np.int32), np.concatenate(values)

    rows = fold_in(model, parameters, side, starts, *joined)

    assert rows.dtype == np.float32
    for row, own, own_values in zip(rows, partners, values, strict=True):
        if len(own) == 0:
            assert np.array_equal(row, parameters[f"{side}_prior_mean"])
        else:
            assert_close(row, regression(parameters, side, own, own_values))


@given(st.permutations(range(9)))
def test_the_order_of_ratings_does_not_matter(order: list[int]) -> None:
    model, values = DotBias(n_factors=K), np.linspace(1, 5, 9)
    parameters = some_parameters(model)
    row = fold_one(model, parameters, "user", np.arange(9), values)
    assert_close(fold_one(model, parameters, "user", np.array(order), values[order]), row)


def test_a_full_precision_matrix() -> None:
    model = DotBias(n_factors=K)
    parameters = some_parameters(model)
    root = np.random.default_rng(3).normal(0, 1, (K + 1, K + 1))
    parameters["user_prior_precision"] = (root @ root.T + np.eye(K + 1)).astype(np.float32)
    partners, values = np.arange(4), np.array([1.0, 5, 4, 2])
    row = fold_one(model, parameters, "user", partners, values)
    assert_close(row, regression(parameters, "user", partners, values))


def test_a_prior_is_as_good_as_ratings_that_say_the_same() -> None:
    model = DotBias(n_factors=K)
    parameters = some_parameters(model, per_rating=False)
    partners, values = np.arange(6), np.array([1.0, 5, 4, 2, 3, 3])
    held, y = partners_of(parameters, "user", partners)
    root = np.diag(np.sqrt(parameters["user_prior_precision"].astype(float)))
    stacked = np.vstack([y, root])
    mean = parameters["user_prior_mean"].astype(float)
    targets = np.append(values - float(parameters["global_mean"][0]) - held, root @ mean)
    expected = np.linalg.lstsq(stacked, targets)[0]
    assert_close(fold_one(model, parameters, "user", partners, values), expected)


@sides
@pytest.mark.parametrize("n", [1, 3, 12])
def test_a_faint_penalty_is_not_lost_in_rounding(side: Side, n: int) -> None:
    model = DotBias(n_factors=K)
    parameters = some_parameters(model, penalty=1e-8)
    partners, values = np.arange(n), np.random.default_rng(1).uniform(1, 5, n).astype(np.float32)
    row = fold_one(model, parameters, side, partners, values)
    assert_close(row, regression(parameters, side, partners, values), 1e-5)


@sides
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_embeddings_that_have_shrunk_to_nothing_leave_the_bias_what_it_is(
    side: Side, output: Any
) -> None:
    """Measured by their length alone, their penalty was so large that its damping took the bias too."""
    model = DotBias(n_factors=K, output=output)
    parameters = some_parameters(model, penalty=0.2, per_rating=False)
    parameters[f"{side}_prior_precision"][1:] = 14
    parameters[f"{OTHER[side]}_factors"] *= np.float32(1e-7)
    rated, values = np.arange(3), np.array([5.0, 1.5, 4.0])
    row = fold_one(model, parameters, side, rated, values)
    parameters[f"{OTHER[side]}_factors"] *= 0
    assert_close(row, fold_one(model, parameters, side, rated, values))
    if output == "linear":
        assert_close(row, regression(parameters, side, rated, values))


@sides
@pytest.mark.parametrize("n", [1, 3, 12])
def test_without_a_penalty_a_row_moves_no_more_than_it_must(side: Side, n: int) -> None:
    model = DotBias(n_factors=K)
    parameters = some_parameters(model, penalty=0)
    values = np.random.default_rng(1).uniform(1, 5, n)
    row = fold_one(model, parameters, side, np.arange(n), values)
    held, y = partners_of(parameters, side, np.arange(n))
    mean = parameters[f"{side}_prior_mean"].astype(float)
    left = values - float(parameters["global_mean"][0]) - held - y @ mean
    unit = units(Linear(0.0), y, np.zeros((1 + K, 1 + K)))
    assert_close(row, mean + unit * (np.linalg.pinv(y * unit) @ left), 1e-5)


@sides
@pytest.mark.parametrize("per_rating", [True, False])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_the_sigmoid_form_is_at_its_minimum(side: Side, per_rating: bool, penalty: float) -> None:
    model = DotBias(n_factors=K, output="sigmoid")
    parameters = some_parameters(model, penalty, per_rating)
    values = np.array([1.0, 5, 5, 4, 2, 1])
    partners = np.arange(len(values))
    held, y = partners_of(parameters, side, partners)
    mean, weighted = prior_of(parameters, side, len(values))
    low, width = 0.5, 5.0
    logit = np.log((3.2 - low) / (low + width - 3.2))

    def objective(x: Any) -> Any:
        rating = low + width / (1 + np.exp(-(logit + held + y @ x)))
        return 0.5 * ((rating - values) ** 2).sum() + 0.5 * (x - mean) @ weighted @ (x - mean)

    row = fold_one(model, parameters, side, partners, values).astype(float)
    best = minimize(objective, row, method="BFGS", options={"gtol": 1e-9}).fun
    assert objective(row) <= best * (1 + 1e-7)
    assert objective(row) < 0.99 * objective(mean)


@pytest.mark.parametrize("n", [1, 4])
def test_the_sigmoid_form_reaches_ratings_that_nothing_holds_back(n: int) -> None:
    model = DotBias(n_factors=K, output="sigmoid")
    parameters = some_parameters(model, penalty=0)
    values = np.array([1.0, 5, 2, 5])[:n]
    row = fold_one(model, parameters, "user", np.arange(n), values)
    alone = parameters | {"user_bias": row[:1], "user_factors": row[None, 1:]}
    of_one = np.zeros(n, np.int32)
    assert np.allclose(model.predict(alone, of_one, np.arange(n)), values, atol=1e-4)


@sides
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_gradients_are_differences_of_the_objective(side: Side, output: Any) -> None:
    model = DotBias(n_factors=K, output=output)
    parameters = some_parameters(model)
    partners, values = np.array([2, 7, 1], np.int32), np.array([1, 4, 5], np.float32)
    got = gradients(
        model, parameters, side, np.array([4], np.int32), np.array([0, 3]), partners, values
    )
    held, y = partners_of(parameters, side, partners)
    mean, weighted = prior_of(parameters, side, 3)
    x = np.append(parameters[f"{side}_bias"][4], parameters[f"{side}_factors"][4]).astype(float)
    low, width = model.stretch(parameters)

    def objective(x: Any) -> Any:
        z = model.offset(parameters) + held + y @ x
        rating = z if output == "linear" else low + width / (1 + np.exp(-z))
        return 0.5 * ((rating - values) ** 2).sum() + 0.5 * (x - mean) @ weighted @ (x - mean)

    h = 1e-5
    steps = h * np.eye(len(x))
    expected = [(objective(x + d) - objective(x - d)) / (2 * h) for d in steps]
    assert np.allclose(got[0], expected, rtol=1e-4, atol=1e-5)


@sides
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_a_row_whose_gradient_is_kept_stays_where_it_is(
    side: Side, output: Any, penalty: float
) -> None:
    model = DotBias(n_factors=K, output=output)
    parameters = some_parameters(model, penalty)
    ratings = np.array([0, 8]), np.arange(8, dtype=np.int32), np.linspace(1, 5, 8).astype("f4")
    linear = gradients(model, parameters, side, np.array([4], np.int32), *ratings)
    before = np.append(parameters[f"{side}_bias"][4], parameters[f"{side}_factors"][4])[None, :]
    assert np.abs(linear).max() > 0.1
    row = fold_in(model, parameters, side, *ratings, before=before, linear=linear)
    assert_close(row, before, 1e-5)


def test_it_solves_the_rows_of_alternating_least_squares() -> None:
    ratings = random_ratings(40, 30, 600, seed=0)
    model = DotBias(n_factors=4)
    parameters, _ = ALS(n_iterations=3).fit(model, ratings)
    items = by_item(ratings)
    rows = fold_in(model, parameters, "item", *items)
    expected = np.column_stack([parameters["item_bias"], parameters["item_factors"]])
    assert_close(rows, expected, 1e-6)  # the items were solved last


def by_item(ratings: Ratings) -> tuple[Any, Any, Any]:
    order = np.argsort(ratings.item_indices, kind="stable")
    starts = np.append(0, np.cumsum(ratings.item_counts))
    return starts, ratings.user_indices[order], ratings.values[order]


def test_a_model_without_priors_says_to_fit_again() -> None:
    parameters = some_parameters(Baseline())
    del parameters["prior_per_rating"]
    with pytest.raises(ModelFileError, match=r"older version .* fit it again"):
        fold_one(Baseline(), parameters, "user", [0], [3])


# What keeps the steps of a row safe.


def newton_solution(parameters: Parameters, partners: Any, values: Any, linear: Any) -> Any:
    """The one minimum of the linear form with a linear term."""
    held, y = partners_of(parameters, "user", partners)
    mean, penalty = prior_of(parameters, "user", len(values))
    t = values - float(parameters["global_mean"][0]) - held
    return np.linalg.solve(y.T @ y + penalty, y.T @ t + penalty @ mean + linear)


@pytest.mark.parametrize("penalty", [1e-3, 0.1])  # in double precision, and in the kernel
def test_a_pull_counts_in_the_objective_too(penalty: float) -> None:
    """Away from the ratings' minimum the squared errors grow: only the linear term makes up for that."""
    model = DotBias(n_factors=K)
    parameters = some_parameters(model, penalty)
    partners, values = np.arange(20, dtype=np.int32), np.linspace(1, 5, 20).astype("f4")
    linear = np.linspace(-30, 30, K + 1).astype("f4")
    before = newton_solution(parameters, partners, values, 0)[None, :].astype("f4")
    row = fold_in(
        model,
        parameters,
        "user",
        np.array([0, 20]),
        partners,
        values,
        before=before,
        linear=linear[None, :],
    )[0]
    expected = newton_solution(parameters, partners, values, linear)
    assert np.abs(expected - before).max() > 1
    assert_close(row, expected, 1e-5)


def test_a_sigmoid_that_bends_the_other_way_still_leads_downhill() -> None:
    """Far below the ratings the second derivative is negative, and a plain Newton step leads uphill."""
    model = DotBias(n_factors=K, output="sigmoid")
    parameters = some_parameters(model, penalty=1e-3)
    partners, values = np.arange(8, dtype=np.int32), np.full(8, 4.5, np.float32)
    before = np.append(-4, np.zeros(K)).astype("f4")[None, :]
    row = fold_in(model, parameters, "user", np.array([0, 8]), partners, values, before=before)
    of_one = np.zeros(8, np.int32)
    for x, least, most in ((before, 0.5, 1.5), (row, 4.4, 4.6)):
        alone = parameters | {"user_bias": x[:, 0], "user_factors": x[:, 1:]}
        ratings = model.score_all(alone, of_one[:1])[0, partners]
        assert least < ratings.mean() < most


@pytest.mark.parametrize(("penalty", "n_alone"), [(0.0019, 3), (0.0021, 0)])
def test_rows_of_a_weak_penalty_alone_are_solved_in_double_precision(
    penalty: float, n_alone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of 0.002 of the normal equations is the border: one by one they are slow, and below it
    single precision is too coarse.
    """
    model = DotBias(n_factors=K)
    parameters = some_parameters(model)
    factors = parameters["item_factors"]
    factors /= np.linalg.norm(factors, axis=1, keepdims=True)
    for side in ("user", "item"):
        parameters[f"{side}_prior_precision"] = np.full(K + 1, penalty, np.float32)
    alone = []

    def spy(*arguments: Any) -> Any:
        alone.append(arguments)
        return _descend(*arguments)

    monkeypatch.setattr("dotbias.solvers.least_squares.fold_in._descend", spy)
    rng = np.random.default_rng(0)
    partners = np.concatenate([rng.choice(N_ITEMS, n, replace=False) for n in (2, 9, 30)])
    values = rng.uniform(1, 5, 41).astype("f4")
    starts = np.array([0, 2, 11, 41])
    rows = fold_in(model, parameters, "user", starts, partners.astype(np.int32), values)
    assert len(alone) == n_alone
    for row, first, last in zip(rows, starts, starts[1:], strict=False):
        own = partners[first:last], values[first:last]
        assert_close(row, regression(parameters, "user", *own))


def some_preferences(k: int, n_items: int, *, weighted: bool, penalty: float) -> Parameters:
    rng = np.random.default_rng(3)
    precision = np.zeros((1 + k, 1 + k), np.float32)
    root = rng.normal(size=(k, k))
    precision[1:, 1:] = penalty * (root @ root.T + np.eye(k))
    ratings = random_ratings(3, n_items, 3 * n_items, seed=0)
    return DotProduct(n_factors=k).initialise(ratings, rng) | {
        "item_factors": rng.normal(size=(n_items, k)).astype(np.float32),
        "target": np.array([1, 0.3], np.float32),
        "confidence": np.array([1, float(weighted), 0], np.float32),
        "user_prior_mean": np.append(0, rng.normal(size=k)).astype(np.float32),
        "user_prior_precision": precision,
        "prior_per_rating": np.zeros(1, np.float32),
    }


@pytest.mark.parametrize("n_rows", [1, 40])
def test_preferences_stay_where_ratings_and_prior_leave_them(n_rows: int) -> None:
    parameters = some_preferences(4, 6, weighted=False, penalty=0)
    before = np.random.default_rng(0).normal(size=(n_rows, 5)).astype(np.float32)
    starts, partners = np.arange(n_rows + 1), np.zeros(n_rows, np.int32)
    values = np.full(n_rows, 2, np.float32)
    model = DotProduct(n_factors=4)
    rows = fold_in(model, parameters, "user", starts, partners, values, before=before)[:, 1:]
    q = parameters["item_factors"][0]
    np.testing.assert_allclose(rows @ q, 1.6, atol=1e-5)
    moved = rows - before[:, 1:]  # along the one embedding that is known
    np.testing.assert_allclose(moved, np.outer(moved @ q, q) / (q @ q), atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_many_rows_of_preferences_are_what_each_is_alone(weighted: bool) -> None:
    """Together they take conjugate gradients, alone they are solved exactly."""
    k, n_rows, n_items = 11, 50, 25
    parameters = some_preferences(k, n_items, weighted=weighted, penalty=1)
    rng = np.random.default_rng(5)
    counts = rng.integers(0, n_items, n_rows)
    starts = np.append(0, np.cumsum(counts))
    partners = np.concatenate([rng.choice(n_items, n, replace=False) for n in counts])
    values = rng.uniform(1, 5, starts[-1]).astype(np.float32)
    before, linear = rng.normal(size=(2, n_rows, 1 + k)).astype(np.float32)
    model = DotProduct(n_factors=k)
    together = fold_in(
        model, parameters, "user", starts, partners, values, before=before, linear=linear
    )
    assert 0 in counts
    for row in range(n_rows):
        own = slice(starts[row], starts[row + 1])
        alone = fold_in(
            model,
            parameters,
            "user",
            np.array([0, counts[row]]),
            partners[own],
            values[own],
            before=before[[row]],
            linear=linear[[row]],
        )
        np.testing.assert_allclose(together[row, 1:], alone[0, 1:], atol=2e-5)


@pytest.mark.parametrize(
    ("targets", "weights", "message"),
    [
        (np.ones(2, np.float32), None, "give targets as one row of 400 numbers"),
        (np.ones(400, np.float32), np.ones(2, np.float32), "give weights as one row of 400"),
        (np.full(400, np.nan, np.float32), None, "targets of Model.observed is not finite"),
        (np.ones(400, np.float32), np.full(400, -1, np.float32), "weights that are at least 0"),
    ],
)
def test_what_a_model_makes_of_ratings_is_checked_before_a_loop_reads_it(
    targets: Array, weights: Array | None, message: str
) -> None:
    """Of two weights for 400 ratings the compiled loops read what lay behind them in memory."""

    class Own(DotProduct):
        def observed(self, *_: Any, **__: Any) -> Observed:
            return Observed(targets, weights)

    parameters = some_preferences(4, 10, weighted=False, penalty=1.0)
    starts, partners = np.arange(0, 401, 10), np.tile(np.arange(10), 40)
    with pytest.raises(SettingError, match=message):
        fold_in(Own(n_factors=4), parameters, "user", starts, partners, np.ones(400, np.float32))
    ratings = random_ratings(n_users=40, n_items=20, n=400, seed=3)
    with pytest.raises(SettingError, match=message):
        ImplicitALS(n_iterations=1).fit(Own(n_factors=4), ratings)


def test_weights_need_a_linear_response() -> None:
    """A sigmoid was solved as if it were a straight line."""

    class Weighted(DotBias):
        def observed(self, *given: Any) -> Observed:
            values = given[-1]
            return Observed(values, np.ones_like(values))

    ratings = random_ratings(n_users=20, n_items=10, n=100, seed=3)
    parameters, _ = GradientDescent(n_epochs=1).fit(DotBias(n_factors=2, output="sigmoid"), ratings)
    with pytest.raises(SettingError, match="Weighted has weights or no biases, and a response"):
        fold_one(Weighted(n_factors=2, output="sigmoid"), parameters, "user", [1, 2], [3.0, 4.0])


# Features.

N_FEATURES = 3
FEATURES = csr_array(np.array([[0.5, 0, -2], [0, 1, 0], [0, 0, 0], [1, 1, 1]], np.float32))


def told(model: Model, side: Side, *, per_rating: bool = False) -> Parameters:
    """Parameters with what features say of rows of one side, its precision a full matrix."""
    rng = np.random.default_rng(7)
    parameters = some_parameters(model, per_rating=per_rating)
    size = len(parameters[f"{side}_prior_mean"])
    half = rng.normal(0, 0.4, (size, size))
    arrays = {
        "mean": rng.normal(0, 0.2, size),
        "effects": rng.normal(0, 0.5, (N_FEATURES, size)),
        "precision": half @ half.T + 0.2 * np.eye(size),
    }
    return parameters | {f"{side}_feature_{n}": a.astype(np.float32) for n, a in arrays.items()}


def of_each(parameters: Parameters, side: Side, n: int) -> tuple[Any, Any]:
    """Prior means, a row for each, and the precision for n ratings."""
    mean, effects, precision = (
        parameters[f"{side}_feature_{what}"].astype(float)
        for what in ("mean", "effects", "precision")
    )
    weight = n if parameters["prior_per_rating"][0] else 1
    return mean + FEATURES.toarray().astype(float) @ effects, weight * precision


@sides
@pytest.mark.parametrize("model", [Baseline(), DotBias(n_factors=K)], ids=["baseline", "linear"])
@pytest.mark.parametrize("per_rating", [False, True])
@pytest.mark.parametrize("n", [1, 3, 10])
def test_features_move_the_mean_of_each_rows_prior(
    side: Side, model: Model, per_rating: bool, n: int
) -> None:
    parameters = told(model, side, per_rating=per_rating)
    rng = np.random.default_rng(n)
    partners, values = rng.permutation(4 * n) % 12, rng.uniform(1, 5, 4 * n).astype(np.float32)
    starts = np.arange(0, 4 * n + 1, n)
    rows = fold_in(model, parameters, side, starts, partners, values, features=FEATURES)
    means, penalty = of_each(parameters, side, n)
    for at, (row, mean) in enumerate(zip(rows, means, strict=True)):
        own = slice(starts[at], starts[at + 1])
        held, y = partners_of(parameters, side, partners[own])
        t = values[own] - float(parameters["global_mean"][0]) - held
        assert_close(row, np.linalg.solve(y.T @ y + penalty, y.T @ t + penalty @ mean), 1e-5)


@sides
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_a_row_that_nobody_has_rated_is_what_its_features_say(side: Side, output: Any) -> None:
    model = DotBias(n_factors=K, output=output)
    parameters = told(model, side)
    none = np.zeros(5, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    rows = fold_in(model, parameters, side, *none, features=FEATURES)
    np.testing.assert_allclose(rows, of_each(parameters, side, 0)[0], atol=1e-6)
    mixed = np.array([0, 0, 2, 2, 2]), np.array([1, 2], np.int32), np.array([5, 1], np.float32)
    rated = fold_in(model, parameters, side, *mixed, features=FEATURES)
    stays = np.array([True, False, True, True])
    np.testing.assert_array_equal(rated[stays], rows[stays])
    assert np.abs(rated[~stays] - rows[~stays]).max() > 0.01


@sides
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("per_rating", [False, True])
def test_with_features_gradients_are_differences_of_the_objective_and_vanish_at_the_solution(
    side: Side, output: Any, per_rating: bool
) -> None:
    model = DotBias(n_factors=K, output=output)
    parameters = told(model, side, per_rating=per_rating)
    places = np.array([4, 0, 7, 2], np.int32)
    starts = np.array([0, 3, 4, 4, 8])
    partners = np.array([2, 7, 1, 5, 0, 1, 2, 3], np.int32)
    values = np.array([1, 4, 5, 2, 5, 5, 1, 3], np.float32)
    got = gradients(
        model, parameters, side, places, starts, partners, values, features=FEATURES
    ).astype(float)
    low, width = model.stretch(parameters)
    h = 1e-5
    for at, place in enumerate(places):
        own = slice(starts[at], starts[at + 1])
        n = starts[at + 1] - starts[at]
        held, y = partners_of(parameters, side, partners[own])
        means, penalty = of_each(parameters, side, n)
        x = np.append(parameters[f"{side}_bias"][place], parameters[f"{side}_factors"][place])

        def objective(x: Any) -> Any:
            z = model.offset(parameters) + held + y @ x  # noqa: B023
            rating = z if output == "linear" else low + width / (1 + np.exp(-z))
            away = x - means[at]  # noqa: B023
            return 0.5 * ((rating - values[own]) ** 2).sum() + 0.5 * away @ penalty @ away  # noqa: B023

        x = x.astype(float)
        steps = h * np.eye(len(x))
        wanted = [(objective(x + d) - objective(x - d)) / (2 * h) for d in steps]
        np.testing.assert_allclose(got[at], wanted, rtol=1e-4, atol=1e-5)

    rows = fold_in(model, parameters, side, starts, partners, values, features=FEATURES)
    form = model.row_form(parameters, side)
    solved = {name: parameters[name].copy() for name in form.groups}
    for name, group in form.split(rows).items():
        solved[name][places] = group
    left = gradients(
        model, parameters | solved, side, places, starts, partners, values, features=FEATURES
    )
    assert np.abs(left).max() < 2e-5 * np.abs(got).max()


@sides
def test_features_that_the_model_was_not_fitted_to_are_refused(side: Side) -> None:
    model = DotBias(n_factors=K)
    none: tuple[Any, Any, Any] = np.zeros(5, int), np.empty(0, np.int32), np.empty(0, np.float32)
    with pytest.raises(SettingError, match=rf"not fitted to features of {side}s.*with_features"):
        fold_in(model, some_parameters(model), side, *none, features=FEATURES)
    parameters = told(model, side)
    with pytest.raises(SettingError, match="2 features of a row, and the model was fitted to 3"):
        fold_in(model, parameters, side, *none, features=FEATURES[:, :2])
    with pytest.raises(SettingError, match="4 rows of features for 5 rows"):
        fold_in(model, parameters, side, np.zeros(6, np.int64), *none[1:], features=FEATURES)
    with pytest.raises(DataError, match=r"features move a row by .*e\+1[78]: .* far too large"):
        fold_in(model, parameters, side, *none, features=FEATURES * np.float32(1e18))
