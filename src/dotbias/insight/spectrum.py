"""Eigenvalues of a symmetric matrix that is known by its products with vectors alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from dotbias.errors import SettingError
from dotbias.memory import check_memory
from dotbias.settings import generator
from dotbias.shown import Shown

Floats: TypeAlias = NDArray[np.float64]
Product: TypeAlias = Callable[[Floats], Floats]

_MOST_RESTARTS = 300
# Vectors that are kept in a search for eigenvalues.
_BASIS = 40
# A residual of Lanczos below this share of the spectrum: what it has seen is all there is.
_EXHAUSTED = 1e-12


def eigenpairs(
    product: Product,
    n: int,
    k: int = 1,
    which: Literal["largest", "smallest"] = "largest",
    *,
    top: float | None = None,
    tolerance: float = 1e-3,
    seed: int = 0,
    on_product: Callable[[], None] | None = None,
) -> tuple[Floats, Floats]:
    """Eigenvalues at one end of the spectrum, by implicitly restarted Lanczos (ARPACK).

    Where eigenvalues stand closer than the tolerance, one or another may be passed over.

    Args:
        product: the matrix times a vector, such as ``LossSurface.hvp`` or ``LossSurface.gnvp``.
        n: number of rows of the matrix: for those two, of parameters.
        k: how many.
        which: at which end; the outermost comes first.
        top: the largest eigenvalue, if it is known already; the smallest are found as distances from it,
            since nothing can be found with an accuracy relative to 0.
        tolerance: largest residual, relative to the eigenvalue (or that distance). The error of an
            eigenvalue that stands apart is of the order of the residual squared.
        seed: of the vector to start with.
        on_product: called after each product of the matrix and a vector.

    Returns:
        Values (k,) and vectors of length 1 in the columns of (n, k).

    Raises:
        SettingError: when ``k`` is not between 1 and n less 1, or when the eigenvalues do not converge.

    >>> values, vectors = eigenpairs(lambda v: np.arange(9.0) * v, 9, k=2)
    >>> values.round(6).tolist()
    [8.0, 7.0]
    """
    if which not in ("largest", "smallest"):
        raise SettingError(f"which must be 'largest' or 'smallest', not {which!r}")
    if not 0 < k < n:
        raise SettingError(f"k={k!r}: of {n:,} parameters 1 to {n - 1:,} eigenvalues can be found")
    shift = 0.0
    if which == "smallest":
        known = eigenpairs(product, n, tolerance=tolerance, seed=seed)[0] if top is None else [top]
        shift = float(known[0])

    def moved(v: Floats) -> Floats:
        out = product(np.ravel(v)) - shift * np.ravel(v)
        if on_product is not None:
            on_product()
        return out

    n_vectors = min(n, max(2 * k + 1, _BASIS))
    check_memory(n_vectors * n, f"k={k:,} eigenvalues", size=8)
    start = generator(seed).standard_normal(n)
    try:
        values, vectors = eigsh(
            LinearOperator((n, n), matvec=moved, dtype=np.float64),
            k,
            which="LA" if which == "largest" else "SA",
            v0=start,
            ncv=n_vectors,
            tol=tolerance,
            maxiter=_MOST_RESTARTS,
        )
    except ArpackNoConvergence as error:
        raise SettingError(
            f"only {len(error.eigenvalues)} of the {k} {which} eigenvalues converged to a "
            f"tolerance of {tolerance:g}: ask for fewer of them"
        ) from error
    order = np.argsort(values)
    order = order[::-1] if which == "largest" else order
    return values[order] + shift, vectors[:, order]


@dataclass(frozen=True, eq=False)
class SpectralDensity(Shown):
    """The density of the eigenvalues as weighted points.

    Args:
        nodes: eigenvalues that stand for their neighbourhood, shape (m,).
        weights: share of the eigenvalues that each stands for, shape (m,); 1 in all.
        n_parameters: how many eigenvalues there are.
    """

    nodes: Floats
    weights: Floats
    n_parameters: int

    def mean(self) -> float:
        """The mean eigenvalue: an estimate of the trace over the number of parameters."""
        return float(self.nodes @ self.weights)

    def smooth(self, points: ArrayLike, width: float) -> Floats:
        """The density at some points, each node a normal density of this standard deviation."""
        distance = (np.asarray(points)[..., None] - self.nodes) / width
        bells = np.exp(-0.5 * distance**2) / (width * math.sqrt(2 * math.pi))
        density: Floats = bells @ self.weights
        return density


def check_probes(n_probes: int, n_steps: int) -> None:
    """Refuse a density of no probe or no step.

    Raises:
        SettingError: saying so.
    """
    if n_probes < 1 or n_steps < 1:
        raise SettingError(
            f"n_probes={n_probes!r}, n_steps={n_steps!r}: there must be at least 1 of each"
        )


def spectral_density(
    product: Product,
    n: int,
    n_probes: int = 2,
    n_steps: int = 40,
    *,
    seed: int = 0,
    on_product: Callable[[], None] | None = None,
) -> SpectralDensity:
    """How the eigenvalues are spread, by stochastic Lanczos quadrature (Ghorbani et al. 2019).

    From each of a few random vectors Lanczos makes a tridiagonal matrix whose eigenvalues and first
    components are the nodes and weights of a Gauss quadrature of the density (Golub & Welsch 1969).

    Args:
        product, n: as for ``eigenpairs``.
        n_probes: random vectors, of entries ±1.
        n_steps: steps of Lanczos from each; so many vectors are kept in memory.
        seed: of the vectors.
        on_product: called after each product of the matrix and a vector.

    Raises:
        SettingError: when there is no probe or no step.
    """
    check_probes(n_probes, n_steps)
    rng = generator(seed)
    nodes, weights = [], []
    for _ in range(n_probes):
        probe = rng.choice([-1.0, 1.0], n)
        diagonal, beside = lanczos(product, probe, n_steps, on_product)
        values, vectors = eigh_tridiagonal(diagonal, beside)
        nodes.append(values)
        weights.append(vectors[0] ** 2 / n_probes)
    return SpectralDensity(np.concatenate(nodes), np.concatenate(weights), n)


def lanczos(
    product: Product,
    start: Floats,
    n_steps: int,
    on_product: Callable[[], None] | None = None,
) -> tuple[Floats, Floats]:
    """The tridiagonal matrix of Lanczos with full reorthogonalisation, which SciPy does not expose.

    Args:
        product: a symmetric matrix times a vector.
        start: the vector to start with, not zero.
        n_steps: steps at most; fewer where the vectors reach nothing further.
        on_product: called after each product.

    Returns:
        Diagonal (m,) and what stands beside it (m - 1,).

    >>> diagonal, beside = lanczos(lambda v: np.array([1.0, 3.0]) * v, np.ones(2), 5)
    >>> eigh_tridiagonal(diagonal, beside, eigvals_only=True).round(6).tolist()
    [1.0, 3.0]
    """
    n_steps = min(n_steps, len(start))
    check_memory(n_steps * len(start), f"n_steps={n_steps:,} of Lanczos", size=8)
    basis = np.empty((n_steps, len(start)))
    diagonal, beside = np.empty(n_steps), np.empty(n_steps)
    v = start / np.linalg.norm(start)
    for step in range(n_steps):
        basis[step] = v
        v = product(basis[step])
        if on_product is not None:
            on_product()
        diagonal[step] = basis[step] @ v
        for _ in range(2):  # once leaves rounding of its own ("twice is enough")
            v = v - basis[: step + 1].T @ (basis[: step + 1] @ v)
        beside[step] = np.linalg.norm(v)
        scale = np.abs(diagonal[: step + 1]).max() + beside[: step + 1].max()
        if beside[step] <= _EXHAUSTED * scale:
            break
        v = v / beside[step]
    return diagonal[: step + 1], beside[:step]
