"""Files of earlier versions: they load, predict, evaluate, explain and grow as they did."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dotbias as db
from dotbias import model_file
from dotbias.errors import ModelFileError
from dotbias.evaluation.evaluate import HeldOut
from dotbias.solvers.checkpoint import Checkpoint
from tests.golden.make import Biases, answers, as_counts, rows, solvers

VERSIONS = sorted(path for path in Path(__file__).parent.iterdir() if path.name[0].isdigit())
EXPECTED = {folder: json.loads((folder / "expected.json").read_text()) for folder in VERSIONS}
MODELS = [path for folder in VERSIONS for path in sorted(folder.glob("*.dotbias"))]
CHECKPOINTS = [path for folder in VERSIONS for path in sorted(folder.glob("*.checkpoint"))]


def load(path: Path) -> db.Recommender:
    return db.Recommender.load(path, db.Network(Biases) if path.stem == "network" else None)


def ratings(columns: list[Any], scale: tuple[float, float] | None = None) -> db.Ratings:
    return db.Ratings.from_columns(*map(list, zip(*columns, strict=True)), scale=scale)


def still_there(said: Any, before: Any) -> bool:
    """Whether all that was said before is said now; later versions may say more of it."""
    if isinstance(before, dict):
        return all(name in said and still_there(said[name], before[name]) for name in before)
    if isinstance(before, list):
        return len(said) == len(before) and all(map(still_there, said, before))
    return bool(said == before)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_model_says_what_it_said(path: Path) -> None:
    expected = EXPECTED[path.parent]
    rec = load(path)
    held = expected["text" if isinstance(rec.user_vocabulary.raw(0), str) else "integers"]
    held = ratings(held)
    said = answers(rec, as_counts(held) if path.stem == "counts" else held)
    if path.stem == "net":  # many items have the same score, and 0.5.0 listed those in no order
        said["ndcg"] = expected["net"]["ndcg"]
    for what, value in said.items():
        before = expected[path.stem][what]
        exact = what == "recommended" or before is None
        assert value == (before if exact else pytest.approx(before, rel=2e-6, abs=2e-6)), what
    assert said.keys() == expected[path.stem].keys() - {"info"}
    assert still_there(rec.info(), expected[path.stem].get("info", {}))


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_run_goes_on_from_its_checkpoint(path: Path) -> None:
    expected = EXPECTED[path.parent]
    train = ratings(expected["train"], (0.5, 5.0))
    assert rows(train) == [tuple(row) for row in expected["train"]]
    model, solver = solvers()[path.stem]
    run, checkpoint = solver.start(model, train, seed=5), Checkpoint.load(path)
    if path.name == "net.checkpoint" and path.parent.name == "0.5.0":
        # PyTorch's optimisers have kept its state, which took other steps.
        with pytest.raises(ModelFileError, match=r"state/.* is missing: another version"):
            run.restore(checkpoint)
        return
    run.restore(checkpoint)
    assert run.epoch == 2
    again = run.checkpoint().arrays
    assert again.keys() == checkpoint.arrays.keys()
    for name, array in checkpoint.arrays.items():
        np.testing.assert_array_equal(again[name], array)
    parameters = run.run().result()
    predictions = model.predict(parameters, train.user_indices[:50], train.item_indices[:50])
    # Other versions of NumPy and PyTorch, and other processors, round differently. The gradients of
    # biases before a batch norm are rounding and nothing else, of which Adam makes steps as long as any:
    # on another processor the net's end was seen to differ by 0.0065, and without Adam's state by 0.026.
    atol = 0.013 if path.stem == "net" else 1e-4
    assert np.allclose(predictions, expected[path.name], rtol=0, atol=atol)


# What a later version adds to each class that files are made of.
LATER = {
    "solvers/base.py": {"Epoch": "float | None = 0.25", "History": "str = 'later'"},
    "solvers/descent/gradient.py": {"GradientDescent": "float = 0.25"},
    "solvers/descent/rules.py": {"SGD": "float = 0.25"},
    "solvers/descent/schedules.py": {"WarmUp": "float = 0.25", "WarmRestarts": "float = 0.25"},
    "solvers/decay.py": {"WeightDecay": "float = 0.25"},
    "solvers/least_squares/als.py": {"ALS": "float = 0.25"},
    "solvers/least_squares/implicit_als.py": {"ImplicitALS": "float = 0.25"},
    "solvers/least_squares/closed_form.py": {"ClosedForm": "float = 0.25"},
    "solvers/gibbs/gibbs.py": {"Gibbs": "float = 0.25"},
    "solvers/checkpoint.py": {"CheckpointFacts": "float | None = 0.25"},
    "solvers/descent/run.py": {"DescentFacts": "int = 7", "GuardFacts": "int = 7"},
    "recommender/facts.py": {
        "Considered": "float | None = 0.25",
        "Chosen": "float | None = 0.25",
        "Joined": "int = 7",
        "ChosenPreference": "int = 7",
        "TriedPenalty": "int = 7",
        "Facts": "dict[str, float] | None = None",
    },
    "evaluation/ranking.py": {"Ranking": "float | None = None", "Gain": "float | None = None"},
    "evaluation/new_users.py": {"NewUsers": "int = 7"},
    "evaluation/evaluate.py": {"Evaluation": "float | None = 0.25", "HeldOut": "int = 7"},
}

# Run by the later version: old files load there, and all additions are in what it writes.
SCRIPT = """
import json
import sys
from dataclasses import replace
from pathlib import Path
import dotbias as db
from dotbias.evaluation.evaluate import HeldOut
from dotbias.plain import to_plain
from dotbias.solvers.checkpoint import Checkpoint
from dotbias.solvers.registry import solver_from_plain
from tests.golden.make import solvers
targets, *versions = map(Path, sys.argv[1:])
for golden in versions:
    target = targets / golden.name
    target.mkdir()
    for path in golden.glob("*.dotbias"):
        if path.stem != "network":
            rec = db.Recommender.load(path)
            assert rec.facts.history.later == "later"
            assert solver_from_plain(rec.facts.solver).later == 0.25
            if (held := HeldOut.of(rec)) is not None:
                assert (held.later, held.ranking.later) == (7, None)
                assert "ndcg" in str(held)
                held = to_plain(replace(held, ranking=replace(held.ranking, later=0.5)))
            solver = to_plain(solver_from_plain(rec.facts.solver))
            facts = replace(rec.facts, held_out=held, solver=solver, later={"x": 1.0})
            replace(rec, facts=facts).save(target / path.name)
            assert b"later" in (target / path.name).read_bytes()
    expected = json.loads((golden / "expected.json").read_text())
    train = db.Ratings.from_columns(*map(list, zip(*expected["train"])), scale=(0.5, 5.0))
    for path in golden.glob("sigmoid.checkpoint"):
        model, solver = solvers()[path.stem]
        run = solver.start(model, train, seed=5)
        assert run.restore(Checkpoint.load(path)).epoch == 2
        run.checkpoint().save(target / path.name)
"""


def later_version(folder: Path) -> Path:
    """A copy of the sources in which every record and every solver has a field more."""
    source = Path(db.__file__).parent
    shutil.copytree(source, folder / "dotbias", ignore=shutil.ignore_patterns("__pycache__"))
    for name, classes in LATER.items():
        path = folder / "dotbias" / name
        lines = path.read_text().splitlines()
        found = {n.name: n for n in ast.parse("\n".join(lines)).body if isinstance(n, ast.ClassDef)}
        for kind, addition in sorted(classes.items(), key=lambda c: -found[c[0]].lineno):
            last = [node for node in found[kind].body if isinstance(node, ast.AnnAssign)][-1]
            lines.insert(last.end_lineno or 0, f"    later: {addition}")
        path.write_text("\n".join(lines) + "\n")
    return folder


def test_fields_and_settings_may_be_added(tmp_path: Path) -> None:
    """Old files load in the version that has them, and the files of that version load in this one."""
    target = tmp_path / "written"
    target.mkdir()
    environment = os.environ | {"PYTHONPATH": str(later_version(tmp_path))}
    command = [sys.executable, "-c", SCRIPT, str(target), *map(str, VERSIONS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for folder in VERSIONS:
        written = sorted((target / folder.name).glob("*.dotbias"))
        assert len(written) == len([p for p in MODELS if p.parent == folder]) - 1
        for path in written:
            rec, before = db.Recommender.load(path), db.Recommender.load(folder / path.name)
            assert rec.facts.history == before.facts.history
            assert rec.facts.notes == {"later": {"x": 1.0}}
            held = HeldOut.of(rec)
            if held is not None:
                assert held.to_dict() == HeldOut.of(before).to_dict()  # type: ignore[union-attr]


def test_a_setting_of_the_model_that_is_not_known_here_is_refused(tmp_path: Path) -> None:
    """Without it the model would predict something else, and nobody would notice."""
    arrays, metadata = model_file.read(VERSIONS[0] / "als.dotbias")
    metadata["model"]["settings"]["later"] = 0.25
    model_file.write(tmp_path / "m", arrays, metadata)
    with pytest.raises(ModelFileError, match="DotBias has no setting 'later' in this version"):
        db.Recommender.load(tmp_path / "m")
