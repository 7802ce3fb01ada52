"""The bar is seen on a terminal only, and leaves nothing behind."""

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import pytest

from dotbias.progress import Advance, progress_bar, say

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
