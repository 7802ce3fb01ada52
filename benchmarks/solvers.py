"""Held-out error against the time of the fit, solver by solver, on the MovieLens protocols.

    python benchmarks/solvers.py --json solvers.json
    python benchmarks/solvers.py --only ml-100k --repeats 1
    python benchmarks/solvers.py --draw solvers.json solvers.png      # fits nothing

Fits run on all threads that dotbias gives them. Their time is that of the whole fit, the compression of
a Gibbs posterior to a single model included, after a fit of another set that compiled; "ns" is that time
for each training rating and epoch, iteration or sample. The error is that of the model that would be
saved, on held-out rows of which no choice was made.
"""

import json
import statistics
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import dotbias as db
import protocols
from dotbias.models.base import Model
from dotbias.pictures import Line, LinePicture, Mark, Panel
from dotbias.solvers.base import Solver
from dotbias.solvers.gibbs.gibbs import Gibbs

SEED = 0
GIBBS = {"Gibbs, ids only": False, "Gibbs with histories": True}
# What is left after a burn-in of a fifth is averaged, as in the default of 200 samples.
LENGTHS = (60, 200)


def contestants() -> Iterator[tuple[str, str, Model, Solver]]:
    """Name of the line, what sets a point of it apart, model and solver."""
    yield "biases", "closed form", db.Baseline(), db.ClosedForm()
    # So many epochs are the default of these sets.
    descent, als = db.GradientDescent(n_epochs=40), db.ALS()
    yield "gradient descent", f"{descent.n_epochs} epochs", db.DotBias(), descent
    yield "ALS, 64 factors", f"{als.n_iterations} iterations", db.DotBias(n_factors=64), als
    for name, histories in GIBBS.items():
        for n in LENGTHS:
            gibbs = Gibbs(n_samples=n, burn_in=n // 5, histories=histories)
            yield name, f"{n} samples", db.DotBias(), gibbs


def measure(sets: list[str], repeats: int | None) -> list[dict[str, Any]]:
    """One record for each set and contestant, with the errors and seconds of its repeats.

    Its steps are the mean number of training ratings times the epochs, iterations or samples.
    """
    small = db.simulate(n_users=200, n_items=100, n_ratings=4000, seed=0).ratings
    for _, _, model, solver in contestants():
        db.fit(small, model, solver)  # compiles
    records = []
    for name in sets:
        splits = list(islice(protocols.splits(name), repeats))
        for line, point, model, solver in contestants():
            rmse, seconds = [], []
            for repeat, train, test in splits:
                rec = db.fit(train, model, solver, seed=SEED)
                rmse.append(float(db.evaluate(rec, test, ranking=False).rmse))
                seconds.append(rec.facts["history"]["seconds"])
                figures = f"{rmse[-1]:.4f} in {seconds[-1]:.2f} s"
                print(f"{name} {repeat} {line}, {point}: {figures}", flush=True)
            n_ratings = statistics.fmean(len(train) for _, train, _ in splits)
            steps = n_ratings * getattr(solver, "n_epochs", 1)
            record = {"set": name, "solver": line, "point": point, "steps": steps}
            records.append(record | {"rmse": rmse, "seconds": seconds})
    return records


def table(records: list[dict[str, Any]]) -> Table:
    out = Table("set", "solver", "", "RMSE", "spread", "worst", "fit, s", "ns")
    for r in records:
        spread = f"{statistics.stdev(r['rmse']):.4f}" if len(r["rmse"]) > 1 else "-"
        errors = f"{statistics.fmean(r['rmse']):.4f}", spread, f"{max(r['rmse']):.4f}"
        median = statistics.median(r["seconds"])
        times = f"{median:.3g}", f"{1e9 * median / r['steps']:.0f}"
        out.add_row(r["set"], r["solver"], r["point"], *errors, *times)
    return out


def picture(records: list[dict[str, Any]]) -> LinePicture:
    sets = list(dict.fromkeys(r["set"] for r in records))
    lengths = ", ".join(map(str, LENGTHS[:-1]))
    note = (
        "Mean test RMSE and median time of the fit over the splits; points of Gibbs along its "
        f"line: {lengths} and {LENGTHS[-1]} samples."
    )
    panels = tuple(panel(name, [r for r in records if r["set"] == name]) for name in sets)
    return LinePicture(title="Accuracy against the time of the fit", panels=panels, note=note)


def panel(name: str, records: list[dict[str, Any]]) -> Panel:
    points: dict[str, list[tuple[float, float]]] = {}
    for r in records:
        point = statistics.median(r["seconds"]), statistics.fmean(r["rmse"])
        points.setdefault(r["solver"], []).append(point)
    lines, marks = [], []
    for line, of_line in points.items():
        x, y = zip(*of_line, strict=True)
        lines.append(Line(name=line, x=x, y=y))
        marks.append(Mark(x=x[-1], y=y[-1], label=line))
    return Panel(
        title=f"{name}, splits: {len(records[0]['rmse'])}",
        x_label="fit, seconds",
        y_label="test RMSE",
        lines=tuple(lines),
        marks=tuple(marks),
        x_log=True,
    )


def main(
    only: Annotated[list[str] | None, typer.Option(help="Names of the sets.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Splits of each set.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Keep the figures.")] = None,
    draw: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Draw kept figures in a picture.", metavar="FILE.json OUT.png"),
    ] = None,
) -> None:
    if draw:
        kept, out = draw
        picture(json.loads(kept.read_text("utf-8"))).save(out)
        return
    records = measure(only or list(protocols.SPREAD), repeats)
    if json_path is not None:
        json_path.write_text(json.dumps(records, indent=1), "utf-8")
    Console(width=120).print(table(records))


if __name__ == "__main__":
    typer.run(main)
