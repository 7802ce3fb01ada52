"""Printed tables: what database clients and Markdown show, with a rule below the header, and reviews in
blocks of lines.
"""

import json
import re
from dataclasses import replace

from dotbias.data.columns import Wanted
from dotbias.data.encodings import as_utf8
from dotbias.data.formats.json_values import open_json
from dotbias.data.formats.table import Table
from dotbias.data.formats.text import open_text
from dotbias.data.sources.blob import Blob

_RULE = r"[ \t|+]*:?-{3,}:?[ \t]*(?:[|+][ \t]*:?-{3,}:?[ \t]*)+[|+]?[ \t]*\r?"
_FOOTER = r"\(\d+ rows?\)[ \t]*\r?|\d+ rows? in set.*"
PRINTED = re.compile(rf"\A(?:[^\n]*\n){{0,2}}{_RULE}(?:\n|\Z)".encode())
"""How a text begins that is a printed table."""

BLOCKS = re.compile(
    rb"\A(\w+/\w+): [^\n]*\r?\n(?:\w+/\w+: ?[^\n]*\r?\n)+\r?\n\s*(?:\1: |\Z)", re.IGNORECASE
)
"""How a text begins that has a block of lines for each review, as those of SNAP do."""


def open_printed(blob: Blob, wanted: Wanted) -> Table:
    """The table between the rules; lines that are none of it become blank, so that rows keep their
    numbers.
    """
    # What comes after the first lines may show another encoding.
    blob, encoding, notices = as_utf8(blob)
    text = blob.read().decode("utf-8-sig")
    text = re.sub(rf"(?m)^(?:{_RULE}|{_FOOTER})$", "", text)
    text = re.sub(r"(?m)^[ \t]*\|[ \t]?|[ \t]*\|[ \t]*(?=\r?$)", "", text)
    reading = wanted.reading.known(separator=wanted.reading.separator or "|")
    table = open_text(replace(blob, content=text.encode()), replace(wanted, reading=reading))
    said = "a printed table: rules and what stands below it are left out"
    return replace(table, format="printed table").noted(said).recoded(encoding, notices)


def open_blocks(blob: Blob, wanted: Wanted) -> Table:
    """The table of a text in which each line has a name and a value, and a blank line ends a row."""
    blob, encoding, notices = as_utf8(blob)
    rows: list[dict[str, str]] = [{}]
    for line in blob.read().decode("utf-8-sig").split("\n"):
        name, colon, value = line.partition(":")
        if colon and re.fullmatch(r"\w+/\w+", name):
            rows[-1][name] = value.strip()
        elif not line.strip() and rows[-1]:
            rows.append({})
    lines = "\n".join(json.dumps(row) for row in rows if row)
    table = open_json(replace(blob, content=lines.encode()), wanted)
    return replace(table, format="blocks of lines").recoded(encoding, notices)
