"""A copy, on this machine, of what is read of a folder elsewhere."""

import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from dotbias.data.sources.remote import Remote
from dotbias.errors import DataError
from dotbias.whole_file import part_folder

_PIECE = 1 << 25


class Mirror:
    """A folder among temporary files, to which the files of a folder elsewhere come as they are needed.

    Args:
        remote: the folder elsewhere.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.url, self.name = remote.url, remote.name
        self._files: dict[str, IO[bytes]] = {}
        self._lock = threading.Lock()
        self._stack = ExitStack()
        weakref.finalize(self, self._stack.close)
        self._names = self._stack.enter_context(ExitStack())
        place = Path(tempfile.gettempdir()) / "ratings.blocks"
        with self._writing():
            self._folder = self._names.enter_context(part_folder(place)) / place.name

    def begin(self, name: str, n_bytes: int | None = None) -> None:
        """Make a file as long as the one elsewhere, if there is one, with the first bytes of it.

        Args:
            name: of the file.
            n_bytes: how many; None for all.
        """
        size = self._remote.size(name)
        if size is None:
            return
        with self._writing():
            self._folder.mkdir(exist_ok=True)
            file = self._stack.enter_context((self._folder / name).open("wb"))
            file.truncate(size)
        self._files[name] = file
        self.fetch(name, 0, size if n_bytes is None else min(n_bytes, size))

    def fetch(self, name: str, start: int, stop: int) -> None:
        """Copy some bytes of a file that is begun.

        Raises:
            DataError: naming the URL, where they cannot be read; or the folder for temporary files,
                where they cannot be written.
        """
        file = self._files[name]
        for at in range(start, stop, _PIECE):
            data = self._remote.read(name, at, min(at + _PIECE, stop))
            with self._writing(), self._lock:
                file.seek(at)
                file.write(data)
                file.flush()

    @contextmanager
    def opening(self) -> Iterator[Path]:
        """The folder, in which files have names as long as this lasts, and errors name those elsewhere.

        After that, what is open or mapped goes with the last who reads it, however a process ends. Where
        a system cannot do so, the folder goes with this object.
        """
        try:
            yield self._folder
        except DataError as error:
            raise DataError(str(error).replace(str(self._folder), self.name)) from None
        finally:
            if os.name == "posix":
                self._names.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.name}: what is read of it cannot be kept in {tempfile.gettempdir()} "
                f"({error.strerror}): name another folder in the variable TMPDIR"
            ) from error
