"""The built wheel, installed in a clean environment away from the checkout."""

import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import PROJECT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """Folder of the executables of an environment that holds the wheel, what it needs without extras,
    and nothing else.

    What it needs is that of the tests, linked: to fetch and unpack it took longer than all tests of the
    command. That pip finds it on an index, installing for the tests has shown.
    """
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, PROJECT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv")
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    for needed in requirements("dotbias", set()):
        for name in {file.parts[0] for file in needed.files or ()} - {".."}:
            if not (packages / name).exists():
                (packages / name).symlink_to(Path(str(needed.locate_file(name))))
    bin_folder = folder / "venv" / "bin"
    install = [
        *pip,
        "--python",
        bin_folder / "python",
        "install",
        "--no-index",
        "--no-compile",
        wheel,
    ]
    subprocess.run(install, check=True, capture_output=True, cwd=folder)
    return bin_folder


def requirements(name: str, seen: set[str]) -> Iterator[Distribution]:
    """What a distribution that is installed here needs, and what that needs in turn, without extras."""
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in seen:
            seen.add(requirement.name)
            yield distribution(requirement.name)
            yield from requirements(requirement.name, seen)


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
