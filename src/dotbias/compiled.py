"""Compiled functions: made by Numba, kept on disk, and entered by one thread at a time.

What all of them share, whatever they compute:

- They round as the source says: no ``fastmath``, so all processes compute the same bits.
- Their machine code is kept under a name that tells all that it is made of, so that a function is
  compiled anew when it, a function that it calls or a constant that it reads has changed, and only then.
- Where nothing can be written beside the package, they are kept elsewhere, or not at all.
- Those that use several threads take turns, and outlast a fork.
"""

import hashlib
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
import platformdirs
from numba import njit, typeof
from numba.core import event
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)
from numba.extending import typeof_impl

from dotbias import progress

_log = logging.getLogger("dotbias")
_config: Any = numba.config

_SIZE = hashlib.sha256().digest_size


def compiled(
    *, parallel: bool = False, nogil: bool = False, kept: bool = True
) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called with arguments of a kind.

    Args:
        parallel: whether its ``prange`` loops are shared out to threads.
        nogil: whether other threads of Python's may run meanwhile.
        kept: whether its machine code is kept on disk.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        assert isinstance(function, FunctionType)

        def kernel(parallel: bool) -> Any:
            return _kernel(function, parallel, nogil, kept)

        return Parallel(kernel) if parallel else kernel(False)

    return decorate


def _kernel(function: FunctionType, parallel: bool, nogil: bool, kept: bool) -> Any:
    name = f"{function.__name__}_{_digest(function, parallel, nogil)}"
    named = FunctionType(function.__code__, function.__globals__, name, None, function.__closure__)
    named.__module__, named.__doc__ = function.__module__, function.__doc__
    named.__qualname__ = name
    kernel: Any = njit(parallel=parallel, nogil=nogil, error_model="numpy")(named)
    if kept and folder() is not None:
        kernel._cache = _Kept(named)
    return kernel


# Threads and forks.

# Numba's own threads abort the process when two callers enter them at once, and no child must be forked
# while somebody is inside.
_turn = threading.RLock()
# GNU OpenMP, which Numba takes on most Linuxes, kills a child that uses it after its parent did.
_alone = False


def _in_child() -> None:
    global _alone
    layer: Any = numba.threading_layer  # type: ignore[attr-defined]
    with suppress(ValueError):  # nothing has used threads yet, so the child may
        _alone = _alone or layer() == "omp"
    _turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_turn.acquire, after_in_parent=_turn.release, after_in_child=_in_child
    )


class Parallel:
    """A compiled function that uses several threads: callers wait until it is their turn.

    In a child whose parent has used the threads already it is compiled for one. Compiled functions may
    call it too; whoever has called them has waited.
    """

    def __init__(self, make: Callable[[bool], Any]) -> None:
        self._make, self._shared = make, make(True)
        self.py_func = self._shared.py_func

    @cached_property
    def _for_one(self) -> Any:
        return self._make(False)

    @property
    def kernel(self) -> Any:
        """What this process may run."""
        return self._for_one if _alone else self._shared

    def __call__(self, *arguments: Any) -> Any:
        """Wait, and call."""
        with _turn:
            return self.kernel(*arguments)


@typeof_impl.register(Parallel)
def _type_of(function: Parallel, _context: Any) -> Any:
    return typeof(function.kernel)


# The name.


def _digest(function: FunctionType, *options: Any) -> str:
    """Of a function's code, and of all functions and constants that it refers to."""
    digest = hashlib.sha256()
    for part in _parts((function, options), set()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def _parts(value: Any, seen: set[int]) -> Iterator[str]:
    """What a value consists of, in words that are the same in every process.

    Raises:
        TypeError: for a value of which nobody could tell whether it has changed.
    """
    # Functions compiled by Numba, and those that write machine code themselves.
    value = getattr(value, "py_func", None) or getattr(value, "_defn", None) or value
    where = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    if isinstance(value, FunctionType) and not _is_of(where, "numba", "numpy"):
        yield f"{where}.{value.__qualname__}"
        if id(value) in seen:
            return
        seen.add(id(value))
        yield from _parts(value.__code__, seen)
        for name in _names(value.__code__):
            if name in value.__globals__:
                yield name
                yield from _parts(value.__globals__[name], seen)
        for cell in value.__closure__ or ():
            yield from _parts(cell.cell_contents, seen)
    elif isinstance(value, CodeType):
        yield f"{value.co_code!r} {value.co_names} {value.co_varnames}"
        yield from _parts(value.co_consts, seen)
    elif isinstance(value, tuple):
        yield f"{len(value)} values"
        for part in value:
            yield from _parts(part, seen)
    elif isinstance(value, (int, float, str, bytes, type(None), type(...), np.generic)):
        yield repr(value)
    elif isinstance(value, type):
        yield f"{where}.{value.__qualname__} {getattr(value, '_fields', '')}"
    elif _is_of(where, "dotbias"):
        raise TypeError(f"compiled code refers to {value!r}: to a constant or a function it may")
    else:  # of another library, whose version is part of what is kept
        yield f"{where}.{getattr(value, '__qualname__', type(value).__name__)}"


def _is_of(module: str | None, *packages: str) -> bool:
    return module is not None and module.split(".")[0] in packages


def _names(code: CodeType) -> Iterator[str]:
    """Names that a function and those inside it look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


# The place.


@cache
def folder() -> Path | None:
    """Where machine code is kept: the first of these that can be written, or None.

    A folder named ``NUMBA_CACHE_DIR``, the package's own ``__pycache__``, the user's cache, and a
    temporary folder. As what lies there is run, the last two must be such that nobody else can write
    in them.
    """
    chosen, own = _config.CACHE_DIR, Path(__file__).parent
    if chosen and _is_writable(Path(chosen) / "dotbias"):
        return Path(chosen) / "dotbias"
    if _is_writable(own / "__pycache__"):
        return own / "__pycache__"
    for place in (platformdirs.user_cache_path("dotbias") / "compiled", _temporary()):
        if _is_writable(place) and _is_private(place):
            if place == _temporary():
                _log.warning(
                    "Compiled code is kept in %s: neither the package's folder nor the home can be "
                    "written. Another folder can be named as NUMBA_CACHE_DIR.",
                    place,
                )
            return place
    _log.warning(
        "No folder can be written, so each process compiles anew what it needs. A folder to keep "
        "compiled code in can be named as NUMBA_CACHE_DIR."
    )
    return None


def is_new_here() -> bool:
    """Whether nothing is kept from an earlier process, so that all has to be compiled."""
    place = folder()
    return place is None or not any(place.glob("*.nbc"))


def _temporary() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"dotbias-{user}"


def _is_writable(place: Path) -> bool:
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place).close()
    except OSError:
        return False
    return True


def _is_private(place: Path) -> bool:
    """Whether a folder is the user's, and nobody else may write in it."""
    if not hasattr(os, "getuid"):  # Windows: the folders named here are the user's own
        return True
    found = place.lstat()
    others = stat.S_IWGRP | stat.S_IWOTH
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & others
    )


class _Place(_CacheLocator):
    """The folder, as Numba asks for it."""

    def __init__(self, file: str) -> None:
        self._py_file = file

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Place":  # noqa: ARG003
        return cls(py_file)

    def get_cache_path(self) -> str:
        return str(folder())

    def get_source_stamp(self) -> str:
        return ""  # the name tells

    def get_disambiguator(self) -> str:
        return ""


class _Machine(CompileResultCacheImpl):
    _locator_classes: Any = (_Place,)


class _Kept(FunctionCache):
    """Numba's cache of one function; what is damaged is compiled anew, what cannot be kept is not."""

    _impl_class = _Machine

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = _Files(Path(self._cache_path), self._impl.filename_base)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple()

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _log.warning("Compiled code cannot be kept in %s: %s", self._cache_path, error)


class _Files(IndexDataCacheFile):
    """The files of one function: one for each kind of arguments, so that processes may write at once.

    Half a file of machine code would be run, so each ends in a checksum.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(str(folder), name, "")
        self._folder, self._name = folder, name

    def save(self, key: Any, data: Any) -> None:
        dump = self._dump(data)
        with self._open_for_write(self._path(key)) as file:
            file.write(dump + hashlib.sha256(dump).digest())

    def load(self, key: Any) -> Any:
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        dump, checksum = content[:-_SIZE], content[-_SIZE:]
        whole = hashlib.sha256(dump).digest() == checksum
        return self._load_data(path.name) if whole else None

    def _path(self, key: Any) -> Path:
        kind = hashlib.sha256(repr((numba.__version__, key)).encode()).hexdigest()[:16]
        return self._folder / f"{self._name}.{kind}.nbc"


# The message.


class _Announcement(event.Listener):
    """Says that a function is being compiled, which takes seconds; not which others it calls."""

    depth = 0

    def on_start(self, event: Any) -> None:
        self.depth += 1
        kernel = event.data["dispatcher"]
        if self.depth == 1 and _is_of(kernel.py_func.__module__, "dotbias"):
            name = kernel.py_func.__name__.rpartition("_")[0].strip("_")
            once = "once" if isinstance(kernel._cache, _Kept) else "in every process"
            progress.say(f"compiling, {once}: {name}")

    def on_end(self, event: Any) -> None:  # noqa: ARG002
        self.depth -= 1


event.register("numba:compile", _Announcement())
