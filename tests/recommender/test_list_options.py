"""Which items are on a list, and what counts beside their scores."""

import logging
from dataclasses import fields, replace
from functools import cache, partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dotbias as db
from dotbias.cli.listing import Listing
from dotbias.data.vocabulary import Vocabulary
from dotbias.errors import AmbiguousTitleError, DataError, SettingError, UnknownIdError
from dotbias.models import Baseline, DotBias
from dotbias.recommender.diversity import POOL, diversified
from dotbias.recommender.list_options import ListKeywords, ListOptions
from dotbias.recommender.recommender import Recommender
from tests.ratings import random_ratings

N_USERS, N_ITEMS = 12, 150
GENRES = ("Comedy", "Drama", "War")
USERS = np.arange(-1, N_USERS, dtype=np.int32)


@cache
def recommender(seed=0):
    """Random parameters, ratings of which some items have many, and genres of which some have none."""
    rng = np.random.default_rng(seed)
    pairs = random_ratings(n_users=N_USERS, n_items=N_ITEMS, n=700, seed=seed)
    kept = rng.random(len(pairs)) < (pairs.item_indices + 1) / N_ITEMS
    ratings = pairs.take(np.flatnonzero(kept))
    model = DotBias(n_factors=5)
    parameters = model.initialise(ratings, rng)
    for group in model.groups:
        parameters[group] = rng.standard_normal(parameters[group].shape).astype(np.float32)
    parameters |= {
        "user_prior_mean": np.zeros(6, np.float32),
        "user_prior_precision": np.ones(6, np.float32),
        "prior_per_rating": np.zeros(1, np.float32),
    }
    of_item = ["|".join(g for g in GENRES if rng.random() < 0.4) or None for _ in range(N_ITEMS)]
    years = [f" ({1980 + n})" if n % 3 else "" for n in range(ratings.n_items)]
    names = pl.Series([f"film {n:03}{year}" for n, year in enumerate(years)])
    items = Vocabulary(
        ratings.item_vocabulary.ids, names, pl.Series(of_item[: ratings.n_items], dtype=pl.String)
    )
    return replace(Recommender.of(model, parameters, ratings), item_vocabulary=items)


def has_genre(rec, genres):
    own = rec.item_vocabulary.genres.fill_null("").str.split("|").to_list()
    return np.array([not {g.lower() for g in genres}.isdisjoint(g.lower() for g in o) for o in own])


indices = st.lists(st.integers(0, 80), max_size=60)
options = st.fixed_dictionaries(
    {},
    optional={
        "candidates": indices,
        "exclude": indices,
        "genres": st.lists(st.sampled_from(["comedy", "DRAMA", "War"]), max_size=3),
        "not_genres": st.lists(st.sampled_from(["comedy", "war"]), max_size=2),
        "year_from": st.integers(1970, 2050),
        "year_to": st.integers(2050, 2140),
        "include_rated": st.booleans(),
        "min_ratings": st.integers(0, 8),
        "well_known": st.floats(-1, 1),
        "diversity": st.floats(0, 1),
    },
)

YEARS = ("year_from", "year_to")
FILTERS = ("candidates", "exclude", "genres", "not_genres", *YEARS, "include_rated")


@given(options, st.integers(1, 200), st.integers(0, 2))
def test_filters_are_kept_to_and_rare_items_are_last(given_options, k, seed):
    rec = recommender(seed)
    n_items = len(rec.item_vocabulary)
    top = rec.top_items(USERS, k, **given_options)
    assert top.shape == (len(USERS), min(k, n_items))
    allowed = np.ones(n_items, np.bool_)
    if "candidates" in given_options:
        allowed &= np.isin(np.arange(n_items), given_options["candidates"])
    if "genres" in given_options:
        allowed &= has_genre(rec, given_options["genres"])
    allowed &= ~has_genre(rec, given_options.get("not_genres", []))
    if not given_options.keys().isdisjoint(YEARS):
        years = np.arange(1980, 1980 + n_items)
        allowed &= np.arange(n_items) % 3 > 0
        allowed &= years >= given_options.get("year_from", 0)
        allowed &= years <= given_options.get("year_to", 9999)
    allowed &= ~np.isin(np.arange(n_items), given_options.get("exclude", []))
    rare = rec.rare(given_options.get("min_ratings", 5))
    for user, row in zip(USERS, top, strict=True):
        listed = row[row >= 0]
        own = allowed.copy()
        if user >= 0 and not given_options.get("include_rated", False):
            own[rec.rated.indices[rec.rated.indptr[user] : rec.rated.indptr[user + 1]]] = False
        assert own[listed].all()
        assert len(np.unique(listed)) == len(listed) == min(k, own.sum())
        assert (row[len(listed) :] == -1).all()
        assert (np.diff(rare[listed].astype(int)) >= 0).all()


@given(options, st.floats(-1, 1))
def test_a_filtered_list_has_the_order_of_the_whole_one(given_options, well_known):
    rec = recommender()
    filters = {n: v for n, v in given_options.items() if n in FILTERS}
    whole = rec.top_items(USERS, N_ITEMS, well_known=well_known, include_rated=True)
    part = rec.top_items(USERS, N_ITEMS, well_known=well_known, **filters)
    for row, own in zip(whole, part, strict=True):
        listed = own[own >= 0]
        assert row[np.isin(row, listed)].tolist() == listed.tolist()


@given(st.integers(1, 200), st.integers(0, 2))
def test_with_zeros_for_shape_a_list_is_the_plain_one(k, seed):
    rec = recommender(seed)
    plain = rec.top_items(USERS, k)
    shaped = rec.top_items(USERS, k, well_known=0, diversity=0, exclude=[])
    assert shaped.tolist() == plain.tolist()


# -- well known or hidden ----------------------------------------------------------------------------


@given(st.floats(-1, 1), st.integers(0, 2), st.booleans())
def test_a_list_is_ordered_by_score_and_renown(well_known, seed, include_rated):
    """By hand: the spread is the way from the tenth unrated item to the hundredth, or to the last."""
    rec = recommender(seed)
    scores = rec.model.score_all(rec.parameters, USERS).astype(float)
    known = np.log1p(rec.item_counts) / np.log1p(rec.item_counts.max())
    strength = well_known * (10 if well_known > 0 else 3.5)
    how = {"min_ratings": 0, "include_rated": include_rated}
    top = rec.top_items(USERS, N_ITEMS, well_known=well_known, **how)
    for user, own, row in zip(USERS, scores, top, strict=True):
        rated = rec.rated.indices[rec.rated.indptr[user] : rec.rated.indptr[user + 1]]
        best = np.sort(np.delete(own, rated if user >= 0 else []))[::-1]
        spread = best[9] - best[:100][-1]
        value = (own + strength * spread * known)[row[row >= 0]]
        assert (np.diff(value) <= 1e-5).all()


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=4), st.integers(0, 2))
def test_items_are_never_less_well_known_for_more_of_it(settings, seed):
    """Of the k items with the highest s + γz, the sum of z never falls as γ rises."""
    rec = recommender(seed)
    known = np.log1p(rec.item_counts)
    sums = [
        known[rec.top_items(USERS, 6, well_known=w, min_ratings=0)].sum(axis=1)
        for w in sorted(settings)
    ]
    assert (np.diff(sums, axis=0) >= -1e-4).all()


def test_the_ends_are_items_as_known_as_can_be_and_hidden_ones():
    rec = recommender()
    counts, rated = rec.item_counts, rec.rated.toarray() > 0
    hidden, plain, known = (
        np.mean(counts[rec.top_items(USERS[1:], 5, well_known=w, min_ratings=0)])
        for w in (-1, 0, 1)
    )
    most = np.mean([np.sort(counts[~own])[-5:] for own in rated])
    least = np.mean([np.sort(counts[~own])[:5] for own in rated])
    assert least <= hidden < 0.5 * plain < plain < 0.85 * most < known <= most


@pytest.mark.parametrize("well_known", [-0.7, 0.3])
def test_the_unit_of_the_scores_does_not_matter(well_known):
    rec = recommender()
    scaled = {
        n: rec.parameters[n] * np.float32(f) for n, f in (("user_factors", 64), ("item_bias", 64))
    }
    large = replace(rec, parameters=rec.parameters | scaled)
    how = {"well_known": well_known, "min_ratings": 0}
    assert large.top_items(USERS, 20, **how).tolist() == rec.top_items(USERS, 20, **how).tolist()
    assert rec.top_items(USERS, 20, **how).tolist() != rec.top_items(USERS, 20).tolist()


def test_of_items_that_are_all_as_good_the_best_known_come_first():
    rec = recommender()
    silent = {n: np.zeros_like(rec.parameters[n]) for n in rec.model.groups}
    rec = replace(rec, parameters=rec.parameters | silent)
    top = rec.top_items(USERS[:1], 20, well_known=0.1)[0]
    assert rec.item_counts[top].tolist() == sorted(rec.item_counts, reverse=True)[:20]
    hidden = rec.top_items(USERS[:1], 20, well_known=-0.1, min_ratings=0)[0]
    assert rec.item_counts[hidden].tolist() == sorted(rec.item_counts)[:20]


# -- diversity ---------------------------------------------------------------------------------------


def by_brute_force(items, scores, vectors, rare, d, k):
    """Carbonell & Goldstein's MMR, item by item."""
    left = [(i, s) for i, s in zip(items.tolist(), scores.tolist(), strict=True) if i >= 0]
    among = [s for i, s in left if not rare[i]]
    span = max(among) - min(among) if among else 0
    chosen = []

    def value(item, score):
        relevance = (score - min(among)) / span if span else 0
        likeness = max((float(vectors[item] @ vectors[c]) for c in chosen), default=0)
        return not rare[item], (1 - d) * relevance - d * likeness, score

    while left and len(chosen) < k:
        best = max(left, key=lambda pair: value(*pair))  # of equals the first
        left.remove(best)
        chosen.append(best[0])
    return chosen


@given(st.integers(0, 2**32))
def test_diversity_is_that_of_brute_force(seed):
    """Numbers whose sums and products are exact, and many equals among them."""
    rng = np.random.default_rng(seed)
    n, m, n_items = rng.choice([0, 1, 3]), int(rng.choice([0, 1, 5, 40])), 60
    vectors = np.zeros((n_items, 4), np.float32)
    vectors[np.arange(n_items), rng.integers(0, 4, n_items)] = rng.choice([-1, 0, 1], n_items)
    items = np.array([rng.permutation(n_items)[:m] for _ in range(n)], np.int32).reshape(n, m)
    scores = -np.sort(-rng.choice([0, 0.25, 0.5, 0.75, 1], (n, m)), axis=1).astype(np.float32)
    scores[:, :1], scores[:, 1:2] = 1, 1
    items[:, int(rng.choice([m, m // 2])) :] = -1
    rare = rng.random(n_items) < rng.choice([0, 0.3, 1])
    d, k = float(rng.choice([0, 0.25, 0.5, 0.75, 1])), int(rng.choice([1, 3, 10, 50]))
    # A span that divides without rounding, of the common items as of all.
    for row, own in zip(items, scores, strict=True):
        common = own[(row >= 0) & ~rare[row]]
        if len(common) and np.ptp(common) not in (0, 0.25, 0.5, 1):
            own[:] = 1
    lengths = np.float32(2) ** rng.integers(-2, 3, (n_items, 1))
    chosen = diversified(items, scores, lengths * vectors, rare, d, k)
    assert chosen.shape == (n, min(k, m))
    for row, own, pool in zip(chosen, scores, items, strict=True):
        expected = by_brute_force(pool, own, vectors, rare, d, k)
        assert row[row >= 0].tolist() == expected
        assert (row[len(expected) :] == -1).all()


@given(st.integers(1, 20))
def test_without_diversity_the_first_items_are_chosen(k):
    rec = recommender()
    vectors, rare = rec.unit_vectors, rec.rare(3)
    items = rec.top_items(USERS, 40, min_ratings=3)
    scores = np.tile(-np.sort(-np.arange(40, dtype=np.float32)), (len(items), 1))
    assert diversified(items, scores, vectors, rare, 0.0, k).tolist() == items[:, :k].tolist()


def test_a_list_is_chosen_from_ten_times_as_many_items_and_begins_with_the_best():
    rec = recommender()
    plain = rec.top_items(USERS, POOL * 4)
    for diversity in (0.3, 1):
        diverse = rec.top_items(USERS, 4, diversity=diversity)
        assert (diverse[:, 0] == plain[:, 0]).all()
        assert all(np.isin(own, pool).all() for own, pool in zip(diverse, plain, strict=True))


def test_lists_are_less_alike_for_more_diversity():
    rec = recommender()
    vectors = rec.unit_vectors

    def likeness(diversity):
        top = rec.top_items(USERS, 5, diversity=diversity, min_ratings=0)
        return np.mean([vectors[own] @ vectors[own].T for own in top])

    assert likeness(0) > likeness(0.3) > likeness(0.7)


def test_a_near_duplicate_gives_way():
    rec = recommender()
    first, second = rec.top_items(USERS[1:2], 2, min_ratings=0)[0]
    twin = rec.parameters["item_factors"].copy()
    twin[second] = 1.001 * twin[first]
    bias = rec.parameters["item_bias"].copy()
    bias[second] = bias[first]
    rec = replace(rec, parameters=rec.parameters | {"item_factors": twin, "item_bias": bias})
    assert {first, second} == set(rec.top_items(USERS[1:2], 2, min_ratings=0)[0])
    thinned = rec.top_items(USERS[1:2], 2, min_ratings=0, diversity=0.5)[0]
    assert len({first, second} & set(thinned)) == 1


# -- in the user's own words -------------------------------------------------------------------------


def test_every_option_is_there_wherever_lists_are_asked_for():
    names = {field.name for field in fields(ListOptions)}
    assert set(ListKeywords.__annotations__) == names
    assert set(Listing().keywords()) == names
    assert ListOptions(**Listing().keywords()) == ListOptions()


def test_items_are_named_by_id_or_title_and_one_need_not_be_in_a_list():
    rec = recommender()
    best = rec.recommend(3, 4)
    first, second = best["item"].to_list()[:2]
    title = best["title"][0]
    for exclude in ([title], title, first, [first]):
        assert rec.recommend(3, 3, exclude=exclude)["item"].to_list() == best["item"][1:].to_list()
    assert rec.recommend(3, candidates=title)["item"].to_list() == [first]
    both = rec.recommend(3, candidates=[second, title], exclude=[title])
    assert both["item"].to_list() == [second]
    of_one = rec.recommend(3, 200, genres="comedy")
    assert of_one.equals(rec.recommend(3, 200, genres=["COMEDY"]))
    index = rec.item_vocabulary.indices(of_one["item"])
    assert has_genre(rec, ["Comedy"])[index].all()
    parts = rec.recommend_all(3, genres=iter(["Comedy"]), n_users=7)
    every = rec.recommend(rec.user_vocabulary.ids, 3, genres=["Comedy"])
    assert pl.concat(list(parts)).equals(every)
    with pytest.raises(AmbiguousTitleError, match="matches"):
        rec.recommend(3, exclude=["film 0"])


@pytest.mark.parametrize("option", ["candidates", "exclude"])
@pytest.mark.parametrize("folded", [False, True])
def test_what_the_model_does_not_know_is_left_out_of_what_is_named(option, folded, caplog):
    """It was an error, though to leave out what is not there harms nobody."""
    rec = recommender()
    ask = rec.fold_in_user({"film 000": 5.0}).recommend if folded else partial(rec.recommend, 3)
    with caplog.at_level(logging.WARNING, "dotbias"):
        table = ask(4, **{option: ["Heat", "film 031", 10**9]})
    assert table.equals(ask(4, **{option: ["film 031"]}))
    said = f"{option}: left out 2 of 3 items, unknown: 'Heat', 1000000000. strict=True (--strict)"
    assert said in caplog.text
    with pytest.raises(UnknownIdError, match="unknown item 'Heat'"):
        ask(4, strict=True, **{option: ["Heat"]})


def test_someone_new_has_all_options():
    rec = recommender()
    user = rec.fold_in_user({"film 000": 5.0, "film 004": 1.0, "film 009": 3.0})
    how = {"genres": ["War"], "exclude": ["film 031"], "well_known": -0.6, "diversity": 0.2}
    index = rec.item_vocabulary.indices(user.recommend(5, **how)["item"])
    assert has_genre(rec, ["War"])[index].all()
    assert not {0, 4, 9, 31} & set(index)
    means = [
        rec.item_counts[rec.item_vocabulary.indices(user.recommend(5, well_known=w)["item"])].mean()
        for w in (-1, 0, 1)
    ]
    assert means == sorted(means)


@cache
def two_models():
    known = recommender()
    ratings, second = known.training_ratings(), db.ImplicitALS(n_iterations=1)
    how = {"purpose": "both", "preference": second}
    pair = db.fit(ratings, DotBias(n_factors=4), db.ALS(n_iterations=1), **how)
    return replace(pair, item_vocabulary=known.item_vocabulary)


@pytest.mark.parametrize("score", ["rating", "preference"])
def test_every_option_is_of_the_model_that_ranks(score):
    pair = two_models()
    alone = pair.by(score)
    rated = {"film 000": 5.0, "film 004": 1.0, "film 009": 3.0}
    for how in ({"well_known": -0.5}, {"diversity": 0.6}, {"genres": "war", "exclude": "film 031"}):
        table = pair.recommend([1, 2, 3], 20, rank_by=score, **how)
        expected = alone.recommend([1, 2, 3], 20, **how)
        assert table["item"].to_list() == expected["item"].to_list()
        table = pair.fold_in_user(rated).recommend(20, rank_by=score, **how)
        expected = alone.fold_in_user(rated).recommend(20, **how)
        assert table["item"].to_list() == expected["item"].to_list()


def test_an_unknown_genre_names_those_there_are():
    rec = recommender()
    for name in ("Commedy", ["war", "Commedy"]):
        message = (
            "no item has the genre 'Commedy': there are Comedy, Drama, War; did you mean 'Comedy'?"
        )
        with pytest.raises(SettingError, match=message.replace("?", r"\?")):
            rec.recommend(3, genres=name)
    nothing = replace(rec, item_vocabulary=Vocabulary(rec.item_vocabulary.ids))
    with pytest.raises(SettingError, match="nothing is known of the genres of these items"):
        nothing.recommend(3, genres="War")


def test_years_are_years_of_titles():
    rec = recommender()
    with pytest.raises(SettingError, match="must be years such as 1995, not '1990'"):
        rec.recommend(3, year_from="1990")
    with pytest.raises(SettingError, match="year_from=1990 is after year_to=1989: exchange them"):
        rec.recommend(3, year_from=1990, year_to=1989)
    nothing = replace(rec, item_vocabulary=Vocabulary(rec.item_vocabulary.ids))
    with pytest.raises(SettingError, match=r"no title says a year, as Heat \(1995\) does"):
        nothing.recommend(3, year_to=1990)


def test_of_very_many_genres_some_are_named():
    genres = pl.Series([f"g{n:03}" for n in range(120)])
    with pytest.raises(SettingError, match=r"g049 and 70 more$"):
        Vocabulary(pl.Series(range(120)), genres=genres).of_genres(["another"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank_by", "stars"),
        ("well_known", 1.5),
        ("well_known", -2),
        ("well_known", float("nan")),
        ("well_known", "much"),
        ("well_known", None),
        ("min_ratings", -1),
        ("diversity", -0.1),
        ("diversity", 1.1),
        ("diversity", True),
    ],
)
def test_a_shape_out_of_range_is_refused(name, value):
    with pytest.raises(SettingError, match="must be"):
        recommender().recommend(3, **{name: value})
    with pytest.raises(SettingError, match="must be"):
        recommender().fold_in_user({}).recommend(3, **{name: value})


@pytest.mark.parametrize("wrong", [-1, N_ITEMS])
def test_an_index_that_is_no_item_is_refused_among_others_too(wrong):
    with pytest.raises(DataError, match=f"excluded item {wrong} is no index of an item"):
        recommender().top_items(USERS, 3, exclude=np.array([0, wrong], np.int32))
    with pytest.raises(DataError, match=f"candidate {wrong} is no index of an item"):
        recommender().top_items(USERS, 3, candidates=np.array([wrong], np.int32), genres=["War"])


def test_without_embeddings_there_is_no_diversity():
    rec = recommender()
    ratings = rec.training_ratings()
    parameters = Baseline().initialise(ratings, np.random.default_rng(0))
    plain = Recommender.of(Baseline(), parameters, ratings)
    with pytest.raises(SettingError, match="Baseline has no embeddings to compare items by"):
        plain.recommend(3, diversity=0.5)
