"""Eigenvalues and their density from products with vectors alone, against plain matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from dotbias.errors import SettingError
from dotbias.insight import spectrum
from dotbias.insight.spectrum import eigenpairs, lanczos, spectral_density

N = 60


def with_eigenvalues(values):
    axes, _ = np.linalg.qr(np.random.default_rng(5).standard_normal((N, N)))
    return axes @ np.diag(values) @ axes.T


# As Hessians are: a few directions curve steeply, many hardly, some downward or not at all.
MATRICES = {
    "definite": with_eigenvalues(np.geomspace(0.001, 2, N)),
    "indefinite": with_eigenvalues(np.append(np.linspace(-0.1, 0.1, N - 4), [-0.3, 0.5, 1, 1.5])),
    "flat": with_eigenvalues(np.append(np.zeros(N - 20), np.linspace(0.2, 1, 20))),
}
every_kind = pytest.mark.parametrize("kind", MATRICES)


def ends(matrix, *args, **options):
    return eigenpairs(lambda v: matrix @ v, N, *args, **options)


def density_of(matrix, *args, **options):
    return spectral_density(lambda v: matrix @ v, N, *args, **options)


@every_kind
def test_the_default_tolerance_finds_the_outermost_to_four_digits(kind):
    matrix = MATRICES[kind]
    dense = np.linalg.eigvalsh(matrix)
    error = 1e-4 * dense[-1]
    assert ends(matrix)[0] == pytest.approx(dense[-1], abs=error)
    assert ends(matrix, 1, "smallest")[0] == pytest.approx(dense[0], abs=error)


def test_eigenvectors_are_those_of_their_values():
    matrix = MATRICES["indefinite"]
    for which in ("largest", "smallest"):
        values, vectors = ends(matrix, 3, which, tolerance=1e-9)
        assert np.allclose(matrix @ vectors, vectors * values, atol=1e-8)
        assert np.allclose(vectors.T @ vectors, np.eye(3), atol=1e-8)


def test_the_seed_makes_the_same_bits():
    matrix = MATRICES["indefinite"]
    first, again, other = (ends(matrix, 2, seed=s)[1] for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    densities = [density_of(matrix, 2, 5, seed=s).nodes for s in (1, 1, 2)]
    assert np.array_equal(densities[0], densities[1])
    assert not np.array_equal(densities[0], densities[2])


def test_eigenvalues_that_do_not_converge_are_no_result(monkeypatch):
    monkeypatch.setattr(spectrum, "_MOST_RESTARTS", 1)
    with pytest.raises(
        SettingError, match=r"of the 9 smallest eigenvalues converged to a tolerance of 1e-14: ask"
    ):
        ends(MATRICES["indefinite"], 9, "smallest", top=1.0, tolerance=1e-14)


# The spectral density.


def test_lanczos_of_all_steps_has_the_eigenvalues_of_the_matrix():
    rng = np.random.default_rng(0)
    square = rng.standard_normal((30, 30))
    matrix = square + square.T
    diagonal, beside = lanczos(lambda v: matrix @ v, rng.standard_normal(30), 99)
    tridiagonal = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    assert np.allclose(np.linalg.eigvalsh(tridiagonal), np.linalg.eigvalsh(matrix), atol=1e-10)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(0, 99))
def test_lanczos_ends_where_there_is_nothing_further(values, seed):
    matrix = np.array(values, float)
    start = np.random.default_rng(seed).standard_normal(len(values))
    diagonal, beside = lanczos(lambda v: matrix * v, start, 12)
    assert len(diagonal) == len(set(values)) == len(beside) + 1


@every_kind
def test_the_density_integrates_to_one(kind):
    density = density_of(MATRICES[kind], 3, 15)
    assert density.weights.sum() == pytest.approx(1)
    assert (density.weights >= 0).all()
    points = np.linspace(density.nodes.min() - 1, density.nodes.max() + 1, 4001)
    assert trapezoid(density.smooth(points, 0.01), points) == pytest.approx(1)


@every_kind
def test_the_mean_of_the_density_is_the_trace_over_the_parameters(kind):
    matrix = MATRICES[kind]
    n = len(matrix)
    n_probes = 150
    found = density_of(matrix, n_probes, 1, seed=2).mean()
    # Variance of v' H v for entries ±1: twice the squares beside the diagonal (Hutchinson 1990).
    beside = matrix - np.diag(np.diag(matrix))
    std = np.sqrt(2 * (beside**2).sum() / n_probes) / n
    assert abs(found - np.trace(matrix) / n) < 4 * std
    assert 4 * std < 0.4 * np.trace(matrix) / n


def test_the_moments_of_the_density_are_those_of_its_probes():
    matrix = MATRICES["indefinite"]
    density = density_of(matrix, 2, 4, seed=7)
    rng = np.random.default_rng(7)
    probes = [rng.choice([-1.0, 1.0], len(matrix)) for _ in range(2)]
    for power in range(8):  # Gauss quadrature of 4 nodes is exact up to 7
        moved = [v @ np.linalg.matrix_power(matrix, power) @ v / len(v) for v in probes]
        assert (density.nodes**power) @ density.weights == pytest.approx(np.mean(moved))


def test_the_share_of_eigenvalues_below_a_number():
    matrix = MATRICES["indefinite"]
    dense = np.linalg.eigvalsh(matrix)
    density = density_of(matrix, 12, 20)
    for bound in (-0.01, 0.0, 0.02, 0.1, 0.5):
        assert density.weights[density.nodes < bound].sum() == pytest.approx(
            np.mean(dense < bound), abs=0.1
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: ends(m, 0), "k=0: of 60 parameters 1 to 59 eigenvalues"),
        (lambda m: ends(m, 60), "k=60: of 60 parameters 1 to 59 eigenvalues"),
        (lambda m: ends(m, 1, "middle"), "which must be 'largest' or 'smallest'"),
        (lambda m: density_of(m, 0), "at least 1 of each"),
        (lambda m: density_of(m, 1, 0), "at least 1 of each"),
    ],
)
def test_a_mistake_is_named(call, message):
    with pytest.raises(SettingError, match=message):
        call(MATRICES["definite"])
