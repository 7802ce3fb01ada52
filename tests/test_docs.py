"""The pages under docs do what they say: sessions, pictures, table of rules, links."""

import re
import shlex
from pathlib import Path

import pytest
from scripts import pages
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from dotbias.cli.main import app
from dotbias.solvers.descent.rules import RULES
from tests.conftest import PROJECT

TRANSLATED = pages.DOCS / "zh"
MARKDOWN = sorted([*PROJECT.glob("*.md"), *pages.DOCS.rglob("*.md")])
names = pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(PROJECT)))


def prose(path: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def pictures(path: Path) -> set[Path]:
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", prose(path))
    return {(path.parent / picture).resolve() for picture in shown}


def anchors(path: Path) -> set[str]:
    """What a link may name after ``#``, as code hosts make it of headings."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages.SESSIONS)
def test_a_session_prints_what_the_page_says_and_draws_its_pictures(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = tmp_path / "pictures"
    drawn.mkdir()
    if pages.needs_films(page):
        if pages.films() is None:
            pytest.skip(f"no {pages.FILMS}: set DOTBIAS_TEST_DATA to the folder that has it")
        Path(pages.FILMS).symlink_to(pages.films())
    assert pages.run(page) == ""
    shown = {picture.name for picture in pictures(pages.DOCS / page)}
    assert {file.name for file in drawn.iterdir()} == shown


def test_a_session_that_prints_something_else_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "DOCS", tmp_path)
    (tmp_path / "page.md").write_text("Text\n\n```python\n>>> 1 + 1\n3\n```\n", "utf-8")
    assert "Expected:\n    3\nGot:\n    2" in pages.run("page.md")


def test_every_page_with_prompts_is_run():
    prompted = {
        path.relative_to(pages.DOCS).as_posix()
        for path in pages.DOCS.rglob("*.md")
        if ">>> " in path.read_text("utf-8") and path.parent != TRANSLATED
    }
    assert prompted == set(pages.SESSIONS)


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of the tables of a page."""
    return [row[2:-2].split(" | ") for row in text.splitlines() if row.startswith("| ")]


def test_every_line_of_the_students_index_runs():
    scope: dict[str, object] = {"__name__": "page"}
    for example in pages.session(pages.STUDENTS).examples:
        exec(example.source, scope)
        if example.source.startswith("rec ="):
            break
    text = (pages.DOCS / pages.STUDENTS).read_text("utf-8")
    lines = [last[1:-1] for *_, last in rows(text) if last.startswith("`")]
    assert len(lines) > 40
    for line in lines:
        outcome = eval(line, scope)
        assert outcome is not None, line
        if line.startswith("error("):
            assert 0.5 < outcome < 0.9, line


@pytest.mark.parametrize("page", sorted(path.name for path in TRANSLATED.glob("*.md")))
def test_a_translation_shows_the_same_code_figures_and_pages(page):
    """Row by row of its tables, but for names of methods in words."""

    def shown(path: Path) -> tuple[object, ...]:
        text = path.read_text("utf-8")
        links = re.findall(r"\]\(([^)#][^)]*)\)", text)
        code = re.findall(r"^```\w*\n.*?^```$", text, re.DOTALL | re.MULTILINE)
        tables = [re.findall(r"`[^`]+`|\d[\d.,e-]*", " | ".join(row)) for row in rows(text)]
        return code, tables, {link.removeprefix("../") for link in links if page not in link}

    ours, theirs = shown(pages.DOCS / page), shown(TRANSLATED / page)
    for original, translated in zip(ours, theirs, strict=True):
        assert translated == original


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_one_section_with_equation_and_variant(name):
    texts = [(pages.INDEX.parent / page).read_text("utf-8") for page in pages.FAMILIES]
    found = [part for text in texts for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    sections = [part for part in found if part.splitlines()[0] == RULES[name].__name__]
    assert len(sections) == 1
    for wanted in ("```\n", "w ← w - ", "Variant:", "On ratings:"):
        assert wanted in sections[0]


def test_the_index_table_is_that_of_the_registry():
    assert pages.table_on_page() == pages.rules_table(), "run scripts/pages"


def test_the_table_is_written_where_it_belongs(tmp_path, monkeypatch):
    index = tmp_path / "README.md"
    index.write_text("<!-- table of rules -->\nold\n<!-- end of the table -->\nrest\n", "utf-8")
    table = pages.rules_table()
    monkeypatch.setattr(pages, "rules_table", lambda: table)
    monkeypatch.setattr(pages, "INDEX", index)
    pages.write_table()
    written = index.read_text("utf-8")
    assert written == f"<!-- table of rules -->\n{table}<!-- end of the table -->\nrest\n"


def test_the_index_names_every_rule_with_all_its_settings():
    rows = [re.split(r"(?<!\\)\|", row) for row in pages.table_on_page().splitlines()[2:]]
    assert [len(row) for row in rows] == [10] * len(RULES)
    for row, (name, rule) in zip(rows, RULES.items(), strict=True):
        _, link, class_name, equation, source, _, state, rate, settings, _ = map(str.strip, row)
        assert (link.split("]")[0], class_name) == (f"[{name}", f"`{rule.__name__}`")
        assert "w ← w - " in equation
        assert re.search(r"\d{4}|Ruder", source)
        assert (int(state.split()[0]), float(rate)) == (rule.n_slots, rule.usual_rate)
        assert state.endswith("a row") == rule.per_row
        shown = dict(pair.split("=") for pair in re.findall(r"`([^`]+)`", settings))
        defaults = {k: v for k, v in vars(rule()).items() if k != "lr"}
        assert {k: float(v) for k, v in shown.items()} == defaults


def test_the_rule_of_the_index_page_works_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = [example.source for example in pages.session("rules/README.md").examples]
    last = next(n for n, source in enumerate(sources) if "class SignedDescent" in source)
    Path("my_rules.py").write_text("".join(sources[: last + 1]), "utf-8")
    text = pages.INDEX.read_text("utf-8")
    commands = re.findall(r"^dotbias (.*my_rules\.py.*)$", text, re.MULTILINE)
    assert len(commands) == 2
    runner = CliRunner()
    simulate = "simulate --users 100 --items 50 --ratings 2000 -o ratings.csv"
    for command in (simulate, *commands):
        done = runner.invoke(app, shlex.split(command), catch_exceptions=False)
        assert done.exit_code == 0, done.output


@names
def test_every_command_is_understood(path):
    """All of its options are known, and take what they are given; nothing is run."""
    group = get_command(app)
    for words in pages.commands(path):
        with group.make_context("dotbias", words) as context:
            rest = [*context._protected_args, *context.args]
            name, command, rest = group.resolve_command(context, rest)
            while isinstance(command, TyperGroup):
                name, command, rest = command.resolve_command(context, rest)
            command.make_context(name, rest, parent=context)


@names
def test_every_picture_that_is_shown_exists(path):
    assert {picture for picture in pictures(path) if not picture.is_file()} == set()


def test_every_picture_is_shown_and_small():
    shown = set().union(*map(pictures, MARKDOWN))
    files = set((pages.DOCS / "pictures").iterdir())
    assert files <= shown
    assert max(file.stat().st_size for file in files) < 150_000


@names
def test_relative_links_resolve(path):
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", prose(path)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target
