"""The grid of user blocks and item blocks in which ratings are laid out, in memory or on disk.

Users and items are cut into blocks of consecutive indices, each with about the same number of ratings.
Within a block the ratings of a few users stand together, shuffled. ``solvers/descent/grid.py`` says what
that is good for.
"""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from dotbias.compiled import compiled
from dotbias.data.vocabulary import Index
from dotbias.random import GOLDEN, mix

USERS_PER_GROUP = 8
"""So many consecutive users stand together."""

Values = NDArray[np.float32]
Laid = tuple[Index, Index, Values, NDArray[np.int64], NDArray[np.int64]]


def group_counts(user_counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of ratings of each group of users."""
    starts = np.arange(0, len(user_counts), USERS_PER_GROUP)
    return np.add.reduceat(user_counts, starts)


def balanced_blocks(counts: NDArray[np.int64], n_blocks: int) -> NDArray[np.int32]:
    """Block of each row, ascending, with about the same number of ratings in each block."""
    middle = np.cumsum(counts) - counts / 2
    block = np.minimum(middle * n_blocks / counts.sum(), n_blocks - 1)
    return block.astype(np.int32)  # type: ignore[no-any-return]


@compiled()
def scatter(
    users: Index,
    items: Index,
    values: Values,
    block_of_group: NDArray[np.int32],
    block_of_item: NDArray[np.int32],
    n_user_blocks: int,
    n_item_blocks: int,
) -> Laid:
    """Sort ratings by (user block, item block, group of users) in two passes.

    Returns:
        The columns in that order, shape (n,); where each group begins in each block, in that order, and
        where each block begins, both with n at their end.
    """
    n_groups = len(block_of_group)
    first_group = np.zeros(n_user_blocks + 1, np.int64)
    for g in range(n_groups):
        first_group[block_of_group[g] + 1] += 1
    first_group = np.cumsum(first_group)

    starts = np.zeros(n_groups * n_item_blocks + 1, np.int64)
    for row in range(len(users)):
        g = users[row] // USERS_PER_GROUP
        a, b = block_of_group[g], block_of_item[items[row]]
        width = first_group[a + 1] - first_group[a]
        starts[n_item_blocks * first_group[a] + b * width + g - first_group[a] + 1] += 1
    starts = np.cumsum(starts)

    block_starts = np.empty(n_user_blocks * n_item_blocks + 1, np.int64)
    for a in range(n_user_blocks):
        width = first_group[a + 1] - first_group[a]
        for b in range(n_item_blocks):
            bucket = n_item_blocks * first_group[a] + b * width
            block_starts[a * n_item_blocks + b] = starts[bucket]
    block_starts[n_user_blocks * n_item_blocks] = len(users)

    free = starts[:-1].copy()
    out_users, out_items = np.empty_like(users), np.empty_like(items)
    out_values = np.empty_like(values)
    for row in range(len(users)):
        g = users[row] // USERS_PER_GROUP
        a, b = block_of_group[g], block_of_item[items[row]]
        width = first_group[a + 1] - first_group[a]
        bucket = n_item_blocks * first_group[a] + b * width + g - first_group[a]
        at = free[bucket]
        free[bucket] = at + 1
        out_users[at], out_items[at], out_values[at] = users[row], items[row], values[row]
    return out_users, out_items, out_values, starts, block_starts


@compiled(parallel=True)
def shuffle(
    users: Index, items: Index, values: Values, starts: NDArray[np.int64], seed: np.uint64
) -> None:
    """Shuffle each bucket in place, with a random stream of its own (splitmix64)."""
    for bucket in prange(len(starts) - 1):
        state = seed + np.uint64(bucket + 1) * np.uint64(0xD1342543DE82EF95)
        start = starts[bucket]
        for last in range(starts[bucket + 1] - start - 1, 0, -1):
            state += GOLDEN
            i, j = start + last, start + np.int64(mix(state) % np.uint64(last + 1))
            users[i], users[j] = users[j], users[i]
            items[i], items[j] = items[j], items[i]
            values[i], values[j] = values[j], values[i]


@compiled()
def held_out(users: Index, items: Index, seed: np.uint64, below: np.uint64) -> NDArray[np.bool_]:
    """Which pairs are held out, shape (n,): those whose hash falls below a number."""
    held = np.empty(len(users), np.bool_)
    key = mix(seed + GOLDEN)
    for row in range(len(users)):
        pair = np.uint64(users[row]) << np.uint64(32) | np.uint64(items[row])
        held[row] = mix(key + pair * GOLDEN) < below
    return held
