"""What every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("dotbias.testing")

# The first example may have to wait for a compiler, and a busy machine is no failure.
settings.register_profile("dotbias", deadline=None)
settings.load_profile("dotbias")

PROJECT = Path(__file__).resolve().parents[1]

# Numba keeps machine code in files that two processes must not write at once, and some tests compile one
# kernel for another precision. It reads this when it is first imported.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["NUMBA_CACHE_DIR"] = str(PROJECT / ".pytest_cache" / "numba" / worker)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real rating sets; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("DOTBIAS_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no rating sets at {folder}: set DOTBIAS_TEST_DATA to run this test")
    return folder
