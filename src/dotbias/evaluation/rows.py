"""Held-out rows as a recommender sees them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dotbias.compiled import compiled
from dotbias.data.prepared.prepared import PreparedRatings
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index
from dotbias.models.parameters import Array
from dotbias.recommender.fitted import Fitted


class Rows(NamedTuple):
    """Held-out rows.

    Args:
        owners, choices: user and item of each row, as the held-out ratings count them, shape (n,).
        users, items: the same as the recommender's indices; -1 for what it does not know.
        values: the ratings or counts.
    """

    owners: Index
    choices: Index
    users: Index
    items: Index
    values: Array

    @classmethod
    def of(cls, rec: Fitted, test: Ratings) -> "Rows":
        """All rows of the held-out ratings."""
        return cls(test.user_indices, test.item_indices, *align(rec, test), test.values)

    def take(self, chosen: NDArray[Any]) -> "Rows":
        """Some rows, by number or mask."""
        return Rows(*(column[chosen] for column in self))

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """All of several portions, at least one."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self.values)


def portions(rec: Fitted, test: Ratings | PreparedRatings) -> Iterator[Rows]:
    """Held-out rows: those in memory at once, those on disk a block at a time."""
    if isinstance(test, PreparedRatings):
        users, items = indices(rec, test)
        # Of whom training had no rating, the model knows no more than of whom it never saw.
        users[np.append(np.diff(rec.rated.indptr) == 0, False)[users]] = -1
        items[np.append(rec.item_counts == 0, False)[items]] = -1
        for part in test.held_out():
            yield Rows(part.users, part.items, users[part.users], items[part.items], part.values)
    else:
        yield Rows.of(rec, test)


def indices(rec: Fitted, test: Ratings | PreparedRatings) -> tuple[Index, Index]:
    """The recommender's index of each user and item of the held-out ratings, -1 for unknown ones."""
    return (
        rec.user_vocabulary.indices(test.user_vocabulary.ids),
        rec.item_vocabulary.indices(test.item_vocabulary.ids),
    )


def align(rec: Fitted, test: Ratings) -> tuple[Index, Index]:
    """User and item of each held-out row as the recommender's indices, -1 for unknown ones."""
    users, items = indices(rec, test)
    return users[test.user_indices], items[test.item_indices]


def seen(rec: Fitted, users: Index, items: Index) -> NDArray[np.bool_]:
    """Which pairs of indices are among the training ratings, shape (n,)."""
    pairs: NDArray[np.bool_] = _contains(rec.rated.indptr, rec.rated.indices, users, items)
    return pairs


@compiled()
def _contains(starts: Any, columns: Any, rows: Any, wanted: Any) -> Any:
    found = np.zeros(len(rows), np.bool_)
    for n in range(len(rows)):
        if rows[n] >= 0:
            span = columns[starts[rows[n]] : starts[rows[n] + 1]]  # ascending
            at = np.searchsorted(span, wanted[n])
            found[n] = at < len(span) and span[at] == wanted[n]
    return found
