"""uvicorn's HTTP/1.1 protocol with what it lacks at the edge of a network.

uvicorn 0.54 has no deadline for a request's head or body, takes heads of any size, answers broken HTTP without the
security headers, and forgets to tell a request in progress that its client left when another one is pipelined behind
it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.client_watch import EXTENSION
from gateway.context import new_request_id
from gateway.error_bodies import error_object
from gateway.errors import InvalidRequest
from gateway.middleware.context import SECURITY_HEADERS

if TYPE_CHECKING:
    from asyncio.events import TimerHandle
    from collections.abc import Callable

HEAD_TIMEOUT_S = 15.0
BODY_TIMEOUT_S = 30.0
MAX_HEAD_BYTES = 64 << 10
# More requests than this behind one that is being answered wait in the kernel, where nobody can see the client leave.
MAX_PIPELINED = 16
_DOCS_URL = "https://docs.lunarbit.dev/api-errors"
# What says where an answer ends. Names of headers are lower-case throughout the gateway.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_WITHOUT_BODY = frozenset({204, 304})
_CONTROLS = bytes(range(9)) + bytes(range(10, 32)) + b"\x7f"
_TOO_LARGE = "Invalid HTTP request received."
_HEAD, _BODY, _COMPLETE = "head", "body", "complete"


class HeadTooLarge(Exception):
    """A request's line and headers passed the largest size."""


class GatewayCycle(RequestResponseCycle):
    """One request and its answer. An ordinary head costs a third of what uvicorn needs for it.

    It also leaves in one write with what follows, since a system call costs more than all its headers.
    """

    _head = b""

    async def send(self, message: Any) -> None:
        """Send a piece of the answer. Raises `RuntimeError` for a header that would end its line early."""
        if self._head:
            if self._is_rest(message):
                self._finish(message.get("body", b""))
                return
            message = self._with_head(message)
        else:
            ordinary = not (self.response_started or self.disconnected or self.flow.write_paused or self.access_log)
            if ordinary and self.keep_alive and self._make_head(message):
                return
        await super().send(message)

    def _is_rest(self, message: Any) -> bool:
        """Whether a message is all that the head announced, as it is for every answer that is not streamed."""
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        is_whole = is_last and len(message.get("body", b"")) == self.expected_content_length
        return is_whole and self.scope["method"] != "HEAD" and not self.disconnected

    def _finish(self, body: bytes) -> None:
        """Write head and body, and end the answer as uvicorn does."""
        self.transport.write(self._head + body)
        self._head = b""
        self.expected_content_length = 0
        self.response_complete = True
        self.message_event.set()
        self.on_response()

    def _with_head(self, message: Any) -> Any:
        """Write the head, with the body if that is right, and return what is left for uvicorn to do."""
        head, self._head = self._head, b""
        body = message.get("body", b"")
        if self.scope["method"] == "HEAD" or len(body) > self.expected_content_length:
            self.transport.write(head)
            return message
        self.transport.write(head + body)
        self.expected_content_length -= len(body)
        return {**message, "body": b""}

    def _make_head(self, message: Any) -> bool:
        """Make the head of an answer whose length is known, if it has a body; say whether that was done."""
        headers = [*self.default_headers, *message.get("headers", ())]
        pieces = [STATUS_LINE[message.get("status", 500)]]
        length = -1
        for name, value in headers:
            if name in _FRAMING:
                if name != b"content-length" or length >= 0:
                    return False
                length = int(value)
            pieces += (name, b": ", value, b"\r\n")
        pieces.append(b"\r\n")
        if length < 0 and message["status"] not in _WITHOUT_BODY:
            return False
        head = b"".join(pieces)
        # The status line, every header and the end have one line break each, and nothing else may have any.
        if len(head) - len(head.translate(None, _CONTROLS)) != 2 * (len(headers) + 2):
            msg = "a header with a control character"
            raise RuntimeError(msg)
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding = False
        self.expected_content_length = max(0, length)
        self._head = head
        return True


class GatewayProtocol(HttpToolsProtocol):
    """One client connection. A head has 15 s to arrive whole and 64 KiB of room; a body may pause for 30 s."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._active: RequestResponseCycle | None = None
        self._slow_timer: TimerHandle | None = None
        # Bytes of the pieces before the present one that belong to a head, the length of the present one, and whether a
        # message has begun in it behind something else.
        self._head_bytes = 0
        self._piece_bytes = 0
        self._piece_is_shared = False
        self._awaited = _HEAD
        self._lost = False
        self._watchers: set[Callable[[], None]] = set()
        self._extensions: Any = {EXTENSION: self}

    def abort(self) -> None:
        """Drop the connection without waiting for the client to read."""
        self.transport.abort()

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when the connection is lost; soon, if it is lost already."""
        if self._lost:
            self.loop.call_soon(callback)
            return
        self._watchers.add(callback)
        # uvicorn pauses reading on a large body, and whoever does not read does not see that the client has left.
        self.flow.resume_reading()

    def forget(self, callback: Callable[[], None]) -> None:
        """Do not call `callback` any more."""
        self._watchers.discard(callback)

    def write_piece(self, piece: bytes) -> bool:
        """Write a piece of the streamed answer under way if nothing has to be waited for; say whether that was done.

        It does what `send` would do with it, without the three coroutines on the way there.
        """
        cycle = self._active
        if cycle is None or not cycle.chunked_encoding or cycle.response_complete or cycle.disconnected:
            return False
        if self.flow.write_paused or not piece:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for the first head."""
        super().connection_made(transport)
        self._expect_within(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request on this connection, not only the last one, that the client left."""
        self._lost = True
        self._stop_timer()
        waiting = [cycle for cycle, _ in self.pipeline]
        super().connection_lost(exc)
        for cycle in (self._active, *waiting):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        watchers, self._watchers = self._watchers, set()
        for callback in watchers:
            callback()

    def data_received(self, data: bytes) -> None:
        """Parse what came. A head has one deadline as a whole, a body gets a new one with every piece."""
        self._piece_bytes = len(data)
        self._piece_is_shared = self._awaited is _BODY
        super().data_received(data)
        active = self._active
        if self._awaited is _COMPLETE and self._slow_timer is None and active and not active.response_complete:
            # The request is whole and being answered, as it is after most pieces.
            return
        if self._awaited is _HEAD:
            self._head_bytes += self._piece_bytes
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(_TOO_LARGE)
        if self.transport.is_closing() or (self._awaited is _COMPLETE and not self._is_idle()):
            self._stop_timer()
        elif self._awaited is _BODY:
            self._stop_timer()
            self._expect_within(BODY_TIMEOUT_S)
        elif self._slow_timer is None:
            # Also for stray line breaks between two requests, which have ended uvicorn's own wait for the next one.
            self._expect_within(HEAD_TIMEOUT_S)

    def shutdown(self) -> None:
        """Have the application drain: uvicorn calls this on every connection when it stops, in each kind of process."""
        begin_drain = getattr(self.app, "begin_drain", None)
        if begin_drain is not None:
            begin_drain()
        super().shutdown()

    def on_message_begin(self) -> None:
        """Begin to count the head, and let the application drop the connection."""
        super().on_message_begin()
        if self._slow_timer is not None:
            self._stop_timer()
        self._awaited = _HEAD
        # What stands before the head in the same piece is not counted, nor then what the head has in this piece.
        self._head_bytes = -self._piece_bytes if self._piece_is_shared else 0
        self._piece_is_shared = True
        self.scope["extensions"] = self._extensions

    def on_headers_complete(self) -> None:
        """Start the request, or queue it behind the one that is being answered."""
        if self._head_bytes + self._piece_bytes > MAX_HEAD_BYTES:
            self._refuse_large_head()
        super().on_headers_complete()
        self._awaited = _BODY
        if 0 < len(self.pipeline) <= MAX_PIPELINED:
            # uvicorn stops reading here, and whoever does not read does not see that the client has left.
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        """Note that nothing of this request is missing any more."""
        self._awaited = _COMPLETE
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        # uvicorn makes the cycle in the middle of a method, so that a class of our own can only be given to it here.
        cycle.__class__ = GatewayCycle
        super()._start_asgi_task(cycle, app)

    def _refuse_large_head(self) -> None:
        """Raise `HeadTooLarge`, unless it was the beginning of a body that made the piece large."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            raise HeadTooLarge

    def _is_idle(self) -> bool:
        return self._active is None or (self._active.response_complete and not self.pipeline)

    def _expect_within(self, seconds: float) -> None:
        self._slow_timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._slow_timer is not None:
            self._slow_timer.cancel()
            self._slow_timer = None

    def _too_slow(self) -> None:
        """Drop a client that keeps a connection without sending its request (slowloris)."""
        if self._is_idle():
            self.transport.close()
        elif self._awaited is _BODY and self.cycle is self._active and not self.flow.read_paused:
            self.transport.abort()
        else:
            # The request that is being answered is whole; a slow one behind it can wait until that is done.
            self._expect_within(BODY_TIMEOUT_S)

    def _keeps_other_answers(self) -> bool:
        """Say whether a 400 would end up in another answer; if so, the connection closes without one."""
        if self._awaited is _BODY:
            started = self.cycle is not self._active or self.cycle.response_started
            if started:
                self.transport.abort()
            return started
        if self._is_idle():
            return False
        self.cycle.keep_alive = False
        self._awaited = _COMPLETE
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer broken HTTP in the gateway's own shape, with the headers that every answer has."""
        if self._keeps_other_answers():
            return
        request_id = new_request_id()
        state = getattr(self.app, "state", None)
        docs_url = state.settings.server.docs_url if state is not None else _DOCS_URL
        body = msgspec.json.encode(error_object(InvalidRequest(msg), "lunarbit", request_id, docs_url))
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
