"""Random command lines over all commands and options: an answer or one message, never a traceback.

Some with ``make test``; any number by hand: ``python -m tests.fuzz.test_commands 5000 SEED``.
"""

import contextlib
import inspect
import random
import shlex
import sys
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest

from dotbias.cli.main import app
from tests.fuzz.running import GROUP, bounded, command

N_CASES = 100
SECONDS = 60

# Those that need the network, take a tour of half a minute, or end when they are told to.
LEFT_OUT = {"download", "demo", "serve"}

# Values, as a shell takes them apart.
NUMBERS = shlex.split("-1 0 1 2 3 7 100 1.5 1e300 -1e300 nan inf x ''")
ABSURD = ["100000000", str(10**12), str(2**63), str(10**30)]
TEXTS = shlex.split("'' ' ' x 1 -1 nan é [bold] a,b a=b : user_bias=1 1:2 *")
PLACES = [
    *shlex.split("out.csv out.parquet out.dotbias out.png out.html no/such/out.csv '' ."),
    "x\x00y",
]
SOURCES = shlex.split(
    "ratings.csv text.csv pairs.csv mine.csv empty.csv m.dotbias nothing.csv . ''"
)
MODELS = shlex.split(
    "m.dotbias text.dotbias plays.dotbias stars.dotbias told.dotbias ratings.csv nothing"
)
IDS = "1 3 3.0 ' 3' 99999 'Item 3' Item x '' -1 1e3"
COLUMNS = "user item rating x 1"
# What takes time grows with these.
FEW = "1 2 4 0 -1 x"

# What an option is given; others a number or a text, by their type.
POOLS = {
    option: shlex.split(values)
    for option, values in {
        "--iterations": FEW,
        "--samples": FEW,
        "--trials": FEW,
        "--fits": FEW,
        "--folds": FEW,
        "--steps": FEW,
        "--epochs": FEW,
        "--points": FEW,
        "--burn-in": "0 1 9",
        "--users": f"{FEW} {10**12}",
        "--items": f"{FEW} {10**12}",
        "--ratings": f"{FEW} {10**12}",
        "--threads": "1 2 0 1000",
        "--user": IDS,
        "--item": IDS,
        "--candidate": IDS,
        "--exclude": IDS,
        "--not-interested": IDS,
        "--rule": "sgd adam adam:beta1=0.5 lion:lr=1 nothing sgd: adam:x=1 x.py/Rule",
        "--rules": "sgd sgd,adam nothing ,",
        "--schedule": "one-cycle warm-restarts:first_cycle=1 step: nothing x=1",
        "--loss": "squared logistic bpr x",
        "--form": "linear sigmoid preference x",
        "--model": "dot-bias baseline net x",
        "--solver": "sgd als gibbs auto x",
        "--lr": "0.01 auto 0.001:0.1 user_bias=0.1 sgd=0.1 0 1e30 -1 x",
        "--batch": f"1 64 full 0 x {' '.join(ABSURD)}",
        "--weight-decay": "0.1 0 -1 user_factors=0.1 1e30 x",
        "--surface": "beale saddle x",
        "--budget": "1 1s 0 x",
        "--hidden": f"3 2,2 x 0 {' '.join(ABSURD)}",
        "--scale": " ".join(NUMBERS),
        "--by": "rows user users time last rating preference x",
        "--genre": "Comedy x ''",
        "--device": "cpu cuda x",
        "--kind": "ratings counts events x",
        "--user-column": COLUMNS,
        "--item-column": COLUMNS,
        "--rating-column": COLUMNS,
        "--from": " ".join(MODELS),
        "--for-ratings": "mine.csv mine.csv ratings.csv text.csv empty.csv m.dotbias nothing.csv",
        "--titles": "ratings.csv text.csv m.dotbias nothing.csv",
        "--user-features": "told.csv told.csv ratings.csv mine.csv empty.csv m.dotbias nothing.csv",
        "--item-features": "told.csv told.csv text.csv pairs.csv empty.csv m.dotbias nothing.csv",
        "--memory": "1GiB 512MiB 3 x 0",
        "--user-ids": "integers text x",
        "--perplexity": f"2 5 x 0 {' '.join(ABSURD)}",
        "--method": "pca x",
        "--metric": "rmse ndcg ndcg@3 recall@0 mae x",
        "--settings": "text.csv m.dotbias nothing.json x",
    }.items()
}

# What a command always has, so that most of them get somewhere, and quickly.
STARTS: dict[str, list[str]] = {
    "fit": [
        "--solver als --iterations 1 --factors 2 --for predict",
        "--epochs 1 --factors 2 --for predict",
        "--solver gibbs --samples 4 --burn-in 1 --for predict",
        "--model baseline",
        "--for recommend --list-decay 0.1",
        "--for predict --epochs 1 --rule adam --batch 64",
    ],
    "cross-validate": [
        "--folds 2 --epochs 1",
        "--folds 2 --model baseline",
        "--folds 2 --solver als",
    ],
    "lr-find": ["--epochs 1 --trials 0 --factors 2"],
    "tune": ["--solver als --trials 1", "--solver sgd --trials 2", "--metric ndcg@3 --trials 1"],
    "race": ["--rules sgd --epochs 1 --trials 0 --factors 2", "--surface beale --steps 3"],
    "curvature": ["--epochs 1 --factors 1 --steps 2 --no-rates --eigenvalues 2"],
    "map": ["-o out.html --method pca"],
    "recommend": ["--user 1", "--all-users", "--for-ratings mine.csv", "--user 1 --user 99"],
    "predict": ["--user 1 --item 3", "pairs.csv"],
    "explain": ["--user 1 --item 3", "--for-ratings mine.csv --item 3"],
    "similar": ["3", "x", "3 --stability --fits 1"],
    "simulate": ["-o out.csv --users 20 --items 10 --ratings 50"],
    "split": ["--train out.csv --test out2.csv"],
    "prepare": ["-o out.blocks"],
    "update": ["-o out.dotbias"],
    "schedule": ["one-cycle", "warm-restarts", "x"],
}


def _types() -> dict[str, dict[str, Any]]:
    """Of each command the types of its options, of which it may have several or none."""
    found = {}
    for info in app.registered_commands:
        assert info.callback is not None
        name = info.name or info.callback.__name__.replace("_", "-")
        signature = inspect.signature(info.callback, eval_str=True)
        found[name] = {p.name: _plain(p.annotation) for p in signature.parameters.values()}
    return found


def _plain(annotation: Any) -> Any:
    """What one value is: without ``Annotated``, ``None`` and the list around it."""
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) in (Annotated, UnionType, Union, list):
        return _plain(inner[0])
    return annotation


TYPES = _types()


def command_line(rng: random.Random, left_out: Collection[str] = LEFT_OUT) -> list[str]:
    """One at random."""
    name = rng.choice([name for name in TYPES if name not in left_out])
    parameters = GROUP.commands[name].params  # type: ignore[attr-defined]
    words = [name]
    for parameter in parameters:
        if parameter.param_type_name == "argument" and (parameter.required or name != "predict"):
            if parameter.name == "model":
                words.append("m.dotbias" if rng.random() < 0.6 else rng.choice(MODELS))
            elif parameter.name in ("ratings", "pairs"):
                words.append("ratings.csv" if rng.random() < 0.8 else rng.choice(SOURCES))
    start = shlex.split(rng.choice(STARTS.get(name, [""])))
    if "--surface" in start:
        words = [name]
    options = [p for p in parameters if p.param_type_name == "option"]
    for parameter in rng.sample(options, min(len(options), rng.randint(0, 4))):
        start += _typed(rng, parameter, TYPES[name][parameter.name])
    return words + start


def _typed(rng: random.Random, parameter: Any, kind: Any) -> list[str]:
    spelling = parameter.opts[0]
    if parameter.is_flag:
        return [rng.choice([*parameter.opts, *parameter.secondary_opts])]
    pool = POOLS.get(spelling)
    if pool is None:
        if kind in (int, float):
            usual = ["1", "2", "7"] if kind is int else ["0.1", "0.5", "1"]
            pool = rng.choice([usual, usual, ABSURD, NUMBERS])
        elif kind is Path:
            pool = PLACES
        else:
            pool = rng.choice([[*map(str, get_args(kind)), "x"], TEXTS])
    return [spelling, *(rng.choice(pool) for _ in range(max(parameter.nargs, 1)))]


def fault(words: list[str]) -> str | None:
    """What is wrong with how a command line ends; None where nothing is."""
    with bounded(SECONDS):
        done = command(words)
    if done.exception is not None:
        return "".join(traceback.format_exception(done.exception))[-3000:]
    if done.exit_code not in (0, 1, 2):
        return f"exit code {done.exit_code}"
    if done.exit_code == 1 and done.stderr.count("Error: ") != 1:
        return f"exit code 1 with the message {done.stderr!r}"
    if len(done.stderr) > 5000:
        return f"{len(done.stderr)} letters on stderr, {done.stderr[:300]}"
    return None


def make_files() -> None:
    """Small inputs, in the present folder."""

    def run(line: str) -> None:
        done = command(shlex.split(line))
        assert done.exit_code == 0, done.stderr

    run("simulate -o ratings.csv --users 40 --items 20 --ratings 400")
    rows = Path("ratings.csv").read_text().splitlines()
    Path("text.csv").write_text(
        "\n".join([rows[0], *("u" + row.replace(",", ",i", 1) for row in rows[1:])])
    )
    Path("pairs.csv").write_text("user,item\n1,3\n99,4\n")
    Path("mine.csv").write_text("item,rating\n3,5\n4,1\n")
    words = [f"{at},{at},{at % 7},{'ab'[at % 2]}" for at in range(1, 50)]
    Path("told.csv").write_text("\n".join(["user,item,size,word", *words]))
    Path("empty.csv").write_text("user,item,rating\n")
    run("simulate -o plays.csv --kind counts --users 40 --items 20 --ratings 300")
    how = "--test-size 0 --list-decay 0.1"
    run(f"fit ratings.csv -o m.dotbias --solver als --iterations 2 --factors 2 {how} --for both")
    run("fit text.csv -o text.dotbias --solver als --iterations 2 --factors 2 --for predict")
    run(
        "fit ratings.csv -o stars.dotbias --solver gibbs --samples 6 --keep-samples 2 --for predict"
    )
    run(f"fit plays.csv -o plays.dotbias {how}")
    more = "--user-features told.csv --item-features told.csv"
    run(f"fit ratings.csv -o told.dotbias --samples 6 --keep-samples 2 --for predict {more}")


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with contextlib.chdir(tmp_path_factory.mktemp("commands")):
        make_files()
        yield


@pytest.mark.parametrize("seed", range(N_CASES))
def test_a_command_line_ends_in_an_answer_or_in_one_message(seed: int) -> None:
    words = command_line(random.Random(seed), left_out=LEFT_OUT | {"curvature"})  # a second each
    found = fault(words)
    assert found is None, f"dotbias {shlex.join(words)}\n{found}"


if __name__ == "__main__":
    n, first = (int(word) for word in (*sys.argv[1:], *["100", "0"][len(sys.argv) - 1 :]))
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        make_files()
        for seed in range(first, first + n):
            words = command_line(random.Random(seed))
            found = fault(words)
            if found is not None:
                print(f"--- {seed}: dotbias {shlex.join(words)}\n{found}", flush=True)
