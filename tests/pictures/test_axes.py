"""Ends, ticks and labels of axes, on generated input."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dotbias.pictures.axes import (
    drawable,
    limits,
    log_ticks,
    marked_points,
    number,
    share,
    stacked,
)

any_number = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(any_number), st.booleans())
def test_what_is_drawn_is_what_has_a_place_on_the_axis(values: list[float], log: bool) -> None:
    drawn = drawable(values, log=log)
    for value, seen in zip(values, drawn.tolist(), strict=True):
        if math.isnan(seen):
            assert not abs(value) < 1e100 or (log and not value > 1e-100)
        else:
            assert seen == value


@given(st.lists(any_number), st.booleans(), st.floats(0, 0.5))
@example([1e-99, 1e99], True, 0.5)
def test_the_ends_of_an_axis_are_in_order_and_hold_every_drawn_value(
    values: list[float], log: bool, margin: float
) -> None:
    low, high = limits([values], log=log, margin=margin)
    assert low < high
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert low > 0 or not log
    drawn = drawable(values, log=log)
    drawn = drawn[np.isfinite(drawn)]
    room = 1e-9 * max(abs(low), abs(high))
    assert np.all((drawn >= low - room) & (drawn <= high + room))


def test_margins_are_shares_of_the_length() -> None:
    assert limits([[10, 20]], log=False, margin=0.1) == pytest.approx((9, 21))
    assert limits([[1, 100]], log=True, margin=0.5) == pytest.approx((0.1, 1000))


def test_a_constant_line_has_room_in_proportion_to_its_height() -> None:
    assert limits([[5e-5, 5e-5]], log=False, margin=0) == pytest.approx((4.5e-5, 5.5e-5))


@given(st.floats(-30, 30), st.floats(0.01, 40))
def test_a_logarithmic_axis_has_two_to_ten_ticks_within_it(exponent: float, decades: float) -> None:
    low, high = 10**exponent, 10 ** (exponent + decades)
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 10
    assert ticks == sorted(set(ticks))
    assert low * (1 - 1e-9) <= ticks[0]
    assert ticks[-1] <= high * (1 + 1e-9)


@given(st.floats(-6, 3), st.floats(0.05, 8))
def test_ticks_of_a_logarithmic_axis_are_short_numbers(exponent: float, decades: float) -> None:
    for tick in log_ticks(10**exponent, 10 ** (exponent + decades)):
        digits = number(tick).replace(".", "").strip("0").split("e")[0]
        assert len(digits) <= 4, number(tick)


@given(st.floats(-1e15, 1e15))
def test_a_number_is_written_as_what_it_is(value: float) -> None:
    assert float(number(value)) == pytest.approx(value, rel=1e-9, abs=0)


def test_numbers_of_learning_rates_have_no_powers_of_ten() -> None:
    assert [number(rate) for rate in (0.00001, 0.001, 0.01, 10)] == [
        "0.00001",
        "0.001",
        "0.01",
        "10",
    ]


def test_a_share_of_an_axis_is_linear_or_logarithmic() -> None:
    assert share(15, (10, 20), log=False) == 0.5
    assert share(0.1, (0.01, 10), log=True) == pytest.approx(1 / 3)


labels = st.lists(st.tuples(st.floats(0, 400), st.floats(5, 150), st.floats(10, 40)), max_size=8)


@given(labels)
def test_stacked_labels_do_not_overlap(marks: list[tuple[float, float, float]]) -> None:
    marks.sort()
    widths, heights = [w for _, w, _ in marks], [h for _, _, h in marks]
    lefts = [max(0.0, min(place, 400 - width)) for place, width, _ in marks]
    bottoms = stacked(lefts, widths, heights, 5)
    for i in range(len(marks)):
        for j in range(i):
            beside = lefts[i] + widths[i] <= lefts[j] or lefts[j] + widths[j] <= lefts[i]
            above = bottoms[i] + heights[i] <= bottoms[j] or bottoms[j] + heights[j] <= bottoms[i]
            assert beside or above


@given(labels)
def test_no_guide_crosses_a_label_that_starts_at_its_mark(
    marks: list[tuple[float, float, float]],
) -> None:
    marks.sort()
    places, widths, heights = ([m[k] for m in marks] for k in range(3))
    bottoms = stacked(places, widths, heights, 5)
    for i in range(len(marks)):
        for j in range(len(marks)):
            inside = places[i] < places[j] < places[i] + widths[i]
            assert not (inside and bottoms[j] > bottoms[i])


def test_labels_far_from_each_other_stand_in_one_row() -> None:
    assert stacked([0, 100, 200], [50, 50, 50], [10, 10, 10], 5) == [0, 0, 0]


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 8))
def test_every_point_that_no_line_reaches_is_marked(seen: list[bool], n_markers: int) -> None:
    y = np.where(seen, 1.0, np.nan)
    marked = marked_points(np.arange(float(len(seen))), y, n_markers).tolist()
    around = [False, *seen, False]
    lonely = {i for i, s in enumerate(seen) if s and not around[i] and not around[i + 2]}
    assert lonely <= set(marked)
    assert all(seen[place] for place in marked)
    assert len(set(marked) - lonely) <= n_markers
