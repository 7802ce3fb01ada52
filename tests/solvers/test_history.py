"""What a fit leaves of its epochs, and its picture."""

import numpy as np
import pytest

import dotbias as db
from dotbias.errors import SettingError
from dotbias.solvers.base import History


@pytest.fixture(scope="module")
def ratings():
    return db.simulate(n_users=40, n_items=30, n_ratings=800, seed=0)[0]


def drawn(history):
    return {
        panel.title: {line.name: list(line.y) for line in panel.lines}
        for panel in history.plot().panels
    }


@pytest.mark.parametrize(
    ("solver", "titles"),
    [
        (db.GradientDescent(db.SGD(), n_epochs=2), ["Error", "Learning rate"]),
        (db.GradientDescent(db.Nadam(), n_epochs=2), ["Error", "Learning rate"]),
        (db.GradientDescent(db.Adam(), n_epochs=2), ["Error", "Learning rate", "Momentum"]),
        (db.GradientDescent(loss="bpr", n_epochs=2), ["Loss", "Learning rate"]),
        (db.ALS(n_iterations=2), ["Error"]),
        (db.Gibbs(n_samples=2, burn_in=1), ["Error"]),
    ],
    ids=lambda value: "" if isinstance(value, list) else repr(value)[:30],
)
def test_a_picture_has_a_panel_for_each_thing_that_the_solver_has(ratings, solver, titles):
    history = db.fit(ratings, solver=solver).history
    assert list(drawn(history)) == titles


def test_the_rate_and_the_momentum_are_those_at_the_start_of_each_epoch(ratings):
    solver = db.GradientDescent(
        db.Nesterov(lr=0.01), schedule="one-cycle", n_epochs=8, validation_size=0.2, patience=8
    )
    rec = db.fit(ratings, db.DotBias(n_factors=2), solver)
    shown = drawn(rec.history)
    schedule = db.OneCycle()
    moments = np.arange(8.0)
    panels = rec.history.plot().panels
    assert [list(panel.lines[0].x) for panel in panels[1:]] == [list(moments)] * 2
    assert list(panels[0].lines[0].x) == [n + 1 for n in moments]
    assert shown["Learning rate"]["learning rate"] == pytest.approx(0.01 * schedule.lr(moments, 8))
    assert shown["Momentum"]["momentum"] == pytest.approx(schedule.momentum(moments, 8))
    assert list(shown["Error"]) == ["training", "validation"]
    assert [mark.x for mark in panels[0].marks] == [rec.history.best_epoch]


def test_a_history_that_a_file_has_kept_is_drawn_alike(ratings, tmp_path):
    rec = db.fit(ratings, solver=db.GradientDescent(db.Momentum(), n_epochs=2))
    rec.save(tmp_path / "m.dotbias")
    assert drawn(db.Recommender.load(tmp_path / "m.dotbias").history) == drawn(rec.history)


@pytest.mark.parametrize(
    ("solver", "passes"),
    [
        (db.GradientDescent(n_epochs=2), "2 epochs"),
        (db.ALS(n_iterations=2), "2 iterations"),
        (db.ImplicitALS(n_iterations=2), "2 iterations"),
        (db.Gibbs(n_samples=2, burn_in=1, validation_size=0.1), "2 samples"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_passes_have_the_name_that_the_solver_gives_them(ratings, solver, passes, tmp_path):
    """In pictures, in the repr of a run, and in what a file has kept, also one of an older version."""
    rec = db.fit(ratings, solver=solver)
    run = solver.start(solver.default_model, ratings)
    number, name = passes.split()
    assert repr(run).endswith(f"(0 of {number} {name})")
    rec.facts.history.epochs_are = "epochs"  # as a file says that does not say it
    rec.save(tmp_path / "m.dotbias")
    history = db.Recommender.load(tmp_path / "m.dotbias").history
    assert history.epochs_are == run.history.epochs_are == name
    if not isinstance(solver, db.ImplicitALS):  # which has no error to draw
        picture = history.picture()
        assert picture.title == f"A fit of {passes}"
        assert {panel.x_label for panel in picture.panels} == {name}


def test_no_single_sample_is_marked_as_kept(ratings):
    history = db.fit(ratings, solver=db.Gibbs(n_samples=3, burn_in=1, validation_size=0.1)).history
    assert not history.picture().panels[0].marks


def test_nothing_is_drawn_of_no_epochs():
    with pytest.raises(SettingError, match="nothing to draw"):
        History().picture()
