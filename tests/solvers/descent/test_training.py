"""Runs that are stopped, saved, continued, and watched step by step."""

import math
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dotbias import model_file
from dotbias.data.ratings import Ratings
from dotbias.errors import ModelFileError, SettingError
from dotbias.models import DotBias
from dotbias.models.base import Parameters
from dotbias.solvers.base import Epoch
from dotbias.solvers.checkpoint import Checkpoint
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.passes import StepSettings
from dotbias.solvers.descent.rules import SGD, Adam, Momentum
from dotbias.solvers.descent.schedules import Constant, Schedule, Steps, WarmRestarts
from dotbias.solvers.descent.training import Training
from tests.ratings import random_ratings

MODEL = DotBias(n_factors=4, init_std=0.1)

RUNS = {
    "one rating at a time": GradientDescent(Momentum(lr=0.005), n_epochs=6),
    "adam on mini-batches": GradientDescent(Adam(lr=0.02), batch_size=32, n_epochs=6),
    "averaged warm restarts": GradientDescent(
        SGD(lr=0.5),
        batch_size=32,
        n_epochs=6,
        schedule=WarmRestarts(first_cycle=0.75, cycle_mult=1.5),
        average=2,
    ),
    "gradient noise": GradientDescent(SGD(lr=0.5), batch_size=32, n_epochs=6, gradient_noise=0.01),
    "early stopping": GradientDescent(
        SGD(lr=0.1),
        n_epochs=100,
        schedule="constant",
        weight_decay=0.0,
        validation_size=0.2,
        patience=4,
    ),
}


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=40, n_items=30, n=600, seed=0)


def numbers(training: Training) -> dict[str, Any]:
    """Everything that a run has computed, as bytes and plain facts: no clock times."""
    parameters = {
        "now": [training.parameters()],
        "result": [training.result()],
        "window": list(training.window),
        "cycles": training.history.cycle_parameters,
    }
    return {
        "tables": [table.tobytes() for table in training.tables.values],
        "states": [state.tobytes() for state in training.tables.states],
        "random state": training.rng.bit_generator.state,
        "steps": training.n_updates,
        "best": (training.validation.best_figure, training.validation.best_epoch),
        "epochs": [
            {k: v for k, v in asdict(e).items() if "second" not in k}
            for e in training.history.epochs
        ],
        "best epoch": training.history.best_epoch,
        "guard": asdict(training._guard.seen),
    } | {
        kind: [{name: array.tobytes() for name, array in p.items()} for p in several]
        for kind, several in parameters.items()
    }


def interrupt_after(epoch: int) -> Callable[[Epoch], None]:
    def interrupt(entry: Epoch) -> None:
        if entry.epoch == epoch:
            raise KeyboardInterrupt

    return interrupt


# Stopped and continued.


@pytest.fixture(scope="module", params=RUNS)
def unbroken(request: pytest.FixtureRequest, ratings: Ratings) -> Training:
    return RUNS[request.param].start(MODEL, ratings, seed=3).run()


def test_a_run_in_pieces_equals_an_unbroken_one(unbroken: Training) -> None:
    training = unbroken.solver.start(MODEL, unbroken.ratings, seed=3)
    assert training.run(1).epoch == 1
    assert training.run(2).epoch == 3
    assert numbers(training) != numbers(unbroken)
    training.run()
    assert numbers(training) == numbers(unbroken)


def test_an_interrupted_run_continues_as_if_nothing_had_happened(unbroken: Training) -> None:
    training = unbroken.solver.start(MODEL, unbroken.ratings, seed=3).run(
        on_epoch=interrupt_after(2)
    )
    assert (training.epoch, training.history.stopped) == (2, "interrupted")
    training.run()
    assert numbers(training) == numbers(unbroken)


def test_a_saved_run_continues_in_a_new_one(unbroken: Training, tmp_path: Path) -> None:
    half = unbroken.solver.start(MODEL, unbroken.ratings, seed=3).run(3)
    half.checkpoint().save(tmp_path / "half")
    training = unbroken.solver.start(MODEL, unbroken.ratings, seed=3)
    training.restore(Checkpoint.load(tmp_path / "half"))
    assert numbers(training) == numbers(half)
    training.run()
    assert numbers(training) == numbers(unbroken)
    assert training.history.stopped == unbroken.history.stopped


def test_a_checkpoint_from_inside_a_run_is_as_good(unbroken: Training) -> None:
    kept: dict[int, Checkpoint] = {}
    training = unbroken.solver.start(MODEL, unbroken.ratings, seed=3)
    training.run(on_epoch=lambda entry: kept.update({entry.epoch: training.checkpoint()}))
    for epoch in (1, 4):
        again = unbroken.solver.start(MODEL, unbroken.ratings, seed=3).restore(kept[epoch])
        assert again.epoch == epoch
        assert numbers(again.run()) == numbers(unbroken)


def test_the_early_stop_lies_behind_the_places_where_its_run_is_broken(ratings: Ratings) -> None:
    history = RUNS["early stopping"].start(MODEL, ratings, seed=3).run().history
    assert history.stopped == "early"
    assert 4 < len(history.epochs) == history.best_epoch + 4 < 100


@pytest.mark.parametrize("name", ["adam on mini-batches", "early stopping"])
def test_a_run_that_went_on_to_its_end_is_no_longer_interrupted(
    ratings: Ratings, name: str
) -> None:
    training = RUNS[name].start(MODEL, ratings, seed=3).run(on_epoch=interrupt_after(2))
    training.run()
    assert training.history.stopped == {"early stopping": "early"}.get(name, "finished")


def test_a_run_that_stopped_early_does_not_go_on(ratings: Ratings) -> None:
    training = RUNS["early stopping"].start(MODEL, ratings, seed=3).run()
    before = numbers(training)
    assert numbers(training.run()) == before
    assert training.history.stopped == "early"


def test_ctrl_c_within_an_epoch_stops_after_it_and_leaves_a_run_that_can_go_on(
    ratings: Ratings,
) -> None:
    third = [2.0]

    @dataclass(frozen=True, kw_only=True)
    class CtrlC(Constant):
        """Presses Ctrl-C in the third epoch, once."""

        def lr(self, epochs: Steps, n_epochs: float) -> Steps:
            if epochs[0] in third:
                third.clear()
                signal.raise_signal(signal.SIGINT)
            return super().lr(epochs, n_epochs)

    solver = GradientDescent(SGD(lr=0.5), batch_size=32, n_epochs=4, schedule=CtrlC())
    training = solver.start(MODEL, ratings, seed=3).run()
    assert (training.epoch, training.history.stopped) == (3, "interrupted")
    training.run()
    unbroken = solver.start(MODEL, ratings, seed=3).run()
    assert numbers(training) == numbers(unbroken)


def test_compiling_and_counting_steps_change_nothing(unbroken: Training) -> None:
    training = unbroken.solver.start(MODEL, unbroken.ratings, seed=3)
    training.compile()
    assert training.steps_per_epoch >= 1
    assert numbers(training.run()) == numbers(unbroken)


# Checkpoints that do not fit.


def other_pairs(ratings: Ratings) -> Ratings:
    """The same values, given by other users to other items."""
    return replace(
        ratings, user_indices=ratings.user_indices[::-1], item_indices=ratings.item_indices[::-1]
    )


CHANGES: dict[str, Callable[[Training], Training]] = {
    "seed": lambda t: Training(t.solver, t.model, t.ratings, seed=8),
    "solver": lambda t: Training(replace(t.solver, clip=9.0), t.model, t.ratings, seed=3),
    "model": lambda t: Training(t.solver, replace(t.model, init_std=0.2), t.ratings, seed=3),
    "ratings": lambda t: Training(t.solver, t.model, t.ratings.rows(np.arange(599)), seed=3),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_checkpoint_of_another_run_is_refused_by_name(ratings: Ratings, what: str) -> None:
    run = RUNS["adam on mini-batches"].start(MODEL, ratings, seed=3).run(1)
    other = CHANGES[what](run)
    before = numbers(other)
    with pytest.raises(
        SettingError, match=f"the checkpoint is of another run: its {what} is .*not"
    ):
        other.restore(run.checkpoint())
    assert numbers(other) == before


def test_a_checkpoint_of_the_same_values_on_other_pairs_is_refused(ratings: Ratings) -> None:
    run = RUNS["adam on mini-batches"].start(MODEL, ratings, seed=3).run(1)
    other = RUNS["adam on mini-batches"].start(MODEL, other_pairs(ratings), seed=3)
    with pytest.raises(SettingError, match="the checkpoint is of another run: its ratings"):
        other.restore(run.checkpoint())


def by_value() -> Callable[[Ratings], Any]:
    """A curriculum function, at another place in memory each time, as in another process."""

    def difficulty(ratings: Ratings) -> Any:
        return ratings.values

    return difficulty


def test_a_curriculum_run_continues_in_another_process(ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=0.5), batch_size=32, n_epochs=2, order=by_value())
    run = solver.start(MODEL, ratings).run(1)
    later = replace(solver, order=by_value()).start(MODEL, ratings)
    assert later.restore(run.checkpoint()).epoch == 1


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(ratings: Ratings, tmp_path: Path, share: float) -> None:
    path = tmp_path / "checkpoint"
    RUNS["adam on mini-batches"].start(MODEL, ratings).run(1).checkpoint().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelFileError, match="no checkpoint, or is truncated"):
        Checkpoint.load(path)


@pytest.mark.parametrize("part", [b'\\"n_updates\\": 19', None], ids=["facts", "arrays"])
def test_an_altered_checkpoint_is_refused(
    ratings: Ratings, tmp_path: Path, part: bytes | None
) -> None:
    path = tmp_path / "checkpoint"
    RUNS["adam on mini-batches"].start(MODEL, ratings).run(1).checkpoint().save(path)
    whole = bytearray(path.read_bytes())
    if part is not None:
        assert part in whole
    place = len(whole) - 5 if part is None else whole.index(part) + len(part) - 1
    whole[place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ModelFileError, match="altered since it was saved"):
        Checkpoint.load(path)


def test_a_model_file_is_no_checkpoint(tmp_path: Path) -> None:
    model_file.write(tmp_path / "model", {"a": np.zeros(2)}, {})
    with pytest.raises(ModelFileError, match="not written by dotbias as a checkpoint"):
        Checkpoint.load(tmp_path / "model")
    with pytest.raises(ModelFileError, match="there is no checkpoint"):
        Checkpoint.load(tmp_path / "nowhere")


# Single steps.


def squared_errors(training: Training, rows: slice) -> Any:
    """``(r̂ - r)²`` without clipping, from the formula of the model, in float64."""
    now = {name: a.astype(np.float64) for name, a in training.parameters().items()}
    ratings, model = training.ratings, training.model
    u, i, r = (
        ratings.user_indices[rows],
        ratings.item_indices[rows],
        ratings.values[rows].astype(np.float64),
    )
    mean = ratings.values.mean(dtype=np.float64)
    z = now["user_bias"][u] + now["item_bias"][i]
    z += (now["user_factors"][u] * now["item_factors"][i]).sum(axis=1)
    if model.output == "linear":
        return (mean + z - r) ** 2
    low, high = ratings.scale.lowest - model.margin, ratings.scale.highest + model.margin
    share = (mean - low) / (high - low)
    odds = share / (1 - share) * np.exp(z)
    return (low + (high - low) * odds / (1 + odds) - r) ** 2


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_a_step_gives_the_loss_of_its_own_batch_before_it(ratings: Ratings, output: str) -> None:
    """Over two passes whose last batch is smaller than the rest."""
    solver = GradientDescent(SGD(lr=1.0), batch_size=64, order="stored")
    training = solver.start(replace(MODEL, output=output), ratings, seed=3)
    losses, expected = [], []
    for _ in range(2):
        for begin in range(0, len(ratings), 64):
            expected.append(squared_errors(training, slice(begin, begin + 64)).mean())
            losses.extend(training.step(np.ones(1)))
    assert len(losses) == 2 * training.steps_per_epoch == 20
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[10] < 0.99 * losses[0]


def test_steps_one_by_one_equal_steps_together(ratings: Ratings) -> None:
    factors = np.linspace(0.1, 1.0, 30)
    solver = RUNS["adam on mini-batches"]
    alone, together = (solver.start(MODEL, ratings, seed=3) for _ in range(2))
    losses = [loss for factor in factors for loss in alone.step(np.array([factor]))]
    assert together.step(factors).tolist() == losses
    assert numbers(alone) == numbers(together)


def test_steps_at_the_schedules_rates_equal_a_run(ratings: Ratings) -> None:
    """Adam counts its steps across passes, which its corrections depend on."""
    solver = replace(RUNS["adam on mini-batches"], n_epochs=3, schedule="constant")
    stepped, run = (solver.start(MODEL, ratings, seed=3) for _ in range(2))
    stepped.step(np.ones(3 * stepped.steps_per_epoch))
    run.run()
    for name in MODEL.groups:
        np.testing.assert_array_equal(stepped.parameters()[name], run.parameters()[name])


def test_a_checkpoint_takes_steps_back_bit_for_bit(unbroken: Training) -> None:
    training = unbroken.solver.start(MODEL, unbroken.ratings, seed=3).run(2)
    before, checkpoint = numbers(training), training.checkpoint()
    for _ in range(2):  # what has been restored once can be restored again
        training.step(np.geomspace(0.1, 1, 25))
        after = numbers(training)
        for kind in ("tables", "random state"):
            assert after[kind] != before[kind]
        assert numbers(training.restore(checkpoint)) == before
    assert numbers(training.run()) == numbers(unbroken)


# Rates and cycles.


class Recorder(Training):
    """A run that notes the rates of every step, shape (n_steps, 4)."""

    def _step_settings(self, *arguments: Any) -> StepSettings:
        settings = super()._step_settings(*arguments)
        self.noted = [*getattr(self, "noted", []), *settings.rates.tolist()]
        return settings


def moments(n: int, batch_size: int, n_epochs: int) -> list[Fraction]:
    """When each step begins, in epochs."""
    return [e + Fraction(at, n) for e in range(n_epochs) for at in range(0, n, batch_size)]


def in_its_cycle(moment: Fraction, first: Fraction, mult: Fraction) -> tuple[Fraction, Fraction]:
    """``T_cur`` and ``T_i`` of SGDR, by walking from one restart to the next."""
    length = first
    while moment >= length:
        moment, length = moment - length, length * mult
    return moment, length


def ends_of_cycles(first: Fraction, mult: Fraction, n_epochs: int) -> list[Fraction]:
    ends, length = [first], first * mult
    while ends[-1] + length <= n_epochs:
        ends.append(ends[-1] + length)
        length *= mult
    return ends


CYCLES = [  # first cycle, growth, epochs
    (Fraction(1), Fraction(2), 7),  # ends after 1, 3 and 7 epochs
    (Fraction("0.6"), Fraction(2), 5),  # after 0.6, 1.8 and 4.2
    (Fraction("2.5"), Fraction(1), 8),  # after 2.5, 5 and 7.5
    (Fraction("0.25"), Fraction(1), 1),  # four in one epoch
]


def warm_run(
    ratings: Ratings, cycles: tuple[Fraction, Fraction, int], average: int = 1
) -> Recorder:
    first, mult, n_epochs = cycles
    solver = GradientDescent(
        SGD(lr={"user_factors": 0.8, "item_factors": 0.4, "user_bias": 0.2, "item_bias": 0.1}),
        batch_size=32,  # 600 ratings: 19 steps in an epoch, the last one smaller
        n_epochs=n_epochs,
        schedule=WarmRestarts(first_cycle=float(first), cycle_mult=float(mult), lowest=0.1),
        average=average,
    )
    return Recorder(solver, MODEL, ratings, seed=3)


@pytest.mark.parametrize("cycles", CYCLES)
def test_every_step_gets_the_rate_of_the_paper(
    ratings: Ratings, cycles: tuple[Fraction, Fraction, int]
) -> None:
    first, mult, n_epochs = cycles
    training = warm_run(ratings, cycles)
    training.run()
    expected = []
    for moment in moments(600, 32, n_epochs):
        t_cur, t_i = in_its_cycle(moment, first, mult)
        factor = 0.1 + 0.9 * (1 + math.cos(math.pi * t_cur / t_i)) / 2
        expected.append([0.8 * factor, 0.4 * factor, 0.2 * factor, 0.1 * factor])
    np.testing.assert_allclose(training.noted, expected, rtol=1e-6)
    per_epoch = np.reshape([e.lr for e in training.history.epochs], -1)
    np.testing.assert_allclose(per_epoch, np.reshape(expected, (n_epochs, -1, 4))[:, 0, 0])


def at_the_ends(ratings: Ratings, cycles: tuple[Fraction, Fraction, int]) -> list[Parameters]:
    """Parameters of runs that take just the steps before the end of each cycle."""
    first, mult, n_epochs = cycles
    begins = moments(600, 32, n_epochs)
    stopped = []
    for end in ends_of_cycles(first, mult, n_epochs):
        training = warm_run(ratings, cycles)
        before = np.array([float(moment) for moment in begins if moment < end])
        training.step(training.solver.schedule_object.lr(before, n_epochs))
        stopped.append(training.parameters())
    return stopped


@pytest.mark.parametrize("cycles", CYCLES)
def test_every_cycle_leaves_the_parameters_of_its_end(
    ratings: Ratings, cycles: tuple[Fraction, Fraction, int]
) -> None:
    expected = at_the_ends(ratings, cycles)
    kept = warm_run(ratings, cycles).run().history.cycle_parameters
    assert len(kept) == len(expected) == (4 if cycles[2] == 1 else 3)
    for got, wanted in zip(kept, expected, strict=True):
        for name in MODEL.groups:
            np.testing.assert_array_equal(got[name], wanted[name])


def test_a_run_that_stops_at_the_end_of_a_cycle_has_what_the_cycle_left(ratings: Ratings) -> None:
    whole = warm_run(ratings, CYCLES[0]).run()
    for cycle, epochs in enumerate((1, 3, 7)):
        stopped = warm_run(ratings, CYCLES[0]).run(epochs)
        for name in MODEL.groups:
            np.testing.assert_array_equal(
                whole.history.cycle_parameters[cycle][name], stopped.parameters()[name]
            )


def assert_mean(averaged: Parameters, parts: list[Parameters]) -> None:
    for name in MODEL.groups:
        mean = sum(p[name].astype(np.float64) for p in parts) / len(parts)
        np.testing.assert_allclose(averaged[name], mean, rtol=1e-6, atol=1e-8)
        assert not np.allclose(averaged[name], parts[-1][name], rtol=1e-3)


@pytest.mark.parametrize("average", [2, 3])
@pytest.mark.parametrize("cycles", CYCLES)
def test_averaging_is_over_the_ends_of_the_last_cycles(
    ratings: Ratings, cycles: tuple[Fraction, Fraction, int], average: int
) -> None:
    averaged = warm_run(ratings, cycles, average).run().result()
    assert_mean(averaged, at_the_ends(ratings, cycles)[-average:])


@pytest.mark.parametrize("average", [2, 4])
def test_without_cycles_averaging_is_over_the_last_epochs(ratings: Ratings, average: int) -> None:
    solver = GradientDescent(SGD(lr=0.02), n_epochs=6, schedule="constant", average=average)
    averaged = solver.start(MODEL, ratings, seed=3).run().result()
    plain = replace(solver, average=1).start(MODEL, ratings, seed=3)
    parts = [plain.run(1).parameters() for _ in range(6)]
    assert_mean(averaged, parts[-average:])


def test_the_average_is_what_is_watched(ratings: Ratings) -> None:
    """The validation RMSE of an epoch, computed anew on the rows that were not trained on."""
    solver = GradientDescent(
        SGD(lr=0.05), n_epochs=5, average=3, validation_size=0.3, patience=100, schedule="constant"
    )
    training = solver.start(MODEL, ratings, seed=3)
    trained = set(
        zip(
            training.validation.rest.user_indices,
            training.validation.rest.item_indices,
            strict=True,
        )
    )
    held = [
        row
        for row, pair in enumerate(zip(ratings.user_indices, ratings.item_indices, strict=True))
        if pair not in trained
    ]
    assert len(held) == 180
    plain = replace(solver, average=1).start(MODEL, ratings, seed=3)
    parts: list[Parameters] = []
    for _ in range(5):
        training.run(1)
        parts.append(plain.run(1).parameters())
        last = parts[-3:]
        mean = parts[-1] | {n: np.mean([p[n] for p in last], axis=0) for n in MODEL.groups}
        error = (
            MODEL.predict(mean, ratings.user_indices[held], ratings.item_indices[held])
            - ratings.values[held]
        )
        rmse = np.sqrt(np.mean(error.astype(np.float64) ** 2))
        assert training.history.epochs[-1].validation_rmse == pytest.approx(rmse, rel=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "one-cycle", "exponential"])
def test_the_rate_moves_with_every_step_of_every_schedule(ratings: Ratings, schedule: str) -> None:
    solver = GradientDescent(SGD(lr=0.5), batch_size=32, n_epochs=4, schedule=schedule)
    training = Recorder(solver, MODEL, ratings, seed=3)
    training.run()
    shares = [float(moment / 4) for moment in moments(600, 32, 4)]
    formulas: dict[str, Callable[[float], float]] = {
        "linear": lambda x: 1 - x,
        "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2,
        "one-cycle": lambda x: (
            0.04 + 0.96 * (1 - math.cos(math.pi * x / 0.3)) / 2
            if x < 0.3
            else 0.0004 + 0.9996 * (1 + math.cos(math.pi * (x - 0.3) / 0.7)) / 2
        ),
        "exponential": lambda x: 0.01**x,
    }
    expected = [[0.5 * formulas[schedule](x)] * 4 for x in shares]
    np.testing.assert_allclose(training.noted, expected, rtol=1e-6, atol=1e-8)


def test_a_schedule_of_ones_own_is_asked_for_every_step_once(ratings: Ratings) -> None:
    asked: list[float] = []

    @dataclass(frozen=True, kw_only=True)
    class Spy(Schedule):
        def lr(self, epochs: Steps, n_epochs: float) -> Steps:
            assert n_epochs == 3
            asked.extend(epochs)
            return np.ones(len(epochs))

    GradientDescent(SGD(lr=0.5), batch_size=32, n_epochs=3, schedule=Spy()).fit(MODEL, ratings)
    np.testing.assert_allclose(asked, [float(moment) for moment in moments(600, 32, 3)])
