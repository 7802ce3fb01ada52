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
from dotbias.data.ratings import Kind, Ratings
from dotbias.data.read import as_ratings
from dotbias.errors import DataError, ModelFileError, SettingError
from dotbias.evaluation.metrics import StarErrors, rmse_by_count, star_errors
from dotbias.evaluation.new_users import (
    FOLD_SHARE,
    NewUsers,
    check_fold_share,
    measure_new_users,
)
from dotbias.evaluation.ranking import (
    NAMES,
    Audience,
    Ranking,
    liked_from,
    rank,
    relevant_text,
)
from dotbias.evaluation.rows import Rows, seen
from dotbias.models.base import Scores, has_formula_of
from dotbias.models.baseline import Baseline
from dotbias.models.parameters import Parameters
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
    test: "Ratings | Source",
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
            where model and test both have ratings. A frame or path is read as by ``read_ratings``.
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
    if relevant_from is None and both_ratings:
        relevant_from = liked_from(rec)
    rows = Rows.of(rec, test)
    used = seen(rec, rows.users, rows.items)
    if on_seen == "drop" and used.any():
        if used.all():
            raise DataError(
                f"every one of the {len(test):,} rows was used in fitting, so nothing can be "
                "measured on them: hold rows out before fitting, with ratings.split, or on the "
                "command line with dotbias fit --no-refit"
            )
        rows = rows.take(~used)
    outside = _n_outside(rec, rows) if both_ratings else 0
    train = rec.training_ratings()
    stars = both_ratings and rec.has("rating")
    baseline = ClosedForm().fit(Baseline(), train)[0] if stars else None
    folded = None
    if new_users == "fold":
        new = rows.users < 0
        folded = measure_new_users(
            rec,
            rows.take(new),
            baseline,
            fold_share=fold_share,
            k=lengths,
            relevant_from=relevant_from,
            seed=seed,
        )
        rows = rows.take(~new)
    rankings: tuple[Ranking, ...] = ()
    if ranking:
        rankings = rank(Audience.known(rec, rows, seed=seed), lengths, relevant_from, seed=seed)
    shown = {r.by: r for r in rankings if (r.k, r.relevant_from) == (lengths[0], relevant_from)}
    cold_user, cold_item = rows.users < 0, rows.items < 0
    cold = cold_user | cold_item
    return Evaluation(
        n_rows=rows.n,
        seen_rows=int(np.count_nonzero(used)),
        on_seen=on_seen,
        coverage=1 - np.count_nonzero(cold) / rows.n if rows.n else None,
        cold_users=len(np.unique(rows.owners[cold_user])),
        cold_items=len(np.unique(rows.choices[cold_item])),
        cold_rows=int(np.count_nonzero(cold)),
        **_errors(rec, train, baseline, rows, metrics),
        ranking=shown.get(first),
        popularity=shown.get("popularity"),
        rankings=rankings,
        new_users=folded,
        kind=test.kind,
        outside_scale=outside,
    )


def _n_outside(rec: Recommender, rows: Rows) -> int:
    """How many held-out ratings are outside the model's scale, which is warned of."""
    low, high = map(float, rec.parameters["scale"])
    values = rows.values[(rows.values < low) | (rows.values > high)]
    if len(values):
        _log.warning(
            "%s of %s held-out ratings, from %g to %g, are outside the model's scale %g-%g, and no "
            "prediction is: are they on another scale?",
            *(f"{n:,}" for n in (len(values), rows.n)),
            *(values.min(), values.max(), low, high),
        )
    return len(values)


def _lengths(k: int | Sequence[int]) -> tuple[int, ...]:
    lengths = tuple(k) if isinstance(k, Sequence) else (k,)
    if not lengths or min(lengths) < 1:
        raise SettingError(f"evaluate(k={k!r}): k must be at least 1")
    return tuple(dict.fromkeys(lengths))


def _errors(
    rec: Recommender,
    train: Ratings,
    baseline: Parameters | None,
    rows: Rows,
    metrics: Sequence[Metric],
) -> dict[str, Any]:
    """Fields of the errors in rating units; without a model of ratings there are none."""
    if metrics and baseline is None:
        raise SettingError("metrics are of predicted stars, and here are none: leave metrics out")
    nothing = pl.DataFrame(schema={"group": pl.String, "n_rows": pl.Int64, "rmse": pl.Float64})
    if baseline is None or not rows.n:
        return {"by_activity": nothing, "by_popularity": nothing}
    users, items, values = rows.users, rows.items, rows.values
    model = rec.by("rating")
    prediction = model.model.predict(model.parameters, users, items)
    biases = Baseline().predict(baseline, users, items)
    activity = np.where(users >= 0, train.user_counts[users], 0)
    popularity = np.where(items >= 0, train.item_counts[items], 0)
    return {
        **star_errors(
            values,
            prediction,
            biases,
            float(baseline["global_mean"][0]),
            biases_alone=has_formula_of(model.model, Baseline),
        ),
        "by_activity": rmse_by_count(prediction, values, activity),
        "by_popularity": rmse_by_count(prediction, values, popularity),
        "metrics": _own_metrics(metrics, values, prediction),
    }


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
