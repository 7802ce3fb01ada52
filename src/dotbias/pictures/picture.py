"""What every picture can do: become a PNG, a page of HTML, or part of a notebook."""

import base64
import html
import importlib
import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from dotbias.errors import DataError
from dotbias.extras import install
from dotbias.pictures.page import page
from dotbias.shown import Shown, brief
from dotbias.whole_file import FileKind, whole_file


class Picture(Shown, ABC):
    """Base of all pictures: something with a title, and a note in small print below it."""

    title: str
    note: str

    @abstractmethod
    def figure(self) -> Any:
        """The picture as a ``matplotlib.figure.Figure``, which belongs to no window."""

    def save(self, path: Path | str, *, force: bool = False) -> Path:
        """Write the picture to a file.

        Args:
            path: where to; the ending chooses the kind. ``.png`` is an image, ``.html`` a page to look
                around in, which holds all it needs and works without a network. A picture that dotbias
                has drawn there is replaced.
            force: replace any other file, too.

        Returns:
            The path of the file.

        Raises:
            DataError: on another ending, when the file cannot be written or is there and no picture of
                ours, or when the libraries that draw are not installed.
        """
        path = Path(path)
        with whole_file(path, PICTURE, force=force) as part:
            drawn = self._png() if path.suffix.lower() == ".png" else self._page()
            part.write_bytes(drawn)
        return path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({brief(self.title)})"

    def _repr_html_(self) -> str:
        # An image: where notebooks are shown, scripts often are not run.
        image = base64.b64encode(self._png(on_any_ground=True)).decode()
        alt = html.escape(self.title)
        return f'<img src="data:image/png;base64,{image}" alt="{alt}" style="max-width: 100%">'

    def _png(self, *, on_any_ground: bool = False) -> bytes:
        style = drawing_library("matplotlib.style")
        file = io.BytesIO()
        # The look of a saved picture must not hang on what the caller has set for other plots.
        with style.context("default"):
            figure = self.figure()
            if on_any_ground:
                _without_ground(figure)
            figure.savefig(
                file, format="png", transparent=on_any_ground, metadata={"Software": "dotbias"}
            )
        return file.getvalue()

    @abstractmethod
    def _page(self) -> bytes:
        """The whole page of HTML."""


class ChartPicture(Picture):
    """Base of pictures with axes, whose page is drawn by ``chart_page/page.js``."""

    @abstractmethod
    def chart(self) -> dict[str, Any]:
        """What the page draws, as plain data; ``kind`` says how."""

    def _page(self) -> bytes:
        return page("chart_page", self.chart(), title=self.title, note=self.note)


# As far from white as from the grounds of dark notebooks, near #1a1a1a.
_INK = "#7c7c7c"


def _without_ground(figure: Any) -> None:
    """Make a figure that is drawn on white fit for a ground of any lightness, which shows through.

    What is grey on white, a line of a grid, is as strong on any ground; colours stay.
    """
    to_rgb = drawing_library("matplotlib.colors").to_rgb
    text, line, spine = (
        getattr(drawing_library(f"matplotlib.{module}"), kind)
        for module, kind in (("text", "Text"), ("lines", "Line2D"), ("spines", "Spine"))
    )
    for word in figure.findobj(text):
        word.set(color=_INK, path_effects=[])
        if word.get_bbox_patch() is not None:
            word.get_bbox_patch().set_visible(False)
    for edge in figure.findobj(spine):
        edge.set_edgecolor(_INK)
    for stroke in figure.findobj(line):
        red, green, blue = to_rgb(stroke.get_color())
        if red == green == blue:
            stroke.set(color=_INK, alpha=max(0.2, 1 - red))


def drawing_library(module: str, extra: str = "plot") -> Any:
    """Import one module of matplotlib, which comes with an extra.

    Args:
        module: its full name.
        extra: the extra to name, where the work needs more than this library.

    Raises:
        DataError: when it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(f'drawing needs the extra "{extra}": {install(extra)}') from error


# What a picture of ours has near its beginning: a PNG, a page.
_MARKS = (b"Software\0dotbias", b'<meta name="generator" content="dotbias">')


def _is_ours(path: Path) -> bool:
    """Whether a file is a picture that was drawn here."""
    with path.open("rb") as file:
        head = file.read(1000)
    return any(mark in head for mark in _MARKS)


def check_drawing(path: Path, extra: str = "plot") -> None:
    """Refuse to draw what a library is missing for.

    Args:
        path: of the picture.
        extra: the extra to name.

    Raises:
        DataError: with the command that installs it.
    """
    if path.suffix.lower() == ".png":
        drawing_library("matplotlib", extra)


PICTURE = FileKind("picture", (".png", ".html"), _is_ours)
