"""Fits that are broken off, by a kill or a full disk, and what must be the same after they went on."""

from contextlib import suppress
from pathlib import Path
from typing import Any

# What differs from fit to fit: times, and what follows from them.
_TIMES = {"seconds", "ratings_per_second", "fitted_at"}


class Killed(BaseException):
    """As if the process had ended: nothing is done any more."""


def without_times(data: Any) -> Any:
    """Plain data without its times."""
    if isinstance(data, dict):
        return {name: without_times(each) for name, each in data.items() if name not in _TIMES}
    return [without_times(each) for each in data] if isinstance(data, list) else data


def fill(disk: Path) -> Path:
    """A file that takes all the room of a disk."""
    path = disk / "other"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return path
