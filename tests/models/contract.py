"""What every model must do. A new model subclasses ``ModelContract`` and is done."""

import numpy as np
import pytest

from dotbias.data.ratings import Ratings
from dotbias.models.base import Model, Parameters
from tests.ratings import random_ratings


class ModelContract:
    """Set ``model`` in the subclass."""

    model: Model

    def trained(self, parameters: Parameters) -> list[str]:  # noqa: ARG002
        """Names of the arrays that training moves."""
        return list(self.model.groups)

    @pytest.fixture
    def ratings(self) -> Ratings:
        return random_ratings(n_users=12, n_items=9, n=60, seed=3)

    @pytest.fixture
    def parameters(self, ratings: Ratings) -> Parameters:
        """Parameters as after training: every group filled with moderate numbers."""
        rng = np.random.default_rng(5)
        parameters = self.model.initialise(ratings, rng)
        for group in self.trained(parameters):
            parameters[group][...] = rng.normal(0, 0.3, parameters[group].shape)
        return parameters

    def test_initialise_is_seeded(self, ratings):
        a, b, c = (self.model.initialise(ratings, np.random.default_rng(s)) for s in (1, 1, 2))
        names = self.trained(a)
        for name in names:
            assert a[name].dtype == np.float32
            assert np.array_equal(a[name], b[name])
        drawn = [name for name in names if np.ptp(a[name])]
        assert all(not np.array_equal(a[name], c[name]) for name in drawn)

    def test_predictions_are_the_scores_cut_off_at_the_scale(self, ratings, parameters):
        users = np.arange(ratings.n_users, dtype=np.int32)
        scores = self.model.score_all(parameters, users)
        assert scores.shape == (ratings.n_users, ratings.n_items)
        u, i = (a.ravel().astype(np.int32) for a in np.indices(scores.shape))
        predictions = self.model.predict(parameters, u, i).reshape(scores.shape)
        low, high = ratings.scale
        np.testing.assert_allclose(predictions, np.clip(scores, low, high), atol=2e-6)

    def test_items_are_scanned_in_the_order_of_their_scores(self, ratings, parameters):
        users = np.arange(-1, ratings.n_users, dtype=np.int32)
        x, y, bias = self.model.scoring(parameters, users)
        order = np.argsort(-(x @ y.T + bias), axis=1)
        scores = np.take_along_axis(self.model.score_all(parameters, users), order, axis=1)
        assert (np.diff(scores, axis=1) < 2e-6).all()

    def test_predictions_stay_on_the_scale_however_large_the_parameters(self, ratings, parameters):
        for group in self.trained(parameters):
            parameters[group] *= 1e4
        prediction = self.model.predict(parameters, ratings.users, ratings.items)
        low, high = ratings.scale
        assert np.isfinite(prediction).all()
        assert prediction.min() >= low
        assert prediction.max() <= high

    def test_no_rows_no_predictions(self, parameters):
        none = np.empty(0, np.int32)
        assert self.model.predict(parameters, none, none).shape == (0,)

    def test_a_batch_predicts_what_its_rows_predict_alone(self, ratings, parameters):
        u, i = (a.ravel().astype(np.int32) - 1 for a in np.indices((13, 10)))
        u, i = np.minimum(u, ratings.n_users - 1), np.minimum(i, ratings.n_items - 1)
        together = self.model.predict(parameters, u, i)
        alone = [
            self.model.predict(parameters, u[n : n + 1], i[n : n + 1])[0] for n in range(len(u))
        ]
        np.testing.assert_allclose(together, alone, rtol=1e-6)


class RowsContract(ModelContract):
    """Of a model whose groups are tables with a row for each user or item."""

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
