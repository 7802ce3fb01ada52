"""The compiled loop over pairs: the dot product of each, without tables of what was gathered."""

from typing import Any

import numpy as np

from dotbias.compiled import compiled
from dotbias.data.vocabulary import Index
from dotbias.models.parameters import Array


def dot_products(x: Array, y: Array, rows: Index, partners: Index) -> Array:
    """``x[rows[n]] · y[partners[n]]``, 0 where an index is below 0.

    The order of the sum is fixed, so that other compiled loops can give the same bits: ``LANES`` sums
    side by side, folded in half until one is left, and then one by one what was too few for all lanes.

    Args:
        x, y: tables, shapes (n_rows, w) and (n_partners, w).
        rows, partners: indices, shape (n,).

    Returns:
        The products, shape (n,).

    Raises:
        IndexError: for an index beyond the end of its table.
    """
    products = np.zeros(len(rows), np.float32)
    wrong = _dot_products(
        np.ascontiguousarray(x), np.ascontiguousarray(y), rows, partners, products
    )
    if wrong >= 0:
        raise IndexError(
            f"pair {wrong}, ({rows[wrong]}, {partners[wrong]}): there are {len(x)} and {len(y)} rows"
        )
    return products


@compiled(nogil=True)
def _dot_products(x: Any, y: Any, rows: Any, partners: Any, products: Any) -> int:
    """Fill in the products; where the first wrong index is, -1 without one."""
    n_rows, width = x.shape
    n_partners = len(y)
    # ``LANES`` sums side by side, in words: a compiler keeps them in a register.
    whole = width - width % 8
    for n in range(len(rows)):
        row, partner = rows[n], partners[n]
        if row >= n_rows or partner >= n_partners:
            return n
        if row < 0 or partner < 0:
            continue
        a, b = x[row], y[partner]
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0)
        for f in range(0, whole, 8):
            s0 += a[f] * b[f]
            s1 += a[f + 1] * b[f + 1]
            s2 += a[f + 2] * b[f + 2]
            s3 += a[f + 3] * b[f + 3]
            s4 += a[f + 4] * b[f + 4]
            s5 += a[f + 5] * b[f + 5]
            s6 += a[f + 6] * b[f + 6]
            s7 += a[f + 7] * b[f + 7]
        total = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
        for f in range(whole, width):
            total += a[f] * b[f]
        products[n] = total
    return -1
