"""Lines drawn with matplotlib."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dotbias.pictures.axes import drawable, log_ticks, marked_points, number, rows_of_labels
from dotbias.pictures.palette import LineStyle
from dotbias.pictures.picture import drawing_library

if TYPE_CHECKING:
    from dotbias.pictures.lines import Line, LinePicture, Mark, Panel

PANEL_WIDTH, PANEL_HEIGHT, LEGEND_WIDTH = 4.8, 4.2, 1.8  # inches
SMALL, MEDIUM = 8, 9  # points
_ROW = 13  # points from one row of labels to the next
_GAP = 6  # points between two labels of one row

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


def draw(picture: "LinePicture") -> Any:
    """The picture as a ``matplotlib.figure.Figure``."""
    n = len(picture.panels)
    figure = new_figure(picture.title, picture.note, n * PANEL_WIDTH + LEGEND_WIDTH, PANEL_HEIGHT)
    styles = picture.styles()
    all_axes = figure.subplots(1, n, squeeze=False)[0]
    for axes, panel in zip(all_axes, picture.panels, strict=True):
        _draw_panel(axes, panel, styles)
    legend = picture.legend()
    handles = [_line(line, styles[name], [], []) for name, line in legend.items()]
    add_legend(figure, handles, list(legend))
    figure.draw_without_rendering()  # the labels need to know how wide the panels are
    for axes, panel in zip(all_axes, picture.panels, strict=True):
        _draw_marks(axes, panel.marks)
    return figure


def new_figure(title: str, note: str, width: float, height: float) -> Any:
    """An empty figure with a title and a note, of a size in inches."""
    figure = drawing_library("matplotlib.figure").Figure((width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03)
    figure.suptitle(_wrapped(title, width * 9), x=0.01, ha="left", fontsize=12, parse_math=False)
    small_print = _wrapped(note, width * 15)
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
        handles, places, loc="outside right upper", fontsize=MEDIUM, frameon=False, handlelength=3.2
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(_wrapped(name, 24))


def tidy(axes: Any) -> None:
    """Take away what draws the eye from the lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=MEDIUM)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: number(value))


def _draw_panel(axes: Any, panel: "Panel", styles: dict[str, LineStyle]) -> None:
    tidy(axes)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(_wrapped(panel.title, 44), loc="left", fontsize=10, parse_math=False)
    axes.set_xlabel(_wrapped(panel.x_label, 50), fontsize=MEDIUM, parse_math=False)
    axes.set_ylabel(_wrapped(panel.y_label, 36), fontsize=MEDIUM, parse_math=False)
    for line in panel.lines:
        x, y = drawable(line.x, log=panel.x_log), drawable(line.y, log=panel.y_log)
        axes.add_line(_line(line, styles[line.name], x, y))
    if panel.x_log:
        axes.set_xscale("log")
        _set_log_ticks(axes.xaxis, *panel.x_limits())
    if panel.y_log:
        axes.set_yscale("log")
        _set_log_ticks(axes.yaxis, *panel.y_limits())
    axes.set_xlim(panel.x_limits())
    axes.set_ylim(panel.y_limits())


def _line(line: "Line", style: LineStyle, x: Any, y: Any) -> Any:
    # A faint line carries markers only where there is nothing else to see of it.
    marked = marked_points(np.asarray(x), np.asarray(y), 0 if line.faint else 8)
    in_legend = not len(x)
    return drawing_library("matplotlib.lines").Line2D(
        x,
        y,
        color=style.colour,
        linestyle="-" if line.faint else DASHES[style.dash],
        linewidth=0.8 if line.faint else 1.7,
        alpha=0.45 if line.faint else 1,
        marker="" if line.faint and in_legend else MARKERS[style.marker],
        markersize=3 if line.faint else 5,
        markevery=None if in_legend else marked.tolist(),
    )


def _set_log_ticks(axis: Any, low: float, high: float) -> None:
    ticker = drawing_library("matplotlib.ticker")
    axis.set_major_locator(ticker.FixedLocator(log_ticks(low, high)))
    axis.set_major_formatter(lambda value, _: number(value))
    axis.set_minor_formatter(ticker.NullFormatter())


def _draw_marks(axes: Any, marks: tuple["Mark", ...]) -> None:
    if not marks:
        return
    points = axes.figure.dpi / 72  # pixels of one point
    marks = tuple(sorted(marks, key=lambda mark: mark.x))
    places = [axes.transData.transform((mark.x, 1))[0] for mark in marks]
    labels = [_label(axes, mark) for mark in marks]
    boxes = [label.get_window_extent() for label in labels]
    # A label starts at its mark, or further left where it would reach beyond the panel.
    lefts = [
        max(axes.bbox.x0, min(place, axes.bbox.x1 - box.width))
        for place, box in zip(places, boxes, strict=True)
    ]
    rows = rows_of_labels(lefts, [box.width for box in boxes], _GAP * points)
    height = max(box.height for box in boxes) / points + _ROW - SMALL
    for mark, label, place, left, row in zip(marks, labels, places, lefts, rows, strict=True):
        up = 5 + row * height
        label.set_position(((left - place) / points, up))
        _draw_guide(axes, mark, up)
    axes.set_title(axes.get_title(loc="left"), loc="left", pad=8 + (max(rows) + 1) * height)


def _label(axes: Any, mark: "Mark") -> Any:
    return axes.annotate(
        _wrapped(mark.label, 28),
        (mark.x, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 0),
        textcoords="offset points",
        va="bottom",
        fontsize=SMALL,
        annotation_clip=False,
        parse_math=False,
        # Paper under the letters: where labels are many, a guide may have to pass behind one.
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        zorder=6,
    )


def _draw_guide(axes: Any, mark: "Mark", up: float) -> None:
    """A line from the mark (or the foot of the panel) to its label, ``up`` points above the panel."""
    foot = 0.0
    if mark.y is not None:
        axes.plot(mark.x, mark.y, "o", color="#444444", markersize=6, fillstyle="none", zorder=5)
        foot = axes.transAxes.inverted().transform(axes.transData.transform((mark.x, mark.y)))[1]
        foot = min(max(foot, 0.0), 1.0)
    axes.annotate(
        "",
        (mark.x, foot),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, up + (1 - foot) * axes.bbox.height * 72 / axes.figure.dpi),
        textcoords="offset points",
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "-",
            "color": "#444444",
            "linewidth": 0.8,
            "linestyle": (0, (3, 2)),
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def _wrapped(text: str, width: float) -> str:
    return textwrap.fill(text, int(width))
