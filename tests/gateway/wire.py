"""One TCP connection to a gateway, for what an HTTP client would never send."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.gateway.canonical import SECURITY_HEADERS, assert_lunarbit_body
from tests.gateway.edge import LIMIT_S
from tests.gateway.settings_files import GOOD_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class RawAnswer(NamedTuple):
    """One answer as it stood on the wire; header names in lower case, in order, with repetitions."""

    version: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for other, value in self.headers if other == name]


class Wire:
    """A connection; `send` bytes, then read answers or the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> RawAnswer:
        """Read one whole answer; `head_only` for the answer to HEAD, and for 1xx."""
        async with asyncio.timeout(LIMIT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").rstrip().split("\r\n")
            version, status = first.split(" ")[:2]
            pairs = [line.partition(": ")[::2] for line in lines if line]
            headers = [(name.lower(), value) for name, value in pairs]
            sizes = [value for name, value in headers if name == "content-length"]
            body = b""
            if not head_only:
                body = await self.reader.readexactly(int(sizes[0])) if sizes else await self._chunks()
        return RawAnswer(version, int(status), headers, body)

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
            body += (await self.reader.readexactly(size + 2))[:-2]
            if size == 0:
                return body

    async def end(self) -> bytes:
        """Wait until the gateway closes the connection, in order or not, and return what came before that."""
        rest = b""
        async with asyncio.timeout(LIMIT_S):
            try:
                while data := await self.reader.read(65_536):
                    rest += data
            except ConnectionError:
                pass
        return rest


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """Connect to a gateway on loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def get(path: str, *lines: str, version: str = "1.1") -> bytes:
    """Return the bytes of a GET."""
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: gateway", *lines, "", ""]).encode()


def post(path: str, body: Any, *lines: str) -> bytes:
    """Return the bytes of a POST with a JSON body and the admin key."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {GOOD_KEY}"]
    head += ["Content-Type: application/json", f"Content-Length: {len(data)}", *lines, "", ""]
    return "\r\n".join(head).encode() + data


def assert_canonical_400(answer: RawAnswer, *, docs_url: str | None = None) -> None:
    """Assert that an answer of the protocol itself looks like every other error."""
    assert answer.status == 400
    for name, value in SECURITY_HEADERS.items():
        assert answer.all(name) == [value]
    assert answer.all("connection") == ["close"]
    assert answer.all("content-type") == ["application/json"]
    assert answer.all("cache-control") == ["no-store"]
    assert answer.all("server") == []
    (request_id,) = answer.all("x-request-id")
    more = {} if docs_url is None else {"docs_url": docs_url}
    assert_lunarbit_body(json.loads(answer.body), "INVALID_REQUEST", request_id, **more)
