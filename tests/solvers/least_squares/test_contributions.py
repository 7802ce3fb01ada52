"""Parts of a prediction against regressions that are solved anew, written out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize

from dotbias.errors import ModelFileError, SettingError
from dotbias.models import Baseline, DotBias
from dotbias.models.base import Parameters
from dotbias.models.row_form import Linear
from dotbias.solvers.least_squares.contributions import Contributions, contributions
from dotbias.solvers.least_squares.fold_in import units
from tests.solvers.least_squares.test_fold_in import (
    N_ITEMS,
    K,
    partners_of,
    prior_of,
    regression,
    some_parameters,
)

LINEAR, SIGMOID = DotBias(n_factors=K), DotBias(n_factors=K, output="sigmoid")
ASKED = N_ITEMS - 1
RATED, VALUES = np.arange(6, dtype=np.int32), np.array([1.0, 5, 5, 4, 2, 1])


def single(values: Any) -> Any:
    """Numbers that single precision holds, in double precision."""
    return values.astype(np.float32).astype(float)


def parts_of(
    parameters: Parameters, values: Any = VALUES, rated: Any = RATED, model: DotBias = LINEAR
) -> Contributions:
    given = np.asarray(values, np.float32)
    return contributions(model, parameters, np.asarray(rated, np.int32), given, ASKED)


def factor_part(parameters: Parameters, values: Any, rated: Any = RATED) -> float:
    """``p · q`` of the item asked about, with the user's row solved by an independent regression."""
    row = regression(parameters, "user", rated, values)
    return float(row[1:] @ parameters["item_factors"][ASKED].astype(float))


problems = st.tuples(
    st.integers(1, 12), st.floats(1e-3, 10), st.booleans(), st.integers(0, 99)
)  # ratings, penalty, per rating or not, seed


# A prediction so near to the mean that the slope of the line between them was rounded.
@example((12, 0.849609375, True, 12))
@given(problems)
def test_the_parts_add_up_to_the_prediction_by_regression(problem) -> None:
    n, penalty, per_rating, seed = problem
    parameters = some_parameters(LINEAR, penalty, per_rating, seed)
    rng = np.random.default_rng(seed)
    rated, values = rng.choice(N_ITEMS, n, replace=False), single(rng.uniform(1, 5, n))
    parts = parts_of(parameters, values, rated)
    row = regression(parameters, "user", rated, values)
    factors = factor_part(parameters, values, rated)
    assert parts.global_mean == pytest.approx(float(parameters["global_mean"][0]), abs=1e-12)
    item_bias = float(parameters["item_bias"][ASKED])
    assert parts.item_bias == pytest.approx(item_bias, abs=1e-12)
    assert parts.user_bias == pytest.approx(row[0], abs=1e-9)
    assert parts.assumed + parts.rated.sum() == pytest.approx(factors, abs=1e-9)
    assert parts.total == pytest.approx(
        parts.global_mean + parts.item_bias + row[0] + factors, abs=1e-9
    )


@given(problems)
def test_a_part_is_what_is_lost_when_the_rating_says_nothing(problem) -> None:
    """A rating that equals the global mean plus its item's bias adds nothing to the normal equations."""
    n, penalty, per_rating, seed = problem
    parameters = some_parameters(LINEAR, penalty, per_rating, seed)
    rng = np.random.default_rng(seed)
    rated, values = rng.choice(N_ITEMS, n, replace=False), single(rng.uniform(1, 5, n))
    parts = parts_of(parameters, values, rated)
    for i, item in enumerate(rated):
        without = values.copy()
        without[i] = float(parameters["global_mean"][0]) + float(parameters["item_bias"][item])
        lost = factor_part(parameters, values, rated) - factor_part(parameters, without, rated)
        assert parts.rated[i] == pytest.approx(lost, abs=1e-8)


def test_raising_a_rating_moves_the_factors_part_in_proportion() -> None:
    parameters, h = some_parameters(LINEAR), 0.25
    parts = parts_of(parameters)
    for i in range(len(RATED)):
        raised = VALUES.copy()
        raised[i] += h
        moved = factor_part(parameters, raised) - factor_part(parameters, VALUES)
        left = VALUES[i] - float(parameters["global_mean"][0]) - float(parameters["item_bias"][i])
        assert parts.rated[i] / left == pytest.approx(moved / h, abs=1e-9)


def test_without_any_rating_only_what_is_assumed_is_left() -> None:
    for per_rating in (True, False):
        parameters = some_parameters(LINEAR, per_rating=per_rating)
        mean = parameters["user_prior_mean"].astype(float)
        parts = parts_of(parameters, [], [])
        assert parts.rated.shape == (0,)
        assert parts.user_bias == pytest.approx(mean[0])
        assert parts.assumed == pytest.approx(mean[1:] @ parameters["item_factors"][ASKED])


def test_what_is_assumed_is_the_part_of_the_priors_mean() -> None:
    parameters = some_parameters(LINEAR)
    mean, penalty = prior_of(parameters, "user", len(RATED))
    _, y = partners_of(parameters, "user", RATED)
    row = np.linalg.solve(y.T @ y + penalty, penalty @ mean)
    expected = row[1:] @ parameters["item_factors"][ASKED]
    assert parts_of(parameters).assumed == pytest.approx(expected, abs=1e-12)
    parameters["user_prior_mean"] = np.zeros_like(parameters["user_prior_mean"])
    assert parts_of(parameters).assumed == 0


def test_a_full_precision_matrix() -> None:
    parameters = some_parameters(LINEAR)
    root = np.random.default_rng(3).normal(0, 1, (K + 1, K + 1))
    parameters["user_prior_precision"] = (root @ root.T + np.eye(K + 1)).astype(np.float32)
    parts = parts_of(parameters)
    assert parts.assumed + parts.rated.sum() == pytest.approx(factor_part(parameters, VALUES))


@pytest.mark.parametrize("n", [0, 1, 3, 12])
def test_directions_left_open_stay_at_the_priors_mean(n: int) -> None:
    parameters = some_parameters(LINEAR, penalty=0)
    rated, values = np.arange(n), single(np.random.default_rng(1).uniform(1, 5, n))
    held, y = partners_of(parameters, "user", rated)
    mean = parameters["user_prior_mean"].astype(float)
    left = values - float(parameters["global_mean"][0]) - held - y @ mean
    unit = units(Linear(0.0), y, np.zeros((1 + K, 1 + K)))
    row = mean + unit * (np.linalg.pinv(y * unit) @ left)
    parts = parts_of(parameters, values, rated)
    assert parts.user_bias == pytest.approx(row[0], abs=1e-5)
    factors = row[1:] @ parameters["item_factors"][ASKED]
    assert parts.assumed + parts.rated.sum() == pytest.approx(factors, abs=1e-5)


@pytest.mark.parametrize("n", [1, 3, 12])
def test_a_faint_penalty_is_not_lost_in_rounding(n: int) -> None:
    parameters = some_parameters(LINEAR, penalty=1e-8)
    rated, values = np.arange(n), single(np.random.default_rng(1).uniform(1, 5, n))
    parts = parts_of(parameters, values, rated)
    expected = regression(parameters, "user", rated, values)[0]
    assert parts.user_bias == pytest.approx(expected, abs=1e-6)
    factors = factor_part(parameters, values, rated)
    assert parts.assumed + parts.rated.sum() == pytest.approx(factors, abs=1e-6)


# The sigmoid form. Range from 0.5 to 5.5, mean 3.2.
LOGIT = np.log((3.2 - 0.5) / (5.5 - 3.2))


def rating_of(z: Any) -> Any:
    return 0.5 + 5 / (1 + np.exp(-(LOGIT + z)))


def slope_of(z: Any) -> Any:
    share = (rating_of(z) - 0.5) / 5
    return 5 * share * (1 - share)


def minimiser(parameters: Parameters) -> Any:
    """The row at which the gradient vanishes, by another program."""
    held, y = partners_of(parameters, "user", RATED)
    mean, penalty = prior_of(parameters, "user", len(RATED))

    def objective(x: Any) -> Any:
        e = rating_of(held + y @ x) - VALUES
        return 0.5 * (e**2).sum() + 0.5 * (x - mean) @ penalty @ (x - mean)

    def gradient(x: Any) -> Any:
        z = held + y @ x
        return (slope_of(z) * (rating_of(z) - VALUES)) @ y + penalty @ (x - mean)

    found = minimize(objective, mean, jac=gradient, method="BFGS", options={"gtol": 1e-10})
    assert np.abs(gradient(found.x)).max() < 1e-6
    return found.x


@pytest.mark.parametrize("penalty", [0.02, 1.0])
@pytest.mark.parametrize("per_rating", [True, False])
def test_parts_of_the_sigmoid_form(penalty: float, per_rating: bool) -> None:
    parameters = some_parameters(SIGMOID, penalty, per_rating)
    parts = parts_of(parameters, model=SIGMOID)
    x, (held, y) = minimiser(parameters), partners_of(parameters, "user", RATED)
    mean, weighted = prior_of(parameters, "user", len(RATED))
    asked = np.append(0, parameters["item_factors"][ASKED])
    bias = float(parameters["item_bias"][ASKED])
    s, e = slope_of(held + y @ x), rating_of(held + y @ x) - VALUES
    normal = (y * s[:, None] ** 2).T @ y + weighted
    z = [
        x[0],
        bias,
        asked @ np.linalg.solve(normal, weighted @ mean),
        *((asked @ np.linalg.solve(normal, y.T)) * (s**2 * (y @ x) - s * e)),
    ]
    assert sum(z) == pytest.approx(x[0] + bias + asked @ x, abs=1e-5)  # they are all there
    # Integrated gradients: the slope along the line, by the rectangle rule.
    steps = (np.arange(20_000) + 0.5) / 20_000
    expected = np.array(z) * slope_of(steps * sum(z)).mean()
    got = [parts.user_bias, parts.item_bias, parts.assumed, *parts.rated]
    assert np.allclose(got, expected, atol=2e-5)
    assert parts.total == pytest.approx(rating_of(sum(z)), abs=1e-5)
    assert parts.global_mean == pytest.approx(3.2)


def test_a_prediction_at_the_global_mean_has_the_slope_there() -> None:
    parameters = some_parameters(SIGMOID)
    for name, array in parameters.items():
        if name.startswith("user_prior_mean"):
            array[:] = 0
    # z is the bias that the item has: none, hardly one, and one in sight.
    for bias, tolerance in ((0.0, 1e-15), (1e-9, 1e-15), (1e-3, 1e-6)):
        parameters["item_bias"][ASKED] = bias
        parts = parts_of(parameters, [], [], model=SIGMOID)
        assert parts.item_bias == pytest.approx(bias * slope_of(0), abs=tolerance)
        assert parts.total == pytest.approx(rating_of(bias), abs=1e-6)


def test_a_baseline_has_nothing_but_biases() -> None:
    parameters = some_parameters(Baseline())
    parts = contributions(Baseline(), parameters, RATED, VALUES, ASKED)
    assert not parts.rated.any()
    assert parts.assumed == 0
    bias = regression(parameters, "user", RATED, VALUES)[0]
    assert parts.user_bias == pytest.approx(bias)


def test_models_without_priors_or_arrays_are_refused() -> None:
    parameters = some_parameters(LINEAR)
    del parameters["prior_per_rating"]
    with pytest.raises(ModelFileError, match="fit it again"):
        parts_of(parameters)
    with pytest.raises(SettingError, match="array user_bias is missing"):
        parts_of({name: parameters[name] for name in ("global_mean", "scale")})
