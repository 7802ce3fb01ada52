"""`dotbias fit` of prepared ratings, as people type it."""

import pytest

import dotbias as db
from dotbias.cli import fitting
from tests.cli.command import run

SHORT = "--epochs 3 --factors 4 --for predict"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("from-disk")
    ratings, _ = db.simulate(n_users=60, n_items=40, n_ratings=1500, seed=0)
    ratings.to_frame().write_csv(path / "ratings.csv")
    db.prepare(path / "ratings.csv", path / "ratings.blocks", test_size=0.3, seed=4)
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_prepared_ratings_are_fitted_measured_and_saved():
    found = run(f"fit ratings.blocks -o m.dotbias {SHORT}")
    held = len(db.PreparedRatings.open("ratings.blocks").whole) - len(
        db.PreparedRatings.open("ratings.blocks").training
    )
    assert f"Held out: {held:,} of 1,500 ratings, seed 4." in found.stdout
    rec = db.Recommender.load("m.dotbias")
    assert rec.rated.nnz == 1500  # fitted again on all
    assert (rec.facts.held_out["test_size"], rec.facts.held_out["split_seed"]) == (0.3, 4)
    assert run("recommend m.dotbias --user 1 -k 3").stdout.count("\n") > 3
    measured = run(f"fit ratings.blocks -o n.dotbias --no-refit --test-size 0.3 {SHORT}")
    assert measured.stdout == found.stdout
    assert db.Recommender.load("n.dotbias").rated.nnz == 1500 - held


def test_workers_give_the_same_file():
    run(f"fit ratings.blocks -o one.dotbias --no-refit {SHORT}")
    run(f"fit ratings.blocks -o two.dotbias --no-refit --cluster processes --workers 2 {SHORT}")
    one, two = (db.Recommender.load(name) for name in ("one.dotbias", "two.dotbias"))
    assert one.facts.solver == two.facts.solver
    for name, array in one.parameters.items():
        assert (two.parameters[name] == array).all()


def test_a_url_is_as_good_as_a_path(folder):
    url = f"file://{folder}/ratings.blocks"
    assert run(f"info {url}").stdout == run("info ratings.blocks").stdout
    run(f"fit ratings.blocks -o one.dotbias {SHORT}")
    shared = run(f"fit {url} -o two.dotbias --cluster processes --workers 2 {SHORT}")
    assert f"{url}: " not in shared.stderr
    one, two = (db.Recommender.load(name) for name in ("one.dotbias", "two.dotbias"))
    for name, array in one.parameters.items():
        assert (two.parameters[name] == array).all()
    assert run("recommend two.dotbias --user 1 -k 3").stdout.count("\n") > 3


def test_what_people_told_a_service_counts_however_large_the_file_is(monkeypatch):
    from dotbias.serving.store.database import Database
    from dotbias.serving.store.store import State, Store

    store = Store(Database("told.db"))
    store.put("9999", [State("1", "rating", 3.0, 0)]).result()
    store.close()
    monkeypatch.setattr(fitting, "_TEXT", 10**6)
    run(f"fit ratings.csv --database told.db -o both.dotbias --memory 1GiB --test-size 0 {SHORT}")
    assert 9999 in db.Recommender.load("both.dotbias").user_vocabulary.ids


def test_what_would_take_too_much_memory_is_prepared_first(monkeypatch):
    monkeypatch.setattr(fitting, "_TEXT", 10**6)
    said = run(f"fit ratings.csv -o large.dotbias --memory 1GiB {SHORT}").stderr
    assert "prepared in large.blocks" in said.replace("\n", " ")
    assert len(db.PreparedRatings.open("large.blocks").whole) == 1500
    assert db.Recommender.load("large.dotbias").rated.nnz == 1500
    few = run(f"fit ratings.csv -o large.dotbias --memory 1GiB --workers 7 {SHORT}").stderr
    assert "which has not changed" in few
    shared = f"--cluster processes --workers 9 --no-refit {SHORT}"
    said = run(f"fit ratings.csv -o large.dotbias --memory 1GiB {shared}").stderr
    assert db.PreparedRatings.open("large.blocks").n_blocks == 8  # of 60 users there can be no more
    assert said.count("Of 9 workers 8 have something to do") == 1
    assert "dotbias prepare --blocks 9" in said.replace("\n", " ")
    refused = run(f"fit ratings.csv --memory 1GiB {SHORT}", code=2).stderr
    assert "dotbias prepare ratings.csv -o ratings.blocks" in " ".join(
        refused.replace("│", " ").split()
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("fit ratings.blocks --test-size 0.2", 2, "settled when these ratings were prepared"),
        ("fit ratings.blocks --new-users 0.1", 2, "settled when these ratings were prepared"),
        ("fit ratings.blocks --kind counts", 2, "give it to `dotbias prepare`"),
        ("fit ratings.blocks --solver gibbs", 1, "read from disk block by block"),
        ("fit ratings.blocks --batch 64", 1, "read from disk block by block"),
        ("fit ratings.blocks --memory 3", 1, "at least 512MiB"),
        ("fit ratings.csv --cluster processes", 1, "workers read prepared ratings"),
        ("fit ratings.blocks --cluster mars", 1, "cluster must be"),
        ("fit memory://nothing", 1, "memory://nothing: not on this machine, and prepared ratings"),
        ("info memory://nothing", 1, "memory://nothing: there are no prepared ratings"),
        ("fit file:///ratings.csv", 1, "pass the path without file://"),
        ("prepare ratings.csv -o s3://bucket/r.blocks", 1, "write it to a path here, then copy it"),
        ("fit ratings.csv -o gs://bucket/m.dotbias", 1, "write it to a path here, then copy it"),
        ("cross-validate ratings.blocks", 1, "read from disk block by block"),
        ("lr-find ratings.blocks", 1, "read from disk block by block"),
        ("race ratings.blocks --rules sgd,adam", 1, "read from disk block by block"),
        ("split ratings.blocks --train a.csv --test b.csv", 1, "read from disk block by block"),
        ("evaluate m.dotbias ratings.blocks", 1, "read from disk block by block"),
    ],
)
def test_mistakes_are_named(words, code, message):
    if words.startswith("evaluate"):
        run(f"fit ratings.csv -o m.dotbias {SHORT}")
    said = run(words, code=code).stderr.replace("│", " ")
    assert message in " ".join(said.split())
