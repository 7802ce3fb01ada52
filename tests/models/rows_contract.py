"""Of a model whose groups are tables with a row for each user or item."""

import numpy as np

from dotbias.testing import ModelContract


class RowsContract(ModelContract):
    def test_there_is_a_row_for_each_user_and_item(self, ratings):
        parameters = self.model.initialise(ratings, np.random.default_rng(1))
        for group in self.model.groups:
            n = ratings.n_users if group.startswith("user") else ratings.n_items
            assert parameters[group].shape[0] == n

    def test_unknown_user_and_item_get_the_global_mean(self, ratings, parameters):
        nobody = np.array([-1], np.int32)
        prediction = self.model.predict(parameters, nobody, nobody)
        np.testing.assert_allclose(prediction, ratings.global_mean, rtol=1e-6)

    def test_an_unknown_side_counts_as_a_row_of_zeros(self, ratings, parameters):
        zeroed = {name: array.copy() for name, array in parameters.items()}
        for group in self.model.groups:
            if group.startswith("user"):
                zeroed[group][0] = 0
        items = np.arange(ratings.n_items, dtype=np.int32)
        unknown = self.model.predict(parameters, np.full_like(items, -1), items)
        np.testing.assert_allclose(
            unknown, self.model.predict(zeroed, np.zeros_like(items), items), atol=1e-6
        )
        np.testing.assert_allclose(
            self.model.score_all(parameters, np.array([-1], np.int32)),
            self.model.score_all(zeroed, np.array([0], np.int32)),
            atol=1e-6,
        )
