"""What the READMEs show runs, on real ratings, and the two say the same."""

import re
import shutil

import pytest

from tests.conftest import PROJECT

FILES = ("README.md", "README.zh-CN.md")


def blocks(name: str, language: str) -> list[str]:
    text = (PROJECT / name).read_text("utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [code for of, code in fenced if of == language]


def without_comments(code: str) -> list[str]:
    stripped = (line.partition("#")[0].rstrip() for line in code.splitlines())
    return [line for line in stripped if line]


@pytest.mark.parametrize("language", ["python", ""])
def test_both_languages_show_the_same_code(language):
    english, chinese = ([without_comments(b) for b in blocks(name, language)] for name in FILES)
    assert english == chinese


@pytest.mark.parametrize("name", FILES)
def test_the_python_examples_run(name, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(data_dir / "ml-latest-small.zip", "ratings.csv")  # known by content, not by name
    scope: dict[str, object] = {"__name__": "readme"}
    for code in blocks(name, "python"):
        exec(compile(code, name, "exec"), scope)
    assert "RMSE" in capsys.readouterr().out
    assert (tmp_path / "movies.dotbias").is_file()
