"""A fit that was killed goes on from its checkpoints to the same bits, and refuses those of another."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import dotbias as db
from dotbias import model_file
from dotbias.errors import DataError, ModelFileError, SettingError
from dotbias.fitting import checkpoints, fit, preference
from dotbias.plain import to_plain
from dotbias.solvers.base import Epoch, History, Solver
from dotbias.solvers.checkpoint import Checkpoint
from tests.killed import Killed, fill, without_times
from tests.ratings import random_ratings

RATINGS = random_ratings(n_users=40, n_items=25, n=600, seed=0)
MODEL, SOLVER = db.DotBias(n_factors=2), db.ALS(n_iterations=4)
# What a fit of both models goes through: of the second, eight iterations.
EPOCHS = 4 + 8


def content(rec: db.Recommender) -> Any:
    """All that is in a recommender, but for times."""
    parts = [rec, *([] if rec.preference is None else [rec.preference])]
    arrays = [{n: (a.dtype.str, a.tobytes()) for n, a in p.parameters.items()} for p in parts]
    return arrays, [without_times(to_plain(p.facts)) for p in parts]


def fitted(folder: Path | None = None, **how: Any) -> db.Recommender:
    given = {"checkpoint": folder, "checkpoint_every": 0, "purpose": "both", "seed": 2} | how
    if given["purpose"] == "both":  # named, so that it stays whatever lists it makes
        given.setdefault("preference", db.ImplicitALS())
    return db.fit(given.pop("ratings", RATINGS), given.pop("model", MODEL), SOLVER, **given)


@pytest.fixture(scope="module")
def unbroken() -> Any:
    return content(fitted())


@pytest.mark.parametrize("n", range(1, EPOCHS + 1))
def test_killed_after_any_epoch_of_any_of_its_runs(n, kill, unbroken, tmp_path):
    folder = tmp_path / "run"
    kill(n)
    with pytest.raises(Killed):
        fitted(folder)
    assert (folder / "penalty.checkpoint").exists()
    kill(EPOCHS + 1)
    assert content(fitted(folder, resume=True)) == unbroken
    assert list(tmp_path.iterdir()) == []


def test_killed_again_and_again(kill, unbroken, tmp_path):
    """After one more epoch each time, of which the last has no checkpoint yet."""
    for _ in range(30):
        kill(2)
        try:
            rec = fitted(tmp_path / "run", resume=True)
            break
        except Killed:
            pass
    assert content(rec) == unbroken


def test_killed_when_all_is_done(unbroken, tmp_path, monkeypatch):
    """Before the folder was removed, and as the last checkpoint came into its place."""
    with monkeypatch.context() as during:
        during.setattr(checkpoints.Checkpoints, "remove", lambda _: None)
        fitted(tmp_path / "run")
    (tmp_path / "run" / ".dotbias-0123456789abcdef.part" / "new").mkdir(parents=True)
    assert content(fitted(tmp_path / "run", resume=True)) == unbroken
    assert list(tmp_path.iterdir()) == []


def test_what_was_chosen_is_not_chosen_again(kill, unbroken, tmp_path, monkeypatch, caplog):
    kill(1)
    with caplog.at_level("INFO", "dotbias"), pytest.raises(Killed):
        fitted(tmp_path / "run")
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Lists: ")]
    monkeypatch.setattr(preference, "_walk", None)
    kill(99)
    caplog.clear()
    with caplog.at_level("INFO", "dotbias"):
        assert content(fitted(tmp_path / "run", resume=True)) == unbroken
    assert said == [r.getMessage() for r in caplog.records if r.getMessage().startswith("Lists: ")]


def test_resume_begins_where_there_is_nothing(unbroken, tmp_path, caplog):
    with caplog.at_level("INFO", "dotbias"):
        assert content(fitted(tmp_path / "run", resume=True)) == unbroken
    assert f"There is no checkpoint in {tmp_path / 'run'}" in caplog.text


def test_ctrl_c_leaves_the_checkpoints_and_says_so(kill, unbroken, tmp_path, caplog):
    kill(2, KeyboardInterrupt)
    rec = fitted(tmp_path / "run", checkpoint_every=99)
    assert (rec.interrupted, rec.preference, len(rec.history.epochs)) == (True, None, 2)
    assert "stay: resume=True (--resume) goes on" in caplog.text
    kill(99)
    assert content(fitted(tmp_path / "run", resume=True)) == unbroken


def test_a_second_ctrl_c_within_an_epoch_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    """The half of an epoch that is done then is none that anything could go on from."""
    kind = type(SOLVER.start(MODEL, RATINGS))
    whole, path = kind.one_epoch, tmp_path / "run" / "ratings.checkpoint"

    def twice(loop: Any) -> Any:
        if loop.epoch == 2:
            loop.users.rows[:] = 0
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return whole(loop)

    unbroken = content(fitted(purpose="predict"))
    monkeypatch.setattr(kind, "one_epoch", twice)
    assert fitted(tmp_path / "run", purpose="predict").interrupted
    assert len(Checkpoint.load(path).facts["history"]["epochs"]) == 2
    monkeypatch.setattr(kind, "one_epoch", whole)
    assert content(fitted(tmp_path / "run", purpose="predict", resume=True)) == unbroken


@pytest.mark.parametrize("n", [2, 5])
def test_a_fit_to_features_goes_on_with_them(n, kill, tmp_path):
    ids = RATINGS.user_vocabulary.ids
    told = RATINGS.with_features(users=pl.DataFrame({"id": ids, "size": range(len(ids))}))
    gibbs = db.Gibbs(n_samples=6, burn_in=2, n_factors=2, keep_samples=2)

    def fit_told(ratings: Any, **how: Any) -> db.Recommender:
        return db.fit(ratings, MODEL, gibbs, purpose="predict", seed=2, checkpoint_every=0, **how)

    kill(99)
    wanted = content(fit_told(told))
    kill(n)
    with pytest.raises(Killed):
        fit_told(told, checkpoint=tmp_path / "run")
    kill(99)
    with pytest.raises(SettingError, match="of another run: its ratings"):
        fit_told(RATINGS, checkpoint=tmp_path / "run", resume=True)
    rec = fit_told(told, checkpoint=tmp_path / "run", resume=True)
    assert content(rec) == wanted
    assert rec.facts.features["user"].names == ("size",)


# What is refused.


@pytest.fixture
def begun(kill, tmp_path) -> Path:
    """The checkpoints of a fit that was killed in its third epoch."""
    kill(3)
    with pytest.raises(Killed):
        fitted(tmp_path / "run")
    kill(99)
    return tmp_path / "run"


def names(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_checkpoints_that_are_there_are_not_written_over(begun):
    before = names(begun)
    with pytest.raises(SettingError, match=r"resume=True \(--resume\), or delete them"):
        fitted(begun)
    assert names(begun) == before


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"seed": 3}, "seed is 2, not 3"),
        ({"ratings": RATINGS.rows(np.arange(599))}, "ratings is 600 ratings"),
        ({"preference": db.ImplicitALS(liking=0.5)}, "solver is ImplicitALS"),
        ({"budget": 99}, "budget is 30.0, not 99"),
        ({"preference": db.MostRated(), "model": db.DotBias(n_factors=3)}, "model is DotBias"),
    ],
)
def test_checkpoints_of_another_fit_are_refused_by_name(begun, how, what):
    before = names(begun)
    with pytest.raises(SettingError, match=rf"of another run: its {what}.*or delete this one"):
        fitted(begun, resume=True, **how)
    assert names(begun) == before


@pytest.mark.parametrize("name", ["ratings", "penalty"])
def test_a_damaged_checkpoint_is_refused(begun, name):
    path = begun / f"{name}.checkpoint"
    content = path.read_bytes()
    for damaged in (content[:-9], content[:-1] + bytes([content[-1] ^ 1]), b"", b"x" * 99):
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match=rf"{path}.*Delete the file, and this run begins"):
            fitted(begun, resume=True)
        assert path.read_bytes() == damaged
    path.unlink()
    fitted(begun, resume=True)


def test_a_forged_choice_is_refused(begun):
    path = begun / "penalty.checkpoint"
    arrays, facts = model_file.read(path, "dotbias checkpoint")
    for field, reason in (("result", "facts.result must be"), ("run", "facts.run must be")):
        model_file.write(path, arrays, facts | {field: 3}, "dotbias checkpoint")
        with pytest.raises(ModelFileError, match=reason):
            fitted(begun, resume=True)


def test_a_full_disk_stops_the_fit_and_leaves_the_last_checkpoint(begun, unbroken):
    """The process may for a moment write no file as large as a checkpoint."""
    resource = pytest.importorskip("resource")
    before = names(begun)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(
            ModelFileError, match=r"cannot write .*the one before it is whole: when"
        ):
            fitted(begun, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(begun) == before
    assert content(fitted(begun, resume=True)) == unbroken


@pytest.mark.parametrize("cluster", [None, "processes"])
def test_a_full_disk_stops_a_fit_from_disk(cluster, small_disk, tmp_path, monkeypatch):
    prepared = db.prepare(RATINGS, tmp_path / "r.blocks")
    solver = db.GradientDescent(n_epochs=4)
    unbroken = content(db.fit(prepared, MODEL, solver))
    kept: dict[str, Any] = {"checkpoint": small_disk / "run", "checkpoint_every": 0}
    kept |= {"cluster": cluster} if cluster else {}

    def after(epoch: Epoch, _solver: Solver) -> str:
        if epoch.epoch == 2:
            fill(small_disk)
        return ""

    monkeypatch.setattr(fit, "_describe", after)
    said = r"cannot write .*No space left.*the one before it is whole"
    with pytest.raises(ModelFileError, match=said):
        db.fit(prepared, MODEL, solver, **kept)
    monkeypatch.undo()
    left = small_disk / "run" / "ratings.checkpoint"
    assert len(Checkpoint.load(left).facts["history"]["epochs"]) == 1
    (small_disk / "other").unlink()
    assert content(db.fit(prepared, MODEL, solver, resume=True, **kept)) == unbroken
    assert list(small_disk.iterdir()) == []


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for place, reason in (("file", "a file is there"), ("no/where", "No such file")):
        with pytest.raises(DataError, match=f"cannot keep checkpoints in the folder .*{reason}"):
            fitted(tmp_path / place)
    with pytest.raises(DataError, match="cannot keep checkpoints in the folder"):
        fitted("a\0b")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="checkpoint=5: it must be the path of a folder"):
        fitted(5)  # type: ignore[arg-type]
    assert (tmp_path / "file").read_text() == "mine"


def test_files_of_the_users_own_stay(tmp_path, unbroken):
    (tmp_path / "half-way.checkpoint").write_text("mine")
    assert content(fitted(tmp_path)) == unbroken
    assert names(tmp_path) == {"half-way.checkpoint": b"mine"}
    (tmp_path / "ratings.checkpoint").write_text("mine too")
    with pytest.raises(SettingError, match="there are checkpoints"):
        fitted(tmp_path)
    with pytest.raises(ModelFileError, match="no checkpoint"):
        fitted(tmp_path, resume=True)
    assert (tmp_path / "ratings.checkpoint").read_text() == "mine too"


@pytest.mark.parametrize("every", [-1, float("nan"), float("inf"), "1m", None, True])
def test_a_time_that_is_none_is_refused(every, tmp_path):
    with pytest.raises(SettingError, match=r"checkpoint_every=.* number of seconds, at least 0"):
        fitted(tmp_path / "run", checkpoint_every=every)
    assert list(tmp_path.iterdir()) == []


def test_resume_needs_a_folder():
    with pytest.raises(SettingError, match="name the folder of the checkpoints"):
        fitted(resume=True)


def test_a_solver_of_ones_own_that_cannot_be_stopped_is_refused(tmp_path):
    class Slow(Solver):
        """Goes on for long, in its own way."""

        n_epochs = 9

        def fit(self, model: Any, ratings: Any, **_: Any) -> Any:
            return db.ALS(n_iterations=1).fit(model, ratings)[0], History()

    assert db.fit(RATINGS, MODEL, Slow()).history.epochs == []
    with pytest.raises(SettingError, match="Slow leaves no checkpoints, as it is no IteratingSol"):
        db.fit(RATINGS, MODEL, Slow(), checkpoint=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_closed_forms_have_nothing_to_keep(tmp_path):
    rec = db.fit(RATINGS, db.Baseline(), preference=db.MostRated(), checkpoint=tmp_path / "run")
    assert content(rec) == content(db.fit(RATINGS, db.Baseline(), preference=db.MostRated()))
    assert list(tmp_path.iterdir()) == []


def test_threads_without_locks_leave_checkpoints_too(kill, tmp_path):
    """Whose bits are no promise, but with one thread."""
    solver = db.GradientDescent(n_epochs=4, parallel="hogwild", n_threads=1)
    unbroken = content(db.fit(RATINGS, MODEL, solver))
    how: dict[str, Any] = {"checkpoint": tmp_path / "run", "checkpoint_every": 0}
    kill(3)
    with pytest.raises(Killed):
        db.fit(RATINGS, MODEL, solver, **how)
    kill(99)
    assert content(db.fit(RATINGS, MODEL, solver, resume=True, **how)) == unbroken


def test_checkpoints_are_so_far_apart(monkeypatch, tmp_path):
    """And there is one at the end."""
    now, saved = [0.0], []
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        checkpoints, "_save", lambda kept, _: saved.append(len(kept.facts["history"]["epochs"]))
    )

    def tick(_epoch: Epoch, _solver: Solver) -> str:
        now[0] += 1
        return ""

    monkeypatch.setattr(fit, "_describe", tick)
    solver = db.ALS(n_iterations=10)
    db.fit(RATINGS, MODEL, solver, checkpoint=tmp_path / "run", checkpoint_every=3)
    assert saved == [3, 6, 9, 10]


# Killed from outside.

# Children are forked before anything has used threads: so each begins at once, with all threads.
SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import dotbias as db
from dotbias import model_file
from dotbias.fitting import fit
from dotbias.solvers.gibbs import gibbs
from dotbias.solvers.least_squares import implicit_als
folder = Path(sys.argv[1])
ratings, _ = db.simulate(200, 150, 6_000, seed=1)

def child(name, **how):
    number = os.fork()
    if number:
        return number
    try:
        solver = db.Gibbs(n_samples=200, burn_in=40, n_factors=4)
        ranking = db.ImplicitALS(weight_decay=0.05, n_iterations=20)
        rec = db.fit(ratings, db.DotBias(), solver, preference=ranking, **how)
        second = {"second/" + n: a for n, a in rec.preference.parameters.items()}
        model_file.write(folder / name, rec.parameters | second, {})
    finally:
        os._exit(0)

os.waitpid(child("compiled"), 0)
began = time.perf_counter()
os.waitpid(child("whole"), 0)
seconds = time.perf_counter() - began
kept = dict(checkpoint=folder / "run", checkpoint_every=0.01, resume=True)
rng, left = random.Random(0), set()
for _ in range(5):
    number = child("broken", **kept)
    time.sleep((0.4 + 0.5 * rng.random()) * seconds)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    left |= {path.name for path in (folder / "run").glob("*.checkpoint")}
os.waitpid(child("broken", **kept), 0)
print(*sorted(left))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are killed here that are forked")
def test_killed_by_the_system_at_random_moments(tmp_path):
    """With ``SIGKILL``, which no process can answer (``benchmarks/kills.py`` does so to commands)."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "ratings.checkpoint" in done.stdout, done.stderr
    assert (tmp_path / "broken").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "compiled", "whole"]
