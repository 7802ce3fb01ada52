"""One default, the same everywhere: with a model saved, without, and in Python.

That threads change neither the choice nor the bits is seen where these are made.
"""

import json
import signal

import numpy as np
import pytest

import dotbias as db

SEED = 3
BUDGET, N_SAMPLES = 0.6, 60  # where more samples would take too long


@pytest.fixture(scope="module")
def ratings(run, workplace):
    sizes = "--users", 80, "--items", 50, "--ratings", 2000
    run("simulate", "-o", "ratings.csv", "--by-taste", *sizes)
    return workplace / "ratings.csv"


@pytest.fixture(scope="module")
def fitted(run, ratings, workplace):
    """What each way of asking reports of the held-out ratings, and the models that were saved."""
    ways = {
        "not saved": (),
        "saved": ("-o", "saved.dotbias"),
        "measured": ("-o", "measured.dotbias", "--no-refit"),
    }
    reports = {
        way: json.loads(
            run("fit", ratings, "--seed", SEED, "--budget", BUDGET, *how, "--json").stdout
        )
        for way, how in ways.items()
    }
    models = {way: db.Recommender.load(workplace / f"{way}.dotbias") for way in list(ways)[1:]}
    return reports, models


def assert_equal_bits(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


def test_the_error_is_the_same_from_every_interface(fitted, ratings):
    reports, models = fitted
    train, test = db.read_ratings(ratings).split(0.2, seed=SEED)
    rec = db.fit(train, budget=BUDGET, seed=SEED)
    found = json.loads(json.dumps(db.evaluate(rec, test).to_dict()))
    for way, report in reports.items():
        assert {name: report["held_out"][name] for name in found} == found, way
        assert report["epochs"] == N_SAMPLES, way
    for kind in ("rating", "preference"):
        assert_equal_bits(models["measured"].by(kind).parameters, rec.by(kind).parameters)


def test_what_is_saved_has_the_settings_and_the_length_that_were_measured(fitted, ratings):
    _, models = fitted
    rec = db.fit(ratings, budget=BUDGET, seed=SEED)
    assert_equal_bits(models["saved"].by("rating").parameters, rec.by("rating").parameters)
    for kind in ("rating", "preference"):
        saved, measured = (models[way].by(kind).facts for way in ("saved", "measured"))
        assert saved.solver == measured.solver
    lengths = {len(model.facts.history.epochs) for model in (*models.values(), rec)}
    assert lengths == {N_SAMPLES}


def test_ctrl_c_in_the_second_fit_leaves_what_was_measured(run, ratings, workplace, monkeypatch):
    fit, tables = db.GradientDescent.fit, []

    def interrupted(self, model, table, *, seed, on_epoch):
        tables.append(table)

        def stop(epoch):
            on_epoch(epoch)
            if len(tables) == 2:
                signal.raise_signal(signal.SIGINT)

        return fit(self, model, table, seed=seed, on_epoch=stop)

    how = "--epochs", 3, "--factors", 4
    with monkeypatch.context() as patch:
        patch.setattr(db.GradientDescent, "fit", interrupted)
        done = run("fit", ratings, "-o", "cut.dotbias", *how, code=130)
    told = f"Dropped: saved is what was measured, fitted on {len(tables[0]):,} ratings."
    assert told in done.stderr
    run("fit", ratings, "-o", "first.dotbias", "--no-refit", *how)
    cut, first = (
        db.Recommender.load(workplace / name) for name in ("cut.dotbias", "first.dotbias")
    )
    assert_equal_bits(cut.parameters, first.parameters)
    assert cut.facts.held_out == first.facts.held_out
    assert not cut.facts.held_out["refit_on_all"]
    assert cut.facts.history.stopped == "finished"
