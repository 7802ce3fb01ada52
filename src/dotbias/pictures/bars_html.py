"""Bars drawn with plotly."""

from typing import TYPE_CHECKING, Any

from dotbias.pictures.common_html import AXIS, plain
from dotbias.pictures.picture import drawing_library

if TYPE_CHECKING:
    from dotbias.pictures.bars import BarPicture

_WIDTH, _PER_BAR, _TOP, _BOTTOM = 900, 27, 40, 60  # pixels; the buttons are on top


def draw(picture: "BarPicture") -> Any:
    """The picture as a ``plotly.graph_objects.Figure``."""
    bars, plotly = picture.bars, drawing_library("plotly.graph_objects")
    places = list(range(len(bars)))
    drawn = {
        "type": "bar",
        "orientation": "h",
        "x": [bar.value for bar in bars],
        "y": places,
        "width": 0.7,
        "marker": {"color": [bar.colour for bar in bars], "line": {"width": 0}},
        "text": [plain(bar.label, 56) for bar in bars],
        "textposition": "outside",
        "textangle": 0,
        "cliponaxis": False,
        "hovertext": [plain(bar.name, 56) for bar in bars],
        "hovertemplate": "%{hovertext}<br>%{x:.5~g}<extra></extra>",
    }
    layout = {
        "template": "simple_white",
        "showlegend": False,
        "width": _WIDTH,
        "height": _TOP + _PER_BAR * len(bars) + _BOTTOM,
        "margin": {"l": 10, "r": 10, "t": _TOP, "b": _BOTTOM},
        "xaxis": {
            **AXIS,
            "zeroline": True,
            "zerolinecolor": "#444444",
            "range": list(picture.ends()),
            "title_text": plain(picture.x_label, 100),
        },
        "yaxis": {
            "range": [len(bars) - 0.4, -0.6],
            "tickvals": places,
            "ticktext": [plain(bar.short_name, 56) for bar in bars],
            "ticks": "",
            "showline": False,
            "automargin": True,
        },
    }
    return plotly.Figure(data=[drawn], layout=layout)
