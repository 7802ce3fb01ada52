"""The notebooks under docs run from top to bottom, and what their cells end with shows itself."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT

NOTEBOOKS = sorted((PROJECT / "docs" / "notebooks").glob("*.ipynb"))
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    book = json.loads(path.read_text("utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


def run(code: str, names: dict[str, Any]) -> Any:
    """What a cell ends with; None where that is no expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@notebooks
def test_a_notebook_runs_and_shows(path: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = []
    for cell in cells(path, "code"):
        value = run("".join(cell["source"]), names)
        if value is not None and not isinstance(value, float | tuple):
            shown.append(value._repr_html_())
    assert len(shown) >= 3
    assert any("<img" in page for page in shown)
    for name, value in names.items():
        if name in ("errors", "explained"):  # what the text around it says
            _check_claim(name, value)


def _check_claim(name: str, value: Any) -> None:
    if name == "errors":
        ranked = sorted(value, key=value.__getitem__)
        assert (ranked[:2], ranked[-1]) == (["noise floor", "Gibbs"], "biases alone")
    else:
        assert 0.8 < value < 1


@notebooks
def test_a_notebook_is_kept_without_outputs_and_links_to_pages(path: Path) -> None:
    for cell in cells(path, "code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
    for cell in cells(path, "markdown"):
        for link in re.findall(r"\]\(([^)#]+)", "".join(cell["source"])):
            assert (path.parent / link).is_file()


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) == 3
