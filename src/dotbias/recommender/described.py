"""Features of users and items that were not there at training, as a fitted model reads them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl
from scipy.sparse import csr_array

from dotbias.data.features import FeatureEncoder, ids_of, refuse_repeated, told_by_titles
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Vocabulary
from dotbias.errors import DataError, SettingError
from dotbias.models.feature_prior import FeaturePrior, no_features
from dotbias.models.row_form import Side
from dotbias.recommender.fitted import Fitted


def features_of_one(
    rec: Fitted, side: Side, features: Mapping[str, Any] | None
) -> csr_array | None:
    """What is known of one user or item beside ratings, shape (1, n_features); None where nothing is.

    Raises:
        SettingError: for a model that was fitted without features of that side.
        DataError: for features that are none of the model's, or of another type.
    """
    if features is None:
        return None
    if not isinstance(features, Mapping):
        raise DataError(f"{side} features must be a dictionary of names and values")
    return _encoder(rec, side).row(features, side) if features else None


class Newcomers(NamedTuple):
    """Users or items that the model does not know, and what is known of them.

    Args:
        ids: of each, in the order of the features.
        features: shape (n, n_features).
        vocabulary: all of them, with titles and genres where these are told.
    """

    ids: pl.Series
    features: csr_array
    vocabulary: Vocabulary


def features_of_new(rec: Fitted, side: Side, frame: pl.DataFrame) -> Newcomers:
    """Those of a frame of features whose ids the model does not know.

    Raises:
        SettingError: for a model that was fitted without features of that side.
        DataError: for a frame that has no ids, none of the model's features, or an id twice.
    """
    encoder, ids = _encoder(rec, side), ids_of(frame, side)
    new = frame.filter(rec.vocabulary(side).indices(ids) < 0)
    ids = rec.vocabulary(side).in_own_type(new.to_series(0))
    refuse_repeated(ids, side)
    vocabulary, _ = Vocabulary.encode(ids)
    if side == "item" and "title" in new.columns:
        told = [name for name in ("title", "genres") if name in new.columns]
        for name in told:
            if new[name].dtype.is_nested() or new[name].dtype == pl.Object:
                raise DataError(f"column {name!r} of items is {new[name].dtype}: give text")
        vocabulary = vocabulary.with_titles(new.select(told).with_columns(ids.alias("id")))
    return Newcomers(ids, encoder.table(new, side), vocabulary)


def told_of_new(rec: Fitted, new: Ratings) -> Newcomers | None:
    """Those of new ratings whose items the model does not know, by their genres and years; None where it
    was not fitted to any, or the ratings have none.
    """
    encoder = rec.facts.features.get("item")
    frame = told_by_titles(new.item_vocabulary, few=True)
    if encoder is None or frame is None:
        return None
    names = {column.name for column in encoder.columns}
    return features_of_new(rec, "item", frame) if names & set(frame.columns[1:]) else None


def _encoder(rec: Fitted, side: Side) -> FeatureEncoder:
    """How features of a side are read.

    Raises:
        SettingError: for a model that was fitted without.
    """
    encoder = rec.facts.features.get(side)
    told = FeaturePrior.of(rec.model.row_form(rec.parameters, side), side)
    if told is None or encoder is None or len(encoder.names) != len(told.effects):
        raise SettingError(no_features(side))
    return encoder
