"""Pictures made of lines: losses over epochs, schedules, the search for a learning rate."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dotbias.errors import SettingError
from dotbias.pictures import lines_html, lines_png
from dotbias.pictures.axes import Numbers, beneath, drawable, limits, share
from dotbias.pictures.palette import LineStyle, styles
from dotbias.pictures.picture import ChartPicture
from dotbias.shown import Shown

_MOST_PANELS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Line(Shown):
    """One line.

    Args:
        name: what the legend calls it. Lines of one name share their style and their legend entry.
        x: (n,) numbers.
        y: (n,) numbers. What is not finite, or not above 0 on a logarithmic axis, is a gap.
        faint: drawn thin and pale, as the raw losses behind the smoothed ones.

    Raises:
        SettingError: when ``x`` and ``y`` are no two rows of the same length.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    faint: bool = False

    def __post_init__(self) -> None:
        x, y = np.shape(self.x), np.shape(self.y)
        if len(x) != 1 or x != y:
            raise SettingError(
                f"Line({self.name!r}): x and y must be two rows of the same length, not {x} and {y}"
            )


@dataclass(frozen=True, kw_only=True)
class Mark(Shown):
    """A labelled place.

    Args:
        x: where it is.
        label: a few words, written above the panel.
        y: height of the point that is marked; without it, a line goes through the whole panel.

    Raises:
        SettingError: when ``x`` or ``y`` is not finite.
    """

    x: float
    label: str
    y: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("x", self.x), ("y", self.y)):
            if value is not None and not math.isfinite(value):
                raise SettingError(f"Mark({name}={value!r}): {name} must be a finite number")


@dataclass(frozen=True, kw_only=True)
class Panel(Shown):
    """One pair of axes with lines.

    Args:
        title: stands above the panel.
        x_label: what ``x`` is, with its unit.
        y_label: what ``y`` is, with its unit.
        lines: what is drawn, from back to front.
        marks: labelled places.
        x_log: whether the x axis is logarithmic.
        y_log: whether the y axis is logarithmic.
        y_range: lower and upper end of the y axis; without it, all lines are in sight.

    Raises:
        SettingError: when ``y_range`` is empty, or when it or a mark is not above 0 on a logarithmic
            axis.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    x_log: bool = False
    y_log: bool = False
    y_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.y_range is not None:
            low, high = self.y_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                self._refuse("y_range", self.y_range, "two finite numbers, the lower first")
            if self.y_log and low <= 0:
                self._refuse("y_range", self.y_range, "above 0 on a logarithmic axis")
        for mark in self.marks:
            if self.x_log and mark.x <= 0:
                self._refuse("x of a mark", mark.x, "above 0 on a logarithmic axis")
            if self.y_log and mark.y is not None and mark.y <= 0:
                self._refuse("y of a mark", mark.y, "above 0 on a logarithmic axis")

    def _refuse(self, name: str, value: Any, wanted: str) -> None:
        raise SettingError(f"Panel({self.title!r}): {name} must be {wanted}, not {value!r}")

    def x_limits(self) -> tuple[float, float]:
        """Ends of the x axis."""
        shown = [*(line.x for line in self.lines), [mark.x for mark in self.marks]]
        return limits(shown, log=self.x_log, margin=0.02)

    def y_limits(self) -> tuple[float, float]:
        """Ends of the y axis."""
        if self.y_range is not None:
            return self.y_range
        heights = [mark.y for mark in self.marks if mark.y is not None]
        shown = [*(line.y for line in self.lines), heights]
        return limits(shown, log=self.y_log, margin=0.05)

    def beneath(self) -> list[int]:
        """How many of the later lines lie on each: it is drawn wider, to be seen beneath them."""
        ends = self.x_limits(), self.y_limits()
        logs = self.x_log, self.y_log

        def places(line: Line) -> Numbers:
            shares = [
                share(drawable(values, log=log), end, log=log)
                for values, end, log in zip((line.x, line.y), ends, logs, strict=True)
            ]
            return np.column_stack(shares) * (math.nan if line.faint else 1)

        return beneath([places(line) for line in self.lines])


@dataclass(frozen=True, kw_only=True)
class LinePicture(ChartPicture):
    """Up to three panels side by side with one legend.

    Args:
        title: stands above everything.
        panels: one to three, from left to right.
        note: small print below the picture: data, split, seed.
        order: names whose styles never change, whatever else is in the picture
            (``dotbias.pictures.palette.styles``).

    Raises:
        SettingError: when there are no panels, or more than three.

    >>> from dotbias.pictures import Line, LinePicture, Panel
    >>> loss = Line(name="sgd", x=[1, 2, 3], y=[0.9, 0.8, 0.75])
    >>> panel = Panel(title="Loss", x_label="epochs", y_label="RMSE", lines=(loss,))
    >>> LinePicture(title="A fit", panels=(panel,)).styles()
    {'sgd': LineStyle(colour='#0072b2', dash='solid', marker='circle')}
    """

    title: str
    panels: tuple[Panel, ...]
    note: str = ""
    order: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.panels) <= _MOST_PANELS:
            raise SettingError(
                f"LinePicture(panels): their number must be 1 to {_MOST_PANELS}, "
                f"not {len(self.panels)}"
            )

    def figure(self) -> Any:
        """The picture as a ``matplotlib.figure.Figure``, which belongs to no window."""
        return lines_png.draw(self)

    def chart(self) -> dict[str, Any]:
        """What the page draws, as plain data."""
        return lines_html.chart(self)

    def lines(self) -> Iterator[Line]:
        """All lines, panel by panel."""
        for panel in self.panels:
            yield from panel.lines

    def styles(self) -> dict[str, LineStyle]:
        """Style of each line by its name."""
        return styles((line.name for line in self.lines()), self.order)

    def legend(self) -> dict[str, Line]:
        """The line that stands in the legend for each name: the first that is not faint, if any."""
        entries: dict[str, Line] = {}
        for line in self.lines():
            if line.name not in entries or (entries[line.name].faint and not line.faint):
                entries[line.name] = line
        return entries
