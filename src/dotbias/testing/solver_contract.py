"""What every solver must do. A new solver subclasses ``SolverContract`` and is done."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model
from dotbias.models.parameters import Parameters
from dotbias.models.row_form import Side
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.base import Epoch, History, Solver, estimate
from dotbias.solvers.checkpoint import Checkpoint
from dotbias.solvers.epochs import IteratingSolver
from dotbias.testing.ratings import random_ratings
from dotbias.testing.uses import must_come_back, must_fold_explain_and_grow, must_refuse_damage


class Stranger(Model):
    """A model that no solver knows."""

    groups = ()

    def initialise(self, ratings: Any, rng: Any) -> Any:
        """Nobody asks."""
        raise NotImplementedError

    def predict(self, parameters: Any, users: Any, items: Any) -> Any:
        """Nor here."""
        raise NotImplementedError

    def score_all(self, parameters: Any, users: Any) -> Any:
        """Nor here."""
        raise NotImplementedError


TINY = {
    "one rating": Ratings.from_columns([1], [1], [3.0]),
    "one user": Ratings.from_columns([1, 1, 1], ["a", "b", "c"], [1.0, 3.0, 5.0]),
    "one item": Ratings.from_columns(["x", "y", "z"], [1, 1, 1], [1.0, 3.0, 5.0]),
    "a constant rating": Ratings.from_columns([1, 1, 2, 2], [1, 2, 1, 2], [4.0] * 4),
    "a huge scale": Ratings.from_columns([1, 1, 2], [1, 2, 1], [0.0, 100.0, 100.0]),
}
"""Ratings so few or so plain that a division by zero shows."""


class OneFit(NamedTuple):
    """One fit, for all tests of a class.

    Args:
        parameters, history: what the solver returned.
        seen: the epochs that it reported.
        rec: the recommender of the parameters.
    """

    parameters: Parameters
    history: History
    seen: list[Epoch]
    rec: Recommender


class SolverContract:
    """Set ``model`` and ``solver`` in the subclass, and ``folds`` as in ``ModelContract``."""

    model: ClassVar[Model]
    solver: ClassVar[Solver]
    folds: ClassVar[tuple[Side, ...]] = ("user", "item")

    @pytest.fixture(scope="class")
    @classmethod
    def ratings(cls) -> Ratings:
        """1,200 ratings by 60 users of 40 items."""
        return random_ratings(n_users=60, n_items=40, n=1200, seed=0)

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, ratings: Ratings) -> OneFit:
        """The one fit that most tests look at."""
        seen: list[Epoch] = []
        parameters, history = estimate(cls.solver, cls.model, ratings, seed=4, on_epoch=seen.append)
        rec = Recommender.of(cls.model.fitted(parameters), parameters, ratings)
        return OneFit(parameters, history, seen, rec)

    def test_same_seed_same_bits_and_nothing_is_carried_over(
        self, ratings: Ratings, fitted: OneFit
    ) -> None:
        """A second fit starts afresh."""
        again, _ = self.solver.fit(self.model, ratings, seed=4)
        assert again.keys() == fitted.parameters.keys()
        for name in again:
            np.testing.assert_array_equal(again[name], fitted.parameters[name])

    def test_a_fit_that_was_saved_goes_on_to_the_same_bits(
        self, ratings: Ratings, fitted: OneFit, tmp_path: Path
    ) -> None:
        """From a file, in a new loop, if the solver goes on epoch by epoch."""
        if not isinstance(self.solver, IteratingSolver):
            pytest.skip("it is over at once, or cannot be stopped")
        begun = self.solver.start(self.model, ratings, seed=4).run(1)
        begun.checkpoint().save(tmp_path / "begun")
        again = self.solver.start(self.model, ratings, seed=4)
        again.restore(Checkpoint.load(tmp_path / "begun")).run()
        result = again.result()
        assert result.keys() == fitted.parameters.keys()
        for name in result:
            np.testing.assert_array_equal(result[name], fitted.parameters[name])

    def test_fitting_leaves_ratings_alone(self, ratings: Ratings, fitted: OneFit) -> None:  # noqa: ARG002
        """Bit for bit."""
        before = random_ratings(n_users=60, n_items=40, n=1200, seed=0)
        for name in ("user_indices", "item_indices", "values"):
            np.testing.assert_array_equal(getattr(ratings, name), getattr(before, name))

    def test_beats_the_global_mean_on_its_training_ratings(
        self, ratings: Ratings, fitted: OneFit
    ) -> None:
        """By a tenth of the variance at least; preferences set what was rated apart from the rest."""
        prediction = fitted.rec.model.predict(
            fitted.parameters, ratings.user_indices, ratings.item_indices
        )
        if fitted.rec.model.scores == "preference":
            everyone = np.arange(ratings.n_users, dtype=np.int32)
            everything = fitted.rec.model.score_all(fitted.parameters, everyone)
            assert prediction.mean() > everything.mean() + 0.1 * everything.std()
            return
        assert np.mean((prediction - ratings.values) ** 2) < 0.9 * ratings.values.var()

    def test_history_counts_every_epoch(self, fitted: OneFit) -> None:
        """In order, with finite errors."""
        seen, history = fitted.seen, fitted.history
        assert seen == history.epochs
        assert [e.epoch for e in seen] == list(range(1, len(seen) + 1))
        assert history.stopped == "finished"
        assert history.best_epoch == len(seen)
        figures = [e.train_figure for e in seen]
        assert all(figure is not None and np.isfinite(figure) for figure in figures)
        assert all(e.ratings_per_second > 0 for e in seen)

    @pytest.mark.parametrize("name", TINY)
    def test_tiny_ratings_never_give_nan(self, name: str) -> None:
        """And a constant rating is predicted as it is."""
        ratings = TINY[name]
        parameters, _ = estimate(self.solver, self.model, ratings)
        prediction = self.model.fitted(parameters).predict(
            parameters, ratings.user_indices, ratings.item_indices
        )
        assert np.isfinite(prediction).all()
        if name == "a constant rating" and self.model.scores == "rating":
            np.testing.assert_allclose(prediction, 4)

    def test_the_declared_scale_is_obeyed(self, ratings: Ratings) -> None:
        """Rather than the range of the ratings."""
        declared = replace(ratings, declared_scale=(0.0, 10.0))  # type: ignore[arg-type]
        parameters, _ = self.solver.fit(self.model, declared)
        np.testing.assert_array_equal(parameters["scale"], [0, 10])

    def test_a_model_it_cannot_estimate_is_refused(self, ratings: Ratings) -> None:
        """By name."""
        with pytest.raises(SettingError, match=f"{type(self.solver).__name__} estimates"):
            self.solver.fit(Stranger(), ratings)

    def test_the_fitted_model_folds_in_explains_and_grows(self, fitted: OneFit) -> None:
        """From the prior that the solver has left; or the model refuses."""
        must_fold_explain_and_grow(fitted.rec, self.folds)

    def test_the_fitted_model_comes_back_from_its_file(
        self, fitted: OneFit, tmp_path: Path
    ) -> None:
        """With equal bits."""
        must_come_back(fitted.rec, tmp_path / "model.dotbias")

    def test_damaged_parameters_are_refused(self, fitted: OneFit) -> None:
        """With the name of the array."""
        must_refuse_damage(fitted.rec)
