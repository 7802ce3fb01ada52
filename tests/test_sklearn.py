"""The estimator keeps to scikit-learn's rules, as far as pairs of ids allow it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import dotbias as db
from dotbias.sklearn import RatingRegressor

FRAME = db.simulate(n_users=60, n_items=40, n_ratings=1500, seed=1)[0].to_frame()
X, Y = FRAME.select("user", "item").to_numpy(), FRAME["rating"].to_numpy()
BRIEF = RatingRegressor(db.DotBias(n_factors=2), db.ALS(n_iterations=1))

# The others fit it to random numbers, which are no ids.
CHECKS = [
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_estimators_unfitted,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_scikit_learns_own_checks(check):
    check("RatingRegressor", RatingRegressor())


def test_it_is_the_fit_of_the_library():
    rec = db.fit(FRAME, BRIEF.model, BRIEF.solver)
    fitted = clone(BRIEF).fit(X, Y)
    assert fitted.predict(X).tolist() == rec.predict(FRAME).tolist()
    frames = clone(BRIEF).fit(FRAME.rename({"user": "userId"}).to_pandas(), Y)
    assert frames.predict(FRAME).tolist() == fitted.predict(X).tolist()
    assert fitted.score(X, Y) > 0.3
    assert fitted.predict([[1, 1], [999, 1]]).shape == (2,)
    with pytest.raises(NotFittedError):
        clone(fitted).predict(X)


def test_text_ids_and_pairs_that_come_again():
    names = np.array([["ann", "a"], ["bob", "a"], ["ann", "b"], ["ann", "a"]])
    fitted = RatingRegressor("baseline").fit(names, [1, 3, 2, 5])
    assert fitted.recommender_.training_ratings().to_frame()["rating"].to_list() == [3, 2, 3]
    assert 1 <= fitted.predict([["ann", "b"]])[0] <= 5


def test_settings_are_parameters():
    nested = RatingRegressor(solver=db.GradientDescent(db.Adam()))
    assert nested.get_params()["solver__rule__lr"] == db.Adam().lr
    other = clone(nested).set_params(solver__rule__lr=0.5, solver__n_epochs=2, budget=7)
    assert (other.solver.rule.lr, other.solver.n_epochs, other.budget) == (0.5, 2, 7)
    assert nested.solver == db.GradientDescent(db.Adam())
    assert RatingRegressor(solver="als").set_params(model__n_factors=3).model.n_factors == 3
    for wrong in ("solver__rule__beta3", "solver__lr", "solver__clip__x"):
        with pytest.raises(db.SettingError, match="has no setting"):
            clone(nested).set_params(**{wrong: 1})
    assert clone(db.GradientDescent("adam"), safe=False) == db.GradientDescent("adam")


def test_searches_and_pipelines():
    search = GridSearchCV(make_pipeline(BRIEF), {"ratingregressor__model__n_factors": [1, 3]}, cv=2)
    assert search.fit(X, Y).best_params_["ratingregressor__model__n_factors"] in (1, 3)
    assert cross_val_score(BRIEF, X, Y, cv=2).shape == (2,)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:, :1], Y, r"pairs of user and item, shape \(n, 2\), not \(1500, 1\)"),
        ([[1.5, 2]], [3], "column user: .* is neither an integer nor text"),
        (X, Y[:-1], "X and y are no pairs and ratings"),
    ],
)
def test_what_is_no_pair_is_said(x, y, message):
    with pytest.raises(db.DataError, match=message):
        clone(BRIEF).fit(x, y)


def test_it_is_there_by_its_short_name():
    assert db.sklearn.RatingRegressor is RatingRegressor
