"""A service on loopback, for tests."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import uvicorn

from dotbias.serving.app import make_app
from dotbias.serving.gate import Limits
from dotbias.serving.server import listen
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
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
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
