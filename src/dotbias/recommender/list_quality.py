"""How good lists are, on arrays: do they hold what is relevant, what is new, and more than a few items?

Whose lists they are and where they come from is said elsewhere; whoever compares models, or settings of
one, compares these figures.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.data.vocabulary import Index


def measure_lists(top: Index, relevant: csr_array, k: int) -> dict[str, float]:
    """The means of ``figures_per_user``, and what all the lists are together: ``coverage``, the share of
    the catalogue that is in them, and ``gini`` of their exposure.

    Args:
        top: item indices, best first, shape (n, at most k), n > 0; -1 where a list has ended.
        relevant: the relevant items, a sparse (n, n_items) table in which only the positions count;
            at least one for each row.
        k: length that the lists were meant to have.

    >>> relevant = csr_array([[0, 1, 1, 0], [1, 0, 0, 0]])
    >>> measure_lists(np.array([[1, 3], [2, 1]]), relevant, k=2)
    {'precision': 0.25, 'recall': 0.25, 'ndcg': 0.306..., 'map': 0.25, 'mrr': 0.5, 'hit_rate': 0.5,
     'coverage': 0.75, 'gini': 0.375}
    """
    n_items = relevant.shape[1]
    figures = figures_per_user(top, relevant, k)
    return {
        **{name: float(np.mean(values)) for name, values in figures.items()},
        "coverage": len(np.unique(top[top >= 0])) / n_items,
        "gini": exposure_gini(top, n_items),
    }


def figures_per_user(top: Index, relevant: csr_array, k: int) -> dict[str, NDArray[np.float64]]:
    """What each list is worth to the user whom it is for; arrays of shape (n,), all in [0, 1].

    With ``h_j`` = 1 where the item at rank j is relevant, else 0, and R relevant items: ``precision``
    ``Σ h_j / k``, ``recall`` ``Σ h_j / R``, ``ndcg`` ``Σ h_j / log2(j + 1)`` divided by the same sum for
    the best list of k, ``map`` ``Σ_j h_j (h_1 + ... + h_j) / j`` divided by ``min(k, R)``, ``mrr`` one
    over the rank of the first relevant item, ``hit_rate`` 1 where there is any.

    Arguments as of ``measure_lists``.
    """
    n, n_items = relevant.shape
    n_relevant = np.diff(relevant.indptr)  # (n,)
    row = np.arange(n) * n_items
    keys = np.sort(np.repeat(row, n_relevant) + relevant.indices)
    wanted = row[:, None] + top
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    hits = (keys[at] == wanted) & (top >= 0)  # (n, at most k)

    ranks = np.arange(1, min(k, n_items) + 1)
    discount = 1 / np.log2(ranks + 1)
    most = np.minimum(n_relevant, k)  # (n,): hits of the best list
    width = hits.shape[1]
    precisions = np.cumsum(hits, axis=1) / ranks[:width]
    n_hits = hits.sum(axis=1)
    return {
        "precision": n_hits / k,
        "recall": n_hits / n_relevant,
        "ndcg": hits @ discount[:width] / np.cumsum(discount)[most - 1],
        "map": (hits * precisions).sum(axis=1) / most,
        "mrr": (hits / ranks[:width]).max(axis=1, initial=0),
        "hit_rate": (n_hits > 0).astype(np.float64),
    }


def exposure_gini(top: Index, n_items: int) -> float:
    """Gini coefficient of how often each item of the catalogue is listed: 0 where all are equally often,
    near 1 where a few fill all lists.

    >>> exposure_gini(np.array([[0, 1], [2, 3]]), n_items=4), exposure_gini(np.array([[2], [2]]), 4)
    (0.0, 0.75)
    """
    listed = np.sort(np.bincount(top[top >= 0], minlength=n_items))  # (n_items,)
    places = np.arange(1, n_items + 1)
    return float((2 * places - n_items - 1) @ listed / (n_items * max(listed.sum(), 1)))


def novelty(top: Index, share: NDArray[np.float64]) -> float:
    """Mean self-information of what is listed, in bits: ``-log2`` of the share of users who have an item
    (Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma").

    Args:
        top: as in ``measure_lists``.
        share: of each item, above 0, shape (n_items,).

    >>> novelty(np.array([[0, 1], [1, -1]]), np.array([0.5, 0.25]))
    1.666...
    """
    listed = np.bincount(top[top >= 0], minlength=len(share))
    return float(listed @ -np.log2(share) / max(listed.sum(), 1))
