"""Pictures made of bars, looked at through the figures of matplotlib and the data of pages."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.image import imread

from dotbias.errors import SettingError
from dotbias.pictures import Bar, BarPicture
from tests.pictures.test_saving import INJECTED, Page

BLUE, ORANGE = "#0072b2", "#e69f00"


def picture(*values: float, names: tuple[str, ...] = (), **settings: Any) -> BarPicture:
    named = names or tuple(f"bar {i}" for i in range(len(values)))
    bars = tuple(
        Bar(name=name, value=value, label=f"{value:+.3f}")
        for name, value in zip(named, values, strict=True)
    )
    return BarPicture(
        **{"title": "Why", "x_label": "stars", "note": "a note"} | settings, bars=bars
    )


def drawn(figure: Any) -> Any:
    figure.draw_without_rendering()
    return figure


def test_bars_stand_from_top_to_bottom_in_two_colours() -> None:
    (axes,) = drawn(picture(0.4, -0.2, 0.0).figure()).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["bar 0", "bar 1", "bar 2"]
    heights = [text.get_window_extent().y0 for text in axes.get_yticklabels()]
    assert heights == sorted(heights, reverse=True)
    assert [bar.get_width() for bar in axes.patches] == [0.4, -0.2, 0.0]
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [BLUE, ORANGE, BLUE]
    shown = picture(0.4, -0.2, 0.0).chart()["bars"]
    assert [bar["short"] for bar in shown] == ["bar 0", "bar 1", "bar 2"]
    assert [bar["value"] for bar in shown] == [0.4, -0.2, 0.0]
    assert [bar["light"] for bar in shown] == [BLUE, ORANGE, BLUE]


def test_the_two_colours_differ_in_lightness() -> None:
    light = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in (BLUE, ORANGE)]
    assert light[1] > 1.2 * light[0]


values = st.lists(
    st.one_of(st.floats(-1, 1), st.sampled_from([0.0, 1e-9, -1e-9, 50.0, -50.0])),
    min_size=1,
    max_size=14,
)


@settings(max_examples=25)
@given(values, st.text("Wi m", max_size=50))
@example([-0.3, 0.0], "only to the left, and one without length")
@example([-0.0001, 0.5], "W" * 50)
def test_labels_and_names_are_inside_the_figure_and_apart(heights: list[float], name: str) -> None:
    figure = drawn(picture(*heights, names=(name,) * len(heights)).figure())
    (axes,) = figure.axes
    labels = [text.get_window_extent() for text in axes.texts]
    names = [text.get_window_extent() for text in axes.get_yticklabels()]
    for box in (*labels, *names):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.y1
    for above, below in pairwise(labels):
        assert above.y0 > below.y1
    for label, box in zip(labels, names, strict=True):
        assert label.x0 > box.x1 or box.width == 0


def test_a_long_title_and_note_neither_leave_the_figure_nor_touch_the_bars() -> None:
    figure = drawn(picture(0.4, -0.2, title="word " * 60, note="word " * 90).figure())
    boxes = [text.get_window_extent() for text in (figure._suptitle, figure._supxlabel)]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)
    (axes,) = figure.axes
    assert boxes[1].y1 < axes.get_tightbbox().y0 < axes.get_tightbbox().y1 < boxes[0].y0


def test_a_long_name_is_shortened_and_whole_where_the_mouse_is() -> None:
    name = "A film whose title goes on and on and on (1995)"
    one = picture(0.4, names=(name,))
    (axes,) = drawn(one.figure()).axes
    short = "A film whose title goes on and on… (1995)"
    assert [text.get_text() for text in axes.get_yticklabels()] == [short]
    (bar,) = one.chart()["bars"]
    assert (bar["short"], bar["name"]) == (short, name)
    assert Bar(name="two\nlines", value=1).short_name == "two lines"


def test_the_axis_has_room_for_labels_on_the_sides_that_have_bars() -> None:
    assert picture(0.5, 1.0).ends() == (0.0, 1.2)
    assert picture(-0.5, -1.0).ends() == (-1.2, 0.0)
    assert picture(-1.0, 0.0).ends() == (-1.2, 0.2)
    assert picture(-1.0, 1.0).ends() == (-1.4, 1.4)
    assert picture(0.0).ends() == (-1.0, 1.0)


def test_two_bars_of_one_name_are_two_bars() -> None:
    assert len(picture(0.4, 0.2, names=("same", "same")).chart()["bars"]) == 2


@pytest.mark.parametrize(
    "name", [INJECTED, "$x^2$ and $5", "_a", "50 % {x}", "", "very long " * 30]
)
def test_names_stay_text(name: str, tmp_path: Path) -> None:
    one = picture(0.4, -0.3, names=(name, name), title=name, note=name, x_label=name)
    (axes,) = drawn(one.figure()).axes
    texts = [*axes.get_yticklabels(), *axes.texts, axes.xaxis.label]
    assert not any(text.get_parse_math() for text in texts)
    one.save(tmp_path / "x.png")
    page = Page(one.save(tmp_path / "x.html").read_text("utf-8"))
    assert not [tag for tag, _ in page.elements if tag == "b"]


def test_both_files_are_whole_pictures(tmp_path: Path) -> None:
    one = picture(0.4, -0.2)
    pixels = imread(one.save(tmp_path / "x.png"))[:, :, :3]
    for colour in (BLUE, ORANGE):
        rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert (abs(pixels - rgb).max(axis=2) < 0.02).sum() > 1000
    page = Page(one.save(tmp_path / "x.html").read_text("utf-8"))
    assert not [a for _, attrs in page.elements for a in attrs if a in ("src", "href", "srcset")]
    assert page.text.count("Why") == 2  # title of the window, heading


def test_nothing_to_draw_and_no_number_are_refused() -> None:
    with pytest.raises(SettingError, match=r"BarPicture\(bars\): there must be at least 1"):
        BarPicture(title="", bars=(), x_label="")
    with pytest.raises(SettingError, match=r"Bar\('a'\): value must be a finite number, not nan"):
        Bar(name="a", value=float("nan"))
