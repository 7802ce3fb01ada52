"""New ratings in a fitted model: new users and items join, and the rows they touch are solved anew."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from dotbias.data.ratings import Ratings
from dotbias.data.read import as_ratings
from dotbias.data.vocabulary import Index, Vocabulary
from dotbias.errors import DataError, SettingError
from dotbias.models.base import Model
from dotbias.models.feature_prior import FeaturePrior
from dotbias.models.parameters import SAMPLES, Array, Parameters
from dotbias.models.row_form import OTHER, Prior, Side
from dotbias.recommender.described import Newcomers, features_of_new, told_of_new
from dotbias.recommender.facts import Joined
from dotbias.recommender.fitted import AnyFitted, Fitted, Part, rating_table
from dotbias.solvers.least_squares.fold_in import fold_in, gradients
from dotbias.solvers.least_squares.most_rated import shares

if TYPE_CHECKING:
    from dotbias.data.sources.locate import Source

_Told: TypeAlias = tuple[Index, csr_array]
"""Rows, ascending, and their features."""


def partial_fit(
    rec: AnyFitted,
    new: "Ratings | Source | None" = None,
    *,
    users: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
) -> AnyFitted:
    """A recommender that knows these ratings too; the one it comes from stays as it was.

    Users and items that are new join the model; a pair that was rated before takes its new rating, and
    one that was counted before adds up: what a shop has sold meanwhile comes on top. To a model of
    events a pair that comes again says nothing new, and counts are events.

    New items are solved first, with new users at the prior's mean; then all users with a new rating and
    all items with one, each from all their ratings (``fold_in``). All other rows, the global mean and
    the scale stay; what all rows of a side do together to one of the other (``Model.derived``) follows
    them, and the most rated items are counted anew. Samples that the model keeps are dropped.

    A row that was there is moved by what is new alone. Gradient descent that ends early leaves rows
    short of their regression's solution, which keeps them from overfitting, and to solve them anew would
    undo that. So the gradient ``g`` that is left in a row stays in its objective, as ``- g · x``: with
    nothing new the row stays where it is. Alternating least squares leaves next to none.

    To a model that ``Gibbs`` has fitted to features, users and items may join with features: their rows
    start from what such rows are, and stay there as long as nobody has rated. Of items among the new
    ratings, genres and years of titles count as features without further ado. So an item that is new can
    be recommended, by its predicted rating; a model of preferences knows nothing of it. Of users and
    items that the model has known before, features change nothing. They are not kept: ratings that come
    later move a row by the prior of one without features, from where it is.

    Args:
        rec: a fitted model.
        new: the new ratings, also a frame or path as ``read_ratings`` reads it; titles of items that had
            none are taken over.
        users, items: frames of features, as for ``Ratings.with_features``; of items, a column ``title``
            (and ``genres``) is taken over too.

    Returns:
        The grown model; ``facts.partial_fits`` says what has joined and when.

    Raises:
        SettingError: for a model without row form, or with arrays that do not fit together.
        DataError: for ratings where the model has counts or events, or the other way round; a rating
            outside the model's scale, a pair rated twice among the new ratings, ids that are integers
            on one side and text on the other, and features as ``Ratings.with_features``.
        SettingError: for features that the model was not fitted to, or nothing at all.
        ModelFileError: for a model that an older version has saved.

    >>> import dotbias as db
    >>> ratings, _ = db.simulate(n_users=100, n_items=50, n_ratings=2000, seed=1)
    >>> rec = db.fit(ratings, db.DotBias(n_factors=4))
    >>> grown = rec.partial_fit(db.Ratings.from_columns([1001, 1001], [3, 8], [4.5, 1.0]))
    >>> len(rec.user_vocabulary), len(grown.user_vocabulary)
    (100, 101)
    """
    frames: dict[Side, pl.DataFrame | None] = {"user": users, "item": items}
    described = {
        side: features_of_new(rec, side, frame)
        for side, frame in frames.items()
        if frame is not None
    }
    if new is not None:
        new = _of_kind(rec, as_ratings(new, of_model=rec.facts.kind))
        by_titles = told_of_new(rec, new) if items is None else None
        if by_titles is not None:
            described["item"] = by_titles
    elif not described:
        raise SettingError("nothing is to join: give ratings, or features of users or items")
    second = rec.preference
    if second is None:
        return _grow(rec, new, described)
    grown = _grow(rec.by(rec.model.scores), new, described)
    more = _grow(rec.by(second.model.scores), new, described)
    return replace(grown, preference=Part(more.model, more.parameters, more.facts))


def _of_kind(rec: Fitted, new: Ratings) -> Ratings:
    """New ratings as the model counts them.

    Raises:
        DataError: where they are of another kind, or outside the scale.
    """
    kind = rec.facts.kind
    if "ratings" in (kind, new.kind) and kind != new.kind:
        raise DataError(
            f"the model was fitted to {kind}, and these are {new.kind}: read them with kind={kind!r} "
            f"(on the command line --kind {kind})"
        )
    if kind == "events":
        return replace(new, values=np.ones(len(new), np.float32), kind=kind, declared_scale=None)
    if rec.scale is not None:
        low, high = rec.scale
        outside = (new.values < low) | (new.values > high)
        if outside.any():
            value, n = new.values[np.argmax(outside)], int(outside.sum())
            raise DataError(
                f"new rating {value:g}{f' (the first of {n:,} such)' if n > 1 else ''} is outside the "
                f"model's scale {low:g}-{high:g}, which stays: leave it out, or fit on all ratings"
            )
    return new


def _grow(rec: AnyFitted, new: Ratings | None, described: Mapping[Side, Newcomers]) -> AnyFitted:
    """``partial_fit`` of a recommender of one model."""
    rec.model.check(rec.parameters, *rec.rated.shape)
    before = {side: rec.vocabulary(side) for side in OTHER}
    after = dict(before)
    for side in OTHER:
        if new is not None:
            more = new.user_vocabulary if side == "user" else new.item_vocabulary
            after[side] = after[side].merge(more, noun=side)
        if side in described:
            after[side] = after[side].merge(described[side].vocabulary, noun=side)
    # Samples are of the rows as they were.
    parameters: Parameters = {n: a for n, a in rec.parameters.items() if n not in SAMPLES}
    fresh: dict[Side, Index] = {}
    for side in OTHER:
        known = after[side].indices(before[side].ids)
        groups, fresh[side] = _grown(rec, side, known, len(after[side]))
        parameters |= groups
    told = _start_from_features(rec.model, parameters, after, described)
    earlier = _moved(rec.rated, before, after)
    joining = coo_array(earlier.shape, dtype=np.float32)
    if new is not None:
        own: dict[Side, Vocabulary] = {"user": new.user_vocabulary, "item": new.item_vocabulary}
        joining = _moved(rating_table(new), own, after)
    rated = _united(earlier, joining, add=rec.facts.kind == "counts")
    parameters |= rec.model.derived(parameters, csr_array(earlier))
    touched = dict(zip(OTHER, map(np.unique, joining.coords), strict=True))
    linear: dict[Side, Array] = {}
    for side, rows in touched.items():
        form = rec.model.row_form(parameters, side)
        linear[side] = np.empty((len(rows), form.width), np.float32)
        for part, features in _by_features(rows, told.get(side)):
            of_part = _ratings_of(side, rows[part], earlier)
            linear[side][part] = gradients(
                rec.model, parameters, side, rows[part], *of_part, features=features
            )

    def solve(side: Side, rows: Index, linear: Array | None) -> None:
        parameters.update(rec.model.derived(parameters, rated))
        form = rec.model.row_form(parameters, side)
        solved = form.rows(rows)
        for part, features in _by_features(rows, told.get(side)):
            solved[part] = fold_in(
                rec.model,
                parameters,
                side,
                *_ratings_of(side, rows[part], rated),
                before=solved[part],
                linear=None if linear is None else linear[part],
                features=features,
            )
        for name, group in form.split(solved).items():
            parameters[name][rows] = group

    solve("item", fresh["item"], None)  # lest new users be solved from items that are still blank
    for side in OTHER:
        solve(side, touched[side], linear[side])
    parameters |= rec.model.derived(parameters, rated)
    if rec.for_all:
        parameters |= shares(rated.shape[0], np.bincount(rated.indices, minlength=rated.shape[1]))
    joined = Joined(
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        n_ratings=joining.nnz,
        n_replaced=rec.rated.nnz + joining.nnz - rated.nnz,
        n_new_users=len(fresh["user"]),
        n_new_items=len(fresh["item"]),
    )
    return replace(
        rec,
        parameters=parameters,
        user_vocabulary=after["user"],
        item_vocabulary=after["item"],
        rated=rated,
        facts=replace(rec.facts, partial_fits=(*rec.facts.partial_fits, joined)),
    )


def _start_from_features(
    model: Model,
    parameters: Parameters,
    after: Mapping[Side, Vocabulary],
    described: Mapping[Side, Newcomers],
) -> dict[Side, _Told]:
    """Move rows of which there are features from their prior's mean to where these say, in place; which
    rows those are. Nothing of a model that knows no features.
    """
    told: dict[Side, _Told] = {}
    for side, newcomers in described.items():
        form = model.row_form(parameters, side)
        prior = FeaturePrior.of(form, side)
        if prior is None:
            continue
        at = after[side].indices(newcomers.ids)
        order = np.argsort(at)
        told[side] = at[order], csr_array(newcomers.features[order])
        rows = prior.mean + prior.moved(newcomers.features)
        for name, group in form.split(rows).items():
            parameters[name][at] = group
    return told


def _by_features(
    rows: Index, told: _Told | None
) -> Iterator[tuple[NDArray[np.intp], csr_array | None]]:
    """Places in a list of rows, and features of the rows there: those without, and those with."""
    known, features = (np.empty(0, np.int32), None) if told is None else told
    described = np.isin(rows, known)
    if not described.all():
        yield np.flatnonzero(~described), None
    if described.any():
        assert features is not None
        yield np.flatnonzero(described), features[np.searchsorted(known, rows[described])]


def _grown(rec: Fitted, side: Side, known: Index, n_rows: int) -> tuple[Parameters, Index]:
    """The model's rows in their new places and the prior's mean in all others; which those are."""
    form = rec.model.row_form(rec.parameters, side)
    rows = np.tile(form.widened(Prior.of(form, side).mean), (n_rows, 1))
    rows[known] = form.rows(np.arange(len(known), dtype=np.int32))
    return form.split(rows), np.setdiff1d(np.arange(n_rows, dtype=np.int32), known)


def _moved(
    table: csr_array, before: Mapping[Side, Vocabulary], after: Mapping[Side, Vocabulary]
) -> coo_array:
    """A table of ratings under larger vocabularies."""
    places = tuple(
        after[side].indices(before[side].ids)[at]
        for side, at in zip(OTHER, table.tocoo().coords, strict=True)
    )
    return coo_array((table.data, places), shape=(len(after["user"]), len(after["item"])))


def _ratings_of(
    side: Side, rows: Index, table: coo_array | csr_array
) -> tuple[Index, Index, Array]:
    """Where the ratings of each row start, their partners and values."""
    own = csr_array(table if side == "user" else table.T)[rows]
    return own.indptr, own.indices, own.data


def _united(earlier: coo_array, later: coo_array, *, add: bool) -> csr_array:
    """The ratings of both; of pairs that are in both the sum, or the later one."""
    if add:
        return csr_array(earlier) + csr_array(later)
    pairs = [np.ravel_multi_index(table.coords, table.shape) for table in (earlier, later)]
    kept = ~np.isin(pairs[0], pairs[1])
    coords = tuple(
        np.append(old[kept], new) for old, new in zip(earlier.coords, later.coords, strict=True)
    )
    return csr_array((np.append(earlier.data[kept], later.data), coords), shape=earlier.shape)
