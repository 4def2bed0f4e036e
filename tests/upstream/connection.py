"""One connection of the upstream: reads requests with httptools and runs a script for each, in order."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Protocol

import httptools

from tests.upstream.recorded import Outcome, Recorded
from tests.upstream.steps import Steps
from tests.upstream.wire import AnswerSettings, Wire

_MAX_BODY_BYTES = 64 * 1024 * 1024
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Host(Protocol):
    """What a connection needs of the upstream it belongs to."""

    release: asyncio.Event
    max_run_s: float
    close_idle_after_answer: bool
    close_on_reuse: bool
    send_buffer_bytes: int | None

    def opened(self, connection: Connection, task: asyncio.Task[None]) -> int:
        """Note a new connection and the task that serves it; returns the connection's number."""

    def closed(self, connection: Connection) -> None:
        """Note that a connection is gone."""

    def unreadable(self, data: bytes) -> None:
        """Note bytes that are not HTTP."""

    def begin(self, call: Recorded) -> Steps:
        """Note a request and choose the script for it."""

    def end(self, call: Recorded, error: Exception | None) -> None:
        """Note that the script of a request is over, with the error of a broken script."""

    def settings(self) -> AnswerSettings:
        """What is added to the next answer."""


@dataclass
class _Request:
    """The parser's callbacks, collecting one request."""

    target: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    def add_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text


class Connection(asyncio.Protocol):
    """Reads requests as they come, and answers them one after the other.

    The peer's FIN counts as its leaving, although HTTP allows a half-closed connection: no HTTP client that
    wants an answer sends one. When the peer leaves, the running script is cancelled.
    """

    def __init__(self, host: Host) -> None:
        self.number = 0
        self._task: asyncio.Task[None] | None = None
        self._host = host
        self._parser = httptools.HttpRequestParser(self)
        self._request = _Request()
        self._calls: asyncio.Queue[Recorded] = asyncio.Queue()
        self._active: Recorded | None = None
        self._wire: Wire | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is being answered or waits for it."""
        return self._active is None and self._calls.empty()

    def abort(self) -> None:
        """Break the connection off; the running script ends as "stopped"."""
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        size = self._host.send_buffer_bytes
        if size is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        self._task = asyncio.get_running_loop().create_task(self._serve(transport))
        self.number = self._host.opened(self, self._task)

    def data_received(self, data: bytes) -> None:
        """Parse what came; bytes that are not HTTP get a 400 and a close."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._host.unreadable(data)
            if self._transport is not None and self.idle:
                self._transport.write(_BAD_REQUEST)
                self._transport.close()

    def eof_received(self) -> bool:
        """Take the peer's FIN for its leaving."""
        self._peer_left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the script, if one runs."""
        self._peer_left()
        self._writable.set()
        if self._task is not None and (self._wire is None or not self._wire.closed):
            self._task.cancel()
        self._host.closed(self)

    def pause_writing(self) -> None:
        """Make the script wait: the peer does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let the script go on."""
        self._writable.set()

    # httptools

    def on_message_begin(self) -> None:
        """Start a new request."""
        self._request = _Request()

    def on_url(self, url: bytes) -> None:
        """Collect the target, which may come in parts."""
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._request.add_header(name, value)

    def on_body(self, data: bytes) -> None:
        """Collect the body."""
        self._request.body += data
        if len(self._request.body) > _MAX_BODY_BYTES:
            self.abort()

    def on_message_complete(self) -> None:
        """Queue the request for its answer."""
        request = self._request
        path, _, query = request.target.decode("latin-1").partition("?")
        call = Recorded(
            method=self._parser.get_method().decode("latin-1"),
            path=path,
            query=query,
            headers=request.headers,
            body=bytes(request.body),
            connection_id=self.number,
            number=0,
            started=asyncio.get_running_loop().time(),
            http_version=self._parser.get_http_version(),
            keep_alive=self._parser.should_keep_alive(),
        )
        self._calls.put_nowait(call)

    # Answering

    async def _serve(self, transport: asyncio.Transport) -> None:
        answered = 0
        while True:
            call = await self._calls.get()
            if answered and self._host.close_on_reuse:
                break
            self._active = call
            goes_on = await self._answer(call, transport)
            self._active = None
            answered += 1
            if not goes_on or self._host.close_idle_after_answer:
                break
        transport.close()

    async def _answer(self, call: Recorded, transport: asyncio.Transport) -> bool:
        """Run the script of one call; returns whether the connection can take another one."""
        script = self._host.begin(call)
        wire = Wire(call, transport, self._writable.wait, self._host.release, self._host.settings())
        self._wire = wire
        try:
            async with asyncio.timeout(self._host.max_run_s):
                await _run(script, wire)
            self._conclude(call, "finished")
        except TimeoutError:
            self._conclude(call, "expired")
        except Exception as error:  # noqa: BLE001 - a broken script is reported when the upstream closes.
            self._conclude(call, "failed", error)
        finally:
            self._conclude(call, "stopped")
        return call.outcome == "finished" and wire.complete and wire.keep_alive and not wire.closed

    def _conclude(self, call: Recorded, outcome: Outcome, error: Exception | None = None) -> None:
        """Note how a call ended, once; its event is set last, so that who waits for it sees all the rest."""
        if call.outcome != "running":
            return
        call.outcome = outcome
        call.ended = asyncio.get_running_loop().time()
        self._host.end(call, error)
        if outcome == "finished":
            call.finished.set()
        if outcome == "disconnected":
            call.disconnected.set()

    def _peer_left(self) -> None:
        call, wire = self._active, self._wire
        if call is None or wire is None or wire.closed or call.outcome != "running":
            return
        self._conclude(call, "disconnected")
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()


async def _run(script: Steps, wire: Wire) -> None:
    for step in script.plan:
        await step.run(wire)
        if wire.closed:
            break
