"""What a shell offers for a value that is being typed."""

from collections.abc import Callable, Iterable
from glob import escape, glob
from pathlib import Path

Complete = Callable[[str], list[str]]


def among(*names: str) -> Complete:
    """Completes to one of several names."""
    return lambda incomplete: _beginning(incomplete, names)


def several_among(names: Iterable[str]) -> Complete:
    """Completes the last of several names with commas between them."""
    known = tuple(names)

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in _beginning(last, known)]

    return complete


def ratings(incomplete: str) -> list[str]:
    """Completes to a named set or a file; where nothing is typed yet, the shell lists its files."""
    from dotbias.data.catalog import NAMED_SETS

    return [*_beginning(incomplete, NAMED_SETS), *files(incomplete)] if incomplete else []


def files(incomplete: str) -> list[str]:
    """Completes to a file; where nothing is typed yet, the shell lists its files."""
    if not incomplete:
        return []
    found = sorted(glob(f"{escape(incomplete)}*"))  # noqa: PTH207 - as it is typed
    return [f"{path}/" if Path(path).is_dir() else path for path in found]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
