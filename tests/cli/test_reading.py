"""How files are read can be said wherever they are read, and a model knows how its own were."""

import json

import pytest

import dotbias as db

ROWS = [(u, i, 1 + (u * i + i) % 5) for u in range(1, 31) for i in range(1, 21) if (u + 2 * i) % 3]


def text(separator: str, *, header: str = "", user: str = "{}", item: str = "{}") -> str:
    rows = (separator.join([user.format(u), item.format(i), str(r)]) for u, i, r in ROWS)
    return header + "".join(f"{row}\n" for row in rows)


@pytest.fixture(scope="module")
def model(run, workplace):
    (workplace / "texts.csv").write_text(text(",", header="user,item,rating\n", item="{:04d}"))
    done = run("fit", "texts.csv", "-o", "texts.dotbias", "--factors", 2, "--epochs", 2)
    assert "texts.csv: user = user, item = item, rating = rating: 400 ratings" in done.stderr
    return "texts.dotbias"


def test_info_shows_how_the_ratings_were_read(run, model):
    assert "user = user, item = item, rating = rating" in run("info", model).stdout
    reading = db.Recommender.load(model).facts.reading
    assert reading is not None
    assert len(db.read_ratings("texts.csv", **reading)) == 400


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (text("~"), "--separator ~"),
        (text("|", header="a|b|c\n"), "--user-column a --item-column b --rating-column c --header"),
        (text(";", header="x\ny\n"), "--skip-lines 2 --no-header --separator semicolon"),
        (text("\t", user="ж{}").encode("cp1251"), "--encoding cp1251"),
        (text(",", header="!note\n"), "--comment ! --decimal . --quote none --layout long"),
        (text(",").replace(",5\n", ",best\n"), "--rating-as best=5 --missing none"),
        (text(",", item="{},buy") + "7,7,view,x\n", "--where 3=buy --kind ratings"),
    ],
)
def test_every_option_of_the_command_line(run, workplace, content, options):
    (workplace / "odd.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    done = run(f"split odd.txt --train train.csv --test test.csv --force {options}")
    assert "odd.txt: " in done.stderr
    parts = [db.read_ratings(name) for name in ("train.csv", "test.csv")]
    assert sum(map(len, parts)) == 400


def test_files_that_meet_a_model_have_its_ids(run, workplace, model):
    """Ids of digits only were integers, and met none of the model's."""
    (workplace / "new.csv").write_text("user~item~rating\n77~1001~5\n77~1002~4\n")
    done = run("update", model, "new.csv", "-o", "grown.dotbias", "--separator", "~")
    assert "2 new items" in done.stderr
    asked = "--csv", "--separator", "~"
    (workplace / "mine.csv").write_text("item~rating\n1001~5\n1002~4\n")
    assert "rank" in run("recommend", "grown.dotbias", "--for-ratings", "mine.csv", *asked).stdout
    predicted = run("predict", "grown.dotbias", "new.csv", *asked).stdout
    assert predicted.count("both") == 2
    (workplace / "held.csv").write_text("user~item~rating\n5~1001~5\n5~1002~4\n")
    measured = run("evaluate", "grown.dotbias", "held.csv", "--separator", "~", "--json").stdout
    assert json.loads(measured)["cold_rows"] == 0


def test_one_users_equal_ratings_are_ratings_for_a_model_of_ratings(run, workplace, model):
    rows = "".join(f"88,{item:04d},5\n" for item in range(1, 16))
    (workplace / "fives.csv").write_text(f"user,item,rating\n{rows}")
    assert "15 ratings joined" in run("update", model, "fives.csv", "-o", "more.dotbias").stderr


def test_what_cannot_be_an_option_is_named(run):
    done = run(
        "split", "texts.csv", "--train", "a.csv", "--test", "b.csv", "--encoding", "x", code=1
    )
    assert "encoding='x': there is no such encoding" in done.stderr
