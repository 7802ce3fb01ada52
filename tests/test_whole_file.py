"""Nothing of the user's is overwritten, nothing is half-written, nothing is left lying about."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from dotbias import model_file
from dotbias.data.write import TABLE, write_table
from dotbias.errors import DataError, ModelFileError
from dotbias.whole_file import FileKind, outputs, whole_file

# Files that begin with this are of the kind; none is replaced otherwise.
NOTE = FileKind("note", is_ours=lambda path: path.read_text().startswith("note"))


def write(path: Path, text: str = "note 2", *, force: bool = False) -> None:
    with whole_file(path, NOTE, force=force) as part:
        part.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def work(paths: list[Path], done: Callable[[], object], **how: Any) -> None:
    """Work that writes notes, all of them or none."""
    with outputs([(path, NOTE) for path in paths], **how):
        done()


def refused(path: Path, reason: str, **how: Any) -> None:
    """Nothing is done, neither beforehand nor when it comes to writing."""
    with pytest.raises(DataError, match=f"cannot write {path}: .*{reason}"):
        work([path], lambda: pytest.fail("the work was begun"), **how)


# -- what is there ----------------------------------------------------------------------------------


def test_a_file_of_ours_and_an_empty_one_are_replaced(tmp_path):
    for before in ("note 1", ""):
        (tmp_path / "x").write_text(before)
        write(tmp_path / "x")
        assert (tmp_path / "x").read_text() == "note 2"
    assert names(tmp_path) == ["x"]


def test_another_file_is_replaced_when_told_so_alone(tmp_path):
    path = tmp_path / "x"
    path.write_text("my ratings")
    refused(path, "a file is there, and nothing tells that it is a note")
    with pytest.raises(DataError, match="--force"):
        write(path)
    assert path.read_text() == "my ratings"
    write(path, force=True)
    assert path.read_text() == "note 2"


def test_a_link_leads_to_its_file_and_stays(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "link"
    link.symlink_to("far/x")
    for _ in range(2):  # where nothing is yet, and where something is
        write(link)
        assert link.readlink() == Path("far/x")
        assert (tmp_path / "far" / "x").read_text() == "note 2"
    assert names(tmp_path / "far") == ["x"]
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    refused(circle, "")


@pytest.mark.parametrize("place", ["/dev/stdout", "/dev/null", "/dev/new", "/proc/self/fd/1"])
def test_a_device_is_no_place_for_a_file(place, tmp_path):
    """As root, `-o /dev/stdout` made a file of that device, for the whole machine."""
    link = tmp_path / "link"
    link.symlink_to(place)
    # Looked at and not written: a fault here would break the machine.
    for path in (Path(place), link, tmp_path / ".." / ".." / ".." / ".." / ".." / place[1:]):
        refused(path, "belongs to the system")
        refused(path, "belongs to the system", force=True)


def test_permissions_are_kept(tmp_path):
    path = tmp_path / "x"
    before = os.umask(0o027)
    try:
        write(path)
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        write(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o604


def test_a_file_that_is_read_only_is_kept(tmp_path):
    path = tmp_path / "x"
    path.write_text("note 1")
    path.chmod(0o444)
    refused(path, "read-only")
    refused(path, "read-only", force=True)


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("note")
    refused(tmp_path / "none" / "x", "there is no folder")
    refused(Path("s3://bucket/x"), "write it to a path here, then copy it there")
    refused(tmp_path / "file" / "x", "file is no folder")
    refused(tmp_path, "no regular file")
    refused(tmp_path / ("x" * 256), "File name too long")
    refused(tmp_path / "x\0", "null")
    refused(Path("-"), "standard output")
    write(tmp_path / ("x" * 255))
    assert names(tmp_path) == ["file", "x" * 255]


# -- what is read, and what is written twice --------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
def test_what_is_read_is_not_written(tmp_path, monkeypatch, force):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/x").write_text("my ratings")
    Path("link").symlink_to("in/x")
    Path("hard").hardlink_to("in/x")
    Path("in/deep").mkdir()
    for path in ("in/x", "in/../in/x", "in/deep/../x", "link", "hard"):
        for source in ("in/x", "link", "hard", "./in/x", "in/?", "sqlite:///in/x?table=ratings"):
            refused(Path(path), "it is what is read", reads=[source], force=force)
    refused(Path("link"), "it lies in in, which is read", reads=["in"], force=force)
    write(Path("in/new"))
    with outputs([(Path("in/newer"), NOTE), (Path("out"), NOTE)], reads=["in", "in/x"]):
        pass
    assert Path("in/x").read_text() == "my ratings"


def test_a_model_that_grows_is_replaced_when_told_so(tmp_path):
    path = tmp_path / "x"
    path.write_text("note 1")
    refused(path, "it is what is read: .*--force", reads=[path])
    with outputs([(path, NOTE)], reads=[path], force=True):
        write(path)
    assert path.read_text() == "note 2"


def test_two_files_in_one_place_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x").write_text("note")
    Path("link").symlink_to("x")
    Path("hard").hardlink_to("x")
    for one, other in (("x", "./x"), ("x", "x"), ("x", "link"), ("hard", "x"), ("new", "./new")):
        with pytest.raises(DataError, match=f"cannot write .*{one} is the same file"):
            work([Path(one), Path(other)], lambda: pytest.fail("the work was begun"))


# -- all or nothing ---------------------------------------------------------------------------------


def test_files_that_are_named_together_appear_together(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    with outputs([(one, NOTE), (other, NOTE)]):
        write(one)
        assert not one.exists()
        write(other)
        assert (one.read_text(), other.read_text()) == ("note 2", "note 2")
        write(other, "note 3")  # as often as one likes
    assert other.read_text() == "note 3"
    assert names(tmp_path) == ["one", "other"]


def test_of_files_that_are_named_together_none_appears_where_one_fails(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("note 1")

    def fail(error: type[BaseException]) -> None:
        write(one)
        raise error

    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            work([one, other], partial(fail, error))
        assert one.read_text() == "note 1"
        assert names(tmp_path) == ["one"]


@pytest.mark.parametrize("hard_links", [True, False])
def test_what_is_in_its_place_already_gives_way_where_the_next_cannot_come(
    tmp_path, monkeypatch, hard_links
):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    one.write_text("note 1")
    if not hard_links:

        def none_here(*_: object) -> None:
            raise OSError("not supported")

        monkeypatch.setattr(Path, "hardlink_to", none_here)

    def write_all() -> None:
        write(one)
        write(two)
        three.mkdir()
        write(three)

    with pytest.raises(DataError, match=f"cannot write {three}"):
        work([one, two, three], write_all)
    three.rmdir()
    assert one.read_text() == "note 1"
    assert names(tmp_path) == ["one"]


def test_threads_that_write_the_same_file_do_not_meet(tmp_path):
    """The name of the part was that of the process alone: torn reads and failed saves were seen."""
    path = tmp_path / "x"
    texts = [f"note {n} " * 20_000 for n in range(8)]
    failed: list[BaseException] = []

    def run(text: str) -> None:
        try:
            for _ in range(10):
                write(path, text)
                assert path.read_text() in texts
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert names(tmp_path) == ["x"]


def test_a_file_that_comes_in_between_is_kept_and_so_is_what_was_to_be_written(tmp_path):
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"

    def write_all() -> None:
        one.write_text("my ratings")
        write(one)
        write(other)

    with pytest.raises(DataError, match=r"since the work began: .* is in .*one-\w+\.txt"):
        work([one, other], write_all)
    assert one.read_text() == "my ratings"
    assert other.read_text() == "note 2"
    (beside,) = tmp_path.glob("one-*.txt")
    assert beside.read_text() == "note 2"
    assert len(names(tmp_path)) == 3
    one.unlink()
    work([one, other], write_all, force=True)
    assert one.read_text() == "note 2"


# -- what is left over -------------------------------------------------------------------------------

_KILLED = """
import os, sys
from pathlib import Path
from dotbias.whole_file import FileKind, whole_file
with whole_file(Path(sys.argv[1]), FileKind("note")) as part:
    part.write_text("half a n")
    print(flush=True)
    if sys.stdin.readline():
        os._exit(9)
"""


def test_what_a_killed_run_leaves_is_removed_by_the_next_and_what_is_in_work_is_not(tmp_path):
    path = tmp_path / "x"
    run = [sys.executable, "-c", _KILLED, path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(run, **pipes) as process:
        process.stdout.readline()
        write(path)
        (left,) = set(names(tmp_path)) - {"x"}
        assert (tmp_path / left / "new" / "x").read_text() == "half a n"
        process.communicate(b"die\n")
        assert process.returncode == 9
    assert names(tmp_path) == [left, "x"]
    others = tmp_path / ".mine.part"
    others.mkdir()
    write(tmp_path / "y")
    assert names(tmp_path) == [".mine.part", "x", "y"]


def test_what_an_old_version_has_left_is_removed_once_it_is_abandoned(tmp_path):
    """Version 0.7 wrote .NAME.PROCESS.part, and nothing removed it any more."""
    long_ago = time.time() - 2 * 24 * 3600
    kept = [".x.41.part", ".y.42.part", ".x.mine.part", ".xx.42.part"]
    for name in (*kept, ".x.42.part"):
        (tmp_path / name).write_text("half a n")
        os.utime(tmp_path / name, None if name == ".x.41.part" else (long_ago, long_ago))
    write(tmp_path / "x")
    assert names(tmp_path) == sorted([*kept, "x"])


# -- a full disk ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_table_on_a_full_disk(small_disk, ending):
    path = small_disk / f"x{ending}"
    table = pl.DataFrame({"a": np.random.default_rng(0).random(200_000)})
    write_table(table[:10], path)
    with pytest.raises(DataError, match=rf"cannot write {path}: .*No space left"):
        write_table(table, path, force=True)
    read = {".csv": pl.read_csv, ".parquet": pl.read_parquet}[ending]
    assert read(path).equals(table[:10])
    assert names(small_disk) == [path.name]


def test_a_model_on_a_full_disk(small_disk):
    path = small_disk / "x"
    model_file.write(path, {"a": np.zeros(10)}, {})
    with pytest.raises(ModelFileError, match=f"cannot write {path}: .*No space left"):
        model_file.write(path, {"a": np.zeros(100_000)}, {})
    assert len(model_file.read(path)[0]["a"]) == 10
    assert names(small_disk) == ["x"]


def test_a_disk_that_is_full_already_is_known_before_the_work(small_disk):
    with pytest.raises(OSError, match="No space"):
        (small_disk / "big").write_bytes(bytes(300_000))
    refused(small_disk / "x", "No space left")
    assert names(small_disk) == ["big"]


def test_a_disk_that_is_read_only_is_known_before_the_work(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused(small_disk / "x", "Read-only file system")


def test_a_table_is_written_by_its_ending(tmp_path):
    table = pl.DataFrame({"a": [1]})
    write_table(table, tmp_path / "x.csv")
    write_table(table, tmp_path / "X.PARQUET")
    assert (tmp_path / "x.csv").read_text() == "a\n1\n"
    assert pl.read_parquet(tmp_path / "X.PARQUET").equals(table)
    with pytest.raises(DataError, match=r"the name of a table must end in \.csv or \.parquet"):
        write_table(table, tmp_path / "x.xlsx")
    assert TABLE.endings == (".csv", ".parquet")
    assert names(tmp_path) == ["X.PARQUET", "x.csv"]


@pytest.mark.parametrize("ending", TABLE.endings)
def test_a_table_may_have_a_name_that_is_not_utf8(tmp_path, ending):
    """Polars takes no such path: a traceback."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    path = folder / os.fsdecode(b"\xff" + ending.encode())
    write_table(pl.DataFrame({"a": [1]}), path)
    read = pl.read_csv if ending == ".csv" else pl.read_parquet
    assert read(path.read_bytes()).rows() == [(1,)]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="no regular file"):
        write_table(pl.DataFrame({"a": [1]}), pipe, force=True)
    assert pipe.is_fifo()


# -- folders ---------------------------------------------------------------------------------------

NOTES = FileKind("box of notes", is_ours=lambda box: (box / "note").exists(), is_folder=True)


def write_box(path: Path, text: str, **how: Any) -> None:
    with outputs([(path, NOTES)], **how) as named, named.part(path) as part:
        (part / "note").write_text(text)


def test_a_folder_is_written_and_replaced_as_one(tmp_path):
    box = tmp_path / "box"
    write_box(box, "1")
    (box / "old").write_text("left over")
    write_box(box, "2")
    assert names(tmp_path) == ["box"]
    assert names(box) == ["note"]
    assert (box / "note").read_text() == "2"

    def half_a_box() -> None:
        with outputs([(box, NOTES)]) as named, named.part(box) as part:
            (part / "note").write_text("3")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half"):
        half_a_box()
    assert (box / "note").read_text() == "2"
    assert names(tmp_path) == ["box"]


def test_a_folder_that_is_not_ours_is_never_replaced(tmp_path):
    box = tmp_path / "box"
    box.mkdir()
    write_box(box, "1")  # an empty one holds nothing
    (box / "note").rename(box / "diary")
    for force in (False, True):
        with pytest.raises(DataError, match="a folder is there that holds more than a box"):
            write_box(box, "2", force=force)
        assert names(box) == ["diary"]


def test_a_folder_comes_back_where_what_belongs_with_it_cannot_come(tmp_path):
    box, path = tmp_path / "box", tmp_path / "x"
    write_box(box, "1")

    def write_both() -> None:
        with outputs([(box, NOTES), (path, NOTE)]) as named:
            with named.part(box) as part:
                (part / "note").write_text("2")
            with named.part(path) as part:
                part.write_text("note")
                path.mkdir()

    with pytest.raises(DataError, match=f"cannot write {path}"):
        write_both()
    assert (box / "note").read_text() == "1"
    assert names(tmp_path) == ["box", "x"]


@pytest.mark.parametrize("source", ["box", "box/note", "."])
def test_a_folder_that_is_read_or_lies_in_one_that_is_read_stays(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    write_box(Path("box"), "1")
    with pytest.raises(DataError, match="read: name another folder"):
        write_box(Path("box"), "2", reads=[source], force=True)
    assert (tmp_path / "box" / "note").read_text() == "1"
