"""What every solver must do. A new solver subclasses ``SolverContract`` and is done."""

from dataclasses import replace

import numpy as np
import pytest

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model
from dotbias.solvers.base import Epoch, Solver
from tests.ratings import random_ratings


class Stranger(Model):
    """A model that no solver knows."""

    groups = ()

    def initialise(self, ratings, rng):
        raise NotImplementedError

    def predict(self, parameters, users, items):
        raise NotImplementedError

    def score_all(self, parameters, users):
        raise NotImplementedError


TINY = {
    "one rating": Ratings.from_columns([1], [1], [3.0]),
    "one user": Ratings.from_columns([1, 1, 1], ["a", "b", "c"], [1.0, 3.0, 5.0]),
    "one item": Ratings.from_columns(["x", "y", "z"], [1, 1, 1], [1.0, 3.0, 5.0]),
    "a constant rating": Ratings.from_columns([1, 1, 2, 2], [1, 2, 1, 2], [4.0] * 4),
    "a huge scale": Ratings.from_columns([1, 1, 2], [1, 2, 1], [0.0, 100.0, 100.0]),
}


class SolverContract:
    """Set ``model`` and ``solver`` in the subclass."""

    model: Model
    solver: Solver

    @pytest.fixture
    def ratings(self) -> Ratings:
        return random_ratings(n_users=60, n_items=40, n=1200, seed=0)

    def test_same_seed_same_bits_and_nothing_is_carried_over(self, ratings):
        first, _ = self.solver.fit(self.model, ratings, seed=4)
        again, _ = self.solver.fit(self.model, ratings, seed=4)
        for name in first:
            np.testing.assert_array_equal(first[name], again[name])

    def test_fitting_leaves_ratings_alone(self, ratings):
        before = ratings.values.copy(), ratings.users.copy()
        self.solver.fit(self.model, ratings)
        np.testing.assert_array_equal(before[0], ratings.values)
        np.testing.assert_array_equal(before[1], ratings.users)

    def test_beats_the_global_mean_on_its_training_ratings(self, ratings):
        parameters, _ = self.solver.fit(self.model, ratings)
        prediction = self.model.predict(parameters, ratings.users, ratings.items)
        assert np.mean((prediction - ratings.values) ** 2) < 0.9 * ratings.values.var()

    def test_history_counts_every_epoch(self, ratings):
        seen: list[Epoch] = []
        _, history = self.solver.fit(self.model, ratings, on_epoch=seen.append)
        assert seen == history.epochs
        assert [e.epoch for e in seen] == list(range(1, len(seen) + 1))
        assert history.stopped == "finished"
        assert history.best_epoch == len(seen)
        assert all(np.isfinite(e.train_rmse) and e.ratings_per_second > 0 for e in seen)

    @pytest.mark.parametrize("name", TINY)
    def test_tiny_ratings_never_give_nan(self, name):
        ratings = TINY[name]
        parameters, _ = self.solver.fit(self.model, ratings)
        prediction = self.model.predict(parameters, ratings.users, ratings.items)
        assert np.isfinite(prediction).all()
        if name == "a constant rating":
            np.testing.assert_allclose(prediction, 4)

    def test_the_declared_scale_is_obeyed(self, ratings):
        declared = replace(ratings, declared_scale=(0.0, 10.0))
        parameters, _ = self.solver.fit(self.model, declared)
        np.testing.assert_array_equal(parameters["scale"], [0, 10])

    def test_a_model_it_cannot_estimate_is_refused(self, ratings):
        with pytest.raises(SettingError, match=f"{type(self.solver).__name__} estimates"):
            self.solver.fit(Stranger(), ratings)
