"""Latency of the service under an open loop, on loopback: the server on one core, the load on the other.

    python benchmarks/serve.py ml-1m.dotbias
    python benchmarks/serve.py ml-1m.dotbias --call write --rate 100 --durability process
    python benchmarks/serve.py ml-1m.dotbias --saturate
    python benchmarks/serve.py ml-1m.dotbias --users 20000 --rate 500 --seconds 80 --times 5
    python benchmarks/serve.py ml-1m.dotbias --meanwhile refit --rate 300 --seconds 60

Requests are sent at fixed moments, whether or not those before are answered, so that waiting counts: the
latency of one, in milliseconds, is from the moment that it was due, and CPU what the server used of
its core for each. ``--saturate`` then raises the rate until a tenth of a second is not enough for all
but one in a hundred. ``--meanwhile`` measures once in peace, and then while the model is read anew from
its file (swap), or fitted anew in a child process that shares the server's core (refit).
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

CONNECTIONS = 64
# New ratings before a refit.
WRITTEN = 2_000


class Connection(asyncio.Protocol):
    """One connection, on which one request at a time is answered."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.received = b""
        self.due = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.load.idle.append(self)

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, mark, body = self.received.partition(b"\r\n\r\n")
        if not mark:
            return
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        if len(body) >= length:
            self.received = b""
            self.load.answered(self, head[9:12] == b"200")

    def connection_lost(self, _: Exception | None) -> None:
        self.load.lost += 1


class Load:
    """Requests at a fixed rate.

    Args:
        requests: what is sent, in turn.
    """

    def __init__(self, requests: list[bytes]) -> None:
        self.requests = requests
        self.idle: deque[Connection] = deque()
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.latencies: list[float] = []
        self.failed = self.lost = 0

    def due(self, request: bytes, at: float) -> None:
        if self.idle:
            self.idle.popleft().send(request, at)
        else:
            self.waiting.append((request, at))

    def answered(self, connection: Connection, well: bool) -> None:
        self.latencies.append(time.perf_counter() - connection.due)
        self.failed += not well
        if self.waiting:
            connection.send(*self.waiting.popleft())
        else:
            self.idle.append(connection)

    async def run(self, port: int, rate: float, seconds: float) -> dict[str, float]:
        """Send for so long; latencies in milliseconds."""
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            await loop.create_connection(lambda: Connection(self), "127.0.0.1", port)
        begin = time.perf_counter()
        n = int(rate * seconds)
        for k in range(n):
            at = begin + k / rate
            while (early := at - time.perf_counter()) > 0:
                await asyncio.sleep(early if early > 0.002 else 0)
            self.due(self.requests[k % len(self.requests)], at)
            if k % 16 == 0:
                await asyncio.sleep(0)
        end = time.perf_counter() + 5
        while len(self.latencies) < n and time.perf_counter() < end:
            await asyncio.sleep(0.01)
        for connection in self.idle:
            connection.transport.abort()
        ordered = sorted(self.latencies)
        found = {"sent": n, "answered": len(ordered), "failed": self.failed}
        for name, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99), ("most", 1.0)):
            at = min(len(ordered) - 1, int(share * len(ordered)))
            found[name] = ordered[at] * 1000 if ordered else float("nan")
        return found


def request(method: str, path: str, body: Any = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def requests(call: str, model: Path, n_users: int) -> list[bytes]:
    """Requests of one kind, of many users."""
    from dotbias.recommender.recommender import Recommender

    rec = Recommender.load(model)
    rng = random.Random(0)
    known = rec.user_vocabulary.ids.to_list()
    users = rng.sample(known, min(n_users, len(known)))
    new = int(max(known)) if rec.user_vocabulary.id_type == "integers" else 0
    users += range(new + 1, new + 1 + n_users - len(users))
    items = rec.item_vocabulary.ids.to_list()
    _, high = map(float, rec.parameters["scale"])
    made = []
    for user in users:
        some = [{"item": item, "rating": rng.choice([1, high])} for item in rng.sample(items, 50)]
        star = f"/v1/users/{user}/ratings/{some[0]['item']}"
        calls = {
            "recommend": ("POST", "/v1/recommend", {"user": user}),
            "ratings": ("POST", "/v1/recommend", {"ratings": some}),
            "write": ("POST", f"/v1/users/{user}/ratings", {"ratings": some}),
            "star": ("PUT", star, {"rating": high}),
            "health": ("GET", "/health", None),
        }
        made.append(request(*calls[call]))
    return made


def cpu_seconds(pid: int) -> float:
    """What a process has used of its processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "--call", default="recommend", help="recommend, ratings, write, star, health"
    )
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--durability", default="power-loss")
    parser.add_argument("--saturate", action="store_true")
    parser.add_argument("--meanwhile", choices=("swap", "refit"))
    options = parser.parse_args()

    made = requests(options.call, options.model, options.users)
    cores = sorted(os.sched_getaffinity(0))
    with TemporaryDirectory(dir=options.model.parent) as folder:
        model = options.model
        if options.meanwhile:  # the file is replaced
            model = shutil.copy2(model, f"{folder}/m.dotbias")
        command = [sys.executable, "-m", "dotbias", "-q", "serve", model, "--port", "0"]
        command += ["--database", f"{folder}/r.db", "--durability", options.durability]
        if options.meanwhile == "refit":
            command += ["--refit-after", str(WRITTEN)]
        server = subprocess.Popen(
            [*map(str, command)],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores[:1]),
        )
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            port = int(said.split()[2].rstrip(",").rpartition(":")[2])
            os.sched_setaffinity(0, cores[-1:])

            def measured(rate: float, seconds: float) -> dict[str, float]:
                before = cpu_seconds(server.pid)
                found = asyncio.run(Load(made).run(port, rate, seconds))
                found["CPU"] = (cpu_seconds(server.pid) - before) / found["sent"] * 1000
                with Path(f"/proc/{server.pid}/status").open() as status:
                    held = next(line.split()[1] for line in status if line.startswith("VmRSS"))
                print(
                    f"{options.call} at {rate:,.0f}/s for {seconds:g} s: "
                    + ", ".join(f"{name} {value:.2f}" for name, value in found.items())
                    + f"; {int(held) / 1024:,.0f} MB",
                    flush=True,
                )
                return found

            measured(min(options.rate, 200), 3)  # what is warm afterwards is not part of it
            for _ in range(options.times):
                measured(options.rate, options.seconds)
            if options.meanwhile == "swap":
                server.send_signal(signal.SIGHUP)
            elif options.meanwhile == "refit":
                written = Load(requests("write", options.model, WRITTEN // 50))
                asyncio.run(written.run(port, 10, len(written.requests) / 10))
            if options.meanwhile:
                measured(options.rate, options.seconds)
                with urlopen(f"http://127.0.0.1:{port}/v1/model") as answer:
                    print(f"then generation {json.load(answer)['generation']} answers")
            rate = options.rate
            while options.saturate:
                found = measured(rate, options.seconds)
                if found["answered"] < found["sent"] or found["p99"] > 100:
                    break
                rate *= 1.15
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
