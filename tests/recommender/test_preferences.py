"""Preferences of new users and items, of models that grow, and why: against dense regressions."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import dotbias as db
from dotbias.errors import DataError, SettingError, UnknownIdError
from dotbias.recommender.recommender import Recommender

N_USERS, N_ITEMS, K = 30, 20, 4
TITLES = pl.DataFrame({"id": [0, 1], "title": ["Heat (1995)", "Ran (1985)"]})
SOLVER = db.ImplicitALS(n_iterations=4, weight_decay=0.1)
PENALTY = "penalty"


def some(kind: str, seed: int = 0) -> db.Ratings:
    rng = np.random.default_rng(seed)
    pairs = rng.choice(N_USERS * N_ITEMS, 300, replace=False)
    users, items = pairs // N_ITEMS, pairs % N_ITEMS
    values = {
        "ratings": rng.integers(1, 6, 300),
        "counts": rng.integers(1, 50, 300),
        "events": np.ones(300),
    }[kind]
    return db.Ratings.from_columns(
        users.tolist(), items.tolist(), values.astype(float), kind=kind, titles=TITLES
    )


FITS = {
    "ratings": ("ratings", SOLVER),
    "counts": ("counts", SOLVER),
    "events": ("events", SOLVER),
    "linear": ("counts", replace(SOLVER, weighting="linear", alpha=0.3)),
    "bm25": ("counts", replace(SOLVER, weighting="bm25", alpha=0.5, bm25_k1=20, bm25_b=0.7)),
}
MODEL = db.DotProduct(n_factors=K)


@pytest.fixture(scope="module")
def recs() -> dict[str, Recommender]:
    return {
        name: db.fit(some(kind), MODEL, solver, seed=1) for name, (kind, solver) in FITS.items()
    }


@pytest.fixture(scope="module")
def both() -> Recommender:
    return db.fit(
        some("ratings"),
        db.DotBias(n_factors=3),
        db.ALS(n_iterations=3),
        purpose="both",
        preference=SOLVER,
    )


any_fit = pytest.mark.parametrize("name", FITS)


def weights_and_targets(
    rec: Recommender, side: str, rows: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As the docstring of the solver states them."""
    ones = np.ones(len(values))
    if rec.facts.kind == "ratings":
        given = some("ratings").values.astype(float)
        return ones, rec.model.share * (1 + 0.25 * (values - given.mean()) / given.std())
    if rec.facts.kind == "events":
        return ones, ones
    solver = rec.facts.solver["ImplicitALS"]
    if solver["weighting"] == "log":
        return 1 + np.log1p(values), ones
    if solver["weighting"] == "linear":
        return 1 + 0.3 * values, ones
    table = rec.rated.toarray()
    totals, counts = table.sum(0), (table > 0).sum(1)
    total = totals[rows] if side == "user" else np.full(len(rows), values.sum())
    count = np.full(len(rows), len(rows)) if side == "user" else counts[rows]
    idf = np.log(len(totals)) - np.log1p(count)
    length = 1 - 0.7 + 0.7 * total / totals.mean()
    return 1 + 0.5 * values * 21 / (20 * length + values) * idf, ones


def dense(
    rec: Recommender, side: str, rows: np.ndarray, values: np.ndarray, extra: tuple = ()
) -> np.ndarray:
    """The row of these pairs by a dense regression on all rows of the other side, first parts alone."""
    other = {"user": "item", "item": "user"}[side]
    y = rec.parameters[f"{other}_factors"][:, : rec.model.n_factors].astype(float)
    c, t = weights_and_targets(rec, side, rows, values)
    for at, weight, target in extra:
        rows, c, t = np.append(rows, at), np.append(c, weight), np.append(t, target)
    a0, penalty, w = (
        *rec.parameters["unobserved_weight"],
        *rec.parameters[PENALTY][:1],
        np.ones(len(y)),
    )
    if side == "item":
        counts = np.diff(rec.rated.indptr)
        w = rec.parameters["balance"][1] * counts.astype(float) ** -rec.parameters["balance"][0]
        c = c * w[rows]
        scale, offset, power = rec.parameters["item_prior_growth"].astype(float)
        assert offset == pytest.approx(a0 * len(y))
        penalty = scale * (len(rows) + offset) ** power
    normal = (
        a0 * (y * w[:, None]).T @ y
        + penalty * np.eye(y.shape[1])
        + (y[rows] * c[:, None]).T @ y[rows]
    )
    return np.linalg.solve(normal, y[rows].T @ (c * t))


def of_user(rec: Recommender, user: int) -> dict[int, float]:
    row = rec.rated[[user]]
    return dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))


def of_item(rec: Recommender, item: int) -> dict[int, float]:
    column = rec.rated[:, [item]].tocoo()
    return dict(zip(column.coords[0].tolist(), column.data.tolist(), strict=True))


@any_fit
def test_a_row_folded_in_is_its_dense_regression(recs, name):
    rec = recs[name]
    for at in (0, 3, 17):
        given = of_user(rec, at)
        expected = dense(rec, "user", np.array([*given]), np.array([*given.values()]))
        np.testing.assert_allclose(rec.fold_in_user(given).factors, expected, atol=1e-5)
        given = of_item(rec, at)
        expected = dense(rec, "item", np.array([*given]), np.array([*given.values()]))
        np.testing.assert_allclose(rec.fold_in_item(given).factors, expected, atol=1e-5)


def test_ids_alone_will_do_where_there_are_no_ratings(recs, both):
    for name in ("counts", "events"):
        alone = recs[name].fold_in_user([3, "Heat (1995)", 8])
        ones = recs[name].fold_in_user({3: 1, 0: 1, 8: 1})
        np.testing.assert_array_equal(alone.factors, ones.factors)
    with pytest.raises(DataError, match="pairs of item and rating, or a frame"):
        both.fold_in_user([3, 8])


def test_counts_of_the_same_item_are_added_up_and_events_are_not(recs):
    counts, events = recs["counts"], recs["events"]
    twice, once = [(0, 2), ("Heat (1995)", 3)], {0: 5}
    np.testing.assert_array_equal(
        counts.fold_in_user(twice).factors, counts.fold_in_user(once).factors
    )
    np.testing.assert_array_equal(
        events.fold_in_user(twice).factors, events.fold_in_user([0]).factors
    )
    with pytest.raises(DataError, match="item 3: count 0 is not above 0"):
        counts.fold_in_user({3: 0})


def test_what_someone_does_not_want_is_never_listed_and_lowers_what_is_like_it(both):
    known, unwanted = {3: 5.0, 8: 4.0}, "Heat (1995)"
    user = both.fold_in_user(known, not_interested=[unwanted, 5])
    other = both.fold_in_user(known)
    assert user.n_ratings == 2
    for shown in (user.recommend(N_ITEMS), user.recommend(N_ITEMS, include_rated=True)):
        assert not {0, 5} & set(shown["item"])
    alone = both.by("preference")
    expected = dense(
        alone,
        "user",
        np.array([3, 8]),
        np.array([5.0, 4.0]),
        extra=[(0, 1, -0.125), (5, 1, -0.125)],
    )
    pulls = weights_and_targets(alone, "user", np.array([3, 8]), np.array([5.0, 4.0]))[1].tolist()
    values = alone.parameters["singular_values"]
    q = alone.parameters["item_factors"][[3, 8, 0, 5], -len(values) :]
    beside = (pulls + [-0.125] * 2) @ q / values
    expected = np.append(expected, beside)
    np.testing.assert_allclose(user.preference, expected, atol=1e-5)
    unwanted_vectors = alone.model.item_vectors(alone.parameters)[[0, 5]]
    before, after = (unwanted_vectors @ u.preference for u in (other, user))
    assert np.square(after + 0.25).sum() < 0.5 * np.square(before + 0.25).sum()
    np.testing.assert_array_equal(user.factors, other.factors)  # stars say nothing of it
    assert user.bias == other.bias


def test_what_someone_does_not_want_is_checked(both):
    with pytest.raises(UnknownIdError, match="unknown item 999"):
        both.fold_in_user({3: 5.0}, not_interested=[999], strict=True)
    user = both.fold_in_user({3: 5.0}, not_interested=[999])
    np.testing.assert_array_equal(user.preference, both.fold_in_user({3: 5.0}).preference)
    with pytest.raises(DataError, match="item 3 is rated or chosen, and in not_interested"):
        both.fold_in_user({3: 5.0}, not_interested=[3])
    with pytest.raises(DataError, match="give a list of ids"):
        both.fold_in_user({3: 5.0}, not_interested="Heat (1995)")


def test_bm25_with_all_pairs_at_once_is_the_formula(recs):
    """Where the solver takes its weights from, and the penalty from their sum."""
    rec, ratings = recs["bm25"], some("counts")
    totals = np.bincount(ratings.item_indices, ratings.values)
    idf = np.log(N_ITEMS) - np.log1p(ratings.user_counts[ratings.user_indices])
    length = 1 - 0.7 + 0.7 * totals[ratings.item_indices] / totals.mean()
    weights = 1 + 0.5 * idf * ratings.values * 21 / (20 * length + ratings.values)
    a0 = rec.parameters["unobserved_weight"][0]
    expected = 0.1 * np.sqrt(weights.sum()) * 2 * a0 / (1 + a0)
    np.testing.assert_allclose(rec.parameters[PENALTY][0], expected, rtol=1e-5)


def test_a_user_who_has_everything_says_no_more_than_an_event():
    n = 12
    users, items = np.repeat(np.arange(2), n)[: n + 1], np.tile(np.arange(n), 2)[: n + 1]
    ratings = db.Ratings.from_columns(
        users.tolist(), items.tolist(), [3.0] * (n + 1), kind="counts"
    )
    rec = db.fit(ratings, MODEL, db.ImplicitALS(weighting="bm25"))
    starts = np.array([0, n])
    model = rec.model
    _, weights = model.observed(
        rec.parameters, "user", starts, ratings.item_indices[:n], ratings.values[:n]
    )
    np.testing.assert_allclose(weights, 1)


# -- growing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ratings", "events"])
def test_what_is_known_already_moves_nothing(recs, name):
    rec = recs[name]
    again = rec.partial_fit(some(FITS[name][0]).take(np.arange(40)))
    assert rec.parameters.keys() == again.parameters.keys()
    for array, before in rec.parameters.items():
        np.testing.assert_allclose(again.parameters[array], before, rtol=1e-5, atol=1e-5)


def test_counts_add_up(recs):
    rec = recs["counts"]
    (item, count), *_ = of_user(rec, 4).items()
    grown = rec.partial_fit(db.Ratings.from_columns([4], [item], [7.0], kind="counts"))
    assert of_user(grown, 4)[item] == count + 7
    assert of_user(grown, 5) == of_user(rec, 5)
    again = rec.partial_fit(db.Ratings.from_columns([4], [item]))  # one event is a count of 1
    assert of_user(again, 4)[item] == count + 1
    assert grown.facts.partial_fits[-1].n_replaced == 1


def test_counts_are_events_to_a_model_of_events(recs):
    grown = recs["events"].partial_fit(
        db.Ratings.from_columns([4, 99], [3, 3], [7.0, 2.0], kind="counts")
    )
    assert set(grown.rated.data.tolist()) == {1.0}


def test_ratings_and_counts_do_not_mix(recs):
    stars = db.Ratings.from_columns([4], [3], [5.0])
    with pytest.raises(DataError, match=r"to counts, and these are ratings.*--kind counts"):
        recs["counts"].partial_fit(stars)
    with pytest.raises(DataError, match="fitted to ratings, and these are events"):
        recs["ratings"].partial_fit(db.Ratings.from_columns([4], [3]))


@any_fit
def test_rows_that_join_are_regressions_on_the_model_as_it_has_become(recs, name):
    rec, kind = recs[name], FITS[name][0]
    new = {3: 5.0, 8: 2.0, 11: 1.0, 999: 4.0}
    values = [1.0] * 4 if kind == "events" else [*new.values()]
    grown = rec.partial_fit(db.Ratings.from_columns([77] * 4, [*new], values, kind=kind))
    assert len(grown.parameters["user_factors"]) == N_USERS + 1
    p, q = grown.parameters["user_factors"], grown.parameters["item_factors"]
    item = grown.item_vocabulary.find(999)
    at, user = np.array([grown.user_vocabulary.find(77, noun="user")]), grown.user_vocabulary
    # The new item was solved last, with all users as they are now.
    expected = dense(grown, "item", at, np.array([values[-1]]))
    np.testing.assert_allclose(q[item], expected, atol=1e-5)
    np.testing.assert_allclose(grown.parameters["stranger"], p.mean(0), atol=1e-6)
    a0 = grown.parameters["unobserved_weight"][0]
    prior = grown.parameters["user_prior_precision"][1:, 1:]
    penalty = grown.parameters[PENALTY][0]
    np.testing.assert_allclose(prior, a0 * q.T @ q + penalty * np.eye(K), rtol=1e-4, atol=1e-4)
    assert user.raw(int(at[0])) == 77
    assert len(grown.recommend(77, 3)) == 3


@any_fit
def test_many_users_who_join_are_each_folded_in(recs, name):
    rec, kind = recs[name], FITS[name][0]
    rng = np.random.default_rng(7)
    users, items = (
        np.repeat(np.arange(100, 140), 3),
        np.concatenate([rng.choice(N_ITEMS, 3, replace=False) for _ in range(40)]),
    )
    values = np.ones(120) if kind == "events" else rng.integers(1, 6, 120).astype(float)
    new = db.Ratings.from_columns(users.tolist(), items.tolist(), values, kind=kind)
    grown = rec.partial_fit(new)
    at = grown.user_vocabulary.indices(range(100, 140))
    for n, user in enumerate(at):
        own = slice(3 * n, 3 * n + 3)
        folded = rec.fold_in_user(dict(zip(items[own].tolist(), values[own], strict=True)))
        # What an item's values add up to has grown meanwhile.
        close = 0.05 if name == "bm25" else 1e-5
        np.testing.assert_allclose(
            grown.parameters["user_factors"][user], folded.factors, atol=close
        )


def test_most_rated_items_are_counted_anew():
    rec = db.fit(some("events"), solver=db.MostRated())
    new = db.Ratings.from_columns([100, 101, 102, 102], [3, 3, 3, 500])
    grown = rec.partial_fit(new)
    counts = np.diff(grown.rated.tocsc().indptr)
    shares = grown.parameters["item_factors"][:, 0]
    np.testing.assert_allclose(shares, counts / (N_USERS + 3), rtol=1e-6)
    np.testing.assert_array_equal(grown.parameters["user_factors"], 1)
    folded = rec.fold_in_item([0, 1, 2])
    assert folded.predict(7) == pytest.approx(3 / N_USERS, abs=1e-5)


# -- explaining --------------------------------------------------------------------------------------


@any_fit
def test_the_parts_of_a_preference_add_up_to_it(recs, name):
    rec = recs[name]
    for user in range(0, N_USERS, 5):
        for item in range(0, N_ITEMS, 4):
            found = rec.explain(user, item)
            score = rec.model.predict(rec.parameters, np.array([user]), np.array([item]))[0]
            assert found.of == "preference"
            assert found.prediction == pytest.approx(score, abs=1e-7)
            table = found.frame()
            assert table["contribution"].sum() == pytest.approx(score, abs=1e-5)
            assert found.summary(2)["contribution"].sum() == pytest.approx(score, abs=1e-5)
            assert table["part"][0] == "what the fit left"
            assert table.height == 1 + len(of_user(rec, user))
            folded = rec.fold_in_user(of_user(rec, user))
            alone = folded.explain(item)
            assert alone.exact
            assert alone.prediction == pytest.approx(found.folded_in, abs=1e-5)


def test_a_part_is_what_the_regression_makes_of_one_target(recs):
    """The preference is linear in the targets: without a pair's target its part is gone."""
    rec = recs["ratings"]
    given = of_user(rec, 3)
    rows, values = np.array([*given]), np.array([*given.values()])
    y = rec.parameters["item_factors"].astype(float)
    normal = rec.parameters["user_prior_precision"][1:, 1:].astype(float) + y[rows].T @ y[rows]
    _, t = weights_and_targets(rec, "user", rows, values)
    parts = y[7] @ np.linalg.solve(normal, (y[rows] * t[:, None]).T)
    table = rec.fold_in_user(given).explain(7).frame()
    found = dict(zip(table["item"], table["contribution"], strict=True))
    for item, part in zip(rows.tolist(), parts, strict=True):
        assert found[item] == pytest.approx(part, abs=1e-5)


def test_two_models_are_explained_each_by_itself(both):
    preference, stars = both.explain(3, 7), both.explain(3, 7, of="rating")
    assert both.explain(3, 7, of="preference").to_dict() == preference.to_dict()
    assert (preference.of, stars.of) == ("preference", "rating")
    assert stars.prediction == both.predict(3, 7)
    assert stars.frame()["part"][0] == "global mean"
    assert both.by("rating").explain(3, 7).to_dict() == stars.to_dict()
    user = both.fold_in_user({3: 5.0})
    assert (user.explain(7).of, user.explain(7, of="rating").of) == ("preference", "rating")
    with pytest.raises(SettingError, match="knows no ratings"):
        both.by("preference").explain(3, 7, of="rating")


def test_words_fit_a_preference(both, recs):
    found = both.explain(3, "Ran (1985)")
    assert found.heading == f"{found.prediction:.3f} is the preference of user 3 for Ran (1985)"
    assert found.sentence.startswith("The parts are exact: the user's vector is what their ratings")
    assert str(found).startswith(found.heading)
    assert found.to_dict()["of"] == "preference"
    assert {"global mean", "user bias", "item bias", "cut off"}.isdisjoint(found.frame()["part"])
    picture = found.picture(4)
    assert picture.x_label == "what each part adds to the preference"
    assert len(picture.bars) == found.shown(4).height
    assert found.shown().columns == ["part", "rating", "contribution"]
    counts, events = recs["counts"].explain(3, 1), recs["events"].explain(3, 1)
    assert counts.shown().columns == ["part", "count", "contribution"]
    assert events.shown().columns == ["part", "contribution"]
    assert "chosen items" in str(counts.summary(1)["part"][-1])
    assert events.frame()["rating"].null_count() == events.frame().height
    for one in (counts, events):
        assert str(one)
        assert one.picture(3).bars


def test_what_someone_does_not_want_is_a_part(both):
    user = both.fold_in_user({3: 5.0, 8: 4.0}, not_interested=["Heat (1995)"])
    found = user.explain(7)
    parts = found.frame()
    assert parts.filter(pl.col("part") == "not interested")["item"].to_list() == [0]
    assert parts["contribution"].sum() == pytest.approx(found.prediction, abs=1e-5)
    assert found.exact
    assert user.explain(7, of="rating").frame()["part"].is_in(["not interested"]).sum() == 0


def test_the_most_rated_items_are_the_same_for_everyone():
    rec = db.fit(
        some("ratings"), db.DotBias(n_factors=2), purpose="both", preference=db.MostRated()
    )
    found = rec.explain(3, 7)
    assert found.prediction == pytest.approx(len(of_item(rec, 7)) / N_USERS, abs=1e-6)
    assert "the same for everyone" in found.sentence
    assert found.frame()["contribution"].sum() == pytest.approx(found.prediction, abs=1e-6)
    assert found.frame()["item"].null_count() == found.frame().height
    assert rec.fold_in_user({3: 1.0}).explain(7).prediction == pytest.approx(
        found.prediction, abs=1e-6
    )
    assert str(found)
    assert len(found.picture().bars) == 1


def test_items_like_a_new_one_are_found_by_either_embedding(both):
    copy = both.fold_in_item(of_item(both, 2))
    for by in ("rating", "preference"):
        assert copy.similar(1, by=by, min_ratings=0)["item"].to_list() == [2]
    assert copy.similar(3).equals(copy.similar(3, by="preference"))


@pytest.mark.parametrize("name", ["ratings", "counts", "events"])
def test_a_recommender_says_what_it_was_fitted_to(recs, name: str) -> None:
    assert f"300 {name})" in repr(recs[name])
