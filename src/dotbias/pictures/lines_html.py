"""Lines drawn with plotly."""

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dotbias.pictures.axes import Numbers, drawable, marked_points, share, stacked
from dotbias.pictures.common_html import AXIS, LEGEND, NAME, plain
from dotbias.pictures.palette import LineStyle
from dotbias.pictures.picture import drawing_library

if TYPE_CHECKING:
    from dotbias.pictures.lines import Line, LinePicture, Mark, Panel

_PANEL_WIDTH, _PANEL_HEIGHT, _LEGEND_WIDTH, _BETWEEN = 440, 380, 230, 80  # pixels
_LEFT, _BOTTOM = 70, 60
_LABEL = 28  # letters in a line
_LETTER = 7  # pixels, more than one letter of a label takes on average
_LINE = 14  # pixels from one line of a label to the next
_ABOVE = 4  # pixels from a panel to its lowest label
_GAP = 8  # pixels between two labels
_GUIDE = "#444444"


def draw(picture: "LinePicture") -> Any:
    """The picture as a ``plotly.graph_objects.Figure``."""
    n = len(picture.panels)
    inside = n * _PANEL_WIDTH + (n - 1) * _BETWEEN
    labels = [_labels(panel) for panel in picture.panels]
    highest = max((label.top for of_panel in labels for label in of_panel), default=0)
    titles = [f"<b>{plain(panel.title, 56)}</b>" for panel in picture.panels]
    top = 40 + highest + _LINE * max(title.count("<br>") for title in titles)
    figure = drawing_library("plotly.subplots").make_subplots(
        rows=1, cols=n, horizontal_spacing=_BETWEEN / inside if n > 1 else 0
    )
    figure.update_layout(
        template="simple_white",
        showlegend=True,
        legend=LEGEND,
        hoverlabel={"namelength": -1},
        width=_LEFT + inside + _LEGEND_WIDTH,
        height=top + _PANEL_HEIGHT + _BOTTOM,
        margin={"l": _LEFT, "r": _LEGEND_WIDTH, "t": top, "b": _BOTTOM},
    )
    styles, legend = picture.styles(), picture.legend()
    for col, (panel, of_panel) in enumerate(zip(picture.panels, labels, strict=True), 1):
        here = {"row": 1, "col": col}
        for line in panel.lines:
            in_legend = legend[line.name] is line
            figure.add_trace(_trace(line, panel, styles[line.name], in_legend), **here)
        figure.update_xaxes(**_axis(panel.x_label, panel.x_limits(), panel.x_log), **here)
        figure.update_yaxes(**_axis(panel.y_label, panel.y_limits(), panel.y_log), **here)
        figure.add_annotation(
            text=titles[col - 1],
            x=0,
            xref="x domain",
            font_size=13,
            **_above_panel(highest + 8),
            **here,
        )
        for label in of_panel:
            _add_mark(figure, label, panel, here)
    return figure


def _axis(title: str, ends: tuple[float, float], log: bool) -> dict[str, Any]:
    """Settings of an axis."""
    return {
        **AXIS,
        "title_text": plain(title, 56),
        **(_log_ends(ends) if log else {"type": "linear", "range": ends}),
    }


def _log_ends(ends: tuple[float, float]) -> dict[str, Any]:
    """Type, ends and most ticks of a logarithmic axis, such that each tick has room for its number."""
    low, high = np.log10(ends).tolist()
    decades = high - low
    # Few ticks make plotly choose 1, 2 and 5 in each decade rather than every digit.
    most = 5 if decades < 1 else min(max(3, math.ceil(decades)), 9)
    return {"type": "log", "range": (low, high), "nticks": most}


def _trace(line: "Line", panel: "Panel", style: LineStyle, in_legend: bool) -> dict[str, Any]:
    x, y = drawable(line.x, log=panel.x_log), drawable(line.y, log=panel.y_log)
    return {
        "type": "scatter",
        "name": plain(line.name, NAME),
        "legendgroup": plain(line.name, NAME),
        "showlegend": in_legend,
        "x": x,
        "y": y,
        "mode": "lines+markers",
        "opacity": 0.45 if line.faint else 1,
        "line": {
            "color": style.colour,
            "dash": "solid" if line.faint else style.dash,
            "width": 1 if line.faint else 2,
        },
        "marker": {
            "symbol": style.marker,
            "size": _marker_sizes(x, y, line.faint),
            "color": style.colour,
            "opacity": 1,
            "line": {"width": 0},
        },
    }


def _marker_sizes(x: Numbers, y: Numbers, faint: bool) -> Numbers:
    """A size for each point, 0 where there is no marker."""
    sizes = np.zeros(x.size)
    sizes[marked_points(x, y, 0 if faint else 8)] = 4 if faint else 8
    return sizes


@dataclass(frozen=True)
class _Label:
    """Where the label of a mark stands."""

    mark: "Mark"
    text: str
    shift: float  # pixels from the mark to the left end of the label
    bottom: float  # pixels from the panel up to the label
    top: float


def _labels(panel: "Panel") -> list[_Label]:
    marks = sorted(panel.marks, key=lambda mark: mark.x)
    lines = [textwrap.wrap(mark.label, _LABEL) or [""] for mark in marks]
    widths = [_LETTER * max(map(len, of_mark)) for of_mark in lines]
    ends = panel.x_limits()
    places = [_PANEL_WIDTH * share(mark.x, ends, log=panel.x_log) for mark in marks]
    # A label starts at its mark, or further left where it would reach beyond the panel.
    lefts = [
        max(0, min(place, _PANEL_WIDTH - width))
        for place, width in zip(places, widths, strict=True)
    ]
    heights = [_LINE * len(of_mark) + _GAP // 2 for of_mark in lines]
    bottoms = stacked(lefts, widths, heights, _GAP)
    return [
        _Label(
            mark, plain(mark.label, _LABEL), left - place, _ABOVE + bottom, _ABOVE + bottom + height
        )
        for mark, left, place, bottom, height in zip(
            marks, lefts, places, bottoms, heights, strict=True
        )
    ]


def _above_panel(up: float) -> dict[str, Any]:
    """Settings of a text that starts at its place and stands ``up`` pixels above the panel."""
    return {
        "y": 1,
        "yref": "y domain",
        "yshift": up,
        "xanchor": "left",
        "yanchor": "bottom",
        "align": "left",
        "showarrow": False,
        "borderpad": 0,
    }


def _add_mark(figure: Any, label: _Label, panel: "Panel", here: dict[str, int]) -> None:
    """A line from the mark, or from the foot of the panel, up to its label."""
    mark, foot = label.mark, 0.0
    if mark.y is not None:
        foot = share(mark.y, panel.y_limits(), log=panel.y_log)
        figure.add_trace(_point(mark), **here)
    figure.add_shape(
        type="line",
        x0=mark.x,
        x1=mark.x,
        y0=foot,
        y1=1 + label.bottom / _PANEL_HEIGHT,
        yref="y domain",
        line={"color": _GUIDE, "width": 1, "dash": "4px,3px"},
        opacity=1,
        **here,
    )
    figure.add_annotation(
        text=label.text,
        # Plotly wants the place of a text on a logarithmic axis as a power of ten.
        x=math.log10(mark.x) if panel.x_log else mark.x,
        xshift=label.shift,
        font_size=11,
        # Paper under the letters: where labels are many, a guide may have to pass behind one.
        bgcolor="#ffffff",
        **_above_panel(label.bottom),
        **here,
    )


def _point(mark: "Mark") -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [mark.x],
        "y": [mark.y],
        "mode": "markers",
        "marker": {"symbol": "circle-open", "size": 9, "color": _GUIDE},
        "name": plain(mark.label, _LABEL),
        "showlegend": False,
    }
