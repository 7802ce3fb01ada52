"""What the pages of pictures with axes share."""

from collections.abc import Mapping
from typing import Any

from dotbias.pictures.palette import ON_DARK, LineStyle


def legend(styles: Mapping[str, LineStyle], faint: Mapping[str, bool] | None = None) -> list[Any]:
    """How each name looks, in the order of the legend."""
    return [
        {
            "name": name,
            **both_grounds(style.colour),
            "dash": style.dash,
            "marker": style.marker,
            "faint": bool(faint and faint[name]),
        }
        for name, style in styles.items()
    ]


def both_grounds(colour: str) -> dict[str, str]:
    """A colour of the palette on white, and the same on a dark ground."""
    return {"light": colour, "dark": ON_DARK[colour]}
