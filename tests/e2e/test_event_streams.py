"""Event streams as they come: every way to write one down, and every way to break one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.client import LUNARBIT, OPENAI, STREAMS, Client, Mode, ask, assert_error, assert_whole
from tests.e2e.server import Running
from tests.upstream import Script, Upstream, chunk
from tests.upstream.answers import TRICKY_TEXT, TextAnswer, _after_each_cr
from tests.upstream.frames import JsonObject, event, multi_line_event
from tests.upstream.steps import EVENT_STREAM, Body, End, Hang, Head


def several_crlf_lines(payload: JsonObject | str) -> bytes:
    """Write an event's JSON on several lines that end with CRLF."""
    return multi_line_event(payload).replace(b"\n", b"\r\n")


WRITTEN = {
    "every byte alone": Script.split_every_byte(TRICKY_TEXT),
    "CRLF": Script.line_endings(TRICKY_TEXT, "\r\n"),
    "CR": Script.line_endings(TRICKY_TEXT, "\r"),
    "LF": Script.line_endings(TRICKY_TEXT, "\n"),
    "BOM": Script.bom(TRICKY_TEXT),
    "no space": Script.no_space_after_colon(TRICKY_TEXT),
    "several lines": Script.multi_line_data(TRICKY_TEXT),
    # Each write ends between CR and LF, so a reader that takes them for two line ends sees the event end too early.
    "several lines, CRLF": Script.steps(TextAnswer(TRICKY_TEXT, encode=several_crlf_lines, cut=_after_each_cr)),
    "Azure": Script.azure_stream(TRICKY_TEXT),
    "no role frame": Script.text(TRICKY_TEXT, role_frame=False),
    "no DONE": Script.text(TRICKY_TEXT, done=False),
    "DONE, body open": Script.text(TRICKY_TEXT, hang_at_end=True),
    "finish reason, body open": Script.text(TRICKY_TEXT, done=False, hang_at_end=True),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_every_way_to_write_a_stream_down_gives_the_same_text(
    two: Running, a: Upstream, b: Upstream, mode: Mode, written: str
) -> None:
    """UTF-8 cut between bytes, U+2028 inside JSON, every line ending; whole at the finish reason."""
    a.default = WRITTEN[written]
    seen = await ask(two, mode)
    assert_whole(seen, TRICKY_TEXT, "a", 1)
    assert "\u2028".encode() in seen.reply.body
    assert two.outcomes("a") == {"ok": 1}
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 0)
    (line,) = await two.logged()
    assert (line["status"], line["prompt_tokens"] > 0, line["completion_tokens"] > 0) == (200, True, True)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_whole_streams_connection_is_used_again(one: Running, a: Upstream, mode: Mode) -> None:
    """A new connection for each request would cost a handshake each."""
    for _ in range(3):
        assert_whole(await ask(one, mode), "Hello world", "a", 1)
    assert len({call.connection_id for call in a.chat_requests}) == 1


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_stream_that_stays_open_after_its_end_is_closed(one: Running, a: Upstream, mode: Mode) -> None:
    """The provider's connection must not be held for somebody who has everything."""
    a.default = Script.text("all", hang_at_end=True)
    assert_whole(await ask(one, mode), "all", "a", 1)
    await a.wait_for(a.chat_requests[0].disconnected.is_set)


# Malformed and oversized events


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_malformed_event_before_any_content_moves_on(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """Nothing was sent, so nothing is lost by asking elsewhere."""
    a.default = Script.malformed_event(before_content=True, then_complete=True)
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    assert two.outcomes("a") == {"UnreadableAnswer": 1}


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_malformed_event_is_left_out_when_the_stream_completes(
    two: Running, a: Upstream, b: Upstream, mode: Mode
) -> None:
    """A whole answer with one odd event in it is still a whole answer; the odd bytes are not passed on."""
    a.default = Script.malformed_event(before_content=False, then_complete=True)
    seen = await ask(two, mode)
    assert_whole(seen, "tok0 tok1 after ", "a", 1)
    assert b"chatcmpl-broken" not in seen.reply.body


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_an_event_over_a_mebibyte_is_refused(two: Running, a: Upstream, b: Upstream, mode: Mode) -> None:
    """Before content the next one is asked, after content the stream ends; nothing is buffered without end."""
    a.queue(Script.huge_event())
    assert_whole(await ask(two, mode), "Hello world", "b", 2)
    a.queue(Script.huge_event(after_content=2))
    seen = await ask(two, mode)
    assert_error(seen, 502, "PROVIDER_ERROR")
    assert seen.text == "tok0 tok1 "
    assert two.outcomes("a") == {"UnreadableAnswer": 2}
    # What the kernel holds may be all of it, so the upstream need not have noticed that it was cut off.
    await a.wait_for(lambda: a.in_flight == 0)
    a.queue(Script.huge_event(1_000_000, after_content=2))
    assert_whole(await ask(two, mode), "tok0 tok1 " + "x" * 1_000_000, "a", 1)


# Errors inside a 200

INSIDE: dict[str, tuple[dict[str, Any], str, int]] = {
    "server error": ({"message": "secret", "type": "server_error", "code": None}, "PROVIDER_ERROR", 2),
    "as a status": ({"message": "secret", "code": 500}, "PROVIDER_ERROR", 2),
    "overloaded": ({"message": "secret", "type": "overloaded_error"}, "PROVIDER_ERROR", 1),
    "limited": ({"message": "secret", "code": "rate_limit_exceeded"}, "PROVIDER_RATE_LIMITED", 1),
    "credential": ({"message": "secret", "code": "invalid_api_key"}, "PROVIDER_ERROR", 1),
}


@pytest.mark.parametrize("kind", INSIDE)
@pytest.mark.parametrize("role_frame", [True, False], ids=["role first", "error first"])
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_an_error_event_before_content_is_treated_as_that_error(
    two: Running, a: Upstream, b: Upstream, mode: Mode, role_frame: bool, kind: str
) -> None:
    """Many servers answer 200 first and find out afterwards."""
    error, _, calls = INSIDE[kind]
    a.default = Script.error_event(0, error, role_frame)
    assert_whole(await ask(two, mode), "Hello world", "b", calls + 1)
    assert len(a.chat_requests) == calls


@pytest.mark.parametrize("kind", INSIDE)
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_an_error_event_after_content_is_mapped_and_ends_the_stream(
    two: Running, a: Upstream, b: Upstream, mode: Mode, kind: str
) -> None:
    """In our shape, without the provider's words, and without a second provider."""
    error, code, _ = INSIDE[kind]
    a.default = Script.error_event(2, error)
    seen = await ask(two, mode)
    assert_error(seen, 200, code)
    assert seen.text == "tok0 tok1 "
    assert b"secret" not in seen.reply.raw
    assert (len(a.chat_requests), len(b.chat_requests)) == (1, 0)


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_content_filter_inside_a_stream_keeps_its_reason(
    two: Running, a: Upstream, b: Upstream, mode: Mode, after: int
) -> None:
    """The provider's reason goes to the client wherever it comes up."""
    a.default = Script.error_event(after, {"message": "The text was filtered.", "code": "content_filter"})
    seen = await ask(two, mode)
    assert_error(seen, 400, "CONTENT_FILTERED")
    assert seen.is_event_stream == bool(after)
    assert seen.error is not None
    assert seen.error["message"] == "The text was filtered."
    assert b.chat_requests == []


@pytest.mark.parametrize("kind", INSIDE)
async def test_an_error_as_a_whole_answer_is_treated_as_that_error(
    two: Running, a: Upstream, b: Upstream, kind: str
) -> None:
    """LM Studio answers 200 with an `error` member."""
    error, _, calls = INSIDE[kind]
    a.default = Script.error_event(0, error)
    for path in ("/ai/chat", "/v1/chat/completions"):
        two.clock.ahead_s += 20
        a.requests.clear()
        two.provider("a").breaker.record_success()
        assert_whole(await ask(two, Mode(path, stream=False)), "Hello world", "b", calls + 1)
        assert len(a.chat_requests) == calls


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_events_reach_the_client_as_they_come(one: Running, a: Upstream, mode: Mode) -> None:
    """Nothing waits for the next event: each is there before the provider sends another."""
    first = Body(event(chunk("now")))
    a.default = Script.steps(Head(content_type=EVENT_STREAM), first) + Script.hold() + Script.steps(Hang())
    async with Client(one) as client:
        await client.ask(mode)
        reply = await client.reply(until=b"now")
        assert reply.body.endswith(b"\n\n")
        assert (b"event: start" in reply.body) == (mode.path == LUNARBIT)


@pytest.mark.parametrize("finished", [0, 1, 2])
async def test_a_stream_of_two_choices_is_whole_when_both_are(one: Running, a: Upstream, finished: int) -> None:
    """With `n` choices the first finish reason is not yet the end."""
    texts = [event(chunk("x", index=index)) for index in (0, 1)]
    ends = [event(chunk(finish_reason="stop", index=index)) for index in range(finished)]
    a.default = Script.steps(Head(), *map(Body, [*texts, *ends]), End())
    seen = await ask(one, Mode(OPENAI, stream=True), n=2)
    if finished == 2:
        assert_whole(seen, "xx", "a", 1)
    else:
        assert_error(seen, 200, "STREAM_INTERRUPTED")
