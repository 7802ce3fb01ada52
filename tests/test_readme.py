"""What the READMEs show runs, on real ratings, and the two say the same.

``python -m tests.test_readme ml-latest-small.zip`` runs all commands as a reader does who has a
``ratings.csv``, and prints how much time of the processor and how long each takes; with ``zip`` behind
it, one who has the archive.
"""

import contextlib
import os
import resource
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from zipfile import ZipFile

import polars as pl
import pytest
from scripts import pages

from tests.conftest import PROJECT

README = PROJECT / "README.md"
FILES = ("README.md", "README.zh-CN.md")
ENDLESS = ("serve",)
TIMED = "tune"
"""It takes the time that it is given."""
# What is a reader's own.
READ = ("ratings.csv", "movies.csv", "ml-latest-small.zip", "pairs.csv", "mine.csv", "new.csv")
READ += ("unseen.csv", "log.txt", "survey.csv", "shop.db")
MOST_SECONDS = 60


def without_comments(code: str) -> list[str]:
    stripped = (line.partition("#")[0].rstrip() for line in code.splitlines())
    return [line for line in stripped if line]


@pytest.mark.parametrize("language", ["python", ""])
def test_both_languages_show_the_same_code(language):
    english, chinese = (
        [without_comments(b) for b in pages.blocks(PROJECT / name, language)] for name in FILES
    )
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
    first_users(data_dir / "ml-latest-small.zip", Path("ratings.csv"), n_users=50)
    scope: dict[str, object] = {"__name__": "readme"}
    for code in pages.blocks(PROJECT / name, "python"):
        exec(compile(code, name, "exec"), scope)
    assert "RMSE" in capsys.readouterr().out
    assert (tmp_path / "movies.dotbias").is_file()


def to_run() -> list[list[str]]:
    """The commands of the README that come to an end."""
    return [words for words in pages.commands(README) if words[0] not in ENDLESS]


def prepare(folder: Path, archive: Path, n_users: int) -> None:
    """The files that the commands of the README name, as readers have them.

    Args:
        folder: where they come to lie.
        archive: ml-latest-small, whose users are counted from 1.
        n_users: how many of them there are.
    """
    first_users(archive, folder / "ml-latest-small.zip", n_users)
    with ZipFile(folder / "ml-latest-small.zip") as films:
        for name in films.namelist():
            (folder / Path(name).name).write_bytes(films.read(name))
    table = pl.read_csv(folder / "ratings.csv")
    table.head(50).select("userId", "movieId", shelf=pl.lit("a")).write_csv(folder / "pairs.csv")
    table.head(30).select("movieId", "rating").write_csv(folder / "mine.csv")
    as_others = (pl.col("userId") + 1_000, "movieId", "rating")
    table.head(400).select(as_others).write_csv(folder / "new.csv")
    table.tail(600).select(as_others).write_csv(folder / "unseen.csv")
    table.select("movieId", "rating", "userId").write_csv(
        folder / "log.txt", include_header=False, separator="|"
    )
    common = table["movieId"].value_counts(sort=True).head(20)["movieId"]
    wide = table.filter(pl.col("movieId").is_in(common.implode()))
    wide.pivot("movieId", index="userId", values="rating").fill_null(99).write_csv(
        folder / "survey.csv"
    )
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as shop, shop:
        shop.execute("CREATE TABLE orders (customer INTEGER, article INTEGER, number INTEGER)")
        rows = table.select("userId", "movieId", pl.lit(1)).rows()
        shop.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    hundred = folder / "ml-100k"
    hundred.mkdir()
    sets = [
        table[start::5].select("userId", "movieId", "rating", "timestamp") for start in range(5)
    ]
    for n in (1, 2):
        parts = {"test": sets[n], "base": pl.concat(sets[:n] + sets[n + 1 :])}
        for part, rows in parts.items():
            rows.write_csv(hundred / f"u{n}.{part}", include_header=False, separator="\t")


def timed(words: list[str], folder: Path) -> tuple[float, float]:
    """Of one command as a reader runs it, seconds of the processor, and those that pass.

    Raises:
        AssertionError: where it fails, or changes a file that it was only to read.
    """
    read = {name: (folder / name).read_bytes() for name in READ if (folder / name).exists()}
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "dotbias", *words],
        cwd=folder,
        env=os.environ | {"DOTBIAS_CACHE": str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    changed = [name for name, bytes_ in read.items() if (folder / name).read_bytes() != bytes_]
    assert not changed, f"{shlex.join(words)} has changed {changed}"
    return processor, seconds


def main(archive: Path, *, plain: bool) -> None:
    """Run all commands on a whole set, and print how long each took.

    Those are slow that take more of the processor than ``MOST_SECONDS``: how many seconds pass hangs on
    what else the machine is doing.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, archive, n_users=10_000)
        slow = []
        for words in to_run():
            given = (
                words if plain else [w.replace("ratings.csv", "ml-latest-small.zip") for w in words]
            )
            processor, seconds = timed(given, folder)
            print(f"{processor:7.1f} {seconds:7.1f}  {shlex.join(given)}", flush=True)
            if processor > MOST_SECONDS and words[0] != TIMED:
                slow.append(shlex.join(given))
        print(f"{len(slow)} took over {MOST_SECONDS} seconds of the processor", *slow, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), plain=sys.argv[2:] != ["zip"])
