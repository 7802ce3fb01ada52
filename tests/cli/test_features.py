"""Files of features on the command line: of a fit, of a cross-validation, and of newcomers."""

import json
import re

import numpy as np
import polars as pl
import pytest

import dotbias as db
from dotbias.cli import planning
from dotbias.cli.features import FeatureFiles
from dotbias.cli.solving import Solving
from tests.recommender.test_described import N_ITEMS, N_USERS, PLANTED

SHORT = "--samples 12 --burn-in 6 --factors 2 --list-decay 1"


@pytest.fixture(scope="module")
def files(workplace):
    """Ratings, and features of more users and items than have any."""
    stars = (pl.col("rating").clip(0, 6) * 2).round() / 2
    PLANTED.train.to_frame().with_columns(stars).write_csv("stars.csv")
    PLANTED.users.rename({"id": "userId"}).write_csv("users.csv")
    titled = pl.format("{} ({})", "title", pl.col("id") + 1950)
    PLANTED.items.rename({"id": "movieId"}).with_columns(
        PLANTED.items.select(titled.alias("title"))
    ).write_csv("movies.csv")
    pl.DataFrame({"movieId": [77, 78], "genres": ["War", "Noir"]}).write_csv("few.csv")
    pl.DataFrame({"user": [900, 900], "item": [1, 7], "rating": [6.0, 0.5]}).write_csv("new.csv")
    return workplace


@pytest.fixture(scope="module")
def fitted(run, files):  # noqa: ARG001
    """What a fit to features of both sides says."""
    told = "--user-features users.csv --item-features movies.csv"
    return run(f"fit stars.csv {told} {SHORT} -o told.dotbias --test-size 0").stderr


@pytest.fixture(scope="module")
def plain(run, files):  # noqa: ARG001
    """A model that was fitted without features."""
    how = "--solver als --factors 2 --iterations 1 --list-decay 1"
    run(f"fit stars.csv {how} --test-size 0 -o plain.dotbias")


def test_a_fit_says_which_features_it_has_and_how_others_join(run, fitted):
    assert "Features of users: job, age.\nFeatures of items: genres, minutes, year.\n" in fitted
    says = (
        f"Without ratings: {N_USERS // 5} users and {N_ITEMS // 6} items. To take them in: dotbias "
    )
    assert says in fitted
    command = fitted.partition(says)[2].splitlines()[0]
    done = run(command)
    assert f"{N_USERS // 5} new users, {N_ITEMS // 6} new items" in done.stderr
    grown, rec = db.Recommender.load("told-grown.dotbias"), db.Recommender.load("told.dotbias")
    said = PLANTED.users.row(0, named=True)
    folded = rec.fold_in_user({}, features={"job": said["job"], "age": said["age"]})
    assert grown.predict(0, 1) == pytest.approx(folded.predict(1), abs=1e-5)
    assert grown.predict(1, "Film 6 (1956)") == grown.predict(1, 6)


@pytest.mark.usefixtures("files")
def test_titles_beside_the_ratings_are_read_and_said_and_can_be_left_out(run):
    known, how = "Features of items: genres, year.", f"--titles movies.csv {SHORT}"
    found = {
        more: run(f"cross-validate stars.csv --folds 2 --json {how}{more}")
        for more in ("", " --item-features none")
    }
    assert [known in done.stderr for done in found.values()] == [True, False]
    with_them, without = (
        [fold["rmse"] for fold in json.loads(done.stdout)["folds"]] for done in found.values()
    )
    assert np.mean(with_them) < np.mean(without)
    done = run(f"fit stars.csv --user-features users.csv {how} --test-size 0 -o both.dotbias")
    assert f"Features of users: job, age.\n{known}" in done.stderr
    alone = "--titles movies.csv --solver als --iterations 1 --test-size 0"
    assert "Features" not in run(f"fit stars.csv {alone} -o als.dotbias").stderr


@pytest.mark.usefixtures("files")
def test_tuning_says_which_features_it_makes_use_of(run):
    short = "tune stars.csv --titles movies.csv --trials 1 --json --solver"
    done = {solver: run(f"{short} {solver}") for solver in ("gibbs", "als")}
    said = ["Features of items: genres, year." in one.stderr for one in done.values()]
    assert said == [True, False]
    for one in done.values():
        assert "there was no other: give more (--trials)" in json.loads(one.stdout)["verdict"]


def test_an_option_of_features_chooses_the_solver_that_reads_them():
    plan = planning.plan(Solving(), FeatureFiles(item_features="movies.csv").typed)
    assert isinstance(plan.solver, db.Gibbs)
    assert plan.because == "gibbs, because of --item-features, which it is meant for."


@pytest.mark.usefixtures("fitted")
def test_features_and_ratings_join_together_or_alone(run):
    both = run("update told.dotbias new.csv --user-features users.csv -o both.dotbias --json")
    joined = json.loads(both.stdout)
    assert (joined["n_ratings"], joined["n_new_users"]) == (2, N_USERS // 5 + 1)
    run("update told.dotbias --item-features few.csv -o few.dotbias")
    grown, rec = db.Recommender.load("few.dotbias"), db.Recommender.load("told.dotbias")
    folded = rec.fold_in_item({}, features={"genres": "War"})
    assert grown.predict(1, 77) == pytest.approx(folded.predict(1), abs=1e-5)


@pytest.mark.usefixtures("files")
def test_cross_validation_uses_features(run):
    how = f"cross-validate stars.csv --folds 2 --json {SHORT}"
    told, plain = (
        [fold["rmse"] for fold in json.loads(run(f"{how}{more}").stdout)["folds"]]
        for more in (" --user-features users.csv", "")
    )
    assert all(one != other for one, other in zip(told, plain, strict=True))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fit stars.csv --solver als --user-features users.csv", "it contradicts --solver als"),
        (
            "fit stars.csv --model baseline --item-features movies.csv",
            "no meaning for --model baseline",
        ),
        ("fit stars.csv --model net --item-features movies.csv", "no meaning for --model net"),
        ("fit stars.csv --user-features none.csv", "none.csv: there is no such file"),
        ("fit stars.csv --user-features none", "none: there is no such file"),
        ("fit stars.csv --item-features users.csv", "users.csv: no item column is recognised"),
        ("fit stars.csv --user-features movies.csv", "movies.csv: no user column is recognised"),
        (
            "update plain.dotbias --user-features users.csv -o x",
            "(on the command line --user-features)",
        ),
        (
            "update plain.dotbias new.csv --item-features few.csv -o x",
            "not fitted to features of items",
        ),
    ],
)
@pytest.mark.usefixtures("plain")
def test_a_mistake_is_one_message_and_exit_code_1(run, command, message):
    done = run(command, code=1)
    assert re.fullmatch(r"Error: .*", done.stderr.splitlines()[-1])
    assert message in done.stderr


@pytest.mark.usefixtures("fitted")
def test_an_update_of_nothing_is_refused(run):
    assert "name RATINGS" in run("update told.dotbias -o x", code=2).stderr


@pytest.mark.usefixtures("fitted")
def test_an_update_without_what_titles_say_is_pointed_to_the_option_that_does_it(run):
    wrong = run("update told.dotbias new.csv --item-features none -o x", code=2)
    assert "--titles none" in wrong.stderr
