"""Files of settings: what tuning leaves and fits take."""

import json

import pytest

import dotbias as db
from dotbias.errors import DataError, SettingError

MODEL = db.DotBias(n_factors=3, output="linear")
SOLVERS = [
    db.ALS(n_iterations=3, weight_decay={"user_factors": 0.1}),
    db.Gibbs(n_samples=9, burn_in=3, noise_freedom=None),
    db.GradientDescent(db.Adam(lr=0.01), n_epochs=2, weight_decay=db.WeightDecay(0.1, per="row")),
]


@pytest.fixture(scope="module")
def ratings():
    return db.simulate(40, 30, 600, seed=1)[0]


def written(path, **changes):
    """A file of settings with other fields."""
    db.SettingsFile(MODEL, SOLVERS[0]).save(path)
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in data.items() if value is not None}))
    return path


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_what_is_saved_is_what_is_loaded(tmp_path, solver):
    path = tmp_path / "settings.json"
    db.SettingsFile(MODEL, solver, {"metric": "rmse"}).save(path)
    again = db.SettingsFile.load(path)
    assert (again.model, again.solver, again.found) == (MODEL, solver, {"metric": "rmse"})
    data = json.loads(path.read_text())
    assert (data["format"], data["version"]) == ("dotbias settings", 1)


def test_a_fit_takes_it(ratings, tmp_path):
    path = tmp_path / "settings.json"
    kept = db.SettingsFile(MODEL, SOLVERS[0])
    kept.save(path)
    named = db.fit(ratings, MODEL, SOLVERS[0], seed=1)
    for settings in (path, str(path), kept):
        rec = db.fit(ratings, settings=settings, seed=1)
        assert rec.facts.solver == named.facts.solver
        assert rec.predict(1, 1) == named.predict(1, 1)
        assert rec.preference is not None  # as with nothing named
    assert db.fit(ratings, settings=path, purpose="predict").preference is None
    folds = db.cross_validate(ratings, settings=path, n_folds=2)
    assert folds.mean == db.cross_validate(ratings, MODEL, SOLVERS[0], n_folds=2).mean


def test_one_of_lists_makes_lists(ratings, tmp_path):
    path = tmp_path / "lists.json"
    db.SettingsFile(db.DotProduct(n_factors=4), db.ImplicitALS(weight_decay=0.1)).save(path)
    rec = db.fit(ratings, settings=path)
    assert rec.model.scores == "preference"


@pytest.mark.parametrize("other", [{"model": "net"}, {"solver": "als"}, {"solver": db.ALS()}])
def test_beside_it_nothing_else_is_named(ratings, tmp_path, other):
    path = written(tmp_path / "settings.json")
    with pytest.raises(SettingError, match="settings have their own"):
        db.fit(ratings, settings=path, **other)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format": "other"}, DataError, "holds no settings of dotbias: `dotbias tune` writes"),
        ({"version": 2}, DataError, "is of version 2, and this dotbias reads version 1"),
        ({"solvr": {}}, SettingError, "no field 'solvr'; did you mean 'solver'"),
        ({"model": None}, SettingError, "model is missing"),
        ({"model": {"ALS": {}}}, SettingError, "ALS is none of this version"),
        ({"model": "DotBias"}, SettingError, "its model must be one of DotBias, DotProduct"),
        ({"solver": {"ALS": {"n_iter": 3}}}, SettingError, "ALS has no setting 'n_iter'"),
        ({"solver": {"Magic": {}}}, SettingError, "Magic is none of this version"),
        ({"solver": {"ALS": {"n_iterations": 0}}}, SettingError, "n_iterations must be at least 1"),
        ({"solver": {"DotBias": {}}}, SettingError, "DotBias is none of this version"),
    ],
)
def test_what_a_file_must_not_say_is_named(tmp_path, changes, error, message):
    path = written(tmp_path / "settings.json", **changes)
    with pytest.raises(error, match=message) as refused:
        db.SettingsFile.load(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("text", ["", "user,item\n1,2\n", "\x00\xff", "[1, 2]", "[" * 100_000])
def test_another_file_is_refused_and_not_replaced(tmp_path, text):
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(DataError, match="holds no settings of dotbias"):
        db.SettingsFile.load(path)
    if text:  # an empty file is nothing to lose
        with pytest.raises(DataError, match="nothing tells that it is a settings file of dotbias"):
            db.SettingsFile(MODEL, SOLVERS[0]).save(path)
        assert path.read_text() == text
    db.SettingsFile(MODEL, SOLVERS[0]).save(path, force=True)
    db.SettingsFile(MODEL, SOLVERS[1]).save(path)  # ours
    assert db.SettingsFile.load(path).solver == SOLVERS[1]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        db.SettingsFile.load(tmp_path / "nothing.json")
    with pytest.raises(SettingError, match="settings must be a file"):
        db.fit(db.simulate(20, 10, 100, seed=1)[0], settings=3)
