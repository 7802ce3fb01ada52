"""Batches: a source a part at a time, each a table that the reader reads by itself."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from dotbias.data.encodings import as_utf8, marked
from dotbias.data.formats.arrow import check_messages
from dotbias.data.formats.json_lines import JsonLinesTable
from dotbias.data.formats.known import format_of
from dotbias.data.formats.parquet import check_pages, row_groups
from dotbias.data.formats.table import Origin
from dotbias.data.formats.text import NetflixTable, TextTable
from dotbias.data.read import RATED, open_ratings
from dotbias.data.reading import NONE, Reading
from dotbias.data.sources.blob import Blob, Frame, Parts, named_errors, parsing
from dotbias.errors import DataError

# A group of rows that is larger than so many batches Polars would hold in memory, or unpack again for
# each of them.
_LARGE_GROUP = 4
# Bytes that come out of one of a packed text, about.
_USUAL_RATIO = 4
_SAMPLE = 1 << 20
# A row that is longer than so many batches is none, nor is a field over so many lines.
_LONGEST, _MOST_LINES = 8, 1000
_UTF8 = ("utf-8", "utf-8-sig", "ascii")


class Size(NamedTuple):
    """How large a batch may be: in bytes of text, or in rows where columns have types."""

    n_bytes: int
    n_rows: int


@dataclass(frozen=True)
class Batch:
    """A part of a source.

    Args:
        content: what the reader opens.
        origin: from the place of a row in it to the file and the place there.
        share: how much of the source it is, about.
    """

    content: Blob | Frame
    origin: Origin
    share: float


class Batches(ABC):
    """A source that can be read a part at a time, as often as needed.

    Args:
        name: of the source, in messages.
        blobs: its files, in the order of their rows.

    Its ``encoding`` is that of the text before it was cut, if it is text.
    """

    encoding: str | None = None

    def __init__(self, name: str, blobs: Sequence[Blob]) -> None:
        self.name, self.blobs = name, blobs

    @abstractmethod
    def fit(self, size: Size) -> bool:
        """Whether the whole source is no larger than one batch."""

    @abstractmethod
    def cut(self, size: Size, reading: Reading) -> Iterator[Batch]:
        """All batches, in the order of the source.

        Args:
            size: of a batch.
            reading: what is known of the source: columns that are not needed need not be read.
        """


def batches_of(content: Any, given: Reading) -> Batches | None:
    """What ``locate`` has found, in batches; None where it can be read as a whole only: what is in
    memory anyway, and layouts other than a row for each rating.

    Raises:
        DataError: for files that cannot be read.
    """
    blobs = content.blobs if isinstance(content, Parts) else (content,)
    if not all(isinstance(blob, Blob) and isinstance(blob.content, Path) for blob in blobs):
        return None
    heads = [(blob, _head(blob)) for blob in blobs]
    filled = [(blob, head) for blob, head in heads if head.strip()]
    formats = {format_of(head) for _, head in filled}
    if len(formats) != 1:
        return None
    (known,) = formats
    blobs = tuple(blob for blob, _ in filled)
    if known.is_text:
        return _Text.of(content.name, blobs, given)
    if any(blob.head()[:4] != head[:4] for blob, head in filled):  # packed
        return None
    if known.suffixes[0] == "parquet":
        return _Parquet(content.name, blobs)
    return _Arrow(content.name, blobs) if known.suffixes[0] == "arrow" else None


def _head(blob: Blob) -> bytes:
    with named_errors(blob.name), blob.stream() as stream:
        return stream.read(_SAMPLE)


# Text ---------------------------------------------------------------------------------------------


class _Text(Batches):
    """Text of one row a line: each batch begins with the lines that the first row has before it."""

    def __init__(
        self,
        name: str,
        blobs: Sequence[Blob],
        encodings: tuple[str | None, str],
        before: Sequence[bytes] = (),
        quote: str | None = None,
    ) -> None:
        super().__init__(name, blobs)
        self.given, self.encoding = encodings
        self.before, self.quote = before, None if quote is None else quote.encode()

    @classmethod
    def of(cls, name: str, blobs: Sequence[Blob], given: Reading) -> "_Text | None":
        """The text in batches, where a line is a row in it."""
        head = _head(blobs[0])
        found = given.encoding or marked(head) or _recognised(blobs[0], head)
        rows = _rows(_utf8(blobs[0], _SAMPLE, found), _SAMPLE, None, blobs[0].name)
        if (first := next(rows, None)) is None:
            return None
        sample = Blob(blobs[0].name, first, blobs[0].limit)
        table, _ = open_ratings(sample, RATED, given.known(encoding=None))
        if isinstance(table, JsonLinesTable) and table.reading.layout == "long":
            whole = table.blob.content is first  # and not what was made of it
            return cls(name, blobs, (given.encoding, found)) if whole else None
        if not isinstance(table, TextTable) or isinstance(table, NetflixTable):
            return None
        if table.reading.layout != "long" or b"\n" not in first:
            return None
        quote = None if table.reading.quote == NONE else table.reading.quote or '"'
        before = first.split(b"\n")[: table.n_before]
        return cls(name, blobs, (given.encoding, found), before, quote)

    def fit(self, size: Size) -> bool:
        """See ``Batches``."""
        return sum(map(_n_bytes, self.blobs)) <= size.n_bytes

    def cut(
        self,
        size: Size,
        reading: Reading,  # noqa: ARG002 - lines are read as a whole
    ) -> Iterator[Batch]:
        """See ``Batches``."""
        total = sum(map(_n_bytes, self.blobs))
        for number, blob in enumerate(self.blobs):
            n_lines = 0
            pieces = _utf8(blob, size.n_bytes, self.given if number else self.encoding)
            with named_errors(blob.name):
                for rows in _rows(pieces, size.n_bytes, self.quote, blob.name):
                    n_more = 0 if n_lines == 0 and self._begins(rows) else len(self.before)
                    before = b"".join(line + b"\n" for line in self.before) if n_more else b""
                    content = Blob(blob.name, before + rows, blob.limit)
                    origin = _shifted(blob.name, n_lines - n_more)
                    yield Batch(content, origin, min(len(rows) / total, 1))
                    n_lines += rows.count(b"\n")

    def _begins(self, rows: bytes) -> bool:
        """Whether a file begins with the lines that all begin with."""
        n = len(self.before)
        lines = [line.rstrip(b"\r") for line in rows.split(b"\n", n)[:n]]
        return lines == [line.rstrip(b"\r") for line in self.before]


def _n_bytes(blob: Blob) -> int:
    """About how much text comes of a file."""
    with blob.open() as file:
        is_packed = file.read(4) != _head(blob)[:4]
    return blob.size() * (_USUAL_RATIO if is_packed else 1)


def _utf8(blob: Blob, n_bytes: int, encoding: str | None) -> Iterator[bytes]:
    """The text of a file in UTF-8, some bytes after the other."""
    decoder, n_lines = None, 0
    with blob.stream() as stream:
        first = True
        while raw := stream.read(n_bytes):
            if first:
                encoding = encoding or marked(raw) or _recognised(blob, raw)
                decoder = None if encoding in _UTF8 else getincrementaldecoder(encoding)()
                raw, first = raw.removeprefix(BOM_UTF8), False
            if decoder is not None:
                try:
                    raw = decoder.decode(raw).removeprefix("\ufeff").encode()
                except UnicodeDecodeError as error:
                    raise _undecoded(blob.name, n_lines, str(encoding)) from error
            n_lines += raw.count(b"\n")
            yield raw


def _recognised(blob: Blob, raw: bytes) -> str:
    whole = raw[: raw.rfind(b"\n") + 1] or raw
    return as_utf8(Blob(blob.name, whole))[1]


def _undecoded(name: str, n_lines: int, encoding: str) -> DataError:
    return DataError(
        f"{name}, after row {n_lines:,}: damaged, or not text in {encoding.upper()}, as what stands "
        "before is; name another encoding with encoding= (on the command line --encoding)"
    )


def _rows(pieces: Iterator[bytes], n_bytes: int, quote: bytes | None, name: str) -> Iterator[bytes]:
    """Text cut behind rows: behind lines, but where one breaks in a field in quotation marks."""
    rest, n_lines = b"", 0
    for piece in pieces:
        rest += piece
        if len(rest) < n_bytes:
            continue
        end = _end(rest, quote)
        if not end:
            if len(rest) > _LONGEST * n_bytes:
                raise DataError(
                    f"{name}, row {n_lines + 1:,}: it goes on for {len(rest):,} bytes: is a quotation "
                    "mark not closed? Pass quote='none' (on the command line --quote none) if they mean "
                    "nothing"
                )
            continue
        rows, rest = rest[:end], rest[end:]
        yield from _checked(rows, name, n_lines)
        n_lines += rows.count(b"\n")
    if rest:
        yield from _checked(rest, name, n_lines)


def _checked(rows: bytes, name: str, n_lines: int) -> Iterator[bytes]:
    """The rows, if they are UTF-8: the reader would look for another encoding in each batch."""
    try:
        if not rows.isascii():
            rows.decode()
    except UnicodeDecodeError as error:
        line = n_lines + rows.count(b"\n", 0, error.start)
        raise _undecoded(name, line, "utf-8") from error
    yield rows


def _end(text: bytes, quote: bytes | None) -> int:
    """Where the last row ends that is all there; 0 where none is."""
    end = last = text.rfind(b"\n") + 1
    if quote is None or not end:
        return end
    odd = text.count(quote, 0, end) % 2
    for _ in range(_MOST_LINES):
        if not odd or not end:
            return end
        before = text.rfind(b"\n", 0, end - 1) + 1
        odd = (odd - text.count(quote, before, end)) % 2
        end = before
    return last  # a quotation mark that closes nothing: the reader will say where


def _shifted(name: str, by: int) -> Origin:
    return lambda place: (name, place + by)


# Tables whose columns have types ------------------------------------------------------------------


class _Frames(Batches):
    """Files that Polars scans."""

    format = ""

    def __init__(self, name: str, blobs: Sequence[Blob]) -> None:
        super().__init__(name, blobs)
        self._checked: set[str] = set()

    def _heights(self, blob: Blob) -> list[int]:
        """The rows of a file, in pieces that are read as a whole."""
        raise NotImplementedError

    def _scan(self, blob: Blob) -> pl.LazyFrame:
        raise NotImplementedError

    def _check(self, blob: Blob) -> None:
        """Make sure that a file is whole, before it is read."""

    def fit(self, size: Size) -> bool:
        """See ``Batches``."""
        return self._n_rows <= size.n_rows

    @property
    def _n_rows(self) -> int:
        return sum(sum(self._heights(blob)) for blob in self.blobs)

    def cut(self, size: Size, reading: Reading) -> Iterator[Batch]:
        """See ``Batches``."""
        total = max(1, self._n_rows)
        for blob in self.blobs:
            with named_errors(blob.name):
                if blob.name not in self._checked:
                    self._check(blob)
                    self._checked.add(blob.name)
                done = 0
                for lf, height in self._pieces(blob, size, reading):
                    content = Frame(blob.name, self.format, lf)
                    yield Batch(content, _shifted(blob.name, done), height / total)
                    done += height

    def _pieces(
        self,
        blob: Blob,
        size: Size,
        reading: Reading,  # noqa: ARG002 - of which a format may make use
    ) -> Iterator[tuple[pl.LazyFrame, int]]:
        """Some rows after the other, and how many they are."""
        heights, lf = self._heights(blob), self._scan(blob)
        ends = [0, *accumulate(heights)]
        at, n = 0, ends[-1]
        while at < n:
            stop = min(at + size.n_rows, n)
            whole = ends[bisect_right(ends, stop) - 1]  # behind a piece, if any ends in time
            stop = whole if whole > at else stop
            yield lf.slice(at, stop - at), stop - at
            at = stop


class _Arrow(_Frames):
    format = "Arrow IPC"

    def _heights(self, blob: Blob) -> list[int]:
        return [int(self._scan(blob).select(pl.len()).collect().item())]

    def _scan(self, blob: Blob) -> pl.LazyFrame:
        assert isinstance(blob.content, Path)
        return pl.scan_ipc(blob.content, glob=False)

    def _check(self, blob: Blob) -> None:
        check_messages(blob)


class _Parquet(_Frames):
    format = "Parquet"

    def _heights(self, blob: Blob) -> list[int]:
        return [height for height, _ in row_groups(blob)]

    def _scan(self, blob: Blob) -> pl.LazyFrame:
        assert isinstance(blob.content, Path)
        beyond = blob.name.removeprefix(self.name)
        return pl.scan_parquet(blob.content, glob=False, hive_partitioning="=" in beyond)

    def _check(self, blob: Blob) -> None:
        check_pages(blob)

    def _pieces(
        self, blob: Blob, size: Size, reading: Reading
    ) -> Iterator[tuple[pl.LazyFrame, int]]:
        largest = max(self._heights(blob), default=0)
        if largest <= _LARGE_GROUP * size.n_rows:
            yield from super()._pieces(blob, size, reading)
            return
        try:
            from pyarrow import parquet
        except ImportError:
            raise DataError(
                f"{blob.name}: a group of {largest:,} rows, which PyArrow alone reads in parts: pip "
                "install pyarrow, or write the file with smaller groups"
            ) from None
        lf = self._scan(blob)
        with parsing(blob.name, self.format):
            # Buffered, since reading a group ahead would hold all of it.
            file = parquet.ParquetFile(blob.content, buffer_size=_SAMPLE, pre_buffer=False)
            own = file.schema_arrow.names
            partition = lf.select(pl.exclude(own)).head(1).collect()
            columns = _needed(own, partition.columns, reading)
            batches = file.iter_batches(size.n_rows, columns=columns, use_threads=False)
            for batch in batches:
                frame = pl.DataFrame(pl.from_arrow(batch))
                constants = [pl.lit(partition[name][0]).alias(name) for name in partition.columns]
                yield frame.lazy().with_columns(constants), frame.height


def _needed(own: list[str], beside: list[str], reading: Reading) -> list[str]:
    """The columns of a file that are needed: all of them, unless each is known by its name."""
    named = {*(reading.get(role) for role in RATED), reading.where_column} - {None, NONE}
    if reading.user is None or not named <= {*own, *beside}:
        return own
    return [name for name in own if name in named]
