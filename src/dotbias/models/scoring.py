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
