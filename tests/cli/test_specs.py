"""What the texts of options mean, and what is said about those that mean nothing."""

import json
import sys
from pathlib import Path

import pytest

from dotbias.cli import specs
from dotbias.errors import SettingError
from dotbias.solvers.descent.rules import RULES, SGD, Adam
from dotbias.solvers.descent.schedules import SCHEDULES, OneCycle, WarmRestarts, WarmUp

OWN = """
from dataclasses import dataclass
from typing import Any

from dotbias.settings import setting
from dotbias.solvers.descent.rules import Rates, Rule


@dataclass(frozen=True, kw_only=True)
class SignedDescent(Rule):
    lr: Rates = setting(0.01, above=0)
    share: float = setting(0.5, above=0)

    @staticmethod
    def update(g: Any, state: Any, lr: Any, c: Any) -> Any:
        return (lr if g > 0 else -lr), state


class WithoutUpdate(Rule):
    pass


number = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "my_rules.py"
    path.write_text(OWN)
    return path


# Rules.


@pytest.mark.parametrize("name", RULES)
def test_each_rule_by_its_name(name: str) -> None:
    assert specs.rule(name) == RULES[name]()


def test_a_rule_with_settings() -> None:
    assert specs.rule("adam:beta1=0.8") == Adam(beta1=0.8)
    assert specs.rule("adam:beta1=0.8,eps=1e-6,lr=0.5") == Adam(beta1=0.8, eps=1e-6, lr=0.5)
    assert specs.rule("sgd:") == SGD()
    assert specs.rule("Adam") == specs.rule("ADAM") == Adam()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magic", "--rule magic: it must be one of sgd, momentum, "),
        ("", "--rule : it must be one of sgd, "),
        ("adm", "--rule adm: it must be one of "),
        (
            "adam:gamma=1",
            "--rule adam: 'gamma=1' is no setting of it; they are lr, beta1, beta2, eps",
        ),
        ("adam:beta1", "--rule adam: 'beta1' is no setting of it; "),
        ("sgd:momentum=0.9", "--rule sgd: 'momentum=0.9' is no setting of it; they are lr"),
        ("adam:beta1=much", "--rule beta1=much: 'much' is not a number"),
        ("adam:beta1=", "--rule beta1=: '' is not a number"),
        ("adam:beta1=1", "Adam(beta1=1.0): beta1 must be at least 0 and below 1"),
        ("sgd:lr=-1", "SGD(lr=-1.0): lr must be above 0"),
        ("sgd:lr=nan", "SGD(lr=nan): lr must be above 0"),
    ],
)
def test_a_rule_that_means_nothing_is_named(text: str, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        specs.rule(text)
    assert str(caught.value).startswith(message)


# A rule of one's own.


def test_a_rule_of_ones_own_comes_from_its_file(own: Path) -> None:
    rule = specs.rule(f"{own}/SignedDescent")
    assert type(rule).__name__ == "SignedDescent"
    assert rule.lr == 0.01
    assert rule.update(3.0, (), 0.5, ()) == (0.5, ())
    assert specs.rule(f"{own}/SignedDescent:lr=0.5,share=0.25").share == 0.25


def test_a_relative_path_names_it_too(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    assert specs.rule("my_rules.py/SignedDescent").lr == 0.01


def test_its_settings_are_checked_like_those_of_any_rule(own: Path) -> None:
    with pytest.raises(SettingError, match=r"SignedDescent\(share=0.0\): share must be above 0"):
        specs.rule(f"{own}/SignedDescent:share=0")
    with pytest.raises(SettingError, match="'speed=1' is no setting of it; they are lr, share"):
        specs.rule(f"{own}/SignedDescent:speed=1")


def test_a_file_is_read_anew_each_time(own: Path) -> None:
    assert specs.rule(f"{own}/SignedDescent").lr == 0.01
    own.write_text(OWN.replace("setting(0.01", "setting(0.125"))
    assert specs.rule(f"{own}/SignedDescent").lr == 0.125


def test_a_file_does_not_take_the_place_of_a_module(tmp_path: Path) -> None:
    """A file called json.py became what everything else got for ``import json``."""
    (tmp_path / "json.py").write_text(OWN)
    specs.rule(f"{tmp_path}/json.py/SignedDescent")
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{own}", "write FILE.py/CLASS, such as my_rules.py/SignedDescent"),
        ("{own}/", "write FILE.py/CLASS"),
        ("{own}/SignedDescent/x", "write FILE.py/CLASS"),
        ("{own}/Missing", "my_rules.py has no class Missing"),
        ("{own}/number", "that is no subclass of dotbias.Rule"),
        ("{own}/dataclass", "that is no subclass of dotbias.Rule"),
        ("{own}/WithoutUpdate", "it has no function update"),
        ("{own}/Rule", "it has no function update"),
        ("nowhere.py/SignedDescent", "there is no file nowhere.py"),
        ("{folder}/broken.py/Rule", "broken.py fails: SyntaxError"),
        ("{folder}/fails.py/Rule", "fails.py fails: ZeroDivisionError"),
        ("{folder}/imports.py/Rule", "imports.py fails: ModuleNotFoundError"),
    ],
)
def test_a_file_that_gives_no_rule_is_named(own: Path, name: str, message: str) -> None:
    folder = own.parent
    (folder / "broken.py").write_text("def update(:\n")
    (folder / "fails.py").write_text("1 / 0\n")
    (folder / "imports.py").write_text("import no_such_module_anywhere\n")
    text = name.format(own=own, folder=folder)
    with pytest.raises(SettingError) as caught:
        specs.rule(text)
    assert str(caught.value).startswith(f"--rule {text}: ")
    assert message in str(caught.value)


# Schedules.


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_schedule_by_its_name(name: str) -> None:
    assert specs.schedule(name) == SCHEDULES[name]()


def test_a_schedule_with_settings() -> None:
    assert specs.schedule("warm-restarts:first_cycle=2,cycle_mult=1") == WarmRestarts(
        first_cycle=2, cycle_mult=1
    )
    assert specs.schedule("warm-up:length=3,then=cosine") == WarmUp(length=3, then="cosine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magic", "--schedule magic: it must be one of constant, linear, step, "),
        ("cosine:every=2", "--schedule cosine: 'every=2' is no setting of it; they are lowest"),
        ("linear:x=1", "--schedule linear: 'x=1' is no setting of it; they are none"),
        ("step:every=often", "--schedule every=often: 'often' is not a number"),
        (
            "warm-restarts:first_cycle=0",
            "WarmRestarts(first_cycle=0.0): first_cycle must be above 0",
        ),
        (
            "warm-up:then=magic",
            "then='magic': it must be one of constant, linear",
        ),
        (
            "one-cycle:low_momentum=0.99",
            "OneCycle(low_momentum=0.99): low_momentum must be at most",
        ),
    ],
)
def test_a_schedule_that_means_nothing_is_named(text: str, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        specs.schedule(text)
    assert str(caught.value).startswith(message)
    assert specs.schedule("one-cycle") == OneCycle()


# Batches.


def test_batch_sizes() -> None:
    assert [specs.batch(text) for text in ("1", "64", "0064", "full")] == [1, 64, 64, None]


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "", "all", "²", "1 64"])
def test_a_batch_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingError, match="write a number of ratings, 1 or more, or full") as e:
        specs.batch(text)
    assert str(e.value).startswith(f"--batch {text}: ")


# Rates and decays.


def test_rates() -> None:
    assert specs.rates(["0.5"]) == 0.5
    assert specs.rates(["1e-3:0.1"]) == slice(0.001, 0.1)
    assert specs.rates(["user_bias=0.1"]) == {"user_bias": 0.1}
    assert specs.rates(["user_bias=0.1", "item_bias=2"]) == {"user_bias": 0.1, "item_bias": 2.0}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fast"], "--lr fast: 'fast' is not a number"),
        ([""], "--lr : '' is not a number"),
        (["0.1:"], "--lr 0.1:: '' is not a number"),
        ([":0.1"], "--lr :0.1: '' is not a number"),
        (["0.1:0.2:0.3"], "--lr 0.1:0.2:0.3: '0.2:0.3' is not a number"),
        (["user_bias="], "--lr user_bias=: '' is not a number"),
        (["user_bias=x"], "--lr user_bias=x: 'x' is not a number"),
        (["0.1", "0.2"], "--lr 0.1: write NAME=NUMBER"),
        (["user_bias=0.1", "auto"], "--lr auto: write NAME=NUMBER"),
    ],
)
def test_rates_that_mean_nothing_are_named(texts: list[str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        specs.rates(texts)
    assert str(caught.value) == message


def test_decays() -> None:
    assert specs.decay(["0.5"]) == 0.5
    assert specs.decay(["user_bias=0.1", "item_bias=0"]) == {"user_bias": 0.1, "item_bias": 0.0}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["much"], "--weight-decay much: 'much' is not a number"),
        (["0.1", "0.2"], "--weight-decay 0.1: write NAME=NUMBER"),
        (["user_bias=much"], "--weight-decay user_bias=much: 'much' is not a number"),
    ],
)
def test_decays_that_mean_nothing_are_named(texts: list[str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        specs.decay(texts)
    assert str(caught.value) == message
