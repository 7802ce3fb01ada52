"""What workers do, made in each of them from plain data."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dotbias.data.prepared.prepared import PreparedPart, PreparedRatings
from dotbias.data.stripes import Side
from dotbias.solvers.workers.blocks import Block

Blocks: TypeAlias = Callable[[Side, int], Block]
"""The arrays of a block of a side, to be changed in place."""


class Job(ABC):
    """What a worker does with blocks of ratings and tables."""

    @abstractmethod
    def run(self, task: Mapping[str, Any], blocks: Blocks) -> Any:
        """Do a task, and return plain data."""


def job_of(spec: Mapping[str, Any]) -> Job:
    """The job that plain data describe: ``"job"`` is its name, ``"folder"`` and ``"part"`` say where the
    ratings are.
    """
    from dotbias.solvers.descent.on_workers import Walk

    jobs: dict[str, Callable[[PreparedPart, Mapping[str, Any]], Job]] = {"walk": Walk}
    prepared = PreparedRatings.open(spec["folder"])
    return jobs[spec["job"]](getattr(prepared, spec["part"]), spec)
