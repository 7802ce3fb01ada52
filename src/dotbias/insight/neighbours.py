"""How many of an item's nearest neighbours are there again when the same model is fitted anew."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.evaluation.evaluate import text_table
from dotbias.insight.map_quality import nearest
from dotbias.memory import check_memory
from dotbias.models.base import Scores
from dotbias.progress import Progress, progress_bar
from dotbias.recommender.fitted import MIN_RATINGS, RawId, check_k
from dotbias.recommender.recommender import Recommender
from dotbias.shown import Part, Shown
from dotbias.solvers.base import Solver, estimate
from dotbias.solvers.registry import solver_from_plain


@dataclass(frozen=True, eq=False, kw_only=True)
class NeighbourStability(Shown):
    """How far lists of nearest neighbours depend on the seed of the fit.

    Args:
        item: whose neighbours they are, by title or id; None for the mean over all items.
        k: length of the lists.
        seeds: of the other fits.
        share: mean over all pairs of fits, the given one among them, of ``|N_a ∩ N_b| / k``, where
            ``N_a`` and ``N_b`` are an item's neighbours in both.
        chance: what ``share`` would be for lists drawn at random: ``k`` over the number of other
            items with enough ratings.
        table: what ``frame`` returns.
    """

    item: str | None
    k: int
    seeds: tuple[int, ...]
    share: float
    chance: float
    table: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The neighbours, or the items.

        Of one item: the columns of ``Recommender.similar``, and ``in_fits``, the share of the other
        fits in which the neighbour is among the ``k``. Of all items: ``item``, ``title``, ``share``,
        ``n_ratings``, most ratings first.
        """
        return self.table

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        rows = "items" if self.item is None else "neighbours"
        return {
            "item": self.item,
            "k": self.k,
            "seeds": list(self.seeds),
            "share": self.share,
            "chance": self.chance,
            rows: self.table.to_dicts(),
        }

    def _parts(self) -> Iterable[Part]:
        yield from (self.verdict, self.table)

    @property
    def verdict(self) -> str:
        """One sentence: the share, and what chance would give."""
        n = len(self.seeds)
        fits = "1 fit with another seed" if n == 1 else f"{n} fits with other seeds"
        whose = "the" if self.item is not None else "an item's"
        over = "" if self.item is not None else f", mean over {self.table.height:,} items"
        return (
            f"Stability: {_percent(self.share)} of {whose} {self.k} nearest are the same in another "
            f"fit ({fits}{over}; by chance {_percent(self.chance)})."
        )

    def __str__(self) -> str:
        if self.item is None:
            return self.verdict
        rows = [
            [row["title"] or str(row["item"]), f"{row['similarity']:.4f}", fits]
            for row, fits in zip(self.table.iter_rows(named=True), self.in_words, strict=True)
        ]
        header = [f"similar to {self.item}", "similarity", "in fits"]
        return f"{text_table(header, rows)}\n{self.verdict}"

    @property
    def in_words(self) -> list[str]:
        """``in_fits`` of each neighbour in words, such as "4 of 5"; of one item only."""
        n = len(self.seeds)
        return [f"{round(share * n)} of {n}" for share in self.table["in_fits"]]


def neighbour_stability(
    rec: Recommender,
    item: RawId | None = None,
    k: int = 10,
    *,
    n_fits: int = 5,
    seed: int | None = None,
    by: Scores | None = None,
    min_ratings: int = MIN_RATINGS,
    solver: Solver | None = None,
    progress: Progress = "auto",
) -> NeighbourStability:
    """How many of an item's nearest neighbours are the same when the model is fitted with other seeds.

    Neighbours are those of ``Recommender.similar``: by cosine of the embeddings. The same model is
    fitted to the same training ratings by the same solver, ``n_fits`` times; only the seeds differ, and
    with them where the embeddings start and the order of the ratings. What is not the same in most fits
    says nothing about the items.

    A recommender keeps the ratings, sorted by user and item, but neither their times nor their features:
    a fit that used features (``Gibbs``) is compared with fits without. Of an embedding whose length the
    fit found itself (``Gibbs``) the other fits keep at most that length. A model that has grown by
    ``partial_fit`` is compared with fits to all its ratings.

    Args:
        rec: a fitted model that has embeddings of items.
        item: its id, title, or a part of one title; None for the mean over all items that have
            ``min_ratings``, which are then compared with each other alone.
        k: how many neighbours.
        n_fits: how many other fits; each takes as long as the first one did.
        seed: of the first of them, the others count up from it; by default they follow the model's own.
        by: whose embeddings, as in ``similar``: the model that they belong to is fitted again.
        min_ratings: items with fewer training ratings are nobody's neighbours.
        solver: how to fit; by default as ``rec.facts.solver`` says.
        progress: whether to show a bar, on a terminal or in a notebook; False never does.

    Ctrl-C ends it all: a mean over fewer fits is not what was asked for.

    Raises:
        UnknownIdError: for an unknown or ambiguous item.
        SettingError: for a model without embeddings, a ``k`` that leaves nothing to choose from,
            settings outside their range, or a solver that cannot be made again.
        DivergenceError: as ``fit``.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> rec = db.fit(ratings, db.DotBias(n_factors=4), db.ALS(n_iterations=5))
    >>> found = neighbour_stability(rec, 17, k=5, n_fits=2)
    >>> 0 <= found.share <= 1, round(found.chance, 3), found.seeds
    (True, 0.051, (1, 2))
    >>> found.frame().columns
    ['rank', 'item', 'title', 'similarity', 'n_ratings', 'in_fits']
    """
    if n_fits < 1:
        raise SettingError(f"n_fits={n_fits}: n_fits must be at least 1")
    check_k(k)
    rec = rec.compared_by(by)
    candidates = np.flatnonzero(rec.item_counts >= min_ratings)
    at = None if item is None else rec.item_vocabulary.find(item)
    n_others = len(candidates) - int(at is None or at in candidates)
    if k > n_others:
        raise SettingError(
            f"k={k}: k must be at most {max(n_others, 0):,}, the number of other items with "
            f"{min_ratings} training ratings or more"
        )

    def neighbours(of: Recommender) -> Index:
        if at is None:
            return nearest(of.unit_vectors[candidates], k)[0]
        found = of.similar(rec.item_vocabulary.raw(at), k, min_ratings=min_ratings)
        return of.item_vocabulary.indices(found["item"])[None, :]

    solver = _solver_of(rec) if solver is None else solver
    first = (rec.facts.seed or 0) + 1 if seed is None else seed
    check_memory(n_fits, f"n_fits={n_fits:,}", size=64)
    seeds = tuple(range(first, first + n_fits))
    lists = [neighbours(rec)]
    with progress_bar("fitting again", n_fits, enabled=progress) as advance:
        for other in _other_fits(rec, solver, seeds):
            lists.append(neighbours(other))
            advance(1, f"fit {len(lists) - 1} of {n_fits}")
    shares = overlap(np.stack(lists))
    if at is None:
        table = _items(rec, candidates, shares)
    else:
        own, others = lists[0][0], lists[1:]
        table = rec.similar(rec.item_vocabulary.raw(at), k, min_ratings=min_ratings).drop("basis")
        in_fits = np.mean([np.isin(own, other[0]) for other in others], axis=0)
        table = table.with_columns(in_fits=pl.Series(in_fits))
    return NeighbourStability(
        item=None if at is None else rec.item_vocabulary.label(at),
        k=k,
        seeds=seeds,
        share=float(shares.mean()),
        chance=k / n_others,
        table=table,
    )


def overlap(lists: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Mean over all pairs of fits of the share of a list that both have, for each list.

    Args:
        lists: shape (n_fits, n_lists, k), at least two fits; the numbers of a list are different.

    Returns:
        Shape (n_lists,).

    >>> overlap(np.array([[[1, 2]], [[2, 3]], [[4, 2]]])).tolist()
    [0.5]
    """
    n_fits, n_lists, k = lists.shape
    # What stands in c of the lists is in c (c - 1) / 2 pairs of them.
    entries = np.arange(n_lists)[:, None] + n_lists * lists.astype(np.int64)
    distinct, counts = np.unique(entries, return_counts=True)
    both = np.bincount(distinct % n_lists, counts * (counts - 1), n_lists)
    return np.asarray(both / (n_fits * (n_fits - 1) * k), np.float64)


def _other_fits(rec: Recommender, solver: Solver, seeds: tuple[int, ...]) -> Iterator[Recommender]:
    """The same model fitted to the same ratings with each of these seeds, one after the other."""
    ratings = rec.training_ratings()
    for seed in seeds:
        parameters, history = estimate(solver, rec.model, ratings, seed=seed)
        if history.stopped == "interrupted":
            raise KeyboardInterrupt  # whoever interrupts one fit does not want the next
        yield Recommender.of(rec.model.fitted(parameters), parameters, ratings)


def _solver_of(rec: Recommender) -> Solver:
    """What fitted this model."""
    if rec.facts.solver is None:
        raise SettingError("this recommender does not say how it was fitted: give it as solver=")
    return solver_from_plain(rec.facts.solver)


def _items(rec: Recommender, items: NDArray[np.int64], shares: NDArray[np.float64]) -> pl.DataFrame:
    """Items and the share of their lists that stays, most ratings first."""
    table = pl.DataFrame(
        {
            **rec.named(items.astype(np.int32)),
            "share": shares,
            "n_ratings": rec.item_counts[items],
        }
    )
    return table.sort("n_ratings", descending=True, maintain_order=True)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1g} %"
