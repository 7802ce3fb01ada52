"""Axes: what can be drawn on them, how far they reach and where their ticks stand."""

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers: TypeAlias = NDArray[np.float64]
Value = TypeVar("Value", float, Numbers)

_TOUCHING = 0.005  # share of a picture within which a line hides another
_HUGE = 1e100  # beyond it, margins and transformations may overflow


def drawable(values: ArrayLike, *, log: bool) -> Numbers:
    """Copy of ``values`` in which everything without a place on the axis is NaN, a gap.

    >>> drawable([0, 1, float("inf")], log=True)
    array([nan,  1., nan])
    """
    numbers = np.array(values, np.float64)
    gone = ~(np.abs(numbers) < _HUGE)
    if log:
        gone |= ~(numbers > 1 / _HUGE)
    numbers[gone] = np.nan
    return numbers


def limits(values: Iterable[ArrayLike], *, log: bool, margin: float) -> tuple[float, float]:
    """Ends of an axis that shows all values with some room around them.

    Args:
        values: arrays of numbers that are drawn on the axis.
        log: whether the axis is logarithmic.
        margin: room on either side, as a share of the length.

    Returns:
        The two ends, the lower first, never equal. Without any number: 0 and 1, or 0.1 and 1.

    >>> limits([[1, 2], [3]], log=False, margin=0.5)
    (0.0, 4.0)
    """
    shown = np.concatenate([np.empty(0), *(np.ravel(drawable(v, log=log)) for v in values)])
    shown = shown[np.isfinite(shown)]
    if not shown.size:
        return (0.1, 1.0) if log else (0.0, 1.0)
    ends = np.array([shown.min(), shown.max()])
    if log:
        ends = np.log10(ends)
    middle, half = ends.mean(), (ends[1] - ends[0]) / 2
    if half <= 1e-9 * max(abs(middle), 1e-100):
        half = 0.5 if log or abs(middle) <= 1e-100 else 0.1 * abs(middle)
    half *= 1 + 2 * margin
    low, high = float(middle - half), float(middle + half)
    return (10**low, 10**high) if log else (low, high)


def share(value: Value, ends: tuple[float, float], *, log: bool) -> Value:
    """How far along an axis with these ends a value lies: 0 at the lower end, 1 at the upper.

    >>> float(share(1.0, (0.01, 100.0), log=True))
    0.5
    """
    low, high = (np.log10(end) if log else end for end in ends)
    return ((np.log10(value) if log else value) - low) / (high - low)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for the ticks of a logarithmic axis from ``low`` to ``high``.

    Powers of ten on a long axis, their double and fivefold too on a shorter one, and evenly spaced
    numbers where less than a decade is shown. There are at most ten, and at least two.

    >>> log_ticks(0.0008, 20)
    [0.001, 0.01, 0.1, 1.0, 10.0]
    >>> log_ticks(0.004, 0.3)
    [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
    >>> log_ticks(0.13, 0.42)
    [0.2, 0.3, 0.4]
    """
    decades = math.log10(high) - math.log10(low)
    if decades < 0.9:
        return _even_ticks(low, high)
    digits = (1, 2, 5) if decades < 2.3 else (1,)
    stride = math.ceil(decades / 9)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [
        float(f"{digit}e{power}") for power in powers if power % stride == 0 for digit in digits
    ]
    return [tick for tick in ticks if low <= tick <= high]


def _even_ticks(low: float, high: float) -> list[float]:
    power = math.floor(math.log10(high - low))
    for digit, exponent in ((5, power), (2, power), (1, power), (5, power - 1), (2, power - 1)):
        step = float(f"{digit}e{exponent}")
        ticks = range(math.ceil(low / step), math.floor(high / step) + 1)
        if len(ticks) >= 3:
            break
    # Read from its digits, as 3 × 0.1 is 0.30000000000000004.
    return [float(f"{tick * digit}e{exponent}") for tick in ticks]


def number(value: float) -> str:
    """A number as a reader would write it: plain digits, and powers of ten only when they save many.

    >>> [number(v) for v in (0.001, 0.1 + 0.2, 20.0, 1e-9, 250_000, 3e12, 0)]
    ['0.001', '0.3', '20', '1e-9', '250000', '3e12', '0']
    """
    value = float(f"{value:.10g}")
    if value == 0 or 1e-6 <= abs(value) < 1e7:
        return np.format_float_positional(value, trim="-")
    return np.format_float_scientific(value, trim="-", exp_digits=1).replace("e+", "e")


def stacked(
    lefts: Sequence[float], widths: Sequence[float], heights: Sequence[float], gap: float
) -> list[float]:
    """Heights at which labels stand above a panel without touching each other.

    Each label stands above all labels of marks further to the right that it reaches over. So the line
    from a mark up to its label crosses no label that starts at its own mark.

    Args:
        lefts: left ends of the labels, in the order of their marks.
        widths: their widths.
        heights: their heights, with the room between two that stand on each other.
        gap: least distance between two labels side by side.

    Returns:
        The height of the bottom of each label; 0 is the lowest.

    >>> stacked([0, 30, 100], [50, 50, 50], [12, 12, 12], gap=5)
    [12, 0, 0]
    """
    bottoms: list[float] = []  # of the labels further to the right
    for place in reversed(range(len(lefts))):
        end = lefts[place] + widths[place] + gap
        others = zip(lefts[place + 1 :], heights[place + 1 :], bottoms, strict=True)
        tops = [bottom + height for left, height, bottom in others if left < end]
        bottoms.insert(0, max(tops, default=0))
    return bottoms


def marked_points(x: Numbers, y: Numbers, n_markers: int) -> NDArray[np.intp]:
    """Places in a line that carry a marker: a few along it, and points that no line reaches.

    Args:
        x: (n,) numbers, NaN for a gap.
        y: (n,) numbers, NaN for a gap.
        n_markers: how many markers the line carries besides its lonely points.

    Returns:
        The places, ascending.

    >>> nan = float("nan")
    >>> marked_points(np.arange(7.0), np.array([1, 2, 3, nan, 4, nan, 5]), 3)
    array([0, 2, 4, 6])
    """
    seen = np.isfinite(x) & np.isfinite(y)
    beside = np.concatenate([[False], seen, [False]])
    lonely = np.flatnonzero(seen & ~beside[:-2] & ~beside[2:])
    shown = np.flatnonzero(seen)
    if not shown.size:
        return shown
    along = np.linspace(0, shown.size - 1, n_markers).round().astype(int)
    return np.union1d(lonely, shown[along])


def beneath(lines: Sequence[Numbers]) -> list[int]:
    """How many of the later lines lie on each, all the way.

    Args:
        lines: from back to front, (n, 2) places as shares of the two axes, NaN for a gap.

    >>> beneath([np.zeros((3, 2)), np.ones((3, 2)), np.full((3, 2), 0.001)])
    [1, 0, 0]
    """

    def hides(upper: Numbers, lower: Numbers) -> bool:
        if upper.shape != lower.shape or (np.isnan(upper) != np.isnan(lower)).any():
            return False
        apart = np.abs(upper - lower)
        return not np.isnan(apart).all() and bool(np.nanmax(apart) < _TOUCHING)

    return [
        sum(hides(upper, lower) for upper in lines[place + 1 :])
        for place, lower in enumerate(lines)
    ]
