"""The recommender: a fitted model that speaks the user's own ids and titles."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias import shown
from dotbias.data.names import usual_place
from dotbias.data.ratings import Ratings, Scale
from dotbias.data.vocabulary import Index, as_ids, is_id
from dotbias.errors import DataError, DivergenceError, SettingError, listed
from dotbias.models.base import Model, Scores
from dotbias.models.parameters import Array, Parameters, clip_to_scale
from dotbias.models.row_form import Side
from dotbias.models.scoring import scored
from dotbias.plain import from_plain, to_plain
from dotbias.recommender import file, lists
from dotbias.recommender.facts import Facts
from dotbias.recommender.fitted import (
    MIN_RATINGS,
    Fitted,
    Part,
    RawId,
    check_k,
    rating_table,
)
from dotbias.recommender.list_options import ListKeywords, ListOptions
from dotbias.recommender.tables import embeddings_of, known_of
from dotbias.solvers.base import History

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from dotbias.data.sources.locate import Source
    from dotbias.recommender.explanation import Explanation
    from dotbias.recommender.fold_in import FoldedItem, FoldedUser, Frame, RatingsOfOne


def _frame_of(given: Any) -> Any:
    """Ratings and what is lazy as a frame; all else as it is."""
    if isinstance(given, Ratings):
        return given.to_frame()
    return given.collect() if isinstance(given, pl.LazyFrame) else given


def _pair_columns(frame: Any) -> dict[Side, str]:
    """The names of the columns of users and of items.

    Raises:
        DataError: for what is no frame, or lacks one of the two.
    """
    if not hasattr(frame, "columns"):
        raise DataError(f"pairs must be a frame or ratings, not a {type(frame).__name__}")
    columns, found = [str(name) for name in frame.columns], {}
    sides: tuple[Side, Side] = ("user", "item")
    for side in sides:
        place = columns.index(side) if side in columns else usual_place(columns, side)
        if place is None:
            raise DataError(f"the pairs have no column {side!r}, only {listed(columns) or 'none'}")
        found[side] = frame.columns[place]
    return found


def pairs_of(given: Any) -> tuple[Any, Any]:
    """The users and items of a frame, or of ratings.

    Raises:
        SettingError: for users alone.
        DataError: for a frame that lacks one of the two.
    """
    given = _frame_of(given)
    if not hasattr(given, "columns"):
        raise SettingError(
            "predict(users, items): name items too, or give the pairs as ratings or as a frame of "
            "columns user and item"
        )
    names = _pair_columns(given)
    return given[names["user"]], given[names["item"]]


# Standard deviations to either side of a normal mean between which lie nine cases of ten.
_NINE_OF_TEN = 1.6449
# What tab completion lists.
_CONTENTS = (
    *("predict", "predict_table", "predict_pair", "recommend", "recommend_all"),
    *("explain", "similar", "similarity"),
    *("fold_in_user", "fold_in_item", "partial_fit"),
    *("items", "users", "item_embeddings", "user_embeddings", "item_bias_ranking"),
    *("info", "facts", "history", "scale", "training_ratings", "has", "by"),
    *("model", "parameters", "user_vocabulary", "item_vocabulary", "to_torch", "save", "load"),
)
_NO_ITEMS: Any = object()  # None is an item that is missing


@dataclass(frozen=True, eq=False)
class Recommender(Fitted):
    """What a user of dotbias holds: a fitted model that answers in their own ids; see ``Fitted``."""

    @classmethod
    def of(
        cls,
        model: Model,
        parameters: Parameters,
        ratings: Ratings,
        facts: Mapping[str, Any] | None = None,
        preference: Part | None = None,
    ) -> "Recommender":
        """The recommender of a model fitted to these ratings.

        Args:
            model, parameters: see the class.
            ratings: what the model was fitted to.
            facts: about the fit, as ``Facts`` or plain data.
            preference: a second model, of preferences, fitted to the same ratings.

        Raises:
            DataError: when a (user, item) pair is rated twice; ``read_ratings`` keeps one.
            SettingError: for parameters that are none of the model's for so many users and items
                (``Model.check``), or models that do not go with the ratings or with each other.
            DivergenceError: for parameters that are not finite.
        """
        if not isinstance(facts, Facts):
            facts = from_plain(Facts, dict(facts or {}), "facts")
        facts = replace(facts, kind=ratings.kind)
        for part in (Part(model, parameters, facts), preference):
            if part is None:
                continue
            for name, array in part.parameters.items():
                if not np.isfinite(array).all():
                    raise DivergenceError(
                        f"the fit has ended in numbers that are not finite, in {name}: its settings are "
                        "too large or too small for single precision "
                        f"({part.facts.solver_text or part.model})"
                    )
            part.model.check(part.parameters, ratings.n_users, ratings.n_items)
        vocabularies = ratings.user_vocabulary, ratings.item_vocabulary
        return cls(model, parameters, *vocabularies, rating_table(ratings), facts, preference)

    def __dir__(self) -> list[str]:
        """What a user may want, for tab completion; the rest is for other modules."""
        return list(_CONTENTS)

    def __repr__(self) -> str:
        second = "" if self.preference is None else f"and {self.preference.model}, "
        return (
            f"Recommender({self.model}, {second}{len(self.user_vocabulary):,} users, "
            f"{len(self.item_vocabulary):,} items, {self.rated.nnz:,} {self.facts.kind})"
        )

    def _parts(self) -> Iterable[shown.Part]:
        second = self.preference
        models = [("by rating", self.model, self.facts)]
        if second is not None:
            models.append(("by preference", second.model, second.facts))
        for order, model, facts in models:
            if second is not None:
                yield order
            yield {"model": model, "solver": facts.solver_text, "seconds": facts.history.seconds}
        yield {
            "users": len(self.user_vocabulary),
            "items": len(self.item_vocabulary),
            self.facts.kind: self.rated.nnz,
            **({} if self.scale is None else self.scale._asdict()),
        }

    @property
    def history(self) -> History:
        """What happened during the fit, epoch by epoch; ``history.plot()`` draws it. Of two models that
        of ratings: ``by("preference").history`` is the other's.

        >>> import dotbias as db
        >>> ratings, _ = db.simulate(n_ratings=2000, seed=1)
        >>> rec = db.fit(ratings, db.DotBias(n_factors=4), db.GradientDescent(n_epochs=3))
        >>> rec.history
        History(epochs=[Epoch(…), Epoch(…), Epoch(…)], best_epoch=3, stopped='finished', seconds=...)
        """
        return self.facts.history

    def training_ratings(self) -> Ratings:
        """The ratings that the model was fitted to, by user and item, without times and features."""
        rated = self.rated
        return Ratings(
            np.repeat(np.arange(rated.shape[0], dtype=np.int32), np.diff(rated.indptr)),
            # Of a model from a file they have 64 bits, for which loops would be compiled anew.
            rated.indices.astype(np.int32),
            rated.data,
            self.user_vocabulary,
            self.item_vocabulary,
            declared_scale=Scale(*map(float, self.parameters["scale"])),
            kind=self.facts.kind,
        )

    # -- predictions -----------------------------------------------------------------------------

    # A str is a sequence of str to the type checker, hence the overlap.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, users: RawId, items: RawId, *, strict: bool = False
    ) -> float: ...
    @overload
    def predict(  # type: ignore[overload-overlap]
        self, users: RawId, items: RawId, *, with_std: Literal[True], strict: bool = False
    ) -> tuple[float, float]: ...
    @overload
    def predict(
        self,
        users: pl.Series | Sequence[RawId],
        items: pl.Series | Sequence[RawId],
        *,
        strict: bool = False,
    ) -> Array: ...
    @overload
    def predict(
        self,
        users: pl.Series | Sequence[RawId],
        items: pl.Series | Sequence[RawId],
        *,
        with_std: Literal[True],
        strict: bool = False,
    ) -> tuple[Array, Array]: ...
    @overload
    def predict(self, users: "Ratings | Frame", *, strict: bool = False) -> Array: ...
    @overload
    def predict(
        self, users: "Ratings | Frame", *, with_std: Literal[True], strict: bool = False
    ) -> tuple[Array, Array]: ...
    def predict(
        self, users: Any, items: Any = _NO_ITEMS, *, with_std: bool = False, strict: bool = False
    ) -> Any:
        """Predicted rating of one pair, or of many; the preference where there is no model of ratings.

        Args:
            users: a user's id, or n of them; with n items, a single one stands for n. Without items, a
                frame of pairs as ``predict_table`` takes it, or ratings whose pairs are meant.
            items: an item's id or title, or n ids; with n users, a single id stands for n.
            with_std: whether to say how far the rating may be from its prediction; the model must have
                kept samples of ``Gibbs``.
            strict: whether a user or item never seen is an error. If not, predictions fall back on the
                other side's bias and the global mean, with a warning in the log (logger ``dotbias``).

        Returns:
            A float for one pair; for many, an array of shape (n,). With ``with_std`` a pair of such: the
            prediction, and the standard deviation of the rating (see ``DotBias.std``).

        Raises:
            UnknownIdError: for an ambiguous item, and for an unknown user or item if ``strict``.
            DataError: for two lists of different lengths, or what is no id.
            SettingError: for a standard deviation without samples, or users without items.
        """
        if items is _NO_ITEMS:
            users, items = pairs_of(users)
        u = self.indices("user", users, strict=strict)
        i = self.indices("item", items, strict=strict)
        if len(u) != len(i) and not (is_id(users) or is_id(items)):
            raise DataError(f"{len(u):,} users for {len(i):,} items: give as many of each")
        u, i = np.broadcast_arrays(u, i)
        ratings = self.model.predict(self.parameters, u, i)
        std = self._std(u, i) if with_std else None
        if is_id(users) and is_id(items):
            return float(ratings[0]) if std is None else (float(ratings[0]), float(std[0]))
        return ratings if std is None else (ratings, std)

    def _std(self, users: Index, items: Index) -> Array:
        """Standard deviation of the rating of each pair, shape (n,)."""
        return self.model.std(self.parameters, users, items)

    @overload
    def predict_table(
        self,
        pairs: "pl.DataFrame | pl.LazyFrame | Ratings",
        *,
        with_std: bool = False,
        strict: bool = False,
    ) -> pl.DataFrame: ...
    @overload
    def predict_table(
        self, pairs: "pd.DataFrame", *, with_std: bool = False, strict: bool = False
    ) -> "pd.DataFrame": ...
    def predict_table(self, pairs: Any, *, with_std: bool = False, strict: bool = False) -> Any:
        """Predictions for a frame of columns ``user`` and ``item``, or of other names that are usual
        for them, such as ``userId`` and ``movieId``.

        Args:
            pairs: a frame of Polars or pandas, or ratings, whose pairs are meant.
            with_std, strict: as for ``predict``.

        Returns:
            The frame, of the same kind, its ids in the type of the model's, with two more columns:
            ``prediction`` (``preference`` where there is no model of ratings), and ``basis``, which
            names what was known at training: ``both``, ``user``, ``item`` or ``neither``. With
            ``with_std`` three more: the standard deviation ``std``, and ``lower`` and ``upper``, between
            which a normal rating around the prediction is in nine cases of ten, clipped to the scale.

        Raises:
            UnknownIdError: for an unknown user or item if ``strict``.
            DataError: for a frame without one of the two columns, or what is no id.
            SettingError: for a standard deviation without samples.
        """
        pairs = _frame_of(pairs)
        names = _pair_columns(pairs)
        index = {side: self.indices(side, pairs[names[side]], strict=strict) for side in names}
        ids = pl.DataFrame(
            [self.vocabulary(s).in_own_type(pairs[name]).alias(name) for s, name in names.items()]
        )
        if isinstance(pairs, pl.DataFrame):
            pairs = pairs.with_columns(ids)
            return self._predicted(pairs, index["user"], index["item"], with_std=with_std)
        found = self._predicted(ids, index["user"], index["item"], with_std=with_std)
        return pairs.assign(**{column.name: column.to_numpy() for column in found})

    def predict_pair(
        self, user: RawId, item: RawId, *, with_std: bool = False, strict: bool = False
    ) -> pl.DataFrame:
        """The row of ``predict_table`` for one pair, with the item's ``title``.

        Args:
            user: the user's id.
            item: the item's id, title, or a part of one title.
            with_std, strict: as for ``predict``.

        Raises:
            UnknownIdError, SettingError, ModelFileError: as ``predict``.
        """
        u, i = self.indices("user", user, strict=strict), self.indices("item", item, strict=strict)
        title = self.named(i)["title"] if i[0] >= 0 else [None]
        pair = pl.DataFrame(
            {
                "user": self.in_own_type("user", user, u),
                "item": self.in_own_type("item", item, i),
                "title": pl.Series(title, dtype=pl.String),
            }
        )
        return self._predicted(pair, u, i, with_std=with_std)

    def _predicted(
        self, pairs: pl.DataFrame, u: Index, i: Index, *, with_std: bool
    ) -> pl.DataFrame:
        """Pairs with what is predicted for their indices."""
        rating = self.model.predict(self.parameters, u, i)
        name = "prediction" if self.model.scores == "rating" else "preference"
        table = pairs.with_columns(pl.Series(name, rating), self.basis(u, i, len(u)))
        if not with_std:
            return table
        std = self._std(u, i)
        ends = (rating + sign * np.float32(_NINE_OF_TEN) * std for sign in (-1, 1))
        lower, upper = (clip_to_scale(self.parameters, end) for end in ends)
        return table.with_columns(
            std=pl.Series(std), lower=pl.Series(lower), upper=pl.Series(upper)
        )

    def explain(
        self, user: RawId, item: RawId, *, of: Scores | None = None, strict: bool = False
    ) -> "Explanation":
        """One prediction as a sum: mean, biases, and a part for each rating of the user; or one
        preference, a sum over what the user has rated or chosen.

        The parts add up to ``predict(user, item)``, or to the preference. They are those of the vector
        that the user's ratings give by regression, with everything else held
        (``dotbias.solvers.least_squares.contributions``); how far the model's own vector is from it, is
        a part too.

        Args:
            user: the user's id.
            item: the item's id, title, or a part of one title; the user may have rated it.
            of: ``"preference"``, why the item is where it is on the list, or ``"rating"``, why so many
                stars; by default what ``recommend`` ranks by.
            strict: as for ``predict``. Of a user or item never seen there are the parts of anybody, or
                of any item, and ``basis`` says so.

        Raises:
            UnknownIdError: for an ambiguous item, and for an unknown user or item if ``strict``.
            SettingError: for a network, or an ``of`` of which there is no model.
            ModelFileError: for a model that an older version has saved.

        >>> import dotbias as db
        >>> rec = db.fit(db.simulate(n_ratings=2000, seed=1)[0], db.DotBias(n_factors=4))
        >>> found = rec.explain(7, 21, of="rating")
        >>> abs(found.frame()["contribution"].sum() - rec.predict(7, 21)) < 1e-5
        True
        """
        # Numba takes half a second to load: what only predicts need not wait for it.
        from dotbias.recommender.explanation import explain

        return explain(self, user, item, of, strict=strict)

    # -- recommendations -------------------------------------------------------------------------

    def recommend(
        self,
        users: RawId | pl.Series | Sequence[RawId],
        k: int = 10,
        *,
        strict: bool = False,
        **options: Unpack[ListKeywords],
    ) -> pl.DataFrame:
        """The k items that each user is most likely to choose, or would rate highest.

        Args:
            users: a user's id, or several; unknown ones get what suits most, the items with the highest
                bias or preference of all users on average, with a warning in the log.
            k: how many items.
            strict: whether an unknown user, or an unknown item among those named, is an error instead.

        Keyword Args:
            rank_by (str): ``"preference"``, which is the default where there is a model of it, or
                ``"rating"``: the highest predicted rating first.
            candidates (iterable of ids): ids or titles of the only items to choose from; all by default.
                An unknown one cannot be ranked, and is left out with a warning in the log, unless
                ``strict``.
            exclude (iterable of ids): ids or titles of items that must not appear; likewise.
            genres (iterable of str): of which an item must have one, such as ``("Comedy", "Drama")``; in
                any case.
            not_genres (iterable of str): of which an item must have none.
            year_from (int): the first year, of items whose titles end in one.
            year_to (int): the last year, likewise.
            include_rated (bool): whether items that the user has rated may appear; not by default.
            min_ratings (int): items with fewer training ratings, 5 by default, come after all others.
            well_known (float): from -1, hidden items, over 0, the default, where the score alone counts,
                to 1, items about as well known as the most rated ones.
            diversity (float): from 0, the default, to 1: how much near-duplicates are thinned out.

        ``ListOptions`` says more of each.

        Returns:
            Columns ``user``, ``rank`` (from 1), ``item``, ``title``, best first; ``prediction``, the
            rating, and ``preference``, as far as there are models of them; ``basis``, what was known at
            training: ``both`` the user and the item, or the ``item`` alone. Why a list is empty, the log
            says.

        Raises:
            UnknownIdError: for an unknown user or item if ``strict``, and an ambiguous title.
            DataError: for what is no id.
            SettingError: for an option outside its range, a ``rank_by`` of which there is no model, an
                unknown genre, or diversity by a model without embeddings.
        """
        check_k(k)
        asked = users if is_id(users) else as_ids(users)  # type: ignore[arg-type]
        index = self.indices("user", asked, strict=strict)
        wanted = ListOptions.of_ids(self, options, strict=strict)
        table, lengths = self._listed(asked, index, k, wanted)
        wanted.say_short(self, lengths, k)
        return table

    def recommend_all(
        self,
        k: int = 10,
        *,
        n_users: int = 100_000,
        strict: bool = False,
        **options: Unpack[ListKeywords],
    ) -> Iterator[pl.DataFrame]:
        """What ``recommend`` gives to every user of the model, some users at a time.

        Args:
            k, strict, options: as for ``recommend``.
            n_users: how many users each table is for.

        Yields:
            Tables as those of ``recommend``, of users in the order of their ids.

        Raises:
            UnknownIdError, DataError, SettingError: as for ``recommend``.
        """
        check_k(k)
        if n_users < 1:
            raise SettingError(f"n_users={n_users!r}: n_users must be at least 1")
        wanted = ListOptions.of_ids(self, options, strict=strict)
        ids, lengths = self.user_vocabulary.ids, []
        for begin in range(0, len(ids), n_users):
            asked = ids[begin : begin + n_users]
            index = np.arange(begin, begin + len(asked), dtype=np.int32)
            table, own = self._listed(asked, index, k, wanted)
            lengths.append(own)
            yield table
        wanted.say_short(self, np.concatenate(lengths), k)

    def _listed(
        self, asked: Any, index: Index, k: int, wanted: ListOptions
    ) -> tuple[pl.DataFrame, NDArray[np.integer[Any]]]:
        """The table of ``recommend``, and how many items are on each list, shape (n,)."""
        items = self._top_items(index, k, wanted)
        row, rank = np.nonzero(items >= 0)
        chosen = items[row, rank]
        table = pl.DataFrame(
            {
                "user": self.in_own_type("user", asked, index)[row],
                "rank": rank + 1,
                **self.named(chosen),
                **self.scored(index[row], chosen),
                "basis": self.basis(index[row], chosen, len(row)),
            }
        )
        return table, np.bincount(row, minlength=len(items))

    def top_items(self, users: Index, k: int, **options: Unpack[ListKeywords]) -> Index:
        """What ``recommend`` gives, in indices.

        Args:
            users: user indices, shape (n,); -1 for unknown users.
            k: how many.
            options: as for ``recommend``, but ``candidates`` and ``exclude`` are indices of items.

        Returns:
            Item indices, best first, shape (n, min(k, n_items)); -1 where no more are left.
        """
        return self._top_items(users, k, ListOptions(**options))  # type: ignore[arg-type]

    def _top_items(self, users: Index, k: int, wanted: ListOptions) -> Index:
        rated = [self.rated_by(user)[0] for user in users.tolist()]
        return wanted.top_items(self, self, users, rated, k)

    # -- similar items ---------------------------------------------------------------------------

    def similarity(self, item: RawId, other: RawId, *, by: Scores | None = None) -> float:
        """Cosine of two items' embeddings; 1 for an item with itself. ``by`` as in ``similar``."""
        vectors = self.compared_by(by).unit_vectors
        a, b = self.item_vocabulary.find(item), self.item_vocabulary.find(other)
        return float(vectors[a] @ vectors[b])

    def similar(
        self,
        item: RawId,
        k: int = 10,
        *,
        by: Scores | None = None,
        min_ratings: int = MIN_RATINGS,
        strict: bool = False,
    ) -> pl.DataFrame:
        """The k items whose embeddings point most nearly the same way.

        Args:
            item: its id, title, or a part of one title.
            k: how many.
            by: whose embeddings: ``"preference"``, chosen by the same people, which is the default
                where there is a model of it, or ``"rating"``, rated alike by the same people.
            min_ratings: items with fewer training ratings come after all others: their
                embeddings have hardly moved from where they started, and say little.
            strict: whether an unknown item is an error. If not, the most rated items are listed in the
                place of similar ones, with a warning in the log.

        Returns:
            Columns ``rank``, ``item``, ``title``, ``similarity`` (cosine, -1 to 1; null for an unknown
            item), ``n_ratings``, and ``basis``: ``item`` where that was known, else ``neither``.

        Raises:
            UnknownIdError: for an ambiguous item, and for an unknown one if ``strict``.
            SettingError: for a model without embeddings, or a ``by`` of which there is no model.
        """
        at = int(self.indices("item", item, strict=strict)[0])
        compared = self.compared_by(by)
        if at < 0:
            return self.most_rated(k, min_ratings=min_ratings)
        vector = compared.model.item_vectors(compared.parameters)[at]
        return compared.nearest(vector, k, min_ratings=min_ratings, excluded=at)

    # -- what was not there at training ------------------------------------------------------------

    def fold_in_user(
        self,
        ratings: "RatingsOfOne",
        *,
        not_interested: Iterable[RawId] = (),
        features: Mapping[str, Any] | None = None,
        strict: bool = False,
    ) -> "FoldedUser":
        """A user who was not there at training, from a few ratings, with everything else held.

        The exact minimiser of the objective that the model was fitted to
        (``dotbias.solvers.least_squares.fold_in``); the model stays as it is. A user without ratings is
        one of whom nothing is known, but for features.

        Args:
            ratings: ``{item: rating}``, pairs, or a frame of items and ratings; items by id or title.
                Of a model of counts or events also ids alone; counts of the same item are added up.
            not_interested: ids or titles of items that this user does not want. They are never listed,
                and what is like them has a lower preference: each is a known pair with the target -1/4.
                A model of ratings takes no notice of them: they have no stars.
            features: what else is known, by name, of a model that ``Gibbs`` has fitted to
                ``Ratings.with_features(users=…)``: predictions start from what such users rate. A model
                of preferences takes no notice of them.
            strict: whether an unknown item, or an ambiguous title among the ratings, is an error.
                If not, what the others say is used, with a warning in the log (logger ``dotbias``);
                ``unknown`` names those that were left out.

        Raises:
            UnknownIdError: for such an item if ``strict``, and an ambiguous title in ``not_interested``.
            DataError: for a rating that is no number or outside the scale, two of one item, or an item
                that is rated and not wanted at once.
            SettingError: for features that the model was not fitted to.
            ModelFileError: for a model that an older version has saved.

        >>> import dotbias as db
        >>> rec = db.fit(db.simulate(n_ratings=2000, seed=1)[0], db.DotBias(n_factors=4))
        >>> user = rec.fold_in_user({3: 5.0, 8: 1.5, 21: 4.0})
        >>> user.n_ratings, user.recommend(k=2).columns
        (3, ['rank', 'item', 'title', 'prediction', 'basis'])
        """
        from dotbias.recommender.fold_in import fold_in_user

        return fold_in_user(
            self, ratings, not_interested=not_interested, features=features, strict=strict
        )

    def fold_in_item(
        self,
        ratings: "RatingsOfOne",
        *,
        features: Mapping[str, Any] | None = None,
        strict: bool = False,
    ) -> "FoldedItem":
        """An item that was not there at training, from ratings by users: as ``fold_in_user``."""
        from dotbias.recommender.fold_in import fold_in_item

        return fold_in_item(self, ratings, features=features, strict=strict)

    def partial_fit(
        self,
        new: "Ratings | Source | None" = None,
        *,
        users: pl.DataFrame | None = None,
        items: pl.DataFrame | None = None,
    ) -> "Recommender":
        """A recommender that knows these ratings too, and users and items of whom there are features:
        see ``dotbias.recommender.partial_fit``.
        """
        from dotbias.recommender.partial_fit import partial_fit

        return partial_fit(self, new, users=users, items=items)

    # -- what it has learned -----------------------------------------------------------------------

    def items(self) -> pl.DataFrame:
        """What is known of each item, in the order of their ids.

        Returns:
            Columns ``item``; ``title`` and ``genres`` where they are known; ``n_ratings`` in training;
            ``mean_rating``, of a model of ratings; and ``bias``, in rating units, where it has biases.

        >>> import dotbias as db
        >>> rec = db.fit(db.simulate(n_ratings=2000, seed=1)[0], db.DotBias(n_factors=4))
        >>> rec.items().columns
        ['item', 'title', 'n_ratings', 'mean_rating', 'bias']
        """
        return known_of(self, "item")

    def users(self) -> pl.DataFrame:
        """The same of each user: ``user``, ``n_ratings``, ``mean_rating``, ``bias``."""
        return known_of(self, "user")

    def item_embeddings(self, *, by: Scores | None = None) -> pl.DataFrame:
        """The embedding of each item, in the order of their ids.

        Args:
            by: whose embeddings, as in ``similar``.

        Returns:
            Columns ``item``, ``title`` where titles are known, and ``vector``, an array column:
            ``table["vector"].to_numpy()`` has the shape (n_items, n_factors). Their cosines are those of
            ``similar``.

        Raises:
            SettingError: for a model without embeddings, or a ``by`` of which there is no model.

        >>> import dotbias as db
        >>> rec = db.fit(db.simulate(n_ratings=2000, seed=1)[0], db.DotBias(n_factors=4))
        >>> rec.item_embeddings()["vector"].to_numpy().shape
        (341, 4)
        """
        return embeddings_of(self, "item", by)

    def user_embeddings(self, *, by: Scores | None = None) -> pl.DataFrame:
        """The same of each user: ``user`` and ``vector``."""
        return embeddings_of(self, "user", by)

    # -- the whole -------------------------------------------------------------------------------

    def to_torch(self) -> "nn.Module":
        """The fitted model as a PyTorch module: see ``Model.to_torch``."""
        return self.model.to_torch(self.parameters)

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

        Raises:
            SettingError: for a model without biases: networks, and ``DotProduct``.
        """
        check_k(k)
        bias = self.model.bias(self.parameters, "item")
        if bias is None:
            raise SettingError(f"{type(self.model).__name__} has no biases to rank items by")
        counts = self.item_counts
        scores = -bias if lowest else bias
        chosen = lists.top_k(scored(scores[None, :]), k, rare=self.rare(min_ratings))[0][0]
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(chosen) + 1),
                **self.named(chosen),
                "bias": bias[chosen],
                "mean_rating": self.mean_ratings("item")[chosen],
                "n_ratings": counts[chosen],
            }
        )

    def info(self) -> dict[str, Any]:
        """What this model is, how it was fitted, and how good it was on held-out ratings."""
        low, high = map(float, self.parameters["scale"])
        return {
            "model": type(self.model).__name__,
            "settings": to_plain(self.model.summary()),
            "n_users": len(self.user_vocabulary),
            "n_items": len(self.item_vocabulary),
            "n_ratings": self.rated.nnz,
            "scale": [low, high],
            "global_mean": float(self.parameters["global_mean"][0]),
            "mean_rating": float(self.rated.data.mean(dtype=np.float64))
            if self.rated.nnz
            else None,
            "titles": self.item_vocabulary.titles is not None,
            "n_titles": self.item_vocabulary.n_titles,
            "preference": None if self.preference is None else self.by("preference")._of_fit(),
            **self.facts,
        }

    def _of_fit(self) -> dict[str, Any]:
        settings = to_plain(self.model.summary())
        return {"model": type(self.model).__name__, "settings": settings, **self.facts}

    # -- the file --------------------------------------------------------------------------------

    def save(self, path: str | Path, *, half: bool | None = None, force: bool = False) -> None:
        """Write one file, whole or not at all: arrays and metadata, nothing executable.

        Args:
            path: where to; a link is followed. A model that dotbias has saved there is replaced.
            half: write factors in half precision, three digits in half the bytes; in memory they are in
                single precision again. An array with a number beyond 65,504 stays as it is. By default
                as the file was that this model came from, if from any.
            force: replace any other file, too.

        Raises:
            ModelFileError: when it cannot be written, or when a file is there that is no model.
        """
        half = self.facts.half_precision if half is None else half
        file.write(Path(path), self, half=half, force=force)

    @classmethod
    def load(
        cls, path: str | Path, model: Model | None = None, *, verify: bool = True
    ) -> "Recommender":
        """Read a file that ``save`` wrote.

        Arrays of 64 MiB and more stay in the file and take no memory of their own: it may be replaced or
        removed meanwhile, as ``save`` does, but must not be written over.

        Args:
            path: the file.
            model: what makes the module of a ``Network``, or a model of your own, for a file holds no
                code.
            verify: whether to read the whole file for its checksum (SHA-256), which takes one or two
                seconds per GB. That shapes and values are such as a model may have is looked at always.

        Raises:
            ModelFileError: when the file is missing, truncated, altered or of a newer format, holds
                another kind of model than the one that is given, or arrays or facts that are not of the
                right form; it names them.
        """
        return cls(**vars(file.read(Path(path), model, verify=verify)))
