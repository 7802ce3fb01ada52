"""Reading: every format, every kind of bad input, and real files, against plain references."""

import csv
import datetime
import gzip
import io
import json
import logging
import math
import os
import re
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dotbias.data.ratings import Ratings
from dotbias.data.read import (
    BadRow,
    read_pairs,
    read_ratings,
    read_ratings_with_report,
    read_titles,
)
from dotbias.errors import DataError, DotbiasError, SettingError

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
    "Arrow IPC stream": binary(pl.DataFrame.write_ipc_stream),
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
@pytest.mark.parametrize("format", ["Parquet", "Arrow IPC", "Arrow IPC stream"])
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


@pytest.mark.usefixtures("folder")
def test_a_pipe_is_read_once() -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_bytes, args=(FORMATS["CSV"],))
    writer.start()
    assert len(read_ratings("pipe")) == 4
    writer.join()


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


PACKED_9K = gzip.compress(b"1::2::3::4\n")
TITLED: dict[str, dict[str, str | bytes]] = {
    "ml-20m": {"ml/ratings.csv": HEADER + "1,2,3,4\n", "ml/movies.csv": 'movieId,title\n2,"A, b"\n'},
    "ml-100k": {"u.data": "1\t2\t3\t4\n", "u1.base": "?", "u.item": "2|A, b|1995||\n"},
    "ml-1m": {"ratings.dat": "1::2::3::4\n", "movies.dat": "2::A, b::War\n", "users.dat": "1::M\n"},
    "tweets": {"ratings-9K.dat.gz": PACKED_9K, "movies-9K.dat": "2::A, b::\n"},
    "books": {"BX-Book-Ratings.csv": "uid;isbn;score;time\n1;2;3;4\n", "BX-Books.csv": "id;title\n2;A, b"},
    "hidden": {"._ratings.csv": "?", "__MACOSX/ratings.csv": "?", "a/ratings.csv": "1,2,3,4", "a/items.csv": '2,"A, b"'},
}  # fmt: skip


@pytest.mark.parametrize("pack", [archive, unpacked])
@pytest.mark.parametrize("name", TITLED)
@pytest.mark.usefixtures("folder")
def test_ratings_and_titles_are_found_by_name(name: str, pack: Callable[..., str]) -> None:
    source = pack(TITLED[name])
    ratings, report = read_ratings_with_report(source)
    assert rows(ratings) == [(1, 2, 3.0, 4)]
    assert ratings.item_vocabulary.label(0) == "A, b"
    assert report.lines() == []
    assert read_titles(source).rows() == [(2, "A, b")]


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
    assert report.lines()[0].startswith("no titles: set.zip/movies.csv: no title column")
    with pytest.raises(DataError, match="no title column"):
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
        "uid,book_id,book_rating,ts time",
        '"User-ID","ISBN","Book-Rating","timestamp"',
        "uid,iid,value,time",
    ],
)
@pytest.mark.usefixtures("folder")
def test_usual_column_names(header: str) -> None:
    if header.startswith("uid,book_id"):
        header = header.replace("ts time", "unix_time")
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
        ("2,1,3,4\n", {"user": 2, "item": "1"}),
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
    assert "no rating column" in error_of(read_ratings, write("1\t2\n"), user=1)


# Ids ----------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
numerals = st.sampled_from(["0", "7", "-7", "007", "+7", "-0", "00", "7.0", "1e3", " 7", "7 "])
quoted = st.sampled_from(["a,b", 'say "x"', '"', "a\nb", ",", "::", "\t"])
integers = st.integers(-(2**63), 2**63 - 1)


def as_read(ids: list[str]) -> list[int] | list[str]:
    """Integers if every id is written as one, else the very same text."""
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
    with Archive() as path:
        path.write_bytes(csv_of(ids, quoting))
        assert read_ratings(path).to_frame()["user"].to_list() == as_read(ids)


@settings(max_examples=30)
@given(st.lists(texts | numerals | quoted, min_size=1, max_size=8) | st.lists(integers, min_size=1))
def test_ids_of_frames_come_back_as_they_were(ids: list[Any]) -> None:
    frame = pl.DataFrame({"user": ids, "item": range(len(ids)), "rating": 3.0})
    for source in (frame, frame.lazy(), frame.to_pandas()):
        assert read_ratings(source).to_frame()["user"].to_list() == ids
    with Archive() as path:
        frame.write_ndjson(path)
        assert read_ratings(path).to_frame()["user"].to_list() == ids


class Archive:
    """A file for one example of Hypothesis, which knows no fixtures of one example."""

    def __enter__(self) -> Path:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        return Path(self.folder.name, "ratings")

    def __exit__(self, *_: object) -> None:
        self.folder.cleanup()
