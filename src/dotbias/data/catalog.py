"""Named sets: public rating sets fetched by name, verified, and kept in the user's cache folder.

A download is written to a ``.part`` file and takes its final name only when its checksum is the
catalogued one, so whatever bears the final name is whole. The checksum is also what makes resuming
safe: should the file on the server have changed between two halves, the glued file fails it and the
download starts over, which no remembered ETag could do better.
"""

import contextlib
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType

from dotbias.data.waiting import let_interrupt
from dotbias.errors import DataError, DownloadError, did_you_mean
from dotbias.progress import progress_bar

_log = logging.getLogger("dotbias")

_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
# A live download writes or fails within the read timeout: a part untouched for longer is abandoned.
_ABANDONED_SECONDS = 2 * _READ_SECONDS


@dataclass(frozen=True)
class NamedSet:
    """A rating set that can be fetched by name.

    Args:
        name: what the user types; the file on the server is ``<name>.zip``.
        description: what is in it, one line.
        n_bytes: size of the zip.
        checksum: of the zip, ``sha256:...``, or ``md5:...`` where its publisher states that. It
            tells damage; against forgery there is https.
        licence: the terms of use in one line.
    """

    name: str
    description: str
    n_bytes: int
    checksum: str
    licence: str

    @property
    def filename(self) -> str:
        """Name of the file, on the server and in the cache."""
        return f"{self.name}.zip"

    @property
    def url(self) -> str:
        """Address of the file; the folder is ``DOTBIAS_DATASETS_URL`` where that is set."""
        base = os.environ.get("DOTBIAS_DATASETS_URL") or _GROUPLENS
        return f"{base.rstrip('/')}/{self.filename}"


_TERMS = (
    "MovieLens data of GroupLens, University of Minnesota: for research only, no commercial use "
    "without permission; cite doi.org/10.1145/2827872; "
)
_CLOSED = _TERMS + "may not be passed on without permission. Full terms: the README in the zip."
_OPEN = _TERMS + "may be passed on under the same terms. Full terms: the README in the zip."

NAMED_SETS: Mapping[str, NamedSet] = MappingProxyType(
    {
        named.name: named
        for named in (
            NamedSet(
                "ml-latest-small",
                "100,836 ratings by 610 users, 0.5 to 5, years 1996-2018",
                978_202,
                "sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
                _OPEN,
            ),
            NamedSet(
                "ml-100k",
                "100,000 ratings by 943 users, 1 to 5, years 1997-1998, with official splits",
                4_924_029,
                "md5:0e33842e24a9c977be4e0107933c0723",
                _CLOSED,
            ),
            NamedSet(
                "ml-1m",
                "1,000,209 ratings by 6,040 users, 1 to 5, years 2000-2003",
                5_917_549,
                "md5:c4d9eecfca2ab87c1945afe126590906",
                _CLOSED,
            ),
            NamedSet(
                "ml-10m",
                "10,000,054 ratings by 69,878 users, 0.5 to 5, years 1995-2009",
                65_566_137,
                "md5:ce571fd55effeba0271552578f2648bd",
                _CLOSED,
            ),
            NamedSet(
                "ml-20m",
                "20,000,263 ratings by 138,493 users, 0.5 to 5, years 1995-2015",
                198_702_078,
                "md5:cd245b17a1ae2cc31bb14903e1204af3",
                _CLOSED,
            ),
            NamedSet(
                "ml-25m",
                "25,000,095 ratings by 162,541 users, 0.5 to 5, years 1995-2019",
                261_978_986,
                "md5:6b51fb2759a8657d3bfcbfc42b592ada",
                _CLOSED,
            ),
            NamedSet(
                "ml-32m",
                "32,000,204 ratings by 200,948 users, 0.5 to 5, years 1995-2023",
                238_950_008,
                "md5:d472be332d4daa821edc399621853b57",
                _OPEN,
            ),
        )
    }
)


def fetch(name: str, *, progress: bool = True) -> Path:
    """Path of a named set's verified zip in the cache folder, downloading it where it is not there.

    The licence is logged (WARNING, logger ``dotbias``) when the set is downloaded. A file in the cache
    is hashed once; a note beside it (``<name>.zip.verified``) spares that for as long as its size
    and modification time stay the same. A damaged one is fetched anew, with a warning.

    Args:
        name: one of ``NAMED_SETS``.
        progress: show a bar while downloading (only where stderr is a terminal).

    Raises:
        DataError: for an unknown name.
        DownloadError: when the server cannot be reached, refuses or breaks off, when the checksum
            does not match, or when the cache folder cannot be written.

    >>> fetch("ml-2m")
    Traceback (most recent call last):
    dotbias.errors.DataError: no set is named 'ml-2m'; there are ml-latest-small, ml-100k, ...
    """
    if name not in NAMED_SETS:
        near = did_you_mean(name, NAMED_SETS)
        raise DataError(f"no set is named {name!r}; there are {', '.join(NAMED_SETS)}{near}")
    named = NAMED_SETS[name]
    target = cache_folder() / named.filename
    if _is_verified(target, named):
        return target
    with _failures_explained(named, target):
        if target.exists():
            _log.warning("%s is damaged and is downloaded again", target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _own_part(target) as part:
            _download(named, part, progress)
            part.replace(target)
    _note_verified(target, named)
    _log.warning("%s: %s", named.name, named.licence)
    return target


def cache_folder() -> Path:
    """Folder of the downloaded sets: ``DOTBIAS_CACHE``, else the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("DOTBIAS_CACHE") or platformdirs.user_cache_dir("dotbias")
    return Path(chosen).expanduser()


def _is_verified(path: Path, named: NamedSet) -> bool:
    with contextlib.suppress(OSError):  # no note: not verified yet
        if _note(path).read_bytes() == _state(path, named):
            return True
    try:
        whole = path.stat().st_size == named.n_bytes and _checksum(path, named) == named.checksum
    except OSError:
        return False
    if whole:
        _note_verified(path, named)
    return whole


def _note_verified(path: Path, named: NamedSet) -> None:
    # In a cache that is read-only the file is simply hashed at every use.
    with contextlib.suppress(OSError):
        _note(path).write_bytes(_state(path, named))


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified")


def _state(path: Path, named: NamedSet) -> bytes:
    status = path.stat()
    return f"{named.checksum} {status.st_size} {status.st_mtime_ns}\n".encode()


def _checksum(path: Path, named: NamedSet) -> str:
    """Checksum of a file, of the same kind as the set's."""
    kind = named.checksum.partition(":")[0]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, partial(hashlib.new, kind, usedforsecurity=False))
    return f"{kind}:{digest.hexdigest()}"


@contextlib.contextmanager
def _own_part(target: Path) -> Iterator[Path]:
    """A part file that no other process writes, holding what an earlier download left behind.

    Half a file is taken over by renaming it, in which only one process can succeed, and handed back
    the same way when the download breaks off.
    """
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
    left = target.with_name(f"{target.name}.part")
    for half in (left, *target.parent.glob(f"{target.name}.*.part")):
        with contextlib.suppress(OSError):
            if half == left or time.time() - half.stat().st_mtime > _ABANDONED_SECONDS:
                half.rename(part)
                break
    try:
        yield part
    finally:
        if part.exists():
            part.replace(left)


def _download(named: NamedSet, part: Path, progress: bool) -> None:
    """Complete the part file and verify it; one that fails is deleted."""
    resumed = True
    while resumed:
        resumed = _stream(named, part, progress)
        found = _checksum(part, named)
        if found == named.checksum:
            return
        part.unlink()
    raise DownloadError(
        f"{named.url} is not the file it should be, or was altered on the way: expected "
        f"{named.checksum}, found {found}. It was deleted; try again later or from another network"
    )


def _stream(named: NamedSet, part: Path, progress: bool) -> bool:
    """Receive what the part file lacks; True if that was added to bytes already there."""
    import httpx

    let_interrupt()
    present = part.stat().st_size if part.exists() else 0
    # A range counts bytes of the file itself, so the server must not compress it on the way.
    headers = {"Accept-Encoding": "identity"}
    if present:
        headers["Range"] = f"bytes={present}-"
    timeout = httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS)
    with httpx.stream(
        "GET", named.url, headers=headers, timeout=timeout, follow_redirects=True
    ) as response:
        if present and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is lacking: the checksum tells what the part is
        response.raise_for_status()
        start = present if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
        n_bytes = start + int(response.headers.get("Content-Length", named.n_bytes - start))
        if n_bytes != named.n_bytes:
            raise DownloadError(
                f"{named.url} is not the file it should be: expected {named.n_bytes:,} bytes, "
                f"the server has {n_bytes:,}"
            )
        with (
            part.open("ab" if start else "wb") as file,
            progress_bar(named.name, n_bytes, enabled=progress, unit="bytes") as advance,
        ):
            advance(start, "")
            for chunk in response.iter_raw():
                file.write(chunk)
                advance(len(chunk), "")
    return start > 0


@contextlib.contextmanager
def _failures_explained(named: NamedSet, target: Path) -> Iterator[None]:
    """Turn whatever goes wrong in a download into a DownloadError that says what to do."""
    import httpx

    by_hand = f"or save {named.url} as {target} yourself, or pass the path of your own copy"
    try:
        yield
    except DownloadError:
        raise
    except httpx.HTTPStatusError as error:
        answer = f"{error.response.status_code} {error.response.reason_phrase}"
        raise DownloadError(
            f"cannot download {named.name}: the server answered {answer} for {error.request.url}. "
            f"Try again later, {by_hand}"
        ) from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise DownloadError(
            f"cannot download {named.name}: {str(error) or type(error).__name__}. Check the "
            f"connection and try again (what has arrived is kept), {by_hand}"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"cannot write {named.name} to {target.parent}: {error}. Make room there or grant "
            "access, or set DOTBIAS_CACHE to another folder"
        ) from error
