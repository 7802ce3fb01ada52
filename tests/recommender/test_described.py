"""Newcomers of whom features are known, in a model that was fitted to features of both sides."""

import logging
import multiprocessing
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

import dotbias as db
from dotbias import model_file
from dotbias.errors import DataError, ModelFileError, SettingError
from dotbias.models.feature_prior import FEATURE_PRIOR
from dotbias.models.parameters import SAMPLES
from dotbias.recommender.recommender import Recommender
from tests.pairs import with_preference

N_USERS, N_ITEMS, NOISE, REST = 240, 60, 0.5, 0.3
JOBS, GENRES = ("bard", "cook", "monk", "spy"), ("Drama", "Noir", "War")
SCALE = (-20.0, 30.0)  # so wide that no prediction is cut off


class Planted(NamedTuple):
    """Ratings whose users and items are mostly what their features say.

    Args:
        train: those of the users and items that are there at training.
        of_users: those that late users gave to items of the training part.
        of_items: those that late items got from its users.
        users, items: frames of features of all.
        best: mean square error of what features say, if they were understood perfectly.
    """

    train: db.Ratings
    of_users: pl.DataFrame
    of_items: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    best: tuple[float, float]


def plant() -> Planted:
    rng = np.random.default_rng(5)
    job, age = rng.integers(4, size=N_USERS), rng.normal(40, 10, N_USERS)
    genre, minutes = rng.integers(3, size=N_ITEMS), rng.normal(100, 20, N_ITEMS)
    said_x = rng.normal(0, 0.8, (4, 3))[job] + np.outer((age - 40) / 10, rng.normal(0, 0.7, 3))
    said_y = rng.normal(0, 0.8, (3, 3))[genre] + np.outer((minutes - 100) / 20, [0.5, 0.6, -0.4])
    x, y = (said + REST * rng.normal(size=said.shape) for said in (said_x, said_y))
    u, i = np.nonzero(rng.random((N_USERS, N_ITEMS)) < 0.4)

    def mean(x: Any, y: Any) -> Any:
        return 3 + x[u, 0] + y[i, 0] + (x[u, 1:] * y[i, 1:]).sum(axis=1)

    rating = (mean(x, y) + NOISE * rng.normal(size=len(u))).astype(np.float32)
    late_user, late_item = u % 5 == 0, i % 6 == 0
    rows = pl.DataFrame({"user": u, "item": i, "rating": rating})
    early = rows.filter(~late_user & ~late_item)
    best = [
        float(np.mean((said - rating)[of] ** 2))
        for said, of in (
            (mean(said_x, y), late_user & ~late_item),
            (mean(x, said_y), late_item & ~late_user),
        )
    ]
    return Planted(
        db.Ratings.from_columns(early["user"], early["item"], early["rating"], scale=SCALE),
        rows.filter(late_user & ~late_item),
        rows.filter(late_item & ~late_user),
        pl.DataFrame({"id": range(N_USERS), "job": [JOBS[at] for at in job], "age": age}),
        pl.DataFrame(
            {
                "id": range(N_ITEMS),
                "title": [f"Film {at}" for at in range(N_ITEMS)],
                "genres": [GENRES[at] for at in genre],
                "minutes": minutes,
            }
        ),
        (best[0], best[1]),
    )


PLANTED = plant()
MODEL = db.DotBias(n_factors=3)
GIBBS = db.Gibbs(n_samples=30, burn_in=10, n_factors=2, keep_samples=12)


@pytest.fixture(scope="module")
def rec() -> Recommender:
    told = PLANTED.train.with_features(users=PLANTED.users, items=PLANTED.items)
    return db.fit(told, MODEL, GIBBS, purpose="predict", seed=3)


@pytest.fixture(scope="module")
def plain() -> Recommender:
    return db.fit(PLANTED.train, MODEL, db.ALS(n_iterations=2), purpose="predict", seed=3)


def said_of(frame: pl.DataFrame, raw: Any) -> dict[str, Any]:
    """The features of one, as ``fold_in_user`` takes them."""
    row = frame.row(by_predicate=pl.col("id") == raw, named=True)
    return {name: value for name, value in row.items() if name not in ("id", "title")}


def row(rec: Recommender, side: Any, raw: Any) -> Any:
    at = rec.vocabulary(side).indices([raw])
    assert at[0] >= 0
    return rec.model.row_form(rec.parameters, side).rows(at)[0]


def joining(rows: dict[tuple[int, int], float]) -> db.Ratings:
    users, items = zip(*rows, strict=True)
    return db.Ratings.from_columns(users, items, [*rows.values()], scale=SCALE)


# What it is worth.


def test_late_users_are_rated_as_well_as_features_allow_and_as_surely_as_is_said(rec) -> None:
    errors: dict[str, list[float]] = {"told": [], "strangers": [], "both": [], "ratings": []}
    inside = []
    for (user,), own in PLANTED.of_users.group_by("user", maintain_order=True):
        items, given, asked = own["item"], own[:3], own[3:]
        someone = rec.fold_in_user({}, features=said_of(PLANTED.users, user))
        error = someone.predict(items) - own["rating"].to_numpy()
        errors["told"] += (error**2).tolist()
        inside += (
            np.abs(error) < 1.6449 * someone.std(rec.item_vocabulary.indices(items))
        ).tolist()
        known = dict(zip(given["item"], given["rating"], strict=True))
        for name, how in (("ratings", {}), ("both", {"features": said_of(PLANTED.users, user)})):
            error = (
                rec.fold_in_user(known, **how).predict(asked["item"]) - asked["rating"].to_numpy()
            )
            errors[name] += (error**2).tolist()
    strangers = rec.fold_in_user({}).predict(PLANTED.of_users["item"])
    errors["strangers"] = ((strangers - PLANTED.of_users["rating"].to_numpy()) ** 2).tolist()
    mean = {name: float(np.mean(squares)) for name, squares in errors.items()}
    assert mean["told"] < 1.2 * PLANTED.best[0]
    assert mean["strangers"] > 2 * mean["told"]
    assert mean["both"] < 0.95 * mean["told"]
    assert mean["both"] < 0.8 * mean["ratings"]
    assert 0.85 < np.mean(inside) < 0.95


def test_late_items_are_rated_as_well_as_features_allow(rec) -> None:
    told, strangers = [], []
    for (item,), own in PLANTED.of_items.group_by("item"):
        for into, how in ((told, {"features": said_of(PLANTED.items, item)}), (strangers, {})):
            error = rec.fold_in_item({}, **how).predict(own["user"]) - own["rating"].to_numpy()
            into += (error**2).tolist()
    assert np.mean(told) < 1.25 * PLANTED.best[1]
    assert np.mean(strangers) > 1.5 * np.mean(told)


# Folding in.


def test_a_newcomer_without_ratings_is_what_the_regression_says(rec) -> None:
    p, encoder = rec.parameters, rec.facts.features["user"]
    said = said_of(PLANTED.users, 5)
    age = (said["age"] - encoder.columns[1].mean) / encoder.columns[1].std
    f = np.array([*(said["job"] == job for job in JOBS), age])
    someone = rec.fold_in_user({}, features=said)
    expected = p["user_feature_mean"] + f @ p["user_feature_effects"]
    np.testing.assert_allclose(np.append(someone.bias, someone.factors), expected, atol=1e-5)
    assert (someone.n_ratings, someone.is_known) == (0, True)
    assert set(someone.recommend(3)["basis"]) == {"both"}


def test_features_that_are_empty_are_none(rec, plain) -> None:
    for of in (rec, plain):
        nobody, empty = of.fold_in_user({}), of.fold_in_user({}, features={})
        assert not empty.is_known
        np.testing.assert_array_equal(nobody.factors, empty.factors)
        assert of.fold_in_item({}, features={}).bias == of.fold_in_item({}).bias


def test_values_that_are_missing_say_nothing(rec, caplog) -> None:
    some = rec.fold_in_user({1: 4.0}, features={"job": "cook"})
    nan = {"job": "cook", "age": float("nan")}
    with caplog.at_level(logging.WARNING, "dotbias"):
        for same in ({"age": None, "job": "cook"}, nan):
            assert np.array_equal(rec.fold_in_user({1: 4.0}, features=same).factors, some.factors)
        assert caplog.text == ""
        rec.fold_in_user({1: 4.0}, features={"job": "king"})
    assert "Of feature 'job' training had no 'king'" in caplog.text


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"income": 3}, "user feature 'income' is none of .* 'job', 'age'"),
        ({"age": "24"}, "feature 'age' is String: the model was fitted to numbers there"),
        ({"age": 1e17}, "features move a row by .* far too large"),
        ([("age", 24)], "user features must be a dictionary of names and values"),
    ],
)
def test_features_of_a_user_that_are_none_are_refused(rec, features, message) -> None:
    with pytest.raises(DataError, match=message):
        rec.fold_in_user({}, features=features)


def test_a_model_that_was_fitted_without_features_says_so(plain) -> None:
    for side in ("user", "item"):
        said = f"this model was not fitted to features of {side}s.*with_features\\({side}s=…\\)"
        with pytest.raises(SettingError, match=said):
            getattr(plain, f"fold_in_{side}")({}, features={"age": 3})
        with pytest.raises(SettingError, match=said):
            plain.partial_fit(**{f"{side}s": PLANTED.users})


def test_without_samples_there_is_no_deviation_and_the_same_prediction(rec) -> None:
    bare = replace(rec, parameters={n: a for n, a in rec.parameters.items() if n not in SAMPLES})
    someone = bare.fold_in_user({}, features={"job": "cook"})
    assert someone.std(np.array([1], np.int32)) is None
    assert someone.predict(1) == rec.fold_in_user({}, features={"job": "cook"}).predict(1)


def test_what_features_say_is_a_part_of_an_explanation(rec) -> None:
    for rated in ({}, {1: 9.0, 7: -2.0}):
        someone = rec.fold_in_user(rated, features=said_of(PLANTED.users, 5))
        found = someone.explain(9)
        parts = found.frame()
        assert found.exact
        assert parts["contribution"].sum() == pytest.approx(someone.predict(9), abs=1e-4)
        assert abs(parts.filter(part="what features say")["contribution"][0]) > 0.01
        assert "what their features and ratings give by regression" in found.sentence
        assert set(parts["item"].drop_nulls()) == rated.keys()
    assert "what features say" not in rec.fold_in_user({1: 9.0}).explain(9).frame()["part"]


# Joining.


def test_who_joins_by_features_is_predicted_as_one_who_is_folded_in(rec) -> None:
    grown = rec.partial_fit(users=PLANTED.users.sample(fraction=1, shuffle=True, seed=1))
    items = rec.item_vocabulary.ids
    for user in range(0, N_USERS, 15):
        someone = rec.fold_in_user({}, features=said_of(PLANTED.users, user))
        np.testing.assert_allclose(grown.predict(user, items), someone.predict(items), atol=1e-5)
    joined = grown.facts.partial_fits[-1]
    assert (joined.n_ratings, joined.n_new_users, joined.n_new_items) == (0, N_USERS // 5, 0)
    assert SAMPLES[0] not in grown.parameters


def test_rows_with_features_and_without_are_solved_together(rec) -> None:
    """Of users whose features come along, some rate and some do not; others rate, and have none."""
    new = {(900, 1): 9.0, (900, 7): -2.0, (5, 1): 6.0, (1, 7): 4.0}
    grown = rec.partial_fit(joining(new), users=PLANTED.users)
    for user, rated, said in (
        (900, {1: 9.0, 7: -2.0}, None),
        (5, {1: 6.0}, said_of(PLANTED.users, 5)),
        (10, {}, said_of(PLANTED.users, 10)),
    ):
        someone = rec.fold_in_user(rated, features=said)
        wanted = np.append(someone.bias, someone.factors)
        np.testing.assert_allclose(row(grown, "user", user), wanted, atol=1e-5)
    without = rec.partial_fit(joining({(1, 7): 4.0}))
    np.testing.assert_allclose(row(grown, "user", 1), row(without, "user", 1), atol=1e-5)
    np.testing.assert_array_equal(row(grown, "user", 2), row(rec, "user", 2))


def test_new_items_start_from_what_features_say_when_new_users_rate_them(rec) -> None:
    grown = rec.partial_fit(
        joining({(5, 6): 8.0, (900, 6): 3.0}), users=PLANTED.users, items=PLANTED.items
    )
    again = grown.fold_in_item({5: 8.0, 900: 3.0}, features=said_of(PLANTED.items, 6))
    np.testing.assert_allclose(
        row(grown, "item", 6), np.append(again.bias, again.factors), atol=1e-5
    )
    someone = rec.fold_in_item({}, features=said_of(PLANTED.items, 12))
    assert grown.predict(1, 12) == pytest.approx(someone.predict(1), abs=1e-5)


def test_new_users_meet_new_items_where_these_are_by_features_and_ratings(rec) -> None:
    """Items are solved first, each by its own features, whatever the order of the frames."""
    new = {(5, 6): 8.0, (10, 6): 3.0, (10, 12): -2.0, (5, 12): 1.0, (1, 900): 5.0}
    users, items = (
        frame.filter(pl.col("id").is_in(ids)).sort("id", descending=True)
        for frame, ids in ((PLANTED.users, [0, 5, 10]), (PLANTED.items, [6, 12]))
    )
    grown = rec.partial_fit(joining(new), users=users, items=items)
    start = rec.partial_fit(users=users, items=items)
    by_item = {
        item: start.fold_in_item(
            {user: value for (user, of), value in new.items() if of == item},
            features=said_of(PLANTED.items, item),
        )
        for item in (6, 12)
    }
    parameters = {name: array.copy() for name, array in start.parameters.items()}
    for item, folded in by_item.items():
        at = start.item_vocabulary.find(item)
        parameters["item_bias"][at], parameters["item_factors"][at] = folded.bias, folded.factors
    between = replace(start, parameters=parameters)
    for user in (5, 10):
        rated = {item: value for (of, item), value in new.items() if of == user}
        wanted = between.fold_in_user(rated, features=said_of(PLANTED.users, user))
        found = row(grown, "user", user)
        np.testing.assert_allclose(found, np.append(wanted.bias, wanted.factors), atol=1e-5)


def test_known_ids_alone_move_nothing(rec) -> None:
    known = [
        frame.filter(vocabulary.indices(frame["id"]) >= 0)
        for frame, vocabulary in (
            (PLANTED.users, rec.user_vocabulary),
            (PLANTED.items, rec.item_vocabulary),
        )
    ]
    none = [frame.clear() for frame in known]
    again = PLANTED.train.take(np.arange(40))
    for new, (users, items) in ((None, known), (None, none), (again, known)):
        grown = rec.partial_fit(new, users=users, items=items)
        assert grown.facts.features == rec.facts.features
        assert grown.user_vocabulary == rec.user_vocabulary
        for name in grown.parameters:
            np.testing.assert_allclose(grown.parameters[name], rec.parameters[name], atol=2e-5)


def test_who_has_joined_by_features_stays_there_until_something_is_new(rec) -> None:
    grown = rec.partial_fit(users=PLANTED.users, items=PLANTED.items)
    later = grown.partial_fit(joining({(1, 7): 4.0}), users=PLANTED.users)
    np.testing.assert_array_equal(row(later, "user", 5), row(grown, "user", 5))
    np.testing.assert_array_equal(row(later, "item", 6), row(grown, "item", 6))
    rated = grown.partial_fit(joining({(5, 7): 20.0}))
    assert grown.predict(5, 7) < rated.predict(5, 7) < 20


def test_ids_may_be_text_and_titles_are_taken_over(rec) -> None:
    frame = PLANTED.items.with_columns(pl.col("id").cast(pl.String))
    grown = rec.partial_fit(items=frame)
    assert grown.item_vocabulary.ids.to_list() == list(range(N_ITEMS))
    vocabulary = grown.item_vocabulary
    assert vocabulary.label(vocabulary.find(6)) == "Film 6"
    assert grown.predict(1, "Film 6") == grown.predict(1, 6)
    genre = said_of(PLANTED.items, 6)["genres"]
    listed = grown.recommend(1, k=N_ITEMS, genres=[genre], min_ratings=0)
    assert 6 in listed["item"].to_list()
    assert set(listed["item"]) <= set(range(0, N_ITEMS, 6))  # genres of known items are not told


def test_titles_say_what_frames_of_the_same_say_and_items_that_join_are_known_by_theirs() -> None:
    year = 1950 + 40 * (PLANTED.items["minutes"] > 100).cast(pl.Int64)
    told = PLANTED.items.select("id", title=pl.format("Film {} ({})", "id", year), genres="genres")
    train = PLANTED.train.titled(PLANTED.train.item_vocabulary.with_titles(told))
    rec = db.fit(train, MODEL, GIBBS, purpose="predict", seed=3)
    frame = told.select("id", "genres", year.cast(pl.Float64).alias("year"))
    other = db.fit(
        PLANTED.train.with_features(items=frame), MODEL, GIBBS, purpose="predict", seed=3
    )
    for name, group in other.parameters.items():
        np.testing.assert_array_equal(rec.parameters[name], group)
    assert rec.facts.features == other.facts.features
    new = joining({(1, 6): 4.0, (5, 12): 2.0})
    named = new.titled(new.item_vocabulary.with_titles(told))
    grown, same = rec.partial_fit(named), other.partial_fit(new, items=frame[[6, 12]])
    np.testing.assert_array_equal(row(grown, "item", 6), row(same, "item", 6))
    assert not np.allclose(row(grown, "item", 6), row(rec.partial_fit(new), "item", 6))
    genres = grown.item_vocabulary.genres
    assert genres[grown.item_vocabulary.find(6)] == told["genres"][6]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ({"id": [900, 900], "age": [1, 2]}, "user 900 has features twice"),
        ({"id": ["900", "0900"], "age": [1, 2]}, "user 900 has features twice"),
        ({"id": ["ann"], "age": [1]}, "user ids are integers here and text in the new ones"),
        ({"id": [900.5], "age": [1]}, "id 0, 900.5, is no whole number"),
        ({"id": [None], "age": [1]}, "id is missing"),
        ({"id": [900]}, "user features need a column of ids and at least one more"),
        ({"id": [900], "income": [1]}, "user features have none of the columns .* 'job', 'age'"),
        ({"id": [900], "age": ["old"]}, "feature 'age' is String"),
    ],
)
def test_frames_that_are_not_of_the_model_are_refused(rec, users, message) -> None:
    with pytest.raises(DataError, match=message):
        rec.partial_fit(users=pl.DataFrame(users))


def test_titles_that_are_no_text_are_refused(rec) -> None:
    items = pl.DataFrame({"id": [900], "genres": ["War"], "title": [["Zulu", "Zoulou"]]})
    with pytest.raises(DataError, match=r"column 'title' of items is List\(String\): give text"):
        rec.partial_fit(items=items)


def test_nothing_at_all_is_refused(rec) -> None:
    with pytest.raises(SettingError, match="nothing is to join: give ratings, or features"):
        rec.partial_fit()


def test_beside_a_model_of_preferences_newcomers_join_both(rec, tmp_path) -> None:
    both = with_preference(rec, PLANTED.train)
    grown = both.partial_fit(users=PLANTED.users, items=PLANTED.items)
    assert grown.preference is not None
    alone = rec.partial_fit(users=PLANTED.users, items=PLANTED.items)
    assert grown.predict(5, 6) == alone.predict(5, 6)
    for part in (grown, grown.preference):
        assert len(part.parameters["user_factors"]) == N_USERS
    grown.save(tmp_path / "m")
    assert Recommender.load(tmp_path / "m").recommend(5).equals(grown.recommend(5))
    folded = both.fold_in_user({}, features=said_of(PLANTED.users, 5))
    assert folded.predict(1) == rec.fold_in_user({}, features=said_of(PLANTED.users, 5)).predict(1)
    preferences = both.by("preference")
    with pytest.raises(SettingError, match="not fitted to features of users"):
        preferences.partial_fit(users=PLANTED.users)
    with pytest.raises(SettingError, match="not fitted to features of users"):
        preferences.fold_in_user({}, features={"age": 3})


# What is kept.


@pytest.mark.parametrize("half", [False, True])
def test_a_loaded_model_reads_features_the_same(rec, tmp_path, half) -> None:
    rec.save(tmp_path / "m", half=half)
    loaded = Recommender.load(tmp_path / "m")
    assert loaded.facts.features == rec.facts.features
    for name in (*FEATURE_PRIOR, *SAMPLES):
        if "samples" not in name or not half:
            np.testing.assert_array_equal(loaded.parameters[name], rec.parameters[name])
    said, items = said_of(PLANTED.users, 5), rec.item_vocabulary.ids
    one, other = (r.fold_in_user({1: 4.0}, features=said) for r in (rec, loaded))
    atol = 0.02 if half else 0
    np.testing.assert_allclose(one.predict(items), other.predict(items), atol=atol)
    at = np.arange(5, dtype=np.int32)
    np.testing.assert_allclose(one.std(at), other.std(at), atol=atol)
    grown = loaded.partial_fit(users=PLANTED.users)
    grown.save(tmp_path / "grown")
    later = Recommender.load(tmp_path / "grown").partial_fit(items=PLANTED.items)
    assert (len(later.user_vocabulary), len(later.item_vocabulary)) == (N_USERS, N_ITEMS)


def _fit_a_part(train: db.Ratings) -> None:
    assert db.fit(train, MODEL, GIBBS, purpose="predict").facts.features["item"].columns


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the system has no fork"
)
def test_a_child_process_can_fit_to_titles_that_its_parent_has_read() -> None:
    """After a fork Polars must not be asked: it would wait for threads that are not there."""
    told = PLANTED.items.select("id", "title", "genres")
    titled = PLANTED.train.titled(PLANTED.train.item_vocabulary.with_titles(told))
    train, _ = titled.split(0.2, seed=1)
    child = multiprocessing.get_context("fork").Process(target=_fit_a_part, args=(train,))
    child.start()
    child.join(60)
    child.kill()
    assert child.exitcode == 0


def test_a_solver_that_makes_no_use_of_features_says_so(caplog) -> None:
    told = PLANTED.train.with_features(users=PLANTED.users)
    with caplog.at_level(logging.WARNING, "dotbias"):
        rec = db.fit(told, MODEL, db.ALS(n_iterations=1), purpose="predict")
    assert "ALS makes no use of features; Gibbs does." in caplog.text
    assert rec.facts.features == {}
    caplog.clear()
    genres = PLANTED.items.select("id", "title", "genres")  # which nobody has handed over
    titled = PLANTED.train.titled(PLANTED.train.item_vocabulary.with_titles(genres))
    assert titled.features is not None
    with caplog.at_level(logging.WARNING, "dotbias"):
        db.fit(titled, MODEL, db.ALS(n_iterations=1), purpose="predict")
    assert "features" not in caplog.text


P = "parameters."


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("user_feature_mean", lambda a: a[:-1], "array user_feature_mean must have"),
        (
            "item_feature_effects",
            lambda a: a[:, :-1].copy(),
            "array item_feature_effects must have",
        ),
        ("user_feature_effects", np.float64, "array user_feature_effects must be of"),
        ("user_feature_effects", lambda a: a[:-1], "user_feature_samples must have"),
        ("user_feature_precision", np.negative, "user_feature_precision must have no eigenvalue"),
        ("item_feature_precision", np.triu, "item_feature_precision must be symmetric"),
        ("user_feature_samples", lambda a: a[:-1], "array user_feature_samples must have"),
        ("user_feature_samples", lambda a: a * np.inf, "user_feature_samples is not finite"),
        ("user_feature_means", lambda a: a[:, :-1].copy(), "array user_feature_means must have"),
        ("user_feature_means", lambda a: a + np.float32(1e38), "user_feature_means is too large"),
        ("user_feature_mean", lambda a: a + np.float32(1e38), "user_feature_mean is too large"),
        ("user_prior_mean", lambda a: a + np.float32(1e38), "user_prior_mean is too large"),
        ("user_feature_means", None, "array user_feature_means is missing"),
        (
            "user_feature_covariances",
            lambda a: a + np.float32(1e3) * (1 - np.eye(3, dtype=np.float32)),
            "user_feature_covariances must have no eigenvalue below 0",
        ),
        ("user_feature_covariances", np.zeros_like, "user_feature_covariances must be above 0"),
        ("user_feature_covariances", np.triu, "user_feature_covariances must be symmetric"),
    ],
)
def test_altered_arrays_are_refused_by_name(rec, tmp_path, name, change, reason) -> None:
    rec.save(tmp_path / "m")
    arrays, metadata = model_file.read(tmp_path / "m")
    if change is None:
        del arrays[P + name]
    else:
        with np.errstate(invalid="ignore"):
            arrays[P + name] = change(arrays[P + name])
    model_file.write(tmp_path / "m", arrays, metadata)
    with pytest.raises(ModelFileError, match=f"{re.escape(str(tmp_path / 'm'))}.*{reason}"):
        Recommender.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("at", "key", "value", "reason"),
    [
        (0, "values", ["cook", "cook"], r"feature 'job' has a value twice"),
        (0, "kind", "words", r"kind must be"),
        (1, "std", 0.0, "feature 'age' has the mean .* and the deviation 0"),
        (1, "mean", 1e300, r"feature 'age' has the mean 1e\+300"),
    ],
)
def test_altered_columns_are_refused(rec, tmp_path, at, key, value, reason) -> None:
    rec.save(tmp_path / "m")
    arrays, metadata = model_file.read(tmp_path / "m")
    metadata["facts"]["features"]["user"]["columns"][at][key] = value
    model_file.write(tmp_path / "m", arrays, metadata)
    with pytest.raises(ModelFileError, match=reason):
        Recommender.load(tmp_path / "m")


def test_columns_of_another_number_of_features_are_none_of_the_model(rec, tmp_path: Path) -> None:
    rec.save(tmp_path / "m")
    arrays, metadata = model_file.read(tmp_path / "m")
    del metadata["facts"]["features"]["user"]["columns"][1]
    model_file.write(tmp_path / "m", arrays, metadata)
    loaded = Recommender.load(tmp_path / "m")
    with pytest.raises(SettingError, match="not fitted to features of users"):
        loaded.fold_in_user({}, features={"job": "cook"})
