"""Streams that break after content: one typed error, never an end that looks whole, never a second provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.client import LUNARBIT, STREAMS, Mode, ask, assert_error, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import Running, provider
from tests.upstream import Script, Upstream, chunk
from tests.upstream.frames import event
from tests.upstream.steps import Body, End, Head, Reset

BROKEN = {
    "stall": Script.stall_after(2),
    "comments only": Script.comments_only(0.02, n_content=2),
    "RST": Script.reset_after(2),
    "FIN": Script.cut_after(2),
    "end of the body": Script.eof_after(2),
    "malformed, then the end": Script.malformed_event(before_content=False, then_complete=False),
}
OTHER_FAULTS = {
    "error event": Script.error_event(2),
    "huge event": Script.huge_event(after_content=2),
    "rate limit": Script.error_event(2, {"message": "m", "code": "rate_limit_exceeded"}),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stream_that_breaks_is_never_shown_as_whole(
    hasty_two: Running, a: Upstream, b: Upstream, mode: Mode, fault: str
) -> None:
    """A program that takes half an answer for all of it does harm; what came is counted, since it was paid for."""
    a.default = BROKEN[fault]
    seen = await ask(hasty_two, mode)
    assert_error(seen, 200, "STREAM_INTERRUPTED")
    assert seen.text == "tok0 tok1 "
    if mode.path == LUNARBIT:
        assert seen.error is not None
        assert seen.error["details"]["retryable"] is True
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 0)
    (outcome,) = hasty_two.outcomes("a")
    assert outcome in {"StreamBroken", "StreamStalled"}
    call = a.chat_requests[0]
    await a.wait_for(lambda: call.disconnected.is_set() or call.finished.is_set())
    (line,) = await hasty_two.logged()
    assert (line["status"], line["code"], line["provider"]) == (200, "STREAM_INTERRUPTED", "a")
    assert line["prompt_tokens"] > 0
    assert line["completion_tokens"] > 0
    labels = {"provider": "a", "model": "gpt-4", "direction": "completion"}
    assert hasty_two.metric("lunarbit_ai_tokens_total", **labels) == line["completion_tokens"]


@pytest.mark.parametrize("fault", [*BROKEN, *OTHER_FAULTS])
@pytest.mark.parametrize("n_content", [1, 3])
async def test_after_the_first_content_no_second_provider_is_ever_asked(
    hasty_two: Running, a: Upstream, b: Upstream, fault: str, n_content: int
) -> None:
    """The client would get the beginning of one answer and the end of another; one error is the last it hears."""
    makers: dict[str, Callable[[int], Script]] = {
        "stall": Script.stall_after,
        "RST": Script.reset_after,
        "FIN": Script.cut_after,
        "end of the body": Script.eof_after,
        "error event": Script.error_event,
        "comments only": lambda n: Script.comments_only(0.02, n),
        "huge event": lambda n: Script.huge_event(after_content=n),
    }
    make = makers.get(fault)
    a.default = make(n_content) if make else {**BROKEN, **OTHER_FAULTS}[fault]
    for seen in await asyncio.gather(*(ask(hasty_two, mode) for mode in STREAMS)):
        assert seen.error is not None
        assert not seen.is_whole
        assert seen.text.startswith("tok0 ")
        assert seen.headers["x-lunarbit-attempts"] == "1"
    assert b.chat_requests == []
    assert len(a.chat_requests) == len(STREAMS)
    assert hasty_two.metric("lunarbit_provider_retries_total", provider="a") == 0
    assert hasty_two.metric("lunarbit_provider_failovers_total", provider="a") == 0


CONTENT: dict[str, dict[str, Any]] = {
    "text": {"content": "x"},
    "reasoning": {"reasoning_content": "hm"},
    "refusal": {"refusal": "No."},
    "a tool call": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
    "audio": {"audio": {"id": "audio_1"}},
}
NO_CONTENT: dict[str, dict[str, Any]] = {
    "a role": {"role": "assistant", "content": ""},
    "nothing": {},
    "an empty refusal": {"content": None, "refusal": None},
}


@pytest.mark.parametrize("mode", STREAMS, ids=str)
@pytest.mark.parametrize("kind", [*CONTENT, *NO_CONTENT])
async def test_what_counts_as_content_decides_whether_another_provider_is_asked(
    two: Running, a: Upstream, b: Upstream, mode: Mode, kind: str
) -> None:
    """Text, reasoning, refusal, tool calls and audio commit; role frames, annotations and comments do not."""
    delta = {**CONTENT, **NO_CONTENT}[kind]
    frame = event(chunk(delta=delta))
    annotations = event({**chunk(), "choices": []}) + b": comment\n\n"
    a.default = Script.steps(Head(), Body(annotations + frame), End())
    seen = await ask(two, mode)
    if kind in CONTENT:
        assert_error(seen, 200, "STREAM_INTERRUPTED")
        assert b.chat_requests == []
    else:
        assert_whole(seen, "Hello world", "b", 2)
        assert frame not in seen.reply.body


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter"])
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_an_empty_answer_with_a_finish_reason_is_whole(
    two: Running, a: Upstream, b: Upstream, mode: Mode, reason: str
) -> None:
    """A model may have nothing to say, and that is an answer."""
    a.default = Script.text("", pieces=0, finish_reason=reason)
    seen = await ask(two, mode)
    assert_whole(seen, "", "a", 1)
    if mode.path == LUNARBIT:
        assert seen.events[-1][1]["finish_reason"] == reason
    assert b.chat_requests == []


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_reset_after_the_finish_reason_takes_nothing_away(one: Running, a: Upstream, mode: Mode) -> None:
    """Everything was there; only the connection is not."""
    finish = event(chunk("all")) + event(chunk(finish_reason="stop"))
    a.default = Script.steps(Head(), Body(finish)) + Script.sleep(0.05) + Script.steps(Reset())
    assert_whole(await ask(one, mode), "all", "a", 1)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stall_is_measured_between_events(start: Start, a: Upstream, mode: Mode) -> None:
    """A long answer may take long as long as it moves."""
    gateway = await start({"a": provider(a, timeouts={"idle_s": 0.5})})
    a.default = Script.text("0123456789", pieces=10, delay_s=0.07)
    assert_whole(await ask(gateway, mode), "0123456789", "a", 1)
