"""A map of points: what is near what, as a page to look around in or an image for a paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dotbias.errors import SettingError
from dotbias.pictures import map_html, map_png
from dotbias.pictures.colouring import Amounts, Groups
from dotbias.pictures.palette import GROUP_COLOURS
from dotbias.pictures.picture import Picture

Theme: TypeAlias = Literal["light", "dark"]


@dataclass(frozen=True, kw_only=True, eq=False)
class MapPicture(Picture):
    """Points on a plane whose axes mean nothing.

    The page (``save("map.html")``) can be zoomed and searched, says what a point is and lights up its
    true neighbours; it follows its reader's choice of a light or dark ground. The image names the points
    of the largest size.

    Args:
        title: stands above the map.
        note: what is shown, in small print.
        warning: what is wrong with the map; empty where nothing is.
        evidence: figures that say how good it is, by name.
        x, y: places of the n points, shape (n,).
        labels: a name for each point; any text.
        facts: what else is said of each point, numbers or texts by name, each of shape (n,).
        colourings: what the colours may say; the first is shown at the start.
        sizes: weights that are not negative; the area of a point above that of the smallest is
            proportional to its own, shape (n,).
        neighbours: the true neighbours of each point, -1 for none, shape (n, m).
        similarities: how near they are, shape (n, m).
        theme: ground of the image.

    Raises:
        SettingError: when there are no points, or a field has another shape.
    """

    title: str
    note: str = ""
    warning: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict)
    x: ArrayLike
    y: ArrayLike
    labels: Sequence[str]
    facts: Mapping[str, ArrayLike] = field(default_factory=dict)
    colourings: tuple[Groups | Amounts, ...]
    sizes: ArrayLike
    neighbours: ArrayLike
    similarities: ArrayLike
    theme: Theme = "light"

    def __post_init__(self) -> None:
        n = len(self.labels)
        if n == 0:
            raise SettingError("MapPicture(labels): there must be at least one point")
        if not self.colourings:
            raise SettingError("MapPicture(colourings): there must be at least one")
        if self.theme not in GROUP_COLOURS:
            raise SettingError(f"MapPicture(theme={self.theme!r}): must be light or dark")
        rows = {"x": self.x, "y": self.y, "sizes": self.sizes}
        rows |= {f"facts[{name!r}]": values for name, values in self.facts.items()}
        for c in self.colourings:
            rows[f"colourings[{c.name!r}]"] = c.of_point if isinstance(c, Groups) else c.values
        for name, values in rows.items():
            if np.shape(values) != (n,):
                raise SettingError(
                    f"MapPicture({name}): must have the shape ({n},), not {np.shape(values)}"
                )
        near = np.shape(self.neighbours)
        if len(near) != 2 or near[0] != n or np.shape(self.similarities) != near:
            raise SettingError(
                f"MapPicture(neighbours, similarities): both must have the shape ({n}, m), not {near} "
                f"and {np.shape(self.similarities)}"
            )
        if not (np.isfinite(self.x).all() and np.isfinite(self.y).all()):
            raise SettingError("MapPicture(x, y): all must be finite")

    def figure(self) -> Any:
        """The map as a ``matplotlib.figure.Figure``, which belongs to no window."""
        return map_png.draw(self)

    def _page(self) -> bytes:
        return map_html.page(self)

    def shares(self) -> NDArray[np.float64]:
        """Size of each point, as a share of the largest, shape (n,)."""
        sizes = np.maximum(np.asarray(self.sizes, np.float64), 0)
        shares: NDArray[np.float64] = sizes / (sizes.max() or 1)
        return shares
