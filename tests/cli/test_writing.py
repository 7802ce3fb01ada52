"""What holds of every command that writes, whatever it is: collected from the application."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

import dotbias as db
from dotbias.cli.main import app
from dotbias.cli.writing import Writes
from dotbias.whole_file import FileKind
from tests.cli.command import run

# Options that name a file, but one to read.
READ = {("settings_file", "--settings"), ("titles", "--titles"), ("saved", "--from")}
# What the command looks at itself, before it fits: a folder (tests/fitting/test_checkpoints.py), and a
# file that it adds to (tests/tuning/test_tune.py).
KEPT = {("checkpoint", "--checkpoint"), ("study", "--study")}


@dataclass(frozen=True)
class Option:
    """An option that names a file for its command to write."""

    command: str
    name: str
    flag: str
    kind: FileKind

    @property
    def ending(self) -> str:
        return self.kind.endings[0] if self.kind.endings else ".dotbias"

    def __str__(self) -> str:
        return f"{self.command} {self.flag}"


def parameters() -> Iterator[tuple[str, Any, inspect.Parameter]]:
    """Of all commands: name, parameter as the command line sees it, and as its function declares it."""
    for name, command, callback in commands(typer.main.get_command(app), app):
        declared = inspect.signature(callback).parameters
        for parameter in command.params:
            if parameter.name in declared:
                yield name, parameter, declared[parameter.name]


def commands(group: Any, declared: typer.Typer) -> Iterator[tuple[str, Any, Any]]:
    """Of all commands, those of groups too: name, the command, and its function."""
    for inner in declared.registered_groups:
        assert inner.typer_instance is not None
        for name, command, callback in commands(group.commands[inner.name], inner.typer_instance):
            yield f"{inner.name} {name}", command, callback
    for info in declared.registered_commands:
        yield _name(info), group.commands[_name(info)], info.callback


def _name(command: Any) -> str:
    return command.name or command.callback.__name__.replace("_", "-")


def _flag(parameter: Any) -> str:
    return max(parameter.opts, key=len)


def written() -> list[Option]:
    found = []
    for command, parameter, declared in parameters():
        for mark in get_args(declared.annotation):
            if isinstance(mark, Writes) and "Path" in str(get_args(declared.annotation)[0]):
                ((_, kind),) = mark.files({}, [Path("x")])
                found.append(Option(command, parameter.name, _flag(parameter), kind))
    return found


OPTIONS = written()
# The one that names a folder is looked at in test_prepare.py.
OF_FILES = [option for option in OPTIONS if not option.kind.is_folder]
options = pytest.mark.parametrize("option", OF_FILES, ids=str)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(option: Option, path: object, reason: str, *more: object, read: str = "mine") -> None:
    """The command does nothing; it would fail at its arguments as soon as it began."""
    typed: list[object] = []
    for command, parameter, declared in parameters():
        if command != option.command or parameter.name == option.name:
            continue
        argument = any(
            isinstance(m, typer.models.ArgumentInfo) for m in get_args(declared.annotation)
        )
        if argument:
            typed.append(read)
        elif parameter.required:
            writes = any(isinstance(m, Writes) for m in get_args(declared.annotation))
            typed += [_flag(parameter), "other.csv" if writes else "1"]
    before = {p: p.read_bytes() for p in Path().iterdir() if p.is_file()}
    done = run(option.command, *typed, option.flag, path, *more, code=1)
    assert done.stdout == ""
    assert done.stderr.startswith(f"Error: cannot write {path}: "), done.stderr
    assert reason in done.stderr
    assert {p: p.read_bytes() for p in Path().iterdir() if p.is_file()} == before


def test_every_option_that_names_a_file_says_whether_it_is_written():
    """A new command that writes is looked at as the others are, or found here."""
    for command, parameter, declared in parameters():
        kind, *marks = get_args(declared.annotation) or (declared.annotation,)
        option = any(isinstance(mark, typer.models.OptionInfo) for mark in marks)
        if option and "Path" in str(kind) and (parameter.name, _flag(parameter)) not in READ | KEPT:
            assert any(isinstance(mark, Writes) for mark in marks), f"{command} {parameter.name}"
    commands = {option.command for option in OPTIONS}
    assert commands >= {"fit", "split", "simulate", "predict", "recommend", "update", "demo", "map"}
    assert commands >= {"race", "lr-find", "schedule", "curvature", "explain"}
    assert {c for c, parameter, _ in parameters() if _flag(parameter) == "--force"} == commands


@options
def test_no_file_of_the_users_is_replaced(option, place):
    mine = place / f"x{option.ending}"
    mine.write_text("mine")
    reason = "a file is there, and nothing tells that"
    refused(option, mine.name, reason)
    Path(f"link{option.ending}").symlink_to(mine)
    refused(option, f"link{option.ending}", reason)


READERS = {c for c, _, declared in parameters() if "ArgumentInfo" in str(declared.annotation)}


@pytest.mark.parametrize("option", [o for o in OF_FILES if o.command in READERS], ids=str)
def test_what_is_read_is_not_written(option):
    mine = Path(f"x{option.ending}")
    mine.write_text("mine")
    Path(f"hard{option.ending}").hardlink_to(mine)
    for path in (mine, Path(f"hard{option.ending}")):
        refused(option, path, "it is what is read: name another file", read=str(mine))
        refused(option, path, "it is what is read: name another file", "--force", read=str(mine))


@options
def test_a_place_that_cannot_be_written_is_known_before_the_work(option, place):
    refused(option, f"no/x{option.ending}", "there is no folder no\n")
    refused(option, f"/dev/x{option.ending}", "belongs to the system")
    refused(option, f"/dev/x{option.ending}", "belongs to the system", "--force")
    refused(option, "x" * 255 + option.ending, "File name too long")
    folder = place / f"folder{option.ending}"
    folder.mkdir()
    refused(option, folder, "no regular file")
    fixed = place / f"fixed{option.ending}"
    fixed.touch(0o444)
    refused(option, fixed, "read-only", "--force")
    if option.kind.endings:
        refused(option, "x.none", f"the name of a {option.kind.noun} must end in")


SEVERAL = [
    (one, other)
    for one in OPTIONS
    for other in OPTIONS
    if (one.command, one.ending) == (other.command, other.ending) and one is not other
]


@pytest.mark.parametrize(("one", "other"), SEVERAL, ids=lambda option: str(option))
def test_two_files_of_one_command_are_not_the_same(one, other, place):
    path = f"./x{one.ending}"
    reason = f"x{one.ending} is the same file, and is written too"
    read = ["mine"] if one.command in READERS else []
    done = run(one.command, *read, one.flag, f"x{one.ending}", other.flag, path, code=1)
    assert reason in done.stderr
    assert list(place.iterdir()) == []


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.dotbias"
    ratings, _ = db.simulate(60, 40, 900, seed=1)
    db.fit(ratings, db.DotBias(n_factors=2), db.ALS(n_iterations=2)).save(path)
    return path


def test_exports_of_a_map_are_outputs_too(model):
    Path("x.parquet").write_text("mine")
    Path("x-projector").mkdir()
    Path("x-projector/vectors.tsv").write_text("mine")
    for tool, file in (("parquet", "x.parquet"), ("projector", "x-projector/vectors.tsv")):
        done = run(f"map {model} --method pca -o x.html --export {tool}", code=1)
        assert f"cannot write {file}: a file is there" in done.stderr
        assert Path(file).read_text() == "mine"
    assert not Path("x.html").exists()


def test_of_a_map_and_its_exports_all_appear_or_none(place, model, monkeypatch):
    from dotbias.insight.maps import EmbeddingMap

    asked = f"map {model} --method pca -o x.html -o x.png --export parquet --export projector"
    with monkeypatch.context() as patched:
        patched.setattr(EmbeddingMap, "export_parquet", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(asked)
    assert list(place.iterdir()) == []
    run(asked)
    assert sorted(p.name for p in place.iterdir()) == [
        "x-projector",
        "x.html",
        "x.parquet",
        "x.png",
    ]
    # All but the table are known to be ours.
    assert "cannot write x.parquet" in run(asked, code=1).stderr
    run(f"{asked} --force")


def test_a_model_is_updated_in_its_place_when_told_so(model):
    Path("m").write_bytes(model.read_bytes())
    Path("new.csv").write_text("user,item,rating\n1,1,3\n999,2,4\n")
    assert "or replace it with --force" in run("update m new.csv -o m", code=1).stderr
    assert Path("m").read_bytes() == model.read_bytes()
    assert "1 new users" in run("update m new.csv -o m --force").stderr
    assert "999" in run("recommend m --user 999 --csv").stdout


def test_the_id_of_a_user_may_be_the_name_of_a_folder(model):
    Path("1").mkdir()
    Path("1/lists.csv").write_text("old")
    run(f"recommend {model} --user 1 -o 1/lists.csv --force")
    assert Path("1/lists.csv").read_text() != "old"


@pytest.fixture
def interrupted(monkeypatch) -> Callable[[int], None]:
    """Press Ctrl-C when a number of epochs of any fit have passed."""

    def after(n_epochs: int) -> None:
        from dotbias.fitting import fit

        passed = []
        describe = fit._describe

        def press(epoch: Any, solver: Any) -> str:
            passed.append(epoch)
            if len(passed) == n_epochs:
                raise KeyboardInterrupt
            return describe(epoch, solver)

        monkeypatch.setattr(fit, "_describe", press)

    return after


def test_an_interrupted_fit_saves_what_there_is_says_so_and_exits_130(interrupted):
    """It was exit code 0, though the documentation said 130."""
    run("simulate -o r.csv --users 60 --items 40 --ratings 900")
    interrupted(2)  # within the fit that is measured
    done = run("fit r.csv -o m --factors 2 --solver sgd --epochs 5 --for predict --json", code=130)
    assert "Interrupted: the parameters of epoch" in done.stderr
    assert "Saved m (0.0 MB), fitted on 720 ratings" in done.stderr
    assert done.stderr.endswith("\nInterrupted.\n")
    assert '"stopped": "interrupted"' in done.stdout
    assert "interrupted" in run("info m").stdout


@pytest.mark.parametrize("moment", ["measuring", "fitting again"])
def test_what_is_fitted_is_saved_where_ctrl_c_comes_outside_the_epochs(monkeypatch, moment):
    """It was lost."""
    from dotbias.evaluation import evaluate
    from dotbias.fitting import fit

    run("simulate -o r.csv --users 60 --items 40 --ratings 900")
    whole, fitted = fit.fit, []

    def press(*given: Any, **how: Any) -> Any:
        fitted.append(given)
        if moment == "measuring" or len(fitted) == 2:
            raise KeyboardInterrupt
        return whole(*given, **how)

    monkeypatch.setattr(*((evaluate, "evaluate") if moment == "measuring" else (fit, "fit")), press)
    done = run("fit r.csv -o m --solver als --factors 2 --for predict", code=130)
    assert "Saved m (0.0 MB), fitted on 720 ratings" in done.stderr
    assert ("Held out" in done.stdout) is (moment != "measuring")
    assert done.stderr.endswith("\nInterrupted.\n")
    assert db.Recommender.load("m").rated.nnz == 720
    assert sorted(path.name for path in Path().iterdir()) == ["m", "r.csv"]


def test_an_interrupted_race_writes_what_there_is_and_exits_130(monkeypatch):
    from dotbias.tuning import race

    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(race, "lr_find", press)
    run("simulate -o r.csv --users 60 --items 40 --ratings 900")
    asked = "race r.csv --rules sgd,adam --lr sgd=0.01 --factors 2 --epochs 2 --numbers x.csv"
    done = run(asked, code=130)
    assert len(Path("x.csv").read_text().splitlines()) == 3
    assert "interrupted" in done.stdout
    assert done.stderr.endswith("\nInterrupted.\n")
