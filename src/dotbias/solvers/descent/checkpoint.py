"""The state of a run between two epochs, in memory and as a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotbias import model_file
from dotbias.solvers.descent.passes import Floats

CHECKPOINT_KIND = "dotbias checkpoint"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run between two epochs: arrays by name, and plain facts."""

    arrays: dict[str, Floats]
    facts: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write it in one file, whole or not at all.

        Raises:
            ModelFileError: when the folder is missing or cannot be written.
        """
        model_file.write(Path(path), self.arrays, self.facts, kind=CHECKPOINT_KIND)

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Read what ``save`` wrote.

        Raises:
            ModelFileError: when the file is missing, truncated, altered or none of ours.
        """
        return cls(*model_file.read(Path(path), kind=CHECKPOINT_KIND))
