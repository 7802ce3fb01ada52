"""The model of preferences."""

import numpy as np

import dotbias as db
from dotbias.testing import ModelContract


class TestDotProduct(ModelContract):
    model = db.DotProduct(n_factors=3)

    def test_a_stranger_has_the_mean_taste(self, ratings, parameters):
        stranger = parameters["user_factors"].mean(0)
        own = parameters | {"stranger": stranger}
        items = np.arange(ratings.n_items, dtype=np.int32)
        nobody = np.full_like(items, -1)
        expected = parameters["item_factors"] @ stranger
        np.testing.assert_allclose(self.model.predict(own, nobody, items), expected, atol=1e-7)
        np.testing.assert_allclose(self.model.score_all(own, nobody[:1])[0], expected, atol=1e-7)

    def test_counts_weigh_by_their_logarithm(self, parameters):
        own = parameters | {"confidence": np.array([1, 2, 0.5], np.float32)}
        counts = np.array([1, 5, 100], np.float32)
        none = np.empty(0, np.int32)
        targets, weights = self.model.observed(own, "user", none, none, counts)
        np.testing.assert_array_equal(targets, 1)
        np.testing.assert_allclose(weights, 1 + 2 * np.log1p(counts) + 0.5 * counts, rtol=1e-6)
