"""Prepared ratings elsewhere: what is read of them comes, no more, and nothing of it stays."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import fsspec
import numpy as np
import pytest
from fsspec.spec import AbstractFileSystem

import dotbias as db
from dotbias.data.prepared import mirror
from dotbias.data.prepared.manifest import COLUMNS, MANIFEST, SMALL, is_prepared
from dotbias.data.sources.remote import is_url
from dotbias.fitting.checkpoints import Checkpoints
from tests.ratings import random_ratings

PASSWORD = "hunter/2"
URL = "store://me:hunter%2F2@host/ratings.blocks"
NAME = "store://me:***@host/ratings.blocks"


class Store(AbstractFileSystem):
    """Files of a folder of this machine, and what was asked of them."""

    protocol = "store"
    cachable = False
    folder: ClassVar[Path]
    asked: ClassVar[list[tuple[str, int, int]]]

    @classmethod
    def _strip_protocol(cls, path):
        return urlsplit(path).path.strip("/") if "://" in path else path

    def info(self, path, **_):
        place = self.folder / path
        if not place.is_file():
            raise FileNotFoundError(path)
        return {"name": path, "size": place.stat().st_size, "type": "file"}

    def cat_file(self, path, start=None, end=None, **_):
        self.asked.append((Path(path).name, start, end))
        return (self.folder / path).read_bytes()[start:end]


@pytest.fixture(scope="module", autouse=True)
def protocol():
    fsspec.register_implementation("store", Store, clobber=True)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere") / "ratings.blocks"
    return db.prepare(random_ratings(300, 80, 4000, 0), path, test_size=0.2, seed=1)


@pytest.fixture
def elsewhere(original, tmp_path, monkeypatch):
    """A folder elsewhere, and one for temporary files."""
    Store.folder, Store.asked = tmp_path / "elsewhere", []
    shutil.copytree(original.folder, Store.folder / "ratings.blocks")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return Store.folder / "ratings.blocks"


def temporary() -> list[str]:
    return [each.name for each in Path(tempfile.gettempdir()).iterdir()]


def assert_same_rows(one, other):
    for a in range(one.n_blocks):
        for b in range(one.n_blocks):
            for mine, theirs in zip(one.read_block(a, b), other.read_block(a, b), strict=True):
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("piece", [100, 1 << 25])
def test_what_is_read_is_what_lies_there_and_comes_once(original, monkeypatch, piece):
    monkeypatch.setattr(mirror, "_PIECE", piece)
    prepared = db.PreparedRatings.open(URL)
    assert not temporary()
    assert prepared.whole.digest == original.whole.digest
    small = {name for name, *_ in Store.asked}
    assert small == {MANIFEST, *SMALL, *(f"{name}.npy" for name in COLUMNS)}
    Store.asked.clear()
    assert_same_rows(prepared.training, original.training)
    assert_same_rows(prepared.whole, original.whole)
    held = zip(prepared.held_out(), original.held_out(), strict=True)
    assert all((mine[2] == theirs[2]).all() for mine, theirs in held)
    came = sum(stop - start for _, start, stop in Store.asked)
    assert came == 12 * len(original.whole)
    assert all(stop - start <= piece for _, start, stop in Store.asked)


@pytest.mark.usefixtures("elsewhere")
def test_a_user_block_alone_comes(original):
    training = db.PreparedRatings.open(URL).training
    Store.asked.clear()
    for b in (3, 5, 3):
        training.read_block(2, b)
    sizes = original.whole.block_sizes.sum(axis=1)
    first, n = int(sizes[:2].sum()), int(sizes[2])
    offset = original._offsets["users"]
    assert Store.asked == [
        (f"{name}.npy", offset + 4 * first, offset + 4 * (first + n)) for name in COLUMNS
    ]


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("solver", [db.GradientDescent(n_epochs=2), db.ALS(n_iterations=1)])
def test_workers_read_their_own_elsewhere(original, solver):
    model, url = db.DotBias(n_factors=4), f"file://{original.folder}"
    given = {"cluster": "processes", "n_workers": 2, "purpose": "predict", "seed": 3}
    found = db.fit(db.PreparedRatings.open(url), model, solver, **given)
    alone = db.fit(original, model, solver, purpose="predict", seed=3)
    for name, array in alone.parameters.items():
        np.testing.assert_array_equal(found.parameters[name], array)
    assert (found.rated != alone.rated).nnz == 0
    assert not temporary()


def test_a_store_in_memory(original):
    store = fsspec.filesystem("memory")
    store.put(str(original.folder), "/a/ratings.blocks", recursive=True)
    url = "memory://a/ratings.blocks/"
    assert is_prepared(url)
    assert not is_prepared("memory://a")
    rec = db.fit(url, db.DotBias(n_factors=2), db.GradientDescent(n_epochs=1))
    assert rec.rated.nnz == len(original.training)
    store.rm("/a", recursive=True)


PROGRAM = """
import sys
import dotbias as db
prepared = db.PreparedRatings.open(sys.argv[1])
prepared.whole.read_block(0, 0)
print(sum(1 for line in open("/proc/self/maps") if "ratings.blocks" in line), flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_process_that_is_killed_leaves_nothing(original):
    command = [sys.executable, "-c", PROGRAM, f"file://{original.folder}"]
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(
        command, **how, env=os.environ | {"TMPDIR": tempfile.gettempdir()}
    ) as run:
        assert int(run.stdout.readline()) >= len(COLUMNS)
        assert not temporary()
        run.kill()


# -- errors ----------------------------------------------------------------------------------------


def error_of(read) -> str:
    with pytest.raises(db.DataError) as error:
        read()
    assert PASSWORD not in str(error.value)
    assert "%2F2" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None
    assert error.value.__cause__ is None  # which might say more
    return str(error.value)


def all_of(url):
    prepared = db.PreparedRatings.open(url)
    for a in range(prepared.n_blocks):
        prepared.whole.read_stripe("user", a)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (MANIFEST, f"{NAME}: there are no prepared ratings"),
        ("starts.npy", f"{NAME}/starts.npy is missing: prepare the ratings again"),
        ("values.npy", f"{NAME}/values.npy is missing: prepare the ratings again"),
    ],
)
def test_files_that_are_missing(elsewhere, name, said):
    (elsewhere / name).unlink()
    assert error_of(lambda: all_of(URL)) == said
    assert not temporary()


@pytest.mark.parametrize("name", [MANIFEST, *SMALL, *(f"{name}.npy" for name in COLUMNS)])
@pytest.mark.parametrize("n_bytes", [0, 1, -1])
def test_files_that_are_damaged_or_cut_short(elsewhere, name, n_bytes):
    path = elsewhere / name
    content = path.read_bytes()
    changed = content[:n_bytes] if n_bytes < 1 else content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes(changed)
    said = error_of(lambda: all_of(URL))
    assert said.startswith(f"{NAME}/{name}: ")
    assert "prepare the ratings again" in said


class Quota(Exception):
    """What a package raises, which is no error of the system."""


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", [MANIFEST, "user_ids.arrow", "users.npy"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Forbidden"), "cannot be read (Forbidden)"),
        (PermissionError(f"{URL}: 403"), f"cannot be read ({NAME}: 403)"),
        (ConnectionResetError(104, "Connection reset by peer"), "(Connection reset by peer)"),
        (TimeoutError(), "cannot be read (TimeoutError)"),
        (Quota(f"no more for me with {PASSWORD}\nat last"), "(no more for me with ***)"),
    ],
)
def test_storage_that_fails_is_named_with_the_reason(monkeypatch, name, error, said):
    read = Store.cat_file

    def fail(self, path, start=None, end=None, **_):
        if Path(path).name == name and (start or name != "users.npy"):
            raise error
        return read(self, path, start, end)

    monkeypatch.setattr(Store, "cat_file", fail)
    found = error_of(lambda: all_of(URL))
    assert found.startswith(f"{NAME}/{name}: ")
    assert found.endswith(said)
    if name == MANIFEST:  # though a command asks only whether it is such a folder
        assert error_of(lambda: db.fit(URL)) == found


class Unauthorised(Exception):
    status = 401


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "reason", [ConnectionRefusedError(111, "Refused"), Unauthorised("Refused")]
)
def test_a_server_that_does_not_answer_is_no_file_that_is_missing(monkeypatch, reason):
    def info(*_, **__):
        raise FileNotFoundError(URL) from reason

    monkeypatch.setattr(Store, "info", info)
    assert error_of(lambda: all_of(URL)) == f"{NAME}/{MANIFEST}: cannot be read (Refused)"
    reason = FileNotFoundError(URL)
    assert error_of(lambda: all_of(URL)) == f"{NAME}: there are no prepared ratings"


def test_storage_that_changes_meanwhile(elsewhere):
    prepared = db.PreparedRatings.open(URL)
    prepared.whole.read_block(1, 1)
    (elsewhere / "items.npy").unlink()
    prepared.whole.read_block(1, 2)
    said = error_of(lambda: prepared.whole.read_block(2, 0))
    assert said == f"{NAME}/items.npy is not there"


@pytest.mark.usefixtures("elsewhere")
def test_storage_that_cannot_read_a_part(monkeypatch):
    monkeypatch.setattr(Store, "cat_file", lambda *_, **__: b"x" * 10_000_000)
    assert "able to read a part of a file" in error_of(lambda: all_of(URL))
    monkeypatch.setattr(Store, "size", lambda *_: None)
    assert "does not say how long it is" in error_of(lambda: all_of(URL))


@pytest.mark.usefixtures("elsewhere")
def test_a_disk_for_temporary_files_that_is_full(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(db.DataError, match=r"cannot be kept in /nowhere .*TMPDIR"):
        db.PreparedRatings.open(URL)


@pytest.mark.parametrize("url", ["s3://bucket/ratings.blocks", "abfs://box@place/ratings.blocks"])
def test_packages_that_are_missing_are_named(monkeypatch, url):
    package = {"s3": "s3fs", "abfs": "adlfs"}[url.partition(":")[0]]
    monkeypatch.setitem(sys.modules, package, None)
    for read in (db.PreparedRatings.open, is_prepared, db.fit):
        said = error_of(lambda read=read: read(url))
        assert said.startswith(f"{url}: {package} is not installed: pip install {package}; or down")
    for module in ("fsspec", "fsspec.core"):
        monkeypatch.setitem(sys.modules, module, None)
    said = error_of(lambda: db.fit(url))
    assert "fsspec is not installed" in said
    assert "[cluster]" in said


def test_addresses_of_databases_are_none():
    for address in ("sqlite:///r.db?table=x", "postgresql+psycopg://me@host/x", "nosuch://x", "a"):
        assert not is_url(address)
    for url in (
        "s3://a/b",
        "memory://a",
        "sftp://me@host/a",
        "gs://a",
        "zip::s3://a/b",
        "file:///a",
    ):
        assert is_url(url)


# -- secrets ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("elsewhere")
def test_no_password_is_kept(tmp_path, monkeypatch, caplog, capsys):
    caplog.set_level("DEBUG")
    monkeypatch.setattr(Checkpoints, "remove", lambda _: None)
    prepared = db.PreparedRatings.open(URL)
    solver = db.GradientDescent(n_epochs=2)
    rec = db.fit(
        prepared, db.DotBias(), solver, checkpoint=tmp_path / "kept", checkpoint_every=1e-9
    )
    rec.save(tmp_path / "m.dotbias")
    print(repr(prepared), prepared, repr(prepared.whole), prepared.name, rec, rec.facts)
    files = [each for each in tmp_path.rglob("*") if each.is_file() and "kept" in str(each)]
    assert files
    for each in (*files, tmp_path / "m.dotbias"):
        assert b"hunter" not in each.read_bytes()
    assert "hunter" not in caplog.text + "".join(capsys.readouterr())
    with pytest.raises(db.SettingError, match=r"me:\*\*\*@host") as error:
        _ = prepared.whole.values
    assert "hunter" not in str(error.value)
