"""The command that looks for better settings, and what is done with the file that it leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

import dotbias as db
from tests.cli.command import fails

QUICK = ("--solver", "als", "--trials", 6)


@pytest.fixture(scope="module")
def ratings(run):
    run("simulate", "-o", "r.csv", "--users", 80, "--items", 50, "--ratings", 1500, "--seed", 3)
    return "r.csv"


@pytest.fixture(scope="module")
def tuned(run, ratings, workplace):
    """What the command says, and the files that it leaves."""
    pictures = ("--picture", "best.html", "--importances", "mattered.html")
    done = run("tune", ratings, "-o", "settings.json", "--study", "s.journal", *QUICK, *pictures)
    return done, workplace


def test_what_was_found_is_said_and_written(tuned):
    done, folder = tuned
    assert re.search(r"6 trials in \d+ s: \d+ complete", done.stdout)
    assert re.search(r"^(Better than the default:|The default stays:) ", done.stdout, re.MULTILINE)
    assert "Tuning on 1,200 of 1,500 ratings: `fit` holds the others out." in done.stderr
    assert "Next: dotbias fit r.csv --settings settings.json" in done.stderr
    kept = db.SettingsFile.load(folder / "settings.json")
    assert type(kept.solver) is db.ALS
    assert "Tuning rmse" in (folder / "best.html").read_text()
    told = "Not drawn mattered.html: there is nothing to draw: too few trials tell what mattered."
    assert told in done.stderr


def test_the_same_trials_leave_the_same_bytes(run, ratings, tuned):
    _, folder = tuned
    run("tune", ratings, "-o", "again.json", *QUICK)
    assert (folder / "again.json").read_bytes() == (folder / "settings.json").read_bytes()


def test_it_looks_at_none_of_what_fit_holds_out(run, ratings, tuned, workplace):
    """Other ratings in the held-out part lead to the same settings."""
    table = pl.read_csv(workplace / ratings)
    train, test = db.read_ratings(workplace / ratings).split(0.2, seed=0)
    held = pl.DataFrame(test.to_frame()).select("user", "item").with_columns(held=True)
    other = table.join(held, on=["user", "item"], how="left", maintain_order="left")
    changed = pl.when("held").then(5.5 - pl.col("rating")).otherwise("rating").alias("rating")
    other.with_columns(changed).drop("held").write_csv(workplace / "other.csv")
    assert len(train) == 1200
    run("tune", "other.csv", "-o", "other.json", *QUICK)
    _, folder = tuned
    assert (folder / "other.json").read_bytes() == (folder / "settings.json").read_bytes()


def test_fit_and_cross_validate_take_the_file(run, ratings, tuned):
    _, folder = tuned
    done = run("fit", ratings, "--settings", "settings.json", "-o", "m.dotbias")
    kept = db.SettingsFile.load(folder / "settings.json")
    rec = db.Recommender.load(folder / "m.dotbias")
    assert rec.facts.solver_name == "ALS"
    assert (
        rec.facts.solver["ALS"]["weight_decay"]
        == json.loads((folder / "settings.json").read_text())["solver"]["ALS"]["weight_decay"]
    )
    assert rec.preference is not None
    assert f"Solver: {kept.solver.brief()}, from settings.json." in done.stderr
    folds = run("cross-validate", ratings, "--folds", 2, "--settings", "settings.json", "--json")
    assert json.loads(folds.stdout)["mean"]["rmse"] > 0
    run("fit", ratings, "--settings", "settings.json", "--threads", 1, "--for", "predict")


def test_a_study_goes_on(run, ratings, tuned):
    done = run("tune", ratings, "--solver", "als", "--trials", 7, "--study", "s.journal", "--json")
    told = json.loads(done.stdout)
    assert [trial["number"] for trial in told["trials"]] == list(range(7))
    assert told["overhead"] < 1
    table = run("tune", ratings, "--solver", "als", "--trials", 2, "--study", "s.journal", "--csv")
    assert table.stdout.startswith("trial,state,rmse,seconds,solver,settings\n")
    assert len(table.stdout.splitlines()) == 8
    assert tuned


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--budget 1 --trials 2", "--budget 1 and --trials 2: name one of them"),
        ("--budget x", "--budget x: write a time above 0"),
        ("--metric x --trials 1", "--metric x: it must be rmse, or ndcg"),
        ("--solver x --trials 1", "--solver x: it must be one of auto, sgd, als, gibbs"),
        (
            "--solver sgd --metric ndcg",
            "--solver sgd predicts stars, and --metric ndcg is of lists",
        ),
        ("--solver als --trials 1 --study r.csv", "r.csv is no study of dotbias"),
        (
            "--solver sgd --trials 1 --study s.journal",
            "the study is of another run: its space differs",
        ),
        ("--solver als --trials 1 -o settings.txt", "settings file must end in .json"),
        ("--solver als --trials 1 -o mine.json", "nothing tells that it is a settings file"),
    ],
)
def test_a_mistake_is_named(ratings, tuned, options, message):
    _, folder = tuned
    (folder / "mine.json").write_text("{}")
    assert message in fails(f"tune {ratings} {options}")
    assert (folder / "mine.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--solver gibbs", "--solver gibbs contradicts --settings settings.json"),
        ("--rule adam", "--rule contradicts --settings settings.json, which says it all"),
        ("--budget 1m", "--budget 1m contradicts --settings settings.json"),
        ("--convergence", "--convergence is meant for the solver gibbs, and settings.json has ALS"),
    ],
)
def test_what_contradicts_the_file_is_named(ratings, tuned, options, message):
    assert message in fails(f"fit {ratings} --settings settings.json {options}")
    assert tuned


def test_a_file_that_holds_no_settings_is_named(ratings):
    assert "r.csv holds no settings of dotbias" in fails(f"fit {ratings} --settings r.csv")
    assert "No such file" in fails(f"fit {ratings} --settings nothing.json")


def test_lists_are_tuned_too(run, workplace):
    how = "--users", 80, "--items", 60, "--ratings", 1500, "--kind", "counts"
    run("simulate", "-o", "plays.csv", *how)
    done = run("tune", "plays.csv", "--metric", "ndcg@5", "--trials", 2, "-o", "lists.json")
    assert "ndcg@5" in done.stdout
    fitted = run("fit", "plays.csv", "--settings", "lists.json", "-o", "lists.dotbias")
    assert "from lists.json" in fitted.stderr
    assert db.Recommender.load(workplace / "lists.dotbias").model.scores == "preference"


def test_ctrl_c_writes_what_there_is_and_says_so(ratings, workplace):
    """A process of its own, driven as people do."""
    command = [sys.executable, "-m", "dotbias", "tune", ratings, "--solver", "als"]
    command += ["--budget", "10m", "-o", "cut.json", "--study", "cut.journal"]
    study = workplace / "cut.journal"
    with subprocess.Popen(
        command, cwd=workplace, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        # "6" is the operation that ends a trial.
        while not study.exists() or study.read_text().count('"op_code":6') < 4:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        told, notes = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted." in notes
    kept = db.SettingsFile.load(workplace / "cut.json")
    if kept.found["replaced_default"]:
        assert not kept.found["confirmed"]
        assert "was not measured again" in told
    else:
        assert "The default stays" in told
