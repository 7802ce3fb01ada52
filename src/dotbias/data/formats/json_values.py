"""JSON however it is laid out: lines, an array, objects over several lines, objects in objects."""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from dotbias.data.columns import Wanted
from dotbias.data.encodings import as_utf8
from dotbias.data.formats.frames import open_frame
from dotbias.data.formats.json_lines import JsonLinesTable, json_object, open_json_lines
from dotbias.data.formats.json_shapes import shapes
from dotbias.data.formats.objects import of_rows
from dotbias.data.formats.python_lines import as_json, is_python
from dotbias.data.formats.table import SAMPLED_ROWS, Table
from dotbias.data.sources.blob import Blob
from dotbias.errors import DataError

_BLANKS = " \t\r\n,"


def open_json(blob: Blob, wanted: Wanted) -> Table:
    """The table of a text of JSON in UTF-8, in any shape (see ``json_shapes``), or of Python's
    dictionaries.

    Of an array each object is made one line, so that row 3 is its third object.

    Raises:
        DataError: for JSON that is no table, and where an array breaks off.
    """
    head = blob.head()
    first = head.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")[0]
    if json_object(first) is None and is_python(first):
        blob, encoding, notices = as_utf8(blob)
        text = blob.read().decode("utf-8-sig")
        lines = "\n".join(as_json(text, blob.name))
        table = _in_any_shape(replace(blob, content=lines.encode()), wanted)
        return replace(table, format="lines of Python").recoded(encoding, notices)
    return _in_any_shape(blob, wanted)


def _in_any_shape(blob: Blob, wanted: Wanted) -> Table:
    """The table of flat objects, or else of those that a nested text can be made to be."""
    fault = None
    try:
        table = _open_flat(blob, wanted)
        if not _is_nested(table):
            return table
    except DataError as error:
        fault = error
    try:
        first = _first_values(blob)
        for shape in shapes(first):
            try:
                _open_flat(_as_lines(blob, shape(first)), wanted)
            except DataError:
                continue
            text_blob, encoding, notices = as_utf8(blob)
            text = text_blob.read().decode("utf-8-sig")
            rows = shape([value for value, _ in _values(text, blob.name)])
            nested = _open_flat(_as_lines(blob, rows), wanted)
            if not _is_nested(nested):
                return replace(nested, format="nested JSON").recoded(encoding, notices)
    except DataError:  # what is wrong with the text itself has been said
        pass
    if fault is not None:
        raise fault
    return table


def _first_values(blob: Blob) -> list[Any]:
    """The first objects of a text of lines, which tell whether any shape helps; else the first values of
    the whole text.
    """
    lines = blob.head().removeprefix(codecs.BOM_UTF8).split(b"\n")
    objects = [one for line in lines if (one := json_object(line)) is not None]
    if len(objects) > 1:
        return objects[:SAMPLED_ROWS]
    text = as_utf8(blob)[0].read().decode("utf-8-sig")
    return [value for value, _ in islice(_values(text, blob.name), SAMPLED_ROWS)]


def _as_lines(blob: Blob, rows: Sequence[Mapping[str, Any]]) -> Blob:
    return replace(blob, content="\n".join(map(json.dumps, rows)).encode())


def _is_nested(table: Table) -> bool:
    """Whether a role has objects or lists in the place of most values."""
    if not isinstance(table, JsonLinesTable):
        return False
    lines = table.blob.head().split(b"\n")[:SAMPLED_ROWS]
    objects = [one for line in lines if (one := json_object(line)) is not None]
    names = [table.columns[at] for role, at in table.places.items() if role != "genres"]
    return any(
        2 * sum(isinstance(one.get(name), dict | list) for one in objects) > len(objects)
        for name in names
    )


def _open_flat(blob: Blob, wanted: Wanted) -> Table:
    """The table of a text of flat objects, on lines or in an array, or of an array of rows."""
    head = blob.head()
    first = head.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")[0]
    if not first.startswith(b"[") and (json_object(first) is not None or b"\n" not in head.strip()):
        return open_json_lines(blob, wanted)
    # What comes after the first lines may show another encoding.
    blob, encoding, notices = as_utf8(blob)
    text = blob.read().decode("utf-8-sig")
    lines, rows = [], []
    for value, written in _values(text, blob.name):
        if isinstance(value, dict):
            lines.append(written.replace("\r", " ").replace("\n", " "))
        elif isinstance(value, list):
            rows.append(value)
        else:
            raise _no_table(blob.name)
    if rows and not lines:
        frame = of_rows(blob.name, "JSON array of rows", rows)
        table = open_frame(frame.name, frame.format, frame.lf, wanted, header=False)
        return table.recoded(encoding, notices)
    if rows or not lines:
        raise _no_table(blob.name)
    table = open_json_lines(replace(blob, content="\n".join(lines).encode()), wanted)
    return replace(table, format="JSON array").recoded(encoding, notices)


def _values(text: str, name: str) -> Iterator[tuple[Any, str]]:
    """The values of an array, or of a text of several values, and how each is written."""
    decoder = json.JSONDecoder()
    at, n_read, is_array, inside = 0, 0, False, False
    while True:
        start, at = at, _after_blanks(text, at)
        if text.count(",", start, at) > 1:
            raise DataError(
                f"{name}, row {n_read + 1:,}: not well-formed JSON (a value is missing)"
            )
        if at == len(text):
            break
        # There may be several arrays, one after the other.
        if text[at] == ("]" if inside else "["):
            at, is_array, inside = at + 1, True, not inside
            continue
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            if n_read == 0 and not is_array:
                raise _no_table(name) from error
            said = "too deeply nested" if isinstance(error, RecursionError) else str(error)
            raise DataError(f"{name}, row {n_read + 1:,}: not well-formed JSON ({said})") from error
        yield value, text[at:end]
        at, n_read = end, n_read + 1
    if inside:
        raise DataError(f"{name}: the JSON array is damaged or cut short (after row {n_read:,})")


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def _no_table(name: str) -> DataError:
    return DataError(
        f"{name}: JSON, but neither with one object on each line nor an array of objects; of a frame "
        "of pandas: to_json(..., orient='records')"
    )
