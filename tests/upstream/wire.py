"""The sending half of one answer: head, framing, compression, and the ways to break off.

HTTP framing follows RFC 9112; a reset is a close with SO_LINGER set to zero seconds, which makes the kernel
send RST instead of FIN (socket(7)).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Literal

from tests.upstream.recorded import Recorded

Headers = Mapping[str, str] | Iterable[tuple[str, str]]
Framing = Literal["chunked", "length", "close"]

_WRITE_BYTES = 65_536
_GZIP_WINDOW_BITS = 31


@dataclass
class AnswerSettings:
    """What the upstream adds to every answer."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    gzip_if_asked: bool = False


class Wire:
    """Sends one answer; every `send` waits for the peer to read, so a slow peer slows the script down."""

    def __init__(
        self,
        call: Recorded,
        transport: asyncio.Transport,
        writable: Callable[[], Awaitable[object]],
        release: asyncio.Event,
        settings: AnswerSettings,
    ) -> None:
        """`writable` returns once the transport takes more bytes; `release` is what `Hold` waits for."""
        self.call = call
        self.release = release
        self.closed = False
        self.complete = False
        self.keep_alive = call.keep_alive
        self._transport = transport
        self._writable = writable
        self._settings = settings
        self._framing: Framing = "close"
        self._left = 0
        self._gzip: zlib._Compress | None = None

    async def head(
        self,
        status: int = 200,
        headers: Headers = (),
        content_type: str | None = "application/json",
        length: int | None = None,
    ) -> None:
        """Send the status line and headers; the body is chunked unless `length` bytes are announced."""
        lines = [f"HTTP/1.1 {status} {_reason(status)}", f"date: {formatdate(usegmt=True)}"]
        if content_type is not None:
            lines.append(f"content-type: {content_type}")
        pairs = [*self._settings.headers, *header_pairs(headers)]
        lines += [f"{name}: {value}" for name, value in pairs]
        lines += self._framing_headers(length)
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _framing_headers(self, length: int | None) -> list[str]:
        lines = []
        if self._settings.gzip_if_asked and self.call.accepts_gzip and length != 0:
            self._gzip = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)
            lines.append("content-encoding: gzip")
            length = None
        if length is not None:
            self._framing, self._left = "length", length
            lines.append(f"content-length: {length}")
        elif self.call.http_version == "1.0":
            self._framing, self.keep_alive = "close", False
        else:
            self._framing = "chunked"
            lines.append("transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append("connection: close")
        return lines

    async def body(self, data: bytes) -> None:
        """Send `data` as part of the body: one HTTP chunk if the body is chunked, flushed if compressed."""
        if self._gzip is not None:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        await self._framed(data)

    async def _framed(self, data: bytes) -> None:
        if not data:
            return
        if self._framing == "chunked":
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._left -= len(data)
        await self.send(data)

    async def end(self) -> None:
        """End the body as its framing demands, after which the answer is complete."""
        if self._gzip is not None:
            await self._framed(self._gzip.flush(zlib.Z_FINISH))
        if self._framing == "chunked":
            await self.send(b"0\r\n\r\n")
        self.complete = True
        if self._framing == "close" or (self._framing == "length" and self._left != 0):
            self.keep_alive = False

    async def send(self, data: bytes) -> None:
        """Put raw bytes on the connection, at most 64 KiB ahead of what the transport takes."""
        for start in range(0, len(data), _WRITE_BYTES):
            part = data[start : start + _WRITE_BYTES]
            self._transport.write(part)
            self.call.bytes_sent += len(part)
            await self._writable()

    async def flush(self) -> None:
        """Wait until the kernel has every byte that was sent."""
        while self._transport.get_write_buffer_size() > 0:
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Close the connection with FIN."""
        await self.flush()
        self.closed = True
        self._transport.close()

    async def reset(self) -> None:
        """Close the connection with RST, after what was sent before has left."""
        await self.flush()
        self.closed = True
        reset_transport(self._transport)


def header_pairs(headers: Headers) -> list[tuple[str, str]]:
    """Headers as a list of pairs; a name may stand in it more than once."""
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def reset_transport(transport: asyncio.Transport) -> None:
    """Close `transport` at once so that the peer gets RST: lingering on, for zero seconds."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unassigned"
