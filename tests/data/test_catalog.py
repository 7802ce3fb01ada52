"""Named sets against a real server on localhost that resumes, refuses, breaks off and lies."""

import gzip
import hashlib
import http.server
import io
import logging
import ntpath
import os
import posixpath
import re
import signal
import socket
import stat
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotbias.data import catalog
from dotbias.data.catalog import NAMED_SETS, NamedSet, fetch
from dotbias.data.read import load
from dotbias.data.sources.archives import safe_members
from dotbias.errors import DataError, DownloadError


@dataclass
class Host:
    """What the server holds, how it behaves, and the Range header of every request it got.

    It compresses what it may, and everything below ``/moved`` has moved to its ``url``.
    """

    content: bytes = b""
    status: int | None = None
    ranges: bool = True
    cut_after: int | None = None
    pause: float = 0.0
    requested: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        if request.path.startswith("/moved"):
            request.send_response(301)
            request.send_header("Location", request.path.replace("/moved", "/movielens"))
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        wanted = request.headers["Range"]
        self.requested.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if self.status is not None:
            request.send_error(self.status)
            return
        if not (wanted and self.ranges):
            body = self.content
            request.send_response(200)
        elif start >= len(self.content):
            request.send_error(416)
            return
        else:
            body = self.content[start:]
            request.send_response(206)
            last = len(self.content) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{len(self.content)}")
        if "gzip" in request.headers["Accept-Encoding"]:
            body = gzip.compress(body)
            request.send_header("Content-Encoding", "gzip")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.cut_after][:100])
        request.wfile.flush()
        time.sleep(self.pause)
        request.wfile.write(body[: self.cut_after][100:])


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args: Any) -> None:
        pass  # a client that hangs up is what some tests are about


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    served = Host()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/movielens"
    monkeypatch.setenv("DOTBIAS_DATASETS_URL", served.url + "/")
    monkeypatch.setenv("DOTBIAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def offline(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not tiny.exists()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("DOTBIAS_DATASETS_URL", f"http://127.0.0.1:{port}")


def zipped(seed: int, n_bytes: int = 20_000) -> bytes:
    """A zip whose bytes depend on the seed but whose length does not."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("tiny/ratings.csv", np.random.default_rng(seed).bytes(n_bytes))
    return memory.getvalue()


WHOLE, OTHER = zipped(0), zipped(1)


@pytest.fixture
def tiny(host: Host, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Catalogue a small invented set that the server holds; its path in the cache."""
    host.content = WHOLE
    checksum = "md5:" + hashlib.md5(WHOLE).hexdigest()
    named = NamedSet("tiny", "an invented set", len(WHOLE), checksum, "free for all.")
    monkeypatch.setattr(catalog, "NAMED_SETS", {"tiny": named})
    return catalog.cache_folder() / "tiny.zip"


def only_the_whole_file_is_there(path: Path) -> bool:
    names = sorted(entry.name for entry in path.parent.iterdir())
    return path.read_bytes() == WHOLE and names == ["tiny.zip", "tiny.zip.verified"]


# ------------------------------------------------------------------------------- the catalogue


def test_the_catalogue_is_complete_and_well_formed() -> None:
    sizes = ["latest-small", "100k", "1m", "10m", "20m", "25m", "32m"]
    assert list(NAMED_SETS) == [f"ml-{size}" for size in sizes]
    for name, named in NAMED_SETS.items():
        assert named.name == name
        assert re.fullmatch("md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", named.checksum)
        assert named.n_bytes > 900_000
        assert "commercial" in named.licence
        assert "\n" not in named.licence + named.description


def test_address_is_that_of_grouplens_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DOTBIAS_DATASETS_URL", raising=False)
    url = NAMED_SETS["ml-1m"].url
    assert url == "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
    monkeypatch.setenv("DOTBIAS_DATASETS_URL", "http://mirror/sets/")
    assert NAMED_SETS["ml-1m"].url == "http://mirror/sets/ml-1m.zip"


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOTBIAS_CACHE", str(tmp_path))
    assert catalog.cache_folder() == tmp_path
    monkeypatch.setenv("DOTBIAS_CACHE", "~/sets")
    assert catalog.cache_folder() == Path.home() / "sets"
    monkeypatch.delenv("DOTBIAS_CACHE")
    assert "dotbias" in catalog.cache_folder().parts


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(DataError, match=r"'ml-2m'.*ml-latest-small.*ml-32m"):
        fetch("ml-2m")


# --------------------------------------------------------------------------------- downloading


@pytest.fixture
def real_host(host: Host, data_dir: Path) -> Host:
    host.content = (data_dir / "ml-latest-small.zip").read_bytes()
    return host


def test_the_real_set_is_downloaded_and_verified(real_host: Host) -> None:
    assert fetch("ml-latest-small").read_bytes() == real_host.content


@pytest.mark.usefixtures("real_host")
def test_the_real_set_is_loaded_with_the_options_of_the_reader() -> None:
    ratings = load("ml-latest-small", scale=(0, 6))
    assert (len(ratings), ratings.n_users, ratings.n_items) == (100_836, 610, 9_724)
    assert ratings.scale == (0, 6)


def test_redirections_are_followed(host: Host, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOTBIAS_DATASETS_URL", host.url.replace("movielens", "moved"))
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)


def test_second_fetch_uses_the_cache_and_hashes_nothing(
    host: Host, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch("tiny") == tiny
    assert only_the_whole_file_is_there(tiny)
    monkeypatch.setattr(catalog, "_checksum", None)
    assert fetch("tiny") == tiny
    assert len(host.requested) == 1


def test_licence_is_shown_once(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dotbias"):
        fetch("tiny")
        fetch("tiny")
    shown = [record.message for record in caplog.records if record.name == "dotbias"]
    assert shown == ["tiny: free for all."]
    assert tiny.exists()


@pytest.mark.parametrize("cut", [0, 1, 5_000, len(WHOLE) - 1])
def test_resumes_after_a_cut_connection(host: Host, tiny: Path, cut: int) -> None:
    host.cut_after = cut
    with pytest.raises(DownloadError, match="what has arrived is kept"):
        fetch("tiny")
    assert not tiny.exists()
    host.cut_after = None
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)
    assert host.requested == [None, f"bytes={cut}-" if cut else None]


def test_resumes_over_many_cuts(host: Host, tiny: Path) -> None:
    host.cut_after = 3_000
    for _ in range(len(WHOLE) // 3_000):
        with pytest.raises(DownloadError):
            fetch("tiny")
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)
    assert host.requested[-1] == f"bytes={len(WHOLE) // 3_000 * 3_000}-"


def test_server_without_ranges_restarts(host: Host, tiny: Path) -> None:
    host.ranges, host.cut_after = False, 5_000
    with pytest.raises(DownloadError):
        fetch("tiny")
    host.cut_after = None
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)


def test_file_that_changed_between_the_halves_is_fetched_whole(host: Host, tiny: Path) -> None:
    host.content, host.cut_after = OTHER, 5_000
    with pytest.raises(DownloadError):
        fetch("tiny")
    host.content, host.cut_after = WHOLE, None
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)
    assert host.requested == [None, "bytes=5000-", None]


@pytest.mark.parametrize("left", [OTHER, OTHER + b"too long"])
def test_part_as_long_as_the_file_is_verified_all_the_same(
    host: Host, tiny: Path, left: bytes
) -> None:
    tiny.parent.mkdir()
    tiny.with_name("tiny.zip.part").write_bytes(left)
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)
    assert host.requested[1:] == [None]


def test_complete_part_needs_only_its_name(host: Host, tiny: Path) -> None:
    tiny.parent.mkdir()
    tiny.with_name("tiny.zip.part").write_bytes(WHOLE)
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)
    assert host.requested == [f"bytes={len(WHOLE)}-"]


@pytest.mark.usefixtures("offline")
def test_part_is_never_taken_for_the_file(tiny: Path) -> None:
    tiny.parent.mkdir()
    tiny.with_name("tiny.zip.part").write_bytes(WHOLE[:5_000])
    with pytest.raises(DownloadError):
        fetch("tiny")
    assert not tiny.exists()
    assert tiny.with_name("tiny.zip.part").read_bytes() == WHOLE[:5_000]


def test_progress_counts_every_byte_once(
    host: Host, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tuple[str, float, dict[str, Any]]] = []
    amounts: list[list[float]] = []

    @contextmanager
    def recorded(description: str, total: float, **options: Any) -> Iterator[Any]:
        bars.append((description, total, options))
        amounts.append([])
        yield lambda amount, _text: amounts[-1].append(amount)

    monkeypatch.setattr(catalog, "progress_bar", recorded)
    host.cut_after = 5_000
    with pytest.raises(DownloadError):
        fetch("tiny")
    host.cut_after = None
    fetch("tiny", progress=False)
    assert bars == [
        ("tiny", len(WHOLE), {"enabled": True, "unit": "bytes"}),
        ("tiny", len(WHOLE), {"enabled": False, "unit": "bytes"}),
    ]
    assert [sum(each) for each in amounts] == [5_000, len(WHOLE)]
    assert amounts[1][0] == 5_000
    assert tiny.exists()


def test_keyboard_interrupt_keeps_the_half(
    host: Host, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupted(*_: Any, **__: Any) -> Iterator[Any]:
        yield lambda n_bytes, _text: signal.raise_signal(signal.SIGINT) if n_bytes else None

    host.pause = 0.1  # so that a first piece arrives by itself
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "progress_bar", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch("tiny")
    assert not tiny.exists()
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)
    assert host.requested == [None, "bytes=100-"]


# ------------------------------------------------------------------------- several at one time


def test_concurrent_fetches_do_not_mix(host: Host, tiny: Path) -> None:
    host.pause = 0.1
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(fetch, ["tiny"] * 4))
    assert paths == [tiny] * 4
    assert only_the_whole_file_is_there(tiny)


def test_part_of_a_live_download_is_left_alone(host: Host, tiny: Path) -> None:
    tiny.parent.mkdir()
    foreign = tiny.with_name("tiny.zip.0123.part")
    foreign.write_bytes(WHOLE[:5_000])
    fetch("tiny")
    assert tiny.read_bytes() == WHOLE
    assert foreign.read_bytes() == WHOLE[:5_000]
    assert host.requested == [None]


def test_part_of_a_killed_download_is_continued(host: Host, tiny: Path) -> None:
    tiny.parent.mkdir()
    orphan = tiny.with_name("tiny.zip.0123.part")
    orphan.write_bytes(WHOLE[:5_000])
    os.utime(orphan, (time.time() - 3_600,) * 2)
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)
    assert host.requested == ["bytes=5000-"]


# ------------------------------------------------------------------------- a file in the cache


@pytest.mark.parametrize("damaged", [OTHER, WHOLE[:-1], b""])
def test_damaged_file_is_fetched_anew_with_a_notice(
    host: Host, tiny: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fetch("tiny")
    tiny.write_bytes(damaged)
    os.utime(tiny, (1, 1))  # the clock of a file system may be too coarse to tell the two writes
    fetch("tiny")
    assert only_the_whole_file_is_there(tiny)
    assert "is damaged and is downloaded again" in caplog.text
    assert len(host.requested) == 2


@pytest.mark.usefixtures("offline")
def test_file_put_there_by_hand_is_verified_and_used(tiny: Path) -> None:
    tiny.parent.mkdir()
    tiny.write_bytes(WHOLE)
    assert fetch("tiny") == tiny
    assert only_the_whole_file_is_there(tiny)


def test_note_of_another_checksum_does_not_count(
    host: Host, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch("tiny")
    newer = NamedSet("tiny", "", len(OTHER), "sha256:" + hashlib.sha256(OTHER).hexdigest(), "")
    monkeypatch.setattr(catalog, "NAMED_SETS", {"tiny": newer})
    host.content = OTHER
    fetch("tiny")
    assert tiny.read_bytes() == OTHER


# ------------------------------------------------------------------------------------- refusals


def test_wrong_checksum_names_both_and_leaves_nothing(host: Host, tiny: Path) -> None:
    host.content = OTHER
    expected, found = (hashlib.md5(content).hexdigest() for content in (WHOLE, OTHER))
    with pytest.raises(DownloadError, match=f"expected md5:{expected}, found md5:{found}"):
        fetch("tiny")
    assert list(tiny.parent.iterdir()) == []


def test_file_of_another_size_is_refused_before_it_is_received(host: Host, tiny: Path) -> None:
    host.content = WHOLE + b"more"
    with pytest.raises(DownloadError, match=r"expected 20,\d+ bytes, the server has 20,\d+"):
        fetch("tiny")
    assert list(tiny.parent.iterdir()) == []


@pytest.mark.parametrize(("status", "phrase"), [(404, "404 Not Found"), (500, "500 Internal")])
def test_http_error_names_status_and_address(
    host: Host, tiny: Path, status: int, phrase: str
) -> None:
    host.status = status
    with pytest.raises(DownloadError, match=f"{phrase}.* {re.escape(host.url)}/tiny.zip"):
        fetch("tiny")
    assert not tiny.exists()


@pytest.mark.usefixtures("offline")
def test_offline_fails_fast_and_says_what_to_do(tiny: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        fetch("tiny")
    assert time.monotonic() - start < 2
    url = os.environ["DOTBIAS_DATASETS_URL"] + "/tiny.zip"
    assert f"save {url} as {tiny} yourself, or pass the path" in str(caught.value)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("base", ["ftp://127.0.0.1", "http://127.0.0.1:port", "nonsense"])
def test_unusable_base_address(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setenv("DOTBIAS_DATASETS_URL", base)
    with pytest.raises(DownloadError, match="cannot download tiny"):
        fetch("tiny")


@pytest.mark.usefixtures("tiny")
def test_cache_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DOTBIAS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadError, match="set DOTBIAS_CACHE to another folder"):
        fetch("tiny")


def test_full_disk(tiny: Path) -> None:
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(DownloadError, match="Make room there") as caught:
            fetch("tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tiny.parent) in str(caught.value)
    assert not tiny.exists()
    fetch("tiny")  # what had arrived was good
    assert only_the_whole_file_is_there(tiny)


# ------------------------------------------------------------------------------ unsafe archives


def archive_of(name: str, content: bytes = b"1,2,3\n", mode: int = 0) -> zipfile.ZipFile:
    """An archive, opened for reading, of a harmless member and the named one."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("set/README", "harmless")
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return zipfile.ZipFile(memory)


def test_files_of_a_harmless_archive_are_returned_without_folders(data_dir: Path) -> None:
    with zipfile.ZipFile(data_dir / "ml-latest-small.zip") as archive:
        names = [member.filename for member in safe_members(archive)]
    assert sorted(Path(name).name for name in names) == [
        "README.txt",
        "links.csv",
        "movies.csv",
        "ratings.csv",
        "tags.csv",
    ]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "no name"),
        ("/etc/ratings.csv", "absolute"),
        ("\\ratings.csv", "absolute"),
        ("C:ratings.csv", "absolute"),
        ("C:\\sets\\ratings.csv", "absolute"),
        ("\\\\host\\share\\ratings.csv", "absolute"),
        ("../ratings.csv", "leads out"),
        ("set/../../ratings.csv", "leads out"),
        ("set\\..\\..\\ratings.csv", "leads out"),
    ],
)
def test_unsafe_path_is_refused(name: str, fault: str) -> None:
    with pytest.raises(DataError, match=f"{re.escape(repr(name))} .*{fault}"):
        safe_members(archive_of(name))


@given(
    st.lists(st.sampled_from(["..", ".", "", "a", "ratings.csv", "C:", "c:a", "a:b.csv"])).flatmap(
        lambda parts: st.sampled_from(["/".join(parts), "\\".join(parts), "/\\".join(parts)])
    )
)
def test_accepted_path_stays_inside_on_every_system(name: str) -> None:
    try:
        (_, *members) = safe_members(archive_of(name))
    except DataError:
        return
    for member in members:
        for system, base in ((posixpath, "/base"), (ntpath, "D:\\base")):
            landed = system.normpath(system.join(base, member.filename))
            assert landed == base or landed.startswith(base + system.sep)


def test_symbolic_link_is_refused() -> None:
    with pytest.raises(DataError, match=r"'set/ratings\.csv' is a symbolic link"):
        safe_members(archive_of("set/ratings.csv", b"/etc/passwd", stat.S_IFLNK | 0o777))


def test_regular_unix_mode_is_accepted() -> None:
    assert len(safe_members(archive_of("set/ratings.csv", mode=stat.S_IFREG | 0o644))) == 2


def test_encrypted_member_is_refused() -> None:
    archive = archive_of("set/ratings.csv")
    archive.getinfo("set/ratings.csv").flag_bits |= 1
    with pytest.raises(DataError, match=r"'set/ratings\.csv' is encrypted"):
        safe_members(archive)


def test_bomb_is_refused_and_small_repetition_is_not() -> None:
    with pytest.raises(
        DataError, match=r"'set/ratings\.csv' is a bomb: it unpacks from .* 5,000,000"
    ):
        safe_members(archive_of("set/ratings.csv", bytes(5_000_000)))
    assert len(safe_members(archive_of("set/ratings.csv", b"1,1,5\n" * 100_000))) == 2


def test_archive_too_large_in_all_is_refused() -> None:
    archive = archive_of("set/ratings.csv")
    for member in archive.infolist():
        member.compress_size, member.file_size = 10**9, 11 * 10**9
    archive.getinfo("set/ratings.csv").file_size += 1
    with pytest.raises(DataError, match=r"with 'set/ratings\.csv'.* 22,000,000,001 bytes"):
        safe_members(archive)
