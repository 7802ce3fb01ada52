"""Fitting anew from what people have said, and whether the new model may take the place of the old one.

It runs in a process of its own, at low priority: ``python -m dotbias.serving.refit MODEL OUTPUT``, with
the database's address in the environment, prints a ``Verdict`` as one line of JSON.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dotbias.data.ratings import Ratings
from dotbias.errors import DotbiasError
from dotbias.fitting.fit import fit
from dotbias.recommender.list_options import ListOptions
from dotbias.recommender.list_quality import figures_per_user
from dotbias.recommender.recommender import Recommender
from dotbias.serving.generation import Generation, Person, person, scores, top_items
from dotbias.serving.store.said import Said
from dotbias.serving.store.store import Known, State
from dotbias.serving.training import training_ratings, unseen
from dotbias.solvers.registry import solver_from_plain

DATABASE = "DOTBIAS_DATABASE"
NICE = 19
# With fewer new ratings there is nothing to tell two models apart by.
LEAST_UNSEEN = 100
_HELD_OUT, _MOST_HELD_OUT = 0.2, 5_000
_LIST = 10
# A figure is worse where it is so by more than so many standard errors of the paired differences.
_ERRORS = 2.0


@dataclass(frozen=True)
class Verdict:
    """Whether a new model may take the place of the old one.

    Both are measured on the same held-out ratings, which neither has seen: a fifth of those that are new
    to the old one. The old one knows the other new ratings as the service does, by folding in; the new
    one was fitted to them. It is refused where its squared errors are larger, or the nDCG@10 of its
    lists lower, by more than two standard errors of the paired differences.

    Args:
        accepted: the verdict.
        reason: why, in words.
        n_held_out: on how many ratings it rests.
        rmse: of the old and of the new model; None without ratings.
        ndcg: of the old and of the new model.
        n_ratings: how many ratings the new model was fitted to in the end.
    """

    accepted: bool
    reason: str
    n_held_out: int
    rmse: tuple[float, float] | None = None
    ndcg: tuple[float, float] | None = None
    n_ratings: int = 0


def refit(model: Path, database: str, output: Path, *, seed: int = 0) -> Verdict:
    """Fit anew with the same settings, judge, and save the new model where it is accepted.

    Args:
        model: the file of the old one.
        database: the address of what people have said.
        output: where the new model is saved.
        seed: of what is held out, and of the fit.

    Raises:
        DotbiasError: where nothing can be fitted.
    """
    old = Recommender.load(model)
    before, said = old.training_ratings(), Said.read(database)
    new_rows = unseen(before, said)
    if new_rows.height < LEAST_UNSEEN:
        reason = f"there are fewer than {LEAST_UNSEEN} new ratings to judge by"
        return Verdict(False, reason, new_rows.height)
    n = min(int(_HELD_OUT * new_rows.height), _MOST_HELD_OUT)
    held_out = new_rows.sample(n, shuffle=True, seed=seed)
    candidate = _fitted(old, training_ratings(before, said, held_out), seed)
    verdict = _judged(said, old, candidate, held_out)
    if not verdict.accepted:
        return verdict
    made = _fitted(old, training_ratings(before, said), seed)
    made = replace(
        made, facts=replace(made.facts, notes={**old.facts.notes, "refit": asdict(verdict)})
    )
    made.save(output, half=old.facts.half_precision)
    return replace(verdict, n_ratings=made.rated.nnz)


def _fitted(old: Recommender, ratings: Ratings, seed: int) -> Recommender:
    """A model with the settings of another one."""
    solver = solver_from_plain(old.facts.solver)
    second = old.preference
    preference = None if second is None else solver_from_plain(second.facts.solver)
    return fit(ratings, old.model, solver, preference=preference, seed=seed, progress=False)


def _judged(said: Said, old: Recommender, new: Recommender, held_out: pl.DataFrame) -> Verdict:
    """The verdict on held-out ratings."""
    before, after = Generation(1, old, Path()), Generation(2, new, Path())
    errors: list[NDArray[np.float64]] = []
    gains: list[tuple[float, float]] = []
    for (user,), rows in held_out.group_by("user", maintain_order=True):
        items = set(rows["item"])
        known = said.known(str(user))
        shown = tuple(s for s in known.states if s.item not in items)
        # What the old model was fitted to of these very pairs must not tell it either.
        hidden = tuple(State(item, "deleted", None, 0) for item in sorted(items))
        whom = person(before, str(user), Known((*shown, *hidden), known.erased))
        same = person(after, str(user), Known(shown, known.erased))
        errors.append(_squared_errors(rows, (whom, same)))
        gains += _gains(rows, (whom, same))
    squared = np.concatenate(errors)
    complaints = []
    rmse = ndcg = None
    if len(squared):
        rmse = _pair(np.sqrt(squared.mean(axis=0)))
        if _is_worse(squared[:, 1] - squared[:, 0]):
            complaints.append(f"RMSE {rmse[1]:.4f} instead of {rmse[0]:.4f}")
    listed = np.array(gains)
    if len(listed):
        ndcg = _pair(listed.mean(axis=0))
        if _is_worse(listed[:, 0] - listed[:, 1]):
            complaints.append(f"nDCG@{_LIST} {ndcg[1]:.4f} instead of {ndcg[0]:.4f}")
    reason = f"worse on held-out ratings: {', '.join(complaints)}" if complaints else "not worse"
    return Verdict(not complaints, reason, held_out.height, rmse, ndcg)


def _squared_errors(rows: pl.DataFrame, people: tuple[Person, Person]) -> NDArray[np.float64]:
    """Squared errors by the old and the new model, of items that both know: shape (n, 2)."""
    columns = []
    places = [_places(rows, whom) for whom in people]
    both = (places[0] >= 0) & (places[1] >= 0)
    truth = rows["value"].to_numpy()[both]
    for whom, at in zip(people, places, strict=True):
        predicted = scores(whom, at[both]).get("prediction")
        if predicted is None:
            return np.empty((0, 2))
        columns.append((predicted - truth) ** 2)
    return np.stack(columns, axis=1)


def _gains(rows: pl.DataFrame, people: tuple[Person, Person]) -> list[tuple[float, float]]:
    """nDCG of the user's list by the old and the new model; nothing where an item is new."""
    figures = []
    for whom in people:
        at = _places(rows, whom)
        if (at < 0).any():
            return []
        n_items = len(whom.generation.recommender.item_vocabulary)
        relevant = csr_array((np.ones(len(at)), at, [0, len(at)]), shape=(1, n_items))
        top = top_items(whom, _LIST, ListOptions())[None, :]
        figures.append(float(figures_per_user(top, relevant, _LIST)["ndcg"][0]))
    return [(figures[0], figures[1])]


def _places(rows: pl.DataFrame, whom: Person) -> NDArray[np.int32]:
    return whom.generation.recommender.item_vocabulary.indices(rows["item"])


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _is_worse(differences: NDArray[np.float64]) -> bool:
    """Whether these are above 0 beyond their noise."""
    n = len(differences)
    if n < 2:
        return False
    error = float(differences.std(ddof=1)) / np.sqrt(n)
    return bool(differences.mean() > _ERRORS * error) and error > 0


def main() -> None:
    """What the service starts."""
    os.nice(NICE)
    model, output = sys.argv[1:]
    try:
        verdict = refit(Path(model), os.environ[DATABASE], Path(output))
    except DotbiasError as error:
        verdict = Verdict(False, str(error), 0)
    print(json.dumps(asdict(verdict)), flush=True)


if __name__ == "__main__":
    main()
