"""The recommender: a fitted model that speaks the user's own ids and titles."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias import model_file
from dotbias.data.ratings import Ratings
from dotbias.data.vocabulary import Index, Vocabulary
from dotbias.errors import DataError, ModelFileError, SettingError
from dotbias.models import MODELS
from dotbias.models.base import Array, Model, Parameters

# Of an item with fewer training ratings the model knows little: lists name it after all others.
MIN_RATINGS = 5

# Scores of a chunk of users against all items stay below this many numbers (about 64 MB).
_CHUNK_SCORES = 16_000_000

RawId = int | str


@dataclass(frozen=True, eq=False)
class Recommender:
    """What a user of dotbias holds: vocabularies, a fitted model, and what each user has rated.

    Args:
        model: the formula and its settings.
        parameters: its fitted arrays.
        user_vocabulary: raw ids of the users, row by row of the parameters.
        item_vocabulary: raw ids and titles of the items.
        rated: the training ratings, a sparse (n_users, n_items) table of float32.
        facts: plain data about the fit (solver, seed, history, evaluation), kept in the file.
    """

    model: Model
    parameters: Parameters
    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    rated: csr_array
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Model,
        parameters: Parameters,
        ratings: Ratings,
        facts: Mapping[str, Any] | None = None,
    ) -> "Recommender":
        """The recommender of a model fitted to these ratings.

        Raises:
            DataError: when a (user, item) pair is rated twice; ``read_ratings`` keeps one.
        """
        rated = csr_array(
            (ratings.values, (ratings.users, ratings.items)),
            shape=(ratings.n_users, ratings.n_items),
        )
        if rated.nnz < len(ratings):
            raise DataError(
                f"{len(ratings) - rated.nnz:,} (user, item) pairs are rated more than once: "
                f"read_ratings keeps one rating of each"
            )
        vocabularies = ratings.user_vocabulary, ratings.item_vocabulary
        return cls(model, parameters, *vocabularies, rated, dict(facts or {}))

    def __repr__(self) -> str:
        return (
            f"Recommender({self.model}, {len(self.user_vocabulary):,} users, "
            f"{len(self.item_vocabulary):,} items, {self.rated.nnz:,} ratings)"
        )

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """Number of training ratings of each item, shape (n_items,)."""
        return np.bincount(self.rated.indices, minlength=len(self.item_vocabulary))

    # -- predictions -----------------------------------------------------------------------------

    # A str is a sequence of str to the type checker, hence the overlap.
    @overload
    def predict(self, users: RawId, items: RawId) -> float: ...  # type: ignore[overload-overlap]
    @overload
    def predict(
        self, users: pl.Series | Sequence[RawId], items: pl.Series | Sequence[RawId]
    ) -> Array: ...
    def predict(self, users: Any, items: Any) -> Any:
        """Predicted rating of one pair, or of many.

        Args:
            users: a user's id, or n of them; with n items, a single one stands for n.
            items: an item's id or title, or n ids; with n users, a single id stands for n.

        Returns:
            A float for one pair, which must be known; for many, an array of shape (n,) in which
            users and items never seen fall back on the other side's bias and the global mean.

        Raises:
            UnknownIdError: for a single pair's user or item that is unknown or ambiguous.
            DataError: for two lists of different lengths.
        """
        if _is_id(users) and _is_id(items):
            one_user = np.array([self.user_vocabulary.find(users, noun="user")], np.int32)
            one_item = np.array([self.item_vocabulary.find(items)], np.int32)
            return float(self.model.predict(self.parameters, one_user, one_item)[0])
        u = self.user_vocabulary.indices([users] if _is_id(users) else users)
        i = self.item_vocabulary.indices([items] if _is_id(items) else items)
        if len(u) != len(i) and not (_is_id(users) or _is_id(items)):
            raise DataError(f"{len(u):,} users for {len(i):,} items: give as many of each")
        return self.model.predict(self.parameters, *np.broadcast_arrays(u, i))

    def predict_table(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Predictions for a frame of columns ``user`` and ``item``.

        Returns:
            The frame with two more columns: ``prediction``, and ``basis``, which names what was
            known at training: ``both``, ``user``, ``item`` or ``neither``.
        """
        u = self.user_vocabulary.indices(pairs["user"])
        i = self.item_vocabulary.indices(pairs["item"])
        names = np.array(["neither", "user", "item", "both"])
        return pairs.with_columns(
            prediction=pl.Series(self.model.predict(self.parameters, u, i)),
            basis=pl.Series(names[(u >= 0) + 2 * (i >= 0)]),
        )

    # -- recommendations -------------------------------------------------------------------------

    def recommend(
        self,
        users: RawId | Sequence[RawId],
        k: int = 10,
        *,
        candidates: Iterable[RawId] | None = None,
        include_rated: bool = False,
        min_ratings: int = MIN_RATINGS,
    ) -> pl.DataFrame:
        """The k items with the highest predicted rating for each user.

        Args:
            users: a user's id, or several; unknown ones among several get the best items by bias.
            k: how many items.
            candidates: ids or titles of the only items to choose from; all by default.
            include_rated: whether items that the user has rated may appear.
            min_ratings: items with fewer training ratings come after all others.

        Returns:
            Columns ``user``, ``rank`` (from 1), ``item``, ``title``, ``prediction``; best first.

        Raises:
            UnknownIdError: for a single unknown user, or an unknown candidate.
        """
        _check_k(k)
        raw = [users] if _is_id(users) else list(users)  # type: ignore[arg-type]
        if _is_id(users):
            index = np.array([self.user_vocabulary.find(users, noun="user")], np.int32)
        else:
            index = self.user_vocabulary.indices(raw)
        allowed = None
        if candidates is not None:
            allowed = np.array([self.item_vocabulary.find(c) for c in candidates], np.int32)
        tops = [
            self.top_items(
                chunk, k, allowed=allowed, include_rated=include_rated, min_ratings=min_ratings
            )
            for chunk in self.user_chunks(index)
        ]
        items = np.concatenate(tops)
        row, rank = np.nonzero(items >= 0)
        chosen = items[row, rank]
        return pl.DataFrame(
            {
                "user": pl.Series("user", raw).gather(row),
                "rank": rank + 1,
                **self._named(chosen),
                "prediction": self.model.predict(self.parameters, index[row], chosen),
            }
        )

    def user_chunks(self, users: Index) -> Iterator[Index]:
        """User indices in chunks whose scores against all items fit in bounded memory."""
        step = max(1, _CHUNK_SCORES // max(1, len(self.item_vocabulary)))
        for start in range(0, max(1, len(users)), step):
            yield users[start : start + step]

    def top_items(
        self,
        users: Index,
        k: int,
        *,
        allowed: Index | None = None,
        include_rated: bool = False,
        min_ratings: int = MIN_RATINGS,
        scores: Array | None = None,
    ) -> Index:
        """The k best items for each user index, by the model's score or by given ones.

        Args:
            users: user indices, shape (n,); -1 for unknown users.
            k: how many.
            allowed: indices of the only items to choose from.
            include_rated: whether training items may appear.
            min_ratings: items with fewer training ratings come after all others.
            scores: what to rank by instead, shape (n, n_items); it is overwritten.

        Returns:
            Item indices, best first, shape (n, min(k, n_items)); -1 where no more are left.
        """
        if scores is None:
            scores = self.model.score_all(self.parameters, users)
        self._put_rare_last(scores, min_ratings)
        if allowed is not None:
            outside = np.ones(scores.shape[1], np.bool_)
            outside[allowed] = False
            scores[:, outside] = -np.inf
        if not include_rated:
            for row, user in enumerate(users):
                if user >= 0:
                    span = slice(self.rated.indptr[user], self.rated.indptr[user + 1])
                    scores[row, self.rated.indices[span]] = -np.inf
        return top_k(scores, k)

    def _put_rare_last(self, scores: Array, min_ratings: int) -> None:
        """Move the scores of rarely rated items, shape (..., n_items), below all others."""
        rare = self.item_counts < min_ratings
        if scores.size:
            scores[..., rare] -= np.ptp(scores) + 1

    # -- similar items ---------------------------------------------------------------------------

    def similarity(self, item: RawId, other: RawId) -> float:
        """Cosine of two items' embeddings; 1 for an item with itself."""
        vectors = self._unit_vectors()
        a, b = self.item_vocabulary.find(item), self.item_vocabulary.find(other)
        return float(vectors[a] @ vectors[b])

    def similar(self, item: RawId, k: int = 10, *, min_ratings: int = MIN_RATINGS) -> pl.DataFrame:
        """The k items whose embeddings point most nearly the same way.

        Args:
            item: its id, title, or a part of one title.
            k: how many.
            min_ratings: items with fewer training ratings come after all others: their
                embeddings have hardly moved from where they started, and say little.

        Returns:
            Columns ``rank``, ``item``, ``title``, ``similarity`` (cosine, -1 to 1), ``n_ratings``.

        Raises:
            UnknownIdError: for an unknown or ambiguous item.
            SettingError: for a model without embeddings.
        """
        _check_k(k)
        vectors = self._unit_vectors()
        at = self.item_vocabulary.find(item)
        cosine = vectors @ vectors[at]  # (n_items,)
        scores = cosine.copy()
        self._put_rare_last(scores, min_ratings)
        scores[at] = -np.inf
        items = top_k(scores[None, :], k)[0]
        items = items[items >= 0]
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(items) + 1),
                **self._named(items),
                "similarity": cosine[items],
                "n_ratings": self.item_counts[items],
            }
        )

    def _unit_vectors(self) -> Array:
        vectors = self.model.item_vectors(self.parameters)
        if vectors.shape[1] == 0:
            raise SettingError(f"{type(self.model).__name__} has no embeddings to compare items by")
        norms: Array = np.sqrt(np.einsum("ik,ik->i", vectors, vectors))  # (n_items,)
        norms[norms == 0] = 1
        return vectors / norms[:, None]

    # -- the whole -------------------------------------------------------------------------------

    def item_bias_ranking(
        self, k: int = 10, *, lowest: bool = False, min_ratings: int = MIN_RATINGS
    ) -> pl.DataFrame:
        """Items by bias: those liked (or disliked) beyond what their raters' tastes explain.

        Args:
            k: how many items.
            lowest: the other end of the list.
            min_ratings: items with fewer training ratings come after all others.

        Returns:
            Columns ``rank``, ``item``, ``title``, ``bias``, ``mean_rating``, ``n_ratings``.
        """
        _check_k(k)
        bias = self.parameters["item_bias"]
        counts = self.item_counts
        sums = np.bincount(self.rated.indices, self.rated.data, len(counts))
        scores = -bias if lowest else bias.copy()
        self._put_rare_last(scores, min_ratings)
        chosen = top_k(scores[None, :], k)[0]
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(chosen) + 1),
                **self._named(chosen),
                "bias": bias[chosen],
                "mean_rating": sums[chosen] / np.maximum(counts[chosen], 1),
                "n_ratings": counts[chosen],
            }
        )

    def info(self) -> dict[str, Any]:
        """What this model is, how it was fitted, and how good it was on held-out ratings."""
        low, high = map(float, self.parameters["scale"])
        return {
            "model": type(self.model).__name__,
            "settings": asdict(self.model),
            "n_users": len(self.user_vocabulary),
            "n_items": len(self.item_vocabulary),
            "n_ratings": self.rated.nnz,
            "scale": [low, high],
            "global_mean": float(self.parameters["global_mean"][0]),
            "titles": self.item_vocabulary.titles is not None,
            **self.facts,
        }

    def _named(self, items: Index) -> dict[str, pl.Series]:
        titles = self.item_vocabulary.titles
        blank = pl.Series("title", [None] * len(items), pl.String)
        return {
            "item": self.item_vocabulary.ids.gather(items),
            "title": blank if titles is None else titles.gather(items),
        }

    # -- the file --------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write one file, whole or not at all: arrays and metadata, nothing executable.

        Raises:
            ModelFileError: when it cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {
            f"parameters.{name}": array for name, array in self.parameters.items()
        }
        arrays |= _pack("user_ids", self.user_vocabulary.ids)
        arrays |= _pack("item_ids", self.item_vocabulary.ids)
        if self.item_vocabulary.titles is not None:
            arrays |= _pack("titles", self.item_vocabulary.titles)
        arrays |= {
            "rated.starts": self.rated.indptr.astype(np.int64),
            "rated.items": self.rated.indices.astype(np.int32),
            "rated.values": self.rated.data,
        }
        model = {"name": type(self.model).__name__, "settings": asdict(self.model)}
        model_file.write(Path(path), arrays, {"model": model, "facts": self.facts})

    @classmethod
    def load(cls, path: str | Path) -> "Recommender":
        """Read a file that ``save`` wrote.

        Raises:
            ModelFileError: when the file is missing, truncated, altered or of a newer format.
        """
        arrays, metadata = model_file.read(Path(path))
        name = metadata["model"]["name"]
        if name not in MODELS:
            raise ModelFileError(f"{path} holds a {name}, which this version of dotbias lacks")
        prefix = "parameters."
        users, items = _unpack(arrays, "user_ids"), _unpack(arrays, "item_ids")
        assert users is not None
        assert items is not None
        rated = arrays["rated.values"], arrays["rated.items"], arrays["rated.starts"]
        return cls(
            model=MODELS[name](**metadata["model"]["settings"]),
            parameters={
                n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)
            },
            user_vocabulary=Vocabulary(users),
            item_vocabulary=Vocabulary(items, _unpack(arrays, "titles")),
            rated=csr_array(rated, shape=(users.len(), items.len())),
            facts=metadata["facts"],
        )


def top_k(scores: Array, k: int) -> Index:
    """The k highest scores of each row, best first; among equals of the k, the lower column first.

    Args:
        scores: shape (n, m); -inf marks what must not be chosen.
        k: how many.

    Returns:
        Column numbers, shape (n, min(k, m)); -1 where nothing is left to choose.
    """
    k = min(k, scores.shape[1])
    columns = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    best = np.take_along_axis(scores, columns, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    columns[best == -np.inf] = -1
    return np.take_along_axis(columns, order, axis=1).astype(np.int32)


def _is_id(raw: Any) -> bool:
    return isinstance(raw, (int, str, np.integer))


def _check_k(k: int) -> None:
    if k < 1:
        raise SettingError(f"k={k}: ask for at least 1 item")


def _pack(name: str, column: pl.Series) -> dict[str, NDArray[Any]]:
    """A column of integers or strings (or nulls) as plain arrays."""
    if column.dtype == pl.Int64:
        return {name: column.to_numpy()}
    text = [None if t is None else t.encode() for t in column.to_list()]
    lengths = np.array([-1 if t is None else len(t) for t in text], np.int64)
    joined = b"".join(t for t in text if t is not None)
    return {f"{name}.text": np.frombuffer(joined, np.uint8), f"{name}.lengths": lengths}


def _unpack(arrays: Mapping[str, NDArray[Any]], name: str) -> pl.Series | None:
    """The column that ``_pack`` took apart, or None where there was none."""
    if name in arrays:
        return pl.Series(arrays[name])
    if f"{name}.lengths" not in arrays:
        return None
    joined, lengths = arrays[f"{name}.text"].tobytes(), arrays[f"{name}.lengths"]
    ends = np.cumsum(np.maximum(lengths, 0))
    texts = [
        None if length < 0 else joined[end - length : end].decode()
        for length, end in zip(lengths.tolist(), ends.tolist(), strict=True)
    ]
    return pl.Series(name, texts, pl.String)
