"""What every model must do. A new model subclasses ``ModelContract`` and is done."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from dotbias.data.ratings import Ratings
from dotbias.models.base import Model
from dotbias.models.parameters import Parameters
from dotbias.models.row_form import Side
from dotbias.recommender.recommender import Recommender
from dotbias.testing.ratings import random_ratings
from dotbias.testing.uses import (
    must_come_back,
    must_fold_explain_and_grow,
    must_refuse_damage,
    with_prior,
)


class ModelContract:
    """Set ``model`` in the subclass, and ``folds`` where not both sides can be folded in."""

    model: ClassVar[Model]
    folds: ClassVar[tuple[Side, ...]] = ("user", "item")
    """The sides whose rows can be solved with everything else held; all else must be refused."""

    @classmethod
    def trained(cls, parameters: Parameters) -> list[str]:  # noqa: ARG003
        """Names of the arrays that training moves."""
        return list(cls.model.groups)

    @pytest.fixture(scope="class")
    @classmethod
    def ratings(cls) -> Ratings:
        """Sixty ratings by twelve users of nine items."""
        return random_ratings(n_users=12, n_items=9, n=60, seed=3)

    @pytest.fixture(scope="class")
    @classmethod
    def parameters(cls, ratings: Ratings) -> Parameters:
        """Parameters as after training: every group filled with moderate numbers."""
        rng = np.random.default_rng(5)
        parameters = cls.model.initialise(ratings, rng)
        for group in cls.trained(parameters):
            parameters[group][...] = rng.normal(0, 0.3, parameters[group].shape)
        for array in parameters.values():
            array.flags.writeable = False  # they are shared by all tests of the class
        return parameters

    @pytest.fixture(scope="class")
    @classmethod
    def rec(cls, ratings: Ratings, parameters: Parameters) -> Recommender:
        """The recommender of these parameters, and of a prior where rows can be solved."""
        return with_prior(Recommender.of(cls.model, parameters, ratings))

    def test_initialise_is_seeded(self, ratings: Ratings) -> None:
        """Equal seeds give equal bits, other seeds other numbers."""
        a, b, c = (self.model.initialise(ratings, np.random.default_rng(s)) for s in (1, 1, 2))
        names = self.trained(a)
        for name in names:
            assert a[name].dtype == np.float32
            assert np.array_equal(a[name], b[name])
        drawn = [name for name in names if np.ptp(a[name])]
        assert all(not np.array_equal(a[name], c[name]) for name in drawn)

    def test_predictions_are_the_scores_cut_off_at_the_scale(
        self, ratings: Ratings, parameters: Parameters
    ) -> None:
        """``predict`` and ``score_all`` are one formula; preferences have no scale."""
        users = np.arange(ratings.n_users, dtype=np.int32)
        scores = self.model.score_all(parameters, users)
        assert scores.shape == (ratings.n_users, ratings.n_items)
        u, i = (a.ravel().astype(np.int32) for a in np.indices(scores.shape))
        predictions = self.model.predict(parameters, u, i).reshape(scores.shape)
        low, high = ratings.scale if self.model.scores == "rating" else (-np.inf, np.inf)
        np.testing.assert_allclose(predictions, np.clip(scores, low, high), atol=2e-6)

    def test_items_are_scanned_in_the_order_of_their_scores(
        self, ratings: Ratings, parameters: Parameters
    ) -> None:
        """``scoring`` and ``score_all`` are one formula."""
        users = np.arange(-1, ratings.n_users, dtype=np.int32)
        x, y, bias = self.model.scoring(parameters, users)
        order = np.argsort(-(x @ y.T + bias), axis=1)
        scores = np.take_along_axis(self.model.score_all(parameters, users), order, axis=1)
        assert (np.diff(scores, axis=1) < 2e-6).all()

    def test_predictions_stay_on_the_scale_however_large_the_parameters(
        self, ratings: Ratings, parameters: Parameters
    ) -> None:
        """And are finite."""
        huge = parameters | {name: parameters[name] * 1e4 for name in self.trained(parameters)}
        prediction = self.model.predict(huge, ratings.user_indices, ratings.item_indices)
        low, high = ratings.scale
        assert np.isfinite(prediction).all()
        if self.model.scores == "rating":
            assert prediction.min() >= low
            assert prediction.max() <= high

    def test_no_rows_no_predictions(self, parameters: Parameters) -> None:
        """Nothing asked, nothing answered."""
        none = np.empty(0, np.int32)
        assert self.model.predict(parameters, none, none).shape == (0,)

    def test_a_batch_predicts_what_its_rows_predict_alone(
        self, ratings: Ratings, parameters: Parameters
    ) -> None:
        """Unknown users and items among them."""
        u, i = (a.ravel().astype(np.int32) - 1 for a in np.indices((13, 10)))
        u, i = np.minimum(u, ratings.n_users - 1), np.minimum(i, ratings.n_items - 1)
        together = self.model.predict(parameters, u, i)
        alone = [
            self.model.predict(parameters, u[n : n + 1], i[n : n + 1])[0] for n in range(len(u))
        ]
        np.testing.assert_allclose(together, alone, rtol=1e-6)

    def test_it_folds_in_explains_and_grows_or_refuses(self, rec: Recommender) -> None:
        """By the row form that it states, which must be that of its predictions."""
        must_fold_explain_and_grow(rec, self.folds)

    def test_it_comes_back_from_its_file(self, rec: Recommender, tmp_path: Path) -> None:
        """With equal bits."""
        must_come_back(rec, tmp_path / "model.dotbias")

    def test_damaged_parameters_are_refused(self, rec: Recommender) -> None:
        """With the name of the array."""
        must_refuse_damage(rec)
