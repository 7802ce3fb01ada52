"""The axes along which a penalty is diagonal, such as a table's Gram matrix; tables as seen from there.

A dot product does not change when both of its tables are turned alike, so nothing is turned back.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from dotbias.compiled import compiled
from dotbias.models.base import Array
from dotbias.solvers.least_squares.normal_equations import LANES, add_products, add_tile

# Parts into which rows are dealt, each with a sum of its own, however many threads there are.
_PARTS = 16
# Rows whose products are summed in single precision before they go to a sum in double precision.
_SPAN = 256
# Rows that are turned at once, unless there are fewer columns.
_PANEL = 64


class Eigenbasis(NamedTuple):
    """Eigenvalues of a matrix, and a basis in which it is diagonal.

    Args:
        values: the largest first, at least 0, zeros for columns that only fill up registers, shape
            (width,).
        vectors: in columns, shape (width, width), float32.
    """

    values: NDArray[np.float64]
    vectors: Array

    @classmethod
    def of(cls, matrix: NDArray[np.float64], width: int) -> "Eigenbasis":
        """That of a positive semidefinite matrix. Its bits depend on the number of LAPACK's threads.

        Args:
            matrix: shape (k, k).
            width: number of columns of the tables that are to be turned, at least k.
        """
        k = len(matrix)
        found, axes = np.linalg.eigh(matrix)
        values, vectors = np.zeros(width), np.eye(width, dtype=np.float32)
        values[:k], vectors[:k, :k] = np.maximum(found[::-1], 0), axes[:, ::-1]
        return cls(values, vectors)


@compiled(parallel=True)
def gram(table: Any) -> Any:
    """``Σ x xᵀ`` over the rows of a table, in double precision, shape (width, width).

    Args:
        table: shape (n, width), width a multiple of 8, float32.
    """
    n, width = table.shape
    sums = np.zeros((_PARTS, width, width))
    for part in prange(_PARTS):
        products = np.empty((width, width), np.float32)
        for start in range(part * _SPAN, n, _PARTS * _SPAN):
            rows = table[start : start + _SPAN]
            products[:] = 0
            add_products(rows, len(rows), products)
            for a in range(width):
                for b in range(a, width):
                    sums[part, a, b] += products[a, b]
    for a in range(width):
        for b in range(a, width):
            for part in range(1, _PARTS):
                sums[0, a, b] += sums[part, a, b]
            sums[0, b, a] = sums[0, a, b]
    return sums[0]


@compiled(parallel=True)
def turned(table: Any, basis: Any) -> Any:
    """``table @ basis``.

    Args:
        table: shape (n, width), width a multiple of 8, float32.
        basis: shape (width, width), float32.
    """
    n, width = table.shape
    out = np.empty((n, width), np.float32)
    size = min(_PANEL, width)
    for part in prange((n + size - 1) // size):
        first = part * size
        m = min(size, n - first)
        # Rows stand in columns: what a tile sums over goes down both of its factors.
        columns = np.zeros((width, width), np.float32)
        products = np.zeros((size, width), np.float32)
        for r in range(m):
            for f in range(width):
                columns[f, r] = table[first + r, f]
        for a in range(0, m, LANES):
            for b in range(0, width, LANES):
                add_tile(
                    columns.ctypes.data + 4 * a,
                    basis.ctypes.data + 4 * b,
                    width,
                    width,
                    products.ctypes.data + 4 * (a * width + b),
                    width,
                )
        for r in range(m):
            for f in range(width):
                out[first + r, f] = products[r, f]
    return out
