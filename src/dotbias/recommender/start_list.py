"""Items to begin with: what somebody of whom nothing is known is asked to rate first."""

import numpy as np
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.models.parameters import Array


def start_list(
    unit_vectors: Array | None, counts: NDArray[np.integer], *, n_known: int = 200
) -> Index:
    """Well-known items, those first whose ratings tell most apart.

    The first is the most rated. Each next one is that whose largest cosine with those before it is least
    (farthest points, Gonzalez 1985), so that any beginning of the list is spread over the embedding.

    Args:
        unit_vectors: embeddings of the items at length 1, shape (n, k); None where no model says what
            is like what: the most rated come first then.
        counts: how often each was rated, shape (n,); of those that are as far, the more rated comes
            first. An item that nobody has rated is none to begin with.
        n_known: how many of the most rated items to choose from.

    Returns:
        Indices of all of these in order, shape (at most n_known,).

    >>> vectors = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    >>> start_list(vectors, np.array([9, 8, 7, 1])).tolist()
    [0, 3, 2, 1]
    """
    most = np.argsort(-counts, kind="stable")[:n_known]
    known: Index = most[counts[most] > 0].astype(np.int32)
    if unit_vectors is None or len(known) == 0:
        return known
    cosines = unit_vectors[known] @ unit_vectors[known].T
    order, nearest = [0], cosines[0].copy()
    while len(order) < len(known):
        nearest[order] = np.inf
        order.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, cosines[order[-1]])
    found: Index = known[order]
    return found
