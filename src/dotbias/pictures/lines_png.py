"""Lines drawn with matplotlib."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dotbias.pictures.axes import drawable, log_ticks, marked_points, number, share, stacked
from dotbias.pictures.common_png import (
    DASHES,
    LEGEND_WIDTH,
    MARKERS,
    MEDIUM,
    SMALL,
    add_legend,
    new_figure,
    tidy,
    wrapped,
)
from dotbias.pictures.palette import LineStyle
from dotbias.pictures.picture import drawing_library

if TYPE_CHECKING:
    from dotbias.pictures.lines import Line, LinePicture, Mark, Panel

_PANEL_WIDTH, _PANEL_HEIGHT = 4.8, 4.2  # inches
_GAP = 6  # points between two labels
_ABOVE = 4  # points from a panel to its lowest label
_GUIDE = "#444444"


def draw(picture: "LinePicture") -> Any:
    """The picture as a ``matplotlib.figure.Figure``."""
    n = len(picture.panels)
    figure = new_figure(picture.title, picture.note, n * _PANEL_WIDTH + LEGEND_WIDTH, _PANEL_HEIGHT)
    styles = picture.styles()
    all_axes = figure.subplots(1, n, squeeze=False)[0]
    for axes, panel in zip(all_axes, picture.panels, strict=True):
        _draw_panel(axes, panel, styles)
    legend = picture.legend()
    handles = [_line(line, styles[name], [], []) for name, line in legend.items()]
    add_legend(figure, handles, list(legend))
    _draw_marks(figure, list(zip(all_axes, picture.panels, strict=True)))
    return figure


def _draw_panel(axes: Any, panel: "Panel", styles: dict[str, LineStyle]) -> None:
    tidy(axes)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    _set_title(axes, panel.title, pad=_GAP)
    axes.set_xlabel(wrapped(panel.x_label, 50), fontsize=MEDIUM, parse_math=False)
    axes.set_ylabel(wrapped(panel.y_label, 36), fontsize=MEDIUM, parse_math=False)
    for line, beneath in zip(panel.lines, panel.beneath(), strict=True):
        x, y = drawable(line.x, log=panel.x_log), drawable(line.y, log=panel.y_log)
        axes.add_line(_line(line, styles[line.name], x, y, beneath))
    if panel.x_log:
        axes.set_xscale("log")
        _set_log_ticks(axes.xaxis, *panel.x_limits())
    if panel.y_log:
        axes.set_yscale("log")
        _set_log_ticks(axes.yaxis, *panel.y_limits())
    axes.set_xlim(panel.x_limits())
    axes.set_ylim(panel.y_limits())


def _set_title(axes: Any, title: str, pad: float) -> None:
    axes.set_title(wrapped(title, 44), loc="left", fontsize=10, pad=pad, parse_math=False)


def _line(line: "Line", style: LineStyle, x: Any, y: Any, beneath: int = 0) -> Any:
    # A faint line carries markers only where there is nothing else to see of it.
    marked = marked_points(np.asarray(x), np.asarray(y), 0 if line.faint else 8)
    in_legend = not len(x)
    return drawing_library("matplotlib.lines").Line2D(
        x,
        y,
        color=style.colour,
        linestyle="-" if line.faint else DASHES[style.dash],
        linewidth=0.8 if line.faint else 1.7 + 3 * beneath,
        alpha=0.45 if line.faint else 1,
        marker="" if line.faint and in_legend else MARKERS[style.marker],
        markersize=3 if line.faint else 5 + 2.5 * beneath,
        markevery=None if in_legend else marked.tolist(),
    )


def _set_log_ticks(axis: Any, low: float, high: float) -> None:
    ticker = drawing_library("matplotlib.ticker")
    axis.set_major_locator(ticker.FixedLocator(log_ticks(low, high)))
    axis.set_major_formatter(lambda value, _: number(value))
    axis.set_minor_formatter(ticker.NullFormatter())


@dataclass(frozen=True)
class _Label:
    """Where the label of a mark stands, in points above the panel."""

    mark: "Mark"
    bottom: float
    top: float


def _draw_marks(figure: Any, parts: list[tuple[Any, "Panel"]]) -> None:
    if not any(panel.marks for _, panel in parts):
        return
    figure.draw_without_rendering()  # labels are stacked by how wide they and the panels are
    labels = [_add_labels(axes, panel) for axes, panel in parts]
    highest = max(label.top for of_panel in labels for label in of_panel)
    for axes, panel in parts:
        _set_title(axes, panel.title, pad=_GAP + highest)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + highest / 72)  # the panels stay as high as they were
    figure.draw_without_rendering()  # guides are measured in heights of the panel
    for (axes, panel), of_panel in zip(parts, labels, strict=True):
        for label in of_panel:
            _add_guide(axes, panel, label)


def _add_labels(axes: Any, panel: "Panel") -> list[_Label]:
    """The labels of the marks, stacked above the panel."""
    points = axes.figure.dpi / 72  # pixels of one point
    marks = sorted(panel.marks, key=lambda mark: mark.x)
    labels = [_label(axes, mark) for mark in marks]
    boxes = [label.get_window_extent() for label in labels]
    widths = [box.width / points for box in boxes]
    heights = [box.height / points + _GAP / 2 for box in boxes]
    panel_width = axes.bbox.width / points
    places = [panel_width * share(mark.x, panel.x_limits(), log=panel.x_log) for mark in marks]
    # A label starts at its mark, or further left where it would reach beyond the panel.
    lefts = [
        max(0, min(place, panel_width - width)) for place, width in zip(places, widths, strict=True)
    ]
    bottoms = stacked(lefts, widths, heights, _GAP)
    for label, left, place, bottom in zip(labels, lefts, places, bottoms, strict=True):
        label.set_position((left - place, _ABOVE + bottom))
    return [
        _Label(mark, _ABOVE + bottom, _ABOVE + bottom + height)
        for mark, bottom, height in zip(marks, bottoms, heights, strict=True)
    ]


def _label(axes: Any, mark: "Mark") -> Any:
    return axes.annotate(
        wrapped(mark.label, 28),
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


def _add_guide(axes: Any, panel: "Panel", label: _Label) -> None:
    """A line from the mark, or from the foot of the panel, up to its label."""
    mark, foot = label.mark, 0.0
    if mark.y is not None:
        foot = share(mark.y, panel.y_limits(), log=panel.y_log)
        axes.plot(mark.x, mark.y, "o", color=_GUIDE, fillstyle="none", zorder=5)
    top = 1 + label.bottom / (axes.bbox.height / axes.figure.dpi * 72)
    axes.plot(
        [mark.x, mark.x],
        [foot, top],
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        color=_GUIDE,
        linewidth=0.8,
        linestyle=(0, (3, 2)),
    )
