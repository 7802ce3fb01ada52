"""The sets, how each is split, and what is found out on the rows held out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import dotbias as db
import lists
import protocols

INNER_SEED = 7
"""Of the training rows that are held out to choose settings on."""
LISTS_SEEDS = 42, 43, 44
INVENTED = "invented"
"""A small set with four planted factors, to see in minutes whether all libraries work."""
SIMULATED = {
    INVENTED: {"n_users": 300, "n_items": 200, "n_ratings": 12_000, "n_factors": 4},
    **{
        f"simulated-{n}m": {
            "n_users": n * 1_000_000 // 145,
            "n_items": n * 1_000_000 // 740,
            "n_ratings": n * 1_000_000,
        }
        for n in (1, 20)
    },
}
_SIMULATION_SEEDS = 0, 1, 2
RATINGS = (*protocols.SPREAD, "movietweetings", *SIMULATED, *protocols.LARGE)
RANKINGS = (*lists.FILES, *protocols.LARGE)


class Part(Protocol):
    """Rows to fit, and rows to measure on."""

    def save(self, path: Path) -> None:
        """Write what the worker reads."""

    def inner(self) -> "Part":
        """The same of the training rows alone, to choose settings on."""

    def figures(self, found: Any) -> dict[str, float]:
        """Of what the worker found; ``loss`` is what settings are chosen by."""


@dataclass(frozen=True, eq=False)
class RatingPart:
    """Of ratings: held-out rows of any kind, those of new users and items too."""

    train: db.Ratings
    test: db.Ratings
    _biases: list[Any] = field(default_factory=list)

    def save(self, path: Path) -> None:
        users, items = self._asked()
        np.savez(
            path,
            users=self.train.user_indices,
            items=self.train.item_indices,
            values=self.train.values,
            asked_users=users,
            asked_items=items,
        )

    def inner(self) -> "RatingPart":
        return RatingPart(*self.train.split(0.1, seed=INNER_SEED))

    def figures(self, found: Any) -> dict[str, float]:
        """RMSE and MAE of predictions within the scale. Where a library has none, which is only for
        users and items that training lacks, biases alone stand in.
        """
        found = np.where(np.isnan(found), self._by_biases(), found)
        errors = np.clip(found, *self.train.scale) - self.test.values.astype(np.float64)
        rmse = float(np.sqrt(np.mean(errors**2)))
        return {"rmse": rmse, "mae": float(np.mean(np.abs(errors))), "loss": rmse}

    def _asked(self) -> Any:
        train, test = self.train, self.test
        users = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
        items = train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]
        return users, items

    def _by_biases(self) -> Any:
        if not self._biases:
            rec = db.fit(self.train, db.Baseline(), progress=False)
            self._biases.append(rec.model.predict(rec.parameters, *self._asked()))
        return self._biases[0]


@dataclass(frozen=True, eq=False)
class RankingPart:
    """Of lists: a fifth of each user's rows is held out."""

    split: lists.Split
    liked: float

    def save(self, path: Path) -> None:
        self.split.save(path)

    def inner(self) -> "RankingPart":
        return RankingPart(lists.Split.of(self.split.train, "known", INNER_SEED), self.liked)

    def figures(self, found: Any) -> dict[str, float]:
        """nDCG@10, every held-out row relevant, and those liked; settings are chosen by both."""
        every, liked = (lists.mean(self.split.ndcg(found, at)) for at in (-np.inf, self.liked))
        return {"ndcg": every, "liked": liked, "loss": 1 - (every + liked) / 2}


def labels(task: str, name: str) -> list[str]:
    """Of the splits, in order."""
    if task == "rankings":
        return [str(seed) for seed in LISTS_SEEDS]
    if name in SIMULATED:
        return [str(seed) for seed in _SIMULATION_SEEDS]
    return protocols.labels(name)


@lru_cache(maxsize=5)
def part(task: str, name: str, label: str) -> Part:
    """One split."""
    if task == "rankings":
        ratings = protocols.ratings(name)
        return RankingPart(lists.Split.of(ratings, "known", int(label)), lists.LIKED.get(name, 4))
    if name in SIMULATED:
        made = db.simulate(**SIMULATED[name], seed=int(label))
        return RatingPart(*made.ratings.split(0.1, seed=42))
    return RatingPart(*protocols.split(name, label))


def there(task: str, only: Sequence[str] | None) -> Iterator[str]:
    """Names of the sets of a task that are on this machine, all or those asked for."""
    for name in RATINGS if task == "ratings" else RANKINGS:
        here = name not in protocols.LARGE or protocols.downloaded(name)
        if here and (name != INVENTED if only is None else name in only):
            yield name
