"""Pages of lines, bars and surfaces, driven in a real browser."""

import numpy as np
import pytest

from dotbias.pictures import Bar, BarPicture, Line, LinePicture, Mark, Panel, SurfacePicture
from tests.browser import Visit, chromium

MARKUP = "<script>alert('no')</script><img src=x onerror=alert(1)>"
LONG = "A name of a line that is longer than most"


def lines():
    x = np.geomspace(0.01, 100, 60)
    y = np.where(np.arange(60) == 30, np.nan, 1 / x)
    shown = (Line(name="sgd", x=x, y=y), Line(name=MARKUP, x=x, y=2 / x), Line(name=LONG, x=x, y=x))
    logs = Panel(
        title="Logarithms",
        x_label="rate",
        y_label="loss",
        lines=shown,
        x_log=True,
        y_log=True,
        marks=(Mark(x=0.02, label=f"a mark {MARKUP}"), Mark(x=99, label="at the end", y=0.5)),
    )
    plain = Panel(title="Plain", x_label="epochs", y_label="loss", lines=shown)
    return LinePicture(title=MARKUP, panels=(logs, plain), note="a note " * 30)


def bars():
    longest = "A film whose title goes on and on and on and on (1995)"
    shown = (
        Bar(name=longest, value=0.4, label="+0.400"),
        Bar(name=MARKUP, value=-0.2, label="-0.2"),
    )
    return BarPicture(title="Why", bars=shown, x_label="stars")


def surface():
    x = np.linspace(-1, 1, 81)
    path = np.array([(0.8**k, -(0.5**k)) for k in range(200)])
    paths = {"sgd": path, MARKUP: -path}
    heights = x**2 + 5 * x[:, None] ** 2
    return SurfacePicture(title="A bowl", x=x, y=x, heights=heights, paths=paths, minimum=(0, 0))


def until(page, holds):
    """Wait for what the page does not do at once; what waits inside of it, its policy forbids."""
    for _ in range(100):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"never: {holds}")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser, tmp_path):
    def open_page(picture, width=1100, theme="light"):
        path = picture.save(tmp_path / "chart.html")
        assert path.stat().st_size < 1_000_000
        return Visit(browser, path, viewport={"width": width, "height": 800}, color_scheme=theme)

    return open_page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("make", [lines, bars, surface])
def test_a_page_follows_its_window_and_its_readers_theme(visit, make, theme):
    found = visit(make(), theme=theme)
    page = found.page
    for width in (420, 1600):
        page.set_viewport_size({"width": width, "height": 800})
        until(page, f"Math.abs(document.documentElement.dataset.drawn - {width}) < 60")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for box in page.evaluate(
            "[...document.querySelectorAll('svg text, .track span')]"
            ".map((text) => text.getBoundingClientRect().toJSON())"
        ):
            assert box["left"] >= 0
            assert box["right"] <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[theme]
    assert found.complaints == []
    assert found.requests == [found.url]


def test_panels_stand_side_by_side_where_there_is_room(visit):
    page = visit(lines()).page
    places = "[...document.querySelectorAll('section')].map((s) => s.getBoundingClientRect().top)"
    one, other = page.evaluate(places)
    assert one == other
    page.set_viewport_size({"width": 420, "height": 800})
    until(page, "document.documentElement.dataset.drawn < 420")
    one, other = page.evaluate(places)
    assert one < other


def test_the_legend_hides_a_line_in_all_panels_or_all_others(visit):
    page = visit(lines()).page
    entries = page.locator("#legend button")
    drawn = page.locator("main g.own")
    assert entries.all_inner_texts() == ["sgd", MARKUP, LONG]
    assert drawn.count() == 6
    entries.nth(1).click()
    assert drawn.count() == 4
    assert entries.nth(1).get_attribute("aria-pressed") == "false"
    entries.nth(1).dblclick()
    assert drawn.count() == 2
    assert [e.get_attribute("aria-pressed") for e in entries.all()] == ["false", "true", "false"]
    entries.nth(0).click()
    assert drawn.count() == 4


def test_the_pointer_reads_values_off_a_logarithmic_axis(visit):
    page = visit(lines()).page
    ends = page.locator("main svg").first.locator("path.line").nth(2)
    box = ends.bounding_box()  # of y = x, which goes from corner to corner
    page.mouse.move(box["x"] + box["width"], box["y"])
    tip = page.locator("#tip")
    assert "rate: 100" in tip.inner_text()
    assert tip.locator(".nearest").inner_text().split("\n") == [LONG, "100"]
    assert MARKUP in tip.inner_text()
    ticks = page.locator("main svg").first.locator("text").all_text_contents()
    assert {"0.01", "0.1", "1", "10", "100"} <= set(ticks)
    page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_a_gap_is_no_line_and_a_mark_has_its_guide(visit):
    page = visit(lines()).page
    first = page.locator("main svg").first
    paths = [path.get_attribute("d") for path in first.locator("g.own path.line").all()]
    assert [path.count("M") for path in paths] == [2, 1, 1]
    assert first.locator("path.guide").count() == 2


def test_paths_grow_step_by_step(visit):
    page = visit(surface()).page
    corners = "document.querySelector('main path.line').getAttribute('d').split(/[ML]/).length"
    whole = page.evaluate(corners)
    assert page.locator(".play output").inner_text() == "step 199"
    slider = page.locator(".play input")
    slider.fill("10")
    assert page.evaluate(corners) < whole / 5
    page.get_by_role("button", name="Play", exact=True).click()
    until(page, "document.querySelector('.play input').value > 12")
    page.get_by_role("button", name="Pause").click()
    at = slider.input_value()
    page.wait_for_timeout(120)
    assert slider.input_value() == at
    page.locator("#legend button").first.click()
    assert page.locator("main g.own").count() == 1


def test_the_pointer_reads_the_height_of_a_surface(visit):
    page = visit(surface()).page
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 1)
    assert page.locator("#tip").inner_text().split("\n") == ["0, 1", "height", "5"]
    shade = "(y) => [...document.querySelector('canvas').getContext('2d').getImageData(3, y, 1, 1).data]"
    assert page.evaluate(shade, 5) != page.evaluate(shade, int(box["height"] / 2))
