"""Exports of a map, read back with other means than they were written with."""

import os
import re
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st

from dotbias.errors import DataError
from dotbias.insight.exports import write_parquet, write_projector

TITLES = [
    "Heat (1995)",
    'The "Burbs, 1989',
    "<script>alert(1)</script>",
    "Amélie \N{CLAPPER BOARD} 千と千尋",
    " 'tis ",
]
FILES = ["metadata.tsv", "projector_config.pbtxt", "vectors.tsv"]

VECTORS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
NEIGHBOURS = np.array([[1, 2], [0, 4], [4, -1], [-1, -1], [3, 0]], np.int32)
SIMILARITIES = np.array([[0.9, 0.5], [0.9, 0.1], [0.25, 0], [0, 0], [-0.5, -1]], np.float32)


def items(titles: list[str | None], ids: list[str] | None = None) -> pl.DataFrame:
    n = len(titles)
    columns = {
        "item": [10 * k for k in range(n)] if ids is None else ids,
        "title": pl.Series(titles, dtype=pl.String),
        "x": pl.Series(np.linspace(-1, 1, n), dtype=pl.Float32),
        "y": pl.Series(np.linspace(5, 7, n), dtype=pl.Float32),
        "n_ratings": [5 + k for k in range(n)],
        "bias": pl.Series(np.linspace(-0.3, 0.1, n), dtype=pl.Float32),
        "genres": [None if k % 2 else "Action|Crime" for k in range(n)],
        "cluster": ["1: Heat (1995)"] * n,
    }
    return pl.DataFrame(columns)


USERS = items(TITLES).drop("title", "genres").rename({"item": "user"})


def lines(path: Path) -> list[str]:
    """Lines as TensorBoard's page splits them: at line feeds and nowhere else."""
    text = path.read_bytes().decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def metadata(folder: Path) -> list[dict[str, str]]:
    header, *rows = (line.split("\t") for line in lines(folder / "metadata.tsv"))
    return [dict(zip(header, row, strict=True)) for row in rows]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused_projector(folder: Path, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        write_projector(folder, USERS, VECTORS)
    assert f"cannot write {folder}/" in str(caught.value)


def refused_parquet(path: Path, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        write_parquet(path, USERS, NEIGHBOURS, SIMILARITIES)
    assert f"cannot write {path}: " in str(caught.value)


# -- the projector ---------------------------------------------------------------------------------


def test_a_folder_is_made_of_three_files(tmp_path):
    assert write_projector(tmp_path / "map", items(TITLES), VECTORS) == tmp_path / "map"
    assert names(tmp_path) == ["map"]
    assert names(tmp_path / "map") == FILES


@given(
    numpy_st.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 5)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_vectors_are_the_same_to_the_last_bit(tmp_path_factory, vectors):
    folder = tmp_path_factory.mktemp("map")
    write_projector(folder, items(["a"] * len(vectors)), vectors)
    read = [[float(cell) for cell in line.split("\t")] for line in lines(folder / "vectors.tsv")]
    np.testing.assert_array_equal(np.array(read, np.float32), vectors)


def test_titles_stay_as_they_are_unless_they_break_lines_or_cells(tmp_path):
    write_projector(tmp_path, items(TITLES), VECTORS)
    assert [row["title"] for row in metadata(tmp_path)] == TITLES


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_no_title_breaks_the_table(tmp_path_factory, titles):
    folder = tmp_path_factory.mktemp("map")
    write_projector(folder, items(titles), np.ones((len(titles), 2), np.float32))
    rows = metadata(folder)
    assert [row["item"] for row in rows] == [str(10 * k) for k in range(len(titles))]
    for title, row in zip(titles, rows, strict=True):
        assert row["title"] == re.sub("[\t\r\n]+", " ", title) or not title.strip()


def test_tabs_and_line_breaks_become_spaces_in_every_text(tmp_path):
    table = items(["a\tb", "c\r\nd", "e\nf"], ids=["1\t1", "2\n2", "3\r3"])
    write_projector(tmp_path, table, VECTORS[:3])
    assert [row["title"] for row in metadata(tmp_path)] == ["a b", "c d", "e f"]
    assert [row["item"] for row in metadata(tmp_path)] == ["1 1", "2 2", "3 3"]


@pytest.mark.parametrize("missing", [None, "", " ", "\t\n"])
def test_a_point_without_a_title_is_labelled_by_its_id(tmp_path, missing):
    """The projector takes an empty cell for a number, and shows it as 0."""
    write_projector(tmp_path, items(["a", missing, "c"]), VECTORS[:3])
    assert [row["title"] for row in metadata(tmp_path)] == ["a", "item 10", "c"]


def test_genres_that_are_missing_are_called_unknown(tmp_path):
    write_projector(tmp_path, items(TITLES[:3]), VECTORS[:3])
    genres = [row["genres"] for row in metadata(tmp_path)]
    assert genres == ["Action|Crime", "unknown", "Action|Crime"]


def test_the_other_columns_come_along_and_positions_do_not(tmp_path):
    table = items(TITLES)
    write_projector(tmp_path, table, VECTORS)
    rows = metadata(tmp_path)
    assert list(rows[0]) == ["title", "item", "n_ratings", "bias", "genres", "cluster"]
    assert [int(row["n_ratings"]) for row in rows] == table["n_ratings"].to_list()
    assert [np.float32(row["bias"]) for row in rows] == table["bias"].to_list()
    assert [row["cluster"] for row in rows] == table["cluster"].to_list()


def test_users_are_labelled_by_their_ids(tmp_path):
    write_projector(tmp_path, USERS, VECTORS)
    rows = metadata(tmp_path)
    assert list(rows[0]) == ["title", "user", "n_ratings", "bias", "cluster"]
    assert [row["title"] for row in rows] == [f"user {user}" for user in USERS["user"]]


@pytest.mark.parametrize(("table", "name"), [(USERS, "users"), (items(TITLES), "items")])
def test_the_configuration_names_the_files_beside_it(tmp_path, table, name):
    write_projector(tmp_path, table, VECTORS)
    config = (tmp_path / "projector_config.pbtxt").read_text()
    said = dict(re.findall(r'^  (\w+): "([^"]+)"$', config, flags=re.MULTILINE))
    assert said == {
        "tensor_name": name,
        "tensor_path": "vectors.tsv",
        "metadata_path": "metadata.tsv",
    }
    assert config.startswith("embeddings {\n")
    assert config.endswith("\n}\n")


def test_of_a_folder_that_is_there_only_the_three_files_are_replaced(tmp_path):
    (tmp_path / "events.out").write_text("of a training run")
    write_projector(tmp_path, USERS, VECTORS + 1)
    write_projector(tmp_path, items(TITLES), VECTORS)
    assert names(tmp_path) == ["events.out", *FILES]
    assert (tmp_path / "events.out").read_text() == "of a training run"
    assert metadata(tmp_path)[0]["title"] == TITLES[0]
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "vectors.tsv", np.float32), VECTORS)


def test_where_one_file_cannot_be_replaced_none_is(tmp_path):
    write_projector(tmp_path, items(TITLES), VECTORS)
    (tmp_path / "vectors.tsv").unlink()
    (tmp_path / "vectors.tsv").mkdir()
    refused_projector(tmp_path, "no regular file")
    assert [row["title"] for row in metadata(tmp_path)] == TITLES
    assert names(tmp_path) == FILES


@pytest.mark.parametrize("there", [True, False])
def test_nothing_half_written_is_left_behind(tmp_path, there):
    folder = tmp_path / "map"
    if there:
        folder.mkdir()
    with pytest.raises(ValueError, match="dimension"):
        write_projector(folder, items(TITLES), VECTORS[:, :, None])
    assert names(tmp_path) == (["map"] if there else [])
    assert not there or names(folder) == []


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "map").write_text("mine")
    refused_projector(tmp_path / "map", "map is no folder")
    assert (tmp_path / "map").read_text() == "mine"


def test_a_folder_in_none_is_an_error(tmp_path):
    (tmp_path / "file").write_text("a file is no folder")
    refused_projector(tmp_path / "none" / "map", "there is no folder .*none")
    refused_projector(tmp_path / "file" / "map", "file is no folder")
    assert names(tmp_path) == ["file"]


# -- embedding-atlas -------------------------------------------------------------------------------


def test_the_columns_of_the_table_are_the_same_under_their_new_names(tmp_path):
    table = items([*TITLES[:3], None, "tab\tand\nline"], ids=["a", "b", "007", "", "\t"])
    path = tmp_path / "map.parquet"
    assert write_parquet(path, table, NEIGHBOURS, SIMILARITIES) == path
    read = pq.read_table(path).to_pydict()
    assert list(read) == [
        "item",
        "title",
        "projection_x",
        "projection_y",
        "n_ratings",
        "bias",
        "genres",
        "cluster",
        "neighbors",
    ]
    for name in ("item", "title", "n_ratings", "bias", "genres", "cluster"):
        assert read[name] == table[name].to_list()
    assert read["projection_x"] == table["x"].to_list()
    assert read["projection_y"] == table["y"].to_list()


def test_neighbours_are_rows_of_the_file_and_those_that_are_none_are_dropped(tmp_path):
    write_parquet(tmp_path / "map.parquet", items(TITLES), NEIGHBOURS, SIMILARITIES)
    near = pq.read_table(tmp_path / "map.parquet")["neighbors"].to_pylist()
    assert [point["ids"] for point in near] == [[1, 2], [0, 4], [4], [], [3, 0]]
    wanted = [[0.1, 0.5], [0.1, 0.9], [0.75], [], [1.5, 2]]
    for point, distances in zip(near, wanted, strict=True):
        assert point["distances"] == pytest.approx(distances, abs=1e-7)


@pytest.mark.parametrize("neighbours", [NEIGHBOURS, abs(NEIGHBOURS), np.full_like(NEIGHBOURS, -1)])
def test_neighbours_have_the_same_types_however_many_there_are(tmp_path, neighbours):
    """Lists of one length used to become arrays of that length."""
    write_parquet(tmp_path / "map.parquet", USERS, neighbours, SIMILARITIES)
    lists = {"ids": pl.List(pl.Int32), "distances": pl.List(pl.Float32)}
    assert pl.read_parquet_schema(tmp_path / "map.parquet")["neighbors"] == pl.Struct(lists)


def test_a_cosine_that_rounding_took_above_one_is_no_negative_distance(tmp_path):
    above = np.full_like(SIMILARITIES, np.nextafter(np.float32(1), np.float32(2)))
    write_parquet(tmp_path / "map.parquet", USERS, NEIGHBOURS, above)
    near = pl.read_parquet(tmp_path / "map.parquet")["neighbors"].struct.field("distances")
    assert near.explode().drop_nulls().to_list() == [0] * 7


def test_users_have_neither_titles_nor_genres(tmp_path):
    write_parquet(tmp_path / "map.parquet", USERS, NEIGHBOURS, SIMILARITIES)
    read = pl.read_parquet(tmp_path / "map.parquet")
    assert read["user"].to_list() == USERS["user"].to_list()
    assert not {"title", "genres", "x", "y"} & set(read.columns)


def test_a_file_that_is_there_is_replaced_when_told_so(tmp_path):
    path = tmp_path / "MAP.PARQUET"
    write_parquet(path, items(TITLES), NEIGHBOURS, SIMILARITIES)
    refused_parquet(path, "a file is there")
    assert pl.read_parquet(path).columns[0] == "item"
    write_parquet(path, USERS, NEIGHBOURS, SIMILARITIES, force=True)
    assert pl.read_parquet(path).columns[0] == "user"
    assert names(tmp_path) == ["MAP.PARQUET"]


def test_embedding_atlas_would_take_another_ending_for_csv(tmp_path):
    refused_parquet(tmp_path / "map", r"must end in \.parquet")
    refused_parquet(tmp_path / "map.csv", r"must end in \.parquet")
    assert names(tmp_path) == []


def test_a_file_in_no_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("a file is no folder")
    refused_parquet(tmp_path / "none" / "map.parquet", "there is no folder .*none")
    refused_parquet(tmp_path / "file" / "map.parquet", "file is no folder")
    assert names(tmp_path) == ["file"]


def test_a_folder_in_the_place_of_the_file_is_an_error(tmp_path):
    (tmp_path / "map.parquet").mkdir()
    refused_parquet(tmp_path / "map.parquet", "no regular file")
    assert names(tmp_path) == ["map.parquet"]


# -- both ------------------------------------------------------------------------------------------


def test_a_folder_that_may_not_be_written_is_an_error(tmp_path):
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("permissions do not bind root, or are not of the Unix kind here")
    tmp_path.chmod(0o500)
    try:
        refused_projector(tmp_path, "Permission denied")
        refused_projector(tmp_path / "map", "Permission denied")
        refused_parquet(tmp_path / "map.parquet", "Permission denied")
    finally:
        tmp_path.chmod(0o700)
    assert names(tmp_path) == []
