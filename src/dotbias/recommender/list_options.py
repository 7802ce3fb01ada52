"""What a list of items may be told: which items are on it, and what counts beside their scores."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from dotbias.data.vocabulary import Index
from dotbias.models.base import Scores
from dotbias.models.parameters import Array
from dotbias.recommender import lists
from dotbias.recommender.fitted import MIN_RATINGS, Fitted, RawId, several
from dotbias.settings import Settings, setting

_log = logging.getLogger("dotbias")

# At the ends of ``well_known`` the most rated item is lifted over one that nobody has rated by so many
# spreads of a user's scores. Further towards the hidden ones, and lists are no longer a matter of taste
# (docs/shape-of-lists.md).
_TO_KNOWN, _TO_HIDDEN = 10.0, 3.5

# Options that name items, and all that leave some out.
_NAMED: tuple[Literal["candidates", "exclude"], ...] = ("candidates", "exclude")
_GENRES: tuple[Literal["genres", "not_genres"], ...] = ("genres", "not_genres")
_FILTERS = (*_NAMED, *_GENRES, "year_from", "year_to")


class ListKeywords(TypedDict, total=False):
    """Keyword arguments of whatever lists items: the fields of ``ListOptions``, where items are ids or
    titles (in ``top_items``: indices).
    """

    rank_by: Scores | None
    candidates: Iterable[RawId] | None
    exclude: Iterable[RawId] | None
    genres: Iterable[str] | None
    not_genres: Iterable[str] | None
    year_from: int | None
    year_to: int | None
    include_rated: bool
    min_ratings: int
    well_known: float
    diversity: float


@dataclass(frozen=True, kw_only=True)
class ListOptions(Settings):
    """What a list of items may be told.

    Args:
        rank_by: which model's scores order the list, ``"preference"`` or ``"rating"``; by default
            preference where there is a model of it.
        candidates: indices of the only items to choose from; all by default.
        exclude: indices of items that must not appear.
        genres: of which an item must have one; case does not matter.
        not_genres: of which an item must have none.
        year_from, year_to: the first and the last year of items whose titles end in one, as
            ``Heat (1995)`` does; those without are left out.
        include_rated: whether items that the user has rated may appear.
        min_ratings: items with fewer training ratings come after all others.
        well_known: what being rated often counts for. At 0 the score alone orders a list; towards 1
            come items about as well known as the most rated ones, towards -1 hidden ones. A list is
            ordered by ``s_ui + γ_u log(1 + n_i) / log(1 + max n)``, with ``n_i`` the item's ratings and
            ``γ_u`` in units of the spread of the user's scores, whatever the scores are.
        diversity: how much a list avoids near-duplicates, by the cosine of their embeddings: from 0, not
            at all, to 1, as much as can be (``dotbias.recommender.diversity``).
    """

    rank_by: Scores | None = None
    candidates: Index | None = None
    exclude: Index | None = None
    genres: Iterable[str] | None = None
    not_genres: Iterable[str] | None = None
    year_from: int | None = None
    year_to: int | None = None
    include_rated: bool = False
    min_ratings: int = MIN_RATINGS
    well_known: float = setting(0.0, at_least=-1, at_most=1)
    diversity: float = setting(0.0, at_least=0, at_most=1)

    def __post_init__(self) -> None:
        # A plain list takes a tenth of a millisecond, to which the checks would add another tenth.
        if self.well_known != 0 or self.diversity != 0:
            super().__post_init__()

    @classmethod
    def of_ids(cls, rec: Fitted, keywords: ListKeywords, *, strict: bool = False) -> "ListOptions":
        """The options of someone who names items by ids or titles; unknown ones are left out, with a
        warning in the log (logger ``dotbias``).

        Raises:
            UnknownIdError: for a title that is not unique, and for an unknown item if ``strict``.
            SettingError: for a number outside its range.
        """
        found: dict[str, Index] = {
            name: rec.known_items(names, name, strict=strict)
            for name in _NAMED
            if (names := keywords.get(name)) is not None
        }
        # Asked for again with each part of the users.
        genres: dict[str, Any] = {
            name: several(names) for name in _GENRES if (names := keywords.get(name)) is not None
        }
        options: dict[str, Any] = {**keywords, **found, **genres}
        return cls(**options)

    def top_items(
        self, rec: Fitted, models: Fitted, users: Index, rated: Sequence[Index], k: int
    ) -> Index:
        """The k best items of each user that these options allow.

        Args:
            rec: what is known of the items.
            models: the same, or one with rows of other users.
            users: user indices, shape (n,); -1 for unknown users.
            rated: for each user the indices of the items they have rated, ascending.
            k: how many.

        Returns:
            Item indices, best first, shape (n, min(k, n_items)); -1 where no more are left.

        Raises:
            SettingError: for a ``rank_by`` of which there is no model, an unknown genre, years where no
                title has one, or diversity by a model without embeddings.
            DataError: for an index that is no item's.
        """
        scores = models.ranked_by(self.rank_by)
        ranking = models.by(scores)
        vectors = None
        if self.diversity:
            compared = ranking.compared_by(None)
            vectors = compared.model.item_vectors(compared.parameters)
        return lists.top_items(
            ranking.model,
            ranking.parameters,
            users,
            k,
            rare=rec.rare(self.min_ratings),
            rated=rated,
            include_rated=self.include_rated,
            candidates=self._allowed(rec),
            catalogue=rec.by(scores).catalogue,
            lift=self._lift(rec) if self.well_known else None,
            vectors=vectors,
            diversity=self.diversity,
        )

    def say_short(
        self,
        rec: Fitted,
        lengths: NDArray[np.integer[Any]],
        k: int,
        *,
        not_interested: Index | None = None,
    ) -> None:
        """Note lists that have ended early, and warn of empty ones with the reason (logger ``dotbias``).

        Args:
            rec: what is known of the items.
            lengths: how many items are on each list, shape (n,).
            k: how many were asked for.
            not_interested: items that the one user does not want.
        """
        n_empty = int(np.count_nonzero(lengths == 0))
        n_short = int(np.count_nonzero(lengths < k)) - n_empty
        whose = "the list" if len(lengths) == 1 else "the lists of %s users"
        if n_empty:
            named = whose.replace("%s", f"{n_empty:,}")
            _log.warning("No item is left for %s: %s.", named, self._why_empty(rec, not_interested))
        if n_short:
            named = whose.replace("%s", f"{n_short:,}")
            _log.info("No more items are left for %s: fewer than %d are on it.", named, k)

    def _why_empty(self, rec: Fitted, not_interested: Index | None) -> str:
        """What has left nothing to list."""
        allowed = self._allowed(rec)
        given = [name for name in _FILTERS if getattr(self, name) is not None]
        if not_interested is not None and len(not_interested):
            given.append("not_interested")
            every = np.arange(len(rec.item_vocabulary), dtype=np.int32)
            allowed = np.setdiff1d(every if allowed is None else allowed, not_interested)
        if allowed is not None and not len(allowed):
            return f"with {' and '.join(given)} there is none to choose from"
        those = "items" if allowed is None else f"items to choose from with {' and '.join(given)}"
        n = len(rec.item_vocabulary) if allowed is None else len(allowed)
        if self.include_rated:
            return f"of {n:,} {those} the model that ranks knows none"
        return (
            f"all {n:,} {those} have been rated or chosen already; include_rated=True "
            "(--include-rated) lists them too"
        )

    def _allowed(self, rec: Fitted) -> Index | None:
        """The only items to choose from; None for all."""
        if all(getattr(self, name) is None for name in _FILTERS):
            return None
        items, n_items = rec.item_vocabulary, len(rec.item_vocabulary)
        allowed = np.ones(n_items, np.bool_)
        if self.candidates is not None:
            allowed[:] = False
            allowed[lists.ascending(self.candidates, n_items)] = True
        if self.genres is not None:
            allowed &= items.of_genres(several(self.genres))
        if self.not_genres is not None:
            allowed &= ~items.of_genres(several(self.not_genres))
        if self.year_from is not None or self.year_to is not None:
            allowed &= items.of_years(self.year_from, self.year_to)
        if self.exclude is not None:
            allowed[lists.ascending(self.exclude, n_items, "excluded item")] = False
        return np.flatnonzero(allowed).astype(np.int32)

    def _lift(self, rec: Fitted) -> Array:
        """What being known adds to an item's score, in spreads of a user's scores: (n_items,)."""
        known = np.log1p(rec.item_counts)
        strength = self.well_known * (_TO_KNOWN if self.well_known > 0 else _TO_HIDDEN)
        lift: Array = (strength / max(known.max(), np.log(2)) * known).astype(np.float32)
        return lift
