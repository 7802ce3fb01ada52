"""How far a map can be believed: whether neighbours in space are neighbours on it, and the reverse."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dotbias.data.vocabulary import Index
from dotbias.models.parameters import Array
from dotbias.models.scoring import Scoring
from dotbias.recommender.lists import top_k
from dotbias.settings import generator
from dotbias.shown import Shown

# Of more points than this, so many are drawn for the two figures.
_MOST_ROWS = 2_000
# Numbers of a block of cosines, about 64 MB.
_BLOCK = 16_000_000


@dataclass(frozen=True)
class Quality(Shown):
    """Two figures between 0 and 1.

    Args:
        trustworthiness: 1 where every neighbour on the map is one in space; less, the further those that
            are not stand from being one (Venna & Kaski 2001, eq. 1).
        preservation: share of the neighbours in space that are neighbours on the map too.
        k: how many neighbours are looked at.
        n_rows: on how many points the figures rest.
    """

    trustworthiness: float
    preservation: float
    k: int
    n_rows: int


def nearest(vectors: Array, k: int) -> tuple[Index, Array]:
    """The k nearest other rows of each row by cosine, exactly.

    Args:
        vectors: rows of length 1, or of zeros, which are at a right angle to all; shape (n, f).
        k: how many, below n.

    Returns:
        Row numbers, nearest first, and their cosines, both of shape (n, k). Among equals the lower row
        comes first.
    """
    itself = np.arange(len(vectors), dtype=np.int32)[:, None]
    cosines = Scoring(vectors, vectors, np.zeros((1, len(vectors)), np.float32))
    return top_k(cosines, k, excluded=list(itself))


def quality(vectors: Array, positions: Array, neighbours: Index, *, k: int, seed: int) -> Quality:
    """The two figures of a map.

    Args:
        vectors: what was mapped, shape (n, f), as in ``nearest``.
        positions: where it is, shape (n, 2).
        neighbours: what ``nearest`` says, at least k of them.
        k: how many neighbours to look at, below 2n/3.
        seed: of the sample of points, which is drawn where there are more than 2,000.
    """
    n = len(vectors)
    rows = np.arange(n)
    if n > _MOST_ROWS:
        rows = np.sort(generator(seed).choice(n, _MOST_ROWS, replace=False))
    on_map = _on_map(positions, rows, k)
    kept = (on_map[:, :, None] == neighbours[rows, None, :k]).any(axis=2)
    excess = 0
    for here, block in _cosines(vectors, rows):
        at = np.searchsorted(rows, here)
        own = np.take_along_axis(block, on_map[at], axis=1)  # (b, k)
        block[np.arange(len(here)), here] = -np.inf
        for column in range(k):
            nearer = np.count_nonzero(block > own[:, column, None], axis=1)  # rank - 1
            excess += int(np.maximum(nearer + 1 - k, 0).sum())
    trust = 1 - 2 * excess / (len(rows) * k * (2 * n - 3 * k - 1))
    return Quality(trust, float(kept.mean()), k, len(rows))


def _on_map(positions: Array, rows: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    """The k points nearest to each of some on the map, shape (len(rows), k)."""
    found = cKDTree(positions).query(positions[rows], k + 1)[1]  # (m, k + 1)
    others = found != rows[:, None]
    others[others.all(axis=1), -1] = False  # of many in one place the point itself may not be found
    near: NDArray[np.intp] = found[others].reshape(len(rows), k)
    return near


def _cosines(vectors: Array, rows: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], Array]]:
    """Cosines of some rows with all, in blocks of bounded memory."""
    step = max(1, _BLOCK // len(vectors))
    for start in range(0, len(rows), step):
        here = rows[start : start + step]
        yield here, vectors[here] @ vectors.T
