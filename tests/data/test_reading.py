"""What a source is taken for: said in one line, the same in every format, and up to the user."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotbias.data import codes, forms
from dotbias.data.read import (
    read_pairs,
    read_ratings,
    read_ratings_with_report,
    read_titles,
)
from dotbias.data.reading import Reading
from dotbias.errors import DataError, SettingError
from dotbias.plain import from_plain, to_plain


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one, so that files have short names in messages."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(content: str | bytes, name: str = "r.csv") -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


@contextmanager
def new_file(name: str) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder, name)


def rows(content: str | bytes, **how: Any) -> list[tuple[Any, ...]]:
    return read_ratings(write(content), **how).to_frame().rows()


def error_of(content: str | bytes, **how: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_ratings(write(content), **how)
    return str(caught.value)


def many(row: str, values: str = "1 2 3 4 5 3 4 2") -> str:
    """Rows of two users and a film for each value."""
    lines = [row.format(u=u, i=i, r=r) for i, r in enumerate(values.split()) for u in (1, 2)]
    return "".join(f"{line}\n" for line in lines)


# One line -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1,2,3,978300760\n", "no header: column 1 = user, 2 = item, 3 = rating, 4 = time: 1 ratings"),
        ("1\t2\t3\n", "no header: column 1 = user, 2 = item, 3 = rating:"),
        ("userId,movieId,rating\n1,2,3\n", "userId = user, movieId = item, rating = rating:"),
        ("userId,movie,movieId,rating\n1,A,2,3\n", "movie = title; passed over: movie:"),
        ("user,userId,item,stars,score\na,1,2,3,4\n", "item = item, stars = rating; passed over:"),
        ("user,userId,item,stars,score\na,1,2,3,4\n", "passed over: user, score:"),
        ("user;item;rating\n1;2;3,5\n", "semicolon between columns; decimal comma:"),
        ("user,item,plays\n1,2,3\n", "user = user, item = item, plays = count:"),
        ("user,item\n1,2\n", "user = user, item = item; each row is an event:"),
        ("# a\n#b\nuser,item,rating\n1,2,3\n", "2 lines skipped:"),
        ('{"user": 1, "item": 2, "rating": 3}\n', "user = user, item = item, rating = rating:"),
    ],
)  # fmt: skip
def test_what_was_taken_as_what_is_one_line(content: str, said: str) -> None:
    _, report = read_ratings_with_report(write(content))
    assert report.taken.startswith("r.csv: ")
    assert said in report.taken
    assert "\n" not in report.taken


def test_a_reading_outlives_the_model_file() -> None:
    reading = read_ratings(write(many("{u};{i};{r}", "1 2 3 99 99 99 99 99"))).reading
    assert reading is not None
    assert reading.missing == ("99",)
    assert from_plain(Reading, to_plain(reading), "reading") == reading


@pytest.mark.parametrize(
    "how",
    [
        {"layout": "deep"},
        {"separator": ""},
        {"separator": "a\nb"},
        {"encoding": "utf-9"},
        {"decimal": ";"},
        {"quote": "''"},
        {"comment": ""},
        {"skip_lines": -1},
        {"where": "play"},
        {"where": "3="},
        {"where": "=play"},
        {"where": "3= , "},
        {"skip_lines": True},
        {"rating_as": "thumbs"},
        {"user_ids": "numbers"},
    ],
)
def test_an_option_outside_its_range_is_named(how: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"^{next(iter(how))}="):
        Reading(**how)


def test_the_id_beats_the_name_and_the_index() -> None:
    ratings = read_ratings(write(",userId,movie,movieId,rating\n0,7,Heat,30,3\n1,7,Ran,31,4\n"))
    assert ratings.to_frame().rows() == [(7, 30, 3.0), (7, 31, 4.0)]
    assert ratings.item_vocabulary.label(1) == "Ran"
    assert rows("0,7,30,3\n1,7,31,4\n2,8,31,4\n") == [(7, 30, 3.0), (7, 31, 4.0), (8, 31, 4.0)]
    # Users in order, with times: no index.
    assert rows("1,7,3,881250949\n2,7,4,881250949\n3,7,4,881250949\n")[0][:3] == (1, 7, 3.0)


def test_the_title_of_a_review_is_no_title_of_the_item() -> None:
    content = "user_id,parent_asin,rating,title\n1,B1,3,Good\n2,B1,4,Bad\n3,B1,5,So\n"
    assert read_ratings(write(content)).item_vocabulary.titles is None


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        ("".join(f"{k},{k % 3},{k % 5}\n" for k in range(5, 60, 2)), "has another user"),
        ("".join(f"{k % 3},{k},{k * 7}\n" for k in range(300)), "look like ids or counts"),
        ("".join(f"{k % 3},{k},{1990 + k % 30}\n" for k in range(300)), "look like years"),
        ("user,item,stars\n" + "".join(f"1,{k},{k}12345678\n" for k in range(1, 30)), "like times"),
    ],
)  # fmt: skip
def test_what_is_likely_no_such_column_is_a_warning(content: str, warning: str) -> None:
    _, report = read_ratings_with_report(write(content))
    assert [warning in line for line in report.warnings] == [True]
    assert "name the columns with user=, item=, rating=" in report.warnings[0]


TIMES = [
    # What stands fourth, and whether it is a time.
    *[(str(978300760 * unit), True) for unit in (1, 10**3, 10**6, 10**9)],
    *[("2005-06-23", True), ("2005-06-23T12:30:00", True), ("NULL", True), ("978300760.0", True)],
    *[("0", False), ("1", False), ("4", False), ("1995", False), ("20050623", False), ("x", False)],
    *[("13800138000", False), ("0.5", False), ("60%", False), ("-978300760", False)],
]


@pytest.mark.parametrize(("fourth", "is_time"), TIMES)
def test_what_stands_where_times_would_is_one_only_if_it_could_be(
    fourth: str, is_time: bool
) -> None:
    content = many("{u},{i},{r},%s" % fourth)  # noqa: UP031 - braces are for ``many``
    for source in (write(content), [line.split(",") for line in content.splitlines()]):
        ratings, report = read_ratings_with_report(source)
        assert ratings.values.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 3, 3, 4, 4, 2, 2]
        assert ("4 = time" in report.taken) == (is_time and fourth != "NULL")
        passed = "column 4 holds no times: passed over; pass time=4 (on the command line --time-co"
        assert any(line.startswith(passed) for line in report.lines()) == (not is_time)
        assert read_ratings(source, **report.reading).to_frame().equals(ratings.to_frame())
    if fourth.isdecimal():
        assert read_ratings("r.csv", time=4).times is not None


@pytest.mark.parametrize(
    ("row", "taken", "kind"),
    [
        ("{u},{i},97830076{r}", "column 1 = user, 2 = item, 3 = time; each row is an event", "events"),
        ("{u},{i},2005-06-2{r}", "column 1 = user, 2 = item, 3 = time; each row is an event", "events"),
        ("{u},{i},97830076{r},{r}", "1 = user, 2 = item, 4 = rating, 3 = time", "ratings"),
        ("{u},{i},{r},7,97830076{r}", "2 = item, 3 = rating, 5 = time", "ratings"),
        ("{u},{i},,{r}", "1 = user, 2 = item, 4 = count", "counts"),
        ("2014-04-07T10:51:09.277Z,u{u},i{i},{r}", "2 = user, 3 = item, 4 = rating, 1 = t", "ratings"),
        ("{u},2014-04-07,i{i},{r}", "1 = user, 3 = item, 2 = time; each row is", "events"),
        ("{u},2014-04-07,21453650{i},{r}", "1 = user, 3 = item, 2 = time; each row is", "events"),
        ("2014-04-07,u{u},i{i}", "2 = user, 3 = item, 1 = time; each row is an event", "events"),
    ],
)  # fmt: skip
def test_times_are_found_where_they_stand(row: str, taken: str, kind: str) -> None:
    ratings, report = read_ratings_with_report(write(many(row)))
    assert taken in report.taken
    assert ratings.kind == kind


# Ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelt", "ids"),
    [
        (["67", " 68 ", "69.0"], [67, 68, 69]),
        (["67.0", "-3.00"], [67, -3]),
        (["067", "68"], ["067", "68"]),
        (["67.5", "68"], ["67.5", "68"]),
        ([" a ", "a b"], ["a", "a b"]),
        (["0", "-5", "-10", "9"], [0, -5, -10, 9]),
        (["-0", "8"], ["-0", "8"]),
        (["-07", "8"], ["-07", "8"]),
        (["+7", "8"], ["+7", "8"]),
        (["00", "8"], ["00", "8"]),
    ],
)
def test_one_id_has_one_spelling(spelt: list[str], ids: list[Any]) -> None:
    lines = "".join(f"{id},{k},3\n" for k, id in enumerate(spelt))
    assert [row[0] for row in rows(f"user,item,rating\n{lines}")] == ids
    frame = pl.DataFrame({"user": spelt, "item": range(len(spelt)), "rating": 3})
    assert [row[0] for row in rows(frame.write_ndjson())] == [id.strip() for id in spelt]


@pytest.mark.parametrize(("last", "id"), [("b", "b"), (" b", "b"), ("b\t", "b"), (" NA ", None)])
def test_text_ids_are_stripped_wherever_they_stand(last: str, id: str | None) -> None:
    """What stands in all distinct ids is looked at, not only in the first rows."""
    users = ["a", "b"] * 150 + [last]
    frame = pl.DataFrame({"user": users, "item": range(301), "rating": [1, 2, 3] * 100 + [4]})
    enums = frame.with_columns(pl.col("user").cast(pl.Categorical))
    for source in (write(frame.write_csv()), frame, enums, write(frame.write_ndjson(), "r.jsonl")):
        ratings, report = read_ratings_with_report(source, on_bad="skip")
        assert ratings.user_vocabulary.ids.to_list() == ["a", "b"]
        assert report.n_bad == (id is None)
        assert id is None or ratings.to_frame()["user"][300] == id
    text = pl.Series("user", ["a", "b"])
    assert read_pairs(enums.head(2))["user"].equals(text)
    assert read_titles(pl.DataFrame({"id": text, "title": text}))["id"].equals(text.alias("id"))


def test_a_few_ids_that_are_no_integers_are_said() -> None:
    content = "user,item,rating\n" + many("{u},{i},{r}", "1 2 3 4 5 3 4 2") + "1x,0,3\n"
    _, report = read_ratings_with_report(write(content))
    assert report.lines() == ["ids in column user are text: 1 of 17 is not written as an integer"]
    _, report = read_ratings_with_report(write("user,item,rating\n7,1,3\n007,1,4\n"))
    assert report.lines() == []


@pytest.mark.parametrize("word", ["NULL", "\\N", "NA", "nan", "None", "", " ", "N/A"])
def test_a_word_for_nothing_is_no_id(word: str) -> None:
    for ids in (("7", "8"), ("a", "b")):
        content = f"user,item,rating\n{ids[0]},1,3\n{word},2,3\n{ids[1]},1,4\n"
        assert error_of(content).startswith("r.csv, row 3, column user: missing")
        users = read_ratings("r.csv", on_bad="skip").user_vocabulary
        assert users.id_type == ("integers" if ids == ("7", "8") else "text")
    frame = pl.DataFrame({"user": ["a", word], "item": [1, 2], "rating": [3, 4]})
    with pytest.raises(DataError, match="row 2, column user: missing"):
        read_ratings(frame)


def test_ids_are_what_they_are_in_a_model() -> None:
    content = "user,item,rating\n7,1,3\n8,2,4\n"
    assert rows(content, user_ids="text", item_ids="text")[0] == ("7", "1", 3.0)
    assert read_pairs("r.csv", item_ids="text").rows() == [(7, "1"), (8, "2")]
    frame = pl.DataFrame({"user": [7.0, 8.0], "item": [1, 2], "rating": [3, 4]})
    assert read_ratings(frame, user_ids="text").user_vocabulary.ids.to_list() == ["7", "8"]
    assert rows("user,item,rating\n007,1,3\n", user_ids="integers") == [(7, 1, 3.0)]
    message = error_of("user,item,rating\n7,1,3\nx,1,3\n", user_ids="integers")
    assert message.startswith("r.csv, row 3, column user: 'x' is no integer, as the ids should be")


ID_COLUMNS = st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=9, unique=True) | st.lists(
    st.text("abcxyz é", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=9
)


@settings(max_examples=60)
@given(ID_COLUMNS, st.data())
def test_a_csv_a_json_file_and_a_frame_of_the_same_rows_are_the_same(
    users: list[Any], data: st.DataObject
) -> None:
    n = len(users)
    ratings = data.draw(
        st.lists(st.sampled_from([1.0, 2.0, 3.5, 4.0, 5.0]), min_size=n, max_size=n)
    )
    times = data.draw(st.lists(st.integers(0, 2**31) | st.none(), min_size=n, max_size=n))
    frame = pl.DataFrame({"user": users, "item": range(n), "rating": ratings, "time": times})
    frame = frame.cast({"time": pl.Int64})
    expected = read_ratings(frame)
    with new_file("r.csv") as path:
        frame.write_csv(path, line_terminator=data.draw(st.sampled_from(["\n", "\r\n"])))
        found = [read_ratings(path), read_ratings(frame.to_pandas())]
        frame.write_ndjson(path)
        found.append(read_ratings(path))
        frame.write_csv(path, separator=data.draw(st.sampled_from([";", "\t", "|"])))
        found.append(read_ratings(path))
    for one in found:
        assert one.to_frame().equals(expected.to_frame())
        assert one.kind == expected.kind
        assert one.reading is not None
        assert one.reading.user_ids == ("text" if isinstance(users[0], str) else "integers")


# Codes for no rating ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([-1] * 20 + list(range(1, 11)) * 5, (-1,)),
        ([0] * 60 + list(range(1, 11)) * 5, (0,)),
        ([99] * 20 + [-9.7, -3, 0, 4.85, 9.7] * 5, (99,)),
        ([98] * 5 + [99] * 20 + [1, 2, 3, 4, 5] * 9, (98, 99)),
        ([255] * 20 + [0, 10, 50, 90, 100] * 9, (255,)),
        ([-999] * 20 + [1, 2, 3, 4, 5] * 9, (-999,)),
        ([1, 2, 3, 4, 5] * 20, ()),
        ([0, 1, 2, 3, 4, 5] * 20, ()),
        ([0, 1] * 20, ()),
        ([-1, 1] * 20, ()),
        ([-1, 0, 1] * 20, ()),
        ([0.5, 1, 5] * 9 + [4.5] * 40, ()),
        ([-10, -5, 0, 5, 10] * 9, ()),
        ([1, 2, 3, 4, 5] * 20 + [99], ()),
        ([3, 4, 5, 8, 9, 10] * 2, ()),  # a small table of ratings from 1 to 10
        ([1, 1.5, 2, 9, 10] * 3, ()),
    ],
)
def test_codes(values: list[float], found: tuple[float, ...]) -> None:
    assert codes.recognised(np.array(values, np.float32)) == found
    assert codes.recognised(np.tile(np.array(values, np.float32), 3000)) == (
        found if 99 not in values or len(found) else ()
    )


def test_codes_are_left_out_unless_somebody_says_otherwise() -> None:
    content = "user,item,rating\n" + many("{u},{i},{r}", "-1 -1 -1 -1 3 4 5 2")
    ratings, report = read_ratings_with_report(write(content))
    assert (len(ratings), ratings.scale) == (8, (2, 5))
    assert (
        "left out 8 rows with -1, which stands for no rating; pass missing='none'"
        in report.lines()[0]
    )
    assert len(read_ratings("r.csv", missing="none")) == 16
    assert len(read_ratings("r.csv", scale=(1, 5))) == 8
    assert len(read_ratings("r.csv", missing=[3, "-1"])) == 6
    assert "outside the scale" in error_of(content, scale=(1, 5), missing="none")


def test_codes_among_counts_are_left_out_too() -> None:
    content = "user,item,plays\n1,1,3\n1,2,-1\n2,1,99\n2,2,4\n"
    assert "is below 0, which no count is" in error_of(content)
    assert [row[2] for row in rows(content, missing=[-1, 99])] == [3, 4]
    _, report = read_ratings_with_report("r.csv", missing=-1)
    assert "left out 1 rows with -1, which stands for no count" in " ".join(report.lines())


def test_a_field_may_be_long() -> None:
    """A text of any length beside a bad row, whose line is looked for by another reader."""
    content = f"user,item,rating,text\n1,1,4,{'long ' * 40_000}\n1,2,x,short\n"
    assert "row 3, column rating: 'x'" in error_of(content)


def test_lists_whose_encoding_shows_late() -> None:
    lines = [
        f"{user} " + " ".join(f"i{item}" for item in range(user % 7 + 2)) for user in range(4000)
    ]
    content = "\n".join([*lines, "4000 café thé"]).encode("cp1252")
    ratings = read_ratings(write(content, "lists.txt"), layout="lists")
    assert "café" in ratings.item_vocabulary.ids


# Data that are no ratings -------------------------------------------------------------------------


def test_values_that_only_say_that_they_are_there_are_events() -> None:
    content = "user,item,rating\n" + many("{u},{i},{r}", "5 5 5 5 5 5")
    ratings, report = read_ratings_with_report(write(content))
    assert ratings.kind == "events"
    assert "taken for events, of who did what; pass kind='ratings'" in report.lines()[0]
    assert read_ratings("r.csv", kind="ratings").kind == "ratings"
    assert read_ratings("r.csv", of_model="ratings").kind == "ratings"
    assert read_ratings("r.csv", scale=(1, 5)).kind == "ratings"


def test_values_that_are_mostly_small_and_sometimes_huge_are_counts() -> None:
    plays = " ".join(map(str, [1, 2, 3, 5, 8, 1, 2, 4, 7, 9, 11, 640, 12, 1]))
    ratings, report = read_ratings_with_report(write(many("{u},{i},{r}", plays)))
    assert ratings.kind == "counts"
    assert "as counts are: taken for counts; pass kind='ratings'" in report.lines()[0]
    assert read_ratings(write("user,item,rating\n" + many("{u},{i},{r}", plays))).kind == "ratings"


# Which rows are read --------------------------------------------------------------------------------

ACTIONS = pl.DataFrame(
    {
        "user": [f"u{k % 7}" for k in range(60)],
        "item": [k // 7 for k in range(60)],
        "event": [("View", "cart", "buy")[k % 3] for k in range(60)],
        "rating": [(1.0, 1.0, 0.5 + k % 5)[k % 3] for k in range(60)],
        "code": [k % 3 for k in range(60)],
        "ok": [k % 3 == 0 for k in range(60)],
        "time": [10**9 + k for k in range(60)],
    }
)


def actions(folder: Path, columns: list[str]) -> list[Any]:
    frame = ACTIONS.select(columns)
    csv, tsv, jsonl, parquet = (folder / f"a.{end}" for end in ("csv", "tsv", "jsonl", "parquet"))
    frame.write_csv(csv)
    frame.write_csv(tsv, separator="\t")
    frame.write_ndjson(jsonl)
    frame.write_parquet(parquet)
    return [csv, tsv, jsonl, parquet, frame, frame.lazy(), frame.to_pandas(), frame.to_arrow()]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("event=buy", (2,)),
        ("event=BUY, cart", (1, 2)),
        ("3=view", (0,)),
        ("code=0,2", (0, 2)),
        ("ok=true", (0,)),
        ("rating=1", (0, 1)),
        ("none", (0, 1, 2)),
    ],
)
def test_rows_are_chosen_alike_in_every_format(folder: Path, where: str, kept: tuple[int]) -> None:
    places = [k for k in range(60) if k % 3 in kept and (where != "rating=1" or k % 15 != 2)]
    expected = ACTIONS[places].select("user", "item", "rating", "time").rows()
    for source in actions(folder, ACTIONS.columns):
        ratings, report = read_ratings_with_report(source, where=where, kind="ratings")
        assert ratings.to_frame().rows() == expected
        assert ("only rows where" in report.taken) == (where != "none")
        assert report.n_rows == len(expected)
        again = read_ratings(source, **report.reading)
        assert again.to_frame().equals(ratings.to_frame())
        assert read_pairs(source, where=where).height == len(expected)


def test_rows_that_are_not_chosen_may_be_bad_and_others_keep_their_numbers() -> None:
    content = "user,item,event,rating\n1,1,view,x\n1,2,buy,3\n1,3,view,\n2,2,buy,y\n2,3,buy,4\n"
    assert error_of(content, where="event=buy").startswith("r.csv, row 5, column rating: 'y' is")
    ratings = read_ratings("r.csv", where="event=buy", on_bad="skip")
    assert ratings.to_frame().rows() == [(1, 2, 3.0), (2, 3, 4.0)]
    twice = "user,item,event,rating\n1,1,view,1\n1,2,buy,3\n1,1,buy,2\n1,2,buy,4\n"
    message = error_of(twice, where="event=buy", duplicates="error")
    assert "rows 3 and 5: both rate user 1, item 2" in message
    assert "there are no rows where event=sell: there are buy, view" in error_of(
        twice, where="event=sell"
    )
    assert "no column 'act' among user, item, event, rating" in error_of(twice, where="act=buy")
    message = error_of("user,A,B,C,D\n1,3,,5,\n2,,4,1,2\n", where="user=1")
    assert "where= (on the command line --where) chooses rows of one rating each" in message


def test_values_that_are_always_the_same_with_one_word_are_said(folder: Path) -> None:
    """Of Steam's purchases, each a 1, and hours of play the second are counts."""
    for source in actions(folder, ["user", "item", "event", "rating", "time"]):
        ratings, report = read_ratings_with_report(source)
        assert len(ratings) == 60
        assert (
            "column event tells buy (20 rows), cart (20 rows), view (20 rows) apart: all are read, and "
            "values are always 1 where cart, always 1 where view; pass where='event=buy'"
        ) in report.lines()[0]
        assert len(read_ratings(source, where="event=buy")) == 20
        again = read_ratings(source, **report.reading)
        assert (again.to_frame().equals(ratings.to_frame()), again.reading) == (
            True,
            ratings.reading,
        )


@pytest.mark.parametrize("header", ["user,item,action,time\n", ""])
def test_words_of_events_are_said(header: str) -> None:
    lines = (f"{k % 7},{k // 7},{('pv', 'fav', 'buy')[k % 3]},{10**9 + k}\n" for k in range(60))
    ratings, report = read_ratings_with_report(write(header + "".join(lines)))
    assert (ratings.kind, len(ratings)) == ("events", 60)
    column = "action" if header else "3"
    option = f"{column}=buy"
    (said,) = (line for line in report.lines() if "apart" in line)
    assert said == (
        f"column {column} tells buy (20 rows), fav (20 rows), pv (20 rows) apart: all are read; pass "
        f"where={option!r} (on the command line --where {option}) for some of them"
    )
    assert len(read_ratings("r.csv", where=option)) == 20


# How ratings are written --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "form", "numbers"),
    [
        (["3 stars", "1 star", "4.5 Stars"], "stars", [3, 1, 4.5]),
        (["★★★", "★", "★★★★½", "★★☆☆☆"], "stars", [3, 1, 4.5, 2]),
        (["4.0 out of 5 stars", "2 of 5"], "stars", [4, 2]),
        (["60%", "75.5 %"], "percent", [60, 75.5]),
        (["4/5", "3.5/5"], "fraction", [4, 3.5]),
        (["true", "False", "TRUE"], "yes-no", [1, 0, 1]),
        (["👍", "👎"], "yes-no", [1, 0]),
        (["Thumbs up", "thumbs down"], "yes-no", [1, 0]),
        (["Like", "dislike"], "yes-no", [1, 0]),
    ],
)
def test_forms(texts: list[str], form: str, numbers: list[float]) -> None:
    lines = "".join(f"u{k % 2},{k},{text}\n" for k, text in enumerate(texts))
    ratings, report = read_ratings_with_report(write(f"user,item,rating\n{lines}"))
    assert ratings.values.tolist() == numbers
    assert report.reading.rating_as == form
    assert f"are read as {form}" in report.lines()[0]


def test_a_form_that_not_all_ratings_have_is_an_error_that_says_what_to_do() -> None:
    message = error_of("user,item,rating\n1,2,3 stars\n1,3,great\n")
    assert message.startswith(
        "r.csv: all 2 rows are bad, the first: row 2, column rating: '3 stars'"
    )
    assert "rating_as= (on the command line --rating-as)" in message
    assert "on_bad" not in message
    good = "user,item,rating\n1,2,good\n1,3,bad\n1,4,4\n"
    assert [row[2] for row in rows(good, rating_as="good=3,bad=1.5")] == [3, 1.5, 4]
    assert [
        row[2] for row in rows("user,item,rating\n1,2,3 stars\n1,3,4\n", rating_as="stars")
    ] == [3, 4]
    with pytest.raises(SettingError, match="words stand with their numbers"):
        rows(good, rating_as="good=x")


def test_true_and_false_of_frames() -> None:
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 1], "rating": [True, False]})
    for source in (frame, frame.to_pandas(), write(frame.write_ndjson())):
        assert read_ratings(source).values.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "decimal"), [("3 3,5 4", ","), ("3,5 4,25", ","), ("3.5 4", None), ("1,200 2", None)]
)
def test_decimal_commas(values: str, decimal: str | None) -> None:
    assert forms.decimal_commas(values.split()) == (decimal == ",")


# Options for every form of text -------------------------------------------------------------------

PLAIN = [(1, 2, 3.0), (4, 5, 1.0)]


@pytest.mark.parametrize(
    ("content", "how"),
    [
        ("1 2 3\n4 5 1\n", {}),
        ("  1   2 3  \n 4 5\t1\n", {}),
        ("1\t\t2\t\t3\n4\t\t5\t\t1\n", {}),
        ("1,2,3\r4,5,1\r", {}),
        ("1||2||3\n4||5||1\n", {"separator": "||"}),
        ("1 | 2 | 3\n4 | 5 | 1\n", {}),
        ("1~2~3\n4~5~1\n", {"separator": "~"}),
        ("1,2,3\n4,5,1\n", {"separator": "comma"}),
        ("sep=;\r\nuser;item;rating\r\n1;2;3\r\n4;5;1\r\n", {}),
        ("My ratings\nuser,item,rating\n1,2,3\n4,5,1\n", {}),
        ("My ratings,,\nuser,item,rating\n1,2,3\n4,5,1\n", {}),
        ("a,b\nx,y\nuser,item,rating\n1,2,3\n4,5,1\n", {"skip_lines": 2}),
        ("# made by hand\n# today\n1,2,3\n#4,4,4\n4,5,1\n", {}),
        ("% made\nuser,item,rating\n1,2,3\n% more\n4,5,1\n", {}),
        ("#user,item,rating\n1,2,3\n4,5,1\n", {}),
        (";x\n1,2,3\n4,5,1\n", {"comment": ";"}),
        ("user,item,rating\n1,2,3\n4,5,1\n".encode("utf-16"), {}),
        ("user,item,rating\n1,2,3\n4,5,1\n".encode("utf-32"), {}),
        ("user,item,rating\n1,2,3\n4,5,1\n".encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ("user,item,rating,\n1,2,3,\n4,5,1,\n", {}),
        ("user,item,rating\n1,2,3,\n4,5,1,\n", {}),
        ('"user","item","rating"\n"a",1,2,3\n"b",4,5,1\n', {}),
        ("'1','2','3'\n'4','5','1'\n", {"quote": "'"}),
        ("a,b,c\n1,2,3\n4,5,1\n", {"header": True, "user": "a", "item": "b", "rating": "c"}),
        ("1,2,3,7\n4,5,1,8\n", {"time": "none"}),
        ("1,2,9,3\n4,5,9,1\n", {"rating": 4}),
    ],
)
def test_every_form_of_text_has_a_way_in(content: str | bytes, how: dict[str, Any]) -> None:
    first = read_ratings(write(content), **how)
    assert first.to_frame().rows() == PLAIN
    assert first.reading is not None
    again = read_ratings("r.csv", **first.reading)
    assert (again.to_frame().rows(), again.reading) == (PLAIN, first.reading)


WORDS = {
    "cp1251": "Фильм|Сталкер|Иван Васильевич меняет профессию|Їжак",
    "koi8-r": "Фильм|Сталкер|Иван Васильевич меняет профессию|Брат 2",
    "gb18030": "用户67|霸王别姬|大话西游之大圣娶亲|红楼梦 2",
    "big5": "霸王別姬|那些年我們一起追的女孩|用戶67",
    "cp932": "千と千尋の神隠し|ユーザー7|君の名は。|七人の侍|本",
    "euc_jp": "千と千尋の神隠し|ユーザー7|君の名は。|七人の侍|本",
    "cp949": "기생충|살인의 추억|사용자 67|올드보이",
    "cp1250": "Człowiek z żelaza|Książka|Wojciech Małgorzata|Dzień świra|Michał",
    "iso8859-2": "Człowiek z żelaza|Książka|Wojciech Małgorzata|Dzień świra|Michał",
}
# Each by itself, and all: what stands alone, in capitals, between signs.
WESTERN = [
    *(
        "“Film” \u2013 €",
        "Amélie",
        "Där vi en gång gått",
        "ÅÄÖ",
        "Kätkäläinen",
        "à",
        "É stata",
        "½",
    ),
    *(
        "20 °C",
        "10 m³ Luft",
        "¿Qué?",
        "Ça va",
        "Þór",
        "Æon Flux",
        "Alien³",
        "œuvre",
        "WALL·E",
        "£5",
    ),
    *("België", "Mötley Crüe", "L\u2019Été", "ÜBER", "©", "São Paulo", "Øy", "España", "«où»"),
]


def named(items: list[str], encoding: str) -> bytes:
    lines = "".join(f"{k % 3},{item},{1 + k % 5}\n" for k, item in enumerate(items))
    return f"user,item,rating\n{lines}".encode(encoding)


@pytest.mark.parametrize("encoding", WORDS)
def test_encodings_are_recognised_and_said(encoding: str) -> None:
    items = WORDS[encoding].split("|")
    for ascii_rows in (0, 500):
        content = named([f"Film {k}" for k in range(ascii_rows)] + items, encoding)
        ratings, report = read_ratings_with_report(write(content))
        assert {*items} <= {*ratings.item_vocabulary.ids}
        assert report.reading.encoding == encoding
        assert report.lines()[0].startswith(f"not UTF-8: read as {encoding} (")
        assert read_ratings("r.csv", **report.reading).to_frame().equals(ratings.to_frame())
    assert {*items} <= {*read_ratings("r.csv", encoding=encoding).item_vocabulary.ids}


@pytest.mark.parametrize("items", [*([item] for item in WESTERN), WESTERN])
def test_western_text_is_no_other(items: list[str]) -> None:
    ratings, report = read_ratings_with_report(write(named(items, "cp1252")))
    assert [*ratings.item_vocabulary.ids] == sorted(items)
    assert report.reading.encoding == "cp1252"
    assert "read as Windows-1252; pass encoding=" in report.lines()[0]
    assert "such as cp1251 or gb18030, if names look wrong" in report.lines()[0]


def test_too_little_text_or_text_that_breaks_off_is_windows_1252() -> None:
    assert rows(named(["户"], "gb18030"))[0][1] == "\xbb§"
    late = named([*WORDS["gb18030"].split("|"), *["a"] * 6000], "gb18030") + b"1,\xff,3\n"
    _, report = read_ratings_with_report(write(late + b"2,b,3\n"))
    assert report.reading.encoding == "cp1252"


def test_an_encoding_that_is_said_and_wrong_is_an_error() -> None:
    message = error_of(b"user,item,rating\n1,\xe9,3\n", encoding="utf-8")
    assert "r.csv, row 2: damaged, or not text in UTF-8" in message
    message = error_of(named(WESTERN, "cp1252"), encoding="gb18030")
    assert "damaged, or not text in GB18030" in message


def test_columns_that_are_not_wanted() -> None:
    assert rows("user,item,rating,when\n1,2,3,soon\n") == [(1, 2, 3.0)]
    assert rows("user,item,rating,time\n1,2,3,soon\n", time="none") == [(1, 2, 3.0)]
    events = read_ratings("r.csv", rating="none", time="none")
    assert events.kind == "events"
    titled = read_ratings(
        write("user,item,rating,film_name,kind\n1,2,3,Heat,a|b\n"), title=4, genres=5
    )
    assert titled.item_vocabulary.label(0) == "Heat"
    assert titled.item_vocabulary.genres is not None
    titles = read_titles(write("no,what,sort\n7,Heat,x\n"), item=1, title=2, genres="sort")
    assert titles.rows() == [(7, "Heat", "x")]


def test_a_missing_time_never_costs_a_rating() -> None:
    for word in ("", "NULL", "nan", " ", "0000-00-00"):
        content = f"user,item,rating,time\n1,2,3,50\n1,3,4,{word}\n2,2,5,40\n"
        ratings, report = read_ratings_with_report(write(content))
        assert ratings.times is not None
        assert ratings.times.tolist() == [50, 40, 40]
        assert report.lines() == ["1 of 3 times are missing in column time: taken for the earliest"]
    for unit, name in ((10**3, "milli"), (10**6, "micro"), (10**9, "nano")):
        content = f"user,item,rating,time\n1,2,3,{1588687728 * unit}\n1,3,4,{1588687729 * unit}\n"
        ratings, report = read_ratings_with_report(write(content))
        assert ratings.to_frame()["timestamp"].to_list() == [1588687728, 1588687729]
        assert report.lines() == [f"times in column time are in {name}seconds"]
    # A row that ends before its time may have lost a part of its rating.
    assert "row 3: has 3 columns instead of 4" in error_of(
        "user,item,rating,time\n1,2,3,50\n1,3,4\n"
    )


# Layouts ------------------------------------------------------------------------------------------

WIDE = "user,A,B,C,D\n1,3,,5,\n2,,4,1,2\n"
CELLS = [(1, "A", 3.0), (1, "C", 5.0), (2, "B", 4.0), (2, "C", 1.0), (2, "D", 2.0)]


def test_a_wide_table_is_recognised_in_every_format() -> None:
    frame = pl.read_csv(write(WIDE))
    nullable = frame.to_pandas().convert_dtypes()
    for source in (
        "r.csv",
        frame,
        frame.to_pandas(),
        nullable,
        write(frame.write_ndjson(), "r.jsonl"),
    ):
        ratings, report = read_ratings_with_report(source)
        assert ratings.to_frame().rows() == CELLS
        assert "a wide table: column user = user, the other columns = items" in report.taken


FORMS_OF_CELLS = {
    "stars": (["3 stars", "5 stars", ""], [3, 5]),
    "drawn": (["★★★", "★★★★★", "N/A"], [3, 5]),
    "percent": (["60%", "80%", ""], [60, 80]),
    "fraction": (["3/5", "4/5", "n/a"], [3, 4]),
    "yes-no": (["yes", "no", "Not Sure"], [1, 0]),
    "true": (["true", "false", ""], [1, 0]),
    "numbers": (["3", "5", "NA"], [3, 5]),
}


@pytest.mark.parametrize("header", ["user,A,B,C,D,E,F,G,H\n", "Who,A,B,C,D,E,F,G,H\n", ""])
@pytest.mark.parametrize("form", FORMS_OF_CELLS)
@pytest.mark.parametrize("name", ["{}", "ann{}"])
def test_wide_tables_of_every_form(form: str, header: str, name: str) -> None:
    """Without a header for users, or none at all: what its column holds tells."""
    (one, two, none), (first, second) = FORMS_OF_CELLS[form]
    cells = [[(one, two, none)[(u + k) % 3] for k in range(8)] for u in range(12)]
    users = [name.format(u + 4) for u in range(12)]
    lines = [",".join([user, *row]) + "\n" for user, row in zip(users, cells, strict=True)]
    items: list[Any] = [*"ABCDEFGH"] if header else [*range(1, 9)]
    ids: list[Any] = users if name != "{}" else [*map(int, users)]
    expected = [
        (ids[u], items[k], float(first if cell == one else second))
        for u, row in enumerate(cells)
        for k, cell in enumerate(row)
        if cell != none
    ]
    sources: list[Any] = [write(header + "".join(lines))]
    if header:
        frame = pl.read_csv("r.csv", infer_schema=form in ("true", "numbers"))
        frame = frame.with_columns(pl.nth(0).cast(pl.String if name != "{}" else pl.Int64))
        sources += [frame, frame.to_pandas(), write(frame.write_ndjson(), "r.jsonl")]
    for source in sources:
        ratings, report = read_ratings_with_report(source)
        assert ratings.to_frame().rows() == expected
        assert report.reading.layout == "wide"
        assert read_ratings(source, **report.reading).to_frame().equals(ratings.to_frame())


@pytest.mark.parametrize("word", ["NA", "nan", "NULL", "N/A", "None", ""])
def test_a_wide_table_that_is_mostly_empty(word: str) -> None:
    """As R writes it; one column holds nothing at all."""
    lines = "".join(
        f"{u},{word},{u % 5 + 1},{word},{3 if u == 9 else word}\n" for u in range(1, 10)
    )
    found = rows(f"user,A,B,C,D\n{lines}")
    assert found == [*((u, "B", u % 5 + 1) for u in range(1, 10)), (9, "D", 3)]


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        # A rating in another form, without names; and a name that is a word of one.
        (many("{u},{i},{r} stars"), "column 1 = user, 2 = item, 3 = rating"),
        (many("u{u},i{i},{r}%"), "column 1 = user, 2 = item, 3 = rating"),
        (many("u{u},i{i},yes,{r}"), "column 1 = user, 2 = item, 4 = count"),
        (many("u{u},i{i},yes", "1 2").replace("2,i0,yes", "2,i0,no"), "2 = item, 3 = rating"),
        ("who,item,like\n" + many("{u},{i},{r}"), "who = user, item = item, like = rating"),
        # Two users are no reason to take ratings for a column of users.
        ("A,B,C,D\n1,2,3,4\n2,2,3,4\n", "a row = a user, the other columns = items"),
    ],
)
def test_columns_that_hold_a_form(content: str, taken: str) -> None:
    how = {"user": "who", "rating": "like"} if content.startswith("who") else {}
    assert taken in read_ratings_with_report(write(content), **how)[1].taken


def test_the_layout_can_be_said() -> None:
    small = "who,A,B\n1,3,\n2,,4\n"
    assert "no user column is recognised" in error_of(small)
    assert rows(small, layout="wide", user="who") == [(1, "A", 3.0), (2, "B", 4.0)]
    assert rows("3,\n,4\n", layout="wide") == [(1, 1, 3.0), (2, 2, 4.0)]
    message = error_of(WIDE, layout="long")
    assert "no item column is recognised" in message
    assert "layout='wide' (--layout wide) if each row is a user" in message
    netflix = "101:\n7,3,2005-06-23\n8,4,2005-06-24\n\n102:\n7,5,2005-06-25\n"
    assert [row[:3] for row in rows(netflix)] == [(7, 101, 3.0), (8, 101, 4.0), (7, 102, 5.0)]
    assert error_of("101:\n7,3,2005-06-23\n8,x,2005-06-24\n").startswith(
        "r.csv, row 3, column rating: 'x'"
    )


def test_a_bad_cell_of_a_wide_table_is_named() -> None:
    message = error_of("user,A,B,C,D\n1,3,3,3,1\n2,1,4x,1,2\n")
    assert message.startswith("r.csv, row 3, column B: '4x' is not a number")


# Advice -------------------------------------------------------------------------------------------


def test_one_column_only_names_the_separator() -> None:
    message = error_of("user=item=rating\n1=2=3\n")
    assert "there is only one column, beginning with 'user=item=rating'" in message
    assert "separator= (on the command line --separator)" in message


@pytest.mark.parametrize("mark", ['"', '"\n', '"x', 'x"', '"";"', '""";""'])
def test_odd_quotation_marks_are_no_traceback(mark: str) -> None:
    """Polars panics over some of them, with what is no ordinary exception."""
    content = f'"user";"item";"rating"\n"1";"2";"3"\n"4";"5";"6"\n{mark}'
    for text in (content, content.replace(";", ","), f'"a";"b";3\n{mark}'):
        with suppress(DataError):
            read_ratings(write(text), on_bad="skip")


def test_one_column_is_not_both_user_and_item() -> None:
    for how in ({"user": "a", "item": "a"}, {"user": 1, "item": "a"}, {"user": 1, "item": 1}):
        message = error_of("a,b,rating\n1,2,3\n", **how)
        assert "column a is named as both user and item" in message


def test_thousands_of_columns_are_not_listed() -> None:
    header = ",".join(f"c{'x' * (k % 70)}{k}" for k in range(3000))
    for how in ({}, {"user": "nobody"}):
        message = error_of(f"{header}\n{'a,' * 2999}b\n", **how)
        assert len(message) < 800
        assert "more" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1,2\n1,3,4\n2,3,4\n2,4,5\n", "row 1: has 2 columns instead of 3"),
        ("u1,i1,abc\nu1,i2,3\nu2,i2,4\n", "no user column is recognised among u1, i1, abc"),
        ("1,2,x\n1,3,4\n2,3,4\n", "row 1, column 3: 'x' is not a number"),
    ],
)
def test_the_first_row_without_a_header_is_not_blamed_wrongly(content: str, said: str) -> None:
    assert said in error_of(content)
    if content.startswith("u1"):
        assert "row 1, column 3: 'abc'" in error_of(content, header=False)
