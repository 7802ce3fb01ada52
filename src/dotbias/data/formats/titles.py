"""Texts of titles in forms of their own, Netflix and MovieLens 100K, and with broken lines."""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from dotbias.data.encodings import MARKS, as_utf8
from dotbias.data.sources.blob import Blob, Frame, named_errors

# id,year,title of the Netflix Prize, in which titles have commas and no quotation marks.
_NETFLIX = re.compile(rb"\d+,(\d{4}|NULL),[^\r\n]*\r?\n")
# u.item of MovieLens 100K: id, title, two dates, address, and what genres it has.
_MOVIELENS_100K = re.compile(rb"\d+\|[^|\r\n]*\|[^|\r\n]*\|[^|\r\n]*\|[^|\r\n]*(\|[01]){19}\r?\n")
# fmt: off
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller",
    "War", "Western",
)
# fmt: on
_SEPARATORS = ",;\t|"


def reshaped(content: Any, encoding: str | None = None) -> Any:
    """A frame of ids and titles where a text has a form of its own, else what was handed over."""
    if not isinstance(content, Blob):
        return content
    with named_errors(content.name):
        blob, _ = content.unpacked()
        head = blob.head() + b"\n"
        if _MOVIELENS_100K.match(head):
            return Frame(blob.name, "u.item", _movielens_100k(_lines(blob, encoding)).lazy())
        if _has_form(_NETFLIX, head):
            return Frame(blob.name, "movie_titles", _netflix(_lines(blob, encoding)).lazy())
    return content


def _has_form(form: re.Pattern[bytes], head: bytes) -> bool:
    """Whether a text begins so in each of its first lines, of which the last may be cut short."""
    lines = head.splitlines(keepends=True)[:100]
    return all(map(form.fullmatch, lines[:-1] or lines))


def _netflix(lines: Sequence[str]) -> pl.DataFrame:
    rows = [line.split(",", 2) for line in lines if line.count(",") >= 2]
    return pl.DataFrame({"id": _ids(rows), "title": [row[2] for row in rows]})


def _movielens_100k(lines: Sequence[str]) -> pl.DataFrame:
    rows = [fields for line in lines if len(fields := line.split("|")) == 5 + len(_GENRES)]
    # The first flag says that the genres are not known.
    genres = [
        "|".join(name for name, flag in zip(_GENRES[1:], row[6:], strict=True) if flag == "1")
        for row in rows
    ]
    return pl.DataFrame({"id": _ids(rows), "title": [row[1] for row in rows], "genres": genres})


def _ids(rows: Sequence[Sequence[str]]) -> list[int] | list[str]:
    ids = [row[0] for row in rows]
    return [int(id) for id in ids] if all(id.isdecimal() for id in ids) else ids


def _lines(blob: Blob, encoding: str | None) -> list[str]:
    with as_utf8(blob, encoding)[0].lines() as lines:
        return [line.rstrip("\r\n") for line in lines]


def with_whole_lines(content: Any, encoding: str | None = None) -> Blob | None:
    """The text without the lines whose quotation marks are misplaced, each of which would take others
    along; None where there is no such line, or no text.
    """
    if not isinstance(content, Blob):
        return None
    blob, _ = content.unpacked()
    head = blob.head()
    is_wide = encoding or head.startswith(MARKS)
    if (b"\0" in head and not is_wide) or head.lstrip()[:1] in (b"{", b"["):
        return None
    lines = _lines(blob, encoding)
    separator = max(_SEPARATORS, key=lines[0].count)
    # Inside quotation marks a backslash before one is the other way to write it.
    whole = [re.sub(r'\\"(?!\s*([;,\t|]|$))', '""', line) for line in lines]
    broken = [number for number, line in enumerate(whole) if not _is_whole(line, separator)]
    if whole == lines and not broken:
        return None
    notices = (
        (f"{len(broken):,} lines with misplaced quotation marks, the first {broken[0] + 1:,}",)
        if broken
        else ()
    )
    for number in broken:
        whole[number] = ""
    return replace(blob, content="\n".join([*whole, ""]).encode(), notices=notices)


def _is_whole(line: str, separator: str) -> bool:
    try:
        rows = list(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error:
        return False
    return len(rows) <= 1
