"""What is plainly meant is done: names as on the command line, arguments that changed places, frames of
either kind; and what is not, is answered with what to write.
"""

import numpy as np
import polars as pl
import pytest

import dotbias as db
from dotbias.fitting.named import model_and_solver

RATINGS = db.simulate(n_users=60, n_items=40, n_ratings=1500, seed=1)[0]
BRIEF = db.ALS(n_iterations=1)
MODEL = db.DotBias(n_factors=2)


@pytest.fixture(scope="module")
def rec() -> db.Recommender:
    return db.fit(RATINGS, MODEL, BRIEF)


def test_names_are_those_of_the_command_line():
    assert model_and_solver("baseline", None) == (db.Baseline(), None)
    assert model_and_solver(None, "ALS") == model_and_solver("als", None) == (None, db.ALS())
    assert model_and_solver("dot_bias", "sgd") == (db.DotBias(), db.GradientDescent())
    assert model_and_solver(None, "auto") == (None, None)
    assert model_and_solver(BRIEF, MODEL) == model_and_solver(MODEL, BRIEF) == (MODEL, BRIEF)
    assert db.GradientDescent("Adam").rule == db.Adam()
    assert db.GradientDescent(schedule="warm_restarts").schedule_object == db.WarmRestarts()


def test_a_name_fits_what_the_command_fits(tmp_path):
    """The same model, solver and length of embeddings, whichever way they are named."""
    from tests.cli.command import run

    RATINGS.to_frame().write_csv(tmp_path / "r.csv")
    out = tmp_path / "m.dotbias"
    run("fit", tmp_path / "r.csv", "--solver", "ALS", "--no-refit", "--test-size", "0", "-o", out)
    mine, theirs = db.fit(RATINGS, solver="als"), db.Recommender.load(out)
    assert mine.model == theirs.model
    assert mine.facts.solver == theirs.facts.solver


@pytest.mark.parametrize(
    ("model", "solver", "message"),
    [
        (None, "asl", "solver='asl': it must be one of sgd, als, gibbs.*did you mean 'als'"),
        ("als", "sgd", "model='als' and solver='sgd': name one solver"),
        (MODEL, MODEL, "name one model"),
        (None, db.ALS, r"solver=ALS: write ALS\(\), with its settings"),
        (None, db.Adam(), r"an update rule, .*: write solver=GradientDescent\(Adam\("),
        (50, None, r"model must be a model such as DotBias\(n_factors=50\), .* not 50"),
    ],
)
def test_what_is_not_plain_is_told_how_to_write(model, solver, message):
    with pytest.raises(db.SettingError, match=message):
        db.fit(RATINGS, model, solver)


@pytest.mark.parametrize("kind", ["polars", "lazy", "pandas", "path"])
def test_whatever_holds_ratings_is_read(kind, tmp_path, rec):
    frame = RATINGS.to_frame()
    given = {"polars": frame, "lazy": frame.lazy(), "pandas": frame.to_pandas()}.get(kind)
    if given is None:
        frame.write_csv(tmp_path / "r.csv")
        given = tmp_path / "r.csv"
    again = db.fit(given, MODEL, BRIEF)
    assert np.array_equal(again.parameters["user_factors"], rec.parameters["user_factors"])
    held = db.evaluate(rec, given, on_seen="keep", ranking=False)
    assert held.rmse == db.evaluate(rec, RATINGS, on_seen="keep", ranking=False).rmse
    folds = db.cross_validate(given, "baseline", n_folds=2)
    assert folds.mean == db.cross_validate(RATINGS, db.Baseline(), n_folds=2).mean
    assert db.lr_find(MODEL, "sgd", given, n_points=5, n_trials=0).losses.shape


def test_given_folds_may_be_frames():
    parts = list(db.k_fold(RATINGS, 2))
    frames = [(train.to_frame(), test.to_frame().to_pandas()) for train, test in parts]
    found = db.cross_validate(frames, db.Baseline())
    assert found.mean == db.cross_validate(parts, db.Baseline()).mean
    with pytest.raises(db.DataError, match="folds as pairs of training and held-out ratings"):
        db.cross_validate([RATINGS], db.Baseline())


def test_the_race_and_the_finder_are_about_steps():
    with pytest.raises(db.SettingError, match="ALS takes no steps, so it has no learning rate"):
        db.lr_find("dot-bias", "als", RATINGS)
    with pytest.raises(db.SettingError, match="Baseline is not trained by gradient descent"):
        db.race(RATINGS, ["adam"], "baseline")
    assert db.surface_race("valley", ["Momentum"], n_steps=5).paths.keys() == {"momentum"}


def test_pairs_come_in_and_go_out_in_either_kind(rec):
    frame = RATINGS.to_frame()
    expected = rec.predict(frame["user"], frame["item"])
    renamed = frame.rename({"user": "userId", "item": "movieId"})
    assert list(rec.predict(RATINGS)) == list(expected)
    assert list(rec.predict(renamed.lazy())) == list(expected)
    assert list(rec.predict(frame.to_pandas())) == list(expected)

    table = rec.predict_table(renamed)
    assert table.columns == ["userId", "movieId", "rating", "prediction", "basis"]
    given = renamed.to_pandas().iloc[::-1]
    pandas = rec.predict_table(given)
    assert list(pandas.index) == list(given.index)
    assert list(pandas.columns) == table.columns
    assert list(pandas["prediction"]) == list(expected[::-1])
    assert "prediction" not in given
    assert rec.predict_table(RATINGS).equals(rec.predict_table(frame))


def test_indices_are_not_taken_for_ids():
    """Predictions of ``test.users`` and ``test.items`` were those of other users and items."""
    for side in ("user", "item"):
        with pytest.raises(
            AttributeError, match=f"{side}_indices are places .* are ids; rec.predict"
        ):
            getattr(RATINGS, f"{side}s")
    with pytest.raises(AttributeError, match="no attribute 'userz'"):
        _ = RATINGS.userz


def test_pairs_that_are_none_are_said(rec):
    with pytest.raises(db.SettingError, match="name items too, or give the pairs as ratings"):
        rec.predict("7")
    with pytest.raises(db.DataError, match="no column 'item', only user, stars"):
        rec.predict(pl.DataFrame({"user": [1], "stars": [3]}))
    with pytest.raises(db.DataError, match="pairs must be a frame or ratings, not a list"):
        rec.predict_table([(1, 2)])


def test_more_ratings_may_be_a_frame(rec):
    more = pl.DataFrame({"user": [1001, 1001], "item": [1, 6], "rating": [2.0, 5.0]})
    assert len(rec.partial_fit(more.to_pandas()).user_vocabulary) == len(rec.user_vocabulary) + 1
