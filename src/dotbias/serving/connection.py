"""One connection: uvicorn's, which bounds neither how long a client takes nor how much it sends beside
bodies, with bounds of both.
"""

import asyncio
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from dotbias.serving.api.problems import problem

# Bytes that are no body: the first line and headers, what stands between chunks, trailers.
MOST_BESIDE = 64 << 10


class Connection(HttpToolsProtocol):
    """A connection that ends where its client keeps it waiting, for a request or to take an answer.

    Where there are too many, the one that has waited longest gives way: a request that comes at once
    always finds a place, however many there are that never come to an end.
    """

    patience = 60.0
    """Seconds that a client may take for all of a request, and to take the answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._answering: RequestResponseCycle | None = None
        self._beside = 0
        self._since = self.loop.time()
        self._bell = self.loop.call_later(self.patience, self._ring)
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            waiting = (
                one for one in self.connections if isinstance(one, Connection) and one._waits
            )
            longest = min(waiting, key=lambda one: one._since, default=None)
            if longest is not None:
                longest._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._bell.cancel()
        if self._answering is not None:
            # Of several requests at once uvicorn tells the last one alone.
            self._answering.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._beside += len(data)
        super().data_received(data)
        if self._beside > MOST_BESIDE and not self.transport.is_closing():
            self._refuse(431, f"the first line and headers have at most {MOST_BESIDE:,} bytes")

    def on_message_begin(self) -> None:
        """A request begins to come in."""
        super().on_message_begin()
        self._since = self.loop.time()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body, which the gate counts."""
        self._beside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of a request is there."""
        self._beside = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is under way, and the next request may come."""
        self._since = self.loop.time()
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse what is not HTTP."""
        self._refuse(400, "this is no request of HTTP/1.1")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer what never becomes a request, and end. Where one before it is still to be answered,
        nothing is said: it would be taken for that one's answer.
        """
        cycle = self.cycle
        is_next = cycle is None or cycle.response_complete
        is_own = is_next or (cycle.more_body and not cycle.response_started)
        if is_own and not self.pipeline:
            made = problem(status, detail)
            headers = [*self.server_state.default_headers, *made.raw_headers]
            lines = [name + b": " + value + b"\r\n" for name, value in headers]
            head = [STATUS_LINE[status], *lines, b"connection: close\r\n\r\n"]
            self.transport.write(b"".join([*head, bytes(made.body)]))
        self.transport.close()

    @property
    def _waits(self) -> bool:
        """Whether it is the client who is waited for."""
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body or self.flow.write_paused

    def _ring(self) -> None:
        waited = self.loop.time() - self._since if self._waits else 0.0
        if waited < self.patience:
            self._bell = self.loop.call_later(self.patience - waited, self._ring)
        else:
            self._end()

    def _end(self) -> None:
        # Not close(), which would wait until what was written is taken; and no longer one of many,
        # although the loop tells so only in its next round.
        self.connections.discard(self)
        self.transport.abort()
