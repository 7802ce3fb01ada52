"""Lists of ten beside other libraries' on the same rows: nDCG@10, its spread, and the time of the fit.

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install implicit lenskit cornac tensorflow-cpu    # the last for cornac's WMF
    /tmp/peers/bin/pip install wheel cython 'setuptools<75' scikit-learn
    /tmp/peers/bin/pip install --no-build-isolation --no-use-pep517 --no-deps lightfm    # pip < 25
    python benchmarks/lists.py --peers /tmp/peers/bin/python --sets ml-100k --json lists.jsonl
    python benchmarks/lists.py --peers /tmp/peers/bin/python --sets ml-1m --protocol new --seeds 42

Two protocols, a table each:

known  A fifth of each user's rows is held out, and lists are for all users.
new    A tenth of the users is held out whole. Each is folded in from four fifths of their rows, and
       measured on the others. Methods that cannot fold in a user are left out.

A list is the ten best of all items that are not among the rows the user is known by. Relevant are the
held-out rows (all), or those of them that are rated 4 and more, 8 in MovieTweetings (liked). Held-out
rows of items that the training part lacks do not count. Lists of dotbias are those of ``recommend`` as
it is, rarely rated items last.

Every method that has settings is tuned: of the first split's training part a part is held out in the
same way (seed 7), and of ``--tries`` settings, drawn at random, the one with the highest nDCG there is
taken, mean of both readings. It is then fitted to the training part of each split. A method that has
used up its ``--seconds`` tries no further. Test rows decide nothing.

Each method runs in a process of its own, on one thread. Seconds are those of the fit, after a small one
that has loaded what is compiled, median over splits; making lists does not count. For dotbias they
include both models and all that ``fit`` chooses. Figures are means and standard deviations over splits;
differences to the method of ``--against`` are means over users, of each user the mean over splits, with
95 % intervals by the paired bootstrap.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_array

import dotbias as db
from dotbias.evaluation.bootstrap import bootstrap_interval
from dotbias.recommender.list_quality import figures_per_user
from list_methods import METHODS, K, Settings
from protocols import DATA, FILES

Protocol = Literal["known", "new"]
PerUser = dict[Any, float]
Reading = Literal["all", "liked"]
READINGS: tuple[Reading, ...] = get_args(Reading)

LIKED = {"movietweetings": 8}
N_SPLITS: dict[Protocol, int] = {"known": 3, "new": 10}
# What this Python has.
OURS = "dotbias", "numpy"
FIRST_SEED, TUNING_SEED = 42, 7
THREADS = (
    *(f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON", "LK")),
    *("POLARS_MAX_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)


class LeftOut(Exception):
    """A method cannot run here."""


@dataclass(frozen=True, eq=False)
class Split:
    """Training rows, rows of those who get lists, and what they turned out to choose."""

    train: db.Ratings
    given: db.Ratings
    held: db.Ratings

    @classmethod
    def of(cls, ratings: db.Ratings, protocol: Protocol, seed: int) -> "Split":
        if protocol == "known":
            train, held = ratings.split(0.2, seed=seed, by="user")
            return cls(train, train, held)
        train, new = ratings.split(0.1, seed=seed, by="users")
        return cls(train, *new.split(0.2, seed=seed, by="user"))

    def save(self, path: Path) -> None:
        """The arrays of ``list_methods.Data``."""
        items = self._items(self.given)
        users = self.given.user_indices
        order = np.lexsort((items, users))
        order = order[items[order] >= 0]
        np.savez(
            path,
            users=self.train.user_indices,
            items=self.train.item_indices,
            values=self.train.values,
            owners=users[order],
            chosen=items[order],
            given=self.given.values[order],
            n_lists=self.given.n_users,
            known=self.given is self.train,
        )

    def ndcg(self, top: NDArray[Any], relevant_from: float) -> PerUser:
        """nDCG of each user's list, by the user's id; of those who have a relevant item."""
        users = self.given.user_vocabulary.indices(self.held.user_vocabulary.ids)[
            self.held.user_indices
        ]
        items = self._items(self.held)
        chosen = (items >= 0) & (self.held.values >= relevant_from)
        measured, row = np.unique(users[chosen], return_inverse=True)
        relevant = csr_array(
            (np.ones(len(row), np.bool_), (row, items[chosen])),
            shape=(len(measured), self.train.n_items),
        )
        figures = figures_per_user(top[measured], relevant, K)["ndcg"]
        ids = self.given.user_vocabulary.ids.to_list()
        return {ids[user]: float(figure) for user, figure in zip(measured, figures, strict=True)}

    def _items(self, ratings: db.Ratings) -> NDArray[np.int32]:
        """Item of each row as the training part numbers it, -1 where it has none."""
        return self.train.item_vocabulary.indices(ratings.item_vocabulary.ids)[ratings.item_indices]


@dataclass(frozen=True)
class Runner:
    """Runs methods, each in a process."""

    peers: str
    folder: Path

    def lists(
        self, method: str, rows: str, tries: list[Settings], seconds: float = 0
    ) -> tuple[NDArray[np.int32], dict[str, Any]]:
        """Lists of each setting that was tried, (n, m, K), and what the process says of them.

        Args:
            method: its name.
            rows: name of a file in the folder, of ``Split.save``.
            tries: settings, in order.
            seconds: after which no more are tried.

        Raises:
            LeftOut: where another library fails.
        """
        ours = METHODS[method].library in OURS
        python = sys.executable if ours else self.peers
        script = str(Path(__file__).with_name("list_methods.py"))
        out = self.folder / "lists.npz"
        done = subprocess.run(
            [python, script, method, self.folder / rows, out, str(seconds)],
            input=json.dumps(tries),
            env=os.environ | dict.fromkeys(THREADS, "1"),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and ours:
            raise RuntimeError(f"{method} with {tries}: {done.stderr}")
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise LeftOut(said[-1])
        with np.load(out, allow_pickle=False) as stored:
            return stored["tops"], json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True, eq=False)
class Contest:
    """One set and protocol: the splits, and one of the first split's training part to tune on.

    Args:
        name: of the set.
        protocol: which rows are held out.
        splits: by seed.
        tuning: what settings are chosen on.
        runner: runs the methods.
    """

    name: str
    protocol: Protocol
    splits: dict[int, Split]
    tuning: Split
    runner: Runner

    @classmethod
    def of(cls, name: str, protocol: Protocol, seeds: Sequence[int], runner: Runner) -> "Contest":
        ratings = db.read_ratings(DATA / FILES[name]).without_features()
        splits = {seed: Split.of(ratings, protocol, seed) for seed in seeds}
        tuning = Split.of(splits[seeds[0]].train, protocol, TUNING_SEED)
        for split, path in ((tuning, "tuning"), *((splits[seed], str(seed)) for seed in seeds)):
            split.save(runner.folder / f"{path}.npz")
        return cls(name, protocol, splits, tuning, runner)

    def run(self, method: str, n_tries: int, seconds: float) -> "Result":
        """Tune a method, and fit it to each split.

        Raises:
            LeftOut: where it cannot.
        """
        if self.protocol == "new" and not METHODS[method].folds_in:
            raise LeftOut("it has no lists for users who were not there at training")
        settings, n_tried = self.tune(METHODS[method].draw(n_tries, TUNING_SEED), method, seconds)
        result = Result(method, settings, n_tried)
        for seed, split in self.splits.items():
            tops, said = self.runner.lists(method, f"{seed}.npz", [settings])
            result.version = said["version"]
            result.seconds[seed] = said["seconds"][0]
            result.figures[seed] = self.figures(split, tops[0])
        return result

    def tune(self, tries: list[Settings], method: str, seconds: float) -> tuple[Settings, int]:
        """The best settings, and how many there was time for."""
        if len(tries) == 1:
            return tries[0], 0
        tops, _ = self.runner.lists(method, "tuning.npz", tries, seconds)
        found = [
            statistics.fmean(mean(figures) for figures in self.figures(self.tuning, top).values())
            for top in tops
        ]
        return tries[int(np.argmax(found))], len(found)

    def figures(self, split: Split, top: NDArray[Any]) -> dict[Reading, PerUser]:
        liked = LIKED.get(self.name, 4)
        return {"all": split.ndcg(top, -np.inf), "liked": split.ndcg(top, liked)}


def mean(figures: PerUser) -> float:
    return statistics.fmean(figures.values())


@dataclass(eq=False)
class Result:
    """One method on all splits, by seed."""

    method: str
    settings: Settings
    n_tried: int
    version: str = ""
    seconds: dict[int, float] = field(default_factory=dict)
    figures: dict[int, dict[Reading, PerUser]] = field(default_factory=dict)

    def cells(self) -> Iterator[str]:
        """Both means and spreads, and the time of the fit."""
        for reading in READINGS:
            means = [mean(split[reading]) for split in self.figures.values()]
            spread = f" ± {statistics.stdev(means):.3f}" if len(means) > 1 else ""
            yield f"{statistics.fmean(means):.3f}{spread}"
        yield f"{statistics.median(self.seconds.values()):.2f}"

    def differences(self, other: "Result") -> Iterator[str]:
        """How much better it is than another one, in both readings."""
        for reading in READINGS:
            by_user: dict[Any, list[float]] = {}
            for seed, split in self.figures.items():
                for user, figure in split[reading].items():
                    less = figure - other.figures[seed][reading][user]
                    by_user.setdefault(user, []).append(less)
            means = np.array([statistics.fmean(of_user) for of_user in by_user.values()])
            (low,), (high,) = bootstrap_interval(means[:, None])
            yield f"{means.mean():+.3f} ({low:+.3f} to {high:+.3f})"

    def records(self) -> Iterator[dict[str, Any]]:
        """What is kept of each split."""
        for seed, split in self.figures.items():
            yield {
                "method": self.method,
                "version": self.version,
                "settings": self.settings,
                "tried": self.n_tried,
                "seed": seed,
                "ndcg": {reading: mean(figures) for reading, figures in split.items()},
                "n_users": {reading: len(figures) for reading, figures in split.items()},
                "seconds": self.seconds[seed],
            }


def table(results: dict[str, Result], against: str, title: str) -> Table:
    shown = Table("", "nDCG@10 all", "liked", "fit s", title=title)
    other = results.get(against)
    if other is not None:
        for reading in READINGS:
            shown.add_column(f"{reading}: less {against}")
    for result in results.values():
        beside = [] if other is None or other is result else result.differences(other)
        shown.add_row(result.method, *result.cells(), *beside)
    return shown


def main(
    peers: Annotated[str, typer.Option(help="A Python that has the other libraries.")] = "python3",
    sets: Annotated[list[str] | None, typer.Option(help="Names of the sets.")] = None,
    protocol: Annotated[Protocol | None, typer.Option(help="Both by default.")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="Of the splits.")] = None,
    methods: Annotated[list[str] | None, typer.Option(help="Names of the methods.")] = None,
    against: Annotated[str, typer.Option(help="What to compare the others with.")] = "dotbias",
    tries: Annotated[int, typer.Option(help="Settings that are tried of each method.")] = 12,
    seconds: Annotated[float, typer.Option(help="After which no more are tried.")] = 300,
    json_path: Annotated[Path | None, typer.Option("--json", help="Append figures here.")] = None,
) -> None:
    console = Console(width=140, highlight=False)
    for name, kind in product(sets or FILES, [protocol] if protocol else N_SPLITS):
        n = 2 if name == "ml-1m" else N_SPLITS[kind]
        own_seeds = seeds or range(FIRST_SEED, FIRST_SEED + n)
        results: dict[str, Result] = {}
        with tempfile.TemporaryDirectory() as folder:
            contest = Contest.of(name, kind, own_seeds, Runner(peers, Path(folder)))
            for method in methods or METHODS:
                label = f"{name}, {kind} users, {method}"
                try:
                    result = contest.run(method, tries, seconds)
                except LeftOut as reason:
                    console.print(f"{label}: left out: {reason}", style="dim", markup=False)
                    continue
                results[method] = result
                found = f"{' | '.join(result.cells())}, best of {result.n_tried}: {result.settings}"
                console.print(f"{label}: {found}", style="dim", markup=False)
                if json_path is not None:
                    of_set = {"set": name, "protocol": kind}
                    with json_path.open("a", encoding="utf-8") as file:
                        file.writelines(f"{json.dumps(of_set | r)}\n" for r in result.records())
        console.print(table(results, against, f"{name}, {kind} users, splits: {len(own_seeds)}"))


if __name__ == "__main__":
    typer.run(main)
