"""A map of points as a page with a search, a legend and lists of neighbours.

The page draws on a canvas by a script of its own (``map_page/page.js``), which is several times as
fast as an SVG and holds 30,000 points (docs/architecture.md, "A page is a page of our own").
"""

import html
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from dotbias.pictures.colouring import Amounts, Groups
from dotbias.pictures.page import page as whole_page
from dotbias.pictures.palette import GREYS, GROUNDS, GROUP_COLOURS, INKS, SCALES

if TYPE_CHECKING:
    from dotbias.pictures.map import MapPicture

_DIGITS = 4  # of coordinates, which are shares of the map's width


def page(picture: "MapPicture") -> bytes:
    """The whole page."""
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(figure)}</td></tr>"
        for name, figure in picture.evidence.items()
    )
    return whole_page(
        "map_page",
        data(picture),
        rows=rows,
        title=picture.title,
        note=picture.note,
        warning=picture.warning,
        hidden="" if picture.warning else "hidden",
    )


def data(picture: "MapPicture") -> dict[str, Any]:
    """All that the script of the page reads."""
    x, y = _places(picture)
    near = np.asarray(picture.neighbours)
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        "labels": list(picture.labels),
        "facts": {name: _column(values) for name, values in picture.facts.items()},
        "sizes": picture.shares().round(_DIGITS).tolist(),
        "neighbours": near.tolist(),
        "similarities": np.round(np.asarray(picture.similarities, np.float64), 3).tolist(),
        "colourings": [
            _groups(colouring) if isinstance(colouring, Groups) else _amounts(colouring)
            for colouring in picture.colourings
        ],
        "themes": {
            theme: {
                "groups": GROUP_COLOURS[theme],
                "scale": SCALES[theme],
                "ground": GROUNDS[theme],
                "ink": INKS[theme],
                "grey": GREYS[theme],
            }
            for theme in GROUNDS
        },
    }


def _groups(groups: Groups) -> dict[str, Any]:
    of_point = np.asarray(groups.of_point).tolist()
    members = groups.members
    if members is None:
        members = [[] if group < 0 else [group] for group in of_point]
    return {
        "name": groups.name,
        "groups": groups.names,
        "ofPoint": of_point,
        "members": [list(own) for own in members],
    }


def _amounts(amounts: Amounts) -> dict[str, Any]:
    share, ends = amounts.on_scale()
    return {
        "name": amounts.name,
        "share": [None if np.isnan(s) else round(float(s), 3) for s in share],
        "ends": [float(f"{end:.4g}") for end in ends],
        "log": amounts.log,
    }


def _places(picture: "MapPicture") -> tuple[Any, Any]:
    """Coordinates between 0 and 1 on the longer side, shape (n,) each."""
    x, y = np.asarray(picture.x, np.float64), np.asarray(picture.y, np.float64)
    longest = max(np.ptp(x), np.ptp(y)) or 1.0
    return tuple(np.round((c - c.min()) / longest, _DIGITS) for c in (x, y))


def _column(values: ArrayLike) -> list[Any]:
    """Texts as they are, numbers with at most four digits, nothing for what is not finite."""
    column = np.asarray(values)
    if column.dtype.kind in "biu":
        return column.tolist()  # type: ignore[no-any-return]
    if column.dtype.kind != "f":
        return [str(value) for value in column]
    return [float(f"{v:.4g}") if np.isfinite(v) else None for v in column.tolist()]
