"""Preparing a part at a time gives what reading as a whole gives, to the byte."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dotbias as db
from dotbias.data.prepared import batches, write
from dotbias.data.prepared.batches import Size
from dotbias.data.prepared.manifest import COLUMNS, SMALL
from dotbias.data.prepared.stream import Sizes
from dotbias.data.prepared.write import how_many_blocks

TINY = Sizes(Size(1000, 50), rows=100, held=2000)


@pytest.fixture
def tiny(monkeypatch):
    """Everything is read in batches, however small."""
    monkeypatch.setattr(Sizes, "of", lambda _: TINY)


def whole(source, path, *, test_size=0.2, seed=0, **reading) -> db.PreparedRatings:
    """What reading as a whole gives."""
    return db.prepare(db.read_ratings(source, **reading), path, test_size=test_size, seed=seed)


def assert_same(one: db.PreparedRatings, other: db.PreparedRatings) -> None:
    for name in (*(f"{column}.npy" for column in COLUMNS), *SMALL):
        if name.endswith(".arrow"):
            frames = [pl.read_ipc(each.folder / name) for each in (one, other)]
            assert frames[0].equals(frames[1]), name
        else:
            assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes(), name
    for name in ("kind", "declared_scale", "whole", "training", "reading"):
        assert getattr(one.manifest, name) == getattr(other.manifest, name), name


def made(source, path, **options) -> db.PreparedRatings:
    """Both ways, which are the same."""
    one = db.prepare(source, path / "one.blocks", **options)
    assert_same(one, whole(source, path / "other.blocks", **options))
    assert one.manifest.fingerprint  # it came by the way of files
    return one


def simulated(n=600) -> pl.DataFrame:
    return db.simulate(n_users=120, n_items=60, n_ratings=n, seed=0)[0].to_frame()


@st.composite
def tables(draw) -> tuple[pl.DataFrame, dict[str, object]]:
    """Small tables of any kind, with repeated pairs, and how to read them."""
    n = draw(st.integers(12, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    text = draw(st.tuples(st.booleans(), st.booleans()))
    ids = [rng.integers(-3, draw(st.integers(4, 40)), n) for _ in range(2)]
    columns: dict[str, object] = {
        name: [f"{name} é{id}" for id in own] if is_text else own
        for name, own, is_text in zip(("user", "item"), ids, text, strict=True)
    }
    kind = draw(st.sampled_from(["ratings", "counts", "events"]))
    if kind == "ratings":
        columns["rating"] = rng.integers(1, 11, n) / 2
    if kind == "counts":
        columns["plays"] = rng.integers(0, 5, n) + (np.arange(n) == 0)
    if draw(st.booleans()):
        columns["timestamp"] = pl.Series(rng.integers(10**9, 10**9 + 30, n)).set(
            pl.Series(rng.random(n) < 0.1), None
        )
    options: dict[str, object] = {"kind": kind, "test_size": 0}
    if kind == "ratings":
        options["duplicates"] = draw(st.sampled_from([None, "last", "mean"]))
    return pl.DataFrame(columns), options


@pytest.mark.usefixtures("tiny")
@settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tables(), st.sampled_from(["csv", "parquet", "ipc", "ndjson"]), st.integers(1, 3))
def test_any_table_in_batches_is_the_same_to_the_byte(tmp_path_factory, table, ending, n_parts):
    frame, options = table
    path = tmp_path_factory.mktemp("table")
    cuts = np.linspace(0, frame.height, n_parts + 1).astype(int)
    (path / "data").mkdir()
    for number, (start, stop) in enumerate(pairwise(cuts)):
        part = path / "data" / f"part-{number:05}.{ending}"
        getattr(frame[start:stop], f"write_{ending}")(part)
    made(path / "data", path, **options)


# -- formats ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("separator", "header", "encoding", "end"),
    [
        (",", True, "utf-8", "\n"),
        ("::", False, "utf-8", "\n"),
        ("\t", False, "cp1252", "\r\n"),
        (";", True, "utf-16", "\n"),
        (",", True, "utf-8-sig", "\r\n"),
        (",", True, "gb18030", "\n"),
    ],
)
def test_text_of_any_form(tmp_path, separator, header, encoding, end):
    word = "电影" if encoding == "gb18030" else "é"
    rows = [(f"{user}{word}", item, rating) for user, item, rating in simulated().iter_rows()]
    lines = [separator.join(map(str, row)) for row in rows]
    lines = ["title of the table", "", separator.join(("user", "item", "rating")), *lines]
    text = end.join(lines[0 if header else 3 :]) + end
    (tmp_path / "ratings.csv").write_bytes(text.encode(encoding))
    one = made(tmp_path / "ratings.csv", tmp_path)
    assert one.whole.user_vocabulary.ids[0].endswith(word)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_packed_text(tmp_path, packing):
    import gzip

    from dotbias.data.sources.packing import zstd

    text = simulated().write_csv().encode()
    pack = gzip.compress if packing == "gz" else zstd.compress
    (tmp_path / f"ratings.csv.{packing}").write_bytes(pack(text))
    made(tmp_path / f"ratings.csv.{packing}", tmp_path)


@pytest.mark.usefixtures("tiny")
def test_rows_over_several_lines(tmp_path):
    frame = simulated().with_columns(review=pl.lit('so "good"\n\nthat, I'))
    frame.write_csv(tmp_path / "reviews.csv")
    made(tmp_path / "reviews.csv", tmp_path)


@pytest.mark.usefixtures("tiny")
def test_groups_of_rows_of_any_size(tmp_path):
    frame = simulated()
    for n_rows in (20, 130, 600):  # the last is read by PyArrow
        frame.write_parquet(tmp_path / f"{n_rows}.parquet", row_group_size=n_rows)
        (tmp_path / str(n_rows)).mkdir()
        made(tmp_path / f"{n_rows}.parquet", tmp_path / str(n_rows))


@pytest.mark.usefixtures("tiny")
def test_columns_of_a_large_group_by_number(tmp_path):
    frame = simulated().with_columns(event=pl.Series(["buy", "view"] * 300))
    frame.write_parquet(tmp_path / "x.parquet", row_group_size=600)
    for at, how in enumerate(({"where": "4=buy"}, {"user": 2, "item": 1}, {"where": "event=buy"})):
        (tmp_path / str(at)).mkdir()
        made(tmp_path / "x.parquet", tmp_path / str(at), **how)
    numbered = frame.drop("event").rename({"user": "0", "item": "1", "rating": "2"})
    numbered.write_parquet(tmp_path / "y.parquet", row_group_size=600)
    made(tmp_path / "y.parquet", tmp_path)


@pytest.mark.usefixtures("tiny")
def test_a_large_group_without_pyarrow_is_an_error_that_says_so(tmp_path, monkeypatch):
    simulated().write_parquet(tmp_path / "x.parquet", row_group_size=600)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(db.DataError, match=r"x.parquet: a group of 600 rows.*pip install pyarrow"):
        db.prepare(tmp_path / "x.parquet", tmp_path / "x.blocks")
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("n_rows", [40, 300])
def test_partitions_and_rows_of_a_kind(tmp_path, n_rows):
    frame = simulated().with_columns(event=pl.Series(["buy", "view"] * 300))
    for event in ("buy", "view"):
        (tmp_path / "data" / f"event={event}").mkdir(parents=True)
        part = frame.filter(pl.col("event") == event).drop("event")
        part.write_parquet(
            tmp_path / "data" / f"event={event}" / "0.parquet", row_group_size=n_rows
        )
    one = made(tmp_path / "data", tmp_path, where="event=view")
    assert len(one.whole) == 300


@pytest.mark.usefixtures("tiny")
def test_a_kind_of_rows_that_no_batch_but_the_last_has(tmp_path):
    frame = simulated().with_columns(event=pl.Series(["buy"] * 500 + ["view"] * 100))
    frame.write_csv(tmp_path / "ratings.csv")
    assert len(made(tmp_path / "ratings.csv", tmp_path, where="event=view").whole) == 100
    with pytest.raises(db.DataError, match="there are no rows where event=sell"):
        db.prepare(tmp_path / "ratings.csv", tmp_path / "x.blocks", where="event=sell")


@pytest.mark.usefixtures("tiny")
def test_what_can_only_be_read_as_a_whole_is(tmp_path):
    frame = simulated()
    wide = frame.pivot("item", index="user", values="rating")
    wide.write_csv(tmp_path / "wide.csv")
    made(tmp_path / "wide.csv", tmp_path)
    prepared = db.prepare(frame, tmp_path / "frame.blocks")
    assert not prepared.manifest.fingerprint
    assert_same(prepared, whole(frame, tmp_path / "x.blocks"))


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
def test_titles_beside_and_named_and_in_the_rows(tmp_path):
    frame = simulated()
    frame.write_csv(tmp_path / "ratings.csv")
    titles = frame.select(pl.col("item").unique().sort()).head(30)
    titles = titles.with_columns(title=pl.format("film {}", "item"), genres=pl.lit("Drama|War"))
    titles.write_csv(tmp_path / "movies.csv")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    one = made(tmp_path / "ratings.csv", tmp_path / "a")
    assert one.whole.item_vocabulary.n_titles == 30
    assert one.whole.item_vocabulary.genre_counts() == {"Drama": 30, "War": 30}
    titles.head(9).write_csv(tmp_path / "some.csv")
    one = made(tmp_path / "ratings.csv", tmp_path / "b", titles=tmp_path / "some.csv")
    assert one.whole.item_vocabulary.n_titles == 9
    text = frame.with_columns(pl.format("i{}", "item").alias("item"))
    text.with_columns(title=pl.format("film {}", "item")).write_csv(tmp_path / "titled.csv")
    one = made(tmp_path / "titled.csv", tmp_path / "c")
    assert one.whole.item_vocabulary.n_titles == one.whole.n_items


@pytest.mark.usefixtures("tiny")
def test_dates_and_milliseconds(tmp_path):
    frame = pl.concat([simulated(), simulated().with_columns(rating=pl.lit(2, pl.Float32))])
    rng = np.random.default_rng(0)
    seconds = pl.Series("time", 10**9 + rng.permutation(frame.height))
    gaps = pl.Series(rng.random(frame.height) < 0.3)
    for name, times in {
        "ms": (seconds * 1000).set(gaps, None),
        "iso": pl.from_epoch(seconds).dt.to_string("%Y-%m-%d %H:%M:%S"),
        "date": pl.from_epoch(seconds * 50).dt.to_string("%d.%m.%Y"),
    }.items():
        (tmp_path / name).mkdir()
        frame.with_columns(time=times).write_csv(tmp_path / f"{name}.csv")
        made(tmp_path / f"{name}.csv", tmp_path / name)


@pytest.mark.usefixtures("tiny")
def test_bad_rows_are_named_by_file_and_line_and_may_be_left_out(tmp_path, caplog):
    (tmp_path / "data").mkdir()
    lines = simulated().write_csv().splitlines()
    bad = [*lines[:500], "7,8,good", *lines[500:], "9,9,x"]
    (tmp_path / "data" / "part-0.csv").write_text("\n".join(lines[:300]) + "\n")
    (tmp_path / "data" / "part-1.csv").write_text("\n".join([lines[0], *bad[300:]]) + "\n")
    with pytest.raises(db.DataError, match=r"part-1.csv, row 202, column rating: 'good' is not a"):
        db.prepare(tmp_path / "data", tmp_path / "x.blocks")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    caplog.set_level("INFO")
    made(tmp_path / "data", tmp_path, on_bad="skip")
    assert "skipped 2 bad rows of 602, the first: " in caplog.text


@pytest.mark.usefixtures("tiny")
def test_a_part_of_bad_rows_alone_is_left_out_as_they_are(tmp_path, caplog):
    (tmp_path / "data").mkdir()
    simulated().write_csv(tmp_path / "data" / "part-0.csv")
    (tmp_path / "data" / "part-1.csv").write_text("user,item,rating\n7,8,good\n9,9,x\n")
    caplog.set_level("INFO")
    made(tmp_path / "data", tmp_path, on_bad="skip")
    assert "skipped 2 bad rows of 602, the first: " in caplog.text


@pytest.mark.usefixtures("tiny")
def test_a_file_of_nothing_but_a_mark_has_no_rows(tmp_path):
    (tmp_path / "r.csv").write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(db.DataError, match=r"r\.csv: (there are no rows|the file is empty)"):
        db.prepare(tmp_path / "r.csv", tmp_path / "r.blocks")


@pytest.mark.usefixtures("tiny")
def test_a_batch_does_not_show_the_unit_of_all_times(tmp_path):
    """A time of 0, of someone who had none, would make seconds of the milliseconds beside it."""
    again = simulated().with_columns(rating=pl.lit(2, pl.Float32))
    frame = pl.concat([simulated(), again])
    times = 10**12 + pl.int_range(frame.height, eager=True)
    frame = frame.with_columns(time=times.scatter(5, 0))
    frame.write_csv(tmp_path / "ratings.csv")
    made(tmp_path / "ratings.csv", tmp_path)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("odd", ["x17", "007", "1.5"])
def test_an_id_that_is_no_integer_though_those_before_are(tmp_path, odd):
    lines = simulated().write_csv().splitlines()
    lines.insert(500, f"5,{odd},3.0")
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    expected = rf"ratings.csv.*row 501, column item: '{odd}'.*--item-ids text"
    if odd == "007":
        expected = "ratings.csv: an id in column item is not written as an integer.*--item-ids text"
    with pytest.raises(db.DataError, match=expected):
        db.prepare(tmp_path / "ratings.csv", tmp_path / "x.blocks")
    one = made(tmp_path / "ratings.csv", tmp_path, item_ids="text")
    assert odd in one.whole.item_vocabulary.ids


@pytest.mark.usefixtures("tiny")
def test_text_that_is_not_in_the_encoding_of_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "_SAMPLE", 2000)
    lines = [line.encode() for line in simulated().write_csv().splitlines()]
    lines[450] = "Zoë,1,3.0".encode("cp1252")
    (tmp_path / "ratings.csv").write_bytes(b"\n".join(lines))
    with pytest.raises(db.DataError, match=r"ratings.csv, after row 450: .*--encoding"):
        db.prepare(tmp_path / "ratings.csv", tmp_path / "x.blocks", user_ids="text")


@pytest.mark.usefixtures("tiny")
def test_repeated_pairs_that_are_an_error_are_named_by_their_rows(tmp_path):
    lines = simulated().write_csv().splitlines()
    (tmp_path / "ratings.csv").write_text("\n".join([*lines, lines[70]]))
    with pytest.raises(db.DataError, match=r"row 71, and .*row 602: both rate user"):
        db.prepare(tmp_path / "ratings.csv", tmp_path / "x.blocks", duplicates="error")


def test_how_it_is_cut_changes_nothing(tmp_path, monkeypatch):
    source = tmp_path / "ratings.csv"
    frame = simulated().with_columns(pl.format("user {}", "user").alias("user"))
    frame.write_csv(source)
    prepared = []
    for n_bytes, n_rows, held in ((300, 40, 900), (700, 200, 5000), (5000, 1000, 10**6)):
        sizes = Sizes(Size(n_bytes, 50), rows=n_rows, held=held)
        monkeypatch.setattr(Sizes, "of", lambda _, sizes=sizes: sizes)
        prepared.append(db.prepare(source, tmp_path / f"{n_bytes}.blocks"))
    for other in prepared[1:]:
        assert_same(prepared[0], other)


def test_blocks_are_more_where_memory_is_small():
    assert how_many_blocks(10**5, 10**4, 10**4, memory=2**30) == 8
    assert how_many_blocks(10**7, 10**4, 10**4, memory=2**32) == 16
    for n, memory in ((10**9, 3 * 2**30), (2 * 10**8, 2**30), (10**7, 2**29)):
        n_blocks = how_many_blocks(n, 10**7, 10**6, memory=memory)
        assert n_blocks >= 16
        assert 3 * 12 * n / n_blocks <= memory / 8
    assert how_many_blocks(10**9, 80, 10**6, memory=2**30) == 10
    assert how_many_blocks(10**9, 10**6, 5, memory=2**30) == 5


def test_each_worker_has_a_block_where_there_can_be_so_many():
    for n_workers, n_blocks in ((1, 8), (8, 8), (9, 9), (40, 40), (100, 50)):
        asked = {"memory": 2**30, "n_workers": n_workers}
        assert how_many_blocks(10**5, 10**4, 50, **asked) == n_blocks
        assert how_many_blocks(10**5, 400, 10**4, **asked) == n_blocks
    assert (
        how_many_blocks(10**9, 10**7, 10**6, memory=2**30, n_workers=99) > 99
    )  # memory wants more


def test_as_many_blocks_as_are_asked_for_or_an_error():
    least = how_many_blocks(10**9, 10**7, 10**6, memory=2**30)
    for n_blocks in (least, least + 1, 10**6):
        asked = {"memory": 2**30, "n_blocks": n_blocks, "n_workers": 7}
        assert how_many_blocks(10**9, 10**7, 10**6, **asked) == n_blocks
    for n_users, n_items, n_blocks, said in (
        (10**7, 10**6, least - 1, f"1,000,000,000 ratings need at least {least} blocks"),
        (10**7, 10**6, 10**6 + 1, "at most 1,000,000 blocks, one for each item"),
        (81, 10**6, 12, "at most 11 blocks, one for 8 users"),
        (81, 10**6, 10, "at least 11 blocks"),  # memory wants more than there can be
    ):
        with pytest.raises(db.SettingError, match=rf"\(--blocks {n_blocks}\): .*{said}"):
            how_many_blocks(10**9, n_users, n_items, memory=2**30, n_blocks=n_blocks)


@pytest.mark.parametrize("n_blocks", [1, 3, 15])
def test_blocks_that_are_asked_for_are_the_same_in_any_memory(tmp_path, monkeypatch, n_blocks):
    source = tmp_path / "ratings.csv"
    simulated().write_csv(source)
    whole = db.prepare(source, tmp_path / "one.blocks", memory="4GiB", n_blocks=n_blocks)
    assert whole.n_blocks == whole.manifest.n_blocks == n_blocks
    monkeypatch.setattr(Sizes, "of", lambda _: TINY)
    streamed = db.prepare(source, tmp_path / "two.blocks", memory="1GiB", n_blocks=n_blocks)
    assert_same(whole, streamed)
    solver = db.GradientDescent(n_epochs=1)
    fits = [solver.fit(db.DotBias(n_factors=2), p.whole, seed=0)[0] for p in (whole, streamed)]
    assert all((fits[0][name] == fits[1][name]).all() for name in fits[0])


@pytest.mark.parametrize("is_streamed", [False, True])
def test_blocks_that_cannot_be_leave_nothing(tmp_path, monkeypatch, is_streamed):
    source = tmp_path / "ratings.csv"
    simulated().write_csv(source)
    if is_streamed:
        monkeypatch.setattr(Sizes, "of", lambda _: TINY)
    monkeypatch.setattr(write, "_PART_OF_MEMORY", 10**5)
    for n_blocks, said in ((16, "at most 15 blocks"), (4, "600 ratings need at least 5 blocks")):
        with pytest.raises(db.SettingError, match=said):
            db.prepare(source, tmp_path / "x.blocks", memory="512MiB", n_blocks=n_blocks)
    assert list(tmp_path.iterdir()) == [source]


# -- what is there already -------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
def test_what_has_not_changed_is_not_prepared_again(tmp_path, caplog):
    caplog.set_level("INFO")
    source, path = tmp_path / "ratings.csv", tmp_path / "x.blocks"
    simulated().write_csv(source)

    def prepared_anew(**options) -> bool:
        before = path.stat().st_ino if path.exists() else None
        caplog.clear()
        db.prepare(source, path, **options)
        said = "which has not changed" in caplog.text
        assert said == (path.stat().st_ino == before)
        return not said

    assert prepared_anew()
    assert not prepared_anew()
    assert prepared_anew(seed=1)
    assert prepared_anew(duplicates="mean")
    assert prepared_anew(duplicates="mean", force=True)
    assert not prepared_anew(duplicates="mean")
    simulated(500).write_csv(source)
    assert prepared_anew(duplicates="mean")
    (path / "held.npy").write_bytes(b"")  # damaged: made again
    assert prepared_anew(duplicates="mean")
    (tmp_path / "movies.csv").write_text("id,title\n1,Heat\n")
    assert prepared_anew(duplicates="mean")


def test_rows_that_only_the_log_of_a_database_holds_are_prepared(tmp_path):
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as shop:
        shop.execute("PRAGMA journal_mode = WAL")
        shop.execute("PRAGMA wal_autocheckpoint = 0")
        shop.execute("CREATE TABLE ratings (user INTEGER, item INTEGER, rating REAL)")
        for n in (40, 1):
            rows = [(u, n + u % 7, u % 5) for u in range(n)]
            shop.executemany("INSERT INTO ratings VALUES (?, ?, ?)", rows)
            shop.commit()
            prepared = db.prepare(path, tmp_path / "r.blocks")
    assert len(prepared.whole) == 41


def test_what_lies_in_other_blocks_is_prepared_again(tmp_path, caplog):
    caplog.set_level("INFO")
    source, path = tmp_path / "ratings.csv", tmp_path / "x.blocks"
    simulated().write_csv(source)

    def said(**options) -> str:
        caplog.clear()
        db.prepare(source, path, **options)
        return caplog.text

    said()
    assert "which has not changed" in said(n_blocks=8)
    assert "which has not changed" in said(n_workers=5, memory="1GiB")
    assert "prepared again, in 12 blocks on a side in the place of 8" in said(n_workers=12)
    assert "which has not changed" in said(n_blocks=12)
    assert "prepared again, in 8 blocks" in said()
    with pytest.raises(db.SettingError, match="at most 15 blocks"):
        said(n_blocks=16)
    assert db.PreparedRatings.open(path).n_blocks == 8


PROGRAM = """
import sys
import dotbias as db
from dotbias.data.prepared import batches
from dotbias.data.prepared.batches import Size
from dotbias.data.prepared.stream import Sizes
from dotbias.data.prepared.write import how_many_blocks
Sizes.of = lambda _: Sizes(Size(20_000, 1000), rows=3000, held=50_000)
print("ready", flush=True)
db.prepare(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_broken_off_leaves_nothing_that_passes_for_whole(tmp_path, stop):
    source, path = tmp_path / "ratings.csv", tmp_path / "x.blocks"
    db.simulate(n_users=1000, n_items=500, n_ratings=40_000, seed=0)[0].to_frame().write_csv(source)
    n_broken = 0
    for pause in (0.1, 0.4, 0.9):
        command = [sys.executable, "-c", PROGRAM, source, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
            assert run.stdout is not None
            run.stdout.readline()
            time.sleep(pause)
            run.send_signal(stop)
        if run.returncode == 0 or path.exists():  # it was quicker
            break
        n_broken += 1
        left = [each.name for each in tmp_path.iterdir() if each != source]
        assert len(left) <= (1 if stop == signal.SIGKILL else 0)
        assert all(name.startswith(".dotbias-") for name in left)
    assert n_broken > 0
    one = db.prepare(source, path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ratings.csv", "x.blocks"]
    assert_same(one, whole(source, tmp_path / "other.blocks"))


@pytest.mark.usefixtures("tiny")
def test_what_a_run_has_left_that_was_killed_at_its_end_is_removed(tmp_path):
    simulated().write_csv(tmp_path / "ratings.csv")
    db.prepare(tmp_path / "ratings.csv", tmp_path / "x.blocks")
    (tmp_path / ".dotbias-0123456789abcdef.part" / "new" / "work").mkdir(parents=True)
    db.prepare(tmp_path / "ratings.csv", tmp_path / "x.blocks")  # which has nothing to do
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ratings.csv", "x.blocks"]


@pytest.mark.parametrize("batches", ["one", "many"])
def test_a_full_disk_leaves_what_was_there(batches, tmp_path, small_disk, request):
    path = small_disk / "x.blocks"
    db.prepare(simulated(), path)
    if batches == "many":
        request.getfixturevalue("tiny")
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    source = tmp_path / "ratings.csv"
    db.simulate(n_users=1000, n_items=500, n_ratings=40_000, seed=0)[0].to_frame().write_csv(source)
    with pytest.raises(db.DataError, match=f"cannot write {path}: No space left on device"):
        db.prepare(source, path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert [each.name for each in small_disk.iterdir()] == ["x.blocks"]


MEMORY = """
import re, sys, threading, time
import dotbias as db
peak = 0
def anonymous():
    with open("/proc/self/status") as file:
        return int(re.search(r"RssAnon:\\s+(\\d+)", file.read())[1]) * 1024
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
db.prepare(sys.argv[1], sys.argv[2], memory="512MiB")
print(peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_is_bounded_though_all_rows_are_in_one_group(tmp_path):
    n, rng = 4_000_000, np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, 60_000, n, np.int32),
            "item": rng.integers(0, 20_000, n, np.int32),
            "rating": rng.integers(1, 6, n).astype(np.float32),
        }
    )
    frame.write_parquet(tmp_path / "x.parquet", row_group_size=n)
    command = [sys.executable, "-c", MEMORY, tmp_path / "x.parquet", tmp_path / "x.blocks"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    prepared = db.PreparedRatings.open(tmp_path / "x.blocks")
    assert len(prepared.whole) == frame.select("user", "item").n_unique()
    assert int(done.stdout) < 512 * 2**20


def test_the_files_of_a_delta_table_are_those_of_its_log(tmp_path, monkeypatch):
    deltalake = pytest.importorskip("deltalake")
    frame = simulated().with_columns(event=pl.Series(["buy", "view"] * 300))
    lake = tmp_path / "lake"
    deltalake.write_deltalake(lake, frame.to_arrow(), partition_by=["event"])
    deltalake.write_deltalake(lake, frame.head(9).to_arrow(), mode="append")
    deltalake.DeltaTable(lake).delete("event = 'buy'")
    monkeypatch.setattr(Sizes, "of", lambda _: TINY)
    one = made(lake, tmp_path)
    assert len(one.whole) == 300


@pytest.mark.parametrize("log", [{}, {"0.json": "{}"}])
def test_a_delta_table_without_its_extra_or_log_is_an_error(tmp_path, log):
    (tmp_path / "lake" / "_delta_log").mkdir(parents=True)
    for name, text in log.items():
        (tmp_path / "lake" / "_delta_log" / name).write_text(text)
    with pytest.raises(db.DataError, match=r"[Dd]elta.*(that is damaged|polars.read_delta)"):
        db.prepare(tmp_path / "lake", tmp_path / "x.blocks")


@pytest.mark.usefixtures("tiny")
def test_lists_and_patterns_of_files(tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = simulated()
    frame.head(300).write_csv("a1.csv")
    frame.tail(300).write_csv("a2.csv")
    for source in (["a1.csv", Path("a2.csv")], "a*.csv"):
        (tmp_path / "out").mkdir(exist_ok=True)
        assert len(made(source, tmp_path / "out").whole) == 600
        shutil.rmtree(tmp_path / "out")
    caplog.set_level("INFO")
    for _ in range(2):
        db.prepare(["a1.csv", "a2.csv"], "x.blocks", titles="none")
    assert "which has not changed" in caplog.text
    with pytest.raises(db.DataError, match="it is what is read"):
        db.prepare(["a1.csv", "x.blocks/users.npy"], "x.blocks", force=True)
    with pytest.raises(db.SettingError, match=r"user='a'.*read already"):
        db.prepare(db.read_ratings("a1.csv"), "y.blocks", user="a")
