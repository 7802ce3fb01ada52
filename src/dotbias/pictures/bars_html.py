"""Bars as the page of a chart draws them."""

from typing import TYPE_CHECKING, Any

from dotbias.pictures.common_html import both_grounds

if TYPE_CHECKING:
    from dotbias.pictures.bars import BarPicture


def chart(picture: "BarPicture") -> dict[str, Any]:
    """What the page draws, as plain data."""
    return {
        "kind": "bars",
        "xLabel": picture.x_label,
        "ends": picture.ends(),
        "bars": [
            {
                "name": bar.name,
                "short": bar.short_name,
                "value": bar.value,
                "label": bar.label,
                **both_grounds(bar.colour),
            }
            for bar in picture.bars
        ],
    }
