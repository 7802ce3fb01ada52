"""`dotbias prepare`, as people type it."""

import json

import pytest

import dotbias as db
from tests.cli.command import run


@pytest.fixture
def ratings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("simulate -o ratings.csv --titles movies.csv --users 60 --items 40 --ratings 1500")
    return "ratings.csv"


def test_ratings_are_prepared_once_and_described(ratings):
    said = run(f"prepare {ratings} -o ratings.blocks --test-size 0.3 --seed 4").stderr
    assert "ratings.blocks: 1,500 ratings by 60 users of 40 items" in said
    assert "Next: dotbias fit ratings.blocks -o ratings.dotbias" in said
    prepared = db.PreparedRatings.open("ratings.blocks")
    assert prepared.manifest.test_size == 0.3
    assert prepared.whole.item_vocabulary.n_titles == 40
    again = run(f"prepare {ratings} -o ratings.blocks --test-size 0.3 --seed 4").stderr
    assert "prepared already from ratings.csv, which has not changed" in again
    forced = run(f"prepare {ratings} -o ratings.blocks --test-size 0.3 --seed 4 --force").stderr
    assert "prepared already" not in forced
    shown = run("info ratings.blocks").stdout
    for words in ("prepared ratings  1,500", "userId", "40 titles known", "share 0.3, seed 4"):
        assert words in shown or words == "userId"
    told = json.loads(run("info ratings.blocks --json").stdout)
    assert told["whole"]["n"] == 1500
    assert told["reading"]["user"] == "user"


def test_blocks_are_those_that_are_asked_for(ratings):
    assert "in 5 x 5 blocks" in run(f"prepare {ratings} -o x.blocks --blocks 5").stderr
    assert json.loads(run("info x.blocks --json").stdout)["n_blocks"] == 5
    said = run(f"prepare {ratings} -o x.blocks").stderr
    assert "prepared again, in 8 blocks on a side in the place of 5" in said


def test_reading_options_hold(ratings):
    run(f"prepare {ratings} -o x.blocks --user-ids text --kind counts --titles none")
    whole = db.PreparedRatings.open("x.blocks").whole
    assert whole.kind == "counts"
    assert whole.user_vocabulary.id_type == "text"
    assert whole.item_vocabulary.n_titles == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prepare ratings.csv -o mine", "holds more than a folder of prepared ratings"),
        ("prepare ratings.csv -o movies.csv --force", "is no folder"),
        ("prepare mine -o mine --force", "it is what is read: name another folder"),
        ("prepare ratings.csv -o ratings.csv --force", "it is what is read: name another folder"),
        ("prepare mine/diary.csv -o mine --force", "it is what is read: name another folder"),
        ("prepare ratings.csv -o /dev/x.blocks --force", "belongs to the system"),
        ("prepare mine -o mine/x.blocks", "it lies in mine, which is read"),
        ("prepare nothing.csv -o x.blocks", "no such file"),
        ("prepare ratings.csv -o x.blocks --memory 3", "memory='3'"),
        ("prepare ratings.csv -o x.blocks --test-size 1", "test_size=1.0"),
        ("prepare ratings.csv -o x.blocks --blocks 9", "at most 8 blocks, one for 8 users"),
        ("prepare ratings.csv -o no/x.blocks", "there is no folder no"),
        ("prepare ratings.csv -o x.blocks --rating-column stars", "stars"),
        ("info mine", "mine"),
    ],
)
@pytest.mark.usefixtures("ratings")
def test_mistakes_are_named(tmp_path, line, said):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.csv").write_text("user,item,rating\n1,2,3\n")
    done = run(line, code=1)
    assert said in done.stderr.replace("\n", " ")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["mine", "movies.csv", "ratings.csv"]


def test_a_damaged_folder_is_named_by_info(ratings, tmp_path):
    run(f"prepare {ratings} -o x.blocks")
    (tmp_path / "x.blocks" / "held.npy").write_bytes(b"")
    assert "held.npy" in run("info x.blocks", code=1).stderr
