"""A surface, and paths that grow step by step, as the page of a chart draws them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dotbias.pictures.axes import Numbers, drawable
from dotbias.pictures.common_html import legend
from dotbias.pictures.page import numbers

if TYPE_CHECKING:
    from dotbias.pictures.surface import SurfacePicture

_MOST_MOMENTS = 120  # at which paths are shown
_MOST_POINTS = 400  # of a path
_MOST_SIDE = 151  # points along each side of the surface


def chart(picture: "SurfacePicture") -> dict[str, Any]:
    """What the page draws, as plain data."""
    _, levels = picture.levels()
    x, y = (np.asarray(side, float) for side in (picture.x, picture.y))
    columns, rows = _places(len(x)), _places(len(y))
    heights = drawable(picture.heights, log=False)
    lowest = 0.0 if np.isnan(heights).all() else float(np.nanmin(heights))
    paths, beneath = picture.drawable_paths(), picture.beneath()
    last = max((len(path) - 1 for path in paths.values()), default=0)
    moments = np.unique(np.linspace(0, last, min(last + 1, _MOST_MOMENTS)).round().astype(int))
    return {
        "kind": "surface",
        "x": numbers(x[columns]),
        "y": numbers(y[rows]),
        # Beside the lowest: a hundred thousandth of the highest has a level of its own.
        "above": numbers((heights - lowest)[np.ix_(rows, columns)], digits=4),
        "lowest": lowest,
        "levels": levels.tolist(),
        "moments": moments.tolist(),
        "paths": [
            {"name": name, "beneath": beneath[name], **_path(path, moments)}
            for name, path in paths.items()
        ],
        "minimum": None if picture.minimum is None else numbers(picture.minimum),
        "legend": legend(picture.styles()),
    }


def _places(n: int) -> NDArray[np.intp]:
    """Grid points of the page: every so many, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST_SIDE)).round().astype(int))


def _path(path: Numbers, moments: NDArray[np.intp]) -> dict[str, Any]:
    last = len(path) - 1
    steps = np.union1d(_corners(last), moments[moments <= last])
    x, y = path[steps].T
    return {"steps": steps.tolist(), "x": numbers(x), "y": numbers(y)}


def _corners(last: int) -> NDArray[np.intp]:
    """Steps at which a path has a corner.

    All of them, or pairs of neighbours where there are too many: what swings from side to side at each
    step still does so.
    """
    if last < _MOST_POINTS:
        return np.arange(last + 1)
    first = np.linspace(0, last - 1, _MOST_POINTS // 2).round().astype(int)
    return np.union1d(first, first + 1)
