"""Golden model files: ``python tests/golden/make.py`` writes those of the installed version of dotbias.

They go into the folder of that version, with what it answered beside them (``expected.json``). The
ratings are simulated. A folder is made once, by the version whose name it bears, and never again: later
versions must read it.
"""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from torch import nn

import dotbias as db

FOLDER = Path(__file__).parent / db.__version__
N_USERS, N_ITEMS = 40, 25


class Biases(nn.Module):
    """A network of one's own; the tests load its file with the same class."""

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.user_bias, self.item_bias = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)

    def forward(self, user: Any, item: Any) -> Any:
        return 3 + self.user_bias(user)[:, 0] + self.item_bias(item)[:, 0]


def rows(ratings: db.Ratings) -> list[tuple[Any, Any, float]]:
    """Raw ids and values."""
    users, items = ratings.user_vocabulary, ratings.item_vocabulary
    triples = zip(ratings.user_indices, ratings.item_indices, ratings.values.tolist(), strict=True)
    return [(users.raw(u), items.raw(i), value) for u, i, value in triples]


def text(name: str, ratings: db.Ratings) -> db.Ratings:
    """The same ratings with text for ids, and titles and genres for most of the items."""
    named = [(f"u{u:02}", f"{name}{i:02}", value) for u, i, value in rows(ratings)]
    made = db.Ratings.from_columns(*map(list, zip(*named, strict=True)))
    ids = made.item_vocabulary.ids.to_list()
    titles = pl.DataFrame(
        {
            "id": ids,
            "title": [None if n % 7 == 3 else f"Film n° {n} ({1950 + n})" for n in range(len(ids))],
            "genres": [
                None if n % 5 == 1 else "Drama|War"[: 5 + n % 2 * 4] for n in range(len(ids))
            ],
        },
        schema_overrides={"title": pl.String, "genres": pl.String},
    )
    return replace(made, item_vocabulary=made.item_vocabulary.with_titles(titles))


def solvers() -> dict[str, tuple[Any, Any]]:
    """A file's name, and the model and solver that make it."""
    linear = db.DotBias(n_factors=3)
    watched = db.GradientDescent(
        db.SGD(lr={"user_bias": 0.05}), n_epochs=6, validation_size=0.1, patience=2
    )
    lively = db.GradientDescent(
        db.Adam(lr=slice(0.01, 0.04)),
        n_epochs=6,
        batch_size=32,
        schedule=db.WarmUp(length=1, then=db.WarmRestarts(first_cycle=2, cycle_mult=1)),
        weight_decay=db.WeightDecay({"user_factors": 0.5}, per="row", decoupled=True),
        frozen=("item_bias",),
        average=2,
        clip=5.0,
    )
    layers = db.EmbeddingNet(n_factors=(3, 2), hidden=(4, 3), dropout=0.5, batch_norm=True)
    trained = db.GradientDescent(db.Adam(lr=0.01), n_epochs=3, batch_size=64)
    chain = db.Gibbs(n_samples=16, burn_in=6)
    return {
        "baseline": (db.Baseline(), db.ClosedForm()),
        "sgd": (linear, watched),
        "sigmoid": (db.DotBias(n_factors=3, output="sigmoid", margin=0.25), lively),
        "als": (linear, db.ALS(n_iterations=4, weight_decay={"user_bias": 0.2}, weighting="rows")),
        "gibbs": (linear, chain),
        "samples": (linear, replace(chain, keep_samples=3)),
        "net": (layers, trained),
        "network": (db.Network(Biases), trained),
        "preference": (db.DotProduct(n_factors=3), db.ImplicitALS(n_iterations=3)),
        "counts": (
            db.DotProduct(n_factors=3),
            db.ImplicitALS(n_iterations=3, weighting="bm25", balance=0.2),
        ),
        "svd": (
            db.DotProduct(n_factors=3, n_svd_factors=4),
            db.ImplicitALS(n_iterations=3, weight_decay=0.1),
        ),
        "pair": (linear, db.ALS(n_iterations=4)),
    }


def as_counts(ratings: db.Ratings) -> db.Ratings:
    """The same pairs, counted."""
    users, items, values = map(list, zip(*rows(ratings), strict=True))
    return db.Ratings.from_columns(users, items, [round(2 * v) for v in values], kind="counts")


def answers(rec: db.Recommender, test: db.Ratings) -> dict[str, Any]:
    """What a model says, as plain data."""
    users, items, _ = map(list, zip(*rows(test), strict=True))
    user, item = rec.user_vocabulary.raw(4), rec.item_vocabulary.raw(5)
    nobody, somebody = ("nobody", "new") if isinstance(user, str) else (-5, 900)
    said: dict[str, Any] = {
        "predictions": rec.predict([*users, nobody], [*items, item]).tolist(),
        "recommended": rec.recommend(user, 5)["item"].to_list(),
        "rmse": db.evaluate(rec, test).rmse,
        "ndcg": getattr(db.evaluate(rec, test).ranking, "ndcg", None),
    }
    if "user_samples" in rec.parameters:
        said["std"] = rec.predict(users, items, with_std=True)[1].tolist()
    prefers = getattr(rec.model, "scores", "rating") == "preference"
    if "user_bias" not in rec.parameters and not prefers:
        return said
    liked = dict(zip(rec.item_vocabulary.ids[:3].to_list(), (5.0, 1.5, 4.0), strict=True))
    kind = getattr(rec.facts, "kind", "ratings")
    new = db.Ratings.from_columns([user, somebody], [item, item], [1.0, 4.5], kind=kind)
    grown = rec.partial_fit(new)
    return said | {
        "explained": rec.explain(user, item).frame()["contribution"].to_list(),
        "folded": rec.fold_in_user(liked).predict(rec.item_vocabulary.ids).tolist(),
        "grown": grown.predict([user, somebody], item).tolist(),
    }


def main() -> None:
    """Write all files, and what their models say."""
    FOLDER.mkdir()
    ratings, _ = db.simulate(N_USERS, N_ITEMS, 500, n_factors=2, scale=(0.5, 5.0), seed=7)
    train, test = ratings.split(0.2, seed=3)
    named_train, named_test = text("film", train), text("film", test)
    expected: dict[str, Any] = {}
    for name, (model, solver) in solvers().items():
        titled = name in ("als", "samples")
        own, held = (named_train, named_test) if titled else (train, test)
        if name == "counts":
            own, held = as_counts(train), as_counts(test)
        second = db.ImplicitALS(n_iterations=3, weight_decay=0.1) if name == "pair" else None
        rec = db.fit(own, model, solver, seed=5, preference=second)
        if name == "als":
            more = db.Ratings.from_columns(["u01", "u99"], ["film03", "film03"], [4.0, 2.5])
            rec = rec.partial_fit(more)
        rec.save(FOLDER / f"{name}.dotbias")
        expected[name] = answers(rec, held)
    for name, held in (("integers", test), ("text", named_test)):
        expected[name] = rows(held)

    table = FOLDER / "ratings.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("user", "item", "rating"), *rows(train)])
    command = [sys.executable, "-m", "dotbias", "--quiet", "fit", str(table)]
    command += ["-o", str(FOLDER / "command-line.dotbias"), "--factors", "3", "--budget", "0.05"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    table.unlink()
    rec = db.Recommender.load(FOLDER / "command-line.dotbias")
    expected["command-line"] = answers(rec, test) | {"info": rec.info()}

    for name in ("sigmoid", "net"):
        model, solver = solvers()[name]
        run = solver.start(model, train, seed=5).run(2)
        run.checkpoint().save(FOLDER / f"{name}.checkpoint")
        run.run()
        parameters = run.result()
        pairs = train.user_indices[:50], train.item_indices[:50]
        expected[f"{name}.checkpoint"] = model.predict(parameters, *pairs).tolist()
    expected["train"] = rows(train)
    (FOLDER / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
