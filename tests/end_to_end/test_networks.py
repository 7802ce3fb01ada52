"""The wheel alone has no PyTorch: it must say what to install, and need it nowhere else."""

import subprocess
from pathlib import Path


def test_without_the_extra_the_command_says_what_to_type(run):
    run("simulate", "-o", "networks.csv", "--users", 60, "--items", 40, "--ratings", 1500)
    for command in (("fit", "networks.csv"), ("lr-find", "networks.csv"), ("race", "networks.csv")):
        error = run(*command, "--model", "net", code=1).stderr
        assert 'pip install "dotbias[torch]"' in error
    assert "dotbias[torch]" in run("curvature", "networks.csv", code=1).stderr


def test_the_commands_that_do_not_need_pytorch_do_not_load_it(installed: Path, workplace: Path):
    program = (
        "import sys; from typer.testing import CliRunner; from dotbias.cli.main import app; "
        "run = lambda *a: CliRunner().invoke(app, a).exit_code; sys.modules['torch'] = None; "
        "print(run('simulate', '-o', 's.csv', '--users', '60', '--items', '40', '--ratings', '1500'),"
        "run('fit', 's.csv', '--epochs', '1', '--factors', '2', '-o', 's.dotbias'),"
        "run('evaluate', 's.dotbias'), run('recommend', 's.dotbias', '--user', '1'))"
    )
    done = subprocess.run(
        [installed / "python", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=workplace,
    )
    assert done.stdout.split() == ["0", "0", "0", "0"]
