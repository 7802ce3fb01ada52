"""Folders elsewhere, at URLs such as ``s3://bucket/ratings.blocks``, as fsspec opens them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from dotbias.data.sources.databases import without_password
from dotbias.errors import DataError
from dotbias.extras import install

# These are known where fsspec is not installed, too, so that it can be said what is missing.
_COMMON = ("file", "http", "https", "ftp", "s3", "gs", "gcs", "abfs", "az", "hdfs", "hf")
_INSTEAD = "or download what is there and pass its path"


def is_url(place: Any) -> bool:
    """Whether a path is the URL of something elsewhere, and not the address of a database."""
    if not isinstance(place, str) or "://" not in place or os.path.lexists(place):
        return False
    scheme = place.partition("://")[0].rpartition("::")[2].lower()
    if scheme in _COMMON:
        return True
    try:
        from fsspec import get_filesystem_class
    except ImportError:
        return False
    try:
        with suppress(ImportError):  # of a package that this kind of storage takes
            get_filesystem_class(scheme)
    except ValueError:
        return False
    return True


class Remote:
    """The files of a folder elsewhere.

    Where they are and who may read them is up to fsspec and to its packages for each kind of storage:
    the URL, their variables of the environment and their own files.

    Args:
        url: the folder, perhaps with a password.

    Attributes:
        name: the URL as it may be printed.

    Raises:
        DataError: naming the URL and the reason, here and whenever something is read.
    """

    def __init__(self, url: str) -> None:
        self.url, self.name = url, without_password(url).rstrip("/")
        self._lock = threading.Lock()  # some kinds of storage have one connection
        with self._reached(self.name):
            from fsspec.core import url_to_fs

            self._storage, root = url_to_fs(url)
            self._root = root.rstrip("/")
            self._storage.invalidate_cache()

    def size(self, name: str) -> int | None:
        """How many bytes a file has; None where there is none."""
        with self._reached(f"{self.name}/{name}"):
            try:
                found = self._storage.size(f"{self._root}/{name}")
            except FileNotFoundError as error:
                if (hidden := _hidden(error)) is not None:
                    raise hidden from None
                return None
        if found is None:
            raise DataError(f"{self.name}/{name}: its storage does not say how long it is")
        return int(found)

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Some bytes of a file, which has so many."""
        where = f"{self.name}/{name}"
        with self._reached(where):
            data: bytes = self._storage.cat_file(f"{self._root}/{name}", start=start, end=stop)
        if len(data) != stop - start:
            raise DataError(
                f"{where}: {stop - start:,} bytes were asked for, and {len(data):,} came; its storage "
                "must be able to read a part of a file"
            )
        return data

    @contextmanager
    def _reached(self, where: str) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except FileNotFoundError:
            raise DataError(f"{where} is not there") from None
        except ImportError as error:
            missing = (getattr(error.__cause__ or error, "name", None) or "").partition(".")[0]
            if not missing:
                raise DataError(f"{where}: cannot be read ({self._said(error)})") from None
            how = install("cluster") if missing == "fsspec" else f"pip install {missing}"
            raise DataError(f"{where}: {missing} is not installed: {how}; {_INSTEAD}") from None
        # Each kind of storage has its own, and what they say may hold a password.
        except Exception as error:
            raise DataError(f"{where}: cannot be read ({self._said(error)})") from None

    def _said(self, error: Exception) -> str:
        said = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            said = error.strerror
        try:
            password = urlsplit(self.url).password or ""
        except ValueError:  # no URL at all
            password = ""
        for secret in filter(None, (password, unquote(password))):
            said = said.replace(secret, "***")
        return without_password(said)


def _hidden(error: FileNotFoundError) -> BaseException | None:
    """Why a server could not be asked, which fsspec hides behind a file that is not there."""
    cause = error.__cause__
    fails = isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError)
    return cause if fails or getattr(cause, "status", 404) != 404 else None
