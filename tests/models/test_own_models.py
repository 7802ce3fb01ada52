"""A model of one's own: one more term in the formula, and what does not follow from it is refused."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.base import Model, has_formula_of
from dotbias.models.parameters import Parameters
from dotbias.models.row_form import OTHER, RowForm, Side
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.base import History, Solver
from dotbias.solvers.least_squares.fold_in import fold_in
from dotbias.testing import ModelContract, SolverContract
from dotbias.testing.uses import must_fold_in, with_prior
from tests.ratings import random_ratings


@dataclass(frozen=True, kw_only=True)
class Popularity(db.DotBias):
    """One more term: how much a user likes what many have rated."""

    groups = (*db.DotBias.groups, "user_slope")

    def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:
        counts = np.log1p(ratings.item_counts)[:, None]
        return super().initialise(ratings, rng) | {
            "user_slope": np.zeros((ratings.n_users, 1), np.float32),
            "item_popularity": (counts - counts.mean()).astype(np.float32),
        }

    def formula(self, parameters: Parameters, side: Side) -> RowForm:
        if side == "item":
            raise SettingError("Popularity counts an item's ratings, so it cannot solve its row")
        form = super().formula(parameters, side)
        return replace(form, terms={**form.terms, "user_slope": "item_popularity"})


@dataclass(frozen=True, kw_only=True)
class PopularityALS(Solver):
    """Alternating least squares without the term, then every user's row with it."""

    def fit(
        self, model: Model, ratings: Ratings, *, seed: int = 0, on_epoch: Any = None
    ) -> tuple[Parameters, History]:
        if not has_formula_of(model, Popularity):
            raise SettingError(f"PopularityALS estimates Popularity, not {type(model).__name__}")
        plain = db.DotBias(n_factors=model.n_factors)
        found, history = db.ALS(n_iterations=5).fit(plain, ratings, seed=seed, on_epoch=on_epoch)
        parameters = model.initialise(ratings, np.random.default_rng(seed)) | found
        for name, last in (("user_prior_mean", 0), ("user_prior_precision", 1)):
            parameters[name] = np.append(found[name], np.float32(last))
        rated = Recommender.of(model, parameters, ratings).rated
        own = rated.indptr, rated.indices.astype(np.int32), rated.data
        rows = fold_in(model, parameters, "user", *own)
        return parameters | model.row_form(parameters, "user").split(rows), history


class TestOneMoreTerm(ModelContract):
    model = Popularity(n_factors=3)
    folds = ("user",)


class TestOneMoreTermOfASigmoid(ModelContract):
    model = Popularity(n_factors=3, output="sigmoid")
    folds = ("user",)


class TestASolverOfIt(SolverContract):
    model = Popularity(n_factors=3)
    solver = PopularityALS()
    folds = ("user",)


@dataclass(frozen=True, kw_only=True)
class Doubled(db.DotBias):
    """A formula that is stated by its predictions alone."""

    def predict(self, parameters: Parameters, users: Any, items: Any) -> Any:
        return 2 * super().predict(parameters, users, items)


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=30, n_items=20, n=300, seed=1)


def fitted(model: Model, ratings: Ratings) -> Recommender:
    parameters = model.initialise(ratings, np.random.default_rng(0))
    return with_prior(Recommender.of(model, parameters, ratings))


def test_a_formula_that_only_predicts_inherits_no_answer_for_another(ratings: Ratings) -> None:
    rec = fitted(Doubled(n_factors=2), ratings)
    assert rec.predict(1, 2) == 2 * fitted(db.DotBias(n_factors=2), ratings).predict(1, 2)
    for act in (
        lambda: rec.fold_in_user({1: 4.0}),
        lambda: rec.fold_in_item({1: 4.0}),
        lambda: rec.partial_fit(ratings),
        lambda: rec.explain(1, 2),
        lambda: db.objective(rec.model, rec.parameters, ratings),
        lambda: rec.to_torch(),
        lambda: rec.predict(1, 2, with_std=True),
    ):
        with pytest.raises(SettingError, match="Doubled"):
            act()


@pytest.mark.parametrize("model", [Doubled(n_factors=2), Popularity(n_factors=2)])
@pytest.mark.parametrize("solver", [db.ALS(), db.GradientDescent(), db.Gibbs(), db.ClosedForm()])
def test_no_solver_of_another_formula_estimates_it(
    model: Model, solver: Solver, ratings: Ratings
) -> None:
    with pytest.raises(SettingError, match=f"estimates .* not {type(model).__name__}"):
        db.fit(ratings, model, solver)


def test_other_defaults_are_no_other_formula(ratings: Ratings) -> None:
    class Small(db.DotBias):
        def initialise(self, ratings: Ratings, rng: np.random.Generator) -> Parameters:
            return {n: a * np.float32(1) for n, a in super().initialise(ratings, rng).items()}

    rec = db.fit(ratings, Small(n_factors=2), db.ALS(n_iterations=1))
    assert rec.fold_in_user({1: 5.0}).n_ratings == 1


# What a solver or a model of one's own gets wrong.


def spoilt(name: str, array: Any) -> Any:
    """Each array in turn as it must not be."""
    yield {name: None}
    yield {name: array.astype(np.float64)}
    yield {name: array[:-1]}
    yield {name: array[..., None]}
    yield {name: array.tolist()}
    yield {name: np.full_like(array, np.nan)}
    yield {name: np.full_like(array, np.inf)}


class Replacing(Solver):
    """Returns what another solver would, but for one array."""

    change: dict[str, Any]

    def fit(self, model: Any, ratings: Any, *, seed: int = 0, **_: Any) -> Any:
        parameters, history = db.ALS(n_iterations=1).fit(model, ratings, seed=seed)
        changed = parameters | self.change
        return {n: a for n, a in changed.items() if a is not None}, history


NAMES = [*db.DotBias.groups, "global_mean", "scale", "user_prior_mean", "item_prior_precision"]


@pytest.mark.parametrize("name", NAMES)
def test_a_solver_that_returns_a_wrong_array_is_named_with_it(name: str, ratings: Ratings) -> None:
    model, solver = db.DotBias(n_factors=3), Replacing()
    parameters, _ = db.ALS(n_iterations=1).fit(model, ratings)
    for change in spoilt(name, parameters[name]):
        if change[name] is None and "prior" in name:
            continue  # without a prior it is a model that rows cannot be added to
        object.__setattr__(solver, "change", change)
        with pytest.raises(SettingError, match=r"Replacing has found no .* DotBias: the array"):
            db.fit(ratings, model, solver)


@pytest.mark.parametrize("solver", [db.ALS(n_iterations=1), db.GradientDescent(n_epochs=1)])
@pytest.mark.parametrize("name", db.DotBias.groups)
def test_a_model_that_starts_from_a_wrong_array_is_named_with_it(
    name: str, solver: Solver, ratings: Ratings
) -> None:
    for number in range(7):

        class Wrong(db.DotBias):
            def initialise(self, ratings: Ratings, rng: Any, number: int = number) -> Parameters:
                start = super().initialise(ratings, rng)
                start |= list(spoilt(name, start[name]))[number]
                return {n: a for n, a in start.items() if a is not None}

        with pytest.raises(SettingError, match="initialise of Wrong: the array"):
            db.fit(ratings, Wrong(n_factors=3), solver)


def test_a_model_that_starts_with_other_settings_than_its_own_is_refused(ratings: Ratings) -> None:
    class Wider(db.DotBias):
        def initialise(self, ratings: Ratings, rng: Any) -> Parameters:
            return db.DotBias(n_factors=9).initialise(ratings, rng)

    with pytest.raises(SettingError, match=r"initialise of Wider: .*n_factors=9"):
        db.fit(ratings, Wider(n_factors=3), db.ALS())


def test_a_decay_beyond_single_precision_saves_no_model_of_nan(ratings: Ratings) -> None:
    with pytest.raises(SettingError, match=r"weight_decay must be at most 1e\+12"):
        db.fit(ratings, db.DotBias(n_factors=2), db.ALS(weight_decay=1e38))


def test_the_contract_finds_a_row_form_that_is_not_that_of_the_predictions(
    ratings: Ratings,
) -> None:
    class Claims(Doubled):
        def score_all(self, parameters: Parameters, users: Any) -> Any:
            return 2 * super().score_all(parameters, users)

        def row_form(self, parameters: Parameters, side: Side) -> RowForm:
            return self.formula(parameters, side)

    rec = fitted(Claims(n_factors=2), ratings)
    for side in OTHER:
        must_fold_in(fitted(db.DotBias(n_factors=2), ratings), side)
        with pytest.raises(AssertionError, match="not where it should be"):
            must_fold_in(rec, side)
