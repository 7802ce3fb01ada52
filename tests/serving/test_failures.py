"""Nothing acknowledged is lost and nothing invented, whatever becomes of process and database.

Any number of writes and kills by hand: ``python -m tests.serving.test_failures 10000 20 SEED``.
"""

import contextlib
import os
import random
import resource
import signal
import sys
import threading
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from dotbias.serving.store.said import Said
from tests.serving.conftest import make_model
from tests.serving.postgres import Postgres, postgres
from tests.serving.server import process

N_WRITES = 300
DEFAULTS = ("10000", "20", "0")


def check_kills(
    model: Path, address: str, *, n_writes: int, n_kills: int, seed: int, durability: str
) -> str:
    """Kill a service amid writes and start it again, until so many are acknowledged; says what was seen.

    Four people write at once. After each kill the database holds all that was acknowledged until then,
    and nothing that was not sent.
    """
    rng = random.Random(seed)
    sent: list[set[tuple[str, str, float]]] = [set() for _ in range(4)]
    acknowledged: list[set[tuple[str, str, float]]] = [set() for _ in range(4)]
    enough = threading.Semaphore(0)

    def write(n: int, url: str) -> None:
        with httpx.Client(base_url=url) as client, contextlib.suppress(httpx.HTTPError):
            for item in range(len(sent[n]), 10**9):  # what was not acknowledged is not sent again
                user, value = str(100 * n + item % 100), 1 + item % 9 / 2
                sent[n].add((user, str(item), value))
                path = f"/v1/users/{user}/ratings/{item}"
                client.put(path, json={"rating": value}).raise_for_status()
                acknowledged[n].add((user, str(item), value))
                enough.release()

    kills = sorted({n_writes, *(rng.randrange(1, n_writes) for _ in range(n_kills - 1))})
    for before, count in pairwise((0, *kills)):
        with process(model, address, "--durability", durability) as (started, url):
            threads = [threading.Thread(target=write, args=(n, url)) for n in range(4)]
            for thread in threads:
                thread.start()
            for _ in range(count - before):
                assert enough.acquire(timeout=20)
            started.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join()
        states = Said.read(address).states
        written = set(states.select("user", "item", "value").rows())
        told, all_sent = set().union(*acknowledged), set().union(*sent)
        assert told <= written <= all_sent
    return (
        f"{len(kills)} kills, {len(all_sent):,} writes sent, {len(told):,} acknowledged: "
        f"{len(told - written)} of them lost, {len(written - all_sent)} invented, "
        f"{len(written - told)} written without an answer"
    )


def test_what_was_acknowledged_outlives_a_kill(model: Path, address: str) -> None:
    check_kills(model, address, n_writes=N_WRITES, n_kills=1, seed=0, durability="power-loss")


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
    assert set(Said.read(str(database)).states["user"]) == {"101", "103"}


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
    assert set(Said.read(str(database)).states["user"]) == {"101", "103"}


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
    assert set(Said.read(address).states["user"]) == {"101", "103"}


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to(model: Path, tmp_path: Path, end: signal.Signals) -> None:
    with process(model, str(tmp_path / "r.db")) as (started, url):
        with httpx.Client(base_url=url) as client:
            put(client, 101).raise_for_status()
        started.send_signal(end)
        assert started.wait(10) in (0, 130, -end)


if __name__ == "__main__":
    n_writes, n_kills, seed = (
        int(word) for word in (*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :])
    )
    with TemporaryDirectory() as folder, postgres() as server:
        model = make_model(Path(folder))
        for address, durability in (
            (f"{folder}/power-loss.db", "power-loss"),
            (f"{folder}/process.db", "process"),
            (server.database("killed"), "power-loss"),
        ):
            how = {"n_writes": n_writes, "n_kills": n_kills, "seed": seed}
            said = check_kills(model, address, durability=durability, **how)
            print(f"{address.partition(':')[0]}, {durability}: {said}", flush=True)
