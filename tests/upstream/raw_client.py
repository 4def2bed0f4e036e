"""A client that shows what is on the wire: it knows an orderly end from a FIN before it and from a reset."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import httptools

from tests.upstream import frames
from tests.upstream.wire import reset_transport

Ending = Literal["complete", "fin", "reset", "open"]


@dataclass
class Reply:
    """One answer, as far as it came.

    `pieces` are the HTTP chunks of the body (one, if it is not chunked), not decompressed. `ending` says how
    it stopped: "complete" as its framing demands, "fin" or "reset" before that, "open" if it still goes on.
    """

    raw: bytes = b""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    ending: Ending = "open"

    @property
    def body(self) -> bytes:
        """The body so far."""
        return b"".join(self.pieces)

    @property
    def payloads(self) -> list[Any]:
        """The data of the events of an event stream: JSON values, `[DONE]` and unreadable data as text."""
        return [_value(data) for data in _event_data(self.body)]

    @property
    def text(self) -> str:
        """All content of the stream, joined."""
        choices = [p["choices"][0] for p in self.payloads if isinstance(p, dict) and p.get("choices")]
        return "".join(choice.get("delta", {}).get("content") or "" for choice in choices)


def _event_data(body: bytes) -> list[str]:
    text = body.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events = [event.split("\n") for event in text.split("\n\n")]
    data = [[line[5:].removeprefix(" ") for line in event if line.startswith("data:")] for event in events]
    return ["\n".join(lines) for lines in data if lines]


def _value(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data


class RawClient:
    """One connection to a server on 127.0.0.1, closed with FIN when the context is left."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Connect to `port` when the context is entered, with TLS if given a context."""
        self._port = port
        self._tls = tls
        self._reply = Reply()

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return

    def close(self) -> None:
        """Close with FIN."""
        self._writer.close()

    def reset(self) -> None:
        """Close with RST."""
        transport = self._writer.transport
        assert isinstance(transport, asyncio.Transport)
        reset_transport(transport)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a request and start a new reply."""
        lines = [f"{method} {path} HTTP/1.1", "host: upstream", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._reply = Reply()
        self._parser = httptools.HttpResponseParser(self)
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self._writer.drain()

    async def chat(self, *, stream: bool = True, path: str = "/v1/chat/completions", **members: Any) -> None:
        """Send a chat call; `headers` among `members` are headers, all others go into the body."""
        headers = members.pop("headers", None)
        message = {"role": "user", "content": "hi"}
        body = {"model": "gpt-4", "messages": [message], "stream": stream, **members}
        await self.send("POST", path, frames.encode(body), headers)

    async def reply(self, until: bytes | None = None, timeout_s: float = 10.0) -> Reply:
        """Read to the end of the answer, or until the body holds `until` (empty: to the end of the head).

        Raises TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while self._reply.ending == "open" and not self._has(until):
                await self._read()
        return self._reply

    def _has(self, until: bytes | None) -> bool:
        return until is not None and self._reply.status > 0 and until in self._reply.body

    async def _read(self) -> None:
        try:
            data = await self._reader.read(65_536)
        except ConnectionResetError:
            self._reply.ending = "reset"
            return
        self._reply.raw += data
        if data:
            self._parser.feed_data(data)
        elif self._reply.ending == "open":
            self._reply.ending = "fin"

    async def silent(self, for_s: float = 0.2) -> bool:
        """Whether nothing comes, not even an end, for so many seconds."""
        try:
            async with asyncio.timeout(for_s):
                await self._reader.read(1)
        except TimeoutError:
            return True
        return False

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Collect the status."""
        self._reply.status = self._parser.get_status_code()

    def on_chunk_header(self) -> None:
        """Start a new piece."""
        self._reply.pieces.append(b"")

    def on_body(self, data: bytes) -> None:
        """Collect the body."""
        if not self._reply.pieces:
            self._reply.pieces.append(b"")
        self._reply.pieces[-1] += data

    def on_message_complete(self) -> None:
        """Note an orderly end; the chunk of no bytes that says so is not a piece."""
        if self._reply.pieces and not self._reply.pieces[-1]:
            self._reply.pieces.pop()
        self._reply.ending = "complete"
