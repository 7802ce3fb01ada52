"""A fitted model with the ids that it knows: what all else in this room rests on."""

import logging
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.data.prepared.prepared import PreparedPart
from dotbias.data.ratings import Ratings, Scale
from dotbias.data.vocabulary import Index, Vocabulary, as_id, as_ids, is_id
from dotbias.errors import AmbiguousTitleError, DataError, SettingError, UnknownIdError, listed
from dotbias.memory import in_units, reserve
from dotbias.models.base import Model, Scores
from dotbias.models.parameters import Array, Parameters, at_length_one
from dotbias.models.row_form import Side
from dotbias.models.scoring import Scoring, scored
from dotbias.recommender import lists
from dotbias.recommender.facts import Facts
from dotbias.shown import Shown
from dotbias.solvers.gibbs.new_user import UserPriors
from dotbias.solvers.least_squares.most_rated import MostRated

_log = logging.getLogger("dotbias")

# Of an item with fewer training ratings the model knows little: lists name it after all others.
MIN_RATINGS = 5

# As many ratings are counted at a time.
_COUNTED = 1 << 20

RawId = int | str

# What was known at training: of whom, or what, is asked about, and of whom or what answers.
_BASES = np.array(["neither", "user", "item", "both"])
_FALLS_BACK = "The answer rests on what is known besides; strict=True (--strict) refuses instead"

AnyFitted = TypeVar("AnyFitted", bound="Fitted")


# What tables call scores.
_COLUMNS: dict[str, Scores] = {"prediction": "rating", "preference": "preference"}
_LACKS: dict[Scores, str] = {
    "rating": "this model knows no ratings, only preferences: it was fitted to what people chose",
    "preference": "this model has no preferences: fit it with purpose='both' (on the command line "
    "--for both) or with ImplicitALS",
}


@dataclass(frozen=True, eq=False)
class Part(Shown):
    """A second model of the same users and items.

    Args:
        model, parameters, facts: as in ``Fitted``.
    """

    model: Model
    parameters: Parameters
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True, eq=False)
class Fitted(Shown):
    """Vocabularies, a fitted model, and what each user has rated.

    Args:
        model: the formula and its settings.
        parameters: its fitted arrays.
        user_vocabulary: raw ids of the users, row by row of the parameters.
        item_vocabulary: raw ids and titles of the items.
        rated: the training ratings, a sparse (n_users, n_items) table of float32.
        facts: what is known of the fit (solver, seed, history, evaluation), kept in the file.
        preference: a second model, of preferences, where the first one predicts ratings.

    Raises:
        SettingError: for two models that are not of ratings and of preferences, or that were fitted to
            different kinds of data, and for a model of ratings where there are only counts or events.
    """

    model: Model
    parameters: Parameters
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    rated: csr_array
    facts: Facts = field(default_factory=Facts)
    preference: Part | None = None

    def __post_init__(self) -> None:
        kind, second = self.facts.kind, self.preference
        if kind != "ratings" and self.model.scores == "rating":
            raise SettingError(f"its model predicts ratings, and was fitted to {kind}")
        if second is None:
            return
        if (self.model.scores, second.model.scores) != ("rating", "preference"):
            raise SettingError("its first model must predict ratings, and its second preferences")
        if second.facts.kind != kind:
            raise SettingError(
                f"its models were fitted to the same data, but to {kind} and {second.facts.kind}"
            )

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C has ended the fit of one of the models early; it has the best of until then."""
        parts = [self.facts, *([] if self.preference is None else [self.preference.facts])]
        return any(facts.history.stopped == "interrupted" for facts in parts)

    @property
    def scale(self) -> Scale | None:
        """Lowest and highest possible rating; None of what was fitted to counts or events."""
        if self.facts.kind != "ratings":
            return None
        return Scale(*map(float, self.parameters["scale"]))

    def has(self, scores: Scores) -> bool:
        """Whether there is a model of ratings, or of preferences."""
        second = self.preference
        return scores == self.model.scores or (second is not None and scores == second.model.scores)

    @property
    def for_all(self) -> bool:
        """Whether the (first) model says the same of everyone: it lists the most rated items."""
        return self.facts.solver_name == MostRated.__name__

    def by(self: AnyFitted, scores: Scores) -> AnyFitted:
        """One of the models alone: that of ratings, or that of preferences.

        Raises:
            SettingError: when there is no such model.
        """
        if not self.has(scores):
            names = ", ".join(_LACKS)
            raise SettingError(
                _LACKS.get(scores, f"there is no model of {scores!r}: it must be one of {names}")
            )
        # Not among what is kept: who keeps itself is not let go of as soon as nobody needs it.
        return self if self.preference is None else self._alone[scores]  # type: ignore[return-value]

    @cached_property
    def _alone(self) -> "dict[Scores, Fitted]":
        """The models of two, each alone."""
        assert self.preference is not None
        first = replace(self, preference=None)
        return {self.model.scores: first, "preference": replace(first, **vars(self.preference))}

    def ranked_by(self, scores: Scores | None) -> Scores:
        """What lists are ordered by: as asked, else by preference where there is a model of it.

        Raises:
            SettingError: when there is no such model.
        """
        scores = scores or ("preference" if self.has("preference") else "rating")
        return self.by(scores).model.scores

    def compared_by(self: AnyFitted, scores: Scores | None) -> AnyFitted:
        """The model alone whose embeddings say what is like what: as asked, else that of preferences,
        whose neighbours share more genres (docs/what-did-it-learn.md), where it has more than one
        factor.

        Raises:
            SettingError: when there is no such model, or one that says nothing of likeness.
        """
        if scores is None and self.preference is not None:
            vectors = self.preference.model.item_vectors(self.preference.parameters)
            scores = "preference" if vectors.shape[1] > 1 else "rating"
        compared = self.by(scores or self.model.scores)
        if compared.for_all:
            raise SettingError(
                "this model recommends everyone the most rated items: it does not know which items are "
                "alike"
            )
        return compared

    def scored(self, users: Index, items: Index) -> dict[str, Array]:
        """Columns ``prediction`` and ``preference`` of pairs of indices, as far as there are models."""
        models = {name: self.by(scores) for name, scores in _COLUMNS.items() if self.has(scores)}
        return {
            name: alone.model.predict(alone.parameters, users, items)
            for name, alone in models.items()
        }

    def vocabulary(self, side: Side) -> Vocabulary:
        """The ids of the users or of the items."""
        return self.user_vocabulary if side == "user" else self.item_vocabulary

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """Number of training ratings of each item, shape (n_items,)."""
        n = len(self.item_vocabulary)
        counts = np.zeros(n, np.int64)
        for begin in range(0, self.rated.nnz, _COUNTED):  # numpy counts copies of 64 bits
            counts += np.bincount(self.rated.indices[begin : begin + _COUNTED], minlength=n)
        return counts

    def mean_ratings(self, side: Side) -> NDArray[np.float64]:
        """Mean training rating of each user (or item), NaN without any: shape (n,)."""
        of_rating = self.rated.indices
        if side == "user":
            counts = np.diff(self.rated.indptr)
            of_rating = np.repeat(np.arange(len(counts)), counts)
        n = len(self.vocabulary(side))
        sums, counts = (
            np.bincount(of_rating, self.rated.data, n),
            np.bincount(of_rating, minlength=n),
        )
        means: NDArray[np.float64] = np.divide(sums, counts, np.full(n, np.nan), where=counts > 0)
        return means

    def rated_by(self, user: int) -> tuple[Index, Array]:
        """What a user has rated in training, item indices ascending, and the ratings: shapes (n,);
        nothing for -1.
        """
        starts = self.rated.indptr
        own = slice(starts[user], starts[user + 1]) if user >= 0 else slice(0)
        # Of more than 2³¹ ratings they have 64 bits.
        return self.rated.indices[own].astype(np.int32, copy=False), self.rated.data[own]

    @cached_property
    def user_priors(self) -> UserPriors | None:
        """What the users of each kept sample are; None without samples."""
        return UserPriors.of(self.parameters)

    @cached_property
    def catalogue(self) -> lists.Catalogue:
        """What the lists by the (first) model share."""
        nobody = np.empty(0, np.int32)
        return lists.Catalogue.of(self.model.scoring(self.parameters, nobody).item_vectors)

    def rare(self, min_ratings: int) -> NDArray[np.bool_]:
        """Which items have fewer training ratings than that, shape (n_items,).

        Raises:
            SettingError: for a number below 0.
        """
        if min_ratings < 0:
            raise SettingError(f"min_ratings={min_ratings}: min_ratings must be at least 0")
        return self.item_counts < min_ratings

    def in_own_type(self, side: Side, names: Any, found: Index) -> pl.Series:
        """The ids that were asked about, in the model's type, and where there is one the model's own.

        Args:
            side, names: as for ``indices``.
            found: what that says of them.
        """
        vocabulary = self.vocabulary(side)
        if is_id(names) and found[0] >= 0:
            return vocabulary.ids[found]
        return vocabulary.in_own_type([as_id(names)] if is_id(names) else names)

    def basis(self, users: Index | int, items: Index | int, n: int) -> pl.Series:
        """The column ``basis`` of n pairs: what of each was known at training, ``both``, ``user``,
        ``item`` or ``neither``. An index stands for n of them.
        """
        known = (np.asarray(users) >= 0) + 2 * (np.asarray(items) >= 0)
        return pl.Series("basis", np.broadcast_to(_BASES[known], n), pl.String)

    def named(self, items: Index) -> dict[str, pl.Series]:
        """Columns ``item`` and ``title`` of item indices."""
        titles = self.item_vocabulary.titles
        blank = pl.Series("title", [None] * len(items), pl.String)
        return {
            "item": self.item_vocabulary.ids[items],
            "title": blank if titles is None else titles[items],
        }

    def indices(self, side: Side, names: Any, *, strict: bool = False) -> Index:
        """Index of one user or item, or of each of many: shape (n,), -1 for those never seen.

        One policy for all who ask: whatever is unknown falls back on what is known without it, and is
        warned of (logger ``dotbias``).

        Args:
            side: which of the two.
            names: an id, or a title or a part of one title of an item; or n ids.
            strict: whether what is unknown is an error.

        Raises:
            UnknownIdError: for what is unknown if ``strict``, and for a title that is not unique.
            DataError: for what is no id (``as_id``).
        """
        vocabulary = self.vocabulary(side)
        if is_id(names):
            try:
                return np.array([vocabulary.find(names, noun=side)], np.int32)
            except AmbiguousTitleError:
                raise
            except UnknownIdError as error:
                if strict:
                    raise
                end = "" if str(error).endswith("?") else "."
                _log.warning("%s%s %s.", error, end, _FALLS_BACK)
                return np.array([-1], np.int32)
        ids = as_ids(names)
        found = vocabulary.indices(ids)
        n_unknown = int(np.count_nonzero(found < 0))
        if n_unknown:
            distinct = ids.filter(found < 0).unique(maintain_order=True)
            named = listed(map(repr, distinct))
            said = f"{n_unknown:,} of {len(found):,} {side}s are unknown: {named}"
            if strict:
                raise UnknownIdError(said)
            _log.warning("%s. %s.", said, _FALLS_BACK)
        return found

    def known_items(
        self, names: RawId | Iterable[RawId], option: str, *, strict: bool = False
    ) -> Index:
        """Item indices of the ids or titles that an option names; an unknown one is left out, which is
        warned of (logger ``dotbias``).

        Args:
            names: what is named.
            option: by what, for messages.
            strict: whether what is unknown is an error.

        Raises:
            UnknownIdError: for an unknown item if ``strict``, and for a title that is not unique.
            DataError: for what is no id.
        """
        names = several(names)
        found, refused = self.item_vocabulary.find_known(names)
        for error in refused.values():
            if strict or isinstance(error, AmbiguousTitleError):
                raise error
        if refused:
            warn_left_out(option, [names[n] for n in refused], len(names), "item", "unknown")
        return found[found >= 0]

    def nearest_items(
        self, vector: Array, k: int, *, min_ratings: int, excluded: int | None = None
    ) -> tuple[Index, Array]:
        """The k items, but for one, whose embeddings point most nearly the way of a vector, and the
        cosines, both of shape (at most k,); arguments as in ``similar``.
        """
        vectors = self.unit_vectors
        cosines = Scoring(
            at_length_one(vector[None, :]), vectors, np.zeros((1, len(vectors)), np.float32)
        )
        left_out = None if excluded is None else [np.array([excluded], np.int32)]
        (items,), (cosine,) = lists.top_k(
            cosines, k, excluded=left_out, rare=self.rare(min_ratings)
        )
        found = items >= 0
        return items[found], cosine[found]

    def nearest(
        self, vector: Array, k: int, *, min_ratings: int, excluded: int | None = None
    ) -> pl.DataFrame:
        """The same as a table; columns as in ``similar``."""
        check_k(k)
        items, cosine = self.nearest_items(vector, k, min_ratings=min_ratings, excluded=excluded)
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(items) + 1),
                **self.named(items),
                "similarity": cosine,
                "n_ratings": self.item_counts[items],
                "basis": self.basis(-1, 0, len(items)),
            }
        )

    def most_rated(self, k: int, *, min_ratings: int) -> pl.DataFrame:
        """The k most rated items, in the place of those that are like an item of which nothing is known;
        columns as of ``nearest``.
        """
        check_k(k)
        rare = self.rare(min_ratings)
        counts = scored(self.item_counts[None, :].astype(np.float32))
        items = lists.top_k(counts, k, rare=rare)[0][0]
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(items) + 1),
                **self.named(items),
                "similarity": pl.Series([None] * len(items), dtype=pl.Float32),
                "n_ratings": self.item_counts[items],
                "basis": self.basis(-1, -1, len(items)),
            }
        )

    @cached_property
    def unit_vectors(self) -> Array:
        """The embeddings of all items at length 1, zero where they are zero: (n_items, n_factors)."""
        return at_length_one(self.model.item_vectors(self.parameters))


def rating_table(ratings: Ratings) -> csr_array:
    """Who rated what, a sparse table of shape (n_users, n_items).

    Raises:
        DataError: when a (user, item) pair is rated twice.
    """
    if isinstance(ratings, PreparedPart):
        return _table_on_disk(ratings)
    table = csr_array(
        (ratings.values, (ratings.user_indices, ratings.item_indices)),
        shape=(ratings.n_users, ratings.n_items),
    )
    if table.nnz < len(ratings):
        raise DataError(
            f"{len(ratings) - table.nnz:,} (user, item) pairs are rated more than once: "
            f"read_ratings keeps one rating of each"
        )
    return table


def _table_on_disk(ratings: PreparedPart) -> csr_array:
    """The same of ratings on disk, where the table stays: in files beside them that have no name, and so
    are gone when nobody needs them any more.
    """
    n, shape = len(ratings), (ratings.n_users, ratings.n_items)
    index = np.int32 if n < 2**31 else np.int64
    starts = np.zeros(ratings.n_users + 1, index)
    np.cumsum(ratings.user_counts, out=starts[1:])
    items, values = (_scratch(ratings.of.folder.parent, dtype, n) for dtype in (index, np.float32))
    at = 0
    for stripe in ratings.stripes("user"):
        rows = csr_array(
            (stripe.values, stripe.partners, stripe.starts), (len(stripe.starts) - 1, shape[1])
        )
        rows.sort_indices()
        items[at : at + rows.nnz], values[at : at + rows.nnz] = rows.indices, rows.data
        at += rows.nnz
    return csr_array((values, items, starts), shape)


def _scratch(folder: Path, dtype: Any, n: int) -> NDArray[Any]:
    """Numbers in a file without a name, which stays as long as they are mapped."""
    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
    except OSError:  # where nobody may write
        folder = Path(tempfile.gettempdir())
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
    n_bytes = n * np.dtype(dtype).itemsize
    with file:
        try:
            reserve(file, n_bytes)
        except OSError as error:
            raise DataError(
                f"there is no room in {folder} for the {in_units(n_bytes)} of what everyone has rated: "
                f"{error.strerror}"
            ) from error
        return np.memmap(file, dtype, "r+", shape=(n,))


def warn_left_out(what: str, names: list[Any], n: int, noun: str, why: str) -> None:
    """Warn that some of n users or items are left out (logger ``dotbias``)."""
    _log.warning(
        "%s: left out %s of %s %ss, %s: %s. strict=True (--strict) refuses instead.",
        what,
        f"{len(names):,}",
        f"{n:,}",
        noun,
        why,
        listed(map(repr, names)),
    )


def several(raw: Any) -> list[Any]:
    """Ids or names as a list; a single one, of which ``list`` would make letters, is a list of one."""
    return [raw] if is_id(raw) else list(raw)


def check_k(k: int) -> None:
    """Refuse lists of no length."""
    if k < 1:
        raise SettingError(f"k={k}: ask for at least 1 item")
