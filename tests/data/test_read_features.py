"""Files of what else is known of users and items: which column is what, and what is left out."""

import logging
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dotbias.data.read_features import read_features
from dotbias.errors import DataError

USERS = "userId,age,job,zip,member\na,24,cook,01234,true\nb,30,cook,98101,false\nc,,bard,01234,\n"
MOVIES = """movieId,title,genres
1,Heat (1995),Crime|Drama
2,"Ran, or (1985)",Drama|War
7,Ida,Drama|War
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str, of: Any, name: str = "x.csv", **how: Any) -> dict[str, list[Any]]:
    """The columns of a file of this text."""
    Path(name).write_text(text)
    return read_features(name, of, **how).to_dict(as_series=False)


def test_text_becomes_numbers_booleans_or_stays_text():
    """A number that begins with a zero is a code."""
    assert read(USERS, "user", all_columns=True) == {
        "user": ["a", "b", "c"],
        "age": [24, 30, None],
        "job": ["cook", "cook", "bard"],
        "zip": ["01234", "98101", "01234"],
        "member": [True, False, None],
    }


def test_a_second_column_of_a_name_that_is_taken_is_left_out():
    found = read("user_id,user,age\n1,ann,30\n2,bob,40\n", "user", all_columns=True)
    assert found == {"user": [1, 2], "age": [30, 40]}


def test_of_items_the_year_is_a_feature_and_the_title_comes_along():
    assert read(MOVIES, "item") == {
        "item": [1, 2, 7],
        "genres": ["Crime|Drama", "Drama|War", "Drama|War"],
        "year": [1995, 1985, None],
        "title": ["Heat (1995)", "Ran, or (1985)", "Ida"],
    }
    assert list(read("item,title\n1,Heat\n2,Ran\n", "item")) == ["item", "title"]
    own = read("item,title,year\n1,Heat (1995),7\n2,Ran (1985),8\n", "item")
    assert own["year"] == [7, 8]


def test_a_title_of_a_user_is_a_feature_like_any_other():
    assert read("user,title\n1,Dr\n2,Dr\n3,Mr\n4,Mr\n", "user")["title"] == ["Dr", "Dr", "Mr", "Mr"]


def test_what_hardly_comes_twice_is_left_out_and_named(caplog):
    text = "user,url,age,none\n1,x.org,3,\n2,y.org,4,\n3,x.org,5,\n"
    with caplog.at_level(logging.INFO, "dotbias"):
        assert list(read(text, "user")) == ["user", "age"]
    assert "x.csv: left out, as no row tells anything of another: 'url', 'none'" in caplog.text


def test_a_few_rows_that_join_a_model_keep_all_their_columns():
    few = "movieId,title,genres\n8,Alien (1979),Horror\n9,Babe (1995),Family\n"
    assert "genres" not in read(few, "item")
    assert read(few, "item", all_columns=True)["genres"] == ["Horror", "Family"]


@pytest.mark.parametrize("name", ["id", "ID", "userId", "customer_id"])
def test_ids_of_users_are_found_by_name(name):
    assert read(f"age,{name}\n30,1\n40,2\n", "user") == {"user": [1, 2], "age": [30, 40]}


@pytest.mark.parametrize(
    ("of", "text", "expected"),
    [
        ("user", "1|24|M\n2|53|F\n3|23|M\n4|24|F\n", {"2": [24, 53, 23, 24], "3": [*"MFMF"]}),
        ("user", "9|24|M\n2|53|F\n3|23|M\n4|24|F\n", {"2": [24, 53, 23, 24], "3": [*"MFMF"]}),
        ("user", "1::F::1\n2::M::56\n3::M::25\n4::F::7\n", {"2": [*"FMMF"], "3": [1, 56, 25, 7]}),
        ("item", "1|Heat (1995)|0|1\n2|Ran (1985)|1|1\n", {"3": [0, 1], "4": [1, 1]}),
        ("item", "1::Heat (1995)::War\n2::Ran (1985)::War\n", {"3": ["War", "War"]}),
    ],
)
def test_without_a_header_the_first_column_has_the_ids(of, text, expected):
    """Also where they are 1, 2, 3..., which elsewhere would be the numbers of the rows."""
    found = read(text, of, "x.dat")
    n = len(next(iter(expected.values())))
    assert found[of] == [int(text[0]), *range(2, n + 1)]
    assert {name: found[name] for name in expected} == expected
    if of == "item":
        assert found["year"] == [1995, 1985]


def test_a_member_of_an_archive_is_chosen_by_its_name():
    with zipfile.ZipFile("set.zip", "w") as archive:
        archive.writestr("set/ratings.csv", "userId,movieId,rating\na,1,3\n")
        archive.writestr("set/movies.csv", MOVIES)
        archive.writestr("set/users.csv", USERS)
    assert read_features("set.zip", "item")["year"].to_list() == [1995, 1985, None]
    assert read_features("set.zip", "user")["age"].to_list() == [24, 30, None]


def test_frames_keep_their_types_but_for_dates():
    frame = pl.DataFrame(
        {
            "when": pl.Series([0, 1]).cast(pl.Date),
            "user_id": ["a", "b"],
            "job": pl.Series(["cook", "cook"], dtype=pl.Categorical),
            "old": [True, None],
            "list": [[1], [2]],
        }
    )
    found = read_features(frame, "user")
    assert found.columns == ["user", "job", "old"]
    assert found["old"].dtype == pl.Boolean
    pandas = frame.select("user_id", "old").to_pandas()
    assert read_features(pandas, "user").columns[0] == "user"


def test_what_is_known_of_a_file_may_be_said():
    assert read("age;who\n1,5;a\n2,5;b\n", "user", user="who", decimal=",") == {
        "user": ["a", "b"],
        "age": [1.5, 2.5],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.csv: the file is empty"),
        ("user,age\n", "x.csv: there are no rows"),
        ("user,age\n1,3\n,4\n", "x.csv, row 3, column user: missing"),
        (
            "age,job\n30,cook\n40,cook\n",
            "x.csv: no user column is recognised; .* begins with 'age'",
        ),
        ("user,a,a\n1,2,3\n2,3,4\n", "x.csv: there are two columns 'a': rename one"),
    ],
)
def test_what_is_no_table_of_users_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        read(text, "user")


def test_a_frame_without_ids_is_refused():
    with pytest.raises(DataError, match="no user column is recognised among age, job"):
        read_features(pl.DataFrame({"age": [3], "job": ["cook"]}), "user")
