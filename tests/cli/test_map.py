"""The command ``dotbias map``."""

import inspect
import json
import re
from typing import get_args

import polars as pl
import pytest

import dotbias as db
from dotbias.cli import insight
from dotbias.insight.projection import METHODS
from tests.cli.command import fails, run

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with models: one with titles and genres, one of a single factor."""
    folder = tmp_path_factory.mktemp("map")
    ratings, _ = db.simulate(n_users=80, n_items=40, n_ratings=1500, seed=1)
    titles = pl.DataFrame(
        {
            "id": range(1, 41),
            "title": [f"[Film {i}]" for i in range(1, 41)],
            "genres": ["Drama", "War|Drama"] * 20,
        }
    )
    columns = ratings.to_frame().select("user", "item", "rating")
    ratings = db.Ratings.from_columns(*columns, titles=titles)
    solver = db.GradientDescent(n_epochs=3, n_threads=1)
    db.fit(ratings, db.DotBias(n_factors=6), solver).save(folder / "films.v2.dotbias")
    db.fit(ratings, db.DotBias(n_factors=1), solver).save(folder / "line.dotbias")
    return folder


@pytest.fixture(autouse=True)
def there(folder, monkeypatch):
    """Commands run in that folder."""
    monkeypatch.chdir(folder)


def test_it_draws_the_map_and_says_how_far_it_can_be_believed(folder):
    done = run("map films.v2.dotbias --method pca -o map.html -o map.png")
    assert "Drew map.html.\nDrew map.png.\n" in done.stderr
    assert done.stdout.startswith("40 items, placed by principal components (the first two) from ")
    assert re.search(r"^trustworthiness at 10 neighbours: 0\.\d{3}$", done.stdout, re.MULTILINE)
    assert re.search(r"^of the 10 nearest, also near on the map: \d+%$", done.stdout, re.MULTILINE)
    assert (folder / "map.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "map.html").read_text("utf-8")
    assert "[Film 7]" in page
    assert "trustworthiness at 10 neighbours" in page


def test_a_poor_map_is_called_so_on_the_terminal_and_on_the_page(folder):
    done = run("map films.v2.dotbias --method pca --seed 1 -o poor.html")
    warning = db.embedding_map(
        db.Recommender.load(folder / "films.v2.dotbias"), method="pca", seed=1
    ).warning
    assert warning.startswith("This map is poor: ")
    assert warning in done.stdout
    assert warning in (folder / "poor.html").read_text("utf-8")


def test_a_dark_ground_is_for_the_image(folder):
    image = pytest.importorskip("PIL.Image")
    for option, shade in (("", 255), ("--dark", 0x15)):
        run(f"map films.v2.dotbias --method pca -o ground.png {option}")
        with image.open(folder / "ground.png") as picture:
            assert picture.convert("RGB").getpixel((2, 500))[0] == shade


def test_users_for_programs():
    done = run("map films.v2.dotbias --of users --method pca -o u.html --json --max-points 50")
    report = json.loads(done.stdout)
    assert (report["files"], report["n_points"], report["method"]) == (["u.html"], 50, "pca")
    assert 0 < report["trustworthiness"] <= 1
    assert 0 < report["preservation"] <= 1


def test_exports_stand_beside_the_picture_or_are_named_after_the_model(folder):
    done = run("map films.v2.dotbias --method pca --export projector --export parquet")
    for name, tool in (
        ("films.v2-map-projector", "tensorboard --logdir films.v2-map-projector"),
        ("films.v2-map.parquet", "embedding-atlas films.v2-map.parquet --x projection_x"),
    ):
        assert f"Wrote {name}: open it with {tool}" in done.stderr
        assert (folder / name).exists()
    run("map films.v2.dotbias --method pca -o one.map.html --export parquet")
    table = pl.read_parquet(folder / "one.map.parquet")
    assert {"projection_x", "projection_y", "neighbors", "title"} <= set(table.columns)


def test_t_sne_is_the_default_and_its_settings_are_passed_on():
    pytest.importorskip("openTSNE")
    command = "map films.v2.dotbias -o t.html --perplexity 5 --seed 3 --min-ratings 0 --threads 1"
    report = json.loads(run(f"{command} --json").stdout)
    assert (report["method"], report["settings"]) == ("t-sne", "perplexity 5, seed 3")


def test_the_command_offers_every_method():
    (offered, _) = get_args(
        inspect.signature(insight.embedding_map).parameters["method"].annotation
    )
    assert list(get_args(offered)) == list(METHODS)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("map films.v2.dotbias -o x.pdf", "the name of a picture must end in .png or .html"),
        ("map films.v2.dotbias -o no/x.png", "there is no folder no"),
        ("map films.v2.dotbias -o x.png --perplexity 50", "perplexity must be from 1 to 13"),
        ("map films.v2.dotbias -o x.png --min-ratings 9999", "lower min_ratings"),
        ("map films.v2.dotbias -o x.png --threads 0", "n_threads must be at least 1"),
        ("map line.dotbias -o x.png", "one factor.*dotbias components"),
        ("map none.dotbias -o x.png", "there is no model file none.dotbias"),
    ],
)
def test_a_mistake_is_named_and_nothing_written(folder, command, message):
    assert re.search(message, fails(command))
    assert not (folder / "x.png").exists()


@pytest.mark.parametrize(
    "options", ["", "-o x.png --of films", "-o x.png --method tsne", "--export csv"]
)
def test_wrong_usage_is_exit_code_2(options):
    run(f"map films.v2.dotbias {options}", code=2)


def test_the_help_has_an_example():
    assert re.search(r"Example: dotbias map \S+ -o \S+", run("map --help").stdout)
