"""Users and items of a fitted model as frames: what is known of each, and what was learned of it."""

import numpy as np
import polars as pl

from dotbias.models.base import Scores
from dotbias.models.row_form import Side
from dotbias.recommender.fitted import Fitted


def known_of(rec: Fitted, side: Side) -> pl.DataFrame:
    """See ``Recommender.items`` and ``Recommender.users``."""
    counts = np.diff(rec.rated.indptr) if side == "user" else rec.item_counts
    table = _named(rec, side).with_columns(n_ratings=pl.Series(counts, dtype=pl.Int64))
    if rec.facts.kind == "ratings":
        table = table.with_columns(mean_rating=pl.Series(rec.mean_ratings(side)).fill_nan(None))
    bias = rec.model.bias(rec.parameters, side)
    return table if bias is None else table.with_columns(bias=pl.Series(bias))


def embeddings_of(rec: Fitted, side: Side, by: Scores | None) -> pl.DataFrame:
    """See ``Recommender.item_embeddings`` and ``Recommender.user_embeddings``."""
    model = rec.compared_by(by)
    vectors = getattr(model.model, f"{side}_vectors")(model.parameters)
    return _named(rec, side).drop("genres", strict=False).with_columns(vector=pl.Series(vectors))


def _named(rec: Fitted, side: Side) -> pl.DataFrame:
    """Ids of the users, or of the items with their titles and genres where those are known."""
    return rec.vocabulary(side).described().rename({"id": side})
