"""Files of pictures: whole or not at all, self-contained, and without surprises for the caller."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from dotbias.errors import DataError
from dotbias.pictures import Line, LinePicture, Mark, Panel, SurfacePicture

INJECTED = '<b>x</b><script src="http://example.org/x.js"></script>'


def line_picture(name: str = "sgd", title: str = "A fit") -> LinePicture:
    line = Line(name=name, x=[1, 2, 3], y=[0.9, 0.8, 0.75])
    marks = (Mark(x=2, label=name), Mark(x=1, label=name, y=0.9))
    panel = Panel(title=name, x_label=name, y_label=name, lines=(line,), marks=marks)
    return LinePicture(title=title, panels=(panel,), note=name)


def surface_picture(name: str = "sgd", title: str = "A bowl") -> SurfacePicture:
    x = np.linspace(-1, 1, 20)
    path = np.array([(0.8**k, 0.5**k) for k in range(10)])
    return SurfacePicture(
        title=title,
        x=x,
        y=x,
        heights=x**2 + x[:, None] ** 2,
        paths={name: path},
        minimum=(0, 0),
        note=name,
    )


pictures = pytest.mark.parametrize("make", [line_picture, surface_picture])
endings = pytest.mark.parametrize("ending", [".png", ".html"])


class Page(HTMLParser):
    """The elements of a page, and its text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and self.cdata_elem:
            self.scripts.append(data)
        else:
            self.text += data


@pictures
def test_a_png_is_an_image_that_is_mostly_white_and_not_blank(make, tmp_path: Path) -> None:
    path = make().save(tmp_path / "picture.PNG")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread(path)[:, :, :3]
    assert min(pixels.shape[:2]) > 500
    dark = (pixels.min(axis=2) < 0.5).mean()
    assert 0.005 < dark < 0.2
    # The blue of the first line.
    assert (np.abs(pixels - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=2) < 0.02).sum() > 200


@pictures
def test_a_page_refers_to_nothing_outside_itself(make, tmp_path: Path) -> None:
    page = Page(make().save(tmp_path / "picture.html").read_text("utf-8"))
    assert {tag for tag, _ in page.elements} >= {"html", "script", "h1"}
    assert not [a for _, attrs in page.elements for a in attrs if a in ("src", "href", "srcset")]
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "object", "img")]
    assert any("default-src 'none'" in str(attrs.get("content")) for _, attrs in page.elements)


@pictures
def test_a_name_cannot_inject_markup_into_a_page(make, tmp_path: Path) -> None:
    page = Page(make(INJECTED, title=INJECTED).save(tmp_path / "x.html").read_text("utf-8"))
    assert not [tag for tag, _ in page.elements if tag == "b"]
    assert not [attrs for _, attrs in page.elements if "src" in attrs]
    assert page.text.count(INJECTED) == 3  # title of the window, heading, note
    assert len(page.scripts) == 2  # the data and what draws them


@pictures
def test_names_of_any_letters_are_drawn_as_they_are(make, tmp_path: Path) -> None:
    for name in ("_adam", r"$\alpha", "50 % {x}", "a\nb", "", "very long " * 30):
        make(name, title=name).save(tmp_path / "x.png")
        make(name, title=name).save(tmp_path / "x.html")


@pictures
@endings
def test_the_same_picture_is_the_same_file(make, ending: str, tmp_path: Path) -> None:
    one, other = (make().save(tmp_path / f"{i}{ending}").read_bytes() for i in range(2))
    assert one == other


@pictures
def test_another_ending_is_refused_with_the_two_that_work(make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot write .*picture\.pdf.* \.png or \.html"):
        make().save(tmp_path / "picture.pdf")
    assert not list(tmp_path.iterdir())


@endings
def test_a_folder_that_is_not_there_is_named(ending: str, tmp_path: Path) -> None:
    path = tmp_path / "missing" / f"picture{ending}"
    with pytest.raises(DataError, match=r"cannot write .*missing.*: there is no folder .*missing"):
        line_picture().save(path)


@endings
def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"picture{ending}"
    before = line_picture().save(path).read_bytes()

    def full_disk(self: Path, data: bytes) -> int:
        if not data.strip(b"\0"):  # what is tried beforehand finds room
            return len(data)
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        line_picture().save(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


@pictures
def test_a_page_needs_no_library_and_an_image_without_one_says_what_to_install(
    make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ["matplotlib", *(m for m in sys.modules if m.startswith("matplotlib."))]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r'needs the extra "plot": pip install .*\[plot\]"'):
        make().save(tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())
    make().save(tmp_path / "picture.html")


def test_the_library_is_not_loaded_before_something_is_drawn() -> None:
    code = (
        "import sys, dotbias.pictures; "
        "sys.exit(any(m.split('.')[0] == 'matplotlib' for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_leaves_the_callers_plots_alone(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tests.pictures.test_saving import line_picture\n"
        f"line_picture().save({str(tmp_path / 'x.png')!r})\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    before = dict(matplotlib.rcParams)
    line_picture().save(tmp_path / "x.png")
    assert dict(matplotlib.rcParams) == before


def test_the_callers_settings_do_not_change_a_file(tmp_path: Path) -> None:
    plain = line_picture().save(tmp_path / "plain.png").read_bytes()
    with matplotlib.rc_context({"figure.facecolor": "black", "font.size": 30}):
        assert line_picture().save(tmp_path / "mine.png").read_bytes() == plain


@pictures
def test_a_notebook_shows_a_picture_as_an_image_inside_it(make) -> None:
    ((tag, attributes),) = Page(make(title='"><b>x')._repr_html_()).elements
    assert tag == "img"
    assert attributes["alt"] == '"><b>x'
    assert str(attributes["src"]).startswith("data:image/png;base64,iVBOR")


@pictures
@endings
def test_a_picture_of_ours_is_replaced_and_another_when_told_so(
    make, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"picture{ending}"
    whole = make().save(path).read_bytes()
    assert make().save(path).read_bytes() == whole
    with matplotlib.rc_context():
        figure = make().figure()
        figure.savefig(tmp_path / "mine.png")  # of the same library
    for other in ((tmp_path / "mine.png").read_bytes(), b"<!DOCTYPE html>", b"user,item,rating"):
        path.write_bytes(other)
        with pytest.raises(DataError, match=r"a file is there, .* force=True"):
            make().save(path)
        assert path.read_bytes() == other
        assert make().save(path, force=True).read_bytes() == whole
