"""Tables: from a path to named columns of text or numbers, whatever the file holds.

Finding the bytes (file, folder, archive, named set), unpacking them and recognising what they hold
know nothing of each other; together they open a table with the columns that are wanted.
"""

import csv
import glob
import gzip
import io
import json
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias, TypeVar

import polars as pl

from dotbias.data.catalog import NAMED_SETS, fetch, safe_members
from dotbias.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    Source: TypeAlias = str | os.PathLike[str] | pl.DataFrame | pl.LazyFrame | pd.DataFrame

Column = str | int | None
Wanted = Mapping[str, Column]
_T = TypeVar("_T")

# Usual column names, the likeliest first, without case, spaces and underscores.
_USUAL = {
    "user": "user userid uid username reviewerid reviewer customerid customer memberid member "
    "accountid visitorid",
    "item": "item itemid iid movie movieid film filmid asin parentasin product productid book "
    "bookid isbn track trackid song songid artist artistid anime animeid game gameid businessid",
    "rating": "rating ratings stars star starrating score overall value bookrating userrating "
    "reviewscore ratingvalue",
    "time": "timestamp time unixreviewtime unixtime datetime date reviewtime ratedat createdat",
    "title": "title name movietitle itemtitle itemname booktitle productname trackname",
    "genres": "genres genre categories category",
}
_USUAL["id"] = _USUAL["item"] + " id"
_IDS = ("user", "item", "id")
_OPTIONAL = ("time", "genres")

# Names of the members of a folder or archive, the likeliest first.
RATINGS = (r"ratings?\.", r"u\.data$", r"ratings?[-_]", r".*[-_]ratings?\.", r"interactions\.")
TITLES = (r"(.*[-_])?(movies|items|books|products|tracks|artists|titles)[-_.]", r"u\.item$")
_TABLES = r".*\.(csv|tsv|dat|data|parquet|arrow|feather|ipc|jsonl?|ndjson)(\.gz|\.zst)?$"

_SEPARATORS = {"::": "two-colon text", ",": "CSV", "\t": "TSV", ";": "CSV (;)", "|": "CSV (|)"}
# Polars splits at a single byte, so two colons become this one, which was made for the purpose.
_UNIT_SEPARATOR = "\x1f"
_INTEGER = re.compile(r"0|-?[1-9]\d*")

_HEAD_BYTES = 1 << 16
_SAMPLED_ROWS = 100


class Row(NamedTuple):
    """A row as it stands in its source, for messages.

    Args:
        place: line of the file or row of the frame, counted from 1.
        values: raw value of each role.
        fault: what is wrong with the row as a whole, empty where nothing is.
    """

    place: int
    values: Mapping[str, Any]
    fault: str = ""


@dataclass(kw_only=True)
class Table:
    """A source whose columns are known.

    Args:
        name: of the source, in messages.
        format: of the source, in messages.
        columns: names of all columns, or their numbers where there is no header.
        wanted: the roles (user, item, rating, time...) with the column that the user named.
        header: whether the columns have names.
        integers: the smallest integers that the ids of a role may turn out to be; without an
            entry they are text.
        notices: what the user should know.

    Attributes:
        places: position among the columns of each role that was found.
    """

    name: str
    format: str
    columns: list[str]
    wanted: Wanted
    header: bool = True
    integers: dict[str, type[pl.DataType]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.places = _find(self.name, self.columns, self.wanted, header=self.header)

    def typed(self) -> pl.LazyFrame:
        """A column for each role; collecting it may fail where a value is not of its type."""
        raise NotImplementedError

    def text(self) -> pl.LazyFrame:
        """The same as text where the source is text, and ``row``, the number of each row."""
        raise NotImplementedError

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """The rows with the given ascending numbers."""
        raise NotImplementedError

    def repair(self, error: Exception) -> None:
        """Make ``text`` work, which failed with an error, or raise a DataError."""
        raise _damaged(self.name, self.format, error)


@dataclass(kw_only=True)
class _Frame(Table):
    """A table whose columns have types: a frame, Parquet or Arrow."""

    lf: pl.LazyFrame

    def typed(self) -> pl.LazyFrame:
        return self.lf.select(pl.nth(place).alias(role) for role, place in self.places.items())

    def text(self) -> pl.LazyFrame:
        return self.typed().with_row_index("row")

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        found = self.text().filter(pl.col("row").is_in(numbers)).collect()
        return [Row(values["row"] + 1, values) for values in found.iter_rows(named=True)]


@dataclass(kw_only=True)
class _Text(Table):
    """A table of separated text.

    Args:
        blob: its bytes.
        dialect: how to separate and quote, as ``csv.reader`` takes it.
        skip: number of lines before the first row.
    """

    blob: "Blob"
    dialect: dict[str, Any]
    skip: int

    def typed(self) -> pl.LazyFrame:
        return self._scan({"rating": pl.Float32, "time": pl.Int64}).select(self._roles())

    def text(self) -> pl.LazyFrame:
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
        places = self.places | {"extra": len(self.columns)}
        return [pl.col(str(place)).alias(role) for role, place in places.items()]

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        found = []
        with self.blob.lines() as lines, suppress(csv.Error):
            for _ in range(self.skip):
                next(lines)
            records = csv.reader(lines, **self.dialect)
            for fields in _at(records, numbers):
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

    def repair(self, error: Exception) -> None:
        as_utf8 = _as_utf8(self.blob, self.notices)
        if as_utf8 is self.blob:
            raise self._misquoted() from error
        self.blob = as_utf8

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


@dataclass(kw_only=True)
class _JsonLines(Table):
    """A table of one JSON object a line.

    Args:
        blob: its bytes.
        broken: rows that are not JSON objects, once it is known that there are any.
    """

    blob: "Blob"
    broken: set[int] | None = None

    def typed(self) -> pl.LazyFrame:
        types = {role: pl.Int64 if role in self.integers else pl.String for role in self.places}
        return self._scan(types | {"rating": pl.Float64, "time": pl.Int64})

    def text(self) -> pl.LazyFrame:
        return self._scan(dict.fromkeys(self.places, pl.String)).with_row_index("row")

    def _scan(self, types: Mapping[str, type[pl.DataType]]) -> pl.LazyFrame:
        names = {role: self.columns[place] for role, place in self.places.items()}
        schema = {name: types[role] for role, name in names.items()}
        content = self.blob.content
        # Unlike the other scans this one takes every path for a pattern.
        source = content if isinstance(content, bytes) else glob.escape(str(content))
        lf = pl.scan_ndjson(source, schema=schema)
        return lf.select(**{role: pl.col(name) for role, name in names.items()})

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        found = []
        with self.blob.lines() as lines:
            filled = ((place, line) for place, line in enumerate(lines, 1) if line.strip())
            for number, (place, line) in zip(numbers, _at(filled, numbers), strict=True):
                fault = "is not a JSON object" if number in (self.broken or ()) else ""
                values = json.loads(line)
                raw = {role: values.get(self.columns[k]) for role, k in self.places.items()}
                found.append(Row(place, raw, fault))
        return found

    def repair(self, error: Exception) -> None:
        as_utf8 = _as_utf8(self.blob, self.notices)
        if as_utf8 is not self.blob:
            self.blob = as_utf8
        elif self.broken is None:
            self._empty_broken()
        else:
            raise _damaged(self.name, self.format, error) from error

    def _empty_broken(self) -> None:
        """Put an empty object in the place of each line that is none."""
        lines = self.blob.read().split(b"\n")
        filled = [k for k, line in enumerate(lines) if line.strip()]
        self.broken = {row for row, k in enumerate(filled) if _json_object(lines[k]) is None}
        for row in self.broken:
            lines[filled[row]] = b"{}"
        self.blob = Blob(self.blob.name, b"\n".join(lines))


def _at(items: Iterator[_T], numbers: Iterable[int]) -> Iterator[_T]:
    """The items with the given ascending numbers, as far as there are any."""
    n_passed = 0
    for number in numbers:
        yield from islice(items, number - n_passed, number - n_passed + 1)
        n_passed = number + 1


def _json_object(line: bytes | str) -> dict[str, Any] | None:
    try:
        value = json.loads(line, parse_constant=_no_number)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# From bytes to a table --------------------------------------------------------------------------


@dataclass(frozen=True)
class Blob:
    """Bytes with the name they have in messages; a file stays on disk until it is needed."""

    name: str
    content: Path | bytes

    def head(self) -> bytes:
        """The first bytes, enough to recognise what it holds."""
        if isinstance(self.content, bytes):
            return self.content[:_HEAD_BYTES]
        with self.content.open("rb") as file:
            return file.read(_HEAD_BYTES)

    def read(self) -> bytes:
        """All bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    def lines(self) -> io.TextIOWrapper:
        """The lines of text, to be closed after use."""
        raw = (
            io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")
        )
        return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n")


def open_table(content: Any, wanted: Wanted) -> Table:
    """The table in a blob or a frame, with the columns of the wanted roles."""
    if isinstance(content, pl.DataFrame | pl.LazyFrame):
        return _open_frame("the frame", "Polars frame", content.lazy(), wanted)
    if not isinstance(content, Blob):
        return _open_pandas(content, wanted)
    with _named_errors(content.name):
        blob, packing = _unpacked(content)
        head = blob.head()
        if not head.strip():
            raise DataError(f"{blob.name}: the file is empty")
        if head.startswith(b"PAR1"):
            lf = pl.scan_parquet(blob.content, glob=False)
            return _open_frame(blob.name, "Parquet" + packing, lf, wanted)
        if head.startswith(b"ARROW1"):
            lf = pl.scan_ipc(blob.content, glob=False)
            return _open_frame(blob.name, "Arrow IPC" + packing, lf, wanted)
        if b"\0" in head:
            raise DataError(
                f"{blob.name}: a binary file of a kind that dotbias does not read, or text that is "
                "not in UTF-8 or Latin-1"
            )
        notices: list[str] = []
        blob = _as_utf8(blob, notices, head[: head.rfind(b"\n")] or head)
        opened = _open_json_lines if head.lstrip().startswith((b"{", b"[")) else _open_text
        table = opened(blob, wanted)
        table.format += packing
        table.notices += notices
        return table


def _open_frame(name: str, format: str, lf: pl.LazyFrame, wanted: Wanted) -> Table:
    columns = lf.collect_schema().names()
    table = _Frame(name=name, format=format, columns=columns, wanted=wanted, lf=lf)
    for role, dtype in table.typed().collect_schema().items():
        if role in _IDS and dtype.is_integer():
            table.integers[role] = pl.Int32
    return table


def _open_pandas(frame: Any, wanted: Wanted) -> Table:
    if type(frame).__module__.partition(".")[0] != "pandas" or not hasattr(frame, "columns"):
        raise DataError(
            f"cannot read ratings from a {type(frame).__name__}: pass a path or a frame"
        )
    columns = [str(column) for column in frame.columns]
    places = sorted(_find("the frame", columns, wanted).values())
    try:
        picked = {columns[place]: pl.from_pandas(frame.iloc[:, place]) for place in places}
    except (TypeError, ValueError) as error:
        raise DataError(f"the frame has a column of mixed types: {error}") from error
    return _open_frame("the frame", "pandas frame", pl.LazyFrame(picked), wanted)


def _open_json_lines(blob: Blob, wanted: Wanted) -> Table:
    sample = blob.head().decode(errors="replace").split("\n")[:_SAMPLED_ROWS]
    objects = [found for line in sample if (found := _json_object(line)) is not None]
    if not objects:
        raise DataError(f"{blob.name}: JSON, but not with one object on each line")
    columns = list(dict.fromkeys(name for found in objects for name in found))
    table = _JsonLines(
        name=blob.name, format="JSON lines", columns=columns, wanted=wanted, blob=blob
    )
    for role, place in table.places.items():
        if role in _IDS and any(type(found.get(columns[place])) is int for found in objects):
            table.integers[role] = pl.Int32
    return table


def _open_text(blob: Blob, wanted: Wanted) -> Table:
    text = blob.head().decode("utf-8-sig", errors="replace")
    separator = _separator(text.lstrip("\r\n").partition("\n")[0])
    dialect: dict[str, Any] = {"delimiter": separator, "quotechar": '"'}
    if separator == "::":
        blob = Blob(blob.name, blob.read().replace(b"::", _UNIT_SEPARATOR.encode()))
        text = text.replace("::", _UNIT_SEPARATOR)
        dialect = {"delimiter": _UNIT_SEPARATOR, "quoting": csv.QUOTE_NONE}
    records = csv.reader(io.StringIO(text, newline="\n"), **dialect)
    skip = 0
    try:
        while not (first := next(records)):
            skip = records.line_num
        header = _has_header(first, wanted)
        skip = records.line_num if header else skip
        sample = [*([] if header else [first]), *islice(records, _SAMPLED_ROWS)]
    except csv.Error as error:
        raise DataError(f"{blob.name}: not text in rows and columns ({error})") from error
    table = _Text(
        name=blob.name,
        format=_SEPARATORS[separator],
        columns=first if header else [str(number) for number in range(1, len(first) + 1)],
        wanted=wanted,
        header=header,
        blob=blob,
        dialect=dialect,
        skip=skip,
    )
    for role, place in table.places.items():
        ids = [fields[place] for fields in sample if place < len(fields)]
        if role in _IDS and (not ids or any(_INTEGER.fullmatch(id) for id in ids)):
            table.integers[role] = pl.Int32
    return table


def _separator(line: str) -> str:
    if "::" in line:
        return "::"
    return max((",", "\t", ";", "|"), key=line.count)


def _has_header(first: Sequence[str], wanted: Wanted) -> bool:
    """Whether the first row names columns: a name is known, or the rating is not a number."""
    given = {column for column in wanted.values() if _numbered(column) is None}
    usual = {name for role in wanted for name in _USUAL[role].split()}
    if any(name in given or _plain(name) in usual for name in first):
        return True
    if "rating" not in wanted:
        return False
    at = _numbered(wanted["rating"])
    try:
        float(first[list(wanted).index("rating") if at is None else at])
    except (ValueError, IndexError):
        return True
    return False


def _find(
    where: str, columns: Sequence[str], wanted: Wanted, *, header: bool = True
) -> dict[str, int]:
    """Position of the column of each wanted role."""
    places = {
        role: _named(where, columns, column)
        for role, column in wanted.items()
        if column is not None
    }
    for number, role in enumerate(wanted):
        if role in places:
            continue
        options = _usual(columns, role) if header else [number][: len(columns) - number]
        place = next((option for option in options if option not in places.values()), None)
        if place is not None:
            places[role] = place
        elif role not in _OPTIONAL:
            raise DataError(f"{where}: no {role} column is recognised{_choice(columns, wanted)}")
    return {role: places[role] for role in wanted if role in places}


def _named(where: str, columns: Sequence[str], column: Column) -> int:
    if column in columns:
        return columns.index(column)
    place = _numbered(column)
    if place is None or not 0 <= place < len(columns):
        raise DataError(f"{where}: no column {column!r}{_choice(columns, {})}")
    return place


def _numbered(column: Column) -> int | None:
    """Position of a column that is named by its number, counted from 1."""
    if isinstance(column, int):
        return column - 1
    return int(column) - 1 if column is not None and column.isdecimal() else None


def _usual(columns: Sequence[str], role: str) -> list[int]:
    plain = [_plain(column) for column in columns]
    return [plain.index(name) for name in _USUAL[role].split() if name in plain]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _choice(columns: Sequence[str], wanted: Wanted) -> str:
    """The columns there are and, where the user can name them, the options to do it."""
    there = f" among {', '.join(columns[:30])}" + (", ..." if len(columns) > 30 else "")
    roles = [role for role in wanted if role not in ("id", "title")]
    if not roles:
        return there
    options = ", ".join(f"{role}=" for role in roles)
    switches = ", ".join(f"--{role}-column" for role in roles)
    return f"{there}; name the columns with {options} (on the command line {switches})"


def _as_utf8(blob: Blob, notices: list[str], sample: bytes | None = None) -> Blob:
    """The blob itself where it (or its sample) is UTF-8, else what it says when read as Latin-1."""
    try:
        (blob.read() if sample is None else sample).decode()
    except UnicodeDecodeError:
        notices.append("not UTF-8: read as Latin-1")
        return Blob(blob.name, blob.read().decode("latin-1").encode())
    return blob


def _unpacked(blob: Blob) -> tuple[Blob, str]:
    """The blob without gzip or zstd, and which of them it was, as an addition to the format."""
    magic = blob.head()[:4]
    if magic.startswith(b"\x1f\x8b"):
        return Blob(blob.name, gzip.decompress(blob.read())), " (gzip)"
    if magic == b"\x28\xb5\x2f\xfd":
        return Blob(blob.name, _unzstd(blob.read())), " (zstd)"
    return blob, ""


def _unzstd(packed: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    try:
        return zstd.decompress(packed)
    except zstd.ZstdError as error:
        raise EOFError(*error.args) from error


# From a source to bytes -------------------------------------------------------------------------


def locate(source: "Source", patterns: Iterable[str]) -> tuple[Any, Blob | None]:
    """The blob a path stands for (a frame stands for itself), and the blob of titles beside it."""
    if not isinstance(source, str | os.PathLike):
        return source, None
    path = Path(source).expanduser()
    if not path.exists():
        path = _fetched(os.fspath(source))
    with _named_errors(str(path)):
        if not path.is_dir():
            # A pipe can be read only once.
            blob = Blob(str(path), path if path.is_file() else path.read_bytes())
            if not blob.head().startswith((b"PK\3\4", b"PK\5\6")):
                return blob, None
        names = _members(path)
        tables = [name for name in names if re.match(_TABLES, name.lower())]
        chosen = _choose(names, patterns) or (tables[0] if len(tables) == 1 else None)
        if chosen is None:
            raise DataError(
                f"{path}: none of its files is named like ratings.csv; pass the path of the right "
                f"one. There are {', '.join(names[:30]) or 'none'}"
            )
        titles = _choose([name for name in names if name != chosen], TITLES)
        return _member(path, chosen), None if titles is None else _member(path, titles)


def _fetched(name: str) -> Path:
    if name not in NAMED_SETS:
        sets = ", ".join(NAMED_SETS)
        raise DataError(
            f"{name}: there is no such file, and no named set; the named sets are {sets}"
        )
    return fetch(name)


def _members(path: Path) -> list[str]:
    """Names of the files in a folder (and the folders in it) or an archive, topmost first."""
    if path.is_dir():
        files = [file for depth in ("*", "*/*") for file in path.glob(depth) if file.is_file()]
        names = [file.relative_to(path).as_posix() for file in files]
    else:
        with zipfile.ZipFile(path) as archive:
            names = [member.filename for member in safe_members(archive)]
    shown = [name for name in names if not re.search(r"(^|/)(\.|__MACOSX/)", name)]
    return sorted(shown, key=lambda name: (name.count("/"), name))


def _choose(names: Sequence[str], patterns: Iterable[str]) -> str | None:
    for pattern in patterns:
        for name in names:
            if re.match(pattern, PurePosixPath(name).name.lower()):
                return name
    return None


def _member(path: Path, name: str) -> Blob:
    if path.is_dir():
        return Blob(str(path / name), path / name)
    with zipfile.ZipFile(path) as archive:
        return Blob(f"{path}/{name}", archive.read(name))


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Give what file system, unpackers and parsers raise the name of the file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from error
        raise _damaged(name, "file", error) from error
    except (pl.exceptions.PolarsError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise _damaged(name, "file", error) from error


def _damaged(name: str, format: str, error: Exception) -> DataError:
    said = str(error).strip().partition("\n")[0]
    return DataError(f"{name}: the {format} is damaged or cut short ({said})")
