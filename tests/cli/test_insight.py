"""The command ``dotbias curvature``."""

import csv
import io
import json
import re

import pytest

from dotbias.extras import install
from tests.cli.command import fails, run

SMALL = "--factors 2 --epochs 3 --steps 5 --threads 1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("curvature")
    run(f"simulate -o {folder}/ratings.csv --users 60 --items 40 --ratings 1500")
    run(f"fit {folder}/ratings.csv -o {folder}/model.dotbias --test-size 0 {SMALL[:22]}")
    return folder


@pytest.mark.parametrize("model", ["dot-bias", "net"])
def test_it_prints_a_table(folder, model):
    done = run(f"curvature {folder}/ratings.csv --model {model} {SMALL} --no-rates")
    assert done.stdout.startswith("Curvature of ")
    for wanted in ("loss", "gradient norm", "largest eigenvalue 3", "smallest of Gauss-Newton 1"):
        assert wanted in done.stdout
    assert re.search(r"stable rate 2/largest +\d", done.stdout)
    assert "Not a minimum: the smallest eigenvalue is negative" in done.stderr


def test_for_programs_and_with_rates(folder):
    command = f"curvature {folder}/ratings.csv {SMALL} --eigenvalues 2"
    report = json.loads(run(f"{command} --json").stdout)
    assert report["n_parameters"] == 300
    assert len(report["hessian"]["largest"]) == 2
    rates = report["rates"]
    assert rates["stable"] == 2 / report["hessian"]["largest"][0]
    assert 0.5 < rates["diverges"] / rates["stable"] < 2
    assert rates["finder"] > 0
    table = dict(row.values() for row in rows(run(f"{command} --csv --no-rates").stdout))
    assert float(table["largest eigenvalue 1"]) == report["hessian"]["largest"][0]
    assert table["the finder's rate"] == ""


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_it_draws_spectrum_and_slice(folder):
    pytest.importorskip("matplotlib")
    files = ("spectrum.png", "spectrum.html", "slice.png", "slice.html")
    options = " ".join(f"--{file.split('.')[0]} {folder}/{file}" for file in files)
    options = options.replace("--spectrum", "--picture")
    done = run(f"curvature {folder}/ratings.csv {SMALL} --no-rates {options}")
    for file in files:
        assert f"Drew {folder}/{file}" in done.stderr.replace("\n", "")
        content = (folder / file).read_bytes()
        assert content.startswith(b"\x89PNG" if file.endswith("png") else b"<!DOCTYPE html>")
    assert "Eigenvalues of the Hessian" in (folder / "spectrum.html").read_text("utf-8")


def test_a_sample_is_looked_at_and_said_to_be_one(folder):
    done = run(f"curvature {folder}/ratings.csv {SMALL} --no-rates --rows 200 --json")
    assert json.loads(done.stdout)["n_ratings"] == 200
    assert "On a sample of 200 of " in done.stderr


def test_a_saved_model_is_not_fitted_again(folder):
    done = run(
        f"curvature {folder}/ratings.csv --from {folder}/model.dotbias --no-rates --steps 5 --json"
    )
    fitted = run(f"curvature {folder}/ratings.csv {SMALL} --no-rates --json")
    report, wanted = json.loads(done.stdout), json.loads(fitted.stdout)
    assert report["loss"] == pytest.approx(wanted["loss"])
    assert report["hessian"]["largest"] == pytest.approx(wanted["hessian"]["largest"])


def test_weight_decay_says_which_loss_of_a_saved_model_is_meant(folder):
    command = f"curvature {folder}/ratings.csv --from {folder}/model.dotbias --no-rates --json"
    free, firm = (
        json.loads(run(f"{command} --steps 5 --weight-decay {decay}").stdout)["loss"]
        for decay in (0, 9)
    )
    assert free < firm


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--picture x.pdf", "the name of a picture must end in .png or .html"),
        ("--slice x.pdf", "the name of a picture must end in .png or .html"),
        ("--slice no/x.png", "there is no folder no"),
        ("--model baseline", "--model baseline is fitted in closed form"),
        ("--from nothing.dotbias", "nothing.dotbias"),
        ("--from nothing.dotbias --epochs 3", "--epochs says how to fit, but --from nothing"),
        ("--lr -1", r"lr must be above 0"),
    ],
)
def test_a_mistake_is_named(folder, options, message):
    assert message in fails(f"curvature {folder}/ratings.csv {options}")


def test_a_saved_model_must_know_the_ratings(folder):
    run(f"simulate -o {folder}/others.csv --users 90 --items 40 --ratings 1500")
    message = fails(f"curvature {folder}/others.csv --from {folder}/model.dotbias --no-rates")
    assert "the model does not know the user" in message


def test_without_pytorch_it_names_the_command(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    assert install("torch") in fails(f"curvature {folder}/ratings.csv")


@pytest.mark.parametrize("options", ["--json --csv", "--eigenvalues 1", "--steps 0"])
def test_wrong_usage_is_exit_code_2(folder, options):
    run(f"curvature {folder}/ratings.csv {options}", code=2)


def test_the_help_has_an_example():
    assert re.search(r"Example: dotbias curvature \S+", run("curvature --help").stdout)
