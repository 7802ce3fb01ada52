"""The compiled loop over pairs: the dot product of each, without tables of what was gathered."""

from typing import Any

import numpy as np

from dotbias.compiled import compiled
from dotbias.data.vocabulary import Index
from dotbias.models.parameters import Array


def dot_products(
    x: Array,
    y: Array,
    rows: Index,
    partners: Index,
    *,
    own_bias: Array | None = None,
    held_bias: Array | None = None,
) -> Array:
    """``x[rows[n]] · y[partners[n]]``, 0 where an index is below 0; then the biases of partners, and of
    rows, are added.

    The order of the sum is fixed, so that other compiled loops can give the same bits: ``LANES`` sums
    side by side, folded in half until one is left, and then one by one what was too few for all lanes.

    Args:
        x, y: tables, shapes (n_rows, w) and (n_partners, w).
        rows, partners: indices, shape (n,).
        own_bias, held_bias: of each row and of each partner, shapes (n_rows,) and (n_partners,); none
            where an index is below 0.

    Returns:
        The sums, shape (n,).

    Raises:
        IndexError: for an index beyond the end of its table.
    """
    nothing = np.empty(0, np.float32)
    of_rows, of_partners = (nothing if bias is None else bias for bias in (own_bias, held_bias))
    for bias, table in ((own_bias, x), (held_bias, y)):
        if bias is not None and len(bias) != len(table):
            raise IndexError(f"{len(bias)} biases of {len(table)} rows")
    sums = np.zeros(len(rows), np.float32)
    whole = (np.ascontiguousarray(array) for array in (x, y, rows, partners, of_rows, of_partners))
    wrong = _dot_products(*whole, sums)
    if wrong >= 0:
        raise IndexError(
            f"pair {wrong}, ({rows[wrong]}, {partners[wrong]}): there are {len(x)} and {len(y)} rows"
        )
    return sums


@compiled(nogil=True)
def _dot_products(
    x: Any, y: Any, rows: Any, partners: Any, own_bias: Any, held_bias: Any, sums: Any
) -> int:
    """Fill in the sums; where the first wrong index is, -1 without one."""
    n_rows, width = x.shape
    n_partners = len(y)
    # ``LANES`` sums side by side, in words: a compiler keeps them in a register.
    whole = width - width % 8
    for n in range(len(rows)):
        row, partner = rows[n], partners[n]
        if row >= n_rows or partner >= n_partners:
            return n
        total = np.float32(0)
        if row >= 0 and partner >= 0:
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
        # The partner's part first: rounding then never turns the order around in which lists are.
        if partner >= 0 and len(held_bias):
            total += held_bias[partner]
        if row >= 0 and len(own_bias):
            total += own_bias[row]
        sums[n] = total
    return -1
