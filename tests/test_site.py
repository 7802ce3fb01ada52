"""The documentation as a site: what its build refuses, and what it does in a browser, offline."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import griffe
import pytest
from scripts.site import check, docstrings, reference, stage

from tests.browser import Watched, chromium
from tests.conftest import PROJECT

SITE = PROJECT / "site"
# Among them the widest tables, the longest lines of code, and the longest page of the reference.
PAGES = (
    "index.html",
    "zh/index.html",
    "tutorial/index.html",
    "notation.html",
    "zh/which-method.html",
    "notebooks/what-is-an-embedding.html",
    "reference/db-Recommender.html",
    "reference/dotbias-fit.html",
)


def faults(folder: Path, **pages: str) -> list[str]:
    """What is wrong with a site of these pages, each in the contents unless it is ``alone``."""
    placed = [
        f'<a class="md-nav__link" href="{name}.html"></a>' for name in pages if name != "alone"
    ]
    for name, body in {**pages, "index": "".join(placed)}.items():
        text = f'{body}<a class="md-nav__link" href="index.html"></a>'
        (folder / f"{name}.html").write_text(text, "utf-8")
    return list(check.faults(folder))


def test_links_that_resolve_are_no_faults(tmp_path):
    good = '<h2 id="here"></h2><a href="b.html#there"></a><a href="#here"></a><a href="https://x.org"></a>'
    assert faults(tmp_path, a=good, b='<p id="there"></p>') == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('<a href="gone.html"></a>', "gone.html, which is no file"),
        ('<img src="gone.png">', "gone.png, which is no file"),
        ('<a href="index.html#gone"></a>', "#gone, which has no such heading"),
        ('<script src="https://cdn.org/a.js"></script>', "loads https://cdn.org/a.js"),
        ('<img src="//cdn.org/a.png">', "loads //cdn.org/a.png"),
        ('<link rel="stylesheet" href="https://cdn.org/a.css">', "loads https://cdn.org/a.css"),
        ("<style>p { background: url(https://cdn.org/a.png) }</style>", "a style that loads"),
    ],
)
def test_what_leads_to_nothing_or_comes_from_elsewhere_is_told(tmp_path, body, told):
    (fault,) = faults(tmp_path, a=body)
    assert fault.startswith("a.html ")
    assert told in fault


def test_a_page_without_a_place_in_the_contents_is_told(tmp_path):
    (fault,) = faults(tmp_path, alone="")
    assert fault.startswith("alone.html has no place in the contents")


def test_every_public_name_is_in_the_reference(monkeypatch):
    reference.check_complete()
    fewer = {**reference.GROUPS, "Data": reference.GROUPS["Data"][1:]}
    monkeypatch.setattr(reference, "GROUPS", {**fewer, "More": ("fit", "nothing")})
    told = "read_ratings has no page; nothing is not public; fit has two pages"
    with pytest.raises(reference.IncompleteError, match=told):
        reference.check_complete()


def test_links_are_those_of_the_site():
    source = PROJECT / "docs" / "how-to" / "file.md"
    text = (
        "[README](../../README.md) [notation.md](../notation.md#units) `[a](b)`"
        " [code](../../pyproject.toml) [book](../notebooks/what-is-an-embedding.ipynb)"
    )
    assert stage.relinked(text, source) == (
        "[README](../index.md) [Notation](../notation.md#units) `[a](b)` code"
        " [book](../notebooks/what-is-an-embedding.md)"
    )
    with pytest.raises(stage.LinkError, match=r"how-to/file\.md: gone\.md"):
        stage.relinked("[a](gone.md)", source)


def test_docstrings_have_an_entry_for_each_argument_and_sessions_as_code():
    text = docstrings.readable("What.\n\nArgs:\n    a, b: two\n        lines.\n\n>>> 1 + 1\n2\n")
    assert text == (
        "What.\n\nArgs:\n    a: two\n        lines.\n    b: two\n        lines.\n\n"
        "```pycon\n>>> 1 + 1\n2\n```\n"
    )


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("``x``: y, `1 ≤ x`; see https://x.org ...", 0),
        (":func:`fit`", 1),
        ("What.\n\n.. note::\n   More.", 1),
        ("``x`` and ``y`", 1),
    ],
)
def test_marks_that_are_not_rendered_are_told(text, complaints, caplog):
    extensions = griffe.load_extensions(docstrings.Readable)
    module = {"__init__.py": f"def f():\n    {text!r}\n"}
    with griffe.temporary_visited_package("package", module, extensions=extensions):
        assert len(caplog.records) == complaints


def test_of_a_setting_the_default_is_shown():
    extensions = griffe.load_extensions(docstrings.Readable)
    code = "class A:\n    n: int = setting(15, at_least=1)\n"
    with griffe.temporary_visited_module(code, extensions=extensions) as module:
        assert str(module["A.n"].value) == "15"


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, as scripts/test has built it before."""
    if not (SITE / "index.html").is_file():
        pytest.skip("there is no site: scripts/docs builds it")
    return SITE


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(params=["file", "server"])
def home(request: Any, site: Path) -> Iterator[str]:
    """The address of the site: of its files, or of a server of nothing but files."""
    if request.param == "file":
        yield site.as_uri()
        return

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (900, "dark"), (1440, "light")])
def test_pages_fit_their_window_and_ask_for_nothing_else(browser, site, width, scheme):
    window = {"width": width, "height": 900}
    tab = Watched(browser, viewport=window, color_scheme=scheme, offline=True)
    for name in PAGES:
        tab.page.goto((site / name).as_uri())
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert tab.page.evaluate(wider) <= 0, name
        painted = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, painted[4:-1].split(","))) > 384) == (scheme == "light"), name
    assert [url for url in tab.requests if not url.startswith((site.as_uri(), "data:"))] == []
    assert tab.complaints == []
    tab.page.close()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("warm restarts", "gradient-methods.html"),
        ("GradientDescent", "reference/db-GradientDescent.html"),
        ("推荐", "zh/index.html"),
    ],
)
def test_the_search_finds(browser, home, asked, found):
    tab = Watched(browser)
    tab.page.goto(f"{home}/reference/db-ALS.html")
    tab.page.get_by_role("button", name="Search").first.click()
    tab.page.keyboard.type(asked)
    tab.page.locator(f'ol a[href*="{found}"]').first.click()
    tab.page.wait_for_url(f"**/{found}*")
    assert all(url.startswith((home, "data:")) for url in tab.requests)
    assert tab.complaints == []
    tab.page.close()


def test_the_theme_is_the_readers_and_stays(browser, site):
    tab = Watched(browser, color_scheme="dark")
    tab.page.goto((site / "index.html").as_uri())
    body = tab.page.locator("body")
    seen = []
    for title in ("Switch to light", "Switch to dark", "Follow the system"):
        seen.append(body.get_attribute("data-md-color-scheme"))
        tab.page.locator(f'label[title="{title}"]:visible').click()
    assert seen == ["slate", "default", "slate"]
    tab.page.locator('label[title="Switch to light"]:visible').click()
    tab.page.goto((site / "notation.html").as_uri())
    assert body.get_attribute("data-md-color-scheme") == "default"
    tab.page.close()


def test_the_start_page_leads_to_chinese_and_back(browser, site):
    tab = Watched(browser)
    tab.page.goto((site / "index.html").as_uri())
    tab.page.locator("article").get_by_role("link", name="中文").click()
    assert tab.page.locator("h2").first.inner_text().startswith("试一试")
    tab.page.locator("article").get_by_role("link", name="English").click()
    assert tab.page.locator("h2").first.inner_text().startswith("Try it")
    tab.page.close()
