import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from dotbias.errors import SettingError
from dotbias.models import DotBias
from dotbias.settings import setting
from dotbias.solvers.gradient import GradientDescent
from dotbias.solvers.rules import RULES, Momentum, Rule
from tests.ratings import random_ratings


@dataclass(frozen=True, kw_only=True)
class SignedDescent(Rule):
    """A user's own rule: a step of fixed length along the sign of the gradient."""

    lr: float = setting(0.01, above=0)

    @staticmethod
    def update(g, state, lr, hyper):  # noqa: ARG004
        return (lr if g > 0 else -lr), state


def test_a_rule_of_ones_own_works():
    ratings = random_ratings(40, 30, 600, seed=0)
    model = DotBias(n_factors=4)
    parameters, history = GradientDescent(SignedDescent(lr=0.02), n_epochs=20).fit(model, ratings)
    assert history.epochs[-1].train_rmse < 0.8 * history.epochs[0].train_rmse
    assert np.isfinite(parameters["user_factors"]).all()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_descends_a_parabola(rule):
    """From w = 1 down ½ w², with a rate that is safe for all of them."""
    w, state, hyper = 1.0, (0.0,) * rule.n_slots, tuple(map(float, rule().hyper))
    for _ in range(300):
        step, state = rule.update(w, state, 0.05, hyper)
        w -= step
    assert abs(w) < 1e-3


def test_momentum_follows_its_equation():
    rule, w, v = Momentum(momentum=0.5), 2.0, 0.0
    state: tuple[float, ...] = (0.0,)
    for _ in range(5):
        v = 0.5 * v + 3 * w
        step, state = rule.update(3 * w, state, 0.1, rule.hyper)
        assert step == pytest.approx(0.1 * v)
        assert state == pytest.approx((v,))
        w -= step


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RULES["sgd"](lr=0), r"SGD\(lr=0\): lr must be above 0"),
        (lambda: RULES["sgd"](lr=float("inf")), "lr must be above 0"),
        (lambda: Momentum(momentum=1.0), r"momentum must be at least 0 and below 1"),
        (lambda: Momentum(lr="fast"), "lr must be a number above 0"),
    ],
)
def test_bad_settings_fail_at_once(make, message):
    with pytest.raises(SettingError, match=message):
        make()


_PROGRAM = """
from dataclasses import dataclass
import numpy as np
from dotbias.models import DotBias
from dotbias.solvers.gradient import GradientDescent
from own_rule import Own
from dotbias.data.ratings import Ratings
r = Ratings.from_columns([1, 1, 2, 2], [1, 2, 1, 2], [1.0, 2.0, 3.0, 5.0])
p, _ = GradientDescent(Own(lr=0.1), n_epochs=1, schedule="constant").fit(DotBias(n_factors=2), r)
print(float(np.abs(p["user_bias"]).max()))
"""
_OWN = """
from dataclasses import dataclass
from dotbias.solvers.rules import Rule

@dataclass(frozen=True, kw_only=True)
class Own(Rule):
    @staticmethod
    def update(g, state, lr, hyper):
        return lr * g * {factor}, state
"""


def test_an_edited_rule_is_compiled_anew(tmp_path):
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
            env={"PYTHONDONTWRITEBYTECODE": "1", "PATH": ""},
        )
        moved.append(float(done.stdout))
    assert moved[0] == 0
    assert moved[1] > 0.1
