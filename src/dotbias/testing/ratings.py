"""Ratings for tests."""

import numpy as np

from dotbias.data.ratings import Ratings


def random_ratings(n_users: int, n_items: int, n: int, seed: int) -> Ratings:
    """Distinct random pairs with ratings from 1 to 5 that follow two planted factors."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice(n_users * n_items, n, replace=False)
    u, i = pairs // n_items, pairs % n_items
    p, q = rng.normal(0, 0.8, (n_users, 2)), rng.normal(0, 0.8, (n_items, 2))
    z = 3 + rng.normal(0, 0.5, n_users)[u] + (p[u] * q[i]).sum(1) + rng.normal(0, 0.2, n)
    values = np.clip(np.round(z), 1, 5)
    values[:1], values[-1:] = 1, 5
    return Ratings.from_columns(u.tolist(), i.tolist(), values)
