"""Principal components of the items' embeddings: along which directions items differ most."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.base import Scores
from dotbias.recommender.fitted import check_k
from dotbias.recommender.recommender import Recommender
from dotbias.shown import Part, Shown

MOST_RATED = 1000
"""How many items are looked at unless told otherwise."""

_log = logging.getLogger("dotbias")


@dataclass(frozen=True, eq=False, kw_only=True)
class Components(Shown):
    """The directions along which embeddings of items vary most, with the items at both ends.

    Args:
        n_items: how many items were looked at.
        shares: share of the variance of their embeddings along each component, shape (n,), falling.
        directions: the components, of length 1 and orthogonal, shape (n, n_factors).
        mean: the mean embedding, from which scores count, shape (n_factors,).
        table: what ``frame`` returns.
    """

    n_items: int
    shares: NDArray[np.float64]
    directions: NDArray[np.float64]
    mean: NDArray[np.float64]
    table: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The items at both ends of each component.

        Columns ``component`` (from 1), ``share`` (of the variance), ``end`` (``"low"``, ``"high"``),
        ``rank`` (1 is the outermost), ``item``, ``title``, ``score``, ``n_ratings``.
        """
        return self.table

    def side_by_side(self) -> list[tuple[str, pl.DataFrame]]:
        """For people: a heading for each component, and its ends as two columns of titles."""
        names = self.table.with_columns(pl.coalesce("title", pl.col("item").cast(pl.String)))
        parts = []
        for number, share in enumerate(self.shares, start=1):
            own = names.filter(pl.col("component") == number)
            ends = {
                f"{end} end": own.filter(pl.col("end") == end)["title"] for end in ("low", "high")
            }
            parts.append(
                (f"Component {number}: {_percent(share)} of the variance", pl.DataFrame(ends))
            )
        return parts

    def _parts(self) -> Iterable[Part]:
        for heading, ends in self.side_by_side():
            yield heading
            yield ends

    def __str__(self) -> str:
        parts = []
        for heading, ends in self.side_by_side():
            low, high = ([name, *ends[name]] for name in ends.columns)
            width = max(map(len, low))
            lines = [f"{left:<{width}}  {right}" for left, right in zip(low, high, strict=True)]
            parts.append("\n".join([heading, *lines]))
        return "\n\n".join(parts)


def principal_components(
    rec: Recommender,
    n: int = 5,
    *,
    k: int = 5,
    by: Scores | None = None,
    most_rated: int | None = MOST_RATED,
) -> Components:
    """The directions along which the items' embeddings vary most, and which items lie at their ends.

    The embeddings are taken as they are: not scaled to one length, and without the biases, so that
    what all raters like more or less plays no part. From each the mean is subtracted; the components
    are the right singular vectors of what is left (Jolliffe 2002, "Principal Component Analysis",
    section 3.5), and an item's score is its embedding's product with them. A model whose embeddings
    are rotated predicts the same and has the same components.

    The most rated items are looked at, and not those with some number of ratings: the same number of
    titles that people know comes from a set of any size.

    A component has no direction of its own: the item that lies farthest from the middle is put at the
    high end.

    Args:
        rec: a fitted model that has embeddings of items.
        n: how many components. Where the embeddings vary in fewer directions, there are only as many,
            and a note says so (logger ``dotbias``).
        k: how many items at each end.
        by: whose embeddings, as in ``similar``.
        most_rated: how many items to look at, the most rated first; None, or more than there are,
            takes all.

    Raises:
        SettingError: for a model without embeddings, settings outside their range, or embeddings that
            are all the same.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> rec = db.fit(ratings, db.DotBias(n_factors=4), db.ALS(n_iterations=5))
    >>> found = principal_components(rec, n=2, k=3)
    >>> found.directions.shape, found.frame().height
    ((2, 4), 12)
    """
    check_k(k)
    if n < 1:
        raise SettingError(f"n={n}: n must be at least 1")
    rec = rec.compared_by(by)
    items = _most_rated(rec, most_rated)
    if 2 * k > len(items):
        raise SettingError(
            f"k={k}: the two ends of {len(items):,} items have room for at most {len(items) // 2:,} each"
        )
    vectors = rec.model.item_vectors(rec.parameters)[items].astype(np.float64)
    mean = vectors.mean(0)
    left, sizes, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    # Single precision of the embeddings: what is below is rounding.
    least = np.abs(vectors).max() * np.sqrt(vectors.size) * np.finfo(np.float32).eps
    rank = int((sizes > least).sum())
    if rank == 0:
        raise SettingError(f"the embeddings of the {len(items):,} items are all the same")
    if n > rank:
        _log.info("n=%d: the embeddings have no more components than %d.", n, rank)
    n = min(n, rank)
    scores = left[:, :n] * sizes[:n]  # (n_items, n)
    outermost = scores[np.abs(scores).argmax(0), np.arange(n)]
    signs = np.sign(outermost)
    shares = sizes**2 / np.sum(sizes**2)
    return Components(
        n_items=len(items),
        shares=shares[:n],
        directions=directions[:n] * signs[:, None],
        mean=mean,
        table=_ends(rec, items, scores * signs, shares[:n], k),
    )


def _most_rated(rec: Recommender, wanted: int | None) -> Index:
    """Indices of the most rated items; among equals the lower index first."""
    if wanted is not None and wanted < 2:
        raise SettingError(
            f"most_rated={wanted}: most_rated must be at least 2, or None for all items"
        )
    return np.argsort(-rec.item_counts, kind="stable")[:wanted].astype(np.int32)


def _ends(
    rec: Recommender,
    items: Index,
    scores: NDArray[np.float64],
    shares: NDArray[np.float64],
    k: int,
) -> pl.DataFrame:
    """The k items at each end of each component."""
    parts = []
    for number, (share, score) in enumerate(zip(shares, scores.T, strict=True), start=1):
        rising = np.argsort(score, kind="stable")
        for end, rows in (("low", rising[:k]), ("high", rising[::-1][:k])):
            columns: dict[str, Any] = {
                "component": [number] * k,
                "share": [float(share)] * k,
                "end": [end] * k,
                "rank": np.arange(1, k + 1),
                **rec.named(items[rows]),
                "score": score[rows],
                "n_ratings": rec.item_counts[items[rows]],
            }
            parts.append(pl.DataFrame(columns))
    return pl.concat(parts)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
