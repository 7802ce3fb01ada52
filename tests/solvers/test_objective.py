"""The objective: equal to plain loops, for both outputs and both forms of the decay."""

import numpy as np
import pytest

from dotbias.errors import SettingError
from dotbias.models import Baseline, DotBias
from dotbias.models.base import Parameters
from dotbias.solvers.decay import WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.least_squares.closed_form import ClosedForm
from dotbias.solvers.objective import objective
from tests.ratings import random_ratings

RATINGS = random_ratings(n_users=12, n_items=9, n=60, seed=5)
DECAY = {"user_factors": 0.1, "item_factors": 0.2, "user_bias": 0.3, "item_bias": 0.4}


def some_parameters(model: DotBias) -> Parameters:
    parameters = model.initialise(RATINGS, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    noise = {g: rng.normal(0, 0.7, parameters[g].shape).astype(np.float32) for g in model.groups}
    return parameters | noise


def by_hand(model: DotBias, parameters: Parameters, per: str) -> float:
    """The objective as docs/notation.md has it: in units of their std, then in rating units."""
    s, total = RATINGS.std, 0.0
    low, high = RATINGS.scale
    for u, i, r in zip(RATINGS.user_indices, RATINGS.item_indices, RATINGS.values, strict=True):
        z = parameters["user_bias"][u] + parameters["item_bias"][i]
        z += parameters["user_factors"][u] @ parameters["item_factors"][i]
        if model.output == "linear":
            prediction = z + RATINGS.global_mean
        else:
            share = (RATINGS.global_mean - low + 0.5) / (high - low + 1)
            z += np.log(share / (1 - share))
            prediction = low - 0.5 + (high - low + 1) / (1 + np.exp(-z))
        total += 0.5 * ((prediction - r) / s) ** 2
    units = {"user_factors": s**0.5, "item_factors": s**0.5, "user_bias": s, "item_bias": s}
    for group, decay in DECAY.items():
        rows = RATINGS.user_indices if "user" in group else RATINGS.item_indices
        for row, w in enumerate(
            parameters[group] / (units[group] if model.output == "linear" else 1)
        ):
            n = np.sum(rows == row) if per == "rating" else 1
            total += 0.5 * n * decay * float(np.sum(w**2))
    return s**2 * total


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("per", ["rating", "row"])
def test_it_is_the_sum_of_the_notation_page(output, per):
    model = DotBias(n_factors=3, output=output)
    parameters = some_parameters(model)
    value = objective(model, parameters, RATINGS, weight_decay=WeightDecay(DECAY, per=per))
    assert value == pytest.approx(by_hand(model, parameters, per), rel=1e-5)


def test_without_a_decay_it_is_that_of_the_fit():
    model = DotBias(n_factors=3)
    decay = WeightDecay(DECAY, per="row")
    parameters, _ = GradientDescent(weight_decay=decay, n_epochs=2).fit(model, RATINGS)
    assert objective(model, parameters, RATINGS) == objective(
        model, parameters, RATINGS, weight_decay=decay
    )
    assert objective(model, parameters, RATINGS, weight_decay=0.0) < objective(
        model, parameters, RATINGS
    )


def test_a_prior_with_a_mean_and_a_full_matrix_counts_too():
    model = DotBias(n_factors=2)
    parameters, rng = some_parameters(model), np.random.default_rng(3)
    root = rng.normal(size=(2, 3, 3))
    parameters |= {"prior_per_rating": np.zeros(1, np.float32)}
    expected = objective(model, parameters, RATINGS, weight_decay=0.0)
    for side, square in zip(("user", "item"), root @ root.transpose(0, 2, 1), strict=True):
        mean = rng.normal(size=3)
        parameters[f"{side}_prior_mean"] = mean.astype(np.float32)
        parameters[f"{side}_prior_precision"] = square.astype(np.float32)
        rows = zip(parameters[f"{side}_bias"], parameters[f"{side}_factors"], strict=True)
        for bias, factors in rows:
            away = np.array([bias, *factors]) - mean
            expected += 0.5 * away @ square @ away
    assert objective(model, parameters, RATINGS) == pytest.approx(expected, rel=1e-5)


def test_a_baseline_is_measured_by_the_penalty_of_its_fit():
    parameters, _ = ClosedForm(user_decay=2, item_decay=3).fit(Baseline(), RATINGS)
    b_u, b_i = parameters["user_bias"], parameters["item_bias"]
    errors = (
        RATINGS.global_mean + b_u[RATINGS.user_indices] + b_i[RATINGS.item_indices] - RATINGS.values
    )
    expected = 0.5 * (np.sum(errors**2) + 2 * np.sum(b_u**2) + 3 * np.sum(b_i**2))
    assert objective(Baseline(), parameters, RATINGS) == pytest.approx(float(expected), rel=1e-5)


def test_predictions_beyond_the_scale_count_as_they_are():
    model = DotBias(n_factors=1)
    parameters = some_parameters(model)
    parameters["user_bias"] = np.full(RATINGS.n_users, 100, np.float32)
    assert objective(model, parameters, RATINGS, weight_decay=0.0) > 0.5 * 90**2 * len(RATINGS)


def test_what_it_cannot_measure_is_refused():
    model = DotBias(n_factors=1)
    with pytest.raises(SettingError, match="weight_decay counts for DotBias, not Baseline"):
        objective(Baseline(), some_parameters(model), RATINGS, weight_decay=0.1)
    with pytest.raises(SettingError, match="do not say how they were shrunk"):
        objective(model, some_parameters(model), RATINGS)
