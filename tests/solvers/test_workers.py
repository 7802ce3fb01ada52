"""Workers, processes and actors of Ray, leave the bits of one process, and survive the loss of one."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dotbias as db
from dotbias.data.stripes import OTHER
from dotbias.errors import SettingError
from dotbias.solvers.checkpoint import Checkpoint
from dotbias.solvers.descent.rules import RULES
from dotbias.solvers.workers import processes
from dotbias.solvers.workers.blocks import Field, Plan

MODEL = db.DotBias(n_factors=6)
DESCENT = db.GradientDescent(n_epochs=3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    ratings, _ = db.simulate(n_users=300, n_items=120, n_ratings=9_000, seed=1)
    path = tmp_path_factory.mktemp("workers") / "ratings.blocks"
    return db.prepare(ratings, path, test_size=0.1, seed=2)


@pytest.fixture(scope="module")
def ray():
    module = pytest.importorskip("ray")
    module.init("local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield module
    module.shutdown()


def same(found, expected):
    (parameters, history), (wanted, told) = found, expected
    assert [e.train_rmse for e in history.epochs] == [e.train_rmse for e in told.epochs]
    assert parameters.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(parameters[name], array, err_msg=name)


def workers_of(parent: int) -> set[int]:
    """Worker processes that a process has started."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if "dotbias.solvers.workers.serve" in line and _parent(int(folder.name)) == parent:
                found.add(int(folder.name))
    return found


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam", "rowadagrad", "schedulefreesgd"])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_processes_leave_the_same_bits(prepared, rule, n_workers):
    alone = replace(DESCENT, rule=RULES[rule]())
    shared = replace(alone, cluster="processes", n_workers=n_workers)
    same(shared.fit(MODEL, prepared.training, seed=3), alone.fit(MODEL, prepared.training, seed=3))
    assert not workers_of(os.getpid())


@pytest.mark.parametrize("rule", [db.DoG(), db.Prodigy()])
def test_a_rule_that_looks_at_groups_is_refused(prepared, rule):
    shared = replace(DESCENT, rule=rule, cluster="processes")
    with pytest.raises(
        SettingError, match=r"looks at whole groups, .*: leave cluster out, or take"
    ):
        shared.fit(MODEL, prepared.training)


@pytest.mark.parametrize(
    "solver",
    [
        db.ALS(n_iterations=2),
        db.ALS(n_iterations=2, n_steps=3),
        db.ImplicitALS(n_iterations=2),
    ],
    ids=["exact", "stepwise", "preferences"],
)
def test_least_squares_on_processes_leave_the_same_bits(prepared, solver):
    model = db.DotProduct(n_factors=6) if isinstance(solver, db.ImplicitALS) else MODEL
    shared = replace(solver, cluster="processes", n_workers=2)
    found = shared.fit(model, prepared.training, seed=3)
    expected = solver.fit(model, prepared.training, seed=3)
    same(found, expected)
    assert found[1].half_steps == expected[1].half_steps


@pytest.mark.usefixtures("ray")
def test_actors_leave_the_same_bits(prepared):
    alone = replace(DESCENT, rule=db.Adam())
    for n_workers in (1, 2):
        shared = replace(alone, cluster="ray", n_workers=n_workers)
        found = shared.fit(MODEL, prepared.training, seed=3)
        same(found, alone.fit(MODEL, prepared.training, seed=3))
    alone = db.ALS(n_iterations=2, biases="held")
    found = replace(alone, cluster="ray", n_workers=2).fit(MODEL, prepared.training, seed=3)
    same(found, alone.fit(MODEL, prepared.training, seed=3))


@pytest.mark.usefixtures("ray")
def test_actors_read_what_lies_elsewhere(prepared):
    training = db.PreparedRatings.open(f"file://{prepared.folder}").training
    shared = replace(DESCENT, cluster="ray", n_workers=2)
    same(shared.fit(MODEL, training, seed=3), DESCENT.fit(MODEL, prepared.training, seed=3))


@pytest.mark.parametrize("cluster", ["processes", "ray"])
def test_more_workers_than_blocks_are_named_once(prepared, cluster, request, caplog):
    if cluster == "ray":
        request.getfixturevalue("ray")
    n_workers = {"processes": 11, "ray": 12}[cluster]
    solver = replace(DESCENT, n_epochs=1, cluster=cluster, n_workers=n_workers)
    for _ in range(2):
        run = solver.start(MODEL, prepared.training, seed=3)
        assert run._pass.exchange.n_workers == 8
    said = f"Of {n_workers} workers 8 have something to do"
    assert caplog.text.count(said) == 1
    assert f"dotbias prepare --blocks {n_workers}" in caplog.text


@pytest.mark.parametrize("cluster", ["processes", "ray"])
def test_a_worker_that_is_killed_costs_an_epoch_and_no_bit(prepared, cluster, request, caplog):
    if cluster == "ray":
        request.getfixturevalue("ray")
    solver = replace(DESCENT, n_epochs=6, cluster=cluster, n_workers=2)
    run = solver.start(MODEL, prepared.training, seed=3)
    killed = []

    def after(entry):
        if entry.epoch == 3 and not killed:
            killed.extend(run._pass.pids)
            threading.Timer(0.01, os.kill, (killed[0], signal.SIGKILL)).start()
            time.sleep(0.05)

    run.run(on_epoch=after)
    assert len(killed) == 2
    assert "all begin again: 3 epochs are done" in caplog.text
    expected = replace(DESCENT, n_epochs=6).fit(MODEL, prepared.training, seed=3)
    same((run.result(), run.history), expected)


def test_what_a_command_prints_is_not_mixed_with_what_ray_says(prepared):
    pytest.importorskip("ray")
    code = f"""
        import os, signal
        import dotbias as db
        prepared = db.PreparedRatings.open({str(prepared.folder)!r})
        solver = db.GradientDescent(n_epochs=4, cluster="ray", n_workers=2)
        run = solver.start(db.DotBias(n_factors=4), prepared.training)
        lost = []
        def after(entry):
            if entry.epoch == 2 and not lost:
                lost.append(run._pass.pids[0])
                os.kill(lost[0], signal.SIGKILL)
        print(run.run(on_epoch=after).epoch)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "begin again" in done.stderr
    assert done.stdout == "4\n"


def test_workers_do_not_outlive_a_process_that_is_killed(prepared, tmp_path):
    code = f"""
        import dotbias as db
        prepared = db.PreparedRatings.open({str(prepared.folder)!r})
        solver = db.GradientDescent(n_epochs=100_000, cluster="processes")
        model = db.DotBias(n_factors=4)
        solver.fit(model, prepared.training, on_epoch=lambda epoch: print("on", flush=True))
    """
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(code))  # without a guard around what it does
    run = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "on\n"
    workers = workers_of(run.pid)
    assert len(workers) == 2
    run.kill()
    run.wait()
    run.stdout.close()
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_a_fit_goes_on_elsewhere_from_a_checkpoint(prepared, tmp_path):
    solver = replace(DESCENT, n_epochs=5)
    begun = replace(solver, cluster="processes").start(MODEL, prepared.training, seed=3).run(2)
    begun.checkpoint().save(tmp_path / "run.checkpoint")
    run = solver.start(MODEL, prepared.training, seed=3)
    run.restore(Checkpoint.load(tmp_path / "run.checkpoint")).run()
    same((run.result(), run.history), solver.fit(MODEL, prepared.training, seed=3))


def test_a_file_that_is_damaged_is_named_and_not_tried_again(tmp_path, caplog):
    ratings, _ = db.simulate(n_users=100, n_items=50, n_ratings=2_000, seed=1)
    prepared = db.prepare(ratings, tmp_path / "r.blocks")
    values = tmp_path / "r.blocks" / "values.npy"
    changed = bytearray(values.read_bytes())
    changed[-1] ^= 1
    values.write_bytes(changed)
    with pytest.raises(db.DataError, match=r"worker 1: .*values\.npy: the checksum"):
        replace(DESCENT, cluster="processes").fit(MODEL, prepared.training)
    assert "begin again" not in caplog.text
    assert not workers_of(os.getpid())


def test_workers_that_cannot_begin_are_ended(tmp_path):
    ratings, _ = db.simulate(n_users=100, n_items=50, n_ratings=2_000, seed=1)
    prepared = db.prepare(ratings, tmp_path / "r.blocks")
    run = replace(DESCENT, cluster="processes").start(MODEL, prepared.training)
    (tmp_path / "r.blocks").rename(tmp_path / "elsewhere")
    with pytest.raises(db.DataError, match=r"worker 0: .*there are no prepared ratings"):
        run.run()
    assert not workers_of(os.getpid())


def test_shared_memory_that_is_too_small_is_refused(prepared, small_disk, monkeypatch):
    """And is no signal that ends the process."""
    monkeypatch.setattr(processes, "_SHARED", str(small_disk))
    model = db.DotBias(n_factors=200)
    with pytest.raises(
        SettingError, match=rf"take \d+ kB of shared memory, and {small_disk} has no"
    ):
        replace(DESCENT, cluster="processes").fit(model, prepared.training)
    assert not workers_of(os.getpid())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cluster": "mars"}, "cluster='mars': cluster must be"),
        ({"cluster": "processes", "gradient_noise": 0.1}, "without noise"),
        ({"cluster": "processes", "batch_size": 8}, "one at a time"),
    ],
)
def test_what_workers_cannot_do_is_refused(prepared, change, message):
    with pytest.raises(SettingError, match=message):
        replace(DESCENT, **change).fit(MODEL, prepared.training)


def test_ratings_in_memory_are_not_shared_out():
    ratings, _ = db.simulate(n_users=30, n_items=20, n_ratings=300, seed=1)
    with pytest.raises(SettingError, match="workers read prepared ratings"):
        db.fit(ratings, solver="sgd", cluster="processes")
    with pytest.raises(SettingError, match="Gibbs does not share its work out"):
        db.fit(ratings, solver="gibbs", cluster="processes")


def test_a_file_does_not_say_where_it_was_fitted(prepared):
    rec = db.fit(prepared, MODEL, DESCENT, cluster="processes", n_workers=1)
    assert rec.facts.solver["GradientDescent"]["cluster"] is None


def test_blocks_lie_side_by_side_in_one_memory():
    fields = [Field("factors", (), 3), Field("state", (2,), 3)]
    edges = {"user": [0, 2, 2, 5], "item": [0, 1, 3, 4]}
    plan = Plan(dict.fromkeys(OTHER, fields), edges, "float32")
    assert Plan.from_plain(plan.to_plain()) == plan
    views = plan.views(np.zeros(plan.n_bytes, np.uint8))
    assert len(views) == 6
    for number, block in enumerate(views.values()):
        for array in block.values():
            assert array.flags.c_contiguous
            array[...] = number + 1
    for number, ((side, at), block) in enumerate(views.items()):
        assert block["factors"].shape == (edges[side][at + 1] - edges[side][at], 3)
        assert all((array == number + 1).all() for array in block.values())
