"""Default learning rates beside the finder's, for every rule and batch size.

    python benchmarks/rules_by_batch.py                          # ml-latest-small, seed 42
    python benchmarks/rules_by_batch.py --repeats 5 --batch 1 --rule sgd --rule adam
    python benchmarks/rules_by_batch.py --no-finder --factors 256    # default rates alone

Of each split the training part is fitted twice, with the default rate of the rule and the batch and with
the one that the finder suggests (on the training part alone), and both are measured on the test part, as
are biases alone. Of several splits: means, with the standard deviation. Counted are rules whose default
is within 2 per cent of the finder's.
"""

from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols
from dotbias.solvers.descent.rules import RULES


@dataclass(frozen=True)
class Cell:
    """A rule with one batch size on one split: test RMSEs and rates."""

    biases: float
    default: float
    default_rate: float
    tuned: float
    tuned_rate: float


def measured(
    model: db.DotBias,
    solver: db.GradientDescent,
    train: db.Ratings,
    test: db.Ratings,
    n_trials: int | None,
) -> Cell:
    def rmse(chosen: db.GradientDescent) -> float:
        try:
            rec = db.fit(train, model, chosen, progress=False)
        except db.DivergenceError:
            return np.inf
        return db.evaluate(rec, test, ranking=False).rmse

    solver = solver.settled(model, train)
    default = db.evaluate(db.fit(train, db.Baseline()), test, ranking=False).rmse
    tuned, tuned_rate = np.nan, np.nan
    if n_trials is not None:
        curve = db.lr_find(model, solver, train, n_trials=n_trials, progress=False)
        tuned, tuned_rate = rmse(curve.tuned()), curve.suggestion or np.nan
    return Cell(default, rmse(solver), solver.rule.top_rate, tuned, tuned_rate)


def main(
    name: Annotated[str, typer.Option("--set")] = "ml-latest-small",
    rule: Annotated[list[str] | None, typer.Option()] = None,
    batch: Annotated[str, typer.Option()] = "1,64,1024,full",
    factors: int = 64,
    repeats: int = 1,
    trials: int = 8,
    finder: bool = True,
) -> None:
    console = Console(width=120)
    model = db.DotBias(n_factors=factors)
    splits = list(islice(protocols.splits(name), repeats))
    header = ["default rate", "RMSE", "finder's rate", "RMSE", "ratio", ""]
    for text in batch.split(","):
        size = None if text == "full" else int(text)
        rows: list[tuple[str, list[Cell]]] = []
        for key in rule or RULES:
            solver = db.GradientDescent(RULES[key](), batch_size=size)
            cells = [
                measured(model, solver, train, test, trials if finder else None)
                for _, train, test in splits
            ]
            rows.append((key, cells))
            console.print(text, key, cells, style="dim")
        biases = np.mean([cell.biases for _, cells in rows for cell in cells])
        epochs = replace(solver, rule=db.SGD()).settled(model, splits[0][1]).n_epochs
        table = Table(
            "rule",
            *header,
            title=f"{name}, batch {text}, {epochs} epochs, {factors} factors, biases alone {biases:.4f}",
        )
        near = 0
        for key, cells in rows:
            default, tuned = ([getattr(c, n) for c in cells] for n in ("default", "tuned"))
            ratio = np.mean(default) / np.mean(tuned)
            near += ratio <= 1.02
            table.add_row(
                key,
                _rates(c.default_rate for c in cells),
                _mean(default),
                _rates(c.tuned_rate for c in cells),
                _mean(tuned),
                f"{ratio:.3f}",
                "above biases" if np.mean(default) > biases else "",
            )
        console.print(table)
        if finder:
            console.print(f"{near} of {len(rows)} within 2 % of the finder's")


def _rates(rates: object) -> str:
    return " ".join(dict.fromkeys(f"{rate:.2g}" for rate in rates))  # type: ignore[attr-defined]


def _mean(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


if __name__ == "__main__":
    typer.run(main)
