"""Lazy against dense: what moving the rows that a batch does not touch brings, and what it costs.

    python benchmarks/semantics.py

The first repeat of ml-latest-small: a tenth of its training part is held out (seed 7), no test part is
used. For each rule, batch size and semantics the finder runs on the rest; RMSE is that of a complete fit
with its rate on what was held out, and the time is the median epoch's.
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
    rule: Annotated[list[str] | None, typer.Option()] = None,
    batch: Annotated[list[int] | None, typer.Option()] = None,
    factors: int = 64,
    threads: int = 1,
) -> None:
    console = Console()
    model = db.DotBias(n_factors=factors)
    _, train, _ = next(iter(splits("ml-latest-small")))
    fitted, held = train.split(0.1, seed=7)
    table = Table("rule", "batch", "semantics", "lr", "RMSE", "ns per rating")
    for key in rule or ["sgd", "momentum", "adam", "adamax"]:
        for size in batch or [64, 1024]:
            for semantics in ("lazy", "dense"):
                solver = db.GradientDescent(
                    RULES[key](), batch_size=size, semantics=semantics, n_threads=threads
                )
                tuned = db.lr_find(model, solver, fitted, n_trials=8).tuned()
                rec = db.fit(fitted, model, tuned)
                seconds = [e["seconds"] for e in rec.facts["history"]["epochs"]]
                row = [
                    key,
                    str(size),
                    semantics,
                    f"{tuned.rule.top_rate:.3g}",
                    f"{db.evaluate(rec, held).rmse:.4f}",
                    f"{1e9 * np.median(seconds) / len(fitted):.0f}",
                ]
                table.add_row(*row)
                console.print(*row)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
