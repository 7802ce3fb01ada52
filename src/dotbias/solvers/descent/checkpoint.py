"""The state of a run between two epochs, in memory and as a file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dotbias import model_file
from dotbias.errors import DataError
from dotbias.plain import from_plain
from dotbias.shown import Shown
from dotbias.solvers.base import History
from dotbias.solvers.descent.passes import Floats

CHECKPOINT_KIND = "dotbias checkpoint"


@dataclass(frozen=True, eq=False)
class Checkpoint(Shown):
    """The state of a run between two epochs: arrays by name, and plain facts."""

    arrays: dict[str, Floats]
    facts: dict[str, Any]

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write it in one file, whole or not at all.

        Args:
            path: where to. A checkpoint or model that dotbias has saved there is replaced.
            force: replace any other file, too.

        Raises:
            ModelFileError: when it cannot be written, or when another file is there.
        """
        model_file.write(Path(path), self.arrays, self.facts, kind=CHECKPOINT_KIND, force=force)

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Read what ``save`` wrote.

        Raises:
            ModelFileError: when the file is missing, truncated, altered or none of ours.
        """
        return cls(*model_file.read(Path(path), kind=CHECKPOINT_KIND))


# Sets of parameters that a checkpoint keeps: the best, those to be averaged, those at ends of cycles.
KEPT = ("best", "window", "cycle")


@dataclass(frozen=True)
class GuardFacts:
    """What a run's guard against divergence has seen of the training loss; None is nothing yet."""

    best: float | None = None
    last: float | None = None
    last_lr: float | None = None
    rises: int = 0


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What a checkpoint keeps beside arrays.

    Args:
        run: what makes the run the same run.
        rng: state of its generator.
        n_updates: updates until now.
        history: of the epochs until now.
        kept: how many sets of parameters of each kind are among the arrays.
        best: lowest RMSE on the validation rows, and its epoch.
        guard: what the divergence guard remembers.
    """

    run: dict[str, Any]
    rng: dict[str, Any]
    n_updates: int
    history: History
    kept: dict[str, int] = field(default_factory=dict)
    best: tuple[float | None, ...] = (None, 0)
    guard: GuardFacts = field(default_factory=GuardFacts)


def read_facts(checkpoint: Checkpoint) -> CheckpointFacts:
    """The facts of a checkpoint.

    Raises:
        DataError: when they are not of the right form, naming the field.
    """
    data = dict(checkpoint.facts)
    if isinstance(data.get("guard"), dict):  # 0.5.0 kept infinity itself
        data["guard"] = {n: None if x == np.inf else x for n, x in data["guard"].items()}
    facts = from_plain(CheckpointFacts, data, "facts")
    if len(facts.best) != 2:
        raise DataError("facts.best must be an RMSE and an epoch")
    return facts


def generator_at(state: dict[str, Any]) -> np.random.Generator:
    """The generator with a state that a checkpoint keeps.

    Raises:
        DataError: when it is no state.
    """
    rng = np.random.default_rng()
    try:
        rng.bit_generator.state = state
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"facts.rng is no state of a generator: {error}") from error
    return rng


def check_arrays(wanted: dict[str, Floats], arrays: dict[str, Floats]) -> None:
    """Refuse arrays that are missing, not finite, or not of the form of others of the same name.

    Raises:
        DataError: naming the array.
    """
    for name, own in wanted.items():
        array = arrays.get(name)
        if array is None:
            raise DataError(f"the array {name} is missing: another version may keep others")
        # A file keeps a single number as an array of one.
        if array.dtype != own.dtype or array.shape not in (own.shape, own.shape or (1,)):
            raise DataError(
                f"the array {name} must be of {own.dtype} and of shape {own.shape}, not of "
                f"{array.dtype} and {array.shape}"
            )
        if not np.isfinite(array).all():
            raise DataError(f"the array {name} is not finite")
