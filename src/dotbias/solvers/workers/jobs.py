"""What workers do, made in each of them from plain data."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeAlias

from dotbias.data.prepared.prepared import PreparedPart, PreparedRatings
from dotbias.data.stripes import Side
from dotbias.models.base import Model
from dotbias.plain import to_plain
from dotbias.solvers.base import Solver
from dotbias.solvers.workers.blocks import Block

Blocks: TypeAlias = Callable[[Side, int], Block]
"""The arrays of a block of a side, to be changed in place."""


class Job(ABC):
    """What a worker does with blocks of ratings and tables."""

    @abstractmethod
    def run(self, task: Mapping[str, Any], blocks: Blocks) -> Any:
        """Do a task, and return plain data."""


def job_of(spec: Mapping[str, Any]) -> Job:
    """The job that plain data describe: ``"job"`` names the module and the function that makes it of the
    ratings and these data, ``"folder"``, which may be a URL, and ``"part"`` say where the ratings are.
    """
    module, _, name = spec["job"].partition(":")
    made: Callable[[PreparedPart, Mapping[str, Any]], Job] = getattr(import_module(module), name)
    return made(getattr(PreparedRatings.open(spec["folder"]), spec["part"]), spec)


def spec_of(make: str, solver: Solver, model: Model, ratings: PreparedPart) -> dict[str, Any]:
    """The plain data of a job: what makes it (``name_of``), and of what."""
    return {
        "job": make,
        "folder": ratings.of.place,
        "part": ratings.name,
        "solver": to_plain(solver),
        "model": to_plain(model),
    }


def name_of(make: Callable[..., Job]) -> str:
    """How ``job_of`` is told of a function."""
    return f"{make.__module__}:{make.__name__}"
