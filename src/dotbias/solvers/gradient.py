"""Gradient descent on the squared error."""

import numbers
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dotbias.data.ratings import Ratings
from dotbias.errors import DivergenceError, SettingError
from dotbias.models.base import Model, Parameters
from dotbias.models.dot_bias import DotBias
from dotbias.settings import setting
from dotbias.solvers.base import Epoch, History, OnEpoch, Solver
from dotbias.solvers.grid import Grid, lay_out
from dotbias.solvers.kernels import epoch_kernel
from dotbias.solvers.rules import SGD, Rule
from dotbias.solvers.schedules import SCHEDULES

# Chosen on validation parts of training rows alone (benchmarks/choose_defaults.py).
DEFAULT_DECAY: Mapping[str, float] = {
    "user_factors": 0.04,
    "item_factors": 0.06,
    "user_bias": 0.03,
    "item_bias": 0.1,
}

_RATINGS_PER_THREAD = 100_000


@dataclass(frozen=True)
class GradientDescent(Solver):
    """Stochastic gradient descent for ``DotBias``, one rating at a time.

    Minimises, summed over the training ratings,
    ``½ (r̂_ui - r_ui)² + ½ (λ_p |p_u|² + λ_q |q_i|² + λ_bu b_u² + λ_bi b_i²)``,
    with ratings measured in units of their standard deviation (and parameters in the units that
    follow, ``DotBias.units``): multiplying all ratings by a number, or adding one, changes the
    predictions likewise and nothing else. The decay counts *per rating*: a row with n ratings is
    shrunk as by a ridge penalty ``½ n λ |row|²``.

    The same data, settings and seed give the same bits for any number of threads.

    Args:
        rule: how a parameter moves along its gradient.
        n_epochs: passes over the training ratings.
        schedule: learning rate over the epochs, ``"linear"`` (down to zero) or ``"constant"``.
        weight_decay: ``λ`` for every group, or a mapping from group name (``user_factors``,
            ``item_factors``, ``user_bias``, ``item_bias``) to its ``λ``; groups not named, or all with
            None, keep those of ``DEFAULT_DECAY``.
        validation_size: share of the *training* rows that is held out to watch; with it, training
            stops early and the parameters of the best epoch are kept.
        patience: epochs without improvement on the validation rows before training stops.
        n_threads: threads, or None for as many as the machine has and the ratings keep busy (one
            for each 100,000).
    """

    rule: Rule = field(default_factory=SGD)
    n_epochs: int = setting(40, at_least=1, keyword=True)
    schedule: str = setting("linear", choices=tuple(SCHEDULES), keyword=True)
    weight_decay: float | Mapping[str, float] | None = field(default=None, kw_only=True)
    validation_size: float = setting(0.0, at_least=0, below=1, keyword=True)
    patience: int = setting(3, at_least=1, keyword=True)
    n_threads: int | None = setting(None, at_least=1, keyword=True)

    groups: ClassVar[tuple[str, ...]] = DotBias.groups

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rule, Rule):
            raise SettingError(
                f"rule must be an update rule such as SGD(lr=0.022), not {self.rule!r}"
            )
        self.decay()

    def decay(self) -> dict[str, float]:
        """The weight decay of each group."""
        given = self.weight_decay
        if given is None:
            return dict(DEFAULT_DECAY)
        table = dict(given) if isinstance(given, Mapping) else dict.fromkeys(DEFAULT_DECAY, given)
        for name, value in table.items():
            if name not in DEFAULT_DECAY:
                known = ", ".join(DEFAULT_DECAY)
                raise SettingError(f"weight_decay names no group {name!r}: the groups are {known}")
            if not isinstance(value, numbers.Real) or not 0 <= value < np.inf:
                raise SettingError(f"weight_decay of {name} must be at least 0, not {value!r}")
        return dict(DEFAULT_DECAY) | table

    def fit(
        self, model: Model, ratings: Ratings, *, seed: int = 0, on_epoch: OnEpoch | None = None
    ) -> tuple[Parameters, History]:
        """Embeddings and biases, and the history of the epochs.

        Ctrl-C ends training after the running epoch; the best parameters so far are returned and
        ``history.stopped`` says so.

        Raises:
            SettingError: for a model other than ``DotBias``, or more threads than there are.
            DivergenceError: when the loss is no longer finite, or keeps growing.
        """
        if not isinstance(model, DotBias):
            raise SettingError(f"GradientDescent estimates DotBias, not {type(model).__name__}")
        started = time.perf_counter()
        rng = np.random.default_rng(seed)
        parameters = model.initialise(ratings, rng)
        watch = _Validation.hold_out(ratings, self.validation_size, rng)
        grid = lay_out(watch.rest, int(rng.integers(2**63)))
        run = _Run(self, model, parameters, grid, ratings.spread)
        history = History()
        guard = _DivergenceGuard(ratings, self.rule.lr)
        try:
            with _threads(self.n_threads, len(ratings)):
                for epoch in range(self.n_epochs):
                    lr = self.rule.lr * SCHEDULES[self.schedule](epoch / self.n_epochs)
                    tic = time.perf_counter()
                    train_rmse = run.epoch(lr, rng.permutation(grid.n_blocks))
                    seconds = time.perf_counter() - tic
                    guard.check(epoch + 1, train_rmse)
                    entry = Epoch(
                        epoch=epoch + 1,
                        n_epochs=self.n_epochs,
                        lr=lr,
                        train_rmse=train_rmse,
                        validation_rmse=watch.rmse(model, run, epoch + 1),
                        seconds=seconds,
                        ratings_per_second=len(grid.values) / seconds,
                    )
                    history.epochs.append(entry)
                    if on_epoch is not None:
                        on_epoch(entry)
                    if watch.waited(epoch + 1) >= self.patience:
                        history.stopped = "early"
                        break
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        history.best_epoch = watch.best_epoch or len(history.epochs)
        fitted = watch.best or run.parameters()
        history.seconds = time.perf_counter() - started
        return fitted, history


class _Run:
    """One training run: the parameters, the state of the rule and the compiled epoch.

    Inside, ratings and parameters are measured in units of the ratings' spread.
    """

    def __init__(
        self,
        solver: GradientDescent,
        model: DotBias,
        start: Parameters,
        grid: Grid,
        spread: float,
    ) -> None:
        rule = solver.rule
        self.start, self.grid, self.spread, self.hyper = start, grid, spread, rule.hyper
        self.kernel = epoch_kernel(type(rule).update, rule.n_slots, model.output)
        self.units = {name: np.float32(unit) for name, unit in model.units(spread).items()}
        self.values = grid.values / np.float32(spread)
        # A bias is an embedding of length one to the kernel.
        tables = [start[name] / self.units[name] for name in solver.groups]
        self.tables = [t if t.ndim == 2 else t[:, None] for t in tables]
        self.states = [np.zeros((rule.n_slots, *t.shape), np.float32) for t in self.tables]
        decay = solver.decay()
        self.decay = np.array([decay[name] for name in solver.groups], np.float32)
        offset, (low, width) = model.offset(start), model.stretch(start)
        if model.output == "linear":
            offset /= spread
        self.constants = tuple(map(np.float32, (offset, low / spread, width / spread)))

    def epoch(self, lr: float, diagonals: NDArray[np.int64]) -> float:
        """Walk the grid once; RMSE of the predictions made on the way."""
        grid = self.grid
        squares = self.kernel(
            grid.users,
            grid.items,
            self.values,
            grid.starts,
            diagonals,
            *self.tables,
            *self.states,
            *self.constants,
            np.full(4, lr, np.float32),
            self.decay,
            self.hyper,
        )
        return self.spread * float(np.sqrt(squares / len(self.values)))

    def parameters(self) -> Parameters:
        """The parameters as they are now, in rating units."""
        now = {
            name: (table * unit).reshape(self.start[name].shape)
            for table, (name, unit) in zip(self.tables, self.units.items(), strict=True)
        }
        return self.start | now


class _Validation:
    """Validation rows taken from the training rows, and the best parameters seen on them."""

    def __init__(self, ratings: Ratings, rest: NDArray[Any], held: NDArray[Any]) -> None:
        self.rest = ratings if len(held) == 0 else _rows(ratings, rest)
        self.users, self.items = ratings.users[held], ratings.items[held]
        self.values = ratings.values[held]
        self.best_rmse, self.best_epoch = np.inf, 0
        self.best: Parameters = {}

    @classmethod
    def hold_out(cls, ratings: Ratings, share: float, rng: np.random.Generator) -> "_Validation":
        n_held = round(len(ratings) * share)
        if share and not 0 < n_held < len(ratings):
            raise SettingError(f"validation_size={share} leaves no rows on one side")
        if n_held == 0:
            return cls(ratings, np.empty(0, np.int64), np.empty(0, np.int64))
        order = rng.permutation(len(ratings))
        return cls(ratings, np.sort(order[n_held:]), order[:n_held])

    def rmse(self, model: Model, run: _Run, epoch: int) -> float | None:
        """RMSE on the validation rows, remembering the parameters when it is the best so far."""
        if len(self.values) == 0:
            return None
        parameters = run.parameters()
        error = model.predict(parameters, self.users, self.items) - self.values
        rmse = float(np.sqrt(np.mean(error.astype(np.float64) ** 2)))
        if rmse < self.best_rmse:
            self.best_rmse, self.best_epoch, self.best = rmse, epoch, parameters
        return rmse

    def waited(self, epoch: int) -> int:
        """Epochs since the best one; 0 without validation rows."""
        return epoch - self.best_epoch if len(self.values) else 0


def _rows(ratings: Ratings, rows: NDArray[Any]) -> Ratings:
    """Some rows under the same vocabularies: every user and item keeps its row of parameters."""
    return Ratings(
        ratings.users[rows],
        ratings.items[rows],
        ratings.values[rows],
        ratings.user_vocabulary,
        ratings.item_vocabulary,
    )


class _DivergenceGuard:
    """Stops a run whose training loss is not finite, absurd, or has risen three times in a row."""

    def __init__(self, ratings: Ratings, lr: float) -> None:
        self.limit = 3 * ratings.spread
        self.lr, self.best, self.last, self.rises = lr, np.inf, np.inf, 0

    def check(self, epoch: int, rmse: float) -> None:
        self.best = min(self.best, rmse)
        self.rises = self.rises + 1 if rmse > self.last else 0
        grew = self.rises >= 3 and rmse > 1.05 * self.best
        if not np.isfinite(rmse) or rmse > self.limit or grew:
            raise DivergenceError(
                f"training diverged in epoch {epoch}: the training RMSE is {rmse:.4g}. "
                f"Lower the learning rate, for example lr={self.lr / 4:.2g} (it was {self.lr:g})"
            )
        self.last = rmse


@contextmanager
def _threads(n: int | None, n_ratings: int) -> Iterator[None]:
    """Run with a number of threads and set the old one again."""
    import numba

    available: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if n is not None and n > available:
        raise SettingError(f"n_threads={n}: this machine offers {available}")
    before = numba.get_num_threads()
    # Threads that wait for each other at every diagonal cost more than they bring on a small set.
    numba.set_num_threads(n or min(available, max(1, n_ratings // _RATINGS_PER_THREAD)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
