"""A map of points as a page with a search, a legend and lists of neighbours.

The page draws on a canvas by a script of its own (``map_page/page.js``), which is several times as
fast as plotly and a hundredth of its size (docs/architecture.md, "A map is a page of our own").
"""

import html
import json
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from dotbias.pictures.colouring import Amounts, Groups
from dotbias.pictures.palette import GREYS, GROUNDS, GROUP_COLOURS, INKS, SCALES

if TYPE_CHECKING:
    from dotbias.pictures.map import MapPicture

_DIGITS = 4  # of coordinates, which are shares of the map's width


def page(picture: "MapPicture") -> bytes:
    """The whole page: one file that asks the network for nothing, and says so to the browser."""
    parts = files("dotbias.pictures") / "map_page"
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(figure)}</td></tr>"
        for name, figure in picture.evidence.items()
    )
    text = Template((parts / "page.html").read_text("utf-8")).substitute(
        title=html.escape(picture.title),
        note=html.escape(picture.note),
        warning=html.escape(picture.warning),
        hidden="" if picture.warning else "hidden",
        evidence=rows,
        style=(parts / "page.css").read_text("utf-8"),
        script=(parts / "page.js").read_text("utf-8"),
        data=_as_text(data(picture)),
    )
    return text.encode("utf-8", "replace")


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


def _as_text(content: dict[str, Any]) -> str:
    """JSON that ends no element, whatever a title holds."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text
