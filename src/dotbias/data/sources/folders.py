"""Folders, whose members are the files in them, in the folders in them, and in partitions."""

import glob
import math
import os
import re
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from dotbias.data.sources.blob import Blob, shown
from dotbias.data.sources.containers import Container
from dotbias.data.sources.limits import Limit
from dotbias.data.sources.packing import Bounded
from dotbias.data.waiting import let_interrupt
from dotbias.errors import DataError

# Tables whose files hold rows that are no longer part of them: what tells them, and what reads them.
_KEPT_IN_LOGS = {
    "_delta_log": ("a Delta table", "polars.read_delta"),
    "metadata/version-hint.text": ("an Iceberg table", "polars.scan_iceberg"),
    ".hoodie": ("a Hudi table", "the hudi package"),
}


class Folder(Container):
    """A folder of files."""

    def __init__(self, path: Path, limit: Limit) -> None:
        super().__init__(shown(path))
        self.path, self.limit = path, limit

    def names(self) -> list[str]:
        """See ``Container``."""
        for sign, (what, reader) in _KEPT_IN_LOGS.items():
            if (self.path / sign).exists():
                raise DataError(
                    f"{self.name}: {what}, in which some files hold rows that were deleted: read it "
                    f"with {reader} and pass the frame"
                )
        return _files(self.path, "", deep=True)

    def member(self, name: str) -> Blob:
        """See ``Container``."""
        return file_blob(self.path / name, self.limit)


def _files(folder: Path, before: str, *, deep: bool) -> list[str]:
    names = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            partition = re.fullmatch(r"[^=]+=.*", entry.name) is not None
            if entry.is_file():
                names.append(before + entry.name)
            # Partitions may lie in each other; a link among them might lead round in a circle.
            elif (deep or partition) and entry.is_dir(follow_symlinks=not partition):
                with suppress(PermissionError):
                    inside = folder / entry.name
                    names += _files(inside, f"{before}{entry.name}/", deep=deep and partition)
    return names


def file_blob(path: Path, limit: Limit) -> Blob:
    """The blob of a file."""
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise DataError(f"{shown(path)}: a device, and no file")
    if not stat.S_ISREG(mode):
        let_interrupt()  # for a writer is waited for, too
        with path.open("rb") as pipe:
            return Blob(shown(path), read_pipe(shown(path), pipe, limit), limit)
    try:
        str(path).encode()
    except UnicodeEncodeError:  # Polars takes names of UTF-8 only
        return Blob(shown(path), path.read_bytes(), limit)
    return Blob(str(path), path, limit)


def user_path(name: str) -> Path:
    """The path that a user has written, which need not be there.

    Raises:
        DataError: for one that leads nowhere.
    """
    if "\0" in name:
        raise DataError(f"{name!r}: no path holds a zero byte")
    try:
        path = Path(name).expanduser()
        path.stat()
    except RuntimeError as error:
        raise DataError(f"{name}: there is no such user, whose home this would be in") from error
    except FileNotFoundError:
        pass
    except OSError as error:
        if not glob.has_magic(name):
            raise DataError(f"{_cut(shown(name))}: cannot be read ({error.strerror})") from error
    return path


def _cut(name: str) -> str:
    return name if len(name) <= 300 else f"{name[:100]}...{name[-100:]}"


def read_pipe(name: str, pipe: IO[bytes], limit: Limit) -> bytes:
    """All that comes out of a pipe, which can be read only once."""
    let_interrupt()
    endless = replace(limit, ratio=math.inf)
    return Bounded(name, pipe, 0, endless).read_whole()
