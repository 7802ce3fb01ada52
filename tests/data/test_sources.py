"""Sources: every container and object that ratings come in. Damage: test_damage.py and tests/fuzz."""

import bz2
import datetime
import gzip
import io
import json
import lzma
import os
import pickle
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
import scipy.io
import scipy.sparse

from dotbias.data.ratings import Ratings
from dotbias.data.read import read_ratings, read_ratings_with_report, read_titles
from dotbias.errors import DataError, SettingError
from dotbias.extras import install

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

rng = np.random.default_rng(5)
PAIRS = rng.permutation(40 * 15)[:300]
PLANTED = pl.DataFrame(
    {
        "user": 1 + PAIRS // 15,
        "item": 101 + PAIRS % 15,
        "rating": rng.integers(2, 11, 300) / 2,
        "timestamp": rng.integers(10**9, 2 * 10**9, 300),
    }
)
CSV = PLANTED.write_csv().encode()
TITLES = pl.DataFrame({"item": range(101, 116), "title": [f"Film, the {k}" for k in range(15)]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one, so that files have short names in messages."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def triples(ratings: Ratings) -> list[tuple[Any, ...]]:
    """Ids and values, in order."""
    return sorted(ratings.to_frame().select(pl.nth(0, 1, 2)).rows())


EXPECTED = sorted(PLANTED.select("user", "item", "rating").rows())


def error_of(source: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_ratings(source, **options)
    return str(caught.value)


# Files --------------------------------------------------------------------------------------------


def write(name: str, content: bytes = CSV) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)
    return name


def workbook(name: str, **sheets: pl.DataFrame) -> str:
    import xlsxwriter

    with xlsxwriter.Workbook(name) as book:
        book.set_properties(
            {"created": datetime.datetime(2020, 1, 1)}
        )  # the same bytes in each run
        for sheet, frame in sheets.items():
            frame.write_excel(book, sheet)
    return name


def tar(name: str, mode: str, **members: bytes) -> str:
    with tarfile.open(name, mode) as archive:  # type: ignore[call-overload]
        for member, content in members.items():
            info = tarfile.TarInfo(member.replace("_csv", ".csv"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return name


def sqlite(name: str = "ratings.db", **tables: pl.DataFrame) -> str:
    connection = sqlite3.connect(name)
    for table, frame in tables.items():
        marks = ", ".join("?" * frame.width)
        connection.execute(f"CREATE TABLE {table} ({', '.join(frame.columns)})")
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", frame.rows())
    connection.commit()
    connection.close()
    return name


def duck(name: str = "ratings.duckdb") -> str:
    with duckdb.connect(name) as connection:
        frame = PLANTED  # noqa: F841  (DuckDB finds it by its name)
        connection.execute(
            "CREATE TABLE ratings AS SELECT user, item, rating::DECIMAL(3, 1) AS rating FROM frame"
        )
    return name


def binary(write: Callable[..., Any], *args: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    write(*args, buffer, **options)
    return buffer.getvalue()


MATRIX = scipy.sparse.coo_array(
    (PLANTED["rating"], (PLANTED["user"].to_numpy() - 1, PLANTED["item"].to_numpy() - 101))
)


def market() -> bytes:
    buffer = io.BytesIO()
    scipy.io.mmwrite(buffer, MATRIX)
    return buffer.getvalue()


def spark(name: str = "spark") -> str:
    for part in range(3):
        write(f"{name}/part-0000{part}-ab.csv", PLANTED[part::3].write_csv().encode())
    write(f"{name}/_SUCCESS", b"")
    return name


def in_parts(written: Callable[[pl.DataFrame], bytes]) -> str:
    for part in range(2):
        write(f"p/ratings-{part}.json", written(PLANTED[part::2]))
    return "p"


def hive(name: str = "hive") -> str:
    for (user,), frame in PLANTED.group_by("user"):
        where = f"{name}/user={user}/part-0.parquet"
        write(where, binary(pl.DataFrame.write_parquet, frame.drop("user")))
    return name


CONTAINERS: dict[str, Callable[[], Any]] = {
    "bzip2": lambda: write("r.csv.bz2", bz2.compress(CSV)),
    "xz": lambda: write("r.csv.xz", lzma.compress(CSV)),
    "gzip of Arrow": lambda: write(
        "r.arrow.gz", gzip.compress(binary(pl.DataFrame.write_ipc, PLANTED))
    ),
    "Arrow stream": lambda: write("r", binary(pl.DataFrame.write_ipc_stream, PLANTED)),
    "JSON array": lambda: write("r.json", PLANTED.write_json().encode()),
    "JSON array, indented": lambda: write(
        "r.json", json.dumps(PLANTED.to_dicts(), indent=2).encode("utf-8-sig")
    ),
    "JSON objects over several lines": lambda: write(
        "r.json", "\n".join(json.dumps(row, indent=1) for row in PLANTED.to_dicts()).encode()
    ),
    "JSON array of rows": lambda: write("r.json", json.dumps(PLANTED.rows()).encode()),
    "JSON lines with a mark": lambda: write(
        "r.jsonl", b"\xef\xbb\xbf" + PLANTED.write_ndjson().encode()
    ),
    "workbook": lambda: workbook("r.xlsx", Data=PLANTED),
    "workbook with an empty sheet": lambda: workbook("r.xlsx", Data=PLANTED, Sheet2=pl.DataFrame()),
    "workbook of sheets": lambda: workbook("r.xlsx", About=TITLES, ratings=PLANTED, movies=TITLES),
    "tar": lambda: tar("r.tar", "w", a_csv=CSV),
    "tar.gz": lambda: tar("r.tgz", "w:gz", ratings_csv=CSV, users_csv=b"?"),
    "tar.xz": lambda: tar("r.tar.xz", "w:xz", ratings_csv=CSV),
    "SQLite": lambda: sqlite(ratings=PLANTED, users=TITLES),
    "SQLite with one table": lambda: sqlite(log=PLANTED),
    "SQLite, zipped": lambda: zipped(**{"ratings.db": Path(sqlite(log=PLANTED)).read_bytes()}),
    "SQLite, packed": lambda: write(
        "r.db.gz", gzip.compress(Path(sqlite(log=PLANTED)).read_bytes())
    ),
    "SQLite, a named table": lambda: (
        "sqlite:///" + sqlite(stars=PLANTED, ratings=TITLES) + "?table=stars"
    ),
    "SQLAlchemy": lambda: "sqlite+pysqlite:///" + sqlite(stars=PLANTED) + "?table=stars",
    "DuckDB": duck,
    "DuckDB, a named table": lambda: "duckdb:///" + duck() + "?table=ratings",
    "MatrixMarket": lambda: (write("r.mtx", market()), {"base": 100}),
    "folder of parts": spark,
    "folder of packed parts": lambda: in_parts(lambda frame: gzip.compress(frame.write_csv().encode())),
    "folder of Arrow": lambda: in_parts(lambda frame: binary(pl.DataFrame.write_ipc_stream, frame)),
    "folder of JSON lines": lambda: in_parts(lambda frame: frame.write_ndjson().encode()),
    "folder of JSON arrays": lambda: in_parts(lambda frame: frame.write_json().encode()),
    "folder of UTF-16": lambda: in_parts(lambda frame: frame.write_csv().encode("utf-16")),
    "folder of partitions": hive,
    "pattern": lambda: spark() + "/part-*.csv",
    "list of paths": lambda: [str(path) for path in Path(spark()).glob("*.csv")],
    "parts without a header": lambda: in_parts(
        lambda frame: frame.write_csv(include_header=False).encode()
    ),
}  # fmt: skip


def zipped(**members: bytes) -> str:
    with zipfile.ZipFile("set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return "set.zip"


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.usefixtures("folder")
def test_every_container_gives_the_planted_ratings(container: str) -> None:
    source, options = CONTAINERS[container](), {"base": 0}
    if isinstance(source, tuple):
        source, options = source
    ratings = read_ratings(source)
    found = triples(ratings)
    assert [(user, item + options["base"], rating) for user, item, rating in found] == EXPECTED
    assert ratings.kind == "ratings"


# Objects ------------------------------------------------------------------------------------------

Row = namedtuple("Row", "rating user item")
ROWS = PLANTED.rows()
OBJECTS: dict[str, Any] = {
    "lazy frame": PLANTED.lazy(),
    "pandas frame": PLANTED.to_pandas(),
    "pandas frame with an index": PLANTED.to_pandas().set_index(["user", "item"]),
    "Arrow table": PLANTED.to_arrow(),
    "dictionary of columns": PLANTED.to_dict(as_series=False),
    "dictionary of arrays": {name: PLANTED[name].to_numpy() for name in PLANTED.columns},
    "list of tuples": ROWS,
    "list of triples": [row[:3] for row in ROWS],
    "list of lists": [list(row) for row in ROWS],
    "list of dictionaries": PLANTED.to_dicts(),
    "named tuples": [Row(rating, user, item) for user, item, rating, _ in ROWS],
    "(n, 4) array": PLANTED.to_numpy(),
    "(n, 3) array": PLANTED.to_numpy()[:, :3],
    "array of objects": np.array(ROWS, object),
    "structured array": PLANTED.to_numpy(structured=True),
    "DuckDB relation": duckdb.sql("SELECT * FROM PLANTED"),
}
MATRICES = {
    "COO": MATRIX,
    "CSR": MATRIX.tocsr(),
    "CSC": MATRIX.tocsc(),
    "LIL": MATRIX.tolil(),
    "spmatrix": scipy.sparse.csr_matrix(MATRIX),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_gives_the_planted_ratings(name: str) -> None:
    assert triples(read_ratings(OBJECTS[name])) == EXPECTED


@pytest.mark.parametrize("name", MATRICES)
def test_rows_and_columns_of_a_matrix_are_users_and_items(name: str) -> None:
    shifted = [
        (user + 1, item + 101, rating)
        for user, item, rating in triples(read_ratings(MATRICES[name]))
    ]
    assert shifted == EXPECTED


def test_integers_may_stand_among_other_numbers() -> None:
    """Polars goes by the first value."""
    rows = [(1, 2, 4), (1, 3, 4.5), (1, 4, None)]
    for source in (rows, {"user": [1, 1, 1], "item": [2, 3, 4], "rating": [4, 4.5, None]}):
        assert triples(read_ratings(source, on_bad="skip")) == [(1, 2, 4.0), (1, 3, 4.5)]
    assert "row 3" in error_of(rows)


def test_pairs_in_an_array_are_events() -> None:
    ratings = read_ratings(PLANTED.to_numpy()[:, :2].astype(int))
    assert (ratings.kind, len(ratings)) == ("events", 300)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.ones((3, 5)), r"the shape (3, 5): pass rows of user, item, rating"),
        (np.ones(3), "the shape (3,)"),
        (np.ma.masked_less(PLANTED.to_numpy(), 2), "the array has masked values"),
        ([(1, 2, 3), (1, 2)], "the list, row 2: has 2 columns instead of 3"),
        ([(1, 2, 3), ("a", 3, 3)], "the list: column 1 has values of mixed types"),
        ([{"user": 1, "item": object(), "rating": 1}], "item"),
        ({"user": [1, 2], "item": [1], "rating": [1, 2]}, "not equally long"),
        ({1, 2}, "cannot read ratings from a set"),
        ({}, "cannot read ratings from a dict"),
        ([], "cannot read ratings from a list"),
        (scipy.sparse.coo_array([1, 0, 2]), "the shape (3,)"),
    ],
)
def test_objects_that_hold_no_table(source: Any, message: str) -> None:
    assert message in error_of(source)


# What is named and not read -----------------------------------------------------------------------


class Trap:
    """A pickle of which runs what must not run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("opened").touch, ())


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "r.xls": (lambda: bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "save it as .xlsx"),
    "r.pkl": (lambda: pickle.dumps(Trap()), "never opened"),
    "r.pickle": (lambda: pickle.dumps(Trap(), 0), "never opened"),
    "unnamed": (lambda: pickle.dumps(Trap()), "never opened"),
    "r.pkl.gz": (lambda: gzip.compress(pickle.dumps(Trap(), 0)), "never opened"),
    "r.npz": (lambda: npz(), "pass the array"),
    "r.npy": (lambda: binary(lambda file: np.save(file, PLANTED.to_numpy())), "pass the array"),
    "r.ods": (lambda: zip_of(mimetype=b"application/vnd.oasis.opendocument"), "OpenDocument"),
    "r.html": (lambda: b"\n<!DOCTYPE html><html>", "web page"),
    "r.7z": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(9), "unpack it"),
    "r.h5": (lambda: b"\x89HDF\r\n\x1a\n", "pandas.read_hdf"),
    "r.rds": (lambda: gzip.compress(b"RDX3\nX\n"), "write.csv"),
}  # fmt: skip


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=PLANTED.to_numpy())
    return buffer.getvalue()


def zip_of(**members: bytes) -> bytes:
    zipped(**members)
    return Path("set.zip").read_bytes()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named_with_what_to_do(name: str, folder: Path) -> None:
    content, message = REFUSED[name]
    assert message in (said := error_of(write(name, content())))
    assert said.startswith(f"{name} is not read, since it is ")
    assert not (folder / "opened").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "the path is empty"),
        ("x" * 300, "cannot be read (File name too long)"),
        ("~nosuchuser/ratings.csv", "no such user"),
        ("a\0b", "zero byte"),
        ("https://example.org/ratings.csv", "download it"),
        ("file:///ratings.csv", "without file://"),
        ("https://" + "x" * 300, "download it"),
        ("/dev/zero", "/dev/zero: a device, and no file"),
        ("sqlite:///none.db", "none.db: there is no such file"),
        ("sqlite://none.db", "three slashes"),
        ("sqlite:///none.db?tabel=x", "no parameter 'tabel'"),
        ("nosuch://host/base", "nosuch"),
        ("*.parquet", "there is no such file"),
        ("ratings.csv/more", "ratings.csv: a file and no archive, so there is no more in it"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_paths_and_addresses_that_lead_nowhere(source: str, message: str) -> None:
    write("ratings.csv")
    assert message in error_of(source)


@pytest.mark.usefixtures("folder")
def test_tables_and_sheets_that_cannot_be_chosen_are_listed() -> None:
    two = {"stars": PLANTED, "marks": PLANTED}
    assert "none of its tables is named like ratings" in (said := error_of(sqlite(**two)))
    assert "There are marks, stars" in said
    assert "none of its sheets is named like ratings" in error_of(workbook("r.xlsx", **two))
    assert "no table 'x', but stars, marks" in error_of("sqlite:///ratings.db?table=x")


@pytest.mark.usefixtures("folder")
def test_several_files_that_could_be_the_ratings_are_named() -> None:
    both = {"ratings_test.csv": CSV, "ratings_train.csv": CSV}
    report = read_ratings_with_report(zipped(**both))[1]
    assert "took ratings_test.csv; there are also ratings_train.csv" in report.notices
    numbered = {"ratings_1": PLANTED, "ratings_2": PLANTED}
    report = read_ratings_with_report(sqlite(**numbered))[1]
    assert "took ratings_1; there are also ratings_2" in report.notices
    assert "There are Sheet1, Sheet2" in error_of(workbook("s.xlsx", Sheet1=PLANTED, Sheet2=TITLES))


@pytest.mark.usefixtures("folder")
def test_a_file_whose_name_is_not_utf_8_is_read() -> None:
    name = os.fsdecode(b"r\xff.csv")
    assert triples(read_ratings(write(name))) == EXPECTED
    assert "r\\xff.csv" in error_of(write(name, b"\n"))


@pytest.mark.usefixtures("folder")
def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    book, base = workbook("r.xlsx", Data=PLANTED), duck()
    for library in ("fastexcel", "duckdb", "sqlalchemy"):
        monkeypatch.setitem(sys.modules, library, None)
    assert install("excel") in error_of(book)
    assert install("duckdb") in error_of(base)
    assert "pip install sqlalchemy" in error_of("postgresql://me:secret@host/base?table=ratings")


def test_a_password_is_not_shown() -> None:
    said = error_of("postgresql+nodriver://me:secret@host/base?table=ratings")
    assert "secret" not in said


@pytest.mark.usefixtures("folder")
def test_a_view_of_a_database_reads_no_other_file() -> None:
    with duckdb.connect("trap.duckdb") as connection:
        connection.execute(f"CREATE VIEW ratings AS FROM read_csv('{write('secret.csv')}')")
    assert "disabled by configuration" in error_of("trap.duckdb")


@pytest.mark.usefixtures("folder")
def test_columns_of_sqlite_hold_what_their_values_are() -> None:
    """SQLite declares types and keeps any value."""
    frame = pl.DataFrame({"user": ["007", "8"], "item": [1, 2], "rating": [3, 4]})
    connection = sqlite3.connect("r.db")
    connection.execute("CREATE TABLE ratings (user, item TEXT, rating INTEGER, picture BLOB)")
    rows = [("007", 1, 3.5, b"\0"), (8, "x", 4, b"\xff")]
    connection.executemany("INSERT INTO ratings VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    assert triples(read_ratings("r.db")) == [("007", "1", 3.5), ("8", "x", 4.0)]
    assert triples(read_ratings(sqlite("s.db", ratings=frame))) == [("007", 1, 3.0), ("8", 2, 4.0)]


# Parts, standard input ----------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_parts_are_said_and_of_one_format() -> None:
    report = read_ratings_with_report(spark())[1]
    assert report.source == "spark"
    assert report.notices[0] == "spark: 3 parts of one table, in order"
    write("spark/part-00009-ab.csv", b"")
    report = read_ratings_with_report("spark")[1]
    assert report.notices[1] == "1 of 4 parts are empty: spark/part-00009-ab.csv"
    write("spark/part-00001-ab.csv", PLANTED.write_ndjson().encode())
    assert "of different formats: CSV, JSON lines" in error_of("spark")
    for part in Path("spark").glob("part*"):
        part.write_bytes(b"")
    assert "all parts are empty" in error_of("spark")
    write("h/rating=5/a.csv", b"user,item\n1,2\n")
    write("h/rating=4/a.csv", b"user,item\n1,3\n")
    assert "read of Parquet only" in error_of("h")


def csv_of(frame: pl.DataFrame, **options: Any) -> bytes:
    return frame.write_csv(**options).encode()


def netflix_of(frame: pl.DataFrame) -> bytes:
    rows = "".join(f"{user},{rating},2005-09-06\n" for user, _, rating in frame.rows())
    return f"{frame['item'][0]}:\n{rows}".encode()


# What writes a part, and how many lines stand before its first row.
PARTS: dict[str, tuple[Callable[[pl.DataFrame], bytes], int]] = {
    "CSV": (csv_of, 1),
    "CSV without a header": (lambda frame: csv_of(frame, include_header=False), 0),
    "CSV packed": (lambda frame: gzip.compress(csv_of(frame)), 1),
    "two colons": (lambda frame: csv_of(frame, include_header=False).replace(b",", b"::"), 0),
    "UTF-16": (lambda frame: csv_of(frame).decode().encode("utf-16"), 1),
    "wide": (lambda frame: csv_of(frame.select("user", a="rating", b=3, c=4, d=5)), 1),
    "Netflix": (netflix_of, 1),
    "JSON lines": (lambda frame: frame.write_ndjson().encode(), 0),
    "JSON array": (lambda frame: frame.write_json().encode(), 0),
    "Parquet": (lambda frame: binary(pl.DataFrame.write_parquet, frame), 0),
    "Parquet packed": (lambda frame: gzip.compress(binary(pl.DataFrame.write_parquet, frame)), 0),
    "Arrow": (lambda frame: binary(pl.DataFrame.write_ipc, frame), 0),
}


@pytest.mark.parametrize("form", PARTS)
@pytest.mark.usefixtures("folder")
def test_a_bad_row_of_parts_is_named_by_its_file_and_the_row_in_it(form: str) -> None:
    """Rows were counted through all parts, and the part was not named."""
    written, before = PARTS[form]
    names = [f"p/part-0000{part}" for part in range(3)]
    for bad_part, bad_row in ((0, 0), (1, 0), (1, 2), (2, 3)):
        for part, n in enumerate((3, 4, 5)):
            ratings = ["4" for _ in range(n)]
            if part == bad_part:
                ratings[bad_row] = "4x"
            users = [10 * part + row for row in range(n)]
            frame = pl.DataFrame({"user": users, "item": [7 + part] * n, "rating": ratings})
            write(names[part], written(frame))
        message = error_of("p")
        where = f"{names[bad_part]}, row {bad_row + 1 + before}, column "
        assert message.startswith(where), message
        report = read_ratings_with_report("p", on_bad="skip", kind="ratings")[1]
        assert f"the first: {where}" in "".join(report.lines())


@pytest.mark.usefixtures("folder")
def test_other_rows_of_parts_are_named_so_too() -> None:
    write("p/part-1.csv", b"user,item,rating\n1,2,3\n2,2,4\n")
    write("p/part-2.csv", b"user,item,rating\n3,2,3\n1,2,4\n3,2,5\n")
    said = "p/part-1.csv, row 2, and p/part-2.csv, row 3: both rate user 1, item 2; pass"
    assert error_of("p", duplicates="error").startswith(said)
    write("p/part-1.csv", b"user,item,rating\n1,2,3\n2,3,4\n")
    write("p/part-2.csv", b"user,item,rating\n3,2,3\n1,4,4\n3,2,5\n")
    said = "p/part-2.csv, rows 2 and 4: both rate user 3, item 2; pass"
    assert error_of("p", duplicates="error").startswith(said)
    write("p/part-2.csv", b'user,item,rating\n3,2,3\n1,"4"a,4\n')
    assert error_of("p").startswith("p/part-2.csv, row 3: not well-formed CSV")


@pytest.mark.usefixtures("folder")
def test_parts_may_be_in_different_encodings() -> None:
    """That of one was taken for that of all."""
    users = ["ä", "€", "x"]
    for number, encoding in enumerate(("utf-8", "cp1252", "ascii")):
        rows = "".join(f"{users[number]}{n},{n % 2},{n}\n" for n in (1, 2, 3))
        write(f"p/part-{number}.csv", f"user,item,rating\n{rows}".encode(encoding))
    ratings = read_ratings("p")
    assert {user[0] for user, _, _ in triples(ratings)} == set(users)
    assert triples(read_ratings("p", **ratings.reading)) == triples(ratings)


NETFLIX = {101: b"1,5,2005-09-06\n2,3,2005-05-13\n", 102: b"1,4,2005-10-19\n3,1,2005-12-26\n"}


@pytest.mark.parametrize("name", ["combined_data_%d.txt", "mv_%07d.txt"])
@pytest.mark.usefixtures("folder")
def test_netflix_folders_are_parts_with_titles(name: str) -> None:
    for item, lines in NETFLIX.items():
        write(f"set/{name % item}", b"%d:\n" % item + lines)
    write("set/movie_titles.csv", b"101,1991,One, the first\n102,NULL,Two\n")
    write("set/probe.txt", b"101:\n1\n")
    ratings = read_ratings("set")
    assert triples(ratings) == [(1, 101, 5), (1, 102, 4), (2, 101, 3), (3, 102, 1)]
    assert ratings.item_vocabulary.label(0) == "One, the first"


@pytest.mark.usefixtures("folder")
def test_several_streams_of_xz_are_one_file() -> None:
    two = lzma.compress(CSV[:1000]) + bytes(8) + lzma.compress(CSV[1000:]) + bytes(4)
    assert triples(read_ratings(write("r.csv.xz", two))) == EXPECTED
    for damaged in (two[:500], two[:-20], two + b"x"):
        assert "damaged or cut short" in error_of(write("r.csv.xz", damaged))


@pytest.mark.parametrize("packing", ["xz", "zstd"])
@pytest.mark.usefixtures("folder")
def test_what_takes_very_much_memory_to_unpack_is_refused(packing: str) -> None:
    """Of xz nothing bounded it."""
    if packing == "xz":
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
        packed = lzma.compress(CSV, filters=filters)
    else:
        packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})
        packed = packer.compress(CSV) + packer.flush()  # in two, whose length is not known
    assert "packed to take very much memory); unpack it yourself" in error_of(write("r", packed))


@pytest.mark.usefixtures("folder")
def test_tables_with_deleted_rows_are_refused() -> None:
    write("lake/part-0.parquet", binary(pl.DataFrame.write_parquet, PLANTED))
    write("lake/_delta_log/0.json", b"{}")
    assert "a Delta table" in error_of("lake")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (CSV, gzip.compress(CSV), binary(pl.DataFrame.write_parquet, PLANTED)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        ratings, report = read_ratings_with_report("-")
        assert (triples(ratings), report.source) == (EXPECTED, "standard input")
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is no file" in error_of("-")


# Limits -------------------------------------------------------------------------------------------

BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
    "zip": lambda content: zip_of(**{"ratings.csv": content}),
    "tar.gz": lambda content: Path(tar("b.tgz", "w:gz", ratings_csv=content)).read_bytes(),
}


@pytest.mark.parametrize("packing", BOMBS)
@pytest.mark.usefixtures("folder")
def test_what_unpacks_to_too_much_is_refused_unless_it_is_allowed(packing: str) -> None:
    bomb = write("bomb", BOMBS[packing](b"user,item,rating\n1,2,3\n" + b"\n" * 1_500_000))
    said = error_of(bomb)
    assert "is a bomb: it unpacks from" in said
    assert "--max-unpacked" in said
    assert len(read_ratings(bomb, max_unpacked="2MB")) == 1
    assert len(read_ratings(bomb, max_unpacked=2 * 10**6)) == 1
    assert "above the limit of 1,000,000" in error_of(bomb, max_unpacked="1 MB")


@pytest.mark.parametrize("size", ["", "x", "-1", 0, "3 PB", "1.5GB"])
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(SettingError, match="max_unpacked="):
        read_ratings("ratings.csv", max_unpacked=size)


# Damage -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_an_altered_byte_of_a_sheet_is_found() -> None:
    """The reader of workbooks looks at no checksum: a time became the name of a column."""
    path = Path(workbook("r.xlsx", Data=PLANTED))
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        sheet = archive.getinfo("xl/worksheets/sheet1.xml")
    first = sheet.header_offset + 30 + len(sheet.filename)
    for at in range(first, first + sheet.compress_size, max(1, sheet.compress_size // 100)):
        content = bytearray(whole)
        content[at] ^= 4
        path.write_bytes(content)
        assert "r.xlsx" in error_of(path, on_bad="skip"), at


@pytest.mark.usefixtures("folder")
def test_json_nested_too_deeply_is_an_error() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for content in (deep, b'{"user": ' + deep + b"}", b'[{"user": 1, "item": ' + deep + b"}]"):
        assert "r.json" in error_of(write("r.json", content))
    lines = b'{"user": 1, "item": 2, "rating": 3}\n' * 200
    late = write("late.jsonl", lines + b'{"user": 1, "item": 3, "rating": 3, "x": ' + deep + b"}\n")
    assert "late.jsonl, row 201: is not a JSON object" in error_of(late)
    assert len(read_ratings(late, on_bad="skip")) == 1


@pytest.mark.usefixtures("folder")
def test_members_that_cannot_be_unpacked_are_refused() -> None:
    whole = bytearray(zip_of(**{"ratings.csv": CSV}))
    central = whole.rindex(b"PK\1\2")
    for place, value in ((8, 1), (central + 10, 97)):
        altered = bytearray(whole)
        altered[place if place > 8 else 6] = value
        altered[central + 8 if place == 8 else place] = value
        said = error_of(write("r.zip", bytes(altered)))
        assert said.startswith("r.zip")
        assert "unpack it yourself" in said


# Titles -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_titles_beside_a_plain_file_are_used_and_said() -> None:
    write("x/ratings.csv")
    write("x/movies.csv", TITLES.write_csv().encode())
    ratings, report = read_ratings_with_report("x/ratings.csv")
    assert ratings.item_vocabulary.label(0) == "Film, the 0"
    assert report.notices[-1] == "titles of 15 of 15 items: x/movies.csv"
    write("x/other.csv")  # not named like ratings: no guess is made
    assert read_ratings("x/other.csv").item_vocabulary.titles is None
    write("x/movies.csv", b"item,title\ntt1,A\n")
    ratings, report = read_ratings_with_report("x/ratings.csv")
    assert ratings.item_vocabulary.titles is None
    assert report.notices[-1] == "no titles: no id in x/movies.csv is that of an item here"


@pytest.mark.usefixtures("folder")
def test_what_this_project_writes_beside_ratings_is_no_file_of_titles() -> None:
    write("x/ratings.csv")
    write("x/movies.tsv", TITLES.write_csv(separator="\t").encode())
    for name in ("movies-grown.dotbias", "movies.dotbias", "movies-map.html", "movies.svg"):
        write(f"x/{name}", b"no table")
    write("x/ratings.dotbias", b"no table")
    for source in ("x/ratings.csv", "x"):
        ratings = read_ratings(source)
        assert len(ratings) == 300
        assert ratings.item_vocabulary.label(0) == "Film, the 0"


@pytest.mark.usefixtures("folder")
def test_a_folder_with_an_equals_sign_holds_no_partitions() -> None:
    paths = [f"lr=0.1/part-{n}.csv" for n in (1, 2)]
    for path in paths:
        write(path)
    for source in ("lr=0.1/part-*.csv", paths, "lr=0.1"):
        assert len(read_ratings(source)) == 300


@pytest.mark.usefixtures("folder")
def test_an_address_that_cannot_be_taken_apart_is_named_without_its_password() -> None:
    said = error_of("postgresql://me:pa[ss@host/shop?table=orders")
    assert "pa[ss" not in said
    assert "%5B for [" in said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="users cannot be changed here")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    """Run by somebody without rights, since whoever runs tests may read all."""
    program = """
import os
from pathlib import Path
from dotbias.data.read import read_ratings
print(len(read_ratings("ratings.csv")))
Path("movies.csv").chmod(0), Path("locked").mkdir(0)
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
for source in ("ratings.csv", "locked", "locked/ratings.csv", "sqlite:///locked/a.db", "movies.csv"):
    try:
        print(len(read_ratings(source)))
    except ValueError as error:
        print(error)
"""
    for name in ("ratings.csv", "movies.csv"):
        (tmp_path / name).write_bytes(CSV)
    tmp_path.chmod(0o755)
    run = [sys.executable, "-c", program]
    said = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    (tmp_path / "locked").chmod(0o755)
    denied = "cannot be read (Permission denied)"
    assert said.splitlines() == [
        "300",
        "300",
        f"locked: {denied}",
        f"locked/ratings.csv: {denied}",
        f"locked/a.db: {denied}",
        f"movies.csv: {denied}",
    ]


@pytest.mark.parametrize(
    ("ratings", "beside"),
    [
        ("BX-Book-Ratings.csv", "BX-Books.csv"),
        ("u.data", "u.item"),
        ("combined_data_1.txt", "movie_titles.csv"),
        ("ratings.csv.gz", "movies.dat"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_files_whose_titles_are_known_by_their_names(ratings: str, beside: str) -> None:
    from dotbias.data.sources.blob import Blob
    from dotbias.data.sources.locate import titles_beside

    write(beside)
    write("zz-movies.csv")
    found = titles_beside(Blob(ratings, Path(write(ratings)).absolute()))
    assert found is not None
    assert Path(found.name).name == beside


@pytest.mark.usefixtures("folder")
def test_netflix_titles_have_commas() -> None:
    lines = b"1,2003,Planet\n2,2004,Isle, the\n3,NULL,Amor, Caf\xe9, y m\xe1s\n"
    assert read_titles(write("movie_titles.csv", lines)).rows() == [
        (1, "Planet"),
        (2, "Isle, the"),
        (3, "Amor, Café, y más"),
    ]


@pytest.mark.usefixtures("folder")
def test_ratings_of_items_with_four_digits_are_no_titles() -> None:
    lines = b"1,1001,5\n2,1002,4\n3,1001,3\n1,1003,2\n"
    assert triples(read_ratings(write("log.csv", lines)))[0] == (1, 1001, 5.0)


def test_flags_of_movielens_are_genres(data_dir: Path) -> None:
    titles = read_titles(data_dir / "ml-100k" / "u.item")
    assert titles.row(0) == (1, "Toy Story (1995)", "Animation|Children's|Comedy")
    assert titles.row(266) == (267, "unknown", None)


@pytest.mark.parametrize(
    "line",
    [
        b'3,"A "broken" title"\n',
        b'3,"never closed\n',
        b'3,half "quoted"" title"\n',
        b"3\n",
        b",No id\n",
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_broken_line_costs_one_title(line: bytes) -> None:
    lines = b"id,title\n" + b"".join(b'%d,"Film, the %d"\n' % (k, k) for k in range(1, 9))
    mended = lines.replace(b'3,"Film, the 3"\n', line)
    found = read_titles(write("movies.csv", mended)).filter(pl.col("id") != 3)
    assert found.rows() == [(k, f"Film, the {k}") for k in range(1, 9) if k != 3]


def test_cases(cases: Path) -> None:
    """Files of each container as people have them."""
    truth = triples(read_ratings(cases / "truth.csv"))
    for name in (
        "60_ratings.xlsx", "60h_pandas.csv.bz2", "61_spark_out", "05c_json_array.json", "70a_bom.jsonl"
    ):  # fmt: skip
        assert triples(read_ratings(cases / name)) == truth, name
    market = read_ratings(cases / "15f_matrixmarket.mtx")
    assert [(user, item + 100, value) for user, item, value in triples(market)] == truth
    titles = read_titles(cases / "t" / "movie_titles.csv")
    assert titles.rows()[:2] == [(101, "Film, the 101"), (102, "Film, the 102")]
    books = read_ratings(cases / "07_BX-Book-Ratings.csv").item_vocabulary
    assert books.n_titles == 50
    assert books.label(0).startswith("Café n° ")
    ratings, report = read_ratings_with_report(
        cases / "01_movielens.csv", titles=cases / "t" / "movies_nomatch.csv"
    )
    assert ratings.item_vocabulary.titles is None
    assert "no titles: no id in" in report.notices[-1]
