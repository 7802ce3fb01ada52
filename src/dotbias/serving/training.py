"""Training ratings of a service: what a model was fitted to, and over it what people say since."""

import numpy as np
import polars as pl

from dotbias.data.ratings import Ratings
from dotbias.recommender.recommender import Recommender
from dotbias.serving.store.store import Store

_PAIR = ["user", "item"]


def training_ratings(
    store: Store, base: Recommender, without: pl.DataFrame | None = None
) -> Ratings:
    """The ratings to fit to next.

    Of each pair the last word counts; what was taken back is left out, and all of users who have had it
    deleted.

    Args:
        store: what people have said.
        base: the model whose ratings they add to; ids, scale and titles stay its own.
        without: pairs to leave out, columns ``user`` and ``item`` as text.

    Raises:
        DataError: where nothing is left.
    """
    said = store.everything().filter(pl.col("kind") != "wish")
    before = trained(base)
    gone = store.erased(before["user"].unique())
    rows = pl.concat(
        [
            before.filter(~pl.col("user").is_in(list(gone))).join(said, on=_PAIR, how="anti"),
            said.filter(pl.col("kind") == "rating").select(*_PAIR, "value"),
        ]
    )
    if without is not None:
        rows = rows.join(without, on=_PAIR, how="anti")
    users, items = base.user_vocabulary, base.item_vocabulary
    kind, (low, high) = base.facts.kind, base.parameters["scale"]
    titles = items.described() if items.titles is not None else None
    return Ratings.from_columns(
        users.in_own_type(rows["user"]),
        items.in_own_type(rows["item"]),
        None if kind == "events" else rows["value"].to_numpy().astype(np.float32),
        kind=kind,
        titles=titles,
        scale=(float(low), float(high)) if kind == "ratings" else None,
    )


def unseen(store: Store, base: Recommender) -> pl.DataFrame:
    """What is new to a model, or rated otherwise now: columns ``user``, ``item``, ``value``."""
    said = store.everything().filter(pl.col("kind") == "rating").select(*_PAIR, "value")
    known = trained(base).rename({"value": "before"})
    joined = said.join(known, on=_PAIR, how="left", maintain_order="left")
    value = pl.col("value").cast(pl.Float32).cast(pl.Float64)  # as a model keeps them
    new = pl.col("before").is_null() | (pl.col("before") != value)
    return joined.filter(new).drop("before").sort(_PAIR)


def trained(base: Recommender) -> pl.DataFrame:
    """What a model was fitted to: columns ``user`` and ``item`` as text, ``value``."""
    ratings = base.training_ratings()
    value = pl.Series("value", ratings.values.astype(np.float64))
    return ratings.to_frame().select(pl.col(*_PAIR).cast(pl.String), value)
