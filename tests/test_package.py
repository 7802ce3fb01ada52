"""The package as a whole: public names, versions, layers."""

import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from types import SimpleNamespace

import pytest

import dotbias as db
from dotbias import extras
from dotbias.solvers.descent.rules import RULES
from dotbias.solvers.descent.schedules import SCHEDULES
from tests.conftest import PROJECT

SOURCE = PROJECT / "src" / "dotbias"


def test_every_public_name_is_there_and_declared_to_type_checkers():
    for name in db.__all__:
        assert getattr(db, name) is not None
    declared = set(re.findall(r"import (\w+) as \1", (SOURCE / "__init__.py").read_text()))
    listed = {made.__name__ for made in (*RULES.values(), *SCHEDULES.values())}
    assert listed <= set(db.__all__)
    assert declared == set(db.__all__) - listed - {"__version__"}
    assert set(dir(db)) >= set(db.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error():
    assert not hasattr(db, "magic")


def test_importing_the_package_imports_nothing_heavy():
    program = "import sys, dotbias; print({'numba', 'polars', 'torch', 'scipy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_version_is_the_same_everywhere_and_in_the_changelog():
    project = (PROJECT / "pyproject.toml").read_text()
    assert f'version = "{db.__version__}"' in project
    assert f"## {db.__version__}" in (PROJECT / "CHANGELOG.md").read_text()


# From the bottom up: a module may import from its own layer and from those before it.
LAYERS = [
    (
        "errors",
        "extras",
        "settings",
        "memory",
        "shown",
        "plain",
        "progress",
        "compiled",
        "random",
        "whole_file",
        "model_file",
    ),
    ("pictures", "data"),
    ("models",),
    ("solvers",),
    ("recommender",),
    ("fitting",),
    ("evaluation", "sklearn", "tuning"),
    ("insight",),
    ("serving",),
    ("cli", "__main__", "testing"),
]


def test_imports_run_one_way():
    rank = {name: n for n, layer in enumerate(LAYERS) for name in layer}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts == ("__init__",):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dotbias."):
                target = node.module.split(".")[1]
                assert rank[target] <= rank[parts[0]], f"{path.name} imports upward: {node.module}"


def imported(path: Path) -> set[str]:
    """The project's modules that a module imports, at its head or when a function runs."""
    tree = ast.parse(path.read_text())
    types_alone = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in types_alone:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names | {name.rpartition(".")[0] for name in names}


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside functions count: one that is there to break a circle hides it."""
    modules = {
        ".".join(("dotbias", *path.relative_to(SOURCE).with_suffix("").parts)): path
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py"
    }
    needs = {name: imported(path) & modules.keys() for name, path in modules.items()}
    TopologicalSorter(needs).prepare()  # a CycleError names the modules of a circle


def test_nothing_is_loaded_that_could_run_code():
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        # The method eval of a PyTorch module is something else.
        unsafe = r"\b(pickle|joblib)\b\s*[(.]|(?<![.\w])(eval|exec)\s*\(|allow_pickle=True"
        assert not re.search(unsafe, text), path


@pytest.mark.parametrize(
    ("place", "url", "command"),
    [
        ("checkout", None, 'pip install -e ".[plot]"'),  # its own files are in use
        ("site-packages", "file://{folder}/checkout", 'pip install "{folder}/checkout[plot]"'),
        ("site-packages", "file://{folder}/dotbias.whl", 'pip install "dotbias[plot]"'),
        ("site-packages", None, 'pip install "dotbias[plot]"'),
    ],
)
def test_how_an_extra_is_installed_names_what_works(tmp_path, monkeypatch, place, url, command):
    """No index has the package of a checkout by its name."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "pyproject.toml").write_text('[project]\nname = "dotbias"\n')
    noted = None if url is None else json.dumps({"url": url.format(folder=tmp_path)})
    monkeypatch.setattr(
        "importlib.metadata.distribution",
        lambda _: SimpleNamespace(read_text=lambda _: noted),
    )
    monkeypatch.setattr(extras, "__file__", str(tmp_path / place / "src" / "dotbias" / "extras.py"))
    monkeypatch.chdir(tmp_path / "checkout" if place == "checkout" else tmp_path)
    assert extras.install("plot") == command.format(folder=tmp_path)
