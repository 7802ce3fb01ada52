"""A map of points drawn with matplotlib."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dotbias.pictures.colouring import Amounts, Groups
from dotbias.pictures.common_png import SMALL, new_figure
from dotbias.pictures.palette import GREYS, GROUNDS, GROUP_COLOURS, INKS, SCALES
from dotbias.pictures.picture import drawing_library
from dotbias.pictures.shortening import shortened

if TYPE_CHECKING:
    from dotbias.pictures.map import MapPicture

_WIDTH, _HEIGHT = 9.0, 7.0  # inches
_MOST_LABELS, _LETTERS = 40, 28
_TRIED = 400  # points that may be named
_SMALLEST, _LARGEST = 4.0, 90.0  # square points
_AWAY = 3  # points from the edge of a point to its label
_ALPHA = 0.75
_MARGIN = 0.04
_LEGEND_LETTERS = 30


def draw(picture: "MapPicture") -> Any:
    """The map as a ``matplotlib.figure.Figure``."""
    theme = picture.theme
    figure = new_figure(picture.title, _small_print(picture), _WIDTH, _HEIGHT)
    figure.set_facecolor(GROUNDS[theme])
    for text in (figure._suptitle, figure._supxlabel):
        text.set_color(INKS[theme])
    axes = figure.subplots()
    axes.set_axis_off()
    axes.margins(_MARGIN)
    x, y = np.asarray(picture.x, float), np.asarray(picture.y, float)
    areas = _SMALLEST + (_LARGEST - _SMALLEST) * picture.shares()
    if len(x) > 1_000:
        areas *= max(0.3, 1_000 / len(x)) ** 0.5
    colours, key = _colours(figure, axes, picture)
    order = np.argsort(-areas, kind="stable")  # the small on top
    axes.scatter(
        x[order], y[order], areas[order], colours[order], linewidths=0, alpha=_ALPHA, zorder=2
    )
    if key is not None:
        for text in key.get_texts():
            text.set_color(INKS[theme])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        _name_the_best_known(figure, axes, picture, x, y, areas)
    return figure


def _small_print(picture: "MapPicture") -> str:
    figures = "; ".join(f"{name}: {figure}" for name, figure in picture.evidence.items())
    figures = figures[:1].upper() + figures[1:]
    return " ".join(
        part for part in (picture.note, figures and f"{figures}.", picture.warning) if part
    )


def _colours(figure: Any, axes: Any, picture: "MapPicture") -> tuple[NDArray[Any], Any]:
    """The colour of each point, and the legend, which a scale of numbers does not have."""
    colouring = picture.colourings[0]
    if isinstance(colouring, Groups):
        return _group_colours(figure, axes, colouring, picture.theme)
    return _amount_colours(figure, axes, colouring, picture.theme), None


def _group_colours(figure: Any, axes: Any, groups: Groups, theme: str) -> tuple[NDArray[Any], Any]:
    palette = np.array([*GROUP_COLOURS[theme][: groups.n_coloured], GREYS[theme]])
    of_point = np.asarray(groups.of_point)
    place = np.where((of_point < 0) | (of_point >= groups.n_coloured), groups.n_coloured, of_point)
    names = [shortened(name, _LEGEND_LETTERS) for name in groups.names[: groups.n_coloured]]
    if (place == groups.n_coloured).any():
        names.append("other")
    dots = [
        axes.plot([], [], "o", color=colour, markersize=6)[0] for colour in palette[: len(names)]
    ]
    figure.legend(
        dots,
        [
            str(n) for n in range(len(dots))
        ],  # it would leave out names that begin with an underscore
        title=groups.name,
        loc="outside right upper",
        fontsize=SMALL,
        title_fontsize=SMALL,
        frameon=False,
    )
    (legend,) = figure.legends
    legend.get_title().set_color(INKS[theme])
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
        text.set_parse_math(False)
    return palette[place], legend


def _amount_colours(figure: Any, axes: Any, amounts: Amounts, theme: str) -> NDArray[Any]:
    colors = drawing_library("matplotlib.colors")
    share, (low, high) = amounts.on_scale()
    scale = colors.LinearSegmentedColormap.from_list("scale", SCALES[theme])
    scale = scale.with_extremes(bad=GREYS[theme])
    norm = (colors.LogNorm if amounts.log else colors.Normalize)(
        low, high if high > low else low + 1
    )
    mappable = drawing_library("matplotlib.cm").ScalarMappable(norm, scale)
    bar = figure.colorbar(mappable, ax=axes, shrink=0.4, aspect=18, pad=0.02)
    bar.set_label(amounts.name, color=INKS[theme], fontsize=SMALL, parse_math=False)
    bar.ax.tick_params(colors=INKS[theme], labelsize=SMALL)
    bar.outline.set_visible(False)
    colours: NDArray[Any] = scale(np.ma.masked_invalid(share))
    return colours


def _name_the_best_known(
    figure: Any,
    axes: Any,
    picture: "MapPicture",
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    areas: NDArray[np.float64],
) -> None:
    """Write the labels of the largest points where there is room, the largest first."""
    canvas = drawing_library("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # the layout is known only now
    figure.set_layout_engine("none")
    renderer = canvas.get_renderer()
    inside = axes.get_window_extent(renderer)
    taken: list[Any] = []
    best = np.argsort(-np.asarray(picture.sizes, float), kind="stable")[:_TRIED]
    for point in best.tolist():
        if len(taken) == _MOST_LABELS:
            return
        label = shortened(picture.labels[point], _LETTERS)
        if not label:
            continue
        away = _AWAY + np.sqrt(areas[point] / np.pi)
        text = axes.annotate(
            label,
            (x[point], y[point]),
            xytext=(away, 0),
            textcoords="offset points",
            fontsize=6.5,
            color=INKS[picture.theme],
            parse_math=False,
            zorder=4,
            path_effects=_halo(GROUNDS[picture.theme]),
        )
        for dx, dy, ha, va in _SIDES:
            text.set(position=(dx * away, dy * away), ha=ha, va=va)
            box = text.get_window_extent(renderer).expanded(1.02, 1.1)
            within = inside.x0 <= box.x0 and box.x1 <= inside.x1
            within &= inside.y0 <= box.y0 and box.y1 <= inside.y1
            if within and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            text.remove()


_SIDES = (
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
)


def _halo(colour: str) -> list[Any]:
    return [drawing_library("matplotlib.patheffects").withStroke(linewidth=1.6, foreground=colour)]
