"""Models that new ratings have joined, against regressions and sets written out by hand."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dotbias as db
from dotbias.errors import DataError, ModelFileError
from dotbias.recommender.recommender import Recommender
from tests.ratings import random_ratings

N_USERS, N_ITEMS, K = 40, 30, 4
MODELS = {
    "baseline": db.Baseline(),
    "linear": db.DotBias(n_factors=K),
    "sigmoid": db.DotBias(n_factors=K, output="sigmoid"),
}
TITLES = pl.DataFrame({"id": [0, 1], "title": ["Heat", "Ran"]})


def first_ratings() -> db.Ratings:
    plain = random_ratings(N_USERS, N_ITEMS, 600, seed=0).to_frame()
    return db.Ratings.from_columns(plain["user"], plain["item"], plain["rating"], titles=TITLES)


RECS = {name: db.fit(first_ratings(), model, seed=1) for name, model in MODELS.items()}
kinds = pytest.mark.parametrize("kind", MODELS)


def triples(rec: Recommender) -> dict[tuple[int, int], float]:
    table = rec.rated.tocoo()
    users = rec.user_vocabulary.ids.gather(table.coords[0]).to_list()
    items = rec.item_vocabulary.ids.gather(table.coords[1]).to_list()
    return dict(zip(zip(users, items, strict=True), table.data.tolist(), strict=True))


def row(rec: Recommender, side: str, raw: int) -> list[float]:
    vocabulary = rec.user_vocabulary if side == "user" else rec.item_vocabulary
    at = vocabulary.find(raw, noun=side)
    factors = rec.parameters.get(f"{side}_factors", np.zeros((len(vocabulary), 0)))[at]
    return [float(rec.parameters[f"{side}_bias"][at]), *factors.tolist()]


def joining(rows: dict[tuple[int, int], int]) -> db.Ratings:
    users, items = zip(*rows, strict=True)
    return db.Ratings.from_columns(users, items, list(rows.values()), scale=(1, 5))


pairs = st.tuples(st.integers(-5, N_USERS + 5), st.integers(-5, N_ITEMS + 5))
some_new = st.dictionaries(pairs, st.integers(1, 5), min_size=1, max_size=12)


@kinds
@given(some_new)
def test_what_joins_is_known_and_nothing_else_moves(kind: str, new) -> None:
    rec = RECS[kind]
    before = {name: array.copy() for name, array in rec.parameters.items()}
    known = triples(rec)

    grown = rec.partial_fit(joining(new))

    assert triples(grown) == known | new
    for side, at in (("user", 0), ("item", 1)):
        vocabulary = {"user": "user_vocabulary", "item": "item_vocabulary"}[side]
        old, touched = set(getattr(rec, vocabulary).ids), {pair[at] for pair in new}
        assert getattr(grown, vocabulary).ids.to_list() == sorted(old | touched)
        for raw in old - touched:
            assert row(grown, side, raw) == row(rec, side, raw)
    trained = set(rec.model.groups)
    assert set(grown.parameters) == set(rec.parameters)
    for name, array in rec.parameters.items():
        assert np.array_equal(array, before[name])  # the model it comes from
        assert grown.parameters[name].dtype == array.dtype
        assert np.isfinite(grown.parameters[name]).all()
        if name not in trained:
            assert np.array_equal(array, grown.parameters[name])
    users, items = {u for u, _ in new}, {i for _, i in new}
    record = grown.facts["partial_fits"][-1]
    assert record | {"at": ""} == {
        "at": "",
        "n_ratings": len(new),
        "n_replaced": len(new.keys() & known.keys()),
        "n_new_users": len(users - set(rec.user_vocabulary.ids)),
        "n_new_items": len(items - set(rec.item_vocabulary.ids)),
    }


@kinds
@given(st.sets(st.integers(0, 599), min_size=1, max_size=50))
def test_ratings_that_are_known_already_change_nothing(kind: str, rows: set[int]) -> None:
    rec = RECS[kind]
    again = rec.partial_fit(first_ratings().take(np.array(sorted(rows))))
    for name, array in rec.parameters.items():
        assert np.allclose(again.parameters[name], array, atol=2e-5)


@kinds
def test_a_new_user_is_folded_in(kind: str) -> None:
    rec, rated = RECS[kind], {3: 5, 8: 1, 20: 4}
    user = rec.fold_in_user(rated)
    grown = rec.partial_fit(joining({(999, item): value for item, value in rated.items()}))
    assert row(grown, "user", 999) == pytest.approx([user.bias, *user.factors], abs=1e-6)


@kinds
def test_a_new_item_is_folded_in(kind: str) -> None:
    """Its users are solved between the item's two turns: the last one sees them as they are now."""
    rec, raters = RECS[kind], {3: 5, 8: 1, 20: 4}
    grown = rec.partial_fit(joining({(user, 999): value for user, value in raters.items()}))
    again = grown.fold_in_item(raters)
    assert row(grown, "item", 999) == pytest.approx([again.bias, *again.factors], abs=1e-5)


def test_a_known_user_is_moved_by_the_new_rating_alone() -> None:
    rec, user = RECS["linear"], 5
    known = {i: r for (u, i), r in triples(rec).items() if u == user}
    item = min(set(range(N_ITEMS)) - set(known))
    p, mean = rec.parameters, float(rec.parameters["global_mean"][0])
    x = np.array(row(rec, "user", user))
    penalty = np.diag(p["user_prior_precision"].astype(float))

    def regressors(items: list[int]) -> tuple[np.ndarray, np.ndarray]:
        held = np.array([row(rec, "item", i) for i in items])
        return held[:, 0], np.column_stack([np.ones(len(items)), held[:, 1:]])

    b, y = regressors(list(known))
    left = y.T @ (mean + b + y @ x - list(known.values())) + len(known) * penalty @ x
    b, y = regressors([*known, item])
    targets = np.array([*known.values(), 5.0]) - mean - b
    expected = np.linalg.solve(y.T @ y + len(targets) * penalty, y.T @ targets + left)

    grown = rec.partial_fit(joining({(user, item): 5}))

    assert np.abs(left).max() > 0.01  # gradient descent has not gone all the way
    assert row(grown, "user", user) == pytest.approx(expected, abs=1e-5)
    assert grown.predict(user, item) > rec.predict(user, item)


def test_titles_are_kept_and_merged() -> None:
    titles = pl.DataFrame({"id": [0, 2, 99], "title": ["another", "Casino", "Amélie"]})
    new = db.Ratings.from_columns([1, 1, 1], [0, 2, 99], [1, 3, 5], titles=titles)
    vocabulary = RECS["linear"].partial_fit(new).item_vocabulary
    shown = [vocabulary.label(vocabulary.find(raw)) for raw in (0, 1, 2, 3, 99)]
    assert shown == ["Heat", "Ran", "Casino", "3", "Amélie"]


def test_a_rating_of_zero_is_a_rating() -> None:
    ratings = db.Ratings.from_columns([1, 1, 2, 2], [1, 2, 1, 2], [0.0, 2.0, 1.0, 0.0])
    rec = db.fit(ratings, db.Baseline())
    new = db.Ratings.from_columns([3, 1], [1, 2], [0.0, 0.0], scale=(0, 2))
    assert triples(rec.partial_fit(new)) == triples(rec) | {(3, 1): 0.0, (1, 2): 0.0}


@kinds
def test_a_grown_model_is_saved_and_loaded_like_any_other(kind: str, tmp_path) -> None:
    grown = RECS[kind].partial_fit(joining({(999, 3): 5, (2, 888): 1}))
    grown.save(tmp_path / "m.dotbias")
    loaded = Recommender.load(tmp_path / "m.dotbias")
    assert loaded.facts == grown.facts
    assert triples(loaded) == triples(grown)
    assert all(np.array_equal(a, loaded.parameters[n]) for n, a in grown.parameters.items())
    twice = [rec.partial_fit(joining({(1000, 888): 2})) for rec in (grown, loaded)]
    assert len(twice[0].facts.partial_fits) == 2
    assert twice[0].recommend(1000).equals(twice[1].recommend(1000))
    assert twice[0].info()["n_users"] == N_USERS + 2


def test_bad_ratings_are_named() -> None:
    rec = RECS["linear"]
    with pytest.raises(DataError, match="new rating 6 is outside the model's scale 1-5"):
        rec.partial_fit(db.Ratings.from_columns([1, 2], [1, 2], [3, 6]))
    with pytest.raises(DataError, match=r"new rating 6 \(the first of 2 such\) is outside"):
        rec.partial_fit(db.Ratings.from_columns([1, 2], [1, 2], [6, 0]))
    with pytest.raises(DataError, match=r"1 .* pairs are rated more than once"):
        rec.partial_fit(db.Ratings.from_columns([1, 2], [1, 2], [3, 4]).take(np.array([0, 1, 0])))
    with pytest.raises(DataError, match="user ids are integers here and text in the new"):
        rec.partial_fit(db.Ratings.from_columns(["ann"], [1], [3]))
    with pytest.raises(DataError, match="item ids are integers here and text in the new"):
        rec.partial_fit(db.Ratings.from_columns([1], ["Heat"], [3]))


def test_a_model_of_an_older_version_says_to_fit_again() -> None:
    rec = RECS["linear"]
    old = {name: array for name, array in rec.parameters.items() if "prior" not in name}
    older = Recommender(rec.model, old, rec.user_vocabulary, rec.item_vocabulary, rec.rated)
    with pytest.raises(ModelFileError, match="fit it again"):
        older.partial_fit(joining({(1, 1): 3}))


@pytest.mark.parametrize("solver", [None, db.ALS()], ids=["gradient descent", "ALS"])
def test_joining_comes_close_to_fitting_on_everything(solver) -> None:
    ratings, _ = db.simulate(n_users=400, n_items=150, n_ratings=20_000, seed=2)
    train, test = ratings.split(0.2, seed=1)
    late = train.user_indices % 10 == 0
    model = db.DotBias(n_factors=8)
    before = db.fit(train.take(~late), model, solver)
    rmse = [
        db.evaluate(rec, test).rmse
        for rec in (before, before.partial_fit(train.take(late)), db.fit(train, model, solver))
    ]
    assert rmse[1] - rmse[2] < 0.25 * (rmse[0] - rmse[2])
