"""What every request goes through: limits, headers, counters, one line of the log."""

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dotbias.serving.api.problems import send_problem
from dotbias.serving.measures import Measures
from dotbias.serving.security import Guard
from dotbias.serving.store.database import DatabaseError
from dotbias.settings import Settings, setting

_log = logging.getLogger("dotbias.serving.requests")

_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_MOST_CLIENTS = 10_000
_UNROUTED = "none"


@dataclass(frozen=True, kw_only=True)
class Limits(Settings):
    """What a request may take.

    Args:
        max_body: bytes of a body.
        rate: requests a second of one key, or of one address without a key; 0 for as many as there are.
        hosts: names that a request may call this service by, in any case and with a port or without;
            without any, all.
    """

    max_body: int = setting(1_000_000, at_least=1)
    rate: float = setting(0.0, at_least=0)
    hosts: tuple[str, ...] = ()


class Gate:
    """ASGI middleware around all calls.

    Args:
        app: what answers.
        limits: what a request may take.
        guard: what knows keys.
        measures: what counts it.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, guard: Guard, measures: Measures) -> None:
        self._app = app
        self._guard = guard
        self._limits = limits
        self._hosts = {_named(host) or host.lower() for host in limits.hosts}
        self._measures = measures
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        status = 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), *_HEADERS]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        # Matched as it was sent, so that an id may hold a slash.
        scope["path"] = scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        try:
            headers = dict(scope["headers"])
            refused = await self._refused(scope, headers)
            body = b"" if refused else await self._body(receive, headers)
            if refused is not None:
                await send_problem(sent, *refused)
            elif isinstance(body, bytes):
                await self._app(scope, _replayed(body, receive), sent)
            else:
                await send_problem(sent, *body)
        finally:
            seconds = time.perf_counter() - begin
            route = getattr(scope.get("route"), "path", _UNROUTED)
            self._measures.count(scope["method"], route, status, seconds)
            if _log.isEnabledFor(logging.INFO):
                fields = {
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1000, 3),
                }
                _log.info("request", extra={"fields": fields})

    async def _refused(self, scope: Scope, headers: MutableMapping[bytes, bytes]) -> Any:
        """Status and reason where a request is not let in."""
        limits = self._limits
        host = headers.get(b"host", b"").decode("latin-1")
        # A name of somebody else's that leads here: a page from there could ask in the user's name.
        if self._hosts and _named(host) not in self._hosts:
            return 400, f"this service has not the name {host}; --allow-host adds one"
        # Of the same site are other ports of this machine too.
        site = headers.get(b"sec-fetch-site", b"none")
        if site not in (b"same-origin", b"none") and scope["method"] != "GET":
            return 400, "a page from elsewhere may not ask this service"
        if limits.rate and not self._has_turn(await self._client(scope, headers)):
            return 429, f"more than {limits.rate:g} requests a second"
        return None

    async def _client(self, scope: Scope, headers: MutableMapping[bytes, bytes]) -> int:
        """Who asks: a good key, else an address; whoever makes up keys has no more turns for it. As a
        number, so that nobody is remembered at length.
        """
        key = None
        given = headers.get(b"authorization", b"").decode("latin-1")
        with contextlib.suppress(DatabaseError):  # lists go on without it
            key = await self._guard.key_of(given)
        address = scope["client"] and scope["client"][0]
        return hash(address if key is None else key)

    def _has_turn(self, client: int) -> bool:
        """Whether one more request is within the rate; as many as come in a second may come at once."""
        now, most = time.monotonic(), max(1.0, self._limits.rate)
        left, before = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - before) * self._limits.rate)
        has = left >= 1
        self._buckets[client] = (left - has, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return has

    async def _body(
        self, receive: Receive, headers: MutableMapping[bytes, bytes]
    ) -> bytes | tuple[int, str]:
        """The whole body, or why there is none."""
        most = self._limits.max_body
        too_large = 413, f"a body has at most {most:,} bytes"
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > most:
            return too_large
        if declared == b"0" and b"transfer-encoding" not in headers:
            return b""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return 400, "the connection has ended within the body"
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                return too_large
            if not message.get("more_body", False):
                return b"".join(parts)


def _named(host: str) -> str | None:
    """The name in a ``Host`` header, without the port; None where there is none in it."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A body that is there, and then what else happens to the connection."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
