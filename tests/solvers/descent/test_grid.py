import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotbias.data.ratings import Ratings
from dotbias.solvers.descent.grid import lay_out
from tests.ratings import random_ratings


def _rows(users, items, values) -> list[tuple[int, int, float]]:
    return sorted(zip(users.tolist(), items.tolist(), values.tolist(), strict=True))


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 50), st.floats(0.01, 1), st.integers(0, 2**63))
def test_every_rating_stands_in_it_once_and_diagonals_share_no_row(n_users, n_items, fill, seed):
    ratings = random_ratings(n_users, n_items, max(1, int(fill * n_users * n_items)), seed % 1000)
    grid = lay_out(ratings, seed)
    assert _rows(grid.users, grid.items, grid.values) == _rows(
        ratings.user_indices, ratings.item_indices, ratings.values
    )
    n = grid.n_blocks
    assert grid.starts.shape == (n * n + 1,)
    assert (np.diff(grid.starts) >= 0).all()
    for diagonal in range(n):
        users: set[int] = set()
        items: set[int] = set()
        for a in range(n):
            block = a * n + (a + diagonal) % n
            rows = slice(grid.starts[block], grid.starts[block + 1])
            in_block = set(grid.users[rows].tolist()), set(grid.items[rows].tolist())
            assert not users & in_block[0]
            assert not items & in_block[1]
            users |= in_block[0]
            items |= in_block[1]


def test_the_order_is_seeded_and_shuffled_within_groups():
    ratings = random_ratings(100, 80, 4000, 0)
    a, b, c = (lay_out(ratings, seed) for seed in (1, 1, 2))
    assert np.array_equal(a.items, b.items)
    assert not np.array_equal(a.items, c.items)
    in_order = np.diff(a.users[: a.starts[1]]) >= 0
    assert not in_order.all()


@pytest.mark.parametrize("n_users", [8, 9, 1000])
def test_blocks_are_balanced(n_users):
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(n_users), 20)
    ratings = Ratings.from_columns(
        users,
        np.concatenate([rng.choice(300, 20, replace=False) for _ in range(n_users)]),
        rng.integers(1, 6, len(users)),
    )
    grid = lay_out(ratings, 0)
    n = grid.n_blocks
    per_user_block = np.diff(grid.starts).reshape(n, n).sum(axis=1)
    assert per_user_block.max() <= len(users) / n + 8 * 20


def test_the_grid_follows_from_the_data_not_from_the_threads():
    import numba

    ratings = random_ratings(300, 80, 6000, 0)
    before = numba.get_num_threads()
    try:
        grids = []
        for n in (1, min(2, before)):
            numba.set_num_threads(n)
            grids.append(lay_out(ratings, 9))
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(grids[0].users, grids[1].users)
    assert np.array_equal(grids[0].items, grids[1].items)
