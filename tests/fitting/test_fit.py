"""The default fit is as good as we say: on real ratings, and near the floor on invented ones."""

import logging

import numpy as np
import pytest

import dotbias as db
from dotbias.fitting.fit import _describe, _Pace


def test_near_the_noise_floor_at_200_ratings_per_user():
    ratings, truth = db.simulate(2000, 800, 500_000, n_factors=4, seed=1)
    train, test = ratings.split(0.2, seed=1)
    assert len(train) / train.n_users == pytest.approx(200, rel=0.01)
    solver = db.GradientDescent(n_epochs=30, weight_decay=0.01)
    rec = db.fit(train, db.DotBias(n_factors=4), solver)
    report = db.evaluate(rec, test, ranking=False)
    floor = truth.noise_floor(test)
    assert floor < report.rmse < 1.03 * floor
    assert report.baseline_rmse > 1.3 * floor


def test_planted_factors_and_biases_are_recovered():
    """The part of a rating that taste explains is found, and so are the biases."""
    ratings, truth = db.simulate(1500, 400, 300_000, n_factors=3, noise=0.3, step=0.01, seed=2)
    rec = db.fit(
        ratings, db.DotBias(n_factors=3), db.GradientDescent(n_epochs=60, weight_decay=0.005)
    )
    users = np.array(rec.user_vocabulary.ids) - 1
    items = np.array(rec.item_vocabulary.ids) - 1
    planted = truth.user_factors[users] @ truth.item_factors[items].T
    learned = rec.parameters["user_factors"] @ rec.parameters["item_factors"].T
    assert np.corrcoef(planted.ravel(), learned.ravel())[0, 1] > 0.95
    biases = np.corrcoef(truth.item_bias[items], rec.parameters["item_bias"])[0, 1]
    assert biases > 0.9


def test_default_settings_on_ml_100k(data_dir):
    errors = []
    for fold in (1, 2):  # the mean of all five is 0.876
        train, test = (
            db.read_ratings(data_dir / "ml-100k" / f"u{fold}.{part}") for part in ("base", "test")
        )
        errors.append(db.evaluate(db.fit(train), test, ranking=False).rmse)
    assert np.mean(errors) < 0.880


def test_default_settings_of_gradient_descent_on_ml_1m(data_dir):
    ratings = db.read_ratings(data_dir / "ml-1m" / "ratings.csv.gz")
    order = np.random.default_rng(42).permutation(len(ratings))
    cut = round(0.9 * len(ratings))
    train, test = ratings.take(np.sort(order[:cut])), ratings.take(np.sort(order[cut:]))
    assert db.evaluate(db.fit(train, db.DotBias()), test, ranking=False).rmse < 0.838


def test_progress_ends_with_the_bar_gone(capsys):
    ratings, _ = db.simulate(100, 50, 2000, seed=0)
    db.fit(ratings, db.DotBias(n_factors=4), db.GradientDescent(n_epochs=2), progress=True)
    assert capsys.readouterr().out == ""


def test_a_solver_that_does_not_fit_the_model_is_refused():
    ratings, _ = db.simulate(50, 30, 500, seed=0)
    with pytest.raises(db.SettingError, match="ClosedForm estimates Baseline, not DotBias"):
        db.fit(ratings, db.DotBias(), db.ClosedForm())
    with pytest.raises(
        db.SettingError, match="GradientDescent estimates DotBias and networks, not"
    ):
        db.fit(ratings, db.Baseline(), db.GradientDescent())


def interrupt(monkeypatch, kind, *, at):
    """Let fits of a kind of solver be interrupted at the end of an epoch."""
    ran = kind.fit

    def interrupted(self, model, ratings, *, seed, on_epoch):
        def stop(epoch):
            on_epoch(epoch)
            if epoch.epoch == at:
                raise KeyboardInterrupt

        return ran(self, model, ratings, seed=seed, on_epoch=stop)

    monkeypatch.setattr(kind, "fit", interrupted)


def test_an_interrupted_fit_says_so_and_keeps_what_there_is(monkeypatch, caplog):
    ratings, _ = db.simulate(100, 50, 2000, seed=0)
    solver = db.GradientDescent(n_epochs=50)
    interrupt(monkeypatch, db.GradientDescent, at=2)
    rec = db.fit(ratings, db.DotBias(n_factors=4), solver)
    assert rec.facts["history"]["stopped"] == "interrupted"
    assert "Interrupted: the parameters of epoch 2 are kept" in caplog.text
    with pytest.raises(KeyboardInterrupt):
        db.cross_validate(ratings, db.DotBias(n_factors=4), solver, n_folds=2)


@pytest.fixture(scope="module")
def few():
    return db.simulate(100, 50, 2000, seed=0).ratings


def test_with_neither_model_nor_solver_the_choice_is_used_logged_and_kept(few, caplog):
    with caplog.at_level(logging.INFO, logger="dotbias"):
        rec = db.fit(few, budget=10, seed=3)
    choice = db.choose_solver(few, budget=10)
    assert f"Solver: {choice}" in caplog.messages
    assert rec.facts["choice"] == choice.summary()
    by_hand = db.fit(few, choice.model, choice.solver, seed=3)
    for name, array in by_hand.parameters.items():
        np.testing.assert_array_equal(rec.parameters[name], array)


@pytest.mark.parametrize(
    ("model", "solver", "used"),
    [
        (db.DotBias(n_factors=4), None, "GradientDescent"),
        (db.Baseline(), None, "ClosedForm"),
        (None, db.ALS(n_iterations=1), "ALS"),
        (db.DotBias(n_factors=4), db.ALS(n_iterations=1), "ALS"),
    ],
)
def test_with_a_model_or_a_solver_nothing_is_chosen(few, model, solver, used):
    rec = db.fit(few, model, solver)
    assert rec.facts["choice"] is None
    assert rec.facts.solver_name == used


def test_what_is_chosen_survives_the_file(few, tmp_path):
    rec = db.fit(few, budget=1)
    rec.save(tmp_path / "model")
    assert db.Recommender.load(tmp_path / "model").info()["choice"] == rec.facts["choice"]


def test_a_second_into_a_fit_it_says_how_much_longer_it_will_take(monkeypatch, caplog):
    """At the pace of all but the first sample, which may have compiled."""
    now = iter([40.0, 40.9, 41.8, 42.7])
    monkeypatch.setattr("dotbias.fitting.fit.time.perf_counter", lambda: next(now))
    pace = _Pace("Fitting", db.Gibbs(n_samples=21, burn_in=4))
    with caplog.at_level(logging.INFO, logger="dotbias"):
        for done in (1, 2, 3, 4):
            pace.note(done)
    assert caplog.messages == ["Fitting: about 16 s to go (3 of 21 samples done)."]


def test_the_progress_of_each_solver_names_what_it_is_about(few):
    told = {}
    for solver in (
        db.Gibbs(n_samples=4, burn_in=1, validation_size=0.1),
        db.ALS(n_iterations=2),
        db.GradientDescent(n_epochs=1),
    ):
        epochs = []
        solver.fit(db.DotBias(n_factors=4), few, on_epoch=epochs.append)
        told[type(solver)] = _describe(epochs[-1], solver), epochs[-1]
    text, epoch = told[db.Gibbs]
    assert text.startswith(f"sample 4  noise {epoch.noise:.4f}  validation RMSE")
    text, epoch = told[db.ALS]
    assert text.startswith("iteration 2  training RMSE")
    assert f"objective {epoch.objective:.6g}" in text
    assert "noise" not in told[db.GradientDescent][0]
    assert "objective" not in told[db.GradientDescent][0]


def test_an_interrupted_chain_keeps_the_mean_so_far(few, monkeypatch, caplog):
    interrupt(monkeypatch, db.Gibbs, at=3)
    rec = db.fit(few, solver=db.Gibbs(n_samples=50, burn_in=1))
    assert rec.facts["history"]["stopped"] == "interrupted"
    assert "the mean of the samples up to number 3 is kept" in caplog.text
