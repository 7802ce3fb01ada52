"""Fits that are broken off, and what must be the same when they have gone on."""

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
