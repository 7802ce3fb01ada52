"""Alternating least squares on everything, and the most rated items as a model."""

from dataclasses import replace

import numpy as np
import pytest
from numba import typeof

import dotbias as db
from dotbias.solvers.least_squares import fold_in as folding
from dotbias.solvers.least_squares import implicit_als
from dotbias.solvers.least_squares.conjugate_gradients import improve_rows
from dotbias.solvers.least_squares.fold_in import fold_in
from dotbias.solvers.least_squares.implicit_als import _Iterations
from dotbias.testing import SolverContract
from dotbias.testing.ratings import random_ratings


class TestImplicitALS(SolverContract):
    model = db.DotProduct(n_factors=3)
    solver = db.ImplicitALS(n_iterations=6)


class TestImplicitALSWithSvd(SolverContract):
    model = db.DotProduct(n_factors=3, n_svd_factors=5)
    solver = db.ImplicitALS(n_iterations=6)


class TestMostRated(SolverContract):
    model = db.DotProduct(n_factors=1)
    solver = db.MostRated()


@pytest.fixture(scope="module")
def ratings():
    return random_ratings(n_users=30, n_items=20, n=200, seed=2)


def test_a_weighting_that_there_is_not():
    with pytest.raises(db.SettingError, match="weighting must be one of 'log', 'linear', 'bm25'"):
        db.ImplicitALS(weighting="tf-idf")


def stopped(solver, model, ratings, seed):
    """Parameters after the iterations, before the users are solved once more."""
    return _Iterations(solver, model, ratings, seed, None).run().parameters()


def test_half_steps_are_the_dense_solutions(ratings):
    solver = db.ImplicitALS(
        n_iterations=1,
        liking=0.3,
        weight_decay=0.2,
        unobserved_weight=0.5,
        balance=0.6,
        frequency_scaling=0.7,
        n_steps=30,
    )
    model = db.DotProduct(n_factors=4)
    parameters, history = solver.fit(model, ratings, seed=1)
    z = (ratings.values - ratings.global_mean) / ratings.std
    known, target = np.zeros((2, 30, 20))
    known[ratings.user_indices, ratings.item_indices] = 1
    target[ratings.user_indices, ratings.item_indices] = 1 + 0.3 * z
    penalty = 0.2 * np.sqrt(len(ratings)) * 2 * 0.5 / 1.5
    n = ratings.user_counts
    w = n**-0.6 * n.sum() / (n * n**-0.6).sum()
    np.testing.assert_allclose(parameters["user_weight"], w, rtol=1e-6)
    b = ratings.item_counts + 0.5 * ratings.n_users
    own = penalty * (b / b.mean()) ** 0.7
    before = stopped(solver, model, ratings, seed=1)
    p, q = (before[f"{side}_factors"].astype(float) for side in ("user", "item"))
    for i in range(20):
        of_known = (p * (w * known[:, i])[:, None]).T
        normal = of_known @ p + 0.5 * (p * w[:, None]).T @ p + own[i] * np.eye(4)
        np.testing.assert_allclose(
            q[i], np.linalg.solve(normal, of_known @ target[:, i]), rtol=1e-4, atol=1e-6
        )
    p, q = (parameters[f"{side}_factors"].astype(float) for side in ("user", "item"))
    for u in range(30):
        normal = (q.T * known[u]) @ q + 0.5 * q.T @ q + penalty * np.eye(4)
        np.testing.assert_allclose(
            p[u], np.linalg.solve(normal, q.T @ target[u]), rtol=1e-4, atol=1e-6
        )
    scores = p @ q.T
    each = (known * (target - scores) ** 2).sum(1) + 0.5 * (scores**2).sum(1)
    objective = w @ (each + penalty * (p**2).sum(1)) + own @ (q**2).sum(1)
    assert history.half_steps[-1] == pytest.approx(objective / 2, rel=1e-5)


@pytest.mark.parametrize("n_steps", [1, 3, 30])
def test_the_objective_never_rises(ratings, n_steps):
    solver = db.ImplicitALS(n_iterations=10, n_steps=n_steps)
    _, history = solver.fit(db.DotProduct(n_factors=12), ratings)
    steps = np.array(history.half_steps)
    assert len(steps) == 21  # the users' last one belongs to no iteration
    assert (np.diff(steps) <= 1e-6 * steps[:-1]).all()


def test_counts_weigh_the_known_pairs(ratings):
    counts = db.Ratings.from_columns(
        ratings.user_indices, ratings.item_indices, np.round(ratings.values), kind="counts"
    )
    solver = db.ImplicitALS(
        n_iterations=1,
        alpha=2.0,
        weight_decay=0.03,
        unobserved_weight=1,
        balance=0,
        frequency_scaling=0,
        n_steps=30,
    )
    model = db.DotProduct(n_factors=4)
    parameters = stopped(solver, model, counts, seed=1)
    p, q = (parameters[f"{side}_factors"].astype(float) for side in ("user", "item"))
    c = np.zeros((counts.n_users, counts.n_items))
    c[counts.user_indices, counts.item_indices] = 1 + 2 * np.log1p(counts.values)
    penalty = 0.03 * np.sqrt(c.sum())
    for i in range(counts.n_items):
        normal = (p * c[:, [i]]).T @ p + p.T @ p + penalty * np.eye(4)
        np.testing.assert_allclose(
            q[i], np.linalg.solve(normal, p.T @ c[:, i]), rtol=1e-4, atol=1e-6
        )


def test_a_users_weight_does_not_touch_their_own_regression(ratings):
    """Only items are shaped by how much each user weighs: given the items, users are the same."""
    model, solver = db.DotProduct(n_factors=4), db.ImplicitALS(n_iterations=1, n_steps=30)
    even, uneven = (
        stopped(replace(solver, balance=balance), model, ratings, seed=1) for balance in (0, 0.8)
    )
    # The half step of the items has turned both, each its own way.
    grams = [own["user_factors"] @ own["user_factors"].T for own in (even, uneven)]
    np.testing.assert_allclose(*grams, rtol=1e-4, atol=1e-5)
    assert np.abs(even["item_factors"] - uneven["item_factors"]).max() > 0.01


@pytest.mark.parametrize("n_svd_factors", [0, 9])
@pytest.mark.parametrize("balance", [0, 0.5])
def test_a_user_is_what_folding_in_their_ratings_gives(ratings, balance, n_svd_factors):
    model = db.DotProduct(n_factors=12, n_svd_factors=n_svd_factors)
    parameters, _ = db.ImplicitALS(n_iterations=2, balance=balance).fit(model, ratings)
    order = np.argsort(ratings.user_indices, kind="stable")
    starts = np.append(0, np.cumsum(ratings.user_counts))
    pairs = ratings.item_indices[order], ratings.values[order]
    folded = fold_in(model, parameters, "user", starts, *pairs)[:, 1:]
    np.testing.assert_allclose(model.user_vectors(parameters), folded, rtol=1e-4, atol=2e-6)


def test_events_and_more_factors_than_there_are_items(ratings):
    events = db.Ratings.from_columns(ratings.user_indices, ratings.item_indices)
    model = db.DotProduct(n_factors=4, n_svd_factors=64)
    rec = db.fit(events, model, db.ImplicitALS(n_iterations=2))
    assert rec.parameters["item_factors"].shape == (20, 68)
    user = rec.fold_in_user([3, 5, 7])
    assert user.recommend(5)["preference"].is_finite().all()
    why = rec.explain(rec.user_vocabulary.ids[0], rec.item_vocabulary.ids[1])
    assert abs(why.frame()["contribution"].sum() - why.prediction) < 1e-5


def pairs_of(ratings, kind):
    if kind == "ratings":
        return ratings
    return db.Ratings.from_columns(
        ratings.user_indices, ratings.item_indices, np.round(ratings.values), kind="counts"
    )


@pytest.mark.parametrize(("kind", "balance"), [("ratings", 0), ("ratings", 0.6), ("counts", 0.6)])
def test_the_second_part_is_ridge_regression_on_all_pairs(ratings, kind, balance):
    """Each user's scores are what a ridge regression of their whole row, zeros and all, gives on the
    leading singular vectors.
    """
    ratings = pairs_of(ratings, kind)
    solver = db.ImplicitALS(n_iterations=1, balance=balance, liking=0.4, alpha=2.0)
    parameters, _ = solver.fit(db.DotProduct(n_factors=4, n_svd_factors=6), ratings)
    n = ratings.user_counts
    w = n ** -float(balance) * n.sum() / (n * n ** -float(balance)).sum()
    table = np.zeros((30, 20))
    if kind == "ratings":
        z = (ratings.values - ratings.global_mean) / ratings.std
        table[ratings.user_indices, ratings.item_indices] = 0.5 * (1 + 0.4 * z)
    else:
        c = 1 + 2 * np.log1p(ratings.values)
        table[ratings.user_indices, ratings.item_indices] = 0.5 * c / c.mean()
    _, s, v = np.linalg.svd(np.sqrt(w)[:, None] * table)
    basis = v[:6].T * s[:6]
    penalty = 0.25 * 0.07 * len(ratings) ** 0.8
    expected = table @ basis @ np.linalg.inv(basis.T @ basis + penalty * np.eye(6)) @ basis.T
    scores = parameters["user_factors"][:, 4:] @ parameters["item_factors"][:, 4:].T
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize("balance", [0, 0.5])
def test_an_item_that_was_there_is_projected_to_where_it_is(ratings, balance):
    model = db.DotProduct(n_factors=4, n_svd_factors=6)
    parameters, _ = db.ImplicitALS(n_iterations=1, balance=balance).fit(model, ratings)
    order = np.argsort(ratings.item_indices, kind="stable")
    starts = np.append(0, np.cumsum(ratings.item_counts))
    pairs = ratings.user_indices[order], ratings.values[order]
    folded = fold_in(model, parameters, "item", starts, *pairs)[:, 5:]
    np.testing.assert_allclose(parameters["item_factors"][:, 4:], folded, rtol=1e-3, atol=2e-5)


def test_two_parts_share_the_target(ratings):
    """The first part alone is half of what a model without a second one has."""
    solver, model = db.ImplicitALS(n_iterations=2, n_steps=30), db.DotProduct(n_factors=4)
    start, _ = solver.fit(model, ratings, seed=1)
    shorter = {name: np.sqrt(np.float32(0.5)) * start[name] for name in model.groups}
    whole, _ = solver.fit(model, ratings, start=start)
    half, _ = solver.fit(replace(model, n_svd_factors=5), ratings, start=shorter)
    parts = ([x[name][:, :4] for name in model.groups] for x in (whole, half))
    scores, halved = (p @ q.T for p, q in parts)
    np.testing.assert_allclose(halved, scores / 2, atol=1e-5)


def test_fitting_and_folding_in_are_one_piece_of_machine_code(ratings, monkeypatch):
    """Counts of 32 bits here and of 64 there: the loop was compiled for both, which takes seconds."""
    seen = set()

    def noting(*arguments):
        seen.add(tuple(map(typeof, arguments)))
        return improve_rows(*arguments)

    for module in (implicit_als, folding):
        monkeypatch.setattr(module, "improve_rows", noting)
    model = db.DotProduct(n_factors=4)
    parameters, _ = db.ImplicitALS(n_iterations=1).fit(model, ratings)
    starts = np.arange(0, 41)
    fold_in(model, parameters, "user", starts, np.zeros(40, np.int32), np.ones(40, np.float32))
    assert len(seen) == 1


def test_a_second_part_is_taken_over(ratings):
    model, solver = db.DotProduct(n_factors=4, n_svd_factors=5), db.ImplicitALS(n_iterations=2)
    first, _ = solver.fit(model, ratings)
    stronger = replace(solver, weight_decay=0.2)
    anew, _ = stronger.fit(model, ratings)
    taken, _ = stronger.fit(model, ratings, svd=first)
    for name in anew:
        np.testing.assert_array_equal(anew[name], taken[name])


def test_new_ratings_change_what_their_users_weigh(ratings):
    rec = db.fit(ratings, solver=db.ImplicitALS(n_iterations=2, balance=0.5))
    user, absent = rec.user_vocabulary.ids[0], 10_001
    grown = rec.partial_fit(db.Ratings.from_columns([user, absent], [absent, absent], [5.0, 3.0]))
    counts = np.diff(grown.rated.indptr)
    spread = rec.parameters["balance"][1]
    np.testing.assert_allclose(grown.parameters["user_weight"], spread * counts**-0.5, rtol=1e-6)


def test_a_fit_goes_on_from_another(ratings):
    model, solver = db.DotProduct(n_factors=4), db.ImplicitALS(n_iterations=2, n_steps=30)
    first, _ = solver.fit(model, ratings, seed=1)
    on, _ = solver.fit(model, ratings, seed=2, start=first)
    whole, _ = replace(solver, n_iterations=4).fit(model, ratings, seed=1)
    scores = [x["user_factors"] @ x["item_factors"].T for x in (on, whole)]
    np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-5)


def test_planted_preferences_are_recovered():
    """People who choose what lies in their direction: of what was held out most is listed first."""
    rng = np.random.default_rng(0)
    p, q = rng.standard_normal((300, 4)), rng.standard_normal((200, 4))
    chosen = np.argsort(-(p @ q.T), axis=1)[:, :20]
    shown = np.array([rng.permutation(row) for row in chosen])
    users = np.repeat(np.arange(300), 15)
    events = db.Ratings.from_columns(users, shown[:, :15].ravel(), np.ones(4500), kind="events")
    model = db.DotProduct(n_factors=8)
    parameters, _ = db.ImplicitALS().fit(model, events)
    scores = np.full((300, 200), -np.inf)
    scores[:, events.item_vocabulary.ids] = model.score_all(
        parameters, np.arange(300, dtype=np.int32)
    )
    scores[users, shown[:, :15].ravel()] = -np.inf
    best = np.argsort(-scores, axis=1)[:, :5]
    hits = [len(set(a) & set(b)) / 5 for a, b in zip(best, shown[:, 15:], strict=True)]
    assert np.mean(hits) > 0.5  # 0.03 by chance


def test_the_most_rated_items_come_first_for_everyone(ratings):
    rec = db.fit(ratings, solver=db.MostRated())
    for user in rec.user_vocabulary.ids[:3]:
        listed = rec.recommend(user, 20, include_rated=True, min_ratings=0)["item"]
        counts = ratings.item_counts[rec.item_vocabulary.indices(listed)]
        assert (np.diff(counts) <= 0).all()
