"""The installed command in processes of its own: the tour, exit codes, interruption, missing extras.

What single commands print, save and refuse is tested without them, in ``tests/cli``.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys

import pytest

from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def ratings(run, workplace):
    run("simulate", "-o", "ratings.csv", "--users", 300, "--items", 200, "--ratings", 12_000)
    return workplace / "ratings.csv"


@pytest.fixture(scope="module")
def model(run, workplace, ratings):
    run("fit", ratings, "-o", "small.dotbias", "--factors", 8, "--epochs", 10)
    return workplace / "small.dotbias"


def test_the_demo_comes_close_to_the_noise_floor(run, workplace):
    done = run("demo")
    assert "noise floor" in done.stdout
    assert "the loaded model predicts the same" in done.stdout
    assert (workplace / "demo.dotbias").is_file()
    excess = float(re.search(r"within ([\d.]+) % of the noise floor", done.stdout).group(1))
    assert excess < 3
    (words,) = re.findall(r"Next: dotbias (.*)", done.stdout)
    assert "is predicted for user" in run(*shlex.split(words)).stdout


def test_help_imports_nothing_heavy(installed, environment):
    program = (
        "import sys; sys.argv = ['dotbias', '--help']\n"
        "from dotbias.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        # The names of rules and schedules come from their registries, which need NumPy.
        "heavy = {'numba', 'polars', 'matplotlib', 'scipy', 'safetensors', 'httpx'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [installed / "python", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip().endswith("HEAVY []")
    assert "recommend" in done.stdout


def test_version_and_module(run, installed, environment):
    version = run("--version").stdout
    assert re.fullmatch(r"dotbias \d+\.\d+\.\d+\n", version)
    done = subprocess.run(
        [installed / "python", "-m", "dotbias", "--version"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == version


def test_a_mistake_is_exit_code_1_and_wrong_usage_is_exit_code_2(run):
    mistaken = run("info", "missing.dotbias", code=1)
    assert mistaken.stderr == "Error: there is no model file missing.dotbias\n"
    misused = run("fit", code=2)
    assert "Error" in misused.stderr
    assert mistaken.stdout == misused.stdout == ""


def test_the_package_is_installed_whole(installed):
    """A file that is no code, such as the script of a map, was easily left out of the wheel."""

    def files(folder):
        everything = (path for path in folder.rglob("*") if path.is_file())
        kept = (path for path in everything if path.suffix not in (".pyc", ".nbi", ".nbc"))
        return sorted(path.relative_to(folder).as_posix() for path in kept)

    (folder,) = installed.parent.glob("lib/python*/site-packages/dotbias")
    assert files(folder) == files(PROJECT / "src" / "dotbias")


def test_without_the_libraries_that_draw_the_work_is_not_even_begun(run, workplace, ratings):
    for command in (["lr-find", ratings], ["race", ratings], ["schedule", "linear"]):
        done = run(*command, "--picture", "x.png", "--picture", "x.html", code=1)
        assert 'pip install "dotbias[plot]"' in done.stderr
        assert done.stdout == ""
    assert not (workplace / "x.png").exists()


def test_a_model_is_looked_into_without_any_extra(run, model, workplace):
    assert "Component 1: " in run("components", model, "-n", 1).stdout
    user = json.loads(run("recommend", model, "--user", 1, "-k", 1, "--json").stdout)[0]
    found = json.loads(run("explain", model, "--user", 1, "--item", user["item"], "--json").stdout)
    assert sum(part["contribution"] for part in found["parts"]) == pytest.approx(
        user["prediction"], abs=1e-5
    )
    stable = run("similar", model, 3, "-k", 3, "--stability", "--fits", 1).stdout
    assert re.search(r"in fits\s.* [01] of 1\s", stable, re.DOTALL)
    exported = run("map", model, "--method", "pca", "--export", "projector")
    assert "tensorboard --logdir" in exported.stderr
    assert (workplace / f"{model.stem}-map-projector" / "vectors.tsv").is_file()
    for options in (("-o", "map.html"), ("--export", "parquet")):
        assert 'pip install "dotbias[map]"' in run("map", model, *options, code=1).stderr
    assert not (workplace / "map.html").exists()


def on_a_terminal(command, *, interrupt_at="", **how):
    """Exit code of a process on a terminal of its own, and what was to be seen there.

    It is interrupted with Ctrl-C when a text is to be seen.
    """
    terminal, end = os.openpty()
    shown = ""
    with subprocess.Popen([*map(str, command)], stdout=end, stderr=end, **how) as process:
        os.close(end)
        while True:
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # how Linux says that nothing will follow
                break
            if not piece:
                break
            shown += piece.decode(errors="replace")
            if interrupt_at and interrupt_at in shown:
                process.send_signal(signal.SIGINT)
                interrupt_at = ""
    os.close(terminal)
    return process.returncode, shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_ctrl_c_keeps_the_best_parameters_and_saves_them(
    run, installed, environment, workplace, ratings
):
    fit = [installed / "dotbias", "fit", ratings, "-o", "cut.dotbias", "--test-size", 0]
    code, shown = on_a_terminal(
        [*fit, "--epochs", 1_000_000],
        interrupt_at="training RMSE",
        cwd=workplace,
        env=environment | {"TERM": "xterm-256color"},
    )
    assert code == 130, shown
    assert "Saved cut.dotbias" in shown
    assert "Interrupted: the parameters of epoch" in shown
    assert "Traceback" not in shown
    info = json.loads(run("info", "cut.dotbias", "--json").stdout)
    assert info["history"]["stopped"] == "interrupted"
    assert run("recommend", "cut.dotbias", "--user", "1", "--csv").stdout.count("\n") == 11


def test_ctrl_c_where_nothing_can_be_kept_is_exit_code_130(installed, environment, workplace):
    """The message was lost on its way."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        process = subprocess.Popen(
            [installed / "dotbias", "download", "ml-100k"],
            cwd=workplace,
            env=environment
            | {"DOTBIAS_DATASETS_URL": f"http://127.0.0.1:{server.getsockname()[1]}/"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = server.accept()  # and never answer
        with connection:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (130, "", "Interrupted.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_sees_progress(installed, environment, workplace, ratings):
    code, shown = on_a_terminal(
        [installed / "dotbias", "fit", ratings, "--epochs", 1500, "--factors", 64],
        cwd=workplace,
        env=environment | {"TERM": "xterm-256color"},
    )
    assert code == 0
    assert "training RMSE" in shown
    assert "ratings/s" in shown
