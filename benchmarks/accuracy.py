"""Held-out error of the default settings on the MovieLens protocols, by ids alone and with titles.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --only ml-100k --row default --row "default, titles"

Needs the real sets in the folder that DOTBIAS_TEST_DATA names. Fit time is that of the fit alone, after
one that compiled; the error is that of the held-out rows, of which no choice was made.
"""

from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols

DEFAULT, TITLED = "default", "default, titles"


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of the sets.")] = None,
    rows: Annotated[
        list[str] | None, typer.Option("--row", help="Names of the rows, all by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the fits.")] = 0,
) -> None:
    console = Console()
    table = Table("set", "protocol", "model", "RMSE", "spread", "worst", "MAE", "fit s")
    contestants: dict[str, tuple[Any, Any, bool]] = {
        "Baseline": (db.Baseline(), db.ClosedForm(), False),
        "DotBias, gradient descent": (db.DotBias(), db.GradientDescent(), False),
        DEFAULT: (None, None, False),
        TITLED: (None, None, True),
    }
    sets = protocols.SPREAD | {"movietweetings": "random 80/20, seeds 42-44"}
    for name in only or sets:
        for label in rows or contestants:
            model, solver, titled = contestants[label]
            rmse, mae, seconds = [], [], []
            for repeat, train, test in protocols.splits(name, titled=titled):
                if not rmse:  # compiles
                    db.fit(train.take(np.arange(1000)), model, solver, purpose="predict")
                rec = db.fit(train, model, solver, purpose="predict", seed=seed, progress=False)
                report = db.evaluate(rec, test, ranking=False)
                rmse.append(report.rmse)
                mae.append(report.mae)
                seconds.append(rec.facts["history"]["seconds"])
                console.print(f"{name} {repeat} {label}: {report.rmse:.4f}", style="dim")
            table.add_row(
                name,
                sets[name],
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
