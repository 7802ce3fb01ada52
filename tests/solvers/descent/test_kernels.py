"""The compiled loops against a plain loop, finite differences, and each other.

All but a few tests run in float64, so that "equal" can mean "to rounding". The plain loop shares with
the kernels only the rules' own functions and the constants of the prediction.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import pytest

from dotbias import compiled
from dotbias.data.ratings import Ratings
from dotbias.models import DotBias
from dotbias.solvers.decay import WeightDecay
from dotbias.solvers.descent import batch_kernels
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.losses import LOSSES
from dotbias.solvers.descent.passes import Batches, OneByOne
from dotbias.solvers.descent.rules import RULES, SGD, Adam, GroupRule, Momentum, Rule
from dotbias.solvers.descent.training import Training
from tests.ratings import random_ratings
from tests.solvers.descent.plain_rule import PlainRow

DECAY = {"user_factors": 0.1, "item_factors": 0.2, "user_bias": 0.05, "item_bias": 0.3}
BATCH = 32  # of 130 ratings: the last batch has only 2
OUTPUTS = ["linear", "sigmoid"]

Rows = list[int]


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=20, n_items=15, n=130, seed=1)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops compiled for one thread, which takes half as long; the bits are the same."""
    monkeypatch.setattr(compiled, "_alone", True)


def new_run(
    rule: Rule, ratings: Ratings, output: str = "linear", dtype: Any = np.float64, **solver: Any
) -> Training:
    settings = {"n_epochs": 2, "schedule": "constant", "n_threads": 1} | solver
    model = DotBias(n_factors=3, output=output, init_std=0.4)
    return Training(GradientDescent(rule, **settings), model, ratings, seed=7, dtype=dtype)


def copies(training: Training) -> list[Any]:
    return [table.copy() for table in training.tables.values]


class Plain:
    """One step after the other, one number at a time, in Python's own arithmetic."""

    def __init__(self, training: Training, decay: dict[str, float], *, decoupled: bool) -> None:
        self.rule, self.form = training.solver.rule, training.tables.form
        self.lr = self.rule.rates(training.model.groups)
        self.groups, self.decay, self.decoupled = training.model.groups, decay, decoupled
        self.tables = dict(zip(self.groups, copies(training), strict=True))
        self.tables = {g: t.astype(np.float64).tolist() for g, t in self.tables.items()}
        self.rows: dict[Any, PlainRow] = {}
        self.known = {}
        if isinstance(self.rule, GroupRule):
            values = map(np.array, self.tables.values())
            self.known = dict(zip(self.groups, map(self.rule.begin, values), strict=True))
        self.squares, self.clip, self.n_clipped = 0.0, training.solver.clip, 0

    def slope(self, u: int, i: int, r: float) -> float:
        """Derivative of half the squared error by the sum of dot product and biases."""
        offset, low, width, sigmoid = map(float, self.form)
        z = offset + self.tables["user_bias"][u][0] + self.tables["item_bias"][i][0]
        for a, b in zip(
            self.tables["user_factors"][u], self.tables["item_factors"][i], strict=True
        ):
            z += a * b
        if sigmoid:
            s = 1 / (1 + math.exp(-z))
            e, by_z = low + width * s - r, width * s * (1 - s)
        else:
            e, by_z = z - r, 1.0
        self.squares += e * e
        return e * by_z

    def step(self, batch: list[tuple[int, int, float]], t: float, factor: float) -> None:
        """Move all rows that the batch touches along the mean gradient of the batch."""
        gradients: Counter[Any] = Counter()
        times: Counter[Any] = Counter()
        for u, i, r in batch:
            g = self.slope(u, i, float(r)) / len(batch)
            p, q = self.tables["user_factors"][u], self.tables["item_factors"][i]
            for f in range(len(p)):
                gradients["user_factors", u, f] += g * q[f]
                gradients["item_factors", i, f] += g * p[f]
            gradients["user_bias", u, 0] += g
            gradients["item_bias", i, 0] += g
            times.update([("user", u), ("item", i)])
        shorten = 1.0
        norm = math.sqrt(sum(g * g for g in gradients.values()))
        if self.clip is not None and norm > self.clip:
            shorten = self.clip / norm
            self.n_clipped += 1
        c = tuple(float(column) for column in self.rule.coefficients(np.array(t)))
        for group, row in dict.fromkeys(place[:2] for place in gradients):
            w = self.tables[group][row]
            decay = self.decay[group] * times[group[:4], row] / len(batch)
            pull, shrink = (decay, 0.0) if self.decoupled else (0.0, decay)
            g = [gradients[group, row, f] * shorten + shrink * w_f for f, w_f in enumerate(w)]
            kept = self.rows.setdefault((group, row), PlainRow(self.rule, len(w)))
            own = (*c, *self.known.get(group, ())[:1])
            self.tables[group][row] = kept.moved(w, g, self.lr[group] * factor, own, pull)

    def sum_up(self) -> None:
        """What a rule makes of whole groups between steps."""
        if isinstance(self.rule, GroupRule):
            for group in self.groups:
                rows = [kept.state for (of, _), kept in self.rows.items() if of == group]
                self.known[group] = self.rule.summed_up(self.known[group], np.stack(rows, axis=1))

    def assert_equals(self, training: Training, rtol: float) -> None:
        for group, table in zip(self.groups, training.tables.values, strict=True):
            expected = np.array(self.tables[group])
            np.testing.assert_allclose(table, expected, rtol, rtol * np.abs(expected).max(), group)

    def rmse(self, training: Training) -> float:
        return training.ratings.std * math.sqrt(self.squares / len(training.ratings))


def walked(walk: OneByOne) -> Iterator[tuple[int, list[tuple[int, int, float]]]]:
    """The ratings of each step of the epoch that was walked last, in order."""
    for number, ranges in enumerate(walk.ranges):
        rows = [row for low, high in ranges for row in range(low, high)]
        yield number, [(int(walk.users[r]), int(walk.items[r]), walk.values[r]) for r in rows]


def check_walk(training: Training, plain: Plain, rtol: float) -> None:
    """Two epochs on a rate that falls to zero."""
    n, n_taken = len(training.ratings), 0
    for epoch in range(2):
        training.run(1)
        assert isinstance(training._pass, OneByOne)
        plain.squares, t = 0.0, epoch * n + training._pass.t
        for number, taken in walked(training._pass):
            factor = 1 - n_taken / (2 * n)
            for one in taken:
                plain.step([one], t[number], factor)
            n_taken += len(taken)
            plain.sum_up()
        assert training.history.epochs[-1].train_rmse == pytest.approx(plain.rmse(training), rtol)
    assert n_taken == 2 * n
    plain.assert_equals(training, rtol)


def check_batches(training: Training, plain: Plain, rtol: float) -> None:
    """Two epochs of batches in the stored order."""
    assert isinstance(training._pass, Batches)
    ratings, t = training.ratings, 0
    units = ratings.values.astype(training.dtype) / training.dtype(ratings.std)
    columns = list(
        zip(ratings.user_indices.tolist(), ratings.item_indices.tolist(), units, strict=True)
    )
    for _ in range(2):
        training.run(1)
        plain.squares = 0.0
        for begin in range(0, len(columns), BATCH):
            t += 1
            plain.step(columns[begin : begin + BATCH], t, 1.0)
            plain.sum_up()
        assert training.history.epochs[-1].train_rmse == pytest.approx(plain.rmse(training), rtol)
    plain.assert_equals(training, rtol)


KINDS: dict[str, tuple[dict[str, Any], Callable[[Training, Plain, float], None]]] = {
    "walk": ({"schedule": "linear"}, check_walk),
    "batches": ({"batch_size": BATCH, "order": "stored"}, check_batches),
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("decoupled", [False, True], ids=["coupled", "decoupled"])
@pytest.mark.parametrize("name", RULES)
def test_a_kernel_equals_a_plain_loop(
    ratings: Ratings, name: str, decoupled: bool, output: str, kind: str
) -> None:
    settings, check = KINDS[kind]
    lr = {"user_factors": 0.01, "item_factors": 0.02, "user_bias": 0.03, "item_bias": 0.04}
    if issubclass(RULES[name], GroupRule):  # a factor on the rate that it finds
        lr = {group: 50 * rate for group, rate in lr.items()}
    decay = WeightDecay(DECAY, decoupled=decoupled)
    training = new_run(RULES[name](lr=lr), ratings, output, weight_decay=decay, **settings)
    check(training, Plain(training, DECAY, decoupled=decoupled), 1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("rule", [SGD(lr=0.03), Adam(lr=0.01)], ids=["sgd", "adam"])
def test_single_precision_equals_a_plain_loop_but_for_rounding(
    ratings: Ratings, rule: Rule, output: str, kind: str
) -> None:
    settings, check = KINDS[kind]
    training = new_run(rule, ratings, output, np.float32, weight_decay=DECAY, **settings)
    check(training, Plain(training, DECAY, decoupled=False), 1e-4)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("kind", "clip"), [("walk", 0.8), ("batches", 0.35)])
def test_clipping_shortens_the_gradient_of_a_step_without_its_decay(
    ratings: Ratings, kind: str, clip: float
) -> None:
    settings, check = KINDS[kind]
    training = new_run(SGD(lr=0.03), ratings, weight_decay=DECAY, clip=clip, **settings)
    plain = Plain(training, DECAY, decoupled=False)
    check(training, plain, 1e-9)
    n_steps = 2 * (len(ratings) if kind == "walk" else len(training._pass.sizes))
    assert 0 < plain.n_clipped < n_steps, "both must be seen"


def objective(training: Training, tables: list[Any], rows: Rows, *, dense: bool) -> float:
    """Mean of half the squared error over the rows of the grid or of the ratings, plus decay."""
    p, q, b_u, b_i = tables
    offset, low, width, sigmoid = training.tables.form
    now = training._pass
    total = 0.0
    for row in rows:
        u, i = now.users[row], now.items[row]
        z = offset + b_u[u, 0] + b_i[i, 0] + p[u] @ q[i]
        predicted = low + width / (1 + np.exp(-z)) if sigmoid else z
        total += 0.5 * (predicted - now.values[row]) ** 2
        if not dense:
            squares = p[u] @ p[u], q[i] @ q[i], b_u[u, 0] ** 2, b_i[i, 0] ** 2
            total += 0.5 * np.dot(list(DECAY.values()), squares)
    total /= len(rows)
    if dense:
        counts = training.ratings.user_counts, training.ratings.item_counts
        for s, (amount, table) in enumerate(zip(DECAY.values(), tables, strict=True)):
            total += 0.5 * amount * (counts[s % 2] @ (table**2).sum(1)) / len(training.ratings)
    return total


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", ["one rating", "lazy batch", "dense batch", "full batch"])
def test_a_step_of_length_one_is_the_gradient_of_the_stated_objective(
    ratings: Ratings, kind: str, output: str
) -> None:
    dense = kind in ("dense batch", "full batch")
    rows, settings = list(range(BATCH)), {"batch_size": BATCH, "order": "stored"}
    if kind == "one rating":
        rows, settings = [7], {}
    elif kind == "full batch":
        rows, settings = list(range(len(ratings))), {"batch_size": None}
    semantics = "dense" if dense else "lazy"
    training = new_run(
        SGD(lr=1.0), ratings, output, weight_decay=DECAY, semantics=semantics, **settings
    )
    now = training._pass
    now.begin(np.random.default_rng(0), first=True)
    if isinstance(now, OneByOne):
        now.ranges, now.sizes, now.t = np.array([[[7, 8]]]), np.ones(1, int), np.ones(1)
    before = copies(training)
    training.take(0, 1, np.ones(1), None)
    h = 1e-5
    for number, table in enumerate(training.tables.values):
        gradient = np.empty_like(table)
        for place in np.ndindex(table.shape):
            ends = []
            for sign in (1, -1):
                moved = [t.copy() for t in before]
                moved[number][place] += sign * h
                ends.append(objective(training, moved, rows, dense=dense))
            gradient[place] = (ends[0] - ends[1]) / (2 * h)
        np.testing.assert_allclose(before[number] - table, gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("rule", [SGD(lr=0.03), Momentum(lr=0.01)], ids=["sgd", "momentum"])
def test_batches_of_one_in_the_order_of_the_grid_equal_the_walk(
    ratings: Ratings, rule: Rule
) -> None:
    walk = new_run(rule, ratings, weight_decay=DECAY, n_epochs=1).run()
    assert isinstance(walk._pass, OneByOne)
    pairs = [(u, i) for _, taken in walked(walk._pass) for u, i, _ in taken]

    def place_in_the_walk(ratings: Ratings) -> Any:
        place = {pair: n for n, pair in enumerate(pairs)}
        return [
            place[pair] for pair in zip(ratings.user_indices, ratings.item_indices, strict=True)
        ]

    batches = new_run(rule, ratings, weight_decay=DECAY, n_epochs=1, order=place_in_the_walk)
    assert isinstance(batches._pass, Batches)
    for ours, theirs in zip(walk.tables.values, batches.run().tables.values, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("rule", "decay"),
    [(Momentum(lr=0.01), 0.0), (SGD(lr=0.01), 0.1)],
    ids=["momentum", "decay"],
)
@pytest.mark.parametrize("semantics", ["lazy", "dense"])
def test_rows_that_a_batch_does_not_touch_move_only_in_the_dense_form(
    ratings: Ratings, rule: Rule, decay: float, semantics: str
) -> None:
    training = new_run(
        rule, ratings, weight_decay=decay, semantics=semantics, batch_size=BATCH, order="stored"
    )
    training.step(np.ones(1))
    before = copies(training)
    training.step(np.ones(1))
    first, second = slice(0, BATCH), slice(BATCH, 2 * BATCH)
    for number, rows in enumerate((ratings.user_indices, ratings.item_indices)):
        touched = np.unique(rows[second])
        only_before = np.setdiff1d(rows[first], touched)
        assert len(only_before)
        moved = (training.tables.values[number] != before[number]).all(axis=1)
        assert moved[touched].all()
        assert moved[only_before].all() == (semantics == "dense")
        assert moved[only_before].any() == (semantics == "dense")


VARIANCE = 0.25


def silent_run(seed: int = 0, **solver: Any) -> Training:
    """A run whose data gradient is zero: every user has rated one of many items, all with 3."""
    n = 4000
    ratings = Ratings.from_columns(range(n), range(n), np.full(n, 3.0))
    descent = GradientDescent(
        SGD(lr=1e-6),
        n_epochs=2,
        schedule="constant",
        weight_decay=0.0,
        gradient_noise=VARIANCE,
        n_threads=1,
        **solver,
    )
    model = DotBias(n_factors=2, init_std=0.0)
    return Training(descent, model, ratings, seed=seed, dtype=np.float64)


def noise_of(training: Training, move: Callable[[Training], Any]) -> Any:
    """What a move added to the gradients, parameters side by side: (4000, 6)."""
    before = np.hstack(copies(training))
    move(training)
    return (before - np.hstack(training.tables.values)) / 1e-6


def assert_standard_normal(noise: Any) -> None:
    """Mean, variance, tails, and no relation between the six numbers of a row, within 4.5 errors."""
    error = 4.5 / np.sqrt(len(noise))
    assert (np.abs(noise.mean(axis=0)) < error).all()
    assert (np.abs(noise.var(axis=0) - 1) < error * np.sqrt(2)).all()
    for bound, share in ((1, 0.6827), (2, 0.9545)):
        inside = (np.abs(noise) < bound).mean(axis=0)
        assert (np.abs(inside - share) < error * np.sqrt(share * (1 - share))).all()
    between = np.corrcoef(noise.T) - np.eye(noise.shape[1])
    assert (np.abs(between) < error).all()


@pytest.mark.usefixtures("one_thread")
def test_the_noise_of_batches_is_normal_with_the_stated_variance() -> None:
    training = silent_run(batch_size=None)
    steps = [noise_of(training, lambda run: run.step(np.ones(1))) for _ in range(8)]
    for t, noise in enumerate(steps, start=1):
        assert_standard_normal(noise / np.sqrt(VARIANCE / t**0.55))
    assert abs(np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1]) < 4.5 / np.sqrt(steps[0].size)


@pytest.mark.usefixtures("one_thread")
def test_the_noise_of_single_ratings_is_normal_with_the_stated_variance() -> None:
    training = silent_run()
    noise = noise_of(training, lambda run: run.run(1))
    assert isinstance(training._pass, OneByOne)
    for number, taken in walked(training._pass):
        std = np.sqrt(VARIANCE / training._pass.t[number] ** 0.55)
        for columns, rows in (
            ((0, 1, 4), [u for u, _, _ in taken]),
            ((2, 3, 5), [i for _, i, _ in taken]),
        ):
            noise[np.ix_(rows, columns)] /= std
    assert_standard_normal(noise)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("batch_size", [1, 512, None])
def test_the_noise_follows_from_the_seed(batch_size: int | None) -> None:
    a, again, b = (
        np.hstack(silent_run(batch_size=batch_size, order="stored", seed=seed).run().tables.values)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(a, again)
    assert (a != b).all()


BATCH_KINDS: dict[str, dict[str, Any]] = {
    "lazy": {"batch_size": BATCH},
    "dense": {"batch_size": BATCH, "semantics": "dense"},
    "full": {"batch_size": None},
}


def test_no_two_compiled_functions_share_a_place_in_the_disk_cache() -> None:
    """The loops alone and shared out were two variants under one name: one ran in both places."""
    loops = [f for f in vars(batch_kernels).values() if hasattr(f, "py_func")]
    assert len(loops) >= 6
    for shared in (False, True):
        loops += [batch_kernels._scores_kernel(loss, shared) for loss in LOSSES.values()]
    places = {(f.py_func.__qualname__, f.py_func.__code__.co_firstlineno) for f in loops}
    assert len(places) == len(loops)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="this machine has one core")
@pytest.mark.parametrize("settings", BATCH_KINDS.values(), ids=BATCH_KINDS)
def test_one_thread_and_two_leave_the_same_bits(
    ratings: Ratings, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dotbias.solvers.descent.passes._SHARED_FROM", 1)
    one, two = (
        new_run(
            Adam(lr=0.01),
            ratings,
            weight_decay=DECAY,
            gradient_noise=0.01,
            clip=0.5,
            n_epochs=10,
            **settings | {"n_threads": n},
        ).run()
        for n in (1, 2)
    )
    for a, b in zip(one.tables.values, two.tables.values, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("settings", BATCH_KINDS.values(), ids=BATCH_KINDS)
def test_a_step_shared_out_to_threads_is_the_same_step(
    ratings: Ratings, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the loop over touched rows wrote, when shared out, was lost: only decay was left."""
    runs = []
    for shared_from in (1, 1 << 40):
        monkeypatch.setattr("dotbias.solvers.descent.passes._SHARED_FROM", shared_from)
        runs.append(new_run(Momentum(lr=0.01), ratings, "sigmoid", weight_decay=DECAY, **settings))
    assert runs[0]._pass.kernel is not runs[1]._pass.kernel
    for a, b in zip(runs[0].run().tables.values, runs[1].run().tables.values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
