"""Files that are written whole or not at all, and never in the place of something that is not ours.

Everything that dotbias writes for a user goes through here. ``outputs`` names the files before the work
whose results they are to hold, and refuses what could not be written then; ``whole_file`` writes one of
them. Those that were named together are moved into their places together.
"""

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from dotbias.errors import DataError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Results are written in a folder of this name beside their place.
_PART_FOLDER = ".dotbias-{}.part"
# Where no lock tells whether its writer is still there, such a folder is left over after this time.
_ABANDONED_SECONDS = 24 * 3600
# Below these a file is a device, or a window into a process, whatever it looks like.
_NO_FILES = (Path("/dev"), Path("/proc"), Path("/sys"))
_MOST_LINKS = 40
_PROBE = bytes(4096)  # a block


@dataclass(frozen=True)
class FileKind:
    """What a file is to hold.

    Args:
        noun: what it is called in a message.
        endings: of its name, in small letters; none stands for any.
        is_ours: whether a file that is there is of this kind and was written here, by its content. Only
            such a file is replaced without being asked to, and no other folder at all.
        makes_folder: whether the folder that it lies in is made where there is none.
        is_folder: whether it is a folder of files, written and replaced as one.
    """

    noun: str
    endings: tuple[str, ...] = ()
    is_ours: Callable[[Path], bool] = lambda _: False
    makes_folder: bool = False
    is_folder: bool = False


class Outputs:
    """Files that are written together: all of them appear, or none. Made by ``outputs``."""

    def __init__(self, files: dict[Path, FileKind], *, force: bool) -> None:
        self._files = files
        self._force = force
        self._targets = {path: _target(path) for path in files}
        self._parts: dict[Path, Path] = {}  # by the path that was named
        self._placed: set[Path] = set()
        self._folders = contextlib.ExitStack()

    def holds(self, paths: Iterable[Path]) -> bool:
        """Whether all these paths were named, and are not in their places yet."""
        return all(path in self._files and path not in self._placed for path in paths)

    @contextlib.contextmanager
    def part(self, path: Path) -> Iterator[Path]:
        """Where to write one of the files; once all are written, they are moved into their places."""
        with _named_errors(path, OSError):
            target = self._targets[path]
            if self._files[path].makes_folder:
                self._make_folder(target.parent)
            part = self._folders.enter_context(part_folder(target)) / "new" / target.name
            part.parent.mkdir()
            if self._files[path].is_folder:
                part.mkdir()
            else:
                part.touch()
            mode = part.stat().st_mode  # the user's choice, where a writer makes a private file
            yield part
            _like(target, part, mode)
            for written in part.iterdir() if part.is_dir() else [part]:
                with written.open("rb") as file:
                    os.fsync(file.fileno())
        self._parts[path] = part
        if self._parts.keys() | self._placed == self._files.keys():
            self.place()

    def place(self) -> None:
        """Move what is written into its place; where one cannot be moved, no other stays there.

        Raises:
            DataError: also where a file of the user's has come to be in a place since it was looked at.
                What belonged there lies beside it then, and the error says where.
        """
        before: list[tuple[Path, Path | None]] = []  # by the path that was named
        beside = [path for path in self._parts if self._is_taken(path)]
        for path in beside:
            target = self._targets[path]
            spare = f"{target.stem}-{secrets.token_hex(4)}{target.suffix}"
            self._targets[path] = target.with_name(spare)
        try:
            for path, part in self._parts.items():
                with _named_errors(path, OSError):
                    target = self._targets[path]
                    kept = _second_name(target, part.parents[1] / "before", self._files[path])
                    before.append((path, kept))
                    part.replace(target)
        except BaseException:
            for path, kept in reversed(before):
                target = self._targets[path]
                if self._files[path].is_folder:
                    shutil.rmtree(target, ignore_errors=True)
                elif kept is None:
                    target.unlink(missing_ok=True)
                if kept is not None:
                    kept.replace(target)
            raise
        self._placed |= self._parts.keys()
        self._parts.clear()
        self._folders.pop_all().close()
        for path in beside:
            with _named_errors(path, OSError):
                raise OSError(
                    "another file has come there since the work began: what was to be written is in "
                    f"{self._targets[path]}"
                )

    def discard(self) -> None:
        """Remove what is not in its place."""
        self._folders.close()

    def _is_taken(self, path: Path) -> bool:
        with _named_errors(path, OSError):
            return not self._force and _is_foreign(self._targets[path], self._files[path])

    def _make_folder(self, folder: Path) -> None:
        if not folder.exists():
            folder.mkdir()
            self._folders.callback(_remove_empty, folder)


_begun: ContextVar[Outputs | None] = ContextVar("begun", default=None)


@contextlib.contextmanager
def outputs(
    files: Iterable[tuple[Path, FileKind]],
    *,
    reads: Iterable[str | Path] = (),
    force: bool = False,
) -> Iterator[Outputs]:
    """Name files that the block writes with ``whole_file``, all of them or none.

    They appear as soon as the last of them is written, or else at the end of the block.

    Args:
        files: where they belong, and what they are to hold.
        reads: files, folders, patterns and addresses that the block reads: it writes none of them.
        force: whether a file is replaced whatever it holds.

    Raises:
        DataError: at once, naming the path, where a file could not be written: for a folder that is
            missing or cannot be written, an ending of another kind, a device, something that is no
            regular file, a file that is read-only, is read, is named twice, or is none of ours. Where
            writing fails after all, the files that were there before stay as they were.
    """
    files = list(files)
    begun = _begun.get()
    if begun is not None and begun.holds(path for path, _ in files):
        yield begun
        return
    _check(files, list(reads), force)
    made = Outputs(dict(files), force=force)
    token = _begun.set(made)
    try:
        yield made
        made.place()
    finally:
        _begun.reset(token)
        made.discard()


@contextlib.contextmanager
def whole_file(path: Path, kind: FileKind, *, force: bool = False) -> Iterator[Path]:
    """Write a file, or folder, beside its place; it is moved there when the block has ended well.

    Whatever goes wrong, the file that was there before stays as it was, and nothing half-written is
    left behind. A link is followed, and a file that is replaced hands on its permissions.

    Args:
        path: where the finished file belongs.
        kind: what it is to hold.
        force: whether a file that is there is replaced whatever it holds. Of a path that ``outputs``
            has named it is known already.

    Yields:
        The path to write to, of the same ending; an empty file (or folder) with the user's usual
        permissions is there already.

    Raises:
        DataError: as in ``outputs``, and when the disk is full.
    """
    with outputs([(path, kind)], force=force) as named, named.part(path) as part:
        yield part


# -- what is refused ---------------------------------------------------------------------------------


def _check(files: list[tuple[Path, FileKind]], reads: list[str | Path], force: bool) -> None:
    """Refuse, before any work is done, what is not to be written or could not be."""
    seen: dict[Path | tuple[int, int], Path] = {}
    for path, kind in files:
        target = _target(path)
        with _named_errors(path, OSError, ValueError):
            for name in _names(target):
                if name in seen:
                    raise OSError(f"{seen[name]} is the same file, and is written too")
            seen |= dict.fromkeys(_names(target), path)
            _check_ending(path, kind)
            _check_reads(target, kind, reads, force)
            _check_place(path, target, kind, force)


def _target(path: Path) -> Path:
    """Where a path leads, also when nothing is there yet: every link is followed, and looked at."""
    with _named_errors(path, OSError, ValueError, RuntimeError):
        if str(path) == "-":
            raise OSError("standard output takes none of it: name a file")
        step = path
        for _ in range(_MOST_LINKS):
            step = step.parent.resolve() / step.name
            if any(step.is_relative_to(place) for place in _NO_FILES):
                raise OSError(f"{step} belongs to the system and is no place for a file")
            if not step.is_symlink():
                return step
            step = step.parent / step.readlink()
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _names(target: Path) -> list[Path | tuple[int, int]]:
    """By what a file is known: its path and, where it is there, what its hard links share."""
    if not target.exists():
        return [target]
    status = target.stat()
    return [target, (status.st_dev, status.st_ino)]


def _check_ending(path: Path, kind: FileKind) -> None:
    if kind.endings and path.suffix.lower() not in kind.endings:
        raise OSError(f"the name of a {kind.noun} must end in {' or '.join(kind.endings)}")


def _check_reads(target: Path, kind: FileKind, reads: Iterable[str | Path], force: bool) -> None:
    """Refuse to write what is read."""
    if kind.is_folder:
        for source in reads:
            for place in _places(str(source)):
                if target.exists() and place.resolve().is_relative_to(target):
                    raise OSError("it is what is read: name another folder")
                if place.is_dir() and target.is_relative_to(place.resolve()):
                    raise OSError(f"it lies in {source}, which is read: name another folder")
        return
    if not target.is_file():
        return
    for source in reads:
        for place in _places(str(source)):
            if place.is_dir() and target.is_relative_to(place.resolve()):
                if not kind.is_ours(target):
                    raise OSError(f"it lies in {source}, which is read: name another file")
            elif place.is_file() and place.samefile(target):
                # To replace a model by one that knows more is a wish; the reader's data never are.
                if not kind.is_ours(target):
                    raise OSError("it is what is read: name another file")
                if not force:
                    raise OSError(
                        "it is what is read: name another file, or replace it with --force"
                    )


def _places(source: str) -> list[Path]:
    """The files and folders that a source of data may stand for: a path, a pattern, an address."""
    path = source.partition("://")[2].partition("?")[0].removeprefix("/") or source
    try:
        if Path(path).exists():
            return [Path(path)]
    except (OSError, ValueError):  # too long for a path, say
        return []
    # A pattern may begin at the root, which those of pathlib do not.
    return [Path(found) for found in glob.glob(path)]  # noqa: PTH207


def _check_place(path: Path, target: Path, kind: FileKind, force: bool) -> None:
    """Refuse a place that cannot be written, or holds something that is not to be lost."""
    folder = target.parent
    if target.exists():
        if kind.is_folder and not target.is_dir():
            raise OSError("it is there and is no folder")
        if not kind.is_folder and not target.is_file():
            # Moving the finished file into its place would replace even a pipe or a device.
            raise OSError("it is there and is no regular file")
        status = target.stat()
        # Root may write all files, and is still asked not to write this one.
        if not status.st_mode & 0o222 or not os.access(target, os.W_OK):
            raise OSError("it is there and is read-only")
        own = folder.stat()
        if own.st_mode & stat.S_ISVTX and os.geteuid() not in (0, own.st_uid, status.st_uid):
            raise OSError("it is there and belongs to someone else")
        if kind.is_folder and _is_foreign(target, kind):  # of which nobody knows what would be lost
            raise OSError(
                f"a folder is there that holds more than a {kind.noun} of dotbias: name another, or "
                "remove it yourself"
            )
        if not force and _is_foreign(target, kind):
            raise OSError(
                f"a file is there, and nothing tells that it is a {kind.noun} of dotbias: name "
                "another file, or replace it with --force (in Python force=True)"
            )
    elif kind.makes_folder and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        if folder.exists():
            raise OSError(errno.ENOTDIR, f"{folder} is no folder")
        shown = path.parent if path.parent.resolve() == folder else folder
        if re.match(r"[A-Za-z][\w+.-]+:/", str(path)):
            raise OSError(
                errno.ENOENT,
                "files are written on this machine alone: write it to a path here, then copy it there",
            )
        raise OSError(errno.ENOENT, f"there is no folder {shown}")
    # What else may stand against it, such as permissions, a name that is too long and a disk that is
    # full or read-only, shows when it is tried.
    with part_folder(folder / target.name) as part:
        (part / target.name).write_bytes(_PROBE)


def _is_foreign(target: Path, kind: FileKind) -> bool:
    """Whether a file is there that would be lost. An empty one holds nothing."""
    if kind.is_folder:
        return target.exists() and any(target.iterdir()) and not kind.is_ours(target)
    return target.is_file() and target.stat().st_size > 0 and not kind.is_ours(target)


@contextlib.contextmanager
def _named_errors(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Give errors of the file system the name of what was to be written."""
    try:
        yield
    except errors as error:
        if isinstance(error, DataError):  # it has said so already
            raise
        reason = error.strerror if isinstance(error, OSError) else None
        raise DataError(f"cannot write {path}: {reason or error}") from error


def clear_leftovers(folder: Path) -> None:
    """Remove from a folder what writers have left that were killed, as whoever writes there does."""
    for part in folder.glob(_PART_FOLDER.format("*")):
        _remove_abandoned(part)


# -- parts -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def part_folder(target: Path) -> Iterator[Path]:
    """A folder of our own beside a file, removed in the end; those of writers that are gone as well.

    It has a lock as long as its writer lives. A process number would say less: it comes again, and
    containers that share a disk have each their own. A whole folder, since some writers put further
    files beside the one they write.
    """
    clear_leftovers(target.parent)
    for other in target.parent.glob(f".{glob.escape(target.name)}.[0-9]*.part"):
        _remove_old(other)
    part, lock = _new_part_folder(target.parent)
    try:
        yield part
    finally:
        _remove(part)
        _unlock(lock)


def _remove(part: Path) -> None:
    """Remove a folder, in which a thread that nobody waits for any more may still write."""
    for pause in (0, 0.01, 0.1, 0.5):
        time.sleep(pause)
        shutil.rmtree(part, ignore_errors=True)
        if not part.exists():
            return


def _new_part_folder(folder: Path) -> tuple[Path, int | None]:
    while True:
        part = folder / _PART_FOLDER.format(secrets.token_hex(8))
        part.mkdir(mode=0o700)
        # Until it is locked, another process may take it for one that was left over.
        with contextlib.suppress(FileNotFoundError):
            lock = _lock(part)
            if part.exists():
                return part, lock
            _unlock(lock)


def _remove_old(part: Path) -> None:
    """Remove what a run of version 0.7 or before has left: ``.NAME.PROCESS.part``, without a lock."""
    with contextlib.suppress(OSError):
        if part.stem.rpartition(".")[2].isdecimal() and _is_old(part):
            part.unlink()


def _is_old(part: Path) -> bool:
    return time.time() - part.stat().st_mtime > _ABANDONED_SECONDS


def _remove_abandoned(part: Path) -> None:
    with contextlib.suppress(OSError):  # it is in work, or another process was faster
        old = _is_old(part)
        lock = _lock(part, wait=False)
        if lock is not None or old:
            shutil.rmtree(part, ignore_errors=True)
        _unlock(lock)


def _lock(folder: Path, *, wait: bool = True) -> int | None:
    """Lock a folder until ``_unlock``, or until the process ends; None where there are no locks.

    Raises:
        BlockingIOError: when it is locked, and this does not wait.
        FileNotFoundError: when it is not there.
    """
    if fcntl is None:
        return None
    file = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(file)
        raise
    except OSError:  # a file system without locks
        os.close(file)
        return None
    return file


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _like(target: Path, part: Path, mode: int) -> None:
    """Permissions and owner of the file that is replaced; of a new one, the user's usual ones."""
    if target.exists():
        status = target.stat()
        with contextlib.suppress(OSError, AttributeError):  # only root gives files away
            os.chown(part, status.st_uid, status.st_gid)
        mode = status.st_mode
    part.chmod(stat.S_IMODE(mode))


def _second_name(target: Path, kept: Path, kind: FileKind) -> Path | None:
    """Keep a file under a second name; None where there is no file. A folder has one name alone: it is
    moved there.
    """
    if not target.exists():
        return None
    if kind.is_folder:
        return target.rename(kept)
    try:
        kept.hardlink_to(target)
    except OSError:  # a file system without hard links
        shutil.copy2(target, kept)
    return kept


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
