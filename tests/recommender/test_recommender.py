"""The recommender's answers against the formulas written out by hand, id by id."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotbias import model_file
from dotbias.data.ratings import Ratings
from dotbias.data.simulate import simulate
from dotbias.errors import DataError, SettingError, UnknownIdError
from dotbias.fitting.fit import fit
from dotbias.models import MODELS, Baseline, DotBias
from dotbias.recommender.facts import Facts
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.gibbs.gibbs import Gibbs

USERS, ITEMS = range(100, 130), range(1000, 1040)
TITLES = {
    1000: "Heat (1995)",
    1001: "Heat (1986)",
    1002: "Casino (1995)",
    1003: "Casino",
    1004: "100",
    1005: "Amélie",
    1006: "Twins",
    1007: "Twins",
}


def some_ratings():
    """About half of all pairs, on a scale from 1 to 5; every user and item occurs."""
    rng = np.random.default_rng(0)
    rows = [(u, i) for u in USERS for i in ITEMS if rng.random() < 0.5]
    user, item = zip(*rows, strict=True)
    genres = [None, *["Drama|War"] * (len(TITLES) - 1)]
    titles = pl.DataFrame({"id": list(TITLES), "title": list(TITLES.values()), "genres": genres})
    return Ratings.from_columns(user, item, rng.integers(1, 6, len(rows)), titles=titles)


def with_random_parameters(model, ratings):
    """A recommender that no fit has touched; its scores go far beyond the scale on both sides."""
    rng = np.random.default_rng(1)
    parameters = model.initialise(ratings, rng)
    for name in model.groups:
        parameters[name] = rng.standard_normal(parameters[name].shape, np.float32)
    return Recommender.of(model, parameters, ratings)


@pytest.fixture(scope="module")
def ratings():
    return some_ratings()


@pytest.fixture(
    scope="module",
    params=[Baseline(), DotBias(n_factors=4), DotBias(n_factors=4, output="sigmoid")],
    ids=["baseline", "linear", "sigmoid"],
)
def any_rec(request, ratings):
    return with_random_parameters(request.param, ratings)


@pytest.fixture(scope="module")
def rec(ratings):
    return with_random_parameters(DotBias(n_factors=4), ratings)


def score_by_hand(rec, user, item):
    """The rating before clipping, from raw ids; an unknown side counts as zero."""
    values = {name: table.tolist() for name, table in rec.parameters.items()}
    u = user - USERS[0] if user in USERS else None
    i = item - ITEMS[0] if item in ITEMS else None
    z = 0 if u is None else values["user_bias"][u]
    z += 0 if i is None else values["item_bias"][i]
    if u is not None and i is not None and isinstance(rec.model, DotBias):
        p, q = values["user_factors"][u], values["item_factors"][i]
        z += sum(a * b for a, b in zip(p, q, strict=True))
    mean, (low, high) = values["global_mean"][0], values["scale"]
    if getattr(rec.model, "output", "linear") == "linear":
        return mean + z
    low, high = low - rec.model.margin, high + rec.model.margin
    share = (mean - low) / (high - low)
    return low + (high - low) / (1 + math.exp(-z - math.log(share / (1 - share))))


def predict_by_hand(rec, user, item):
    low, high = rec.parameters["scale"].tolist()
    return min(max(score_by_hand(rec, user, item), low), high)


# -- predictions -----------------------------------------------------------------------------------


def test_predictions_equal_the_formula(any_rec):
    pairs = [(u, i) for u in [*USERS, 7] for i in [*ITEMS, 8]]  # 7 and 8 are unknown
    users, items = map(list, zip(*pairs, strict=True))
    expected = [predict_by_hand(any_rec, u, i) for u, i in pairs]
    found = any_rec.predict(users, items)
    assert found.shape == (31 * 41,)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.min() >= 1
    assert found.max() <= 5


def test_one_pair_gives_a_number(any_rec):
    for user, item in ((100, 1000), (129, 1039), (115, 1020)):
        one = any_rec.predict(user, item)
        assert isinstance(one, float)
        assert one == any_rec.predict([user], [item])[0]
    assert any_rec.predict(100, "Amélie") == any_rec.predict(100, 1005)
    assert any_rec.predict("100", "1000") == any_rec.predict(100, 1000)


def test_unknown_pairs_fall_back_and_are_never_nan(any_rec, ratings):
    nobody, nothing = any_rec.predict([7, 100, 7], [1000, 8, 8])[:2], any_rec.predict([7], [8])
    assert np.isfinite(nobody).all()
    assert nothing[0] == pytest.approx(ratings.global_mean, rel=1e-6)


def test_one_id_stands_for_as_many_as_there_are_others(rec):
    """A text id that is taken for a list would be looked up letter by letter."""
    items = [1000, 1001, 1002]
    assert rec.predict(100, items).tolist() == rec.predict([100] * 3, items).tolist()
    assert rec.predict("100", items).tolist() == rec.predict([100] * 3, items).tolist()
    assert rec.predict([100, 101], "1000").tolist() == rec.predict([100, 101], [1000] * 2).tolist()
    assert rec.predict("7", items).tolist() == rec.predict([7] * 3, items).tolist()


def test_lists_of_different_lengths_are_refused(rec):
    with pytest.raises(DataError, match="2 users for 3 items"):
        rec.predict([100, 101], [1000, 1001, 1002])
    with pytest.raises(DataError, match="1 users for 3 items"):
        rec.predict([100], [1000, 1001, 1002])


@pytest.mark.parametrize("column", ["user", "item"])
def test_a_table_needs_both_columns(any_rec, column):
    """It was a traceback of another library."""
    pairs = pl.DataFrame({"user": [1], "item": [2]}).rename({column: "of"})
    with pytest.raises(DataError, match=f"no column '{column}', only .*of"):
        any_rec.predict_table(pairs)


def test_the_table_of_predictions_names_their_basis(any_rec):
    pairs = pl.DataFrame(
        {"user": [100, 7, 100, 7], "note": list("abcd"), "item": [1000, 1000, 8, 8]}
    )
    table = any_rec.predict_table(pairs)
    assert table.columns == ["user", "note", "item", "prediction", "basis"]
    assert table["basis"].to_list() == ["both", "item", "user", "neither"]
    expected = any_rec.predict(pairs["user"], pairs["item"])
    assert table["prediction"].to_list() == expected.tolist()


# -- recommendations -------------------------------------------------------------------------------


def recommend_by_hand(rec, ratings, user, k, candidates=ITEMS, include_rated=False):
    rated = {item for name, item, _ in ratings.to_frame().iter_rows() if name == user}
    left = [i for i in candidates if include_rated or i not in rated]
    return sorted(left, key=lambda item: -score_by_hand(rec, user, item))[:k]


@pytest.mark.parametrize("k", [1, 5, 40, 1000])
@pytest.mark.parametrize("include_rated", [False, True])
def test_recommendations_are_the_best_unrated_items(any_rec, ratings, k, include_rated):
    table = any_rec.recommend(list(USERS), k, include_rated=include_rated)
    assert table.columns == ["user", "rank", "item", "title", "prediction", "basis"]
    for user in USERS:
        own = table.filter(pl.col("user") == user)
        expected = recommend_by_hand(any_rec, ratings, user, k, include_rated=include_rated)
        assert own["item"].to_list() == expected
        assert own["rank"].to_list() == list(range(1, len(expected) + 1))
        assert own["title"].to_list() == [TITLES.get(item) for item in expected]
        predictions = [predict_by_hand(any_rec, user, item) for item in expected]
        np.testing.assert_allclose(own["prediction"], predictions, rtol=1e-5)


def test_items_beyond_the_end_of_the_scale_keep_their_order(rec, ratings):
    """Clipping before sorting would make them all equally good."""
    table = rec.recommend(list(USERS), 40)
    at_end = table.filter(pl.col("prediction") == 5).group_by("user").len()["len"]
    assert at_end.max() > 5
    user = table["user"][0]
    own = table.filter(pl.col("user") == user)["item"].to_list()
    assert own == recommend_by_hand(rec, ratings, user, 40)


def test_candidates_are_the_only_items(rec, ratings):
    chosen = [1003, 1030, 1001, 1007, 1020]
    for user in (100, 101, 102):
        expected = recommend_by_hand(rec, ratings, user, 10, chosen)
        assert rec.recommend(user, candidates=chosen)["item"].to_list() == expected
    by_title = rec.recommend(100, candidates=["Amélie", 1030], include_rated=True)
    assert set(by_title["item"]) == {1005, 1030}
    assert rec.recommend(100, candidates=[]).height == 0
    with pytest.raises(UnknownIdError, match="unknown item 5"):
        rec.recommend(100, candidates=[1000, 5], strict=True)


def test_one_user_is_a_batch_of_one(rec):
    assert rec.recommend(100).equals(rec.recommend([100]))
    assert rec.recommend(np.array([100, 101])).equals(rec.recommend(pl.Series([100, 101])))


def test_an_unknown_user_in_a_batch_gets_the_best_by_bias(any_rec):
    table = any_rec.recommend([100, 7, 101], 5)
    known = any_rec.recommend([100, 101], 5)
    own = table.filter(pl.col("user") == 7)
    assert table.filter(pl.col("user") != 7).equals(known)
    assert own["item"].to_list() == any_rec.item_bias_ranking(5)["item"].to_list()
    expected = [predict_by_hand(any_rec, 7, item) for item in own["item"]]
    np.testing.assert_allclose(own["prediction"], expected, rtol=1e-5)


@pytest.mark.parametrize("k", [0, -1])
def test_lists_of_no_items_are_refused(rec, k):
    for ask in (
        lambda: rec.recommend(100, k),
        lambda: rec.similar(1000, k),
        lambda: rec.item_bias_ranking(k),
    ):
        with pytest.raises(SettingError, match="at least 1"):
            ask()


# -- similar items ---------------------------------------------------------------------------------


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


@pytest.mark.parametrize("item", [1000, 1017, 1039])
@pytest.mark.parametrize("min_ratings", [1, 15])
def test_similar_items_are_in_order_of_cosine(rec, ratings, item, min_ratings):
    vectors = dict(zip(ITEMS, rec.parameters["item_factors"].tolist(), strict=True))
    counts = dict(zip(ITEMS, ratings.item_counts.tolist(), strict=True))
    others = [i for i in ITEMS if i != item]
    others.sort(
        key=lambda other: (counts[other] < min_ratings, -cosine(vectors[item], vectors[other]))
    )
    table = rec.similar(item, 8, min_ratings=min_ratings)
    assert table.columns == ["rank", "item", "title", "similarity", "n_ratings", "basis"]
    assert table["item"].to_list() == others[:8]
    assert table["n_ratings"].to_list() == [counts[i] for i in others[:8]]
    expected = [cosine(vectors[item], vectors[i]) for i in others[:8]]
    np.testing.assert_allclose(table["similarity"], expected, atol=1e-6)
    assert len(rec.similar(item, 100, min_ratings=min_ratings)) == len(others) == 39


def test_an_item_is_like_itself(rec):
    for item in ITEMS:
        assert rec.similarity(item, item) == pytest.approx(1, abs=1e-6)
    assert rec.similarity(1000, 1020) == pytest.approx(rec.similarity(1020, 1000), abs=1e-7)


def test_an_embedding_of_zeros_is_like_nothing(ratings):
    rec = with_random_parameters(DotBias(n_factors=4), ratings)
    rec.parameters["item_factors"][3] = 0
    assert rec.similarity(1003, 1000) == 0
    assert rec.similar(1003, 40)["similarity"].is_finite().all()


def test_a_model_without_embeddings_has_no_similar_items(ratings):
    baseline = with_random_parameters(Baseline(), ratings)
    with pytest.raises(SettingError, match="Baseline has no embeddings"):
        baseline.similar(1000)


def test_items_by_title(rec):
    for name in (1002, "1002", "Casino (1995)"):
        assert rec.similar(name).equals(rec.similar(1002))
    assert rec.similar("Casino").equals(rec.similar(1003))  # exact, though a part of another
    assert rec.similar("amél").equals(rec.similar(1005))
    assert rec.similar(1006).height == 10


def test_an_ambiguous_title_lists_the_candidates(rec):
    with pytest.raises(UnknownIdError) as caught:
        rec.similar("heat")
    message = str(caught.value)
    assert "2 titles" in message
    for shown in ("1000  Heat (1995)", "1001  Heat (1986)"):
        assert shown in message
    assert "Casino" not in message
    with pytest.raises(UnknownIdError, match="2 titles"):
        rec.similar("Twins")
    with pytest.raises(UnknownIdError, match="no id or title"):
        rec.similar("Alien", strict=True)
    with pytest.raises(UnknownIdError, match=r"40 in training"):
        rec.similarity(1000, 5)


# -- how sure a prediction is ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def sampled(ratings):
    return fit(
        ratings.without_features(),
        solver=Gibbs(n_samples=60, burn_in=20, n_factors=3, keep_samples=12),
    )


def by_hand(rec, u, i):
    """Standard deviation over the kept samples, one sample at a time, and the noise."""
    p = rec.parameters
    drawn, unknown = [], []
    for rows_u, rows_i in zip(p["user_samples"], p["item_samples"], strict=True):
        drawn.append(rows_u[u, 0] + rows_i[i, 0] + float(rows_u[u, 1:] @ rows_i[i, 1:]))
        # Around the stranger, as far as the others are.
        spreads = [(r[:-1] - r[-1]).T @ (r[:-1] - r[-1]) / (len(r) - 1) for r in (rows_u, rows_i)]
        y = np.append(1, rows_i[i, 1:]), np.append(1, rows_u[u, 1:])
        terms = [w @ spread @ w for w, spread in zip(y, spreads, strict=True)]
        both = np.trace(spreads[0][1:, 1:] @ spreads[1][1:, 1:])
        unknown.append((u < 0) * terms[0] + (i < 0) * terms[1] + (u < 0) * (i < 0) * both)
    noise = p["noise_variance"][0] * p["user_noise"][u] * p["item_noise"][i]
    return math.sqrt(np.var(drawn) + np.mean(unknown) + noise)


def test_a_standard_deviation_is_that_of_samples_and_noise(sampled):
    rating, std = sampled.predict(103, 1006, with_std=True)
    assert isinstance(std, float)
    assert rating == sampled.predict(103, 1006)
    assert std == pytest.approx(by_hand(sampled, 3, 6), rel=1e-4)


def test_many_have_one_each_and_the_unknown_too(sampled):
    ratings, stds = sampled.predict([103, -5, 103, -5], [1006, 1006, -5, -5], with_std=True)
    assert ratings.tolist() == sampled.predict([103, -5, 103, -5], [1006, 1006, -5, -5]).tolist()
    expected = [by_hand(sampled, u, i) for u in (3, -1) for i in (6, -1)]
    assert stds.tolist() == pytest.approx([expected[n] for n in (0, 2, 1, 3)], rel=1e-4)
    one_user = sampled.predict(103, [1006, 1007], with_std=True)
    assert [len(column) for column in one_user] == [2, 2]


def test_the_table_has_an_interval_of_nine_in_ten_within_the_scale(sampled):
    pairs = pl.DataFrame({"user": [*USERS] * 2, "item": [*ITEMS][:30] + [*ITEMS][10:]})
    table = sampled.predict_table(pairs, with_std=True)
    assert table.columns == ["user", "item", "prediction", "basis", "std", "lower", "upper"]
    assert table.drop("std", "lower", "upper").equals(sampled.predict_table(pairs))
    _, stds = sampled.predict(pairs["user"], pairs["item"], with_std=True)
    assert table["std"].to_list() == stds.tolist()
    for rating, std, lower, upper in table.select("prediction", "std", "lower", "upper").rows():
        # Φ(1.6449) = 0.95
        assert math.erf(1.6449 / math.sqrt(2)) == pytest.approx(0.9, abs=1e-5)
        assert lower == pytest.approx(max(1, rating - 1.6449 * std), abs=1e-4)
        assert upper == pytest.approx(min(5, rating + 1.6449 * std), abs=1e-4)
    assert (table["upper"] == 5).any()
    assert (table["upper"] < 5).any()


def test_without_samples_there_is_no_standard_deviation(any_rec):
    pairs = pl.DataFrame({"user": [100], "item": [1000]})
    for ask in (
        lambda: any_rec.predict(100, 1000, with_std=True),
        lambda: any_rec.predict([100], [1000], with_std=True),
        lambda: any_rec.predict_table(pairs, with_std=True),
    ):
        with pytest.raises(SettingError, match=r"Gibbs\(keep_samples=50\), on the command line"):
            ask()


# -- the whole -------------------------------------------------------------------------------------


def test_ranking_by_item_bias(any_rec, ratings):
    bias = dict(zip(ITEMS, any_rec.parameters["item_bias"].tolist(), strict=True))
    stars = {}
    for _, item, rating in ratings.to_frame().iter_rows():
        stars.setdefault(item, []).append(rating)
    for lowest in (False, True):
        for min_ratings in (1, 16, 1000):
            known = sorted(ITEMS, key=lambda item, sign=1 if lowest else -1: sign * bias[item])
            known.sort(key=lambda item, least=min_ratings: len(stars[item]) < least)
            table = any_rec.item_bias_ranking(6, lowest=lowest, min_ratings=min_ratings)
            assert table["item"].to_list() == known[:6]
            assert table["rank"].to_list() == list(range(1, len(known[:6]) + 1))
            assert table["bias"].to_list() == [bias[item] for item in known[:6]]
            assert table["n_ratings"].to_list() == [len(stars[item]) for item in known[:6]]
            means = [sum(stars[item]) / len(stars[item]) for item in known[:6]]
            assert table["mean_rating"].to_list() == pytest.approx(means)


def test_the_mean_rating_of_items_with_few_ratings():
    few = Ratings.from_columns([1, 1, 2, 1, 2, 3], [7, 8, 8, 9, 9, 9], [5, 4, 1, 2, 4, 4])
    table = with_random_parameters(Baseline(), few).item_bias_ranking()
    means = dict(table.select("item", "mean_rating").iter_rows())
    assert means == pytest.approx({7: 5, 8: 2.5, 9: 10 / 3})


def test_info_of_a_fit(ratings):
    info = fit(ratings, DotBias(n_factors=8), GradientDescent(n_epochs=5), seed=3).info()
    assert info["model"] == "DotBias"
    assert info["settings"]["n_factors"] == 8
    assert (info["n_users"], info["n_items"], info["n_ratings"]) == (30, 40, len(ratings))
    assert (info["scale"], info["titles"], info["seed"]) == ([1, 5], True, 3)
    assert info["global_mean"] == pytest.approx(ratings.global_mean)
    assert len(info["history"]["epochs"]) == 5


def test_a_fit_learns_what_it_was_shown(ratings):
    """With many epochs and no decay the training ratings are nearly reproduced."""
    rec = fit(ratings, DotBias(n_factors=32), GradientDescent(n_epochs=150, weight_decay=0.0))
    table = ratings.to_frame()
    error = rec.predict(table["user"], table["item"]) - ratings.values
    assert np.sqrt(np.mean(error**2)) < 0.3 < ratings.values.std()


# -- the file --------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ids = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, min_size=1, max_size=8),
    st.lists(texts.filter(bool), unique=True, min_size=1, max_size=8),
)
titles = st.lists(st.none() | texts, min_size=8, max_size=8)


@settings(max_examples=60, deadline=None)
@given(ids, ids, st.none() | titles, st.sampled_from(["Baseline", "DotBias"]), st.data())
def test_round_trip_is_bit_for_bit(tmp_path_factory, users, items, names, model, data):
    size = max(len(users), len(items))
    rows = range(size)
    stars = data.draw(st.lists(st.floats(-5, 5, width=32), min_size=size, max_size=size))
    table = None
    if names is not None:
        columns = {"id": items, "title": names[: len(items)]}
        table = pl.DataFrame(columns, schema_overrides={"title": pl.String})
    ratings = Ratings.from_columns(
        [users[row % len(users)] for row in rows],
        [items[row % len(items)] for row in rows],
        stars,
        titles=table,
    )
    rec = with_random_parameters(MODELS[model](), ratings)
    note = {"seed": 1, "rmse": 0.1 + 0.2, "text": "ümlaut", "nothing": None}
    rec = replace(rec, facts=Facts(notes={"note": note}))
    path = tmp_path_factory.getbasetemp() / "round-trip.dotbias"
    rec.save(path)
    same = Recommender.load(path)

    assert same.model == rec.model
    assert same.facts == rec.facts
    assert same.parameters.keys() == rec.parameters.keys()
    for name, array in rec.parameters.items():
        assert same.parameters[name].dtype == array.dtype
        assert same.parameters[name].shape == array.shape
        assert same.parameters[name].tobytes() == array.tobytes()
    for part in ("indptr", "indices", "data"):
        assert np.array_equal(getattr(same.rated, part), getattr(rec.rated, part))
    assert same.rated.shape == rec.rated.shape
    for old, new in (
        (rec.user_vocabulary, same.user_vocabulary),
        (rec.item_vocabulary, same.item_vocabulary),
    ):
        assert new.ids.to_list() == old.ids.to_list()
        assert new.ids.dtype == old.ids.dtype
    if names is None:
        assert same.item_vocabulary.titles is None
    else:
        known = dict(zip(items, names, strict=False))
        expected = [known[item] for item in same.item_vocabulary.ids]
        assert same.item_vocabulary.titles.to_list() == expected
    assert same.recommend(users, 3).equals(rec.recommend(users, 3))


def test_a_loaded_recommender_saves_the_same_content(ratings, tmp_path):
    rec = fit(ratings, DotBias(n_factors=8), GradientDescent(n_epochs=5))
    first, second = tmp_path / "a.dotbias", tmp_path / "b.dotbias"
    rec.save(first)
    Recommender.load(str(first)).save(str(second))
    (arrays, metadata), (arrays_again, metadata_again) = map(model_file.read, (first, second))
    assert metadata == metadata_again
    assert {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()
    } == {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays_again.items()}


def test_titles_and_genres_are_kept_in_the_file(rec, tmp_path):
    rec.save(tmp_path / "a.dotbias")
    items = Recommender.load(tmp_path / "a.dotbias").item_vocabulary
    assert items.titles.equals(rec.item_vocabulary.titles, null_equal=True)
    assert set(items.genres) == {None, "Drama|War"}
    assert items.genres.equals(rec.item_vocabulary.genres, null_equal=True)


def test_rarely_rated_items_come_last_but_are_not_lost(rec, ratings):
    """A single five-star rating used to put an obscure item at the head of everyone's list."""
    counts = dict(zip(ITEMS, ratings.item_counts.tolist(), strict=True))
    user = rec.user_vocabulary.raw(0)
    plain = rec.recommend(user, 40, min_ratings=0)
    demoted = rec.recommend(user, 40, min_ratings=15)
    assert sorted(plain["item"]) == sorted(demoted["item"])
    rare = [counts[item] < 15 for item in demoted["item"]]
    assert rare == sorted(rare)
    assert any(rare)
    for part in (True, False):
        expected = [item for item in plain["item"] if (counts[item] < 15) == part]
        assert [item for item in demoted["item"] if (counts[item] < 15) == part] == expected
    both = dict(plain.select("item", "prediction").iter_rows())
    assert dict(demoted.select("item", "prediction").iter_rows()) == pytest.approx(both)


def test_no_users_no_rows(rec):
    assert rec.predict([], []).shape == (0,)
    assert rec.recommend([]).columns == ["user", "rank", "item", "title", "prediction", "basis"]
    assert rec.recommend([]).height == 0


def test_repeated_pairs_are_refused_not_summed():
    once = Ratings.from_columns([1, 1, 2], [5, 6, 6], [4.0, 5.0, 3.0])
    twice = once.rows(np.array([0, 0, 2]))
    model = DotBias(n_factors=2)
    parameters = model.initialise(twice, np.random.default_rng(0))
    with pytest.raises(DataError, match=r"1 \(user, item\) pairs are rated more than once"):
        Recommender.of(model, parameters, twice)


def test_lists_of_all_users_some_at_a_time(caplog):
    ratings, _ = simulate(23, 15, 200, seed=1)
    rec = fit(ratings, Baseline())
    users = rec.user_vocabulary.ids
    with caplog.at_level("INFO", "dotbias"):
        whole = rec.recommend(users, k=100)
        told = list(caplog.messages)
        caplog.clear()
        for n_users in (1, 7, 23, 1000):
            parts = list(rec.recommend_all(k=100, n_users=n_users))
            assert len(parts) == -(-len(users) // n_users)
            assert pl.concat(parts).equals(whole)
            assert caplog.messages == told  # once, of all
            caplog.clear()
    assert told
    with pytest.raises(SettingError, match="n_users must be at least 1"):
        next(rec.recommend_all(n_users=0))
