"""Whatever has the wrong shape, type or range is refused before a compiled loop reads past its end."""

from typing import Any

import numpy as np
import pytest

from dotbias.errors import DataError, DotbiasError, SettingError
from dotbias.models import Baseline, DotBias
from dotbias.models.base import Model
from dotbias.solvers.least_squares.contributions import contributions
from dotbias.solvers.least_squares.fold_in import fold_in, gradients
from tests.solvers.least_squares.test_fold_in import N_ITEMS, K, some_parameters

LINEAR, SIGMOID = DotBias(n_factors=K), DotBias(n_factors=K, output="sigmoid")
RATINGS: dict[str, Any] = {
    "starts": np.array([0, 2, 3]),
    "partners": np.array([1, 4, 2], np.int32),
    "values": np.array([1, 5, 3], np.float32),
}


def f4(*shape: int) -> Any:
    return np.ones(shape, np.float32)


ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "a prior of another width": ({"user_prior_mean": f4(K)}, "user_prior_mean .* not .5,"),
    "a mean that is a table": ({"user_prior_mean": f4(1, K + 1)}, "user_prior_mean must have"),
    "a precision too long": ({"user_prior_precision": f4(9 * K)}, "user_prior_precision must"),
    "a precision too small": ({"user_prior_precision": f4(2, 2)}, "user_prior_precision must"),
    "a precision of one number": ({"user_prior_precision": f4()}, "user_prior_precision must"),
    "a precision not square": ({"user_prior_precision": f4(K + 1, 2)}, "user_prior_precision"),
    "a precision below 0": ({"user_prior_precision": -f4(K + 1)}, "at least 0 on its diagonal"),
    "a precision of NaN": ({"user_prior_precision": np.nan * f4(K + 1)}, "not finite: nan"),
    "a mean in double precision": ({"user_prior_mean": np.ones(K + 1)}, "float32, not float64"),
    "no flag for the weights": ({"prior_per_rating": f4(0)}, "prior_per_rating must have"),
    "items' factors too short": ({"item_factors": f4(N_ITEMS - 1, K)}, "item_factors must have"),
    "items' factors too wide": ({"item_factors": f4(N_ITEMS, K + 9)}, "item_factors must have"),
    "items' factors flat": ({"item_factors": f4(N_ITEMS * K)}, "item_factors must have"),
    "items' factors of text": ({"item_factors": np.full((N_ITEMS, K), "a")}, "not <U1"),
    "items' factors infinite": ({"item_factors": np.inf * f4(N_ITEMS, K)}, "item_factors"),
    "items' biases too few": ({"item_bias": f4(3)}, "item_factors must have the shape .3, 5"),
    "users' factors of another width": ({"user_factors": f4(12, K + 1)}, "item_factors must have"),
    "users' biases too few": ({"user_bias": f4(3)}, "user_factors must have"),
    "no users' biases": ({"user_bias": None}, "user_bias is missing"),
    "an object for an array": ({"item_factors": [[1.0] * K] * N_ITEMS}, "float32, not list"),
}

COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "partners beyond the last": ({"partners": np.array([1, 4, N_ITEMS])}, "0 to 29, not 1 to 30"),
    "partners far beyond": ({"partners": np.array([1, 4, 2**31 - 1])}, "indices from 0 to 29"),
    "a partner who is unknown": ({"partners": np.array([1, -1, 2])}, "not -1 to 2"),
    "partners that are no indices": ({"partners": np.array([0.5, 1, 2])}, "partners .* whole"),
    "partners as a table": ({"partners": np.array([[1, 4, 2]])}, "partners must be one row"),
    "too few partners": ({"partners": np.array([1, 4])}, "3 ratings .* of 2 partners"),
    "too few values": ({"values": f4(2)}, "2 ratings .* of 3 partners"),
    "a rating of NaN": ({"values": np.array([1, np.nan, 3])}, "rating 1 .* not finite"),
    "a rating beyond single precision": ({"values": np.array([1, 2, 1e39])}, "rating 2 .* not"),
    "ratings of text": ({"values": np.array(["1", "2", "3"])}, "values must be one row of numbers"),
    "starts beyond the end": ({"starts": np.array([0, 2, 9])}, "starts must rise from 0 to .* 3"),
    "starts that fall": ({"starts": np.array([0, 5, 3])}, "starts must rise"),
    "starts below 0": ({"starts": np.array([-4, 2, 3])}, "starts must rise"),
    "no starts": ({"starts": np.array([], np.int64)}, "starts must rise"),
}


def of(arrays: dict[str, Any]) -> Any:
    changed = some_parameters(LINEAR) | arrays
    return {name: array for name, array in changed.items() if array is not None}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("model", [LINEAR, SIGMOID], ids=["linear", "sigmoid"])
@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_of_the_model_that_do_not_fit_are_refused(case: str, model: Model) -> None:
    arrays, message = ARRAYS[case]
    with pytest.raises(SettingError, match=message):
        fold_in(model, of(arrays), "user", **RATINGS)
    if "infinite" not in case:  # of which explaining looks at one item alone
        with pytest.raises(SettingError, match=message):
            contributions(model, of(arrays), RATINGS["partners"], RATINGS["values"], 3)


TOLD = {"mean": f4(K + 1), "effects": f4(2, K + 1), "precision": np.eye(K + 1, dtype=np.float32)}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("mean", f4(K), "array user_feature_mean must have the shape"),
        ("mean", None, "array user_feature_mean is missing"),
        ("effects", f4(2, K), "array user_feature_effects must have the shape"),
        ("effects", np.inf * f4(2, K + 1), "array user_feature_effects is not finite: inf"),
        ("effects", np.ones((2, K + 1)), "user_feature_effects must be .* float32, not float64"),
        ("precision", f4(K + 1), "array user_feature_precision must have the shape"),
        ("precision", -TOLD["precision"], "user_feature_precision must have no eigenvalue below 0"),
        ("precision", np.triu(f4(K + 1, K + 1)), "user_feature_precision must be symmetric"),
    ],
)
def test_arrays_of_features_that_do_not_fit_are_refused(
    name: str, array: Any, message: str
) -> None:
    arrays = {f"user_feature_{what}": held for what, held in (TOLD | {name: array}).items()}
    LINEAR.check(of({f"user_feature_{what}": held for what, held in TOLD.items()}), 12, N_ITEMS)
    with pytest.raises(SettingError, match=message):
        LINEAR.check(of(arrays), 12, N_ITEMS)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("case", COLUMNS)
def test_ratings_that_do_not_fit_are_refused(case: str) -> None:
    columns, message = COLUMNS[case]
    for solve in (
        lambda ratings: fold_in(LINEAR, of({}), "user", **ratings),
        lambda ratings: gradients(LINEAR, of({}), "user", np.array([1, 2]), **ratings),
    ):
        with pytest.raises(DataError, match=message):
            solve(RATINGS | columns)


@pytest.mark.parametrize("name", ["before", "linear"])
@pytest.mark.parametrize("table", [f4(2, K), f4(1, K + 1), f4(K + 1), np.nan * f4(2, K + 1)])
def test_tables_of_rows_that_do_not_fit_are_refused(name: str, table: Any) -> None:
    with pytest.raises(SettingError, match=f"{name} .*(must have the shape .2, 6|is not finite)"):
        fold_in(LINEAR, of({}), "user", **RATINGS, **{name: table})


def test_a_prior_of_a_model_with_factors_is_none_of_a_baseline() -> None:
    with pytest.raises(DotbiasError, match=r"user_prior_mean must have the shape \(1,\), not \(6,"):
        fold_in(Baseline(), of({}), "user", **RATINGS)
