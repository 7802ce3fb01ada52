"""Every update rule with the rate that the learning-rate finder suggests, and beside a grid of rates.

    python benchmarks/finder.py                       # ml-latest-small, all rules, seeds 42-46
    python benchmarks/finder.py --rule adam --factors 256 --batch 64
    python benchmarks/finder.py --grid                # first repeat only: against ten rates

The finder, with eight complete runs, sees the training part alone. Without --grid: test RMSE of a fit
with its rate, over the repeats. With --grid: a tenth of the training part is held out (seed 7), the
finder runs on the rest, and
the final RMSE at its rate is compared with those of ten rates, 2.15 apart, around the tenth of the
sweep's minimum; no test part is used.
"""

from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
from dotbias.solvers.descent.rules import RULES
from protocols import splits


def main(
    name: Annotated[str, typer.Option("--set")] = "ml-latest-small",
    rule: Annotated[list[str] | None, typer.Option()] = None,
    factors: int = 64,
    batch: int = 1,
    grid: bool = False,
) -> None:
    console = Console()
    model = db.DotBias(n_factors=factors)
    if grid:
        header = ["finder's lr", "RMSE", "best lr of ten", "RMSE", "worse by"]
    else:
        header = ["finder's lr", "test RMSE", "spread", "worst"]
    table = Table("rule", *header, title=f"{name}, {factors} factors, batch size {batch}")
    for key in rule or RULES:
        solver = db.GradientDescent(RULES[key](), batch_size=batch)
        row = against_grid(name, model, solver) if grid else on_test(name, model, solver)
        table.add_row(key, *row)
        console.print(key, *row)
    console.print(table)


def on_test(name: str, model: db.DotBias, solver: db.GradientDescent) -> list[str]:
    rates, rmses = [], []
    for _, train, test in splits(name):
        tuned = db.lr_find(model, solver, train, n_trials=8).tuned()
        rates.append(tuned.rule.top_rate)
        rmses.append(db.evaluate(db.fit(train, model, tuned), test).rmse)
    shown = " ".join(f"{lr:.2g}" for lr in rates)
    return [shown, f"{np.mean(rmses):.4f}", f"{np.std(rmses, ddof=1):.4f}", f"{max(rmses):.4f}"]


def against_grid(name: str, model: db.DotBias, solver: db.GradientDescent) -> list[str]:
    _, train, _ = next(iter(splits(name)))
    fitted, held = train.split(0.1, seed=7)

    def rmse(lr: float) -> float:
        at = db.GradientDescent(solver.rule.with_rate(lr), batch_size=solver.batch_size)
        try:
            return db.evaluate(db.fit(fitted, model, at), held).rmse
        except db.DivergenceError:
            return np.inf

    curve = db.lr_find(model, solver, fitted, n_trials=8)
    found = curve.suggestion
    middle = curve.suggestions["tenth"].lr
    rates = middle * np.geomspace(1 / 100, 10, 10)
    rmses = [rmse(lr) for lr in rates]
    best = int(np.argmin(rmses))
    mine = rmse(found)
    return [
        f"{found:.3g}",
        f"{mine:.4f}",
        f"{rates[best]:.3g}",
        f"{rmses[best]:.4f}",
        f"{100 * (mine / rmses[best] - 1):.2f} %",
    ]


if __name__ == "__main__":
    typer.run(main)
