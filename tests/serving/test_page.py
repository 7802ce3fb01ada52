"""The page in a real browser: somebody rates, looks, brings along, takes along and leaves."""

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

import dotbias as db
from dotbias.evaluation.evaluate import HeldOut
from dotbias.plain import to_plain
from dotbias.serving.api.page import FOLDER
from dotbias.serving.security import Keys
from dotbias.serving.store.database import Database
from tests.browser import Watched, chromium
from tests.serving.server import serving

VIEWS = ("for-you", "map", "together", "wishes", "yours", "model", "item/2")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


class Guest(Watched):
    """Somebody new, who looks at the page of a service."""

    def __init__(self, browser: Any, client: httpx.Client, **settings: Any) -> None:
        # Without motion: colours on their way from one to another are nobody's to judge.
        usual = {"locale": "en-GB", "color_scheme": "light", "reduced_motion": "reduce"}
        super().__init__(browser, **usual | settings)
        self.client = client
        self.page.set_default_timeout(10_000)
        self.open("for-you")

    def saved(self) -> None:
        """Wait until the service knows what was said."""
        self.page.wait_for_selector("html:not([data-saving])")

    def open(self, view: str) -> None:
        self.saved()
        self.page.goto(f"{self.client.base_url}/#{view}")
        self.page.wait_for_selector("html[data-ready]")
        self.page.wait_for_selector(f"html[data-view={view.partition('/')[0]}]")
        if view == "for-you":
            self.page.wait_for_selector(".ranked[data-filled]")

    @property
    def listed(self) -> list[int]:
        keys = (
            "rows => rows.map((row) => row.dataset.key)"  # at once: the list may change meanwhile
        )
        return [int(key) for key in self.page.locator(".ranked > li").evaluate_all(keys)]

    def row(self, item: int, part: str = ".rate") -> Any:
        return self.page.locator(f'{part} li[data-key="{item}"]')

    @contextmanager
    def relisted(self) -> Iterator[None]:
        """What is done here changes the list; afterwards the next one is there."""
        filled = self.page.locator(".ranked").get_attribute("data-filled")
        yield
        others = f'.ranked:not([data-filled="{filled}"])'
        self.page.wait_for_selector(others, state="attached")  # one that is empty is not seen

    def star(self, row: Any, share: float) -> None:
        """Click where so much of the stars is to the left."""
        track = row.locator(".track")
        box = track.bounding_box()
        with self.relisted():
            track.click(position={"x": share * box["width"] - 1, "y": box["height"] / 2})

    @property
    def user(self) -> Any:
        kept = self.page.evaluate("localStorage.getItem('dotbias-user')")
        return None if kept is None else json.loads(kept)

    @property
    def said(self) -> dict[int, Any]:
        """What the service knows."""
        self.saved()
        rows = self.client.get(f"/v1/users/{self.user}/ratings").json()["ratings"]
        return {row["item"]: row["rating"] or row["state"] for row in rows}

    def leave(self, *, complained: bool = False) -> None:
        """Nothing was asked of anybody else, and nothing went wrong but what was meant to."""
        base = str(self.client.base_url)
        assert [url for url in self.requests if not url.startswith((base, "blob:"))] == []
        if not complained:
            assert self.complaints == []
        self.page.close()


@pytest.fixture
def guest(browser: Any, client: httpx.Client) -> Iterator[Guest]:
    made = Guest(browser, client)
    yield made
    made.leave()


# -- what the files are --------------------------------------------------------------------------


def test_all_of_the_page_is_small() -> None:
    parts = [zlib.compress(path.read_bytes()) for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(map(len, parts)) < 100_000


def test_both_languages_say_the_same_things_and_nothing_else() -> None:
    words = {
        name: json.loads((FOLDER / f"{name}.json").read_text("utf-8")) for name in ("en", "zh")
    }
    assert list(words["en"]) == list(words["zh"])
    for name, said in words["en"].items():
        other = words["zh"][name]
        blanks = [
            {field for form in ([text] if isinstance(text, str) else text.values())
             for field in re.findall(r"\{(\w+)\}", form)}
            for text in (said, other)
        ]  # fmt: skip
        assert blanks[0] == blanks[1], name
    sources = "".join(
        path.read_text("utf-8") for path in FOLDER.rglob("*") if path.suffix in (".js", ".html")
    )
    missing = [name for name in words["en"] if not re.search(rf"\b{name}\b|_\$\{{", sources)]
    assert missing == []
    for name in re.findall(r'\bt\("(\w+)"|data-(?:t|label)="(\w+)"', sources):
        assert "".join(name) in words["en"]


def test_a_browser_keeps_the_page_and_asks_whether_it_is_the_same(client: httpx.Client) -> None:
    for path in ("/", "/page/main.js", "/page/style.css", "/page/en.json", "/page/views/map.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-cache"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        same = client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert same.status_code == 304
    assert client.head("/").status_code == 200
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page/nothing.js", "/page/"):
        answer = client.send(client.build_request("GET", f"{client.base_url}{path}"))
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


# -- rating --------------------------------------------------------------------------------------


def test_the_list_follows_a_star_and_says_why(guest: Guest) -> None:
    before = guest.listed
    assert "Rate something" in guest.page.locator(".list .head").inner_text()
    item = int(guest.page.locator(".rate li").first.get_attribute("data-key"))
    guest.star(guest.row(item), 1)
    assert guest.said == {item: 5.0}
    body = {"user": guest.user, "k": 20}
    expected = guest.client.post("/v1/recommend", json=body).json()["items"]
    assert guest.listed == [row["item"] for row in expected] != before
    first = guest.row(expected[0]["item"], ".ranked")
    assert f"{expected[0]['prediction']:.1f}" in first.inner_text()
    whys = [text for text in guest.page.locator(".ranked .why").all_inner_texts() if text]
    assert whys
    assert all(re.fullmatch("Because you gave .* 5 stars", text) for text in whys)
    guest.star(guest.row(item), 0.3)  # half of the third of ten
    assert guest.said == {item: 1.5}
    assert guest.row(item).locator("star-rating").get_attribute("aria-valuetext") == "1.5 stars"
    guest.star(guest.row(item), 0.3)  # once more takes it back
    assert guest.said == {}
    guest.page.locator("#undo").click()
    guest.page.wait_for_selector(".list .head:has-text('from one rating')")
    assert guest.said == {item: 1.5}


def test_the_list_waits_for_no_disk_and_goes_back_where_nothing_was_kept(
    browser: Any, client: httpx.Client
) -> None:
    guest = Guest(browser, client)
    before, held = guest.listed, []
    guest.page.route(
        "**/v1/users/*/ratings/*", lambda route: held.append(route)
    )  # for as long as it likes
    guest.star(guest.page.locator(".rate li").first, 1)
    assert guest.listed != before
    assert "from one rating" in guest.page.locator(".list .head").inner_text()
    with guest.relisted():
        held[0].fulfill(status=503, json={"detail": "the disk is full"})
    assert guest.listed == before
    guest.leave(complained=True)


def test_a_page_that_is_opened_again_knows_everything(guest: Guest) -> None:
    for place, share in enumerate((1, 0.4)):
        guest.star(guest.page.locator(".rate li").nth(place), share)
    said, listed = guest.said, guest.listed
    assert list(said.values()) == [5.0, 2.0]
    guest.page.reload()
    guest.page.wait_for_selector(".ranked[data-filled]")
    assert guest.listed == listed
    guest.open("yours")
    values = guest.page.locator("main star-rating").all()
    assert sorted(float(one.get_attribute("aria-valuenow")) for one in values) == [2, 5]


def test_by_keyboard_alone(guest: Guest) -> None:
    def focus() -> Any:
        return guest.page.evaluate_handle("document.activeElement").as_element()

    def tab_to(selector: str) -> Any:
        for _ in range(80):
            guest.page.keyboard.press("Tab")
            if focus().evaluate(f"e => e.matches('{selector}')"):
                outline = focus().evaluate("e => getComputedStyle(e).outlineStyle")
                assert outline != "none"
                return focus()
        raise AssertionError(f"the focus never comes to {selector}")

    # The search, in which accents do not matter; what is chosen comes first and has the focus.
    tab_to(".search input")
    guest.page.keyboard.type("leon")
    guest.page.wait_for_selector(".matches li:has-text('Léon')")
    guest.page.keyboard.press("ArrowDown")
    guest.page.keyboard.press("Enter")
    assert focus().get_attribute("aria-label") == "Rate Léon (1994)"
    assert focus().get_attribute("role") == "slider"
    guest.page.keyboard.press("4")
    guest.page.keyboard.press("ArrowRight")
    assert (
        guest.page.evaluate("localStorage.getItem('dotbias-user')") is None
    )  # it is not meant yet
    guest.page.keyboard.press("Enter")
    guest.page.wait_for_selector(".list .head:has-text('from one rating')")
    assert guest.said == {2: 4.5}
    assert focus().get_attribute("aria-valuenow") == "4.5"
    guest.page.keyboard.press("Delete")
    guest.page.wait_for_selector(".list .head:has-text('most people')")
    guest.page.keyboard.press("Control+z")
    guest.page.wait_for_selector(".list .head:has-text('from one rating')")
    # An item of the list that is rated leaves it, and the focus is on the next one.
    tab_to(".ranked star-rating")
    second = guest.listed[1]
    guest.page.keyboard.press("End")
    guest.page.keyboard.press("Enter")
    guest.page.wait_for_selector(".list .head:has-text('from 2 ratings')")
    assert focus().evaluate("e => e.closest('.ranked') !== null")
    assert second in guest.listed
    # Another view.
    guest.page.keyboard.press("Escape")
    for _ in range(80):
        guest.page.keyboard.press("Shift+Tab")
        if focus().get_attribute("href") == "#wishes":
            break
    guest.page.keyboard.press("Enter")
    guest.page.wait_for_selector("html[data-view=wishes]")
    assert guest.page.evaluate("document.activeElement.id") == "main"


def test_by_touch(browser: Any, client: httpx.Client) -> None:
    guest = Guest(browser, client, has_touch=True, viewport={"width": 390, "height": 800})
    track = guest.page.locator(".rate li .track").first
    box = track.bounding_box()
    track.tap(position={"x": 0.78 * box["width"], "y": box["height"] / 2})
    guest.page.wait_for_selector(".list .head:has-text('from one rating')")
    assert list(guest.said.values()) == [4.0]
    guest.leave()


def test_what_is_not_wanted_and_what_is_to_be_remembered_leave_the_list(guest: Guest) -> None:
    for state in ("not-interested", "wish"):
        item = guest.listed[0]
        with guest.relisted():
            guest.row(item, ".ranked").locator(f"button[data-state={state}]").click()
        assert item not in guest.listed
    first, second = guest.said
    assert second == item
    assert guest.said == {first: "not-interested", second: "wish"}
    guest.open("wishes")
    assert guest.page.locator("main li").get_attribute("data-key") == str(second)
    guest.page.wait_for_selector("main li .prediction")
    guest.page.locator("main li button[data-state=wish]").click()
    guest.page.wait_for_selector("main li", state="detached")
    guest.page.wait_for_selector("#toast:has-text('taken back')")
    guest.page.locator("#toast button").click()
    guest.page.wait_for_selector("main li")


def test_what_a_list_is_told(guest: Guest) -> None:
    page = guest.page
    genres, first = page.locator(".filters select").last, page.locator(".filters input.year").first
    with guest.relisted():
        genres.select_option("Action")
    assert set(guest.listed) == {1, 2, 3}
    with guest.relisted():
        genres.select_option("")
    with guest.relisted():
        first.fill("2010")
        page.keyboard.press("Enter")
    assert set(guest.listed) == set(range(30, 41))
    with guest.relisted():
        first.fill("")
        page.keyboard.press("Enter")
    before = guest.listed
    with guest.relisted():
        page.locator(".filters input[type=range]").fill("-1")
    assert guest.listed != before
    last = page.locator(".filters input.year").last
    for field, when in ((first, "2000"), (last, "1990")):
        with guest.relisted():
            field.fill(when)
            page.keyboard.press("Enter")
    assert "no year is between them" in page.locator(".list .head").inner_text()


def test_a_list_says_what_orders_it_and_has_another_order(guest: Guest) -> None:
    def stars() -> list[float]:
        return [float(text[1:]) for text in guest.page.locator(".ranked .prediction").evaluate_all(
            "all => all.map((one) => one.firstChild.textContent + one.childNodes[2].textContent)"
        )]  # fmt: skip

    guest.star(guest.page.locator(".rate li").first, 1)
    assert "likely to choose. ★ is how you would rate it" in guest.page.inner_text(".list")
    assert stars() != sorted(stars(), reverse=True)
    with guest.relisted():
        guest.page.locator(".filters select").first.select_option("rating")
    assert stars() == sorted(stars(), reverse=True)
    assert "Ordered by how you would rate it." in guest.page.inner_text(".list")
    body = {"user": guest.user, "k": 20, "rank_by": "rating"}
    expected = guest.client.post("/v1/recommend", json=body).json()["items"]
    guest.saved()
    assert guest.listed == [row["item"] for row in expected]
    guest.page.goto(f"{guest.client.base_url}/#together")
    guest.page.locator("input[name=code]").fill("1")
    guest.page.locator("form button[type=submit]").click()
    guest.page.wait_for_selector(".ranked li")
    assert stars() == sorted(stars(), reverse=True)


def test_a_low_rating_is_no_praise(guest: Guest) -> None:
    names = {}
    for place, share in enumerate((1, 0.2)):
        row = guest.page.locator(".rate li").nth(place)
        names[share] = row.locator(".title").evaluate("e => e.firstChild.textContent")
        guest.star(row, share)
    whys = " ".join(guest.page.locator(".ranked .why").all_inner_texts())
    assert f"gave {names[1]} 5 stars" in whys
    assert f"know {names[0.2]}" in whys
    assert "1 star" not in whys


@pytest.mark.parametrize("ratings_too", [True, False])
def test_lists_that_are_the_same_for_everybody_are_called_so(
    browser: Any, tmp_path: Path, ratings_too: bool
) -> None:
    drawn, _ = db.simulate(40, 30, 500, n_factors=2, seed=0)
    popular = db.MostRated()
    if ratings_too:
        rec = db.fit(
            drawn, db.DotBias(n_factors=2), db.ALS(n_iterations=2), preference=popular, seed=0
        )
    else:
        rec = db.fit(drawn, popular.default_model, popular, seed=0)
    rec.save(tmp_path / "m.dotbias")
    with serving(tmp_path / "m.dotbias", tmp_path / "r.db") as client:
        guest = Guest(browser, client)
        guest.star(guest.page.locator(".rate li").first, 1)
        text = guest.page.inner_text("main")
        assert "What most people choose, the same for everybody" in text
        assert "Your list follows" not in text
        if ratings_too:
            with guest.relisted():
                guest.page.locator(".filters select").first.select_option("rating")
            assert "Your list follows" in guest.page.inner_text("main")
        guest.leave()


# -- the other views -----------------------------------------------------------------------------


def test_an_item_has_a_page_that_explains(guest: Guest) -> None:
    guest.star(guest.page.locator(".rate li").first, 1)
    guest.open("item/2")
    page = guest.page
    page.wait_for_selector("main table.parts")
    assert page.locator("h1").inner_text() == "Léon (1994)"
    assert page.locator("table.parts").count() == 2
    text = page.locator("main").inner_text()
    assert "5 stars for" in text
    body = {"user": guest.user, "item": 2, "of": "rating"}
    why = guest.client.post("/v1/explain", json=body).json()
    assert f"The predicted rating, {why['prediction']:.2f}" in text
    similar = guest.client.get("/v1/items/2/similar").json()["items"]
    rows = page.locator("main ol li").all()
    assert [int(row.get_attribute("data-key")) for row in rows] == [one["item"] for one in similar]
    page.locator("main ol .title").first.click()
    page.wait_for_selector(f"h1:has-text('{similar[0]['title']}')")


@pytest.mark.usefixtures("mapped")
def test_the_map_shows_where_one_is(guest: Guest) -> None:
    page = guest.page
    guest.open("map")
    page.wait_for_selector("canvas[data-drawn][data-you=false]")
    guest.open("for-you")
    guest.star(page.locator(".rate li").first, 1)
    guest.open("map")
    page.wait_for_selector("canvas[data-you=true]")
    assert int(page.locator("canvas").get_attribute("data-lit")) > 0
    # No name stands on another one, or on a point that is lit.
    boxes = page.locator("canvas").evaluate("canvas => canvas.taken")
    names = [box for box in boxes if "text" in box]
    assert names[0]["text"] == "you"
    assert len(names) > 3
    for one, other in product(names, boxes):
        apart = one["right"] < other["left"] or other["right"] < one["left"]
        apart |= one["bottom"] <= other["top"] or other["bottom"] <= one["top"]
        assert apart or one == other
    page.locator(".map .search input").fill("LEON")
    page.wait_for_selector(".matches li:has-text('Léon')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card:has-text('Léon')")
    page.keyboard.press("Escape")
    # Rated from the map, it changes where one is at once.
    page.locator(".card .track").click()
    page.wait_for_selector("#toast:has-text('Léon')")
    assert 2 in guest.said
    x, y = page.locator("canvas").evaluate("canvas => canvas.place(2)")
    page.locator(".card button:has-text('Close')").click()
    page.locator("canvas").click(position={"x": x, "y": y})
    page.wait_for_selector(".card:has-text('Léon')")


@pytest.mark.usefixtures("mapped")
def test_a_poor_map_says_what_would_make_a_better_one(guest: Guest) -> None:
    told = guest.client.get("/v1/map").json() | {"warning": "poor", "method": "pca"}
    guest.page.route("**/v1/map", lambda route: route.fulfill(json=told))
    guest.open("map")
    guest.page.wait_for_selector(".map:has-text('principal components'):has-text('dotbias[map]')")


def test_a_list_for_two(browser: Any, client: httpx.Client) -> None:
    guests = [Guest(browser, client) for _ in range(2)]
    for place, guest in enumerate(guests):
        guest.star(guest.page.locator(".rate li").nth(place), 1)
    one, other = guests
    one.open("together")
    assert one.page.locator("output.code").inner_text() == str(one.user)
    one.page.locator("input[name=code]").fill(str(other.user))
    one.page.locator("form button[type=submit]").click()
    one.page.wait_for_selector(".ranked li")
    body = {"users": [one.user, other.user], "k": 30}
    found = client.post("/v1/recommend/group", json=body).json()["items"]
    assert one.listed == [row["item"] for row in found]
    mine, theirs = found[0]["predictions"]
    assert (
        f"you {mine:.1f}, the other one {theirs:.1f}" in one.page.locator(".why").first.inner_text()
    )
    one.page.locator("input[name=code]").fill("987654321")
    one.page.locator("form button[type=submit]").click()
    one.page.wait_for_selector("text=Nothing is known by this code")
    assert "the other one" not in one.page.inner_text(".ranked")
    mine = client.post("/v1/predict", json={"pairs": [{"user": one.user, "item": one.listed[0]}]})
    star = f"{mine.json()['predictions'][0]['prediction']:.1f}"
    assert star in one.page.locator(".ranked .how").first.inner_text()
    for guest in guests:
        guest.leave()


def test_what_the_model_is(guest: Guest) -> None:
    guest.open("model")
    text = guest.page.locator("main").inner_text()
    assert "900 ratings by 60 users of 40 items" in text.replace(",", "")
    assert "DotBias of 2 dimensions + DotProduct of" in text
    assert "It was not measured" in text


def test_how_good_the_model_was(browser: Any, tmp_path: Path) -> None:
    drawn, _ = db.simulate(60, 40, 900, n_factors=2, seed=0)
    train, test = drawn.split(test_size=0.2, seed=0)
    solver = db.GradientDescent(n_epochs=3, validation_size=0.1)
    preference = db.ImplicitALS(n_iterations=2)
    rec = db.fit(train, db.DotBias(n_factors=2), solver, preference=preference, seed=0)
    report = db.evaluate(rec, test)
    held = HeldOut(**vars(report), test_size=0.2, split_seed=0, refit_on_all=False)
    replace(rec, facts=replace(rec.facts, held_out=to_plain(held))).save(tmp_path / "m.dotbias")
    with serving(tmp_path / "m.dotbias", tmp_path / "r.db") as client:
        guest = Guest(browser, client)
        guest.open("model")
        rows = guest.page.locator("main table tr").all_inner_texts()
        figures = dict(row.split("\t")[::2] for row in rows)
        assert figures["This model"] == f"{report.rmse:.3f}"
        assert figures["Biases alone"] == f"{report.baseline_rmse:.3f}"
        assert figures["By preference"] == f"{report.rankings[0].ndcg:.3f}"
        assert figures["Most rated"] == f"{report.rankings[2].ndcg:.3f}"
        assert guest.page.locator(".chart polyline").count() == 2
        guest.leave()


# -- bringing along, taking along, leaving -------------------------------------------------------

FILE = """\ufefftitle;year;rating
The Matrix;1999;4,5
léon;;2
No such film;;3
Film 9;1989;9
Film 10;;
Film 9;;x
Matrix, The (1999);;5
"""


def test_ratings_are_brought_along_taken_along_and_deleted(guest: Guest, tmp_path: Path) -> None:
    page = guest.page
    guest.open("yours")
    (tmp_path / "mine.csv").write_text(FILE, "utf-8")
    page.set_input_files("#file", tmp_path / "mine.csv")
    page.wait_for_selector(".report:has-text('2 lines were taken over')")
    bad = page.locator(".bad li").all_inner_texts()
    assert [re.sub(r": .* — ", ": ", line) for line in bad] == [
        "Line 4: “No such film” is not known here",
        "Line 5: 9 is not from 1 to 5",
        "Line 6: the rating is missing",
        "Line 7: “x” is no rating",
        "Line 8: this item stands above already",
    ]
    assert guest.said == {1: 4.5, 2: 2.0}
    page.locator("main li button[data-state=wish]").last.click()
    page.wait_for_selector("#toast:has-text('wish list')")
    said = guest.said

    with page.expect_download() as csv:
        page.locator("button:has-text('CSV')").click()
    with page.expect_download() as whole:
        page.locator("button:has-text('JSON')").click()
    csv.value.save_as(tmp_path / "ratings.csv")
    whole.value.save_as(tmp_path / "ratings.json")
    exported = guest.client.get(f"/v1/users/{guest.user}/export").json()
    assert json.loads((tmp_path / "ratings.json").read_text("utf-8")) == exported

    user = guest.user
    for yes, left in (("Cancel", said), ("Delete", {})):
        page.locator("button:has-text('Delete everything')").click()
        page.locator(f"dialog button:has-text('{yes}')").click()
        if left:
            assert guest.said == left
    page.wait_for_selector("#toast:has-text('deleted')")
    assert "Take along" not in page.inner_text("main")
    assert guest.client.get(f"/v1/users/{user}/ratings").json()["ratings"] == []
    assert page.evaluate("localStorage.getItem('dotbias-user')") is None

    # What was taken along can be brought back, by somebody new.
    page.set_input_files("#file", tmp_path / "ratings.csv")
    page.wait_for_selector(".report:has-text('2 lines were taken over')")
    assert guest.user != user
    assert guest.said == said


def test_what_is_no_text_is_not_read_as_ratings(guest: Guest, tmp_path: Path) -> None:
    page = guest.page
    guest.open("yours")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("mine.csv", FILE)
    page.set_input_files("#file", tmp_path / "mine.zip")
    page.wait_for_selector(".report:has-text('no text file. Unpack it first')")
    assert guest.user is None
    # A line is shown as far as it takes to find it.
    (tmp_path / "long.csv").write_text(f"title,rating\n{'long ' * 100},3\n", "utf-8")
    page.set_input_files("#file", tmp_path / "long.csv")
    page.wait_for_selector(".bad li")
    assert len(page.locator(".bad li").inner_text()) < 200


def test_a_service_that_is_away_for_a_while_keeps_nothing_and_says_so(
    browser: Any, client: httpx.Client
) -> None:
    guest = Guest(browser, client)
    page = guest.page
    away = {"status": 503, "json": {"detail": "the disk is full"}}
    page.route("**/v1/users/*/ratings/*", lambda route: route.fulfill(**away))
    row = page.locator(".rate li").first
    row.locator(".track").click()
    page.wait_for_selector("#toast:has-text('Nothing was saved: the disk is full')")
    assert row.locator("star-rating").get_attribute("aria-valuetext") == "not rated"
    assert guest.said == {}
    page.unroute("**/v1/users/*/ratings/*")
    page.locator("#toast button:has-text('Try again')").click()
    page.wait_for_selector(".list .head:has-text('from one rating')")
    assert len(guest.said) == 1
    page.route("**/v1/recommend", lambda route: route.fulfill(**away))
    page.reload()
    page.wait_for_selector(".list .failed:has-text('the disk is full')")
    page.unroute("**/v1/recommend")
    page.locator(".list .failed button").click()
    page.wait_for_selector(".ranked li")
    assert all("503" in said for said in guest.complaints)
    guest.leave(complained=True)


def test_a_service_that_needs_a_key_is_given_one(browser: Any, model: Path, tmp_path: Path) -> None:
    database = Database(tmp_path / "r.db")
    database.check()
    key = Keys(database).add("page")
    database.close()
    with serving(model, tmp_path / "r.db", needs_key=True) as client:
        guest = Guest(browser, client)
        page = guest.page
        page.locator(".rate li .track").first.click()
        for given in ("wrong", key):
            page.wait_for_selector("dialog[open]")
            page.locator("dialog input").fill(given)
            page.keyboard.press("Enter")
        page.wait_for_selector(".list .head:has-text('from one rating')")
        guest.saved()
        page.reload()
        page.wait_for_selector(".list .head:has-text('from one rating')")
        assert page.evaluate("Object.values(sessionStorage)") == [key]
        assert key not in page.evaluate("JSON.stringify(localStorage)")
        assert all("401" in said for said in guest.complaints)
        guest.leave(complained=True)


def test_choices_have_no_stars_and_items_without_titles_have_ids(
    browser: Any, tmp_path: Path
) -> None:
    drawn, _ = db.simulate(40, 30, 500, n_factors=2, seed=0)
    pairs = drawn.to_frame().select("user", "item")
    chosen = db.fit(
        db.read_ratings(pairs, kind="events"),
        db.DotProduct(n_factors=2),
        db.ImplicitALS(n_iterations=2),
    )
    chosen.save(tmp_path / "m.dotbias")
    with serving(tmp_path / "m.dotbias", tmp_path / "r.db") as client:
        guest = Guest(browser, client)
        page = guest.page
        assert page.locator("star-rating").count() == 0
        first = page.locator(".rate li").first
        item = int(first.get_attribute("data-key"))
        assert first.locator(".title").inner_text() == str(item)
        first.locator("button:has-text('Have it')").click()
        page.wait_for_selector(".list .head:has-text('from one rating')")
        assert first.locator("button:has-text('Have it')").get_attribute("aria-pressed") == "true"
        assert f"Because you have {item}" in page.locator(".ranked .why").first.inner_text()
        for view in VIEWS:
            guest.open(view)
        guest.leave()


# -- how it looks --------------------------------------------------------------------------------

CONTRASTS = Path(__file__).with_name("contrasts.js").read_text("utf-8")


@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize(
    ("locale", "word", "theme"), [("en-GB", "For you", "light"), ("zh-CN", "为你推荐", "dark")]
)
def test_every_view_can_be_read_on_a_phone(
    browser: Any, client: httpx.Client, locale: str, word: str, theme: str
) -> None:
    size = {"width": 360, "height": 740}
    guest = Guest(browser, client, locale=locale, color_scheme=theme, viewport=size)
    page = guest.page
    assert page.locator("nav a").first.inner_text() == word
    guest.star(page.locator(".rate li").first, 1)
    page.locator(".ranked button[data-state=wish]").first.click()
    page.wait_for_selector(".ranked button[data-state=wish]")
    seen = 0
    for view in VIEWS:
        guest.open(view)
        if view == "map":
            page.wait_for_selector("canvas[data-drawn]")
        if view.startswith("item"):
            page.wait_for_selector("main table.parts")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
        for tab in page.locator("nav a").all():
            box = tab.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360, "what is cut off is not found"
        contrasts = page.evaluate(CONTRASTS)
        seen += len(contrasts)
        assert [one for one in contrasts if one[1] < one[2]] == [], view
    assert seen > 200
    guest.leave()


def test_language_and_theme_are_chosen_and_kept(guest: Guest) -> None:
    page = guest.page

    def ground() -> Any:
        return page.evaluate("getComputedStyle(document.documentElement).backgroundColor")

    light = ground()
    page.locator("#language").click()
    page.wait_for_selector("nav:has-text('为你推荐')")
    page.locator("#theme").click()
    dark = ground()
    assert dark != light
    page.reload()
    page.wait_for_selector("nav:has-text('为你推荐')")
    assert ground() == dark
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    page.locator("#theme").click()
    page.locator("#language").click()
    page.wait_for_selector("nav:has-text('For you')")
    assert ground() == light


def test_who_wants_no_motion_has_none(browser: Any, client: httpx.Client) -> None:
    moving = """() => [...document.querySelectorAll('*')].map((e) => getComputedStyle(e)).filter(
      (style) => /[1-9]/.test(style.transitionDuration) || style.animationName !== 'none').length"""
    for motion, is_still in (("reduce", True), ("no-preference", False)):
        guest = Guest(browser, client, reduced_motion=motion)
        guest.star(guest.page.locator(".rate li").first, 1)
        assert (guest.page.evaluate(moving) == 0) == is_still
        guest.leave()
