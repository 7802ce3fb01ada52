"""What the figures carry: who is better, who is faster, and which points of dotbias leave nobody ahead.

Compared are means of each split over its repeats, split by split. An error is different where the mean
difference is more than two standard errors from 0, and a time where besides the ratio is at least 1.5;
everything else is a tie. Rows that lack a repeat of a split are not compared, and times not that were
taken while others kept more of the machine busy than ``machine.QUIET``.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from machine import QUIET
from records import Record, first_repeat

STANDARD_ERRORS = 2.0
LEAST_RATIO = 1.5
MAIN = {"ratings": "rmse", "rankings": "ndcg"}
HIGHER_IS_BETTER = "ndcg", "liked"

_ROW = "task", "set", "method", "threads"

Word = Literal["better", "worse", "tie"]


@dataclass
class Row:
    """One method on one set, with one number of threads.

    Args:
        task, name, method, library, threads: which.
        figures: of each split, by name of the figure, of each repeat.
        seconds: of each split, of each repeat, of fits during which the machine was quiet.
        settings: of each split.
        failed: why there are none of some split.
        runs: numbers of those that did the fits.
        first: seconds of the first repeat, all splits together.
    """

    task: str
    name: str
    method: str
    library: str
    threads: int
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    loud: int = 0
    settings: dict[str, Record] = field(default_factory=dict)
    failed: str = ""
    runs: set[int] = field(default_factory=set)
    first: float = 0.0

    def take(self, record: Record, quiet: float = QUIET) -> None:
        self.runs.add(record["run"])
        if "failed" in record:
            self.failed = record["failed"]
            return
        self.first += first_repeat([record])
        split = record["split"]
        for name, value in record["figures"].items():
            self.figures.setdefault(name, {}).setdefault(split, []).append(value)
        self.settings[split] = record["settings"]
        if record["others"] > quiet:
            self.loud += 1
        else:
            self.seconds.setdefault(split, []).append(record["seconds"])

    @property
    def splits(self) -> list[str]:
        return sorted(self.figures.get(MAIN[self.task], {}))

    def means(self, figure: str) -> dict[str, float]:
        """Of each split."""
        return {s: statistics.fmean(v) for s, v in self.figures.get(figure, {}).items()}

    def mean(self, figure: str) -> float:
        return statistics.fmean(self.means(figure).values())

    def spread(self, figure: str) -> float:
        """Standard deviation over the splits, NaN of one."""
        means = list(self.means(figure).values())
        return statistics.stdev(means) if len(means) > 1 else math.nan

    @property
    def medians(self) -> dict[str, float]:
        """Seconds of each split."""
        return {split: statistics.median(of) for split, of in self.seconds.items()}

    @property
    def median(self) -> float:
        """Seconds, NaN where there are none."""
        return statistics.median(self.medians.values()) if self.seconds else math.nan

    def complete(self, splits: Sequence[str], repeats: int) -> bool:
        """Whether nothing lacks of the figures."""
        of = self.figures.get(MAIN[self.task], {})
        return all(len(of.get(split, [])) >= repeats for split in splits)

    def timed(self, splits: Sequence[str], repeats: int) -> bool:
        """Whether nothing lacks of the times."""
        return all(len(self.seconds.get(split, [])) >= repeats for split in splits)


def rows(records: Iterable[Record], quiet: float = QUIET) -> list[Row]:
    """A row for each set, method and number of threads, of the records of fits. Times count that were
    taken while others kept at most so many cores busy. Of several records of one repeat, as where other
    settings were chosen since, the last counts.
    """
    last = {tuple(record[k] for k in (*_ROW, "split", "repeat")): record for record in records}
    found: dict[tuple[Any, ...], Row] = {}
    for record in last.values():
        task, name, method, n = which = tuple(record[k] for k in _ROW)
        row = found.setdefault(which, Row(task, name, method, record["library"], n))
        row.take(record, quiet)
    return list(found.values())


def compared(differences: Sequence[float]) -> Word:
    """Of differences split by split, below 0 where the first is better."""
    n = len(differences)
    if n < 2:
        return "tie"
    mean, error = statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(n)
    if abs(mean) <= STANDARD_ERRORS * error or mean == 0:
        return "tie"
    return "better" if mean < 0 else "worse"


def by_error(one: Row, other: Row, figure: str) -> Word:
    """How the first comes off in a figure, on the splits that both have."""
    mine, theirs = one.means(figure), other.means(figure)
    sign = -1 if figure in HIGHER_IS_BETTER else 1
    return compared([sign * (mine[s] - theirs[s]) for s in mine if s in theirs])


def by_time(one: Row, other: Row) -> Word:
    """Whether the first is faster."""
    mine, theirs = one.medians, other.medians
    logs = [math.log(mine[s] / theirs[s]) for s in mine if s in theirs]
    word = compared(logs)
    return word if word == "tie" or abs(statistics.fmean(logs)) >= math.log(LEAST_RATIO) else "tie"


def ratio(one: Row, other: Row) -> float:
    """How many times as long as the second the first takes, geometric mean over the splits."""
    mine, theirs = one.medians, other.medians
    return math.exp(statistics.fmean(math.log(mine[s] / theirs[s]) for s in mine if s in theirs))


@dataclass(frozen=True)
class Standing:
    """Whether a point of ours lies at or below a peer's in error and in time.

    Args:
        peer: whose point it is.
        ours: the point that does; else the nearest.
        how: ``"below"`` by the means themselves; ``"tied"`` where one of the two is not, but
            only by a tie; ``"not"``.
    """

    peer: Row
    ours: Row | None
    how: Literal["below", "tied", "not"]

    def __str__(self) -> str:
        figure = MAIN[self.peer.task]
        if self.ours is None:
            return "there is no point of dotbias beside it"
        told = f"{self.ours.method}: {self.ours.mean(figure):.4f} in {self.ours.median:.3g} s"
        return {"below": told, "tied": f"tied: {told}", "not": f"**not**; nearest {told}"}[self.how]


def standing(peer: Row, ours: Sequence[Row]) -> Standing:
    """Where a peer stands, of our rows of the same set and number of threads."""
    figure = MAIN[peer.task]
    beside = [row for row in ours if row.seconds and row.means(figure)]
    if not beside or not peer.seconds:
        return Standing(peer, None, "not")
    sign = -1 if figure in HIGHER_IS_BETTER else 1

    def above(row: Row) -> float:
        """How far above it a row is; a factor e of time counts as much as 2 % of error."""
        error = sign * (row.mean(figure) - peer.mean(figure)) / peer.mean(figure)
        return max(error, 0.02 * math.log(row.median / peer.median))

    def is_below(row: Row) -> bool:
        return above(row) <= 0

    def is_tied(row: Row) -> bool:
        return by_error(row, peer, figure) != "worse" and by_time(row, peer) != "worse"

    below = [row for row in beside if is_below(row)]
    if below:
        return Standing(peer, min(below, key=lambda row: sign * row.mean(figure)), "below")
    tied = [row for row in beside if len(peer.splits) > 1 and is_tied(row)]
    return Standing(peer, min(tied or beside, key=above), "tied" if tied else "not")
