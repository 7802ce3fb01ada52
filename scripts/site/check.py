"""What must hold of every page of the built site, told by its HTML and its style sheets."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Where an element says what a browser loads by itself, as it does not what a reader's link leads to.
_LOADED = {"src", "srcset", "poster", "data", "xlink:href"}
_TOLD = {"canonical", "prev", "next", "alternate"}
_IN_STYLE = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import\s+['\"](?:https?:)?//")


@dataclass
class Page:
    """What a page is made of."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    contents: set[str] = field(default_factory=set)
    """Links of the contents at its side."""
    styles: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.page.anchors |= {said[name] for name in ("id", "name") if name in said}
        self.in_style = tag == "style"
        self.page.styles.append(said.get("style", ""))
        self.page.loaded += [said[name] for name in _LOADED & set(said)]
        if tag == "link" and said.get("rel") not in _TOLD:
            self.page.loaded.append(said["href"])
        if tag == "a" and "href" in said:
            self.page.links.append(said["href"])
            if "md-nav__link" in said.get("class", ""):
                self.page.contents.add(said["href"])

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.page.styles.append(data)


def read(path: Path) -> Page:
    """A page of the site."""
    reader = _Reader()
    reader.feed(path.read_text("utf-8"))
    return reader.page


def faults(site: Path) -> Iterator[str]:
    """What is wrong with the site: links to nothing, things from elsewhere, pages without a place."""
    pages = {path: read(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    placed: dict[Path, bool] = defaultdict(bool)
    for path, page in pages.items():
        here = path.relative_to(site)
        for target in [*page.links, *page.loaded]:
            parts = urlsplit(target)
            if parts.scheme == "data" or (parts.scheme and target not in page.loaded):
                continue
            if parts.scheme or parts.netloc:
                yield f"{here} loads {target}"
                continue
            linked = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            linked = linked / "index.html" if linked.is_dir() else linked
            if not linked.is_file():
                yield f"{here} links to {target}, which is no file"
            elif linked in pages and unquote(parts.fragment) not in pages[linked].anchors | {""}:
                yield f"{here} links to {target}, which has no such heading"
            if target in page.contents and linked != path:
                placed[linked] = True
        if any(_IN_STYLE.search(style) for style in page.styles):
            yield f"{here} has a style that loads something from elsewhere"
    for path in pages:
        if not placed[path]:
            yield f"{path.relative_to(site)} has no place in the contents: see nav in mkdocs.yml"
    for path in site.rglob("*.css"):
        if _IN_STYLE.search(path.read_text("utf-8")):
            yield f"{path.relative_to(site)} loads something from elsewhere"
