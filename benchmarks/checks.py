"""Decides whether an answer is the one the upstream sent: pure functions, each returns a reason or None."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from benchmarks import wire

_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_SHOWN: Final = 60


def check_unary(body: bytes, variant: int) -> str | None:
    """Compare a unary body byte for byte."""
    expected = wire.answer_body(variant)
    if body == expected:
        return None
    return f"body differs at byte {_first_difference(body, expected)} (length {len(body)} of {len(expected)})"


def check_unary_decoded(body: bytes, variant: int) -> str | None:
    """Compare what a rewritten unary body means: content, finish reason and total tokens."""
    try:
        answer: Any = msgspec.json.decode(body)
        choice = answer["choices"][0]
        found = (choice["message"]["content"], choice["finish_reason"], answer["usage"]["total_tokens"])
    except (msgspec.DecodeError, KeyError, IndexError, TypeError) as exc:
        return f"unreadable body: {exc!r}"
    return None if found == (wire.answer_text(variant), "stop", 106) else f"other content: {str(found)[:_SHOWN]}"


def sse_payloads(body: bytes) -> tuple[list[bytes], str | None]:
    """Split a body into the `data` of its events; comments are left out.

    Returns the payloads and a reason when something stands behind the last whole event.
    """
    *events, rest = _EVENT_END.split(body)
    payloads = []
    for event in events:
        fields = [line for line in _LINE_END.split(event) if line.startswith(b"data:")]
        if fields:
            payloads.append(b"\n".join(field[5:].removeprefix(b" ") for field in fields))
    return payloads, "the last event has no end" if rest else None


def check_stream(body: bytes, variant: int, chunks: int) -> str | None:
    """Compare the sequence of payloads byte for byte: complete, in order, one finish reason, one [DONE].

    The framing between payloads (comments, line ends) is the server's own affair.
    """
    if body == wire.stream_body(variant, chunks):
        return None
    payloads, reason = sse_payloads(body)
    if reason is not None:
        return reason
    expected = wire.stream_payloads(variant, chunks)
    if wire.DONE not in payloads:
        return f"no [DONE] after {len(payloads)} payloads"
    for number, (got, wanted) in enumerate(zip(payloads, expected, strict=False)):
        if got != wanted:
            return f"payload {number} differs: {got[:_SHOWN]!r}"
    if len(payloads) != len(expected):
        return f"{len(payloads)} payloads instead of {len(expected)}"
    return None


def check_stream_decoded(body: bytes, variant: int, chunks: int) -> str | None:
    """Compare what a rewritten stream means: each chunk once, in order, one finish reason, one [DONE] at the end."""
    payloads, reason = sse_payloads(body)
    if reason is not None:
        return reason
    if payloads.count(wire.DONE) != 1 or payloads[-1] != wire.DONE:
        return "[DONE] is missing, doubled or not the last event"
    contents: list[str] = []
    finishes: list[str] = []
    try:
        for payload in payloads[:-1]:
            _collect(msgspec.json.decode(payload), contents, finishes)
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as exc:
        return f"unreadable chunk: {exc!r}"
    if contents != [wire.chunk_text(variant, number) for number in range(chunks)]:
        return f"chunks differ ({len(contents)} of {chunks})"
    return None if finishes == ["stop"] else f"finish reasons {finishes}"


def _collect(chunk: Any, contents: list[str], finishes: list[str]) -> None:
    for choice in chunk["choices"]:
        if content := choice["delta"].get("content"):
            contents.append(content)
        if finish := choice.get("finish_reason"):
            finishes.append(finish)


def _first_difference(one: bytes, other: bytes) -> int:
    for position, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return position
    return min(len(one), len(other))
