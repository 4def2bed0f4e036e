"""`FileServer`: a server of downloads on loopback that serves files, or goes wrong in one of many ways.

It speaks HTTP/1.1 by hand, because no server library can be made to send what these tests need. Every connection
carries one request.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

PACE_S = 0.01


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)


Writer = asyncio.StreamWriter
Answer = Callable[[Request, Writer], Awaitable[None]]


class FileServer:
    """Serves `routes` (by path) on `host`, with TLS if given a context; `requests` holds what was asked."""

    def __init__(
        self, routes: dict[str, Answer], *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.routes = routes
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._host = host
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str, *, host: str | None = None) -> str:
        """Return the address of a path, by another name of this machine if given one."""
        name = host or (f"[{self._host}]" if ":" in self._host else self._host)
        return f"{'https' if self._tls else 'http'}://{name}:{self.port}{path}"

    async def all_closed(self) -> None:
        """Wait until no connection is open any more."""
        async with asyncio.timeout(20):
            while self.connections:
                await asyncio.sleep(PACE_S)

    async def asked(self, count: int = 1) -> None:
        """Wait for that many requests."""
        async with asyncio.timeout(20):
            while len(self.requests) < count:
                await asyncio.sleep(PACE_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.connections += 1
        task = asyncio.create_task(self._answer(reader, writer))
        self._tasks.add(task)
        # Whatever the answer waits for, it ends when the client closes, as this reader then sees the end.
        gone = asyncio.create_task(_until_closed(reader, writer, task))
        try:
            await asyncio.wait([task])
        finally:
            gone.cancel()
            self._tasks.discard(task)
            writer.close()
            self.connections -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.splitlines()
            method, path, _ = first.split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
            request = Request(method, path, headers)
            self.requests.append(request)
            await self.routes[path](request, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass


async def _until_closed(reader: asyncio.StreamReader, writer: Writer, task: asyncio.Task[None]) -> None:
    """Cancel an answer whose client is gone, in an orderly way or not."""
    while not reader.at_eof() and not writer.is_closing():
        await asyncio.sleep(PACE_S)
    task.cancel()


def head(status: int, headers: dict[str, str] | None = None) -> bytes:
    """Return a response's head."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}Connection: close\r\n\r\n".encode()


def answer(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    """Always the same."""

    async def send(request: Request, writer: Writer) -> None:
        writer.write(head(status, {"Content-Length": str(len(body)), **(headers or {})}))
        if request.method != "HEAD":
            writer.write(body)

    return send


def file(body: bytes, *, etag: str | None = None, refuses_head: int | None = None, **headers: str) -> Answer:
    """Serve a file as a good server does: HEAD, ranges and an ETag. `refuses_head` is a status for HEAD."""
    validators = {"ETag": etag or f'"{hashlib.sha256(body).hexdigest()[:16]}"'} if etag != "" else {}
    more = {name.replace("_", "-"): value for name, value in headers.items()} | validators

    async def send(request: Request, writer: Writer) -> None:
        if request.method == "HEAD" and refuses_head is not None:
            writer.write(head(refuses_head))
        elif request.method == "HEAD":
            writer.write(head(200, {"Content-Length": str(len(body)), **more}))
        elif request.headers.get("range") == "bytes=0-0":
            part = {"Content-Length": "1", "Content-Range": f"bytes 0-0/{len(body)}"}
            writer.write(head(206, {**part, **more}) + body[:1])
        else:
            writer.write(head(200, {"Content-Length": str(len(body)), **more}) + body)

    return send


def chunked(body: bytes) -> Answer:
    """Serve a file in chunks and without a length."""

    async def send(request: Request, writer: Writer) -> None:
        writer.write(head(200, {"Transfer-Encoding": "chunked"}))
        if request.method != "HEAD":
            for start in range(0, len(body), 1000):
                part = body[start : start + 1000]
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            writer.write(b"0\r\n\r\n")

    return send


def until_close(body: bytes, status: int = 200) -> Answer:
    """Serve a body whose end is the end of the connection, so that nobody can tell a cut from the end."""

    async def send(_request: Request, writer: Writer) -> None:
        writer.write(head(status) + body)

    return send


def broken(body: bytes, length: int) -> Answer:
    """Promise `length` bytes, send fewer and close."""

    async def send(_request: Request, writer: Writer) -> None:
        writer.write(head(200, {"Content-Length": str(length)}) + body)

    return send


def reset(body: bytes, length: int) -> Answer:
    """Promise `length` bytes, send fewer and drop the connection hard."""

    async def send(_request: Request, writer: Writer) -> None:
        writer.write(head(200, {"Content-Length": str(length)}) + body)
        await writer.drain()
        await asyncio.sleep(5 * PACE_S)
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return send


def stalled(body: bytes, length: int) -> Answer:
    """Promise `length` bytes, send fewer and then say nothing any more."""

    async def send(_request: Request, writer: Writer) -> None:
        writer.write(head(200, {"Content-Length": str(length)}) + body)
        await asyncio.Event().wait()

    return send


def silent() -> Answer:
    """Take the request and never answer."""

    async def send(_request: Request, _writer: Writer) -> None:
        await asyncio.Event().wait()

    return send


def dripping_head() -> Answer:
    """Send a head that never ends, a little at a time."""

    async def send(_request: Request, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            writer.write(b"x")
            await asyncio.sleep(PACE_S)

    return send


def dripping(body: bytes, length: int) -> Answer:
    """Promise `length` bytes and send them one by one."""

    async def send(_request: Request, writer: Writer) -> None:
        writer.write(head(200, {"Content-Length": str(length)}))
        for byte in body:
            writer.write(bytes([byte]))
            await asyncio.sleep(PACE_S)

    return send


def endless(body: bytes) -> Answer:
    """Send `body` and never stop sending."""

    async def send(_request: Request, writer: Writer) -> None:
        writer.write(head(200) + body)
        while True:
            writer.write(bytes(65_536))
            await writer.drain()

    return send


def large(block: bytes, count: int) -> Answer:
    """Send `block` as often as told."""

    async def send(_request: Request, writer: Writer) -> None:
        writer.write(head(200, {"Content-Length": str(len(block) * count)}))
        for _ in range(count):
            writer.write(block)
            await writer.drain()

    return send


def gzipped(body: bytes) -> Answer:
    """Compress on the way although the client said `identity`."""
    return answer(200, {"Content-Encoding": "gzip"}, gzip.compress(body))


def redirect(location: str | None, status: int = 302, **headers: str) -> Answer:
    """Send somebody on; a body that would be wrong for anybody comes with it."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(status, ({} if location is None else {"Location": location}) | more, b"moved")


def raw(content: bytes) -> Answer:
    """Send bytes that need not be HTTP, and close."""

    async def send(_request: Request, writer: Writer) -> None:
        writer.write(content)

    return send
