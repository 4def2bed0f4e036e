"""What comes from a provider that speaks the Responses API itself: it passes as it came, but for what is bound."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.openai_responses import ResponsesCodec
from gateway.errors import StreamInterrupted
from providers import errors
from providers.base import StreamEvent, Usage
from providers.responses.binding import bound_id, sealed, tag_of
from providers.responses.native import MAX_EVENT_BYTES, NativeStream, ResponsesRequest, read_response
from tests.providers.responses_corpus import JsonObject
from tests.upstream import responses as upstream
from tests.upstream.frames import encode

TAG = tag_of("a")
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'}


def read(data: bytes, *cuts: int) -> list[StreamEvent]:
    """Return the events of a stream that arrives in pieces."""
    stream, found = NativeStream(TAG), list[StreamEvent]()
    for first, last in itertools.pairwise([0, *sorted(cuts), len(data)]):
        found += stream.events(data[first:last])
    return found + stream.end()


def data_of(events: list[StreamEvent]) -> list[JsonObject]:
    """Return the data of what is passed on."""
    return [json.loads((event.native or b"").split(b"data: ", 1)[1]) for event in events]


@given(cuts=st.lists(st.integers(0, len(upstream.stream("é𝄞 x", reasoning="Hm."))), max_size=5))
def test_a_providers_own_events_pass_wherever_they_are_cut(cuts: list[int]) -> None:
    """As they came, but for ids and for what is encrypted."""
    data = upstream.stream("é𝄞 x", reasoning="Hm.")
    events = read(data, *cuts)
    assert "".join(event.content for event in events) == "é𝄞 x"
    assert (events[-1].finish_reason, events[-1].usage) == ("stop", Usage(7, 5, 3, 0, 2))
    sent = [json.loads(frame.split(b"data: ", 1)[1]) for frame in data.split(b"\n\n") if frame]
    for before, after in zip(sent, data_of(events), strict=True):
        if "response" in before:
            before["response"]["id"] = bound_id(TAG, "resp_up")
        for item in [before.get("item"), *before.get("response", {}).get("output", [])]:
            if item and "encrypted_content" in item:
                item["encrypted_content"] = sealed(TAG, item["encrypted_content"])
        assert before == after
    assert [event.commits for event in events][:4] == [False, False, False, True]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'event: error\ndata: {"type":"error","code":"rate_limit_exceeded","message":"slow"}\n\n', errors.RateLimited),
        (b'data: {"type":"error","error":{"type":"server_error","message":"x"}}\n\n', errors.ServerFailed),
        (
            b'data: {"type":"response.failed","response":{"error":{"code":"server_error","message":"x"}}}\n\n',
            errors.ServerFailed,
        ),
        (b'data: {"type":"response.failed","response":{}}\n\n', errors.ServerFailed),
        (b"data: {\n\n", errors.UnreadableAnswer),
        (b"data: 5\n\n", errors.UnreadableAnswer),
        (b'data: {"type":"response.created","response":{"id":"x"}}\n\n', errors.StreamBroken),
    ],
)
def test_a_stream_that_fails_is_a_failure(data: bytes, kind: type[Exception]) -> None:
    """So that another provider is asked while that is possible."""
    with pytest.raises(kind):
        read(data)


def test_events_of_unknown_types_and_strange_names_pass() -> None:
    """Each in its own event, whatever its type holds."""
    data = b'data: {"type":"response.new\\n\\ndata: x","sequence_number":0}\n\n: note\n\ndata: [DONE]\n\n'
    events = read(data + b'data: {"type":"response.completed","response":{"id":"r","output":[]}}\n\n')
    assert (
        events[0].native
        == b'event: response.newdata:x\ndata: {"type":"response.new\\n\\ndata: x","sequence_number":0}\n\n'
    )
    assert (len(events), events[0].commits, events[1].usage) == (2, True, None)


def test_a_whole_response_of_a_provider() -> None:
    """It keeps its bytes but for what is bound; what came of it is known."""
    body = upstream.whole("Hello", reasoning="Hm.", previous="resp_0", calls=[CALL])
    answer = read_response(body, TAG)
    assert (answer.content, answer.finish_reason, answer.usage) == ("Hello", "tool_calls", Usage(7, 5, 3, 0, 2))
    told = json.loads(answer.raw or b"")
    assert (told["id"], told["previous_response_id"]) == (bound_id(TAG, "resp_up"), bound_id(TAG, "resp_0"))
    cut = json.loads(body) | {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert read_response(encode(cut | {"usage": {"input_tokens": None}}), TAG).finish_reason == "length"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"message":"x","code":"server_error"},"output":[],"status":"failed"}', errors.ServerFailed),
        (b'{"error":{"message":"x","code":"invalid_request_error"}}', errors.RequestRefused),
        (b'{"choices":[]}', errors.UnreadableAnswer),
        (b"[]", errors.UnreadableAnswer),
        (b"{", errors.UnreadableAnswer),
    ],
)
def test_a_whole_answer_that_is_none(body: bytes, kind: type[Exception]) -> None:
    """Each is a failed attempt of its kind."""
    with pytest.raises(kind):
        read_response(body, TAG)


def test_an_end_that_cannot_be_read_is_no_end() -> None:
    """After content it would be left out, and the client would wait for the end of an answer that seems whole."""
    said, _ = upstream.stream("Hello").split(b"event: response.completed")
    for odd in (b'{"id":"r","output":5}', b'{"id":"r","model":[],"output":[]}', b"null", b"5"):
        last = b'event: response.completed\ndata: {"type":"response.completed","response":%b}\n\n' % odd
        with pytest.raises(errors.StreamBroken):
            read(said + last)


class _Facts:
    """What a codec asks of an answer under way."""

    provider, model, finish_reason, usage = "a", "m", None, Usage()


@pytest.mark.parametrize(
    ("first", "last", "number"),
    [
        ({"response": {"id": "r"}, "sequence_number": 0}, {"sequence_number": 7}, 8),
        ({"response": None}, {"sequence_number": None}, 1),
        ({}, {"sequence_number": "7"}, 1),
        ({"response": None}, {"sequence_number": []}, 1),
    ],
)
def test_a_broken_answer_is_told_whatever_its_events_hold(first: JsonObject, last: JsonObject, number: int) -> None:
    """Of the own events only the number and the response are read, which a provider may have left out."""
    stream = NativeStream(TAG)
    sent = [{"type": "response.created", **first}, {"type": "response.output_text.delta", "delta": "a", **last}]
    events = stream.events(b"".join(b"data: %b\n\n" % encode(one) for one in sent))
    codec = ResponsesCodec(ResponsesRequest("m", {}), "req_1", "https://x.example")
    facts: Any = _Facts()
    assert codec.events(events, facts).count(b"\n\n") == 2
    told = codec.error(StreamInterrupted("cut"), facts).split(b"\n\n")
    failed, error = (json.loads(frame.split(b"data: ", 1)[1]) for frame in told if frame)
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert [failed["sequence_number"], error["sequence_number"]] == [number, number + 1]


def test_a_broken_answer_is_told_after_bytes_that_are_no_text() -> None:
    """They pass through unread, and must not be in the way of the error."""
    data = b'data: {"type":"response.output_text.delta","delta":"a","of_a_vendor":"\xff"}\n\n'
    codec = ResponsesCodec(ResponsesRequest("m", {}), "req_1", "https://x.example")
    facts: Any = _Facts()
    codec.events(NativeStream(TAG).events(data), facts)
    assert b"response.failed" in codec.error(StreamInterrupted("cut"), facts)


def test_an_event_may_be_large() -> None:
    """The last one repeats the whole response, with images that the model drew."""
    drawn = {"type": "image_generation_call", "id": "ig_up", "status": "completed", "result": "A" * (3 << 20)}
    last = {"type": "response.completed", "response": upstream.document([drawn]), "sequence_number": 0}
    data = b"event: response.completed\ndata: %b\n\n" % encode(last)
    (event,) = read(data, *range(0, len(data), 65_536))
    assert (event.finish_reason, event.usage) == ("stop", Usage(7, 5, 3, 0, 2))
    assert len(event.native or b"") > 3 << 20
    with pytest.raises(errors.UnreadableAnswer):
        read(b"data: " + b"x" * MAX_EVENT_BYTES)
