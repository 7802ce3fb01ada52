"""What a source turns out to be: bytes, several of them, or a frame; and the errors of reading any."""

import io
import os
import sqlite3
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import polars as pl

from dotbias.data.sources.limits import LIMIT, Limit
from dotbias.data.sources.packing import PACKING_ERRORS, Bounded, packing_of
from dotbias.errors import DataError

_HEAD_BYTES = 1 << 16
_LONGEST_SAID = 300


@dataclass(frozen=True)
class Blob:
    """Bytes with the name they have in messages; a file stays on disk until it is needed.

    Args:
        name: in messages.
        content: where the bytes are, or they themselves.
        limit: what they may unpack to.
        format: what they were before they became text, where that was something else.
        notices: what the user should know.
    """

    name: str
    content: Path | bytes
    limit: Limit = field(default=LIMIT, repr=False)
    format: str = ""
    notices: tuple[str, ...] = ()

    def open(self) -> IO[bytes]:
        """The bytes as a file, to be closed after use."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        return self.content.open("rb")

    def size(self) -> int:
        """Number of bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def head(self) -> bytes:
        """The first bytes, enough to recognise what it holds."""
        with self.open() as file:
            return file.read(_HEAD_BYTES)

    def read(self) -> bytes:
        """All bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    def lines(self) -> io.TextIOWrapper:
        """The lines of text, to be closed after use."""
        return io.TextIOWrapper(self.open(), encoding="utf-8-sig", newline="\n")

    @contextmanager
    def stream(self) -> Iterator[Bounded]:
        """The bytes without packing, as far as they are asked for."""
        with self.open() as file:
            packing = packing_of(file.read(_HEAD_BYTES))
            file.seek(0)
            # A file that is not packed cannot give more than it has.
            limit = self.limit if packing else Limit(float("inf"), float("inf"))
            unpacked = packing.open(file) if packing else file
            with Bounded(self.name, unpacked, self.size(), limit) as stream:
                yield stream

    def unpacked(self) -> tuple["Blob", str]:
        """The blob without packing, and what that was, as an addition to the name of the format."""
        packing = packing_of(self.head())
        if packing is None:
            return self, ""
        with named_errors(self.name), self.stream() as stream:
            return Blob(self.name, stream.read_whole(), self.limit), f" ({packing.name})"


@dataclass(frozen=True)
class Parts:
    """Several blobs of one table.

    Args:
        name: in messages.
        blobs: in the order of their rows.
        notices: what the user should know.
    """

    name: str
    blobs: tuple[Blob, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frame:
    """A frame with the name it has in messages.

    Args:
        name, format: in messages.
        lf: the frame.
        header: whether its columns have names.
        notices: what the user should know.
    """

    name: str
    format: str
    lf: pl.LazyFrame
    header: bool = True
    notices: tuple[str, ...] = ()


Content = Blob | Parts | Frame

# What Polars raises, or breaks off with: a panic of its own is no Exception, whatever its stub says.
PARSER_ERRORS: tuple[type[Exception], ...] = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
)
_DAMAGED: tuple[type[Exception], ...] = (
    *PARSER_ERRORS,
    *PACKING_ERRORS,
    zipfile.BadZipFile,
    struct.error,
    OverflowError,
)


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Give what file system, unpackers and parsers raise the name of the file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from error
        raise damaged(name, "file", error) from error
    except _DAMAGED as error:
        raise damaged(name, "file", error) from error
    except NotImplementedError as error:  # of a zip: packed in a way that nothing here undoes
        raise DataError(
            f"{name}: cannot be unpacked ({error}); unpack it yourself and pass the ratings file"
        ) from error


# What ``named_errors``, or whoever opens a database, gives a name.
_NAMED: tuple[type[Exception], ...] = (
    *(DataError, MemoryError, NotImplementedError, sqlite3.Error),
    *_DAMAGED,
)


@contextmanager
def parsing(name: str, format: str) -> Iterator[None]:
    """Give whatever a parser raises on damaged bytes, which may be anything, the name of the file."""
    try:
        yield
    except _NAMED:
        raise
    except Exception as error:
        raise damaged(name, format, error) from error


def damaged(name: str, format: str, error: BaseException) -> DataError:
    """The error of a file that cannot be parsed."""
    said = str(error).strip().partition("\n")[0]
    said = said if len(said) <= _LONGEST_SAID else f"{said[:_LONGEST_SAID]}..."
    return DataError(f"{name}: the {format} is damaged or cut short ({said})")


def shown(path: str | os.PathLike[str]) -> str:
    """A path as it can be printed, whatever the bytes of its name."""
    return os.fsencode(path).decode(errors="backslashreplace")
