"""What the options of fitting make of each other: solvers implied, contradicted and chosen."""

from dataclasses import replace

import pytest

import dotbias as db
from dotbias.cli import planning
from dotbias.cli.solving import OPTIONS, Solving
from dotbias.errors import SettingError

# An example of every option that is meant for some solvers.
EXAMPLES = {
    "factors": 4,
    "rule": "adam",
    "loss": "bpr",
    "negatives": 3,
    "lr": ["0.01"],
    "epochs": 3,
    "batch": "64",
    "weight_decay": ["0.1"],
    "schedule": "cosine",
    "early_stopping": 0.1,
    "decoupled": True,
    "decay_per": "row",
    "freeze": ["user_bias"],
    "semantics": "dense",
    "order": "stored",
    "clip": 1.0,
    "gradient_noise": 0.1,
    "average": 2,
    "parallel": "hogwild",
    "device": "cpu",
    "cluster": "processes",
    "workers": 2,
    "iterations": 3,
    "steps": 4,
    "weighting": "rows",
    "samples": 90,
    "burn_in": 10,
    "histories": False,
    "keep_samples": 5,
}
MEANT_FOR = {name: option.sets.meant_for for name, option in OPTIONS.items()}
CLASSES = {"sgd": db.GradientDescent, "als": db.ALS, "gibbs": db.Gibbs}


def planned(also=None, **options):
    plan = planning.plan(Solving(**options), also)
    assert plan is not None
    return plan


def test_every_option_that_is_meant_for_some_solvers_has_an_example():
    assert set(EXAMPLES) == {name for name, solvers in MEANT_FOR.items() if solvers}


def test_without_options_the_data_decide():
    assert planning.plan(Solving()) is None
    assert planning.plan(Solving(form="linear", threads=1, factors=4)) is None


@pytest.mark.parametrize("name", [name for name in EXAMPLES if len(MEANT_FOR[name]) < 3])
def test_an_option_implies_the_first_solver_that_it_is_meant_for(name):
    plan = planned(**{name: EXAMPLES[name]})
    assert type(plan.solver) is CLASSES[MEANT_FOR[name][0]]
    option = "--no-histories" if name == "histories" else "--" + name.replace("_", "-")
    assert plan.because == f"{MEANT_FOR[name][0]}, because of {option}, which it is meant for."


@pytest.mark.parametrize("solver", CLASSES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_with_a_solver_named_options_are_its_own_or_contradict_it(name, solver):
    options = Solving(solver_name=solver, **{name: EXAMPLES[name]})
    if solver in MEANT_FOR[name]:
        plan = planning.plan(options)
        assert type(plan.solver) is CLASSES[solver]
        assert plan.because is None
        return
    with pytest.raises(SettingError, match=rf"is meant for .* contradicts --solver {solver}$"):
        planning.plan(options)


def test_a_flag_is_named_as_it_was_typed():
    """``--coupled`` was called --decoupled, which nobody had typed."""
    with pytest.raises(SettingError, match=r"^--coupled is meant for the solver sgd"):
        planning.plan(Solving(solver_name="als", decoupled=False))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_option_changes_something_of_each_solver_that_it_is_meant_for(name):
    for solver in MEANT_FOR[name]:
        plan = planned(solver_name=solver, **{name: EXAMPLES[name]})
        default = planned(solver_name=solver)
        assert (plan.model, plan.solver) != (default.model, default.solver)


def test_options_of_two_solvers_contradict_each_other():
    with pytest.raises(SettingError, match=r"--samples is meant for .* gibbs: it contradicts --lr"):
        planning.plan(Solving(lr=["0.1"], samples=9))
    with pytest.raises(SettingError, match="--iterations is meant for the solver als"):
        planning.plan(Solving(early_stopping=0.1, rule="sgd", iterations=3))


def test_what_the_command_adds_counts_too():
    assert isinstance(planned({"--convergence": ("gibbs",)}).solver, db.Gibbs)
    with pytest.raises(SettingError, match="--groups is meant for the solver sgd"):
        planning.plan(Solving(solver_name="gibbs"), {"--groups": ("sgd",)})


def test_the_sigmoid_form_is_for_gradient_descent_alone():
    plan = planned(form="sigmoid")
    assert isinstance(plan.solver, db.GradientDescent)
    assert plan.model == db.DotBias(output="sigmoid")
    assert plan.because == "sgd, because of --form sigmoid, which it is meant for."
    with pytest.raises(SettingError, match=r"--form sigmoid is meant for .* --solver als"):
        planning.plan(Solving(form="sigmoid", solver_name="als"))


def test_settings_reach_als():
    plan = planned(
        solver_name="als",
        factors=8,
        iterations=3,
        steps=4,
        weighting="rows",
        weight_decay=["user_bias=2"],
        early_stopping=0.2,
        threads=1,
        cluster="ray",
        workers=3,
    )
    assert plan.model == db.DotBias(n_factors=8)
    assert plan.solver == db.ALS(
        n_iterations=3,
        weighting="rows",
        weight_decay={"user_bias": 2.0},
        validation_size=0.2,
        n_threads=1,
        n_steps=4,
        cluster="ray",
        n_workers=3,
    )


def test_settings_reach_gibbs_whose_factors_are_the_samplers():
    plan = planned(samples=90, burn_in=11, factors=7, histories=False, keep_samples=5, threads=1)
    assert plan.model == db.DotBias()
    assert plan.solver == db.Gibbs(
        n_samples=90, burn_in=11, n_factors=7, histories=False, keep_samples=5, n_threads=1
    )


def test_the_burn_in_is_a_fifth_unless_told():
    assert planned(samples=30).solver.burn_in == 6
    assert planned(solver_name="gibbs").solver == db.Gibbs()


def test_settings_reach_gradient_descent():
    plan = planned(rule="momentum", lr=["0.003"], epochs=3, batch="full", decay_per="row", clip=2.0)
    assert plan.solver == db.GradientDescent(
        db.Momentum(lr=0.003),
        n_epochs=3,
        batch_size=None,
        weight_decay=db.WeightDecay(None, per="row"),
        clip=2.0,
    )


def test_als_and_gibbs_have_their_defaults():
    plan = planned(solver_name="als")
    assert (plan.model, plan.solver) == (db.DotBias(n_factors=64), db.ALS())
    assert planned(solver_name="sgd").model == db.DotBias()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": ["0.1"]}, "--lr has no meaning for --model baseline"),
        ({"factors": 3}, "--factors has no meaning for --model baseline"),
        ({"solver_name": "als"}, "fitted in closed form: leave --solver and --budget out"),
        ({"budget": "9"}, "fitted in closed form: leave --solver and --budget out"),
    ],
)
def test_the_baseline_has_a_solver_of_its_own(options, message):
    assert planned(model_name="baseline", threads=1).solver == db.ClosedForm()
    with pytest.raises(SettingError, match=message):
        planning.plan(Solving(model_name="baseline", **options))


def test_a_budget_without_a_choice_is_refused():
    with pytest.raises(SettingError, match="--budget: there is nothing to choose, --lr leaves"):
        planning.plan(Solving(lr=["0.1"], budget="9"))


def test_the_choice_is_that_of_python():
    ratings = db.simulate(100, 50, 2000, seed=0).ratings
    plan = planning.choose(Solving(budget="1m", threads=1, factors=4), ratings)
    assert plan.choice == db.choose_solver(ratings, budget=60, n_threads=1, n_factors=4)
    assert (plan.model, plan.solver) == (plan.choice.model, plan.choice.solver)


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("2m", 120), ("90", 90), ("0.5m", 30), ("1e2", 100)]
)
def test_times(text, expected):
    assert planning.seconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "soon", "-3", "0", "3d", "nan", "inf", "1m30s"])
def test_a_text_that_is_no_time_is_refused(text):
    with pytest.raises(SettingError, match=r"--budget .*: write a time above 0, such as 30s, 2m"):
        planning.plan(Solving(budget=text))


def test_the_finders_rate_is_no_setting():
    assert Solving(lr=["auto"]).finds_rate
    assert "rule.lr" not in Solving(lr=["auto"]).settings("sgd")
    assert not Solving(lr=["0.1"]).finds_rate
    assert not Solving().finds_rate
    assert planned(lr=["auto"]).solver == db.GradientDescent(weight_decay=db.WeightDecay(None))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["-1"], r"SGD\(lr=-1.0\): lr must be above 0"),
        (["inf"], r"SGD\(lr=inf\): lr must be above 0"),
        (["0.1:-1"], r"SGD\(lr.stop=-1.0\): lr.stop must be above 0"),
        (["0:1"], r"SGD\(lr.start=0.0\): lr.start must be above 0"),
        (["user_bias=-1"], r"SGD\(lr\['user_bias'\]=-1.0\)"),
        (["users=1"], "lr names no group 'users': the groups are user_factors, "),
        (["user_bias=0.1", "auto"], "--lr auto: write NAME=NUMBER"),
    ],
)
def test_a_rate_outside_its_range_is_refused(texts, message):
    with pytest.raises(SettingError, match=message):
        planning.plan(Solving(lr=texts))


def test_rates_go_to_the_rule_and_change_nothing_else():
    plan = planned(rule="momentum:lr=0.5,momentum=0.7", epochs=3)
    assert plan.solver.rule == db.Momentum(lr=0.5, momentum=0.7)
    other = planned(rule="momentum:lr=0.5,momentum=0.7", lr=["0.1:0.2"], epochs=3)
    assert other.solver == replace(plan.solver, rule=db.Momentum(lr=slice(0.1, 0.2), momentum=0.7))
