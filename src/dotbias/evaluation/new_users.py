"""How good a recommender is for users whom training never saw: folded in from a part of their rows, and
measured on the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dotbias.data.split import held_out
from dotbias.errors import SettingError
from dotbias.evaluation.metrics import StarErrors, star_errors
from dotbias.evaluation.ranking import MAX_USERS, Audience, Order, Ranking, models, rank, sample
from dotbias.evaluation.rows import Rows
from dotbias.models.base import Scores, has_formula_of
from dotbias.models.baseline import Baseline
from dotbias.models.parameters import Parameters
from dotbias.recommender.recommender import Recommender
from dotbias.solvers.least_squares.fold_in import fold_in

FOLD_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class NewUsers(StarErrors):
    """How good a recommender is for users whom training never saw.

    Args:
        n_users: users who were folded in and measured.
        fold_share: share of each one's rows that they were folded in from.
        n_given: those rows.
        n_rows: the others, which the figures are about.
        rankings: quality of the recommendations, as of ``Evaluation``.
    """

    n_users: int
    fold_share: float
    n_given: int
    n_rows: int
    rankings: tuple[Ranking, ...] = ()


def check_fold_share(fold_share: float) -> None:
    """Refuse a share that is none.

    Raises:
        SettingError: for a share that is not between 0 and 1.
    """
    if not 0 < fold_share < 1:
        raise SettingError(
            f"fold_share={fold_share!r}: fold_share must be a share above 0 and below 1"
        )


def measure_new_users(
    rec: Recommender,
    rows: Rows,
    baseline: Parameters | None,
    *,
    fold_share: float = FOLD_SHARE,
    k: Sequence[int] = (),
    relevant_from: float | None = None,
    seed: int = 0,
) -> NewUsers:
    """Fold users in from a share of their rows, and measure on the others.

    Of n rows of a user ``floor(n * fold_share + 0.5)`` and at least one, drawn at random, are for
    folding in; users of whom no row is left are left out.

    Args:
        rec: the recommender; each of its models must be linear in each user's row.
        rows: all rows of users whom it does not know; of more than 10,000 users a sample is measured.
        baseline: parameters of a ``Baseline`` of the same items; None where there are no ratings.
        fold_share: between 0 and 1.
        k: lengths of the lists; none where they are not to be measured.
        relevant_from: as for ``rank``.
        seed: of the choice of rows and users, and of the intervals.

    Raises:
        SettingError: for a model that users cannot be folded into.
        ModelFileError: for a model that an older version has saved.
    """
    check_fold_share(fold_share)
    measured = held_out(rows.owners, None, 1 - fold_share, seed=seed, by="user")
    users = sample(np.unique(rows.owners[measured]), MAX_USERS, seed)
    if not len(users):
        return NewUsers(n_users=0, fold_share=fold_share, n_given=0, n_rows=0)
    chosen = np.isin(rows.owners, users)
    rows, measured = rows.take(chosen), measured[chosen]
    rows = rows._replace(owners=np.searchsorted(users, rows.owners).astype(np.int32))
    given, asked = rows.take(~measured), rows.take(measured)
    known = given.take(given.items >= 0)
    known = known.take(np.lexsort((known.items, known.owners)))
    starts = np.append(0, np.cumsum(np.bincount(known.owners, minlength=len(users))))
    orders = {
        scores: Order(one.model, _folded(Order(one.model, one.parameters), known, starts))
        for scores, one in models(rec).items()
    }
    rankings: tuple[Ranking, ...] = ()
    if k:
        audience = Audience(
            orders=orders,
            users=np.arange(len(users), dtype=np.int32),
            had=np.split(known.items, starts[1:-1]),
            rows=asked.take(asked.items >= 0),
            item_counts=rec.item_counts,
            n_owners=len(rec.user_vocabulary),
        )
        rankings = rank(audience, k, relevant_from, seed=seed)
    return NewUsers(
        n_users=len(users),
        fold_share=fold_share,
        n_given=given.n,
        n_rows=asked.n,
        rankings=rankings,
        **_errors(orders, baseline, known, starts, asked),
    )


def _folded(order: Order, known: Rows, starts: NDArray[np.int64]) -> Parameters:
    """The model's parameters with the new users alone on their side."""
    model, parameters = order
    rows = fold_in(model, parameters, "user", starts, known.items, known.values)
    return parameters | model.row_form(parameters, "user").split(rows)


def _errors(
    orders: Mapping[Scores, Order],
    baseline: Parameters | None,
    known: Rows,
    starts: NDArray[np.int64],
    asked: Rows,
) -> dict[str, Any]:
    if "rating" not in orders or baseline is None:
        return {}
    pairs = asked.owners, asked.items
    rating = orders["rating"]
    biases = _folded(Order(Baseline(), baseline), known, starts)
    return star_errors(
        asked.values,
        rating.model.predict(rating.parameters, *pairs),
        Baseline().predict(biases, *pairs),
        float(baseline["global_mean"][0]),
        biases_alone=has_formula_of(rating.model, Baseline),
    )
