"""A reader of Server-Sent Events that works on bytes (WHATWG HTML, section 9.2.6, "Interpreting an event stream").

Lines end with LF, CRLF or CR, in any mixture and cut anywhere between reads; U+2028 and U+2029 are ordinary
characters. Two things are on purpose other than in a browser: an event has a largest size, and `flush` gives out an
event whose final blank line never came, because model servers leave it away after `[DONE]` (the official SDKs accept
that too).
"""

from __future__ import annotations

from typing import NamedTuple

MAX_EVENT_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event passed the largest size that the reader was made for."""


class ServerSentEvent(NamedTuple):
    """One dispatched event: its type (empty for the default, "message") and its data, lines joined with LF."""

    event: bytes
    data: bytes


class SSEReader:
    """Cuts a byte stream into events. Feed it what arrives; it returns the events that became complete."""

    __slots__ = ("_after_cr", "_at_start", "_buffer", "_max_event_bytes")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._at_start = True
        self._after_cr = False
        self._max_event_bytes = max_event_bytes

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and return the events that they complete, oldest first.

        Raises `EventTooLarge` as soon as a single event, complete or not, is larger than allowed.
        """
        # Most events of a model arrive like this: `data: ...`, a blank line, and nothing before, between or after it.
        size = len(chunk)
        if (
            chunk.find(b"\n") == size - 2
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n")
            and b"\r" not in chunk
            and not (self._buffer or self._at_start or self._after_cr)
            and size <= self._max_event_bytes
        ):
            return [ServerSentEvent(b"", chunk[6:-2])]
        events = []
        for block in self._completed_by(chunk).split(b"\n\n"):
            self._check_size(len(block))
            event = _parse_block(block)
            if event is not None:
                events.append(event)
        return events

    def _completed_by(self, chunk: bytes) -> bytes:
        """Take in `chunk` and return everything up to the last blank line; what follows it waits for more."""
        chunk = self._with_lf_only(chunk)
        if self._at_start:
            chunk = self._without_bom(chunk)
        pending = self._buffer
        # The blank line can begin one byte before the new bytes, so nothing older is searched again.
        searched = max(0, len(pending) - 1)
        pending += chunk
        end = pending.rfind(b"\n\n", searched)
        if end < 0:
            self._check_size(len(pending))
            return b""
        completed = bytes(pending[:end])
        del pending[: end + 2]
        self._check_size(len(pending))
        return completed

    def flush(self) -> list[ServerSentEvent]:
        """Return the event that was still open when the stream ended, if there is one."""
        event = _parse_block(bytes(self._buffer))
        self._buffer.clear()
        return [] if event is None else [event]

    def _with_lf_only(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if b"\r" in chunk:
            # A CR at the end of a read is a line end at once; an LF that follows in the next read belongs to it.
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _without_bom(self, chunk: bytes) -> bytes:
        chunk = bytes(self._buffer) + chunk
        self._buffer.clear()
        if chunk.startswith(_BOM):
            chunk = chunk[len(_BOM) :]
        elif _BOM.startswith(chunk):
            self._buffer += chunk
            return b""
        self._at_start = False
        return chunk

    def _check_size(self, size: int) -> None:
        if size > self._max_event_bytes:
            msg = f"an event is larger than {self._max_event_bytes} bytes"
            raise EventTooLarge(msg)


def _parse_block(block: bytes) -> ServerSentEvent | None:
    """Read the lines of one event; None when it has no data (comments only, or a lone event type)."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return ServerSentEvent(b"", block[6:])
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return ServerSentEvent(name, b"\n".join(data)) if data else None
