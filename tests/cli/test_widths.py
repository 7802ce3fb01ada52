"""Tables and texts on screens from a phone's to a wide one."""

import io
import re

import polars as pl
import pytest

from dotbias.cli import show
from dotbias.progress import progress_bar

# A line of each command that prints a table, and the columns that it is asked for.
TABLES = {
    "recommend m.dotbias --user 1 -k 5": ("title", "prediction"),
    "recommend m.dotbias --user 1 --user 2 -k 5": ("title", "prediction"),
    "predict m.dotbias --user 1 --item 1": ("title", "prediction"),
    "similar m.dotbias 1 -k 5": ("title", "similarity"),
    "biases m.dotbias -k 5": ("title", "bias"),
    "components m.dotbias -n 2": ("low", "high"),
    "explain m.dotbias --user 1 --item 1 -k 3": ("part", "contribution"),
    "schedule one-cycle --epochs 3": ("epoch", "factor"),
    "race r.csv --rules sgd,adam --epochs 2 --factors 2 --lr sgd=0.02 --lr adam=0.001": (
        *("name", "lr", "best"),
    ),
    "race --surface beale --rules sgd,nesterov --steps 5": ("rule", "lr", "height"),
    "sets": ("name", "what"),
}


@pytest.fixture(scope="module")
def models(run):
    run("simulate -o r.csv --users 60 --items 40 --ratings 1200 --titles t.csv")
    run("fit r.csv -o m.dotbias --titles t.csv --solver als --factors 2 --iterations 2 --no-refit")


def words(shown):
    """All but numbers, which differ from race to race."""
    return {word for word in shown.replace("─", " ").split() if not re.search("[0-9]", word)}


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("command", TABLES)
def test_no_word_breaks_and_what_was_asked_for_is_there(run, command):
    whole = words(run(command, COLUMNS="400").stdout)
    for width in (40, 80, 120):
        done = run(command, COLUMNS=str(width))
        table = [line for line in done.stdout.splitlines() if not line.endswith(".")]
        assert max(map(len, table)) <= width
        there = words(done.stdout)
        assert there <= whole
        assert set(TABLES[command]) <= there
        assert (there < whole) == ("Not shown on a screen of" in done.stderr)


def test_columns_go_by_their_priority_and_a_note_names_them(caplog, capsys, monkeypatch):
    table = pl.DataFrame(
        {
            "rank": [1],
            "item": [2858],
            "title": ["American Beauty (1999)"],
            "prediction": [4.3998],
            "n_ratings": [12],
        }
    )
    leaving = {100: "", 44: "n ratings", 36: "n ratings, item", 28: "n ratings, item, rank"}
    for width, gone in leaving.items():
        monkeypatch.setenv("COLUMNS", str(width))
        with caplog.at_level("INFO", "dotbias"):
            show.frame(table, "")
        shown = capsys.readouterr().out
        for name in table.columns:
            assert (name.split("_")[-1] in shown) == (
                name.replace("_", " ") not in gone.split(", ")
            )
        assert (f": {gone}." in caplog.text) == bool(gone)
        caplog.clear()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_texts_fold_between_words_and_stand_under_their_heading(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    path = "a/path/that/is/longer/than/the/screen.csv"
    told = f"held out   a share of the ratings of 0.2, in {path}"
    assert show.folded(told, io.StringIO()) == told
    rows = show.folded(told, Terminal()).split("\n")
    assert path in rows[-1]
    assert all(row.startswith(" " * 11) for row in rows[1:])
    assert " ".join(" ".join(rows).split()) == " ".join(told.split())


def test_a_table_within_a_text_is_cut_between_its_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "26")
    table = (
        "group of users   rows    RMSE",
        "5-19              320  1.0623",
        "500+           12,345  0.7991",
    )
    assert show.folded("\n".join(["Two numbers", "", *table]), Terminal()).split("\n") == [
        "Two numbers",
        "",
        "group of users   rows",
        "5-19              320",
        "500+           12,345",
        "group of users    RMSE",
        "5-19            1.0623",
        "500+            0.7991",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_bar_keeps_what_is_under_way_and_how_far(monkeypatch, width):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("fitting preferences", total=2) as advance:
        advance(1, "epoch 8  training RMSE 0.1797  objective 742.64  0.3 M ratings/s")
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", screen.getvalue()).replace("\n", "")
    assert "fitting preferences " in last
    assert " 50% ep" in last or width == 40
    assert " 50% " in last
