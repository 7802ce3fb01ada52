"""Where commands read ratings from, and the titles beside them."""

import gzip

import pytest

from tests.cli.command import fails

FIT = "--model", "baseline", "--test-size", 0


@pytest.fixture(scope="module")
def ratings(run, workplace):
    run("simulate", "-o", "ratings.csv", "--users", 30, "--items", 20, "--ratings", 300)
    titles = "item,title\n" + "".join(f"{k},Film {k}\n" for k in range(1, 11))
    (workplace / "movies.csv").write_text(titles)
    return workplace / "ratings.csv"


def test_sources_that_cannot_be_read_are_one_message(workplace):
    assert fails("fit ''").startswith("the path is empty")
    assert fails(f"fit {'x' * 300}").endswith("cannot be read (File name too long)")
    (workplace / "bomb.csv.gz").write_bytes(gzip.compress(bytes(5_000_000)))
    assert "--max-unpacked" in fails("fit bomb.csv.gz")
    assert "max_unpacked='x'" in fails("fit bomb.csv.gz --max-unpacked x")


def test_titles_beside_the_ratings_are_counted_and_can_be_left_out(run, ratings):
    done = run("fit", ratings, "-o", "titled.dotbias", *FIT)
    assert "titles of 10 of 20 items" in done.stderr
    assert "20 (10 with titles)" in run("info", "titled.dotbias").stdout
    run("fit", ratings, "-o", "bare.dotbias", "--titles", "none", *FIT)
    assert "20 (without titles)" in run("info", "bare.dotbias").stdout
    for command in ("lr-find --trials 0 --epochs 1", "split"):
        outputs = ["--train", "a.csv", "--test", "b.csv"] if command == "split" else []
        done = run(*command.split(), ratings, *outputs)  # these show none
        assert "titles" not in done.stderr
    said = fails("predict bare.dotbias --user 1 --item Film --strict")
    assert "no titles are known: fit with titles= (on the command line --titles)" in said
