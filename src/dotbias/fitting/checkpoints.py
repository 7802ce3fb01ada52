"""The folder in which a command keeps checkpoints of its fits, so that it can go on after it was killed.

A command may fit several times: it chooses a penalty, fits a model of ratings and one of preferences,
and both again on all ratings. Each of these runs has a file of its own, which stays until the command
has come to its end: a run that has ended is a checkpoint of its last epoch.
"""

import errno
import logging
import math
import numbers
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from dotbias import model_file
from dotbias.errors import DataError, ModelFileError, SettingError
from dotbias.plain import from_plain, to_plain
from dotbias.solvers.base import Epoch, OnEpoch
from dotbias.solvers.checkpoint import CHECKPOINT_KIND, Checkpoint, check_same_run
from dotbias.solvers.epochs import CarryOn, EpochLoop
from dotbias.whole_file import clear_leftovers

_log = logging.getLogger("dotbias")

T = TypeVar("T")

EVERY = 60.0
"""Seconds between two checkpoints of a run when nobody says."""

_ENDING = ".checkpoint"
# What runs are called, and the parts of a command that they belong to.
_RUNS, _PARTS = ("penalty", "ratings", "preferences"), ("", "measured-", "saved-")


class Checkpoints:
    """The checkpoints of one command.

    Args:
        folder: where they lie; made where it is not there, in a folder that is.
        every: seconds after a checkpoint from which the next one is due, at the end of an epoch; 0
            leaves one after each.
        resume: whether runs go on from what lies there; else nothing may.

    Raises:
        SettingError: for a folder that is no path, seconds that are none, or checkpoints that are there
            without ``resume``.
        DataError: for a folder that cannot be made.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, every: float = EVERY, resume: bool = False
    ) -> None:
        if not _is_time(every):
            raise SettingError(
                f"checkpoint_every={every!r}: it must be a number of seconds, at least 0"
            )
        if not isinstance(folder, str | os.PathLike):
            raise SettingError(f"checkpoint={folder!r}: it must be the path of a folder")
        self.folder, self.every, self.resume = Path(folder), float(every), resume
        self._prefix = ""
        try:
            if not self.folder.exists():  # the first checkpoint makes it for good
                self.folder.mkdir()
                self.folder.rmdir()
            elif not self.folder.is_dir():
                raise OSError(errno.ENOTDIR, "a file is there")
            there = [path for path in self._own() if path.exists()]
        except (OSError, ValueError) as error:  # a path may hold letters that none can have
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"cannot keep checkpoints in the folder {folder}: {reason}") from error
        if there and not resume:
            raise SettingError(
                f"there are checkpoints in {folder}, of a fit that did not come to its end: go on from "
                "them with resume=True (--resume), or delete them"
            )
        if resume and not there:
            _log.info("There is no checkpoint in %s: this begins at the beginning.", folder)

    def within(self, name: str) -> "Checkpoints":
        """The same folder for a part of the command, whose runs have names of their own."""
        part = object.__new__(Checkpoints)
        part.__dict__ |= {**self.__dict__, "_prefix": f"{self._prefix}{name}-"}
        return part

    def carry_on(self, name: str) -> CarryOn:
        """What carries the run of this name to its end, from its checkpoint if there is one, and leaves
        further ones on the way and at the end.

        What it gives raises:
            SettingError: for a checkpoint of another run, naming what differs.
            ModelFileError: for one that is damaged, or cannot be written; the one before stays then.
        """
        return partial(self._carry_on, self._path(name))

    def recalled(self, name: str, kind: type[T], run: dict[str, Any]) -> T | None:
        """A result that was noted under this name, or None.

        Args:
            name: of what was worked out.
            kind: the record that it is.
            run: what it follows from, settings and plain data.

        Raises:
            SettingError, ModelFileError: as for ``carry_on``.
        """
        path = self._path(name)
        if not path.exists():
            return None
        with _advice(path):
            _, facts = model_file.read(path, CHECKPOINT_KIND)
            try:
                kept = from_plain(dict[str, Any], facts.get("run"), "facts.run")
                result = from_plain(kind, facts.get("result"), "facts.result")
            except DataError as error:
                raise ModelFileError(f"{path} cannot be used: {error}") from error
            check_same_run(kept, run)
        return result

    def note(self, name: str, result: Any, run: dict[str, Any]) -> None:
        """Note a result, a record, for ``recalled``."""
        facts = {"run": to_plain(run), "result": to_plain(result)}
        _save(Checkpoint({}, facts), self._path(name))

    def remove(self) -> None:
        """Delete all checkpoints of the command, which has come to its end."""
        for path in self._own():
            path.unlink(missing_ok=True)
        clear_leftovers(self.folder)
        with suppress(OSError):  # there is something of the user's
            self.folder.rmdir()

    def _own(self) -> list[Path]:
        """All files that a command may leave here; others are the user's."""
        names = (part + name for part in _PARTS for name in _RUNS)
        return [self.folder / f"{name}{_ENDING}" for name in names]

    def _path(self, name: str) -> Path:
        return self.folder / f"{self._prefix}{name}{_ENDING}"

    def _carry_on(self, path: Path, loop: EpochLoop, on_epoch: OnEpoch | None) -> None:
        if path.exists():
            with _advice(path):
                loop.restore(Checkpoint.load(path))
            passes = loop.solver.epochs_are
            _log.info("On from %s: %d of %d %s.", path, loop.epoch, loop.n_epochs, passes)
        saved, due = loop.epoch, time.monotonic() + self.every

        def after(entry: Epoch) -> None:
            nonlocal saved, due
            if on_epoch is not None:
                on_epoch(entry)
            if time.monotonic() >= due:
                _save(loop.checkpoint(), path)
                saved, due = loop.epoch, time.monotonic() + self.every

        loop.run(on_epoch=after)
        # A second Ctrl-C may have ended it in the middle of an epoch.
        if loop.whole and loop.epoch != saved:
            _save(loop.checkpoint(), path)


Where: TypeAlias = str | os.PathLike[str] | Checkpoints | None
"""A folder for checkpoints, or those of a command of which a fit is a part."""


@contextmanager
def checkpoints_in(where: Where, every: float, resume: bool) -> Iterator[Checkpoints | None]:
    """The checkpoints of a fit, or None for none.

    Raises:
        SettingError: for ``resume`` without a folder, and as ``Checkpoints``.
    """
    if where is None and resume:
        raise SettingError("resume=True: name the folder of the checkpoints, checkpoint=...")
    if where is None or isinstance(where, Checkpoints):
        yield where
    else:
        yield Checkpoints(where, every=every, resume=resume)


@contextmanager
def _advice(path: Path) -> Iterator[None]:
    """Say of a checkpoint that is refused where it lies, and what to do."""
    try:
        yield
    except SettingError as error:
        raise SettingError(f"{path}: {error}: name another folder, or delete this one") from error
    except ModelFileError as error:
        text = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise ModelFileError(f"{text}. Delete the file, and this run begins again") from error


def _save(checkpoint: Checkpoint, path: Path) -> None:
    with suppress(OSError):  # what stands against it is said below
        path.parent.mkdir(exist_ok=True)
    try:
        checkpoint.save(path)
    except ModelFileError as error:
        before = "the one before it is whole" if path.exists() else "this run has none before it"
        raise ModelFileError(
            f"{error}. The fit has stopped at this checkpoint, and {before}: when it can be written, go "
            "on with resume=True (--resume)"
        ) from error


def _is_time(value: Any) -> bool:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and math.isfinite(value) and value >= 0
