"""The built wheel, installed in a clean environment away from the checkout."""

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PROJECT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """Folder of the executables of an environment that holds the wheel and nothing else of ours."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(PROJECT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv")
    bin_folder = folder / "venv" / "bin"
    pip = [sys.executable, "-m", "pip", "--python", bin_folder / "python"]
    install = [*pip, "install", "--quiet", "--no-compile", wheel]
    subprocess.run(install, check=True, capture_output=True, cwd=folder)
    return bin_folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """Environment variables of a user with an empty cache and a terminal 100 columns wide.

    Only machine code is shared with the other tests: what differs in the wheel would have another name.
    """
    cache = tmp_path_factory.mktemp("cache")
    ours = ("PYTHON", "COV", "DOTBIAS", "NUMBA")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    compiled = {"NUMBA_CACHE_DIR": os.environ["NUMBA_CACHE_DIR"]}
    return kept | compiled | {"DOTBIAS_CACHE": str(cache), "COLUMNS": "100", "LANG": "C.UTF-8"}


@pytest.fixture(scope="session")
def workplace(tmp_path_factory) -> Path:
    """A folder of the user's own."""
    return tmp_path_factory.mktemp("workplace")


@pytest.fixture(scope="session")
def run(installed, environment, workplace) -> Run:
    """Run the installed command and check its exit code; no run may ever show a traceback."""

    def run(*arguments: object, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [installed / "dotbias", *map(str, arguments)],
            cwd=workplace,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    return run
