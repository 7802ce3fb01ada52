"""What every fitted model must be able to do, or refuse clearly: what both contracts ask."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.models.row_form import OTHER, Prior, Side
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.least_squares.fold_in import fold_in

# How far a number of a row is moved to see whether the objective falls.
_STEP = 0.02


def must_fold_in(rec: Recommender, side: Side) -> None:
    """A row that is folded in is where ``½ Σ (r̂ - r)² + ½ w (x - m)ᵀ P (x - m)`` is least, with ``r̂``
    as ``score_all`` has it; so a row form that is not that of the predictions is found out.

    Numbers that are projected have no part in the squares: for them ``½ Σ s x² - Σ c t y · x`` is least.
    """
    model, parameters = rec.model, rec.parameters
    table = rec.rated if side == "user" else rec.rated.T.tocsr()
    row = int(np.argmax(np.diff(table.indptr)))
    own = table[[row]]
    ends, partners = own.indptr, own.indices.astype(np.int32)
    x = fold_in(model, parameters, side, ends, partners, own.data)[0].astype(np.float64)
    form = model.row_form(parameters, side)
    targets, importance = model.observed(parameters, side, ends, partners, own.data)
    prior = Prior.of(form, side)
    weight = float(prior.weights(np.diff(ends))[0])
    width = form.regressed.width
    beside = form.others(partners)[:, width:]

    def objective(x: Any) -> float:
        alone = parameters | form.split(x[None, :].astype(np.float32))
        if side == "user":
            scores = model.score_all(alone, np.zeros(1, np.int32))[0, partners]
        else:
            scores = model.score_all(alone, partners)[:, 0]
        away = x[:width] - prior.mean
        projected = beside @ x[width:]
        squares = np.square(scores - projected.astype(np.float64) - targets)
        squares = (squares if importance is None else importance * squares).sum()
        penalty = (
            weight * away @ prior.precision @ away + prior.ridge(np.diff(ends))[0] * away @ away
        )
        pull = targets * projected if importance is None else importance * targets * projected
        own = 0.5 * form.singular_values @ x[width:] ** 2 if form.projected else 0.0
        return 0.5 * float(squares + penalty) + float(own - pull.sum())

    least = objective(x)
    for n in range(1 - form.lead, len(x)):
        for step in (-_STEP, _STEP):
            there = x.copy()
            there[n] += step
            assert objective(there) > least, f"number {n} of the row is not where it should be"


def must_explain(rec: Recommender) -> None:
    """The parts add up to the prediction."""
    user, items = rec.user_vocabulary.ids[0], rec.item_vocabulary.ids[:3].to_list()
    low, high = rec.parameters["scale"].tolist()
    for item in items:
        found = rec.explain(user, item)
        total = found.frame()["contribution"].sum()
        assert total == pytest.approx(rec.predict(user, item), abs=1e-4 * (high - low))


def must_grow(rec: Recommender) -> None:
    """New users and items join, and rows without a new rating stay as they were, bit for bit."""
    users, items = rec.user_vocabulary.ids, rec.item_vocabulary.ids
    high = float(rec.parameters["scale"][1])
    new_user, new_item = _unused(users.to_list()), _unused(items.to_list())
    new = Ratings.from_columns([new_user, users[0]], [items[0], new_item], [high, high])
    grown = rec.partial_fit(new)
    assert grown.rated.nnz == rec.rated.nnz + 2
    assert np.isfinite(grown.predict(new_user, new_item))
    rest, others = users[1:].to_list(), items[1:].to_list()
    pairs = [user for user in rest for _ in others], others * len(rest)
    np.testing.assert_array_equal(grown.predict(*pairs), rec.predict(*pairs))


def must_refuse(rec: Recommender, act: Callable[[], object]) -> None:
    """With an error that names the model."""
    with pytest.raises(SettingError, match=type(rec.model).__name__):
        act()


def must_fold_explain_and_grow(rec: Recommender, folds: tuple[Side, ...]) -> None:
    """All that rests on the row form: of the sides that it is given for, and refused for the other."""
    for side in OTHER:
        ask = rec.fold_in_user if side == "user" else rec.fold_in_item
        partners = (rec.item_vocabulary if side == "user" else rec.user_vocabulary).ids
        rating = {partners[0]: float(rec.parameters["scale"][1])}
        if side in folds:
            must_fold_in(rec, side)
            assert np.isfinite(ask(rating).predict(partners.to_list())).all()
        else:
            must_refuse(rec, lambda ask=ask, rating=rating: ask(rating))  # type: ignore[misc]
    if "user" in folds:
        must_explain(rec)
    else:
        ids = rec.user_vocabulary.ids[0], rec.item_vocabulary.ids[0]
        must_refuse(rec, lambda: rec.explain(*ids))
    if set(folds) == set(OTHER):
        must_grow(rec)
    else:
        must_refuse(rec, lambda: rec.partial_fit(rec.training_ratings()))


def must_come_back(rec: Recommender, path: Path) -> None:
    """A saved model loads and predicts the same bits."""
    rec.save(path)
    again = Recommender.load(path, model=rec.model)
    assert again.model == rec.model
    assert again.parameters.keys() == rec.parameters.keys()
    ratings = rec.training_ratings()
    before, after = (
        model.predict(p, ratings.user_indices, ratings.item_indices)
        for model, p in ((rec.model, rec.parameters), (again.model, again.parameters))
    )
    np.testing.assert_array_equal(after, before)


def must_refuse_damage(rec: Recommender) -> None:
    """Parameters that are cut short or not finite are refused before anything reads them."""
    n_users, n_items = rec.rated.shape
    rec.model.check(rec.parameters, n_users, n_items)
    for name, array in rec.parameters.items():
        if array.dtype != np.float32 or array.size == 0:
            continue
        spoilt = array.copy()
        spoilt.flat[-1] = np.nan
        with pytest.raises(SettingError, match=name):
            rec.model.check(rec.parameters | {name: spoilt}, n_users, n_items)
    with pytest.raises(SettingError):
        rec.model.check(rec.parameters, n_users + 1, n_items)
    with pytest.raises(SettingError):
        rec.model.check(rec.parameters, n_users, n_items + 1)


def with_prior(rec: Recommender) -> Recommender:
    """The recommender with a prior for each side that has a row form, as a solver would leave it."""
    prior = {"prior_per_rating": np.zeros(1, np.float32)}
    for side in OTHER:
        try:
            form = rec.model.row_form(rec.parameters, side)
            width, lead = form.width, form.lead
        except SettingError:
            continue
        prior[f"{side}_prior_mean"] = np.full(width, 0.1, np.float32)
        prior[f"{side}_prior_precision"] = np.linspace(1, 2, width, dtype=np.float32)
        prior[f"{side}_prior_mean"][: 1 - lead] = 0  # no biases
    return replace(rec, parameters=rec.parameters | prior) if len(prior) > 1 else rec


def _unused(ids: list[Any]) -> int | str:
    return max(ids) + 1 if isinstance(ids[0], int) else "".join(map(str, ids))
