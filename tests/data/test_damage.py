"""Damage: what ``tests/fuzz/test_reading.py`` has found, each with the fault that it was."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from dotbias.data.read import read_ratings, read_ratings_with_report
from dotbias.errors import DataError

FRAME = pl.DataFrame(
    {"user": [f"user {k % 7}" for k in range(40)], "item": range(40), "rating": [1.0, 2.0] * 20}
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, which is the current one, so that files have short names in messages."""
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str | bytes) -> str:
    Path(name).parent.mkdir(exist_ok=True)
    raw = content if isinstance(content, bytes) else content.encode(errors="surrogateescape")
    Path(name).write_bytes(raw)
    return name


def rows(source: Any, **how: Any) -> list[tuple[Any, ...]]:
    return read_ratings(source, **how).to_frame().rows()


def error_of(source: Any, **how: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_ratings(source, **how)
    return str(caught.value)


# Text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["ann,1,2,3", "ann,1,2,3,4,,5", "ann", "ann,1,2,3,bob,4,3,2,1"])
def test_a_row_of_a_wide_table_has_as_many_cells_as_the_others(row: str) -> None:
    """Its ratings were taken for those of other items."""
    write("w.csv", f"user,a,b,c,d\ncarl,1,,3,4\n{row}\ndora,4,3,2,1\n")
    n = row.count(",") + 1
    assert error_of("w.csv").startswith(f"w.csv, row 3: has {n} columns instead of 5")
    assert len(read_ratings("w.csv", on_bad="skip")) == 7


def test_a_name_of_a_wide_table_that_is_no_id_is_named() -> None:
    """It was a traceback: a row of the table had no item."""
    write("w.csv", "user,1,x2,3,4\nann,1,,3,4\nbob,4,3,2,1\n")
    said = error_of("w.csv", item_ids="integers")
    assert said.startswith("w.csv, row 3, column x2: 'x2' is no integer"), said


def test_a_tab_that_is_lost_leaves_the_separator_as_it_is() -> None:
    """Blanks were taken for it, and a digit more in the place of a tab was a part of the time."""
    lines = [f"{k % 3}\t\t{k}\t\t{1 + k % 5}\t\t1056045280" for k in range(10)]
    lines[2] = lines[2].replace("\t\t1056", "\t61056")
    assert error_of(write("r.txt", "\n".join(lines))).startswith("r.txt, row 3: has 3 columns")


def test_dates_of_any_form_that_break_off_are_no_times() -> None:
    """A year was taken for seconds, and one with three digits for that of an emperor."""
    for form in ("2004-12-{}", "12/{}/2004", "{}.12.2004", "2004/12/{}"):
        dates = [form.format(k) for k in range(13, 29)]
        for rest in ("2004", "200", "20", dates[0][:-1], dates[0][:4]):
            lines = "".join(f"{k},1,3,{date}\n" for k, date in enumerate([*dates, rest]))
            write("r.csv", f"user,item,rating,time\n{lines}")
            if form.startswith("2004") and rest == dates[0][:-1]:
                continue  # another day, as it stands
            assert "row 18, column time" in error_of("r.csv"), (form, rest)


def test_a_first_row_that_begins_like_a_comment_is_a_row() -> None:
    """All rows of the user #1 were left out."""
    lines = "".join(f"#1,{k},{1 + k % 5}\nann,{k},{1 + k % 4}\n" for k in range(5))
    assert len(rows(write("r.csv", lines))) == 10
    assert len(rows(write("r.csv", "#user,item,rating\n" + lines.replace("#1", "bob")))) == 10
    assert len(rows(write("r.csv", "# by me, 2020\n" + lines.replace("#1", "bob")))) == 10


def test_text_does_not_end_in_the_middle_of_a_field() -> None:
    """A time that was cut short was read as it stood, and Polars panicked at a lone mark."""
    whole = 'user,item,rating,timestamp\n"1","2","3","1000000000"\n"1","3","4","1000000000"\n'
    for cut in (2, 5, 12):
        said = error_of(write("r.csv", whole[:-cut]), on_bad="skip")
        assert said.startswith("r.csv, row 3: not well-formed CSV"), cut
    lines = 'user,item,rating\n"ann\nlee",2,3\n"bob\nlee",2,4'
    assert len(rows(write("r.csv", lines))) == 2


def test_a_mark_in_the_middle_of_a_field_takes_no_lines_along() -> None:
    """Two users became one, whose name had the rating of the first in it."""
    write("r.csv", 'user|item|rating\n1|1|3\n"ann|1|4\n"9""|2|5\n7|2|3\n')
    assert error_of("r.csv").startswith("r.csv, row 3: not well-formed CSV")


def test_a_few_damaged_letters_do_not_change_the_others() -> None:
    """The whole text was taken for Windows-1252: ``zoë`` became ``zoÃ«`` in each row."""
    text = "".join(f"zoë,{k},{1 + k % 5}\n" for k in range(20)).encode()
    damaged = write("r.csv", b"user,item,rating\n" + text + b"zo\xeb,99,3\n")
    assert error_of(damaged).startswith("r.csv, row 22: damaged, or not text in UTF-8")
    assert rows(write("r.csv", b"user,item,rating\nzo\xeb,1,2\n")) == [("zoë", 1, 2.0)]
    assert "row 2" in error_of(write("r.csv", b"\xef\xbb\xbfuser,item,rating\nzo\xeb,1,2\n"))


def test_one_broken_row_between_blanks_is_named() -> None:
    """The error asked for the separator."""
    lines = [f"{k} {k + 1} {1 + k % 5}" for k in range(20)]
    lines[7] = "7 8"
    assert error_of(write("r.txt", "\n".join(lines))).startswith("r.txt, row 8: has 2 columns")


def test_a_packed_file_that_nothing_tells_to_be_one_is_no_text() -> None:
    """Two rows of it had commas enough, once another program had made UTF-16 of it."""
    content = bytes(range(1, 9)) * 5 + b"a,b,3\nc,d,4\n"
    for text in (content, content.decode("latin-1").encode("utf-16")):
        assert "a binary file of a kind" in error_of(write("r.csv", text))


def test_a_text_in_utf_16_is_of_any_format() -> None:
    """Of a matrix the size became a rating."""
    market = "%%MatrixMarket matrix coordinate real general\n3 4 2\n1 2 5\n3 4 1\n"
    lines = '{"user": 1, "item": 2, "rating": 5}\n{"user": 3, "item": 4, "rating": 1}\n'
    array = json.dumps([{"user": 1, "item": 2, "rating": 5}, {"user": 3, "item": 4, "rating": 1}])
    for text in (market, lines, array):
        assert rows(write("r", text.encode("utf-16"))) == [(1, 2, 5.0), (3, 4, 1.0)]


# Several files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["p", "p/part-*.csv", ["p/part-0.csv", "p/part-1.csv"]])
def test_a_bad_row_is_one_of_its_file(source: Any) -> None:
    """It was counted through all files, and none was named."""
    write("p/part-0.csv", "user,item,rating\n1,2,3\n1,3,4\n")
    write("p/part-1.csv", "user,item,rating\n2,2,3\n2,3,x\n")
    assert "p/part-1.csv, row 3, column rating: 'x'" in error_of(source)
    write("p/part-1.csv", "user,item,rating\n2,2,3\n1,3,4\n")
    said = error_of(source, duplicates="error")
    assert said.startswith("p/part-0.csv, row 3, and p/part-1.csv, row 3: both")


def test_parts_have_encodings_of_their_own() -> None:
    """One in Windows-1252 spoilt the letters of all others."""
    write("p/part-0.csv", "user,item,rating\nzoë,2,3\n")
    write("p/part-1.csv", "user,item,rating\nzoë,3,4\n".encode("cp1252"))
    ratings, report = read_ratings_with_report("p")
    assert ratings.to_frame().rows() == [("zoë", 2, 3.0), ("zoë", 3, 4.0)]
    assert "not UTF-8: read as Windows-1252" in " ".join(report.notices)


def test_parts_may_be_arrays_of_json() -> None:
    """All but the first were left out without a word, as was what came after any array."""
    for part in range(2):
        content = [{"user": part, "item": k, "rating": 3 + k} for k in range(2)]
        write(f"p/part-{part}.json", json.dumps(content))
    assert rows("p") == [(0, 0, 3.0), (0, 1, 4.0), (1, 0, 3.0), (1, 1, 4.0)]
    after = '[{"user": 1, "item": 2, "rating": 3}] and more'
    assert "r.json, row 2: not well-formed JSON" in error_of(write("r.json", after))


def test_no_value_of_an_array_is_missing() -> None:
    """Commas were taken for blanks."""
    said = error_of(write("r.json", "[[1, 2, 3], [1, 3, 4],, [1, 4, 5]]"))
    assert said == "r.json, row 3: not well-formed JSON (a value is missing)"
    assert len(rows(write("r.json", "[[1, 2, 3],\n[1, 3, 4],\n]\n"))) == 2


def test_a_misspelt_name_of_one_object_is_not_that_of_a_column() -> None:
    """All times but one were missing."""
    lines = [{"user": 1, "item": k, "rating": 1 + k % 4, "timestamp": 10 + k} for k in range(9)]
    lines[0] = {"time(stamp": 5} | lines[0]
    write("r.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert [row[3] for row in rows("r.jsonl")] == list(range(10, 19))


# MatrixMarket -------------------------------------------------------------------------------------

MARKET = "%%MatrixMarket matrix coordinate real general\n% ours\n3 4 3\n1 2 5\n3 4 1\n2 2 3\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("3 4 1", "3 5 1", "row 5: item 5 is none of the 4 that the first lines promise"),
        ("3 4 1", "4 4 1", "row 5: user 4 is none of the 3"),
        ("3 4 1", "3 4 x", "row 5, column 3: 'x' is not a number"),
        ("3 4 1", "3y 4 1", "row 5, column 1: '3y' is no integer"),
        ("3 4 1", "3 4 1 1", "row 5: has 4 columns instead of 3"),
        ("3 4 1\n", "", "(2 entries of 3)"),
        ("3 4 3", "3 4", "is damaged or cut short (coordinate of 3 4)"),
        ("3 4 3", "3 x 3", "is damaged or cut short (its first lines are"),
        ("general", "symmetric", "a matrix of ratings is general and real, not symmetric real"),
        ("real", "complex", "not general complex"),
        ("2 2 3\n", "2 2 \udcc8", "row 6, column 3"),
    ],
)
def test_a_damaged_matrix_is_an_error_with_its_row(old: str, new: str, said: str) -> None:
    """SciPy's parser ended the process at some, and named no row."""
    message = error_of(write("r.mtx", MARKET.replace(old, new)))
    assert message.startswith("r.mtx")
    assert said in message


def test_matrices_of_other_kinds() -> None:
    assert rows(write("r.mtx", MARKET)) == [(1, 2, 5.0), (3, 4, 1.0), (2, 2, 3.0)]
    reading = read_ratings("r.mtx").reading
    assert reading is not None
    assert rows("r.mtx", **reading) == rows("r.mtx")
    pattern = "%%MatrixMarket matrix coordinate pattern general\n3 4 2\n1 2\n3 4\n"
    ratings = read_ratings(write("r.mtx", pattern))
    assert (ratings.kind, len(ratings)) == ("events", 2)
    full = "%%MatrixMarket matrix array real general\n2 3\n1\n0\n0\n2\n3\n0\n"
    assert sorted(rows(write("r.mtx", full))) == [(1, 1, 1.0), (1, 3, 3.0), (2, 2, 2.0)]
    assert "r.mtx" in error_of(write("r.mtx", full[:-4]))


# Binary -------------------------------------------------------------------------------------------


def binary(write: Callable[..., object], **options: Any) -> bytes:
    out = io.BytesIO()
    write(out, **options)
    return out.getvalue()


def checked(**options: Any) -> bytes:
    table = FRAME.to_arrow()
    return binary(lambda out: pq.write_table(table, out, write_page_checksum=True, **options))


PAGES = {
    "checksums": checked(compression="none", use_dictionary=False),
    "checksums of packed pages": checked(compression="snappy"),
    "checksums, second kind of pages": checked(data_page_version="2.0"),
    "gzip": binary(FRAME.write_parquet, compression="gzip"),
}


@pytest.mark.parametrize("name", PAGES)
def test_checksums_of_parquet_are_looked_at(name: str) -> None:
    """Polars looks at none: another rating was read without a word."""
    whole = PAGES[name]
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    expected = rows(write("r.parquet", whole))
    n_found = 0
    for at in range(4, footer, 7):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        try:
            assert rows(write("r.parquet", bytes(damaged))) == expected, at
        except DataError as error:
            n_found += "r.parquet" in str(error)
    assert n_found > 0.4 * footer / 7


def test_pages_of_parquet_are_as_long_as_they_may_be() -> None:
    """A number of values below 0 made Polars ask for all memory, which ended the process."""
    whole = binary(FRAME.write_parquet, compression="uncompressed")
    n_values = bytes([0x15, 2 * FRAME.height, 0x15])
    places = [at for at in range(len(whole)) if whole[at : at + 3] == n_values]
    assert len(places) >= 4
    for at in places:
        damaged = whole[: at + 1] + b"\5" + whole[at + 2 :]
        assert "r.parquet" in error_of(write("r.parquet", damaged))
    for content in (whole[:-1] + b"2", whole[:20] + whole[-8:], whole[:4]):
        assert "r.parquet" in error_of(write("r.parquet", content))


def test_messages_of_arrow_are_as_long_as_they_may_be() -> None:
    """A number of buffers made Polars ask for all memory, which ended the process."""
    for compression in ("uncompressed", "zstd"):
        options: Any = {"compression": compression}
        for write_frame in (FRAME.write_ipc, FRAME.write_ipc_stream):
            whole = binary(write_frame, **options)
            assert len(rows(write("r.arrow", whole))) == FRAME.height
            n = FRAME.height.to_bytes(8, "little")
            places = [at for at in range(len(whole) - 8) if whole[at : at + 8] == n]
            assert len(places) >= 2
            shorter = (FRAME.height - 1).to_bytes(8, "little")  # than the other columns
            for at, wrong in product(places, (b"\xff" * 8, shorter)):
                damaged = whole[:at] + wrong + whole[at + 8 :]
                assert "r.arrow" in error_of(write("r.arrow", damaged))
            for content in (whole[:-9], whole[: len(whole) // 2]):
                assert "r.arrow" in error_of(write("r.arrow", content))


def test_columns_of_arrow_that_are_made_of_others_have_lengths_of_their_own() -> None:
    nested = FRAME.with_columns(tags=pl.lit([1, 2, 3]))
    for write_frame in (nested.write_ipc, nested.write_ipc_stream):
        assert len(rows(write("r.arrow", binary(write_frame)))) == FRAME.height


def test_a_checksum_of_arrow_is_looked_at() -> None:
    """Polars does not read as far as it is."""
    whole = bytearray(binary(FRAME.write_ipc_stream, compression="zstd"))
    whole[whole.index(b"\x28\xb5\x2f\xfd") + 4] |= 4  # now a frame should end with one
    assert "r.arrow" in error_of(write("r.arrow", bytes(whole)))


def test_whatever_the_reader_of_archives_raises_is_an_error_of_the_file() -> None:
    """A central directory that is said to lie before the beginning was a traceback."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("ratings.csv", "user,item,rating\n1,2,3\n")
    whole = out.getvalue()
    for n in range(1, 40):
        damaged = gzip.compress(whole[:40] + whole[40 + n :])
        assert "r.zip.gz" in error_of(write("r.zip.gz", damaged)), n


def test_an_error_of_a_parser_is_not_longer_than_a_few_lines() -> None:
    """The name of a member that was none was 11,000 letters long."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("ratings.csv", b"1,2,3\n" * 2000)
    whole = bytearray(out.getvalue())
    whole[26:28] = (9000).to_bytes(2, "little")  # how long the name is
    assert len(error_of(write("r.zip", bytes(whole)))) < 400
