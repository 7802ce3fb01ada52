"""Bars drawn with matplotlib."""

from typing import TYPE_CHECKING, Any

from dotbias.pictures.common_png import MEDIUM, SMALL, new_figure, tidy

if TYPE_CHECKING:
    from dotbias.pictures.bars import BarPicture

_WIDTH, _PER_BAR, _FRAME = 8.4, 0.27, 1.7  # inches
_GAP = 3  # points between the end of a bar and its label


def draw(picture: "BarPicture") -> Any:
    """The picture as a ``matplotlib.figure.Figure``."""
    bars = picture.bars
    figure = new_figure(picture.title, picture.note, _WIDTH, _FRAME + _PER_BAR * len(bars))
    axes = figure.subplots()
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    places = range(len(bars))
    axes.barh(places, [bar.value for bar in bars], 0.7, color=[bar.colour for bar in bars])
    axes.axvline(0, color="#444444", linewidth=0.8)
    for place, bar in zip(places, bars, strict=True):
        right = bar.value >= 0
        axes.annotate(
            bar.label,
            (bar.value, place),
            xytext=(_GAP if right else -_GAP, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=SMALL,
            parse_math=False,
        )
    axes.set_yticks(places, [bar.short_name for bar in bars], parse_math=False)
    axes.tick_params("y", length=0)
    axes.set_xlabel(picture.x_label, fontsize=MEDIUM, parse_math=False)
    axes.set_xlim(picture.ends())
    axes.set_ylim(len(bars) - 0.4, -0.6)  # the first on top
    return figure
