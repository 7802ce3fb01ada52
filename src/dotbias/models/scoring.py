"""What orders items, in a form that compiled loops can scan."""

from typing import NamedTuple

import numpy as np

from dotbias.models.parameters import Array

# Sums that a dot product keeps side by side: they fill a vector register of today's laptops.
LANES = 8
# Columns of a vector that a scan reads before it asks how much the others may add: a multiple of LANES.
SPAN = 64


class Scoring(NamedTuple):
    """What orders all items for each of n users: the higher ``x_u · y_i + b_i``, the better.

    Args:
        user_vectors: ``x_u``, shape (n, w); w may be 0.
        item_vectors: ``y_i``, shape (n_items, w).
        bias: ``b_i``, shape (1, n_items), or of each user's own, shape (n, n_items).
    """

    user_vectors: Array
    item_vectors: Array
    bias: Array


def scored(scores: Array) -> Scoring:
    """Given scores as what orders the items: shape (n, n_items)."""
    n, n_items = scores.shape
    return Scoring(np.zeros((n, 0), np.float32), np.zeros((n_items, 0), np.float32), scores)


def row_sums(products: Array) -> Array:
    """The sum of each row of a table of shape (n, w), such as the products of a dot product: shape (n,).

    The order of the sum is fixed, so that compiled loops can give the same bits: ``LANES`` sums side by
    side, folded in half until one is left, and then one by one what was too few for all lanes.
    """
    n, width = products.shape
    whole = width - width % LANES
    lanes = np.zeros((n, LANES), np.float32)
    for start in range(0, whole, LANES):
        lanes += products[:, start : start + LANES]
    half = LANES // 2
    while half >= 1:
        lanes = lanes[:, :half] + lanes[:, half:]
        half //= 2
    total: Array = lanes[:, 0]
    for rest in range(whole, width):
        total += products[:, rest]
    return total
