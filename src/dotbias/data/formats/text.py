"""Text of rows and columns: CSV, TSV, and the like."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Self

import polars as pl

from dotbias.data.columns import IDS, VALUES, Wanted, find_columns, has_header
from dotbias.data.formats.table import SAMPLED_ROWS, Row, Table, at
from dotbias.data.sources import Blob
from dotbias.errors import DataError

_SEPARATORS = {"::": "two-colon text", ",": "CSV", "\t": "TSV", ";": "CSV (;)", "|": "CSV (|)"}
# Polars splits at a single byte, so two colons become this one, which was made for the purpose.
_UNIT_SEPARATOR = "\x1f"
_INTEGER = re.compile(r"0|-?[1-9]\d*")
# Fields between tabs, each in quotation marks or without any; the last may be cut short.
_WELL_QUOTED = re.compile(r'(?>(?:"(?:[^"]|"")*+"|[^"\t\r\n]*+)(?:\t|\r?\n))*+(?:"[^"]*|[^"]*)"?')
_UNQUOTED_TABS = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
_AS_THEY_STAND = "quotation marks inside fields: taken as they stand"


@dataclass(frozen=True, kw_only=True)
class TextTable(Table):
    """A table of separated text.

    Args:
        blob: its bytes.
        dialect: how to separate and quote, as ``csv.reader`` takes it.
        skip: number of lines before the first row.
    """

    blob: Blob
    dialect: dict[str, Any]
    skip: int

    def typed(self) -> pl.LazyFrame:
        """See ``Table``."""
        types = dict.fromkeys(VALUES, pl.Float32) | {"time": pl.Int64}
        return self._scan(types).select(self._roles())

    def text(self) -> pl.LazyFrame:
        """See ``Table``."""
        blank = pl.all_horizontal(pl.exclude("row").fill_null("") == "")
        numbered = self._scan({}).with_row_index("row")
        return numbered.filter(~blank).select("row", *self._roles())

    def _scan(self, types: Mapping[str, type[pl.DataType]]) -> pl.LazyFrame:
        # One column more than there should be catches rows that are too long.
        schema: dict[str, Any] = {str(k): pl.String for k in range(len(self.columns) + 1)}
        schema |= {str(self.places[role]): types[role] for role in types if role in self.places}
        return pl.scan_csv(
            self.blob.content,
            has_header=False,
            skip_lines=self.skip,
            schema=schema,
            separator=self.dialect["delimiter"],
            quote_char=self.dialect.get("quotechar"),
            missing_columns="insert",
            extra_columns="ignore",
            glob=False,
        )

    def _roles(self) -> list[pl.Expr]:
        places = {**self.places, "extra": len(self.columns)}
        return [pl.col(str(place)).alias(role) for role, place in places.items()]

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """See ``Table``."""
        found = []
        with self.blob.lines() as lines, suppress(csv.Error):
            for _ in range(self.skip):
                next(lines)
            records = csv.reader(lines, **self.dialect)
            for fields in at(records, numbers):
                place = self.skip + records.line_num - sum(value.count("\n") for value in fields)
                found.append(Row(place, self._values(fields), self._fault(len(fields))))
        if len(found) < len(numbers):  # quotation marks so odd that two parsers disagree on them
            raise self._misquoted()
        return found

    def _values(self, fields: Sequence[str]) -> dict[str, str]:
        return {role: fields[k] if k < len(fields) else "" for role, k in self.places.items()}

    def _fault(self, n_fields: int) -> str:
        n_columns = len(self.columns)
        return "" if n_fields == n_columns else f"has {n_fields} columns instead of {n_columns}"

    def repaired(self, error: Exception) -> Self:
        """The table of the text read as Latin-1, where it is not UTF-8; else, between tabs, without
        quotation marks that mean anything.
        """
        blob, notices = self.blob.as_utf8()
        if blob is not self.blob:
            return replace(self, blob=blob, notices=self.notices + notices)
        if self.dialect != _UNQUOTED_TABS and self.dialect["delimiter"] == "\t":
            notices = (*self.notices, _AS_THEY_STAND)
            return replace(self, dialect=_UNQUOTED_TABS, notices=notices)
        raise self._misquoted() from error

    def _misquoted(self) -> DataError:
        """Names the first row whose quotation marks are, as far as can be told, misplaced."""
        row = 1
        with self.blob.lines() as lines, suppress(csv.Error):
            records = csv.reader(lines, strict=True, **self.dialect)
            for fields in records:
                if any(value.count('"') % 2 for value in fields):
                    break
                row = records.line_num + 1
        return DataError(
            f"{self.name}, row {row:,}: not well-formed {self.format}; a quotation mark inside a "
            'field is written twice ("") and the field itself put in quotation marks'
        )


def open_text(blob: Blob, wanted: Wanted) -> TextTable:
    """The table of separated text, whatever separates it, with or without a header."""
    head = blob.head()
    blob, notices = blob.as_utf8(head[: head.rfind(b"\n")] or head)
    text = blob.head().decode("utf-8-sig", errors="replace")
    separator = _separator(text.lstrip("\r\n").partition("\n")[0])
    dialect: dict[str, Any] = {"delimiter": separator, "quotechar": '"'}
    if separator == "::":
        blob = Blob(blob.name, blob.read().replace(b"::", _UNIT_SEPARATOR.encode()))
        text = text.replace("::", _UNIT_SEPARATOR)
        dialect = {"delimiter": _UNIT_SEPARATOR, "quoting": csv.QUOTE_NONE}
    # Commas need quotation marks around them; between tabs they are mostly part of a name.
    if separator == "\t" and not _WELL_QUOTED.fullmatch(text):
        dialect, notices = _UNQUOTED_TABS, (*notices, _AS_THEY_STAND)
    records = csv.reader(io.StringIO(text, newline="\n"), **dialect)
    skip = 0
    try:
        while not (first := next(records)):
            skip = records.line_num
        header = has_header(first, wanted)
        skip = records.line_num if header else skip
        sample = [*([] if header else [first]), *islice(records, SAMPLED_ROWS)]
    except csv.Error as error:
        raise DataError(f"{blob.name}: not text in rows and columns ({error})") from error
    columns = first if header else [str(number) for number in range(1, len(first) + 1)]
    places = find_columns(blob.name, columns, wanted, sample=None if header else sample)
    integers = {}
    for role, place in places.items():
        ids = [fields[place] for fields in sample if place < len(fields)]
        if role in IDS and (not ids or any(_INTEGER.fullmatch(id) for id in ids)):
            integers[role] = pl.Int32
    return TextTable(
        name=blob.name,
        format=_SEPARATORS[separator],
        columns=columns,
        wanted=wanted,
        places=places,
        header=header,
        integers=integers,
        notices=notices,
        blob=blob,
        dialect=dialect,
        skip=skip,
    )


def _separator(line: str) -> str:
    if "::" in line:
        return "::"
    return max((",", "\t", ";", "|"), key=line.count)
