"""Lists of the best items, on arrays: whom they are for and what they are called is said elsewhere."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.errors import DataError
from dotbias.models.base import Model
from dotbias.models.parameters import Array, Parameters
from dotbias.models.scoring import SPAN, Scoring
from dotbias.recommender.diversity import POOL, diversified

# Scores of a chunk of users against all items stay below this many numbers (about 64 MB), for models
# that have no form but the table of all scores.
_CHUNK_SCORES = 16_000_000
# Users who go over the items together, so that a tile of items is read once for all of them; a thread's
# share of the work.
_BLOCK = 16
# Places of a user's list whose scores say how far apart good items are.
_GOOD, _FAIR = 10, 100


class Catalogue(NamedTuple):
    """What the scans of all users' lists share.

    Args:
        lengths: of the vectors of items (``Scoring.item_vectors``), and of what is left of them after
            each ``SPAN`` of their columns, shape (n_items, number of spans), float32; no rows where
            they are not known.
        order: all items, the longest first: a scan that has seen those passes over many others.
    """

    lengths: Array
    order: Index

    @classmethod
    def of(cls, item_vectors: Array) -> "Catalogue":
        """That of these vectors, shape (n_items, w)."""
        parts = (item_vectors[:, at : at + SPAN] for at in _spans(item_vectors))
        squares = [np.einsum("nf,nf->n", part, part, dtype=np.float64) for part in parts]
        left = np.cumsum(squares[::-1], axis=0)[::-1].T  # (n_items, number of spans)
        lengths = np.ascontiguousarray(np.sqrt(left), np.float32)
        return cls(lengths, np.argsort(-lengths[:, 0], kind="stable").astype(np.int32))

    @classmethod
    def unknown(cls, item_vectors: Array) -> "Catalogue":
        """One that passes over nothing: for a single list it is quicker to read all vectors."""
        lengths = np.empty((0, len(_spans(item_vectors))), np.float32)
        return cls(lengths, np.arange(len(item_vectors), dtype=np.int32))


def _spans(vectors: Array) -> range:
    """Where the spans of vectors start; there is one of those that have no numbers too."""
    return range(0, max(1, vectors.shape[1]), SPAN)


def top_items(
    model: Model,
    parameters: Parameters,
    users: Index,
    k: int,
    *,
    rare: NDArray[np.bool_],
    rated: Sequence[Index] | None = None,
    include_rated: bool = False,
    candidates: Index | None = None,
    catalogue: Catalogue | None = None,
    lift: Array | None = None,
    vectors: Array | None = None,
    diversity: float = 0.0,
) -> Index:
    """The k best items of each user by a model's score, in bounded memory.

    Args:
        model, parameters: the model.
        users: its user indices, shape (n,); -1 for unknown users.
        k, rare, candidates: as in ``top_k``.
        rated: for each user the indices of the items they have rated, ascending.
        include_rated: whether those may appear.
        catalogue: that of the model, which takes longer than a list where it is not given.
        lift: what is added to each item's score, in spreads of the user's scores: shape (n_items,).
        vectors: the items' embeddings, shape (n_items, f), to tell near-duplicates by.
        diversity: how much lists avoid those; see ``diversified``.

    Returns:
        Item indices, best first, shape (n, min(k, n_items)); -1 where no more are left.
    """
    step = max(1, _CHUNK_SCORES // max(1, len(rare)))
    tops = []
    for start in range(0, max(1, len(users)), step):
        chunk = slice(start, start + step)
        scoring = model.scoring(parameters, users[chunk])
        own = None if rated is None else rated[chunk]
        if catalogue is None:
            catalogue = Catalogue.of(scoring.item_vectors)
        if lift is not None:
            scoring = _lifted(scoring, lift, own, rare, catalogue)
        items, scores = top_k(
            scoring,
            k if vectors is None else POOL * k,
            excluded=None if include_rated else own,
            candidates=candidates,
            rare=rare,
            catalogue=catalogue,
        )
        if vectors is not None:
            items = diversified(items, scores, vectors, rare, diversity, k)
        tops.append(items)
    return np.concatenate(tops)


def _lifted(
    scoring: Scoring,
    lift: Array,
    rated: Sequence[Index] | None,
    rare: NDArray[np.bool_],
    catalogue: Catalogue,
) -> Scoring:
    """Scores to which so many spreads of the user's own are added.

    The spread is the way from a good item that they have not rated to a fair one. It depends on no
    filter, so a filtered list has the order of the whole one.
    """
    best = top_k(scoring, _FAIR, excluded=rated, rare=rare, catalogue=catalogue)[1]
    last = np.isfinite(best).sum(axis=1) - 1  # (n,)
    good, fair = (best[np.arange(len(best)), np.minimum(last, at - 1)] for at in (_GOOD, _FAIR))
    # Where there is none, all items are as good as each other.
    spread = np.ones_like(good)
    np.subtract(good, fair, out=spread, where=good > fair)
    return scoring._replace(bias=scoring.bias + spread[:, None] * lift)


def top_k(
    scoring: Scoring,
    k: int,
    *,
    excluded: Sequence[Index] | None = None,
    candidates: Index | None = None,
    rare: NDArray[np.bool_] | None = None,
    catalogue: Catalogue | None = None,
) -> tuple[Index, Array]:
    """The k items with the highest scores for each of n users; of equals the lower index comes first.

    Args:
        scoring: the scores. Minus infinity marks what must not be chosen.
        k: how many.
        excluded: for each user the indices of items that must not appear, ascending.
        candidates: indices of the only items to choose from, in any order; all by default.
        rare: which items come after all others, shape (n_items,); by default none.
        catalogue: that of the scores' item vectors; without it all of them are read.

    Returns:
        Item indices, best first, and their scores, both of shape (n, min(k, n_items)); -1 and minus
        infinity where no more are left.

    Raises:
        DataError: for a candidate that is no item's index.
    """
    # Imported here: what lists nothing need not wait for Numba to load.
    import numba

    from dotbias.recommender.scan import scan

    user_vectors, item_vectors, bias = (np.ascontiguousarray(a, np.float32) for a in scoring)
    n, n_items = len(user_vectors), bias.shape[1]
    if catalogue is None:
        catalogue = Catalogue.unknown(item_vectors)
    chosen_from = catalogue.order if candidates is None else ascending(candidates, n_items)
    last = np.zeros(n_items, np.bool_) if rare is None else rare
    items = np.full((n, min(k, n_items)), -1, np.int32)
    scores = np.full(items.shape, -np.inf, np.float32)

    def scan_block(start: int) -> None:
        block = slice(start, start + _BLOCK)
        nothing = np.empty(0, np.int32)
        own = [nothing] * len(items[block]) if excluded is None else excluded[block]
        scan(
            user_vectors[block],
            item_vectors,
            bias if len(bias) == 1 else bias[block],
            catalogue.lengths,
            np.array([0, *accumulate(len(left_out) for left_out in own)], np.int64),
            np.concatenate([nothing, *own], dtype=np.int32, casting="same_kind"),
            chosen_from,
            candidates is None,
            last,
            scores[block],
            items[block],
        )

    blocks = range(0, n, _BLOCK)
    if len(blocks) <= 1:
        for start in blocks:
            scan_block(start)
    else:
        # Threads of Python, for the scan lets go of the interpreter: a server may list from many of its
        # own at the same time, and a forked child too.
        n_threads: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(scan_block, blocks))
    return items, scores


def ascending(items: Index, n_items: int, noun: str = "candidate") -> Index:
    """Indices of items in ascending order, each once.

    Raises:
        DataError: for one that is no item's index.
    """
    items = np.asarray(items)
    rises = (items[1:] > items[:-1]).all()
    distinct = items if rises else np.unique(items)
    if len(distinct) and not (distinct[0] >= 0 and distinct[-1] < n_items):
        wrong = distinct[0] if distinct[0] < 0 else distinct[-1]
        raise DataError(f"{noun} {wrong} is no index of an item: there are {n_items:,}")
    return distinct.astype(np.int32)
