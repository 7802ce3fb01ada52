"""A surface drawn with matplotlib."""

from typing import TYPE_CHECKING, Any

import numpy as np

from dotbias.pictures.common_png import (
    DASHES,
    LEGEND_WIDTH,
    MARKERS,
    add_legend,
    new_figure,
    tidy,
)
from dotbias.pictures.palette import HILL, LEVEL_LINE, VALLEY
from dotbias.pictures.picture import drawing_library

if TYPE_CHECKING:
    from dotbias.pictures.surface import SurfacePicture

_SIZE = 5.4  # inches


def draw(picture: "SurfacePicture") -> Any:
    """The picture as a ``matplotlib.figure.Figure``."""
    figure = new_figure(picture.title, picture.note, _SIZE + LEGEND_WIDTH, _SIZE)
    axes = figure.subplots()
    tidy(axes)
    _draw_surface(axes, picture)
    handles, names = _draw_paths(axes, picture)
    if picture.minimum is not None:
        (star,) = axes.plot(*picture.minimum, "*", color="black", markersize=13, zorder=5)
        handles.append(star)
        names.append("minimum")
    add_legend(figure, handles, names)
    x_ends, y_ends = picture.ends()
    axes.set_xlim(x_ends)
    axes.set_ylim(y_ends)
    return figure


def _draw_surface(axes: Any, picture: "SurfacePicture") -> None:
    heights, levels = picture.levels()
    if len(levels) < 2:
        return  # nothing but plain ground
    colours = drawing_library("matplotlib.colors")
    pale = colours.LinearSegmentedColormap.from_list("pale", [VALLEY, HILL], len(levels) + 1)
    masked = np.ma.masked_invalid(heights)
    axes.contourf(picture.x, picture.y, masked, levels, cmap=pale, extend="both")
    axes.contour(
        picture.x, picture.y, masked, levels, colors=LEVEL_LINE, linewidths=0.5, linestyles="solid"
    )


def _draw_paths(axes: Any, picture: "SurfacePicture") -> tuple[list[Any], list[str]]:
    styles = picture.styles()
    handles, beneath = [], picture.beneath()
    for name, path in picture.drawable_paths().items():
        style = styles[name]
        (line,) = axes.plot(
            *path.T,
            color=style.colour,
            linestyle=DASHES[style.dash],
            linewidth=1.7 + 2.5 * beneath[name],
            marker=MARKERS[style.marker],
            markersize=7,
            markeredgecolor="white",
            markeredgewidth=0.7,
            markevery=[last_seen(path)],
        )
        axes.plot(*path[0], "o", color="black", markersize=5, fillstyle="none", zorder=4)
        handles.append(line)
    return handles, list(styles)


def last_seen(path: Any) -> int:
    """The last step at which a path has a place; 0 when it has none."""
    return int(np.flatnonzero(np.isfinite(path[:, 0])).max(initial=0))
