"""What a prompt or a cell of a notebook shows of a result: one line, or its tables and its picture."""

import html
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, TypeAlias

from dotbias.errors import DotbiasError

# A value takes no more than so much of a line, and a cell no more than so much of a table.
_IN_LINE, _IN_CELL = 60, 300
_FEW = 4
N_ROWS = 10
"""As many rows are shown of a long table."""


class Rows(NamedTuple):
    """Rows of a frame that are all shown.

    Args:
        table: the frame.
        of: how many rows there are, where these are the first of more.
    """

    table: Any
    of: int = 0


Part: TypeAlias = Any
"""What is shown below each other: a sentence, figures by name, records of one kind, or a frame."""


class Shown:
    """Base of all results: a ``repr`` of one short line, and in a notebook tables and the picture.

    Both tell the fields of a dataclass, arrays by their shapes. A class with better tables gives them in
    ``_parts``; the picture is that of its own ``picture``.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Without one in the class itself, ``dataclass`` would write one, with every array in it.
        if "__repr__" not in vars(cls):
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        told = (f"{name}={brief(value)}" for name, value in _told(self))
        return f"{type(self).__name__}({', '.join(told)})"

    def _parts(self) -> Iterable[Part]:
        return parts_of(self)

    def _repr_html_(self) -> str:
        return as_html(self, self._parts())


def brief(value: Any) -> str:
    """A value in a few words: arrays and frames by their shapes, long lists by their lengths.

    >>> brief(0.1234567), brief([1, 2]), brief(range(100)), len(brief("a" * 80))
    ('0.123457', '[1, 2]', 'range of 100', 60)
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if hasattr(value, "iter_rows"):
        return f"{value.height:,} rows"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return f"{float(value):.6g}"
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, Shown):
        text = repr(value)
        return text if len(text) <= _IN_LINE else f"{type(value).__name__}(…)"
    elif isinstance(value, Mapping | Sequence):
        whole = _few(value) if len(value) <= _FEW else ""
        return whole or f"{type(value).__name__} of {len(value):,}"
    else:
        text = repr(getattr(value, "__qualname__", value))
    return text if len(text) <= _IN_LINE else text[: _IN_LINE - 1] + "…"


def _few(values: Any) -> str:
    """All of a few values; nothing where they are too long for a line."""
    if isinstance(values, Mapping):
        text = "{" + ", ".join(f"{brief(k)}: {brief(v)}" for k, v in values.items()) + "}"
    else:
        inner = ", ".join(map(brief, values))
        text = f"({inner})" if isinstance(values, tuple) else f"[{inner}]"
    return text if len(text) <= _IN_LINE else ""


def _told(result: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a result that say anything, by name."""
    if not is_dataclass(result):
        return
    for spec in fields(result):
        value = getattr(result, spec.name)
        if spec.repr and value is not None:
            yield spec.name, value


def parts_of(result: Any, *, without: Iterable[str] = ()) -> Iterator[Part]:
    """The fields of a dataclass: first what fits a line, then those that are tables.

    Args:
        result: the dataclass.
        without: fields to leave out.
    """
    told = {name: value for name, value in _told(result) if name not in without}
    tables = {name: value for name, value in told.items() if _is_table(value)}
    empty = {
        name for name, value in told.items() if hasattr(value, "iter_rows") and name not in tables
    }
    yield {name: value for name, value in told.items() if name not in tables.keys() | empty}
    for name, table in tables.items():
        yield name
        yield table


def _is_table(value: Any) -> bool:
    if hasattr(value, "iter_rows"):
        return bool(value.height)
    return isinstance(value, list | tuple) and bool(value) and all(map(is_dataclass, value))


# -- HTML ------------------------------------------------------------------------------------------
# Nothing here has a colour: text is that of the notebook, and so is what lies behind it.


def as_html(result: Any, parts: Iterable[Part]) -> str:
    """A result for a notebook: its name, what it shows, and its picture where that can be drawn."""
    shown = [f"<p><strong>{html.escape(type(result).__name__)}</strong></p>", *map(_part, parts)]
    if callable(getattr(result, "picture", None)):
        with suppress(DotbiasError):  # nothing to draw, or nothing to draw it with
            shown.append(result.picture()._repr_html_())
    return f'<div style="overflow-x: auto">{"".join(shown)}</div>'


def _part(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>" if part else ""
    if isinstance(part, Mapping):
        figures = "".join(
            f"<tr>{_cell(str(name))}{_cell(value, 'left')}</tr>"
            for name, value in part.items()
            if not (isinstance(value, Mapping | Sequence) and not value)
        )
        return f"<table><tbody>{figures}</tbody></table>" if figures else ""
    if isinstance(part, Rows):
        return _table(part.table.columns, part.table.iter_rows(), part.of)
    if hasattr(part, "iter_rows"):
        return _table(part.columns, part.head(N_ROWS).iter_rows(), part.height)
    records = [dict(_told(record)) for record in part[:N_ROWS]]
    names = list(dict.fromkeys(name for record in records for name in record))
    # First what a row is called.
    names.sort(key=lambda name: not all(isinstance(r.get(name, ""), str) for r in records))
    rows = [[record.get(name) for name in names] for record in records]
    return _table(names, rows, len(part))


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]], n_rows: int) -> str:
    rows = list(rows)
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    more = n_rows - len(rows)
    below = f"<p>… and {more:,} more</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _cell(value: Any, side: str = "") -> str:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if value is None:
        text = ""
    elif isinstance(value, str):
        text = value if len(value) <= _IN_CELL else value[: _IN_CELL - 1] + "…"
    elif is_number and not isinstance(value, numbers.Integral):
        text = f"{float(value):.5g}"
    else:
        text = brief(value)
    side = side or ("right" if is_number else "left")
    return f'<td style="text-align: {side}">{html.escape(text)}</td>'
