"""Nothing acknowledged is lost and nothing invented, whatever becomes of process and database."""

import contextlib
import os
import resource
import signal
import threading
from pathlib import Path

import httpx
import pytest

from dotbias.serving.store.database import Database
from dotbias.serving.store.store import Store
from tests.serving.postgres import Postgres
from tests.serving.server import process

N_WRITES = 300


def test_what_was_acknowledged_outlives_a_kill(model: Path, address: str) -> None:
    sent: list[set[tuple[str, str, float]]] = [set() for _ in range(4)]
    acknowledged: list[set[tuple[str, str, float]]] = [set() for _ in range(4)]
    enough = threading.Semaphore(0)

    def write(n: int, url: str) -> None:
        with httpx.Client(base_url=url) as client, contextlib.suppress(httpx.HTTPError):
            for item in range(10**6):
                user, value = str(10 * n + item % 10), 1 + item % 9 / 2
                sent[n].add((user, str(item), value))
                path = f"/v1/users/{user}/ratings/{item}"
                client.put(path, json={"rating": value}).raise_for_status()
                acknowledged[n].add((user, str(item), value))
                enough.release()

    with process(model, address) as (started, url):
        threads = [threading.Thread(target=write, args=(n, url)) for n in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(N_WRITES):
            assert enough.acquire(timeout=20)
        started.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    store = Store(Database(address))
    written = set(store.everything().select("user", "item", "value").rows())
    store.close()
    assert set().union(*acknowledged) <= written <= set().union(*sent)


def put(client: httpx.Client, user: int) -> httpx.Response:
    return client.put(f"/v1/users/{user}/ratings/1", json={"rating": 3})


def test_a_full_disk_refuses_writes_and_nothing_else(model: Path, tmp_path: Path) -> None:
    database = tmp_path / "r.db"
    with process(model, str(database)) as (started, url), httpx.Client(base_url=url) as client:
        assert put(client, 101).status_code == 200
        size = (tmp_path / "r.db-wal").stat().st_size
        before = resource.prlimit(started.pid, resource.RLIMIT_FSIZE, (size, -1))
        refused = put(client, 102)
        assert refused.status_code == 503
        assert "disk" in refused.json()["detail"] or "full" in refused.json()["detail"]
        assert "retry-after" in refused.headers
        assert client.post("/v1/recommend", json={"user": 101}).status_code == 200
        assert client.get("/v1/users/102/ratings").json()["n_ratings"] == 0
        resource.prlimit(started.pid, resource.RLIMIT_FSIZE, before)
        assert put(client, 103).status_code == 200
        started.terminate()
        assert started.wait(10) in (0, -signal.SIGTERM)
    store = Store(Database(database))
    assert set(store.everything()["user"]) == {"101", "103"}
    store.close()


def test_a_file_that_is_taken_away(model: Path, tmp_path: Path) -> None:
    database = tmp_path / "r.db"
    with process(model, str(database)) as (_, url), httpx.Client(base_url=url) as client:
        assert put(client, 101).status_code == 200
        database.rename(tmp_path / "away.db")
        assert put(client, 102).status_code == 503
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        (tmp_path / "away.db").rename(database)
        assert put(client, 103).status_code == 200
    store = Store(Database(database))
    assert set(store.everything()["user"]) == {"101", "103"}
    store.close()


def test_a_stopped_postgresql(model: Path, server: Postgres) -> None:
    address = server.database(f"stopped_{os.getpid()}")
    with process(model, address) as (_, url), httpx.Client(base_url=url, timeout=20) as client:
        assert put(client, 101).status_code == 200
        server.stop()
        try:
            refused = put(client, 102)
            assert refused.status_code == 503, refused.text
            assert client.post("/v1/recommend", json={"user": 101}).status_code == 200
        finally:
            server.start()
        assert put(client, 103).status_code == 200
    store = Store(Database(address))
    assert set(store.everything()["user"]) == {"101", "103"}
    store.close()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to(model: Path, tmp_path: Path, end: signal.Signals) -> None:
    with process(model, str(tmp_path / "r.db")) as (started, url):
        with httpx.Client(base_url=url) as client:
            put(client, 101).raise_for_status()
        started.send_signal(end)
        assert started.wait(10) in (0, 130, -end)
