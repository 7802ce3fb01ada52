"""Archives: zip and tar, whose members come out in memory, and only as far as they are safe."""

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PureWindowsPath
from typing import NoReturn

from dotbias.data.sources.blob import Blob, parsing
from dotbias.data.sources.containers import Container
from dotbias.data.sources.limits import LIMIT, Limit
from dotbias.data.sources.packing import Bounded
from dotbias.errors import DataError


class Zip(Container):
    """A zip archive."""

    def __init__(self, blob: Blob) -> None:
        super().__init__(blob.name)
        self.blob = blob

    def names(self) -> list[str]:
        """See ``Container``."""
        with self._opened() as archive:
            members = safe_members(archive, self.blob.limit, self.name)
        return [member.filename for member in members]

    def member(self, name: str) -> Blob:
        """See ``Container``."""
        where = f"{self.name}/{name}"
        with self._opened() as archive:
            known = archive.getinfo(name)
            packed = archive.open(known)
            with Bounded(where, packed, known.compress_size, self.blob.limit) as stream:
                return Blob(where, stream.read_whole(), self.blob.limit)

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        with (
            parsing(self.name, "archive"),
            self.blob.open() as file,
            zipfile.ZipFile(file) as archive,
        ):
            yield archive


class Tar(Container):
    """A tar archive, packed or not, which is read from its beginning each time."""

    def __init__(self, blob: Blob) -> None:
        super().__init__(blob.name)
        self.blob = blob

    def names(self) -> list[str]:
        """See ``Container``."""
        names = []
        with self._opened() as archive:
            for member in archive:
                if fault := _path_fault(member.name):
                    _refuse(self.name, member.name, fault)
                # A sparse member may claim any size.
                self.blob.limit.check(self.name, self.blob.size(), member.size)
                if member.isfile():
                    names.append(member.name)
        return names

    def member(self, name: str) -> Blob:
        """See ``Container``."""
        with self._opened() as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name == name else None
                if file is not None:
                    return Blob(f"{self.name}/{name}", file.read(), self.blob.limit)
        raise DataError(f"{self.name}: there is no member {name!r}")

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        with (
            parsing(self.name, "archive"),
            self.blob.stream() as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,  # type: ignore[call-overload]
        ):
            yield archive
            # The archive ends before the checksum of its packing does.
            stream.drain()


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so is a tar archive."""
    return head[257:262] == b"ustar"


def safe_members(
    archive: zipfile.ZipFile, limit: Limit = LIMIT, name: str = ""
) -> list[zipfile.ZipInfo]:
    """The files of an archive, folders left out, after making sure that none of them does harm.

    Args:
        archive: open for reading.
        limit: what they may unpack to.
        name: of the archive, in messages.

    Raises:
        DataError: naming the member, where one has an absolute path, a drive letter or a ``..``, is
            a symbolic link or encrypted, or where the archive is a bomb by the limit.
    """
    where = name or archive.filename or "the archive"
    for member in archive.infolist():
        if fault := _fault(member):
            _refuse(where, member.filename, fault)
        limit.check(
            f"{where} is refused: its member {member.filename!r}",
            member.compress_size,
            member.file_size,
        )
    files = [member for member in archive.infolist() if not member.is_dir()]
    n_bytes = sum(member.file_size for member in files)
    if n_bytes > limit.largest:
        largest = max(files, key=lambda member: member.file_size)
        limit.check(
            f"{where} is refused: with {largest.filename!r}, its largest member, it",
            archive.start_dir,
            n_bytes,
        )
    return files


def _refuse(where: str, member: str, fault: str) -> NoReturn:
    raise DataError(f"{where} is refused: its member {member!r} {fault}")


def _fault(member: zipfile.ZipInfo) -> str | None:
    if fault := _path_fault(member.filename):
        return fault
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a symbolic link"
    if member.flag_bits & 1:
        return "is encrypted; unpack it yourself and pass the ratings file"
    return None


def _path_fault(name: str) -> str | None:
    if not name:
        return "has no name"
    # Windows paths split at both kinds of slash and know drives: the stricter reading everywhere.
    path = PureWindowsPath(name)
    if path.anchor:
        return "has an absolute path"
    if ".." in path.parts:
        return "has a path that leads out of the archive"
    return None
