"""The pages under docs: runs their sessions, draws their pictures and writes the table of rules."""

import doctest
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from dotbias.solvers.descent.rules import RULES, RowRule, Rule

DOCS = Path(__file__).resolve().parents[1] / "docs"
INDEX = DOCS / "rules" / "README.md"
FAMILIES = sorted(page.name for page in INDEX.parent.glob("*.md") if page != INDEX)
# A session that reads this file; the licences of rating sets forbid to have it here.
FILMS = "ml-latest-small.zip"
STUDENTS = "which-method.md"
SESSIONS = (
    STUDENTS,
    "tutorial/ratings.md",
    "tutorial/embedding.md",
    "tutorial/descent.md",
    "tutorial/rates.md",
    "tutorial/network.md",
    "tutorial/answers.md",
    "how-to/newcomers.md",
    "gradient-methods.md",
    "lists.md",
    "losses.md",
    "solvers.md",
    "embedding.md",
    "curvature.md",
    "networks.md",
    "runs.md",
    "tuning.md",
    "what-did-it-learn.md",
    "rules/README.md",
    *(f"rules/{page}" for page in FAMILIES),
)
"""The pages with Python sessions; translations, under ``zh``, show the same ones."""

_FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
_TABLE = re.compile(r"(?<=<!-- table of rules -->\n).*?(?=<!-- end of the table -->)", re.DOTALL)


def session(page: str) -> doctest.DocTest:
    """The Python session of a page."""
    text = (DOCS / page).read_text("utf-8")
    # Doctest would take the fence below an output for a part of it.
    code = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    return doctest.DocTestParser().get_doctest(code, {"__name__": "page"}, page, page, 0)


def run(page: str) -> str:
    """Run the session of a page in the current folder, which has a folder ``pictures``.

    Returns:
        What did not come out as the page says.
    """
    report: list[str] = []
    doctest.DocTestRunner(optionflags=_FLAGS).run(session(page), out=report.append)
    return "".join(report)


def blocks(path: Path, language: str) -> list[str]:
    """The code on a page that is said to be of a language; of none where that is empty."""
    text = path.read_text("utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [code for of, code in fenced if of == language]


def commands(path: Path) -> list[list[str]]:
    """The commands of dotbias that a page has for a shell, word by word without ``dotbias``."""
    code = "".join(blocks(path, "") + blocks(path, "sh")).replace("\\\n", " ")
    lines = [line.removeprefix("$ ") for line in code.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("dotbias ")]
    return [words[1:] for words in found]


def films() -> Path | None:
    """The file of films, or None where it is not on this machine."""
    folder = os.environ.get("DOTBIAS_TEST_DATA", DOCS.parents[1] / "shared" / "data")
    path = Path(folder) / FILMS
    return path if path.is_file() else None


def needs_films(page: str) -> bool:
    """Whether the session of a page reads the file of films."""
    return f'"{FILMS}"' in "".join(example.source for example in session(page).examples)


def rules_table() -> str:
    """The Markdown table of all rules, from their classes."""
    rows = [
        "| `--rule` | class | equation | source | PyTorch | state | default rate | settings |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(name, rule) for name, rule in RULES.items()),
    ]
    return "\n".join(rows) + "\n"


def _row(name: str, rule: type[Rule]) -> str:
    settings = (f"`{f.name}={f.default:g}`" for f in fields(rule) if f.name != "lr")
    cells = (
        f"[{name}]({_page(rule)}#{name})",
        f"`{rule.__name__}`",
        _equation(rule).replace("|", "\\|"),
        _source(rule),
        f"`{twin}`" if (twin := counterpart(rule)) else "",
        f"{rule.n_slots} a row" if rule.per_row else str(rule.n_slots),
        f"{rule.usual_rate:g}",
        ", ".join(settings),
    )
    return "| " + " | ".join(cells) + " |"


def _page(rule: type[Rule]) -> str:
    """The page that has a section on the rule."""
    heading = f"\n## {rule.__name__}\n"
    (page,) = (p for p in FAMILIES if heading in (INDEX.parent / p).read_text("utf-8"))
    return page


def _equation(rule: type[Rule]) -> str:
    """The formulas of the docstring, up to the one that moves ``w``."""
    quoted = re.findall(r"``(.+?)``", rule.__doc__ or "", re.DOTALL)
    formulas = [" ".join(f.split()) for f in quoted if "←" in f or (" = " in f and "(" in f)]
    last = next(n for n, f in enumerate(formulas) if f.startswith("w ←"))
    equation = ", ".join(f"`{f}`" for f in formulas[: last + 1])
    parent = rule.__bases__[0]
    shared = rule.update is getattr(parent, "update", None) and not issubclass(rule, RowRule)
    return f"that of `{parent.__name__}`; weight decay {equation}" if shared else equation


def _source(rule: type[Rule]) -> str:
    """The first brackets of the docstring that cite something."""
    found = re.search(r"\(([^()]*(?:Ruder|[12]\d{3})[^()]*)\)", rule.__doc__ or "")
    return " ".join(found[1].split()) if found else ""


def counterpart(rule: type[Rule]) -> str | None:
    """What makes the same update in ``torch.optim``, as the docstring has it first, if anything does."""
    found = re.search(r"``torch\.optim\.(.+?)``", rule.__doc__ or "", re.DOTALL)
    return " ".join(found[1].split()) if found else None


def table_on_page() -> str:
    """The table as it stands on the index page."""
    found = _TABLE.search(INDEX.read_text("utf-8"))
    return found[0] if found else ""


def write_table() -> None:
    """Put the table of rules on the index page."""
    page = INDEX.read_text("utf-8")
    INDEX.write_text(_TABLE.sub(lambda _: rules_table(), page), "utf-8")


def shrink(picture: Path) -> None:
    """Save a picture with fewer colours, which takes a third of the room."""
    from PIL import Image

    # Of Pillow's methods the octree alone keeps thin lines and pale surfaces in their own colours.
    octree = Image.Quantize.FASTOCTREE
    image = Image.open(picture).convert("RGB").quantize(method=octree, dither=Image.Dither.NONE)
    image.save(picture, optimize=True)


def main(of: Sequence[str] = SESSIONS) -> None:
    """Bring everything under docs up to date; fails where a session does not come out as it says.

    Args:
        of: the pages whose sessions run, and whose pictures are drawn.
    """
    write_table()
    failures = ""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("pictures").mkdir()
        data = films()
        if data is not None:
            Path(FILMS).symlink_to(data)
        for page in of:
            if data is None and needs_films(page):
                print(f"left out {page}: no {FILMS}; set DOTBIAS_TEST_DATA to its folder")
            else:
                failures += run(page)
        for picture in Path("pictures").iterdir():
            shrink(picture)
            shutil.copy(picture, DOCS / "pictures")
    if failures:
        sys.exit(failures)


if __name__ == "__main__":
    main(sys.argv[1:] or SESSIONS)
