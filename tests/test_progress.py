"""The bar is seen on a terminal only, and leaves nothing behind."""

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

import dotbias as db
from dotbias.progress import Advance, part, progress_bar, say

HIDE_CURSOR, SHOW_CURSOR, ERASE_LINE = "\x1b[?25l", "\x1b[?25h", "\x1b[2K"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def shows(self, text: str) -> bool:
        """Whether the text is drawn within the time a redraw may take."""
        deadline = time.monotonic() + 5
        while text not in self.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        return text in self.getvalue()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


@contextmanager
def bar_on(screen: io.StringIO | None, *args: Any, **options: Any) -> Iterator[Advance]:
    # pytest puts its own stderr back before each test, so a fixture cannot replace it.
    with redirect_stderr(screen), progress_bar(*args, **options) as advance:
        yield advance


def test_shows_description_percentage_and_text_and_vanishes(terminal: Terminal) -> None:
    with bar_on(terminal, "fitting [bold]", total=4) as advance:
        advance(1, "rmse [dim]")  # brackets are text, not markup
        assert terminal.shows("25%")
        assert terminal.shows("fitting [bold]")
        assert terminal.shows("rmse [dim]")
        assert terminal.shows(HIDE_CURSOR)
        assert SHOW_CURSOR not in terminal.getvalue()
    assert SHOW_CURSOR in terminal.getvalue()
    assert terminal.getvalue().endswith(ERASE_LINE)


def test_bytes_are_shown_in_readable_units(terminal: Terminal) -> None:
    with bar_on(terminal, "ml-1m", total=4_000_000, unit="bytes") as advance:
        advance(1_000_000, "")
        assert terminal.shows("1.0/4.0 MB")


def test_unknown_total_has_no_percentage(terminal: Terminal) -> None:
    with bar_on(terminal, "counting", total=None) as advance:
        advance(1, "one so far")
        assert terminal.shows("one so far")
    assert "%" not in terminal.getvalue()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_terminal_is_restored_after_an_exception(
    terminal: Terminal, error: type[BaseException]
) -> None:
    stderr = sys.stderr
    with pytest.raises(error), bar_on(terminal, "fitting", total=2):
        raise error
    assert terminal.getvalue().count(HIDE_CURSOR) == 1
    assert terminal.getvalue().count(SHOW_CURSOR) == 1
    assert sys.stderr is stderr


def test_output_of_the_program_stays_on_stdout(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar_on(terminal, "predicting", total=1) as advance:
        print("42,7,3.5")
        advance(1, "")
        assert terminal.shows("100%")
    assert capsys.readouterr().out == "42,7,3.5\n"
    assert "42,7,3.5" not in terminal.getvalue()


def test_nothing_is_shown_when_disabled(terminal: Terminal) -> None:
    with bar_on(terminal, "fitting", total=2, enabled=False) as advance:
        advance(2, "done")
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("stderr", [io.StringIO(), None])
def test_nothing_is_shown_where_stderr_is_no_terminal(stderr: io.StringIO | None) -> None:
    with bar_on(stderr, "fitting", total=2) as advance:
        advance(2, "done")
    assert stderr is None or stderr.getvalue() == ""


def test_rich_is_not_imported_without_a_terminal() -> None:
    script = (
        "import sys\n"
        "from dotbias.progress import progress_bar\n"
        "with progress_bar('x', 1) as advance: advance(1, '')\n"
        "assert not any(name.split('.')[0] == 'rich' for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stderr=subprocess.DEVNULL)


def test_what_is_said_meanwhile_is_shown_in_the_bar(terminal: Terminal) -> None:
    with bar_on(terminal, "fitting", total=4):
        say("compiling, once: walk")
        assert terminal.shows("compiling, once: walk")


def test_what_is_said_without_a_bar_is_a_note_on_a_terminal_alone(
    terminal: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dotbias")
    with redirect_stderr(terminal):
        say("compiling, once: walk")
    with redirect_stderr(io.StringIO()):
        say("compiling, once: descend")
    assert caplog.messages == ["Compiling, once: walk"]


def test_a_bar_in_a_bar_is_its_text(terminal: Terminal) -> None:
    with bar_on(terminal, "cross-validation", total=5) as advance:
        with progress_bar("fitting", 4) as inner:
            inner(1, "RMSE 0.9")
            assert terminal.shows("fitting 25%  RMSE 0.9")
        advance(1, "fold 1")
        assert terminal.shows("20%")
    assert terminal.getvalue().count(HIDE_CURSOR) == 1


class Cell:
    """The output of a notebook's cell, as IPython's ``display`` gives it."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def HTML(self, page: str) -> str:
        return page

    def display(self, page: str, *, display_id: bool) -> "Cell":
        assert display_id
        self.update(page)
        return self

    def update(self, page: str) -> None:
        self.shown.append(page)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    made = Cell()
    shell = SimpleNamespace(kernel=object())
    module = SimpleNamespace(get_ipython=lambda: shell, display=made)
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setattr("dotbias.progress._PAUSE", 0)
    return made


def test_in_a_notebook_the_bar_is_in_the_cell_and_vanishes(cell: Cell) -> None:
    with bar_on(io.StringIO(), "fitting <b>", total=4) as advance:
        advance(1, "rmse <i>")
        with progress_bar("inner", 2) as inner:
            inner(1, "")
    assert '<progress value="0" max="4">' in cell.shown[0]
    assert '<progress value="1" max="4">' in cell.shown[1]
    assert "fitting &lt;b&gt; 25%  rmse &lt;i&gt;" in cell.shown[1]
    assert "inner 50%" in cell.shown[2]
    assert cell.shown[-1] == ""


def test_in_a_notebook_nothing_is_shown_when_disabled(cell: Cell) -> None:
    with bar_on(io.StringIO(), "fitting", total=2, enabled=False) as advance:
        advance(2, "done")
    assert cell.shown == []


def test_what_takes_long_shows_one_bar_by_itself_and_none_when_told_so(cell: Cell) -> None:
    ratings, _ = db.simulate(n_users=40, n_items=30, n_ratings=600, seed=0)
    model, solver = db.DotBias(n_factors=2), db.GradientDescent(n_epochs=2)
    rec = db.fit(ratings, model, solver, progress=False)
    for name, work in {
        "fitting": partial(db.fit, ratings, model, solver),
        "finding a rate": partial(db.lr_find, model, solver, ratings, n_trials=1),
        "race": partial(db.race, ratings, [db.SGD()], model, solver, n_trials=1),
        "cross-validation": partial(db.cross_validate, ratings, model, solver, n_folds=2),
        "projecting items": partial(db.embedding_map, rec, method="pca", min_ratings=0),
    }.items():
        work(progress=False)
        assert cell.shown == [], name
        work()
        assert name in cell.shown[0]
        assert cell.shown.count("") == 1
        cell.shown.clear()


def test_what_runs_within_moves_the_bar_through_its_part_and_no_further(terminal: Terminal) -> None:
    with bar_on(terminal, "folds", total=4) as advance:
        with part(2), progress_bar("fitting", total=10) as fold:
            fold(4, "")
            assert terminal.shows("20%")
            with part(6), progress_bar("a run", total=3) as run:
                run(1, "epoch 1")
                assert terminal.shows("30%")
                assert terminal.shows("fitting 60%  a run 33%  epoch 1")
                run(9, "longer than was said")
        assert terminal.shows("50%")
        with part(1):
            pass  # nothing that shows how far it is
        advance(0, "a quarter is left")
        assert terminal.shows("75%")
