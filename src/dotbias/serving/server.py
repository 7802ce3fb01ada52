"""The server that carries the service."""

import contextlib
import gc
import socket
import sys
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp
from threadpoolctl import threadpool_limits

from dotbias.errors import SettingError
from dotbias.serving.app import make_app
from dotbias.serving.connection import Connection
from dotbias.serving.gate import Limits
from dotbias.serving.refitting import When
from dotbias.serving.service import Service

LOCAL = ("localhost", "127.0.0.1", "::1")
_GRACE_SECONDS = 20
BACKLOG = 2048
_MOST_CONNECTIONS = 2_000
_SWITCH_SECONDS = 0.0005


def is_local(host: str) -> bool:
    """Whether only programs of this machine reach a service bound there."""
    try:
        return host in LOCAL or ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, before anything slow is done.

    Raises:
        SettingError: for a place that cannot be bound.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        said = error.strerror or error
        raise SettingError(
            f"{host}, port {port}: {said}; name another with --host or --port"
        ) from None
    return bound


def serve(
    service: Service,
    bound: socket.socket,
    *,
    limits: Limits,
    needs_key: bool,
    when: When | None = None,
) -> None:
    """Answer requests until SIGTERM or Ctrl-C; what was begun is answered, what waits is written.

    Args:
        service: what answers.
        bound: where from.
        limits, needs_key, when: as in ``make_app``.
    """
    _allow_files()
    app = make_app(service, limits=limits, needs_key=needs_key, when=when)
    # What is there now stays: to look it all through for what nobody needs would stop all answers for a
    # tenth of a second, again and again.
    gc.collect()
    gc.freeze()
    # The thread that writes asks for the interpreter some ten times a transaction, and acknowledging one
    # would take as many times the five milliseconds for which it is kept unless told otherwise.
    sys.setswitchinterval(_SWITCH_SECONDS)
    # One user's regression is too small for several threads, which would get in the way of each other.
    with threadpool_limits(1, "blas"):
        make_server(app).run([bound])


def make_server(app: ASGIApp) -> uvicorn.Server:
    """What carries an application over HTTP."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return uvicorn.Server(config)


def _allow_files() -> None:
    """As many open files as there may be connections, where the system lets a process have them."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * _MOST_CONNECTIONS
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
