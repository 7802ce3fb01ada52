"""Pictures of a surface in two dimensions and the paths that solvers take across it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dotbias.errors import SettingError
from dotbias.pictures import surface_html, surface_png
from dotbias.pictures.axes import Numbers, beneath, drawable
from dotbias.pictures.palette import LineStyle, styles
from dotbias.pictures.picture import ChartPicture

_LEVELS = 14
_FAR = 1000  # lengths of the picture
_FLAT = 1e-200  # height of a surface without levels


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfacePicture(ChartPicture):
    """A surface from above, as a map with level lines, and paths across it.

    The levels are evenly spaced in the logarithm of the height above the lowest point, so a flat
    valley has its lines as well as a steep wall. In a page of HTML the paths grow step by step.

    Args:
        title: stands above everything.
        x: (nx,) ascending numbers.
        y: (ny,) ascending numbers.
        heights: (ny, nx) height at each ``y`` and ``x``.
        paths: by name, (n_steps + 1, 2) places from the start on, each an ``x`` and a ``y``. What lies
            outside ``x`` and ``y`` is cut off.
        minimum: the lowest place, if it is known; marked with a star.
        note: small print below the picture.
        order: names whose styles never change, whatever else is in the picture
            (``dotbias.pictures.palette.styles``).

    Raises:
        SettingError: when the shapes do not fit together, or ``x`` or ``y`` does not ascend.

    >>> from dotbias.pictures import SurfacePicture
    >>> x = np.linspace(-1, 1, 50)
    >>> path = [(0.5**k, 0.8**k) for k in range(20)]
    >>> bowl = SurfacePicture(title="A bowl", x=x, y=x, heights=x**2 + x[:, None] ** 2,
    ...                       paths={"sgd": path}, minimum=(0, 0))
    >>> bowl.styles()
    {'sgd': LineStyle(colour='#0072b2', dash='solid', marker='circle')}
    """

    title: str
    x: ArrayLike
    y: ArrayLike
    heights: ArrayLike
    paths: Mapping[str, ArrayLike]
    minimum: tuple[float, float] | None = None
    note: str = ""
    order: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in (("x", self.x), ("y", self.y)):
            if np.ndim(values) != 1 or np.size(values) < 2 or not np.all(np.diff(values) > 0):
                raise SettingError(
                    f"SurfacePicture({name}): must be at least two ascending numbers in a row"
                )
        wanted = (np.size(self.y), np.size(self.x))
        if np.shape(self.heights) != wanted:
            raise SettingError(
                f"SurfacePicture(heights): must have the shape (ny, nx) = {wanted}, "
                f"not {np.shape(self.heights)}"
            )
        for name, path in self.paths.items():
            if np.ndim(path) != 2 or np.shape(path)[1] != 2 or not len(np.asarray(path)):
                raise SettingError(
                    f"SurfacePicture(paths[{name!r}]): must have the shape (n_steps + 1, 2), "
                    f"not {np.shape(path)}"
                )

    def figure(self) -> Any:
        """The picture as a ``matplotlib.figure.Figure``, which belongs to no window."""
        return surface_png.draw(self)

    def chart(self) -> dict[str, Any]:
        """What the page draws, as plain data."""
        return surface_html.chart(self)

    def styles(self) -> dict[str, LineStyle]:
        """Style of each path by its name."""
        return styles(self.paths, self.order)

    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Ends of the x and of the y axis: those of the surface."""
        x, y = np.asarray(self.x, float), np.asarray(self.y, float)
        return (float(x[0]), float(x[-1])), (float(y[0]), float(y[-1]))

    def levels(self) -> tuple[Numbers, Numbers]:
        """The surface in level units, and the units that have a level line.

        Returns:
            ``(ny, nx)`` decimal logarithms of the height above the lowest point, NaN where there is
            no finite height, and the levels, ascending; on a flat surface a single level above it.
        """
        heights = drawable(self.heights, log=False)
        if np.isnan(heights).all():
            return heights, np.array([0.0])
        above = heights - np.nanmin(heights)
        top = np.nanmax(above)
        if top < _FLAT:
            return np.zeros_like(above), np.array([1.0])
        # The lowest point itself has no logarithm, and the grid says nothing about what is finer than
        # its second-lowest point.
        bottom = np.clip(np.nanmin(above[above > 0]), 1e-5 * top, 0.1 * top)
        logs = np.log10(np.maximum(above, bottom))
        return logs, np.linspace(np.log10(bottom), np.log10(top), _LEVELS + 2)[1:-1]

    def drawable_paths(self) -> dict[str, Numbers]:
        """Paths as they can be drawn: points that are not finite are NaN, gaps.

        Of points very far away that follow each other, the first moves towards the middle of the
        picture, in a straight line, so that the way there looks the same; the others are gaps.
        """
        (left, right), (bottom, top) = self.ends()
        middle = np.array([left + right, bottom + top]) / 2
        size = np.array([right - left, top - bottom])
        moved = {}
        for name, path in self.paths.items():
            steps = (np.array(path, float) - middle) / size
            steps[~np.isfinite(steps).all(axis=1)] = np.nan
            far = np.abs(steps).max(axis=1) / _FAR
            steps[1:][(far[1:] > 1) & (far[:-1] > 1)] = np.nan
            moved[name] = middle + size * steps / np.maximum(far, 1)[:, None]
        return moved

    def beneath(self) -> dict[str, int]:
        """How many of the later paths lie on each: it is drawn wider, to be seen beneath them."""
        low, high = np.transpose(self.ends())
        paths = self.drawable_paths()
        shares = [(path - low) / (high - low) for path in paths.values()]
        return dict(zip(paths, beneath(shares), strict=True))
