"""Packing: what one packed file begins with, and how it is undone. A further one is one entry."""

import bz2
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable
from typing import IO, NamedTuple, Protocol, Self

from dotbias.data.sources.limits import Limit

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

_CHUNK = 1 << 20
# What undoing xz may take: no preset of the program needs more than 65 MB. That of zstd takes up to
# 128 MB and refuses more by itself, and the others have a small window.
_MEMORY = 1 << 28


class Stream(Protocol):
    """What unpacked bytes come from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes; none at the end."""

    def close(self) -> None:
        """No more are wanted."""


class _Xz:
    """The unpacked bytes of an xz file; ``lzma.LZMAFile`` has no bound on the memory that it takes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.decoder = self._begun()

    def _begun(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, _MEMORY)

    def read(self, size: int, /) -> bytes:
        """See ``Stream``."""
        while True:
            packed = b""
            if self.decoder.eof:
                # Another stream may follow, with zeros between.
                packed = self.decoder.unused_data.lstrip(b"\0")
                while not packed:
                    if not (chunk := self.file.read(_CHUNK)):
                        return b""
                    packed = chunk.lstrip(b"\0")
                self.decoder = self._begun()
            elif self.decoder.needs_input and not (packed := self.file.read(_CHUNK)):
                raise EOFError("it ends before the end of the packed data")
            if unpacked := self.decoder.decompress(packed, size):
                return unpacked

    def close(self) -> None:
        """See ``Stream``."""
        self.file.close()


class Packing(NamedTuple):
    """A way to pack one file.

    Args:
        name: in messages.
        magic: what packed files begin with.
        suffixes: the ends of their names.
        open: the unpacked stream of a packed one.
    """

    name: str
    magic: re.Pattern[bytes]
    suffixes: tuple[str, ...]
    open: Callable[[IO[bytes]], Stream]


PACKINGS = (
    Packing("gzip", re.compile(rb"\x1f\x8b"), ("gz",), lambda file: gzip.GzipFile(fileobj=file)),
    Packing("zstd", re.compile(rb"\x28\xb5\x2f\xfd"), ("zst",), lambda file: zstd.ZstdFile(file)),
    Packing("bzip2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), ("bz2",), bz2.BZ2File),
    Packing("xz", re.compile(rb"\xfd7zXZ\0"), ("xz",), _Xz),
)

# What unpacking a damaged file raises, besides errors of the file system.
PACKING_ERRORS = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError)


def packing_of(head: bytes) -> Packing | None:
    """How a file that begins so is packed, if at all."""
    return next((packing for packing in PACKINGS if packing.magic.match(head)), None)


class Bounded:
    """An unpacked stream that ends in an error where it has given more than it may.

    Args:
        name: of the source, in messages.
        stream: the unpacked bytes.
        packed: how many bytes they come from.
        limit: what they may amount to.
    """

    def __init__(self, name: str, stream: Stream, packed: int, limit: Limit) -> None:
        self.name, self.stream, self.packed, self.limit = name, stream, packed, limit
        self.n_read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stream.close()

    def read(self, size: int) -> bytes:
        """The next bytes, as many as asked for or fewer; none at the end."""
        try:
            chunk = self.stream.read(size)
        except (lzma.LZMAError, zstd.ZstdError) as error:
            if "memory" not in str(error).lower():
                raise
            raise NotImplementedError("it was packed to take very much memory") from error
        self.n_read += len(chunk)
        self.limit.check(self.name, self.packed, self.n_read)
        return chunk

    def drain(self) -> None:
        """Read what is left, which the checksum at the end may show to be damaged."""
        while self.read(_CHUNK):
            pass

    def read_whole(self) -> bytes:
        """All that is left."""
        whole = io.BytesIO()
        while chunk := self.read(_CHUNK):
            whole.write(chunk)
        return whole.getvalue()
