"""Pictures: lines, bars and surfaces, drawn as an image or as a page to look around in."""

from dotbias.pictures.bars import Bar, BarPicture
from dotbias.pictures.colouring import Amounts, Groups
from dotbias.pictures.lines import Line, LinePicture, Mark, Panel
from dotbias.pictures.map import MapPicture
from dotbias.pictures.palette import LineStyle, style_of, styles
from dotbias.pictures.surface import SurfacePicture

__all__ = [
    "Amounts",
    "Bar",
    "BarPicture",
    "Groups",
    "Line",
    "LinePicture",
    "LineStyle",
    "MapPicture",
    "Mark",
    "Panel",
    "SurfacePicture",
    "style_of",
    "styles",
]
