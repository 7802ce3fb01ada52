"""One progress bar for everything that takes long: downloads, fitting and evaluation."""

import html
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

_log = logging.getLogger("dotbias")

Progress: TypeAlias = bool | Literal["auto"]
"""Whether to show a bar: "auto" (or True) where somebody may see it, on a terminal or in a notebook."""

Advance = Callable[[float, str], None]


class _Bar:
    """A bar that is running."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.room = 0.0  # how far what runs within it may move it


_running: list[_Bar] = []


def say(text: str) -> None:
    """Show a text in the bar that is running, until its next one; without one, as a note."""
    if _running:
        _running[-1].advance(0, text)
    elif _on_terminal():
        _log.info("%s", text[:1].upper() + text[1:])


# Letters of a bar on a terminal for its percentage, the time left, and the gaps between all of these.
_FIGURES = 4 + 5 + 4
# Seconds between two states of a bar in a notebook: each is a message to the browser.
_PAUSE = 0.1


def _notebook() -> Any:
    """The module that displays in the notebook that is running, or None outside of one."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return None
    return sys.modules["IPython"].display


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def progress_bar(
    description: str,
    total: float | None,
    *,
    enabled: Progress = True,
    unit: Literal["steps", "bytes"] = "steps",
) -> Iterator[Advance]:
    """Show a bar while the block runs, on stderr or in the output of a notebook's cell; it vanishes at
    the end, however the block ends.

    Nothing is shown, and nothing is imported, where stderr is no terminal and there is no notebook. A
    bar within another one is a text in that.

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
    notebook = _notebook()
    if not enabled or (notebook is None and not _on_terminal()):
        yield lambda _amount, _text: None
        return
    if _running:
        bar = _within(_running[-1], description, total)
    elif notebook is None:
        bar = _on_stderr(description, total, unit)
    else:
        bar = _in_notebook(notebook, description, total)
    with bar as advance:
        _running.append(_Bar(advance))
        try:
            yield advance
        finally:
            _running.pop()


@contextmanager
def _on_stderr(description: str, total: float | None, unit: str) -> Iterator[Advance]:
    """A bar on a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    bar_width = min(40, console.width // 6)
    # On a narrow screen the text ends early: what is under way, and how far, stays.
    room = max(1, console.width - len(description) - bar_width - _FIGURES)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width),
        TaskProgressColumn(),
        *([DownloadColumn()] if unit == "bytes" else []),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        # What a program prints belongs on stdout: rich would send it where the bar is, to stderr.
        redirect_stdout=False,
    )
    task = bar.add_task(description, total=total, text="")
    with bar:
        yield lambda amount, text: bar.update(
            task, advance=amount, text=text if len(text) <= room else f"{text[: room - 1]}…"
        )


@contextmanager
def part(amount: float) -> Iterator[None]:
    """What runs within the block counts so much of the bar that is running, which moves as it goes.

    >>> with progress_bar("folds", total=2), part(1), progress_bar("fitting", total=40) as advance:
    ...     advance(20, "half of this fold, a quarter of all")
    """
    if not _running:
        yield
        return
    bar = _running[-1]
    bar.room = amount
    yield
    left, bar.room = bar.room, 0.0
    bar.advance(left, "")


def _share(done: float, total: float | None) -> str:
    return "" if not total else f" {min(done / total, 1):.0%}"


@contextmanager
def _within(outer: _Bar, description: str, total: float | None) -> Iterator[Advance]:
    """A bar as the text of the one around it, which it moves through the ``part`` that it is in."""
    done = 0.0

    def advance(amount: float, text: str) -> None:
        nonlocal done
        step = outer.room * min(amount / (total - done), 1) if total and done < total else 0.0
        outer.room -= step
        done += amount
        outer.advance(step, f"{description}{_share(done, total)}  {text}".rstrip())

    yield advance


@contextmanager
def _in_notebook(notebook: Any, description: str, total: float | None) -> Iterator[Advance]:
    """A bar in the output of the cell that is running, without widgets, which not every notebook has."""
    done, started, shown = 0.0, time.monotonic(), 0.0

    def page(text: str) -> Any:
        known = f'value="{done:g}" max="{total:g}"' if total else ""
        left = ""
        if total and 0 < done < total:
            left = f"{(time.monotonic() - started) * (total - done) / done:.0f} s left"
        parts = (f"{description}{_share(done, total)}", text, left)
        words = html.escape("  ".join(part for part in parts if part))
        return notebook.HTML(f"<progress {known}></progress> <span>{words}</span>")

    cell = notebook.display(page(""), display_id=True)

    def advance(amount: float, text: str) -> None:
        nonlocal done, shown
        done += amount
        if time.monotonic() - shown >= _PAUSE:
            cell.update(page(text))
            shown = time.monotonic()

    try:
        yield advance
    finally:
        cell.update(notebook.HTML(""))
