"""Held-out error of the default settings on the MovieLens protocols.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --only ml-100k

Needs the real sets in the folder that DOTBIAS_TEST_DATA names. Fit time is that of the fit alone, after
one that compiled; the error is that of the held-out rows, of which no choice was made.
"""

from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of the sets.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the fits.")] = 0,
) -> None:
    console = Console()
    table = Table("set", "protocol", "model", "RMSE", "spread", "worst", "MAE", "fit s")
    contestants = {
        "Baseline": (db.Baseline(), db.ClosedForm()),
        "DotBias, default": (db.DotBias(), db.GradientDescent()),
    }
    for name in only or protocols.SPREAD:
        for label, (model, solver) in contestants.items():
            rmse, mae, seconds = [], [], []
            for repeat, train, test in protocols.splits(name):
                if not rmse:
                    db.fit(train, model, solver, seed=seed)  # compiles
                rec = db.fit(train, model, solver, seed=seed)
                report = db.evaluate(rec, test, ranking=False)
                rmse.append(report.rmse)
                mae.append(report.mae)
                seconds.append(rec.facts["history"]["seconds"])
                console.print(f"{name} {repeat} {label}: {report.rmse:.4f}", style="dim")
            table.add_row(
                name,
                protocols.SPREAD[name],
                label,
                f"{np.mean(rmse):.4f}",
                f"{np.std(rmse, ddof=1):.4f}",
                f"{np.max(rmse):.4f}",
                f"{np.mean(mae):.4f}",
                f"{np.median(seconds):.2f}",
            )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
