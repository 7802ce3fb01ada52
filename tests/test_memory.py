"""What does not fit into the memory of a machine is refused with what it would take."""

import pytest

import dotbias as db
from dotbias import memory
from dotbias.errors import SettingError
from dotbias.insight.neighbours import neighbour_stability
from dotbias.insight.spectrum import eigenpairs, spectral_density
from dotbias.solvers.descent.schedules import WarmRestarts
from dotbias.solvers.gibbs.convergence import convergence
from dotbias.tuning.surfaces import surface_race
from tests.cli.command import fails

RESTARTS = WarmRestarts(first_cycle=1, cycle_mult=1)


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    """Of 10 MB."""
    monkeypatch.setattr(memory, "there_is", lambda: 10_000_000)


@pytest.fixture(scope="module")
def ratings():
    return db.simulate(n_users=60, n_items=40, n_ratings=900, seed=1)[0]


@pytest.mark.parametrize(
    ("model", "solver", "message"),
    [
        (db.DotBias(n_factors=100_000), None, r"n_factors=100000\) would take 40 MB"),
        (db.DotBias(n_factors=2000), db.ALS(), "n_factors=2000 would take 32.3 MB"),
        (db.DotProduct(n_factors=2000), None, r"n_svd_factors=0\) would take 32.8 MB"),
        (None, db.Gibbs(n_factors=2000, n_samples=4, burn_in=1), "n_factors=2000 would take 3"),
    ],
)
def test_a_fit_says_what_it_would_take(ratings, model, solver, message):
    with pytest.raises(SettingError, match=f"{message}.* of memory, and this machine has 10 MB"):
        db.fit(ratings, model, solver)


def test_the_svd_of_preferences_is_counted_before_the_iterations(monkeypatch, ratings):
    """Its tables of 40 columns, of 60 users and 40 items, twice; parameters alone would fit."""
    monkeypatch.setattr(memory, "there_is", lambda: 20_000)
    begun = []
    with pytest.raises(SettingError, match="an SVD with n_svd_factors=40 would take 32 kB"):
        db.ImplicitALS().fit(
            db.DotProduct(n_factors=2, n_svd_factors=40), ratings, on_epoch=begun.append
        )
    assert not begun


def test_what_fits_is_fitted(ratings):
    for solver in (db.GradientDescent(n_epochs=1), db.ALS(n_iterations=1)):
        assert db.fit(ratings, db.DotBias(n_factors=64), solver).model.n_factors == 64


def test_the_laboratory_says_what_it_would_take():
    with pytest.raises(SettingError, match=r"simulate\(n_users=1000000000000, .* 48 TB"):
        db.simulate(n_users=10**12, n_items=10, n_ratings=100)
    with pytest.raises(SettingError, match="n_steps=1000000 would take"):
        surface_race("beale", [db.SGD()], n_steps=10**6)
    assert "--epochs 9999999 --points 50 would take" in fails("schedule one-cycle --epochs 9999999")


ABSURD = 10**12


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda r: convergence(db.Gibbs(n_samples=ABSURD), r),
            "2 chains of 999,999,999,960 samples",
        ),
        (
            lambda r: db.fit(
                r, db.DotBias(n_factors=2), db.GradientDescent(n_epochs=ABSURD, schedule=RESTARTS)
            ),
            "1,000,000,000,000 epochs of WarmRestarts",
        ),
        (lambda _: spectral_density(lambda v: v, 5000, n_steps=ABSURD), "n_steps=5,000 of Lanczos"),
        (lambda _: eigenpairs(lambda v: v, 5000, 4000), "k=4,000 eigenvalues"),
        (
            lambda r: neighbour_stability(
                db.fit(r, db.DotBias(n_factors=2), db.ALS(n_iterations=1)), 1, n_fits=ABSURD
            ),
            "n_fits=1,000,000,000,000",
        ),
    ],
    ids=["chains", "cycles", "Lanczos", "eigenvalues", "fits"],
)
def test_absurd_numbers_of_steps_say_what_they_would_take(ratings, ask, message):
    with pytest.raises(SettingError, match=f"{message}.* of memory, and this machine has 10 MB"):
        ask(ratings)


def test_absurd_numbers_that_take_no_memory_are_none_of_its_business(ratings):
    """They were refused as arrays that are too large."""
    train, test = ratings.split(0.3)
    rec = db.fit(
        train, db.DotBias(n_factors=2), db.Gibbs(n_samples=9, burn_in=2, keep_samples=ABSURD)
    )
    assert rec.parameters["user_samples"].shape[0] == 7
    figures = db.evaluate(rec, test, k=ABSURD).to_dict()
    assert figures["ranking"]["k"] == ABSURD


def test_numbers_of_bytes_are_readable():
    shown = [memory.in_units(n) for n in (0, 999, 1000, 1_234_567, 999_600, 10**40)]
    assert shown == ["0 bytes", "999 bytes", "1 kB", "1.23 MB", "1 MB", "1e+22 EB"]


def test_sizes_that_people_write(monkeypatch):
    sizes = ["536870912", 2**30, "1GiB", "1 gib", "1.5GB", "4096MB", "0.5 TiB"]
    read = [memory.allowed(size) for size in sizes]
    assert read == [2**29, 2**30, 2**30, 2**30, 15 * 10**8, 4096 * 10**6, 2**39]
    for wrong in ("", "x", "-1GiB", "511MiB", "3 apples", "1e9", 0, "GiB"):
        with pytest.raises(SettingError, match="memory="):
            memory.allowed(wrong)
    for has, half in ((2**34, 2**33), (2**20, 2**29), (None, 2**31)):
        monkeypatch.setattr(memory, "there_is", lambda has=has: has)
        assert memory.allowed(None) == half


@pytest.mark.parametrize(
    ("groups", "file", "said", "expected"),
    [
        ("0::/a/b", "a/b/memory.max", "3000", [3000]),
        ("0::/a/b", "a/memory.max", "4000", [4000]),  # of the group around it
        ("0::/a/b", "memory.max", "5000", [5000]),  # in a container, whose group it is
        ("0::/", "memory.max", "max", []),
        ("4:memory:/x", "memory/x/memory.limit_in_bytes", "6000", [6000]),
        ("4:cpu,memory:/x", "memory/memory.limit_in_bytes", "7000", [7000]),
        ("4:cpu:/x", "memory/x/memory.limit_in_bytes", "8000", []),
    ],
)
def test_the_memory_of_a_container_is_what_there_is(tmp_path, groups, file, said, expected):
    path = tmp_path / "mounted" / file
    path.parent.mkdir(parents=True)
    path.write_text(said + "\n")
    (tmp_path / "groups").write_text(f"9:name=systemd:/\n{groups}\n")
    found = memory._limits(tmp_path / "groups", tmp_path / "mounted")
    assert list(found) == expected
    assert not list(memory._limits(tmp_path / "none", tmp_path))


def test_a_machine_that_does_not_say_what_it_has_refuses_nothing(monkeypatch):
    monkeypatch.setattr(memory, "there_is", lambda: None)
    memory.check_memory(1e30, "anything")


def test_running_out_of_memory_is_a_message(monkeypatch, tmp_path):
    """As it happens where the system grants no more, though the machine has it."""

    def full(*_, **__):
        raise MemoryError("Unable to allocate 37.3 GiB for an array with shape (100000, 100000)")

    monkeypatch.setattr("dotbias.data.simulate.simulate", full)
    said = fails(f"simulate -o {tmp_path}/ratings.csv")
    assert "out of memory (Unable to allocate 37.3 GiB" in said
