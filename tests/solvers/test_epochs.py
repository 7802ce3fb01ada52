"""The loop of epochs: Ctrl-C, patience, the best epoch, threads; by itself, and in every solver."""

import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import DivergenceError
from dotbias.models.base import Model
from dotbias.solvers.base import Epoch, Solver
from dotbias.solvers.epochs import EpochLoop, Figures
from dotbias.solvers.validation import Validation
from tests.ratings import random_ratings

RATINGS = random_ratings(n_users=30, n_items=20, n=300, seed=0)


class Script(EpochLoop):
    """Epochs that follow a script: the validation RMSE of each, and what happens in it."""

    def __init__(self, rmses: list[float], events: dict[int, Any] | None = None, **settings: Any):
        self.solver = db.GradientDescent()
        super().__init__(
            len(rmses), Validation.hold_out(RATINGS, 0.2, np.random.default_rng(0)), **settings
        )
        self.rmses, self.events, self.begun, self.done = rmses, events or {}, 0, 0

    def one_epoch(self) -> Figures:
        self.begun += 1
        self.events.pop(self.epoch + 1, lambda: None)()
        self.done += 1
        return Figures(train_rmse=1.0)

    def validate(self) -> float | None:
        held = self.validation
        made = {"n": np.array([self.epoch + 1])}

        wrong = np.float32(self.rmses[self.epoch])
        flat: Any = SimpleNamespace(predict=lambda *_: held.values + wrong)
        return held.rmse(flat, lambda: made, self.epoch + 1)

    @contextmanager
    def threads(self):
        yield

    def result(self) -> Any:
        return self.validation.best

    def state(self) -> Any:
        return {}

    def set_state(self, arrays: Any) -> None:
        pass


def ctrl_c(times: int = 1) -> Any:
    def press() -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    return press


# The loop by itself.


def test_ctrl_c_within_an_epoch_lets_it_end_and_the_run_go_on():
    before = signal.getsignal(signal.SIGINT)
    loop = Script([5.0, 4.0, 3.0, 2.0], {2: ctrl_c()}).run()
    assert (loop.epoch, loop.done, loop.history.stopped) == (2, 2, "interrupted")
    assert loop.history.best_epoch == 2
    assert signal.getsignal(signal.SIGINT) is before
    loop.run()
    assert (loop.epoch, loop.done, loop.history.stopped) == (4, 4, "finished")


def test_a_second_ctrl_c_ends_the_epoch_at_once():
    loop = Script([5.0, 4.0, 3.0], {2: ctrl_c(2)}).run()
    assert (loop.epoch, loop.begun, loop.done) == (1, 2, 1)
    assert loop.history.stopped == "interrupted"


def test_the_handler_of_ctrl_c_comes_back_after_an_error():
    def diverge() -> None:
        raise DivergenceError("it diverged")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(DivergenceError):
        Script([5.0, 4.0], {1: diverge}).run()
    assert signal.getsignal(signal.SIGINT) is before


def test_it_runs_outside_the_main_thread():
    """Where no handler of signals can be set."""
    loop = Script([5.0, 4.0])
    thread = threading.Thread(target=loop.run)
    thread.start()
    thread.join()
    assert (loop.epoch, loop.history.stopped) == (2, "finished")


@pytest.mark.parametrize(
    ("rmses", "patience", "n", "best"),
    [
        ([3, 2, 4, 4, 4, 1], 3, 5, 2),
        ([3, 2, 4, 4, 1, 4], 3, 6, 5),
        ([3, 3, 3], 1, 2, 1),
        ([3, 2, 4, 4, 4, 4], float("inf"), 6, 2),
    ],
)
def test_patience_counts_from_the_best_epoch(rmses, patience, n, best):
    loop = Script(rmses, patience=patience).run()
    assert (loop.epoch, loop.history.best_epoch) == (n, best)
    assert loop.history.stopped == ("early" if n < len(rmses) else "finished")
    assert loop.validation.best["n"] == [best]
    assert [e.validation_rmse for e in loop.history.epochs] == pytest.approx(rmses[:n])
    if loop.history.stopped == "early":
        assert loop.run().epoch == n


def test_a_run_in_pieces_counts_on():
    seen: list[Epoch] = []
    loop = Script([5.0, 4.0, 3.0]).run(2, seen.append)
    assert (loop.epoch, loop.history.stopped) == (2, "finished")
    loop.run(7, seen.append)
    assert seen == loop.history.epochs
    assert [(e.epoch, e.n_epochs) for e in seen] == [(1, 3), (2, 3), (3, 3)]


# In every solver.

DOT, NET = db.DotBias(n_factors=3), db.EmbeddingNet(n_factors=3, hidden=(4,))
DESCENT = db.GradientDescent(db.SGD(lr=0.05), n_epochs=9, schedule="constant")
SOLVERS: dict[str, tuple[Model, Solver]] = {
    "one rating at a time": (DOT, DESCENT),
    "mini-batches": (DOT, replace(DESCENT, batch_size=32)),
    "network": (NET, replace(DESCENT, batch_size=32)),
    "ALS": (DOT, db.ALS(n_iterations=9)),
    "Gibbs in its burn-in": (DOT, db.Gibbs(n_samples=9, burn_in=5, n_factors=3)),
    "Gibbs": (DOT, db.Gibbs(n_samples=9, burn_in=1, n_factors=3)),
}
# What makes those that can stop early overfit within some epochs.
_NO_DECAY = {"weight_decay": 0.001, "validation_size": 0.2, "patience": 2}
OVERFITTING: dict[str, dict[str, Any]] = {
    "one rating at a time": {"rule": db.SGD(lr=0.3), **_NO_DECAY},
    "mini-batches": {"rule": db.SGD(lr=3.0), **_NO_DECAY},
    "network": {"rule": db.SGD(lr=3.0), **_NO_DECAY},
    "ALS": _NO_DECAY,
}


def shorter(solver: Solver, n: int) -> Solver:
    """The same solver with so many epochs."""
    if isinstance(solver, db.Gibbs):
        return replace(solver, n_samples=n, burn_in=min(solver.burn_in, n - 1))
    return replace(solver, **{"n_iterations" if hasattr(solver, "n_iterations") else "n_epochs": n})


def assert_same_parameters(some: Any, others: Any) -> None:
    assert some.keys() == others.keys()
    for name in some:
        np.testing.assert_array_equal(some[name], others[name], err_msg=name)


@pytest.fixture
def ratings() -> Ratings:
    return RATINGS


@pytest.mark.parametrize("name", SOLVERS)
def test_ctrl_c_keeps_what_a_fit_of_so_many_epochs_gives(ratings, name):
    def interrupt(epoch: Epoch) -> None:
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    model, solver = SOLVERS[name]
    parameters, history = solver.fit(model, ratings, seed=2, on_epoch=interrupt)
    assert history.stopped == "interrupted"
    assert history.best_epoch == len(history.epochs) == 3
    assert history.seconds >= sum(e.seconds for e in history.epochs)
    assert {e.n_epochs for e in history.epochs} == {solver.n_epochs} == {9}
    three, _ = shorter(solver, 3).fit(model, ratings, seed=2)
    assert_same_parameters(parameters, three)


@pytest.mark.parametrize("name", OVERFITTING)
def test_an_early_stop_gives_the_best_epoch_back(ratings, name):
    model, solver = SOLVERS[name]
    solver = replace(shorter(solver, 90), **OVERFITTING[name])
    parameters, history = solver.fit(model, ratings, seed=2)
    assert history.stopped == "early"
    errors = [e.validation_rmse for e in history.epochs]
    assert history.best_epoch == 1 + int(np.argmin(errors)) == len(errors) - 2
    as_far, _ = replace(shorter(solver, history.best_epoch), patience=90).fit(
        model, ratings, seed=2
    )
    assert_same_parameters(parameters, as_far)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_number_of_threads_is_set_back(ratings, name):
    model, solver = SOLVERS[name]
    seen: set[int] = set()
    before = numba.get_num_threads()
    replace(shorter(solver, 2), n_threads=1).fit(
        model, ratings, on_epoch=lambda _: seen.add(numba.get_num_threads())
    )
    assert numba.get_num_threads() == before
    assert seen == {before if name == "network" else 1}
