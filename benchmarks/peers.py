"""Error and fit time beside other Python libraries, on the same splits in the same run.

    pip install cornac scikit-surprise
    python benchmarks/peers.py --only ml-latest-small --repeats 5

Each peer's settings are chosen from a grid on a tenth of the training rows (seed 7), for every split
anew; then it is fitted on the whole training part, and that fit is timed. dotbias runs with its default
settings. All run on one thread. Peers that are not installed are left out.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator
from itertools import islice, product
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols
from dotbias.evaluation.rows import align
from dotbias.recommender.recommender import Recommender

Predictions = NDArray[np.floating[Any]]
Settings = dict[str, Any]


def indices(train: db.Ratings, test: db.Ratings) -> tuple[NDArray[Any], NDArray[Any]]:
    """The held-out rows as indices of the training part, -1 for what it does not have."""
    model = db.Baseline()
    blank = model.initialise(train, np.random.default_rng(0))
    return align(Recommender.of(model, blank, train), test)


def dotbias(train: db.Ratings, test: db.Ratings, settings: Settings) -> tuple[Predictions, float]:  # noqa: ARG001
    rec = db.fit(train, solver=db.GradientDescent(n_threads=1))
    users, items = align(rec, test)
    seconds = rec.facts["history"]["seconds"]
    return rec.model.predict(rec.parameters, users, items), seconds


def cornac(train: db.Ratings, test: db.Ratings, settings: Settings) -> tuple[Predictions, float]:
    from cornac.data import Dataset
    from cornac.models import MF

    rows = list(
        zip(
            train.user_indices.tolist(),
            train.item_indices.tolist(),
            train.values.tolist(),
            strict=True,
        )
    )
    data = Dataset.from_uir(rows)
    model = MF(**settings, use_bias=True, num_threads=1, seed=0, verbose=False)
    started = time.perf_counter()
    model.fit(data)
    seconds = time.perf_counter() - started
    u, i = indices(train, test)
    to_u = np.array([data.uid_map[n] for n in range(train.n_users)])
    to_i = np.array([data.iid_map[n] for n in range(train.n_items)])
    p, q = model.u_factors[to_u[u]], model.i_factors[to_i[i]]
    dot = np.where((u >= 0) & (i >= 0), (p * q).sum(axis=1), 0)
    b_u = np.where(u >= 0, model.u_biases[to_u[u]], 0)
    b_i = np.where(i >= 0, model.i_biases[to_i[i]], 0)
    return np.clip(model.global_mean + b_u + b_i + dot, *train.scale), seconds


def surprise(train: db.Ratings, test: db.Ratings, settings: Settings) -> tuple[Predictions, float]:
    import surprise as s

    reader = s.Reader(rating_scale=train.scale)
    frame = train.to_frame().select("user", "item", "rating").to_pandas()
    data = s.Dataset.load_from_df(frame, reader).build_full_trainset()
    model = s.SVD(**settings, random_state=0)
    started = time.perf_counter()
    model.fit(data)
    seconds = time.perf_counter() - started
    pairs = test.to_frame().select("user", "item").iter_rows()
    return np.array([model.predict(u, i).est for u, i in pairs]), seconds


def grid(**choices: list[Any]) -> Iterator[Settings]:
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


PEERS: dict[str, tuple[Callable[..., tuple[Predictions, float]], list[Settings]]] = {
    "dotbias": (dotbias, [{}]),
    "cornac": (
        cornac,
        list(
            grid(
                k=[16, 64, 128],
                max_iter=[50, 100],
                learning_rate=[0.005, 0.01, 0.02],
                lambda_reg=[0.02, 0.05, 0.1],
            )
        ),
    ),
    "surprise": (
        surprise,
        list(
            grid(n_factors=[50, 100], n_epochs=[40, 80], lr_all=[0.005, 0.01], reg_all=[0.05, 0.1])
        ),
    ),
}


def rmse(prediction: Predictions, test: db.Ratings) -> float:
    return float(np.sqrt(np.mean((prediction - test.values.astype(np.float64)) ** 2)))


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of the sets.")] = None,
    repeats: Annotated[int, typer.Option(help="How many of each protocol's splits.")] = 5,
) -> None:
    console = Console()
    for name in only or ["ml-latest-small", "ml-100k"]:
        parts = list(islice(protocols.splits(name), repeats))
        table = Table("library", "RMSE", "spread", "fit s", "times ours", title=name)
        ours = 0.0
        for peer, (run, choices) in PEERS.items():
            if importlib.util.find_spec(peer) is None:
                console.print(f"{peer} is not installed: left out", style="dim")
                continue
            run(*parts[0][1:], choices[0])  # compiles
            errors, seconds = [], []
            for label, train, test in parts:
                best = choices[0]
                if len(choices) > 1:
                    fitted, held = train.split(0.1, seed=7)
                    scores = [rmse(run(fitted, held, c)[0], held) for c in choices]
                    best = choices[int(np.nanargmin(scores))]
                prediction, took = run(train, test, best)
                errors.append(rmse(prediction, test))
                seconds.append(took)
                console.print(f"{name} {label} {peer} {best}: {errors[-1]:.4f}", style="dim")
            median = float(np.median(seconds))
            ours = ours or median
            spread = np.std(errors, ddof=1) if len(errors) > 1 else np.nan
            table.add_row(
                peer,
                f"{np.mean(errors):.4f}",
                f"{spread:.4f}",
                f"{median:.2f}",
                f"{median / ours:.1f}",
            )
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
