"""Gram matrices and turned tables: equal to NumPy's, for any number of threads."""

import numba
import numpy as np
import pytest

from dotbias.solvers.least_squares.eigenbasis import Eigenbasis, gram, turned
from dotbias.solvers.least_squares.normal_equations import padded
from dotbias.solvers.threads import threads

SHAPES = [(1, 1), (3, 8), (63, 5), (300, 20), (5000, 64), (70, 130)]


def table(n: int, k: int) -> np.ndarray:
    out = np.zeros((n, padded(k)), np.float32)
    out[:, :k] = np.random.default_rng(n).standard_normal((n, k)) * np.exp(-np.arange(k) / 10)
    return out


@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_the_basis_makes_the_gram_matrix_diagonal_and_leaves_dot_products_alone(n, k):
    rows, others = table(n, k), table(n + 1, k)
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(gram(rows), wide.T @ wide, atol=3e-7 * (wide**2).sum())
    values, vectors = basis = Eigenbasis.of(gram(rows)[:k, :k], padded(k))
    new = turned(rows, basis.vectors)
    np.testing.assert_allclose(new, wide @ vectors, atol=1e-6 * np.abs(wide).max() * np.sqrt(k))
    assert (np.diff(values) <= 0).all()
    assert (new[:, k:] == 0).all()
    np.testing.assert_allclose(gram(new), np.diag(values), atol=1e-6 * values[0])
    np.testing.assert_allclose(
        new @ turned(others, vectors).T, rows @ others.T, atol=2e-6 * k * np.abs(wide).max() ** 2
    )


def test_any_number_of_threads_leaves_the_same_bits():
    rows = table(5000, 20)
    results = []
    for n in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        with threads(n, 10**6):
            basis = Eigenbasis.of(gram(rows)[:20, :20], 24)
            results.append((gram(rows), turned(rows, basis.vectors)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
