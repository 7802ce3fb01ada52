"""Ratings for tests."""

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.testing.ratings import random_ratings as random_ratings


def normal_ratings(
    n_users: int, n_items: int, n: int, *, noise: float, n_factors: int = 3, seed: int = 0
) -> Ratings:
    """Distinct random pairs; biases, factors and noise are normal, and nothing is rounded or cut off."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice(n_users * n_items, n, replace=False)
    u, i = pairs // n_items, pairs % n_items
    p, q = (rng.normal(0, 0.6, (m, n_factors)) for m in (n_users, n_items))
    b_u, b_i = rng.normal(0, 0.4, n_users), rng.normal(0, 0.4, n_items)
    z = 3 + b_u[u] + b_i[i] + (p[u] * q[i]).sum(1)
    return Ratings.from_columns(u.tolist(), i.tolist(), z + rng.normal(0, noise, n))
