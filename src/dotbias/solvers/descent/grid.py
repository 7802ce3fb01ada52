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
from numpy.typing import NDArray

from dotbias.data.grid import USERS_PER_GROUP, balanced_blocks, group_counts, scatter, shuffle
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.models.base import Array

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
    n_groups = -(-ratings.n_users // USERS_PER_GROUP)
    n_blocks = min(8 if len(ratings) < 1_000_000 else 16, n_groups, ratings.n_items)
    if deal is None:
        deal = np.arange(ratings.n_items)
        dealt = balanced_blocks(ratings.item_counts, n_blocks)
    else:
        n_blocks = max(1, min(n_blocks, ratings.n_items // _LEAST_DEALT))
        dealt = (np.arange(ratings.n_items) * n_blocks // ratings.n_items).astype(np.int32)
    block_of_item = np.empty_like(dealt)
    block_of_item[deal] = dealt
    block_of_group = balanced_blocks(group_counts(ratings.user_counts), n_blocks)
    columns = ratings.user_indices, ratings.item_indices, values
    users, items, values, bucket_starts, block_starts = scatter(
        *columns, block_of_group, block_of_item, n_blocks, n_blocks
    )
    shuffle(users, items, values, bucket_starts, np.uint64(seed % 2**64))
    edges = np.searchsorted(dealt, np.arange(n_blocks + 1))
    return Grid(users, items, values, block_starts, n_blocks, edges)
