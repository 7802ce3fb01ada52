"""The page of a map, driven in a real browser."""

import io
import re
import time

import numpy as np
import pytest
from PIL import Image

from dotbias.pictures import Amounts, Groups, MapPicture
from dotbias.pictures.palette import GREYS, GROUNDS, GROUP_COLOURS
from tests.browser import Visit, chromium, until

N, NEAR = 60, 4
MARKUP = "<script>alert('no')</script><img src=x onerror=alert(1)>"
TITLES = [MARKUP, "Twice", "Twice", "", "Amélie (2001)", "</script><!--", "a & b"]


def picture(n=N, **changed):
    rng = np.random.default_rng(0)
    x, y = np.arange(n) % 10, np.arange(n) // 10  # apart, and not all equally far
    x, y = (c + rng.uniform(-0.2, 0.2, n) for c in (x, y))
    distances = np.hypot(x[:, None] - x, y[:, None] - y) if n <= 1_000 else None
    if distances is None:
        neighbours = rng.integers(0, n, (n, 10))
    else:
        neighbours = np.argsort(distances, axis=1)[:, 1 : NEAR + 1]
    kind = np.arange(n) % 3
    settings = {
        "title": "A map <of> things",
        "note": "Near is what counts.",
        "evidence": {"trustworthiness": "0.97"},
        "x": x,
        "y": y,
        "labels": [*TITLES, *(f"Thing {i}" for i in range(len(TITLES), n))],
        "facts": {"ratings": np.arange(n), "genres": [f"kind {k}" for k in kind]},
        "colourings": (
            Groups(name="kind", names=("zero", "one", "two"), of_point=kind),
            Amounts(name="bias", values=np.linspace(-1, 1, n)),
        ),
        "sizes": np.arange(n)[::-1],
        "neighbours": neighbours,
        "similarities": np.tile([0.9, 0.8, 0.7, 0.6], (n, 1))
        if n <= 1_000
        else rng.random((n, 10)),
    }
    return MapPicture(**settings | changed)


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return picture().save(tmp_path_factory.mktemp("map") / "map.html")


@pytest.fixture
def visit(browser, file):
    opened = Visit(browser, file)
    yield opened
    opened.page.close()
    assert opened.complaints == []
    assert opened.requests == [opened.url]


def place(page, point):
    """Where a point is in the window."""
    box = page.locator("#points").bounding_box()
    x, y = page.evaluate(f"document.getElementById('points').place({point})")
    return box["x"] + x, box["y"] + y


def next_frame(page):
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def colour_at(page, point, right=0):
    """The colour in the middle of a point, or some pixels to its right, as it is on the screen."""
    next_frame(page)
    x, y = place(page, point)
    shot = page.screenshot(clip={"x": round(x) + right, "y": round(y), "width": 1, "height": 1})
    return Image.open(io.BytesIO(shot)).convert("RGB").getpixel((0, 0))


def rgb(colour):
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def is_shown(seen, colour, ground=GROUNDS["light"]):
    """Whether it is this colour, through which a fifth of the ground is seen where nothing is chosen."""
    mixed = 0.8 * np.array(rgb(colour)) + 0.2 * np.array(rgb(ground))
    return min(np.abs(np.subtract(seen, c)).max() for c in (mixed, rgb(colour))) < 6


def listed(page):
    """The neighbours in the panel, and their similarities."""
    rows = page.locator("#selected li button").all_inner_texts()
    return [tuple(row.split("\n")) for row in rows]


def neighbours_of(point):
    labels = [label or "(no title)" for label in picture().labels]
    return [labels[other] for other in picture().neighbours[point]]


def test_the_page_shows_what_it_is_of(visit):
    page = visit.page
    assert page.locator("h1").inner_text() == "A map <of> things"
    assert page.locator("#about td").inner_text() == "0.97"
    assert page.locator("#warning").is_hidden()
    assert page.title() == "A map <of> things"


def test_hovering_says_what_a_point_is_and_what_is_near_it(visit):
    page = visit.page
    assert page.locator("#tip").is_hidden()
    page.mouse.move(*place(page, 20))
    text = page.locator("#tip").inner_text()
    assert text.startswith("Thing 20")
    assert re.search(r"ratings\s+20\b", text)
    assert re.search(r"genres\s+kind 2\b", text)
    rows = page.locator("#tip li span:first-child").all_inner_texts()
    assert rows == neighbours_of(20)
    assert page.locator("#tip li span:last-child").first.inner_text() == "0.90"
    page.mouse.move(640, 5)
    assert page.locator("#tip").is_hidden()


def test_a_click_lights_up_the_true_neighbours_and_fades_the_others(visit):
    page = visit.page
    near = picture().neighbours[20]
    far = next(i for i in range(N - 1, 0, -1) if i != 20 and i not in near)
    before = colour_at(page, far)
    page.mouse.click(*place(page, 20))
    assert page.locator("#selected h2").inner_text() == "Thing 20"
    assert listed(page) == list(
        zip(neighbours_of(20), ("0.90", "0.80", "0.70", "0.60"), strict=True)
    )
    kind = GROUP_COLOURS["light"][near[0] % 3]
    assert is_shown(colour_at(page, int(near[0])), kind)
    faded = colour_at(page, far)
    assert faded != before
    assert min(faded) > 180
    page.keyboard.press("Escape")
    assert page.locator("#selected").is_hidden()
    assert colour_at(page, far) == before


def test_a_click_beside_all_points_ends_the_selection_and_a_drag_does_not(visit):
    page = visit.page
    page.mouse.click(*place(page, 20))
    box = page.locator("#points").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 40)
    page.mouse.up()
    assert page.locator("#selected").is_visible()
    page.mouse.click(box["x"] + 3, box["y"] + 3)
    assert page.locator("#selected").is_hidden()


def test_a_name_in_the_list_goes_on_to_that_point(visit):
    page = visit.page
    page.mouse.click(*place(page, 20))
    page.locator("#selected li button").nth(1).click()
    assert page.locator("#selected h2").inner_text() == neighbours_of(20)[1]


def test_search_finds_titles_without_case_and_accents_and_goes_there(visit):
    page = visit.page
    page.fill("#search", "AMELIE")
    assert page.locator("#matches li").all_inner_texts() == ["Amélie (2001)"]
    page.keyboard.press("Enter")
    assert page.locator("#selected h2").inner_text() == "Amélie (2001)"
    x, y = place(page, 4)
    box = page.locator("#points").bounding_box()
    assert box["x"] < x < box["x"] + box["width"]
    assert box["y"] < y < box["y"] + box["height"]


def test_search_by_keys_lists_the_best_known_first_and_says_when_nothing_matches(visit):
    page = visit.page
    page.fill("#search", "thing")
    assert page.locator("#matches li").all_inner_texts() == [f"Thing {i}" for i in range(7, 17)]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.locator("#matches li[aria-selected=true]").inner_text() == "Thing 8"
    page.keyboard.press("Enter")
    assert page.locator("#selected h2").inner_text() == "Thing 8"
    page.fill("#search", "nothing at all")
    assert page.locator("#matches").inner_text() == "no title matches"
    page.keyboard.press("Enter")
    assert page.locator("#selected h2").inner_text() == "Thing 8"
    page.keyboard.press("Escape")  # of the list; the next one is of the selection
    assert page.locator("#matches").is_hidden()
    assert page.locator("#selected").is_visible()


def test_another_colouring_changes_colours_and_legend(visit):
    page = visit.page
    assert is_shown(colour_at(page, 0), GROUP_COLOURS["light"][0])
    counted = page.locator("#legend button").all_inner_texts()
    assert [row.split("\n") for row in counted] == [["zero", "20"], ["one", "20"], ["two", "20"]]
    page.select_option("#colour", label="bias")
    assert page.locator("#legend h2").inner_text() == "Colour: bias"
    ends = page.locator("#legend .ends span").all_inner_texts()
    assert [float(end) for end in ends] == pytest.approx([-0.98, 0.98])
    assert not is_shown(colour_at(page, 0), GROUP_COLOURS["light"][0])


def test_a_group_of_the_legend_stands_out(visit):
    page = visit.page
    entry = page.locator("#legend button").nth(1)
    entry.click()
    assert entry.get_attribute("aria-pressed") == "true"
    assert is_shown(colour_at(page, 1), GROUP_COLOURS["light"][1])
    assert min(colour_at(page, 0)) > 180
    page.locator("#legend button").nth(1).click()
    assert is_shown(colour_at(page, 0), GROUP_COLOURS["light"][0])


def test_a_point_belongs_to_all_its_groups(browser, tmp_path):
    groups = Groups(
        name="genre",
        names=("a", "b"),
        of_point=[0] * N,
        members=[[0, 1] if i < 2 else [0] for i in range(N)],
    )
    file = picture(colourings=(groups,)).save(tmp_path / "map.html")
    page = Visit(browser, file).page
    assert page.locator("#legend .count").all_inner_texts() == [str(N), "2"]
    page.locator("#legend button").nth(1).click()
    assert is_shown(colour_at(page, 1), GROUP_COLOURS["light"][0])
    assert min(colour_at(page, 2)) > 180


def test_sizes_can_be_made_equal(visit):
    page = visit.page
    assert is_shown(colour_at(page, 0, right=8), GROUP_COLOURS["light"][0])
    page.uncheck("#sized")
    assert not is_shown(colour_at(page, 0, right=8), GROUP_COLOURS["light"][0])
    assert is_shown(colour_at(page, 0), GROUP_COLOURS["light"][0])


def test_zooming_keeps_what_is_under_the_pointer_and_the_button_brings_all_back(visit):
    page = visit.page
    start = [place(page, i) for i in (20, 21)]
    page.mouse.move(*map(round, start[0]))
    for _ in range(5):
        page.mouse.wheel(0, -200)
    until(page, f"Math.abs(document.getElementById('points').place(21)[0] - {start[1][0]}) > 20")
    np.testing.assert_allclose(place(page, 20), start[0], atol=3)  # half a pixel, zoomed
    page.click("#whole")
    np.testing.assert_allclose([place(page, i) for i in (20, 21)], start, atol=1e-6)


def test_keys_move_and_zoom_the_map(visit):
    page = visit.page
    (x, y), other = place(page, 20), place(page, 21)
    page.focus("#points")
    page.keyboard.press("ArrowRight")
    np.testing.assert_allclose(place(page, 20), (x - 60, y), atol=1e-6)
    page.keyboard.press("+")
    moved = np.subtract(place(page, 21), place(page, 20))
    np.testing.assert_allclose(moved, 1.3 * np.subtract(other, (x, y)), atol=1e-6)
    page.keyboard.press("0")
    np.testing.assert_allclose(place(page, 20), (x, y), atol=1e-6)


def test_markup_in_a_title_stays_text_everywhere(visit):
    page = visit.page
    page.mouse.move(*place(page, 0))
    assert page.locator("#tip h2").inner_text() == MARKUP
    page.mouse.click(*place(page, 0))
    assert page.locator("#selected h2").inner_text() == MARKUP
    page.fill("#search", "<script>")
    assert page.locator("#matches li").all_inner_texts() == [MARKUP]
    page.keyboard.press("Enter")
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_ground_is_that_of_the_system_until_the_reader_changes_it(browser, file, system):
    page = Visit(browser, file, color_scheme=system).page
    other = {"light": "dark", "dark": "light"}[system]

    def ground():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert ground() == f"rgb{rgb(GROUNDS[system])}"
    assert is_shown(colour_at(page, 0), GROUP_COLOURS[system][0], GROUNDS[system])
    assert page.locator("#theme").inner_text() == other.capitalize()
    page.click("#theme")
    assert ground() == f"rgb{rgb(GROUNDS[other])}"


def test_a_warning_is_seen(browser, tmp_path):
    file = picture(warning="This map is poor.").save(tmp_path / "map.html")
    page = Visit(browser, file).page
    assert page.locator("#warning").is_visible()
    assert page.locator("#warning").inner_text() == "This map is poor."


def test_amounts_that_are_missing_are_grey(browser, tmp_path):
    values = np.linspace(0, 1, N)
    values[0] = np.nan
    file = picture(colourings=(Amounts(name="bias", values=values),)).save(tmp_path / "map.html")
    assert is_shown(colour_at(Visit(browser, file).page, 0), GREYS["light"])


def test_a_narrow_screen_has_room_for_everything(browser, file):
    page = Visit(browser, file, viewport={"width": 390, "height": 844}, has_touch=True).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    x, y = place(page, 20)
    page.touchscreen.tap(x, y)
    assert page.locator("#selected h2").inner_text() == "Thing 20"


@pytest.mark.parametrize("n", [1, 2])
def test_one_point_or_several_in_one_place_can_be_seen(browser, tmp_path, n):
    many = picture(
        x=np.zeros(n),
        y=np.zeros(n),
        labels=["One", "Other"][:n],
        facts={},
        colourings=(Amounts(name="bias", values=np.ones(n)),),
        sizes=np.zeros(n),
        neighbours=np.full((n, 1), -1),
        similarities=np.zeros((n, 1)),
    )
    page = Visit(browser, many.save(tmp_path / "map.html")).page
    page.mouse.move(*place(page, 0))
    assert page.locator("#tip h2").inner_text() in ("One", "Other")


def test_thirty_thousand_points_are_drawn_and_still_answer(browser, tmp_path):
    opened = Visit(browser, picture(30_000).save(tmp_path / "map.html"))
    page = opened.page
    started = time.perf_counter()
    page.select_option("#colour", label="bias")
    colour_at(page, 0)
    print(
        f"drawn after {page.evaluate('document.documentElement.dataset.drawn')} ms, another "
        f"colouring after {1000 * (time.perf_counter() - started):.0f} ms"
    )
    page.fill("#search", "Thing 29999")
    page.keyboard.press("Enter")
    assert page.locator("#selected h2").inner_text() == "Thing 29999"
    assert (opened.complaints, opened.requests) == ([], [opened.url])
