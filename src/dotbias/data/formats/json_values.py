"""JSON however it is laid out: lines, an array of objects or of rows, or objects over several lines."""

import codecs
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dotbias.data.columns import Wanted
from dotbias.data.encodings import as_utf8
from dotbias.data.formats.frames import open_frame
from dotbias.data.formats.json_lines import json_object, open_json_lines
from dotbias.data.formats.objects import of_rows
from dotbias.data.formats.table import Table
from dotbias.data.sources.blob import Blob
from dotbias.errors import DataError

_BLANKS = " \t\r\n,"


def open_json(blob: Blob, wanted: Wanted) -> Table:
    """The table of a text of JSON, in UTF-8.

    Of an array each object is made one line, so that row 3 is its third object.

    Raises:
        DataError: for JSON that is no table, and where an array breaks off.
    """
    head = blob.head()
    first = head.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")[0]
    if not first.startswith(b"[") and (json_object(first) is not None or b"\n" not in head.strip()):
        return open_json_lines(blob, wanted)
    # What comes after the first lines may show another encoding.
    blob, later, notices = as_utf8(blob)
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
        return table.noted(*notices).known(encoding=later if notices else None)
    if rows or not lines:
        raise _no_table(blob.name)
    table = open_json_lines(replace(blob, content="\n".join(lines).encode()), wanted)
    return (
        replace(table, format="JSON array")
        .noted(*notices)
        .known(encoding=later if notices else None)
    )


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
        # Parts of one table may be arrays, one after the other.
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
