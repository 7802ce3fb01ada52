"""Compiled code: equal bits in all processes, kept where it can be, never mistaken; forks, threads."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
import platformdirs
import pytest
from numba import prange

from dotbias import compiled as module
from dotbias.compiled import compiled, folder
from dotbias.solvers.descent.rules import RULES
from tests.conftest import COMPILED
from tests.same_bits import digests, halves, noted

PROJECT = Path(__file__).parents[1]


def started(*command: str, **environment: str) -> subprocess.Popen[str]:
    """A process of Python's in the project's folder."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=PROJECT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_compile_and_processes_that_load_compute_the_same_bits(
    tmp_path: Path,
) -> None:
    """Fused and reordered sums used to differ between the code that was run and the code that was kept.

    Two processes compile half of all there is, with two threads; two more load what these have left, one
    of them with one thread. ``make test`` lets the first two run before all tests, which use what they
    have compiled.
    """
    if noted().is_file():
        kept, cold = COMPILED, noted().read_text("utf-8").splitlines()
    else:
        kept, cold = tmp_path, digests(halves(), tmp_path, n_threads=2)
    assert len(cold) == 3 * len(RULES) + 10
    first, second = halves()
    everything = [first + second]
    assert digests(everything, kept, n_threads=1) == cold
    assert digests(everything, kept, n_threads=2) == cold


# What is kept.


def twice(x: Any) -> Any:
    return 2 * x


@pytest.fixture
def kept_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "folder", lambda: tmp_path)
    return tmp_path


def called(function: Callable[..., Any] = twice) -> tuple[int, bool]:
    """What a function newly made gives for 3, and whether its code was on disk."""
    kernel = compiled()(function)
    return kernel(3), bool(kernel.stats.cache_hits)


def test_what_was_compiled_is_loaded(kept_in: Path) -> None:
    assert [called(), called()] == [(6, False), (6, True)]
    assert [file.suffix for file in kept_in.iterdir()] == [".nbc"]


def test_each_kind_of_arguments_has_a_file_of_its_own(kept_in: Path) -> None:
    """Processes that compiled for other kinds at the same time gave their files the same number."""
    for value in (3, 3.5):
        compiled()(twice)(value)
    assert len(list(kept_in.iterdir())) == 2
    assert [compiled()(twice)(value) for value in (3, 3.5)] == [6, 7.0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-500] + bytes(500),
        lambda content: bytes(len(content)),
        lambda _: b"not what it was",
    ],
    ids=["empty", "half", "zeros at the end", "zeros", "something else"],
)
def test_damaged_files_are_compiled_anew(kept_in: Path, damage: Callable[[bytes], bytes]) -> None:
    called()
    (file,) = kept_in.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert [called(), called()] == [(6, False), (6, True)]


@pytest.mark.usefixtures("kept_in")
def test_what_cannot_be_kept_is_used_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk is full, or the folder has gone."""

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module._Files, "_open_for_write", refuse)
    assert called() == (6, False)
    assert "cannot be kept" in caplog.text


SOURCE = """
FACTOR = 2

def inner(x):
    return FACTOR * x

def helper(x):
    return inner(x)

def outer(x):
    return helper(x) + 1
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [("FACTOR = 2", "FACTOR = 3"), ("* x", "+ x"), ("inner(x)\n", "inner(-x)\n"), ("+ 1", "+ 2")],
    ids=["a constant", "a helper's helper", "a helper", "the function"],
)
def test_a_function_is_known_by_all_that_it_is_made_of(before: str, after: str) -> None:
    """Only a kernel's own file was looked at: a helper in another could change unnoticed."""

    def name(source: str) -> str:
        scope: dict[str, Any] = {"__name__": "dotbias.somewhere"}
        exec(source, scope)
        return str(compiled()(scope["outer"]).py_func.__name__)

    assert name(SOURCE) == name(SOURCE)
    assert name(SOURCE) != name(SOURCE.replace(before, after, 1))
    assert name(SOURCE) == name("\n\n" + SOURCE + "\nOTHER = 5")


def test_options_belong_to_the_name() -> None:
    assert compiled()(twice).py_func.__name__ != compiled(parallel=True)(twice).py_func.__name__


def test_what_a_function_is_made_of_must_be_known() -> None:
    class Opaque:
        pass

    def function() -> Any:
        return thing

    thing = Opaque()
    Opaque.__module__ = "dotbias.somewhere"
    with pytest.raises(TypeError, match="compiled code refers to"):
        compiled()(function)


# Where it is kept.


@pytest.fixture
def unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No place can be written but one for temporary files, empty so far: root, too, is refused."""
    wall = tmp_path / "wall"
    wall.write_text("a file has no folders in it")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(module._config, "CACHE_DIR", str(wall / "chosen"))
    monkeypatch.setattr(module, "__file__", str(wall / "package" / "compiled.py"))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: wall / "home")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(temporary))
    return temporary


found = folder.__wrapped__


def test_a_folder_that_the_user_names_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._config, "CACHE_DIR", str(tmp_path))
    assert found() == tmp_path / "dotbias"
    monkeypatch.setattr(module._config, "CACHE_DIR", "")
    assert found() == Path(module.__file__).parent / "__pycache__"


def test_where_nothing_can_be_written_a_private_temporary_folder_is_taken(
    unwritable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = found()
    assert place is not None
    assert place.parent == unwritable
    assert len(caplog.records) == 1
    assert str(place) in caplog.text
    if hasattr(os, "getuid"):
        assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="temporary folders are the user's own here")
@pytest.mark.parametrize("kind", ["writable by all", "a link"])
def test_code_of_others_is_not_run(
    unwritable: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = unwritable / f"dotbias-{os.getuid()}"
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.mkdir()
        place.chmod(0o777)
    assert found() is None
    assert "each process compiles anew" in caplog.text


def test_without_a_folder_functions_are_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "folder", lambda: None)
    assert [called(), called()] == [(6, False), (6, False)]


# Threads and forks.


def shared_out(x: Any) -> Any:
    for row in prange(len(x)):
        x[row] += 1
    return x


def test_a_parallel_function_can_be_called_by_another() -> None:
    inner = compiled(parallel=True, kept=False)(shared_out)

    def outer(x: Any) -> Any:
        return inner(inner(x))

    assert compiled(kept=False)(outer)(np.zeros(9)).sum() == 18


def in_turn() -> None:
    """What a server does: calls from many threads, children forked in between, and new processes."""
    import multiprocessing

    assert numba.config.NUMBA_NUM_THREADS == 2
    kernel = compiled(parallel=True)(shared_out)
    sums: set[float] = set()

    def call() -> None:
        sums.update(float(kernel(np.zeros(1000)).sum()) for _ in range(300))

    call()
    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for method in ("fork", "fork", "fork", "spawn"):
        if method in multiprocessing.get_all_start_methods():
            context: Any = multiprocessing.get_context(method)
            child = context.Process(target=_child)
            child.start()
            child.join(60)
            print(method, child.exitcode)
    for thread in threads:
        thread.join()
    print(f"sums {sums}")


def _child() -> None:
    assert compiled(parallel=True)(shared_out)(np.zeros(1000)).sum() == 1000


def test_threads_take_turns_and_children_outlast_a_fork(tmp_path: Path) -> None:
    """OpenMP of GNU killed the child; Numba's own threads aborted on a second caller."""
    process = started(
        "-W",
        "ignore",  # of forks with threads, of which newer versions of Python warn
        "-c",
        "from tests.test_compiled import in_turn; in_turn()",
        NUMBA_CACHE_DIR=str(tmp_path),
        NUMBA_NUM_THREADS="2",
    )
    lines = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 0
    assert lines[-1] == "sums {1000.0}"
    assert {line.split()[1] for line in lines[:-1]} == {"0"}
    assert "spawn 0" in lines


# What is said.


@pytest.mark.usefixtures("kept_in")
def test_compiling_is_said_once_and_loading_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("dotbias.progress.say", said.append)
    ours = FunctionType(twice.__code__, {"__name__": "dotbias.somewhere"}, "_twice")
    ours.__module__ = "dotbias.somewhere"
    compiled()(ours)(3)
    assert said == ["compiling, once: twice"]
    called(ours)
    assert len(said) == 1
    compiled(kept=False)(ours)(3)
    assert said[1:] == ["compiling, in every process: twice"]


def test_nothing_is_compiled_otherwise() -> None:
    """What is decorated by Numba itself rounds, is kept and runs in threads as Numba likes."""
    source = Path(module.__file__).parent
    for path in source.rglob("*.py"):
        if path != Path(module.__file__):
            assert not re.search(r"\bn?jit\b|\bvectorize\b|fastmath=", path.read_text()), path


@pytest.mark.usefixtures("kept_in")
def test_of_functions_that_call_others_the_first_alone_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Helpers without code of their own on disk were said to be compiled in every process."""
    said: list[str] = []
    monkeypatch.setattr("dotbias.progress.say", said.append)
    helper = compiled(kept=False)(twice)

    def caller(x: Any) -> Any:
        return helper(x) + 1

    caller.__module__ = helper.py_func.__module__ = "dotbias.somewhere"
    assert compiled()(caller)(3) == 7
    assert said == ["compiling, once: caller"]


@pytest.mark.usefixtures("kept_in")
def test_it_is_known_whether_anything_was_compiled_before() -> None:
    assert module.is_new_here()
    compiled()(twice)(3)
    assert not module.is_new_here()
