"""What the READMEs show runs, on real ratings, and the two say the same."""

import re
from pathlib import Path
from zipfile import ZipFile

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


def first_users(source: Path, target: Path, n_users: int) -> None:
    """The films of an archive, with the ratings of the first users."""
    with ZipFile(source) as whole, ZipFile(target, "w") as part:
        (ratings, movies) = (
            next(name for name in whole.namelist() if name.endswith(f"/{table}.csv"))
            for table in ("ratings", "movies")
        )
        header, *rows = whole.read(ratings).decode().splitlines(keepends=True)
        kept = [row for row in rows if int(row.partition(",")[0]) <= n_users]
        part.writestr(ratings, header + "".join(kept))
        part.writestr(movies, whole.read(movies))


def test_the_python_examples_run(data_dir, tmp_path, monkeypatch, capsys):
    """Those of both languages: they are the same."""
    name = FILES[0]
    monkeypatch.chdir(tmp_path)
    # Known by content, not by name.
    first_users(data_dir / "ml-latest-small.zip", Path("ratings.csv"), n_users=100)
    scope: dict[str, object] = {"__name__": "readme"}
    for code in blocks(name, "python"):
        exec(compile(code, name, "exec"), scope)
    assert "RMSE" in capsys.readouterr().out
    assert (tmp_path / "movies.dotbias").is_file()
