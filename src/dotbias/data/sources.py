"""Sources: from a path, or the name of a set, to bytes: files, folders, archives, downloads, packing."""

import gzip
import io
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import polars as pl

from dotbias.data.catalog import NAMED_SETS, fetch, safe_members
from dotbias.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    Source: TypeAlias = str | os.PathLike[str] | pl.DataFrame | pl.LazyFrame | pd.DataFrame

# Names of the members of a folder or archive, the likeliest first.
RATINGS = (r"ratings?\.", r"u\.data$", r"ratings?[-_]", r".*[-_]ratings?\.", r"interactions\.")
TITLES = (r"(.*[-_])?(movies|items|books|products|tracks|artists|titles)[-_.]", r"u\.item$")

_HEAD_BYTES = 1 << 16


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

    def unpacked(self) -> tuple["Blob", str]:
        """The blob without packing, and what that was, as an addition to the name of the format."""
        head = self.head()
        for packing in _PACKINGS:
            if head.startswith(packing.magic):
                return Blob(self.name, packing.unpack(self.read())), f" ({packing.name})"
        return self, ""


def _unzstd(packed: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    try:
        return zstd.decompress(packed)
    except zstd.ZstdError as error:
        raise EOFError(*error.args) from error


class _Packing(NamedTuple):
    """What packed files begin with, the end of their names, and how it is undone."""

    name: str
    magic: bytes
    suffix: str
    unpack: Callable[[bytes], bytes]


_PACKINGS = (
    _Packing("gzip", b"\x1f\x8b", "gz", gzip.decompress),
    _Packing("zstd", b"\x28\xb5\x2f\xfd", "zst", _unzstd),
)


def locate(
    source: "Source", patterns: Iterable[str], suffixes: Sequence[str]
) -> tuple[Any, Blob | None]:
    """The blob a path stands for (a frame stands for itself), and the blob of titles beside it.

    Args:
        source: path, name of a set, or frame.
        patterns: names of the member of a folder or an archive to take, the likeliest first.
        suffixes: of names of tables; where only one member is one, it is taken.

    Raises:
        DataError: where there is no such file or set, or none of several members can be chosen.
    """
    if not isinstance(source, str | os.PathLike):
        return source, None
    path = Path(source).expanduser()
    if not path.exists():
        path = _fetched(os.fspath(source))
    with named_errors(str(path)):
        if not path.is_dir():
            # A pipe can be read only once.
            blob = Blob(str(path), path if path.is_file() else path.read_bytes())
            if not blob.head().startswith((b"PK\3\4", b"PK\5\6")):
                return blob, None
        names = _members(path)
        tables = [name for name in names if _is_table(name, suffixes)]
        chosen = _choose(names, patterns) or (tables[0] if len(tables) == 1 else None)
        if chosen is None:
            raise DataError(
                f"{path}: none of its files is named like ratings.csv; pass the path of the right "
                f"one. There are {', '.join(names[:30]) or 'none'}"
            )
        titles = _choose([name for name in names if name != chosen], TITLES)
        return _member(path, chosen), None if titles is None else _member(path, titles)


def _is_table(name: str, suffixes: Sequence[str]) -> bool:
    packed = "|".join(packing.suffix for packing in _PACKINGS)
    return re.search(rf"\.({'|'.join(suffixes)})(\.({packed}))?$", name.lower()) is not None


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
def named_errors(name: str) -> Iterator[None]:
    """Give what file system, unpackers and parsers raise the name of the file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise DataError(f"{name}: cannot be read ({error.strerror})") from error
        raise damaged(name, "file", error) from error
    except (pl.exceptions.PolarsError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise damaged(name, "file", error) from error


def damaged(name: str, format: str, error: Exception) -> DataError:
    """The error of a file that cannot be parsed."""
    said = str(error).strip().partition("\n")[0]
    return DataError(f"{name}: the {format} is damaged or cut short ({said})")
