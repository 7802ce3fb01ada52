"""A surface drawn with plotly, and paths that grow step by step."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dotbias.pictures.axes import Numbers
from dotbias.pictures.common_html import AXIS, LEGEND, NAME, plain
from dotbias.pictures.palette import HILL, LEVEL_LINE, VALLEY, LineStyle
from dotbias.pictures.picture import drawing_library

if TYPE_CHECKING:
    from dotbias.pictures.surface import SurfacePicture

_SIZE, _LEFT, _TOP, _BOTTOM, _RIGHT = 560, 60, 20, 150, 230  # pixels
_MOST_FRAMES = 120
_MOST_POINTS = 400  # of a path, as each frame holds its beginning again
_FRAME = 50  # milliseconds

# While a frame comes in, plotly takes away each trace whose type it does not know to move: the surface
# would flicker, or be gone for as long as the paths grow. This makes its type one of those that move.
SCRIPT = """
var surface = (document.getElementById("{plot_id}")._fullData || [])[0];
if (surface && surface._module) surface._module.animatable = true;
"""


def draw(picture: "SurfacePicture") -> Any:
    """The picture as a ``plotly.graph_objects.Figure``."""
    plotly = drawing_library("plotly.graph_objects")
    paths = picture.drawable_paths()
    last = max((len(path) - 1 for path in paths.values()), default=0)
    moments = np.unique(np.linspace(0, last, min(last + 1, _MOST_FRAMES)).round().astype(int))
    fixed = [_surface(picture)]
    if paths:
        fixed.append(_starts(list(paths.values())))
    if picture.minimum is not None:
        fixed.append(_minimum(picture.minimum))
    styles = picture.styles()
    looks = [look for name in paths for look in _looks(name, styles[name])]
    shown = {name: _steps_shown(len(path) - 1) for name, path in paths.items()}

    def at(moment: int) -> list[dict[str, Any]]:
        return [part for name, path in paths.items() for part in _until(path, shown[name], moment)]

    moving = [look | part for look, part in zip(looks, at(last), strict=True)]
    named = {"type": "contour"}  # to be kept; its data are not repeated
    places = [0, *range(len(fixed), len(fixed) + len(moving))]
    figure = plotly.Figure(
        data=[*fixed, *moving],
        layout=_layout(picture),
        frames=[
            {"name": str(moment), "data": [named, *at(moment)], "traces": places}
            for moment in moments.tolist()
        ]
        if paths
        else [],
    )
    if paths:
        figure.update_layout(sliders=[_slider(moments)], updatemenus=[_buttons()])
    return figure


def _layout(picture: "SurfacePicture") -> dict[str, Any]:
    x_ends, y_ends = picture.ends()
    axis = {**AXIS, "showgrid": False}
    return {
        "template": "simple_white",
        "showlegend": True,
        "legend": LEGEND,
        "hoverlabel": {"namelength": -1},
        "width": _LEFT + _SIZE + _RIGHT,
        "height": _TOP + _SIZE + _BOTTOM,
        "margin": {"l": _LEFT, "r": _RIGHT, "t": _TOP, "b": _BOTTOM},
        "xaxis": {**axis, "range": list(x_ends)},
        "yaxis": {**axis, "range": list(y_ends)},
    }


def _surface(picture: "SurfacePicture") -> dict[str, Any]:
    heights, levels = picture.levels()
    step = (levels[-1] - levels[0]) / max(len(levels) - 1, 1)
    return {
        "type": "contour",
        "x": np.asarray(picture.x, float),
        "y": np.asarray(picture.y, float),
        "z": heights.astype(np.float32),
        "customdata": np.asarray(picture.heights, float),
        "hovertemplate": "%{x:.4~g}, %{y:.4~g}<br>height %{customdata:.4~g}<extra></extra>",
        "autocontour": False,
        "contours": {"start": levels[0], "end": levels[-1], "size": step or 1},
        "line": {"color": LEVEL_LINE, "width": 0.5},
        "colorscale": [[0, VALLEY], [1, HILL]],
        "showscale": False,
    }


def _starts(paths: list[Numbers]) -> dict[str, Any]:
    x, y = np.array([path[0] for path in paths]).T
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "markers",
        "marker": {"symbol": "circle-open", "size": 8, "color": "black"},
        "showlegend": False,
        "hoverinfo": "skip",
    }


def _minimum(place: tuple[float, float]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [place[0]],
        "y": [place[1]],
        "mode": "markers",
        "marker": {"symbol": "star", "size": 14, "color": "black"},
        "name": "minimum",
        "legendrank": 2000,  # after the paths
    }


def _looks(name: str, style: LineStyle) -> list[dict[str, Any]]:
    """How a path and its end look; the two come and go together."""
    shared = {"type": "scatter", "name": plain(name, NAME), "legendgroup": plain(name, NAME)}
    marker = {
        "symbol": style.marker,
        "size": 10,
        "color": style.colour,
        "line": {"color": "white", "width": 1},
    }
    line = {"color": style.colour, "dash": style.dash, "width": 2}
    return [
        shared | {"mode": "lines", "line": line, "showlegend": False, "hoverinfo": "skip"},
        # Its line is never seen but in the legend: there is only one point.
        shared | {"mode": "lines+markers", "line": line, "marker": marker},
    ]


def _steps_shown(last: int) -> NDArray[np.intp]:
    """Steps at which a path has a corner.

    All of them, or pairs of neighbours where there are too many: what swings from side to side at each
    step still does so.
    """
    if last < _MOST_POINTS:
        return np.arange(last + 1)
    first = np.linspace(0, last - 1, _MOST_POINTS // 2).round().astype(int)
    return np.union1d(first, first + 1)


def _until(path: Numbers, shown: NDArray[np.intp], moment: int) -> list[dict[str, Any]]:
    """A path and its end after ``moment`` steps."""
    moment = min(moment, len(path) - 1)
    beginning = path[np.append(shown[shown < moment], moment)].astype(np.float32)
    return [
        {"x": beginning[:, 0], "y": beginning[:, 1]},
        {"x": beginning[-1:, 0], "y": beginning[-1:, 1]},
    ]


def _slider(moments: NDArray[np.intp]) -> dict[str, Any]:
    steps = [
        {"label": str(moment), "method": "animate", "args": [[str(moment)], _motion(0)]}
        for moment in moments.tolist()
    ]
    return {
        "steps": steps,
        "active": len(steps) - 1,
        "currentvalue": {"prefix": "step "},
        "x": 0.2,
        "len": 0.8,
        "pad": {"t": 40},
    }


def _buttons() -> dict[str, Any]:
    return {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "x": 0,
        "y": 0,
        "xanchor": "left",
        "yanchor": "top",
        "pad": {"t": 60},
        "buttons": [
            {"label": "Play", "method": "animate", "args": [None, _motion(_FRAME)]},
            {"label": "Pause", "method": "animate", "args": [[None], _motion(0)]},
        ],
    }


def _motion(duration: int) -> dict[str, Any]:
    return {
        "mode": "immediate",
        # Where SCRIPT does not run, the surface at least comes back after each frame.
        "frame": {"duration": duration, "redraw": True},
        "transition": {"duration": 0},
    }
