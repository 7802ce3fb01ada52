import numpy as np

from dotbias.models import Baseline
from dotbias.solvers.least_squares.closed_form import ClosedForm
from dotbias.testing import SolverContract
from tests.ratings import random_ratings


class TestClosedForm(SolverContract):
    model = Baseline()
    solver = ClosedForm()


def test_each_bias_is_the_brute_force_ridge_minimum():
    ratings = random_ratings(n_users=15, n_items=10, n=80, seed=2)
    solver = ClosedForm(user_decay=4.0, item_decay=2.0)
    parameters, _ = solver.fit(Baseline(), ratings)
    mean = ratings.values.mean(dtype=np.float64)

    item_bias = np.zeros(ratings.n_items)
    for i in range(ratings.n_items):
        rows = ratings.item_indices == i
        item_bias[i] = (ratings.values[rows] - mean).sum() / (rows.sum() + 2)
    user_bias = np.zeros(ratings.n_users)
    for u in range(ratings.n_users):
        rows = ratings.user_indices == u
        user_bias[u] = (
            ratings.values[rows] - mean - item_bias[ratings.item_indices[rows]]
        ).sum() / (rows.sum() + 4)
    np.testing.assert_allclose(parameters["item_bias"], item_bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(parameters["user_bias"], user_bias, rtol=1e-5, atol=1e-6)


def test_endless_decay_leaves_the_global_mean():
    ratings = random_ratings(n_users=15, n_items=10, n=80, seed=2)
    parameters, _ = ClosedForm(user_decay=1e9, item_decay=1e9).fit(Baseline(), ratings)
    prediction = Baseline().predict(parameters, ratings.user_indices, ratings.item_indices)
    np.testing.assert_allclose(prediction, ratings.global_mean, rtol=1e-6)
