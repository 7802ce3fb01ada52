"""What the shell offers for values, and the names that options and settings share."""

from dataclasses import fields

import pytest
import typer
from click.testing import CliRunner

import dotbias as db
from dotbias.cli import completion
from dotbias.cli.main import app
from dotbias.cli.solving import MODELS, OPTIONS, SOLVERS, Solving
from dotbias.fitting import named


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("fit x --rule ada", ["adagrad", "adadelta", "adam", "adamw", "adamax"]),
        ("fit x --solver g", ["gibbs"]),
        ("cross-validate ml-1", ["ml-100k", "ml-1m", "ml-10m", "ml-1.csv"]),
        ("race x --rules sgd,mom", ["sgd,momentum"]),
        ("schedule wa", ["warm-up", "warm-restarts"]),
        ("race --surface b", ["beale"]),
    ],
)
def test_values_are_completed(typed, offered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml-1.csv").touch()
    words = f"dotbias {typed}"
    environment = {
        "_DOTBIAS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = CliRunner().invoke(typer.main.get_command(app), [], env=environment, prog_name="dotbias")
    assert done.stdout.split() == offered


def test_files_are_the_shells_where_nothing_is_typed():
    assert completion.ratings("") == []


def test_names_of_models_and_solvers_are_those_of_python():
    assert tuple(named.MODELS) == MODELS
    assert tuple(named.SOLVERS) == SOLVERS


def test_an_option_has_the_name_of_its_setting(run):
    """Whoever comes from Python types what is called so there."""
    assert db.DotBias(n_factors=3) == db.DotBias(**{"n_factors": 3})
    spellings = {
        spelling
        for parameter in typer.main.get_command(app).commands["fit"].params
        for spelling in parameter.opts
    }
    apart = {"output"}  # which is where the model goes; as an option it is --form
    for option in OPTIONS.values():
        for solver in SOLVERS:
            setting = (option.sets.path(solver) or "").removeprefix("model.")
            if setting and "." not in setting and setting not in apart:
                assert f"--{setting.replace('_', '-')}" in spellings, setting
    assert {field.name for field in fields(Solving)} > {*OPTIONS}
    assert run("fit", "none.csv", "--n-factors", "3", code=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: db.DotBias(factors=3),
            "DotBias has no setting 'factors'; did you mean 'n_factors'",
        ),
        (
            lambda: db.ALS(iterations=3),
            "ALS has no setting 'iterations'; did you mean 'n_iterations'",
        ),
        (lambda: db.SGD(momentum=0.9), "SGD has no setting 'momentum'; there are lr"),
        (lambda: db.GradientDescent(batch=3), "did you mean 'batch_size'"),
    ],
)
def test_a_setting_that_there_is_not_is_answered_with_the_nearest(make, message):
    with pytest.raises(TypeError, match=message):
        make()
