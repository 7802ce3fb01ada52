"""What choosing a learning rate costs: how far several ways of it end from the best of twelve rates.

    export NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1
    python benchmarks/regret.py regret.jsonl                    # goes on where it was ended
    python benchmarks/regret.py regret.jsonl --into docs/learning-rates.md
    python benchmarks/regret.py regret.jsonl --set ml-1m --rule sgd

On random 80/20 splits with three seeds, every fit is of 40 epochs (of 300 steps with the full batch) and
is measured on the test part. The yardstick is the best *test* RMSE of twelve rates, each √3 times the
one before, from a ninth of the default: nobody could choose by it. The regret of a rate is how much
higher its test RMSE is, in per cent. Each way sees the training part alone. What it spends is counted in
epochs, that is in visited ratings over training ratings, apart from the fit itself. The file has a line
of JSON for each fit. The eight complete runs are made on the first seed alone.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import dotbias as db
from dotbias.insight.curvature import loss_surface
from dotbias.solvers.descent.rules import RULES
from protocols import DATA

SEEDS = (42, 43, 44)
SETS: dict[str, tuple[Callable[[], db.Ratings], int]] = {
    "ml-latest-small": (lambda: db.read_ratings(DATA / "ml-latest-small.zip"), 32),
    "ml-100k": (lambda: db.read_ratings(DATA / "ml-100k" / "u.data"), 32),
    "invented": (lambda: db.simulate(300, 200, 12_000, n_factors=4, seed=0)[0], 8),
    "invented, sparse": (lambda: db.simulate(3000, 1500, 40_000, n_factors=4, seed=1)[0], 16),
}
"""Ratings, and the length of the embeddings."""

FREE = {"schedulefreesgd": "sgd", "schedulefreeadamw": "adam", "dog": "sgd", "prodigy": "adam"}
"""Rules without a rate or a schedule to choose, and that whose grid each is measured by."""

PLAIN = ("sgd", "momentum", "adagrad", "rowadagrad", "rmsprop", "adam")
FULL = "sgd, full batch"
GRID = np.sqrt(3.0) ** np.arange(-4, 8)
PRODUCTS = 6


def solver_of(name: str) -> db.GradientDescent:
    if name == FULL:
        return db.GradientDescent(batch_size=None)
    return db.GradientDescent(RULES[name]())


def curvature_rate(
    model: db.DotBias, solver: db.GradientDescent, train: db.Ratings
) -> tuple[float, float]:
    """``2 / λmax`` after an epoch, by power iteration, and what finding it took, in epochs.

    It is a rate of full-batch descent; one rating at a time takes it over the number of ratings. A
    product of the Hessian with a vector counts as two epochs, as it goes back twice.
    """
    rec = db.fit(train, model, db.GradientDescent(n_epochs=1), progress=False)
    surface = loss_surface(rec, train)
    vector = np.random.default_rng(0).normal(size=surface.n_parameters)
    for _ in range(PRODUCTS):
        vector /= np.linalg.norm(vector)
        product = surface.hvp(vector)
        largest, vector = float(vector @ product), product
    rate = 2 / largest
    return rate if solver.batch_size is None else rate / len(train), 1 + 2 * PRODUCTS


Found = tuple[db.GradientDescent | None, float]
Line = dict[str, Any]
FINDERS: dict[str, int | None] = {"finder": None, "finder, 8 complete runs": 8}


class Split:
    """One split of a set: what fits of it end with."""

    def __init__(self, name: str, seed: int) -> None:
        make, n_factors = SETS[name]
        self.train, self.test = make().split(0.2, seed=seed)
        self.model, self.seed = db.DotBias(n_factors=n_factors), seed

    def rmse(self, solver: db.GradientDescent) -> float | None:
        """On the test part; None where the fit diverges."""
        try:
            rec = db.fit(self.train, self.model, solver, seed=self.seed, progress=False)
        except db.DivergenceError:
            return None
        return float(db.evaluate(rec, self.test, ranking=False).rmse)

    def ways(self, rule: str) -> Iterator[tuple[str, Callable[[], Found]]]:
        """Name of each way, and what chooses a solver and says what that took, in epochs."""
        solver = solver_of(rule).settled(self.model, self.train)
        usual = solver.rule.top_rate

        def at(rate: float | None, spent: float = 0.0) -> Found:
            return rate and replace(solver, rule=solver.rule.with_rate(rate)), spent

        yield "default", lambda: at(usual)
        if rule in FREE:
            return
        for factor in GRID[np.arange(-4, 8) != 0]:
            yield f"grid {factor:.3g}", lambda factor=factor: at(usual * factor)
        if rule in ("sgd", FULL):
            yield "2/λmax", lambda: at(*curvature_rate(self.model, solver, self.train))
        for way, n_trials in FINDERS.items():
            if n_trials and self.seed != SEEDS[0]:  # which take most of the time
                continue
            yield way, lambda n_trials=n_trials: self.found(solver, n_trials)

    def found(self, solver: db.GradientDescent, n_trials: int | None) -> Found:
        """The finder's answer; its bar knows how many epochs it has spent."""
        curve = db.lr_find(self.model, solver, self.train, n_trials=n_trials, progress=False)
        return None if curve.suggestion is None else curve.tuned(), curve.spent


def missing(file: Path, cells: list[tuple[str, int, str]]) -> Iterator[Line]:
    """Fit what the file does not have, and add it there."""
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {(line["set"], line["seed"], line["rule"], line["way"]) for line in lines}
    yield from lines
    for name, seed, rule in cells:
        split = Split(name, seed)
        for way, choose in split.ways(rule):
            if (name, seed, rule, way) in known:
                continue
            solver, spent = choose()
            line = {"set": name, "seed": seed, "rule": rule, "way": way, "spent": round(spent, 2)}
            line["lr"] = solver and solver.rule.top_rate
            line["rmse"] = solver and split.rmse(solver)
            with file.open("a") as out:
                out.write(json.dumps(line) + "\n")
            yield line


class Table:
    """What the lines of the file say.

    Args:
        lines: all of them.
    """

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.sets = list(dict.fromkeys(line["set"] for line in lines))
        self.best: dict[tuple[Any, ...], float] = {}
        self.on_edge: set[tuple[Any, ...]] = set()
        grids: dict[tuple[Any, ...], list[Line]] = {}
        for line in lines:
            if line["rule"] not in FREE and line["way"].startswith(("default", "grid")):
                key = line["set"], line["seed"], line["rule"]
                grids.setdefault(key, []).append(line)
        for key, grid in grids.items():
            ended = sorted((at for at in grid if at["rmse"] is not None), key=lambda at: at["rmse"])
            self.best[key] = ended[0]["rmse"]
            rates = [at["lr"] for at in grid]
            if ended[0]["lr"] in (min(rates), max(rates)):
                self.on_edge.add(key)

    def regrets(
        self, way: str, rules: tuple[str, ...] = PLAIN, of: str | None = None
    ) -> list[float]:
        """Of a way on each split, in per cent; endless where it gave no rate, or one that diverged."""
        found = []
        for line in self.lines:
            if line["way"] == way and line["rule"] in rules and line["set"] == (of or line["set"]):
                measured_by = FREE.get(line["rule"], line["rule"])
                best = self.best[line["set"], line["seed"], measured_by]
                rmse = line["rmse"]
                found.append(np.inf if rmse is None else 100 * (rmse / best - 1))
        return found

    def spent(self, way: str, rules: tuple[str, ...]) -> str:
        """Epochs, the median."""
        lines = (x for x in self.lines if x["way"] == way and x["rule"] in rules)
        return f"{np.median([line['spent'] for line in lines]):.3g}"

    def of_ways(self) -> Iterator[str]:
        """The first table."""
        yield "| way | measured by | epochs spent | splits | median | mean | worst | at most 0.5 % |"
        yield "|---|---|---|---|---|---|---|---|"
        # The full batch apart, for which the finder makes complete runs.
        rows: list[tuple[str, str, tuple[str, ...], str]] = []
        for way in ("default", *FINDERS):
            rows += [
                (way, way, PLAIN, "its own grid"),
                (f"{way}, sgd", way, PLAIN[:1], "its own grid"),
            ]
        rows += [(f"2/λmax, {rule}", "2/λmax", (rule,), "its own grid") for rule in ("sgd", FULL)]
        rows += [
            (f"`{rule}`, default", "default", (rule,), f"the grid of `{of}`")
            for rule, of in FREE.items()
        ]
        for name, way, rules, grid in rows:
            found = self.regrets(way, rules)
            if not found:
                continue
            near = f"{100 * np.mean(np.array(found) <= 0.5):.0f} %"
            figures = (np.median(found), np.mean(found), max(found))
            shown = " | ".join(map(_percent, figures))
            yield f"| {name} | {grid} | {self.spent(way, rules)} | {len(found)} | {shown} | {near} |"

    def of_rules(self) -> Iterator[str]:
        """The second table."""
        ways = ("default", *FINDERS)
        yield "| set | rule | best of twelve | " + " | ".join(ways) + " |"
        yield "|---|---|---|" + "---|" * len(ways)
        for of in self.sets:
            for rule in dict.fromkeys(key[2] for key in self.best if key[0] == of):
                keys = [key for key in self.best if key[0] == of and key[2] == rule]
                edge = " (on the edge)" if any(key in self.on_edge for key in keys) else ""
                best = f"{np.mean([self.best[key] for key in keys]):.4f}{edge}"
                cells = [_spread(self.regrets(way, (rule,), of)) for way in ways]
                yield f"| {of} | {rule} | {best} | " + " | ".join(cells) + " |"

    def of_free(self) -> Iterator[str]:
        """The third table."""
        yield "| set | " + " | ".join(f"`{rule}`" for rule in FREE) + " |"
        yield "|---|" + "---|" * len(FREE)
        for of in self.sets:
            cells = [_spread(self.regrets("default", (rule,), of)) for rule in FREE]
            yield f"| {of} | " + " | ".join(cells) + " |"


def _percent(x: float) -> str:
    return f"{x:.2f} %" if np.isfinite(x) else "diverged"


def _spread(found: list[float]) -> str:
    """Mean and standard deviation over the splits, in per cent."""
    if not found:
        return ""
    if not np.isfinite(found).all():
        return "diverged"
    spread = f" ± {np.std(found, ddof=1):.2f}" if len(found) > 1 else ""
    return f"{np.mean(found):.2f}{spread}"


def main(
    file: Path,
    sets: Annotated[list[str] | None, typer.Option("--set")] = None,
    rules: Annotated[list[str] | None, typer.Option("--rule")] = None,
    seeds: int = len(SEEDS),
    into: Annotated[Path | None, typer.Option(help="Page whose tables are replaced.")] = None,
) -> None:
    logging.disable(logging.WARNING)  # ends above biases, which many of these are
    cells = [
        (name, seed, rule)
        for seed in SEEDS[:seeds]
        for name in sets or SETS
        for rule in rules or (*PLAIN, FULL, *FREE)
        if rule != FULL or name.startswith("invented")
    ]
    wanted = {(name, seed, rule) for name, seed, rule in cells}
    lines = [x for x in missing(file, cells) if (x["set"], x["seed"], x["rule"]) in wanted]
    table = Table(lines)
    texts = {"ways": table.of_ways(), "rules": table.of_rules(), "no rate": table.of_free()}
    page = into.read_text("utf-8") if into else ""
    for name, rows in texts.items():
        text = "\n".join(rows) + "\n"
        print(text)
        begin, end = f"<!-- table of {name} -->\n", "<!-- end of the table -->"
        if into:
            before, _, after = page.partition(begin)
            page = before + begin + text + end + after.partition(end)[2]
    if into:
        into.write_text(page, "utf-8")


if __name__ == "__main__":
    typer.run(main)
