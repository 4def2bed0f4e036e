"""Each script of the upstream does on the wire what it says, so that the fault tests can trust it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.upstream import Script, Upstream
from tests.upstream.answers import TRICKY_TEXT
from tests.upstream.frames import default_usage
from tests.upstream.raw_client import RawClient, Reply


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """One upstream per test."""
    async with Upstream() as upstream:
        yield upstream


async def ask(up: Upstream, script: Script | None = None, **members: Any) -> Reply:
    """One chat call on a connection of its own, read to its end."""
    if script is not None:
        up.queue(script)
    async with RawClient(up.port) as client:
        await client.chat(**members)
        return await client.reply()


# Well-formed answers


async def test_text_is_streamed_frame_by_frame_and_reports_usage_only_if_asked(up: Upstream) -> None:
    """Role, content, finish, usage, DONE is the order that the OpenAI reference gives."""
    plain = await ask(up, Script.text("Hello world", pieces=2), model="m")
    counted = await ask(up, Script.text("Hello world", pieces=2), stream_options={"include_usage": True})
    assert plain.headers["content-type"].startswith("text/event-stream")
    assert [p["choices"][0]["delta"].get("content") for p in plain.payloads[:-1]] == [
        "",
        "Hello",
        " world",
        None,
    ]
    assert plain.payloads[-2]["choices"][0]["finish_reason"] == "stop"
    assert (plain.ending, plain.payloads[-1], plain.payloads[0]["model"]) == ("complete", "[DONE]", "m")
    assert [p["usage"] for p in counted.payloads[:-2]] == [None] * 4
    assert (counted.payloads[-2]["choices"], counted.payloads[-2]["usage"]) == ([], default_usage())


async def test_text_options_leave_out_the_role_frame_and_done_and_keep_the_body_open(up: Upstream) -> None:
    """A reader must call a stream finished at its finish reason, without DONE and without an end."""
    up.queue(Script.text("ab", role_frame=False, done=False, finish_reason="length", hang_at_end=True))
    async with RawClient(up.port) as client:
        await client.chat()
        reply = await client.reply(until=b'"length"')
        assert await client.silent()
    assert (reply.payloads[0]["choices"][0]["delta"], reply.ending) == ({"content": "a"}, "open")


async def test_text_is_one_json_document_for_a_call_that_is_not_streamed(up: Upstream) -> None:
    """The same script serves both forms, so that a test can run in both."""
    reply = await ask(up, Script.text("whole", usage=None, headers={"x-a": "1"}), stream=False)
    document = json.loads(reply.body)
    assert (document["choices"][0]["message"]["content"], reply.headers["x-a"]) == ("whole", "1")
    assert "usage" not in document


async def test_hold_waits_for_release_before_the_head_or_after_some_content(up: Upstream) -> None:
    """Tests order events by holding the upstream, not by sleeping."""
    up.queue(Script.hold() + Script.text("ab", hold_after=1))
    async with RawClient(up.port) as client:
        await client.chat()
        assert await client.silent()
        up.release.set()
        up.release.clear()
        assert (await client.reply(until=b'"a"')).text == "a"
        assert await client.silent()
        up.release.set()
        assert (await client.reply()).text == "ab"


SAME_TEXT = {
    "bytes": Script.split_every_byte(TRICKY_TEXT),
    "crlf": Script.line_endings(TRICKY_TEXT, "\r\n"),
    "cr": Script.line_endings(TRICKY_TEXT, "\r"),
    "lf": Script.line_endings(TRICKY_TEXT, "\n"),
    "bom": Script.bom(TRICKY_TEXT),
    "no space": Script.no_space_after_colon(TRICKY_TEXT),
    "multi-line": Script.multi_line_data(TRICKY_TEXT),
    "azure": Script.azure_stream(TRICKY_TEXT),
    "usage on every chunk": Script.usage_on_every_chunk(TRICKY_TEXT),
    "usage on finish chunk": Script.usage_on_finish_chunk(TRICKY_TEXT),
}


@pytest.mark.parametrize("name", SAME_TEXT)
async def test_every_way_of_writing_a_stream_has_its_mark_and_the_same_text(up: Upstream, name: str) -> None:
    """A reader that is tested with these must see one and the same text."""
    reply = await ask(up, SAME_TEXT[name])
    first, last = reply.payloads[0], reply.payloads[-2]
    no_choice, no_delta = first["choices"] == [], "delta" not in (last["choices"] or [{}])[0]
    counts = [(payload.get("usage") or {}).get("completion_tokens") for payload in reply.payloads[:-1]]
    marks = {
        "bytes": {len(piece) for piece in reply.pieces} == {1},
        "crlf": b"\r\n\r\n" in reply.body and any(piece == b"\n\r" for piece in reply.pieces),
        "cr": b"\r\r" in reply.body and b"\n" not in reply.body,
        "lf": b"\r" not in reply.body,
        "bom": reply.pieces[0] == b"\xef\xbb\xbf",
        "no space": b"data:{" in reply.body and b"data: " not in reply.body,
        "multi-line": reply.body.count(b"\ndata: ") > 10 * len(reply.payloads),
        "azure": "prompt_filter_results" in first and no_choice and no_delta,
        "usage on every chunk": counts == [0, 1, 2, 3, 4, 4],
        "usage on finish chunk": last.get("usage") == default_usage() and bool(last["choices"]),
    }
    assert marks[name]
    assert (reply.text, reply.payloads[-1], reply.ending) == (TRICKY_TEXT, "[DONE]", "complete")
    assert "\u2028".encode() in reply.body


async def test_the_official_client_reads_every_way_of_writing_a_stream(up: Upstream) -> None:
    """A reader that nobody here wrote finds the streams as legal as we think they are."""
    up.queue(*SAME_TEXT.values())
    async with AsyncOpenAI(base_url=up.base_url, api_key="sk-x", max_retries=0) as client:
        for name in SAME_TEXT:
            chunks = await client.chat.completions.create(
                model="gpt-4",
                messages=[{"role": "user", "content": "hi"}],
                stream=True,
            )
            deltas = [chunk.choices[0].delta async for chunk in chunks if chunk.choices]
            # Azure's annotation frames have no delta at all, which the client shows as None.
            text = "".join(getattr(delta, "content", None) or "" for delta in deltas)
            assert (name, text) == (name, TRICKY_TEXT)


async def test_tool_calls_come_in_fragments_that_add_up(up: Upstream) -> None:
    """Fragments are keyed by index, and only the first one of a call has its id and name."""
    reply = await ask(up, Script.tool_call_stream())
    arguments = ["", ""]
    for payload in reply.payloads[:-1]:
        for call in payload["choices"][0]["delta"].get("tool_calls", []):
            arguments[call["index"]] += call["function"]["arguments"]
    whole = json.loads((await ask(up, Script.tool_call_stream(), stream=False)).body)
    calls = whole["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == arguments
    assert [json.loads(text)["city"] for text in arguments] == ["Paris", "Tokyo"]


async def test_errors_have_their_status_shape_and_headers(up: Upstream) -> None:
    """Classification by the gateway rests on status, code and Retry-After."""
    limited = await ask(up, Script.status(429, retry_after=7))
    assert (limited.status, limited.headers["retry-after"]) == (429, "7")
    assert json.loads(limited.body)["error"]["code"] == "rate_limit_exceeded"
    long = await ask(up, Script.openai_error("context_length_exceeded", param="messages"))
    assert (long.status, json.loads(long.body)["error"]["param"]) == (400, "messages")
    assert json.loads((await ask(up, Script.azure_content_filter())).body)["error"]["innererror"]
    page = await ask(up, Script.html())
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    broken = await ask(up, Script.invalid_json())
    assert (broken.status, broken.ending) == (200, "complete")
    with pytest.raises(ValueError, match="Unterminated string"):
        json.loads(broken.body)


# Faults


@pytest.mark.parametrize("stream", [True, False])
async def test_faults_before_any_byte_are_a_real_reset_and_a_real_fin(up: Upstream, stream: bool) -> None:
    """A reset must be RST, which only SO_LINGER 0 gives; a close must be FIN."""
    reset = await ask(up, Script.reset(), stream=stream)
    closed = await ask(up, Script.close_before_headers(), stream=stream)
    assert (reset.ending, reset.raw) == ("reset", b"")
    assert (closed.ending, closed.raw) == ("fin", b"")
    assert all(call.finished.is_set() and not call.disconnected.is_set() for call in up.requests)


BREAKS = [
    (Script.headers_then_close(), "fin", ""),
    (Script.reset_after(2), "reset", "tok0 tok1 "),
    (Script.eof_after(2), "complete", "tok0 tok1 "),
    (Script.cut_after(2), "fin", "tok0 tok1 "),
    (Script.malformed_event(before_content=True, then_complete=False), "complete", ""),
    (Script.malformed_event(before_content=False, then_complete=False), "complete", "tok0 tok1 "),
    (Script.malformed_event(before_content=True, then_complete=True), "complete", "after "),
    (Script.error_event(after_content=1), "complete", "tok0 "),
    (Script.huge_event(3_000_000, after_content=1), "complete", "tok0 " + "x" * 3_000_000),
    (Script.sse(b'data: {"choices":[{"delta":{"content":"own"}}]}\n\n', piece_bytes=5), "complete", "own"),
]


@pytest.mark.parametrize(("script", "ending", "text"), BREAKS)
async def test_a_broken_stream_arrives_up_to_its_break(
    up: Upstream,
    script: Script,
    ending: str,
    text: str,
) -> None:
    """The content before the break must arrive, or the test of what comes after it tests something else."""
    reply = await ask(up, script)
    assert (reply.status, reply.ending, reply.text) == (200, ending, text)
    choices = [p["choices"][0] for p in reply.payloads if isinstance(p, dict) and "choices" in p]
    finished = any(choice.get("finish_reason") for choice in choices)
    assert finished == (b"[DONE]" in reply.body)


@pytest.mark.parametrize(
    ("script", "ending"),
    [(Script.reset_after(), "reset"), (Script.cut_after(), "fin"), (Script.eof_after(), "complete")],
)
async def test_a_broken_document_is_half_a_document(up: Upstream, script: Script, ending: str) -> None:
    """Calls that are not streamed break in the same ways."""
    reply = await ask(up, script, stream=False)
    assert reply.ending == ending
    assert reply.body.startswith(b'{"id"')
    with pytest.raises(ValueError, match="line 1"):
        json.loads(reply.body)


async def test_malformed_and_error_events_say_what_they_should(up: Upstream) -> None:
    """The malformed event is one whole event; the error event carries the error it was given."""
    malformed = await ask(up, Script.malformed_event(before_content=True, then_complete=True))
    assert [p for p in malformed.payloads if isinstance(p, str)] == [
        '{"id":"chatcmpl-broken","choices":[{"index":0,"del',
        "[DONE]",
    ]
    error = {"message": "m", "type": "t", "code": "c"}
    assert (await ask(up, Script.error_event(1, error))).payloads[-1] == {"error": error}
    assert (await ask(up, Script.error_event(0, error, role_frame=False))).payloads == [{"error": error}]
    assert json.loads((await ask(up, Script.error_event(0, error), stream=False)).body) == {"error": error}
