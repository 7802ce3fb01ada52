"""The order of ratings in memory that lets threads work without ever sharing a row.

Users and items are cut into as many blocks of consecutive indices, each with about the same number of
ratings. Blocks (user block ``a``, item block ``(a + d) mod n``) of one diagonal ``d`` have no row in
common, so any number of threads may take them at once and leave the same bits behind (Gemulla et al.
2011; Chin et al. 2015). The number of blocks follows from the data alone, never from the threads.

Within a block the ratings of a few users stand together, shuffled: their rows stay in the first cache,
yet consecutive ratings mostly belong to different users, so that the processor can overlap them.
"""

from dataclasses import dataclass

import numpy as np
from numba import prange
from numpy.typing import NDArray

from dotbias.compiled import compiled
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.models.base import Array
from dotbias.solvers.random import GOLDEN, mix

_USERS_PER_GROUP = 8
# A block that items are dealt out to, to be drawn from, has no fewer than this.
_LEAST_DEALT = 16


@dataclass(frozen=True, eq=False)
class Grid:
    """Training ratings laid out block by block.

    Args:
        users, items, values: the columns in the new order, shape (n,).
        starts: first row of each block, then n: shape (n_blocks² + 1,); block (a, b) is number
            ``a · n_blocks + b``.
        n_blocks: how many blocks there are on each side.
        edges: where the items of each item block begin in the order in which they were dealt out, then
            their number: shape (n_blocks + 1,).
    """

    users: Index
    items: Index
    values: Array
    starts: NDArray[np.int64]
    n_blocks: int
    edges: NDArray[np.int64]


def lay_out(
    ratings: Ratings, seed: int, values: Array | None = None, deal: NDArray[np.int64] | None = None
) -> Grid:
    """Copy the ratings into grid order: a counting sort and a shuffle of each small group.

    Args:
        ratings: what to lay out.
        seed: seed of the shuffle.
        values: what stands in the place of the ratings' values, if anything, shape (n,).
        deal: all items in some order, shape (n_items,), in which equally many are dealt out to each item
            block; by default blocks are of consecutive items with about the same number of ratings.
    """
    values = ratings.values if values is None else values
    n_groups = -(-ratings.n_users // _USERS_PER_GROUP)
    n_blocks = min(8 if len(ratings) < 1_000_000 else 16, n_groups, ratings.n_items)
    group_counts = np.add.reduceat(
        ratings.user_counts, np.arange(0, ratings.n_users, _USERS_PER_GROUP)
    )
    if deal is None:
        deal = np.arange(ratings.n_items)
        dealt = _balanced_blocks(ratings.item_counts, n_blocks)
    else:
        n_blocks = max(1, min(n_blocks, ratings.n_items // _LEAST_DEALT))
        dealt = (np.arange(ratings.n_items) * n_blocks // ratings.n_items).astype(np.int32)
    block_of_item = np.empty_like(dealt)
    block_of_item[deal] = dealt
    block_of_group = _balanced_blocks(group_counts, n_blocks)
    columns = _scatter(
        ratings.user_indices, ratings.item_indices, values, block_of_group, block_of_item, n_blocks
    )
    users, items, values, bucket_starts, block_starts = columns
    _shuffle(users, items, values, bucket_starts, np.uint64(seed % 2**64))
    edges = np.searchsorted(dealt, np.arange(n_blocks + 1))
    return Grid(users, items, values, block_starts, n_blocks, edges)


def _balanced_blocks(counts: NDArray[np.int64], n_blocks: int) -> NDArray[np.int32]:
    """Block of each row, ascending, with about the same number of ratings in each block."""
    middle = np.cumsum(counts) - counts / 2
    block = np.minimum(middle * n_blocks / counts.sum(), n_blocks - 1)
    return block.astype(np.int32)  # type: ignore[no-any-return]


@compiled()
def _scatter(
    users: Index,
    items: Index,
    values: Array,
    block_of_group: NDArray[np.int32],
    block_of_item: NDArray[np.int32],
    n_blocks: int,
) -> tuple[Index, Index, Array, NDArray[np.int64], NDArray[np.int64]]:
    """Sort the ratings by (user block, item block, group of users) in two passes."""
    n_groups = len(block_of_group)
    first_group = np.zeros(n_blocks + 1, np.int64)
    for g in range(n_groups):
        first_group[block_of_group[g] + 1] += 1
    first_group = np.cumsum(first_group)

    starts = np.zeros(n_groups * n_blocks + 1, np.int64)
    for row in range(len(users)):
        g = users[row] // _USERS_PER_GROUP
        a, b = block_of_group[g], block_of_item[items[row]]
        width = first_group[a + 1] - first_group[a]
        starts[n_blocks * first_group[a] + b * width + g - first_group[a] + 1] += 1
    starts = np.cumsum(starts)

    block_starts = np.empty(n_blocks * n_blocks + 1, np.int64)
    for a in range(n_blocks):
        width = first_group[a + 1] - first_group[a]
        for b in range(n_blocks):
            block_starts[a * n_blocks + b] = starts[n_blocks * first_group[a] + b * width]
    block_starts[n_blocks * n_blocks] = len(users)

    free = starts[:-1].copy()
    out_users, out_items = np.empty_like(users), np.empty_like(items)
    out_values = np.empty_like(values)
    for row in range(len(users)):
        g = users[row] // _USERS_PER_GROUP
        a, b = block_of_group[g], block_of_item[items[row]]
        width = first_group[a + 1] - first_group[a]
        bucket = n_blocks * first_group[a] + b * width + g - first_group[a]
        at = free[bucket]
        free[bucket] = at + 1
        out_users[at], out_items[at], out_values[at] = users[row], items[row], values[row]
    return out_users, out_items, out_values, starts, block_starts


@compiled(parallel=True)
def _shuffle(
    users: Index, items: Index, values: Array, starts: NDArray[np.int64], seed: np.uint64
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
