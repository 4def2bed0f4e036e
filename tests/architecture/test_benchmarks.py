"""The benchmark's own judgement: a wrong answer has to be seen, and CPU time has to be counted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from benchmarks import checks, proc, upstream, wire
from benchmarks.client import AnswerReader

VARIANT = 3
CHUNKS = 8

StreamCheck = Callable[[bytes, int, int], str | None]


def recorded_body(recording: bytes) -> bytes:
    """Read the body out of a recorded HTTP answer, fed in small pieces so that no boundary is a lucky one."""
    reader = AnswerReader()
    pieces = [recording[start : start + 7] for start in range(0, len(recording), 7)]
    assert [reader.feed(piece) for piece in pieces].index(True) == len(pieces) - 1
    return bytes(reader.body)


def recorded_stream(*, include_usage: bool = False) -> list[bytes]:
    """Return the events of a stream exactly as the upstream writes them."""
    writes = upstream.stream_writes(VARIANT, CHUNKS, include_usage=include_usage)
    body = recorded_body(b"".join(writes))
    return [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]


def both(body: bytes) -> list[str | None]:
    """Return the verdicts of the exact and of the decoding check."""
    every: list[StreamCheck] = [checks.check_stream, checks.check_stream_decoded]
    return [check(body, VARIANT, CHUNKS) for check in every]


def test_what_the_upstream_sends_is_accepted() -> None:
    """A check that refuses everything would prove nothing."""
    unary = recorded_body(upstream.unary_answer(VARIANT))
    assert checks.check_unary(unary, VARIANT) is None
    assert checks.check_unary_decoded(unary, VARIANT) is None
    assert both(b"".join(recorded_stream())) == [None, None]


def test_comments_between_events_are_no_difference() -> None:
    """A keep-alive comment is the server's own affair and may not count as a wrong answer."""
    assert both(b": ping\n\n".join(recorded_stream())) == [None, None]


@pytest.mark.parametrize("position", [0, 250, -1])
def test_a_wrong_byte_in_a_unary_answer_is_seen(position: int) -> None:
    """Every byte of the body counts."""
    body = bytearray(recorded_body(upstream.unary_answer(VARIANT)))
    body[position] ^= 1
    assert checks.check_unary(bytes(body), VARIANT) is not None


def test_a_wrong_byte_in_a_stream_is_seen() -> None:
    """Every byte of every payload counts, also those that do not change the meaning."""
    events = recorded_stream()
    assert checks.check_stream(b"".join(events).replace(b"fp_bench", b"fp_bensh", 1), VARIANT, CHUNKS) is not None
    changed = b"".join(events).replace(b"tok-005", b"tok-015")
    assert None not in both(changed)


def test_a_missing_chunk_is_seen() -> None:
    """A stream that lost one chunk in the middle is not complete."""
    events = recorded_stream()
    assert None not in both(b"".join(events[:4] + events[5:]))


def test_a_duplicated_chunk_is_seen() -> None:
    """A chunk that came twice would double a part of the answer."""
    events = recorded_stream()
    assert None not in both(b"".join([*events[:4], events[3], *events[4:]]))


def test_chunks_in_another_order_are_seen() -> None:
    """The same chunks in another order are another answer."""
    events = recorded_stream()
    assert None not in both(b"".join([events[1], events[0], *events[2:]]))


def test_a_missing_done_is_seen() -> None:
    """Without [DONE] a client cannot know that the answer was whole."""
    assert None not in both(b"".join(recorded_stream()[:-1]))


def test_a_doubled_done_is_seen() -> None:
    """[DONE] ends a stream once."""
    events = recorded_stream()
    assert None not in both(b"".join([*events, events[-1]]))


def test_a_missing_finish_reason_is_seen() -> None:
    """[DONE] alone does not say how the answer ended."""
    events = recorded_stream()
    assert None not in both(b"".join([*events[:-2], events[-1]]))


def test_an_event_without_its_end_is_seen() -> None:
    """A stream cut inside its last event must not pass."""
    assert None not in both(b"".join(recorded_stream())[:-1])


def test_the_answer_of_another_request_is_seen() -> None:
    """An answer that reached the wrong connection is whole, but not the one that was asked for."""
    other = VARIANT + 1
    assert checks.check_unary(wire.answer_body(other), VARIANT) is not None
    assert checks.check_unary_decoded(wire.answer_body(other), VARIANT) is not None
    assert None not in both(wire.stream_body(other, CHUNKS))


def test_a_usage_chunk_that_nobody_asked_for_is_seen() -> None:
    """The client did not ask for usage, so a gateway that asks upstream has to strip the chunk."""
    assert checks.check_stream(b"".join(recorded_stream(include_usage=True)), VARIANT, CHUNKS) is not None


def test_the_cpu_reader_counts_the_work_of_this_process() -> None:
    """CPU per request is only as good as the reader of /proc."""
    before = proc.tree_cpu_s(os.getpid())
    own = time.process_time()
    while time.process_time() - own < 0.2:
        sum(range(1000))
    # The kernel counts in ticks of 10 ms, so both ends may be one tick off.
    assert proc.tree_cpu_s(os.getpid()) - before >= 0.17
    assert proc.tree_rss_bytes(os.getpid()) > 1_000_000


def test_the_cpu_reader_counts_children() -> None:
    """A server may do its work in child processes."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in proc.tree(os.getpid())


def test_a_command_name_with_parentheses_does_not_shift_the_fields() -> None:
    """The kernel puts the name in parentheses without escaping any in it."""
    line = "42 (a) b (c) S 7 42 42 0 -1 0 0 0 0 0 100 50 25 25 20 0 1 0"
    assert proc.parse_stat(line) == proc.Stat(7, 200 / os.sysconf("SC_CLK_TCK"))
