"""How results are shown: tables for people, JSON and CSV for programs."""

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
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


def table_of(table: "pl.DataFrame", title: str) -> "Group":
    """A frame as a table for people; columns without any value are left out."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD)
    kept = [c for c in table.columns if table[c].null_count() < table.height or not table.height]
    for column in kept:
        numeric = table[column].dtype.is_numeric()
        shown.add_column(
            column.replace("_", " "),
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
            # Numbers do not wrap: without this they would leave no room for a name.
            min_width=None if numeric else min(16, _widest(table[column])),
        )
    for row in table.select(kept).iter_rows():
        # Text, not markup: a title may hold square brackets.
        shown.add_row(*(Text(_cell(value)) for value in row))
    return Group(Text(title, style="bold"), shown)


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
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _widest(texts: "pl.Series") -> int:
    return max((len(_cell(value)) for value in texts), default=0)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value == 0 or 0.01 <= abs(value) < 10_000 else f"{value:.3g}"
