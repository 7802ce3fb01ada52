"""Losses of preferences: their gradients, what they draw, the same bits, and what they learn."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest

import dotbias as db
from dotbias.data.ratings import Ratings
from dotbias.errors import SettingError
from dotbias.fitting.fit import default_solver
from dotbias.models import DotBias
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.grid import lay_out
from dotbias.solvers.descent.losses import LOSSES
from dotbias.solvers.descent.negatives import HeldOutChoices, Negatives, unchosen
from dotbias.solvers.descent.passes import Batches, OneByOne
from dotbias.solvers.descent.rules import SGD, Adam, Rule
from dotbias.solvers.descent.training import Training
from dotbias.testing import SolverContract
from tests.ratings import random_ratings

SAMPLED = ["logistic", "bpr"]


class TestLogistic(SolverContract):
    model = DotBias(n_factors=4, output="preference")
    solver = GradientDescent(SGD(lr=0.1), loss="logistic", n_epochs=15)
    folds = ()


class TestBPR(SolverContract):
    model = DotBias(n_factors=4, output="preference")
    solver = GradientDescent(SGD(lr=0.1), loss="bpr", n_epochs=15)
    folds = ()


DECAY = {"user_factors": 0.1, "item_factors": 0.2, "user_bias": 0.05, "item_bias": 0.3}
BATCH = 16
Example = list[tuple[int, int, float]]
"""User, item and sign of the scores whose sum a loss is of."""


@pytest.fixture(scope="module")
def ratings() -> Ratings:
    return random_ratings(n_users=20, n_items=40, n=130, seed=1)


def new_run(ratings: Ratings, loss: str, rule: Rule | None = None, **solver: Any) -> Training:
    settings = {"n_epochs": 2, "schedule": "constant", "n_threads": 1, "n_negatives": 2} | solver
    dtype = settings.pop("dtype", np.float64)
    model = DotBias(n_factors=3, output="preference", init_std=0.4)
    descent = GradientDescent(rule or SGD(lr=1.0), loss=loss, **settings)
    return Training(descent, model, ratings, seed=7, dtype=dtype)


def drawn(run: Training, user: int, row: int, draw: int, stretch: Any = None) -> int:
    """The item that the compiled loop draws, by the same function in Python's arithmetic."""
    negatives = run._pass.negatives
    low, high = (0, len(negatives.pool)) if stretch is None else stretch
    with np.errstate(over="ignore"):
        pool, starts, chosen, _, key = negatives
        return int(unchosen(user, row, draw, low, high, pool, starts, chosen, key))


def examples(run: Training, user: int, item: int, row: int, pool: Any = None) -> list[Example]:
    """The examples of one known pair."""
    others = [drawn(run, user, row, d, pool) for d in range(1, 1 + run.solver.n_negatives)]
    if run.loss.of == "pair":
        return [[(user, item, 1.0), (user, j, -1.0)] for j in others]
    return [[(user, item, 1.0)], *([(user, j, -1.0)] for j in others)]


def score_of(tables: list[Any], example: Example) -> Any:
    """What the loss of an example is of."""
    p, q, b_u, b_i = tables
    return sum(sign * (b_u[u, 0] + b_i[i, 0] + p[u] @ q[i]) for u, i, sign in example)


def loss_of(run: Training, tables: list[Any], example: Example) -> float:
    """The loss of one example, and the decay of the rows that take part in it."""
    total = np.log1p(np.exp(-score_of(tables, example)))
    amounts = list(DECAY.values())
    for s, rows in enumerate(({u for u, _, _ in example}, {i for _, i, _ in example})):
        for row in rows:
            # The bias of a user drops out of pairs, and one at a time it is left where it is.
            bias = 0.0 if s == 0 and run.loss.of == "pair" else tables[2 + s][row, 0]
            total += 0.5 * (
                amounts[s] * (tables[s][row] @ tables[s][row]) + amounts[2 + s] * bias**2
            )
    return float(total)


def descended(run: Training, tables: list[Any], batch: list[Example], n: int) -> list[Any]:
    """Tables after a step of length one along the numerical gradient of a batch."""

    def total(moved: list[Any]) -> float:
        return sum(loss_of(run, moved, example) for example in batch) / n

    h, after = 1e-5, [t.copy() for t in tables]
    for number, table in enumerate(tables):
        for place in np.ndindex(table.shape):
            ends = []
            for sign in (1, -1):
                moved = [t.copy() for t in tables]
                moved[number][place] += sign * h
                ends.append(total(moved))
            after[number][place] -= (ends[0] - ends[1]) / (2 * h)
    return after


@pytest.mark.parametrize("name", LOSSES)
def test_a_slope_is_the_derivative_of_its_value(name: str) -> None:
    loss, x, h = LOSSES[name], np.linspace(-8, 8, 33), 1e-6
    slope = (loss.value(x + h) - loss.value(x - h)) / (2 * h)
    np.testing.assert_allclose(loss.slope(x), slope, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", SAMPLED)
def test_a_loss_is_finite_however_far_off_a_score_is(name: str) -> None:
    loss = LOSSES[name]
    far = np.array([-5e3, 5e3], np.float32)
    np.testing.assert_array_equal(loss.value(far), [5e3, 0])
    assert loss.value(far).dtype == np.float32


@pytest.mark.parametrize("loss", SAMPLED)
def test_one_at_a_time_follows_the_gradient_of_each_example(ratings: Ratings, loss: str) -> None:
    run = new_run(ratings, loss, weight_decay=DECAY)
    now = run._pass
    assert isinstance(now, OneByOne)
    now.begin(np.random.default_rng(0), first=True)
    row, pool = int(now.ranges[0, 0, 0]), now.pools[0, 0]
    now.ranges = np.array([[[row, row + 1]]])
    tables = [table.copy() for table in run.tables.values]
    user, item = int(now.users[row]), int(now.items[row])
    total = 0.0
    for example in examples(run, user, item, row, pool):
        total += np.log1p(np.exp(-score_of(tables, example)))
        tables = descended(run, tables, [example], 1)
    figures = run.take(0, 1, np.ones(1), None)
    np.testing.assert_allclose(figures, [total], rtol=1e-9)
    for ours, expected in zip(run.tables.values, tables, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", SAMPLED)
def test_a_batch_follows_the_gradient_of_its_mean(ratings: Ratings, loss: str) -> None:
    run = new_run(ratings, loss, weight_decay=DECAY, batch_size=BATCH, order="stored")
    now = run._pass
    assert isinstance(now, Batches)
    now.begin(np.random.default_rng(0), first=True)
    columns = ratings.user_indices[:BATCH].tolist(), ratings.item_indices[:BATCH].tolist()
    batch = [
        example
        for row, (u, i) in enumerate(zip(*columns, strict=True))
        for example in examples(run, u, i, row)
    ]
    expected = descended(run, [t.copy() for t in run.tables.values], batch, BATCH)
    run.take(0, 1, np.ones(1), None)
    for ours, theirs in zip(run.tables.values, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("one_thread_in_double_precision")
@pytest.mark.parametrize("loss", SAMPLED)
def test_batches_equal_those_of_torch_step_by_step(ratings: Ratings, loss: str) -> None:
    torch = pytest.importorskip("torch")
    run = new_run(
        ratings,
        loss,
        Adam(lr=0.02),
        weight_decay=0.0,
        batch_size=BATCH,
        order="stored",
        semantics="dense",
    )
    tables = [torch.tensor(table, requires_grad=True) for table in run.tables.values]
    optimiser = torch.optim.Adam(tables, lr=0.02)
    run.run(1)
    pairs = list(zip(ratings.user_indices.tolist(), ratings.item_indices.tolist(), strict=True))
    for begin in range(0, len(pairs), BATCH):
        rows = range(begin, min(begin + BATCH, len(pairs)))
        total = torch.zeros(())
        for row in rows:
            for example in examples(run, *pairs[row], row):
                total = total - torch.nn.functional.logsigmoid(score_of(tables, example))
        optimiser.zero_grad()
        (total / len(rows)).backward()
        optimiser.step()
    for ours, theirs in zip(run.tables.values, tables, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-8, atol=1e-11)


# What is drawn.


def test_items_that_a_user_has_chosen_are_not_drawn_and_the_others_evenly() -> None:
    ratings = random_ratings(n_users=20, n_items=40, n=60, seed=2)
    users = np.repeat(np.arange(ratings.n_users, dtype=np.int32), 1000)
    held = HeldOutChoices.of(LOSSES["bpr"], ratings, users, users, 3)
    counts = np.zeros((ratings.n_users, ratings.n_items))
    np.add.at(counts, (users.repeat(3), held.negatives.ravel()), 1)
    free = np.ones_like(counts, bool)
    free[ratings.user_indices, ratings.item_indices] = False
    assert not counts[~free].any()
    expected = 3000 / free.sum(axis=1, keepdims=True) * free
    squares = ((counts - expected)[free] ** 2 / expected[free]).sum()
    freedom = free.sum() - len(free)
    assert abs(squares - freedom) < 4 * np.sqrt(2 * freedom)


def test_who_has_chosen_everything_moves_nothing_in_a_pair_of_one_item() -> None:
    ratings = Ratings.from_columns([1, 2, 2], [1, 1, 2], [3.0, 4.0, 5.0])
    for batch_size in (1, 2):
        solver = GradientDescent(loss="bpr", n_epochs=3, batch_size=batch_size, n_negatives=2)
        parameters, _ = solver.fit(DotBias(n_factors=2, output="preference"), ratings)
        assert all(np.isfinite(array).all() for array in parameters.values())


def test_draws_change_from_epoch_to_epoch_and_with_the_seed(ratings: Ratings) -> None:
    run = new_run(ratings, "bpr", batch_size=BATCH)
    rng, keys = np.random.default_rng(0), set()
    for _ in range(3):
        run._pass.begin(rng, first=False)
        keys.add(int(run._pass.negatives.key))
    assert len(keys) == 3


def blocks(run: Training) -> Iterator[tuple[set[int], set[int]]]:
    """Items of each range and those that it may draw, over one epoch."""
    now = run._pass
    assert isinstance(now, OneByOne)
    for ranges, pools in zip(now.ranges, now.pools, strict=True):
        for (low, high), (first, last) in zip(ranges, pools, strict=True):
            yield set(now.items[low:high].tolist()), set(now.negatives.pool[first:last].tolist())


def test_what_a_block_draws_belongs_to_it_and_all_items_meet() -> None:
    ratings = random_ratings(n_users=80, n_items=100, n=2000, seed=4)
    run, rng = new_run(ratings, "bpr"), np.random.default_rng(1)
    met = np.zeros((100, 100), bool)
    for _ in range(100):
        run._pass.begin(rng, first=False)
        found = list(blocks(run))
        assert len({frozenset(pool) for _, pool in found}) > 1
        for items, pool in found:
            assert items <= pool
            met[np.ix_(list(pool), list(pool))] = True
    assert met.all()


def test_items_that_are_dealt_out_make_blocks_of_equal_numbers() -> None:
    ratings = random_ratings(n_users=80, n_items=100, n=2000, seed=4)
    deal = np.random.default_rng(0).permutation(100)
    grid = lay_out(ratings, 0, deal=deal)
    assert set(np.diff(grid.edges)) <= {16, 17}
    for block in range(grid.n_blocks**2):
        rows = slice(grid.starts[block], grid.starts[block + 1])
        b = block % grid.n_blocks
        assert np.isin(grid.items[rows], deal[grid.edges[b] : grid.edges[b + 1]]).all()


# The same bits.


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="this machine has one core")
@pytest.mark.parametrize("loss", SAMPLED)
@pytest.mark.parametrize("batch_size", [1, 64])
def test_one_thread_and_two_leave_the_same_bits(
    loss: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dotbias.solvers.descent.passes._SHARED_FROM", 1)
    ratings = random_ratings(n_users=80, n_items=100, n=2000, seed=4)
    rate = 0.1 if batch_size == 1 else 1.0
    one, two = (
        new_run(
            ratings,
            loss,
            SGD(lr=rate),
            weight_decay=DECAY,
            batch_size=batch_size,
            n_threads=n,
            n_epochs=3,
            dtype=np.float32,
        ).run()
        for n in (1, 2)
    )
    for a, b in zip(one.tables.values, two.tables.values, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("loss", SAMPLED)
def test_a_run_goes_on_from_its_checkpoint(ratings: Ratings, loss: str) -> None:
    settings: dict[str, Any] = {"validation_size": 0.2, "n_epochs": 4, "dtype": np.float32}
    whole, first, second = (new_run(ratings, loss, SGD(lr=0.1), **settings) for _ in range(3))
    whole.run()
    second.restore(first.run(2).checkpoint()).run()
    for a, b in zip(whole.tables.values, second.tables.values, strict=True):
        assert np.array_equal(a, b)
    figures = [(e.train_loss, e.validation_loss) for e in whole.history.epochs]
    assert figures == [(e.train_loss, e.validation_loss) for e in second.history.epochs]


# What is learned.


@pytest.fixture(scope="module")
def tastes() -> tuple[Ratings, Ratings]:
    """Choices of 200 users, each by a hidden taste among 120 items of unequal popularity; 80 : 20."""
    rng = np.random.default_rng(5)
    p, q = rng.normal(0, 1.5, (200, 3)), rng.normal(0, 1, (120, 3))
    score = p @ q.T + rng.normal(0, 0.7, 120) + rng.gumbel(size=(200, 120))
    users = np.arange(200).repeat(25)
    items = np.argsort(-score, axis=1)[:, :25].ravel()
    return Ratings.from_columns(users, items, np.ones(5000)).split(0.2, seed=1)


def hits(scores: Any, train: Ratings, test: Ratings) -> float:
    """Share of each user's first ten items, but for those of the training part, that are in test."""
    scores = scores.copy()
    scores[train.user_indices, train.item_indices] = -np.inf
    top = np.argsort(-scores, axis=1)[:, :10]
    held = np.zeros(scores.shape, bool)
    users = train.user_vocabulary.indices(test.user_vocabulary.ids)[test.user_indices]
    held[users, train.item_vocabulary.indices(test.item_vocabulary.ids)[test.item_indices]] = True
    return float(np.take_along_axis(held, top, axis=1).mean())


@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize("loss", SAMPLED)
def test_it_learns_what_people_choose(
    tastes: tuple[Ratings, Ratings], loss: str, batch_size: int
) -> None:
    train, test = tastes
    model = DotBias(n_factors=4, output="preference", init_std=0.1)
    rate = 0.1 if batch_size == 1 else 4.0
    solver = GradientDescent(
        SGD(lr=rate),
        loss=loss,
        n_negatives=2,
        n_epochs=20,
        batch_size=batch_size,
        weight_decay=0.005,
    )
    parameters, history = solver.fit(model, train)
    losses = [epoch.train_loss for epoch in history.epochs]
    assert losses[0] is not None
    assert losses[-1] is not None
    assert losses[-1] < 0.8 * losses[0] < np.log(2)
    assert history.epochs[-1].train_rmse is None
    everyone = np.arange(train.n_users, dtype=np.int32)
    popular = np.broadcast_to(train.item_counts.astype(float), (train.n_users, train.n_items))
    ours = hits(model.score_all(parameters, everyone), train, test)
    assert ours > 1.5 * hits(popular, train, test)


def test_the_validation_loss_is_that_of_fixed_draws(ratings: Ratings) -> None:
    run = new_run(ratings, "bpr", SGD(lr=0.1), validation_size=0.2, n_epochs=3, patience=3)
    run.run()
    held = run.validation
    choices = HeldOutChoices.of(run.loss, ratings, held.users, held.items, 2, run.seed)
    scores = run.model.score_all(run.parameters(), np.arange(20, dtype=np.int32))
    x = scores[held.users, held.items][:, None] - scores[held.users[:, None], choices.negatives]
    expected = np.log1p(np.exp(-x.astype(np.float64))).mean()
    assert run.history.epochs[-1].validation_loss == pytest.approx(expected, rel=1e-5)
    assert run.validation_loss() == pytest.approx(expected, rel=1e-5)
    assert run.history.epochs[-1].validation_rmse is None
    best = min(run.history.epochs, key=lambda e: e.validation_loss or np.inf)
    assert run.history.best_epoch == best.epoch


def test_a_rate_that_is_too_high_is_named_with_the_loss(ratings: Ratings) -> None:
    with pytest.raises(db.DivergenceError, match="the training BPR loss is"):
        GradientDescent(SGD(lr=1e4), loss="bpr").fit(DotBias(output="preference"), ratings)


# What is refused, and what follows by itself.


@pytest.mark.parametrize(
    ("loss", "output", "wanted"),
    [
        ("bpr", "linear", "output='preference'"),
        ("logistic", "sigmoid", "output='preference'"),
        ("squared", "preference", "output='linear' or 'sigmoid'"),
    ],
)
def test_a_loss_needs_the_output_that_it_judges(
    ratings: Ratings, loss: str, output: str, wanted: str
) -> None:
    with pytest.raises(SettingError, match=f"loss='{loss}' judges .*{wanted}"):
        GradientDescent(loss=loss).fit(DotBias(output=output), ratings)


def test_a_loss_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingError, match="'squared', 'logistic', 'bpr'"):
        GradientDescent(loss="hinge")


def test_networks_have_the_squared_error_alone(ratings: Ratings) -> None:
    pytest.importorskip("torch")
    with pytest.raises(SettingError, match="networks are trained on the squared error"):
        GradientDescent(loss="bpr", batch_size=32).fit(db.EmbeddingNet(), ratings)


def test_a_solver_alone_names_its_model(ratings: Ratings) -> None:
    solver = GradientDescent(SGD(lr=0.1), loss="logistic", n_epochs=2)
    rec = db.fit(ratings, solver=solver)
    assert rec.model == DotBias(output="preference")
    assert rec.model.scores == "preference"
    assert replace(rec.model, output="linear").scores == "rating"
    named = default_solver(rec.model)
    assert isinstance(named, GradientDescent)
    assert named.loss == "bpr"


def test_preferences_are_not_cut_off_and_rows_of_them_not_solved(ratings: Ratings) -> None:
    model = DotBias(n_factors=2, output="preference")
    parameters = model.initialise(ratings, np.random.default_rng(0))
    parameters["item_bias"][:] = np.linspace(-30, 30, 40)
    items = np.arange(40, dtype=np.int32)
    predictions = model.predict(parameters, np.zeros_like(items), items)
    np.testing.assert_allclose(predictions, parameters["item_bias"], atol=0.01)
    with pytest.raises(SettingError, match="a new fit"):
        model.row_form(parameters, "user")


def test_every_known_pair_is_a_choice(ratings: Ratings) -> None:
    negatives = Negatives.of(ratings, 3)
    for user in range(ratings.n_users):
        chosen = negatives.chosen[negatives.starts[user] : negatives.starts[user + 1]]
        assert chosen.tolist() == sorted(
            ratings.item_indices[ratings.user_indices == user].tolist()
        )
