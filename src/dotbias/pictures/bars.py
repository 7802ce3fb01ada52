"""Pictures made of bars to both sides of zero: what adds to a number and what takes from it."""

import math
from dataclasses import dataclass
from typing import Any

from dotbias.errors import SettingError
from dotbias.pictures import bars_html, bars_png
from dotbias.pictures.palette import style_of
from dotbias.pictures.picture import ChartPicture
from dotbias.pictures.shortening import shortened
from dotbias.shown import Shown

_LONGEST = 42  # letters of a name
_MARGIN = 0.2  # room for the label beyond the longest bar, as a share of the axis

# A dark and a light colour, which neither colour-blindness nor a grey print takes away.
POSITIVE, NEGATIVE = style_of(0).colour, style_of(1).colour


@dataclass(frozen=True, kw_only=True)
class Bar(Shown):
    """One bar.

    Args:
        name: stands to its left, on one line; what is beyond 42 letters becomes an ellipsis.
        value: its length, to the right where it is above 0 and else to the left.
        label: a few letters at its end, such as the value.

    Raises:
        SettingError: when ``value`` is not finite.
    """

    name: str
    value: float
    label: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise SettingError(
                f"Bar({self.name!r}): value must be a finite number, not {self.value!r}"
            )

    @property
    def short_name(self) -> str:
        """The name as it is drawn."""
        return shortened(self.name, _LONGEST)

    @property
    def colour(self) -> str:
        """Dark for what adds, light for what takes away."""
        return POSITIVE if self.value >= 0 else NEGATIVE


@dataclass(frozen=True, kw_only=True)
class BarPicture(ChartPicture):
    """Horizontal bars to the right and left of zero.

    Args:
        title: stands above everything.
        bars: from top to bottom.
        x_label: what their length is, with its unit.
        note: small print below the picture.

    Raises:
        SettingError: when there are no bars.

    >>> from dotbias.pictures import Bar, BarPicture
    >>> bars = (Bar(name="user bias", value=0.4, label="+0.4"), Bar(name="Heat", value=-0.1))
    >>> [bar.colour for bar in BarPicture(title="Why", bars=bars, x_label="stars").bars]
    ['#0072b2', '#e69f00']
    """

    title: str
    bars: tuple[Bar, ...]
    x_label: str
    note: str = ""

    def __post_init__(self) -> None:
        if not self.bars:
            raise SettingError("BarPicture(bars): there must be at least 1")

    def figure(self) -> Any:
        """The picture as a ``matplotlib.figure.Figure``, which belongs to no window."""
        return bars_png.draw(self)

    def chart(self) -> dict[str, Any]:
        """What the page draws, as plain data."""
        return bars_html.chart(self)

    def ends(self) -> tuple[float, float]:
        """Ends of the axis: zero and all bars are in sight, with room for labels on their side."""
        values = [bar.value for bar in self.bars]
        low, high = min(0.0, *values), max(0.0, *values)
        length = high - low
        if length == 0:
            return -1.0, 1.0
        room = length * _MARGIN
        return low - (room if low < 0 else 0), high + (room if max(values) >= 0 else 0)
