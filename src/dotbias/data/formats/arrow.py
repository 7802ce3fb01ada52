"""Arrow: whether its messages are as long as they say, which Polars takes for granted.

A damaged length may make Polars ask for any amount of memory, which ends the process. What describes
messages is in FlatBuffers, of which this reads the few fields that have lengths.
"""

import struct
from collections.abc import Iterator
from typing import IO

from dotbias.data.sources.blob import Blob, damaged
from dotbias.data.sources.packing import zstd

_MAGIC = b"ARROW1"
_FOOTER = struct.Struct("<i6s")
_BLOCK, _PAIR, _COUNT = struct.Struct("<qi4xq"), struct.Struct("<qq"), struct.Struct("<q")
_BEGIN = struct.Struct("<Ii")
_CONTINUED = 0xFFFFFFFF
# Fields by their numbers in the definition of the format.
_SCHEMA, _DICTIONARIES, _BATCHES = 1, 2, 3
_COLUMNS, _CHILDREN = 1, 5
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_LENGTH, _NODES, _BUFFERS, _COMPRESSION, _N_VARIADIC = 0, 1, 2, 3, 4
_CODEC, _ZSTD = 0, 1
# The byte of a Zstandard frame that tells whether it ends with a checksum.
_DESCRIPTOR, _HAS_CHECKSUM = 4, 4
_SCHEMA_MESSAGE, _DICTIONARY_BATCH, _RECORD_BATCH, _DATA = 1, 2, 3, 1


def check_messages(blob: Blob) -> None:
    """Make sure that the messages of a file or stream lie where they should and hold what they say.

    Raises:
        DataError: naming the file.
    """
    with blob.open() as file:
        try:
            if file.read(len(_MAGIC)) == _MAGIC:
                footer = _footer(file, blob.size())
                is_flat, places = _is_flat(footer.table(_SCHEMA)), _blocks(footer, blob.size())
            else:
                is_flat, places = _begins_flat(file), _one_by_one(file, blob.size())
            for place in places:
                _check_message(file, place, blob, is_flat=is_flat)
        except (ValueError, IndexError, struct.error, zstd.ZstdError) as error:
            raise damaged(blob.name, "file", error) from error


def _footer(file: IO[bytes], size: int) -> "_Table":
    file.seek(max(0, size - _FOOTER.size))
    length, magic = _FOOTER.unpack(file.read())
    if magic != _MAGIC or not 0 < length <= size - _FOOTER.size:
        raise ValueError("there is no Arrow footer")
    file.seek(size - _FOOTER.size - length)
    return _Table.root(file.read(length))


def _begins_flat(file: IO[bytes]) -> bool:
    """Whether a stream begins with columns of which none is made of others."""
    file.seek(0)
    _, length = _BEGIN.unpack(file.read(_BEGIN.size))
    message = _Table.root(file.read(max(length, 0)))
    is_schema = message.number(_HEADER_TYPE, "<B") == _SCHEMA_MESSAGE
    return is_schema and _is_flat(message.table(_HEADER))


def _is_flat(schema: "_Table") -> bool:
    """Whether no column is made of others, so that all are as long as their batch."""
    return not any(column.tables(_CHILDREN) for column in schema.tables(_COLUMNS))


def _blocks(footer: "_Table", size: int) -> Iterator[int]:
    """Where the messages of a file are."""
    for field in (_DICTIONARIES, _BATCHES):
        for offset, _, _ in footer.structs(field, _BLOCK):
            if not 0 <= offset < size:
                raise ValueError("a message is not in the file")
            yield offset


def _one_by_one(file: IO[bytes], size: int) -> Iterator[int]:
    """Where the messages of a stream are."""
    at = 0
    while at < size:
        yield at
        file.seek(at)
        mark, length = _BEGIN.unpack(file.read(_BEGIN.size))
        if mark != _CONTINUED or length == 0:
            return
        message = _Table.root(file.read(length))
        at += _BEGIN.size + length + message.number(_BODY_LENGTH, "<q")


def _check_message(file: IO[bytes], at: int, blob: Blob, *, is_flat: bool) -> None:
    file.seek(at)
    mark, length = _BEGIN.unpack(file.read(_BEGIN.size))
    if mark != _CONTINUED or length == 0:
        return  # the end, or as it was before Arrow 0.15
    start = at + _BEGIN.size + length
    body = 0 if length < 0 else blob.size() - start
    message = _Table.root(file.read(max(length, 0)))
    n_body = message.number(_BODY_LENGTH, "<q")
    if not 0 <= n_body <= body:
        raise ValueError("a message is longer than the file")
    kind = message.number(_HEADER_TYPE, "<B")
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return
    batch = message.table(_HEADER)
    if kind == _DICTIONARY_BATCH:
        batch = batch.table(_DATA)
    buffers = batch.structs(_BUFFERS, _PAIR)
    counts = [n for (n,) in batch.structs(_N_VARIADIC, _COUNT)]
    if min(counts, default=0) < 0 or sum(counts) > len(buffers):
        raise ValueError("a column has more buffers than there are")
    length, nodes = batch.number(_LENGTH, "<q"), batch.structs(_NODES, _PAIR)
    if length < 0 or any(not 0 <= nulls <= n for n, nulls in nodes):
        raise ValueError("a column has no possible length")
    if is_flat and kind == _RECORD_BATCH and any(n != length for n, _ in nodes):
        raise ValueError("a column is longer or shorter than the others")
    for offset, n in buffers:
        if not 0 <= offset <= offset + n <= n_body:
            raise ValueError("a buffer is longer than its message")
        if batch.has(_COMPRESSION) and n:
            file.seek(start + offset)
            (unpacked,) = _COUNT.unpack(file.read(_COUNT.size))
            if unpacked < -1 or n < _COUNT.size:
                raise ValueError("a buffer has no possible length")
            if unpacked > blob.limit.largest:
                raise ValueError(f"a buffer unpacks to {unpacked:,} bytes")
            if batch.table(_COMPRESSION).number(_CODEC, "<b") == _ZSTD and unpacked >= 0:
                _check_zstd(file.read(n - _COUNT.size), unpacked)


def _check_zstd(packed: bytes, size: int) -> None:
    """Look at the checksum where there is one, which Polars does not."""
    if not packed[_DESCRIPTOR] & _HAS_CHECKSUM:
        return
    unpacker = zstd.ZstdDecompressor()
    if len(unpacker.decompress(packed, size + 1)) != size or not unpacker.eof:
        raise ValueError("a buffer is not as long as it says")


class _Table:
    """A table in FlatBuffers."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.at = content, at
        self.fields = at - self._number(at, "<i")

    @classmethod
    def root(cls, content: bytes) -> "_Table":
        """The outermost table of some bytes."""
        return cls(content, struct.unpack_from("<I", content)[0])

    def _number(self, at: int, form: str) -> int:
        if at < 0:
            raise ValueError("a table is not in its message")
        number: int = struct.unpack_from(form, self.content, at)[0]
        return number

    def _place(self, field: int) -> int:
        """Where a field is; 0 where it is not."""
        at = 4 + 2 * field
        if at >= self._number(self.fields, "<H"):
            return 0
        offset = self._number(self.fields + at, "<H")
        return self.at + offset if offset else 0

    def has(self, field: int) -> bool:
        """Whether a field is there."""
        return self._place(field) > 0

    def number(self, field: int, form: str) -> int:
        """The number in a field."""
        at = self._place(field)
        return self._number(at, form) if at else 0

    def table(self, field: int) -> "_Table":
        """The table in a field."""
        at = self._place(field)
        if not at:
            raise ValueError("a message is empty")
        return _Table(self.content, at + self._number(at, "<I"))

    def tables(self, field: int) -> "list[_Table]":
        """The tables in a list."""
        at = self._place(field)
        if not at:
            return []
        at += self._number(at, "<I")
        n, at = self._number(at, "<I"), at + 4
        if at + 4 * n > len(self.content):
            raise ValueError("a list is longer than its message")
        places = range(at, at + 4 * n, 4)
        return [_Table(self.content, place + self._number(place, "<I")) for place in places]

    def structs(self, field: int, form: struct.Struct) -> list[tuple[int, ...]]:
        """The structures in a field."""
        at = self._place(field)
        if not at:
            return []
        at += self._number(at, "<I")
        n, at = self._number(at, "<I"), at + 4
        if at + n * form.size > len(self.content):
            raise ValueError("a list is longer than its message")
        return list(form.iter_unpack(self.content[at : at + n * form.size]))
