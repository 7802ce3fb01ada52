"""Lines as the page of a chart draws them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dotbias.pictures.axes import Numbers, drawable, marked_points
from dotbias.pictures.common_html import legend
from dotbias.pictures.page import numbers

if TYPE_CHECKING:
    from dotbias.pictures.lines import Line, LinePicture, Panel

_MOST_POINTS = 3_000  # of a line: more than a window has pixels


def chart(picture: "LinePicture") -> dict[str, Any]:
    """What the page draws, as plain data."""
    entries, styles = picture.legend(), picture.styles()
    return {
        "kind": "lines",
        "panels": [_panel(panel) for panel in picture.panels],
        "legend": legend(
            {name: styles[name] for name in entries},
            {name: line.faint for name, line in entries.items()},
        ),
    }


def _panel(panel: "Panel") -> dict[str, Any]:
    return {
        "title": panel.title,
        "xLabel": panel.x_label,
        "yLabel": panel.y_label,
        "xLog": panel.x_log,
        "yLog": panel.y_log,
        "xEnds": panel.x_limits(),
        "yEnds": panel.y_limits(),
        "lines": [
            _line(line, panel, beneath)
            for line, beneath in zip(panel.lines, panel.beneath(), strict=True)
        ],
        "marks": [
            {"x": mark.x, "y": mark.y, "label": mark.label}
            for mark in sorted(panel.marks, key=lambda mark: mark.x)
        ],
    }


def _line(line: "Line", panel: "Panel", beneath: int) -> dict[str, Any]:
    x, y = drawable(line.x, log=panel.x_log), drawable(line.y, log=panel.y_log)
    kept = _kept(y)
    x, y = x[kept], y[kept]
    return {
        "name": line.name,
        "x": numbers(x),
        "y": numbers(y),
        "faint": line.faint,
        "beneath": beneath,
        "marked": marked_points(x, y, 0 if line.faint else 8).tolist(),
    }


def _kept(y: Numbers) -> NDArray[np.intp]:
    """Places of a line that are drawn: all, or of many highest, lowest and gap of each part."""
    places = np.arange(len(y))
    if len(y) <= _MOST_POINTS:
        return places
    kept = [places[[0, -1]]]
    for part in np.array_split(places, _MOST_POINTS // 3):
        gaps = np.isnan(y[part])
        seen = part[~gaps]
        kept.append(part[gaps][:1])
        if seen.size:
            kept.append(seen[[y[seen].argmin(), y[seen].argmax()]])
    return np.unique(np.concatenate(kept))
