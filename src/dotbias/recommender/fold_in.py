"""Users and items that were not there at training, as a fitted model sees them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Unpack

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from dotbias.data.arrays import as_number
from dotbias.data.ratings import LARGEST
from dotbias.data.read import Rated, read_rated
from dotbias.data.vocabulary import Index, is_id
from dotbias.errors import DataError, UnknownIdError
from dotbias.models.base import Scores
from dotbias.models.parameters import Array
from dotbias.models.row_form import OTHER, Side
from dotbias.recommender.described import features_of_one
from dotbias.recommender.explanation import Explanation, explain_row
from dotbias.recommender.fitted import MIN_RATINGS, Fitted, RawId, check_k, warn_left_out
from dotbias.recommender.given import Given
from dotbias.recommender.list_options import ListKeywords, ListOptions
from dotbias.shown import Part, Shown, parts_of
from dotbias.solvers.gibbs.new_user import UserPriors, std_of_new_user
from dotbias.solvers.least_squares.fold_in import fold_in

if TYPE_CHECKING:
    import pandas as pd

    Frame: TypeAlias = pl.DataFrame | pl.LazyFrame | pd.DataFrame

RatingsOfOne: TypeAlias = (
    "Mapping[RawId, float] | Iterable[tuple[RawId, float]] | Iterable[RawId] | Frame | Rated"
)
"""What one user gave to items, or one item got from users; ids alone where there are no ratings."""


@dataclass(frozen=True, eq=False)
class _Folded(Shown):
    """A row beside a model that stays as it was.

    Args:
        recommender: the model, or both.
        bias: bias of the row in the (first) model; 0 in one without biases.
        factors: its embedding there, shape (k,); empty for a ``Baseline``.
        preference: its embedding in a second model, of preferences, shape (k,); None without one.
        rated: indices of the items it rated, or the users who rated it, shape (n,).
        values: those ratings, shape (n,).
        not_interested: indices of the items that a user does not want, shape (m,).
        unknown: the ids that were left out.
        features: what is known of it beside ratings, shape (1, n_features); None where nothing is.
    """

    recommender: Fitted = field(repr=False)
    bias: float
    factors: Array = field(repr=False)
    preference: Array | None = field(repr=False)
    rated: Index = field(repr=False)
    values: Array = field(repr=False)
    not_interested: Index = field(repr=False)
    unknown: tuple[RawId, ...]
    features: csr_array | None = field(default=None, repr=False)

    @property
    def n_ratings(self) -> int:
        """How many ratings the row rests on."""
        return len(self.rated)

    @property
    def is_known(self) -> bool:
        """Whether the row rests on anything."""
        return self.features is not None or len(self.rated) + len(self.not_interested) > 0

    def _parts(self) -> Iterable[Part]:
        yield {"recommender": self.recommender, "n_ratings": self.n_ratings}
        yield from parts_of(self)

    def _beside(self, side: Side) -> Fitted:
        """The recommender with this row alone on its own side."""
        rec = self.recommender
        row = np.append(np.float32(self.bias), self.factors)[None, :]
        form = rec.model.row_form(rec.parameters, side)
        alone = replace(rec, parameters=rec.parameters | form.split(row))
        second = rec.preference
        if second is not None and self.preference is not None:
            row = np.append(np.float32(0), self.preference)[None, :]
            split = second.model.row_form(second.parameters, side).split(row)
            second = replace(second, parameters=second.parameters | split)
        return replace(alone, preference=second)


@dataclass(frozen=True, eq=False)
class FoldedUser(_Folded):
    """A user who was not there at training; see ``Recommender.fold_in_user``.

    Args:
        priors: what users of the same features are in each kept sample; None where nothing is known of
            features, or no samples are kept.
    """

    priors: UserPriors | None = field(default=None, repr=False)

    def predict(self, items: RawId | pl.Series | Sequence[RawId], *, strict: bool = False) -> Any:
        """Predicted rating of one item (a float), or of many: shape (n,).

        An unknown item falls back on the user's bias, with a warning in the log, or is an
        ``UnknownIdError`` if ``strict``.
        """
        index = self.recommender.indices("item", items, strict=strict)
        alone = self._alone
        of_one = np.zeros(len(index), np.int32)
        predictions = alone.model.predict(alone.parameters, of_one, index)
        return float(predictions[0]) if is_id(items) else predictions

    def recommend(
        self,
        k: int = 10,
        *,
        strict: bool = False,
        **options: Unpack[ListKeywords],
    ) -> pl.DataFrame:
        """The k best items for this user; arguments and errors as in ``Recommender.recommend``.

        Returns:
            Columns ``rank`` (from 1), ``item``, ``title``, best first; ``prediction`` and
            ``preference`` as far as there are models of them; ``basis``: ``both``, or the ``item`` alone
            where nothing is known of the user.
        """
        check_k(k)
        rec, wanted = self.recommender, ListOptions.of_ids(self.recommender, options, strict=strict)
        chosen = self.top_items(k, wanted)
        wanted.say_short(rec, np.array([len(chosen)]), k, not_interested=self.not_interested)
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(chosen) + 1),
                **rec.named(chosen),
                **self.scored(chosen),
                "basis": rec.basis(0 if self.is_known else -1, chosen, len(chosen)),
            }
        )

    def top_items(self, k: int, wanted: ListOptions) -> Index:
        """What ``recommend`` gives, in indices, shape (at most k,)."""
        rec, alone = self.recommender, self._alone
        if len(self.not_interested):
            excluded = () if wanted.exclude is None else wanted.exclude
            never = np.append(self.not_interested, np.asarray(excluded, np.int32))
            wanted = replace(wanted, exclude=never)
        first, rated = np.zeros(1, np.int32), [np.sort(self.rated)]
        items = wanted.top_items(rec, alone, first, rated, k)
        return items[items >= 0]

    def scored(self, items: Index) -> dict[str, Array]:
        """Columns ``prediction`` and ``preference`` of items, as far as there are models."""
        return self._alone.scored(np.zeros(len(items), np.int32), items)

    def std(self, items: Index) -> Array | None:
        """Standard deviations of the ratings that this user would give to items, in rating units, shape
        (n,). None where the model keeps no samples.
        """
        rec = self.recommender
        priors = self.priors or rec.user_priors
        if priors is None:
            return None
        return std_of_new_user(rec.parameters, priors, self.rated, self.values, items)

    def vector(self, scores: Scores) -> Array:
        """The embedding in one of the models, shape (k,), to be compared with its items'."""
        alone = self._alone.by(scores)
        vector: Array = alone.model.user_vectors(alone.parameters)[0]
        return vector

    @cached_property
    def _alone(self) -> Fitted:
        return self._beside("user")

    def explain(
        self, item: RawId, *, of: Scores | None = None, strict: bool = False
    ) -> Explanation:
        """The prediction of one item, or the preference for it, as a sum of parts; as
        ``Recommender.explain``.
        """
        scores = self.recommender.ranked_by(of)
        alone = self.recommender.by(scores)
        own = self._alone.by(scores).parameters
        given = Given(self.rated, self.values, self.not_interested)
        told = self.features if scores == "rating" else None
        return explain_row(alone, own, 0, given, item, features=told, strict=strict)


@dataclass(frozen=True, eq=False)
class FoldedItem(_Folded):
    """An item that was not there at training; see ``Recommender.fold_in_item``."""

    def predict(self, users: RawId | pl.Series | Sequence[RawId], *, strict: bool = False) -> Any:
        """Predicted rating by one user (a float), or by many: shape (n,).

        An unknown user falls back on the item's bias, with a warning in the log, or is an
        ``UnknownIdError`` if ``strict``.
        """
        index = self.recommender.indices("user", users, strict=strict)
        of_one = np.zeros(len(index), np.int32)
        alone = self._beside("item")
        predictions = alone.model.predict(alone.parameters, index, of_one)
        return float(predictions[0]) if is_id(users) else predictions

    def similar(
        self, k: int = 10, *, by: Scores | None = None, min_ratings: int = MIN_RATINGS
    ) -> pl.DataFrame:
        """The k items of the model whose embeddings point most nearly the same way.

        Arguments, columns and errors as in ``Recommender.similar``.
        """
        compared = self.recommender.compared_by(by)
        alone = self._beside("item").by(compared.model.scores)
        vector = alone.model.item_vectors(alone.parameters)[0]
        return compared.nearest(vector, k, min_ratings=min_ratings)


def fold_in_user(
    rec: Fitted,
    ratings: RatingsOfOne,
    *,
    not_interested: Iterable[RawId] = (),
    features: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> FoldedUser:
    """See ``Recommender.fold_in_user``."""
    if is_id(not_interested):
        raise DataError(f"not_interested={not_interested!r}: give a list of ids")
    given, unknown = _given(rec, "user", ratings, list(not_interested), strict=strict)
    return folded_user(rec, given, unknown, features)


def known_user(rec: Fitted, index: int, given: Given) -> FoldedUser:
    """A user of the model, by the model's own row, as if folded in."""
    at = np.array([index], np.int32)
    first, second = rec.model.row_form(rec.parameters, "user").rows(at)[0], None
    if rec.preference is not None:
        form = rec.preference.model.row_form(rec.preference.parameters, "user")
        second = form.rows(at)[0, 1:]
    return FoldedUser(rec, float(first[0]), first[1:], second, *given, ())


def mean_user(rec: Fitted, users: Sequence[FoldedUser]) -> FoldedUser:
    """Who has the mean of several users' biases and embeddings, so that each item's score is the mean of
    theirs (before the response function, where ratings have one), and has rated what any of them has.
    """
    rated = np.unique(np.concatenate([user.rated for user in users]))
    refused = np.unique(np.concatenate([user.not_interested for user in users]))
    preferences = [user.preference for user in users if user.preference is not None]
    factors, preference = (
        None if not rows else np.stack(rows).mean(axis=0, dtype=np.float64).astype(np.float32)
        for rows in ([user.factors for user in users], preferences)
    )
    assert factors is not None
    return FoldedUser(
        rec,
        float(np.mean([user.bias for user in users])),
        factors,
        preference,
        rated,
        np.zeros(len(rated), np.float32),
        np.setdiff1d(refused, rated).astype(np.int32),
        (),
    )


def folded_user(
    rec: Fitted,
    given: Given,
    unknown: tuple[RawId, ...] = (),
    features: Mapping[str, Any] | None = None,
) -> FoldedUser:
    """The user who is known by what is given, in indices, and by features."""
    told = features_of_one(rec, "user", features)
    rows = _solved_rows(rec, "user", given, told)
    priors = None if told is None else UserPriors.with_features(rec.parameters, told)
    return FoldedUser(rec, *rows, *given, unknown, told, priors)


def fold_in_item(
    rec: Fitted,
    ratings: RatingsOfOne,
    *,
    features: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> FoldedItem:
    """See ``Recommender.fold_in_item``."""
    given, unknown = _given(rec, "item", ratings, [], strict=strict)
    told = features_of_one(rec, "item", features)
    rows = _solved_rows(rec, "item", given, told)
    return FoldedItem(rec, *rows, *given, unknown, told)


def _given(
    rec: Fitted, side: Side, ratings: RatingsOfOne, refused: list[RawId], *, strict: bool
) -> tuple[Given, tuple[RawId, ...]]:
    """What is known of a row, and the ids that were left out."""
    noun = OTHER[side]
    rows = _rows(rec, noun, ratings)
    index, errors = rec.vocabulary(noun).find_known(rows.names, noun=noun)
    if errors and strict:
        at, error = next(iter(errors.items()))
        raise UnknownIdError(f"{rows.where(at)}{error}")
    known = _known(rec, noun, rows, index.tolist())
    refused_index = rec.known_items(refused, "not_interested", strict=strict)
    for at in refused_index.tolist():
        if at in known:
            raise DataError(
                f"{noun} {rec.vocabulary(noun).raw(at)!r} is rated or chosen, and in not_interested: "
                "keep one of the two"
            )
    left_out = [rows.names[n] for n in errors]
    if left_out:
        warn_left_out("the ratings", left_out, len(rows.names), noun, "unknown or not unique")
    given = Given(
        np.array(list(known), np.int32),
        np.array(list(known.values()), np.float32),
        np.unique(refused_index).astype(np.int32),
    )
    return given, tuple(left_out)


def _solved_rows(
    rec: Fitted, side: Side, given: Given, features: csr_array | None
) -> tuple[float, Array, Array | None]:
    """Bias, factors, and factors in the second model, which knows no features."""
    row = _solved(rec, side, given, features)
    preference = None
    if rec.preference is not None:
        preference = _solved(rec.by("preference"), side, given)[1:]
    return float(row[0]), row[1:], preference


class _Rows(NamedTuple):
    """What was rated, in any order.

    Args:
        names: ids or titles, n of them.
        values: the ratings, in the model's precision.
        where: from numbers of rows to where they stand, as the beginning of a message; empty where there
            is no file.
    """

    names: list[Any]
    values: list[float]
    where: Callable[..., str]


def _known(rec: Fitted, noun: Side, rows: _Rows, index: list[int]) -> dict[int, float]:
    """The ratings by index; counts and events of the same id are added up."""
    kind = rec.facts.kind
    low, high = map(float, rec.parameters["scale"])
    known: dict[int, float] = {}
    first: dict[int, int] = {}
    for row, (name, at, value) in enumerate(zip(rows.names, index, rows.values, strict=True)):
        if kind == "ratings" and not low <= value <= high:  # neither is NaN
            raise DataError(
                f"{rows.where(row)}{noun} {name!r}: rating {value:g} is outside the model's scale "
                f"{low:g}-{high:g}"
            )
        if kind != "ratings" and not value > 0:
            raise DataError(
                f"{rows.where(row)}{noun} {name!r}: count {value:g} is not above 0: leave out what was "
                "not chosen"
            )
        if at < 0:
            continue
        if kind == "events":
            known[at] = 1.0
        elif kind == "counts":
            known[at] = known.get(at, 0.0) + value
        elif known.setdefault(at, value) != value:
            raise DataError(
                f"{rows.where(first[at], row)}{noun} {name!r} is rated twice, {known[at]:g} and "
                f"{value:g}: keep one of the two"
            )
        first.setdefault(at, row)
    return known


def _solved(rec: Fitted, side: Side, given: Given, features: csr_array | None = None) -> Array:
    """The row in one model, the bias first."""
    partners, values, observed = given.regression(rec.model, rec.parameters, side)
    starts = np.array([0, len(partners)])
    rows = fold_in(
        rec.model,
        rec.parameters,
        side,
        starts,
        partners,
        values,
        observed=observed,
        features=features,
    )
    row: Array = rows[0]
    return row


def _rows(rec: Fitted, noun: Side, ratings: Any) -> _Rows:
    """Ids and ratings from whatever form they have."""
    kind = rec.facts.kind
    if isinstance(ratings, (pl.DataFrame, pl.LazyFrame)) or hasattr(ratings, "iloc"):
        ratings = read_rated(ratings, noun, of_model=kind, scale=rec.scale)
    if isinstance(ratings, Rated):
        rated, frame = ratings, ratings.frame
        return _Rows(
            frame[noun].to_list(),
            frame["rating"].to_list(),
            lambda *rows: f"{rated.where(*rows)}: ",
        )
    try:
        given = list(ratings.items() if isinstance(ratings, Mapping) else ratings)
        if kind != "ratings":
            given = [(one, 1.0) if is_id(one) else one for one in given]
        pairs = [(name, value) for name, value in given]
    except (TypeError, ValueError):
        alone = "" if kind == "ratings" else f", {noun}s alone"
        raise DataError(
            f"ratings must be {{{noun}: rating, ...}}, pairs of {noun} and rating{alone}, or a frame"
        ) from None
    numbers = []
    for name, value in pairs:
        number = as_number(value)
        if number is None or not math.isfinite(number):
            raise DataError(f"{noun} {name!r}: rating {value!r} is not a finite number")
        numbers.append(number)
    values = np.array(numbers, np.float64)
    # Far beyond any scale, single precision would overflow.
    fit = np.abs(values) <= LARGEST
    values[fit] = values[fit].astype(np.float32)
    return _Rows([name for name, _ in pairs], values.tolist(), lambda *_: "")
