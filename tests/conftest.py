"""What every test may use."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.killed import Killed

pytest.register_assert_rewrite("dotbias.testing")

# The first example may have to wait for a compiler, and a busy machine is no failure.
settings.register_profile("dotbias", deadline=None)
settings.load_profile("dotbias")

PROJECT = Path(__file__).resolve().parents[1]

# Two workers with two threads each wait for each other: small products take twenty times as long. And
# threads of OpenMP that have nothing to do keep a core busy, in the hope of more, that another worker
# could use: with films to fit, that was 16 of 26 seconds. Libraries read the variables when they are
# first imported, or when they first start a thread.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Machine code of this project is kept for all processes of all runs, under names that tell all that it
# is made of. That of other libraries is kept by Numba's own rules: in files that two processes must not
# write at once. Numba reads the variable when it is first imported.
COMPILED = PROJECT / ".pytest_cache" / "numba"
if "NUMBA_CACHE_DIR" not in os.environ or "PYTEST_XDIST_WORKER" in os.environ:
    _own = COMPILED / os.environ.get("PYTEST_XDIST_WORKER", "alone")
    for _folder in (_own, COMPILED / "dotbias"):
        _folder.mkdir(parents=True, exist_ok=True)
    if not (_own / "dotbias").exists():
        (_own / "dotbias").symlink_to(COMPILED / "dotbias")
    os.environ["NUMBA_CACHE_DIR"] = str(_own)


# No file of a test has to outlast a power cut, and some disks take long to say that theirs would.
os.fsync = lambda _: None


# What ``make check`` leaves out: tests that drive the command, draw, compile much or take real ratings.
SLOW = (
    "cli",
    "end_to_end",
    "fitting",
    "fuzz",
    "insight",
    "pictures",
    "solvers/descent/test_gradient.py",
    "solvers/descent/test_kernels.py",
    "solvers/descent/test_network_training.py",
    "solvers/descent/test_passes.py",
    "solvers/descent/test_rules.py",
    "solvers/descent/test_torch.py",
    "solvers/gibbs",
    "solvers/test_epochs.py",
    "solvers/test_units.py",
    "test_compiled.py",
    "test_docs.py",
    "test_readme.py",
    "test_site.py",
    "tuning",
)


# Single tests that take up to half a minute: at the end one of them would keep other workers waiting.
FIRST = ("test_docs.py", "test_readme.py", "end_to_end", "cli/test_movies.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and begin with what is longest."""
    first, slow = (
        tuple(str(PROJECT / "tests" / name) for name in names) for names in (FIRST, SLOW)
    )
    items.sort(key=lambda item: not str(item.path).startswith(first))
    for item in items:
        if str(item.path).startswith((*slow, str(PROJECT / "src"))):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real rating sets; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("DOTBIAS_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no rating sets at {folder}: set DOTBIAS_TEST_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def cases(data_dir: Path) -> Path:
    """Folder of small inputs in the forms that people have, beside the rating sets."""
    folder = data_dir.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}, which should lie beside the rating sets")
    return folder


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 256 KB, where the system lets us have one.

    It is not among pytest's folders: one that is still there, after tests that were killed, would be in
    the way of whoever clears these.
    """
    place = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", place]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        place.rmdir()
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # what is mapped may outlast a test
    place.rmdir()


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """End any fit after a number of epochs from now."""
    from dotbias.fitting import fit

    def after(n_epochs: int, how: type[BaseException] = Killed) -> None:
        passed = 0

        def describe(*_: object) -> str:
            nonlocal passed
            passed += 1
            if passed == n_epochs:
                raise how
            return ""

        monkeypatch.setattr(fit, "_describe", describe)

    return after
