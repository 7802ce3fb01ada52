"""Line styles that stay apart for people with colour-blindness and on a grey print.

Each dash pattern comes in a dark, a middle and a light colour. Two lines of the same pattern therefore
differ in lightness, which neither colour-blindness nor a copier takes away, and all others differ in
their pattern. A marker of its own on each line helps where lines cross.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dotbias.shown import Shown


@dataclass(frozen=True)
class LineStyle(Shown):
    """How one line looks.

    Args:
        colour: ``#rrggbb``.
        dash: ``solid``, ``dash``, ``dashdot`` or ``dot``.
        marker: a shape: ``circle``, ``square``, ``triangle-up``, ….
    """

    colour: str
    dash: str
    marker: str


# Seven of the eight colours of Okabe & Ito (2008), whose yellow is too pale for a line on white, and
# darker and paler ones that give each dash pattern its three lightnesses.
_STYLES = (
    LineStyle("#0072b2", "solid", "circle"),
    LineStyle("#e69f00", "solid", "square"),
    LineStyle("#000000", "solid", "triangle-up"),
    LineStyle("#d55e00", "dash", "diamond"),
    LineStyle("#56b4e9", "dash", "triangle-down"),
    LineStyle("#332288", "dash", "x"),
    LineStyle("#009e73", "dashdot", "cross"),
    LineStyle("#f29cb7", "dashdot", "pentagon"),
    LineStyle("#882255", "dashdot", "star"),
    LineStyle("#aa4499", "dot", "triangle-left"),
    LineStyle("#b5b02c", "dot", "triangle-right"),
    LineStyle("#0b4a2b", "dot", "hexagon"),
)
ON_DARK = {
    **{"#0072b2": "#2a83d8", "#e69f00": "#e69f00", "#000000": "#f2f2f2"},
    **{"#d55e00": "#d55e00", "#56b4e9": "#56b4e9", "#332288": "#e2dbff"},
    **{"#009e73": "#00bd80", "#f29cb7": "#ffc4d6", "#882255": "#b83a78"},
    **{"#aa4499": "#aa4499", "#b5b02c": "#b5b02c", "#0b4a2b": "#b8f0cf"},
}
"""The colours of lines on a dark ground: those that it would swallow in another lightness."""

_DASHES = ("solid", "dash", "dashdot", "dot")


def style_of(index: int) -> LineStyle:
    """Style of line number ``index``, from 0.

    The first twelve stay apart for everyone. After them the colours and markers come again, each with
    another dash pattern, so 48 styles are different.

    >>> style_of(0)
    LineStyle(colour='#0072b2', dash='solid', marker='circle')
    >>> style_of(12)
    LineStyle(colour='#0072b2', dash='dash', marker='circle')
    """
    round_, place = divmod(index, len(_STYLES))
    style = _STYLES[place]
    dash = _DASHES[(_DASHES.index(style.dash) + round_) % len(_DASHES)]
    return LineStyle(style.colour, dash, style.marker)


def styles(names: Iterable[str], order: Sequence[str] = ()) -> dict[str, LineStyle]:
    """Style of each name.

    Args:
        names: names of the lines; one that comes twice has one style.
        order: names whose styles never change, whatever else is drawn. The other names follow them in
            the order in which they appear.

    Returns:
        The style of each of ``names``, in their order.

    >>> styles(["mine", "adam"], order=["sgd", "adam"])["adam"] == style_of(1)
    True
    """
    names = list(dict.fromkeys(names))
    places = {name: place for place, name in enumerate(dict.fromkeys([*order, *names]))}
    return {name: style_of(places[name]) for name in names}


# Of random colours with a contrast of at least 3 to the ground, eight that stay furthest apart (at least
# 30 in CIELAB) for normal sight, protanopia, deuteranopia and tritanopia (Machado et al. 2009).
GROUP_COLOURS = {
    "light": (
        *("#ea5770", "#1b8ffe", "#7f8402", "#6a1c90"),
        *("#0009ef", "#bb6aae", "#691d03", "#293245"),
    ),
    "dark": (
        *("#f16d73", "#8cc1fa", "#eec504", "#9500ff"),
        *("#5e5fc7", "#a15488", "#e22015", "#eeeff1"),
    ),
}
"""Colours of groups of points on either ground: a group has nearly the same hue on both."""

SCALES = {
    "light": ("#b97a1a", "#b3446c", "#2d2a8c"),
    "dark": ("#5a68d8", "#e083b4", "#ffd35c"),
}
"""Ends and middle of a scale of numbers on either ground, ordered by lightness."""

GROUNDS = {"light": "#ffffff", "dark": "#15181c"}
INKS = {"light": "#1c1f23", "dark": "#e8eaed"}
GREYS = {"light": "#8a9097", "dark": "#7d848c"}
"""What has no colour of its own."""

VALLEY, HILL = "#ffffff", "#c3cedb"
LEVEL_LINE = "#aab8c8"
"""The ground of a surface: its lowest, its highest, and the lines between."""
