"""The loop of all solvers that go on epoch by epoch: until the last, an early stop, or Ctrl-C."""

import math
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

from dotbias.shown import Part, Shown
from dotbias.solvers.base import Epoch, History, OnEpoch
from dotbias.solvers.validation import Validation


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What an epoch tells of itself, as in ``Epoch``; the loop adds its number, time and validation."""

    train_rmse: float | None = None
    train_loss: float | None = None
    lr: float = 0.0
    objective: float | None = None
    noise: float | None = None
    momentum: float | None = None


class EpochLoop(Shown, ABC):
    """The state of one fit, and the loop that carries it on.

    A subclass keeps what it estimates and says how one more epoch changes it. What is the same for all
    solvers is here: the history, validation and patience, Ctrl-C, and threads.

    Args:
        n_epochs: how many epochs there are in all.
        validation: the rows held out; the subclass is trained on the others, ``validation.rest``.
        patience: epochs without improvement on the validation rows before the loop ends.
    """

    def __init__(
        self, n_epochs: int, validation: Validation, *, patience: float = math.inf
    ) -> None:
        self.n_epochs, self.validation, self.patience = n_epochs, validation, patience
        self.history = History()

    # What depends on the solver.

    @abstractmethod
    def one_epoch(self) -> Figures:
        """Go on by one epoch; ``epoch`` counts those before it."""

    @abstractmethod
    def validate(self) -> float | None:
        """RMSE, or the loss in its place, on the validation rows now, one epoch further than ``epoch``;
        None without any.
        """

    @abstractmethod
    def threads(self) -> AbstractContextManager[None]:
        """Compute with as many threads as the solver asks for."""

    # The loop itself.

    def __repr__(self) -> str:
        return f"{type(self).__name__}(epoch {self.epoch} of {self.n_epochs})"

    def _parts(self) -> Iterable[Part]:
        yield {"epoch": self.epoch, "of": self.n_epochs}
        yield self.history.epochs[-1:]

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history.epochs)

    def run(self, n_epochs: int | None = None, on_epoch: OnEpoch | None = None) -> Self:
        """Go on for some epochs, or to the end; on Ctrl-C, to the end of what is running.

        Raises:
            SettingError: for more threads than there are.
            DivergenceError: where the solver says so.
        """
        history = self.history
        if history.stopped == "interrupted":
            history.stopped = "finished"
        last = self.n_epochs if n_epochs is None else min(self.n_epochs, self.epoch + n_epochs)
        started = time.perf_counter()
        try:
            with self.threads():
                while self.epoch < last and history.stopped != "early":
                    with _whole():
                        entry = self._entry()
                        history.epochs.append(entry)
                    if self.validation.waited(self.epoch) >= self.patience:
                        history.stopped = "early"
                    if on_epoch is not None:
                        on_epoch(entry)
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        history.best_epoch = self.validation.best_epoch or self.epoch
        history.seconds += time.perf_counter() - started
        return self

    def _entry(self) -> Epoch:
        """One more epoch, as the history tells it."""
        tic = time.perf_counter()
        figures = self.one_epoch()
        seconds = time.perf_counter() - tic
        validated, squared = self.validate(), figures.train_loss is None
        return Epoch(
            epoch=self.epoch + 1,
            n_epochs=self.n_epochs,
            validation_rmse=validated if squared else None,
            validation_loss=None if squared else validated,
            seconds=seconds,
            ratings_per_second=len(self.validation.rest) / max(seconds, 1e-9),
            **asdict(figures),
        )


@contextmanager
def _whole() -> Iterator[None]:
    """Let a Ctrl-C wait for the end of the block, so that the run can go on from there; not a second."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def note(number: int, _frame: Any) -> None:
        if waiting:
            raise KeyboardInterrupt
        waiting.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        raise KeyboardInterrupt
