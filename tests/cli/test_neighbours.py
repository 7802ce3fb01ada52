"""``dotbias similar --stability`` and ``dotbias components``."""

import csv
import inspect
import io
import json
import re
from dataclasses import replace

import polars as pl
import pytest

import dotbias as db
from dotbias.cli import insight
from tests.cli.command import fails, run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that is quickly fitted, of items whose titles say nothing else."""
    ratings, _ = db.simulate(n_users=80, n_items=40, n_ratings=1500, seed=1)
    titles = pl.DataFrame({"id": range(1, 41), "title": [f"[Film {i}]" for i in range(1, 41)]})
    table = ratings.to_frame()
    ratings = db.Ratings.from_columns(*table.select("user", "item", "rating"), titles=titles)
    path = tmp_path_factory.mktemp("neighbours") / "model.dotbias"
    solver = db.GradientDescent(n_epochs=3, n_threads=1)
    db.fit(ratings, db.DotBias(n_factors=6), solver, seed=3).save(path)
    return path


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


# -- similar --stability -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(model):
    rec = db.Recommender.load(model)
    return db.neighbour_stability(rec, "[Film 7]", 4, n_fits=3, min_ratings=2)


def test_people_see_the_count_of_each_neighbour_and_the_share(model, found):
    done = run(f"similar {model} '[Film 7]' -k 4 --stability --fits 3 --min-ratings 2")
    assert done.stdout.startswith("Similar to [Film 7]\n")
    assert re.search(r"similarity +n ratings +in fits", done.stdout)
    counts = re.findall(r"\[Film \d+\].* (\d) of 3 *$", done.stdout, re.M)
    assert [int(n) / 3 for n in counts] == pytest.approx(found.frame()["in_fits"].to_list())
    assert " ".join(done.stdout.split()).endswith(found.verdict)


def test_programs_get_shares(model, found):
    command = f"similar {model} '[Film 7]' -k 4 --stability --fits 3 --min-ratings 2"
    assert json.loads(run(f"{command} --json").stdout) == found.to_dict()
    table = rows(run(f"{command} --csv").stdout)
    assert [float(row["in_fits"]) for row in table] == found.frame()["in_fits"].to_list()
    plain = rows(run(f"similar {model} '[Film 7]' -k 4 --min-ratings 2 --csv").stdout)
    shown = [{k: v for k, v in row.items() if k != "in_fits"} for row in table]
    assert shown == [{k: v for k, v in row.items() if k != "basis"} for row in plain]


def test_a_long_wait_is_announced(model, tmp_path):
    rec = db.Recommender.load(model)
    command = f"similar {tmp_path}/slow.dotbias 7 --stability -k 2"
    for seconds, note in ((0.6, "Fitting the model 5 times more, about 3 s in all."), (0.1, "")):
        rec.facts.history.seconds = seconds
        rec.save(tmp_path / "slow.dotbias")
        done = run(command)
        assert done.stderr.strip() == note
        assert "Stability: " in done.stdout
    rec.facts.history.seconds = 60.0
    rec.save(tmp_path / "slow.dotbias")
    assert "model once more, about 60 s" in run(f"{command} --fits 1").stderr
    assert run(f"-q {command} --fits 1").stderr == ""


def test_the_number_of_fits_needs_stability(model):
    done = run(f"similar {model} 7 --fits 3", code=2)
    assert "give both" in done.stderr
    run(f"similar {model} 7 --stability --fits 0", code=2)
    run(f"similar {model} 7 --stability --json --csv", code=2)


def test_a_model_that_cannot_be_fitted_again_is_an_error(model, tmp_path):
    rec = db.Recommender.load(model)
    rec = replace(rec, facts=replace(rec.facts, solver={"Mine": {"lr": 0.1}}))
    rec.save(tmp_path / "mine.dotbias")
    message = fails(f"similar {tmp_path}/mine.dotbias 7 --stability")
    assert "Mine is none of this version of dotbias" in message
    run(f"similar {tmp_path}/mine.dotbias 7")


# -- components ----------------------------------------------------------------------------------


def test_people_see_both_ends_of_each_component(model):
    done = run(f"components {model} -n 2 -k 3")
    expected = db.principal_components(db.Recommender.load(model), 2, k=3)
    for heading, ends in expected.side_by_side():
        _, _, part = done.stdout.partition(heading)
        shown = re.findall(r"^ +(\[Film \d+\]) +(\[Film \d+\]) *$", part, re.M)[:3]
        assert shown == ends.rows()
    assert len(re.findall(r"low end +high end", done.stdout)) == 2
    assert done.stderr == ""


def test_programs_get_one_row_for_each_item(model):
    command = f"components {model} -n 2 -k 3 --most-rated 20"
    found = db.principal_components(db.Recommender.load(model), 2, k=3, most_rated=20)
    assert json.loads(run(f"{command} --json").stdout) == found.frame().to_dicts()
    table = rows(run(f"{command} --csv").stdout)
    assert list(table[0]) == found.frame().columns
    assert [row["title"] for row in table] == found.frame()["title"].to_list()


def test_more_components_than_there_are_is_a_note(model):
    done = run(f"components {model} -n 9 -k 1")
    assert len(re.findall("^Component", done.stdout, re.M)) == 6
    assert done.stderr == "n=9: the embeddings have no more components than 6.\n"


def test_mistakes_of_the_user_are_named(model):
    assert "have room for at most 20 each" in fails(f"components {model} -k 21")
    for wrong in ("-n 0", "-k 0", "--most-rated 1", "--json --csv"):
        run(f"components {model} {wrong}", code=2)


def test_command_and_library_look_at_as_many_items():
    command, function = (
        inspect.signature(f).parameters["most_rated"].default
        for f in (insight.components, db.principal_components)
    )
    assert command == function


@pytest.mark.parametrize("command", ["similar", "components"])
def test_the_help_has_an_example(command):
    assert f"dotbias {command} movies.dotbias" in run(f"{command} --help").stdout
