"""dotbias: the default, its solvers tuned like the others, and the points of its curve."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from method import Answer, Array, Fit, Method, Rows


def fit_of(make: Any, rows: Rows, seed: int, n_threads: int, **settings: Any) -> tuple[Fit, Answer]:
    import polars as pl

    import dotbias as db
    from dotbias.data.vocabulary import Vocabulary

    vocabularies = (Vocabulary(pl.Series(range(n))) for n in (rows.n_users, rows.n_items))
    ratings = db.Ratings(rows.users, rows.items, rows.values, *vocabularies)
    model, solver = make(n_threads, **settings)
    found: list[Any] = []

    def fit() -> None:
        found.append(db.fit(ratings, model, solver, purpose="predict", seed=seed, progress=False))

    def answer() -> Array:
        (rec,) = found
        return rec.model.predict(rec.parameters, rows.asked_users, rows.asked_items)

    return fit, answer


def default(n_threads: int) -> Any:
    return None, None


def biases(n_threads: int) -> Any:
    import dotbias as db

    return db.Baseline(), None


def sgd(
    n_threads: int, n_factors: int | None = None, decay: float | None = None, **how: Any
) -> Any:
    import dotbias as db

    if decay is not None:
        how["weight_decay"] = {"user_factors": decay, "item_factors": decay}
    if "lr" in how:
        how["rule"] = db.SGD(lr=how.pop("lr"))
    model = None if n_factors is None else db.DotBias(n_factors=n_factors)
    return model, db.GradientDescent(**how, n_threads=n_threads)


def als(
    n_threads: int, n_factors: int | None = None, decay: float | None = None, **how: Any
) -> Any:
    import dotbias as db

    if decay is not None:
        how["weight_decay"] = {"user_factors": decay, "item_factors": decay}
    model = None if n_factors is None else db.DotBias(n_factors=n_factors)
    return model, db.ALS(**how, n_threads=n_threads)


def gibbs(n_threads: int, **how: Any) -> Any:
    import dotbias as db

    return None, db.Gibbs(**how, n_threads=n_threads)


def net(
    n_threads: int, n_epochs: int | None = None, hidden: Sequence[int] | None = None, **how: Any
) -> Any:
    import torch

    import dotbias as db
    from dotbias.fitting.fit import default_solver

    torch.set_num_threads(n_threads)
    if hidden is not None:
        how["hidden"] = tuple(hidden)
    model = db.EmbeddingNet(**how)
    solver = default_solver(model)
    return model, solver if n_epochs is None else replace(solver, n_epochs=n_epochs)


EPOCHS, SAMPLES = (5, 10, 20, 40), (20, 60, 100, 200, 400)
"""Along the curve, after biases alone and few factors. What is not named is at its default."""
SHORTEST_BURN_IN = 10
"""A chain that drops fewer has not left its start."""
WAY = 0.88
"""Rate times epochs of gradient descent at its default. Fewer epochs take longer steps: those of the
default would not have arrived.
"""

METHODS = {
    "dotbias": Method(partial(fit_of, default)),
    "dotbias SGD": Method(
        partial(fit_of, sgd),
        {
            "n_factors": (16, 32, 64, 128),
            "n_epochs": (20, 40, 80),
            "decay": (0.03, 0.045, 0.06, 0.08, 0.1, 0.13),
            "lr": (0.01, 0.015, 0.02, 0.03),
        },
    ),
    "dotbias ALS": Method(
        partial(fit_of, als),
        {
            "n_factors": (16, 32, 64),
            "n_iterations": (8, 15, 30),
            "decay": (0.05, 0.065, 0.08, 0.1, 0.13, 0.17),
        },
    ),
    "dotbias Gibbs": Method(
        partial(fit_of, gibbs),
        {
            "n_factors": (7, 15, 23, 31),
            "n_samples": (100, 200, 300),
            "burn_in": (20, 40),
            "noise_freedom": (10.0, 20.0, 40.0),
        },
    ),
    "dotbias net": Method(
        partial(fit_of, net),
        {
            "n_factors": (20, 50, 80),
            "hidden": ((10,), (50,), (100,)),
            "dropout": (0.0, 0.1, 0.3),
            "n_epochs": (8, 16, 24),
        },
    ),
    "dotbias, biases alone": Method(partial(fit_of, biases), has_seed=False, point=True),
    "dotbias, 16 factors, 10 epochs": Method(
        partial(fit_of, sgd),
        defaults={"n_factors": 16, "n_epochs": 10, "lr": WAY / 10},
        point=True,
    ),
    **{
        f"dotbias, {n} epochs": Method(
            partial(fit_of, sgd), defaults={"n_epochs": n, "lr": WAY / n}, point=True
        )
        for n in EPOCHS
    },
    **{
        f"dotbias, {n} samples": Method(
            partial(fit_of, gibbs),
            defaults={"n_samples": n, "burn_in": max(n // 5, SHORTEST_BURN_IN)},
            point=True,
        )
        for n in SAMPLES
    },
}
