"""How results are shown: tables for people, JSON and CSV for programs."""

import contextlib
import itertools
import json
import math
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from datetime import time as clock
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console, Group


def console() -> "Console":
    """Where tables for people go: stdout."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise  # called where it is caught; Rich would end the program here

    return Output(highlight=False)


@contextlib.contextmanager
def before_saving(errors: list[OSError]) -> Iterator[None]:
    """Print while work goes on: that stdout takes no more must not end it, and is noted for its end."""
    try:
        yield
    except OSError as error:
        errors.append(error)


def say(message: str) -> None:
    """A sentence for people, on stderr so that stdout holds nothing but results."""
    import logging

    logging.getLogger("dotbias").info(message)


def quiet() -> bool:
    """Whether the user asked for silence."""
    import logging

    return logging.getLogger("dotbias").level > logging.INFO


def one_format(as_json: bool, as_csv: bool) -> None:
    """Refuse two formats at once."""
    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv")


def frame(
    table: "pl.DataFrame", title: str, *, as_json: bool = False, as_csv: bool = False
) -> None:
    """Print a frame as a table, JSON (a list of objects) or CSV."""
    one_format(as_json, as_csv)
    if as_json:
        data(table.to_dicts())
    elif as_csv:
        print(table.write_csv(), end="")
    else:
        console().print(table_of(table, title))


# Columns that a narrow screen does without, the first to go first. What is not named here stays: names,
# and the figure that was asked for.
_SPARE = (
    *(
        " ",
        "finder_s",
        "M/s",
        "basis",
        "final",
        "s",
        "n_ratings",
        "n_ratings_train",
        "item",
        "rank",
    ),
    *("mean_rating", "count", "steps", "epoch", "state", "prediction_std", "std", "user"),
)
_NAME = 16  # letters that a column of names has at least, where there are as many
_GAP = 2  # between two columns


def table_of(table: "pl.DataFrame", title: str) -> "Group":
    """A frame as a table for people, as wide as their screen; columns without any value are left out.

    Cells and headers fold between words. Where not even that is narrow enough, columns go, by
    ``_SPARE``, and a note says which.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    room = console().width
    kept = [c for c in table.columns if table[c].null_count() < table.height or not table.height]
    cells = {c: [_header(c), *map(_cell, table[c])] for c in kept}
    least = {c: _least(texts) for c, texts in cells.items()}
    # The first column names the rows, the last of all is not left alone.
    gone = []
    for column in _SPARE:
        if len(kept) <= 2 or _total(least[c] for c in kept) <= room:
            break
        if column in kept:
            kept.remove(column)
            gone.append(_header(column))
    wide = room >= _total(least[c] for c in kept) + 2 * (_GAP + len(kept))
    shown = Table(
        box=box.SIMPLE_HEAD,
        show_edge=wide,
        pad_edge=wide,
        padding=(0, 1) if wide else (0, _GAP - 1, 0, 0),
    )
    room -= 3 * len(kept) + 1 if wide else _GAP * (len(kept) - 1)
    widths = _widths([least[c] for c in kept], [max(map(len, cells[c])) for c in kept], room)
    for column, width in zip(kept, widths, strict=True):
        numeric = table[column].dtype.is_numeric()
        shown.add_column(
            _header(column), justify="right" if numeric else "left", overflow="fold", width=width
        )
    for row in zip(*(cells[c][1:] for c in kept), strict=True):
        # Text, not markup: a title may hold square brackets.
        shown.add_row(*map(Text, row))
    if gone := [name for name in gone if name.strip()]:
        say(f"Not shown on a screen of {console().width} columns: {', '.join(gone)}.")
    return Group(Text(title, style="bold"), shown)


def _header(column: str) -> str:
    return column.replace("_", " ")


def _least(texts: list[str]) -> int:
    """The narrowest that a column can be without a word that breaks or a name in shreds."""
    words = [len(word) for text in texts for word in text.split(" ")]
    return max(max(words), min(_NAME, max(map(len, texts[1:]), default=0)))


def _total(widths: Iterable[int]) -> int:
    return sum(width + _GAP for width in widths) - _GAP


def _widths(least: list[int], most: list[int], room: int) -> list[int]:
    """Widths of columns: letter by letter, what is left of the room goes to the narrowest."""
    widths = list(least)
    for _ in range(room - sum(least)):
        lacking = [n for n, width in enumerate(widths) if width < most[n]]
        if not lacking:
            break
        widths[min(lacking, key=widths.__getitem__)] += 1
    return widths


def text(message: str, *, heading: int = 0) -> None:
    """A text for people, on stdout, the first ``heading`` letters in bold."""
    from rich.text import Text

    shown = Text(folded(message, sys.stdout))
    shown.stylize("bold", 0, heading)
    console().print(shown, soft_wrap=True)


def folded(message: str, stream: Any) -> str:
    """A text whose lines fit a terminal: they end between words, and columns that it aligns stay whole.

    What goes elsewhere, into a file or a pipe, stays as it is.
    """
    if stream is None or not stream.isatty():
        return message
    width = shutil.get_terminal_size().columns
    lines: list[str] = []
    for aligned, group in itertools.groupby(message.split("\n"), _is_row):
        rows = list(group)
        fits = max(map(len, rows)) <= width
        lines += rows if fits else _in_blocks(rows, width) if aligned else _wrapped(rows, width)
    return "\n".join(lines)


def _is_row(line: str) -> bool:
    """Whether a line belongs to a table: three cells and more with gaps between them."""
    return len(re.split(r" {2,}", line.strip())) > 2


def _wrapped(lines: list[str], width: int) -> Iterator[str]:
    for line in lines:
        # A heading, two spaces, and what it is about: the rest stands under that.
        heading = re.match(r"\s*\S[^ ]*(?: [^ ]+)* {2,}|\s*", line)
        indent = min(heading.end() if heading else 0, width // 2)
        yield from textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
            drop_whitespace=True,
        ) or [""]


def _in_blocks(rows: list[str], width: int) -> Iterator[str]:
    """A table that is too wide as several, one below the other: each begins with the first column."""
    longest = max(map(len, rows))
    padded = [row.ljust(longest) for row in rows]
    gaps = [n for n in range(longest) if all(row[n] == " " for row in padded)]
    # Columns end where all rows are blank and the header is so twice.
    ends = [n for n in gaps if n - 1 not in gaps and padded[0][n : n + 2] == "  "] + [longest]
    columns = list(itertools.pairwise([0, *ends]))
    (_, first), others = columns[0], columns[1:]
    while others:
        n = max(1, sum(end - others[0][0] <= width - first for _, end in others))
        block, others = others[:n], others[n:]
        for row in padded:
            yield (row[:first] + row[block[0][0] : block[-1][1]]).rstrip()


def data(value: Any) -> None:
    """Print plain data as JSON; a number that JSON does not have, such as NaN, is null."""
    # Programs read letters as they are and as numbers; question marks in their place are lost.
    lacks_letters = not getattr(sys.stdout, "encoding", "utf-8").lower().startswith("utf")
    text = json.dumps(_in_json(value), indent=2, ensure_ascii=lacks_letters, allow_nan=False)
    typer.echo(text)


def _in_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _in_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_in_json(inner) for inner in value]
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return value.isoformat() if isinstance(value, date | clock) else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value == 0 or 0.01 <= abs(value) < 10_000 else f"{value:.3g}"
