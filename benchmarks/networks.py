"""EmbeddingNet: held-out error, batch normalisation, choice of the default, and fast.ai beside it.

    python benchmarks/networks.py accuracy                  # or --set ml-100k, ml-1m, movietweetings
    python benchmarks/networks.py choose
    python benchmarks/networks.py fastai --python /path/of/an/environment/with/fastai/bin/python

``accuracy`` measures on the held-out rows of a set, of which no choice was made; ``choose``
shows on validation parts of the training rows how the default compares with its neighbours, and what
batch normalisation does. ``fastai`` runs fast.ai's ``collab_learner(use_nn=True)`` in its own
environment and dotbias in turn, on the same split, with the same batch size, epochs, embeddings and
hidden layer.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols
from dotbias.fitting.fit import default_solver
from dotbias.solvers.base import Solver

app = typer.Typer(add_completion=False)

BEST = (
    db.EmbeddingNet(
        n_factors=20, hidden=(200,), embedding_dropout=0.2, dropout=0.5, output="linear"
    ),
    db.GradientDescent(
        db.Momentum(lr={"embeddings": 0.7, "hidden": 0.07, "output": 0.07, "biases": 0.07}),
        n_epochs=10,
        batch_size=512,
        weight_decay=0.0,
    ),
)
"""The best network that was found for ml-latest-small, on validation parts of its training rows."""
LESSONS = (
    db.EmbeddingNet(hidden=(10,), dropout=0.5),
    db.GradientDescent(
        db.Momentum(lr={"embeddings": 0.3, "hidden": 0.02, "output": 0.02, "biases": 0.02}),
        n_epochs=16,
        batch_size=512,
    ),
)
"""The network of fast.ai's lesson, and what suits it on ml-latest-small."""

FASTAI = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd, torch
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.callback.core import Callback
folder, batch, epochs, lr, factors, hidden = sys.argv[1:]
train, test = (pd.read_csv(f"{folder}/{part}.csv") for part in ("train", "test"))
dls = CollabDataLoaders.from_df(train, valid_pct=0.0, seed=0, bs=int(batch), user_name="user",
                                item_name="item", rating_name="rating")
low, high = train.rating.min() - 0.5, train.rating.max() + 0.5
factors = int(factors)
learner = collab_learner(dls, use_nn=True, y_range=(low, high), layers=[int(hidden)],
                         emb_szs={"user": factors, "item": factors})
sizes = [tuple(e.weight.shape) for e in learner.model.embeds]
seconds = []
class Clock(Callback):
    def before_epoch(self): self.tic = time.perf_counter()
    def after_epoch(self): seconds.append(time.perf_counter() - self.tic)
with learner.no_bar(), learner.no_logging():
    learner.fit_one_cycle(int(epochs), float(lr), wd=0.1, cbs=Clock())
classes = dls.classes
ids = torch.tensor([[classes["user"].o2i.get(u, 0), classes["item"].o2i.get(i, 0)]
                    for u, i in zip(test.user, test.item)])
with torch.no_grad():
    p = learner.model.eval()(ids, torch.empty(len(ids), 0)).squeeze(1).numpy()
p = p.clip(train.rating.min(), train.rating.max())
rmse = float((((p - test.rating.to_numpy()) ** 2).mean()) ** 0.5)
print(json.dumps({"rmse": rmse, "seconds": seconds, "sizes": sizes}))
"""


def measured(name: str, model: db.EmbeddingNet, solver: Solver) -> tuple[list[float], list[float]]:
    """Test RMSE and seconds of the fit on every split, seed 0 of the fits."""
    rmse, seconds = [], []
    for _, train, test in protocols.splits(name):
        rec = db.fit(train, model, solver, seed=0)
        rmse.append(db.evaluate(rec, test, ranking=False).rmse)
        seconds.append(rec.facts["history"]["seconds"])
    return rmse, seconds


@app.command()
def accuracy(name: Annotated[str, typer.Option("--set")] = "ml-latest-small") -> None:
    """Test RMSE of the default, of the lesson's network and of the best that was found."""
    table = Table("network", "RMSE", "spread", "worst", "fit s")
    default = db.EmbeddingNet()
    for label, (model, solver) in {
        "default": (default, default_solver(default)),
        "default, batch norm": (replace(default, batch_norm=True), default_solver(default)),
        "lesson's": LESSONS,
        "best": BEST,
        "best, batch norm": (replace(BEST[0], batch_norm=not BEST[0].batch_norm), BEST[1]),
    }.items():
        rmse, seconds = measured(name, model, solver)
        shown = [f"{f(rmse):.4f}" for f in (np.mean, lambda x: np.std(x, ddof=1), np.max)]
        table.add_row(label, *shown, f"{np.median(seconds):.1f}")
    Console().print(table)


@app.command()
def choose(seeds: int = 3) -> None:
    """Validation RMSE of the default's neighbours, on training rows alone."""
    table = Table("change", "RMSE on validation rows", "spread")
    model = db.EmbeddingNet()
    solver = default_solver(model)
    assert isinstance(solver, db.GradientDescent)
    decay = dict(solver.decay.of_network())
    changes = {
        "default": (model, solver),
        "batch norm": (replace(model, batch_norm=True), solver),
        "half the rate": (
            model,
            replace(solver, rule=solver.rule.with_rate(solver.rule.top_rate / 2)),
        ),
        "twice the rate": (
            model,
            replace(solver, rule=solver.rule.with_rate(solver.rule.top_rate * 2)),
        ),
        "half the epochs": (model, replace(solver, n_epochs=max(1, solver.n_epochs // 2))),
        "twice the epochs": (model, replace(solver, n_epochs=2 * solver.n_epochs)),
        "half the batch": (model, replace(solver, batch_size=(solver.batch_size or 2) // 2)),
        "twice the batch": (model, replace(solver, batch_size=(solver.batch_size or 1) * 2)),
    }
    for group in ("embeddings", "hidden"):
        for word, factor in (("half", 0.5), ("twice", 2.0)):
            amount = decay | {group: decay[group] * factor}
            changes[f"{word} the decay of {group}"] = (model, replace(solver, weight_decay=amount))
    for name, (changed, with_solver) in changes.items():
        rmse = []
        for n, (_, train, _) in enumerate(protocols.splits("ml-latest-small")):
            if n < seeds:
                part, held = train.split(0.1, seed=1000 + n)
                rec = db.fit(part, changed, with_solver, seed=n)
                rmse.append(db.evaluate(rec, held, ranking=False).rmse)
        table.add_row(name, f"{np.mean(rmse):.4f}", f"{np.std(rmse, ddof=1):.4f}")
    Console().print(table)


@app.command()
def fastai(
    python: Annotated[Path, typer.Option(help="Python of an environment with fast.ai.")],
    batch: Annotated[list[int], typer.Option(help="Batch sizes.")] = [64, 1024],  # noqa: B006
    epochs: int = 5,
    repeats: Annotated[int, typer.Option(help="Runs of each, in turn.")] = 2,
    lr: Annotated[float, typer.Option(help="Rate of both; fast.ai's lesson has 0.005.")] = 5e-3,
    factors: int = 50,
    hidden: int = 10,
) -> None:
    """Seconds of the fastest (and the median) epoch, and test RMSE, in turn on seed 42."""
    _, train, test = next(protocols.splits("ml-latest-small"))
    table = Table(
        "batch", "fast.ai s/epoch", "dotbias s/epoch", "ratio", "fast.ai RMSE", "dotbias RMSE"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("train", train), ("test", test)):
            part.to_frame().select("user", "item", "rating").write_csv(f"{folder}/{name}.csv")
        for size in batch:
            arguments = [folder, str(size), str(epochs), str(lr), str(factors), str(hidden)]
            # fast.ai's network has no dropout.
            model = db.EmbeddingNet(
                n_factors=factors, hidden=(hidden,), embedding_dropout=0.0, dropout=0.0
            )
            solver = db.GradientDescent(
                db.Adam(lr=lr), n_epochs=epochs, batch_size=size, schedule="one-cycle"
            )
            seconds: list[list[float]] = [[], []]
            for _ in range(repeats):
                done = subprocess.run(
                    [str(python), "-c", FASTAI, *arguments], capture_output=True, text=True
                )
                if done.returncode:
                    sys.exit(done.stderr)
                theirs = json.loads(done.stdout.splitlines()[-1])
                rec = db.fit(train, model, solver, seed=0)
                ours = [e["seconds"] for e in rec.facts["history"]["epochs"]]
                # The first epoch of either includes what is done once.
                for all_seconds, new in zip(seconds, (theirs["seconds"], ours), strict=True):
                    all_seconds += new[1:]
            best, middle = ([float(f(s)) for s in seconds] for f in (np.min, np.median))
            table.add_row(
                str(size),
                f"{best[0]:.2f} ({middle[0]:.2f})",
                f"{best[1]:.3f} ({middle[1]:.3f})",
                f"{best[0] / best[1]:.1f}x ({middle[0] / middle[1]:.1f}x)",
                f"{theirs['rmse']:.4f}",
                f"{db.evaluate(rec, test, ranking=False).rmse:.4f}",
            )
    Console().print(table)
    Console().print(f"Embeddings of fast.ai: {theirs['sizes']}")


if __name__ == "__main__":
    app()
