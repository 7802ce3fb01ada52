"""The reference: a page for every public name and every command, and their place in the contents."""

import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import griffe
import typer
from typer.cli import get_docs_for_click
from typer.core import MARKUP_MODE_KEY

import dotbias
from dotbias.cli.main import app
from dotbias.solvers.descent.rules import RULES
from dotbias.solvers.descent.schedules import SCHEDULES

RULE_NAMES = tuple(rule.__name__ for rule in RULES.values())
SCHEDULE_NAMES = tuple(schedule.__name__ for schedule in SCHEDULES.values())
GROUPS: dict[str, tuple[str, ...]] = {
    "Data": (
        *("read_ratings", "read_features", "load", "simulate", "k_fold", "prepare"),
        *("Ratings", "Scale", "Features", "PreparedRatings"),
    ),
    "Fitting": ("fit", "choose_solver", "objective", "convergence"),
    "Models": ("DotBias", "DotProduct", "Baseline", "Network", "EmbeddingNet"),
    "Solvers": (
        *("GradientDescent", "ALS", "ImplicitALS", "Gibbs", "ClosedForm", "MostRated"),
        "WeightDecay",
    ),
    "Update rules": ("Rule", "RowRule", "GroupRule", *RULE_NAMES),
    "Schedules": ("Schedule", *SCHEDULE_NAMES),
    "Recommender": ("Recommender", "FoldedUser", "FoldedItem", "Explanation"),
    "Evaluation": ("evaluate", "cross_validate"),
    "Tuning": (*("tune", "Tuning", "SettingsFile", "lr_find", "LrCurve", "race", "surface_race"),),
    "Insight": (
        *("embedding_map", "EmbeddingMap", "principal_components", "Components"),
        *("neighbour_stability", "NeighbourStability", "curvature", "Curvature"),
    ),
    "Errors": (
        *("DotbiasError", "DataError", "SettingError", "UnknownIdError", "AmbiguousTitleError"),
        *("DivergenceError", "DownloadError", "ModelFileError"),
    ),
}
"""The names of ``dotbias``, as its users think of them."""
SOURCE = Path(__file__).resolve().parents[2] / "src"
MODULES = {
    "Pictures": "pictures",
    "scikit-learn": "sklearn",
    "Contracts": "testing",
}
"""Modules whose public names are a group each."""


class IncompleteError(Exception):
    """A public name has no page, or a page has no public name."""


def members(module: griffe.Module) -> dict[str, griffe.Object | griffe.Alias]:
    """The public classes and functions of a module: those it lists, or those that it makes."""
    listed = [str(name) for name in module.exports or ()]
    made = [n for n, m in module.members.items() if not (m.is_alias or n.startswith("_"))]
    found = {name: module[name] for name in listed or made}
    return {name: member for name, member in found.items() if member.is_class or member.is_function}


def check_complete() -> None:
    """Every public name is in one group.

    Raises:
        IncompleteError: where one is in none or in two, or what is in a group is not public.
    """
    grouped = [name for names in GROUPS.values() for name in names]
    public = set(dotbias.__all__) - {"__version__"}
    wrong = {
        "has no page": public - set(grouped),
        "is not public": set(grouped) - public,
        "has two pages": {name for name in grouped if grouped.count(name) > 1},
    }
    told = [f"{name} {how}" for how, names in wrong.items() for name in sorted(names)]
    if told:
        raise IncompleteError("; ".join(told) + ": see GROUPS in scripts/site/reference.py")


def summary(text: str | None) -> str:
    """The first sentence of a docstring, in one line."""
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def commands(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands and those below them, by the words that call them."""
    if isinstance(command, typer.core.TyperGroup):
        for word, below in command.commands.items():
            if not below.hidden:
                yield from commands(below, f"{name} {word}".strip())
    if name:
        yield name, command


def write(folder: Path) -> None:
    """Write all pages of the reference, and ``.contents.md`` with their places.

    Args:
        folder: where; it is made.

    Raises:
        IncompleteError: where a public name would have no page.
    """
    check_complete()
    folder.mkdir(parents=True)
    contents = ["* [Reference](index.md)"]
    index = [
        "# Reference",
        "Every public name has a page, and so has every command. `db` is `dotbias`.",
    ]

    def group(title: str, entries: dict[str, tuple[str, str]]) -> None:
        """One group: its entries by name, each with the address of its page and what it is."""
        contents.append(f"* {title}")
        contents.extend(f"    * [{name}]({at})" for name, (at, _) in entries.items())
        rows = (f"| [`{name}`]({at}) | {what} |" for name, (at, what) in entries.items())
        index.append(f"## {title}")
        index.append("\n".join(["| name | what it is |", "|---|---|", *rows]))

    for title, names in GROUPS.items():
        homes = {name: getattr(dotbias, name) for name in names}
        group(title, {n: _name(folder, "db", n, m.__module__, m.__doc__) for n, m in homes.items()})
    # Modules that need an extra are read, not imported.
    package = griffe.load("dotbias", search_paths=[SOURCE], resolve_aliases=True)
    for title, name in MODULES.items():
        entries = {}
        for called, member in members(package[name]).items():
            doc = member.docstring.value if member.docstring else ""
            entries[called] = _name(folder, name, called, f"dotbias.{name}", doc)
        group(title, entries)
    root = typer.main.get_command(app)
    group("Commands", {f"dotbias {n}": _command(folder, n, c) for n, c in sorted(commands(root))})
    (folder / ".contents.md").write_text("\n".join(contents) + "\n", "utf-8")
    (folder / "index.md").write_text("\n\n".join(index) + "\n", "utf-8")


def _name(folder: Path, prefix: str, name: str, module: str, doc: str | None) -> tuple[str, str]:
    """Write the page of a public name; its address and what the name is."""
    at = f"{prefix}-{name}.md"
    use = "db" if prefix == "db" else module
    text = f"---\ntitle: {name}\n---\n\n::: {module}.{name}\n    options:\n      heading: {use}.{name}\n"
    (folder / at).write_text(text, "utf-8")
    return at, summary(doc)


def _command(folder: Path, name: str, command: click.Command) -> tuple[str, str]:
    """Write the page of a command; its address and what the command does."""
    at = f"dotbias-{name.replace(' ', '-')}.md"
    context = typer.Context(command, info_name=f"dotbias {name}", obj={MARKUP_MODE_KEY: "rich"})
    text = get_docs_for_click(
        obj=command, ctx=context, name=f"dotbias {name}", title=f"dotbias {name}"
    )
    # What is bold in a terminal are commands.
    bold = re.compile(r'<span style="font-weight: bold">(.*?)</span>', re.DOTALL)
    text = bold.sub(lambda found: f"`{html.unescape(found[1])}`", text)
    (folder / at).write_text(text, "utf-8")
    return at, summary(command.help)
