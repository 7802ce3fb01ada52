"""The compiled kernel against a plain NumPy loop and against finite differences."""

import numpy as np
import pytest

from dotbias.models import DotBias
from dotbias.solvers.gradient import GradientDescent, _Run
from dotbias.solvers.grid import lay_out
from dotbias.solvers.rules import RULES, SGD, Rule
from tests.ratings import random_ratings

MODELS = [DotBias(n_factors=5, output="linear"), DotBias(n_factors=5, output="sigmoid")]
DECAY = {"user_factors": 0.1, "item_factors": 0.2, "user_bias": 0.05, "item_bias": 0.3}


def _parameters(model, ratings, seed=0):
    rng = np.random.default_rng(seed)
    parameters = model.initialise(ratings, rng)
    for group in model.groups:
        parameters[group][...] = rng.normal(0, 0.4, parameters[group].shape)
    return parameters


def _output(model, parameters, z):
    """Prediction and its derivative by z, in float64."""
    if model.output == "linear":
        return z, 1.0
    low, width = model.stretch(parameters)
    s = 1 / (1 + np.exp(-z))
    return low + width * s, width * s * (1 - s)


def _plain_epoch(model, rule: Rule, parameters, grid, diagonals, lr):
    """What the kernel does, in float64 and one number at a time."""
    tables = {g: parameters[g].astype(np.float64) for g in model.groups}
    for g in ("user_bias", "item_bias"):
        tables[g] = tables[g][:, None]
    states = {g: np.zeros((rule.n_slots, *tables[g].shape)) for g in model.groups}
    hyper = tuple(map(float, rule.hyper))
    squares = 0.0

    def move(group, row, gradient):
        for f in range(tables[group].shape[1]):
            g = gradient[f] + DECAY[group] * before[group][f]
            state = tuple(states[group][:, row, f])
            step, state = type(rule).update(g, state, lr, hyper)
            tables[group][row, f] = before[group][f] - step
            states[group][:, row, f] = state

    for diagonal in diagonals:
        for a in range(grid.n_blocks):
            block = a * grid.n_blocks + (a + diagonal) % grid.n_blocks
            for n in range(grid.starts[block], grid.starts[block + 1]):
                u, i, r = grid.users[n], grid.items[n], float(grid.values[n])
                row = {g: u if g.startswith("user") else i for g in model.groups}
                before = {g: tables[g][row[g]].copy() for g in model.groups}
                p, q = before["user_factors"], before["item_factors"]
                z = model.offset(parameters) + before["user_bias"][0] + before["item_bias"][0]
                prediction, slope = _output(model, parameters, z + p @ q)
                e = prediction - r
                squares += e * e
                move("user_factors", u, e * slope * q)
                move("item_factors", i, e * slope * p)
                move("user_bias", u, np.array([e * slope]))
                move("item_bias", i, np.array([e * slope]))
    return tables, squares


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.output)
@pytest.mark.parametrize("rule", [cls(lr=0.03) for cls in RULES.values()], ids=RULES)
def test_the_kernel_equals_a_plain_loop(model, rule):
    ratings = random_ratings(40, 30, 500, seed=1)
    grid = lay_out(ratings, 3)
    parameters = _parameters(model, ratings)
    diagonals = np.random.default_rng(0).permutation(grid.n_blocks)
    expected, squares = _plain_epoch(model, rule, parameters, grid, diagonals, 0.03)
    run = _Run(GradientDescent(rule, weight_decay=DECAY), model, parameters, grid, spread=1.0)
    rmse = run.epoch(0.03, diagonals)
    parameters = run.parameters()
    assert rmse == pytest.approx(np.sqrt(squares / len(ratings)), rel=1e-5)
    for group in model.groups:
        actual = parameters[group].reshape(expected[group].shape)
        np.testing.assert_allclose(actual, expected[group], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.output)
def test_one_step_is_the_gradient_of_the_stated_objective(model):
    """With a single rating and lr 1, plain SGD moves every parameter by its own gradient."""
    ratings = random_ratings(20, 15, 60, seed=4)
    parameters = _parameters(model, ratings, seed=1)
    u, i, r = int(ratings.users[7]), int(ratings.items[7]), float(ratings.values[7])

    def objective(tables):
        z = model.offset(parameters) + tables["user_bias"][u] + tables["item_bias"][i]
        prediction, _ = _output(
            model, parameters, z + tables["user_factors"][u] @ tables["item_factors"][i]
        )
        shrink = sum(
            DECAY[g] * np.sum(tables[g][u if g.startswith("user") else i] ** 2)
            for g in model.groups
        )
        return 0.5 * (prediction - r) ** 2 + 0.5 * shrink

    exact = {g: parameters[g].astype(np.float64) for g in model.groups}
    before = {g: parameters[g].copy() for g in model.groups}
    one = lay_out(ratings, 0)
    one.starts[...] = 0
    one.starts[-1] = 1
    one.users[0], one.items[0], one.values[0] = u, i, r
    solver = GradientDescent(SGD(lr=1.0), weight_decay=DECAY)
    run = _Run(solver, model, parameters, one, spread=1.0)
    run.epoch(1.0, np.arange(one.n_blocks))
    parameters = run.parameters()
    h = 1e-6
    for group in model.groups:
        step = before[group].astype(np.float64) - parameters[group]
        row = u if group.startswith("user") else i
        moved = np.zeros(len(step), bool)
        moved[row] = True
        assert not step[~moved].any(), "a row without ratings moved"
        for f in np.ndindex(step[row].shape):
            place = (row, *f)
            values = []
            for sign in (1, -1):
                tables = {g: t.copy() for g, t in exact.items()}
                tables[group][place] += sign * h
                values.append(objective(tables))
            assert step[place] == pytest.approx(
                (values[0] - values[1]) / (2 * h), rel=1e-4, abs=1e-5
            )
