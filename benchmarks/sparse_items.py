"""The error on rarely rated items, for update rules with one rate for all and with one for each.

    python benchmarks/sparse_items.py                  # rates from the finder, seeds 42-46
    python benchmarks/sparse_items.py --default-rates  # each rule's own default rate instead

ml-latest-small, random 80/20, 64 factors, one rating at a time, 40 epochs, linear schedule. Test ratings
of items with 1 to 4 training ratings, of items with none, and all others. The finder sees the training
part alone. ``wins`` counts the repeats with a smaller error than the first rule's.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import dotbias as db
from dotbias.solvers.descent.rules import RULES
from protocols import splits

DEFAULT = ("sgd", "adagrad", "adam", "adamax")
RARE = 5
GROUPS = ("all", "1 to 4", "5 or more", "none")


def main(
    rule: Annotated[list[str] | None, typer.Option()] = None,
    default_rates: bool = False,
) -> None:
    console = Console(width=110)
    console.print(f"test ratings (mean of the repeats): {sizes()}")
    table = Table("rule", *GROUPS, "wins: all", "wins: 1 to 4")
    first = None
    for key in rule or DEFAULT:
        rmses = np.array(list(errors(RULES[key](), default_rates)))  # (n_repeats, n_groups)
        first = rmses if first is None else first
        cells = [
            f"{m:.4f} ± {s:.4f}" for m, s in zip(rmses.mean(0), rmses.std(0, ddof=1), strict=True)
        ]
        wins = (rmses < first).sum(0)[:2]
        table.add_row(key, *cells, *map(str, wins))
        console.print(key, *cells, *wins)
    console.print(table)


def errors(rule: db.Rule, default_rates: bool) -> Iterator[list[float]]:
    """RMSE of each group of test ratings, for each repeat."""
    model = db.DotBias(n_factors=64)
    for _, train, test in splits("ml-latest-small"):
        solver = db.GradientDescent(rule)
        if not default_rates:
            solver = db.lr_find(model, solver, train, n_trials=8).tuned()
        rec = db.fit(train, model, solver)
        frame = test.to_frame()
        error = rec.predict_table(frame)["prediction"].to_numpy() - test.values
        yield [float(np.sqrt(np.mean(error[rows] ** 2))) for rows in groups(train, test)]


def groups(train: db.Ratings, test: db.Ratings) -> list[NDArray[np.bool_]]:
    """Which test ratings belong to each of ``GROUPS``, by the training ratings of their items."""
    known = np.append(train.item_counts, 0)  # index -1: never seen
    counts = known[train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]]
    rare = (counts > 0) & (counts < RARE)
    return [counts >= 0, rare, counts >= RARE, counts == 0]


def sizes() -> dict[str, int]:
    n = [
        [rows.sum() for rows in groups(train, test)] for _, train, test in splits("ml-latest-small")
    ]
    return dict(zip(GROUPS, np.mean(n, axis=0).round().astype(int).tolist(), strict=True))


if __name__ == "__main__":
    typer.run(main)
