"""Everything about a recommender that held-out ratings can tell, beside what needs no model."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dotbias.data.arrays import as_number
from dotbias.data.prepared.prepared import PreparedRatings
from dotbias.data.ratings import Kind, Ratings
from dotbias.data.read import as_ratings
from dotbias.errors import DataError, ModelFileError, SettingError
from dotbias.evaluation.metrics import CountGroups, ErrorSums, StarErrors
from dotbias.evaluation.new_users import (
    FOLD_SHARE,
    NewUsers,
    check_fold_share,
    measure_new_users,
)
from dotbias.evaluation.ranking import (
    MAX_USERS,
    NAMES,
    Audience,
    Ranking,
    liked_from,
    rank,
    relevant_text,
    sample,
)
from dotbias.evaluation.rows import Rows, portions, seen
from dotbias.models.base import Scores, has_formula_of
from dotbias.models.baseline import Baseline
from dotbias.models.parameters import Array, Parameters
from dotbias.plain import from_plain, to_plain
from dotbias.recommender.recommender import Recommender
from dotbias.shown import Part, parts_of
from dotbias.solvers.least_squares.closed_form import ClosedForm

if TYPE_CHECKING:
    from dotbias.data.sources.locate import Source

_log = logging.getLogger("dotbias")

Metric: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], Any]
"""A metric of one's own: a number from true and predicted ratings, each of shape (n,)."""

OnSeen = Literal["drop", "keep"]
NewUsersAs = Literal["cold", "fold"]


@dataclass(frozen=True)
class _Group:
    """A row of ``by_activity`` and ``by_popularity``."""

    group: str
    n_rows: int
    rmse: float


@dataclass(frozen=True, eq=False)
class Evaluation(StarErrors):
    """How good a recommender is on held-out ratings; errors are in rating units (``StarErrors``).

    Args:
        n_rows: held-out ratings that the figures are about.
        seen_rows: held-out ratings whose user-item pair was used in fitting.
        on_seen: whether those are left out (``"drop"``) or part of every figure (``"keep"``).
        coverage: share of the rows whose user and item were both known; None where there are no rows.
        cold_users: distinct users that training never saw.
        cold_items: distinct items that training never saw.
        cold_rows: rows with a cold user or item.
        by_activity: ``group``, ``n_rows``, ``rmse`` by the user's number of training ratings; empty
            where no ratings are predicted.
        by_popularity: the same by the item's.
        ranking: quality of the recommendations as ``recommend`` gives them, of the first length that
            was asked for; of ratings in the reading where only liked items are relevant. None where
            there was nothing to measure.
        popularity: quality of recommending the most rated items instead.
        rankings: both readings, every length, every order and the most rated items
            (``dotbias.evaluation.ranking.rank``).
        new_users: how good it is for users whom it folds in, where that was asked for.
        kind: what was held out: ratings, counts or events.
        outside_scale: held-out ratings beyond the ends of the model's scale, where predictions end.
        metrics: values of the metrics of one's own that were asked for, by name.
    """

    n_rows: int
    seen_rows: int
    on_seen: OnSeen
    coverage: float | None
    cold_users: int
    cold_items: int
    cold_rows: int
    by_activity: pl.DataFrame = field(metadata={"rows": _Group})
    by_popularity: pl.DataFrame = field(metadata={"rows": _Group})
    ranking: Ranking | None
    popularity: Ranking | None
    rankings: tuple[Ranking, ...] = ()
    new_users: NewUsers | None = None
    kind: Kind = "ratings"
    outside_scale: int = 0
    metrics: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON or a model file; tables become lists of rows."""
        data: dict[str, Any] = to_plain(self)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The way back from ``to_dict``; other keys are ignored.

        Raises:
            DataError: for data of another form, naming the key.
        """
        return from_plain(cls, data)

    def _parts(self) -> Iterable[Part]:
        lists = ("ranking", "popularity", "rankings")
        yield from parts_of(self, without=(*lists, "new_users"))
        for heading, table, gains in _ranking_tables(self._all_rankings(), "users"):
            yield from (heading, table, *gains)
        if self.new_users is not None:
            yield "new users"
            yield from parts_of(self.new_users, without=lists)
            for heading, table, gains in _ranking_tables(self.new_users.rankings, "new users"):
                yield from (heading, table, *gains)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        seen = f"{self.seen_rows:,} that were used in fitting"
        note = f"without {seen}" if self.on_seen == "drop" else f"including {seen}"
        noun = "ratings" if self.kind == "ratings" else "interactions"
        yield f"{self.n_rows:,} held-out {noun}" + (f", {note}" if self.seen_rows else "")
        yield from self.error_lines(self.n_rows)
        if self.metrics:
            yield ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        if self.coverage is not None:
            yield (
                f"user and item known in {self.coverage:.2%} of the rows; never seen in training: "
                f"{self.cold_users:,} users and {self.cold_items:,} items, in {self.cold_rows:,} rows"
            )
        for title, frame in (
            ("training ratings of the user", self.by_activity),
            ("training ratings of the item", self.by_popularity),
        ):
            if not frame.is_empty():
                yield ""
                rows = [(group, f"{n:,}", f"{error:.4f}") for group, n, error in frame.iter_rows()]
                yield text_table([title, "rows", "RMSE"], rows)
        yield from _ranking_lines(self._all_rankings(), "users")
        if self.new_users is not None:
            yield ""
            yield from self._new_users_lines(self.new_users, noun)

    def _new_users_lines(self, new: NewUsers, noun: str) -> Iterator[str]:
        if not new.n_users:
            yield "no new users: nobody whom the model does not know has rows enough to fold in"
            return
        yield (
            f"{new.n_users:,} new users, folded in from {new.fold_share:.0%} of their {noun} "
            f"({new.n_given:,}), measured on the other {new.n_rows:,}"
        )
        yield from new.error_lines(new.n_rows)
        yield from _ranking_lines(new.rankings, "new users")

    def _all_rankings(self) -> Sequence[Ranking]:
        """The rankings, of which an older version has measured two."""
        if self.rankings or self.ranking is None or self.popularity is None:
            return self.rankings
        return [self.ranking, replace(self.popularity, by="popularity")]


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOut(Evaluation):
    """What ``dotbias fit`` has measured before it fitted the model again, as the model file keeps it.

    Args:
        test_size: share of the ratings that was held out.
        split_seed: which share.
        refit_on_all: whether the model in the file was fitted to all ratings.
        new_users_size: share of the users who were held out whole besides.
    """

    test_size: float
    split_seed: int
    refit_on_all: bool
    new_users_size: float = 0.0

    @classmethod
    def of(cls, rec: Recommender) -> "HeldOut | None":
        """What a model keeps of it, or None for one that was fitted in another way.

        Raises:
            ModelFileError: when it is not of the right form, naming the field.
        """
        if rec.facts.held_out is None:
            return None
        try:
            return from_plain(cls, rec.facts.held_out, "facts.held_out")
        except DataError as error:
            raise ModelFileError(f"the model cannot say how good it is: {error}") from error


def evaluate(
    rec: Recommender,
    test: "Ratings | PreparedRatings | Source",
    *,
    k: int | Sequence[int] = 10,
    relevant_from: float | None = None,
    ranking: bool = True,
    rank_by: Scores | None = None,
    metrics: Sequence[Metric] = (),
    on_seen: OnSeen = "drop",
    new_users: NewUsersAs = "cold",
    fold_share: float = FOLD_SHARE,
    seed: int = 0,
) -> Evaluation:
    """How good a recommender is on ratings that were held out of its training.

    Args:
        rec: the recommender.
        test: the held-out ratings, counts or events. Errors in stars, and what was liked, are measured
            where model and test both have ratings. A frame or path is read as by ``read_ratings``. Of
            prepared ratings their held-out rows, block by block.
        k: length of the lists of recommendations, or several.
        relevant_from: the lowest rating that makes an item relevant, where not every held-out item is;
            by default three quarters up the training scale, which is 4 on a scale from 1 to 5.
        ranking: whether to measure recommendations too, for at most 10,000 users.
        rank_by: whose lists are the ``ranking`` of the result, by default those that ``recommend``
            gives; ``rankings`` are of all.
        metrics: metrics of one's own: functions of true and predicted ratings, each of shape (n,), that
            return a number; those of ``sklearn.metrics`` are such. ``metrics`` of the result has what
            they say, by their names.
        on_seen: what to do with rows whose user-item pair was used in fitting.
        new_users: what to do with users whom training never saw. They are ``"cold"``, predicted from
            what is known of their items and without a list of their own; or ``"fold"``: each is folded
            in from a part of their rows and measured on the others, apart from everyone else.
            ``ratings.split(..., by="users")`` holds users out whole.
        fold_share: that part, between 0 and 1.
        seed: of that part, of samples of users, and of the intervals of the rankings.

    Raises:
        DataError: when every row was used in fitting, or users are to be folded in from counts or events
            where the model has ratings (or the other way round).
        SettingError: for a metric that is no function, returns no number or is asked of what has no
            stars; ``k`` below 1, an unknown ``on_seen`` or ``new_users``, a ``fold_share`` that
            is no share, a ``rank_by`` of which there is no model, or a model into which nobody can be
            folded.
        ModelFileError: for users to fold into a model that an older version has saved.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> train, test = ratings.split(seed=42)
    >>> result = evaluate(db.fit(train, db.Baseline()), test)
    >>> result.n_rows, result.rmse == result.baseline_rmse < result.mean_rmse
    (1000, True)
    """
    for name, value, kind in (("on_seen", on_seen, OnSeen), ("new_users", new_users, NewUsersAs)):
        if value not in get_args(kind):
            first, second = get_args(kind)
            raise SettingError(
                f"evaluate({name}={value!r}): {name} must be {first!r} or {second!r}"
            )
    check_fold_share(fold_share)
    if not isinstance(test, PreparedRatings):
        test = as_ratings(test, of_model=rec.facts.kind)
    lengths = _lengths(k) if ranking else ()
    first = rec.ranked_by(rank_by)
    kinds = rec.facts.kind, test.kind
    both_ratings = kinds == ("ratings", "ratings")
    if new_users == "fold" and "ratings" in kinds and not both_ratings:
        raise DataError(
            f"users can be folded in from what the model was fitted to: that is {kinds[0]}, and these "
            f"are {kinds[1]}"
        )
    if isinstance(test, PreparedRatings) and (new_users == "fold" or metrics):
        what = "new_users='fold' takes" if new_users == "fold" else "metrics take"
        raise SettingError(f"{what} all held-out rows at once, and these are read block by block")
    if relevant_from is None and both_ratings:
        relevant_from = liked_from(rec)
    baseline = None
    if both_ratings and rec.has("rating"):
        known = test.training if isinstance(test, PreparedRatings) else rec.training_ratings()
        baseline = ClosedForm().fit(Baseline(), known)[0]
    tally = _Tally(rec, test, baseline)
    listed, new = [], []
    chosen = _list_users(test, seed) if isinstance(test, PreparedRatings) else None
    for rows in portions(rec, test):
        used = seen(rec, rows.users, rows.items)
        tally.n_seen += int(np.count_nonzero(used))
        if on_seen == "drop" and used.any():
            rows = rows.take(~used)
        if new_users == "fold":
            new.append(rows.take(rows.users < 0))
            rows = rows.take(rows.users >= 0)
        tally.add(rows)
        listed.append(rows if chosen is None else rows.take(chosen[rows.owners]))
    if on_seen == "drop" and tally.n_seen and not tally.n + sum(rows.n for rows in new):
        raise DataError(
            f"every one of the {tally.n_seen:,} rows was used in fitting, so nothing can be "
            "measured on them: hold rows out before fitting, with ratings.split, or on the "
            "command line with dotbias fit --no-refit"
        )
    folded = None
    if new_users == "fold":
        folded = measure_new_users(
            rec,
            Rows.joined(new),
            baseline,
            fold_share=fold_share,
            k=lengths,
            relevant_from=relevant_from,
            seed=seed,
        )
    rankings: tuple[Ranking, ...] = ()
    if ranking:
        audience = Audience.known(rec, Rows.joined(listed), seed=seed)
        audience = replace(audience, unknown_users=tally.n_cold_users)
        rankings = rank(audience, lengths, relevant_from, seed=seed)
    shown = {r.by: r for r in rankings if (r.k, r.relevant_from) == (lengths[0], relevant_from)}
    return Evaluation(
        n_rows=tally.n,
        seen_rows=tally.n_seen,
        on_seen=on_seen,
        coverage=1 - tally.n_cold / tally.n if tally.n else None,
        cold_users=tally.n_cold_users,
        cold_items=tally.n_cold_items,
        cold_rows=tally.n_cold,
        **tally.errors(),
        metrics=_metrics(metrics, rec, baseline, listed),
        ranking=shown.get(first),
        popularity=shown.get("popularity"),
        rankings=rankings,
        new_users=folded,
        kind=test.kind,
        outside_scale=tally.warn_outside() if both_ratings else 0,
    )


def _list_users(test: PreparedRatings, seed: int) -> NDArray[np.bool_]:
    """Which users' lists are measured: not more than have their rows in memory, shape (n_users,)."""
    known = test.training.user_counts
    chosen = np.zeros(len(known), np.bool_)
    held_out = test.whole.user_counts > known
    chosen[sample(np.flatnonzero(held_out & (known > 0)).astype(np.int32), MAX_USERS, seed)] = True
    return chosen


class _Tally:
    """What held-out rows say that come in portions.

    Args:
        rec: the recommender.
        test: where the rows are from.
        baseline: biases alone; None where there are no stars to measure.
    """

    def __init__(
        self, rec: Recommender, test: Ratings | PreparedRatings, baseline: Parameters | None
    ) -> None:
        self.rec, self.baseline = rec, baseline
        # Those of ratings on disk are in their own indices: their training part is not in memory.
        self.own = isinstance(test, PreparedRatings)
        self.n = self.n_seen = self.n_cold = self.n_outside = 0
        self.range = np.inf, -np.inf
        self.cold: dict[str, list[Any]] = {"user": [], "item": []}
        self.activity, self.popularity = CountGroups(), CountGroups()
        self.sums = None if baseline is None else ErrorSums(float(baseline["global_mean"][0]))
        self.user_counts = np.append(np.diff(rec.rated.indptr), 0)  # the last of who is unknown
        self.item_counts = np.append(rec.item_counts, 0)

    def add(self, rows: Rows) -> None:
        """Some more rows."""
        cold_user, cold_item = rows.users < 0, rows.items < 0
        self.n += rows.n
        self.n_cold += int(np.count_nonzero(cold_user | cold_item))
        self.cold["user"].append(np.unique(rows.owners[cold_user]))
        self.cold["item"].append(np.unique(rows.choices[cold_item]))
        if "scale" in self.rec.parameters and rows.n:
            low, high = map(float, self.rec.parameters["scale"])
            outside = rows.values[(rows.values < low) | (rows.values > high)]
            self.n_outside += len(outside)
            if len(outside):
                self.range = (
                    min(self.range[0], float(outside.min())),
                    max(self.range[1], float(outside.max())),
                )
        if self.sums is None or self.baseline is None or not rows.n:
            return
        predicted = _predicted(self.rec, rows)
        pairs = (rows.owners, rows.choices) if self.own else (rows.users, rows.items)
        self.sums.add(rows.values, predicted, Baseline().predict(self.baseline, *pairs))
        self.activity.add(predicted, rows.values, self.user_counts[rows.users])
        self.popularity.add(predicted, rows.values, self.item_counts[rows.items])

    @property
    def n_cold_users(self) -> int:
        """Distinct users that training never saw."""
        return len(np.unique(np.concatenate(self.cold["user"])))

    @property
    def n_cold_items(self) -> int:
        """Distinct items that training never saw."""
        return len(np.unique(np.concatenate(self.cold["item"])))

    def errors(self) -> dict[str, Any]:
        """Fields of the errors in rating units; without a model of ratings there are none."""
        frames = {"by_activity": self.activity.frame(), "by_popularity": self.popularity.frame()}
        if self.sums is None or not self.sums.n:
            return frames
        alone = has_formula_of(self.rec.by("rating").model, Baseline)
        return frames | self.sums.fields(biases_alone=alone)

    def warn_outside(self) -> int:
        """How many held-out ratings are outside the model's scale, which is warned of."""
        if self.n_outside:
            _log.warning(
                "%s of %s held-out ratings, from %g to %g, are outside the model's scale %g-%g, and no "
                "prediction is: are they on another scale?",
                *(f"{n:,}" for n in (self.n_outside, self.n)),
                *self.range,
                *map(float, self.rec.parameters["scale"]),
            )
        return self.n_outside


def _predicted(rec: Recommender, rows: Rows) -> Array:
    """The predicted ratings."""
    model = rec.by("rating")
    return model.model.predict(model.parameters, rows.users, rows.items)


def _lengths(k: int | Sequence[int]) -> tuple[int, ...]:
    lengths = tuple(k) if isinstance(k, Sequence) else (k,)
    if not lengths or min(lengths) < 1:
        raise SettingError(f"evaluate(k={k!r}): k must be at least 1")
    return tuple(dict.fromkeys(lengths))


def _metrics(
    metrics: Sequence[Metric], rec: Recommender, baseline: Parameters | None, parts: Sequence[Rows]
) -> dict[str, float]:
    """What metrics of one's own say, by name."""
    if not metrics:
        return {}
    if baseline is None:
        raise SettingError("metrics are of predicted stars, and here are none: leave metrics out")
    rows = Rows.joined(parts)
    return _own_metrics(metrics, rows.values, _predicted(rec, rows)) if rows.n else {}


def _own_metrics(metrics: Sequence[Metric], values: Any, prediction: Any) -> dict[str, float]:
    """What metrics of one's own say, by name."""
    found: dict[str, float] = {}
    columns = [np.asarray(column, np.float64) for column in (values, prediction)]
    for metric in metrics:
        if not callable(metric):
            raise SettingError(
                f"metrics must be functions of true and predicted ratings, not {metric!r}"
            )
        name = getattr(metric, "__name__", type(metric).__name__)
        value = as_number(metric(*columns))
        if value is None or not math.isfinite(value):
            raise SettingError(f"the metric {name} returned no finite number")
        found[name] = float(value)
    return found


def _ranking_tables(
    rankings: Sequence[Ranking], whom: str
) -> Iterator[tuple[str, pl.DataFrame, list[str]]]:
    """A heading and a table for each reading and length, and sentences that say which order is any use.

    The table has a column for each order, for a line of a terminal has no room for all metrics.
    """
    tables: dict[tuple[int, float | None], list[Ranking]] = {}
    for ranking in rankings:
        tables.setdefault((ranking.k, ranking.relevant_from), []).append(ranking)
    for (k, relevant_from), rows in tables.items():
        heading = (
            f"the first {k} recommendations to {rows[0].n_users:,} {whom}, "
            f"{relevant_text(relevant_from)}"
        )
        names = list(rows[0].metrics())
        columns = {NAMES[r.by]: [r.metrics()[name] for name in names] for r in rows}
        gains = [f"{NAMES[r.by]}: {r.gain} in nDCG@{k}" for r in rows if r.gain is not None]
        yield heading, pl.DataFrame({"": names, **columns}), gains


def _ranking_lines(rankings: Sequence[Ranking], whom: str) -> Iterator[str]:
    for heading, table, gains in _ranking_tables(rankings, whom):
        yield ""
        yield heading
        rows = [
            (name, *(f"{value:.4f}" for value in values)) for name, *values in table.iter_rows()
        ]
        yield text_table(table.columns, rows)
        yield from gains


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of plain text, the first aligned left and the others right.

    >>> print(text_table(["fold", "RMSE"], [["1", "0.85"], ["mean", "0.9"]]))
    fold  RMSE
    1     0.85
    mean   0.9
    """
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in table
    )
