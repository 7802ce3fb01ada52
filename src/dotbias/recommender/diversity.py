"""Lists without near-duplicates: maximal marginal relevance."""

import numpy as np
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.models.parameters import Array, at_length_one

# A list is chosen from so many times as many items.
POOL = 10


def diversified(
    items: Index, scores: Array, vectors: Array, rare: NDArray[np.bool_], diversity: float, k: int
) -> Index:
    """Choose the items of each list one by one, each good and unlike those before it.

    Next comes the item with the largest ``(1 - d) r_i - d max_j cos(y_i, y_j)``, j over the items chosen
    already; the first one has nothing to be unlike. The relevance ``r_i`` is the score, from 0 for the
    lowest to 1 for the highest of those to choose from. Of equals the one with the higher score comes
    first, and rarely rated items come after all others. Maximal marginal relevance: Carbonell and
    Goldstein 1998, whose λ is ``1 - d``.

    Args:
        items: what to choose from, best first, shape (n, m); -1 where no more are left.
        scores: their scores, shape (n, m).
        vectors: embeddings of all items, shape (n_items, f).
        rare: which items are rarely rated, shape (n_items,).
        diversity: d, from 0 (the first k) to 1 (the least alike that follow the first).
        k: how many to choose.

    Returns:
        The chosen items, shape (n, min(k, m)); -1 where no more are left.
    """
    chosen = np.full((len(items), min(k, items.shape[1])), -1, np.int32)
    for row, (pool, own) in enumerate(zip(items, scores, strict=True)):
        pool = pool[pool >= 0]
        unit = at_length_one(vectors[pool])
        order = _order(own[: len(pool)], unit, rare[pool], np.float32(diversity), k)
        chosen[row, : len(order)] = pool[order]
    return chosen


def _order(
    scores: Array, vectors: Array, rare: NDArray[np.bool_], d: np.float32, k: int
) -> NDArray[np.intp]:
    """Places of the items of one list that are chosen, in this order: shape (min(k, m),)."""
    left = np.ones(len(scores), np.bool_)
    order = np.empty(min(k, len(scores)), np.intp)
    worth = (1 - d) * _relevance(scores, scores[~rare])  # (m,)
    value = worth
    likeness = np.full(len(scores), -1, np.float32)  # to the nearest of those chosen
    for place in range(len(order)):
        common = left & ~rare
        at = np.where(common if common.any() else left, value, -np.inf).argmax()
        order[place] = at
        left[at] = False
        np.maximum(likeness, vectors @ vectors[at], out=likeness)
        value = worth - d * likeness
    return order


def _relevance(scores: Array, among: Array) -> Array:
    """Scores between the lowest, 0, and the highest, 1, of some."""
    if len(among) == 0 or among.min() == among.max():
        return np.zeros_like(scores)
    low = among.min()
    relevance: Array = (scores - low) / (among.max() - low)
    return relevance
