"""Rankings of a recommender's lists against plain Python."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.evaluation import ranking
from dotbias.evaluation.ranking import Audience, Gain, liked_from
from dotbias.evaluation.rows import Rows, align, seen
from dotbias.fitting.fit import fit
from dotbias.models import DotBias
from dotbias.recommender.recommender import MIN_RATINGS, Recommender
from dotbias.solvers.descent.gradient import GradientDescent
from tests.lists import slow_metrics


def rank(rec, test, k=10, relevant_from=None, **options):
    """The rankings of one length by order and reading, ``None`` for all held-out items."""
    liked = liked_from(rec) if relevant_from is None else relevant_from
    found = ranking.rank(Audience.known(rec, Rows.of(rec, test), **options), (k,), liked)
    return {(r.by, r.relevant_from): r for r in found}


def random_recommender(ratings, seed=0):
    """A recommender whose scores are random, and thus without ties."""
    model = DotBias(n_factors=3, init_std=1)
    parameters = model.initialise(ratings, np.random.default_rng(seed))
    return Recommender.of(model, parameters, ratings)


def score_by_model(rec, user, item):
    p, q = rec.parameters["user_factors"][user], rec.parameters["item_factors"][item]
    return float(p @ q)


def score_by_popularity(rec, _user, item):
    return rec.rated.indices.tolist().count(item)


def slow_rank(rec, train, test, k, relevant_from, score):
    """Lists and sets from raw ids, one user after the other; None stands for all held-out items."""
    catalogue = sorted(set(train["item"].to_list()))
    rated = {pair[:2] for pair in train.iter_rows()}
    known = sorted(set(train["user"].to_list()))
    counts = [train["item"].to_list().count(item) for item in catalogue]
    lists, relevant = [], []
    for u, user in enumerate(known):
        liked = {
            item
            for name, item, rating in test.iter_rows()
            if name == user and item in catalogue
            if relevant_from is None or rating >= relevant_from
        }
        liked -= {item for item in liked if (user, item) in rated}
        if liked:
            open_items = [i for i, item in enumerate(catalogue) if (user, item) not in rated]
            open_items.sort(key=lambda i, u=u: (counts[i] < MIN_RATINGS, -score(rec, u, i), i))
            lists.append(open_items[:k])
            relevant.append({catalogue.index(item) for item in liked})
    if not lists:
        return None
    places = [-math.log2(counts[item] / len(known)) for items in lists for item in items]
    metrics = slow_metrics(lists, relevant, k, len(catalogue))
    return len(lists), metrics | {"novelty": sum(places) / len(places)}


@st.composite
def rating_tables(draw):
    """Training and held-out (user, item, rating), overlapping in some users, items and pairs."""

    def rows(users, items):
        pair = st.tuples(users, items)
        pairs = draw(st.lists(pair, unique=True, min_size=1, max_size=60))
        return pl.DataFrame(
            [(u, i, float(draw(st.integers(1, 5)))) for u, i in pairs],
            schema=["user", "item", "rating"],
            orient="row",
        )

    train = rows(st.integers(0, 8), st.integers(0, 7))
    return train, rows(st.integers(0, 9), st.integers(0, 9))


def to_ratings(frame):
    return Ratings.from_columns(frame["user"], frame["item"], frame["rating"], scale=(1, 5))


@settings(max_examples=60, deadline=None)
@given(rating_tables(), st.integers(1, 12), st.sampled_from([None, 1.0, 3.0, 5.0]))
def test_rankings_equal_plain_python(tables, k, relevant_from):
    train, test = tables
    rec = random_recommender(to_ratings(train))
    found = rank(rec, to_ratings(test), k, relevant_from)
    strangers = set(test["user"].to_list()) - set(train["user"].to_list())
    for reading in (None, relevant_from or 4.0):
        for by, score in (("rating", score_by_model), ("popularity", score_by_popularity)):
            expected = slow_rank(rec, train, test, k, reading, score)
            one = found.pop((by, reading), None)
            if expected is None:
                assert one is None
                continue
            assert (one.n_users, one.metrics()) == (
                expected[0],
                pytest.approx(expected[1], abs=1e-12),
            )
            assert (one.k, one.by, one.unknown_users) == (k, by, len(strangers))
    assert not found


@settings(max_examples=30, deadline=None)
@given(rating_tables())
def test_several_lengths_are_each_as_if_alone(tables):
    train, test = map(to_ratings, tables)
    rec = random_recommender(train)
    audience = Audience.known(rec, Rows.of(rec, test))
    found = ranking.rank(audience, (3, 1, 9), 3.0)
    for k in (1, 3, 9):
        # Of equal draws the intervals are equal too.
        assert ranking.rank(audience, (k,), 3.0) == tuple(r for r in found if r.k == k)


@settings(max_examples=60, deadline=None)
@given(rating_tables())
def test_longer_lists_find_no_less(tables):
    train, test = map(to_ratings, tables)
    rec = random_recommender(train)
    found = [rank(rec, test, k, 1.0).get(("rating", None)) for k in range(1, 11)]
    if found[0] is not None:
        for name in ("recall", "hit_rate", "coverage"):
            values = [getattr(ranking, name) for ranking in found]
            assert values == sorted(values)


@settings(max_examples=60, deadline=None)
@given(rating_tables())
def test_pairs_of_training_are_found(tables):
    train, test = tables
    rec = random_recommender(to_ratings(train))
    pairs = set(train.select("user", "item").iter_rows())
    mask = seen(rec, *align(rec, to_ratings(test)))
    assert mask.tolist() == [pair[:2] in pairs for pair in test.iter_rows()]


def test_a_rating_of_zero_is_a_pair_of_training():
    """A table that drops its zeros would forget the lowest rating of a scale from 0."""
    ratings = Ratings.from_columns([1, 1, 2], [1, 2, 2], [0.0, 3.0, 5.0])
    rec = random_recommender(ratings)
    test = Ratings.from_columns([1, 2, 9], [1, 1, 1], [5.0, 5.0, 5.0])
    assert seen(rec, *align(rec, test)).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"), [(1, 5, 4), (0.5, 5, 3.875), (0, 10, 7.5), (-1, 1, 0.5)]
)
def test_default_of_what_is_relevant_follows_the_training_scale(lowest, highest, expected):
    train = Ratings.from_columns([1, 1, 2], [1, 2, 2], [lowest, highest, highest])
    test = Ratings.from_columns([2, 3], [1, 2], [highest, 2 * highest])
    rec = random_recommender(train)
    assert liked_from(rec) == expected
    assert {reading for _, reading in rank(rec, test)} == {None, expected}


def test_popular_lists_by_hand():
    """Item 7 has 3 ratings, 8 and 9 have 1; user 3 has rated 7, so sees 8 (earlier) before 9."""
    train = Ratings.from_columns([1, 2, 3, 1, 2], [7, 7, 7, 8, 9], [5, 5, 5, 1, 1])
    test = Ratings.from_columns([3], [9], [5])
    found = rank(random_recommender(train), test, k=2)["popularity", None]
    assert found.metrics() == pytest.approx(
        {
            "precision": 1 / 2,
            "recall": 1,
            "ndcg": 1 / math.log2(3),
            "map": 1 / 2,
            "mrr": 1 / 2,
            "hit_rate": 1,
            "coverage": 2 / 3,
            "novelty": math.log2(3),  # one of three users has 8, one has 9
            "gini": 1 / 3,
        }
    )


def test_a_rarely_rated_item_is_named_last_however_high_its_score():
    """Item 2 has one rating and by far the best score."""
    train = Ratings.from_columns([1, 2, 3, 4, 5, 1, 9], [1, 1, 1, 1, 1, 2, 3], [3] * 6 + [5])
    rec = random_recommender(train)
    rec.parameters["item_bias"][:] = [0, 1000, 500]
    test = Ratings.from_columns([9], [2], [5])
    assert rank(rec, test, k=1)["rating", None].hit_rate == 0
    assert rank(rec, test, k=2)["rating", None].ndcg == pytest.approx(1 / math.log2(3))


def test_nothing_relevant_gives_nothing():
    train = Ratings.from_columns([1, 2], [1, 2], [1, 5])
    rec = random_recommender(train)
    unknown_item = Ratings.from_columns([1], [77], [5])
    already_rated = Ratings.from_columns([2], [2], [5])
    for test in (unknown_item, already_rated):
        assert rank(rec, test) == {}
    disliked = Ratings.from_columns([1], [2], [1])
    assert set(rank(rec, disliked)) == {("rating", None), ("popularity", None)}


def grid_ratings(n_users, n_items, seed=0):
    """Training and held-out halves of a full grid of random ratings."""
    user, item = np.divmod(np.arange(n_users * n_items), n_items)
    rng = np.random.default_rng(seed)
    ratings = Ratings.from_columns(user, item, rng.integers(1, 6, len(user)))
    held = rng.random(len(user)) < 0.5
    return ratings.take(~held), ratings.take(held)


def test_many_users_are_sampled_by_seed():
    train, test = grid_ratings(40, 30)
    rec = random_recommender(train)
    whole, some = rank(rec, test), rank(rec, test, max_users=10, seed=1)
    own = "rating", None
    assert (whole[own].n_users, some[own].n_users) == (40, 10)
    assert some == rank(rec, test, max_users=10, seed=1)
    assert some != rank(rec, test, max_users=10, seed=2)
    assert rank(rec, test, max_users=40) == whole


def test_scores_by_popularity_gain_nothing():
    """Both lists are measured on the same users, and are the same lists."""
    train, test = grid_ratings(40, 30)
    rec = random_recommender(train)
    counts = rec.item_counts - np.arange(30) / 100
    parameters = rec.parameters | {"item_bias": np.float32(1000 * counts)}
    found = rank(Recommender.of(rec.model, parameters, train), test, max_users=10)
    for reading in (None, 4.0):
        own, popular = found["rating", reading], found["popularity", reading]
        assert own.metrics() == popular.metrics()
        assert own.gain == Gain(0, 0, 0)
        assert popular.gain is None


def test_the_gain_is_the_difference_and_lies_in_its_interval():
    train, test = grid_ratings(40, 30)
    found = rank(random_recommender(train), test)
    own, popular = found["rating", 4.0], found["popularity", 4.0]
    assert own.gain.mean == pytest.approx(own.ndcg - popular.ndcg, abs=1e-12)
    assert own.gain.low < own.gain.mean < own.gain.high


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        (Gain(0.081, 0.071, 0.092), "better than most rated items by 0.081 (0.071 to 0.092)"),
        (Gain(-0.03, -0.04, -0.02), "worse than most rated items by 0.030 (0.020 to 0.040)"),
        (
            Gain(0.002, -0.003, 0.008),
            "no better than most rated items: +0.002 (-0.003 to +0.008)",
        ),
        (Gain(0, 0, 0), "no better than most rated items: +0.000 (+0.000 to +0.000)"),
    ],
)
def test_a_gain_says_in_words_whether_there_is_any(gain, text):
    assert str(gain) == text


def test_fewer_users_than_one_are_refused():
    train, test = grid_ratings(4, 6)
    with pytest.raises(SettingError, match="max_users must be at least 1"):
        rank(random_recommender(train), test, max_users=0)


def test_movielens_equals_plain_python(data_dir):
    def read(name):
        columns = ["user", "item", "rating", "timestamp"]
        return pl.read_csv(
            data_dir / "ml-100k" / name, separator="\t", has_header=False, new_columns=columns
        ).with_columns(pl.col("rating").cast(pl.Float64))

    train, test = read("u1.base"), read("u1.test")
    ratings = to_ratings(train)
    rec = fit(ratings, DotBias(n_factors=8), GradientDescent(n_epochs=5))
    users = np.arange(ratings.n_users, dtype=np.int32)
    scores = rec.model.score_all(rec.parameters, users)
    scores[:, ratings.item_counts < MIN_RATINGS] -= 100  # named after all others
    scores[ratings.user_indices, ratings.item_indices] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    catalogue = ratings.item_vocabulary.ids.to_list()
    at = {item: i for i, item in enumerate(catalogue)}
    liked = {}
    for user, item, rating in test.select("user", "item", "rating").iter_rows():
        if rating >= 4 and item in at:
            liked.setdefault(user, set()).add(item)
    measured = [u for u, user in enumerate(ratings.user_vocabulary.ids) if user in liked]
    lists = [order[u].tolist() for u in measured]
    relevant = [{at[i] for i in liked[ratings.user_vocabulary.raw(u)]} for u in measured]

    found = rank(rec, to_ratings(test))["rating", 4.0]
    assert found.n_users == len(measured) > 400
    expected = slow_metrics(lists, relevant, 10, len(catalogue))
    assert found.metrics() == pytest.approx(expected | {"novelty": found.novelty}, abs=1e-12)
