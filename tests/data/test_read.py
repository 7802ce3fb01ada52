"""Reading: every format, every kind of bad input, and real files, against plain references."""

import csv
import datetime
import gzip
import io
import logging
import math
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotbias.data.ratings import Ratings
from dotbias.data.read import (
    read_pairs,
    read_rated,
    read_ratings,
    read_ratings_with_report,
    read_titles,
)
from dotbias.data.scan import BadRow
from dotbias.errors import DataError, SettingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEADER = "userId,movieId,rating,timestamp\n"
FRAME = pl.DataFrame(
    {
        "user": ["ann", "bob", "cää", "ann"],
        "item": [30, 7, 7, -1],
        "rating": [4.5, 1.0, 3.0, 0.5],
        "timestamp": [881250949, 5, 1_700_000_000, 0],
    }
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one, so that files have short names in messages."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(content: str | bytes, name: str = "ratings.csv") -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


@contextmanager
def new_file() -> Iterator[Path]:
    """A file for one example of Hypothesis, whose examples share their fixtures."""
    with TemporaryDirectory() as folder:
        yield Path(folder, "ratings")


def rows(ratings: Ratings) -> list[tuple[Any, ...]]:
    return ratings.to_frame().rows()


def error_of(read: Callable[..., object], *args: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(*args, **options)
    return str(caught.value)


# Formats ------------------------------------------------------------------------------------------


def separated(separator: str, *, header: bool = True) -> bytes:
    lines = [FRAME.columns] if header else []
    lines += [[str(value) for value in row] for row in FRAME.rows()]
    return "".join(separator.join(line) + "\n" for line in lines).encode()


def binary(write: Callable[[pl.DataFrame, io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(FRAME, buffer)
    return buffer.getvalue()


FORMATS = {
    "CSV": separated(","),
    "TSV": separated("\t", header=False),
    "CSV (;)": separated(";"),
    "CSV (|)": separated("|"),
    "two-colon text": separated("::", header=False),
    "JSON lines": FRAME.write_ndjson().encode(),
    "Parquet": binary(pl.DataFrame.write_parquet),
    "Arrow IPC": binary(pl.DataFrame.write_ipc),
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    " (gzip)": gzip.compress,
    " (zstd)": zstd.compress,
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("format", FORMATS)
def test_formats_are_recognised_by_their_content(format: str, packing: str, folder: Path) -> None:
    source = folder / "no-ending"
    source.write_bytes(PACKINGS[packing](FORMATS[format]))
    ratings, report = read_ratings_with_report(source)
    assert ratings.to_frame().equals(FRAME.cast({"rating": pl.Float32}))
    assert (report.format, report.n_rows, report.lines()) == (format + packing, 4, [])
    assert report.source == str(source)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("format", ["Parquet", "Arrow IPC"])
@pytest.mark.usefixtures("folder")
def test_a_file_cut_short_is_refused(format: str, packing: str) -> None:
    packed = PACKINGS[packing](FORMATS[format])
    for size in (len(packed) // 2, len(packed) - 9):
        message = error_of(read_ratings, write(packed[:size]), on_bad="skip")
        assert message.startswith("ratings.csv: the file is damaged or cut short (")


@pytest.mark.parametrize("packing", [" (gzip)", " (zstd)"])
@pytest.mark.usefixtures("folder")
def test_packed_text_cut_short_is_refused(packing: str) -> None:
    packed = PACKINGS[packing](FORMATS["CSV"] * 100)
    for size in (12, len(packed) // 2, len(packed) - 1):
        message = error_of(read_ratings, write(packed[:size]), on_bad="skip")
        assert message.startswith("ratings.csv: the file is damaged or cut short (")


@pytest.mark.usefixtures("folder")
def test_gzip_members_one_after_the_other_are_one_file() -> None:
    write(gzip.compress(b"user,item,rating\n1,2,3\n") + gzip.compress(b"4,5,1\n"))
    assert rows(read_ratings("ratings.csv")) == [(1, 2, 3.0), (4, 5, 1.0)]


@pytest.mark.usefixtures("folder")
def test_byte_order_mark_windows_line_ends_and_no_last_line_end() -> None:
    write(b"\xef\xbb\xbfuser,item,rating\r\n1,2,3\r\n4,5,1")
    assert rows(read_ratings("ratings.csv")) == [(1, 2, 3.0), (4, 5, 1.0)]
    write(b"\xef\xbb\xbfwho,item,rating\n1,2,3\n")
    assert rows(read_ratings("ratings.csv", user="who")) == [(1, 2, 3.0)]


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="pipes have no paths here")
def test_a_pipe_is_read_once() -> None:
    """As in ``dotbias fit <(zcat ratings.gz)``: what was looked at to recognise it is gone."""
    reader, writer = os.pipe()
    os.write(writer, FORMATS["CSV"])
    os.close(writer)
    assert len(read_ratings(f"/dev/fd/{reader}")) == 4
    os.close(reader)


@pytest.mark.usefixtures("folder")
def test_a_file_name_is_not_a_pattern() -> None:
    for format in ("CSV", "Parquet", "Arrow IPC", "JSON lines"):
        assert len(read_ratings(write(FORMATS[format], "r[1]*"))) == 4


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_keep_their_order_through_parallel_parsing(suffix: str, tmp_path: Path) -> None:
    n = np.arange(300_000)
    frame = pl.DataFrame({"user": n, "item": n[::-1] % 1000, "rating": n % 97})
    path = tmp_path / f"many.{suffix}"
    if suffix == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    assert read_ratings(path).to_frame().equals(frame.cast({"rating": pl.Float32}))


# Folders, archives, named sets --------------------------------------------------------------------


def archive(members: dict[str, str | bytes]) -> str:
    with zipfile.ZipFile("set.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return "set.zip"


def unpacked(members: dict[str, str | bytes]) -> str:
    for name, content in members.items():
        Path("set", name).parent.mkdir(parents=True, exist_ok=True)
        write(content, f"set/{name}")
    return "set"


AT = 978300760
PACKED_9K = gzip.compress(f"1::2::3::{AT}\n".encode())
TITLED: dict[str, dict[str, str | bytes]] = {
    "ml-20m": {"ml/ratings.csv": f"{HEADER}1,2,3,{AT}\n", "ml/movies.csv": 'movieId,title\n2,"A, b"\n'},
    "ml-100k": {"u.data": f"1\t2\t3\t{AT}\n", "u1.base": "?", "u.item": "2|A, b|1995||\n"},
    "ml-1m": {"ratings.dat": f"1::2::3::{AT}\n", "movies.dat": "2::A, b::War\n", "users.dat": "1::M\n"},
    "tweets": {"ratings-9K.dat.gz": PACKED_9K, "movies-9K.dat": "2::A, b::\n"},
    "books": {"BX-Book-Ratings.csv": f"uid;isbn;score;date\n1;2;3;{AT}", "Books.csv": "id;name\n2;A, b"},
    "hidden": {
        "._ratings.csv": "?",
        "__MACOSX/ratings.csv": "?",
        "a/ratings.csv": f"1,2,3,{AT}",
        "a/items.csv": '2,"A, b"',
    },
}  # fmt: skip


@pytest.mark.parametrize("pack", [archive, unpacked])
@pytest.mark.parametrize("name", TITLED)
@pytest.mark.usefixtures("folder")
def test_ratings_and_titles_are_found_by_name(name: str, pack: Callable[..., str]) -> None:
    source = pack(TITLED[name])
    ratings, report = read_ratings_with_report(source)
    assert rows(ratings) == [(1, 2, 3.0, AT)]
    assert ratings.item_vocabulary.label(0) == "A, b"
    assert report.lines() == []
    assert read_titles(source).select("id", "title").rows() == [(2, "A, b")]


@pytest.mark.parametrize("pack", [archive, unpacked])
@pytest.mark.usefixtures("folder")
def test_members_of_other_names(pack: Callable[..., str]) -> None:
    one = {"log.tsv": "1\t2\t3\n", "readme.md": "?"}
    assert rows(read_ratings(pack(one))) == [(1, 2, 3.0)]
    message = error_of(read_ratings, pack({**one, "b/more.csv": "?"}))
    assert "none of its files is named like ratings.csv" in message
    assert "b/more.csv" in message


@pytest.mark.usefixtures("folder")
def test_unreadable_titles_beside_the_ratings_are_no_error() -> None:
    members: dict[str, str | bytes] = {"ratings.csv": HEADER + "1,2,3,4\n", "movies.csv": "a\nb\n"}
    ratings, report = read_ratings_with_report(archive(members))
    assert ratings.item_vocabulary.titles is None
    assert report.lines()[0].startswith("no titles: set.zip/movies.csv: there is only one column")
    with pytest.raises(DataError, match="there is only one column"):
        read_ratings("set.zip", titles=unpacked(members) + "/movies.csv")


@pytest.mark.usefixtures("folder")
def test_damaged_archives_are_refused() -> None:
    whole = Path(archive({"ratings.csv": HEADER + "1,2,3,4\n" * 100})).read_bytes()
    assert "damaged or cut short" in error_of(read_ratings, write(whole[:-30], "set.zip"))
    at = whole.index(b"ratings.csv") + 15
    altered = whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
    assert "damaged or cut short" in error_of(read_ratings, write(altered, "set.zip"))


@pytest.mark.usefixtures("folder")
def test_an_archive_that_leads_outside_is_refused() -> None:
    assert "refused" in error_of(read_ratings, archive({"../ratings.csv": "1,2,3\n"}))


def test_named_set(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOTBIAS_CACHE", str(tmp_path))
    shutil.copy(data_dir / "ml-latest-small.zip", tmp_path)
    assert len(read_ratings("ml-latest-small", scale=(0.5, 5))) == 100_836


@pytest.mark.usefixtures("folder")
def test_no_such_file() -> None:
    message = error_of(read_ratings, "nothing.csv")
    assert message.startswith("nothing.csv: there is no such file")
    assert "ml-latest-small, ml-100k, ml-1m" in message


# Columns ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "user,item,rating,time",
        "userId,movieId,rating,timestamp",
        "USER_ID,Item ID,Stars,Date",
        "reviewerID,asin,overall,unixReviewTime",
        "customer_id,product_id,star-rating,datetime",
        "uid,book_id,book_rating,unix_time",
        '"User-ID","ISBN","Book-Rating","timestamp"',
        "uid,iid,value,time",
    ],
)
@pytest.mark.usefixtures("folder")
def test_usual_column_names(header: str) -> None:
    assert rows(read_ratings(write(f"{header}\n1,2,3,4\n"))) == [(1, 2, 3.0, 4)]


@pytest.mark.usefixtures("folder")
def test_the_likelier_of_two_column_names_wins_in_any_order() -> None:
    write("asin,reviewerID,reviewTime,movieId,user,unixReviewTime,rating\n9,9,x,2,1,4,3\n")
    assert rows(read_ratings("ratings.csv")) == [(1, 2, 3.0, 4)]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("b,a,c,d\n2,1,3,4\n", {"user": "a", "item": "b", "rating": "c", "time": "d"}),
        ("b,a,c,d\n2,1,3,4\n", {"user": 2, "item": 1, "rating": 3, "time": 4}),
        ("b,a,c,d\n2,1,3,4\n", {"user": "2", "item": "1", "rating": "3", "time": "4"}),
        ("2,1,3,4\n", {"user": 2, "item": "1", "time": 4}),
        ("3,1,2,x,4\n", {"rating": 1, "user": 2, "item": 3, "time": 5}),
        ("user,item,rating,time,other\n9,2,3,4,1\n", {"user": "other"}),
        ("item,user,rating,time\n1,2,3,4\n", {"user": "item", "item": "user"}),
    ],
)
@pytest.mark.usefixtures("folder")
def test_named_and_numbered_columns(content: str, options: dict[str, Any]) -> None:
    assert rows(read_ratings(write(content), **options)) == [(1, 2, 3.0, 4)]


@pytest.mark.usefixtures("folder")
def test_unknown_columns_are_listed_with_the_options() -> None:
    message = error_of(read_ratings, write("who,movie,rating\n1,2,3\n"))
    assert "no user column is recognised among who, movie, rating" in message
    for option in ("user=", "rating=", "--user-column", "--time-column"):
        assert option in message
    message = error_of(read_ratings, "ratings.csv", user="whom")
    assert message == "ratings.csv: no column 'whom' among who, movie, rating"
    assert "no column 4 among" in error_of(read_ratings, "ratings.csv", user=4)
    message = error_of(read_ratings, write("1\t2\tx\n"))
    assert "no rating column is recognised among 1, 2, 3" in message
    assert "pass kind='events' (--kind events)" in message


# Ids ----------------------------------------------------------------------------------------------

# What is blank, or a word for nothing, is no id.
NO_IDS = (
    "NULL",
    "Null",
    "null",
    "\\N",
    "NA",
    "<NA>",
    "N/A",
    "n/a",
    "nan",
    "NaN",
    "NAN",
    "None",
    "NaT",
)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
texts = texts.filter(lambda text: text.strip() and text.strip() not in NO_IDS)
numerals = st.sampled_from(["0", "7", "-7", "007", "+7", "-0", "00", "7.0", "1e3", " 7", "7 "])
quoted = st.sampled_from(["a,b", 'say "x"', '"', "a\nb", ",", "::"])
integers = st.integers(-(2**63), 2**63 - 1)


def as_read(ids: list[str]) -> list[int] | list[str]:
    """Integers if every id is written as a whole number, else the same text without blanks around it."""
    ids = [text.strip() for text in ids]
    whole = [re.sub(r"^(-?[0-9]+)\.0+$", r"\1", text) for text in ids]
    if whole != ids and (found := as_read(whole)) != whole:
        return found
    canonical = all(re.fullmatch(r"0|-?[1-9][0-9]*", text) for text in ids)
    if canonical and all(-(2**63) <= int(text) < 2**63 for text in ids):
        return [int(text) for text in ids]
    return ids


def csv_of(ids: list[Any], quoting: int) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=quoting, lineterminator="\n")
    writer.writerows([("user", "item", "rating"), *((id, k, 3) for k, id in enumerate(ids))])
    return buffer.getvalue().encode()


@settings(max_examples=60)
@given(
    st.lists(texts | numerals | quoted, min_size=1, max_size=8)
    | st.lists(numerals, min_size=1, max_size=3)
    | st.lists(integers.map(str), min_size=1, max_size=8),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_ids_come_back_as_they_were(ids: list[str], quoting: int) -> None:
    with new_file() as path:
        path.write_bytes(csv_of(ids, quoting))
        assert read_ratings(path, quote='"').to_frame()["user"].to_list() == as_read(ids)


@settings(max_examples=30)
@given(st.lists(texts | numerals | quoted, min_size=1, max_size=8) | st.lists(integers, min_size=1))
def test_ids_of_frames_come_back_as_they_were(ids: list[Any]) -> None:
    frame = pl.DataFrame({"user": ids, "item": range(len(ids)), "rating": 3.0})
    expected = [id.strip() if isinstance(id, str) else id for id in ids]
    for source in (frame, frame.lazy(), frame.to_pandas()):
        assert read_ratings(source).to_frame()["user"].to_list() == expected
    with new_file() as path:
        frame.write_ndjson(path)
        assert read_ratings(path).to_frame()["user"].to_list() == expected


@pytest.mark.parametrize("text", ["007", "+7", "-0", "00", "7.5", "7e0", str(2**63)])
@pytest.mark.usefixtures("folder")
def test_one_id_that_is_not_written_as_an_integer_makes_the_column_text(text: str) -> None:
    write(f"user,item,rating\n8,{text},1\n{text},9,2\n")
    assert rows(read_ratings("ratings.csv")) == [("8", text, 1.0), (text, "9", 2.0)]


@pytest.mark.usefixtures("folder")
def test_a_bad_row_does_not_decide_what_the_ids_are() -> None:
    write("user,item,rating\nuser,item,rating\n,x,\n7,8,3\n")
    assert rows(read_ratings("ratings.csv", on_bad="skip")) == [(7, 8, 3.0)]


@pytest.mark.usefixtures("folder")
def test_one_late_id_makes_the_whole_column_text() -> None:
    ids = [str(k) for k in range(5000)] + ["007"]
    write(csv_of(ids, csv.QUOTE_MINIMAL))
    ratings = read_ratings("ratings.csv")
    assert ratings.to_frame()["user"].to_list() == ids
    assert ratings.to_frame()["item"].to_list() == list(range(5001))


# Bad rows -----------------------------------------------------------------------------------------

MISSING, NO_NUMBER, NOT_FINITE, OUTSIDE, NO_TIME = (
    "missing",
    "is not a number",
    "is not a finite number up to 1e+18 in size",
    "is outside the scale 1-5",
    "is not a time (seconds since 1970, or an ISO date)",
)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,3,,5", "column rating: missing"),
        ("1,3,abc,5", "column rating: 'abc' is not a number"),
        ("1,3,4;5,5", "column rating: '4;5' is not a number"),
        ("1,3,NaN,5", "column rating: 'NaN' is not a finite number up to 1e+18 in size"),
        ("1,3,-inf,5", "column rating: '-inf' is not a finite number up to 1e+18 in size"),
        ("1,3,1e39,5", "column rating: '1e39' is not a finite number up to 1e+18 in size"),
        ("1,3,0.5,5", "column rating: '0.5' is outside the scale 1-5"),
        ("1,3,6,5", "column rating: '6' is outside the scale 1-5"),
        (",3,4,5", "column userId: missing"),
        ('1,"",4,5', "column movieId: missing"),
        ("1,3,4,soon", f"column timestamp: 'soon' {NO_TIME}"),
        ("1,3", "has 2 columns instead of 4"),
        ("1,3,4", "has 3 columns instead of 4"),
        ("1,3,4,5,6", "has 5 columns instead of 4"),
        ("1,3,4,5,6,7,8", "has 7 columns instead of 4"),
        (f"1,3,{'x' * 99},5", f"column rating: '{'x' * 56}... is not a number"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_bad_row_is_named_or_skipped(row: str, message: str) -> None:
    source = write(f"{HEADER}1,2,3,4\n{row}\n2,2,5,4\n")
    where = f"row 3, {message}" if message.startswith("column") else f"row 3: {message}"
    said = error_of(read_ratings, source, scale=(1, 5))
    assert said.startswith(f"ratings.csv, {where}; pass on_bad=")
    assert "--on-bad skip" in said
    ratings, report = read_ratings_with_report(source, scale=(1, 5), on_bad="skip")
    assert rows(ratings) == [(1, 2, 3.0, 4), (2, 2, 5.0, 4)]
    assert report.lines() == [f"skipped 1 bad row of 3, the first: {where}"]


@pytest.mark.parametrize(
    ("format", "content"),
    [
        ("two-colon text", "1::2::3\n\n1::3::x\n"),
        ("TSV", "1\t2\t3\n\n1\t3\tx\n"),
        ("CSV", '"a\nb",2,3\n1,3,x\n'),
        ("CSV", '1,2,3\n\n"a\nb",3,x\n'),
        ("JSON lines", '{"user": 1, "item": 2, "rating": 3}\n\n{"user":1,"item":3,"rating":"x"}\n'),
    ],
)
@pytest.mark.usefixtures("folder")
def test_rows_are_lines_of_the_file(format: str, content: str) -> None:
    column = "rating" if format == "JSON lines" else "3"
    ratings, report = read_ratings_with_report(write(content), on_bad="skip")
    assert (report.format, len(ratings)) == (format, 1)
    assert report.bad_sample == (BadRow(3, column, "'x'", NO_NUMBER),)


@pytest.mark.usefixtures("folder")
def test_json_lines() -> None:
    good = '{"user": "a", "tags": [1], "item": 1, "rating": 4.5}\n'
    bad = ['{"user": "b", "it', "[1]", '{"user": "b", "item": 2, "rating": NaN}', "{}"]
    bad += ['{"user": null, "item": 2, "rating": 3}', '{"user": "b", "item": 2, "rating": [3]}']
    write(good + "\n".join(bad) + "\n" + good.replace("4.5", '"2"').replace('"a"', '"c"'))
    message = error_of(read_ratings, "ratings.csv")
    assert message.startswith("ratings.csv, row 2: is not a JSON object (the first of 6 such rows)")
    ratings, report = read_ratings_with_report("ratings.csv", on_bad="skip")
    assert rows(ratings) == [("a", 1, 4.5), ("c", 1, 2.0)]
    assert [str(row) for row in report.bad_sample] == [
        "row 2: is not a JSON object",
        "row 3: is not a JSON object",
        "row 4: is not a JSON object",
        "row 5, column user: missing",
        "row 6, column user: missing",
    ]
    assert "neither with one object on each line" in error_of(read_ratings, write("[1, 2]"))


USERS = st.sampled_from(["1", "2", "x", ""])
ITEMS = st.sampled_from(["7", "8", "9", "9,9", ""])
VALUES = st.sampled_from(["3", "4.5", " 2 ", "1", "9", "", "abc", "nan", "-inf", "1_0"])
TIMES = st.sampled_from(["50000", "60000", "70000.5", "2001-01-01", "", "soon"])


def fault(cells: list[str]) -> tuple[str, str, str] | None:
    """What is wrong with a row: column, value shown, reason."""
    if len(cells) != 4:
        return "", "", f"has {len(cells)} columns instead of 4"
    user, item, rating, time = cells
    for column, value in (("userId", user), ("movieId", item)):
        if value == "":
            return column, "", MISSING
    if rating == "":
        return "rating", "", MISSING
    if not re.fullmatch(r" ?[0-9.]+ ?|nan|-inf", rating):
        return "rating", repr(rating), NO_NUMBER
    if not math.isfinite(float(rating)):
        return "rating", repr(rating), NOT_FINITE
    if not 1 <= float(rating) <= 5:
        return "rating", repr(rating), OUTSIDE
    return ("timestamp", repr(time), NO_TIME) if time == "soon" else None


row_of_cells = st.tuples(USERS, ITEMS, VALUES, TIMES).map(list)
misshapen = st.builds(lambda row, n: (row * 2)[:n], row_of_cells, st.sampled_from([0, 2, 5, 6]))
good_cells = ["1", "7", "3", "50000"]
good_row = st.just(good_cells)


@settings(max_examples=100)
@given(st.lists(row_of_cells | misshapen | good_row, min_size=1, max_size=12), st.booleans())
def test_bad_rows_against_a_plain_reader(table: list[list[str]], quote: bool) -> None:
    with new_file() as path:
        with path.open("w", newline="") as file:
            file.write(HEADER)
            how = csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL
            csv.writer(file, quoting=how, lineterminator="\n").writerows([*table, good_cells])
        table = [*table, good_cells]
        numbered = [(line, row) for line, row in enumerate(table, 2) if any(row)]
        bad = [(line, wrong) for line, row in numbered if (wrong := fault(row))]
        good = [row for _, row in numbered if not fault(row)]
        read = lambda on_bad: read_ratings_with_report(  # noqa: E731
            path, scale=(1, 5), on_bad=on_bad, time="timestamp", duplicates="mean", missing="none"
        )
        if bad:
            with pytest.raises(DataError, match=rf"row {bad[0][0]}\b"):
                read("error")
        ratings, report = read("skip")
        assert (report.n_rows, report.n_bad) == (len(numbered), len(bad))
        assert report.bad_sample == tuple(BadRow(line, *wrong) for line, wrong in bad[:5])
        assert report.n_duplicates == len(good) - len({(row[0], row[1]) for row in good})
        mean = {
            key: [float(r[2]) for r in good if (r[0], r[1]) == key]
            for key in {(r[0], r[1]) for r in good}
        }
        found = {(str(u), str(i)): value for u, i, value, *_ in rows(ratings)}
        assert found == pytest.approx({key: np.mean(values) for key, values in mean.items()})


@pytest.mark.parametrize("content", ["", "\n\n", " \n"])
@pytest.mark.usefixtures("folder")
def test_empty_file(content: str) -> None:
    assert error_of(read_ratings, write(content)) == "ratings.csv: the file is empty"
    assert "is empty" in error_of(read_ratings, write(gzip.compress(content.encode())))


@pytest.mark.usefixtures("folder")
def test_header_only_and_nothing_but_bad_rows() -> None:
    for content in (HEADER, HEADER.strip(), f"\n{HEADER}\n\n,,,\n"):
        assert error_of(read_ratings, write(content)) == "ratings.csv: there are no rows"
    message = error_of(read_ratings, write(HEADER + "1,2,x,4\n1,3,y,4\n"), on_bad="skip")
    assert message.startswith(
        "ratings.csv: all 2 rows are bad, the first: row 2, column rating: 'x'"
    )


@pytest.mark.parametrize(
    "content", [bytes(range(256)), "user,item".encode("utf-16-le"), b"\x89PNG\r\n\0"]
)
@pytest.mark.usefixtures("folder")
def test_binary_file(content: bytes) -> None:
    assert "a binary file" in error_of(read_ratings, write(content))


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (HEADER + '1,2,3,4\n1,"2"x,3,4\n1,3,4,5\n', 3),
        (HEADER + '1,2,3,4\n1,"2,3,4\n1,3,4,5\n', 3),
        (HEADER + '1,2,3,4\n1,2" x,3,4\n1,3,4,5\n', 3),
    ],
)
@pytest.mark.usefixtures("folder")
def test_misplaced_quotation_marks(content: str, row: int) -> None:
    message = error_of(read_ratings, write(content), on_bad="skip")
    assert message.startswith(f"ratings.csv, row {row}: not well-formed CSV")


def test_two_parsers_that_disagree_on_quotation_marks_still_make_a_message() -> None:
    """Polars sees three rows here and the csv module one: there was no third row to show."""
    with new_file() as path:
        path.write_text('user,item,rating\n""b "\n"\n1,2,x\n1,3,y\n')
        assert "quotation mark" in error_of(read_ratings, path)


@pytest.mark.usefixtures("folder")
def test_spaces_around_the_table() -> None:
    ratings = read_ratings(write("\n\nuser , item,RATING\n\n1,2, 3 \n,,\n\n4,5,1\n\n"))
    assert rows(ratings) == [(1, 2, 3.0), (4, 5, 1.0)]


@pytest.mark.parametrize("at", [0, 5000])
@pytest.mark.usefixtures("folder")
def test_latin_1_is_read_with_a_notice(at: int) -> None:
    lines = [f"u{k},{k},{k % 5}" for k in range(10_000)]
    lines.append("u1,0,4")
    lines[at] = "café,0,3"
    write("\n".join(["user,item,rating", *lines]).encode("latin-1"))
    ratings, report = read_ratings_with_report("ratings.csv")
    assert ratings.user_vocabulary.raw(ratings.user_indices[at]) == "café"
    assert report.reading.encoding == "cp1252"
    assert report.lines() == [
        "not UTF-8: read as Windows-1252; pass encoding= (on the command line --encoding), such as "
        "cp1251 or gb18030, if names look wrong"
    ]
    wide = ["user,a,b,c,d", *(f"u{k},{k % 5},{k % 4},{k % 3},4" for k in range(10_000))]
    wide[1 + at] = "café,1,2,3,4"
    write("\n".join(wide).encode("latin-1"))
    ratings, again = read_ratings_with_report("ratings.csv", layout="wide")
    assert "café" in ratings.user_vocabulary.ids
    assert again.reading.encoding == "cp1252"
    assert "not UTF-8: read as Windows-1252" in " ".join(again.lines())
    write('{"user": "café", "item": 1, "rating": 2}\n'.encode("latin-1"))
    assert rows(read_ratings("ratings.csv")) == [("café", 1, 2.0)]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("on_bad", "ignore"),
        ("duplicates", "first"),
        ("scale", (5, 1)),
        ("scale", (1, 1)),
        ("scale", (0, math.inf)),
        ("scale", (math.nan, 5)),
    ],
)
def test_options_outside_their_range(option: str, value: Any) -> None:
    with pytest.raises(SettingError, match=f"^{option}="):
        read_ratings(FRAME, **{option: value})


def test_the_ends_of_the_scale_are_inside_whatever_the_rounding() -> None:
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 1], "rating": [0.7, 1.1]})
    assert float(np.float32(0.7)) < 0.7
    assert float(np.float32(1.1)) > 1.1
    assert read_ratings(frame, scale=(0.7, 1.1)).scale == (0.7, 1.1)


@pytest.mark.parametrize("values", [[3], [3, 3, 3]])
def test_one_rating_and_a_constant_rating_are_read(values: list[int]) -> None:
    frame = pl.DataFrame({"user": range(len(values)), "item": 1, "rating": values})
    ratings = read_ratings(frame)
    assert (len(ratings), ratings.n_items, ratings.scale) == (len(values), 1, (3, 3))


# Times --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1537995001", 1537995001),
        ("-5", -5),
        ("1537995001.75", 1537995001),
        ("2018-09-26", 1537920000),
        ("2018-09-26 20:50", 1537995000),
        ("2018-09-26T20:50:01", 1537995001),
        ("2018-09-26 20:50:01.25", 1537995001),
        ("2018-09-26T20:50:01Z", 1537995001),
        ("2018-09-26T22:50:01+02:00", 1537995001),
        (" 1969-12-31 ", -86400),
    ],
)
@pytest.mark.usefixtures("folder")
def test_times(text: str, seconds: int) -> None:
    assert rows(read_ratings(write(HEADER + f"1,2,3,{text}\n"))) == [(1, 2, 3.0, seconds)]
    mixed = read_ratings(write(HEADER + f"1,2,3,{text}\n1,3,3,70000\n"))
    assert mixed.to_frame()["timestamp"].to_list() == [seconds, 70_000]


@pytest.mark.usefixtures("folder")
def test_what_is_left_of_a_date_is_no_time() -> None:
    """A file was cut short in the last date, and 200 was the second in which it was rated."""
    for rest in ("200", "20", "2018", "201-02-03"):
        said = error_of(read_ratings, write(HEADER + f"1,2,3,2018-09-26\n1,3,3,{rest}"))
        assert said.startswith(f"ratings.csv, row 3, column timestamp: '{rest}' is not a time")


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_of_frames(unit: Any) -> None:
    moment = datetime.datetime(2018, 9, 26, 20, 50, 1)
    times = pl.Series("date", [moment, moment]).cast(pl.Datetime(unit))
    frame = pl.DataFrame([pl.Series("user", [1, 2]), pl.Series("item", [1, 1]), times])
    frame = frame.with_columns(rating=3)
    for source in (frame, frame.to_pandas(), frame.with_columns(pl.col("date").dt.epoch("s"))):
        assert read_ratings(source).to_frame()["timestamp"].to_list() == [1537995001] * 2
    days = read_ratings(frame.with_columns(pl.col("date").cast(pl.Date)))
    assert days.to_frame()["timestamp"].to_list() == [1537920000] * 2


@pytest.mark.usefixtures("folder")
def test_a_column_of_other_times_is_left_out_unless_it_was_named() -> None:
    write("user,item,rating,date\n007,1,3,spring of 2018\n7,1,4,last week\n")
    ratings, report = read_ratings_with_report("ratings.csv")
    assert rows(ratings) == [("007", 1, 3.0), ("7", 1, 4.0)]
    assert report.lines() == ["column date holds no times that can be read: left out"]
    assert "'spring of 2018' is not a time" in error_of(read_ratings, "ratings.csv", time="date")


# Duplicates ---------------------------------------------------------------------------------------

rated = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4))


@settings(max_examples=60)
@given(st.lists(rated, min_size=1, max_size=25), st.booleans())
def test_duplicates_against_a_dictionary(table: list[tuple[int, ...]], timed: bool) -> None:
    frame = pl.DataFrame(table, schema=["user", "item", "rating", "time"], orient="row")
    frame = frame if timed else frame.drop("time")
    last: dict[tuple[int, int], int] = {}
    for row, (user, item, _, time) in enumerate(table):
        if not timed or time >= table[last.get((user, item), row)][3]:
            last[user, item] = row
    kept = sorted(last.values())

    ratings, report = read_ratings_with_report(frame)
    assert report.n_duplicates == len(table) - len(kept)
    assert [row[:3] for row in rows(ratings)] == [table[row][:3] for row in kept]
    if timed:
        assert ratings.times is not None
        assert ratings.times.tolist() == [table[row][3] for row in kept]

    values = {pair: [r[2] for r in table if r[:2] == pair] for pair in last}
    means = read_ratings(frame, duplicates="mean")
    for user, item, value, *_ in rows(means):
        assert value == pytest.approx(np.mean(values[user, item]))
    assert means.user_indices.tolist() == ratings.user_indices.tolist()

    if len(kept) == len(table):
        assert rows(read_ratings(frame, duplicates="error")) == rows(ratings)
    else:
        again = next(k for k in range(len(table)) if table[k][:2] in [r[:2] for r in table[:k]])
        first = [r[:2] for r in table].index(table[again][:2])
        assert f"rows {first + 1} and {again + 1}: " in error_of(
            read_ratings, frame, duplicates="error"
        )


@pytest.mark.usefixtures("folder")
def test_duplicates_are_reported_and_named_by_line() -> None:
    write("\n" + HEADER + "a,2,3,9\na,1,x,3\nb,2,2,2\na,2,4,4\n")
    message = error_of(read_ratings, "ratings.csv", duplicates="error", on_bad="skip")
    assert message.startswith("ratings.csv, rows 3 and 6: both rate user 'a', item 2; pass dup")
    for duplicates, kept in (("last", "the last by time"), ("mean", "their mean")):
        _, report = read_ratings_with_report("ratings.csv", duplicates=duplicates, on_bad="skip")
        assert report.lines()[1] == f"1 repeated (user, item) pair: kept {kept}"
        assert (report.n_rows, report.n_bad, report.n_duplicates) == (4, 1, 1)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "options", "rows"),
    [
        (HEADER + "a,2,3,9\nb,1,-1,3\nc,2,2,2\na,2,4,4\n", {"missing": "-1"}, "2 and 5"),
        ("user,x,y,z,w\na,1,2,3,4\nb,1,2,3,4\na,1,2,3,4\n", {}, "2 and 4"),
        ("7:\n1,3,2005-09-06\n2,4,2005-09-06\n8:\n1,4,2005-09-06\n8:\n1,5,2005-09-06\n", {}, "5 and 7"),
    ],
    ids=["after a code for no rating", "wide", "Netflix"],
)  # fmt: skip
def test_duplicates_are_named_by_line_whatever_stands_between(
    text: str, options: Any, rows: str
) -> None:
    """Their numbers were those among the ratings."""
    message = error_of(read_ratings, write(text), duplicates="error", **options)
    assert message.startswith(f"ratings.csv, rows {rows}: both rate"), message


def test_pairs_beyond_four_bytes() -> None:
    """Numbers of pairs that wrapped around at 2**32 would find a repeat where there is none."""
    users = np.arange(2**16 + 1)
    frame = pl.DataFrame({"user": users, "item": users % 2**16, "rating": 1})
    assert read_ratings_with_report(frame)[1].n_duplicates == 0
    again = pl.concat([frame, frame[5]])
    assert read_ratings_with_report(again)[1].n_duplicates == 1


# Frames -------------------------------------------------------------------------------------------


def test_numbered_columns_of_a_pandas_frame() -> None:
    """Numbers used to count only the columns that were picked."""
    frame = pd.DataFrame({"x": [9], "a": [1], "b": [2], "c": [3.0], "d": [4]})
    found = read_ratings(frame, user=2, item="3", rating=4, time="d")
    assert rows(found) == [(1, 2, 3.0, 4)]
    assert read_ratings(frame, user=2, item=3, kind="events").kind == "events"


def test_pandas_frames() -> None:
    frame = pd.DataFrame(
        {"user": ["u", "v", None], "item": [1.0, np.nan, 3.0], "rating": [4, 5, 6], 0: "other"},
        index=pd.Index([7, 7, 7], name="user"),
    )
    assert error_of(read_ratings, frame).startswith("the frame, row 2, column item: missing")
    ratings, report = read_ratings_with_report(frame, on_bad="skip")
    assert rows(ratings) == [("u", 1, 4.0)]
    assert (report.source, report.format) == ("the frame", "pandas frame")
    mixed = pd.DataFrame({"user": [1, "x"], "item": [1, 2], "rating": [4, 5]})
    assert "mixed types" in error_of(read_ratings, mixed)
    unnamed = pd.DataFrame([["ann", 1, 5], [7, 2, 4]])
    assert "mixed types" in error_of(read_ratings, unnamed)
    assert rows(read_ratings(frame[:1].astype({"user": "category"}))) == [("u", 1, 4.0)]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("user", [1.0, 2.5], "row 2, column user: 2.5 is neither an integer nor text"),
        ("user", [1.0, math.nan], "row 2, column user: missing"),
        ("user", [True, False], "column user: Boolean cannot be used as user"),
        ("item", [None, 2], "row 1, column item: missing"),
        ("rating", [[1], [2]], "column rating: List(Int64) cannot be used as rating"),
        ("rating", [1.0, math.nan], "row 2, column rating: nan is not a finite number"),
        ("user", ["x", "NULL"], "row 2, column user: missing"),
        ("rating", ["3", "x"], "row 2, column rating: 'x' is not a number"),
    ],
)
def test_bad_columns_of_frames(column: str, values: list[Any], message: str) -> None:
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 2], "rating": [3, 4]})
    frame = frame.with_columns(pl.Series(column, values))
    assert f"the frame, {message}" in error_of(read_ratings, frame)
    assert "the frame: there are no rows" in error_of(read_ratings, frame.clear().cast(pl.Int64))


def test_a_column_of_times_of_the_day_is_left_out_unless_it_is_named() -> None:
    of_day = [datetime.time(12), datetime.time(13)]
    frame = pl.DataFrame({"user": [1, 2], "item": [1, 2], "rating": [3, 4], "time": of_day})
    ratings, report = read_ratings_with_report(frame)
    assert len(ratings) == 2
    assert "column time holds no times that can be read: left out" in report.notices
    assert "row 1, column time: " in error_of(read_ratings, frame, time="time")


@pytest.mark.parametrize("source", [[1, 2], 7, None, pd.Series([1])])
def test_what_is_no_source(source: Any) -> None:
    assert "pass a path or a frame" in error_of(read_ratings, source)


# Titles and pairs ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_titles() -> None:
    write("movieId,title,genres\n1,A,x\n2,\n,C\n3,D, with a comma,x\n4,E\n", "movies.csv")
    assert read_titles("movies.csv").rows() == [(1, "A", "x"), (4, "E", None)]
    frame = pl.DataFrame({"user": [1, 1], "item": ["1", "9"], "rating": [1, 2]})
    titled = read_ratings(frame, titles="movies.csv").item_vocabulary
    assert (titled.label(0), titled.label(1)) == ("A", "9")
    books = pd.DataFrame({"Book-Title": ["A", "B"], "ISBN": ["01", "9"]})
    assert read_titles(books).rows() == [("01", "A"), ("9", "B")]
    assert read_ratings(frame, titles=books).item_vocabulary.label(1) == "B"
    assert "a, b, title; in a file of titles call the columns id and title" in error_of(
        read_titles, write("a\tb\ttitle\n1\t2\t3\n")
    )
    assert "row 2, column title: missing" in error_of(read_titles, write("id,title\n1,\n"))


@pytest.mark.usefixtures("folder")
def test_genres_come_along_with_titles() -> None:
    write("movieId,title,genres\n1,A,x|y\n2,B,\n9,C,(no genres listed)\n", "movies.csv")
    assert read_titles("movies.csv").rows() == [(1, "A", "x|y"), (2, "B", None), (9, "C", None)]
    frame = pl.DataFrame({"user": [1, 1], "item": ["1", "7"], "rating": [1, 2]})
    items = read_ratings(frame, titles="movies.csv").item_vocabulary
    assert items.genres is not None
    assert items.genres.to_list() == ["x|y", None]
    assert read_titles(write("1::A::x|y\n2::B::z\n")).rows() == [(1, "A", "x|y"), (2, "B", "z")]
    lists = pl.DataFrame({"item": [1, 2], "name": ["A", "B"], "Category": [["x", "y"], []]})
    assert read_titles(lists).rows() == [(1, "A", "x|y"), (2, "B", None)]
    for genres, expected in (
        ('["x", "Comédie [y]"]', "x|Comédie [y]"),
        ('[["x", "y"]]', "x|y"),
        ('["x", null]', "x"),
        ("[]", None),
        ("null", None),
        ('"x|y"', "x|y"),
    ):
        line = f'{{"item": 1, "title": "A", "categories": {genres}}}\n'
        assert read_titles(write(line, "items.jsonl")).rows() == [(1, "A", expected)]


@pytest.mark.usefixtures("folder")
def test_the_third_of_many_columns_without_names_is_no_genre() -> None:
    assert read_titles(write("1|A (1995)|01-Jan-1995|x\n")).columns == ["id", "title"]


@pytest.mark.usefixtures("folder")
def test_pairs() -> None:
    assert read_pairs(write("item,userId\n2,01\n3,1\n")).rows() == [("01", 2), ("1", 3)]
    assert read_pairs(write("1\t2\n1\t2\n")).rows() == [(1, 2), (1, 2)]
    assert read_pairs(write("1\t2\t5\n"), user=2, item="1").rows() == [(2, 1)]
    assert read_pairs(FRAME).columns == ["user", "item"]
    kept = read_pairs(write("id,userId,item,basis\n7,1,2,x\n\n8,3,4,y\n"), keep=True)
    assert kept.columns == ["user", "item", "id", "basis of the file"]
    assert kept.rows() == [(1, 2, "7", "x"), (3, 4, "8", "y")]
    lines = '{"user": 1, "item": 2, "tags": ["a"], "score": 0.5}\n'
    assert read_pairs(write(lines), keep=True).rows() == [(1, 2, '["a"]', "0.5")]
    nested = pl.DataFrame({"item": [2], "tags": [["a"]], "user": ["x"], "n": [1.5]})
    assert read_pairs(nested, keep=True).rows() == [("x", 2, 1.5)]
    assert read_pairs(write("1\t2\t5\n"), keep=True).rows() == [(1, 2, "5")]
    assert read_pairs(write("1\t2\n"), keep=True).rows() == [(1, 2)]
    assert error_of(read_pairs, write("user,item\n1,2\n,3\n")) == (
        "ratings.csv, row 3, column user: missing"
    )


# Counts and events --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        # Named columns.
        ("user_id,item_id\n1,2\n3,4\n", "events", [(1, 2), (3, 4)]),
        ("user,item,timestamp\n1,2,5\n3,4,6\n", "events", [(1, 2, 5), (3, 4, 6)]),
        (",user,item,title\n0,1,2,x\n1,3,4,y\n", "events", [(1, 2), (3, 4)]),
        ("user,item,Play_Count\n1,2,30\n3,4,1\n", "counts", [(1, 2, 30.0), (3, 4, 1.0)]),
        ("qty,user,item,date\n1.5,1,2,7\n", "counts", [(1, 2, 1.5, 7)]),
        ("user,item,count,rating\n1,2,30,5\n", "ratings", [(1, 2, 5.0)]),
        ('{"user": 1, "item": 2, "n": 9}\n', "counts", [(1, 2, 9.0)]),
        ('{"user": 1, "item": 2}\n', "events", [(1, 2)]),
        # Columns by place.
        ("1,2\n3,4\n", "events", [(1, 2), (3, 4)]),
        ("1\t2\t881250949\n3\t4\t881250950\n", "events", [(1, 2, 881250949), (3, 4, 881250950)]),
        (
            "ann,x,1970-01-02\nbob,y,1970-01-03\n",
            "events",
            [("ann", "x", 86400), ("bob", "y", 172800)],
        ),
        (
            "a,x,Abba,7\na,y,1984,8\nb,y,Who,9\n",
            "counts",
            [("a", "x", 7), ("a", "y", 8), ("b", "y", 9)],
        ),
        ("1,2,3,978300760\n", "ratings", [(1, 2, 3.0, 978300760)]),
        ("1,2,3,4\n", "ratings", [(1, 2, 3.0)]),
        ("1,2,3\n1,3,x\n1,4,3\n", "ratings", [(1, 2, 3.0), (1, 4, 3.0)]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_the_values_are_is_recognised(content: str, kind: str, expected: Any) -> None:
    ratings = read_ratings(write(content), on_bad="skip")
    assert ratings.kind == kind
    assert rows(ratings) == expected


@pytest.mark.parametrize(
    ("content", "options", "kind", "expected"),
    [
        ("user,item,plays\n1,2,3\n", {"kind": "ratings"}, "ratings", [(1, 2, 3.0)]),
        ("user,item,plays\n1,2,3\n", {"kind": "events"}, "events", [(1, 2)]),
        ("user,item,stars\n1,2,3\n", {"kind": "counts"}, "counts", [(1, 2, 3.0)]),
        ("user,item,stars,plays\n1,2,3,9\n", {"kind": "counts"}, "counts", [(1, 2, 9.0)]),
        ("user,item,x,y\n1,2,3,9\n", {"kind": "counts", "rating": "y"}, "counts", [(1, 2, 9.0)]),
        ("user,item,x,plays\n1,2,3,9\n", {"rating": 4}, "counts", [(1, 2, 9.0)]),
        ("user,item,x,y\n1,2,3,9\n", {"kind": "events"}, "events", [(1, 2)]),
        ("1,2,x,9\n", {"rating": 4}, "ratings", [(1, 2, 9.0)]),
        ("1,2,x,9\n", {"kind": "ratings"}, "ratings", [(1, 2, 9.0)]),
        ("1,2,3,978300760\n", {"kind": "counts"}, "counts", [(1, 2, 3.0, 978300760)]),
        ("1,2,3,881250949\n", {"kind": "events"}, "events", [(1, 2, 881250949)]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_the_values_are_can_be_said(
    content: str, options: Any, kind: str, expected: Any
) -> None:
    ratings, report = read_ratings_with_report(write(content), **options)
    assert (ratings.kind, rows(ratings)) == (kind, expected)
    assert report.lines() == [] or "kind" not in options


@pytest.mark.parametrize(
    ("content", "options", "error", "message"),
    [
        (
            "user,item,note\n1,2,3\n",
            {},
            DataError,
            "no rating column is recognised among user, item, n",
        ),
        ("user,item\n1,2\n", {"kind": "counts"}, DataError, "no count column is recognised among"),
        (
            "user,item\n1,2\n",
            {"kind": "ratings"},
            DataError,
            "no rating column is recognised among",
        ),
        ("1,2,click\n", {}, DataError, "no rating column is recognised among 1, 2, 3"),
        ("user,item,plays\n1,2,0\n1,3,0\n", {}, DataError, "all 2 counts are 0"),
        (
            "user,item,plays\n1,2,3\n1,3,-2\n",
            {},
            DataError,
            "column plays: '-2' is below 0, which no",
        ),
        ("user,item,plays\n1,2,3\n", {"scale": (0, 9)}, SettingError, "only ratings have a scale"),
        ("user,item,stars\n1,2,3\n", {"duplicates": "sum"}, SettingError, "ratings do not add up"),
        (
            "user,item,x\n1,2,3\n",
            {"kind": "events", "rating": "x"},
            SettingError,
            "neither ratings nor",
        ),
        (
            "user,item\n1,2\n",
            {"kind": "stars"},
            SettingError,
            "kind must be one of ratings, counts, ev",
        ),
    ],
)
@pytest.mark.usefixtures("folder")
def test_values_that_cannot_be_what_they_should_be(
    content: str, options: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        read_ratings(write(content), **options)


@pytest.mark.usefixtures("folder")
def test_what_the_values_are_taken_for_is_said_in_one_line() -> None:
    _, report = read_ratings_with_report(write("user,item,plays\n1,2,3\n1,3,0\n1,4,0\n"))
    assert report.lines() == [
        "column plays holds counts; pass kind='ratings' (on the command line --kind ratings) if they "
        "are ratings",
        "left out 2 rows with a count of 0",
    ]
    _, report = read_ratings_with_report(write("user,item\n1,2\n1,2\n1,3\n"))
    assert report.lines() == [
        "no column of ratings or counts: each row is one event",
        "1 repeated (user, item) pair: kept their number",
    ]
    _, report = read_ratings_with_report(write("user,item,rating\n1,2,1\n1,3,1\n"))
    assert report.lines() == [
        "all ratings are 1, which leaves nothing to predict: if a row says no more than that it is "
        "there, pass kind='events' (on the command line --kind events)"
    ]


@settings(max_examples=40)
@given(st.lists(rated, min_size=1, max_size=25), st.booleans(), st.booleans())
def test_counts_and_events_add_up(table: list[tuple[int, ...]], timed: bool, counted: bool) -> None:
    frame = pl.DataFrame(table, schema=["user", "item", "plays", "time"], orient="row")
    frame = frame.drop(*([] if timed else ["time"]), *([] if counted else ["plays"]))
    pairs = {row[:2] for row in table}
    repeats = len(pairs) < len(table)
    ratings = read_ratings(frame)
    assert ratings.kind == ("counts" if counted or repeats else "events")
    found = ratings.to_frame().rows(named=True)
    assert {(row["user"], row["item"]) for row in found} == pairs
    for row in found:
        same = [given for given in table if given[:2] == (row["user"], row["item"])]
        total = sum(given[2] if counted else 1 for given in same)
        assert row.get("count", 1) == total
        assert not timed or row["timestamp"] == max(given[3] for given in same)
    last = read_ratings(frame, duplicates="last")
    assert last.kind == ("counts" if counted else "events")
    assert last.user_indices.tolist() == ratings.user_indices.tolist()


@pytest.mark.usefixtures("folder")
def test_repeated_events_are_an_error_where_they_shall_be() -> None:
    message = error_of(read_ratings, write("1,2\n3,4\n1,2\n"), duplicates="error")
    assert message.startswith(
        "ratings.csv, rows 1 and 3: both are of user 1, item 2; pass duplicates="
    )
    assert "--duplicates sum" in message


@given(st.lists(rated, min_size=1, max_size=9, unique_by=lambda r: r[:2]), st.booleans())
def test_what_is_written_is_read_again(table: list[tuple[int, ...]], counted: bool) -> None:
    users, items, plays, times = zip(*table, strict=True)
    values = {"values": plays, "kind": "counts"} if counted else {}
    made = Ratings.from_columns(users, items, times=times, **values)
    again = read_ratings(made.to_frame())
    assert again.kind == made.kind
    assert again.to_frame().equals(made.to_frame())


@pytest.mark.usefixtures("folder")
def test_what_one_user_has_is_read() -> None:
    assert read_rated(write("film\nHeat\nBig\n")).frame.rows() == [("Heat", 1.0), ("Big", 1.0)]
    assert read_rated(write("7\n9\n7\n")).frame.rows() == [(7, 2.0), (9, 1.0)]
    assert read_rated(write("7,4.5\n9,1\n7,2\n")).frame.rows() == [(7, 4.5), (9, 1.0), (7, 2.0)]
    write("artist,plays\nAbba,3\nWho,0\nAbba,4\n")
    assert read_rated("ratings.csv").frame.rows() == [("Abba", 7.0)]
    assert read_rated("ratings.csv", kind="events").frame.rows() == [("Abba", 2.0), ("Who", 1.0)]
    assert len(read_rated("ratings.csv", kind="ratings").frame) == 3
    assert read_rated(write("7,2\n9,1\n7,2\n"), of_model="counts").frame.rows() == [
        (7, 4.0),
        (9, 1.0),
    ]
    stars = write("film,rating\nHeat,3\n")
    assert read_rated(stars, kind="counts", of_model="events").frame.rows() == [("Heat", 3.0)]
    for kind in (None, "ratings"):
        message = error_of(read_rated, stars, kind=kind, of_model="events")
        assert "these are ratings, and the model was fitted to events: name their column" in message
    assert read_rated(write("user,film,rating\n7,Heat,3\n7,Big,4\n")).frame.height == 2
    message = error_of(read_rated, write("customer,film,rating\n7,Heat,3\n8,Heat,4\n"))
    assert message == "ratings.csv: column customer names 2 users: keep the rows of one"
    message = error_of(read_rated, pl.DataFrame({"user": [1, 2], "item": [3, 4]}), "user")
    assert message == "the frame: column item names 2 items: keep the rows of one"
    message = error_of(read_rated, write("film,mark\nHeat,3\n"))
    assert "no rating column is recognised among film, mark; name the columns with item=" in message
    message = error_of(read_rated, write("film,rating\nHeat,x\n"))
    assert message.startswith(
        "ratings.csv, row 2, column rating: 'x' is not a number; if ratings are"
    )


# Log and real files -------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_what_happened_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    write(HEADER + "1,2,3,4\n1,2,4,5\n1,2,%s,5\n")
    with caplog.at_level(logging.INFO, logger="dotbias"):
        read_ratings("ratings.csv", on_bad="skip")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        (
            "INFO",
            "ratings.csv: userId = user, movieId = item, rating = rating, timestamp = time: 1 ratings, "
            "1 users, 1 items",
        ),
        (
            "WARNING",
            "skipped 1 bad row of 3, the first: row 4, column rating: '%s' is not a number",
        ),
        ("INFO", "1 repeated (user, item) pair: kept the last by time"),
    ]


TOY_STORY = (1, "Toy Story (1995)")


@pytest.mark.parametrize(
    ("source", "titles", "expected", "scale", "title"),
    [
        ("ml-latest-small.zip", None, (100_836, 610, 9_724), (0.5, 5), TOY_STORY),
        ("ml-100k", None, (100_000, 943, 1_682), (1, 5), TOY_STORY),
        ("ml-100k/u.data", "ml-100k/u.item", (100_000, 943, 1_682), (1, 5), TOY_STORY),
        ("ml-1m/ratings.csv.gz", "ml-1m/movies.dat", (1_000_209, 6_040, 3_706), (1, 5), TOY_STORY),
        ("movietweetings", None, (50_000, 10_455, 7_505), (0, 10), ("0007264", "The Rink (1916)")),
    ],
)
def test_real_files(
    data_dir: Path, source: str, titles: str | None, expected: Any, scale: Any, title: Any
) -> None:
    ratings, report = read_ratings_with_report(
        data_dir / source, titles=None if titles is None else data_dir / titles
    )
    assert (len(ratings), ratings.n_users, ratings.n_items) == expected
    assert (report.n_rows, report.lines()) == (expected[0], [])
    assert ratings.scale == scale
    assert (ratings.times is None) == source.startswith("ml-1m")
    vocabulary = ratings.item_vocabulary
    assert vocabulary.titles is not None
    assert vocabulary.titles.null_count() == 0
    assert vocabulary.label(int(vocabulary.indices([title[0]])[0])) == title[1]


def test_a_real_file_row_by_row(data_dir: Path) -> None:
    with (data_dir / "ml-100k" / "u.data").open() as file:
        expected = [tuple(map(int, line.split())) for line in file]
    assert rows(read_ratings(data_dir / "ml-100k" / "u.data")) == expected


def test_accents_of_a_real_latin_1_file(data_dir: Path) -> None:
    titles = read_titles(data_dir / "ml-1m" / "movies.dat")
    assert titles.height == 3_883
    assert "Misérables, Les (1995)" in titles["title"].to_list()
