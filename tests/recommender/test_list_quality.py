"""Figures of given lists against plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from dotbias.recommender.list_quality import (
    exposure_gini,
    figures_per_user,
    measure_lists,
    novelty,
)
from tests.lists import OF_ONE, slow_figures, slow_metrics


def table(relevant, n_items):
    dense = np.zeros((len(relevant), n_items))
    for row, items in enumerate(relevant):
        dense[row, list(items)] = 1
    return csr_array(dense)


def padded(lists, width):
    return np.array([[*items, *[-1] * (width - len(items))] for items in lists], np.int32)


@st.composite
def tasks(draw):
    """Lists of at most k of n items, sets of relevant ones, k and n."""
    n_items = draw(st.integers(1, 12))
    k = draw(st.integers(1, 14))
    width = min(k, n_items)
    items = st.integers(0, n_items - 1)
    user = st.tuples(
        st.lists(items, unique=True, max_size=width), st.sets(items, min_size=1, max_size=n_items)
    )
    lists, relevant = zip(*draw(st.lists(user, min_size=1, max_size=6)), strict=True)
    return lists, relevant, k, n_items


@given(tasks())
def test_metrics_equal_plain_python(task):
    lists, relevant, k, n_items = task
    top = padded(lists, min(k, n_items))
    found = measure_lists(top, table(relevant, n_items), k)
    assert tuple(found) == (*OF_ONE, "coverage", "gini")
    assert found == pytest.approx(slow_metrics(lists, relevant, k, n_items), abs=1e-12)


@given(tasks())
def test_figures_of_each_user_equal_plain_python(task):
    lists, relevant, k, n_items = task
    found = figures_per_user(padded(lists, min(k, n_items)), table(relevant, n_items), k)
    for row, pair in enumerate(zip(lists, relevant, strict=True)):
        of_one = {name: values[row] for name, values in found.items()}
        assert of_one == pytest.approx(slow_figures(*pair, k), abs=1e-12)


@given(tasks(), st.data())
def test_novelty_equals_plain_python(task, data):
    lists, _, k, n_items = task
    shares = st.lists(st.floats(1e-6, 1), min_size=n_items, max_size=n_items)
    share = data.draw(shares)
    places = [-math.log2(share[item]) for items in lists for item in items]
    found = novelty(padded(lists, min(k, n_items)), np.array(share))
    assert found == pytest.approx(sum(places) / max(len(places), 1))


def test_lists_without_items_are_neither_new_nor_unequal():
    nothing = np.full((2, 3), -1)
    assert novelty(nothing, np.full(4, 0.5)) == exposure_gini(nothing, 4) == 0


@given(tasks())
def test_metrics_lie_between_0_and_1(task):
    lists, relevant, k, n_items = task
    found = measure_lists(padded(lists, min(k, n_items)), table(relevant, n_items), k)
    assert all(0 <= value <= 1 + 1e-12 for value in found.values())
    assert found["map"] <= found["hit_rate"] + 1e-12
    assert found["ndcg"] <= found["hit_rate"] + 1e-12


@given(tasks(), st.randoms(use_true_random=False))
def test_the_order_of_users_changes_nothing(task, random):
    lists, relevant, k, n_items = task
    order = list(range(len(lists)))
    random.shuffle(order)
    top, liked = padded(lists, min(k, n_items)), table(relevant, n_items)
    expected = pytest.approx(measure_lists(top, liked, k), abs=1e-12)
    assert measure_lists(top[order], liked[order], k) == expected


@given(tasks())
def test_the_best_list_scores_1(task):
    _, relevant, k, n_items = task
    lists = [sorted(items)[:k] for items in relevant]
    found = measure_lists(padded(lists, min(k, n_items)), table(relevant, n_items), k)
    for name in ("ndcg", "map", "mrr", "hit_rate"):
        assert found[name] == pytest.approx(1)
    share = np.mean([min(k, len(items)) / len(items) for items in relevant])
    assert found["recall"] == pytest.approx(share)


@given(tasks())
def test_lists_without_a_relevant_item_score_0(task):
    _, relevant, k, n_items = task
    lists = [sorted(set(range(n_items)) - items)[:k] for items in relevant]
    found = measure_lists(padded(lists, min(k, n_items)), table(relevant, n_items), k)
    assert [found[name] for name in OF_ONE] == [0] * 6


def test_hand_computed_case():
    """Hits at ranks 1 and 3 of 4, with 3 relevant items; then none; 7 of 10 items shown, one of them
    twice: 0, 0, 0, 1, 1, 1, 1, 1, 1, 2 places.
    """
    top = np.array([[5, 9, 2, 0], [3, 4, 6, 0]])
    relevant = csr_array(([1] * 4, ([0, 0, 0, 1], [5, 2, 8, 7])), shape=(2, 10))
    found = measure_lists(top, relevant, k=4)
    dcg, ideal = 1 + 0.5, 1 + 1 / math.log2(3) + 0.5
    assert found == pytest.approx(
        {
            "precision": (2 / 4 + 0) / 2,
            "recall": (2 / 3 + 0) / 2,
            "ndcg": (dcg / ideal + 0) / 2,
            "map": ((1 / 1 + 2 / 3) / 3 + 0) / 2,
            "mrr": (1 + 0) / 2,
            "hit_rate": 1 / 2,
            "coverage": 7 / 10,
            "gini": (-9 * 0 - 7 * 0 - 5 * 0 - 3 - 1 + 1 + 3 + 5 + 7 + 9 * 2) / (10 * 8),
        }
    )


def test_the_end_of_a_list_is_no_item():
    """Padding with -1 must not count as the last item of the user before."""
    relevant = csr_array([[0, 0, 1], [1, 0, 0]])
    found = measure_lists(np.array([[0, 1], [-1, -1]]), relevant, k=2)
    assert found["hit_rate"] == 0
    assert found["coverage"] == 2 / 3
