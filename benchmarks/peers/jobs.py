"""What is to be fitted, in which order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from contestants import Contestant
from method import Settings
from records import Record, Records, plain

Kind = Literal["try", "fit"]


@dataclass(frozen=True)
class Visit:
    """What one process does for one contestant: a list of fits, one after the other.

    Args:
        kind: ``"try"`` on inner splits, one thread; ``"fit"`` on the splits themselves.
        name: of the set.
        contestant: who.
        threads: how many.
        repeat: which; also the seed of the fit, where there is one.
    """

    kind: Kind
    name: str
    contestant: Contestant
    threads: int = 1
    repeat: int = 0

    @property
    def seed(self) -> int:
        return self.repeat if self.contestant.has_seed else 0

    def record(self, split: str, settings: Settings) -> Record:
        """What the record of one of its fits begins with."""
        return {
            "kind": self.kind,
            "task": self.contestant.task,
            "set": self.name,
            "split": split,
            "method": self.contestant.name,
            "library": self.contestant.library,
            "settings": settings,
            "threads": self.threads,
            "seed": self.seed,
            "repeat": self.repeat,
        }

    def jobs(self, splits: Sequence[str], n_tries: int, records: Records) -> Iterator[Record]:
        """Records of its fits, in order, for those splits of which the settings are known."""
        for split in splits:
            if self.kind == "try":
                tries = self.contestant.tries(n_tries)
                if len(tries) > 1:
                    yield from (self.record(split, settings) for settings in tries)
                continue
            settings = self.chosen(split, n_tries, records)
            if settings is not None:
                yield self.record(split, settings)

    def chosen(self, split: str, n_tries: int, records: Records) -> Settings | None:
        """The settings with the least loss on training rows of this split, None where all failed. Where
        none were tried here, as the first took all the time there is on another split, it is the first.
        """
        first, *others = self.contestant.tries(n_tries)
        if not others:
            return first
        tried = Visit("try", self.name, self.contestant)
        jobs = (records.get(tried.record(split, settings)) for settings in (first, *others))
        found: list[Any] = [record for record in jobs if record is not None]
        done = [one for one in found if "failed" not in one]
        if found or not tried.first_seconds(records):
            return min(done, key=lambda one: one["figures"]["loss"])["settings"] if done else None
        return first

    def first_seconds(self, records: Records) -> list[float]:
        """Seconds that the first settings took, with all around the fit, on splits where they did not
        fail.
        """
        who = {"task": self.contestant.task, "set": self.name, "method": self.contestant.name}
        first = plain(self.contestant.tries(1)[0])
        found = records.all("try", settings=first, **who)
        return [record["wall"] for record in found if "failed" not in record]


def visits(
    name: str, who: Sequence[Contestant], threads: Sequence[int], repeats: int
) -> Iterator[Visit]:
    """Of one set: all searches, then in each repeat everyone once for each number of threads. Each
    repeat begins further down the list, so that nobody is always the first or the last.
    """
    for contestant in who:
        yield Visit("try", name, contestant)
    for repeat in range(repeats):
        for n in threads:
            for contestant in rotated(who, repeat, repeats):
                if n <= (contestant.most_threads or n):
                    yield Visit("fit", name, contestant, n, repeat)


def rotated(who: Sequence[Contestant], repeat: int, repeats: int) -> list[Contestant]:
    """A list that begins at another of so many evenly spaced places in each repeat."""
    at = repeat * len(who) // repeats
    return [*who[at:], *who[:at]]
