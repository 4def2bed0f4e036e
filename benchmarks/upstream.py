"""The upstream: a raw protocol that answers chat completions with precomputed bytes.

`python -m benchmarks.upstream --port N`. It listens on loopback and serves `POST .../chat/completions` and
`GET .../models`; everything else is 404.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from functools import lru_cache, partial
from typing import Final, cast

import uvloop

from benchmarks import wire

_HEAD_END: Final = b"\r\n\r\n"
_CHUNKED_END: Final = b"\r\n0\r\n\r\n"
_MODELS: Final = wire.http_answer(b'{"object":"list","data":[{"id":"%b","object":"model"}]}' % wire.MODEL.encode())
_NOT_FOUND: Final = wire.http_answer(b'{"error":{"message":"not found"}}', "404 Not Found")
_BAD_REQUEST: Final = wire.http_answer(b'{"error":{"message":"no variant in the request"}}', "400 Bad Request")


@lru_cache(maxsize=wire.VARIANTS)
def unary_answer(variant: int) -> bytes:
    """Return head and body of a unary answer."""
    return wire.http_answer(wire.answer_body(variant))


@lru_cache(maxsize=512)
def stream_writes(variant: int, chunks: int, *, include_usage: bool) -> tuple[bytes, ...]:
    """Return what each tick of a stream writes: one chunk per tick, then all that follows the last one."""
    *payloads, finish, done = wire.stream_payloads(variant, chunks)
    writes = [wire.http_chunk(wire.event(payload)) for payload in payloads]
    tail = [finish, wire.usage_payload(variant), done] if include_usage else [finish, done]
    last = b"".join(wire.http_chunk(wire.event(payload)) for payload in tail) + wire.LAST_HTTP_CHUNK
    return (wire.STREAM_HEAD + writes[0], *writes[1:], last)


def split_request(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Split the first whole request off: head, body and what follows, or None while it is incomplete."""
    end = data.find(_HEAD_END)
    if end < 0:
        return None
    head = data[:end].lower()
    start = end + len(_HEAD_END)
    mark = head.find(b"content-length:")
    if mark >= 0:
        stop = start + int(head[mark + 15 :].split(b"\r\n", 1)[0])
    elif b"transfer-encoding: chunked" in head:
        last = data.find(_CHUNKED_END, start - 2)
        if last < 0:
            return None
        stop = last + len(_CHUNKED_END)
    else:
        stop = start
    return (head, data[start:stop], data[stop:]) if len(data) >= stop else None


class Upstream(asyncio.Protocol):
    """One connection; a stream is driven by one timer of its own, on a schedule that does not drift."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve one connection on the given loop."""
        self._loop = loop
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; uvloop has set TCP_NODELAY on it already."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it.

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Stop the stream of a client that went away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def data_received(self, data: bytes) -> None:
        """Answer the request as soon as it is whole."""
        self._data += data
        if self._timer is None:
            self._next_request()

    def _next_request(self) -> None:
        request = split_request(self._data)
        if request is None:
            return
        head, body, self._data = request
        target = head.split(b" ", 2)[1]
        if target.endswith(b"/chat/completions"):
            self._answer(wire.read_question(body))
        else:
            self._transport.write(_MODELS if target.endswith(b"/models") else _NOT_FOUND)

    def _answer(self, question: wire.Question | None) -> None:
        if question is None:
            self._transport.write(_BAD_REQUEST)
        elif not question.stream:
            self._transport.write(unary_answer(question.variant))
        else:
            writes = stream_writes(question.variant, question.chunks, include_usage=question.include_usage)
            self._tick(writes, 0, question.gap_ms / 1000, self._loop.time())

    def _tick(self, writes: tuple[bytes, ...], number: int, gap_s: float, start: float) -> None:
        self._transport.write(writes[number])
        number += 1
        if number < len(writes):
            self._timer = self._loop.call_at(start + number * gap_s, self._tick, writes, number, gap_s, start)
        else:
            self._timer = None
            self._next_request()


async def serve(port: int) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(partial(Upstream, loop), "127.0.0.1", port, backlog=4096)
    await stop.wait()
    server.close()


def main() -> None:
    """Run the upstream from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
