"""What becomes of a command whose output is not read, has no room, or has no letters for it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dotbias as db
from dotbias import __main__
from dotbias.cli.main import app
from dotbias.cli.reading import without_panics

FULL = Path("/dev/full")
full_disk = pytest.mark.skipif(not FULL.is_char_device(), reason="no device that is always full")


@pytest.fixture(scope="module")
def ratings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ratings")
    table, _ = db.simulate(60, 40, 900, seed=1)
    table.to_frame().write_csv(folder / "r.csv")
    (folder / "titles.csv").write_text("item,title\n1,Amélie ★\n2,Heat\n3,Ran\n", "utf-8")
    return folder / "r.csv"


def run(*command: object, stdout: int) -> subprocess.CompletedProcess[str]:
    """What a process of its own says, which is never a traceback; ``stdout`` is closed then."""
    typed = [sys.executable, "-m", "dotbias", *map(str, command)]
    done = subprocess.run(typed, stdout=stdout, stderr=subprocess.PIPE, text=True)
    os.close(stdout)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


def unread() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def ended(process: subprocess.Popen[str]) -> bool:
    """Whether it has ended, or does so in half a second."""
    try:
        return process.wait(0.5) is not None
    except subprocess.TimeoutExpired:
        return False


def test_ctrl_c_while_a_pipe_is_read_is_exit_code_130(tmp_path):
    """Since Polars takes the signal, it was noticed with the next bytes alone."""
    pipe = tmp_path / "ratings.csv"
    os.mkfifo(pipe)
    typed = [sys.executable, "-m", "dotbias", "fit", pipe.name, "-o", "m"]
    with (
        subprocess.Popen(typed, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process,
        pipe.open("w"),  # once it is opened for reading too
    ):
        tries = 0
        while not ended(process) and tries < 20:  # one right before it begins to wait is missed
            process.send_signal(signal.SIGINT)
            tries += 1
        process.kill()
        assert process.stderr.read() == "Interrupted.\n"
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("moment", ["loading", "a command"])
def test_ctrl_c_ends_the_process_at_once_with_exit_code_130(monkeypatch, capsys, moment):
    """While the command line was still loading, there was a traceback."""

    class App:
        def __call__(self):
            raise SystemExit(130) if moment == "a command" else KeyboardInterrupt

    codes = []
    monkeypatch.setattr("dotbias.cli.main.app", App())
    monkeypatch.setattr(os, "_exit", codes.append)
    __main__.main()
    assert codes == [130]
    assert capsys.readouterr().err == ("" if moment == "a command" else "Interrupted.\n")


def test_the_package_loads_nothing_that_ctrl_c_would_have_to_wait_for():
    program = "import sys, dotbias.__main__; print('numpy' in sys.modules, dotbias.Adam.__name__)"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert done.stdout == "False Adam\n"


@full_disk
@pytest.mark.parametrize("how", ["", "--json", "--csv"])
def test_an_output_without_room_is_one_message_and_exit_code_1(how):
    done = run("sets", *how.split(), stdout=os.open(FULL, os.O_WRONLY))
    said = "Error: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("how", ["", "--json"])
def test_a_reader_that_has_gone_is_a_quiet_end(how):
    done = run("sets", *how.split(), stdout=unread())
    assert (done.returncode, done.stderr) == (0, "")


FIT = "--factors", 2, "--solver", "als", "--iterations", 2, "--for", "predict"


@pytest.mark.parametrize(
    ("full", "code"), [pytest.param(True, 1, marks=full_disk), (False, 0)], ids=["full", "unread"]
)
def test_a_fit_whose_report_nobody_can_read_is_saved(ratings, tmp_path, full, code):
    """`dotbias fit ... -o m | head -1` lost the model."""
    stdout = os.open(FULL, os.O_WRONLY) if full else unread()
    done = run("fit", ratings, "-o", tmp_path / "m", *FIT, stdout=stdout)
    assert done.returncode == code
    assert "Saved" in done.stderr
    db.Recommender.load(tmp_path / "m")


@pytest.mark.parametrize("charset", ["ascii", "latin-1", "utf-8"])
def test_a_title_that_the_output_has_no_letters_for_is_shown_as_far_as_it_has(
    ratings, tmp_path, charset
):
    table = db.read_ratings(ratings, titles=ratings.with_name("titles.csv"))
    path = tmp_path / "m"
    db.fit(table, db.DotBias(n_factors=2), db.ALS(n_iterations=2)).save(path)
    shown = {"ascii": "Am?lie ?", "latin-1": "Amélie ?", "utf-8": "Amélie ★"}[charset]
    asked = ["similar", str(path), "2", "-k", "40"]
    for how in ([], ["--csv"]):
        done = CliRunner(charset=charset).invoke(app, [*asked, *how], catch_exceptions=False)
        assert shown in done.stdout
    done = CliRunner(charset=charset).invoke(app, [*asked, "--json"], catch_exceptions=False)
    assert "Amélie ★" in {row["title"] for row in json.loads(done.stdout)}  # nothing is lost


def test_what_a_parser_says_of_its_panic_is_said_by_the_error_alone(capfd, monkeypatch):
    monkeypatch.setattr(sys, "stderr", os.fdopen(os.dup(2), "w", buffering=1))
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    with without_panics():
        os.write(2, b"thread 'polars-1' (7) panicked at crates/x.rs:1:2:\nassertion failed\n")
        print("a note", file=sys.stderr)
        assert capfd.readouterr().err == "a note\n"
    assert capfd.readouterr().err == ""
    with without_panics():
        os.write(2, b"a warning of a library\n")
    assert capfd.readouterr().err == "a warning of a library\n"
    sys.stderr.close()


def test_a_file_at_which_polars_panics_is_one_message(tmp_path, capfd):
    """``thread 'polars-1' panicked at``... stood above it."""
    frame = db.simulate(20, 10, 100, seed=1)[0].to_frame()
    frame.write_parquet(tmp_path / "r.parquet", compression="uncompressed")
    whole = (tmp_path / "r.parquet").read_bytes()
    command = f"split {tmp_path}/r.parquet --train {tmp_path}/a.csv --test {tmp_path}/b.csv --force"
    for at in (186, 200, 210):
        (tmp_path / "r.parquet").write_bytes(whole[:at] + b"\0" + whole[at + 1 :])
        done = CliRunner().invoke(app, command.split())
        assert done.exit_code in (0, 1)
        assert capfd.readouterr().err == ""
