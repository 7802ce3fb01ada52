"""Items that a user has not chosen: drawn in the compiled loops, and fixed ones to measure a loss on."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from dotbias.compiled import compiled
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.models.base import Model, Parameters
from dotbias.random import below
from dotbias.solvers.descent.losses import Loss

# A user who has chosen nearly everything leaves nothing to draw: what the last try gives is kept.
TRIES = 8


class Negatives(NamedTuple):
    """What the compiled loops draw from.

    Args:
        pool: the items in some order, (n_items,); a loop draws from a stretch of it.
        starts, chosen: the items of user ``u``, rising, are ``chosen[starts[u] : starts[u + 1]]``.
        n: how many are drawn for each known pair.
        key: seed of the draws, uint64.
    """

    pool: NDArray[np.int32]
    starts: NDArray[np.int64]
    chosen: NDArray[np.int32]
    n: int
    key: np.uint64

    @classmethod
    def none(cls) -> "Negatives":
        """For a loss that draws nothing."""
        no = np.zeros(0, np.int32)
        return cls(no, np.zeros(1, np.int64), no, 0, np.uint64(0))

    @classmethod
    def of(cls, ratings: Ratings, n: int) -> "Negatives":
        """Of what users have chosen: every known pair counts, whatever its value."""
        order = np.lexsort((ratings.item_indices, ratings.user_indices))
        starts = np.concatenate([[0], np.cumsum(ratings.user_counts)])
        pool = np.arange(ratings.n_items, dtype=np.int32)
        return cls(pool, starts, ratings.item_indices[order].astype(np.int32), n, np.uint64(0))


@register_jitable
def unchosen(u: Any, row: Any, draw: Any, low: Any, high: Any, pool: Any, starts: Any, chosen: Any, key: Any) -> Any:  # fmt: skip # noqa: E501
    """An item from ``pool[low:high]`` for a user, evenly, and not one that they have chosen.

    It is a hash of the key, the row of the known pair and the number of the draw; the other arguments
    are those of ``Negatives``, which loops unpack once: arrays are counted each time they leave a tuple.
    """
    item = pool[low]
    for attempt in range(TRIES):
        item = pool[low + below(key, row, draw * TRIES + attempt, high - low)]
        at, n = starts[u], starts[u + 1] - starts[u]
        while n > 1:  # a binary search without a branch that could be foreseen wrongly
            half = n >> 1
            at += half if chosen[at + half] <= item else 0
            n -= half
        if n == 0 or chosen[at] != item:
            break
    return item


@compiled()
def _draw(users: Any, negatives: Any) -> Any:
    """``n`` items for each of some users, shape (len(users), n)."""
    pool, starts, chosen, n, key = negatives
    items = np.empty((len(users), n), pool.dtype)
    for row in range(len(users)):
        for draw in range(n):
            items[row, draw] = unchosen(
                users[row], row, draw, 0, len(pool), pool, starts, chosen, key
            )
    return items


@dataclass(frozen=True, eq=False)
class HeldOutChoices:
    """Held-out pairs, each with drawn items that its user has not chosen: always the same.

    Args:
        loss: what is measured.
        users, items: the pairs, shape (n,); -1 is unknown.
        negatives: shape (n, n_negatives).
    """

    loss: type[Loss]
    users: Index
    items: Index
    negatives: NDArray[np.int32]

    @classmethod
    def of(
        cls, loss: type[Loss], ratings: Ratings, users: Index, items: Index, n: int, seed: int = 0
    ) -> "HeldOutChoices":
        """Draw for some pairs.

        Args:
            loss: what is to be measured.
            ratings: what users have chosen.
            users, items: the held-out pairs; -1 is unknown.
            n: how many to draw for each pair.
            seed: of the draws.
        """
        known = users >= 0
        drawing = Negatives.of(ratings, n)._replace(key=np.uint64(seed))
        return cls(loss, users[known], items[known], _draw(users[known], drawing))

    def mean(self, model: Model, parameters: Parameters) -> float:
        """The mean loss."""
        z = model.predict(parameters, self.users, self.items)[:, None].astype(np.float64)
        n = self.negatives.shape[1]
        others = model.predict(parameters, np.repeat(self.users, n), self.negatives.ravel())
        z_j = others.reshape(-1, n).astype(np.float64)
        x = z - z_j if self.loss.of == "pair" else np.hstack([z, -z_j])
        return float(self.loss.value(x).mean())
