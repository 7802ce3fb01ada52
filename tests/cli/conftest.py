"""A folder of the user's own, in which commands run one after the other."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from typer.testing import Result

from tests.cli import command


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder."""
    folder = tmp_path_factory.mktemp("workplace")
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="module")
def run(workplace: Path) -> Callable[..., Result]:
    """Run a command there, with a cache that is empty at first, and check its exit code."""
    return partial(command.run, DOTBIAS_CACHE=str(workplace / "cache"))
