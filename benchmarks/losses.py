"""How far losses of preferences bring lists: nDCG@10 of BPR, the logistic loss, and the regression.

    python benchmarks/losses.py ml-100k ml-latest-small ml-1m --folder DATA     # as in docs/losses.md
    python benchmarks/losses.py ml-100k --search                # how settings were chosen

A fifth of each user's rows is held out; lists hold ten of all items of the training part that the user
has not rated there. Relevant are all held-out rows, or those of at least 4. With `--find` each split has
the rate that the finder suggests on its training rows; with `--search` all figures are of a split of the
training rows.
"""

import itertools
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.models.base import Model

K = 10


def split(ratings: Ratings, seed: int) -> tuple[Ratings, Ratings]:
    """Four fifths of each user's rows, and the rest."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(ratings)), ratings.user_indices))
    starts = np.cumsum(ratings.user_counts) - ratings.user_counts
    place = np.arange(len(ratings)) - starts[ratings.user_indices[order]]
    held = place < np.round(0.2 * ratings.user_counts[ratings.user_indices[order]])
    return ratings.take(np.sort(order[~held])), ratings.take(np.sort(order[held]))


def ndcg(scores: NDArray[Any], train: Ratings, test: Ratings) -> tuple[float, float]:
    """nDCG@10 with all held-out rows relevant, and with those of at least 4.

    Args:
        scores: of all items for each user of the training part, shape (n_users, n_items).
        train, test: what is left out of lists, and what they should hold.
    """
    users = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
    items = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]
    scores = scores.copy()
    scores[train.user_indices, train.item_indices] = -np.inf
    top = np.argsort(-scores, axis=1)[:, :K]
    gains = 1 / np.log2(np.arange(2, K + 2))
    out = []
    for liked in (test.values > 0, test.values >= 4):
        relevant = np.zeros(scores.shape, bool)
        known = liked & (users >= 0) & (items >= 0)
        relevant[users[known], items[known]] = True
        n = np.bincount(users[liked & (users >= 0)], minlength=train.n_users)
        best = np.concatenate([[0], np.cumsum(gains)])[np.minimum(n, K)]
        hits = np.take_along_axis(relevant, top, axis=1) @ gains
        out.append(float((hits[n > 0] / best[n > 0]).mean()))
    return out[0], out[1]


def read(name: str, folder: Path | None) -> Ratings:
    """The set of this name, from a folder if one is given."""
    path = next((p for p in folder.iterdir() if p.name.startswith(name)), None) if folder else None
    return db.read_ratings(path or name)


def fitted(train: Ratings, model: db.DotBias, solver: db.GradientDescent, trials: int) -> Any:
    """Parameters, the rate, and the seconds of finder and fit; the solver's own rate without trials."""
    started = time.perf_counter()
    if trials:
        solver = db.lr_find(model, solver, train, n_trials=trials).tuned()
    found = time.perf_counter()
    parameters, _ = solver.fit(model, train)
    return parameters, solver.rule.top_rate, found - started, time.perf_counter() - found


def scores(model: Model, parameters: Any, train: Ratings) -> NDArray[Any]:
    """Of all items for each user, shape (n_users, n_items)."""
    return model.score_all(parameters, np.arange(train.n_users, dtype=np.int32))


# Chosen by `--search` on the training rows of ml-100k, the rates too.
SETTINGS: dict[str, dict[str, Any]] = {
    "bpr": {"n_factors": 64, "n_negatives": 4, "weight_decay": 0.03, "rule": db.SGD(lr=0.037)},
    "logistic": {"n_factors": 64, "n_negatives": 4, "weight_decay": 0.02, "rule": db.SGD(lr=0.06)},
}
# What is tried in the place of one of them, with the finder's rate each time.
OTHERS: dict[str, tuple[Any, ...]] = {
    "n_factors": (32, 128),
    "n_negatives": (1, 12),
    "weight_decay": (0.0, 0.003, 0.01, 0.07),
    "rule": (db.Adam(), db.Adagrad()),
}


def made(loss: str, **changes: Any) -> tuple[db.DotBias, db.GradientDescent]:
    """Model and solver of a loss, with some settings changed."""
    settings = SETTINGS[loss] | changes
    model = db.DotBias(n_factors=settings.pop("n_factors"), output="preference")
    return model, db.GradientDescent(settings.pop("rule"), loss=loss, **settings)


def main(
    sets: list[str],
    folder: Annotated[Path | None, typer.Option(help="Where the sets lie.")] = None,
    losses: str = "bpr,logistic",
    seeds: int = 3,
    search: bool = False,
    find: Annotated[
        bool, typer.Option(help="Whether each split has the finder's own rate.")
    ] = False,
) -> None:
    changes: list[dict[str, Any]] = [{}]
    if search:
        changes += [{name: value} for name, values in OTHERS.items() for value in values]
    for name, seed in itertools.product(sets, range(seeds)):
        train, test = split(read(name, folder), seed)
        if search:
            train, test = split(train, 100 + seed)
        counts = train.item_counts.astype(float)
        popular = np.broadcast_to(counts, (train.n_users, train.n_items))
        print(f"{name} {seed} most rated", *(f"{x:.3f}" for x in ndcg(popular, train, test)))
        regression, rival = db.DotProduct(), db.ImplicitALS()
        figures = ndcg(scores(regression, rival.fit(regression, train)[0], train), train, test)
        print(f"{name} {seed} ImplicitALS", *(f"{x:.3f}" for x in figures))
        for loss, change in itertools.product(losses.split(","), changes):
            model, solver = made(loss, **change)
            parameters, lr, finder, fit = fitted(train, model, solver, trials=4 * (find or search))
            figures = ndcg(scores(model, parameters, train), train, test)
            print(
                f"{name} {seed} {loss}",
                *(f"{x:.3f}" for x in figures),
                f"lr {lr:.3g}, finder {finder:.0f} s, fit {fit:.1f} s",
                change or "",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
