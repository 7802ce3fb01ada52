"""Every solver comes back from plain data, and from the text of 0.5.0, of which nothing is run."""

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from dotbias.errors import SettingError
from dotbias.model_file import plain_of_text
from dotbias.models.dot_bias import DotBias
from dotbias.plain import settings_text, to_plain
from dotbias.settings import Settings
from dotbias.solvers.decay import WeightDecay
from dotbias.solvers.descent.gradient import GradientDescent
from dotbias.solvers.descent.rules import RULES, SGD, Adam, Rates
from dotbias.solvers.descent.schedules import SCHEDULES, WarmUp
from dotbias.solvers.gibbs.gibbs import Gibbs
from dotbias.solvers.least_squares.als import ALS
from dotbias.solvers.least_squares.closed_form import ClosedForm
from dotbias.solvers.registry import solver_from_plain

small = st.floats(1e-6, 1e6)


def values_of(spec: Any) -> st.SearchStrategy[Any]:
    """Legal values of a setting, from the bounds that it was declared with."""
    legal = spec.metadata
    if legal["choices"] is not None:
        return st.sampled_from(legal["choices"])
    bounds = legal["bounds"]
    low = bounds.get("at least", bounds.get("above", 0))
    high = bounds.get("at most", bounds.get("below", low + 100))
    whole = legal["whole"] or "int" in str(spec.type)
    numbers: st.SearchStrategy[Any] = (
        st.integers(int(low) + ("above" in bounds), int(high))
        if whole
        else st.floats(low, high, exclude_min="above" in bounds, exclude_max="below" in bounds)
    )
    return st.none() | numbers if legal["optional"] else numbers


@st.composite
def made(draw: st.DrawFn, kind: type[Settings], **others: st.SearchStrategy[Any]) -> Any:
    """An object with legal settings; those without declared bounds are given."""
    chosen = {f.name: values_of(f) for f in fields(kind) if "bounds" in f.metadata} | others
    try:
        return kind(**{name: draw(values) for name, values in chosen.items()})
    except SettingError:  # settings that are legal one by one, but not together
        reject()


groups = st.sampled_from(DotBias.groups)
rates: st.SearchStrategy[Rates] = (
    small | st.dictionaries(groups, small, min_size=1) | st.builds(slice, small, small)
)
amounts = st.none() | small | st.dictionaries(groups, st.floats(0, 10))
decays = amounts | made(WeightDecay, amount=amounts, decoupled=st.sampled_from([None, False, True]))
rules = st.sampled_from(list(RULES.values())).flatmap(lambda kind: made(kind, lr=rates))
simple = st.sampled_from([s for s in SCHEDULES.values() if s is not WarmUp]).flatmap(made)
names = st.sampled_from(list(SCHEDULES))
schedules = names | simple | made(WarmUp, then=names | simple)
descents = made(
    GradientDescent,
    rule=rules,
    order=st.sampled_from(["shuffled", "stored"]),
    schedule=schedules,
    frozen=st.lists(groups, unique=True).map(tuple),
    weight_decay=decays,
    device=st.sampled_from([None, "cpu"]),
)
solvers = made(ALS, weight_decay=amounts) | made(ClosedForm) | made(Gibbs) | descents


def as_in_a_file(solver: Any) -> Any:
    return json.loads(json.dumps(to_plain(solver), allow_nan=False))


@given(solvers)
def test_a_solver_comes_back_from_plain_data_and_from_text(solver: Any) -> None:
    data = as_in_a_file(solver)
    assert solver_from_plain(data) == solver
    assert plain_of_text(repr(solver)) == data
    assert settings_text(data) == repr(solver)


ONE_OF_EACH = [
    *(GradientDescent(rule()) for rule in RULES.values()),
    *(GradientDescent(schedule=schedule()) for schedule in SCHEDULES.values()),
    GradientDescent(weight_decay=WeightDecay()),
    GradientDescent(SGD(lr={"user_bias": 0.1}), weight_decay=WeightDecay({"user_bias": 0.1})),
]


@pytest.mark.parametrize("solver", ONE_OF_EACH, ids=lambda s: repr(s)[:60])
def test_every_part_of_a_solver_is_known(solver: GradientDescent) -> None:
    assert solver_from_plain(as_in_a_file(solver)) == solver
    assert solver_from_plain(plain_of_text(repr(solver))) == solver


def test_numbers_that_numpy_has_computed_come_back() -> None:
    solver = GradientDescent(SGD(lr=np.float64(0.1)), n_epochs=np.int64(3))
    assert "np.float64(0.1)" in repr(solver)
    assert solver_from_plain(plain_of_text(repr(solver))) == solver
    assert solver_from_plain(as_in_a_file(solver)) == solver


@dataclass(frozen=True, kw_only=True)
class Mine(Adam):
    """A rule of one's own."""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (to_plain(GradientDescent(Mine())), "Mine is none of this version"),
        (to_plain(GradientDescent(order=lambda r: r.values)), "function is none of this version"),
        ({"ALS": {"n_laps": 3}}, "ALS has no setting 'n_laps' in this version"),
        ({"ALS": {"n_iterations": 0}}, "n_iterations must be at least 1"),
        ({"GradientDescent": {"frozen": 3}}, "setting of a type that it does not take"),
        ({"GradientDescent": {"rule": {"Adam": {"lr": {"slice": {"start": 1}}}}}}, "slice is none"),
        ({"Adam": {"lr": 0.1}}, "it is no solver"),
        ({"ALS": {}, "Gibbs": {}}, "it is no solver"),
        ({}, "it is no solver"),
        (15, "it is no solver"),
        ("ALS(", "it is no solver"),
    ],
)
def test_any_other_data_is_refused_with_the_reason(data: Any, reason: str) -> None:
    with pytest.raises(SettingError, match="solver that was written down as") as refused:
        solver_from_plain(data)
    assert reason in str(refused.value)
    assert str(refused.value).endswith("give it as solver=")
    assert len(str(refused.value)) < 900


@pytest.mark.parametrize(
    "text",
    [
        repr(GradientDescent(order=lambda r: r.values)),
        "ALS(n_iterations=2 + 3)",
        "ALS(*[5])",
        "ALS(5)",
        "WeightDecay(amount={**{}})",
        "ALS(n_iterations=1e999)",
        "ALS(n_iterations=b'3')",
        "15",
        "",
        "ALS(\0)",
        "ALS(" + "-" * 100_000 + "1)",
        "ALS(n=" + "-" * 9_000 + "1)",
        "ALS(n=" + "(" * 4_000 + ")" * 4_000 + ")",
        "ALS(n='\\ud800')",
    ],
)
def test_a_text_of_another_kind_stays_what_it_is(text: str) -> None:
    assert plain_of_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "print('run')",
        "__import__('builtins').print('run')",
        "ALS(n_iterations=print('run') or 3)",
        "GradientDescent(rule=[print('run') for _ in 'a'])",
        "(lambda: print('run'))()",
        "ALS.fit.__globals__['__builtins__']['print']('run')",
    ],
)
def test_nothing_in_a_text_is_run(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plain_of_text(text) == text
    assert capsys.readouterr().out == ""
