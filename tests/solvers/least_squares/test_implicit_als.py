"""Alternating least squares on everything, and the most rated items as a model."""

import numpy as np
import pytest

import dotbias as db
from dotbias.testing import SolverContract
from dotbias.testing.ratings import random_ratings


class TestImplicitALS(SolverContract):
    model = db.DotProduct(n_factors=3)
    solver = db.ImplicitALS(n_iterations=6)


class TestMostRated(SolverContract):
    model = db.DotProduct(n_factors=1)
    solver = db.MostRated()


@pytest.fixture(scope="module")
def ratings():
    return random_ratings(n_users=30, n_items=20, n=200, seed=2)


def test_a_half_step_is_the_dense_solution(ratings):
    solver = db.ImplicitALS(n_iterations=1, liking=0.3, weight_decay=0.2, unobserved_weight=0.5)
    parameters, history = solver.fit(db.DotProduct(n_factors=4), ratings, seed=1)
    p, q = (parameters[f"{side}_factors"].astype(float) for side in ("user", "item"))
    z = (ratings.values - ratings.global_mean) / ratings.std
    known, target = np.zeros((2, 30, 20))
    known[ratings.users, ratings.items] = 1
    target[ratings.users, ratings.items] = 1 + 0.3 * z
    penalty = 0.2 * np.sqrt(len(ratings)) * 2 * 0.5 / 1.5
    for i in range(20):  # the items were solved last
        normal = (p * known[:, [i]]).T @ p + 0.5 * p.T @ p + penalty * np.eye(4)
        np.testing.assert_allclose(q[i], np.linalg.solve(normal, p.T @ target[:, i]), atol=1e-4)
    scores = p @ q.T
    objective = (known * (target - scores) ** 2).sum() + 0.5 * (scores**2).sum()
    objective += penalty * ((p**2).sum() + (q**2).sum())
    assert history.half_steps[-1] == pytest.approx(objective / 2, rel=1e-5)


def test_the_objective_never_rises(ratings):
    _, history = db.ImplicitALS(n_iterations=10).fit(db.DotProduct(n_factors=4), ratings)
    steps = np.array(history.half_steps)
    assert len(steps) == 20
    assert (np.diff(steps) <= 1e-6 * steps[:-1]).all()


def test_the_most_rated_items_come_first_for_everyone(ratings):
    rec = db.fit(ratings, solver=db.MostRated())
    for user in rec.user_vocabulary.ids[:3]:
        listed = rec.recommend(user, 20, include_rated=True, min_ratings=0)["item"]
        counts = ratings.item_counts[rec.item_vocabulary.indices(listed)]
        assert (np.diff(counts) <= 0).all()
