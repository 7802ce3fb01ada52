"""The truncated singular value decomposition of a sparse table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from dotbias.solvers.least_squares import svd
from dotbias.solvers.least_squares.svd import Rows, truncated_svd, weighted_sums


def rows(table):
    """A table as the kernel wants it."""
    sparse = csr_array(table)
    order = np.argsort(-np.diff(sparse.indptr), kind="stable")
    values = sparse.data.astype(np.float32)
    return Rows(order, sparse.indptr.astype(np.int64), sparse.indices.astype(np.int32), values)


def decomposed(table, k, seed=0):
    table = np.asarray(table, np.float32)
    return truncated_svd(rows(table), rows(table.T), k, np.random.default_rng(seed))


def table_of_tastes():
    """Thirty directions that stand out of the noise, less and less."""
    rng = np.random.default_rng(1)
    p, q = rng.normal(size=(500, 30)), rng.normal(size=(300, 30))
    noise = rng.normal(size=(500, 300))
    return (p * 0.9 ** np.arange(30) @ q.T + noise) * (rng.random((500, 300)) < 0.3)


def sparse_table(n, m, share, seed):
    rng = np.random.default_rng(seed)
    return (rng.normal(1, 0.3, (n, m)) * (rng.random((n, m)) < share)).astype(np.float32)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.02, 1), st.integers(0, 1000), st.data())
def test_of_a_small_table_it_is_exact(n, m, share, seed, data):
    table = sparse_table(n, m, share, seed)
    k = data.draw(st.integers(1, min(n, m)))
    left, values, right = decomposed(table, k)
    exact = np.linalg.svd(table.astype(float), compute_uv=False)[:k]
    scale = max(exact[0], 1e-30)
    np.testing.assert_allclose(values, exact, atol=2e-3 * scale)
    best = np.square(table).sum() - np.square(exact).sum()
    left_over = np.square(table - left * values @ right.T).sum()
    assert left_over <= best + 1e-4 * scale**2


@pytest.mark.parametrize("turned", [False, True])
def test_of_a_large_table_it_comes_near(turned):
    table = table_of_tastes()
    table = table.T if turned else table
    left, values, right = decomposed(table, 40)
    exact = np.linalg.svd(table.astype(float), compute_uv=False)[:40]
    np.testing.assert_allclose(values, exact, rtol=0.03)
    np.testing.assert_allclose(values[:10], exact[:10], rtol=2e-3)
    for vectors in (left, right):
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(40), atol=1e-3)
    best = np.square(table).sum() - np.square(exact).sum()
    assert np.square(table - left * values @ right.T).sum() < 1.02 * best


def test_rounds_bring_it_nearer(monkeypatch):
    table = table_of_tastes()
    exact = np.linalg.svd(table.astype(float), compute_uv=False)[:40]
    missing = []
    for n in (1, 3, 6):
        monkeypatch.setattr(svd, "_ROUNDS", n)
        missing.append((exact - decomposed(table, 40).values).sum())
    assert missing[0] > 2 * missing[1] > 2 * missing[2]


def test_more_are_asked_for_than_there_are():
    table = sparse_table(12, 30, 0.5, seed=5)
    left, values, right = decomposed(table, 50)
    assert (left.shape, values.shape, right.shape) == ((12, 50), (50,), (30, 50))
    assert (values[:12] > 0.1).all()
    np.testing.assert_array_equal(values[12:], 0)
    np.testing.assert_allclose(left * values @ right.T, table, atol=1e-4)


def test_a_table_of_lower_rank_has_zeros_at_the_end():
    rng = np.random.default_rng(2)
    table = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 150))
    left, values, right = decomposed(table, 20)
    assert (values[:5] > 1).all()
    np.testing.assert_array_equal(values[5:], 0)
    np.testing.assert_allclose(left * values @ right.T, table, atol=1e-3)


def test_sums_are_those_of_the_dense_product():
    table, other = sparse_table(70, 50, 0.2, seed=3), np.random.default_rng(4).normal(size=(50, 24))
    sums = weighted_sums(*rows(table), other.astype(np.float32))
    np.testing.assert_allclose(sums, table @ other, atol=1e-5)
