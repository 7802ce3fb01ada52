"""What hidden or well-known items and diversity do to lists, on validation rows.

    python benchmarks/shape_of_lists.py                         # ml-latest-small
    python benchmarks/shape_of_lists.py ml-100k ml-1m           # names, or files

A fifth of the rows (seed 42) is put aside for tests and not touched; of the others a fifth (seed 1)
is held out, and the models are fitted to the rest. Lists of ten for each user with held-out rows.
nDCG counts every held-out row as relevant; coverage is the share of all items that are on some list;
novelty is the mean of ``-log2`` of the share of users who have rated an item; ratings is the median
number of an item's; nearest is the mean cosine of an item and the nearest other one of its list.
"""

from typing import Annotated, Any

import numpy as np
import typer

K = 10
WELL_KNOWN = (-1, -0.75, -0.5, -0.25, 0, 0.1, 0.25, 0.5, 1)
DIVERSITY = (0, 0.1, 0.2, 0.3, 0.5, 0.7, 1)


def main(
    sets: Annotated[list[str] | None, typer.Argument(help="Names or files.")] = None,
    max_users: int = 3_000,
) -> None:
    from rich.console import Console
    from rich.table import Table

    import dotbias as db

    console = Console(width=110)
    for source in sets or ["ml-latest-small"]:
        kept, _ = db.read_ratings(source).split(test_size=0.2, seed=42)
        train, held_out = kept.split(test_size=0.2, seed=1)
        whole = db.fit(train, seed=0)
        for by in ("rating", "preference"):
            table = Table("well known", "diversity", title=f"{source}, ranked by {by}")
            for name in ("nDCG", "coverage", "novelty", "ratings", "nearest"):
                table.add_column(name, justify="right")
            for shape in shapes():
                figures = measured(whole.by(by), held_out, max_users, **shape)
                table.add_row(*(f"{value:g}" for value in shape.values()), *figures)
            console.print(table)


def shapes() -> list[dict[str, float]]:
    """The settings, one of the two at a time."""
    return [
        *({"well_known": w, "diversity": 0} for w in WELL_KNOWN),
        *({"well_known": 0, "diversity": d} for d in DIVERSITY if d),
    ]


def measured(rec: Any, held_out: Any, max_users: int, **shape: float) -> list[str]:
    """The figures of the lists of one setting."""
    from scipy.sparse import csr_array

    from dotbias.evaluation.rows import align
    from dotbias.recommender.list_quality import figures_per_user

    users, items = align(rec, held_out)
    known = (users >= 0) & (items >= 0)
    relevant = csr_array((np.ones(known.sum()), (users[known], items[known])), rec.rated.shape)
    some = np.flatnonzero(np.diff(relevant.indptr))[:max_users].astype(np.int32)
    top = rec.top_items(some, K, **shape)
    ndcg = figures_per_user(top, relevant[some], K)["ndcg"].mean()
    coverage = len(np.unique(top)) / len(rec.item_vocabulary)
    counts = rec.item_counts[top]
    novelty = -np.log2(counts / len(rec.user_vocabulary)).mean()
    vectors = rec.unit_vectors()[top]  # (n, K, f)
    cosines = np.einsum("nif,njf->nij", vectors, vectors)
    cosines[:, range(K), range(K)] = -1
    return [
        f"{ndcg:.3f}",
        f"{coverage:.3f}",
        f"{novelty:.2f}",
        f"{np.median(counts):.0f}",
        f"{cosines.max(axis=2).mean():.3f}",
    ]


if __name__ == "__main__":
    typer.run(main)
