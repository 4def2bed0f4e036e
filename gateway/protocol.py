"""uvicorn's HTTP/1.1 protocol with what it lacks at the edge of a network.

uvicorn 0.54 has no deadline for a request's head or body, takes heads of any size, answers broken HTTP without the
security headers, and forgets to tell a request in progress that its client left when another one is pipelined behind
it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.context import new_request_id
from gateway.error_bodies import error_object
from gateway.errors import InvalidRequest
from gateway.middleware.context import SECURITY_HEADERS

if TYPE_CHECKING:
    from asyncio.events import TimerHandle

HEAD_TIMEOUT_S = 15.0
BODY_TIMEOUT_S = 30.0
MAX_HEAD_BYTES = 64 << 10
_DOCS_URL = "https://docs.lunarbit.dev/api-errors"


class HeadTooLarge(Exception):
    """A request's line and headers passed the largest size."""


class GatewayProtocol(HttpToolsProtocol):
    """One client connection. A head has 15 s to arrive whole and 64 KiB of room; a body may pause for 30 s."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._active: RequestResponseCycle | None = None
        self._slow_timer: TimerHandle | None = None
        self._head_bytes = 0
        self._message_open = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for the first head."""
        super().connection_made(transport)
        self._slow_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request on this connection, not only the last one, that the client left."""
        self._stop_timer()
        waiting = [cycle for cycle, _ in self.pipeline]
        super().connection_lost(exc)
        for cycle in (self._active, *waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Parse what came; the deadline runs on only while a request is incomplete."""
        self._stop_timer()
        super().data_received(data)
        if self._message_open and not self.transport.is_closing():
            in_body = self._head_bytes == 0
            self._slow_timer = self.loop.call_later(BODY_TIMEOUT_S if in_body else HEAD_TIMEOUT_S, self._too_slow)

    def shutdown(self) -> None:
        """Have the application drain: uvicorn calls this on every connection when it stops, in each kind of process."""
        begin_drain = getattr(self.app, "begin_drain", None)
        if begin_drain is not None:
            begin_drain()
        super().shutdown()

    def on_message_begin(self) -> None:
        """Begin to count the head, and let the application drop the connection."""
        super().on_message_begin()
        self._message_open = True
        self._head_bytes = 1
        self.scope["extensions"] = {"lunarbit": {"abort": self.transport.abort}}

    def on_url(self, url: bytes) -> None:
        """Count the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that nothing of this request is missing any more."""
        self._message_open = False
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HeadTooLarge

    def _stop_timer(self) -> None:
        if self._slow_timer is not None:
            self._slow_timer.cancel()
            self._slow_timer = None

    def _too_slow(self) -> None:
        """Drop a client that keeps a connection without sending its request (slowloris)."""
        if self._active is None or self._active.response_complete:
            self.transport.close()
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer broken HTTP in the gateway's own shape, with the headers that every answer has."""
        request_id = new_request_id()
        body = msgspec.json.encode(error_object(InvalidRequest(msg), "lunarbit", request_id, _DOCS_URL))
        headers = [
            *self.server_state.default_headers,
            *SECURITY_HEADERS,
            (b"x-request-id", request_id.encode()),
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + body)
        self.transport.close()
