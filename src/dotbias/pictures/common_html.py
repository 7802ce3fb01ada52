"""What all pictures drawn with plotly share."""

import html
import textwrap
from typing import Any

NAME = 24  # letters in a line of the legend

LEGEND: dict[str, Any] = {"itemsizing": "constant", "itemwidth": 55}
AXIS: dict[str, Any] = {
    "tickformat": "~g",
    "hoverformat": ".5~g",
    "showgrid": True,
    "gridcolor": "#e6e6e6",
    "zeroline": False,
}


def plain(text: str, width: int) -> str:
    """Text in which plotly sees no markup but the ends of lines of ``width`` letters."""
    return "<br>".join(map(html.escape, textwrap.wrap(text, width)))
