"""Users and items who were not there at training, in their own ids, against the model's own answers."""

import logging

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dotbias as db
from dotbias.errors import DataError, ModelFileError, SettingError, UnknownIdError
from dotbias.recommender.recommender import Recommender
from tests.ratings import random_ratings

TITLES = pl.DataFrame({"id": [0, 1, 2], "title": ["Heat (1995)", "Ran (1985)", "Ran away"]})
N_USERS, N_ITEMS = 40, 30


@pytest.fixture(scope="module")
def ratings() -> db.Ratings:
    plain = random_ratings(N_USERS, N_ITEMS, 600, seed=0).to_frame()
    return db.Ratings.from_columns(plain["user"], plain["item"], plain["rating"], titles=TITLES)


@pytest.fixture(scope="module")
def rec(ratings: db.Ratings) -> Recommender:
    return db.fit(ratings, db.DotBias(n_factors=4), db.ALS(n_iterations=5))


@pytest.fixture(
    scope="module",
    params=[db.Baseline(), db.DotBias(n_factors=4), db.DotBias(n_factors=4, output="sigmoid")],
    ids=["baseline", "linear", "sigmoid"],
)
def any_rec(request, ratings: db.Ratings) -> Recommender:
    return db.fit(ratings, request.param, seed=1)


def of_user(rec: Recommender, user: int) -> dict[int, float]:
    """What a user of the training part has rated."""
    row = rec.rated[[user]]
    return dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))


def test_an_items_own_ratings_give_that_items_row(rec: Recommender) -> None:
    for item in (0, 7, N_ITEMS - 1):  # alternating least squares solves items last
        folded = rec.fold_in_item(zip(*_column(rec, item), strict=True))
        assert folded.bias == pytest.approx(rec.parameters["item_bias"][item], abs=1e-6)
        assert np.allclose(folded.factors, rec.parameters["item_factors"][item], atol=1e-6)


def _column(rec: Recommender, item: int) -> tuple[list[int], list[float]]:
    column = rec.rated[:, [item]].tocoo()
    return column.coords[0].tolist(), column.data.tolist()


@pytest.mark.parametrize("frame", [{"item": [0, 1]}, {"item": [0, 1], "plays": [3, 4]}])
def test_a_frame_of_what_was_chosen_does_not_pass_for_stars(rec: Recommender, frame: dict) -> None:
    with pytest.raises(DataError, match=r"the frame: these are (events|counts), and the model was"):
        rec.fold_in_user(pl.DataFrame(frame))


def test_whoever_rates_nothing_is_one_of_whom_nothing_is_known(any_rec: Recommender) -> None:
    user, item = any_rec.fold_in_user({}), any_rec.fold_in_item([])
    assert user.n_ratings == item.n_ratings == 0
    items = list(range(N_ITEMS))
    assert np.allclose(user.predict(items), any_rec.predict([10_000] * N_ITEMS, items))
    assert np.allclose(item.predict(items), any_rec.predict(items, [10_000] * N_ITEMS))


def test_one_rating_moves_the_predictions_its_way(any_rec: Recommender) -> None:
    nobody = any_rec.fold_in_user({}).predict(5)
    assert any_rec.fold_in_user({5: 5}).predict(5) > nobody
    assert any_rec.fold_in_user({5: 1}).predict(5) < nobody
    assert any_rec.fold_in_item({5: 5}).predict(5) > any_rec.fold_in_item({5: 1}).predict(5)


def test_the_model_stays_as_it_was(any_rec: Recommender) -> None:
    before = {name: array.copy() for name, array in any_rec.parameters.items()}
    any_rec.fold_in_user(of_user(any_rec, 3)).recommend()
    any_rec.fold_in_item({1: 2, 2: 5})
    assert all(np.array_equal(before[name], any_rec.parameters[name]) for name in before)


def test_recommendations_are_the_best_predictions(any_rec: Recommender) -> None:
    rated = of_user(any_rec, 3)
    user = any_rec.fold_in_user(rated)
    table = user.recommend(k=6, min_ratings=0)
    assert table.columns == ["rank", "item", "title", "prediction", "basis"]
    unrated = [i for i in range(N_ITEMS) if i not in rated]
    predicted = dict(zip(unrated, user.predict(unrated).tolist(), strict=True))
    best = sorted(predicted.values(), reverse=True)[:6]
    assert table["prediction"].to_list() == pytest.approx(best, abs=1e-5)
    assert table["prediction"].to_list() == [
        pytest.approx(predicted[i], abs=1e-5) for i in table["item"]
    ]


def test_recommendations_take_the_arguments_of_the_recommender(rec: Recommender) -> None:
    user = rec.fold_in_user({0: 5.0, 4: 1.0})
    assert {0, 4} <= set(user.recommend(k=N_ITEMS, include_rated=True)["item"])
    assert not {0, 4} & set(user.recommend(k=N_ITEMS)["item"])
    chosen = user.recommend(candidates=["Ran (1985)", 9, 4])
    assert set(chosen["item"]) == {1, 9}
    counts = rec.item_counts
    rare_last = user.recommend(k=N_ITEMS, min_ratings=int(np.median(counts)))["item"].to_list()
    is_rare = [bool(counts[i] < np.median(counts)) for i in rare_last]
    assert is_rare == sorted(is_rare)
    with pytest.raises(SettingError, match="k=0"):
        user.recommend(k=0)


def test_similar_items_of_a_copy_begin_with_the_original(rec: Recommender) -> None:
    users, values = _column(rec, 2)
    copy = rec.fold_in_item(zip(users, values, strict=True))
    table = copy.similar(3, min_ratings=0)
    assert table.columns == ["rank", "item", "title", "similarity", "n_ratings", "basis"]
    assert table["item"][0] == 2
    assert table["similarity"][0] > 0.9


def test_a_baseline_has_no_similar_items(ratings: db.Ratings) -> None:
    with pytest.raises(SettingError, match="no embeddings"):
        db.fit(ratings, db.Baseline()).fold_in_item({1: 5}).similar()


@given(st.dictionaries(st.integers(3, N_ITEMS - 1), st.integers(1, 5), min_size=1), st.randoms())
def test_all_forms_of_the_same_ratings_are_one_user(rec: Recommender, rated, random) -> None:
    pairs = list(rated.items())
    expected = rec.fold_in_user(rated)
    random.shuffle(pairs)
    items, values = map(list, zip(*pairs, strict=True))
    for same in (
        pairs,
        iter(pairs + pairs[:1]),
        {str(item): np.float32(value) for item, value in pairs},
        pl.DataFrame({"movieId": items, "rating": values}),
        pl.LazyFrame({"item": items, "stars": values}),
        pd.DataFrame({"item": items, "rating": values}),
    ):
        user = rec.fold_in_user(same)
        assert user.n_ratings == len(rated)
        assert user.bias == pytest.approx(expected.bias, abs=1e-5)
        assert np.allclose(user.factors, expected.factors, atol=1e-5)


def test_items_may_be_named_by_title(rec: Recommender) -> None:
    by_title = rec.fold_in_user({"Heat (1995)": 5, "Ran (1985)": 1, 7: 3})
    assert np.array_equal(by_title.factors, rec.fold_in_user({0: 5, 1: 1, 7: 3}).factors)


def test_unknown_items_are_an_error_or_left_out(rec: Recommender, caplog) -> None:
    rated = {0: 5.0, 999: 1.0, "Ra": 2.0, "no such film": 3.0}
    with pytest.raises(UnknownIdError, match=r"^unknown item 999"):
        rec.fold_in_user(rated, strict=True)
    with pytest.raises(UnknownIdError, match="'Ra' matches 2 titles"):
        rec.fold_in_user({"Ra": 2.0}, strict=True)
    with caplog.at_level(logging.WARNING, "dotbias"):
        user = rec.fold_in_user(rated)
    said = "left out 3 of 4 items, unknown or not unique: 999, 'Ra', 'no such film'"
    assert said in caplog.text
    assert user.unknown == (999, "Ra", "no such film")
    assert user.n_ratings == 1
    assert np.array_equal(user.factors, rec.fold_in_user({0: 5.0}).factors)
    assert rec.fold_in_user({999: 1.0}).n_ratings == 0
    with pytest.raises(UnknownIdError, match="unknown user 'nobody'"):
        rec.fold_in_item({"nobody": 3}, strict=True)
    with pytest.raises(UnknownIdError, match="unknown item 999"):
        user.predict(999, strict=True)
    assert user.predict([999])[0] == user.predict(999)
    assert user.predict(999) == pytest.approx(
        float(np.clip(rec.parameters["global_mean"][0] + user.bias, 1, 5)), abs=1e-5
    )


@pytest.mark.parametrize(
    ("rated", "message"),
    [
        ({0: 5.5}, "item 0: rating 5.5 is outside the model's scale 1-5"),
        ({0: 0}, "item 0: rating 0 is outside the model's scale 1-5"),
        ({0: 3, 999: 7}, "item 999: rating 7 is outside"),
        ({0: float("nan")}, "item 0: rating nan is not a finite number"),
        ({0: float("inf")}, "rating inf is not a finite number"),
        ({0: None}, "rating None is not a finite number"),
        ({0: "4"}, "rating '4' is not a finite number"),
        ([(0, 3), (0, 4)], "item 0 is rated twice, 3 and 4: keep one"),
        ({0: 3, "Heat (1995)": 4}, r"item 'Heat \(1995\)' is rated twice, 3 and 4"),
        ({0: 3, "0": 4}, "item '0' is rated twice, 3 and 4"),
        ([1, 2], "pairs of item and rating"),
        (5, "pairs of item and rating"),
        (pl.DataFrame({"item": [0], "rating": [9.0]}), "row 1, column rating: 9.0 is outside"),
        (
            pl.DataFrame({"item": [0, 7, 0], "rating": [3, 3, 4]}),
            "the frame, rows 1 and 3: item 0 is rated twice, 3 and 4",
        ),
        (pl.DataFrame({"item": [0], "rating": [float("nan")]}), "row 1, column rating"),
        (pl.DataFrame({"a": [0], "b": [3.0]}), "no item column is recognised among a, b"),
    ],
    ids=str,
)
def test_bad_ratings_are_named(rec: Recommender, rated, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rec.fold_in_user(rated)


def test_equal_ratings_of_one_item_count_once(rec: Recommender) -> None:
    once, twice = rec.fold_in_user({0: 4, 5: 2}), rec.fold_in_user({0: 4, "Heat (1995)": 4, 5: 2})
    assert twice.n_ratings == 2
    assert np.array_equal(once.factors, twice.factors)


def test_a_loaded_model_folds_in_the_same(any_rec: Recommender, tmp_path) -> None:
    any_rec.save(tmp_path / "m.dotbias")
    loaded = Recommender.load(tmp_path / "m.dotbias")
    rated = of_user(any_rec, 3)
    one, other = any_rec.fold_in_user(rated), loaded.fold_in_user(rated)
    assert one.bias == other.bias
    assert np.array_equal(one.factors, other.factors)


def test_a_model_of_an_older_version_says_to_fit_again(rec: Recommender) -> None:
    old = {name: array for name, array in rec.parameters.items() if "prior" not in name}
    older = Recommender(rec.model, old, rec.user_vocabulary, rec.item_vocabulary, rec.rated)
    with pytest.raises(ModelFileError, match="fit it again"):
        older.fold_in_user({0: 3})
    assert older.predict(0, 0) == rec.predict(0, 0)


def test_newcomers_are_predicted_better_than_by_what_is_known_without_them() -> None:
    ratings, _ = db.simulate(n_users=400, n_items=150, n_ratings=20_000, seed=2)
    late = ratings.user_indices % 10 == 0
    rec = db.fit(ratings.take(~late), db.DotBias(n_factors=8))
    known, asked = ratings.take(late).split(0.3, seed=0, by="user")
    errors: dict[str, list[float]] = {"cold": [], "folded": []}
    for user, own in asked.to_frame().group_by("user"):
        rated = known.to_frame().filter(pl.col("user") == user[0])
        folded = rec.fold_in_user(rated.select("item", "rating"))
        items, values = own["item"], own["rating"].to_numpy()
        errors["folded"] += ((folded.predict(items) - values) ** 2).tolist()
        errors["cold"] += ((rec.predict(user[0], items) - values) ** 2).tolist()
    assert np.mean(errors["folded"]) < 0.75 * np.mean(errors["cold"])
