"""The command ``dotbias explain``."""

import csv
import io
import json
import re

import pytest

from dotbias.cli import insight, show
from dotbias.data import read
from dotbias.data.formats.known import open_table
from tests.cli.command import fails, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    run(f"simulate -o {folder}/ratings.csv --users 60 --items 40 --ratings 1500")
    (folder / "titles.csv").write_text("item,title\n4,[REC] (2007)\n1,Heat (1995)\n")
    (folder / "mine.csv").write_text("item,rating\nHeat (1995),5\n7,1\nno such film,3\n")
    run(
        f"fit {folder}/ratings.csv -o {folder}/m.dotbias --titles {folder}/titles.csv "
        "--for predict --test-size 0 --factors 2 --epochs 3"
    )
    return folder


def prediction(folder, item):
    report = json.loads(run(f"predict {folder}/m.dotbias --user 3 --item '{item}' --json").stdout)
    return report[0]["prediction"]


def test_it_prints_a_table_whose_parts_add_up(folder):
    done = run(f"explain {folder}/m.dotbias --user 3 --item '[REC] (2007)' -k 2")
    predicted = prediction(folder, "[REC] (2007)")
    heading = f"{predicted:.3f} is predicted for user 3 and [REC] (2007)"
    assert done.stdout.startswith(heading)
    assert re.search(r"part +rating +contribution", done.stdout)
    numbers = re.findall(r" ([+-]\d\.\d{3}) *$", done.stdout, re.MULTILINE)
    assert sum(map(float, numbers)) == pytest.approx(predicted, abs=0.006)
    assert re.search(r"the other \d+ rated items +[+-]\d", done.stdout)
    assert "The model's vector of the user was left by gradient descent" in done.stdout
    assert "█" not in done.stdout  # no terminal


def test_for_programs_all_parts_are_listed(folder):
    command = f"explain {folder}/m.dotbias --user 3 --item Heat -k 1"
    report = json.loads(run(f"{command} --json").stdout)
    rows = list(csv.DictReader(io.StringIO(run(f"{command} --csv").stdout)))
    assert len(report["parts"]) == len(rows) > 10
    total = sum(part["contribution"] for part in report["parts"])
    assert total == pytest.approx(prediction(folder, "Heat"), abs=1e-5)
    assert report["prediction"] == pytest.approx(total, abs=1e-5)
    assert [row["part"] for row in rows] == [part["part"] for part in report["parts"]]
    assert (report["item"], report["title"]) == (1, "Heat (1995)")


def test_ratings_of_ones_own_are_parsed_once(folder, monkeypatch):
    opened = []
    monkeypatch.setattr(read, "open_table", lambda *args: opened.append(args) or open_table(*args))
    for command in ("recommend", "explain --item 2"):
        run(f"{command} {folder}/m.dotbias --for-ratings {folder}/mine.csv")
    assert len(opened) == 2


def test_someone_whom_the_model_does_not_know(folder):
    done = run(f"explain {folder}/m.dotbias --for-ratings {folder}/mine.csv --item 2")
    assert "is predicted for this user and 2" in done.stdout
    assert re.search(r"Heat \(1995\) +5 +[+-]\d", done.stdout)
    assert "The parts are exact" in done.stdout
    assert "left out 1 of 3 items, unknown or not unique: 'no such film'" in done.stderr
    strict = f"--for-ratings {folder}/mine.csv --strict"
    for asked in (f"explain {folder}/m.dotbias --item 2", f"recommend {folder}/m.dotbias"):
        message = fails(f"{asked} {strict}")
        assert message.startswith(f"{folder}/mine.csv, row 4: unknown item 'no such film'")


def test_it_draws(folder):
    files = [f"{folder}/why.png", f"{folder}/why.html"]
    options = " ".join(f"--picture {file}" for file in files)
    done = run(f"explain {folder}/m.dotbias --user 3 --item Heat {options}")
    for file in files:
        assert f"Drew {file}" in done.stderr.replace("\n", "")
    assert (folder / "why.png").read_bytes().startswith(b"\x89PNG")
    assert "user 3 and Heat (1995)" in (folder / "why.html").read_text("utf-8")


def test_bars_on_a_terminal_grow_to_both_sides_of_a_line(monkeypatch):
    import polars as pl

    class Terminal:
        is_terminal = True

    monkeypatch.setattr(show, "console", Terminal)
    parts = pl.DataFrame(
        {
            "part": ["global mean", "user bias", "a", "b"],
            "rating": [None, None, 4.5, 2.0],
            "contribution": [3.5, 0.7, -0.3, 0.0],
        }
    )
    table = insight.with_bars(parts)
    assert table["contribution"].to_list() == ["+3.500", "+0.700", "-0.300", "+0.000"]
    assert table["rating"].to_list() == [None, None, "4.5", "2"]
    assert table[" "].to_list() == [None, "       │███████", "    ███│", "       │"]
    assert (insight.with_bars(parts.head(1))[" "].to_list()) == [None]
    small = parts.with_columns(contribution=pl.Series([3.5, 0.7, -0.05, 0.15]))
    assert insight.with_bars(small)[" "].to_list()[2:] == ["      ▐│", "       │█▌"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--user 999 --item 1 --strict", "unknown user '999'"),
        ("--user 3 --item nothing --strict", "unknown item 'nothing'"),
        ("--user 3 --item 1 --picture x.pdf", "must end in .png or .html"),
        ("--user 3 --item 1 --picture no/x.png", "there is no folder no"),
        ("--for-ratings nothing.csv --item 1", "nothing.csv"),
    ],
)
def test_a_mistake_is_named(folder, options, message):
    assert message in fails(f"explain {folder}/m.dotbias {options}")


@pytest.mark.parametrize(
    "options",
    [
        "--item 1",
        "--user 3",
        "--user 3 --for-ratings x.csv --item 1",
        "--user 3 --item 1 -k 0",
        "--user 3 --item 1 --json --csv",
    ],
)
def test_wrong_usage_is_exit_code_2(folder, options):
    run(f"explain {folder}/m.dotbias {options}", code=2)


def test_the_help_has_an_example():
    text = " ".join(run("explain --help").stdout.split())
    assert "dotbias explain movies.dotbias --user 42" in text


@pytest.fixture(scope="module")
def both(folder):
    run(
        f"fit {folder}/ratings.csv -o {folder}/both.dotbias "
        "--for both --list-decay 0.1 --test-size 0 --factors 2 --epochs 3"
    )
    return f"{folder}/both.dotbias"


def test_both_sums_are_told_the_preference_first(both, folder):
    command = f"explain {both} --user 3 --item 4"
    done = run(f"{command} -k 2").stdout
    assert done.index("is the preference of user 3 for") < done.index("is predicted for user 3 and")
    report = json.loads(run(f"{command} --json").stdout)
    assert (report["of"], report["preference"]["of"]) == ("rating", "preference")
    rows = list(csv.DictReader(io.StringIO(run(f"{command} --csv").stdout)))
    for of, said in (("rating", report), ("preference", report["preference"])):
        parts = [float(row["contribution"]) for row in rows if row["of"] == of]
        assert sum(parts) == pytest.approx(said["prediction"], abs=1e-5)
        alone = json.loads(run(f"{command} --of {of} --json").stdout)
        assert "preference" not in alone
        assert alone == {name: value for name, value in said.items() if name != "preference"}
    run(f"{command} --picture {folder}/both.html")
    assert "is the preference of user 3" in (folder / "both.html").read_text()


def test_what_someone_does_not_want(both, folder):
    mine = f"--for-ratings {folder}/mine.csv --not-interested 4 --not-interested 9"
    listed = json.loads(run(f"recommend {both} {mine} -k 40 --json").stdout)
    assert not {4, 9} & {row["item"] for row in listed}
    report = json.loads(run(f"explain {both} {mine} --item 12 --json").stdout)
    unwanted = [part for part in report["preference"]["parts"] if part["part"] == "not interested"]
    assert {part["item"] for part in unwanted} == {4, 9}
    message = "--not-interested goes with --for-ratings; --exclude leaves items off"
    done = run(f"recommend {both} --user 3 --not-interested 4", code=2)
    assert message in " ".join(done.stderr.replace("│", "").split())
    asked = f"recommend {both} --for-ratings {folder}/mine.csv --not-interested x"
    assert "not_interested: left out 1 of 1 items, unknown: 'x'" in run(asked).stderr
    assert "unknown item" in fails(f"{asked} --strict")


def test_stars_do_not_pass_for_purchases(tmp_path):
    run(f"simulate -o {tmp_path}/plays.csv --kind counts --users 40 --items 20 --ratings 300")
    run(f"fit {tmp_path}/plays.csv -o {tmp_path}/m.dotbias --test-size 0 --list-decay 0.1")
    (tmp_path / "stars.csv").write_text("item,rating\n1,5\n2,1\n")
    asked = f"recommend {tmp_path}/m.dotbias --for-ratings {tmp_path}/stars.csv"
    assert "these are ratings, and the model was fitted to counts" in " ".join(fails(asked).split())
    assert "Recommendations" in run(f"{asked} --kind counts").stdout


def test_counts_add_up(tmp_path):
    run(f"simulate -o {tmp_path}/plays.csv --kind counts --users 40 --items 20 --ratings 300")
    run(f"fit {tmp_path}/plays.csv -o {tmp_path}/m.dotbias --test-size 0 --count-weighting bm25")
    assert "weighting='bm25'" in run(f"info {tmp_path}/m.dotbias").stdout
    first = (tmp_path / "plays.csv").read_text().splitlines()
    (tmp_path / "new.csv").write_text("\n".join(first[:3]))
    done = run(f"update {tmp_path}/m.dotbias {tmp_path}/new.csv -o {tmp_path}/grown.dotbias")
    assert "2 counts joined (2 added to earlier ones)" in " ".join(done.stderr.split())
