"""How good lists of recommendations are: do they hold what the user turned out to choose, or to like?

Each list is what ``Recommender.recommend`` gives by default: chosen from the full catalogue, that is
from all items of the training part except those the user has there, never from a sample of it, with
rarely rated items last. An item is relevant to a user in two readings: because it is among their
held-out rows at all, or because the held-out rating of it is at least ``relevant_from``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.evaluation.bootstrap import bootstrap_interval
from dotbias.evaluation.rows import Rows, seen
from dotbias.models.base import Model, Scores
from dotbias.models.parameters import Parameters
from dotbias.models.scoring import scored
from dotbias.recommender import lists
from dotbias.recommender.fitted import MIN_RATINGS
from dotbias.recommender.list_quality import figures_per_user, measure_lists, novelty
from dotbias.recommender.recommender import Recommender
from dotbias.settings import generator
from dotbias.shown import Shown

MAX_USERS = 10_000
# How far up the scale a rating must lie to count as liked: 4 on a scale from 1 to 5.
_RELEVANT_SHARE = 0.75

By: TypeAlias = Literal["preference", "rating", "popularity"]
"""What orders the items of a list."""

NAMES: dict[By | None, str] = {
    "preference": "by preference",
    "rating": "by predicted rating",
    "popularity": "most rated items",
    None: "this model",
}
"""What lists are called in tables."""

METRICS = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate", "coverage", "novelty", "gini")


@dataclass(frozen=True)
class Gain(Shown):
    """How much better lists are than those of the most rated items, in nDCG, as a mean over users.

    Args:
        mean: of the differences.
        low, high: where it lies in 95 of 100 draws of as many users, with replacement (the paired
            bootstrap).
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low > 0:
            return f"better than most rated items by {self._sized(1)}"
        if self.high < 0:
            return f"worse than most rated items by {self._sized(-1)}"
        return f"no better than most rated items: {self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"

    def _sized(self, sign: int) -> str:
        ends = sorted((sign * self.low, sign * self.high))
        return f"{sign * self.mean:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


@dataclass(frozen=True)
class Ranking(Shown):
    """Quality of the first ``k`` recommendations; means over users, in [0, 1] but for ``novelty``.

    With ``h_j`` = 1 where the item at rank j is relevant, else 0, and R relevant items:

    Args:
        k: length of the lists.
        relevant_from: the lowest held-out rating that makes an item relevant; None where every held-out
            item is.
        n_users: users that were measured: known at training, with a relevant item known there.
        unknown_users: held-out users that were left out because training never saw them.
        precision: ``Σ h_j / k``.
        recall: ``Σ h_j / R``.
        ndcg: ``Σ h_j / log2(j + 1)``, divided by the same sum for the best list of k.
        map: average precision, ``Σ_j h_j (h_1 + ... + h_j) / j``, divided by ``min(k, R)``.
        hit_rate: share of the users with a relevant item among the k.
        coverage: distinct items in all the lists together, as a share of the catalogue.
        mrr: one over the rank of the first relevant item, 0 where there is none.
        novelty: mean of ``-log2`` of the share of training's users who have a listed item, in bits.
        gini: how unequally often items are listed, over the catalogue; 0 is equal.
        by: what orders the items; None in a file of an older version, for what the model orders.
        gain: over the most rated items; None for these themselves.
    """

    k: int
    relevant_from: float | None
    n_users: int
    unknown_users: int
    precision: float
    recall: float
    ndcg: float
    map: float
    hit_rate: float
    coverage: float
    mrr: float | None = None
    novelty: float | None = None
    gini: float | None = None
    by: By | None = None
    gain: Gain | None = None

    def metrics(self) -> dict[str, float]:
        """The metrics by name, from ``precision`` on; a file of an older version may lack some."""
        found = {name: getattr(self, name) for name in METRICS}
        return {name: value for name, value in found.items() if value is not None}


class Order(NamedTuple):
    """What puts the items in order for each user: a model."""

    model: Model
    parameters: Parameters


@dataclass(frozen=True, eq=False)
class Audience:
    """Users whose lists are measured, and what they turned out to choose.

    Args:
        orders: the models that order the items, by what they score.
        users: row of each user in the parameters of all of them, shape (m,).
        had: for each user the items that their list leaves out, ascending.
        rows: held-out rows on items that are known, with the place of the user among ``users`` for
            owner.
        item_counts: how many of training's users have each item, shape (n_items,).
        n_owners: how many users training had.
        unknown_users: as in ``Ranking``.
    """

    orders: Mapping[Scores, Order]
    users: Index
    had: Sequence[Index]
    rows: Rows
    item_counts: NDArray[np.int64]
    n_owners: int
    unknown_users: int = 0

    @classmethod
    def known(
        cls, rec: Recommender, rows: Rows, *, max_users: int = MAX_USERS, seed: int = 0
    ) -> "Audience":
        """The users whom a recommender knows, or so many of them, drawn at random.

        Raises:
            SettingError: for ``max_users`` below 1.
        """
        unknown = len(np.unique(rows.owners[rows.users < 0]))
        known = (rows.users >= 0) & (rows.items >= 0)
        rows = rows.take(known & ~seen(rec, rows.users, rows.items))
        users = sample(np.unique(rows.users), max_users, seed)
        rows = rows.take(np.isin(rows.users, users))
        starts, items = rec.rated.indptr, rec.rated.indices
        return cls(
            orders={by: Order(one.model, one.parameters) for by, one in models(rec).items()},
            users=users,
            had=[items[starts[u] : starts[u + 1]] for u in users.tolist()],
            rows=rows._replace(owners=np.searchsorted(users, rows.users).astype(np.int32)),
            item_counts=rec.item_counts,
            n_owners=len(rec.user_vocabulary),
            unknown_users=unknown,
        )

    def lists(self, k: int) -> dict[By, Index]:
        """The lists of all users in each order, and those of the most rated items: (m, at most k)."""
        rare = self.item_counts < MIN_RATINGS
        found: dict[By, Index] = {
            by: lists.top_items(
                order.model, order.parameters, self.users, k, rated=self.had, rare=rare
            )
            for by, order in self.orders.items()
        }
        # Ranks without ties, so that the lists are the same on every machine.
        ranks = np.empty(len(rare), np.float32)
        ranks[np.argsort(-self.item_counts, kind="stable")] = -np.arange(len(rare))
        popular = scored(ranks[None, :])._replace(
            user_vectors=np.zeros((len(self.users), 0), np.float32)
        )
        found["popularity"] = lists.top_k(popular, k, excluded=self.had, rare=rare)[0]
        return found


def models(rec: Recommender) -> dict[Scores, Recommender]:
    """The models of a recommender, each alone, that of preferences first."""
    every: tuple[Scores, ...] = "preference", "rating"
    return {scores: rec.by(scores) for scores in every if rec.has(scores)}


def sample(users: Index, most: int, seed: int) -> Index:
    """So many of the users, ascending, drawn at random where there are more.

    Raises:
        SettingError: for fewer than 1.
    """
    if most < 1:
        raise SettingError(f"max_users={most}: max_users must be at least 1")
    if len(users) <= most:
        return users
    return np.sort(generator(seed).choice(users, most, replace=False))


def liked_from(rec: Recommender) -> float:
    """The rating from which an item counts as liked, three quarters up the training scale: 4 on one
    from 1 to 5, 3.875 on one from 0.5 to 5.
    """
    low, high = map(float, rec.parameters["scale"])
    return low + _RELEVANT_SHARE * (high - low)


def relevant_text(relevant_from: float | None) -> str:
    """Which held-out items are relevant, in words."""
    if relevant_from is None:
        return "every held-out item is relevant"
    return f"relevant from {relevant_from:g}"


def rank(
    audience: Audience, k: Sequence[int], relevant_from: float | None, *, seed: int = 0
) -> tuple[Ranking, ...]:
    """Quality of an audience's lists, beside those of the most rated items.

    Args:
        audience: the users and what they chose.
        k: lengths of the lists.
        relevant_from: the lowest rating that makes an item relevant in the second reading; None for the
            first alone, in which every held-out item is.
        seed: of the intervals.

    Returns:
        A ranking for each reading, length and order, in this order, the most rated items last of each;
        none for a reading in which no user has a relevant item.
    """
    tops = audience.lists(max(k))
    found: list[Ranking] = []
    readings = (None,) if relevant_from is None else (None, float(relevant_from))
    for reading in readings:
        found += _of_reading(audience, tops, k, reading, seed)
    return tuple(found)


def _of_reading(
    audience: Audience,
    tops: Mapping[By, Index],
    lengths: Sequence[int],
    reading: float | None,
    seed: int,
) -> Iterator[Ranking]:
    rows, n_items = audience.rows, len(audience.item_counts)
    if reading is not None:
        rows = rows.take(rows.values >= reading)
    if not rows.n:
        return
    measured, owner = np.unique(rows.owners, return_inverse=True)
    relevant = csr_array(
        (np.ones(rows.n, np.bool_), (owner, rows.items)), shape=(len(measured), n_items)
    )
    share = np.maximum(audience.item_counts, 1) / max(audience.n_owners, 1)
    rankings, ndcg = [], []
    for k in lengths:
        for by, top in tops.items():
            own = top[measured, :k]
            ndcg.append(figures_per_user(own, relevant, k)["ndcg"])
            figures: dict[str, Any] = measure_lists(own, relevant, k)
            figures["novelty"] = novelty(own, share)
            rankings.append(
                Ranking(k, reading, len(measured), audience.unknown_users, **figures, by=by)
            )
    # Of each length the most rated items come last.
    every = np.array(ndcg).reshape(len(lengths), len(tops), -1)
    gains = (every[:, :-1] - every[:, -1:]).reshape(-1, len(measured)).T  # (n, other rankings)
    ends = bootstrap_interval(gains, seed=seed)
    found = zip(gains.mean(axis=0).tolist(), *ends.tolist(), strict=True)
    for ranking in rankings:
        yield ranking if ranking.by == "popularity" else replace(ranking, gain=Gain(*next(found)))
