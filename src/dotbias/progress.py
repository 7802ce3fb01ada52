"""One progress bar for everything that takes long: downloads, fitting and evaluation."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

_log = logging.getLogger("dotbias")

Advance = Callable[[float, str], None]

_running: list[Advance] = []


def say(text: str) -> None:
    """Show a text in the bar that is running, until its next one; without one, as a note."""
    if _running:
        _running[-1](0, text)
    elif _on_terminal():
        _log.info("%s", text[:1].upper() + text[1:])


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def progress_bar(
    description: str,
    total: float | None,
    *,
    enabled: bool = True,
    unit: Literal["steps", "bytes"] = "steps",
) -> Iterator[Advance]:
    """Show a bar on stderr while the block runs; it vanishes at the end, however the block ends.

    Nothing is shown, and nothing is imported, where stderr is no terminal. Bars do not nest: what
    runs inside a block passes ``enabled=False`` to its own.

    Args:
        description: what is under way, left of the bar.
        total: the amount at which the work is done, or None where it is not known.
        enabled: False shows nothing.
        unit: "bytes" also shows how much of the total has arrived, in readable units.

    Yields:
        A function ``advance(amount, text)``: adds to the amount done and replaces the text between
        the percentage and the time left.

    >>> with progress_bar("fitting", total=2) as advance:
    ...     for epoch in (1, 2):
    ...         advance(1, f"epoch {epoch}")
    """
    if not (enabled and _on_terminal()):
        yield lambda _amount, _text: None
        return

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        *([DownloadColumn()] if unit == "bytes" else []),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        # What a program prints belongs on stdout: rich would send it where the bar is, to stderr.
        redirect_stdout=False,
    )
    task = bar.add_task(description, total=total, text="")

    def advance(amount: float, text: str) -> None:
        bar.update(task, advance=amount, text=text)

    _running.append(advance)
    try:
        with bar:
            yield advance
    finally:
        _running.pop()
