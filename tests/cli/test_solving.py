"""What the options of fitting make of each other: solvers implied, contradicted and chosen."""

from dataclasses import fields

import pytest

import dotbias as db
from dotbias.cli.solving import MEANT_FOR, Solving, seconds, with_solving
from dotbias.errors import SettingError

# An example of every option that is meant for some solvers.
EXAMPLES = {
    "factors": 4,
    "rule": "adam",
    "lr": ["0.01"],
    "epochs": 3,
    "batch": "64",
    "weight_decay": ["0.1"],
    "schedule": "cosine",
    "early_stopping": 0.1,
    "decoupled": True,
    "decay_per": "row",
    "freeze": ["user_bias"],
    "semantics": "lazy",
    "order": "shuffled",
    "clip": 1.0,
    "gradient_noise": 0.1,
    "average": 2,
    "parallel": "grid",
    "device": "cpu",
    "iterations": 3,
    "weighting": "rows",
    "samples": 90,
    "burn_in": 10,
    "histories": False,
    "keep_samples": 5,
}
CLASSES = {"sgd": db.GradientDescent, "als": db.ALS, "gibbs": db.Gibbs}


def planned(*also: str, **options):
    plan = Solving(**options).plan(*also)
    assert plan is not None
    return plan


def test_every_option_that_is_meant_for_some_solvers_has_an_example():
    assert set(EXAMPLES) | {"groups", "convergence"} == set(MEANT_FOR)
    assert set(EXAMPLES) <= {f.name for f in fields(Solving)}


def test_without_options_the_data_decide():
    assert Solving().plan() is None
    assert Solving(form="linear", threads=1, factors=4).plan() is None


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
        plan = options.plan()
        assert type(plan.solver) is CLASSES[solver]
        assert plan.because is None
        return
    with pytest.raises(SettingError, match=rf"is meant for .* contradicts --solver {solver}$"):
        options.plan()


def test_options_of_two_solvers_contradict_each_other():
    with pytest.raises(SettingError, match=r"--samples is meant for .* gibbs: it contradicts --lr"):
        Solving(lr=["0.1"], samples=9).plan()
    with pytest.raises(SettingError, match="--iterations is meant for the solver als"):
        Solving(early_stopping=0.1, rule="sgd", iterations=3).plan()


def test_what_the_command_adds_counts_too():
    assert isinstance(planned("convergence").solver, db.Gibbs)
    with pytest.raises(SettingError, match="--groups is meant for the solver sgd"):
        Solving(solver_name="gibbs").plan("groups")


def test_the_sigmoid_form_is_for_gradient_descent_alone():
    plan = planned(form="sigmoid")
    assert isinstance(plan.solver, db.GradientDescent)
    assert plan.model == db.DotBias(output="sigmoid")
    assert plan.because == "sgd, because of --form sigmoid, which it is meant for."
    with pytest.raises(SettingError, match=r"--form sigmoid is meant for .* --solver als"):
        Solving(form="sigmoid", solver_name="als").plan()


def test_settings_reach_als():
    plan = planned(
        solver_name="als",
        factors=8,
        iterations=3,
        weighting="rows",
        weight_decay=["user_bias=2"],
        early_stopping=0.2,
        threads=1,
    )
    assert plan.model == db.DotBias(n_factors=8)
    assert plan.solver == db.ALS(
        n_iterations=3,
        weighting="rows",
        weight_decay={"user_bias": 2.0},
        validation_size=0.2,
        n_threads=1,
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
        Solving(model_name="baseline", **options).plan()


def test_a_budget_without_a_choice_is_refused():
    with pytest.raises(SettingError, match="--budget: there is nothing to choose, --lr leaves"):
        Solving(lr=["0.1"], budget="9").plan()


def test_the_choice_is_made_for_each_of_the_fits():
    ratings = db.simulate(100, 50, 2000, seed=0).ratings
    plan = Solving(budget="1m", threads=1, factors=4).choose(ratings, n_fits=2)
    assert plan.choice == db.choose_solver(ratings, budget=30, n_threads=1, n_factors=4)
    assert (plan.model, plan.solver) == (plan.choice.model, plan.choice.solver)


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("2m", 120), ("90", 90), ("0.5m", 30), ("1e2", 100)]
)
def test_times(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "soon", "-3", "0", "3h", "nan", "inf", "1m30s"])
def test_a_text_that_is_no_time_is_refused(text):
    with pytest.raises(SettingError, match=r"--budget .*: write a time above 0, such as 30s, 2m"):
        Solving(budget=text).plan()


def test_a_command_gets_its_own_parameters_and_one_object_of_the_others():
    def command(first: str, *, solving: Solving, last: int = 3) -> None:
        got.append((first, solving, last))

    got = []
    shown = with_solving(command)
    others = {f.name: f.default for f in fields(Solving)} | {"factors": 9}
    shown(first="x", last=4, **others)
    assert got == [("x", Solving(factors=9), 4)]
    names = list(shown.__signature__.parameters)
    assert names == ["first", *(f.name for f in fields(Solving)), "last"]
