"""A real browser for tests of pages."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# What lets Chromium run as root, and keeps it from asking the network for anything of its own.
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def until(page: Any, expression: str, seconds: float = 30) -> None:
    """Wait until an expression is true. (``wait_for_function`` asks again from within the page, where a
    policy that allows no evaluation refuses it: it works where the first answer is yes.)
    """
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright; the test is skipped where one of the two is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on the PATH: scripts/browser installs it")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        browser.close()


class Watched:
    """A tab, with everything that its page asks for and complains of."""

    def __init__(self, browser: Any, **settings: Any) -> None:
        self.page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}} | settings)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("console", self._listen)

    def _listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


class Visit(Watched):
    """A page from a file that is open."""

    def __init__(self, browser: Any, path: Path, **settings: Any) -> None:
        super().__init__(browser, **settings)
        self.url = path.as_uri()
        self.page.goto(self.url)
        until(self.page, "document.documentElement.dataset.drawn")
