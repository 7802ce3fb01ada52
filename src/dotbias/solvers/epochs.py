"""The loop of all solvers that go on epoch by epoch: until the last, an early stop, or Ctrl-C."""

import copy
import logging
import math
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from dotbias.data.ratings import Ratings
from dotbias.errors import DataError, ModelFileError
from dotbias.models.base import Model, Parameters
from dotbias.plain import from_plain, to_plain
from dotbias.shown import Part, Shown
from dotbias.solvers.base import Epoch, History, OnEpoch, Solver
from dotbias.solvers.checkpoint import (
    Arrays,
    Checkpoint,
    NoFacts,
    check_arrays,
    check_same_run,
    generator_at,
    read_facts,
)
from dotbias.solvers.validation import Validation
from dotbias.solvers.workers.exchange import WorkerLostError

_log = logging.getLogger("dotbias")

# Times that workers may be lost without an epoch between.
_MOST_LOST = 3


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
    solvers is here: the history, validation and patience, Ctrl-C, threads, and checkpoints.

    Args:
        n_epochs: how many epochs there are in all.
        validation: the rows held out; the subclass is trained on the others, ``validation.rest``.
        patience: epochs without improvement on the validation rows before the loop ends.

    Attributes:
        solver, model, ratings, seed: what makes it this fit and no other; set by the subclass, and the
            solver before this class's ``__init__``.
        rng: source of what epochs draw; likewise.
        start: parameters of the form in which those of the best epoch are kept; likewise.
        on_workers: whether its epochs are shared out.
        whole: whether the state is one between two epochs, and not in the middle of one that Ctrl-C or
            an error has ended.
    """

    solver: Solver
    model: Model
    ratings: Ratings
    seed: int
    rng: np.random.Generator
    start: Parameters
    facts_kind: ClassVar[type] = NoFacts
    """The record of ``own_facts``."""

    def __init__(
        self, n_epochs: int, validation: Validation, *, patience: float = math.inf
    ) -> None:
        self.n_epochs, self.validation, self.patience = n_epochs, validation, patience
        self.history = History(epochs_are=self.solver.epochs_are)
        self.whole, self.on_workers = True, False

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

    @abstractmethod
    def result(self) -> Parameters:
        """What the fit has come to: the best parameters seen on the validation rows, or the latest."""

    @abstractmethod
    def state(self) -> Arrays:
        """All arrays that an epoch changes and the next one reads, copied, by name."""

    @abstractmethod
    def set_state(self, arrays: Arrays) -> None:
        """Put back what ``state`` gave, whose names, types and shapes are checked; further names are
        ignored.

        Raises:
            DataError: for numbers that no epoch leaves, before anything is changed.
        """

    def own_facts(self) -> Any:
        """Single numbers beside the arrays, a record of ``facts_kind``."""
        return NoFacts()

    def set_own_facts(self, facts: Any) -> None:
        """Put those back."""

    def kept(self) -> dict[str, list[Arrays]]:
        """Sets of arrays of past epochs that never change, by kind: the best parameters."""
        best = self.validation.best
        return {"best": [best] if best else []}

    def set_kept(self, kept: dict[str, list[Arrays]]) -> None:
        """Put those back."""
        self.validation.best = kept["best"][0] if kept["best"] else {}

    def check_kept(self, n: dict[str, int], epoch: int) -> None:
        """Refuse numbers of sets that no run can keep after so many epochs.

        Raises:
            DataError: naming the kind.
        """

    def kept_form(self, kind: str) -> Arrays:  # noqa: ARG002
        """A set of a kind whose names, types and shapes are those of all."""
        return self.start

    def identity(self) -> dict[str, Any]:
        """What makes a run the same run: settings, and plain data."""
        return run_identity(self.model, self.solver, self.ratings, self.seed)

    # The loop itself.

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.epoch} of {self.n_epochs} {self.solver.epochs_are})"

    def _parts(self) -> Iterable[Part]:
        yield {self.solver.epochs_are: self.epoch, "of": self.n_epochs}
        yield self.history.epochs[-1:]

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history.epochs)

    def run(self, n_epochs: int | None = None, on_epoch: OnEpoch | None = None) -> Self:
        """Go on for some epochs, or to the end; on Ctrl-C, to the end of what is running. Where a worker
        is lost, all begin again after the last epoch that was whole.

        Raises:
            SettingError: for more threads than there are.
            DivergenceError: where the solver says so.
        """
        last = self.n_epochs if n_epochs is None else min(self.n_epochs, self.epoch + n_epochs)
        if not self.on_workers:
            return self._run(last, on_epoch)
        kept, n_lost = self.checkpoint(), 0

        def after(entry: Epoch) -> None:
            nonlocal kept, n_lost
            kept, n_lost = self.checkpoint(), 0
            if on_epoch is not None:
                on_epoch(entry)

        while True:
            try:
                return self._run(last, after)
            except WorkerLostError as error:
                n_lost += 1
                if n_lost == _MOST_LOST:
                    raise
                self.restore(kept)
                passes = self.solver.epochs_are
                _log.warning("%s: all begin again: %d %s are done.", error, self.epoch, passes)

    def _run(self, last: int, on_epoch: OnEpoch | None) -> Self:
        """Go on until an epoch is the last."""
        history = self.history
        if history.stopped == "interrupted":
            history.stopped = "finished"
        lap = time.perf_counter()
        try:
            with self.threads():
                while self.epoch < last and history.stopped != "early":
                    with _whole():
                        self.whole = False
                        entry = self._entry()
                        history.epochs.append(entry)
                        self.whole = True
                    now = time.perf_counter()
                    history.seconds, lap = history.seconds + now - lap, now
                    if self.validation.waited(self.epoch) >= self.patience:
                        history.stopped = "early"
                    if on_epoch is not None:
                        on_epoch(entry)
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        history.best_epoch = self.validation.best_epoch or self.epoch
        history.seconds += time.perf_counter() - lap
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

    # Stopping and going on.

    def checkpoint(self) -> Checkpoint:
        """All that the rest of the run depends on. What epochs change is copied."""
        arrays, held, kept = self.state(), self.validation, self.kept()
        for kind, sets in kept.items():
            for n, one in enumerate(sets):
                arrays |= {f"{kind}/{n}/{name}": array for name, array in one.items()}
        facts = {
            "run": to_plain(self.identity()),
            "rng": self.rng.bit_generator.state,
            "history": self.history.summary(),
            "kept": {kind: len(sets) for kind, sets in kept.items()},
            "best": [held.best_figure if held.best else None, held.best_epoch],
        }
        return Checkpoint(arrays, copy.deepcopy(facts | to_plain(self.own_facts())))

    def restore(self, checkpoint: Checkpoint) -> Self:
        """Go back, or ahead, to a checkpoint of the same run, bit for bit.

        Raises:
            SettingError: when it is one of another run.
            ModelFileError: when arrays or facts in it are not of the right form; it names them.
        """
        arrays, held = checkpoint.arrays, self.validation
        try:
            facts = read_facts(checkpoint, self.n_epochs)
            check_same_run(facts.run, self.identity())
            own: Any = from_plain(self.facts_kind, facts.own, "facts")
            check_arrays(self.state(), arrays)
            self.check_kept(facts.kept, len(facts.history.epochs))
            kept = {k: self._sets(arrays, k, facts.kept.get(k, 0)) for k in self.kept()}
            rng = generator_at(facts.rng)
            self.set_state(arrays)
        except (DataError, RuntimeError, KeyError) as error:  # PyTorch has some of its own
            raise ModelFileError(f"the checkpoint cannot be used: {error}") from error
        self.history = replace(facts.history, epochs_are=self.solver.epochs_are)
        self.set_kept(kept)
        self.set_own_facts(own)
        best_figure, best_epoch = facts.best
        held.best_figure = np.inf if best_figure is None else best_figure
        held.best_epoch = int(best_epoch or 0)
        self.rng.bit_generator.state = rng.bit_generator.state
        self.whole = True
        return self

    def _sets(self, arrays: Arrays, kind: str, n: int) -> list[Arrays]:
        """The sets of one kind that a checkpoint keeps, copied."""
        sets = []
        for number in range(n):
            form = self.kept_form(kind)
            wanted = {f"{kind}/{number}/{name}": array for name, array in form.items()}
            check_arrays(wanted, arrays)
            sets.append({name: arrays[f"{kind}/{number}/{name}"].copy() for name in form})
        return sets


CarryOn: TypeAlias = Callable[[EpochLoop, OnEpoch | None], object]
"""What carries a loop to its end, perhaps from a checkpoint, and perhaps leaves some."""


def finished(
    start: Callable[[], EpochLoop], on_epoch: OnEpoch | None = None, carry_on: CarryOn | None = None
) -> tuple[Parameters, History]:
    """What ``Solver.fit`` returns, of a loop: its seconds count what comes before and after it, too."""
    began = time.perf_counter()
    loop = start()
    before = time.perf_counter() - began
    if carry_on is None:
        loop.run(on_epoch=on_epoch)
    else:
        carry_on(loop, on_epoch)
    ended = time.perf_counter()
    parameters = loop.result()
    loop.history.seconds += before + time.perf_counter() - ended
    return parameters, loop.history


class IteratingSolver(Solver):
    """A solver whose fits go on epoch by epoch: they can be stopped, saved and continued."""

    @abstractmethod
    def start(self, model: Model, ratings: Ratings, *, seed: int = 0) -> EpochLoop:
        """A fit that has not begun.

        Raises:
            SettingError: as for ``fit``.
        """

    def fit(
        self,
        model: Model,
        ratings: Ratings,
        *,
        seed: int = 0,
        on_epoch: OnEpoch | None = None,
        carry_on: CarryOn | None = None,
    ) -> tuple[Parameters, History]:
        """See ``Solver.fit``.

        Args:
            model, ratings, seed: what is estimated, from what; of everything that is drawn.
            on_epoch: called after each epoch.
            carry_on: carries the fit to its end, in the place of ``EpochLoop.run``.
        """
        return finished(lambda: self.start(model, ratings, seed=seed), on_epoch, carry_on)


def run_identity(
    model: Model | None, solver: Solver, ratings: Ratings, seed: int
) -> dict[str, Any]:
    """What makes a run the same run, from its settings and ratings: settings, and plain data."""
    named = {spec.name for spec in fields(solver) if spec.init}
    same_bits = dict.fromkeys(named & {"n_threads", "cluster", "n_workers"})
    return {
        "model": model,
        "solver": replace(solver, **same_bits),
        "seed": int(seed),
        "ratings": f"{len(ratings)} ratings, {ratings.digest[:16]}",
        "kind": ratings.kind,
        "scale": list(ratings.scale),
    }


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
