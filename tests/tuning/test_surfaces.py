"""Surfaces against finite differences and formulas, paths against plain loops, races as promised."""

import math
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from dotbias.errors import SettingError
from dotbias.settings import setting
from dotbias.solvers.descent.rules import RULES, SGD, Adam, GroupRule, Momentum, Rule
from dotbias.tuning.surfaces import (
    RATES,
    SURFACES,
    Numbers,
    Surface,
    SurfaceRace,
    descend,
    surface_race,
)
from tests.solvers.descent.plain_rule import PlainRow

# A place is one row, and one group: these have one rate for both coordinates, and no momentum.
ONE_RATE = ("rowadagrad", "schedulefreesgd", "dog")
every_surface = pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)
every_rule = pytest.mark.parametrize("name", RULES)
with_minimum = pytest.mark.parametrize("surface", ["beale", "rosenbrock", "valley"])

BOWL = Surface(
    name="bowl",
    formula="x² + y²",
    value=lambda x, y: x * x + y * y,
    gradient=lambda x, y: (2 * x, 2 * y),
    start=(-1.0, -1.0),
    minimum=(0.0, 0.0),
    x_range=(-1.5, 1.5),
    y_range=(-1.5, 1.5),
)


@dataclass(frozen=True, kw_only=True)
class SignedDescent(Rule):
    """A user's own rule: a step of fixed length along the sign of the gradient."""

    lr: float = setting(0.01, above=0)

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:  # noqa: ARG004
        return (lr if g > 0 else -lr), state


@dataclass(frozen=True, kw_only=True)
class Leap(Rule):
    """A rule that heeds no rate: from the start of the bowl to the other side, and back again."""

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:  # noqa: ARG004
        return g, state


@cache
def race_on(name: str) -> SurfaceRace:
    return surface_race(name)


def row_of(race: SurfaceRace, rule: str) -> dict[str, Any]:
    return race.frame().row(by_predicate=pl.col("rule") == rule, named=True)


def is_in_frame(surface: Surface, place: Numbers, margin: float = 0) -> bool:
    return all(
        low - margin * (high - low) <= coordinate <= high + margin * (high - low)
        for coordinate, (low, high) in zip(place, (surface.x_range, surface.y_range), strict=True)
    )


def longest_step(surface: Surface, path: Numbers) -> float:
    """Length of the longest step that begins in the frame, in frames."""
    size = [surface.x_range[1] - surface.x_range[0], surface.y_range[1] - surface.y_range[0]]
    return max(
        math.hypot(*((after - before) / size))
        for before, after in pairwise(path)
        if is_in_frame(surface, before)
    )


@every_surface
def test_gradients_are_the_differences_of_values(surface: Surface) -> None:
    x, y = np.meshgrid(np.linspace(*surface.x_range, 9), np.linspace(*surface.y_range, 11))
    h = 1e-5
    by_x, by_y = surface.gradient(x, y)
    assert_allclose(
        by_x, (surface.value(x + h, y) - surface.value(x - h, y)) / (2 * h), rtol=1e-6, atol=1e-6
    )
    assert_allclose(
        by_y, (surface.value(x, y + h) - surface.value(x, y - h)) / (2 * h), rtol=1e-6, atol=1e-6
    )


@with_minimum
def test_the_minimum_is_flat_and_nothing_in_the_frame_is_lower(surface: str) -> None:
    place = SURFACES[surface]
    assert place.minimum is not None
    assert place.value(*place.minimum) == pytest.approx(0, abs=1e-15)
    assert place.gradient(*place.minimum) == pytest.approx((0, 0), abs=1e-15)
    grid = np.meshgrid(np.linspace(*place.x_range, 400), np.linspace(*place.y_range, 400))
    assert place.value(*grid).min() > 0


def test_the_saddle_rises_one_way_and_falls_the_other() -> None:
    saddle = SURFACES["saddle"]
    assert saddle.minimum is None
    assert saddle.gradient(0.0, 0.0) == (0, 0)
    assert saddle.value(0.5, 0.0) < saddle.value(0.0, 0.0) < saddle.value(0.0, 0.5)


def test_the_valley_is_a_hundred_times_as_steep_across_as_along() -> None:
    gradient = SURFACES["valley"].gradient
    hessian = np.transpose([gradient(1.0, 0.0), gradient(0.0, 1.0)])
    along, across = np.linalg.eigvalsh(hessian)
    assert across / along == pytest.approx(100)


@every_surface
def test_the_start_lies_in_the_frame(surface: Surface) -> None:
    assert is_in_frame(surface, np.array(surface.start))


@every_rule
def test_a_path_is_a_plain_loop_of_the_rule(name: str) -> None:
    rule, surface, n_steps = RULES[name](), SURFACES["beale"], 60
    lr = 0.3 if isinstance(rule, GroupRule) else 0.003
    columns = rule.coefficients(np.arange(1.0, n_steps + 1))
    place, row = list(surface.start), PlainRow(rule, 2)
    known = rule.begin(np.array(place)) if isinstance(rule, GroupRule) else ()
    expected = [place]
    for t in range(n_steps):
        c = tuple(float(np.broadcast_to(column, n_steps)[t]) for column in columns)
        place = row.moved(place, list(surface.gradient(*place)), lr, (*c, *known[:1]))
        if isinstance(rule, GroupRule):
            known = rule.summed_up(known, row.state[:, None])
        expected.append(place)

    path = descend(rule, "beale", n_steps=n_steps, lr=lr)

    assert path.shape == (n_steps + 1, 2)
    assert_allclose(path, expected, rtol=1e-9)
    assert not np.allclose(path[0], path[-1], atol=1e-5)


def test_gradient_descent_in_the_valley_is_a_power_of_a_matrix() -> None:
    path = descend(SGD(), "valley", n_steps=40, lr=0.1)
    hessian = np.array([[2.02, -1.98], [-1.98, 2.02]])
    step = np.eye(2) - 0.1 * hessian
    for t in (0, 1, 7, 40):
        assert_allclose(path[t], np.linalg.matrix_power(step, t) @ SURFACES["valley"].start)


def test_the_rates_of_the_rule_itself_are_not_used() -> None:
    expected = descend(Adam(), "beale", lr=0.1)
    for rates in (7.0, {"user_bias": 0.5}, slice(0.1, 0.2)):
        assert (descend(Adam(lr=rates), "beale", lr=0.1) == expected).all()


@given(
    st.sampled_from(sorted(RULES)),
    st.sampled_from(sorted(SURFACES)),
    st.floats(-4, 6).map(lambda exponent: 10**exponent),
)
def test_every_path_stays_finite_and_near_the_frame(name: str, where: str, lr: float) -> None:
    path = descend(RULES[name](), where, n_steps=50, lr=lr)
    assert np.isfinite(path).all()
    assert all(is_in_frame(SURFACES[where], place, margin=1) for place in path)


def test_a_path_that_diverges_ends_where_its_next_step_would_leave() -> None:
    surface, lr = SURFACES["valley"], 0.6  # 0.5 is the largest rate that does not diverge
    path = descend(SGD(), surface, lr=lr)
    moves = (path[1:] != path[:-1]).any(axis=1)
    n_moves = int(moves.sum())
    assert 0 < n_moves < 20
    assert moves[:n_moves].all()  # it never moves again
    beyond = path[-1] - lr * np.array(surface.gradient(*path[-1]))
    assert not is_in_frame(surface, beyond, margin=1)


def test_a_path_ends_before_a_place_without_a_height() -> None:
    barrier = Surface(
        name="barrier",
        formula="x - log x + y",
        value=lambda x, y: x - np.log(x) + y,
        gradient=lambda x, _: (1 - 1 / x, 1.0),
        start=(2.0, 0.0),
        minimum=None,
        x_range=(-3.0, 3.0),
        y_range=(-3.0, 3.0),
    )
    assert (descend(SGD(), barrier, lr=5.0) == barrier.start).all()  # the first step is to x = -0.5
    path = descend(SGD(), barrier, lr=0.1, n_steps=20)
    assert_allclose(path[:, 1], np.linspace(0, -2, 21), atol=1e-12)


def test_a_path_ends_where_there_is_no_slope() -> None:
    crease = replace(
        BOWL,
        value=lambda x, y: np.abs(x) + y,
        gradient=lambda x, _: (x / np.abs(x), 1.0),
        start=(1.0, 0.0),
    )
    path = descend(SignedDescent(), crease, lr=0.5, n_steps=4)
    assert path.tolist() == [[1, 0], [0.5, -0.5], [0, -1], [0, -1], [0, -1]]


@with_minimum
@every_rule
def test_every_rule_nears_the_minimum(surface: str, name: str) -> None:
    race, place = race_on(surface), SURFACES[surface]
    assert place.minimum is not None
    if name in ("radam", *ONE_RATE):
        # RAdam's first five steps are plain momentum: the rates at which they leap would suit the rest.
        assert place.value(*race.paths[name][-1]) < 0.2 * place.value(*place.start)
        return
    closer = {"beale": 0.06, "rosenbrock": 0.8, "valley": 0.15}[surface]
    lower = {"beale": 1e-3, "rosenbrock": 0.1, "valley": 1e-3}[surface]
    assert math.dist(race.paths[name][-1], place.minimum) < closer * math.dist(
        place.start, place.minimum
    )
    assert place.value(*race.paths[name][-1]) < lower * place.value(*place.start)


def test_momentum_is_faster_than_gradient_descent_along_a_valley() -> None:
    for name in ("valley", "rosenbrock"):
        slow, fast = (row_of(race_on(name), rule) for rule in ("sgd", "momentum"))
        assert fast["distance"] < 0.1 * slow["distance"]
        assert fast["steps"] is not None
        assert slow["steps"] is None


def test_gradient_descent_escapes_the_saddle_last() -> None:
    steps = dict(race_on("saddle").frame().select("rule", "steps").rows())
    assert steps["schedulefreesgd"] is None  # it keeps near the average of its path
    assert max(steps[name] for name in RULES if name not in ("sgd", *ONE_RATE)) < steps["sgd"] / 3
    # Rules with a rate for each coordinate hardly notice that the way down is nearly flat.
    # RAdam: in its first steps. Prodigy has a rate to find first.
    one_rate = ("sgd", "momentum", "nesterov", "radam", "lars", "prodigy", *ONE_RATE)
    assert max(steps[name] for name in RULES if name not in one_rate) < 25


def test_gradient_descent_escapes_at_the_step_that_its_growth_foretells() -> None:
    sgd = row_of(race_on("saddle"), "sgd")
    # x grows by 1 + 0.1 η from 0.01 to 1.5, and longer steps than η = 0.18 throw y over the saddle.
    assert sgd["steps"] == math.ceil(math.log(150) / math.log1p(0.1 * sgd["lr"]))


@pytest.mark.parametrize("lr", [0.01, 0.03, 0.1])
def test_momentum_escapes_the_saddle_sooner_at_the_same_rate(lr: float) -> None:
    first_outside = [
        int((np.abs(descend(rule, "saddle", n_steps=8000, lr=lr)[:, 0]) > 1.5).argmax())
        for rule in (Momentum(), SGD())
    ]
    assert 0 < 5 * first_outside[0] < first_outside[1]


@with_minimum
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_no_other_rate_ends_lower_without_a_leap(surface: str, name: str) -> None:
    race, place = surface_race(surface, [RULES[name]()], n_steps=100), SURFACES[surface]
    assert longest_step(place, race.paths[name]) <= 0.25
    assert is_in_frame(place, race.paths[name][-1])
    best = place.value(*race.paths[name][-1])
    for lr in RATES:
        path = descend(RULES[name](), place, n_steps=100, lr=lr)
        if lr == race.rates[name]:
            assert_allclose(path, race.paths[name])
        elif longest_step(place, path) <= 0.25 and is_in_frame(place, path[-1]):
            assert place.value(*path[-1]) >= best


def test_the_rates_are_four_per_decade() -> None:
    assert (RATES[0], RATES[-1], len(RATES)) == pytest.approx((1e-4, 10, 21))
    assert_allclose(np.diff(np.log10(RATES)), 0.25)


def test_a_lucky_throw_does_not_win() -> None:
    """At the rate 1 the first step ends exactly on the minimum, but it is a third of the frame."""
    assert (descend(SignedDescent(), BOWL, lr=1.0, n_steps=1)[-1] == (0, 0)).all()
    race = surface_race(BOWL, [SignedDescent()], n_steps=1)
    assert race.rates["signeddescent"] == pytest.approx(10**-0.5)


def test_an_end_outside_the_frame_does_not_win() -> None:
    slope = replace(
        BOWL, value=lambda x, _: x, gradient=lambda x, _: (np.ones_like(x), 0.0), start=(0.0, 0.0)
    )
    race = surface_race(slope, [SGD()], n_steps=10)
    assert race.rates["sgd"] == pytest.approx(0.1)  # the next, 0.18, ends at x = -1.8
    assert race.paths["sgd"][-1] == pytest.approx((-1, 0))


def test_long_steps_after_the_escape_are_no_leaps() -> None:
    saddle = replace(
        BOWL,
        value=lambda x, y: y * y - x * x,
        gradient=lambda x, y: (-2 * x, 2 * y),
        start=(0.01, 0.5),
        minimum=None,
    )
    # Steps from within are at most 2 · 0.18 · 1.5 = 0.53 long, those from farther out longer.
    path = descend(SGD(), saddle, lr=10**-0.75, n_steps=50)
    assert np.abs(np.diff(path, axis=0)).max() > 0.25 * 3
    assert surface_race(saddle, [SGD()], n_steps=50).rates["sgd"] >= 10**-0.75 * (1 - 1e-9)


def test_a_rule_that_always_leaps_still_has_a_path() -> None:
    path = surface_race(BOWL, [Leap()], n_steps=3).paths["leap"]
    assert path.tolist() == [[-1, -1], [1, 1], [-1, -1], [1, 1]]


def test_a_rule_of_ones_own_races_on_a_surface_of_ones_own() -> None:
    race = surface_race(BOWL, [SignedDescent(), SGD()], n_steps=100)
    assert list(race.paths) == ["signeddescent", "sgd"]
    steps = np.abs(np.diff(race.paths["signeddescent"], axis=0))
    assert_allclose(steps, race.rates["signeddescent"])
    assert row_of(race, "signeddescent")["distance"] < 0.1


@every_surface
def test_the_frame_says_what_the_paths_show(surface: Surface) -> None:
    race = race_on(surface.name)
    frame = race.frame()
    assert frame["rule"].to_list() == list(RULES)
    assert frame["lr"].to_list() == list(race.rates.values())
    for row in frame.iter_rows(named=True):
        path = race.paths[row["rule"]]
        assert row["height"] == pytest.approx(surface.value(*path[-1]))
        if surface.minimum is None:
            assert row["distance"] is None
            outside = [not is_in_frame(surface, place) for place in path]
            assert row["steps"] == (outside.index(True) if any(outside) else None)
        else:
            distances = [math.dist(place, surface.minimum) for place in path]
            assert row["distance"] == pytest.approx(distances[-1])
            near = (t for t, distance in enumerate(distances) if distance <= 0.1)
            assert row["steps"] == next(near, None)


def test_leaving_the_saddle_upwards_is_no_escape() -> None:
    # At the rate 1.01 or above, y swings to and fro ever farther.
    race = SurfaceRace(
        surface=SURFACES["saddle"],
        rates={"sgd": 1.2},
        paths={"sgd": descend(SGD(), "saddle", lr=1.2)},
    )
    assert np.abs(race.paths["sgd"][-1, 1]) > 1
    assert row_of(race, "sgd")["steps"] is None


def test_the_picture_shows_the_surface_and_the_paths() -> None:
    race = surface_race("beale", [SGD(), Adam()], n_steps=50)
    picture = race.picture()
    x, y, heights = (np.asarray(part) for part in (picture.x, picture.y, picture.heights))
    assert ((x[0], x[-1]), (y[0], y[-1])) == (race.surface.x_range, race.surface.y_range)
    for row, column in ((0, 0), (10, 200), (300, 7)):
        assert heights[row, column] == race.surface.value(x[column], y[row])
    assert picture.paths == race.paths
    assert picture.minimum == (3, 0.5)
    assert "50 steps from (1, 1)" in picture.note
    assert f"adam {race.rates['adam']:.2g}." in picture.note


def test_a_rule_has_the_same_style_whoever_else_races() -> None:
    alone = surface_race("valley", [Adam()], n_steps=5).picture().styles()
    assert alone["adam"] == race_on("valley").picture().styles()["adam"]


def test_what_is_outside_its_range_is_refused() -> None:
    with pytest.raises(SettingError, match="'beale', 'rosenbrock', 'saddle', 'valley'"):
        surface_race("mountain")
    with pytest.raises(SettingError, match="surface='mountain'"):
        descend(SGD(), "mountain", lr=0.1)
    with pytest.raises(SettingError, match="two rules are called 'momentum'"):
        surface_race("valley", [Momentum(), Momentum(momentum=0.5)])
    for lr in (0, -0.1, math.nan, math.inf):
        with pytest.raises(SettingError, match="lr must be above 0"):
            descend(SGD(), "valley", lr=lr)
    for n_steps in (0, -5, 2.5):
        with pytest.raises(SettingError, match="n_steps must be a whole number at least 1"):
            surface_race("valley", n_steps=n_steps)  # type: ignore[arg-type]
