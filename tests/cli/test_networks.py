"""The commands with ``--model net``, run in this process: what they print, save and refuse."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import polars as pl
import pytest
from typer.testing import Result

import dotbias as db
from dotbias.cli import planning
from dotbias.cli.solving import Solving
from dotbias.errors import SettingError
from dotbias.fitting.fit import default_solver
from tests.cli import command

pytest.importorskip("torch", reason="PyTorch, which networks need, is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    table = db.simulate(120, 60, 4000, seed=1)[0].to_frame()
    table.select("user", "item", "rating").write_csv(folder / "ratings.csv")
    return folder


def run(folder: Path, *arguments: object, code: int = 0) -> Result:
    names = [a if a != "ratings.csv" else folder / "ratings.csv" for a in arguments]
    return command.run(*names, code=code)


NET = ("--model", "net", "--epochs", 2)


def test_a_net_is_fitted_saved_and_used(folder):
    model = folder / "net.dotbias"
    options = (
        "--factors",
        6,
        "--hidden",
        "8,4",
        "--dropout",
        0.1,
        "--batch-norm",
        "--device",
        "cpu",
    )
    done = run(folder, "fit", "ratings.csv", *NET, *options, "--groups", "-o", model, "--json")
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert 0 < report["held_out"]["rmse"] < 2
    assert report["epochs"] == 2
    saved = db.Recommender.load(model).model
    assert saved == db.EmbeddingNet(n_factors=6, hidden=(8, 4), dropout=0.1, batch_norm=True)
    listed = run(folder, "recommend", model, "--user", 1, "-k", 3, "--csv").stdout
    assert pl.read_csv(listed.encode()).height == 3
    run(folder, "similar", model, 3)
    run(folder, "predict", model, "--user", 1, "--item", 2)
    assert "no biases to rank items by" in run(folder, "biases", model, code=1).stderr


def test_the_race_and_the_finder_take_a_net(folder):
    numbers = folder / "race.csv"
    rates = ("--lr", "adam=0.01", "--lr", "sgd=0.1")
    run(folder, "race", "ratings.csv", *NET, "--rules", "sgd,adam", *rates, "--numbers", numbers)
    curves = pl.read_csv(numbers)
    assert set(curves["rule"]) == {"sgd", "adam"}
    assert set(curves["batch_size"]) == {default_solver(db.EmbeddingNet()).batch_size}
    found = run(folder, "lr-find", "ratings.csv", *NET, "--trials", 1, "--json").stdout
    assert json.loads(found[found.index("{") : found.rindex("}") + 1])["suggestion"] > 0


def test_settings_reach_the_net_and_its_solver():
    solving = Solving(
        model_name="net",
        factors=3,
        hidden="7",
        embedding_dropout=0.0,
        rule="sgd",
        lr=["hidden=0.2"],
        batch="32",
        weight_decay=["embeddings=0.3"],
        freeze=["output"],
        device="cpu",
    )
    plan = planning.plan(solving)
    assert plan is not None
    assert plan.model == db.EmbeddingNet(n_factors=3, hidden=(7,), embedding_dropout=0.0)
    default = default_solver(db.EmbeddingNet())
    assert isinstance(plan.solver, db.GradientDescent)
    assert plan.solver == db.GradientDescent(
        db.SGD(lr={"hidden": 0.2}),
        n_epochs=default.n_epochs,
        batch_size=32,
        frozen=("output",),
        weight_decay=db.WeightDecay({"embeddings": 0.3}),
        device="cpu",
        schedule=default.schedule,
        average=default.average,
    )


def test_without_options_the_net_has_its_defaults():
    plan = planning.plan(Solving(model_name="net"))
    assert plan is not None
    assert plan.model == db.EmbeddingNet()
    default = default_solver(plan.model)
    assert isinstance(plan.solver, db.GradientDescent)
    assert replace(plan.solver, weight_decay=None) == replace(default, weight_decay=None)
    assert plan.solver.decay == default.decay


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_name": "net", "solver_name": "als"}, "--model net is trained by gradient descent"),
        ({"model_name": "net", "budget": "9"}, "--model net is trained by gradient descent"),
        ({"hidden": "10"}, "--hidden is meant for --model net, not dot-bias"),
        ({"model_name": "baseline", "batch_norm": True}, "--batch-norm is meant for --model net"),
        ({"model_name": "net", "hidden": "ten"}, "--hidden ten: write sizes such as 10 or 100,10"),
        ({"model_name": "net", "hidden": "0"}, "hidden must be one or more whole numbers from 1"),
        ({"model_name": "mlp"}, "--model mlp: it must be one of dot-bias, net, baseline"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(SettingError, match=message):
        planning.plan(Solving(**options))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "ratings.csv", *NET, "--device", "cuda:9"), "device='cuda:9' is not there"),
        (("fit", "ratings.csv", *NET, "--dropout", 1), "dropout must be at least 0 and below 1"),
        (("fit", "ratings.csv", *NET, "--batch", 1, "--batch-norm"), "needs at least 2 ratings"),
        (
            ("fit", "ratings.csv", *NET, "--rule", "sgd", "--lr", 1e9, "--form", "linear"),
            "diverged",
        ),
        (("lr-find", "ratings.csv", "--model", "baseline"), "there is no rate to find"),
    ],
)
def test_a_mistake_is_named_and_leaves_the_old_model_alone(arguments, message, folder):
    old = folder / "old.dotbias"
    old.write_text("what was there")
    more = ("-o", old, "--force") if arguments[0] == "fit" else ()
    done = run(folder, *arguments, *more, code=1)
    assert message in done.stderr
    assert old.read_text() == "what was there"


def test_the_help_names_the_defaults_that_a_network_has():
    hints = get_type_hints(Solving, include_extras=True)
    shown = {
        name: option.show_default
        for name, hint in hints.items()
        for option in getattr(hint, "__metadata__", ())
        if getattr(option, "show_default", None)
    }
    net = db.EmbeddingNet()
    assert shown["hidden"] == ",".join(map(str, net.hidden))
    assert shown["dropout"] == f"{net.dropout:g}"
    assert shown["embedding_dropout"] == f"{net.embedding_dropout:g}"
    assert shown["batch_norm"] == ("yes" if net.batch_norm else "no")
    n_epochs = default_solver(net).n_epochs
    assert any(str(text).endswith(f"for net {n_epochs}") for text in shown.values())
