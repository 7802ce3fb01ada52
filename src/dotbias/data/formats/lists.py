"""Lists: a line for each user, with all of the user's items, as LightGCN and CiteULike have them."""

import re
from collections import Counter
from collections.abc import Sequence

import polars as pl

from dotbias.data.columns import Wanted
from dotbias.data.encodings import as_utf8
from dotbias.data.formats.frames import open_frame
from dotbias.data.formats.table import SAMPLED_ROWS, Table
from dotbias.data.reading import Reading
from dotbias.data.sources.blob import Blob
from dotbias.errors import DataError

_MOST_ALIKE = 0.9
_INTEGERS = re.compile(r"\s*\d+(?:[ \t]+\d+)*\s*")


def are_lists(lines: Sequence[str]) -> bool:
    """Whether these lines hold nothing but whole numbers between blanks, of very different lengths."""
    lines = [line for line in lines[:SAMPLED_ROWS] if line.strip()]
    if len(lines) < 2 or not all(_INTEGERS.fullmatch(line) for line in lines):
        return False
    lengths = Counter(len(line.split()) for line in lines)
    users = {line.split()[0] for line in lines}
    # Else a few rows of a table are broken.
    differ = max(lengths.values()) < _MOST_ALIKE * len(lines) and len(users) == len(lines)
    return len(lengths) > 1 and max(lengths) > 2 and (differ or _count(lines))


def open_lists(blob: Blob, wanted: Wanted, reading: Reading) -> Table:
    """The pairs of a text of lists. Where the first number of each line counts the others, users are
    numbered from 1.

    Raises:
        DataError: where no line has an item.
    """
    blob, encoding, recoded = as_utf8(blob)  # of which the beginning may not have shown it
    lines = blob.read().decode("utf-8-sig").splitlines()[reading.skip_lines or 0 :]
    separator = None if reading.separator in (None, " ") else reading.separator
    rows = [[cell.strip() for cell in line.split(separator)] for line in lines if line.strip()]
    notices = []
    if counted := _count([" ".join(row) for row in rows]):
        notices.append("the first number of each line counts its items: left out")
        rows = [[str(number), *row[1:]] for number, row in enumerate(rows, 1)]
    # A list may end in a separator.
    pairs = [(row[0], item) for row in rows for item in row[1:] if item]
    if not pairs:
        raise DataError(f"{blob.name}: no line has an item after its user")
    frame = pl.DataFrame(pairs, schema=["user", "item"], orient="row")
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", cell) for cell in frame["item"].unique()):
        frame = frame.cast({"item": pl.Int64})
    if counted or all(re.fullmatch(r"0|-?[1-9]\d{0,17}", row[0]) for row in rows):
        frame = frame.cast({"user": pl.Int64})
    table = open_frame(blob.name, "lists of items", frame.lazy(), wanted)
    return (
        table.recoded(encoding, recoded)
        .noted(*notices)
        .known(
            layout="lists", header=False, separator=reading.separator, skip_lines=reading.skip_lines
        )
    )


def _count(lines: Sequence[str]) -> bool:
    """Whether the first number of each line says how many others there are."""
    rows = [line.split() for line in lines]
    return all(row[0].isdecimal() and int(row[0]) == len(row) - 1 for row in rows)
