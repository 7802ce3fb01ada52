"""Model files with changed contents and a checksum that fits, and everything that is done with a model.

``python -m tests.recommender.altered 10000`` tries so many, in processes of their own, and counts what
came of them.
"""

import collections
import copy
import json
import math
import resource
import subprocess
import sys
import tempfile
import traceback
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import dotbias as db
from dotbias import model_file
from dotbias.errors import DotbiasError, ModelFileError
from dotbias.evaluation.evaluate import HeldOut
from dotbias.solvers.registry import solver_from_plain
from tests.golden.make import Biases
from tests.pairs import with_preference

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("*/*.dotbias"))
Arrays = dict[str, Any]


def of_this_version(folder: Path) -> list[Path]:
    """Files that hold preferences, alone or beside ratings, and what features say."""
    ratings, _ = db.simulate(40, 25, 500, n_factors=2, scale=(0.5, 5.0), seed=7)
    counts = replace(ratings, kind="counts", declared_scale=None)
    events = replace(counts, values=np.ones(len(counts), np.float32), kind="events")
    model, als = db.DotProduct(n_factors=3), db.ImplicitALS(n_iterations=2)
    stars = db.fit(ratings, db.DotBias(n_factors=3), db.ALS(n_iterations=2))
    frames = (
        pl.DataFrame({"id": ids, "kind": ["a", "b|c", "a|b", None, "c"] * (len(ids) // 5)})
        for ids in (ratings.user_vocabulary.ids, ratings.item_vocabulary.ids)
    )
    users, items = (frame.with_columns(size=pl.int_range(frame.height)) for frame in frames)
    told = ratings.with_features(users=users, items=items)
    gibbs = db.Gibbs(n_samples=6, burn_in=2, n_factors=2, keep_samples=3)
    made = {
        "features": db.fit(told, db.DotBias(n_factors=3), gibbs, purpose="predict"),
        "pair": with_preference(stars, ratings),
        "pair-most-rated": db.fit(
            ratings, solver=db.ALS(n_iterations=2), purpose="both", preference=db.MostRated()
        ),
        "preferences": db.fit(ratings, model, als),
        "counts": db.fit(counts, model, als),
        "bm25": db.fit(counts, model, replace(als, weighting="bm25")),
        "events": db.fit(events, model, als),
        "pairwise": db.fit(
            ratings,
            db.DotBias(n_factors=3, output="preference"),
            db.GradientDescent(loss="bpr", n_epochs=1),
        ),
    }
    for name, rec in made.items():
        rec.save(folder / f"{name}.dotbias")
    return [folder / f"{name}.dotbias" for name in made]


_NUMBERS = (0, 1, -1, 2, 7, 255, 2**31 - 1, -(2**31), 2**62, -(2**63), 1e-40, 1e15, 1e38, -3e38)
_FLOATS = (math.nan, math.inf, -math.inf)
_VALUES = (
    *(None, True, False, "", "x", "ALS(", "\ud800", "é" * 300, [], {}, [[]], {"x": {}}, [1, 2, 3]),
    *(0, -1, 3, 0.5, -0.25, 1e308, 10**30, 10**400, 2**63, math.nan, math.inf),
)
_DTYPES = ("f4", "f8", "f2", "i1", "i4", "i8", "u1", "u8", "?")


def altered(arrays: Arrays, metadata: Any, rng: np.random.Generator) -> tuple[Arrays, Any]:
    """The contents of a file with one to three changes."""
    arrays, metadata = dict(arrays), copy.deepcopy(metadata)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if rng.random() < 0.6:
            _alter_arrays(arrays, rng)
        else:
            _alter_value({"": metadata}, rng)
    return arrays, metadata


def _alter_arrays(arrays: Arrays, rng: np.random.Generator) -> None:
    names = sorted(arrays)
    name, other = rng.choice(names), rng.choice(names)
    array = np.array(arrays[name])
    match rng.integers(11):
        case 0:  # bytes
            data = array.reshape(-1).view(np.uint8)
            if len(data):
                at = rng.integers(len(data), size=rng.integers(1, 5))
                data[at] = rng.integers(256, size=len(at))
        case 1 | 2:  # numbers
            if array.size:
                at = rng.integers(array.size, size=rng.choice([1, 1, 3, array.size]))
                numbers = (*_NUMBERS, *_FLOATS) if array.dtype.kind == "f" else _NUMBERS
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    some = np.array([float(rng.choice(numbers))])
                    array.reshape(-1)[at] = some.astype(array.dtype)
        case 3:  # all of it, larger
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                factor = rng.choice([-1.0, 0.0, 1e3, 1e10, 1e20, 1e30])
                array = (array.astype(np.float64) * factor).astype(array.dtype)
        case 4:  # shapes
            flat = array.reshape(-1)
            n = int(rng.integers(len(flat) + 1))
            shapes = [flat, array[None], array[..., None], array.T, flat[:n], flat[:0]]
            array = shapes[rng.integers(len(shapes))]
        case 5:  # rows more or fewer
            rows = [array[:-1], array[1:], np.concatenate([array, array[-1:]]), array[::-1]]
            array = rows[rng.integers(len(rows))] if array.ndim else array
        case 6:  # types
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                array = array.astype(rng.choice(_DTYPES))
        case 7:
            del arrays[name]
            return
        case 8:  # names
            del arrays[name]
            name = f"{name}{rng.choice(['x', '.text', ''])}".replace(
                "user", rng.choice(["item", ""])
            )
        case 9:
            arrays[other], array = array, np.array(arrays[other])
        case 10:  # order
            array = rng.permutation(array) if array.ndim else array
    arrays[name] = array


def _alter_value(tree: Any, rng: np.random.Generator) -> None:
    """Change something in plain data, at any depth."""
    places = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(min(len(node), 3))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(tree)
    node, key = places[1 + rng.integers(len(places) - 1)] if rng.random() < 0.97 else places[0]
    other, where = places[rng.integers(len(places))]
    match rng.integers(6):
        case 0 | 1 | 2:
            node[key] = copy.deepcopy(_VALUES[rng.integers(len(_VALUES))])
        case 3:
            node[key] = copy.deepcopy(other[where])
        case 4:
            del node[key]
        case 5:
            if isinstance(node, dict):
                node[f"{key}{rng.choice(['x', '2'])}"] = node[key]
            else:
                nest: Any = node[key]
                for _ in range(rng.choice([3, 60, 400])):
                    nest = [nest]
                node[key] = nest


def exercised(path: Path) -> str:
    """Load a model and do all that can be done with it; what came of it, in a word."""
    network = db.Network(Biases) if "network" in path.name else None
    try:
        rec = db.Recommender.load(path, network)
    except ModelFileError as error:
        return "refused" if str(path) in str(error) else "refused without its name"
    said: list[Any] = []
    late = 0
    for step in STEPS:
        try:
            said.append(step(rec))
        except DotbiasError:
            late += 1
    json.dumps(rec.info(), allow_nan=False).encode()
    if not all(np.isfinite(np.asarray(part, np.float64)).all() for part in said):
        return "not finite"
    return "works in part" if late else "works"


def _users(rec: Any) -> Any:
    return rec.user_vocabulary.ids[:4].to_list()


def _liked(rec: Any) -> Any:
    low, high = map(float, rec.parameters["scale"])
    return dict(zip(rec.item_vocabulary.ids[:3].to_list(), (high, low, high), strict=False))


def _grown(rec: Any) -> Any:
    items = rec.item_vocabulary.ids
    new = "zz" if isinstance(items[0], str) else 10**9
    value = float(rec.parameters["scale"][0])
    more = [new, new], [items[0], new], [value, value]
    grown = rec.partial_fit(db.Ratings.from_columns(*more, kind=rec.facts.kind))
    users, items = grown.user_vocabulary.indices([new]), grown.item_vocabulary.indices([new])
    return list(grown.scored(users, items).values())


def _told(rec: Any) -> Any:
    said = {"kind": "a|c", "size": 7}
    user = rec.fold_in_user(_liked(rec), features=said)
    std = user.std(np.arange(3, dtype=np.int32))
    item = rec.fold_in_item({}, features=said)
    return [*user.predict(rec.item_vocabulary.ids[:3]), *item.predict(_users(rec)), *std]


def _told_and_grown(rec: Any) -> Any:
    new = "zz" if isinstance(_users(rec)[0], str) else 10**9
    frame = pl.DataFrame({"id": [new], "kind": ["b"], "size": [3]})
    grown = rec.partial_fit(users=frame, items=frame)
    return grown.predict([new], grown.item_vocabulary.ids[:3])


def _figures(table: Any) -> Any:
    """The predicted ratings and preferences of a list."""
    return table.select(
        pl.selectors.by_name("prediction", "preference", require_all=False)
    ).to_numpy()


def _saved_again(rec: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        rec.save(Path(folder) / "again")
    return []


FINE = ("refused", "works", "works in part")
STEPS = (
    lambda rec: rec.predict(_users(rec), rec.item_vocabulary.raw(0)),
    lambda rec: rec.predict(rec.user_vocabulary.raw(0), rec.item_vocabulary.ids),
    lambda rec: rec.predict(
        ["nobody" if isinstance(_users(rec)[0], str) else -77], [_liked(rec).popitem()[0]]
    ),
    lambda rec: _figures(rec.recommend(_users(rec), 5)),
    lambda rec: _figures(rec.recommend(_users(rec), 5, well_known=-0.5, diversity=0.5)),
    lambda rec: rec.similar(rec.item_vocabulary.raw(0), 3, min_ratings=0)["similarity"].to_numpy(),
    lambda rec: rec.item_bias_ranking(5)["bias"].to_numpy(),
    *(
        lambda rec, of=of: rec.explain(_users(rec)[-1], rec.item_vocabulary.raw(1), of=of).frame()[
            "contribution"
        ]
        for of in ("rating", "preference")
    ),
    lambda rec: rec.fold_in_user(_liked(rec)).predict(rec.item_vocabulary.ids),
    lambda rec: _figures(rec.fold_in_user({}).recommend(3)),
    lambda rec: _figures(
        rec.fold_in_user(_liked(rec), not_interested=[rec.item_vocabulary.raw(4)]).recommend(3)
    ),
    lambda rec: rec.fold_in_item({_users(rec)[0]: float(rec.parameters["scale"][1])}).predict(
        _users(rec)
    ),
    lambda rec: rec.predict(_users(rec), rec.item_vocabulary.raw(0), with_std=True),
    _grown,
    _told,
    _told_and_grown,
    lambda rec: [len(str(HeldOut.of(rec))) * 0],
    lambda rec: [len(repr(solver_from_plain(rec.facts.solver))) * 0],
    lambda rec: [db.evaluate(rec, rec.training_ratings(), on_seen="keep", ranking=False).rmse or 0],
    _saved_again,
)


def attempt(n: int, path: Path, sources: list[Path]) -> str:
    """What comes of altered file number n, of one of the sources, written into a folder."""
    rng = np.random.default_rng(n)
    source = sources[n % len(sources)]
    arrays, metadata = altered(*model_file.read(source), rng)
    target = path / f"{source.stem}.dotbias"
    model_file.write(target, arrays, metadata)
    return exercised(target)


def main() -> None:
    """Try many, in processes of 500 each."""
    if len(sys.argv) == 3:
        first, end = map(int, sys.argv[1:])
        with tempfile.TemporaryDirectory() as fresh, tempfile.TemporaryDirectory() as folder:
            sources = [*GOLDEN, *of_this_version(Path(fresh))]
            for n in range(first, end):
                print(n, flush=True)
                try:
                    print(attempt(n, Path(folder), sources), flush=True)
                except Exception as error:
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    print(
                        f"traceback {type(error).__name__} {where.name}: {error}"[:200].replace(
                            "\n", " "
                        )
                    )
        return
    total = int(sys.argv[1])
    counts: collections.Counter[str] = collections.Counter()
    for first in range(0, total, 500):
        end = min(first + 500, total)
        command = [sys.executable, "-m", "tests.recommender.altered", str(first), str(end)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        lines = done.stdout.splitlines()
        for number, outcome in zip(lines[::2], lines[1::2], strict=False):
            counts[outcome.split()[0] if outcome.startswith("traceback") else outcome] += 1
            if outcome not in FINE:
                print(number, outcome, flush=True)
        if done.returncode:
            counts["crash"] += 1
            print(f"crash after {lines[-1:]}: {done.returncode} {done.stderr[-300:]}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(dict(counts), f"largest process {peak:.2f} GB")


if __name__ == "__main__":
    main()
