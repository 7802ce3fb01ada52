"""Parquet: what a file says of its pages, and their checksums, at which Polars does not look.

A damaged page may make Polars ask for any amount of memory, which ends the process, and give wrong
values where a checksum would tell. Pages are described in Thrift's compact protocol; this reads it.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

from dotbias.data.sources.blob import Blob, damaged

_MAGIC = b"PAR1"
_FOOTER = struct.Struct("<I4s")
# Of the description of a page, which quotes the least and the largest text.
_USUAL_BYTES, _MOST_BYTES = 1 << 12, 1 << 24
# Fields by their numbers in the definition of the format.
_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_N_ROWS, _TOTAL = 3, 7
_CODEC, _GZIP = 4, 2
_N_VALUES, _DATA_PAGE, _DICTIONARY_PAGE = 5, 9, 11
_TYPE, _UNPACKED, _PACKED, _CHECKSUM, _N_IN_PAGE = 1, 2, 3, 4, 1
_SECOND_DATA_PAGE = 3
_DATA_HEADERS = {0: 5, _SECOND_DATA_PAGE: 8}
_ERRORS = (
    *(ValueError, IndexError, KeyError, TypeError, AttributeError),
    *(struct.error, zlib.error),
)


def check_pages(blob: Blob) -> None:
    """Make sure that the pages of a file are where and as long as it says, and have not changed.

    Raises:
        DataError: naming the file.
    """
    with blob.open() as file:
        try:
            for chunk in _chunks(file, blob.size()):
                _check_chunk(file, chunk, blob.size())
        except _ERRORS as error:
            raise damaged(blob.name, "file", error) from error


def row_groups(blob: Blob) -> list[tuple[int, int]]:
    """How many rows, and bytes on disk, each group of rows has.

    Raises:
        DataError: naming the file, where it does not say.
    """
    with blob.open() as file:
        try:
            return [
                (group[_N_ROWS], sum(column[_META_DATA][_TOTAL] for column in group[_COLUMNS]))
                for group in _groups(file, blob.size())
            ]
        except _ERRORS as error:
            raise damaged(blob.name, "file", error) from error


def _groups(file: IO[bytes], size: int) -> list[dict[int, Any]]:
    """What is said of each group of rows."""
    file.seek(max(0, size - _FOOTER.size))
    length, magic = _FOOTER.unpack(file.read())
    start = size - _FOOTER.size - length
    if magic != _MAGIC or start < len(_MAGIC):
        raise ValueError("there is no Parquet footer")
    file.seek(start)
    groups: list[dict[int, Any]] = _Compact(file.read(length)).struct()[_ROW_GROUPS]
    return groups


def _chunks(file: IO[bytes], size: int) -> Iterator[dict[int, Any]]:
    """What is said of each column in each group of rows."""
    for group in _groups(file, size):
        for column in group[_COLUMNS]:
            yield column[_META_DATA]


def _check_chunk(file: IO[bytes], chunk: dict[int, Any], size: int) -> None:
    at = min(chunk.get(_DICTIONARY_PAGE) or chunk[_DATA_PAGE], chunk[_DATA_PAGE])
    left = chunk[_N_VALUES]
    while left:
        header, length = _page(file, at)
        at += length + header[_PACKED]
        n = (
            header[_DATA_HEADERS[header[_TYPE]]][_N_IN_PAGE]
            if header[_TYPE] in _DATA_HEADERS
            else 0
        )
        left -= n
        if min(n, left, header[_PACKED], header[_UNPACKED]) < 0 or at > size:
            raise ValueError("a page is not as long as its column")
        file.seek(at - header[_PACKED])
        if _CHECKSUM in header:
            if zlib.crc32(file.read(header[_PACKED])) != header[_CHECKSUM] & 0xFFFFFFFF:
                raise ValueError("the checksum of a page is another")
        elif chunk[_CODEC] == _GZIP and header[_TYPE] != _SECOND_DATA_PAGE:
            unpacker = zlib.decompressobj(wbits=47)  # whose checksum Polars does not look at either
            unpacker.decompress(file.read(header[_PACKED]), header[_UNPACKED] + 1)
            if not unpacker.eof:
                raise ValueError("a page is not as long as its column")


def _page(file: IO[bytes], at: int) -> tuple[dict[int, Any], int]:
    """The description of a page, and its length."""
    for n_bytes in (_USUAL_BYTES, _MOST_BYTES):
        file.seek(at)
        reader = _Compact(file.read(n_bytes))
        with suppress(IndexError):
            return reader.struct(), reader.at
    raise ValueError("the description of a page breaks off")


class _Compact:
    """Values in Thrift's compact protocol, one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def struct(self) -> dict[int, Any]:
        """The fields of a structure by their numbers."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):  # true and false
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 7:
            return self._skip(8)
        if kind == 8:
            return self._skip(self._varint())
        if kind in (9, 10):
            return self._list()
        if kind == 12:
            return self.struct()
        raise ValueError(f"there is no kind {kind} of Thrift")

    def _list(self) -> list[Any]:
        head = self._byte()
        n = head >> 4 if head >> 4 < 15 else self._varint()
        kind = 3 if head & 15 in (1, 2) else head & 15
        if n > len(self.content):
            raise IndexError(n)
        return [self._value(kind) for _ in range(n)]

    def _byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def _integer(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)

    def _skip(self, n: int) -> bytes:
        self.at += n
        if self.at > len(self.content):
            raise IndexError(self.at)
        return self.content[self.at - n : self.at]
