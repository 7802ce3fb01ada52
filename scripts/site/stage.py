"""Lays the pages of the site out in one folder, with links that hold there."""

import json
import os
import re
import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
STAGED = PROJECT / "build" / "docs"
# The start pages and the changelog are read where code lies, too, and so stay outside docs.
ELSEWHERE = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh/index.md",
    "CHANGELOG.md": "changes.md",
    "docs/notebooks": "how-to/notebook.md",
}

_CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


class LinkError(Exception):
    """A link leads to nothing."""


def place(path: Path) -> str | None:
    """Where something of the project stands in the site; None for what has no place there."""
    name = path.relative_to(PROJECT).as_posix()
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    if not name.startswith("docs/"):
        return None
    return name.removeprefix("docs/").replace(".ipynb", ".md")


def text_of(source: Path) -> str:
    """The Markdown of a page, or of the cells of a notebook, which are kept without what they print."""
    text = source.read_text("utf-8")
    if source.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    written = {"markdown": "{}", "code": "```python\n{}\n```"}
    return "\n\n".join(written[c["cell_type"]].format("".join(c["source"])) for c in cells) + "\n"


def title(source: Path) -> str:
    """What a page calls itself."""
    return text_of(source).partition("# ")[2].partition("\n")[0]


def relinked(text: str, source: Path) -> str:
    """The text of a page with its links as the site has them.

    A link that shows where a page lies shows its title instead. What the site does not show, such as a
    file of the source, keeps its name and loses its link.

    Raises:
        LinkError: for a link to what does not exist.
    """
    here = place(source)
    assert here is not None

    def turn(found: re.Match[str]) -> str:
        picture, label, target = found.groups()
        file, hash_, anchor = target.partition("#")
        if "://" in file or not file:
            return found[0]
        linked = (source.parent / file).resolve()
        if not linked.exists():
            raise LinkError(f"{source.relative_to(PROJECT)}: {target}")
        there = place(linked)
        if there is None:
            return label
        if label.endswith(".md") or label.startswith("docs/"):
            label = title(PROJECT / "docs" / there if linked.is_dir() else linked)
        relative = os.path.relpath(there, Path(here).parent)
        return f"{picture}[{label}]({relative}{hash_}{anchor})"

    # A label may hold code, so code is set aside by a mark that no page has. In a table a bar within
    # code is escaped where code lies, and needs not be here.
    kept: list[str] = []

    def aside(found: re.Match[str]) -> str:
        kept.append(found[0] if found[0].startswith("```") else found[0].replace("\\|", "|"))
        return f"\0{len(kept) - 1}\0"

    turned = _LINK.sub(turn, _CODE.sub(aside, text))
    return re.sub("\0(\\d+)\0", lambda found: kept[int(found[1])], turned)


def stage() -> None:
    """Lay out all that stands in docs or beside it, in an empty folder."""
    shutil.rmtree(STAGED, ignore_errors=True)
    docs = [path for path in sorted((PROJECT / "docs").rglob("*")) if path.is_file()]
    for source in [*docs, *(PROJECT / name for name in ELSEWHERE if name.endswith(".md"))]:
        there = place(source)
        assert there is not None
        target = STAGED / there
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".md":
            text = relinked(text_of(source), source)
            if source.suffix == ".ipynb":
                text += f"\n[This page as a notebook]({source.name})\n"
            target.write_text(text, "utf-8")
        if source.suffix != ".md":
            shutil.copy(source, target.with_name(source.name))
    shutil.copytree(Path(__file__).parent / "assets", STAGED / "assets")
