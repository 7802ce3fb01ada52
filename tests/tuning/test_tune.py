"""Tuning: what is found, when the default stays, studies that go on, and what is refused."""

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

import dotbias as db
from dotbias.errors import DataError, SettingError
from dotbias.solvers.decay import DEFAULT_DECAY
from dotbias.solvers.least_squares.als import DEFAULT_DECAY as ALS_DECAY
from dotbias.solvers.validation import Validation
from dotbias.tuning import tune as tuning
from dotbias.tuning.objective import SHARE, ErrorInStars, _Run, objective_of
from dotbias.tuning.space import Range, Way, space_of_lists, space_of_ratings
from dotbias.tuning.study import opened
from tests.ratings import normal_ratings

# A penalty that leaves next to nothing of factors and biases.
STIFF = db.ALS(weight_decay=5.0, n_iterations=4)
DECAY = {"sgd": DEFAULT_DECAY, "als": ALS_DECAY["rating"]}


@pytest.fixture(scope="module")
def ratings():
    return normal_ratings(60, 40, 1200, noise=0.3, seed=1)


@pytest.fixture(scope="module")
def found(ratings):
    """A case in which the default is bad."""
    return db.tune(ratings, STIFF, n_trials=14)


def without_seconds(result):
    told = [replace(trial, seconds=0.0) for trial in result.trials]
    return told, result.settings, result.refits, result.default, result.verdict


# -- what is found


def test_what_is_clearly_better_takes_the_place_of_the_default(found):
    assert found.replaced
    assert found.confirmed
    assert found.verdict.startswith("Better than the default: rmse")
    assert found.trials[0].values == {
        "n_factors": 64,
        "n_iterations": 4,
        "factor_decay_scale": 1.0,
        "bias_decay_scale": 1.0,
    }
    best = found.refits[0]
    assert best.is_better
    assert len(best.figures) == len(found.default) == 5
    # And it is so on ratings that no part of the search has seen.
    train, test = normal_ratings(60, 40, 1500, noise=0.3, seed=1).split(0.2, seed=7)
    tuned = db.tune(train, STIFF, n_trials=14)
    errors = [
        db.evaluate(db.fit(train, tuned.model, solver), test).rmse
        for solver in (STIFF, tuned.solver)
    ]
    assert errors[1] < 0.95 * errors[0]


def test_the_standard_error_is_that_of_nadeau_and_bengio(found):
    best = found.refits[0]
    gains = np.array(found.default) - np.array(best.figures)
    assert best.gain == pytest.approx(gains.mean())
    error = gains.std(ddof=1) * np.sqrt(1 / 5 + SHARE / (1 - SHARE))
    assert best.standard_error == pytest.approx(error)
    assert best.is_better == (best.gain > 2 * best.standard_error)


def test_refits_are_of_the_best_and_on_parts_of_their_own(found):
    default = found.trials[0].figure
    better = sorted(t.figure for t in found.trials if t.figure is not None and t.figure < default)
    by_number = {trial.number: trial for trial in found.trials}
    assert sorted(by_number[refit.trial].figure for refit in found.refits) == better[:5]
    seeds = {tuning.seed_of(0, part, n) for part in (0, 1) for n in range(10)}
    assert len(seeds) == 20


def test_where_there_is_nothing_to_find_the_default_stays():
    """Ratings are noise, and a default that says so cannot be beaten."""
    rng = np.random.default_rng(0)
    pairs = rng.choice(60 * 40, 1000, replace=False)
    noise = db.Ratings.from_columns(
        (pairs // 40).tolist(), (pairs % 40).tolist(), rng.normal(3, 1, 1000)
    )
    for seed in range(2):
        kept = db.tune(noise, db.ALS(weight_decay=1e6, n_iterations=2), n_trials=6, seed=seed)
        assert not kept.replaced
        assert kept.verdict.startswith("The default stays:")
        assert kept.solver == db.ALS(weight_decay=1e6, n_iterations=2)


def test_a_gain_within_two_standard_errors_is_none():
    figures = (1.0, 1.0, 1.0)
    assert tuning.Refit(1, 1.0, 0.021, 0.01, figures).is_better
    assert not tuning.Refit(1, 1.0, 0.020, 0.01, figures).is_better
    assert not tuning.Refit(1, 1.0, 0.0, 0.0, figures).is_better


def test_the_same_seed_finds_the_same_and_another_does_not(ratings, found):
    again = db.tune(ratings, STIFF, n_trials=14)
    assert without_seconds(again) == without_seconds(found)
    other = db.tune(ratings, STIFF, n_trials=5, seed=1)
    assert other.trials[3].values == found.trials[3].values  # the last near the default
    assert other.trials[4].values != found.trials[4].values


def test_first_come_the_defaults_and_one_change_at_a_time(ratings, found):
    usual = found.trials[0].values
    for trial in found.trials[1:4]:
        assert sum(trial.values[name] != value for name, value in usual.items()) == 1
    space = space_of_ratings(ratings)
    assert [v["solver"] for v in space.first] == ["gibbs", "sgd", "als"] + 4 * ["gibbs"]
    same = {"n_factors": 15, "histories": True, "noise": "same"}  # noise_freedom means nothing
    assert same in space.ways[0].neighbours


def test_a_best_value_on_the_edge_is_said(ratings):
    solver = db.ALS(weight_decay=5e3, n_iterations=4)  # a fifth of it is as bad
    way = space_of_ratings(ratings, solver).ways[0]
    assert way.vary["factor_decay_scale"].edge(0.2) == "the lowest of 0.2 to 5"
    assert way.vary["factor_decay_scale"].edge(0.22) is None
    assert way.vary["n_factors"].edge(128) == "the highest of 4 to 128"
    result = db.tune(ratings, solver, n_trials=6)
    for edge in result.edges:
        assert f"on the edge of what was tried: {edge}" in str(result)


# -- what is tried


def test_the_first_trial_is_what_fit_does():
    ratings, _ = db.simulate(n_users=200, n_items=100, n_ratings=5000, seed=1)
    choice = db.choose_solver(ratings)
    default = space_of_ratings(ratings).default
    assert (default.model, default.solver) == (choice.model, choice.solver)
    assert default.way == "gibbs"


@pytest.mark.parametrize("kind", ["ratings", "counts", "events"])
def test_the_first_of_lists_is_what_fit_does(kind):
    ratings, _ = db.simulate(60, 40, 1200, kind=kind, by_taste=True, seed=1)
    rec = db.fit(ratings, purpose="recommend", seed=3)
    default = space_of_lists(ratings, seed=3).default
    assert type(default.solver).__name__ == rec.facts.solver_name
    assert getattr(default.solver, "weight_decay", None) == (
        rec.facts.solver[rec.facts.solver_name].get("weight_decay")
    )


@pytest.mark.parametrize("way", ["sgd", "als", "gibbs"])
def test_every_corner_of_a_space_makes_a_solver(ratings, way):
    space = space_of_ratings(ratings, way)
    (only,) = space.ways
    ends = {
        name: (what.low, what.high) if isinstance(what, Range) else what.choices
        for name, what in only.vary.items()
    }
    for corner in itertools.islice(itertools.product(*ends.values()), 200):
        values = dict(zip(ends, corner, strict=True))
        values = {
            name: int(value) if getattr(only.vary[name], "whole", False) else value
            for name, value in values.items()
            if only.present(values, name)
        }
        model, solver = only.made(values)
        assert type(solver) is type(only.solver)
        assert "n_factors" not in values or values["n_factors"] in (
            model.n_factors,
            getattr(solver, "n_factors", None),
        )


def test_values_near_the_usual_make_nearly_what_is_usual(ratings):
    for name in ("sgd", "als", "gibbs"):
        (way,) = space_of_ratings(ratings, name).ways
        model, solver = way.make(way.usual)
        usual = way.solver.settled(way.model, ratings)
        assert model == way.model
        if name == "gibbs":
            assert solver == replace(usual, n_factors=15)
        else:
            solver = solver.settled(model, ratings)
            assert solver.n_epochs == usual.n_epochs
            groups = DECAY[name]
            assert solver.decay.amount == pytest.approx(usual.decay.by_group(groups))


def test_a_value_without_meaning_is_not_there():
    way = Way(
        name="x",
        model=db.DotBias(),
        solver=db.ALS(),
        vary={
            "a": Range(low=1, high=2, usual=1),
            "b": Range(low=1, high=2, usual=1, given=("a", 2)),
        },
    )
    assert way.usual == {"a": 1}


def test_a_range_holds_what_is_usual():
    wide = Range(low=4, high=128, usual=300, whole=True)
    assert (wide.low, wide.high) == (4, 300)


# -- how it is measured


def test_all_solvers_are_judged_on_the_same_rows(ratings):
    rows = []
    for name in ("gibbs", "sgd", "als"):
        candidate = space_of_ratings(ratings, name).default
        run = _Run.begun(ratings, candidate, 5)
        held = run.loop.validation if name == "gibbs" else run.held
        trained = run.loop.ratings if name != "gibbs" else held.rest
        rows.append((held.users.tolist(), held.items.tolist(), len(trained)))
    assert rows[0] == rows[1] == rows[2]
    same = Validation.hold_out(ratings, SHARE, np.random.default_rng(5))
    assert rows[0][0] == same.users.tolist()


@pytest.mark.parametrize("name", ["als", "sgd"])
def test_the_end_of_the_curve_is_the_error_of_a_fit(ratings, name):
    candidate = space_of_ratings(ratings, name).default
    candidate = replace(candidate, solver=candidate.solver.settled(candidate.model, ratings))
    objective = ErrorInStars(ratings, "rmse")
    held = Validation.hold_out(ratings, SHARE, np.random.default_rng(5))
    parameters, _ = candidate.solver.fit(candidate.model, held.rest, seed=5)
    error = np.sqrt(held.loss(candidate.model, parameters))
    assert objective.final(candidate, 5, lambda _: None) == pytest.approx(error)


def test_the_curve_of_gibbs_ends_at_the_error_of_its_model(ratings):
    """The mean of its predictions is a little off, which would be enough to prefer another solver."""
    solver = db.Gibbs(n_samples=40, burn_in=8, n_factors=3)
    candidate = replace(space_of_ratings(ratings, "gibbs").default, solver=solver)
    held = Validation.hold_out(ratings, SHARE, np.random.default_rng(5))
    parameters, _ = solver.fit(db.DotBias(), held.rest, seed=5)
    objective = ErrorInStars(ratings, "rmse")
    *_, before, figure = objective.curve(candidate, [5], lambda _: None)
    assert figure == pytest.approx(np.sqrt(held.loss(db.DotBias(), parameters)), rel=1e-3)
    assert before == pytest.approx(figure, rel=0.02)


def test_lists_are_tuned_by_their_own_figure():
    events, _ = db.simulate(80, 60, 1500, kind="events", seed=2)
    bad = db.ImplicitALS(weight_decay=50.0, n_iterations=2)
    space = space_of_lists(events, bad)
    # The penalty is chosen anew, as it is by fit.
    assert space.ways[-1].name == "implicit-als"
    result = db.tune(events, metric="NDCG@5", n_trials=4)
    assert result.metric == "ndcg@5"
    figures = [t.figure for t in result.trials if t.figure is not None]
    assert all(0 < figure < 1 for figure in figures)
    assert [t.best_so_far for t in result.trials] == list(
        itertools.accumulate((t.figure or 0.0 for t in result.trials), max)
    )
    assert result.model.scores == "preference"


def test_a_curve_that_falls_behind_ends_its_trial(found):
    assert found.counts()["pruned"] > 0
    assert found.counts()["complete"] >= 3


# -- studies that go on


def test_a_study_that_goes_on_is_the_one_that_never_stopped(ratings, found, tmp_path):
    file = tmp_path / "study.journal"
    first = db.tune(ratings, STIFF, n_trials=4, study=file)
    assert len(first.trials) == 4
    whole = db.tune(ratings, STIFF, n_trials=14, study=file)
    assert without_seconds(whole) == without_seconds(found)
    done = db.tune(ratings, STIFF, n_trials=14, study=file)
    assert without_seconds(done) == without_seconds(found)


def test_sampler_and_pruner_stand_in_the_file_and_nothing_is_code(ratings, tmp_path):
    file = tmp_path / "study.journal"
    db.tune(ratings, STIFF, n_trials=1, study=file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    attributes = {k: v for line in lines for k, v in line.get("user_attr", {}).items()}
    assert attributes["sampler"]["n_startup_trials"] == 12
    assert attributes["pruner"] == {"n_alike": 2, "n_warmup_steps": 3}


def test_a_study_of_something_else_is_refused(ratings, tmp_path):
    file = tmp_path / "study.journal"
    db.tune(ratings, STIFF, n_trials=1, study=file)
    before = file.read_bytes()
    other = normal_ratings(60, 40, 1200, noise=0.3, seed=2)
    with pytest.raises(SettingError, match=r"of another run: its ratings differs \(1200 ratings, "):
        db.tune(other, STIFF, n_trials=1, study=file)
    with pytest.raises(SettingError, match=r"its space differs\. Name another file"):
        db.tune(ratings, "als", n_trials=1, study=file)
    with pytest.raises(SettingError, match=r"its seed differs \(0, not 3\)"):
        db.tune(ratings, STIFF, n_trials=1, study=file, seed=3)
    assert file.read_bytes() == before


@pytest.mark.parametrize("text", ["user,item,rating\n1,2,3\n", '{"a": 1}\n', "[1]\n", '"text"'])
def test_a_file_that_is_no_study_stays_as_it_is(ratings, tmp_path, text):
    file = tmp_path / "ratings.csv"
    file.write_text(text)
    with pytest.raises(DataError, match="is no study of dotbias: name another file"):
        db.tune(ratings, STIFF, n_trials=1, study=file)
    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]


def test_a_study_that_cannot_be_there_is_an_error(ratings, tmp_path):
    with pytest.raises(DataError, match="No such file or directory"):
        db.tune(ratings, STIFF, n_trials=1, study=tmp_path / "no" / "study.journal")


KILLED = """
import sys
import dotbias as db
from dotbias.tuning import study
from tests.ratings import normal_ratings

tell, n = study.Study.tell, 0

def told(*arguments):
    global n
    n += 1
    if n == 4:
        print("now", flush=True)
        sys.stdin.readline()
    tell(*arguments)

study.Study.tell = told
solver = db.ALS(weight_decay=5.0, n_iterations=4)
db.tune(normal_ratings(60, 40, 1200, noise=0.3, seed=1), solver, n_trials=14, study=sys.argv[1])
"""


def test_a_study_whose_process_was_killed_goes_on_as_if_it_had_not(
    ratings, found, tmp_path, caplog
):
    file = tmp_path / "study.journal"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGKILL)
    # What is left: a trial that is running, perhaps a lock, and half a line.
    Path(f"{file}.lock").touch()
    with file.open("a") as journal:
        journal.write('{"op_code": 5, "wor')
    with caplog.at_level("INFO", "dotbias"):
        whole = db.tune(ratings, STIFF, n_trials=14, study=file)
    assert "Cleared from the study: 1 that had not ended." in caplog.text
    assert [t.state for t in whole.trials].count("stopped") == 1
    assert whole.settings.solver == found.settings.solver
    told = [t.values for t in whole.trials if t.state != "stopped"]
    assert told == [t.values for t in found.trials]


def test_two_processes_share_a_study(ratings, tmp_path):
    """One that begins beside another leaves its running trials alone."""
    file = tmp_path / "study.journal"
    objective = objective_of(ratings, "rmse")
    space = space_of_ratings(ratings, STIFF)

    def study():
        return opened(space, objective.direction, {"a": 1}, 0, file)

    with study() as one:
        first, default = one.ask()
        assert default == space.default
        with study() as two:
            others = [two.ask()[1] for _ in range(9)] + [one.ask()[1]]
            assert default not in others
            assert others[-1] != others[-2]
            one.tell(first, "complete", 1.0, 0.1)
            assert [t.number for t in two.trials()] == [0]
    with study() as alone:
        assert [t.state.name for t in alone.trials()] == ["COMPLETE", *10 * ["FAIL"]]


# -- time, and Ctrl-C


@pytest.mark.parametrize("tick", [0.002, 0.2])
def test_the_budget_is_kept(ratings, monkeypatch, tick):
    """By a clock that goes on whenever it is looked at, after each epoch among others."""
    ticks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: tick * next(ticks))
    monkeypatch.setattr(tuning, "time", clock)
    result = db.tune(ratings, STIFF, budget=10.0)
    assert result.seconds < 10.0 + 30 * tick
    if tick < 0.1:
        assert len(result.trials) > 5
        assert len(result.default) == 5
        assert result.replaced
    else:
        assert not result.replaced
        assert "there was no time" in result.verdict


def test_without_time_the_default_stays(ratings):
    result = db.tune(ratings, "gibbs", budget=0.001)
    assert not result.replaced
    assert "there was no time to fit even that" in result.verdict
    assert result.solver == space_of_ratings(ratings, "gibbs").default.solver
    with pytest.raises(SettingError, match="no trial has come to a figure"):
        result.picture()
    with pytest.raises(SettingError, match="too few trials"):
        result.importance_picture()


def interrupted_in(monkeypatch, method, n):
    before = getattr(tuning._Search, method)
    calls = itertools.count(1)

    def broken(self, *arguments):
        if next(calls) == n:
            raise KeyboardInterrupt
        return before(self, *arguments)

    monkeypatch.setattr(tuning._Search, method, broken)


def test_ctrl_c_keeps_the_best_of_the_search_and_says_that_nobody_measured_it(ratings, monkeypatch):
    interrupted_in(monkeypatch, "_warm_up", 6)
    result = db.tune(ratings, STIFF, n_trials=14)
    assert result.interrupted
    assert result.replaced
    assert not result.confirmed
    assert result.verdict.startswith("Interrupted: the best of the search is kept")
    best = min(t.figure for t in result.trials if t.figure is not None)
    assert f"{best:.4f}" in result.verdict


@pytest.mark.parametrize(
    ("n", "why"), [(1, "before even that was fitted"), (2, "before anything was fitted again")]
)
def test_ctrl_c_before_anything_is_found_keeps_the_default(ratings, monkeypatch, n, why):
    interrupted_in(monkeypatch, "_warm_up", n)
    result = db.tune(ratings, STIFF, n_trials=14)
    assert result.interrupted
    assert not result.replaced
    assert result.solver == STIFF
    assert f"The default stays: it was interrupted {why}" in result.verdict


def test_a_trial_that_diverges_or_does_not_fit_is_only_a_bad_one(ratings, monkeypatch):
    curve, calls = ErrorInStars.curve, itertools.count()

    def broken(self, candidate, seeds, on_epoch):
        if next(calls) == 1:
            raise db.DivergenceError("the loss is nan")
        return curve(self, candidate, seeds, on_epoch)

    monkeypatch.setattr(ErrorInStars, "curve", broken)
    result = db.tune(ratings, STIFF, n_trials=4)
    assert [t.state for t in result.trials][:2] == ["complete", "pruned"]


def test_a_best_one_that_diverges_when_it_is_measured_again_is_left_out(
    ratings, monkeypatch, found
):
    final = ErrorInStars.final
    best = found.settings.solver

    def broken(self, candidate, seed, on_epoch):
        if candidate.solver == best:
            raise db.DivergenceError("the loss is nan")
        return final(self, candidate, seed, on_epoch)

    monkeypatch.setattr(ErrorInStars, "final", broken)
    result = db.tune(ratings, STIFF, n_trials=14)
    assert result.settings.solver != best
    assert all(len(refit.figures) > 1 for refit in result.refits)


# -- what is shown, and what is refused


def test_its_pictures_show_the_best_against_seconds_and_what_mattered(ratings, found, tmp_path):
    line = found.picture().panels[0].lines[0]
    assert line.y[0] == found.trials[0].figure
    assert line.y[-1] == min(t.figure for t in found.trials if t.figure is not None)
    assert list(line.x) == sorted(line.x)
    many = db.tune(ratings, STIFF, n_trials=25)
    bars = many.importance_picture().bars
    assert {bar.name for bar in bars} <= {f"als {name}" for name in found.trials[0].values}
    assert sum(many.importances.values()) == pytest.approx(1)
    many.picture().save(tmp_path / "best.html")
    many.importance_picture().save(tmp_path / "mattered.html")


def test_it_leaves_optuna_as_it_was(ratings):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    db.tune(ratings, STIFF, n_trials=1)
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"metric": "mae"},
            r"metric='mae': it must be rmse, or ndcg, .* as in ndcg@10; did you mean",
        ),
        ({"metric": "ndcg@0"}, "with a length from 1 to 1000"),
        ({"solver": "baseline"}, "solver='baseline': it must be one of"),
        ({"solver": db.ClosedForm()}, "ClosedForm has no settings that are tuned"),
        ({"solver": db.ImplicitALS()}, "or a metric of lists such as ndcg@10"),
        ({"solver": "als", "metric": "ndcg@10"}, "'als' predicts stars, and ndcg@10 is of lists"),
        ({"solver": db.ALS(), "metric": "ndcg@10"}, "ALS makes no lists that are tuned"),
        ({"solver": db.GradientDescent(loss="bpr")}, "loss='bpr' learns what is chosen"),
        ({"budget": 0}, "budget=0: budget must be a number of seconds above 0"),
        ({"budget": True}, "budget=True"),
        ({"n_trials": 0}, "n_trials=0: it must be a whole number at least 1"),
        ({"budget": 1, "n_trials": 1}, "name one"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_what_cannot_be_tuned_is_refused(ratings, options, message):
    with pytest.raises(SettingError, match=message):
        db.tune(ratings, **options)


def test_plays_have_no_stars_to_tune():
    plays, _ = db.simulate(60, 40, 1000, kind="counts", seed=1)
    with pytest.raises(SettingError, match=r"these are counts, without stars; .* ndcg@10"):
        db.tune(plays)


def test_ratings_on_disk_are_refused(ratings, tmp_path):
    prepared = db.prepare(ratings, tmp_path / "ratings.blocks")
    with pytest.raises(DataError, match="tuning needs ratings in memory"):
        db.tune(prepared.whole)


def test_without_optuna_the_extra_is_named(ratings, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingError, match=r"needs Optuna, which is not installed: pip .*tune"):
        db.tune(ratings, n_trials=1)
