"""Who takes part: the libraries' methods, each with the settings that are tried of it."""

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import list_methods
from method import Settings

SEARCH_SEED = 7
LISTS = {
    name: method
    for name, method in (list_methods.METHODS | list_methods.CURVE).items()
    if name != "dotbias, by rating"
}
# With a seed it takes one thread; the others have no loop that threads share.
_ONE_THREAD = "cornac BPR", "most rated"
_NO_SEED = "most rated", "EASE", "EASE, targets by rating", "item-kNN"


@dataclass(frozen=True)
class Contestant:
    """One method.

    Args:
        task: ``"ratings"`` or ``"rankings"``.
        library: whose environment it runs in.
        name: of the row.
        point: whether it is a point of dotbias's curve.
        has_seed, most_threads: as in ``Method``.
    """

    task: str
    library: str
    name: str
    point: bool = False
    has_seed: bool = True
    most_threads: int | None = None

    def tries(self, n: int) -> list[Settings]:
        """The settings to choose from: the library's own, then those drawn; one where none are tried.

        Those of rankings are drawn alone: their space is around what suits ratings.
        """
        if self.task == "rankings":
            return LISTS[self.name].draw(n, SEARCH_SEED)
        method = importlib.import_module(f"libraries.{self.library}").METHODS[self.name]
        if not method.space:
            return [method.defaults]
        drawn = list_methods.drawn(method.space, n - 1, SEARCH_SEED) if n > 1 else []
        return [method.defaults, *drawn]

    def n_tries(self, n: int) -> int:
        """How many of so many tries differ."""
        return len({json.dumps(settings, sort_keys=True) for settings in self.tries(n)})


def contestants(task: str) -> Iterator[Contestant]:
    """All of a task."""
    if task == "rankings":
        for name, listing in LISTS.items():
            yield Contestant(
                task,
                listing.library,
                name,
                point=name in list_methods.CURVE,
                has_seed=name not in _NO_SEED,
                most_threads=1 if name in _ONE_THREAD else None,
            )
        return
    for path in sorted((Path(__file__).parent / "libraries").glob("*.py")):
        if path.stem == "__init__":
            continue
        methods: dict[str, Any] = importlib.import_module(f"libraries.{path.stem}").METHODS
        for name, method in methods.items():
            yield Contestant(
                task,
                path.stem,
                name,
                point=method.point,
                has_seed=method.has_seed,
                most_threads=method.most_threads,
            )
