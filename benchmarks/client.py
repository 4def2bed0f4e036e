"""A raw HTTP/1.1 client connection that checks every answer; the load generator drives it."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final, cast

from benchmarks import checks, wire

if TYPE_CHECKING:
    from collections.abc import Callable

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection:\s*close", re.IGNORECASE)
_SHOWN: Final = 120


class AnswerReader:
    """Reads one HTTP/1.1 answer with a Content-Length or in chunked transfer coding."""

    def __init__(self) -> None:
        """Expect the head of an answer."""
        self.status = 0
        self.close = False
        self.body = bytearray()
        self._raw = b""
        self._length: int | None = None
        self._in_body = False

    def feed(self, data: bytes) -> bool:
        """Take what arrived and return whether the answer is whole; ValueError on a malformed one."""
        self._raw = self._raw + data if self._raw else data
        if not self._in_body and not self._read_head():
            return False
        if self._length is None:
            return self._read_chunks()
        self.body += self._raw
        self._raw = b""
        if len(self.body) > self._length:
            msg = "more bytes than Content-Length says"
            raise ValueError(msg)
        return len(self.body) == self._length

    def _read_head(self) -> bool:
        end = self._raw.find(_HEAD_END)
        if end < 0:
            return False
        head = self._raw[:end]
        self._raw = self._raw[end + len(_HEAD_END) :]
        self._in_body = True
        self.status = int(head[9:12])
        self.close = _CLOSE.search(head) is not None
        if (length := _LENGTH.search(head)) is not None:
            self._length = int(length[1])
        elif _CHUNKED.search(head) is None:
            msg = "an answer with neither Content-Length nor chunked coding"
            raise ValueError(msg)
        return True

    def _read_chunks(self) -> bool:
        position, data = 0, self._raw
        while (line_end := data.find(b"\r\n", position)) >= 0:
            size = int(data[position:line_end].split(b";", 1)[0], 16)
            start = line_end + 2
            if len(data) < start + size + 2:
                break
            if data[start + size : start + size + 2] != b"\r\n":
                msg = "a chunk of another size than it says"
                raise ValueError(msg)
            if size == 0:
                if len(data) > start + 2:
                    msg = "bytes after the last chunk"
                    raise ValueError(msg)
                return True
            self.body += data[start : start + size]
            position = start + size + 2
        self._raw = data[position:]
        return False


class Tally:
    """What all connections of one phase have seen so far."""

    def __init__(self) -> None:
        """Start at zero."""
        self.checked = 0
        self.correct = 0
        self.chunks = 0
        self.streaming = 0
        self.errors: dict[str, int] = {}
        self.latencies_s: list[float] = []
        self.first_chunks_s: list[float] = []
        self.gaps_s: list[float] = []

    def error(self, reason: str) -> None:
        """Count one failed exchange."""
        self.errors[reason] = self.errors.get(reason, 0) + 1

    @property
    def failed(self) -> int:
        """The number of failed exchanges."""
        return sum(self.errors.values())


class Client(asyncio.Protocol):
    """One connection; `idle` is called whenever it can take the next request."""

    def __init__(
        self,
        tally: Tally,
        questions: list[tuple[wire.Question, bytes]],
        *,
        decoded: bool,
        idle: Callable[[Client], None],
        lost: Callable[[Client], None],
    ) -> None:
        """Take part in a phase; `questions` are the requests in the order in which to send them, over and over."""
        self._tally = tally
        self._questions = questions
        self._decoded = decoded
        self._idle = idle
        self._lost = lost
        self._number = 0
        self._reader: AnswerReader | None = None
        self._question = questions[0][0]
        self._started_s = 0.0
        self._last_chunk_s = 0.0
        self._transport: asyncio.Transport

    @property
    def busy(self) -> bool:
        """Whether an answer is outstanding."""
        return self._reader is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready; uvloop has set TCP_NODELAY already."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it.
        self._idle(self)

    def ask(self, since_s: float | None = None) -> None:
        """Send the next request; its latency counts from `since_s` (time.monotonic), by default from now."""
        self._question, request = self._questions[self._number % len(self._questions)]
        self._number += 1
        self._reader = AnswerReader()
        self._last_chunk_s = 0.0
        self._started_s = time.monotonic() if since_s is None else since_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read on; check the answer once it is whole."""
        if self._reader is None:
            self._fail("bytes that nobody asked for")
            return
        if self._question.stream and (count := data.count(wire.CHUNK_MARK)):
            self._count_chunks(count)
        try:
            whole = self._reader.feed(data)
        except ValueError as exc:
            self._fail(f"malformed HTTP: {exc}")
            return
        if whole:
            self._finish(self._reader)

    def _count_chunks(self, count: int) -> None:
        now = time.monotonic()
        self._tally.chunks += count
        if self._last_chunk_s:
            self._tally.gaps_s.append(now - self._last_chunk_s)
        else:
            self._tally.streaming += 1
            self._tally.first_chunks_s.append(now - self._started_s)
        self._last_chunk_s = now

    def _finish(self, reader: AnswerReader) -> None:
        self._leave()
        reason = self._check(reader)
        self._tally.checked += 1
        if reason is None:  # A refusal is cheap and quick: it must not count as work done.
            self._tally.correct += 1
            self._tally.latencies_s.append(time.monotonic() - self._started_s)
        else:
            self._tally.error(reason)
        if reader.close:
            self._transport.close()
        else:
            self._idle(self)

    def _check(self, reader: AnswerReader) -> str | None:
        body, question = bytes(reader.body), self._question
        if reader.status != 200:
            return f"HTTP {reader.status}: {body[:_SHOWN].decode(errors='replace')}"
        if question.stream:
            check = checks.check_stream_decoded if self._decoded else checks.check_stream
            return check(body, question.variant, question.chunks)
        return (checks.check_unary_decoded if self._decoded else checks.check_unary)(body, question.variant)

    def _fail(self, reason: str) -> None:
        self._leave()
        self._tally.error(reason)
        self._transport.abort()

    def _leave(self) -> None:
        if self._question.stream and self._last_chunk_s:
            self._tally.streaming -= 1
        self._last_chunk_s = 0.0
        self._reader = None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Count an answer that was cut and say that the connection is gone."""
        if self._reader is not None:
            self._leave()
            self._tally.error("connection closed before the answer was whole")
        self._lost(self)

    def close(self) -> None:
        """Close the connection without counting anything."""
        self._reader = None
        self._transport.abort()
