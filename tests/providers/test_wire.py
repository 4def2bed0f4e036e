"""What is read of chunks and whole answers, over the ways in which vendors differ."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from providers import wire
from providers.base import StreamEvent, Usage
from providers.errors import UnreadableAnswer
from tests.upstream.frames import azure_chunks, chunk, text_stream, tool_call_chunks

TOOL_CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}


def event_of(document: object) -> StreamEvent:
    """Return what the gateway reads of one chunk."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return wire.chunk_event(wire.parse_chunk(data), data)


def delta(**members: Any) -> dict[str, Any]:
    """Return a chunk with this delta."""
    return chunk(delta=members)


@pytest.mark.parametrize(
    "document",
    [
        delta(role="assistant", content=""),
        delta(role="assistant", content=None),
        delta(content=None, tool_calls=None, refusal=None, audio=None, function_call=None, reasoning=None),
        delta(tool_calls=[]),
        delta(reasoning_content=""),
        delta(reasoning=""),
        {"choices": []},
        {"choices": None},
        {},
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {"check_offset": 4}}]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{}]},
        {"choices": [], "usage": {"prompt_tokens": 1}},
        azure_chunks(text_stream("a"))[0],
    ],
)
def test_a_chunk_without_content_does_not_commit(document: dict[str, Any]) -> None:
    """Before the first content a call may still move to another provider, so frames without any must not stop that."""
    assert not event_of(document).commits


@pytest.mark.parametrize(
    ("document", "field", "value"),
    [
        (delta(content="a"), "content", "a"),
        (delta(content=" "), "content", " "),
        (delta(reasoning_content="so"), "reasoning", "so"),
        (delta(refusal="no"), "refusal", "no"),
        (delta(tool_calls=[TOOL_CALL]), "tool_calls", [TOOL_CALL]),
        (delta(audio={"id": "a", "data": "AA=="}), "other_content", True),
        (delta(function_call={"name": "f", "arguments": ""}), "other_content", True),
        (delta(reasoning="so"), "other_content", True),
        (delta(reasoning={"text": "so"}), "other_content", True),
        (chunk(finish_reason="stop"), "finish_reason", "stop"),
        (chunk(finish_reason="content_filter"), "finish_reason", "content_filter"),
        (chunk("x", finish_reason="length"), "finish_reason", "length"),
    ],
)
def test_every_kind_of_content_commits(document: dict[str, Any], field: str, value: object) -> None:
    """Whatever a client can see of an answer counts as its beginning, also what the gateway does not interpret."""
    event = event_of(document)
    assert getattr(event, field) == value
    assert event.commits


@pytest.mark.parametrize("index", [0, 1])
def test_a_later_choice_commits_as_well(index: int) -> None:
    """With n over 1 the second choice may speak first, or both in one chunk."""
    first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    spoken = {"index": 1, "delta": {"content": "b"}, "finish_reason": None}
    event = event_of({"choices": [first, spoken][index:]})
    assert event.commits
    assert event.content == ("b" if index else "")
    assert event.other_content == (not index)


def test_the_bytes_of_a_chunk_survive_with_everything_unknown_in_it() -> None:
    """The gateway passes on what it does not know: obfuscation, logprobs, annotations, big numbers."""
    data = '{"choices":[{"index":0,"delta":{"content":"\u2028é"},"logprobs":{"x":1.50}}],"obfuscation":"zz"}'.encode()
    assert event_of(data).raw == data


def test_tool_call_fragments_are_read_one_by_one() -> None:
    """Only the first fragment names the tool; all of them are content."""
    events = [event_of(document) for document in tool_call_chunks()]
    assert [event.commits for event in events] == [False, *[True] * (len(events) - 1)]
    assert events[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("choices", "only"), [([], True), (None, True), ([{"index": 0, "delta": {}, "finish_reason": "stop"}], False)]
)
def test_usage_is_read_from_any_chunk(choices: object, only: bool) -> None:
    """OpenAI sends it on a chunk of its own, others on the chunk that finishes or on each."""
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12, "queue_time": 0.1}
    event = event_of({"choices": choices, "usage": usage})
    assert event.usage is not None
    assert (event.usage.prompt_tokens, event.usage.completion_tokens, event.usage.total_tokens) == (7, 5, 12)
    assert event.usage_only is only
    assert event.usage.to_dict() == usage


def test_null_usage_is_no_usage() -> None:
    """With include_usage every earlier chunk has `usage: null`."""
    assert event_of({"choices": [], "usage": None}).usage is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("{}", (0, 0, 0, 0)),
        ('{"prompt_tokens":3,"completion_tokens":null}', (3, 0, 0, 0)),
        ('{"prompt_tokens":-1,"completion_tokens":"5"}', (0, 0, 0, 0)),
        ('{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}', (3, 0, 0, 0)),
        ('{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}', (3, 0, 2, 0)),
        ('{"completion_tokens":9,"completion_tokens_details":{"reasoning_tokens":4}}', (0, 9, 0, 4)),
        ('{"prompt_tokens_details":null,"completion_tokens_details":[1]}', (0, 0, 0, 0)),
    ],
)
def test_usage_is_read_whatever_is_missing_in_it(raw: str, expected: tuple[int, int, int, int]) -> None:
    """Local servers leave fields out or send null."""
    usage = wire.parse_usage(msgspec.Raw(raw.encode()))
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens) == expected


@pytest.mark.parametrize("raw", ["[]", "3", '"many"', "{", "null", b'"\xff"'])
def test_what_is_no_usage_object_is_no_usage(raw: str | bytes) -> None:
    """Counting is a service to the client; a strange count must not break the answer."""
    assert wire.parse_usage(msgspec.Raw(raw.encode() if isinstance(raw, str) else raw)) is None


def test_a_usage_of_zero_cached_tokens_keeps_the_field() -> None:
    """Clients compute prices from it and treat a missing field differently."""
    raw = {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 0}}
    assert Usage(prompt_tokens=1, completion_tokens=1, raw=raw).to_dict() == {**raw, "total_tokens": 2}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"choices":{}}',
        b'{"choices":["a"]}',
        b'{"choices":[{"index":"0"}]}',
        b'{"choices":[{"delta":{"content":5}}]}',
        b'{"choices":[{"delta":{"tool_calls":"f"}}]}',
        b'{"choices":[{"delta":{"content":"\xff\xfe"}}]}',
        b'{"model":NaN}',
        b'{"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_chunk_is_malformed_and_nothing_worse(data: bytes) -> None:
    """An upstream can send anything; no input may raise another type."""
    with pytest.raises(wire.MalformedEvent):
        wire.parse_chunk(data)


@pytest.mark.parametrize(
    ("document", "is_error"),
    [
        ({"error": {"message": "m"}}, True),
        ({"error": "overloaded"}, True),
        ({"error": None, "choices": []}, False),
        ({"error": {}, "choices": []}, False),
        ({"error": "", "choices": []}, False),
        ({"error": False, "choices": []}, False),
    ],
)
def test_an_error_member_counts_when_it_says_something(document: dict[str, Any], is_error: bool) -> None:
    """The official SDK raises for a truthy `error` only, and some servers send `error: null` on every chunk."""
    data = json.dumps(document, separators=(",", ":")).encode()
    assert wire.is_set(wire.parse_chunk(data).error) is is_error
    _, error = wire.parse_answer(data)
    assert wire.is_set(error) is is_error


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": "hello"}, "hello"),
        ({"content": None, "tool_calls": [TOOL_CALL]}, ""),
        ({"content": None, "refusal": "no"}, ""),
        ({}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, "x", {"text": 5}, {"text": "b"}]}, "ab"),
    ],
)
def test_the_text_of_a_whole_answer_is_read(message: dict[str, Any], content: str) -> None:
    """Text is a string, null beside tool calls, or a list of parts."""
    body = json.dumps({"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    answer, _ = wire.parse_answer(body)
    assert (answer.content, answer.raw, answer.model, answer.finish_reason) == (content, body, "m", "stop")
    assert answer.tool_calls == message.get("tool_calls")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices":null}', b'{"choices":5}', b"\xff", b"[" * 9999]
)
def test_what_is_no_whole_answer_is_unreadable(body: bytes) -> None:
    """It is the provider's failure, so the router may ask another one."""
    with pytest.raises(UnreadableAnswer):
        wire.parse_answer(body)


def test_an_answer_with_an_empty_list_of_choices_is_an_answer() -> None:
    """Azure may filter all of them; the client gets the vendor's bytes."""
    answer, _ = wire.parse_answer(b'{"choices":[],"usage":{"prompt_tokens":1}}')
    assert answer.content == ""
    assert answer.usage is not None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data":{}}', b'{"data":[{"name":"a"}]}', b"<html>", b"[" * 9999])
def test_what_is_no_list_of_models_is_unreadable(body: bytes) -> None:
    """A page that answers 200 with something else is no list without models."""
    with pytest.raises(UnreadableAnswer):
        wire.parse_models(body)


def test_a_list_of_models_is_read_by_its_ids() -> None:
    """Vendors add fields of their own to each entry."""
    assert wire.parse_models(b'{"object":"list","data":[{"id":"a","status":{}},{"id":"b/c"}]}') == ["a", "b/c"]
