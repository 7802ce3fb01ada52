"""``dotbias fit --checkpoint``: a command that was killed goes on, and ends like one without a break."""

import contextlib
import re
import shlex
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dotbias import model_file
from tests.cli.command import fails, run
from tests.killed import Killed, without_times

FIT = "fit r.csv -o m.dotbias --solver als --factors 2 --iterations 3 --for both --list-decay 0.05"
KEPT = f"{FIT} --checkpoint run --checkpoint-every 0.000001s"
# Two fits of two models, with eight iterations of the second.
EPOCHS = 2 * (3 + 8)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("r") / "r.csv"
    run(f"simulate -o {path} --users 60 --items 40 --ratings 900")
    return path.read_text()


@pytest.fixture(autouse=True)
def there(simulated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.csv").write_text(simulated)


def content() -> Any:
    arrays, metadata = model_file.read(Path("m.dotbias"))
    return {n: (a.dtype.str, a.tobytes()) for n, a in arrays.items()}, without_times(metadata)


@pytest.fixture(scope="module")
def unbroken(simulated: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """What the command prints without a break, and the model."""
    with contextlib.chdir(tmp_path_factory.mktemp("unbroken")):
        Path("r.csv").write_text(simulated)
        return run(FIT).stdout, content()


@pytest.mark.parametrize("n", [1, 3, 4, 12, EPOCHS])
def test_a_command_that_is_killed_goes_on(n, kill, unbroken):
    kill(n)
    with pytest.raises(Killed):
        run(KEPT)
    assert not Path("m.dotbias").exists()
    assert Path("run/measured-ratings.checkpoint").exists() is (n > 1)
    kill(99)
    assert (run(f"{KEPT} --resume").stdout, content()) == unbroken
    assert not Path("run").exists()


def test_the_default_of_two_chosen_models(kill):
    how = "fit r.csv -o m.dotbias --budget 0.6"
    printed, model = run(how).stdout, content()
    kill(30)
    with pytest.raises(Killed):
        run(f"{how} --checkpoint run --checkpoint-every 0.000001")
    assert Path("run/penalty.checkpoint").exists()
    kill(9999)
    done = run(f"{how} --checkpoint run --resume")
    assert "On from run/measured-ratings.checkpoint: 29 of " in done.stderr
    assert (done.stdout, content()) == (printed, model)


@pytest.mark.parametrize("n", [2, 13])
def test_ctrl_c_says_how_to_go_on(n, kill, unbroken):
    """In the fit that is measured, and in the one that is saved."""
    kill(n, KeyboardInterrupt)
    done = run(KEPT, code=130)
    assert "Saved m.dotbias" in done.stderr  # what there is
    said = re.search(r"To go on: dotbias (.*?)\n(?=Interrupted)", done.stderr, re.DOTALL)
    assert said is not None
    command = shlex.split(said[1])
    assert command.count("--resume") == 1
    kill(99)
    assert (run(*command).stdout, content()) == unbroken
    assert not Path("run").exists()


def test_a_password_is_to_be_typed_again(kill):
    run("prepare r.csv -o r.blocks")
    folder = "/me:hunter2@host/r.blocks"
    fsspec.filesystem("memory").put("r.blocks", folder, recursive=True)
    kill(2, KeyboardInterrupt)
    done = run(KEPT.replace("r.csv", f"memory:/{folder}"), code=130)
    assert "memory://me:***@host/r.blocks" in done.stderr
    refused = run(f"fit memory:/{folder} --kind counts", code=2)
    assert "hunter2" not in done.stderr + done.stdout + refused.stderr
    for path in (*Path("run").iterdir(), Path("m.dotbias")):
        assert b"hunter2" not in path.read_bytes()
    fsspec.filesystem("memory").rm("/me:hunter2@host", recursive=True)


def test_ctrl_c_of_a_command_that_went_on_says_the_same_command(kill):
    kill(2, KeyboardInterrupt)
    done = run(f"{KEPT} --resume", code=130)
    assert done.stderr.count("--resume") == 1


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("", "go on from them with resume=True (--resume), or delete them"),
        ("--resume --factors 3", "the checkpoint is of another run: its model is DotBias"),
        (
            "--resume --test-size 0.3",
            "the checkpoint is of another run: its ratings is 720 ratings",
        ),
    ],
)
def test_checkpoints_of_another_command_are_refused(kill, more, reason):
    kill(3)
    with pytest.raises(Killed):
        run(KEPT)
    before = Path("run/measured-ratings.checkpoint").read_bytes()
    kill(99)
    assert reason in " ".join(fails(f"{KEPT} {more}").split())
    assert Path("run/measured-ratings.checkpoint").read_bytes() == before


def test_options_that_need_a_folder():
    for option in ("--resume", "--checkpoint-every 5m"):
        said = fails(f"{FIT} {option}")
        assert said == f"{option.split()[0]}: name the folder of the checkpoints, --checkpoint"
    assert "--checkpoint-every x: write a time above 0" in fails(f"{KEPT} --checkpoint-every x")
    said = " ".join(fails(f"{FIT} --checkpoint r.csv").split())
    assert said == "cannot keep checkpoints in the folder r.csv: a file is there"


def test_without_a_break_nothing_is_left(unbroken):
    assert (run(KEPT).stdout, content()) == unbroken
    assert sorted(path.name for path in Path().iterdir()) == ["m.dotbias", "r.csv"]


def test_the_time_between_checkpoints_has_a_unit(monkeypatch):
    from dotbias.fitting import checkpoints

    seen = []
    whole = checkpoints.Checkpoints.__init__

    def made(self: Any, folder: Any, **how: Any) -> None:
        seen.append(how)
        whole(self, folder, **how)

    monkeypatch.setattr(checkpoints.Checkpoints, "__init__", made)
    fit = "fit r.csv -o m.dotbias --model baseline --for predict --checkpoint run"
    run(f"{fit} --checkpoint-every 5m --resume")
    run(fit)
    assert seen == [{"every": 300.0, "resume": True}, {"every": 60.0, "resume": False}]
