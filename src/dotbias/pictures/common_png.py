"""What all pictures drawn with matplotlib share."""

import textwrap
from collections.abc import Sequence
from typing import Any

from dotbias.pictures.axes import number
from dotbias.pictures.picture import drawing_library

LEGEND_WIDTH = 1.8  # inches
SMALL, MEDIUM = 8, 9  # points
_DPI = 150

DASHES: dict[str, Any] = {
    "solid": "-",
    "dash": (0, (5, 2)),
    "dashdot": (0, (6, 2, 1, 2)),
    "dot": (0, (1.2, 1.6)),
}
MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "triangle-down": "v",
    "x": "X",
    "cross": "P",
    "pentagon": "p",
    "star": "*",
    "triangle-left": "<",
    "triangle-right": ">",
    "hexagon": "h",
}


def new_figure(title: str, note: str, width: float, height: float) -> Any:
    """An empty figure with a title and a note, of a size in inches."""
    figure = drawing_library("matplotlib.figure").Figure(
        (width, height), dpi=_DPI, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03)
    figure.suptitle(wrapped(title, width * 9), x=0.01, ha="left", fontsize=12, parse_math=False)
    small_print = wrapped(note, width * 15)
    figure.supxlabel(
        small_print, x=0.01, ha="left", fontsize=SMALL, color="#666666", parse_math=False
    )
    return figure


def add_legend(figure: Any, handles: Sequence[Any], names: Sequence[str]) -> None:
    """One legend to the right of all axes."""
    if not handles:
        return
    # Matplotlib leaves out names that begin with an underscore, so they come in afterwards.
    places = [str(place) for place in range(len(names))]
    legend = figure.legend(
        handles, places, loc="outside right upper", fontsize=MEDIUM, frameon=False, handlelength=4.5
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(wrapped(name, 24))


def tidy(axes: Any) -> None:
    """Take away what draws the eye from the lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=MEDIUM)
    ticker = drawing_library("matplotlib.ticker")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(8, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(lambda value, _: number(value))


def wrapped(text: str, width: float) -> str:
    """Text in lines of so many letters."""
    return textwrap.fill(text, int(width))
