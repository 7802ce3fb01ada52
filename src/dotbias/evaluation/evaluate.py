"""Everything about a recommender that held-out ratings can tell, beside what needs no model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

import numpy as np
import polars as pl

from dotbias.data.ratings import Ratings, cold
from dotbias.errors import DataError, ModelFileError, SettingError
from dotbias.evaluation.metrics import mae, rmse, rmse_by_count
from dotbias.evaluation.ranking import Ranking, align, rank, rank_popular, seen
from dotbias.models.baseline import Baseline
from dotbias.plain import from_plain, to_plain
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.least_squares.closed_form import ClosedForm

OnSeen = Literal["drop", "keep"]


@dataclass(frozen=True)
class _Group:
    """A row of ``by_activity`` and ``by_popularity``."""

    group: str
    n_rows: int
    rmse: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a recommender is on held-out ratings; errors are in rating units.

    Args:
        n_rows: held-out ratings that the figures are about.
        seen_rows: held-out ratings whose user-item pair was used in fitting.
        on_seen: whether those are left out (``"drop"``) or part of every figure (``"keep"``).
        rmse: root of the mean squared error.
        mae: mean absolute error.
        baseline_rmse: the same rows predicted by ``Baseline`` fitted to the same training ratings.
        mean_rmse: the same rows predicted by the mean of the training ratings.
        coverage: share of the rows whose user and item were both known.
        cold_users: distinct users that training never saw.
        cold_items: distinct items that training never saw.
        cold_rows: rows with a cold user or item.
        by_activity: ``group``, ``n_rows``, ``rmse`` by the user's number of training ratings.
        by_popularity: the same by the item's.
        ranking: quality of the recommendations, or None where there was nothing to measure.
        popularity: quality of recommending the most rated items instead.
    """

    n_rows: int
    seen_rows: int
    on_seen: OnSeen
    rmse: float
    mae: float
    baseline_rmse: float
    mean_rmse: float
    coverage: float
    cold_users: int
    cold_items: int
    cold_rows: int
    by_activity: pl.DataFrame = field(metadata={"rows": _Group})
    by_popularity: pl.DataFrame = field(metadata={"rows": _Group})
    ranking: Ranking | None
    popularity: Ranking | None

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

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        seen = f"{self.seen_rows:,} that were used in fitting"
        note = f"without {seen}" if self.on_seen == "drop" else f"including {seen}"
        yield f"{self.n_rows:,} held-out ratings" + (f", {note}" if self.seen_rows else "")
        yield (
            f"RMSE {self.rmse:.4f} (biases alone {self.baseline_rmse:.4f}, "
            f"the mean alone {self.mean_rmse:.4f}), MAE {self.mae:.4f}"
        )
        yield (
            f"user and item known in {self.coverage:.2%} of the rows; never seen in training: "
            f"{self.cold_users:,} users and {self.cold_items:,} items, in {self.cold_rows:,} rows"
        )
        for title, frame in (
            ("training ratings of the user", self.by_activity),
            ("training ratings of the item", self.by_popularity),
        ):
            yield ""
            rows = [(group, f"{n:,}", f"{error:.4f}") for group, n, error in frame.iter_rows()]
            yield text_table([title, "rows", "RMSE"], rows)
        if self.ranking is not None and self.popularity is not None:
            yield ""
            yield (
                f"the first {self.ranking.k} recommendations to {self.ranking.n_users:,} users, "
                f"relevant from {self.ranking.relevant_from:g}"
            )
            named = (("this model", self.ranking), ("most rated items", self.popularity))
            yield text_table(
                ["", *self.ranking.metrics()],
                [(name, *(f"{x:.4f}" for x in r.metrics().values())) for name, r in named],
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOut(Evaluation):
    """What ``dotbias fit`` has measured before it fitted the model again, as the model file keeps it.

    Args:
        test_size: share of the ratings that was held out.
        split_seed: which share.
        refit_on_all: whether the model in the file was fitted to all ratings.
    """

    test_size: float
    split_seed: int
    refit_on_all: bool

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
    test: Ratings,
    *,
    k: int = 10,
    relevant_from: float | None = None,
    ranking: bool = True,
    on_seen: OnSeen = "drop",
) -> Evaluation:
    """How good a recommender is on ratings that were held out of its training.

    Args:
        rec: the recommender.
        test: the held-out ratings.
        k: length of the lists of recommendations.
        relevant_from: the lowest rating that makes an item relevant; by default three quarters up
            the training scale, which is 4 on a scale from 1 to 5.
        ranking: whether to measure recommendations too, for at most 10,000 users.
        on_seen: what to do with rows whose user-item pair was used in fitting.

    Raises:
        DataError: when every row was used in fitting.
        SettingError: for ``k`` below 1, or an unknown ``on_seen``.

    >>> import dotbias as db
    >>> ratings, truth = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    >>> train, test = ratings.split(seed=42)
    >>> result = evaluate(db.fit(train, db.Baseline()), test)
    >>> result.n_rows, result.rmse == result.baseline_rmse < result.mean_rmse
    (1000, True)
    """
    if on_seen not in get_args(OnSeen):
        raise SettingError(f"evaluate(on_seen={on_seen!r}): on_seen must be 'drop' or 'keep'")
    used = seen(rec, *align(rec, test))
    if on_seen == "drop" and used.any():
        if used.all():
            raise DataError(
                f"every one of the {len(test):,} rows was used in fitting, so nothing can be "
                "measured on them: hold rows out before fitting, with ratings.split, or on the "
                "command line with dotbias fit --no-refit"
            )
        test = test.take(~used)
    train = rec.training_ratings()
    users, items = align(rec, test)
    prediction = rec.model.predict(rec.parameters, users, items)
    baseline, _ = ClosedForm().fit(Baseline(), train)
    never = cold(train, test)
    activity = np.where(users >= 0, train.user_counts[users], 0)
    popularity = np.where(items >= 0, train.item_counts[items], 0)
    return Evaluation(
        n_rows=len(test),
        seen_rows=int(np.count_nonzero(used)),
        on_seen=on_seen,
        rmse=rmse(prediction, test.values),
        mae=mae(prediction, test.values),
        baseline_rmse=rmse(Baseline().predict(baseline, users, items), test.values),
        mean_rmse=rmse(np.full(len(test), train.global_mean), test.values),
        coverage=1 - never.rows / len(test),
        cold_users=never.users,
        cold_items=never.items,
        cold_rows=never.rows,
        by_activity=rmse_by_count(prediction, test.values, activity),
        by_popularity=rmse_by_count(prediction, test.values, popularity),
        ranking=rank(rec, test, k, relevant_from) if ranking else None,
        popularity=rank_popular(rec, test, k, relevant_from) if ranking else None,
    )


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
