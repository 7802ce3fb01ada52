"""Users whom training never saw: the figures against users folded in one by one."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dotbias.data.ratings import Ratings
from dotbias.data.simulate import simulate
from dotbias.data.split import held_out
from dotbias.errors import SettingError
from dotbias.evaluation.evaluate import evaluate
from dotbias.fitting.fit import fit
from dotbias.models import Baseline, DotBias
from dotbias.models.base import Model
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.least_squares.als import ALS
from dotbias.solvers.least_squares.closed_form import ClosedForm
from tests.lists import slow_metrics
from tests.pairs import with_preference

MODELS = {
    "biases": (Baseline(), None),
    "als": (DotBias(n_factors=4), ALS(n_iterations=3)),
    "sigmoid": (DotBias(n_factors=4, output="sigmoid"), GradientDescent(n_epochs=5)),
}


@pytest.fixture(scope="module")
def world():
    """Simulated ratings: a quarter of the users held out whole, and some rows of the others."""
    ratings, _ = simulate(n_users=80, n_items=60, n_ratings=1500, seed=3)
    train, test = ratings.split(0.1, seed=1, new_users=0.25)
    return SimpleNamespace(ratings=ratings, train=train, test=test)


def parts(test, known, share, seed):
    """For each new user the rows that are given, and those that are measured, as (item, rating)."""
    new = np.array([user not in known for user in test.to_frame()["user"]])
    frame, users = test.to_frame().filter(new), test.user_indices[new]
    asked = held_out(users, None, 1 - share, seed=seed, by="user")
    of_user = {}
    for (user, item, rating), measured in zip(
        frame.select("user", "item", "rating").iter_rows(), asked, strict=True
    ):
        of_user.setdefault(user, ([], []))[int(measured)].append((item, rating))
    return {user: both for user, both in of_user.items() if both[1]}


@pytest.mark.parametrize("name", MODELS)
def test_figures_are_those_of_users_folded_in_one_by_one(world, name):
    rec = fit(world.train, *MODELS[name])
    biases = fit(world.train, Baseline())
    share, seed = 0.7, 5
    found = evaluate(
        rec, world.test, k=6, relevant_from=4, new_users="fold", fold_share=share, seed=seed
    ).new_users
    catalogue = rec.item_vocabulary.ids.to_list()
    at = {item: n for n, item in enumerate(catalogue)}
    new = parts(world.test, set(rec.user_vocabulary.ids), share, seed)
    errors, biased, away = [], [], []
    lists = {None: [], 4.0: []}
    relevant = {None: [], 4.0: []}
    for given, asked in new.values():
        user = rec.fold_in_user(given)
        items, ratings = zip(*asked, strict=True)
        errors += (user.predict(items) - np.array(ratings)).tolist()
        plain = biases.fold_in_user(given)
        biased += (plain.predict(items) - np.array(ratings)).tolist()
        away += [world.train.global_mean - rating for rating in ratings]
        own = [at[item] for item in user.recommend(6)["item"]]
        for reading in lists:
            liked = {at[i] for i, r in asked if i in at and (reading is None or r >= reading)}
            if liked:
                lists[reading].append(own)
                relevant[reading].append(liked)
    assert (found.n_users, found.fold_share) == (len(new), share)
    assert found.n_given == sum(len(given) for given, _ in new.values())
    assert found.n_rows == len(errors)
    assert found.rmse == pytest.approx(math.hypot(*errors) / len(errors) ** 0.5, rel=1e-5)
    assert found.mae == pytest.approx(sum(map(abs, errors)) / len(errors), rel=1e-5)
    assert found.baseline_rmse == pytest.approx(math.hypot(*biased) / len(biased) ** 0.5, rel=1e-5)
    assert found.mean_rmse == pytest.approx(math.hypot(*away) / len(away) ** 0.5, rel=1e-5)
    own = {r.relevant_from: r for r in found.rankings if r.by == "rating"}
    assert set(own) == set(lists)
    for reading, ranking in own.items():
        expected = slow_metrics(lists[reading], relevant[reading], 6, len(catalogue))
        assert ranking.n_users == len(lists[reading])
        assert ranking.metrics() | expected == pytest.approx(ranking.metrics(), abs=1e-12)


def test_preferences_of_users_folded_in_one_by_one(world):
    """The same rows serve both models, and lists of preferences are those of folding in."""
    rec = with_preference(fit(world.train, *MODELS["als"]), world.train)
    found = evaluate(rec, world.test, k=6, new_users="fold").new_users
    alone = rec.by("preference")
    catalogue = rec.item_vocabulary.ids.to_list()
    at = {item: n for n, item in enumerate(catalogue)}
    lists, relevant = [], []
    for given, asked in parts(world.test, set(rec.user_vocabulary.ids), 0.8, 0).values():
        user = alone.fold_in_user(given)
        if any(item in at for item, _ in asked):
            lists.append([at[item] for item in user.recommend(6)["item"]])
            relevant.append({at[item] for item, _ in asked if item in at})
    own = next(r for r in found.rankings if (r.by, r.relevant_from) == ("preference", None))
    expected = slow_metrics(lists, relevant, 6, len(catalogue))
    assert own.metrics() | expected == pytest.approx(own.metrics(), abs=1e-12)
    stars = evaluate(rec.by("rating"), world.test, k=6, new_users="fold").new_users
    assert (found.rmse, found.n_rows) == (stars.rmse, stars.n_rows)
    assert [r for r in found.rankings if r.by != "preference"] == list(stars.rankings)
    without = evaluate(alone, world.test, k=6, new_users="fold").new_users
    assert without.rmse is None
    assert [r for r in found.rankings if r.by != "rating"] == list(without.rankings)


def test_new_users_are_measured_apart(world):
    """Everyone else's figures are those without them."""
    rec = fit(world.train, *MODELS["als"])
    known = world.test.take(rec.user_vocabulary.indices(world.test.to_frame()["user"]) >= 0)
    mixed, alone = evaluate(rec, world.test, new_users="fold"), evaluate(rec, known)
    assert mixed.to_dict() | {"new_users": None} == alone.to_dict()
    assert mixed.cold_users == 0
    assert evaluate(rec, world.test).cold_users == 20


def test_new_users_alone(world):
    """Then nothing is left to say of others."""
    rec = fit(world.train, *MODELS["als"])
    mixed = evaluate(rec, world.test, new_users="fold", seed=2)
    new = world.test.take(rec.user_vocabulary.indices(world.test.to_frame()["user"]) < 0)
    alone = evaluate(rec, new, new_users="fold", seed=2)
    assert (alone.n_rows, alone.rmse, alone.coverage, alone.rankings) == (0, None, None, ())
    assert alone.new_users.n_users == mixed.new_users.n_users
    text = str(alone)
    assert f"RMSE {alone.new_users.rmse:.4f}" in text
    assert "20 new users, folded in from 80% of their ratings" in text
    assert text.count("RMSE") == 1


def test_whoever_has_too_few_rows_is_left_out(world):
    """Of one or two rows none is left to measure on; nobody else is there."""
    rec = fit(world.train, *MODELS["als"])
    few = Ratings.from_columns([901, 902, 902], [1, 1, 2], [3.0, 4.0, 5.0])
    result = evaluate(rec, few, new_users="fold")
    assert (result.new_users.n_users, result.new_users.rmse) == (0, None)
    assert "no new users" in str(result)


def test_folding_in_tells_more_than_nothing():
    ratings, _ = simulate(n_users=400, n_items=150, n_ratings=20_000, seed=5)
    train, test = ratings.split(0.2, seed=0, by="users")
    rec = fit(train, DotBias(n_factors=8), ALS())
    folded = evaluate(rec, test, new_users="fold").new_users
    cold = evaluate(rec, test)
    assert folded.rmse < 0.95 * folded.baseline_rmse < 0.9 * cold.rmse


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, math.nan])
def test_a_share_that_is_none_is_refused(world, share):
    rec = fit(world.train, Baseline(), ClosedForm())
    with pytest.raises(SettingError, match="fold_share must be a share above 0 and below 1"):
        evaluate(rec, world.test, new_users="fold", fold_share=share)


def test_an_unknown_answer_to_new_users_is_refused(world):
    rec = fit(world.train, Baseline(), ClosedForm())
    with pytest.raises(SettingError, match="new_users must be 'cold' or 'fold'"):
        evaluate(rec, world.test, new_users=0.1)


def test_a_model_that_nobody_can_join_is_refused(world):
    class Own(Baseline):
        def row_form(self, parameters, side):
            return Model.row_form(self, parameters, side)

    rec = fit(world.train, Baseline(), ClosedForm())
    with pytest.raises(SettingError, match="Own does not say what it is in one row"):
        evaluate(rec.of(Own(), rec.parameters, world.train), world.test, new_users="fold")
