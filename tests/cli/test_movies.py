"""What a user does with a file of real ratings, from fitting to recommendations."""

import csv
import io
import json
import subprocess
import sys

import polars as pl
import pytest


@pytest.fixture(scope="module")
def zip_file(data_dir):
    path = data_dir / "ml-latest-small.zip"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


# 60 samples instead of 200, and no search for the penalty of lists, which tests of their own fit: half
# a minute less.
QUICK = ("--budget", 7, "--list-decay", 0.08)


@pytest.fixture(scope="module")
def model(run, workplace, zip_file):
    """A model fitted with the default settings, but for its length."""
    done = run("fit", zip_file, "-o", "movies.dotbias", "--seed", 42, *QUICK)
    assert "Held out: 20,167 of 100,836 ratings" in done.stdout
    assert "RMSE" in done.stdout
    assert "100,836 ratings from 0.5 to 5 by 610 users of 9,724 items" in done.stderr
    assert "Saved movies.dotbias" in done.stderr
    return workplace / "movies.dotbias"


def test_the_held_out_error_is_stored_and_good(run, model):
    report = json.loads(run("evaluate", model, "--json").stdout)
    assert report["n_rows"] == 20_167
    assert report["rmse"] < 0.845
    assert report["rmse"] < report["baseline_rmse"] < report["mean_rmse"]


def test_what_was_used_in_fitting_is_not_measured_on(run, model, zip_file):
    done = run("evaluate", model, zip_file, code=1)
    assert "--no-refit" in done.stderr


def test_split_fit_evaluate_on_files(run, zip_file):
    run("split", zip_file, "--train", "train.csv", "--test", "test.parquet", "--seed", 42)
    run("fit", "train.csv", "-o", "train.dotbias", "--test-size", 0, *QUICK)
    report = json.loads(run("evaluate", "train.dotbias", "test.parquet", "--json").stdout)
    assert report["n_rows"] == 20_167
    assert report["rmse"] < 0.845
    assert report["ranking"]["ndcg"] > 0


def test_predict_one_and_many(run, model, workplace):
    one = json.loads(
        run("predict", model, "--user", 42, "--item", "Toy Story (1995)", "--json").stdout
    )
    assert one[0]["basis"] == "both"
    assert 0.5 <= one[0]["prediction"] <= 5

    (workplace / "pairs.csv").write_text("userId,movieId\n42,1\n42,99999999\n99999,1\n")
    done = run("predict", model, "pairs.csv", "-o", "predicted.csv")
    table = pl.read_csv(workplace / "predicted.csv")
    assert table["basis"].to_list() == ["both", "user", "item"]
    assert table["prediction"][0] == pytest.approx(one[0]["prediction"], abs=1e-5)
    assert table["prediction"].is_finite().all()
    assert "1 of 3 users are unknown: 99999" in done.stderr
    assert "1 of 3 items are unknown" in done.stderr


def test_recommend_excludes_what_was_rated(run, model, zip_file):
    table = list(csv.DictReader(io.StringIO(run("recommend", model, "--user", 1, "--csv").stdout)))
    assert len(table) == 10
    assert [row["rank"] for row in table] == [str(n) for n in range(1, 11)]
    assert all(row["title"] for row in table)
    from dotbias import read_ratings

    frame = read_ratings(zip_file).to_frame().filter(pl.col("user") == 1)
    assert not {int(row["item"]) for row in table} & set(frame["item"].to_list())
    shown = run("recommend", model, "--user", 1).stdout
    assert all(row["title"].split(" (")[0][:20] in shown for row in table)


def test_similar_by_a_part_of_the_title(run, model):
    done = run("similar", model, "lord of the rings: the two towers")
    assert "Lord of the Rings: The Return of the King" in done.stdout
    ambiguous = run("similar", model, "lord of the rings", code=1)
    assert "matches" in ambiguous.stderr
    assert "Fellowship" in ambiguous.stderr


def test_info_and_biases(run, model):
    info = json.loads(run("info", model, "--json").stdout)
    assert (info["n_users"], info["n_items"], info["n_ratings"]) == (610, 9724, 100_836)
    assert "held-out RMSE" in run("info", model).stdout
    top = json.loads(run("biases", model, "--min-ratings", 20, "--json").stdout)
    bottom = json.loads(run("biases", model, "--lowest", "--min-ratings", 20, "--json").stdout)
    assert top[0]["bias"] > 0.3 > -0.3 > bottom[0]["bias"]
    assert top[0]["mean_rating"] > 3.9 > 2.5 > bottom[0]["mean_rating"]


def test_output_may_end_early(model):
    """In processes: a command whose reader goes ends in peace."""
    command = f"'{sys.executable}' -m dotbias recommend '{model}' --all-users --csv"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("user,rank,item,title")
    assert done.stderr == ""
    assert done.returncode == 0
