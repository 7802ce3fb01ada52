"""Schedules against their formulas, in plain Python, as whole lists of numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.errors import SettingError
from dotbias.solvers.descent.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    InverseTime,
    Linear,
    OneCycle,
    Schedule,
    Step,
    Steps,
    WarmRestarts,
    WarmUp,
    as_schedule,
)


def moments(n_epochs: float, per_epoch: int) -> Steps:
    """The moments of a run's steps, as a solver lays them out."""
    n_steps = math.ceil(n_epochs * per_epoch)
    return np.arange(float(n_steps)) * (n_epochs / n_steps)


def half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def warm_up(e: float, n: float) -> float:
    return 0.2 + 0.8 * e / 3 if e < 3 else half_cosine(1, 0.1, (e - 3) / (n - 3))


def one_cycle(e: float, n: float) -> float:
    peak = 0.25 * n
    if e < peak:
        return half_cosine(0.1, 1, e / peak)
    return half_cosine(1, 0.01, (e - peak) / (n - peak))


FORMULAS: list[tuple[Schedule, Callable[[float, float], float]]] = [
    (Constant(), lambda _e, _n: 1),
    (Linear(), lambda e, n: (n - e) / n),
    (Step(), lambda e, _n: 0.5 ** (e // 10)),
    (Step(every=0.75, factor=0.9), lambda e, _n: 0.9 ** (e // 0.75)),
    (Step(every=1, factor=1), lambda _e, _n: 1),
    (Exponential(lowest=0.02), lambda e, n: math.exp(e / n * math.log(0.02))),
    (InverseTime(half_life=4), lambda e, _n: 1 / (1 + e / 4)),
    (WarmUp(length=3, start=0.2, then=Cosine(lowest=0.1)), warm_up),
    (Cosine(), lambda e, n: half_cosine(1, 0, e / n)),
    (Cosine(lowest=0.3), lambda e, n: half_cosine(1, 0.3, e / n)),
    (WarmRestarts(first_cycle=50, lowest=0.2), lambda e, _n: half_cosine(1, 0.2, e / 50)),
    (OneCycle(warm_up=0.25, start=0.1, lowest=0.01), one_cycle),
]


@pytest.mark.parametrize("n_epochs", [40, 12.5])
@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=[repr(s) for s, _ in FORMULAS])
def test_a_schedule_is_its_formula(
    schedule: Schedule, formula: Callable[[float, float], float], n_epochs: float
) -> None:
    # 8 steps an epoch: the borders of these settings are hit exactly.
    epochs = moments(n_epochs, 8)
    expected = [formula(e, n_epochs) for e in epochs.tolist()]
    np.testing.assert_allclose(schedule.lr(epochs, n_epochs), expected, rtol=1e-12, atol=1e-15)


def test_every_name_has_a_formula_here() -> None:
    assert {type(schedule) for schedule, _ in FORMULAS} == set(SCHEDULES.values())


def test_the_linear_schedule_is_exact() -> None:
    assert Linear().lr(np.arange(40.0), 40).tolist() == [1 - e / 40 for e in range(40)]


# -- warm restarts -------------------------------------------------------------------------------


def sgdr(first: Fraction, mult: int, lowest: float, n_cycles: int, per_epoch: int) -> list[float]:
    """Equation 5 step by step, the borders kept in exact fractions."""
    factors, t_cur, t_i, cycles = [], Fraction(0), first, 0
    while cycles < n_cycles:
        factors.append(lowest + 0.5 * (1 - lowest) * (1 + math.cos(t_cur / t_i * math.pi)))
        t_cur += Fraction(1, per_epoch)
        if t_cur >= t_i:
            t_cur, t_i, cycles = t_cur - t_i, t_i * mult, cycles + 1
    return factors


@pytest.mark.parametrize("mult", [1, 2])
@pytest.mark.parametrize(
    ("first", "per_epoch"),
    [
        pytest.param(Fraction(1), 7, id="whole-epochs"),
        pytest.param(Fraction(1, 10), 30, id="tenths"),
        pytest.param(Fraction(3, 10), 10, id="three-tenths"),
        pytest.param(Fraction(5, 2), 3, id="between-steps"),
    ],
)
def test_three_cycles_are_the_equation_of_the_paper(
    first: Fraction, per_epoch: int, mult: int
) -> None:
    expected = sgdr(first, mult, 0.1, 3, per_epoch)
    n_epochs = float(first * (3 if mult == 1 else 7))
    epochs = np.arange(len(expected)) / per_epoch
    schedule = WarmRestarts(first_cycle=float(first), cycle_mult=mult, lowest=0.1)
    np.testing.assert_allclose(schedule.lr(epochs, n_epochs), expected, rtol=1e-12)


step_counts = st.integers(1, 12)


@given(st.integers(1, 30), step_counts, st.integers(1, 3), st.integers(1, 6))
def test_rounding_misplaces_no_restart(
    steps: int, per_epoch: int, mult: int, n_cycles: int
) -> None:
    """Cycles of a whole number of steps: the rate is full at the first step of each, only there."""
    starts = [sum(steps * mult**j for j in range(i)) for i in range(n_cycles + 1)]
    schedule = WarmRestarts(first_cycle=steps / per_epoch, cycle_mult=mult)
    n_steps = starts[-1]
    factors = schedule.lr(np.arange(n_steps) / per_epoch, n_steps / per_epoch)
    assert np.flatnonzero(factors == 1).tolist() == starts[:-1]


@given(st.integers(1, 30), step_counts, st.integers(1, 3), st.integers(1, 6))
def test_a_cycle_that_ends_with_the_run_counts(
    steps: int, per_epoch: int, mult: int, n_cycles: int
) -> None:
    ends = [sum(steps * mult**j for j in range(i + 1)) / per_epoch for i in range(n_cycles)]
    schedule = WarmRestarts(first_cycle=steps / per_epoch, cycle_mult=mult)
    np.testing.assert_allclose(schedule.cycle_ends(ends[-1]), ends, rtol=1e-14)
    assert schedule.cycle_ends(ends[-1])[-1] <= ends[-1]
    short = 0.999 * ends[-1]
    np.testing.assert_allclose(schedule.cycle_ends(short), [e for e in ends if e <= short])


@given(
    st.floats(0.05, 20),
    st.one_of(st.just(1.0), st.floats(1, 1 + 1e-9), st.floats(1, 1.001), st.floats(1, 100)),
    st.floats(0.05, 50),
)
def test_cycles_of_any_growth_follow_one_another(first: float, mult: float, n: float) -> None:
    ends, length = [first], first
    while ends[-1] <= n:
        length *= mult
        ends.append(ends[-1] + length)
    schedule = WarmRestarts(first_cycle=first, cycle_mult=mult)
    got = schedule.cycle_ends(n)
    assert abs(len(got) - (len(ends) - 1)) <= (abs(ends[len(got) - 1] - n) < 1e-9 * n)
    np.testing.assert_allclose(got, ends[: len(got)], rtol=1e-9)

    borders = np.array([0.0, *ends])
    middles = (borders[:-1] + borders[1:]) / 2
    np.testing.assert_allclose(schedule.lr(middles, n), 0.5, atol=1e-6)
    quarters = borders[:-1] + np.diff(borders) / 4
    np.testing.assert_allclose(schedule.lr(quarters, n), 0.5 + math.sqrt(0.5) / 2, atol=1e-6)


def test_ends_of_whole_cycles_are_whole_numbers() -> None:
    assert WarmRestarts().cycle_ends(40).tolist() == [1, 3, 7, 15, 31]
    assert WarmRestarts(first_cycle=2, cycle_mult=1).cycle_ends(7).tolist() == [2, 4, 6]
    assert WarmRestarts().cycle_ends(0.5).tolist() == []


def test_a_step_schedule_changes_at_the_very_border() -> None:
    factors = Step(every=0.1, factor=0.5).lr(np.arange(100) / 100, 1)
    assert factors.tolist() == [0.5 ** (step // 10) for step in range(100)]


# -- warm-up -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "warm-up"])
def test_after_the_warm_up_the_next_schedule_has_the_rest(name: str) -> None:
    schedule, then, epochs = WarmUp(length=2, then=name), as_schedule(name), moments(40, 4)
    after = epochs >= 2
    expected = then.lr(epochs[after] - 2, 38)
    assert schedule.lr(epochs, 40)[after].tolist() == expected.tolist()
    np.testing.assert_allclose(
        schedule.lr(epochs, 40)[~after], [0.1 + 0.9 * e / 2 for e in epochs[~after]], rtol=1e-14
    )
    assert schedule.cycle_ends(40).tolist() == [2 + end for end in then.cycle_ends(38)]


def test_a_name_and_a_schedule_follow_alike() -> None:
    epochs = moments(10, 3)
    by_name, by_value = WarmUp(then="cosine"), WarmUp(then=Cosine())
    assert by_name.lr(epochs, 10).tolist() == by_value.lr(epochs, 10).tolist()


def test_the_momentum_waits_for_the_end_of_the_warm_up() -> None:
    momentum = WarmUp(length=2, then="one-cycle").momentum(moments(12, 2), 12)
    assert momentum is not None
    expected = OneCycle().momentum(moments(10, 2), 10)
    assert momentum.tolist() == [0.95] * 4 + expected.tolist()
    assert WarmUp(then="linear").momentum(moments(12, 2), 12) is None


@pytest.mark.parametrize("then", [name for name in SCHEDULES if name != "warm-up"])
@pytest.mark.parametrize("n_epochs", [5, 4.5, 1e-9])
def test_a_warm_up_longer_than_the_run_is_all_there_is(then: str, n_epochs: float) -> None:
    schedule, epochs = WarmUp(length=5, start=0.2, then=then), np.arange(10.0) * (n_epochs / 10)
    expected = [0.2 + 0.8 * e / 5 for e in epochs.tolist()]
    np.testing.assert_allclose(schedule.lr(epochs, n_epochs), expected, rtol=1e-14)
    assert schedule.cycle_ends(n_epochs).tolist() == []
    momentum = schedule.momentum(epochs, n_epochs)
    assert momentum is None or momentum.tolist() == [0.95] * 10


# -- one cycle -----------------------------------------------------------------------------------


def test_the_momentum_of_one_cycle_goes_against_the_rate() -> None:
    schedule, epochs = OneCycle(low_momentum=0.8, high_momentum=0.9), moments(20, 5)
    expected = [
        half_cosine(0.9, 0.8, e / 6) if e < 6 else half_cosine(0.8, 0.9, (e - 6) / 14)
        for e in epochs.tolist()
    ]
    np.testing.assert_allclose(schedule.momentum(epochs, 20), expected, rtol=1e-14)


@pytest.mark.parametrize(("total_steps", "pct_start"), [(100, 0.3), (37, 0.4), (1000, 0.123)])
def test_one_cycle_is_that_of_pytorch(total_steps: int, pct_start: float) -> None:
    torch = pytest.importorskip("torch")
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=1.0,
        total_steps=total_steps,
        pct_start=pct_start,
        div_factor=1 / 0.04,
        final_div_factor=0.04 / 0.0004,
    )
    rates, momenta = [], []
    for step in range(total_steps):
        rates.append(optimiser.param_groups[0]["lr"])
        momenta.append(optimiser.param_groups[0]["momentum"])
        optimiser.step()
        if step + 1 < total_steps:
            theirs.step()

    last = total_steps - 1
    ours = OneCycle(warm_up=(pct_start * total_steps - 1) / last)
    epochs = np.arange(float(total_steps))
    np.testing.assert_allclose(ours.lr(epochs, last), rates, rtol=1e-12)
    np.testing.assert_allclose(ours.momentum(epochs, last), momenta, rtol=1e-12)


# -- all of them ---------------------------------------------------------------------------------

shares = st.floats(0, 1)
shares_above_0 = st.floats(1e-6, 1)
lengths = st.floats(0.01, 100)
momenta = st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)).map(sorted)

simple = st.one_of(
    st.builds(Constant),
    st.builds(Linear),
    st.builds(Step, every=lengths, factor=shares_above_0),
    st.builds(Exponential, lowest=shares_above_0),
    st.builds(InverseTime, half_life=lengths),
    st.builds(Cosine, lowest=shares),
    st.builds(
        WarmRestarts, first_cycle=lengths, cycle_mult=st.just(1) | st.floats(1, 10), lowest=shares
    ),
    st.builds(
        lambda warm_up, start, lowest, pair: OneCycle(
            warm_up=warm_up, start=start, lowest=lowest, low_momentum=pair[0], high_momentum=pair[1]
        ),
        st.floats(0.001, 0.999),
        shares,
        shares,
        momenta,
    ),
)
warm_ups = st.builds(
    WarmUp, length=lengths, start=shares, then=simple | st.sampled_from([*SCHEDULES])
)
schedules = simple | warm_ups | st.sampled_from([*SCHEDULES.values()]).map(lambda kind: kind())


@st.composite
def runs(draw: st.DrawFn) -> tuple[Steps, float]:
    """Moments within a run of any length, its first and its very last among them."""
    n_epochs = draw(st.sampled_from([5e-324, 1e-300, 1e-9, 1]) | st.floats(1e-6, 200))
    parts = draw(st.lists(st.floats(0, 1, exclude_max=True), max_size=20))
    epochs = np.array([0, *parts, 1]) * n_epochs
    return np.minimum(epochs, np.nextafter(n_epochs, 0)), n_epochs


@given(schedules, runs())
def test_factors_are_shares(schedule: Schedule, run: tuple[Steps, float]) -> None:
    epochs, n_epochs = run
    factors = schedule.lr(epochs, n_epochs)
    assert factors.dtype == np.float64
    assert factors.shape == epochs.shape
    assert ((factors >= 0) & (factors <= 1)).all()  # NaN would fail


@given(schedules, runs())
def test_momenta_are_shares(schedule: Schedule, run: tuple[Steps, float]) -> None:
    epochs, n_epochs = run
    momentum = schedule.momentum(epochs, n_epochs)
    inner = schedule.then if isinstance(schedule, WarmUp) else schedule
    assert (momentum is not None) == (isinstance(inner, OneCycle) or inner == "one-cycle")
    if momentum is not None:
        assert momentum.shape == epochs.shape
        assert ((momentum >= 0) & (momentum < 1)).all()


@given(schedules, runs())
def test_steps_do_not_depend_on_each_other(schedule: Schedule, run: tuple[Steps, float]) -> None:
    epochs, n_epochs = run
    one_by_one = [schedule.lr(epochs[i : i + 1], n_epochs)[0] for i in range(len(epochs))]
    # The vectorised cosine may round otherwise than that of a single number.
    np.testing.assert_allclose(schedule.lr(epochs, n_epochs), one_by_one, rtol=1e-12, atol=1e-15)


@given(schedules, st.floats(1e-6, 200))
def test_the_first_step_has_the_full_rate_or_that_of_the_start(
    schedule: Schedule, n_epochs: float
) -> None:
    expected = schedule.start if isinstance(schedule, WarmUp | OneCycle) else 1
    np.testing.assert_allclose(schedule.lr(np.zeros(1), n_epochs), [expected], atol=1e-15)


@given(schedules, st.floats(1e-6, 200))
def test_cycle_ends_rise_within_the_run(schedule: Schedule, n_epochs: float) -> None:
    ends = schedule.cycle_ends(n_epochs)
    assert ((ends > 0) & (ends <= n_epochs)).all()
    assert (np.diff(ends) > 0).all()


@given(schedules, st.floats(1e-6, 200))
def test_the_arguments_are_left_as_they_were(schedule: Schedule, n_epochs: float) -> None:
    epochs = np.linspace(0, n_epochs, 9, endpoint=False)
    before = epochs.copy()
    schedule.lr(epochs, n_epochs)[:] = -1
    momentum = schedule.momentum(epochs, n_epochs)
    if momentum is not None:
        momentum[:] = -1
    assert epochs.tolist() == before.tolist()


@pytest.mark.parametrize("schedule", [s() for s in SCHEDULES.values()], ids=SCHEDULES)
def test_no_steps_have_no_factors(schedule: Schedule) -> None:
    assert schedule.lr(np.empty(0), 10).shape == (0,)


# -- names and settings --------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_name_stands_for_the_default_settings(name: str) -> None:
    schedule = as_schedule(name)
    assert schedule == SCHEDULES[name]()
    assert as_schedule(name.upper().replace("-", "_")) == schedule
    assert as_schedule(schedule) is schedule


@pytest.mark.parametrize("value", ["cosin", "", None, 3, ["linear"], Cosine])
def test_an_unknown_schedule_is_refused_with_the_names(value: object) -> None:
    with pytest.raises(SettingError) as caught:
        as_schedule(value)  # type: ignore[arg-type]
    assert f"schedule={value!r}: it must be" in str(caught.value)
    assert all(name in str(caught.value) for name in SCHEDULES)


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "name", "value", "wanted"),
    [
        (Step, "every", 0, "above 0"),
        (Step, "every", -1, "above 0"),
        (Step, "factor", 0, "above 0 and at most 1"),
        (Step, "factor", 1.1, "above 0 and at most 1"),
        (Exponential, "lowest", 0, "above 0 and at most 1"),
        (Exponential, "lowest", 2, "above 0 and at most 1"),
        (InverseTime, "half_life", 0, "above 0"),
        (InverseTime, "half_life", INFINITY, "above 0"),
        (WarmUp, "length", 0, "above 0"),
        (WarmUp, "length", NAN, "above 0"),
        (WarmUp, "start", -0.1, "at least 0 and at most 1"),
        (Cosine, "lowest", -0.1, "at least 0 and at most 1"),
        (Cosine, "lowest", 1.1, "at least 0 and at most 1"),
        (WarmRestarts, "first_cycle", 0, "above 0"),
        (WarmRestarts, "first_cycle", -2, "above 0"),
        (WarmRestarts, "first_cycle", "1", "a number above 0"),
        (WarmRestarts, "cycle_mult", 0.99, "at least 1"),
        (WarmRestarts, "lowest", 1.1, "at least 0 and at most 1"),
        (OneCycle, "warm_up", 0, "above 0 and below 1"),
        (OneCycle, "warm_up", 1, "above 0 and below 1"),
        (OneCycle, "start", -1, "at least 0 and at most 1"),
        (OneCycle, "lowest", -1, "at least 0 and at most 1"),
        (OneCycle, "low_momentum", -0.1, "at least 0 and below 1"),
        (OneCycle, "high_momentum", 1, "at least 0 and below 1"),
        (OneCycle, "low_momentum", 0.96, "at most high_momentum=0.95"),
    ],
)
def test_a_setting_outside_its_range_is_named(
    kind: type[Schedule], name: str, value: object, wanted: str
) -> None:
    with pytest.raises(SettingError) as caught:
        kind(**{name: value})
    expected = f"{kind.__name__}({name}={value!r}): {name} must be {wanted}"
    assert str(caught.value).startswith(expected)


def test_what_follows_a_warm_up_is_a_schedule() -> None:
    with pytest.raises(SettingError, match=r"then='cosin': .*; did you mean 'cosine'\?"):
        WarmUp(then="cosin")
    with pytest.raises(SettingError, match="it must be a Schedule or one of constant, linear"):
        WarmUp(then=["linear"])  # type: ignore[arg-type]


def test_settings_are_by_name_only() -> None:
    with pytest.raises(TypeError):
        Cosine(0.1)  # type: ignore[call-arg]


@dataclass(frozen=True, kw_only=True)
class Sawtooth(Schedule):
    """A user's own schedule: straight down in every epoch."""

    def lr(self, epochs: Steps, n_epochs: float) -> Steps:  # noqa: ARG002
        return 1 - epochs % 1


def test_a_schedule_of_ones_own_needs_lr_alone() -> None:
    own = as_schedule(Sawtooth())
    assert own.lr(np.array([0, 0.5, 1, 1.75]), 2).tolist() == [1, 0.5, 1, 0.25]
    assert own.momentum(np.zeros(3), 2) is None
    assert own.cycle_ends(2).tolist() == []
    assert WarmUp(then=own).lr(np.array([1.0, 1.25]), 2).tolist() == [1, 0.75]
