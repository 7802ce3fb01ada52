"""A service on loopback, for tests: in a thread, or in a process of its own."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from dotbias.serving.app import make_app
from dotbias.serving.gate import Limits
from dotbias.serving.server import listen, make_server
from dotbias.serving.service import Service, load
from dotbias.serving.store.database import Database
from dotbias.serving.store.store import Store


@contextlib.contextmanager
def serving(
    model: Path, database: str | Path, *, limits: Limits | None = None, needs_key: bool = False
) -> Iterator[httpx.Client]:
    """A client of a service that runs in a thread."""
    service = Service(load(model), Store(Database(database)))
    bound = listen("127.0.0.1", 0)
    app = make_app(service, limits=limits or Limits(), needs_key=needs_key)
    server = make_server(app)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    address = f"http://127.0.0.1:{bound.getsockname()[1]}"
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        with httpx.Client(base_url=address, timeout=10) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


@contextlib.contextmanager
def process(
    model: Path, address: str, *options: str, log: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service in a process of its own, and its address; quiet where nobody wants the log."""
    quiet = ["--quiet"] if log is None else []
    command = [sys.executable, "-m", "dotbias", *quiet, "serve", str(model), "--port", "0"]
    with Path(log or os.devnull).open("w") as stderr:
        started = subprocess.Popen(
            [*command, "--database", address, *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert started.stdout is not None
    try:
        said = started.stdout.readline()
        assert said.startswith("Serving at "), said
        yield started, said.split()[2].rstrip(",")
    finally:
        started.kill()
        started.wait()
        started.stdout.close()
