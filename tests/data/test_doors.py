"""What cannot be used is refused where it comes in, by name: never a traceback, never NaN later on."""

import datetime
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import dotbias as db
from dotbias.data.features import Features
from dotbias.data.ratings import LARGEST, Ratings, Scale
from dotbias.errors import DataError, DivergenceError, SettingError
from dotbias.solvers.decay import MOST_DECAY

IDS, VALUES = [1, 2, 3], [1.0, 2.0, 5.0]
MASKED = np.ma.array([1, 2, 3], mask=[0, 1, 0])
THREE = Ratings.from_columns(IDS, IDS, VALUES, times=[10, 20, 30])

NO_IDS = [
    ({1, 2, 3}, "ids of type set have no order"),
    (frozenset("abc"), "ids of type frozenset have no order"),
    ({1: 1, 2: 2, 3: 3}, "ids of type dict have no order"),
    ("abc", "'abc' is one id"),
    (b"abc", "is one id"),
    (7, "ids of type int have no rows"),
    (None, "ids of type NoneType have no rows"),
    (np.array(7), r"ids have the shape \(\)"),
    (np.ones((3, 1), int), r"ids have the shape \(3, 1\)"),
    (MASKED, "id 1 is masked"),
    ([[1], [2], [3]], "ids must be integers or strings, not List"),
    ([1, "a", 2], "ids must be all integers or all strings"),
    (np.array([1, "a", 2], object), "ids must be all integers or all strings"),
    ([True, False, True], "not Boolean"),
    ([1.0, 2.5, 3.0], "id 1, 2.5, is no whole number"),
    ([1, None, 2], "id is missing"),
    ([datetime.date(2020, 1, d) for d in IDS], "not Date"),
    (np.array(["2020-01-01"] * 3, "M8[D]"), "not Date"),
    ([b"a", b"b", b"c"], "not Binary"),
    ([object()] * 3, "not Object"),
    ([10**50] * 3, "is no user or item id"),
]
NO_RATINGS = [
    ([1, np.nan, 2], "rating 1 is not a finite number"),
    ([1, 2, np.inf], "rating 2 is not a finite number"),
    ([1, 1e39, 2], r"rating 1, 1e\+39, is too large: divide all"),
    ([1, 2, -2 * LARGEST], r"rating 2, -2e\+18, is too large"),
    ([10**400, 1, 2], "rating 0 is not a finite number"),
    ([True, False, True], "ratings are bool: give numbers"),
    (pl.Series([True, False, True]), "ratings are Boolean: give numbers"),
    (["1", "2", "3"], "ratings are <U1: give numbers"),
    (pl.Series(["1", "2", "3"]), "ratings are String: give numbers"),
    ([1, None, 2], "rating 1, None, is not a number"),
    (pl.Series([1, None, 2]), "rating 1 is not a finite number"),
    (pd.Series([1, pd.NA, 2]), "rating 1, <NA>, is not a number"),
    ([1j, 2, 3], "ratings are complex128: give numbers"),
    (np.array(["2020-01-01"] * 3, "M8[D]"), "give numbers"),
    (np.ones((3, 1)), r"ratings have the shape \(3, 1\)"),
    ([[1], [2], [3]], r"ratings have the shape \(3, 1\)"),
    ([[1], [2, 3], [4]], "ratings are lists"),
    (np.float32(3), "ratings of type float32 have no rows"),
    ({1.0, 2.0, 5.0}, "ratings of type set have no order"),
    (np.ma.array(VALUES, mask=[0, 0, 1]), "rating 2 is masked"),
    ([1, 2], "equally long: there are 3 users, 3 items, 2 values"),
    ([], "there are no ratings"),
]
NO_TIMES = [
    ([1, 2], "equally long: there are 3 users, 3 items, 3 values, 2 times"),
    ([1, 2.5, 3], "time 1, 2.5, is not a whole number of 64 bits"),
    ([1, 2, np.nan], "time 2, nan, is not a whole number"),
    ([1, 2, 1e30], r"time 2, 1e\+30, is not a whole number of 64 bits"),
    (np.array([1, 2, 2**63], np.uint64), "time 2, 9223372036854775808, is not"),
    (np.array(["2020-01-01"] * 3, "M8[s]"), "times are datetime64"),
    (np.ones((3, 1), int), r"times have the shape \(3, 1\)"),
    (MASKED, "time 1 is masked"),
]


@pytest.mark.parametrize(("ids", "message"), NO_IDS)
def test_no_column_of_ids(ids: Any, message: str) -> None:
    for columns in ((ids, IDS), (IDS, ids)):
        with pytest.raises(DataError, match=message):
            Ratings.from_columns(*columns, VALUES)
    with pytest.raises(DataError, match=message):
        THREE.user_vocabulary.indices(ids)


@pytest.mark.parametrize(("values", "message"), NO_RATINGS)
def test_no_column_of_ratings(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Ratings.from_columns(IDS, IDS, values)
    with pytest.raises(DataError, match=message):
        replace(THREE, times=None, values=values)


@pytest.mark.parametrize(("times", "message"), NO_TIMES)
def test_no_column_of_times(times: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Ratings.from_columns(IDS, IDS, VALUES, times=times)
    with pytest.raises(DataError, match=message):
        replace(THREE, times=times)


@pytest.mark.parametrize(
    "columns",
    [
        ([1, 2, 3], [1.0, 2.0, 5.0], [10, 20, 30]),
        (range(1, 4), (1, 2.0, 5), (10.0, 20, 30)),
        (iter(IDS), iter(VALUES), iter([10, 20, 30])),
        (np.array(IDS, np.uint8), np.array(VALUES, np.float16), np.array([10, 20, 30], np.int32)),
        (np.array(IDS, object), np.array([1, Decimal(2), 5.0], object), pl.Series([10, 20, 30])),
        (pd.Series(IDS), pd.Series(VALUES), pd.Series([10, 20, 30])),
        (np.ma.array(IDS), np.ma.array(VALUES), np.ma.array([10, 20, 30])),
        (
            pl.Series(IDS, dtype=pl.UInt64),
            pl.Series(VALUES),
            pl.Series([10, 20, 30], dtype=pl.UInt32),
        ),
    ],
)
def test_every_usual_column_will_do(columns: Any) -> None:
    users, values, times = columns
    found = Ratings.from_columns(users, IDS, values, times=times)
    assert found.to_frame().equals(THREE.to_frame())


def test_integers_beyond_64_bits_are_text() -> None:
    found = Ratings.from_columns([10**30, 2, 3], IDS, VALUES)
    assert found.user_vocabulary.ids.to_list() == [str(10**30), "2", "3"]


@pytest.mark.parametrize(
    "scale",
    [
        (5, 1),
        (3, 3),
        (np.nan, 5),
        (1, np.inf),
        (1, 1e39),
        (1, 1 + 1e-9),
        5,
        (1,),
        (1, 2, 3),
        "ab",
        "15x",
    ],
)
def test_no_scale(scale: Any) -> None:
    frame = pl.DataFrame({"user": IDS, "item": IDS, "rating": VALUES})
    for use in (
        lambda: Ratings.from_columns(IDS, IDS, VALUES, scale=scale),
        lambda: db.read_ratings(frame, scale=scale),
        lambda: db.simulate(10, 10, 20, scale=scale),
    ):
        with pytest.raises(SettingError, match="scale must be"):
            use()


def test_a_scale_that_is_too_narrow_names_the_rating() -> None:
    with pytest.raises(DataError, match="rating 2, 5, is outside the scale 1-4"):
        Ratings.from_columns(IDS, IDS, VALUES, scale=(1, 4))
    with pytest.raises(DataError, match="rating 0, 1, is outside the scale 2-5"):
        replace(THREE, declared_scale=Scale(2, 5))
    tenths = Ratings.from_columns(IDS, IDS, [0.1, 0.7, 0.9], scale=(0.1, 0.9))
    assert tenths.scale == (0.1, 0.9)  # whose ends single precision does not have


def test_a_pair_that_is_rated_twice_is_named_before_any_fit() -> None:
    with pytest.raises(DataError, match="ratings 1 and 3 are both of user 'b' and item 7"):
        Ratings.from_columns(["a", "b", "a", "b"], [7, 7, 8, 7], [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"user_indices": np.array([0, 1, 3], np.int32)},
            "user index 3 in row 2 is not one of 3 users",
        ),
        (
            {"item_indices": np.array([-1, 1, 2], np.int32)},
            "item index -1 in row 0 is not one of 3 items",
        ),
        ({"user_indices": np.array([0, 1, 2.0])}, "user indices must be whole numbers"),
        ({"user_indices": np.array([[0, 1, 2]])}, "user indices must be whole numbers"),
        ({"user_indices": np.array([0, 1], np.int32)}, "equally long: there are 2 users, 3 items"),
        ({"features": Features(ratings={"month": np.array([1, 2])})}, "rating feature 'month'"),
        ({"features": Features(ratings={"month": np.array([-1, 0, 1])})}, "rating feature 'month'"),
    ],
)
def test_no_array_reaches_a_loop_unchecked(changes: dict[str, Any], message: str) -> None:
    """An index that is no row of a table would be read from beyond its end."""
    with pytest.raises(DataError, match=message):
        replace(THREE, **changes)


def test_indices_of_64_bits_are_made_those_that_loops_are_compiled_for() -> None:
    assert (
        replace(THREE, user_indices=THREE.user_indices.astype(np.int64)).user_indices.dtype
        == np.int32
    )


def test_categories_without_an_order_of_rows() -> None:
    with pytest.raises(DataError, match="have no order"):
        THREE.with_features(ratings={"month": {1, 2, 3}})


@pytest.mark.parametrize("seed", [-1, 1.5, np.nan, None, "1", True])
def test_no_seed(seed: Any) -> None:
    model, solver = db.DotBias(n_factors=2), db.GradientDescent(n_epochs=1)
    uses: list[Callable[[], Any]] = [
        lambda: THREE.split(1, seed=seed),
        lambda: list(db.k_fold(THREE, 2, seed=seed)),
        lambda: db.simulate(10, 10, 20, seed=seed),
        lambda: db.fit(THREE, model, solver, seed=seed),
        lambda: db.fit(THREE, model, db.ALS(n_iterations=1), seed=seed),
        lambda: db.fit(THREE, db.Baseline(), seed=seed),
        lambda: db.fit(THREE, solver=db.Gibbs(n_samples=2, burn_in=1), seed=seed),
    ]
    for use in uses:
        with pytest.raises(SettingError, match="seed must be a whole number at least 0"):
            use()


@pytest.mark.parametrize("test_size", [True, np.nan, 0, 1.0, -3, "half", None])
def test_no_size_of_a_part(test_size: Any) -> None:
    with pytest.raises(SettingError, match="test_size must be a share"):
        THREE.split(test_size)


def test_a_part_larger_than_any_number_of_ratings() -> None:
    with pytest.raises(DataError, match="leaves no training rating"):
        THREE.split(10**30)


@pytest.mark.parametrize("n_factors", [10**9, 10**30])
def test_no_number_of_factors(n_factors: int) -> None:
    for make in (db.DotBias, db.EmbeddingNet, db.Gibbs):
        with pytest.raises(SettingError, match="n_factors must be"):
            make(n_factors=n_factors)


@pytest.mark.parametrize("value", ["1e39", "2e18", "-inf", "nan"])
def test_a_file_with_a_rating_that_is_too_large_names_the_row(value: str, tmp_path: Any) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(f"user,item,rating\n1,1,3\n2,1,{value}\n")
    with pytest.raises(DataError, match=r"row 3, column rating: .* is not a finite number up to"):
        db.read_ratings(path)


def test_whoever_is_folded_in_gives_real_numbers_within_the_scale() -> None:
    rec = db.fit(THREE, db.DotBias(n_factors=2), db.ALS(n_iterations=1))
    for value, message in [
        (np.nan, "not a finite number"),
        (1e39, "outside the model's scale"),
        (True, "not a finite number"),
        ("5", "not a finite number"),
        (np.ma.masked, "not a finite number"),
    ]:
        with pytest.raises(DataError, match=message):
            rec.fold_in_user({1: value})
    for ids in ({1, 2}, np.ones((2, 2), int), [1.5], MASKED):
        with pytest.raises(DataError, match="id"):
            rec.predict(ids, [1, 2, 3])


@pytest.mark.parametrize("column", [1.5, True, 0, 4, -1, "nobody", ("user",)])
def test_no_column_of_that_name(column: Any) -> None:
    with pytest.raises(DataError, match=r"the frame: no column .* among user, item, rating"):
        db.read_ratings(THREE.to_frame().drop("timestamp"), user=column)


@pytest.mark.parametrize("amount", [1e38, 1e39, np.inf, np.nan, -1, True, "1"])
def test_no_weight_decay(amount: Any) -> None:
    """Models of NaN were saved, and the exit code was 0."""
    for make in (
        lambda: db.ALS(weight_decay=amount),
        lambda: db.GradientDescent(weight_decay={"user_bias": amount}),
        lambda: db.ClosedForm(user_decay=amount),
    ):
        with pytest.raises(SettingError, match=r"decay.* must be (a number )?at (least|most)"):
            make()


def test_the_most_decay_is_survived() -> None:
    for solver in (
        db.ALS(n_iterations=2, weight_decay=MOST_DECAY),
        db.Gibbs(n_samples=5, burn_in=1),
    ):
        rec = db.fit(THREE, db.DotBias(n_factors=2), solver)
        assert np.isfinite(rec.predict([1, 2], [3, 1])).all()
        assert np.isfinite(rec.fold_in_user({1: 5.0}).predict([1, 2, 3])).all()


def test_a_model_that_is_not_finite_is_none() -> None:
    model = db.DotBias(n_factors=2)
    parameters = model.initialise(THREE, np.random.default_rng(0))
    parameters["item_bias"][1] = np.nan
    with pytest.raises(DivergenceError, match="numbers that are not finite, in item_bias"):
        db.Recommender.of(model, parameters, THREE)
