"""What two minutes of tuning are worth: held-out error of what was found, beside that of the default.

    python benchmarks/tuning.py
    python benchmarks/tuning.py --only many-factors --budget 60

For each seed a fifth of the ratings is held out, ``tune`` sees the others alone, and the default and
what it has found are then fitted to those and measured on the fifth. Where tuning has kept the default,
the gain is 0. Gains are paired; ± is their standard error over seeds. ``overhead`` is the share of the
time of tuning that went into anything but fits and measuring them.

Needs the real sets in the folder that DOTBIAS_TEST_DATA names. ``many-factors`` is invented: 300 users,
200 items, 30,000 ratings, 40 planted factors, where the default samples 15.
"""

from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols


def ratings_of(name: str, seed: int) -> db.Ratings:
    """A set; the invented one anew for each seed."""
    if name == "many-factors":
        shape = {"n_users": 300, "n_items": 200, "n_ratings": 30_000, "n_factors": 40, "noise": 0.3}
        return db.simulate(**shape, popularity=0.5, seed=seed).ratings
    files = {
        "ml-latest-small": "ml-latest-small.zip",
        "movietweetings": "movietweetings/ratings-50K.dat",
    }
    return db.read_ratings(protocols.DATA / files[name]).without_features()


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of the sets.")] = None,
    budget: Annotated[float, typer.Option(help="Seconds of tuning.")] = 120.0,
    seeds: Annotated[int, typer.Option(help="How many, from 42 on.")] = 5,
) -> None:
    console = Console(width=200)
    for name in only or ("ml-latest-small", "many-factors", "movietweetings"):
        table = Table(
            *("seed", "default", "tuned", "gain %", "trials", "complete", "parts", "overhead %"),
            *("seconds", "found"),
            title=f"{name}: RMSE on held-out ratings",
        )
        gains = []
        for seed in range(42, 42 + seeds):
            train, test = ratings_of(name, seed).split(0.2, seed=seed)
            found = db.tune(train, budget=budget, seed=seed)
            console.print(f"{name} {seed}: {found}", style="dim", highlight=False)

            def error(model: db.DotBias, solver: object) -> float:
                rec = db.fit(train, model, solver, purpose="predict", seed=seed)  # noqa: B023
                return db.evaluate(rec, test, ranking=False).rmse  # noqa: B023

            choice = db.choose_solver(train)
            default = error(choice.model, choice.solver)
            tuned = error(found.model, found.solver) if found.replaced else default
            gains.append(100 * (default - tuned) / default)
            table.add_row(
                str(seed),
                f"{default:.4f}",
                f"{tuned:.4f}",
                f"{gains[-1]:.2f}",
                str(len(found.trials)),
                str(found.counts()["complete"]),
                str(len(found.default)),
                f"{100 * found.overhead:.1f}",
                f"{found.seconds:.0f}",
                found.solver.brief() if found.replaced else "default",
            )
        error_of_mean = np.std(gains, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
        console.print(table)
        console.print(f"{name}: gain {np.mean(gains):.2f} % ± {error_of_mean:.2f}")


if __name__ == "__main__":
    typer.run(main)
