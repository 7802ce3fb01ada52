"""Text of rows and columns: CSV, TSV, and the like."""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, Self

import polars as pl

from dotbias.data.columns import (
    VALUES,
    Wanted,
    clipped,
    find_columns,
    has_header,
    is_wide,
)
from dotbias.data.encodings import as_utf8
from dotbias.data.formats.lists import are_lists, open_lists
from dotbias.data.formats.table import SAMPLED_ROWS, Row, Table, at, id_integers
from dotbias.data.formats.wide import widened
from dotbias.data.names import only_numbered
from dotbias.data.reading import NONE, Reading
from dotbias.data.sources.blob import Blob
from dotbias.errors import DataError

# Python's reader takes 131,072 characters a field by itself, and a review may be longer; how much may be
# unpacked is bounded elsewhere.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))

# The likeliest first.
_SEPARATORS = {
    "::": "two-colon text",
    "\t\t": "TSV (double tabs)",
    ",": "CSV",
    "\t": "TSV",
    ";": "CSV (;)",
    "|": "CSV (|)",
    "\x01": "text of Hive (^A)",
    "^": "text (^)",
    "~": "text (~)",
}
_BLANK = " "
# Polars splits at a single byte, so what is longer becomes this one, which was made for the purpose.
_UNIT_SEPARATOR = "\x1f"
_INTEGER = re.compile(r"(?:0|-?[1-9]\d*)(?:\.0+)?")
_NUMBER = re.compile(r'"?[-+\d.,]+(?:[eE][-+]\d+)?"?')
# Fields between tabs, each in quotation marks or without any; the last may be cut short.
_WELL_QUOTED = re.compile(r'(?>(?:"(?:[^"]|"")*+"|[^"\t\r\n]*+)(?:\t|\r?\n))*+(?:"[^"]*|[^"]*)"?')
# What looks like a field in quotation marks.
_LIKE_QUOTED = re.compile(r'(?:^|\t)"[^\t\r\n]*"(?:\t|\r?$)', re.MULTILINE)
_BACKSLASHED = re.compile(rb'\\"(?![;,\t|\r\n])')
_AS_THEY_STAND = "quotation marks inside fields: taken as they stand"
_NETFLIX = re.compile(r"\s*\w+:\s*\n\s*\w+,")
# Its files without ratings: users, perhaps with dates.
_UNRATED = re.compile(r"\s*\d+:\s*\n\s*\d+(?:,\d{4}-\d\d-\d\d)?\s*(?:\n|$)")
# The test files of NCF.
_NEGATIVES = re.compile(r"\(\d+,\s*\d+\)\t\d+\t\d+\t")
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?$", re.IGNORECASE)
_COMMENTS = ("#", "%")
# Bytes at the beginning that are looked at.
_ENOUGH, _LONGEST = 1 << 16, 1 << 23


@dataclass(frozen=True, kw_only=True)
class TextTable(Table):
    """A table of separated text.

    Args:
        blob: its bytes, in UTF-8.
        n_header: number of lines that the header takes.
    """

    blob: Blob
    n_header: int = 0

    def typed(self) -> pl.LazyFrame:
        """See ``Table``."""
        plain = self.reading.decimal != "," and self.reading.rating_as in (None, "number")
        types = dict.fromkeys(VALUES, pl.Float32) if plain else {}
        return self._scan(types | {"time": pl.Int64}).select(self._roles())

    def text(self) -> pl.LazyFrame:
        """See ``Table``."""
        numbered = self._scan({}).with_row_index("row")
        filled = numbered.map_batches(
            _filled, projection_pushdown=False, predicate_pushdown=False, streamable=True
        )
        return filled.select("row", *self._roles())

    def _scan(self, types: Mapping[str, type[pl.DataType]]) -> pl.LazyFrame:
        if self._breaks_off:
            raise pl.exceptions.ComputeError("the last quotation mark is not closed")
        # One column more than there should be catches rows that are too long.
        schema: dict[str, Any] = {str(k): pl.String for k in range(len(self.columns) + 1)}
        schema |= {str(self.places[role]): types[role] for role in types if role in self.places}
        return pl.scan_csv(
            self.blob.content,
            has_header=False,
            skip_lines=self.n_before,
            schema=schema,
            separator=_delimiter(self.reading),
            quote_char=_quote(self.reading),
            comment_prefix=_comment(self.reading),
            missing_columns="insert",
            extra_columns="ignore",
            glob=False,
        )

    @cached_property
    def _breaks_off(self) -> bool:
        """Whether the text ends between two quotation marks, which Polars takes for a whole field."""
        quote = (_quote(self.reading) or "").encode()
        with self.blob.open() as file:
            file.seek(max(0, self.blob.size() - _ENOUGH))
            last = file.read().rstrip().rpartition(b"\n")[2]
            if not quote or last.count(quote) % 2 == 0:
                return False
            file.seek(0)  # the field may have begun on an earlier line
            return (
                sum(chunk.count(quote) for chunk in iter(lambda: file.read(1 << 20), b"")) % 2 > 0
            )

    @property
    def n_before(self) -> int:
        """Number of lines before the first row."""
        return (self.reading.skip_lines or 0) + self.n_header

    def _roles(self) -> list[pl.Expr]:
        places = {**self.places, "extra": len(self.columns)}
        return [pl.col(str(place)).alias(role) for role, place in places.items()]

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """See ``Table``."""
        found = [
            Row(place, self._values(fields), self._fault(len(fields)))
            for place, fields in self._records(numbers)
        ]
        if len(found) < len(numbers):
            raise self._misquoted()
        return found

    def lengths(self, numbers: Sequence[int]) -> list[int]:
        """See ``Table``."""
        found = [len(fields) for _, fields in self._records(numbers)]
        if len(found) < len(numbers):
            raise self._misquoted()
        return found

    def _records(self, numbers: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
        """The line and the fields of each row of the given ascending numbers."""
        with self.blob.lines() as raw, suppress(csv.Error):
            lines = _Lines(raw, _comment(self.reading))
            for _ in range(self.n_before):
                next(raw)
            for fields in at(csv.reader(lines, **_dialect(self.reading)), numbers):
                yield self.n_before + lines.number - sum(f.count("\n") for f in fields), fields

    def _values(self, fields: Sequence[str]) -> dict[str, str]:
        return {role: fields[k] if k < len(fields) else "" for role, k in self.places.items()}

    def _fault(self, n_fields: int) -> str:
        n_columns = len(self.columns)
        return "" if n_fields == n_columns else f"has {n_fields} columns instead of {n_columns}"

    def check_quotes(self) -> None:
        """See ``Table``."""
        try:
            with self.blob.lines() as lines:
                for _ in csv.reader(lines, strict=True, **_dialect(self.reading)):
                    pass
        except csv.Error as error:
            raise self._misquoted() from error

    def repaired(self, error: Exception) -> Self:
        """The table of the text in another encoding, where it is not UTF-8; else, between tabs, without
        quotation marks that mean anything.
        """
        blob, encoding, notices = as_utf8(self.blob)
        if blob is not self.blob:
            return replace(self, blob=blob).recoded(encoding, notices)
        given = self.wanted.reading.quote
        if given is None and self.reading.separator == "\t" and self.reading.quote != NONE:
            return self.noted(_AS_THEY_STAND).known(quote=NONE)
        raise self._misquoted() from error

    def _misquoted(self) -> DataError:
        """Names the first row whose quotation marks are, as far as can be told, misplaced: so odd that
        two parsers disagree on them.
        """
        row = 1
        with self.blob.lines() as lines, suppress(csv.Error):
            records = csv.reader(lines, strict=True, **_dialect(self.reading))
            for fields in records:
                if any(value.count('"') % 2 for value in fields):
                    break
                row = records.line_num + 1
        where, row = (self.name, row) if self.origin is None else self.origin(row)
        return DataError(
            f"{where}, row {row:,}: not well-formed {self.format}; a quotation mark inside a "
            'field is written twice ("") and the field itself put in quotation marks; where quotation '
            "marks mean nothing, pass quote='none' (on the command line --quote none)"
        )


@dataclass(frozen=True, kw_only=True)
class NetflixTable(TextTable):
    """Text in which a line with an item and a colon stands before the lines of its users."""

    def typed(self) -> pl.LazyFrame:
        """See ``Table``."""
        return self.text().drop("row")

    def text(self) -> pl.LazyFrame:
        """See ``Table``."""
        line = pl.col("line").str.strip_chars()
        lf = pl.scan_csv(
            self.blob.content,
            has_header=False,
            schema={"line": pl.String},
            separator=_UNIT_SEPARATOR,
            quote_char=None,
            skip_lines=self.reading.skip_lines or 0,
            glob=False,
        )
        head = line.str.ends_with(":")
        fields = line.str.splitn(",", len(self.columns)).struct
        places = {role: place for role, place in self.places.items() if role != "item"}
        return (
            lf.with_row_index("row")
            .with_columns(
                pl.when(head).then(line.str.strip_chars_end(": ")).forward_fill().alias("item")
            )
            .filter(~head & (line.fill_null("") != ""))
            .select(
                "row",
                **{
                    role: pl.col("item") if role == "item" else fields.field(f"field_{place - 1}")
                    for role, place in {**places, "item": 0}.items()
                    if role in self.places
                },
                extra=fields.field(f"field_{len(self.columns) - 1}"),
            )
        )

    def _records(self, numbers: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
        skip = self.reading.skip_lines or 0
        with self.blob.lines() as raw:
            lines = at(islice(raw, skip, None), numbers)
            for number, line in zip(numbers, lines, strict=False):
                yield skip + number + 1, ["", *line.strip().split(",")]

    def _fault(self, n_fields: int) -> str:
        n_columns = len(self.columns) - 1
        return (
            ""
            if n_fields - 1 == n_columns
            else f"has {n_fields - 1} columns instead of {n_columns}"
        )


def _filled(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that are not blank. One expression of thousands of columns would take minutes."""
    filled = pl.repeat(False, frame.height, eager=True)
    for column in frame.get_columns()[1:]:
        filled |= column.fill_null("") != ""
        if filled.all():
            return frame
    return frame.filter(filled)


class _Lines:
    """Lines without comments, counted with them."""

    def __init__(self, lines: Iterator[str], comment: str | None) -> None:
        self.lines, self.comment, self.number = lines, comment, 0

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.number += 1
            if self.comment is None or not line.startswith(self.comment):
                yield line


def _delimiter(reading: Reading) -> str:
    separator = reading.separator or ","
    single = len(separator.encode()) == 1 and separator != _BLANK
    return separator if single else _UNIT_SEPARATOR


def _quote(reading: Reading) -> str | None:
    return None if reading.quote == NONE else reading.quote or '"'


def _comment(reading: Reading) -> str | None:
    return None if reading.comment == NONE else reading.comment


def _dialect(reading: Reading) -> dict[str, Any]:
    """How to separate and quote, as ``csv.reader`` takes it."""
    quote = _quote(reading)
    quoting = {"quoting": csv.QUOTE_NONE} if quote is None else {"quotechar": quote}
    return {"delimiter": _delimiter(reading), **quoting}


# Detecting ----------------------------------------------------------------------------------------


def open_text(blob: Blob, wanted: Wanted) -> Table:
    """The table of separated text in UTF-8, whatever separates it, with or without a header."""
    head = blob.head()
    whole = head[: head.rfind(b"\n") + 1] or head
    if b"\r" in whole and b"\n" not in whole:  # as old Macintoshes end lines
        blob = replace(blob, content=blob.read().replace(b"\r", b"\n"))
    lines = _head(blob)
    if _UNRATED.match("".join(lines[:2])):
        raise DataError(
            f"{blob.name}: users of items without ratings, as in the Netflix Prize's qualifying and "
            "probe: pass a file with ratings, such as combined_data_1.txt"
        )
    if _NEGATIVES.match("".join(lines[:1])):
        raise DataError(
            f"{blob.name}: items that users have not chosen, behind a pair such as (0,25): pass the "
            "file with the pairs that they have, such as ml-1m.train.rating"
        )
    reading = _detected(lines, wanted.reading)
    if reading.layout == "netflix":
        return _open_netflix(blob, wanted, reading)
    if reading.layout == "lists":
        return open_lists(blob, wanted, reading)
    notices: tuple[str, ...] = ()
    if reading.quote == NONE != wanted.reading.quote and _LIKE_QUOTED.search("".join(lines)):
        notices = (_AS_THEY_STAND,)
    if _BACKSLASHED.search(blob.head()) and _quote(reading) == '"':
        blob = replace(blob, content=_BACKSLASHED.sub(b'""', blob.read()))
        notices = ('quotation marks written \\": read as ""',)
    blob, lines = _separated(blob, lines, reading)
    return _open_rows(blob, lines, wanted, reading, notices)


def _head(blob: Blob) -> list[str]:
    """The first lines: enough to see what the text holds, and never a part of one unless it is huge."""
    content = blob.content
    found: list[bytes] = []
    n_bytes = 0
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        while n_bytes < _LONGEST and (n_bytes < _ENOUGH or len(found) < SAMPLED_ROWS + 3):
            line = file.readline(_LONGEST)
            if not line:
                break
            found.append(line)
            n_bytes += len(line)
    text = b"".join(found).decode("utf-8-sig", errors="replace")
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _detected(lines: Sequence[str], given: Reading) -> Reading:
    """What the first lines say of separator, quotation marks, comments and lines to skip."""
    if given.layout is None and _NETFLIX.match("".join(lines[:2])):
        given = replace(given, layout="netflix")
    if given.layout == "netflix":
        return replace(given, skip_lines=given.skip_lines or 0, separator=",", header=False)
    if given.layout == "lists" or (given.layout is None and are_lists(lines[:-1] or lines)):
        return replace(given, layout="lists")
    skip, separator = given.skip_lines, given.separator
    start = skip or 0
    while skip is None and start < len(lines) and not lines[start].strip():
        start += 1
    if skip is None and start < len(lines) and (line := _SEPARATOR_LINE.match(lines[start])):
        start, separator = start + 1, separator or line[1]
    comment = given.comment
    rows = [line for line in lines[start:] if line.strip()]
    if comment is None and rows and rows[0].startswith(_COMMENTS):
        mark = rows[0][0]
        others = [line for line in rows if not line.startswith(mark)]
        between = separator or _separator(others[:SAMPLED_ROWS])
        if others and not _is_row(rows[0], others[:SAMPLED_ROWS], between):
            comment, rows = mark, others
    elif comment not in (None, NONE):
        rows = [line for line in rows if not line.startswith(str(comment))]
    if separator is None:
        separator = _separator(rows[:SAMPLED_ROWS])
    quote = given.quote
    if quote is None:
        text = "".join(rows)
        odd = separator == "\t" and not _WELL_QUOTED.fullmatch(text)
        longer = len(separator) > 1 or separator == _BLANK
        quote = NONE if odd or (longer and not _quoted(rows, separator)) else '"'
    return replace(
        given,
        skip_lines=start,
        separator=separator,
        comment=comment or NONE,
        quote=quote,
    )


def _is_row(line: str, others: Sequence[str], separator: str) -> bool:
    """Whether a line that begins like a comment has numbers wherever most of the others have some."""
    cells = _fields(line, separator)
    rows = [row for other in others if len(row := _fields(other, separator)) == len(cells)]
    numbers = [
        at
        for at in range(len(cells))
        if 2 * sum(_NUMBER.fullmatch(row[at].strip()) is not None for row in rows) > len(rows)
    ]
    return bool(numbers) and all(_NUMBER.fullmatch(cells[at].strip()) for at in numbers)


def _quoted(rows: Sequence[str], separator: str) -> bool:
    """Whether fields that a longer separator divides have quotation marks around them all."""
    fields = [
        cell.strip() for row in rows[:SAMPLED_ROWS] for cell in row.split(separator) if cell.strip()
    ]
    marked = sum(cell.startswith('"') and cell.endswith('"') and len(cell) > 1 for cell in fields)
    return marked > 0 and all(cell.count('"') in (0, 2) for cell in fields)


def _separator(rows: Sequence[str]) -> str:
    """What stands between columns: what most lines have equally often; else blanks between numbers."""
    best, found = (0.0, 0.0), ","
    for separator in _SEPARATORS:
        counts = Counter(len(_fields(row, separator)) for row in rows)
        counts.pop(1, None)
        if not counts:
            continue
        tabs = sum("\t" in row.replace("\t\t", "") for row in rows)
        if separator == "\t\t" and 2 * tabs > len(rows):
            continue  # empty fields between single tabs
        n, lines = counts.most_common(1)[0]
        score = (round(lines / len(rows), 1), float(n))
        if separator == "," and _are_decimals(rows):
            continue
        if separator == "\t\t":
            score = (score[0], score[1] * 2)
        if score > best:
            best, found = score, separator
    if best[0] < 0.9 and rows:
        lengths = Counter(len(row.split()) for row in rows[1:] or rows)
        n, lines = lengths.most_common(1)[0]
        numbers = any(_NUMBER.fullmatch(cell) for cell in rows[-1].split())
        # R leaves the name of the rows' names out of the header.
        is_even = lines >= 0.9 * len(rows[1:] or rows) and len(rows[0].split()) in (n, n - 1)
        if is_even and n > 1 and numbers:
            return _BLANK
    return found


def _are_decimals(rows: Sequence[str]) -> bool:
    """Whether the commas are decimal ones, in numbers between semicolons."""
    cells = [cell.strip() for row in rows if ";" in row for cell in row.split(";") if "," in cell]
    return bool(cells) and all(re.fullmatch(r"-?\d*,\d+", cell) for cell in cells)


def _fields(row: str, separator: str) -> list[str]:
    if separator == _BLANK:
        return row.split()
    if len(separator) > 1 or '"' not in row:
        return row.rstrip("\r\n").split(separator)
    with suppress(csv.Error, StopIteration):
        return next(csv.reader([row], delimiter=separator))
    return [row]


def _separated(blob: Blob, lines: list[str], reading: Reading) -> tuple[Blob, list[str]]:
    """The text with one character between columns, if there were several."""
    separator = reading.separator or ","
    if _delimiter(reading) == separator:
        return blob, lines
    raw = blob.read()
    if separator == _BLANK:
        raw = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", raw)
        raw = re.sub(rb"[ \t]+", _UNIT_SEPARATOR.encode(), raw)
    else:
        raw = raw.replace(separator.encode(), _UNIT_SEPARATOR.encode())
    blob = replace(blob, content=raw)
    return blob, _head(blob)


def _open_rows(
    blob: Blob, lines: list[str], wanted: Wanted, reading: Reading, notices: tuple[str, ...]
) -> Table:
    """The table of text whose separator is known."""
    start, comment = reading.skip_lines or 0, _comment(reading)
    kept = [n for n in range(start, len(lines)) if not (comment and lines[n].startswith(comment))]
    named = _commented_names(lines, start, kept, wanted, reading)
    if named is not None:
        start = kept[0] - 1
        kept = [start, *kept]
        lines = [*lines[:start], named, *lines[kept[1] :]]
    records: list[list[str]] = []
    ends: list[int] = []  # number of lines up to the end of each record
    try:
        reader = csv.reader((lines[n] for n in kept), **_dialect(reading))
        for fields in islice(reader, SAMPLED_ROWS + 3):
            records.append(fields)
            ends.append(reader.line_num)
    except csv.Error as error:
        if not records:
            raise DataError(
                f"{blob.name}, row 1: not text in rows and columns ({error})"
            ) from error
    filled = [number for number, fields in enumerate(records) if any(fields)]
    if not filled:
        raise DataError(f"{blob.name}: there are no rows")
    records = [[cell.strip() for cell in fields] for fields in records]
    n_columns = _usual_length([records[number] for number in filled[1:]]) or len(records[filled[0]])
    first = filled[0]
    if wanted.reading.skip_lines is None and _is_title(records, filled, n_columns):
        notices = (*notices, f"left out the first line, {clipped(records[first][0])!r}")
        filled, first = filled[1:], filled[1]
    names, following = records[first], [records[number] for number in filled[1:]]
    header = reading.header
    if header is None and following and only_numbered(names, following):
        notices = (*notices, "the header only numbers the columns: left out")
        header, first = False, filled[1]
        names, following = following[0], following[1:]
    if header is None:
        header = has_header(names, following, wanted)
    before = 0 if first == 0 else ends[first - 1]
    skip = kept[before]
    if not header:
        following = [names, *following]
    columns, short = _names(names, header, n_columns, following)
    if short:
        notices = (*notices, "the header is one column short: column 1 holds names of rows")
    given = replace(reading, header=header, skip_lines=skip)
    table = TextTable(
        name=blob.name,
        format=_SEPARATORS.get(reading.separator or ",", "text"),
        columns=columns,
        wanted=wanted,
        places={},
        reading=given,
        notices=notices,
        blob=blob,
        n_header=ends[first] - before if header else 0,
    )
    sample = following[:SAMPLED_ROWS]
    if is_wide(columns, header, sample, wanted):
        return widened(table, sample)
    found = find_columns(blob.name, columns, wanted, sample=None if header else sample)
    integers = set()
    for role, place in found.places.items():
        ids = [fields[place] for fields in sample if place < len(fields)]
        if not ids or any(_INTEGER.fullmatch(id) for id in ids):
            integers.add(role)
    return table.located(found, integers)


def _is_title(records: Sequence[Sequence[str]], filled: Sequence[int], n_columns: int) -> bool:
    """Whether the first line stands above the table: it is one text, and there are rows below."""
    first = records[filled[0]]
    filled_cells = [cell for cell in first if cell]
    return (
        len(filled) > 2
        and n_columns > 2
        and len(filled_cells) == 1
        and len(first) in (1, n_columns)
        and first[0] != ""
    )


def _commented_names(
    lines: Sequence[str], start: int, kept: Sequence[int], wanted: Wanted, reading: Reading
) -> str | None:
    """The comment right before the first row, if it names the columns, without its mark."""
    if not kept or kept[0] == start or reading.header is False:
        return None
    line = lines[kept[0] - 1].removeprefix(_comment(reading) or "").lstrip()
    with suppress(csv.Error, StopIteration):
        names, row = (
            next(csv.reader([text], **_dialect(reading))) for text in (line, lines[kept[0]])
        )
        if len(names) == len(row) > 1 and has_header(
            names, [], replace(wanted, roles=("user", "item"))
        ):
            return line
    return None


def _usual_length(records: Sequence[Sequence[str]]) -> int:
    counted = Counter(len(fields) for fields in records)
    return counted.most_common(1)[0][0] if counted else 0


def _names(
    first: list[str], header: bool, n_columns: int, rows: Sequence[Sequence[str]]
) -> tuple[list[str], bool]:
    """Names of the columns, and whether the first of them is that of rows, which R leaves out."""
    if not header:
        return [str(number) for number in range(1, n_columns + 1)], False
    first = [name.strip('"') for name in first]  # behind a blank they are none of CSV
    if n_columns == len(first) + 1 >= 3:
        full = [fields for fields in rows if len(fields) == n_columns]
        if len(full) > max(1, 0.9 * len(rows)):
            if not any(fields[-1] for fields in full):  # each row ends with a separator
                return [*first, ""], False
            if _are_row_names([fields[0] for fields in full]):
                return ["", *first], True
    return first, False


def _are_row_names(cells: Sequence[str]) -> bool:
    """Numbers one after the other, or texts that are all different."""
    if all(map(str.isdecimal, cells)):
        return all(int(two) - int(one) == 1 for one, two in pairwise(cells))
    return len(set(cells)) == len(cells)


def _open_netflix(blob: Blob, wanted: Wanted, reading: Reading) -> NetflixTable:
    """The table of text with a line for each item."""
    columns = ["item", "user", "rating", "date"]
    places = {
        role: place
        for role, place in {"user": 1, "item": 0, "rating": 2, "count": 2, "time": 3}.items()
        if role in wanted.sought
    }
    return NetflixTable(
        name=blob.name,
        format="Netflix text",
        columns=columns,
        wanted=wanted,
        places=places,
        reading=replace(reading, quote=NONE, comment=NONE),
        integers=id_integers(wanted, places, places),
        blob=blob,
    )
