"""The update rules by themselves: what they minimise, what they are given, what they refuse."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dotbias.errors import SettingError
from dotbias.models import DotBias
from dotbias.settings import setting
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import (
    RULES,
    SGD,
    Adadelta,
    Adam,
    AdamW,
    GroupRule,
    Lion,
    Momentum,
    Nadam,
    RMSprop,
    Rule,
)
from tests.ratings import random_ratings
from tests.solvers.descent.plain_rule import PlainRow

Point = list[float]

GROUPS = DotBias.groups


def minimise(rule: Rule, gradient: Callable[[Point], Point], start: Point, n_steps: int) -> Point:
    """Descent at a rate that falls to 0: the coordinates are a row, and a group."""
    w, lr, row = list(start), rule.top_rate, PlainRow(rule, len(start))
    known = rule.begin(np.array(start)) if isinstance(rule, GroupRule) else ()
    columns = rule.coefficients(np.arange(1.0, n_steps + 1))
    c_of_step = zip(*(np.broadcast_to(column, n_steps).tolist() for column in columns), strict=True)
    for t, c in enumerate(c_of_step if columns else [()] * n_steps):
        if not max(map(abs, w)) < 1e6:
            return [math.inf]
        w = row.moved(w, gradient(w), lr * (1 - t / n_steps), (*c, *known[:1]))
        if isinstance(rule, GroupRule):
            known = rule.summed_up(known, row.state[:, None])
    return list(rule.evaluated(np.array(w), np.array(row.state)))


def valley(w: Point) -> float:
    """An ellipse twenty times as steep one way as the other, least at the origin."""
    return 0.5 * (w[0] ** 2 + 20 * w[1] ** 2)


def valley_gradient(w: Point) -> Point:
    return [w[0], 20 * w[1]]


def rosenbrock(w: Point) -> float:
    """Rosenbrock's banana valley, least at (1, 1)."""
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def rosenbrock_gradient(w: Point) -> Point:
    bend = w[1] - w[0] ** 2
    return [-2 * (1 - w[0]) - 400 * w[0] * bend, 200 * bend]


RATES = (1.0, 0.1, 0.004, 0.0015)


def lowest(rule: type[Rule], value: Callable[[Point], float], gradient: Any, n_steps: int) -> float:
    """Where the best of a few rates ends, each falling to 0 as most schedules let it."""
    ends = [minimise(rule(lr=lr), gradient, [-1.2, 1.0], n_steps) for lr in RATES]
    return min(value(end) for end in ends if np.isfinite(end).all())


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_minimises_a_narrow_valley(rule: type[Rule]) -> None:
    """From 10.7 down in 2,000 steps."""
    assert lowest(rule, valley, valley_gradient, 2000) < 1e-3


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_finds_the_end_of_rosenbrocks_valley(rule: type[Rule]) -> None:
    """From 24.2; at the bottom of the bend, where a poor rule stops, it is still about 4."""
    # An average over all of a path has its first steps in it too, and DoG's rate only falls.
    near = 1e-3 if rule.schedule == "constant" or rule is RULES["dog"] else 1e-6
    assert lowest(rule, rosenbrock, rosenbrock_gradient, 20_000) < near


def test_lion_is_its_equation() -> None:
    """Worked out by hand: the newest gradient turns the step before it turns the average."""
    lion = Lion(lr=0.5, beta1=0.5, beta2=0.75)
    (c,) = lion.coefficient_table(np.ones(1))
    state, steps, averages = (0.0,), [], []
    for g in (4.0, -2.0, 0.0, -8.0, 0.0):
        step, state = lion.update(g, state, 0.5, c)
        steps.append(float(step))
        averages.append(float(state[0]))
    assert steps == [0.5, -0.5, 0.5, -0.5, -0.5]
    assert averages == [1.0, 0.25, 0.1875, -1.859375, -1.39453125]
    assert lion.update(0.0, (0.0,), 0.5, c)[0] == 0  # what has no gradient stays


# What a rule is given: rates.


@pytest.mark.parametrize(
    ("lr", "expected"),
    [
        (0.5, [0.5, 0.5, 0.5, 0.5]),
        ({"item_bias": 0.5}, [0.022, 0.022, 0.022, 0.5]),
        (dict(zip(GROUPS, [1, 2, 3, 4], strict=True)), [1, 2, 3, 4]),
        ({}, [0.022] * 4),
        (slice(0.001, 1.0), [0.001, 0.01, 0.1, 1.0]),
        (slice(1.0, 0.001), [1.0, 0.1, 0.01, 0.001]),
    ],
    ids=str,
)
def test_each_group_has_its_rate(lr: Any, expected: list[float]) -> None:
    rates = SGD(lr=lr).rates(GROUPS)
    assert list(rates) == list(GROUPS)
    assert list(rates.values()) == pytest.approx(expected)


def test_groups_without_a_rate_keep_the_default_of_their_own_rule() -> None:
    assert (
        Momentum(lr={"user_bias": 1.0}).rates(GROUPS)["item_bias"] == Momentum.usual_rate == 0.002
    )


@pytest.mark.parametrize(
    ("lr", "top"),
    [(0.5, 0.5), ({"user_bias": 0.1, "item_bias": 0.2}, 0.2), (slice(0.3, 0.1), 0.3)],
    ids=str,
)
def test_with_rate_keeps_the_proportions(lr: Any, top: float) -> None:
    rule = Adam(lr=lr, beta1=0.5)
    assert rule.top_rate == top
    raised = rule.with_rate(2 * top)
    assert raised.top_rate == pytest.approx(2 * top)
    assert raised.beta1 == 0.5
    named = lr if isinstance(lr, dict) else GROUPS
    for group in named:
        assert raised.rates(GROUPS)[group] == pytest.approx(2 * rule.rates(GROUPS)[group])


def test_a_rate_for_a_group_that_does_not_exist_names_those_that_do() -> None:
    message = r"lr names no group 'factors': the groups are user_factors, .*, item_bias"
    with pytest.raises(SettingError, match=message):
        GradientDescent(SGD(lr={"factors": 0.1}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(lr=0), "SGD(lr=0): lr must be above 0"),
        (lambda: SGD(lr=-0.1), "SGD(lr=-0.1): lr must be above 0"),
        (lambda: SGD(lr=math.inf), "SGD(lr=inf): lr must be above 0"),
        (lambda: SGD(lr=math.nan), "SGD(lr=nan): lr must be above 0"),
        (lambda: SGD(lr="fast"), "SGD(lr='fast'): lr must be a number above 0"),
        (lambda: SGD(lr=True), "SGD(lr=True): lr must be a number above 0"),
        (lambda: SGD(lr={"user_bias": -1}), "lr['user_bias'] must be above 0"),
        (lambda: SGD(lr={"user_bias": "1"}), "lr['user_bias'] must be a number above 0"),
        (lambda: SGD(lr=slice(0.0, 1.0)), "lr.start must be above 0"),
        (lambda: SGD(lr=slice(0.1, math.nan)), "lr.stop must be above 0"),
        (lambda: SGD(lr=slice(0.1)), "lr.start must be a number above 0"),
        (lambda: SGD(lr=slice(0.1, 1.0, 2)), "lr must be slice(low, high), without a step"),
        (lambda: Momentum(momentum=1.0), "momentum must be at least 0 and below 1"),
        (lambda: Adam(beta2=-0.1), "beta2 must be at least 0 and below 1"),
        (lambda: Adam(eps=0), "eps must be above 0"),
        (lambda: Nadam(psi=-1), "psi must be at least 0"),
    ],
)
def test_bad_settings_fail_at_once(make: Callable[[], Rule], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        make()


# What a rule is given: the coefficients of each step.


def table(rule: Rule, n_steps: int, momentum: Any = None) -> list[list[float]]:
    """The coefficients as one row of numbers per step."""
    columns = rule.coefficients(np.arange(1.0, n_steps + 1), momentum)
    return np.column_stack([np.broadcast_to(column, n_steps) for column in columns]).tolist()


def approx_rows(rows: list[list[float]]) -> list[Any]:
    return [pytest.approx(row, rel=1e-12) for row in rows]


@pytest.mark.parametrize("rule", [Adadelta(rho=0.7, eps=0.1), RMSprop(rho=0.7, eps=0.1)])
def test_averages_get_both_shares(rule: Rule) -> None:
    assert table(rule, 3) == approx_rows([[0.7, 0.3, 0.1]] * 3)


@pytest.mark.parametrize("cls", [Adam, AdamW, RULES["adamax"], RULES["amsgrad"]])
def test_adam_corrects_for_having_started_at_zero(cls: type[Adam]) -> None:
    rows, kept1, kept2 = [], 1.0, 1.0
    for _ in range(50):
        kept1, kept2 = kept1 * 0.8, kept2 * 0.95
        rows.append([0.8, 0.2, 0.95, 0.05, 0.01, 1 / (1 - kept1), 1 / (1 - kept2)])
    assert table(cls(beta1=0.8, beta2=0.95, eps=0.01), 50) == approx_rows(rows)


@pytest.mark.parametrize(("beta1", "psi"), [(0.9, 0.004), (0.99, 0.1), (0.5, 0.0)])
def test_nadam_multiplies_its_momenta(beta1: float, psi: float) -> None:
    """Far enough that the product counts as 0, and right up to there."""
    n_steps, rows, product = 5000, [], 1.0
    for t in range(1, n_steps + 1):
        now, following = (beta1 * (1 - 0.5 * 0.96 ** (psi * s)) for s in (t, t + 1))
        product *= now
        shares = (1 - now) / (1 - product), following / (1 - product * following)
        rows.append([beta1, 1 - beta1, 0.999, 0.001, 1e-8, 1 / (1 - 0.999**t), *shares])
    ours = np.array(table(Nadam(beta1=beta1, psi=psi), n_steps))
    np.testing.assert_allclose(ours, np.array(rows), rtol=1e-12)


def test_nadam_without_momentum_takes_the_gradient_alone() -> None:
    assert table(Nadam(beta1=0.0), 2)[1][-2:] == [1.0, 0.0]


def test_a_schedule_takes_the_place_of_the_momentum() -> None:
    momentum = np.array([0.5, 0.6, 0.7])
    assert table(Momentum(momentum=0.9), 3, momentum) == approx_rows([[0.5], [0.6], [0.7]])
    rows = [
        [m, 1 - m, 0.95, 0.05, 0.01, 1 / (1 - m**t), 1 / (1 - 0.95**t)]
        for t, m in enumerate(momentum, start=1)
    ]
    assert table(Adam(beta2=0.95, eps=0.01), 3, momentum) == approx_rows(rows)


@pytest.mark.parametrize("name", ["adagrad", "adadelta", "rmsprop", "nadam"])
def test_a_rule_without_a_movable_momentum_ignores_the_schedule(name: str) -> None:
    rule = RULES[name]()
    assert table(rule, 3, np.array([0.5, 0.6, 0.7])) == table(rule, 3)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_tells_its_equation_and_its_source(rule: type[Rule]) -> None:
    """A paper with its year."""
    doc = rule.__doc__ or ""
    assert "←" in doc
    assert re.search(r"\b(19|20)\d\d\b", doc)


# A rule of one's own.


@dataclass(frozen=True, kw_only=True)
class Signed(Rule):
    """Steps of the same length along the sign of the gradient, less and less as it keeps on."""

    damping: float = setting(0.5, at_least=0)
    n_slots = 1

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        balance = c[0] * state[0] + (1 if g > 0 else -1)
        return lr * balance, (balance,)


@pytest.mark.parametrize("batch_size", [1, 32, None])
def test_a_rule_of_ones_own_works(batch_size: int | None) -> None:
    ratings = random_ratings(40, 30, 600, seed=0)
    solver = GradientDescent(Signed(lr=0.01), n_epochs=40, batch_size=batch_size)
    _, history = solver.fit(DotBias(n_factors=4), ratings)
    assert history.epochs[-1].train_rmse < 0.8 * history.epochs[0].train_rmse


_PROGRAM = """
import numpy as np
from dotbias.data.ratings import Ratings
from dotbias.models import DotBias
from dotbias.solvers.descent.gradient import GradientDescent
from own_rule import Own
r = Ratings.from_columns([1, 1, 2, 2], [1, 2, 1, 2], [1.0, 2.0, 3.0, 5.0])
solver = GradientDescent(Own(lr=0.1), n_epochs=1, schedule="constant")
p, _ = solver.fit(DotBias(n_factors=2), r)
print(float(np.abs(p["user_bias"]).max()))
"""
_OWN = """
from dataclasses import dataclass
from dotbias.solvers.descent.rules import Rule

@dataclass(frozen=True, kw_only=True)
class Own(Rule):
    @staticmethod
    def update(g, state, lr, c):
        return lr * g * {factor}, state
"""


def test_an_edited_rule_is_compiled_anew(tmp_path: Path) -> None:
    """The disk cache knew a captured function by name alone, and ran the rule's former text."""
    moved = []
    for factor in ("0.0", "1.0"):
        (tmp_path / "own_rule.py").write_text(_OWN.format(factor=factor))
        (tmp_path / "program.py").write_text(_PROGRAM)
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        moved.append(float(done.stdout))
    assert moved[0] == 0
    assert moved[1] > 0.1
