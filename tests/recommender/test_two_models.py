"""A recommender of two models: one that says how many stars, and one that ranks."""

from dataclasses import replace

import numpy as np
import pytest

import dotbias as db
from dotbias import model_file
from dotbias.recommender.fitted import Part
from dotbias.testing.ratings import random_ratings


@pytest.fixture(scope="module")
def ratings():
    return random_ratings(n_users=60, n_items=40, n=900, seed=6)


@pytest.fixture(scope="module")
def rec(ratings):
    model, solver = db.DotBias(n_factors=3), db.ALS(n_iterations=3)
    return db.fit(ratings, model, solver, purpose="both", preference=db.ImplicitALS(n_iterations=3))


def test_each_model_is_what_it_would_be_alone(rec, ratings):
    alone = {
        "rating": db.fit(ratings, db.DotBias(n_factors=3), db.ALS(n_iterations=3)),
        "preference": db.fit(ratings, solver=db.ImplicitALS(n_iterations=3)),
    }
    for scores, other in alone.items():
        one = rec.by(scores)
        assert one.model == other.model
        assert one.facts.solver == other.facts.solver
        for name, array in other.parameters.items():
            np.testing.assert_array_equal(one.parameters[name], array)


def test_lists_are_ranked_by_preference_unless_told_otherwise(rec):
    for rank_by, column in (
        (None, "preference"),
        ("preference", "preference"),
        ("rating", "prediction"),
    ):
        table = rec.recommend([3, 7], 5, rank_by=rank_by)
        assert table.columns[-3:] == ["prediction", "preference", "basis"]
        for (_,), own in table.group_by("user"):
            assert own[column].is_sorted(descending=True)
    assert rec.by("rating").recommend(3).columns[-2] == "prediction"
    assert rec.by("preference").recommend(3).columns[-2] == "preference"


def test_predictions_are_stars(rec):
    assert rec.predict(3, 5) == rec.by("rating").predict(3, 5)


def test_both_come_back_from_the_file(rec, tmp_path):
    rec.save(tmp_path / "two.dotbias")
    again = db.Recommender.load(tmp_path / "two.dotbias")
    assert again.recommend([3, 7], 5).equals(rec.recommend([3, 7], 5))
    assert again.by("preference").facts == rec.by("preference").facts
    again.save(tmp_path / "again.dotbias")
    assert (tmp_path / "again.dotbias").read_bytes() == (tmp_path / "two.dotbias").read_bytes()


def test_a_folded_user_has_both(rec):
    user = rec.fold_in_user({3: 5.0, 8: 1.0})
    table = user.recommend(4)
    assert table.columns == ["rank", "item", "title", "prediction", "preference", "basis"]
    assert set(table["basis"]) == {"both"}
    assert table["preference"].is_sorted(descending=True)
    assert user.recommend(4, rank_by="rating")["prediction"].is_sorted(descending=True)


def test_a_folded_user_of_whom_nothing_is_known_gets_what_suits_most(rec):
    nobody = rec.fold_in_user({}).recommend(5, min_ratings=0)
    mean = rec.by("preference").parameters["user_factors"].mean(0)
    scores = rec.by("preference").parameters["item_factors"] @ mean
    assert nobody["item"].to_list() == rec.item_vocabulary.ids[np.argsort(-scores)[:5]].to_list()
    assert set(nobody["basis"]) == {"item"}
    assert nobody.equals(rec.fold_in_user({"x": 5.0}).recommend(5, min_ratings=0))
    assert nobody.equals(rec.recommend("x", 5, min_ratings=0).drop("user"))


def test_new_ratings_join_both(rec):
    grown = rec.partial_fit(db.Ratings.from_columns([1001, 1001], [3, 8], [5.0, 1.0]))
    assert set(grown.recommend(1001, 3).columns) >= {"prediction", "preference"}
    assert len(grown.preference.parameters["user_factors"]) == len(grown.user_vocabulary)


@pytest.mark.parametrize("by", ["rating", "preference"])
def test_similar_items_are_those_of_one_embedding(rec, by):
    found = rec.similar(5, 3, by=by)
    assert found.equals(rec.by(by).similar(5, 3))
    other = found["item"][0]
    assert rec.similarity(5, other, by=by) == pytest.approx(found["similarity"][0], abs=1e-6)


def test_a_preference_of_one_factor_compares_nothing(ratings):
    rec = db.fit(ratings, db.DotBias(n_factors=3), purpose="both", preference=db.MostRated())
    assert rec.similar(5, 3).equals(rec.by("rating").similar(5, 3))


def test_what_is_not_there_is_refused(rec):
    with pytest.raises(db.SettingError, match="has no preferences"):
        rec.by("rating").recommend(3, rank_by="preference")
    with pytest.raises(db.SettingError, match="knows no ratings"):
        rec.by("preference").recommend(3, rank_by="rating")
    with pytest.raises(db.SettingError, match="must be one of rating, preference"):
        rec.recommend(3, rank_by="stars")


@pytest.mark.parametrize(
    ("purpose", "model", "solver", "message"),
    [
        ("all", None, None, "purpose must be one of both, predict, recommend"),
        ("recommend", db.DotBias(), None, "DotBias predicts ratings"),
        ("predict", None, db.ImplicitALS(), "DotProduct predicts no ratings"),
    ],
)
def test_a_purpose_that_contradicts_is_refused(ratings, purpose, model, solver, message):
    with pytest.raises(db.SettingError, match=message):
        db.fit(ratings, model, solver, purpose=purpose)


def test_lists_of_the_most_rated_items_say_nothing_of_likeness() -> None:
    ratings = random_ratings(20, 10, 90, seed=3)
    rec = db.fit(ratings, db.DotBias(n_factors=3), preference=db.MostRated(), purpose="both")
    assert rec.similar(1).equals(rec.similar(1, by="rating"))
    item = rec.fold_in_item({2: 4.0})
    for ask in (
        lambda: rec.similar(1, by="preference"),
        lambda: rec.similarity(1, 2, by="preference"),
        lambda: item.similar(by="preference"),
        lambda: rec.recommend(1, diversity=0.5),
        lambda: rec.by("preference").similar(1),
        lambda: db.principal_components(rec, by="preference"),
    ):
        with pytest.raises(db.SettingError, match="it does not know which items are alike"):
            ask()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"purpose": "both", "preference": db.ALS()}, "preference=ALS.* estimates ratings"),
        ({"purpose": "predict", "preference": db.MostRated()}, "would not be used, as nothing but"),
        (
            {"solver": db.ImplicitALS(), "preference": db.MostRated()},
            "would not be used, as solver is named too",
        ),
    ],
)
def test_a_second_solver_that_nothing_needs_is_refused(ratings, how, message):
    """It was left out without a word, or put a second model of ratings where preferences belong."""
    with pytest.raises(db.errors.SettingError, match=message):
        db.fit(ratings, **how)


def test_a_second_solver_asks_for_both_models(ratings):
    rec = db.fit(ratings, db.Baseline(), preference=db.MostRated())
    assert rec.has("rating")
    assert rec.has("preference")


def test_models_that_do_not_go_together_are_refused(rec):
    """Their file could be written, and not be read again."""
    stars, second = rec.by("rating"), rec.preference
    part = Part(stars.model, stars.parameters, stars.facts)
    with pytest.raises(db.errors.SettingError, match="its second preferences"):
        replace(stars, preference=part)
    with pytest.raises(db.errors.SettingError, match="to ratings and counts"):
        replace(rec, preference=replace(second, facts=replace(second.facts, kind="counts")))
    with pytest.raises(db.errors.SettingError, match="predicts ratings, and was fitted to counts"):
        replace(stars, facts=replace(stars.facts, kind="counts"))


def test_arrays_of_other_users_and_items_are_refused(rec):
    """The scan of all items read beyond the end of what is known of them."""
    few = random_ratings(n_users=20, n_items=10, n=90, seed=1)
    with pytest.raises(db.errors.SettingError, match="must have"):
        db.Recommender.of(rec.model, rec.parameters, few, preference=rec.preference)


def test_what_was_fitted_to_says_its_kind():
    counts = db.simulate(20, 15, 120, n_factors=2, kind="counts", seed=1).ratings
    model = db.DotProduct(n_factors=2)
    parameters, _ = db.ImplicitALS(n_iterations=1).fit(model, counts)
    assert db.Recommender.of(model, parameters, counts).facts.kind == "counts"


def test_the_objective_and_curvature_of_ratings_are_not_those_of_preferences(rec, ratings):
    """They took the ratings for what preferences were fitted to."""
    alone = rec.by("preference")
    with pytest.raises(db.errors.SettingError, match="what people chose"):
        db.objective(alone.model, alone.parameters, ratings)
    with pytest.raises(db.errors.SettingError, match="what people chose"):
        db.curvature(alone, ratings, db.GradientDescent())


@pytest.mark.parametrize(
    ("name", "alter", "message"),
    [
        ("rated.values", lambda a: -a, "rated.values: count 0, .* is not above 0"),
        ("parameters.balance", lambda a: a + 1, "first number of the array balance must be from 0"),
        ("parameters.saturation", lambda a: a + 1, "saturation, B, must be at most 1"),
        ("parameters.item_prior_growth", lambda a: a + 1, "exponent in item_prior_growth"),
    ],
)
def test_altered_counts_are_refused(name, alter, message, tmp_path):
    counts = db.simulate(20, 15, 120, n_factors=2, kind="counts", seed=1).ratings
    solver = db.ImplicitALS(n_iterations=1, weighting="bm25")
    db.fit(counts, db.DotProduct(n_factors=2), solver).save(tmp_path / "m")
    arrays, metadata = model_file.read(tmp_path / "m")
    model_file.write(tmp_path / "m", arrays | {name: alter(np.array(arrays[name]))}, metadata)
    with pytest.raises(db.errors.ModelFileError, match=message):
        db.Recommender.load(tmp_path / "m")
