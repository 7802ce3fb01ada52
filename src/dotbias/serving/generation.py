"""One model as the service sees it: nothing of it ever changes, a new one takes its place as a whole."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dotbias.data.search import Search
from dotbias.data.vocabulary import Index
from dotbias.errors import SettingError
from dotbias.models.parameters import Array
from dotbias.recommender.fitted import MIN_RATINGS
from dotbias.recommender.fold_in import FoldedUser, folded_user, known_user, mean_user
from dotbias.recommender.given import Given
from dotbias.recommender.list_options import ListOptions
from dotbias.recommender.recommender import Recommender
from dotbias.recommender.start_list import start_list
from dotbias.serving.store.store import Known

# A scale of more levels has no steps.
_MOST_LEVELS = 50


@dataclass(frozen=True, eq=False)
class Generation:
    """A recommender with what is made of it once.

    Args:
        number: 1 for the first of a service, and one more for each that takes its place.
        recommender: the model or models.
        source: the file that it comes from.
        loaded: when, in seconds since 1970.
    """

    number: int
    recommender: Recommender
    source: Path
    loaded: float = field(default_factory=time.time)

    @cached_property
    def search(self) -> Search:
        """Items by what their titles hold."""
        rec = self.recommender
        return Search(rec.item_vocabulary, rec.item_counts)

    @property
    def unit_vectors(self) -> Array | None:
        """Embeddings of the items at length 1, which say what is like what; None where none do."""
        try:
            return self.recommender.compared_by(None).unit_vectors
        except SettingError:
            return None

    @cached_property
    def item_bias(self) -> Array | None:
        """How much each item is liked beyond the mean; None where no model says it."""
        rec = self.recommender
        return rec.model.bias(rec.parameters, "item") if rec.has("rating") else None

    @cached_property
    def mean_rating(self) -> NDArray[np.float64] | None:
        """Mean training rating of each item, NaN without any; None of a model without ratings."""
        rec = self.recommender
        return rec.mean_ratings("item") if rec.facts.kind == "ratings" else None

    @cached_property
    def start(self) -> Index:
        """Well-known items, those first whose ratings tell most apart, shape (at most 200,)."""
        return start_list(self.unit_vectors, self.recommender.item_counts)

    @cached_property
    def levels(self) -> list[float]:
        """The ratings that were given in training, ascending; none of a model without ratings, or of a
        scale without steps.
        """
        rec = self.recommender
        if rec.facts.kind != "ratings":
            return []
        found = np.unique(rec.rated.data)
        levels: list[float] = found.tolist() if len(found) <= _MOST_LEVELS else []
        return levels

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the model is and how good it was, as plain data."""
        return self.recommender.info()

    @cached_property
    def has_std(self) -> bool:
        """Whether the model can say how sure its predictions are."""
        rec, first = self.recommender, np.zeros(1, np.int32)
        try:
            rec.model.std(rec.parameters, first, first)
        except SettingError:
            return False
        return True

    def similar(self, item: int, k: int) -> tuple[Index, Array]:
        """The k items most like one, and the cosines; nothing where no model says it."""
        vectors = self.unit_vectors
        if vectors is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        compared = self.recommender.compared_by(None)
        return compared.nearest_items(vectors[item], k, min_ratings=MIN_RATINGS, excluded=item)

    @cached_property
    def names(self) -> dict[str, list[Any]]:
        """Ids, titles and genres of the items, for answers: a list's elements are at hand at once."""
        vocabulary = self.recommender.item_vocabulary
        columns: dict[str, list[Any]] = {"item": vocabulary.ids.to_list()}
        if vocabulary.titles is not None:
            columns["title"] = vocabulary.titles.to_list()
        if vocabulary.genres is not None:
            # The same genres are one list, however many items have them.
            split = {text: text.split("|") if text else [] for text in vocabulary.genres.unique()}
            columns["genres"] = [split[text] for text in vocabulary.genres]
        return columns

    def item_names(self, items: Index) -> list[dict[str, Any]]:
        """Of each item its ``item`` (id), ``title`` and ``genres``, as far as they are known."""
        columns = self.names
        return [{name: column[at] for name, column in columns.items()} for at in items.tolist()]


@dataclass(frozen=True, eq=False)
class Person:
    """A user as one generation sees them.

    Args:
        generation: which one.
        user: the id as text; empty for someone without one.
        known: what the database knows.
        index: the row of the model; -1 for someone who was not there at training, or is forgotten.
        given: ratings and what is not wanted, of training and of the database together.
        folded: the row that these give; None where nothing was said since training, and the model's own
            row stands.
        unknown_items: ids of what the model does not know, which count from the next fit on.
    """

    generation: Generation
    user: str
    known: Known
    index: int
    given: Given
    folded: FoldedUser | None
    unknown_items: tuple[str, ...]

    @cached_property
    def row(self) -> FoldedUser:
        """Bias and embeddings, wherever they are from."""
        rec = self.generation.recommender
        if self.folded is not None:
            return self.folded
        return (
            folded_user(rec, self.given)
            if self.index < 0
            else known_user(rec, self.index, self.given)
        )

    @property
    def basis(self) -> str:
        """What is known of them: ``user``, or ``neither``, in which case anybody gets the same."""
        return "neither" if self.folded is None and self.index < 0 else "user"


def person(generation: Generation, user: str, known: Known) -> Person:
    """A user as a generation sees them; someone without an id is known by what is said alone."""
    rec = generation.recommender
    index = -1 if not user or known.erased else int(rec.user_vocabulary.indices_of_few([user])[0])
    rated, ratings = rec.rated_by(index)
    said = [state for state in known.states if state.kind != "wish"]
    if not said:
        return Person(generation, user, known, index, Given(rated, ratings), None, ())
    values = dict(zip(rated.tolist(), ratings.tolist(), strict=True))
    places = rec.item_vocabulary.indices_of_few([state.item for state in said]).tolist()
    refused, unknown, is_changed = [], [], False
    for state, at in zip(said, places, strict=True):
        if at < 0:
            if state.kind == "rating":
                unknown.append(state.item)
            continue
        before = values.pop(at, None)
        if state.kind == "rating":
            values[at] = 1.0 if state.value is None else state.value
        elif state.kind == "not-interested":
            refused.append(at)
        is_changed |= values.get(at) != before or state.kind == "not-interested"
    given = Given(
        np.array(list(values), np.int32),
        np.array(list(values.values()), np.float32),
        np.array(sorted(refused), np.int32),
    )
    folded = folded_user(rec, given) if is_changed and (values or refused) else None
    row = -1 if is_changed else index
    return Person(generation, user, known, row, given, folded, tuple(unknown))


def top_items(asked: Person, k: int, wanted: ListOptions) -> Index:
    """The k best items for a user, shape (at most k,)."""
    if asked.folded is not None:
        return asked.folded.top_items(k, wanted)
    rec = asked.generation.recommender
    alone, rated = np.array([asked.index], np.int32), [np.sort(asked.given.rated)]
    items = wanted.top_items(rec, rec, alone, rated, k)[0]
    index: Index = items[items >= 0]
    return index


def scores(asked: Person, items: Index) -> dict[str, Array]:
    """Predicted ratings (``prediction``) and preferences of items, as far as there are models."""
    if asked.folded is not None:
        return asked.folded.scored(items)
    users = np.full(len(items), asked.index, np.int32)
    return asked.generation.recommender.scored(users, items)


def std(asked: Person, items: Index) -> dict[str, Array]:
    """How sure the predictions are (``std``, in rating units), where samples say so."""
    if not asked.generation.has_std:
        return {}
    if asked.folded is not None:
        of_new = asked.folded.std(items)
        return {} if of_new is None else {"std": of_new}
    rec = asked.generation.recommender
    users = np.full(len(items), asked.index, np.int32)
    return {"std": rec.model.std(rec.parameters, users, items)}


def top_items_together(
    members: Sequence[Person], k: int, wanted: ListOptions
) -> tuple[Index, dict[str, Array], dict[str, Array]]:
    """The k items with the highest mean score, without what any of the users has rated or does not want.

    Returns:
        Item indices, shape (at most k,); the means; and each user's scores, shape (n_users, n).
    """
    together = mean_user(members[0].generation.recommender, [member.row for member in members])
    items = together.top_items(k, wanted)
    each = [scores(member, items) for member in members]
    own = {name: np.stack([one[name] for one in each]) for name in each[0]}
    return items, {name: rows.mean(axis=0) for name, rows in own.items()}, own
