"""Nearest neighbours and the two figures of a map, against brute force and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.insight import map_quality
from dotbias.insight.map_quality import nearest, quality

sklearn = pytest.importorskip("sklearn.manifold", reason="scikit-learn comes with the extra map")


def unit(n, f, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((n, f)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(2, 30), st.integers(0, 99), st.integers(1, 29))
def test_nearest_are_those_of_the_largest_cosine(n, seed, k):
    vectors, k = unit(n, 3, seed), min(k, n - 1)
    rows, cosines = nearest(vectors, k)
    for row in range(n):
        others = np.delete(np.arange(n), row)
        expected = others[np.argsort(-(vectors[others] @ vectors[row]), kind="stable")][:k]
        np.testing.assert_allclose(cosines[row], vectors[expected] @ vectors[row], atol=1e-6)
        assert row not in rows[row]
        assert len(set(rows[row])) == k


def test_blocks_make_no_difference(monkeypatch):
    vectors = unit(100, 4)
    whole = nearest(vectors, 7)
    figures = quality(vectors, vectors[:, :2], whole[0], k=7, seed=0)
    monkeypatch.setattr(map_quality, "_BLOCK", 1_000)
    np.testing.assert_array_equal(nearest(vectors, 7)[0], whole[0])
    assert quality(vectors, vectors[:, :2], whole[0], k=7, seed=0) == figures


@pytest.mark.parametrize("k", [1, 5, 10])
def test_trustworthiness_is_that_of_scikit_learn(k):
    vectors = unit(300, 10)
    positions = vectors[:, :2] + 0.1 * unit(300, 2, seed=1)
    ours = quality(vectors, positions, nearest(vectors, k)[0], k=k, seed=0)
    theirs = sklearn.trustworthiness(vectors, positions, n_neighbors=k)
    assert ours.trustworthiness == pytest.approx(theirs, abs=1e-9)
    assert ours.n_rows == 300


def test_preservation_is_the_share_of_neighbours_that_are_kept():
    vectors, k = unit(60, 5), 4
    positions = unit(60, 2, seed=1)
    neighbours = nearest(vectors, k)[0]
    kept = []
    for row in range(60):
        distances = np.linalg.norm(positions - positions[row], axis=1)
        distances[row] = np.inf
        kept.append(len(set(np.argsort(distances)[:k]) & set(neighbours[row])) / k)
    found = quality(vectors, positions, neighbours, k=k, seed=0).preservation
    assert found == pytest.approx(np.mean(kept))


def test_a_map_that_is_the_space_itself_is_perfect_and_a_random_one_is_chance():
    vectors = unit(1_000, 2)
    neighbours = nearest(vectors, 10)[0]
    perfect = quality(vectors, vectors, neighbours, k=10, seed=0)
    assert perfect.trustworthiness > 0.9999  # but for rounding among the close
    assert perfect.preservation > 0.99
    chance = quality(vectors, unit(1_000, 2, seed=1), neighbours, k=10, seed=0)
    assert chance.trustworthiness == pytest.approx(0.5, abs=0.02)
    assert chance.preservation == pytest.approx(0.01, abs=0.005)


def test_a_sample_of_the_points_says_nearly_the_same(monkeypatch):
    vectors = unit(1_000, 6)
    neighbours = nearest(vectors, 10)[0]
    every = quality(vectors, vectors[:, :2], neighbours, k=10, seed=0)
    monkeypatch.setattr(map_quality, "_MOST_ROWS", 400)
    some = quality(vectors, vectors[:, :2], neighbours, k=10, seed=0)
    assert (every.n_rows, some.n_rows) == (1_000, 400)
    assert some.trustworthiness == pytest.approx(every.trustworthiness, abs=0.01)
    assert some.preservation == pytest.approx(every.preservation, abs=0.02)


def test_points_in_one_place_have_figures_too():
    vectors = unit(40, 3)
    found = quality(vectors, np.zeros((40, 2), np.float32), nearest(vectors, 5)[0], k=5, seed=0)
    assert 0 <= found.trustworthiness < 0.8
    assert 0 <= found.preservation < 0.5
