"""Truncated singular value decomposition of a table that is mostly zeros.

Randomised subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4): the table and its
transpose are applied in turn to a few random columns, which come to span the leading singular vectors.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from dotbias.compiled import compiled
from dotbias.models.parameters import Array
from dotbias.solvers.least_squares.eigenbasis import gram, turned
from dotbias.solvers.least_squares.normal_equations import padded

# Rounds of subspace iteration, and columns more than are asked for: they make the last ones better.
_ROUNDS, _MORE = 3, 32
# Rows are dealt out to so many threads at most.
_BLOCKS = 64
# Directions whose squares are a smaller share of the largest are rounding.
_ROUNDING = 1e-10


class Rows(NamedTuple):
    """A table row by row, as in a compressed sparse table.

    Args:
        order: all rows, the longest first, shape (n,).
        starts: where each row starts, and the end of the last, shape (n + 1,).
        partners: column of each number, int32.
        values: the numbers, float32.
    """

    order: NDArray[np.intp]
    starts: NDArray[Any]
    partners: NDArray[np.int32]
    values: Array


class Svd(NamedTuple):
    """``U diag(s) Vᵀ``.

    Args:
        left: ``U``, shape (n, k), float32.
        values: ``s``, the largest first, zeros where the table has no more, shape (k,).
        right: ``V``, shape (m, k), float32.
    """

    left: Array
    values: NDArray[np.float64]
    right: Array


def numbers_held(n_rows: int, n_columns: int, k: int) -> int:
    """How many numbers ``truncated_svd`` holds at once beside the table, at most: both sides before and
    after they are turned.
    """
    width = padded(min(k + _MORE, n_rows, n_columns))
    return 2 * (n_rows + n_columns) * width


def truncated_svd(rows: Rows, columns: Rows, k: int, rng: np.random.Generator) -> Svd:
    """The k largest singular values of a table, and their vectors.

    Args:
        rows: the table, row by row.
        columns: the same column by column.
        k: how many; those beyond the number of rows or columns are zeros, and so are their vectors.
        rng: where the iteration starts.
    """
    flat = len(rows.order) < len(columns.order)
    long, short = (columns, rows) if flat else (rows, columns)
    n_short = len(short.order)
    width = padded(min(k + _MORE, n_short))
    if width < n_short:
        found = rng.standard_normal((n_short, width), np.float32)
        for _ in range(_ROUNDS):
            found = _orthonormal(weighted_sums(*short, weighted_sums(*long, found)))
    else:
        found = np.eye(n_short, width, dtype=np.float32)
    image = weighted_sums(*long, found)
    squares, axes = np.linalg.eigh(gram(image))
    squares, axes = squares[::-1][:k], axes[:, ::-1][:, :k]
    inverse = _inverse_roots(squares)
    values = np.where(inverse > 0, squares, 0) * inverse
    ours, theirs = (
        np.pad(turned(table, _square(own))[:, :k], ((0, 0), (0, k - len(values))))
        for table, own in ((found, axes), (image, axes * inverse))
    )
    left, right = (ours, theirs) if flat else (theirs, ours)
    return Svd(left, np.pad(values, (0, k - len(values))), right)


def _orthonormal(table: Array) -> Array:
    """Columns that span what those of a table do, orthonormal; zeros where they are too many."""
    squares, axes = np.linalg.eigh(gram(table))
    spanning: Array = turned(table, _square(axes * _inverse_roots(squares)))
    return spanning


def _inverse_roots(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """``1 / √x`` of each, 0 where it is rounding."""
    clear = squares > _ROUNDING * squares.max(initial=0)
    return np.where(clear, 1 / np.sqrt(np.where(clear, squares, 1)), 0)


def _square(axes: NDArray[np.float64]) -> Array:
    """Some columns, filled up to a square matrix."""
    out = np.zeros((len(axes), len(axes)), np.float32)
    out[:, : axes.shape[1]] = axes
    return out


@compiled(parallel=True)
def weighted_sums(order: Any, starts: Any, partners: Any, values: Any, table: Any) -> Any:
    """``Σ v y`` over the numbers of each row and the rows of a table that they stand for: the sparse
    table times the other one, shape (n, width).

    Args:
        order, starts, partners, values: as in ``Rows``.
        table: shape (m, width), float32.
    """
    n, width = len(order), table.shape[1]
    out = np.zeros((n, width), np.float32)
    for block in prange(min(_BLOCKS, n)):
        for at in range(block, n, _BLOCKS):
            row = order[at]
            for j in range(starts[row], starts[row + 1]):
                value, partner = values[j], partners[j]
                for f in range(width):
                    out[row, f] += value * table[partner, f]
    return out
