"""How good lists of recommendations are: do they hold what the user turned out to like?

Each list is what ``Recommender.recommend`` gives by default: chosen from the full catalogue, that is
from all items of the training part except those the user rated there, never from a sample of it,
with rarely rated items last. An item is relevant to a user whose held-out rating of it is at least
``relevant_from``.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.compiled import compiled
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.baseline import Baseline
from dotbias.recommender.list_quality import measure_lists
from dotbias.recommender.recommender import Recommender
from dotbias.settings import generator

# How far up the scale a rating must lie to count as liked: 4 on a scale from 1 to 5.
_RELEVANT_SHARE = 0.75
_MAX_USERS = 10_000


@dataclass(frozen=True)
class Ranking:
    """Quality of the first ``k`` recommendations, as means over users; all lie in [0, 1].

    With ``h_j`` = 1 where the item at rank j is relevant, else 0, and R relevant items:

    Args:
        k: length of the lists.
        relevant_from: the lowest held-out rating that makes an item relevant.
        n_users: users that were measured: known at training, with a relevant item known there.
        unknown_users: held-out users that were left out because training never saw them.
        precision: ``Σ h_j / k``.
        recall: ``Σ h_j / R``.
        ndcg: ``Σ h_j / log2(j + 1)``, divided by the same sum for the best list of k.
        map: average precision, ``Σ_j h_j (h_1 + ... + h_j) / j``, divided by ``min(k, R)``.
        hit_rate: share of the users with a relevant item among the k.
        coverage: distinct items in all the lists together, as a share of the catalogue.
        mrr: one over the rank of the first relevant item, 0 where there is none.
        gini: how unequally often items are listed, over the catalogue; 0 is equal.
    """

    k: int
    relevant_from: float
    n_users: int
    unknown_users: int
    precision: float
    recall: float
    ndcg: float
    map: float
    hit_rate: float
    coverage: float
    mrr: float | None = None
    gini: float | None = None

    def metrics(self) -> dict[str, float]:
        """The metrics by name, from ``precision`` on; a file of an older version may lack some."""
        counts = ("k", "relevant_from", "n_users", "unknown_users")
        known = (spec.name for spec in fields(self) if spec.name not in counts)
        return {name: getattr(self, name) for name in known if getattr(self, name) is not None}


def rank(
    rec: Recommender,
    test: Ratings,
    k: int = 10,
    relevant_from: float | None = None,
    *,
    max_users: int = _MAX_USERS,
    seed: int = 0,
) -> Ranking | None:
    """Quality of a recommender's lists.

    Args:
        rec: the recommender.
        test: held-out ratings; pairs that ``rec`` was trained on are left out.
        k: length of the lists.
        relevant_from: the lowest rating that makes an item relevant; by default three quarters up
            the training scale, which is 4 on a scale from 1 to 5 and 3.875 on one from 0.5 to 5.
        max_users: where more users can be measured, a random sample of so many is.
        seed: of that sample.

    Returns:
        The metrics, or None where no known user has a relevant item.

    Raises:
        SettingError: for ``k`` or ``max_users`` below 1.
    """
    task = _Task.of(rec, test, k, relevant_from, max_users, seed)
    return task.measure(rec.top_items(task.users, k))


def rank_popular(
    rec: Recommender,
    test: Ratings,
    k: int = 10,
    relevant_from: float | None = None,
    *,
    max_users: int = _MAX_USERS,
    seed: int = 0,
) -> Ranking | None:
    """Quality of the lists that need no model: the items with the most training ratings.

    Arguments, users, candidates and result are those of ``rank``; of equally popular items the one
    that is earlier in the vocabulary comes first.
    """
    task = _Task.of(rec, test, k, relevant_from, max_users, seed)
    # Biases without ties, so that the lists are the same on every machine.
    bias = np.empty(len(rec.item_vocabulary), np.float32)
    bias[np.argsort(-rec.item_counts, kind="stable")] = -np.arange(len(bias))
    biases = {"user_bias": np.zeros(len(rec.user_vocabulary), np.float32), "item_bias": bias}
    parameters = rec.parameters | biases
    popular = replace(rec, model=Baseline(), parameters=parameters, preference=None)
    return task.measure(popular.top_items(task.users, k))


def align(rec: Recommender, test: Ratings) -> tuple[Index, Index]:
    """User and item of each held-out row as the recommender's indices, -1 for unknown ones."""
    users = rec.user_vocabulary.indices(test.user_vocabulary.ids)
    items = rec.item_vocabulary.indices(test.item_vocabulary.ids)
    return users[test.users], items[test.items]


def seen(rec: Recommender, users: Index, items: Index) -> NDArray[np.bool_]:
    """Which pairs of indices are among the training ratings, shape (n,)."""
    pairs: NDArray[np.bool_] = _contains(rec.rated.indptr, rec.rated.indices, users, items)
    return pairs


@compiled()
def _contains(starts: Any, columns: Any, rows: Any, wanted: Any) -> Any:
    found = np.zeros(len(rows), np.bool_)
    for n in range(len(rows)):
        if rows[n] >= 0:
            span = columns[starts[rows[n]] : starts[rows[n] + 1]]  # ascending
            at = np.searchsorted(span, wanted[n])
            found[n] = at < len(span) and span[at] == wanted[n]
    return found


@dataclass(frozen=True, eq=False)
class _Task:
    """Whom to recommend to, and what is relevant to them: a sparse (n, n_items) table."""

    k: int
    relevant_from: float
    users: Index
    relevant: csr_array
    unknown_users: int

    @classmethod
    def of(
        cls,
        rec: Recommender,
        test: Ratings,
        k: int,
        relevant_from: float | None,
        max_users: int,
        seed: int,
    ) -> "_Task":
        for name, value in (("k", k), ("max_users", max_users)):
            if value < 1:
                raise SettingError(f"{name}={value}: {name} must be at least 1")
        if relevant_from is None:
            low, high = map(float, rec.parameters["scale"])
            relevant_from = low + _RELEVANT_SHARE * (high - low)
        users, items = align(rec, test)
        chosen = (test.values >= float(relevant_from)) & (users >= 0) & (items >= 0)
        chosen &= ~seen(rec, users, items)
        measured, row = np.unique(users[chosen], return_inverse=True)
        relevant = csr_array(
            (np.ones(len(row), np.bool_), (row, items[chosen])),
            shape=(len(measured), len(rec.item_vocabulary)),
        )
        if len(measured) > max_users:
            sample = generator(seed).choice(len(measured), max_users, replace=False)
            measured, relevant = measured[sample], relevant[sample]
        unknown = len(np.unique(test.users[users < 0]))
        return cls(k, float(relevant_from), measured, relevant, unknown)

    def measure(self, top: Index) -> Ranking | None:
        """The metrics of the lists of all users, shape (n, at most k)."""
        if len(self.users) == 0:
            return None
        metrics = measure_lists(top, self.relevant, self.k)
        return Ranking(self.k, self.relevant_from, len(self.users), self.unknown_users, **metrics)
