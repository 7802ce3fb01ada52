"""The state of a run between two epochs, in memory and as a file, and checks on what a file says."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dotbias import model_file
from dotbias.errors import DataError, SettingError
from dotbias.plain import from_plain, same_settings, settings_text
from dotbias.settings import Settings
from dotbias.shown import Shown
from dotbias.solvers.base import History

CHECKPOINT_KIND = "dotbias checkpoint"

Arrays: TypeAlias = dict[str, NDArray[Any]]
"""Arrays by name."""


@dataclass(frozen=True, eq=False)
class Checkpoint(Shown):
    """The state of a run between two epochs: arrays by name, and plain facts."""

    arrays: Arrays
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


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What a checkpoint keeps beside arrays.

    Args:
        run: what makes the run the same run.
        rng: state of its generator.
        history: of the epochs until now.
        kept: how many sets of arrays of each kind are among the arrays (``EpochLoop.kept``).
        best: lowest RMSE on the validation rows, and its epoch.
        own: what the solver says besides (``EpochLoop.own_facts``).
    """

    run: dict[str, Any]
    rng: dict[str, Any]
    history: History
    kept: dict[str, int] = field(default_factory=dict)
    best: tuple[float | None, ...] = (None, 0)
    own: dict[str, Any] = field(default_factory=dict, metadata={"others": True})


@dataclass(frozen=True)
class NoFacts:
    """Of a solver that says nothing besides."""


def read_facts(checkpoint: Checkpoint, n_epochs: int) -> CheckpointFacts:
    """The facts of a checkpoint of a run of so many epochs.

    Raises:
        DataError: when they are not of the right form, naming the field.
    """
    data = dict(checkpoint.facts)
    if isinstance(data.get("guard"), dict):  # 0.5.0 kept infinity itself
        data["guard"] = {n: None if x == np.inf else x for n, x in data["guard"].items()}
    facts = from_plain(CheckpointFacts, data, "facts")
    if len(facts.best) != 2:
        raise DataError("facts.best must be an RMSE and an epoch")
    done = len(facts.history.epochs)
    numbers = [epoch.epoch for epoch in facts.history.epochs]
    if numbers != list(range(1, done + 1)) or done > n_epochs:
        raise DataError(f"facts.history.epochs must be the first of {n_epochs} epochs, in order")
    if not 0 <= facts.history.best_epoch <= done or not 0 <= (facts.best[1] or 0) <= done:
        raise DataError(f"the best epoch must be one of the {done} in facts.history.epochs")
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


def check_arrays(wanted: Arrays, arrays: Arrays) -> None:
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


def check_same_run(kept: dict[str, Any], mine: dict[str, Any]) -> None:
    """Refuse what is kept of another run.

    Args:
        kept: what made that run the same run (``EpochLoop.identity``), as plain data.
        mine: the same of this one: settings, and plain data.

    Raises:
        SettingError: naming what differs.
    """
    for what, value in kept.items():
        own = mine.get(what)
        if isinstance(own, Settings):
            text = value if isinstance(value, str) else settings_text(value)
            plain = model_file.plain_of_text(value) if isinstance(value, str) else value
            same = text == repr(own) or same_settings(plain, own)
        else:
            text, same = value, own == value
        if not same:
            raise SettingError(f"the checkpoint is of another run: its {what} is {text}, not {own}")
