"""The choice of the penalty of preferences, and of most rated items where none is good enough."""

import math
from dataclasses import replace

import numpy as np
import pytest

import dotbias as db
from dotbias.fitting import preference
from dotbias.fitting.preference import PATH, choose_preference
from dotbias.recommender.facts import TriedPenalty
from dotbias.solvers.least_squares import implicit_als


def events(chosen: np.ndarray) -> db.Ratings:
    """Events from a table that says who chose what."""
    users, items = np.nonzero(chosen)
    return db.Ratings.from_columns(users, items, np.ones(len(users)), kind="events")


@pytest.fixture(scope="module")
def tastes():
    """Two hundred people of five tastes, who choose mostly what the others of their taste choose."""
    rng = np.random.default_rng(4)
    chance = np.where(np.arange(200)[:, None] % 5 == np.arange(120) % 5, 0.4, 0.04)
    return events(rng.random(chance.shape) < chance)


@pytest.fixture(scope="module")
def choice(tastes):
    return choose_preference(tastes, budget=30, seed=1)


def test_a_penalty_is_chosen_whose_lists_beat_the_most_rated_items(choice):
    record = choice.record
    assert record.solver == "ImplicitALS"
    assert choice.solver == db.ImplicitALS(weight_decay=record.weight_decay)
    assert choice.model == db.DotProduct(n_svd_factors=120)
    assert max(each.ndcg for each in record.tried) > record.most_rated + 0.1
    assert [each.weight_decay for each in record.tried] == list(PATH[: len(record.tried)])
    assert record.n_users == 199  # one had too few choices
    assert str(choice).startswith(
        "ImplicitALS. DotProduct of 128 factors and 120 of an SVD, penalty 0."
    )


def test_the_path_ends_where_fits_from_random_embeddings_do(tastes, choice):
    """From strong to weak it did not: directions that a penalty has emptied fill slowly."""
    task = preference.ListTask.of(tastes, 1)
    for each in choice.record.tried[:10]:  # under the strongest random embeddings hardly grow
        solver = db.ImplicitALS(weight_decay=each.weight_decay, n_iterations=15)
        alone = choice.model, solver.fit(choice.model, task.rows, seed=1)[0]
        assert task.figures(*alone)["ndcg"].mean() == pytest.approx(each.ndcg, abs=0.02)


def test_where_all_have_one_taste_the_most_rated_items_are_recommended():
    rng = np.random.default_rng(5)
    chance = np.linspace(0.9, 0.05, 60)
    choice = choose_preference(events(rng.random((80, 60)) < chance), budget=30)
    assert choice.solver == db.MostRated()
    assert choice.record.weight_decay is None
    assert choice.record.most_rated > max(each.ndcg for each in choice.record.tried) - 0.03
    assert "not clearly better" in choice.record.reason


def test_a_solver_that_is_named_keeps_its_settings_and_gets_a_penalty(tastes, choice):
    solver = db.ImplicitALS(n_iterations=4)
    rec = db.fit(tastes, solver=solver, seed=1)
    record = rec.facts.preference_choice
    assert record.solver == "ImplicitALS"
    assert rec.facts.solver_text == repr(replace(solver, weight_decay=record.weight_decay))
    small = db.fit(tastes, db.DotProduct(n_factors=6), seed=1)
    assert small.model.n_factors == 6
    assert small.facts.preference_choice.tried != choice.record.tried  # of 128 factors
    given = db.fit(tastes, solver=replace(solver, weight_decay=0.1), seed=1)
    assert given.facts.preference_choice is None
    again = db.fit(tastes, preference=choice, purpose="recommend")
    assert again.facts.preference_choice == choice.record
    assert again.facts.solver_text == repr(choice.solver)


def test_threads_that_the_solver_of_ratings_is_told_hold_for_that_of_preferences():
    ratings = db.simulate(n_users=40, n_items=30, n_ratings=800, seed=0).ratings
    for of_ratings, own in ((1, None), (None, 1)):
        solver = db.ALS(n_iterations=1, n_threads=of_ratings)
        preference = db.ImplicitALS(n_iterations=1, weight_decay=0.1, n_threads=own)
        rec = db.fit(ratings, solver=solver, preference=preference)
        assert rec.by("preference").facts.solver["ImplicitALS"]["n_threads"] == 1


def test_a_solver_that_is_named_stays_where_the_most_rated_items_are_better(caplog):
    rng = np.random.default_rng(5)
    chance = np.linspace(0.9, 0.05, 60)
    rec = db.fit(events(rng.random((80, 60)) < chance), solver=db.ImplicitALS(n_iterations=4))
    assert rec.facts.solver_name == "ImplicitALS"
    [warning] = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "not clearly better" in warning.message


@pytest.mark.parametrize("budget", [float("inf"), float("nan"), -5, 0, True])
def test_a_budget_that_is_none_is_refused_whatever_it_is_for(tastes, budget):
    for purpose in ("recommend", "both"):
        with pytest.raises(db.SettingError, match="budget must be a number of seconds above 0"):
            db.fit(tastes, purpose=purpose, budget=budget)
    with pytest.raises(db.SettingError, match="budget must be a number of seconds above 0"):
        choose_preference(tastes, budget=budget)


def test_many_pairs_have_many_factors(tastes, monkeypatch):
    monkeypatch.setattr(preference, "MANY_PAIRS", 1_000)
    choice = choose_preference(tastes, budget=30, seed=1)
    assert choice.model == db.DotProduct(n_factors=256, n_svd_factors=120)
    assert "256 factors" in choice.record.reason
    for solver in (None, db.ImplicitALS(weight_decay=0.1, n_iterations=1)):
        rec = db.fit(tastes, preference=solver, purpose="recommend", seed=1)
        assert rec.model == choice.model


def test_lists_are_measured_as_a_loop_would(tastes):
    """Most rated items of those that a user lacks, against what was held out of their choices."""
    task = preference.ListTask.of(tastes, 3)
    assert len(task.rows) + task.relevant.nnz == len(tastes)
    counts, gains = task.rows.item_counts, []
    for row, user in enumerate(task.users):
        rated = set(task.rows.item_indices[task.rows.user_indices == user].tolist())
        assert sorted(rated) == task.rated[row].tolist()
        left = [item for item in np.argsort(-counts, kind="stable") if item not in rated]
        relevant = set(task.relevant[[row]].indices.tolist())
        assert not rated & relevant
        gain = sum(1 / math.log2(at + 2) for at, i in enumerate(left[:10]) if i in relevant)
        most = sum(1 / math.log2(at + 2) for at in range(min(len(relevant), 10)))
        gains.append(gain / most)
    model = db.MostRated().default_model
    parameters, _ = db.MostRated().fit(model, task.rows)
    np.testing.assert_allclose(task.figures(model, parameters)["ndcg"], gains)


SMALL = {
    "everything chosen by all": np.ones((6, 5)),
    "two users": np.ones((2, 10)),
    "one user": np.ones((1, 12)),
    "one item": np.ones((9, 1)),
    "one choice each": np.eye(4),
    "one choice": np.ones((1, 1)),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_data_have_lists_too(name):
    choice = choose_preference(events(SMALL[name]), budget=30)
    assert choice.solver == db.MostRated()
    parameters, _ = choice.solver.fit(choice.model, events(SMALL[name]))
    assert np.isfinite(parameters["item_factors"]).all()


def test_of_many_users_a_sample_is_held_out_and_of_many_pairs_a_part_is_fitted(tastes, monkeypatch):
    monkeypatch.setattr(preference, "MOST_USERS", 50)
    monkeypatch.setattr(preference, "_LEAST_PAIRS", 500)
    part = preference._affordable(tastes, 0.01, 7)
    assert 400 < len(part) <= 500
    ids = tastes.user_vocabulary.ids[tastes.user_indices]
    for user in part.user_vocabulary.ids:  # with all their choices
        mine = part.user_indices == part.user_vocabulary.indices([user])[0]
        assert mine.sum() == (ids == user).sum()
    assert preference._affordable(tastes, 1e6, 7) is tastes
    choice = choose_preference(tastes, budget=0.01, seed=7)
    assert choice.record.n_users <= len(part.user_vocabulary.ids)
    again = choose_preference(tastes, budget=0.01, seed=7)
    assert replace(again.record, seconds=0) == replace(choice.record, seconds=0)
    assert choose_preference(tastes, budget=1e6, seed=7).record.n_users == 50


@pytest.mark.parametrize("ask", ["choose", "fit"])
def test_ctrl_c_ends_the_choice_and_the_fit(tastes, monkeypatch, ask):
    """The best so far was taken, and the fit went on."""
    begun = []
    one_epoch = implicit_als._Iterations.one_epoch

    def press(loop):
        begun.append(loop)
        if len(begun) == 8:  # at the second penalty
            raise KeyboardInterrupt
        return one_epoch(loop)

    monkeypatch.setattr(implicit_als._Iterations, "one_epoch", press)
    with pytest.raises(KeyboardInterrupt):
        choose_preference(tastes, budget=30) if ask == "choose" else db.fit(tastes)
    assert len(begun) == 8


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ((0.1, 0.2, 0.1), 0.02),
        ((0.2, 0.1), 0.01),
        ((0.1, 0.2), 0.02),
        ((0.2, 0.2, 0.2), 0.01),
        # The vertex of the parabola through (-1, 0), (0, 4) and (1, 3) is at 0.3.
        ((0.0, 0.4, 0.3), 0.02 * 2**0.3),
    ],
)
def test_the_penalty_is_that_of_the_vertex(figures, expected):
    tried = [TriedPenalty(0.01 * 2**n, figure) for n, figure in enumerate(figures)]
    assert preference._top(tried) == pytest.approx(expected)
