"""Pictures made of lines, looked at through the figures of matplotlib and the data of pages."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dotbias.errors import SettingError
from dotbias.pictures import Line, LinePicture, Mark, Panel, style_of

NAN = float("nan")
ELEVEN = tuple(f"line {number}" for number in range(11))


def panel(*lines: Line, **settings: Any) -> Panel:
    return Panel(
        **{"title": "Loss", "x_label": "epochs", "y_label": "RMSE"} | settings, lines=lines
    )


def picture(*panels: Panel) -> LinePicture:
    return LinePicture(title="A fit", panels=panels, note="split 0.2, seed 42")


def race() -> LinePicture:
    x = np.arange(1, 31)
    lines = [Line(name=name, x=x, y=1 / (x + k)) for k, name in enumerate(ELEVEN)]
    seconds = [Line(name=line.name, x=x / 10, y=line.y) for line in lines]
    return picture(panel(*lines), panel(*seconds, x_label="seconds"))


def one_line(**settings: Any) -> Line:
    return Line(**{"name": "sgd", "x": [1, 2, 3], "y": [3, 1, 2]} | settings)


def drawn(figure: Any) -> Any:
    figure.draw_without_rendering()
    return figure


def long_lines(axes: Any) -> list[Any]:
    """The drawn lines without those of marks."""
    return [line for line in axes.lines if line.get_transform() == axes.transData]


# PNG


def test_eleven_lines_have_one_legend_for_both_panels() -> None:
    figure = drawn(race().figure())
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(ELEVEN)
    colours = {line.get_color() for line in legend.get_lines()}
    assert len(colours) == 11
    for axes in figure.axes:
        assert axes.get_legend() is None
        assert [line.get_color() for line in axes.lines] == [style_of(i).colour for i in range(11)]


def test_the_legend_stands_beside_the_axes_and_inside_the_figure() -> None:
    figure = drawn(race().figure())
    box = figure.legends[0].get_window_extent()
    assert box.x0 > max(axes.get_tightbbox().x1 for axes in figure.axes)
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= 0


def test_a_long_name_leaves_room_for_the_panels() -> None:
    figure = drawn(picture(panel(one_line(name="a name of many words " * 8))).figure())
    (axes,) = figure.axes
    assert axes.bbox.width > figure.bbox.width / 2
    assert figure.legends[0].get_window_extent().x1 <= figure.bbox.x1


def test_title_and_note_are_inside_the_figure_however_long_they_are() -> None:
    long = LinePicture(title="word " * 60, panels=(panel(one_line()),), note="word " * 90)
    figure = drawn(long.figure())
    texts = [figure._suptitle, figure._supxlabel]
    boxes = [text.get_window_extent() for text in texts]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)
    (axes,) = figure.axes
    assert boxes[1].y1 < axes.get_tightbbox().y0 < axes.get_tightbbox().y1 < boxes[0].y0


marks = st.lists(
    st.tuples(st.floats(1e-5, 10), st.text("abc 1.", min_size=1, max_size=60), st.booleans()),
    min_size=1,
    max_size=6,
)


@settings(max_examples=15)
@given(marks)
@example([(9.9, "a label at the right end", False), (9.0, "one more", True)])
def test_labels_of_marks_neither_overlap_nor_leave_their_panel_sideways(
    places: list[tuple[float, str, bool]],
) -> None:
    marked = tuple(Mark(x=x, label=label, y=0.5 if at else None) for x, label, at in places)
    line = Line(name="sgd", x=[1e-5, 10], y=[0, 1])
    figure = drawn(picture(panel(line, marks=marked, x_log=True)).figure())
    (axes,) = figure.axes
    texts = [text for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    for one, other in combinations(boxes, 2):
        assert one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
    title = axes._left_title.get_window_extent()
    for box in boxes:
        assert axes.bbox.x0 - 2 <= box.x0
        assert box.x1 <= axes.bbox.x1 + 2
        assert axes.bbox.y1 <= box.y0
        assert box.y1 <= title.y0
    assert title.y1 <= figure.bbox.y1


def test_marks_leave_the_panels_their_height_and_their_titles_in_line() -> None:
    marked = panel(one_line(), marks=tuple(Mark(x=2, label=f"mark {i}") for i in range(4)))
    bare = drawn(picture(panel(one_line())).figure()).axes[0].bbox.height
    axes = drawn(picture(marked, panel(one_line())).figure()).axes
    assert axes[0].bbox.height == pytest.approx(bare, rel=0.05)
    titles = [a._left_title.get_window_extent().y0 for a in axes]
    assert titles[0] == pytest.approx(titles[1], abs=1)


def test_a_mark_without_a_height_goes_through_the_panel_and_one_with_it_starts_there() -> None:
    marked = (Mark(x=1.5, label="a"), Mark(x=2.5, label="b", y=2))
    (axes,) = drawn(picture(panel(one_line(), marks=marked, y_range=(0, 4))).figure()).axes
    guides = {
        line.get_xdata()[0]: line.get_ydata()
        for line in axes.lines
        if line.get_transform() != axes.transData
    }
    assert guides[1.5][0] == 0
    assert guides[2.5][0] == 0.5
    assert min(ys[1] for ys in guides.values()) > 1


def test_numbers_that_are_not_finite_are_gaps() -> None:
    line = one_line(x=range(6), y=[1, NAN, 2, float("inf"), 3, 4])
    (axes,) = drawn(picture(panel(line)).figure()).axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1, NAN, 2, NAN, 3, 4])
    assert axes.get_ylim() == pytest.approx((0.85, 4.15))


def test_a_line_of_one_point_and_a_point_between_gaps_have_a_marker() -> None:
    lonely = one_line(name="als", x=range(40), y=[NAN, 1.5, NAN, *range(37)], faint=True)
    (axes,) = drawn(picture(panel(one_line(x=[2], y=[3]), lonely)).figure()).axes
    assert axes.lines[0].get_markevery() == [0]
    assert axes.lines[1].get_markevery() == [1]
    assert all(line.get_marker() != "" for line in axes.lines)


def test_a_faint_line_is_thinner_paler_and_of_the_same_colour() -> None:
    raw = one_line(faint=True)
    (axes,) = drawn(picture(panel(raw, one_line())).figure()).axes
    faint, strong = axes.lines
    assert faint.get_linewidth() < strong.get_linewidth()
    assert faint.get_alpha() < strong.get_alpha()
    assert faint.get_color() == strong.get_color()


def test_the_legend_shows_the_strong_of_two_lines_of_one_name() -> None:
    figure = drawn(picture(panel(one_line(faint=True), one_line())).figure())
    (handle,) = figure.legends[0].get_lines()
    assert handle.get_alpha() == 1


@pytest.mark.parametrize(
    ("x", "ticks"),
    [
        ([1e-5, 10], ["0.00001", "0.0001", "0.001", "0.01", "0.1", "1", "10"]),
        ([0.01, 0.5], ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]),
        ([0.011, 0.032], ["0.015", "0.02", "0.025", "0.03"]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_plain_numbers(x: list[float], ticks: list[str]) -> None:
    (axes,) = drawn(picture(panel(one_line(x=x, y=[1, 2]), x_log=True)).figure()).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ticks
    assert not any(label.get_text() for label in axes.get_xticklabels(minor=True))


def test_the_y_range_is_kept_whatever_the_lines_do() -> None:
    lines = one_line(y=[1, 1e30, 2])
    (axes,) = drawn(picture(panel(lines, y_range=(0.5, 1.5))).figure()).axes
    assert axes.get_ylim() == (0.5, 1.5)


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.floats(), st.floats()), max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_any_numbers_at_all_can_be_drawn(
    points: list[tuple[float, float]], x_log: bool, y_log: bool
) -> None:
    x, y = [p[0] for p in points], [p[1] for p in points]
    one = picture(panel(one_line(x=x, y=y), x_log=x_log, y_log=y_log))
    one._repr_html_()
    assert one.chart()["panels"][0]["lines"]


# HTML


def test_in_a_page_a_name_has_one_legend_entry_for_its_lines_in_all_panels() -> None:
    chart = race().chart()
    assert [entry["name"] for entry in chart["legend"]] == list(ELEVEN)
    for drawn_panel in chart["panels"]:
        assert [line["name"] for line in drawn_panel["lines"]] == list(ELEVEN)


def test_in_a_page_gaps_stay_gaps_and_lonely_points_are_seen() -> None:
    line = one_line(x=range(40), y=[NAN, 1.5, float("inf"), *range(37)])
    (shown,) = picture(panel(line)).chart()["panels"][0]["lines"]
    assert shown["y"][:4] == [None, 1.5, None, 0]
    assert 1 in shown["marked"]


def test_in_a_page_a_long_line_keeps_its_peaks_its_gaps_and_its_ends() -> None:
    y = np.sin(np.arange(100_000.0))
    y[[31_234, 65_432, 70_000]] = 7, -7, NAN
    (shown,) = picture(panel(one_line(x=np.arange(y.size), y=y))).chart()["panels"][0]["lines"]
    assert len(shown["x"]) == len(shown["y"]) < 3_100
    assert shown["y"][shown["x"].index(31_234)] == 7
    assert shown["y"][shown["x"].index(65_432)] == -7
    assert shown["y"][shown["x"].index(70_000)] is None
    assert (shown["x"][0], shown["x"][-1]) == (0, 99_999)


def test_a_line_that_lies_beneath_others_is_wider() -> None:
    heights = ([3, 1, 2], [0, 1, 2], [3, 1, 2.01], [0, 1, 2])
    lines = [one_line(name=name, y=y) for name, y in zip("abcd", heights, strict=True)]
    faint = one_line(name="a", faint=True)
    one = panel(*lines, faint, one_line(name="e", y=[3, 1, NAN]))
    assert one.beneath() == [1, 1, 0, 0, 0, 0]
    (axes,) = picture(one).figure().axes
    widths = [line.get_linewidth() for line in axes.lines]
    assert widths[0] > widths[2] > widths[4]


# Descriptions


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: one_line(x=[1, 2]),
            r"Line\('sgd'\): x and y .* same length, not \(2,\) and \(3,\)",
        ),
        (lambda: one_line(x=[[1]], y=[[1]]), "two rows"),
        (lambda: Mark(x=NAN, label="a"), r"Mark\(x=nan\): x must be a finite number"),
        (lambda: Mark(x=1, label="a", y=NAN), r"Mark\(y=nan\): y must be a finite number"),
        (lambda: panel(y_range=(2, 1)), r"y_range must be .* the lower first, not \(2, 1\)"),
        (
            lambda: panel(y_range=(0, 1), y_log=True),
            "y_range must be above 0 on a logarithmic axis",
        ),
        (lambda: panel(marks=(Mark(x=0, label="a"),), x_log=True), "x of a mark must be above 0"),
        (
            lambda: panel(marks=(Mark(x=0, label="a", y=-1),), y_log=True),
            "y of a mark must be above 0",
        ),
        (lambda: picture(), "number must be 1 to 3, not 0"),
        (lambda: picture(*[panel(one_line())] * 4), "number must be 1 to 3, not 4"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(make: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()


def test_names_of_a_fixed_order_keep_their_style() -> None:
    one = LinePicture(title="", panels=(panel(one_line(name=ELEVEN[6])),), order=ELEVEN)
    (axes,) = one.figure().axes
    assert axes.lines[0].get_color() == style_of(6).colour
    assert one.chart()["legend"][0]["dash"] == style_of(6).dash
