"""From the events of OpenAI's dialect to Anthropic's, in the order that its clients expect."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.anthropic import AnthropicCodec
from providers.anthropic.native import NativeStream
from providers.anthropic.reverse.stream import MessageWriter
from providers.anthropic.stream import MessageStream
from providers.base import StreamEvent, Usage
from providers.wire import chunk_event, parse_chunk
from tests.providers.anthropic_reverse_corpus import use
from tests.providers.anthropic_words import REDACTED, THOUGHT, JsonObject, text
from tests.providers.test_anthropic_requests import JSON, TEXT
from tests.upstream.anthropic_frames import PING, STOP, begin, blocks_of, delta, end, sse, start, stop
from tests.upstream.frames import chunk, encode

USAGE = Usage(prompt_tokens=7, completion_tokens=5)


def written(*events: StreamEvent, finish_reason: str | None = "stop") -> list[JsonObject]:
    """Return the events of a whole message."""
    writer = MessageWriter("msg_1")
    out = writer.start("m", USAGE)
    for event in events:
        out += writer.events(event)
    return out + writer.end(finish_reason, USAGE)


def put_together(events: list[JsonObject]) -> list[JsonObject]:
    """Return the blocks of a message as the vendor's SDK makes them, and hold it to the documented order."""
    blocks: list[JsonObject] = []
    arguments: list[str] = []
    is_open = False
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    for event in events[1:-2]:
        assert event["index"] == len(blocks) - is_open
        if event["type"] == "content_block_start":
            assert not is_open
            is_open = True
            blocks.append(dict(event["content_block"]))
            arguments = []
        elif event["type"] == "content_block_stop":
            assert is_open
            is_open = False
            if arguments:
                blocks[-1]["input"] = json.loads("".join(arguments))
        else:
            assert is_open
            _add(blocks[-1], event["delta"], arguments)
    assert not is_open
    return blocks


def _add(block: JsonObject, piece: JsonObject, arguments: list[str]) -> None:
    if piece["type"] == "input_json_delta":
        assert block["type"] == "tool_use"
        arguments.append(piece["partial_json"])
    else:
        name = piece["type"].removesuffix("_delta")
        block[name] += piece[name]


def tool(index: int | None, arguments: str = "", **members: Any) -> StreamEvent:
    """Return a piece of a tool call; with a name it is the first."""
    function = {name: members.pop(name) for name in ("name",) if name in members} | {"arguments": arguments}
    place = {} if index is None else {"index": index}
    return StreamEvent(tool_calls=[{**place, **members, "function": function}])


def test_text_comes_as_it_arrives() -> None:
    """One event for each piece, between a start and a stop."""
    assert written(StreamEvent(content="Hel"), StreamEvent(content="lo"))[1:-2] == [
        start(0, text("")),
        delta(0, "text", "Hel"),
        delta(0, "text", "lo"),
        stop(0),
    ]


def test_the_ends_of_a_message() -> None:
    """The first event has what is known of the prompt, the last but one all tokens."""
    first, *_, last, final = written(StreamEvent(content="a"), finish_reason="length")
    counted = {
        "input_tokens": 7,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 5,
    }
    assert first["message"] == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**counted, "output_tokens": 0},
    }
    assert last["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert (last["usage"], final) == (counted, {"type": "message_stop"})


PARIS, NOW = use("call_1", "weather", city="Paris"), use("call_2", "now", a=1)
BEGUN = (tool(0, id="call_1", name="weather"), tool(0, '{"city":'))
STREAMS: dict[str, tuple[list[StreamEvent], list[JsonObject]]] = {
    "nothing": ([], []),
    "reasoning, then text, then reasoning": (
        [StreamEvent(reasoning="H"), StreamEvent(reasoning="m."), StreamEvent(content="a"), StreamEvent(reasoning="b")],
        [
            {"type": "thinking", "thinking": "Hm.", "signature": ""},
            text("a"),
            {"type": "thinking", "thinking": "b", "signature": ""},
        ],
    ),
    "reasoning and text in one event": (
        [StreamEvent(reasoning="Hm.", content="a")],
        [{"type": "thinking", "thinking": "Hm.", "signature": ""}, text("a")],
    ),
    "signed and hidden reasoning": (
        [
            StreamEvent(reasoning="Paris is warm."),
            StreamEvent(thinking_blocks=[{"index": 0, **THOUGHT}]),
            StreamEvent(thinking_blocks=[{"index": 1, **REDACTED}]),
            StreamEvent(content="a"),
        ],
        [THOUGHT, REDACTED, text("a")],
    ),
    "text and a call": (
        [StreamEvent(content="I look."), *BEGUN, tool(0, '"Paris"}')],
        [text("I look."), PARIS],
    ),
    "calls one after the other": (
        [*BEGUN, tool(0, '"Paris"}'), tool(1, id="call_2", name="now"), tool(1, '{"a":1}')],
        [PARIS, NOW],
    ),
    "calls whose pieces are mixed": (
        [*BEGUN, tool(1, '{"a"', id="call_2", name="now"), tool(0, '"Paris"'), tool(1, ":1}"), tool(0, "}")],
        [PARIS, NOW],
    ),
    "calls that are all named before any has arguments": (
        [
            tool(0, id="call_1", name="weather"),
            tool(1, id="call_2", name="now"),
            tool(0, '{"city":"Paris"}'),
            tool(1, '{"a":1}'),
        ],
        [PARIS, NOW],
    ),
    "several calls in one event": (
        [
            StreamEvent(
                tool_calls=[
                    {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}},
                    {"index": 1, "id": "call_2", "function": {"name": "now", "arguments": '{"a":1}'}},
                ]
            )
        ],
        [PARIS, NOW],
    ),
    "calls without an index": (
        [
            StreamEvent(
                tool_calls=[
                    {"id": "call_1", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}},
                    {"id": "call_2", "function": {"name": "now", "arguments": '{"a":1}'}},
                ]
            )
        ],
        [PARIS, NOW],
    ),
    "calls that all have the same index": (
        [
            tool(0, '{"city":"Paris"}', id="call_1", name="weather"),
            tool(0, '{"a"', id="call_2", name="now"),
            tool(0, ":1}"),
        ],
        [PARIS, NOW],
    ),
    "calls without an index in events of their own": (
        [
            tool(None, '{"city":"Paris"}', id="call_1", name="weather"),
            tool(None, '{"a":1}', id="call_2", name="now"),
        ],
        [PARIS, NOW],
    ),
    "an index that is none, and arguments that are an object": (
        [
            StreamEvent(
                tool_calls=[
                    {"index": None, "id": "call_1", "function": {"name": "weather", "arguments": {"city": "Paris"}}},
                    {"index": [], "id": "call_2", "function": {"name": "now", "arguments": '{"a":1}'}},
                ]
            )
        ],
        [PARIS, NOW],
    ),
    "a call without arguments": ([tool(0, id="call_2", name="now")], [{**NOW, "input": {}}]),
    "two calls without arguments": (
        [tool(0, id="call_1", name="now"), tool(1, id="call_2", name="now")],
        [{**NOW, "id": "call_1", "input": {}}, {**NOW, "input": {}}],
    ),
    "text in the middle of a call": (
        [*BEGUN, StreamEvent(content="so "), StreamEvent(content="far"), tool(0, '"Paris"}')],
        [PARIS, text("so far")],
    ),
    "blanks behind a call": (
        [tool(0, '{"city":"Paris"}', id="call_1", name="weather"), StreamEvent(content="a"), tool(0, " ")],
        [PARIS, text("a")],
    ),
    "a call without an id, and one with a strange one": (
        [tool(0, '{"a":1}', name="now"), tool(1, '{"a":1}', id="f:1", name="now")],
        [{**NOW, "id": "call_0"}, {**NOW, "id": "f_1"}],
    ),
    "a refusal": ([StreamEvent(refusal="Not "), StreamEvent(refusal="this.")], [text("Not this.")]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_blocks_of_a_stream(name: str) -> None:
    """One is open at a time, whatever the order in which the pieces come."""
    events, blocks = STREAMS[name]
    assert put_together(written(*events)) == blocks


def test_why_a_stream_ended() -> None:
    """As for a whole answer: some servers say `stop` after a call, or after a refusal."""
    assert written(tool(0, id="c", name="now"))[-2]["delta"]["stop_reason"] == "tool_use"
    assert written(StreamEvent(refusal="No."))[-2]["delta"]["stop_reason"] == "refusal"
    assert written(StreamEvent(content="a"), finish_reason="content_filter")[-2]["delta"]["stop_reason"] == "refusal"


def test_reasoning_by_its_other_name() -> None:
    """OpenRouter and Ollama write it so, and only its bytes show it."""
    data = encode(chunk(delta={"reasoning": "Hm."}))
    (block,) = put_together(written(chunk_event(parse_chunk(data), data)))
    assert block == {"type": "thinking", "thinking": "Hm.", "signature": ""}
    odd = encode(chunk(delta={"reasoning": {"x": 1}}))
    assert put_together(written(chunk_event(parse_chunk(odd), odd))) == []
    assert put_together(written(StreamEvent(raw=b"{", other_content=True))) == []


BLOCKS = st.lists(
    TEXT.map(text)
    | st.dictionaries(st.text(max_size=5), JSON, max_size=2).map(lambda value: {**use(), "input": value}),
    max_size=5,
)


@given(BLOCKS, st.booleans(), st.integers(1, 50))
def test_a_stream_survives_there_and_back(said: list[JsonObject], thinks: bool, cut: int) -> None:
    """Read as the adapter for Anthropic does, cut anywhere, and written again: the same blocks, text joined."""
    content = [*([THOUGHT, REDACTED] if thinks else []), *said]
    data = sse(begin(), *blocks_of(content), end("end_turn"), STOP)
    reader = MessageStream()
    events = [event for at in range(0, len(data), cut) for event in reader.events(data[at : at + cut])]
    found = put_together(written(*events, *reader.end()))
    assert _joined(found) == _joined(content)


def _joined(blocks: list[JsonObject]) -> list[JsonObject]:
    """Return blocks with neighbours of text made one, since OpenAI's dialect knows no borders within it."""
    out: list[JsonObject] = []
    for block in blocks:
        if out and block["type"] == out[-1]["type"] == "text":
            out[-1] = text(out[-1]["text"] + block["text"])
        else:
            out.append(block)
    return out


UNKNOWN = {"type": "of_tomorrow", "x": 1}


@given(st.integers(1, 60))
def test_native_events_pass_through_as_they_came(cut: int) -> None:
    """However the bytes are cut: pings, signatures and events of unknown types too, and tokens are counted beside."""
    citation = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"é": "𝄞"}}}
    data = sse(begin(), PING, *blocks_of([THOUGHT, text("é𝄞\u2028"), use()]), citation, UNKNOWN, end("tool_use"), STOP)
    reader = NativeStream()
    events = [event for at in range(0, len(data), cut) for event in reader.events(data[at : at + cut])]
    events += reader.end()
    assert b"".join(event.native or b"" for event in events) == data
    counted = [event.usage for event in events if event.usage]
    assert (counted[-1].prompt_tokens, counted[-1].completion_tokens) == (7, 5)
    assert [event.finish_reason for event in events if event.finish_reason] == ["tool_calls"]
    assert all(event.commits for event in events if b"citations_delta" in (event.native or b""))


def test_native_events_in_other_forms() -> None:
    """Data of several lines stays such; an event without a name, and broken ones after content, are handled too."""
    reader = NativeStream()
    (first,) = reader.events(
        b'data: {"type":"content_block_delta","delta":\ndata: {"type":"text_delta","text":"a"}}\n\n'
    )
    assert first.native == b'data: {"type":"content_block_delta","delta":\ndata: {"type":"text_delta","text":"a"}}\n\n'
    assert first.content == "a"
    assert reader.events(b"event: content_block_delta\ndata: {broken\n\n") == []


@pytest.mark.parametrize("named", [True, False])
def test_a_message_of_its_own_dialect_ends_once(named: bool) -> None:
    """Whether its events have names or only types, and where the last one is missing it is put in."""
    data = sse(begin(), *blocks_of([text("a")]), end("end_turn"), STOP)
    lines = [line for line in data.split(b"\n") if named or not line.startswith(b"event: ")]
    for sent in (b"\n".join(lines), b"\n".join(lines).split(b'data: {"type": "message_stop"')[0]):
        reader, codec = NativeStream(), AnthropicCodec("req_1", "https://x.example")
        facts: Any = None
        out = codec.events([*reader.events(sent), *reader.end()], facts) + codec.end(facts)
        assert len(re.findall(rb'data: {"type": ?"message_stop"}', out)) == 1
