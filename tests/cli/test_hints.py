"""What one command says of the next runs as it is printed, and messages name options that there are."""

import ast
import json
import re
import shlex

import pytest
import typer

from dotbias.cli.main import app
from tests.conftest import PROJECT

# Options of pip, and of tools that the map is written for.
OF_OTHERS = {"--index-url", "--logdir", "--x", "--y", "--neighbors", "--text"}
NEXT = re.compile(r"Next: dotbias (.*)")


@pytest.fixture(scope="module")
def ratings(run, workplace):
    """In a file and with columns that have to be quoted and named."""
    run("simulate", "-o", "plain.csv", "--users", 60, "--items", 40, "--ratings", 1500)
    text = (workplace / "plain.csv").read_text()
    lines = text.replace("user,item,rating", "who,the film,how much", 1).splitlines()
    (workplace / "my ratings.csv").write_text("\n".join([*lines, "1,2,many"]))
    return "my ratings.csv"


COLUMNS = ("--user-column", "who", "--item-column", "the film", "--rating-column", "how much")
SMALL = (*COLUMNS, "--on-bad", "skip", "--factors", 3, "--epochs", 2, "--trials", 1)


def words_of(done):
    (line,) = NEXT.findall(done.stderr + done.stdout)
    return shlex.split(line)


@pytest.mark.parametrize(
    "options",
    [
        ("--rule", "adam:beta1=0.8", "--batch", "32", "--seed", "3", "--threads", "1"),
        (
            "--weight-decay",
            "user_factors=0.1",
            "--weight-decay",
            "user_bias=0",
            "--scale",
            "0.0",
            "6.0",
        ),
        ("--schedule", "warm-restarts:first_cycle=1", "--form", "sigmoid", "--json"),
        ("--loss", "bpr", "--negatives", "2"),
    ],
    ids=" ".join,
)
def test_the_rate_goes_with_all_that_it_was_found_for(run, ratings, options):
    """Factors, epochs, schedule, decay and how the ratings are read were left out."""
    words = words_of(run("lr-find", ratings, *SMALL, *options))
    typed = [str(word) for word in (*SMALL[:-2], *options) if word != "--json"]
    *words_typed, lr, rate = words
    assert sorted(words_typed) == sorted(["fit", ratings, *typed])
    assert (lr, float(rate) > 0) == ("--lr", True)
    fitted = run(*words, "--json")
    assert json.loads(fitted.stdout)["epochs"] == 2


def test_every_next_command_runs_as_it_is_printed(run, workplace, ratings):
    how = "--solver", "als", "--iterations", 2, "--factors", 2, "--for", "predict"
    fitted = run("fit", ratings, *SMALL[:-6], "--on-bad", "skip", *how, "-o", "a model.dotbias")
    assert words_of(fitted) == ["recommend", "a model.dotbias", "--user", "1"]
    assert "Recommendations for user 1" in run(*words_of(fitted)).stdout
    rows = [f"-a {u},{i},{1 + (u * i) % 5}" for u in range(9) for i in range(9)]
    (workplace / "text.csv").write_text("\n".join(["user,item,rating", *rows]))
    fitted = run("fit", "text.csv", *how, "-o", "text.dotbias")
    assert words_of(fitted)[-1] == "-a 0"
    how = "--solver", "als", "--trials", 1, "--seed", 2
    tuned = run("tune", ratings, *COLUMNS, "--on-bad", "skip", *how, "-o", "s.json")
    assert words_of(tuned)[-2:] == ["--settings", "s.json"]
    assert "--seed" in words_of(tuned)
    assert "als" not in words_of(tuned)
    run(*words_of(tuned), "--for", "predict")
    assert "Recommendations for user -a 0" in run(*words_of(fitted)).stdout


def test_every_next_command_is_known_here():
    """Those of fit and lr-find run above, and that of demo with the installed command."""
    found = set()
    for path in (PROJECT / "src" / "dotbias").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "Next: " in ast.unparse(node):
                found.add((path.name, node.name))
                assert "hints." in ast.unparse(node)
    known = {("fitting.py", "fit"), ("laboratory.py", "lr_find"), ("demo.py", "demo")}
    known |= {("tuning.py", "tune")}
    assert found == known | {("data.py", "prepare")}


def test_messages_name_only_options_that_there_are():
    group = typer.main.get_command(app)
    there_are = {"--help", "--version", "--quiet"}
    for command in group.commands.values():
        for parameter in command.params:
            there_are.update((*parameter.opts, *parameter.secondary_opts))
    named = {}
    for path in (PROJECT / "src" / "dotbias").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", node.value):
                    named.setdefault(option, path.name)
    unknown = {o: where for o, where in named.items() if o not in there_are | OF_OTHERS}
    assert not unknown
    assert len(named) > 30
