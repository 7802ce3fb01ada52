"""The loop that takes blocks from mapped files: it looks at every number before anybody relies on it."""

from typing import Any

import numpy as np
from numba import prange

from dotbias.compiled import compiled
from dotbias.data.stripes import Columns

# What is wrong with a block.
USER, ITEM, VALUE = 1, 2, 3


@compiled(nogil=True)
def copy_block(
    stored: Any, start: Any, stop: Any, bounds: Any, lowest: Any, highest: Any, std: Any, out: Any
) -> int:
    """Copy one block, in units of ``std``; 0, or what is wrong with it.

    Args:
        stored: ``Columns`` as they lie in the files.
        start, stop: its rows there.
        bounds: first user and that of the next block, first item and that of the next block.
        lowest, highest: between which its values are.
        std: in the precision of what comes out.
        out: ``Columns`` of its length.
    """
    if _copy_index(stored.users[start:stop], bounds[0], bounds[1], out.users):
        return USER
    if _copy_index(stored.items[start:stop], bounds[2], bounds[3], out.items):
        return ITEM
    values, n_good = stored.values[start:stop], 0
    for n in range(len(values)):
        r = values[n]
        n_good += (r >= lowest) & (r <= highest)  # neither of which holds for NaN
        out.values[n] = r / std
    return 0 if n_good == len(values) else VALUE


@compiled(nogil=True)
def _copy_index(index: Any, low: Any, high: Any, out: Any) -> int:
    """Copy indices; how many of them are not from low to high."""
    n_wrong = 0
    for n in range(len(index)):
        n_wrong += (index[n] < low) | (index[n] >= high)
        out[n] = index[n]
    return n_wrong


@compiled(parallel=True)
def copy_blocks(
    stored: Any, places: Any, bounds: Any, lowest: Any, highest: Any, std: Any, out: Any
) -> Any:
    """Copy blocks after each other, shared out to threads; what is wrong with each, shape (n_blocks,).

    Args:
        stored, lowest, highest, std: as for ``copy_block``.
        places: rows of each block, (n_blocks, 2).
        bounds: of each block, (n_blocks, 4).
        out: ``Columns``, as long as all of them together.
    """
    ends = np.cumsum(places[:, 1] - places[:, 0])
    wrong = np.zeros(len(places), np.int64)
    for n in prange(len(places)):
        start, stop = places[n]
        to = slice(ends[n] - (stop - start), ends[n])
        part = Columns(out.users[to], out.items[to], out.values[to])
        wrong[n] = copy_block(stored, start, stop, bounds[n], lowest, highest, std, part)
    return wrong
