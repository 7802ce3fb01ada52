"""Which training method works, and why: the two tables of docs/which-method.md, as Markdown.

    export NUMBA_NUM_THREADS=1 OMP_NUM_THREADS=1
    python benchmarks/which_method.py --into parts --jobs 2     # what a core is there for, at a time
    python benchmarks/which_method.py --into parts --jobs 2 --only Adam --only "Gibbs sampling"
    python benchmarks/which_method.py --seeds 5

A part is one method on one set. With ``--into`` each leaves a file of JSON in that folder, and is not
measured again while its settings and splits are the same: a run that was ended goes on, and the tables
come when all parts are there. The time of the processor that all of them took is told at the end.

Invented ratings, whose noise floor is known; ml-latest-small, in the folder that DOTBIAS_TEST_DATA
names; and, for the second table, invented ratings of the pairs of user and item that ml-latest-small
has. Random 80/20 splits with seeds 42 and up; test RMSE, with its standard deviation over the splits.
The rate of each method that takes steps is the finder's, on the training part alone, and the geometric
mean over the splits is shown; networks keep their default rates, one for each group. *Cost* is the
processor time of a fit to films, the finder's apart, over that of SGD of one rating at a time: seconds
of one machine say nothing of another.
"""

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import dotbias as db
from dotbias.fitting.fit import default_descent
from dotbias.models.base import Model
from dotbias.solvers.base import Solver
from dotbias.solvers.decay import DEFAULT_DECAY
from protocols import DATA

FILMS = "ml-latest-small"
PAIRS = "invented, on its pairs"
N_TRIALS = 6
FACTORS = {"invented": 8, FILMS: 64, PAIRS: 64}

SGD = db.GradientDescent(n_epochs=40)
SLOW_BIASES = db.SGD(
    lr={"user_factors": 0.02, "item_factors": 0.02, "user_bias": 0.005, "item_bias": 0.005}
)
ADAPTIVE = (db.Adagrad(), db.Adadelta(), db.RMSprop(), db.Adam(), db.AdaMax())
RULES = (db.Momentum(), db.Nesterov(), *ADAPTIVE, db.Nadam(), db.AMSGrad(), db.AdamW())
NET, NORMED = (db.EmbeddingNet(batch_norm=batch_norm) for batch_norm in (False, True))

METHODS: dict[str, Solver | Model] = {
    "biases alone": db.Baseline(),
    "SGD, one rating at a time": SGD,
    "full-batch gradient descent": replace(SGD, batch_size=None),
    "full batch, 400 epochs": replace(SGD, batch_size=None, n_epochs=400),
    "mini-batches of 64": replace(SGD, batch_size=64),
    "mini-batches of 1,024": replace(SGD, batch_size=1024),
    "constant rate": replace(SGD, schedule="constant"),
    "warm restarts, 4 cycles": replace(SGD, schedule=db.WarmRestarts(first_cycle=10, cycle_mult=1)),
    "one-cycle": replace(SGD, schedule="one-cycle"),
    "a rate per group": replace(SGD, rule=SLOW_BIASES),
    "no weight decay": replace(SGD, weight_decay=0),
    **{type(rule).__name__: replace(SGD, rule=rule) for rule in RULES},
    "AdamW, ten times the decay": replace(
        SGD,
        rule=db.AdamW(),
        weight_decay={group: 10 * amount for group, amount in DEFAULT_DECAY.items()},
    ),
    "EmbeddingNet": NET,
    "EmbeddingNet, batch norm": NORMED,
    "ALS": db.ALS(),
    "Gibbs sampling": db.Gibbs(n_samples=60, burn_in=20),
}
"""The rows: a solver of ``DotBias``, or a model with its own default."""

WHY = ("SGD, one rating at a time", "a rate per group", *(type(rule).__name__ for rule in ADAPTIVE))
"""The rows of the second table."""


@dataclass(frozen=True)
class Cell:
    """What became of a method on a set, over the splits.

    Args:
        settings: of the method, as text.
        errors, rates, seconds: of each split: test RMSE, the finder's rate, processor time of the fit.
        spent: processor time of all of it, the finder's too.
    """

    settings: str
    errors: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    spent: float = 0.0

    @property
    def error(self) -> str:
        """Mean and standard deviation."""
        return f"{np.mean(self.errors):.3f} ± {np.std(self.errors, ddof=1):.3f}"

    @property
    def rate(self) -> str:
        """The geometric mean."""
        return f"{np.exp(np.mean(np.log(self.rates))):.2g}" if self.rates else ""


Split = tuple[db.Ratings, db.Ratings]


def invented() -> tuple[db.Ratings, float]:
    """The ratings of docs/gradient-methods.md, and their noise floor."""
    ratings, truth = db.simulate(n_users=300, n_items=200, n_ratings=12_000, n_factors=4, seed=0)
    return ratings, truth.noise_floor(ratings)


def on_pairs_of(real: db.Ratings) -> tuple[db.Ratings, float]:
    """Invented ratings of the pairs that a real set has, and their noise floor."""
    _, truth = db.simulate(real.n_users, real.n_items, len(real), n_factors=4, seed=0)
    ids = real.user_indices + 1, real.item_indices + 1  # those of the simulation
    pairs = db.Ratings.from_columns(*ids, real.values)
    noise = np.random.default_rng(0).normal(0, truth.noise, len(real))
    values = truth.step * np.round((truth.expected(pairs) + noise) / truth.step)
    values = np.clip(values, truth.scale.lowest, truth.scale.highest)
    return db.Ratings.from_columns(*ids, values), truth.noise_floor(pairs)


@cache
def sets() -> dict[str, tuple[db.Ratings, float]]:
    """Ratings and noise floor of each set; that of the real one nobody knows."""
    real = db.read_ratings(DATA / f"{FILMS}.zip")
    return {"invented": invented(), FILMS: (real, np.nan), PAIRS: on_pairs_of(real)}


def parts(only: list[str] | None = None) -> Iterator[tuple[str, str]]:
    """Each set and the methods on it."""
    for of in FACTORS:
        for name in ("biases alone", *WHY) if of == PAIRS else METHODS:
            if not only or name in only:
                yield of, name


def part(seeds: int, folder: Path | None, of_and_name: tuple[str, str]) -> Cell:
    """One part, from its file where that has it."""
    of, name = of_and_name
    method = METHODS[name]
    file = folder and folder / (re.sub(r"\W+", "-", f"{of} {name}").lower() + ".json")
    if file and file.exists():
        cell = Cell(**json.loads(file.read_text()))
        if cell.settings == repr(method) and len(cell.errors) == seeds:
            return cell
    splits = [sets()[of][0].split(0.2, seed=42 + n) for n in range(seeds)]
    cell = measured(method, splits, FACTORS[of])
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        half_way = file.with_suffix(".part")
        half_way.write_text(json.dumps(asdict(cell)))
        half_way.replace(file)
    return cell


def measured(method: Solver | Model, splits: list[Split], n_factors: int) -> Cell:
    """A method on all splits of a set."""
    cell, began = Cell(repr(method)), time.process_time()
    for train, test in splits:
        if isinstance(method, db.GradientDescent):
            model = db.DotBias(n_factors=n_factors)
            curve = db.lr_find(model, method, train, n_trials=N_TRIALS, progress=False)
            solver: Solver | None = curve.tuned()
            cell.rates.append(curve.suggestion)
        elif isinstance(method, Solver):
            model, solver = db.DotBias(n_factors=n_factors), method
        else:
            model, solver = method, None
        started = time.process_time()
        rec = db.fit(train, model, solver, progress=False)
        cell.seconds.append(time.process_time() - started)
        cell.errors.append(db.evaluate(rec, test, ranking=False).rmse)
    return replace(cell, spent=time.process_time() - began)


def epochs(method: Solver | Model) -> str:
    """Passes over the ratings."""
    if isinstance(method, db.EmbeddingNet):
        method = default_descent(method)
    for name in ("n_epochs", "n_iterations"):
        if hasattr(method, name):
            return str(getattr(method, name))
    return str(method.burn_in + method.n_samples) if isinstance(method, db.Gibbs) else ""


def main(
    seeds: Annotated[int, typer.Option(min=2, help="How many splits.")] = 2,
    into: Annotated[Path | None, typer.Option(help="Folder of the parts.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many parts at a time.")] = 1,
    only: Annotated[
        list[str] | None, typer.Option(help="Methods; then there are no tables.")
    ] = None,
) -> None:
    todo = list(parts(only))
    cells: dict[tuple[str, str], Cell] = {}
    measure = partial(part, seeds, into)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        found: Iterable[Cell] = map(measure, todo) if jobs == 1 else pool.map(measure, todo)
        for (of, name), cell in zip(todo, found, strict=True):
            cells[of, name] = cell
            told = f"{of}: {name} {cell.error} {cell.rate} ({cell.spent:.0f} s)"
            print(told, file=sys.stderr, flush=True)
    print(f"{sum(cell.spent for cell in cells.values()):.0f} s in all", file=sys.stderr)
    if not only:
        print_tables(cells)


def print_tables(cells: dict[tuple[str, str], Cell]) -> None:
    """Both of them, as Markdown."""
    floor, paired_floor = sets()["invented"][1], sets()[PAIRS][1]
    unit = min(cells[FILMS, WHY[0]].seconds)  # the first of some also compiles
    print(f"| method | epochs | cost | invented | rate | {FILMS} | rate |")
    print("|---|---|---|---|---|---|---|")
    for name, method in METHODS.items():
        one, other = cells["invented", name], cells[FILMS, name]
        cost = f"{min(other.seconds) / unit:.1f}"
        row = (name, epochs(method), cost, one.error, one.rate, other.error, other.rate)
        print("| " + " | ".join(row) + " |")
    print(f"\nNoise floor: invented {floor:.3f}, {PAIRS} {paired_floor:.3f}\n")

    columns = ("invented", PAIRS, FILMS)
    print("| rule | " + " | ".join(columns) + " |\n|---|---|---|---|")
    for name in ("biases alone", *WHY):
        print(f"| {name} | " + " | ".join(cells[of, name].error for of in columns) + " |")


if __name__ == "__main__":
    typer.run(main)
