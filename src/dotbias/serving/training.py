"""What to fit to next: the ratings of a model or a file, and over them what people have said."""

import polars as pl

from dotbias.data.ratings import Ratings
from dotbias.serving.store.said import Said

_PAIR = ["user", "item"]


def training_ratings(before: Ratings, said: Said, without: pl.DataFrame | None = None) -> Ratings:
    """The ratings to fit to next.

    Of each pair the last word counts; what was taken back is left out, and all of users who have had it
    deleted.

    Args:
        before: the ratings that they add to; ids, kind, scale and titles stay theirs.
        said: what people have said.
        without: pairs to leave out, columns ``user`` and ``item`` as text.

    Raises:
        DataError: where nothing is left, or a rating lies outside the scale.
    """
    rows = _told(before)
    gone = said.erased(rows["user"].unique())
    spoken = said.states.filter(pl.col("kind") != "wish")
    rows = pl.concat(
        [
            rows.filter(~pl.col("user").is_in(list(gone))).join(spoken, on=_PAIR, how="anti"),
            said.ratings().select(*_PAIR, "value", "time"),
        ]
    )
    if without is not None:
        rows = rows.join(without, on=_PAIR, how="anti")
    users, items, kind = before.user_vocabulary, before.item_vocabulary, before.kind
    return Ratings.from_columns(
        users.in_own_type(rows["user"]),
        items.in_own_type(rows["item"]),
        None if kind == "events" else rows["value"].cast(pl.Float32).to_numpy(),
        kind=kind,
        times=None if before.times is None else rows["time"],
        titles=items.described(),
        scale=before.declared_scale if kind == "ratings" else None,
    )


def unseen(before: Ratings, said: Said) -> pl.DataFrame:
    """What is new, or rated otherwise now: columns ``user``, ``item``, ``value``."""
    known = _told(before).select(*_PAIR, before="value")
    joined = said.ratings().select(*_PAIR, "value").join(known, on=_PAIR, how="left")
    value = pl.col("value").cast(pl.Float32).cast(pl.Float64)  # as a model keeps them
    new = pl.col("before").is_null() | (pl.col("before") != value)
    return joined.filter(new).drop("before").sort(_PAIR)


def _told(ratings: Ratings) -> pl.DataFrame:
    """Columns ``user`` and ``item`` as text, ``value``, and ``time`` in seconds, if there are any."""
    value = pl.Series("value", ratings.values, pl.Float64)
    time = pl.lit(None, pl.Int64) if ratings.times is None else pl.Series(ratings.times)
    return ratings.to_frame().select(pl.col(*_PAIR).cast(pl.String), value, time.alias("time"))
