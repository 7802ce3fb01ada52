"""The commands of the laboratory: the finder, the race, schedules, and all that fit offers."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from dotbias.solvers.descent.schedules import SCHEDULES

SMALL = ("--factors", 4, "--epochs", 4)

OWN_RULE = """
from dataclasses import dataclass
from typing import Any

from dotbias.solvers.descent.rules import Rule


@dataclass(frozen=True, kw_only=True)
class Plain(Rule):
    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        return lr * g, state
"""


@pytest.fixture(scope="module")
def ratings(run, workplace: Path) -> Path:
    name = "laboratory.csv"
    run("simulate", "-o", name, "--users", 120, "--items", 80, "--ratings", 4000)
    return workplace / name


@pytest.fixture
def drawing() -> None:
    """The library that draws images."""
    pytest.importorskip("matplotlib")


class Page(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for key, value in attrs if key in ("src", "href", "srcset")]


def assert_drawn(folder: Path, name: str, *words: str) -> None:
    """An image, or a page that holds all it needs and these words."""
    path = folder / name
    if path.suffix == ".png":
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert path.stat().st_size > 10_000
        return
    page = Page(path)
    assert page.references == []
    assert "script" in page.tags
    assert not page.tags & {"link", "iframe", "img", "object"}
    for word in words:
        assert word in page.source


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# lr-find.


def test_the_finder_tells_people_what_it_found_and_what_comes_next(run, ratings):
    done = run("lr-find", ratings, *SMALL, "--trials", 3)
    for name in ("steepest", "valley", "tenth", "trials"):
        assert re.search(rf"^{name} +[\d.e-]+, ", done.stdout, re.M), name
    assert "The sweep ended because the loss diverged at the rate" in done.stdout
    done = run("lr-find", ratings, *SMALL)
    assert re.search(
        r"^short +[\d.e-]+, for 4 epochs what [\d.e-]+ is for a quarter of one", done.stdout
    )
    assert re.search(r"Work of 2.0 epochs: 8 runs", done.stdout)
    next_command = re.search(r"Next: dotbias (fit .*)", done.stderr)
    assert next_command is not None
    fitted = run(*next_command.group(1).split(), *SMALL, "--json")
    assert 0 < json.loads(fitted.stdout)["held_out"]["rmse"] < 1


def test_the_finder_for_programs(run, ratings):
    options = ("--rule", "adam:beta1=0.8", "--batch", 64, *SMALL, "--trials", 3, "--seed", 2)
    report = json.loads(run("lr-find", ratings, *options, "--json").stdout)
    assert report["suggestion"] == report["suggestions"]["trials"]["lr"]
    assert len(report["trials"]) == 3
    best = min((t for t in report["trials"] if t["rmse"]), key=lambda t: t["rmse"])
    assert best["lr"] == report["suggestion"]
    assert set(report["suggestions"]) == {"steepest", "valley", "tenth", "trials"}
    points = rows(run("lr-find", ratings, *options, "--csv").stdout)
    assert list(points[0]) == ["lr", "loss", "smoothed"]
    assert [float(p["lr"]) for p in points] == [p["lr"] for p in report["curve"]]
    assert [float(p["loss"]) for p in points] == [p["loss"] for p in report["curve"]]


def test_the_finder_tells_programs_of_short_runs(run, ratings):
    report = json.loads(run("lr-find", ratings, *SMALL, "--json").stdout)
    assert report["spent"] == 0.25 * len(report["curve"]) == 2
    assert list(report["suggestions"]) == ["short"]
    assert report["suggestion"] == report["suggestions"]["short"]["lr"]


def test_a_linear_sweep_between_given_rates(run, ratings):
    options = ("--linear", "--lowest", 0.001, "--highest", 0.15, "--trials", 0)
    points = rows(run("lr-find", ratings, *options, *SMALL, "--csv").stdout)
    assert [float(p["lr"]) for p in points] == pytest.approx([k / 1000 for k in range(1, 151)])


def test_the_finder_reports_that_there_is_no_rate(run, ratings):
    options = ("--lowest", 100, *SMALL)
    done = run("lr-find", ratings, *options)
    assert "none, because the loss diverged at once" in done.stdout
    assert "Next" not in done.stderr
    assert json.loads(run("lr-find", ratings, *options, "--json").stdout)["suggestion"] is None


@pytest.mark.usefixtures("drawing")
def test_the_finder_draws(run, workplace, ratings):
    run(
        *("lr-find", ratings, *SMALL, "--trials", 4),
        *("--picture", "curve.png", "--picture", "curve.html"),
    )
    assert_drawn(workplace, "curve.png")
    assert_drawn(workplace, "curve.html", "steepest", "valley", "tenth", "trials", "Complete runs")


@pytest.mark.usefixtures("drawing")
def test_a_sweep_of_nothing_draws_too(run, workplace, ratings):
    run("lr-find", ratings, *SMALL, "--lowest", "1e30", "--highest", "1e35", "--picture", "0.png")
    assert_drawn(workplace, "0.png")


# race.


def test_the_race_has_a_table_for_people(run, ratings):
    done = run("race", ratings, "--rules", "sgd,adam", *SMALL, "--trials", 2)
    lines = done.stdout.splitlines()
    assert lines[0] == "Race of update rules, held-out RMSE"
    assert "best" in lines[2]
    assert re.search(r"^ +(sgd|adam) .* done", done.stdout, re.M)
    assert done.stdout.count(" done") == 2
    assert "3,200 training and 800 held-out ratings" in " ".join(done.stderr.split())


def test_a_race_of_choices_is_judged_by_its_loss(run, workplace, ratings):
    loss = ("--loss", "bpr", "--negatives", 2)
    options = (*loss, "--rules", "sgd,momentum", "--lr", "sgd=0.1", "--lr", "momentum=0.01", *SMALL)
    done = run("race", ratings, *options, "--numbers", "numbers.csv")
    assert done.stdout.splitlines()[0] == "Race of update rules, held-out BPR loss"
    assert "BPR loss" in done.stderr
    numbers = pl.read_csv(workplace / "numbers.csv")
    assert numbers["held_out_loss"].is_between(0.1, 0.75).all()
    for row in json.loads(run("race", ratings, *options, "--json").stdout):
        runner = numbers.filter(pl.col("name") == row["name"])
        assert row["best_loss"] == pytest.approx(runner["held_out_loss"].min(), rel=1e-6)


def test_the_finder_of_a_loss_says_how_to_go_on_with_it(run, ratings):
    done = run("lr-find", ratings, "--loss", "logistic", "--negatives", 2, *SMALL, "--trials", 2)
    assert "log loss" in done.stdout
    assert "--loss logistic --negatives 2" in " ".join(done.stderr.split())


def test_a_fit_of_choices_makes_lists_and_says_what_it_minimised(run, ratings):
    run("fit", ratings, "--loss", "bpr", *SMALL, "-o", "choices.dotbias", "--test-size", 0)
    listed = json.loads(run("recommend", "choices.dotbias", "--user", 3, "-k", 3, "--json").stdout)
    assert [row["rank"] for row in listed] == [1, 2, 3]
    told = run("info", "choices.dotbias").stdout
    assert "training loss" in told
    assert "training RMSE" not in told
    done = run("fit", ratings, "--loss", "bpr", "--for", "predict", *SMALL, code=1)
    assert "predicts no ratings" in done.stderr


def test_a_loss_of_choices_and_a_form_of_ratings_contradict_each_other(run, ratings):
    done = run("lr-find", ratings, "--loss", "bpr", "--form", "sigmoid", *SMALL, code=1)
    assert "output='preference'" in " ".join(done.stderr.split())


def test_batch_sizes_race_each_other(run, workplace, ratings):
    done = run(
        *("race", ratings, "--rules", "sgd momentum:momentum=0.5", "--batch", "1, 64,full"),
        *("--lr", "sgd=0.02", "--lr", "momentum=0.01", *SMALL),
        *("--numbers", "numbers.csv", "--force", "--csv"),
    )
    table = rows(done.stdout)
    wanted = {f"{rule} {size}" for rule in ("sgd", "momentum") for size in ("1", "64", "full")}
    assert {row["name"] for row in table} == wanted
    assert all(row["state"] == "done" for row in table)
    best = [float(row["best_rmse"]) for row in table]
    assert best == sorted(best)
    assert {row["lr"] for row in table} == {"0.02", "0.01"}
    numbers = pl.read_csv(workplace / "numbers.csv")
    assert numbers.height == 6 * 4
    assert set(numbers["name"]) == wanted
    for row in table:
        runner = numbers.filter(pl.col("name") == row["name"])
        assert runner["held_out_rmse"].min() == float(row["best_rmse"])
        assert runner["epoch"].to_list() == [1, 2, 3, 4]
        assert runner["seconds"].is_sorted()
    full = numbers.filter(pl.col("name") == "sgd full")
    assert full["batch_size"].is_null().all()


def test_the_race_for_programs_and_as_parquet(run, workplace, ratings):
    options = ("--rules", "sgd,momentum", "--lr", "sgd=1e30", "--lr", "momentum=0.002", *SMALL)
    done = run("race", ratings, *options, "--json", "--numbers", "numbers.parquet")
    momentum, sgd = json.loads(done.stdout)
    assert (momentum["name"], momentum["state"]) == ("momentum", "done")
    assert (sgd["name"], sgd["state"], sgd["best_rmse"]) == ("sgd", "diverged", None)
    assert set(pl.read_parquet(workplace / "numbers.parquet")["name"]) == {"momentum"}


def test_the_table_of_a_leap_into_nothing_is_json(run, ratings):
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    options = ("--rules", "sgd", "--batch", "full", "--lr", "sgd=1e30", *SMALL, "--json")
    json.loads(run("race", ratings, *options).stdout, parse_constant=no_constant)


@pytest.mark.usefixtures("drawing")
def test_the_race_draws(run, workplace, ratings):
    run(
        *("race", ratings, "--rules", "sgd,momentum", *SMALL),
        *("--lr", "sgd=0.02", "--lr", "momentum=0.002"),
        *("--picture", "race.png", "--picture", "race.html"),
    )
    assert_drawn(workplace, "race.png")
    assert_drawn(workplace, "race.html", '"name":"sgd"', '"name":"momentum"', "held-out RMSE")


@pytest.mark.usefixtures("drawing")
def test_a_race_that_nobody_ran_draws_too(run, workplace, ratings):
    run(
        *("race", ratings, "--rules", "sgd", "--lr", "sgd=1e30", *SMALL),
        *("--picture", "none.png", "--numbers", "none.csv"),
    )
    assert_drawn(workplace, "none.png")
    assert "held_out_rmse" in (workplace / "none.csv").read_text()


@pytest.mark.usefixtures("drawing")
def test_a_race_on_a_surface(run, workplace):
    done = run(
        *("race", "--surface", "beale", "--steps", 60),
        *("--picture", "beale.png", "--picture", "beale.html"),
        *("--numbers", "beale.csv", "--csv"),
    )
    names = [row["rule"] for row in rows(done.stdout)]
    assert names[:2] == ["sgd", "momentum"]
    assert len(names) == len(set(names)) >= 11
    assert pl.read_csv(workplace / "beale.csv")["rule"].to_list() == names
    assert_drawn(workplace, "beale.png")
    assert_drawn(workplace, "beale.html", "60 steps", "adam")


def test_a_rule_of_ones_own_races_and_fits(run, workplace, ratings):
    (workplace / "my_rules.py").write_text(OWN_RULE)
    done = run(
        *("race", ratings, "--rules", "sgd,my_rules.py/Plain", *SMALL, "--json"),
        *("--lr", "sgd=0.02", "--lr", "plain=0.02"),
    )
    first, second = json.loads(done.stdout)
    assert {first["name"], second["name"]} == {"sgd", "plain"}
    assert first["best_rmse"] == pytest.approx(second["best_rmse"], rel=1e-4)
    run("fit", ratings, "--rule", "my_rules.py/Plain:lr=0.02", *SMALL, "-o", "plain.dotbias")
    assert "Plain" in run("info", "plain.dotbias").stdout


# schedule.


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_schedule_is_shown(run, name):
    done = run("schedule", name, "--epochs", 6, "--points", 4, "--csv")
    table = rows(done.stdout)
    assert [float(row["epoch"]) for row in table] == [k / 4 for k in range(24)]
    assert all(0 <= float(row["factor"]) <= 1 for row in table)
    assert ("momentum" in table[0]) == (name == "one-cycle")
    shown = run("schedule", name, "--epochs", 6).stdout
    assert shown.startswith(f"Schedule {name}, at the start of each epoch")
    assert len(re.findall(r"^ +\d +\d\.\d{4}", shown, re.M)) == 6


@pytest.mark.usefixtures("drawing")
def test_a_schedule_is_drawn(run, workplace):
    run(
        *("schedule", "one-cycle:warm_up=0.5", "--epochs", 8),
        *("--picture", "rate.png", "--picture", "rate.HTML"),
    )
    assert_drawn(workplace, "rate.png")
    page = (workplace / "rate.HTML").read_text("utf-8")
    assert "factor on the learning rate" in page
    assert "momentum" in page


# fit, with all that the laboratory offers.


def test_a_fit_with_everything(run, ratings):
    done = run(
        *("fit", ratings, "--rule", "adam:beta1=0.8", "--lr", "auto", "--batch", 64),
        *("--schedule", "warm-restarts", "--average", 2, "--groups", "--freeze", "user_bias"),
        *(
            "--clip",
            5,
            "--gradient-noise",
            0.001,
            "--weight-decay",
            "item_factors=0.1",
            "--decoupled",
        ),
        *("--factors", 4, "--epochs", 7, "-o", "all.dotbias"),
    )
    assert "Parameter groups" in done.stdout
    table = {line.split()[0]: line.split() for line in done.stdout.splitlines() if "_" in line}
    rate = re.search(r"Learning rate ([\d.e-]+): the finder's", done.stderr)
    assert rate is not None
    assert float(table["item_bias"][3]) == pytest.approx(float(rate.group(1)), rel=0.05)
    assert float(table["user_bias"][3]) == 0
    info = json.loads(run("info", "all.dotbias", "--json").stdout)
    assert "beta1=0.8" in json.dumps(info)


def test_a_range_of_rates(run, ratings):
    done = run("fit", ratings, "--lr", "0.01:0.08", *SMALL, "--groups")
    rates = re.findall(r"^ +(?:user|item)_\w+ +\d+ +\d+ +([\d.]+)", done.stdout, re.M)
    assert [float(r) for r in rates] == pytest.approx([0.01, 0.02, 0.04, 0.08])


def test_a_rate_for_a_group(run, ratings):
    done = run(
        *("fit", ratings, *SMALL, "--groups"),
        *("--lr", "user_bias=0.5", "--lr", "item_bias=0.25"),
    )
    rates = re.findall(r"^ +(?:user|item)_\w+ +\d+ +\d+ +([\d.]+)", done.stdout, re.M)
    assert [float(r) for r in rates] == [0.022, 0.022, 0.5, 0.25]


# A bad end.


def test_a_fit_that_led_nowhere_says_so_once(run, ratings):
    bad = run("fit", ratings, *SMALL, "--lr", 1e-6, "-o", "nowhere.dotbias")
    assert bad.stderr.count("orse than biases alone") == 1
    assert "--lr auto" in bad.stderr
    good = run("fit", ratings, "--factors", 4, "--batch", "full")
    assert "orse than biases alone" not in good.stderr


def test_a_fit_that_learned_by_heart_says_so(run, ratings):
    done = run("fit", ratings, "--factors", 64, "--lr", 0.2, "--weight-decay", 0)
    assert "Worse than biases alone on what was held out" in done.stderr
    assert f"dotbias lr-find {ratings} --factors 64 --weight-decay 0" in done.stderr
    assert "on its training rows, biases alone" not in done.stderr


def test_a_batch_that_is_named_has_a_rate_that_suits_it(run, ratings):
    options = ("--loss", "bpr", "--batch", "64", "--groups")
    done = run("fit", ratings, *SMALL, *options)
    rates = re.findall(r"^ +(?:user|item)_\w+ +\d+ +\d+ +([\d.]+)", done.stdout, re.M)
    assert {float(rate) for rate in rates} == {64 * 0.022}


def test_names_of_choices_in_any_case(run, ratings):
    run("fit", ratings, "--model", "Baseline", "--for", "Predict", "--kind", "RATINGS")


# Mistakes.


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("fit {ratings} --lr -0.1", r"SGD\(lr=-0.1\): lr must be above 0"),
        ("fit {ratings} --rule magic", "--rule magic: it must be one of sgd, momentum"),
        ("fit {ratings} --lr users=1", "lr names no group 'users': the groups are user_factors"),
        ("fit {ratings} --freeze users", "frozen must name some of the groups user_factors"),
        ("fit {ratings} --schedule warm-restarts:first_cycle=0", "first_cycle must be above 0"),
        ("fit {ratings} --batch 0", "--batch 0: write a number of ratings, 1 or more, or full"),
        ("fit {ratings} --clip 0", "clip must be above 0"),
        ("fit {ratings} --average 0", "average must be at least 1"),
        ("fit {ratings} --rule nowhere.py/Mine", "there is no file nowhere.py"),
        ("cross-validate {ratings} --lr auto", "cross-validate needs a rate; `dotbias lr-find`"),
        ("lr-find {ratings} --rule magic", "--rule magic: it must be one of sgd"),
        ("lr-find {ratings} --lowest -1", "the sweep must rise between rates above 0"),
        ("lr-find {ratings} --lowest 1 --highest 0.1", "the sweep must rise"),
        ("lr-find {ratings} --picture x.pdf", "x.pdf: the name of a picture must end in .png or"),
        ("lr-find {ratings} --picture no/x.png", "there is no folder no"),
        ("race {ratings} --rules sgd,magic", "--rule magic: it must be one of sgd"),
        ("race {ratings} --rules sgd --lr adam=1", "'adam', which is not in the race"),
        ("race {ratings} --rules sgd --lr sgd=-1", r"SGD\(lr=-1.0\): lr must be above 0"),
        ("race {ratings} --rules sgd --lr 0.1", "--lr 0.1: write NAME=NUMBER"),
        ("race {ratings} --rules sgd --batch 64,many", "--batch many: write a number"),
        ("race {ratings} --picture x.pdf", "x.pdf: the name of a picture must end in .png or"),
        (
            "race {ratings} --numbers x.xls",
            "x.xls: the name of a table must end in .csv or .parquet",
        ),
        ("race {ratings} --numbers no/x.csv", "there is no folder no"),
        ("race {ratings} --surface beale", "give ratings or --surface, not both"),
        ("race --surface mountain", "surface must be one of 'beale', 'rosenbrock', 'saddle'"),
        ("race --surface beale --rules magic", "--rule magic: it must be one of sgd"),
        ("schedule magic", "--schedule magic: it must be one of constant, linear"),
        ("schedule warm-restarts:first_cycle=0", r"WarmRestarts\(first_cycle=0.0\): first_cycle"),
        ("schedule linear --picture x.pdf", "x.pdf: the name of a picture must end in .png or"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_1(run, ratings, command, message):
    done = run(*command.format(ratings=ratings).split(), code=1)
    assert done.stdout == ""
    assert done.stderr.count("Error: ") == 1
    assert re.search(message, " ".join(done.stderr.split())), done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "race",
        "lr-find",
        "schedule",
        "lr-find {ratings} --json --csv",
        "lr-find {ratings} --trials -1",
        "race {ratings} --json --csv",
        "race {ratings} --test-size 1",
        "race --surface beale --steps 0",
        "schedule linear --epochs 0",
        "schedule linear --json --csv",
    ],
)
def test_wrong_usage_is_exit_code_2(run, ratings, command):
    done = run(*command.format(ratings=ratings).split(), code=2)
    assert "Error" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["lr-find", "race", "schedule"])
def test_each_command_has_help_with_an_example(run, name):
    shown = run(name, "--help").stdout
    assert re.search(rf"Example: dotbias {name} \S+", shown)
