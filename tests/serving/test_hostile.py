"""Whatever is sent: no fault, no wait, nothing written that was refused, nothing of it in the log.

Some with ``make test``; of ids that are integers and ids that are text any number by hand:
``python -m tests.serving.test_hostile 5000 SEED``.
"""

import contextlib
import json
import random
import re
import socket
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import polars as pl
import pytest

import dotbias as db
from dotbias.serving import server
from dotbias.serving.connection import Connection
from dotbias.serving.security import Keys
from dotbias.serving.store.database import Database
from dotbias.serving.store.said import Said
from tests.serving.hostile import FIRST_USER, RATING, TITLE, Hostile, hostile
from tests.serving.server import process, serving

N_REQUESTS = 200
SECONDS = 10.0  # until a whole request is answered
A_MOMENT = 0.3  # what a client waits where no answer need come
N_CLIENTS = 8
MOST_GROWTH = 200 << 20  # bytes of memory


def statuses(address: tuple[str, int], request: Hostile) -> list[int]:
    """What a request is answered with; more than once where it is several, or none."""
    answers = b""
    with socket.create_connection(address, timeout=SECONDS) as connection:
        try:
            connection.sendall(request.sent)
            if not request.ends:
                connection.settimeout(A_MOMENT)
            while part := connection.recv(1 << 16):
                answers = (answers + part).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
                if is_whole(answers, to_head=request.sent.startswith(b"HEAD")):
                    if request.ends:
                        break
                    connection.settimeout(A_MOMENT / 10)  # there may be more
        except TimeoutError:
            if request.ends:
                raise
        except ConnectionError:  # refused before all of it was read
            pass
    assert not re.search(rb"(?im)^(x-evil|set-cookie):", answers.partition(b"\r\n\r\n")[0])
    return [int(found) for found in re.findall(rb"(?m)^HTTP/1\.1 (\d{3}) ", answers)]


def is_whole(answer: bytes, *, to_head: bool) -> bool:
    """Whether the first answer is all there."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\ncontent-length: (\d+)", head)
    has_body = not to_head and b" 204 " not in head[:20] and b" 304 " not in head[:20]
    return bool(end) and (length is None or not has_body or len(body) >= int(length[1]))


def memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    (line,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(line)


def run(model: Path, folder: Path, n: int, first: int) -> tuple[list[str], Counter[str]]:
    """Faults of a service to which so many requests are sent, and how often there was which answer."""
    address = str(folder / "ratings.db")
    kept = Database(address)
    kept.check()
    key = Keys(kept).add("shop")
    kept.close()
    log = folder / "log"
    faults: list[str] = []
    told: Counter[str] = Counter()
    done: set[str] = set()

    # Bound to all addresses a service needs keys.
    with process(model, address, "--host", "0.0.0.0", log=log) as (started, url):
        begin = log.stat().st_size
        place = ("127.0.0.1", urlsplit(url).port or 0)
        good = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{place[1]}", headers=good) as client:

            def is_alive() -> None:
                answer = client.get("/v1/users/1/ratings", timeout=SECONDS).raise_for_status()
                slowest = max(told["slowest ms"], round(1000 * answer.elapsed.total_seconds()))
                told["slowest ms"] = slowest

            for user in (1, 2, 3):
                said = {"rating": 2.0 + user / 2}
                client.put(f"/v1/users/{user}/ratings/1", json=said).raise_for_status()
            before = rows(address)
            is_alive()

            def send(seed: int) -> None:
                user = FIRST_USER + seed
                request = hostile(random.Random(seed), user, key)
                try:
                    found = statuses(place, request)
                except Exception as error:
                    faults.append(f"{seed}: {error!r} {request.sent[:300]!r}")
                    return
                if any(500 <= status != 503 for status in found) or (request.ends and not found):
                    faults.append(f"{seed}: {found} {request.sent[:300]!r}")
                # Or perhaps done: who leaves without an answer does not know.
                if not found or any(200 <= status < 300 for status in found):
                    done.add(str(user))
                told.update(map(str, found or ["none"]))

            at = memory(started.pid)
            with ThreadPoolExecutor(N_CLIENTS) as clients:
                for start in range(first, first + n, 500):
                    list(clients.map(send, range(start, min(start + 500, first + n))))
                    is_alive()
            grown = memory(started.pid) - at
            told["grown MB"] = grown >> 20
            if grown > MOST_GROWTH:
                faults.append(f"memory has grown by {grown:,} bytes")
            time.sleep(A_MOMENT)
            is_alive()
        if started.poll() is not None:
            faults.append("the service has ended")
    after = rows(address)
    if not before.equals(after.filter(pl.col("user").is_in(["1", "2", "3"]))):
        faults.append("what others said has changed")
    written = set(after["user"]) - {"1", "2", "3"}
    told["written"] = len(written)
    faults += [f"written, and refused: {user}" for user in written - done]
    return faults + faults_of(log.read_text()[begin:], key), told


def rows(address: str) -> pl.DataFrame:
    """All that a database holds, in one order."""
    return Said.read(address).states.sort("user", "item")


def faults_of(log: str, key: str) -> list[str]:
    """What a log holds that it should not; it is JSON in lines."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines()]
    faults = [f"log: {line}" for line in lines if "error" in line]
    secrets = (key, str(RATING), TITLE, "Traceback", "passwd", "x-evil", "DROP TABLE")
    faults += [f"the log holds {secret}" for secret in secrets if secret in log]
    if re.search(rf"{str(FIRST_USER)[:4]}\d{{6}}", log):
        faults.append("the log holds ids")
    return faults


def test_hostile_requests_do_nothing(model: Path, tmp_path: Path) -> None:
    faults, told = run(model, tmp_path, N_REQUESTS, 0)
    assert not faults, "\n".join(faults)
    assert {"200", "400", "401", "404", "422"} <= set(told)
    assert told["written"]  # or none of them ever came that far


BEGUN = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
WAITING = {
    "nothing": (b"", b""),
    "part of a line": (b"GET /hea", b""),
    "headers, slowly": (BEGUN, b"X: y\r\n"),
    "empty lines": (b"", b"\r\n"),
    "empty lines after an answer": (BEGUN + b"\r\n", b"\r\n"),
    "a body after its answer": (
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
        b" ",
    ),
    "a slow body": (
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        b" ",
    ),
    "slow chunks": (
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "patience", 0.6)


@pytest.mark.usefixtures("impatient")
def test_whoever_is_slow_is_left(model: Path, tmp_path: Path) -> None:
    with (
        serving(model, tmp_path / "r.db") as client,
        contextlib.ExitStack() as closing,
    ):
        slow = {name: closing.enter_context(connected(client)) for name in WAITING}
        for name, (begin, _) in WAITING.items():
            slow[name].sendall(begin)
            slow[name].setblocking(False)
        end = time.monotonic() + SECONDS
        while slow and time.monotonic() < end:
            time.sleep(0.05)
            assert client.get("/health", timeout=SECONDS / 2).status_code == 200
            slow = {name: one for name, one in slow.items() if goes_on(one, WAITING[name][1])}
        assert not slow


def goes_on(connection: socket.socket, more: bytes) -> bool:
    """Whether the service still listens when more is sent."""
    try:
        connection.send(more)
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


@pytest.mark.usefixtures("impatient")
def test_whoever_takes_no_answer_is_left(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"

    def ask_on() -> None:
        reader.sendall(request * 500)  # more than fits into what the system keeps
        for _ in range(100):
            time.sleep(0.1)
            reader.sendall(request)

    with connected(client, buffer=1 << 14) as reader, pytest.raises(ConnectionError):
        ask_on()
    assert client.get("/health").status_code == 200
    assert not caplog.records


def connected(client: httpx.Client, buffer: int | None = None) -> socket.socket:
    """Another connection to where a client asks."""
    made = socket.socket()
    if buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    made.settimeout(SECONDS)
    made.connect((client.base_url.host, client.base_url.port or 0))
    return made


def test_however_many_wait_a_request_finds_a_place(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 20)
    with serving(model, tmp_path / "r.db") as client, contextlib.ExitStack() as closing:
        for n in range(100):
            closing.enter_context(connected(client)).sendall(BEGUN)
            if n % 10 == 0:
                assert httpx.get(f"{client.base_url}/health", timeout=SECONDS).status_code == 200


if __name__ == "__main__":
    given = sys.argv[1:]
    n, first = map(int, [*given, *("5000", "0")[len(given) :]])
    for of_text in (False, True):
        with TemporaryDirectory() as name:
            folder = Path(name)
            frame = db.simulate(60, 40, 900, n_factors=2, seed=0)[0].to_frame()
            if of_text:
                ids = [pl.format("id {}", name).alias(name) for name in ("user", "item")]
                frame = frame.with_columns(ids)
            path = folder / "m.dotbias"
            ratings = db.read_ratings(frame)
            db.fit(ratings, db.DotBias(n_factors=2), db.ALS(n_iterations=2), seed=0).save(path)
            found, counted = run(path, folder, n, first)
            print("\n".join([*found, ""]), dict(counted), flush=True)
