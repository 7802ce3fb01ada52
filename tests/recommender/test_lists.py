"""Lists on arrays against plain sorting."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.errors import DataError
from dotbias.models import Baseline, DotBias
from dotbias.models.pairs import dot_products
from dotbias.models.scoring import Scoring, scored
from dotbias.recommender import lists
from dotbias.recommender.lists import Catalogue, top_items, top_k
from dotbias.recommender.recommender import Recommender
from tests.ratings import random_ratings


def sorted_lists(scores, k, excluded, candidates, rare):
    """What ``top_k`` should choose, item by item."""
    chosen = np.full((len(scores), min(k, scores.shape[1])), -1)
    for row, own in enumerate(scores.tolist()):
        left = set(range(len(own)) if candidates is None else candidates)
        left -= set() if excluded is None else set(excluded[row])
        left = [item for item in left if own[item] > -np.inf]
        left.sort(key=lambda item: (rare[item], -own[item], item))
        best = left[:k]
        chosen[row, : len(best)] = best
    return chosen


def random_case(seed):
    """Few distinct scores, so most are equals; sometimes each item is left out, or no candidate is left.

    All numbers are small and whole: sums are exact in any order.
    """
    rng = np.random.default_rng(seed)
    n, n_items = rng.choice([0, 1, 3, 20]), rng.choice([1, 2, 30, 600])
    width = rng.choice([0, 1, 7, 8, 19, 64, 131])
    scoring = Scoring(
        rng.integers(-1, 2, (n, width)).astype(np.float32),
        rng.integers(-1, 2, (n_items, width)).astype(np.float32),
        rng.choice([-np.inf, -1, 0, 2], (rng.choice([1, n]), n_items)).astype(np.float32),
    )
    excluded, candidates = None, None
    if rng.random() < 0.7:
        shares = rng.choice([0, 0.3, 1], n)
        excluded = [
            np.flatnonzero(rng.random(n_items) < share).astype(np.int32) for share in shares
        ]
    if rng.random() < 0.5:
        candidates = rng.choice(n_items, rng.choice([0, 1, n_items // 2, 2 * n_items]))
    rare = rng.random(n_items) < rng.choice([0, 0.5, 1])
    k = int(rng.choice([1, 4, 20, n_items, n_items + 5]))
    catalogue = Catalogue.of(scoring.item_vectors) if rng.random() < 0.7 else None
    return scoring, k, excluded, candidates, rare, catalogue


@given(st.integers(0, 2**32))
def test_the_best_are_those_of_sorting(seed):
    scoring, k, excluded, candidates, rare, catalogue = random_case(seed)
    scores = scoring.user_vectors @ scoring.item_vectors.T + scoring.bias
    items, found = top_k(
        scoring, k, excluded=excluded, candidates=candidates, rare=rare, catalogue=catalogue
    )
    expected = sorted_lists(scores, k, excluded, candidates, rare)
    np.testing.assert_array_equal(items, expected)
    listed = np.where(items >= 0, np.take_along_axis(scores, items, axis=1), -np.inf)
    np.testing.assert_array_equal(found, listed)


@pytest.mark.parametrize("scale", [1e-25, 1e-3, 1.0, 1e17])
@pytest.mark.parametrize("width", [3, 64, 70, 200])
def test_what_may_be_on_a_list_is_never_passed_over(width, scale):
    """Vectors that point all the same way are as good as their lengths allow, and next to equal: what
    rounding does decides who is on the list. Some end in zeros, so that what is left adds nothing. They
    are more than a tile holds: whole tiles are passed over too.
    """
    rng = np.random.default_rng(width)
    for _ in range(20):
        x = rng.standard_normal(width) * scale
        lengths = 1 + rng.choice([0, 2e-7]) * rng.normal(size=1300)
        lengths[rng.random(1300) < 0.3] *= rng.random()
        y = (x * lengths[:, None] / rng.choice([1, scale])).astype(np.float32)
        y[:400, width // 2 :] = 0
        bias = rng.choice([0, float(np.square(x).sum()) / 1e7]) * rng.random((1, 1300))
        scoring = Scoring(x[None, :].astype(np.float32), y, bias.astype(np.float32))
        excluded = [np.sort(rng.choice(1300, 200, replace=False)).astype(np.int32)]
        every = top_k(scoring, 25, excluded=excluded)
        quick = top_k(scoring, 25, excluded=excluded, catalogue=Catalogue.of(y))
        for whole, part in zip(every, quick, strict=True):
            np.testing.assert_array_equal(part, whole)


def test_a_number_that_is_none_is_no_score():
    """Nor does it rule anything out."""
    y = np.ones((90, 70), np.float32)
    y[3, 69], y[4, 0], y[5] = np.nan, np.inf, -np.inf
    x = np.ones((1, 70), np.float32)
    items, _ = top_k(Scoring(x, y, np.zeros((1, 90), np.float32)), 4, catalogue=Catalogue.of(y))
    assert items.tolist() == [[4, 0, 1, 2]]


@pytest.mark.parametrize("width", [0, 3, 8, 21, 64])
def test_scores_have_the_bits_of_predictions(width):
    rng = np.random.default_rng(width)
    x, y = (rng.standard_normal((n, width), np.float32) for n in (1, 50))
    bias = rng.standard_normal((1, 50), np.float32)
    items, scores = top_k(Scoring(x, y, bias), 50)
    alone = dot_products(x, y, np.zeros(50, np.int32), np.arange(50, dtype=np.int32)) + bias[0]
    assert scores[0].tolist() == alone[items[0]].tolist()
    np.testing.assert_allclose(alone, (x @ y.T + bias)[0], atol=1e-5)


@pytest.mark.parametrize(
    "model",
    [Baseline(), *[DotBias(n_factors=k, output=o) for k in (2, 19) for o in ("linear", "sigmoid")]],
    ids=str,
)
def test_shown_predictions_never_rise_down_a_list(model):
    """With scores and predictions summed in different orders they did, by a rounding error."""
    ratings = random_ratings(n_users=30, n_items=400, n=900, seed=4)
    parameters = model.initialise(ratings, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for group in model.groups:
        table = parameters[group]
        nearly_equal = rng.standard_normal(table[:1].shape) + rng.normal(0, 1e-7, table.shape)
        parameters[group] = nearly_equal.astype(np.float32)
    # Nothing is cut off, and rounding is not lost in a large mean.
    parameters |= {"global_mean": np.zeros(1, np.float32), "scale": np.array([-99, 99], np.float32)}
    rec = Recommender.of(model, parameters, ratings)
    table = rec.recommend([*range(30), -1], 400, min_ratings=0, include_rated=True)
    shown = table["prediction"].to_numpy().reshape(-1, ratings.n_items)
    assert (np.diff(shown, axis=1) <= 0).all()


class Contrary(DotBias):
    """Likes what its parent does not."""

    def score_all(self, parameters, users):
        return -super().score_all(parameters, users)

    def predict(self, parameters, users, items):
        return -super().predict(parameters, users, items)


def test_a_formula_of_ones_own_orders_the_lists():
    """Whoever inherited the scan of another formula was recommended the worst items."""
    ratings = random_ratings(n_users=5, n_items=30, n=60, seed=2)
    model = Contrary(n_factors=3)
    parameters = model.initialise(ratings, np.random.default_rng(0))
    parameters["item_bias"] = np.arange(ratings.n_items, dtype=np.float32)
    rec = Recommender.of(model, parameters, ratings)
    top = rec.top_items(np.array([0, -1], np.int32), 5, include_rated=True, min_ratings=0)
    assert top.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("chunk", [1, 90, 50 * 30])
def test_chunks_and_threads_change_nothing(monkeypatch, chunk):
    ratings = random_ratings(n_users=50, n_items=30, n=400, seed=2)
    model = DotBias(n_factors=9)
    parameters = model.initialise(ratings, np.random.default_rng(0))
    rec = Recommender.of(model, parameters, ratings)
    users = np.arange(-1, 50, dtype=np.int32)
    alone = [rec.top_items(users[n : n + 1], 7)[0].tolist() for n in range(len(users))]
    monkeypatch.setattr(lists, "_CHUNK_SCORES", chunk)
    assert rec.top_items(users, 7).tolist() == alone
    assert rec.top_items(users[:0], 7).shape == (0, 7)


def test_many_users_need_no_table_of_all_scores():
    rng = np.random.default_rng(0)
    n, n_items = 300, 50_000
    parameters = {
        "global_mean": np.zeros(1, np.float32),
        "scale": np.array([-9, 9], np.float32),
        "user_factors": rng.standard_normal((n, 2), np.float32),
        "item_factors": rng.standard_normal((n_items, 2), np.float32),
        "user_bias": np.zeros(n, np.float32),
        "item_bias": np.zeros(n_items, np.float32),
    }
    users, rare = np.arange(n, dtype=np.int32), np.zeros(n_items, np.bool_)
    tracemalloc.start()
    top_items(DotBias(n_factors=2), parameters, users, 10, rare=rare)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * n * n_items / 10


@pytest.mark.parametrize("wrong", [-1, 5, 2**31 - 1])
def test_a_candidate_that_is_no_item_is_refused(wrong):
    scoring = scored(np.zeros((1, 5), np.float32))
    with pytest.raises(DataError, match=f"candidate {wrong} is no index of an item: there are 5"):
        top_k(scoring, 3, candidates=np.array([0, wrong], np.int32))
