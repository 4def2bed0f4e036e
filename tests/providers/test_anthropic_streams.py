"""Anthropic's streams: the events of a message, in any cut, and what becomes of broken ones."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import errors
from providers.anthropic import stream as module
from providers.anthropic.answer import read_answer
from providers.anthropic.stream import MessageStream
from providers.base import StreamEvent
from tests.providers.anthropic_words import REDACTED, THOUGHT, JsonObject
from tests.upstream.anthropic_frames import (
    MODEL,
    PING,
    STOP,
    begin,
    delta,
    end,
    sse,
    start,
    stop,
    text_block,
    thinking_block,
    tool_block,
)


def read(data: bytes, cuts: list[int] | None = None) -> list[StreamEvent]:
    """Return every event of a stream whose bytes arrive cut at these places."""
    reader = MessageStream()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts or ()), len(data)]
    events = [event for first, last in itertools.pairwise(places) for event in reader.events(data[first:last])]
    return events + reader.end()


def told(events: list[StreamEvent]) -> list[JsonObject]:
    """Return what each event says that has content, without its model and its tokens."""
    found = []
    for event in events:
        fields = {name: value for name, value in msgspec.structs.asdict(event).items() if value}
        found.append({name: value for name, value in fields.items() if name not in ("model", "usage")})
    return [fields for fields in found if fields]


def tool_start(index: int, name: str, id_: str) -> JsonObject:
    """Return the piece of OpenAI's that begins a tool call."""
    call = {"index": index, "id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
    return {"tool_calls": [call]}


def arguments(index: int, piece: str) -> JsonObject:
    """Return a piece of OpenAI's with arguments of a tool call."""
    return {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


THINKS = {"other_content": True}
STOPPED = {"finish_reason": "stop"}
CALLED = {"finish_reason": "tool_calls"}

# The events between the beginning and the end of the stream, and what comes out.
STREAMS: dict[str, tuple[list[JsonObject], list[JsonObject]]] = {
    "text": ([*text_block(0, "Hel", "lo"), end()], [{"content": "Hel"}, {"content": "lo"}, STOPPED]),
    "text that begins with its block": (
        [start(0, {"type": "text", "text": "a"}), delta(0, "text", "b"), stop(0), end()],
        [{"content": "a"}, {"content": "b"}, STOPPED],
    ),
    "no content": ([end()], [STOPPED]),
    "pings everywhere": (
        [PING, *text_block(0, "a"), PING, *text_block(1, "b"), PING, end(), PING],
        [{"content": "a"}, {"content": "b"}, STOPPED],
    ),
    "a tool after text": (
        [*text_block(0, "I look."), *tool_block(1, "weather", "toolu_1", '{"city":', '"Paris"}'), end("tool_use")],
        [
            {"content": "I look."},
            tool_start(0, "weather", "toolu_1"),
            arguments(0, '{"city":'),
            arguments(0, '"Paris"}'),
            CALLED,
        ],
    ),
    "tools in parallel are counted by themselves": (
        [
            *thinking_block(0, "EqoB", "Hm"),
            *tool_block(1, "weather", "toolu_1", '{"city":"Paris"}'),
            *text_block(2, "and"),
            *tool_block(3, "weather", "toolu_2", '{"city":"Tokyo"}'),
            end("tool_use"),
        ],
        [
            THINKS,
            {"reasoning": "Hm"},
            {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "Hm", "signature": "EqoB"}]},
            tool_start(0, "weather", "toolu_1"),
            arguments(0, '{"city":"Paris"}'),
            {"content": "and"},
            tool_start(1, "weather", "toolu_2"),
            arguments(1, '{"city":"Tokyo"}'),
            CALLED,
        ],
    ),
    "tools whose pieces are mixed": (
        [
            start(0, {"type": "tool_use", "id": "a", "name": "f", "input": {}}),
            start(1, {"type": "tool_use", "id": "b", "name": "g", "input": {}}),
            delta(1, "input_json", "{}"),
            delta(0, "input_json", '{"x":1}'),
            stop(0),
            stop(1),
            end("tool_use"),
        ],
        [tool_start(0, "f", "a"), tool_start(1, "g", "b"), arguments(1, "{}"), arguments(0, '{"x":1}'), CALLED],
    ),
    "a tool without arguments": (
        [*tool_block(0, "now", "toolu_1"), end("tool_use")],
        [tool_start(0, "now", "toolu_1"), arguments(0, "{}"), CALLED],
    ),
    "a tool whose arguments come with its block": (
        [start(0, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": "é"}}), stop(0), end("tool_use")],
        [tool_start(0, "f", "a"), arguments(0, '{"x":"é"}'), CALLED],
    ),
    "reasoning is shown as it comes and signed at its end": (
        [*thinking_block(0, "EqoB", "Paris ", "is warm."), *text_block(1, "15"), end()],
        [
            THINKS,
            {"reasoning": "Paris "},
            {"reasoning": "is warm."},
            {"thinking_blocks": [{"index": 0, **THOUGHT}]},
            {"content": "15"},
            STOPPED,
        ],
    ),
    "reasoning that is not shown": (
        [*thinking_block(0, "EqoB"), start(1, REDACTED), stop(1), *text_block(2, "15"), end()],
        [
            THINKS,
            {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "", "signature": "EqoB"}]},
            THINKS,
            {"thinking_blocks": [{"index": 1, **REDACTED}]},
            {"content": "15"},
            STOPPED,
        ],
    ),
    "what the client's dialect has nothing for": (
        [
            {"type": "tomorrow", "index": "x", "delta": 7},
            start(0, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
            delta(0, "input_json", '{"query":"x"}'),
            stop(0),
            start(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
            stop(1),
            start(2, {"type": "text", "text": ""}),
            delta(2, "citations", {"url": "https://example.com"}),
            delta(2, "text", "a"),
            delta(2, "tomorrow", "b"),
            stop(2),
            end(),
        ],
        [{"content": "a"}, STOPPED],
    ),
    "a refusal in the middle": (
        [
            *text_block(0, "First,"),
            end("refusal", stop_details={"type": "refusal", "explanation": "Not this."}),
        ],
        [{"content": "First,"}, {"finish_reason": "content_filter", "refusal": "Not this."}],
    ),
    "no room left": (
        [*text_block(0, "a"), end("model_context_window_exceeded")],
        [{"content": "a"}, {"finish_reason": "length"}],
    ),
    "the reason comes in the second of two": (
        [*text_block(0, "a"), end(None), end("max_tokens"), end("end_turn")],
        [{"content": "a"}, {"finish_reason": "length"}],
    ),
    "letters of every length": (
        [*text_block(0, "naïve — ", "日本語 🌍", "\u2028\u2029\u0000"), end()],
        [{"content": "naïve — "}, {"content": "日本語 🌍"}, {"content": "\u2028\u2029\u0000"}, STOPPED],
    ),
}


def stream(name: str) -> bytes:
    """Return a case's bytes."""
    return sse(begin(), *STREAMS[name][0], STOP)


@pytest.mark.parametrize("name", STREAMS)
def test_events_become_pieces_of_openais(name: str) -> None:
    """Every case is written by hand from the vendors' references."""
    events = read(stream(name))
    assert told(events) == STREAMS[name][1]
    assert {event.model for event in events if event.commits} == {MODEL}
    assert [event.raw for event in events] == [None] * len(events)


@pytest.mark.parametrize("name", STREAMS)
def test_one_byte_at_a_time_gives_the_same_events(name: str) -> None:
    """Every letter and every line end is cut somewhere."""
    data = stream(name)
    assert told(read(data, list(range(len(data))))) == STREAMS[name][1]


@given(
    st.sampled_from(sorted(STREAMS)),
    st.lists(st.integers(min_value=0), max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_cut_and_any_line_end_gives_the_same_events(name: str, cuts: list[int], eol: str) -> None:
    """The network cuts where it likes."""
    assert told(read(stream(name).replace(b"\n", eol.encode()), cuts)) == STREAMS[name][1]


BLOCKS = st.one_of(
    st.text(max_size=20).map(lambda text: {"type": "text", "text": text}),
    st.tuples(st.text(max_size=20), st.text(max_size=5)).map(
        lambda pair: {"type": "thinking", "thinking": pair[0], "signature": pair[1]}
    ),
    st.text(max_size=5).map(lambda data: {"type": "redacted_thinking", "data": data}),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(-9, 9), max_size=3).map(
        lambda value: {"type": "tool_use", "id": "toolu_1", "name": "f", "input": value}
    ),
)


@given(st.lists(BLOCKS, max_size=5), st.randoms(use_true_random=False), st.lists(st.integers(min_value=0), max_size=5))
def test_a_stream_put_together_is_the_whole_answer(blocks: list[JsonObject], random: Any, cuts: list[int]) -> None:
    """Both ways to ask must give the same message, tool calls and reasoning."""
    whole = read_answer(json.dumps({"content": blocks, "stop_reason": "end_turn"}).encode())
    events = read(
        sse(begin(), *(event for i, block in enumerate(blocks) for event in _events(i, block, random)), end()), cuts
    )
    calls: dict[int, JsonObject] = {}
    for piece in (piece for event in events for piece in event.tool_calls or ()):
        if "id" in piece:
            calls[piece["index"]] = {"id": piece["id"], "type": piece["type"], "function": dict(piece["function"])}
        else:
            calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
    for call in [*calls.values(), *(whole.tool_calls or ())]:
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    thoughts = [thought for event in events for thought in event.thinking_blocks or ()]
    assert [thought.pop("index") for thought in thoughts] == list(range(len(thoughts)))
    assert "".join(event.content for event in events) == whole.content
    assert "".join(event.reasoning for event in events) == whole.reasoning
    assert [calls[index] for index in sorted(calls)] == (whole.tool_calls or [])
    assert thoughts == (whole.thinking_blocks or [])


def _events(index: int, block: JsonObject, random: Any) -> list[JsonObject]:
    """Return the events of a block, its text or arguments in pieces."""
    kind = block["type"]
    if kind == "text":
        return text_block(index, *_pieces(block["text"], random))
    if kind == "thinking":
        return thinking_block(index, block["signature"], *_pieces(block["thinking"], random))
    if kind == "tool_use":
        written = json.dumps(block["input"]) if block["input"] else ""
        return tool_block(index, block["name"], block["id"], *_pieces(written, random))
    return [start(index, block), stop(index)]


def _pieces(text: str, random: Any) -> list[str]:
    return re.findall(f"(?s).{{1,{random.randint(1, 5)}}}", text)


USAGES: dict[str, tuple[JsonObject, list[JsonObject], tuple[int, int, int, int, int]]] = {
    "told at both ends": ({}, [{"output_tokens": 5}], (7, 5, 0, 0, 0)),
    "a cache told at the beginning": (
        {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20},
        [{"output_tokens": 5}],
        (127, 5, 100, 20, 0),
    ),
    "told again, with null": (
        {"cache_read_input_tokens": 100},
        [{"output_tokens": 5, "input_tokens": 9, "cache_read_input_tokens": None}],
        (109, 5, 100, 0, 0),
    ),
    "totals and not sums": ({}, [{"output_tokens": 3}, {"output_tokens": 5}], (7, 5, 0, 0, 0)),
    "thinking": ({}, [{"output_tokens": 50, "output_tokens_details": {"thinking_tokens": 40}}], (7, 50, 0, 0, 40)),
}


@pytest.mark.parametrize("name", USAGES)
def test_the_last_count_is_the_truth(name: str) -> None:
    """Numbers are totals, and one that is missing later stays as it was."""
    beginning, ends, expected = USAGES[name]
    last = [end(None if number else "end_turn", usage) for number, usage in enumerate(ends)]
    counted = [event.usage for event in read(sse(begin(**beginning), *text_block(0, "a"), *last, STOP)) if event.usage]
    usage = counted[-1]
    assert (usage.prompt_tokens, usage.completion_tokens) == expected[:2]
    assert (usage.cached_tokens, usage.cache_creation_tokens, usage.reasoning_tokens) == expected[2:]
    assert [one.estimated for one in counted] == [True] + [False] * len(ends)


def test_a_ping_is_a_sign_of_life() -> None:
    """It is no content, so it neither commits nor reaches the client, but a silent stream would be cut."""
    reader = MessageStream()
    events = reader.events(sse(begin(), PING))
    assert [event.commits for event in events] == [False, False]


def test_hidden_reasoning_is_the_beginning_of_an_answer() -> None:
    """It may take longer than anybody waits for a first word, and only pings come meanwhile."""
    reader = MessageStream()
    events = reader.events(sse(begin(), *thinking_block(0, "EqoB")[:1], PING))
    assert [event.commits for event in events] == [False, True, False]


def test_message_stop_ends_the_stream() -> None:
    """What a proxy appends is not read."""
    reader = MessageStream()
    reader.events(sse(begin(), *text_block(0, "a"), end(), STOP) + b"data: [DONE]\n\n")
    assert (reader.done, reader.finished, reader.end()) == (True, True, [])


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4])
def test_a_stream_without_a_reason_to_stop_is_broken(cut: int) -> None:
    """Half an answer must not look like a whole one."""
    reader = MessageStream()
    reader.events(sse(*[begin(), *text_block(0, "a"), PING][:cut]))
    with pytest.raises(errors.StreamBroken):
        reader.end()


def test_a_stream_is_whole_with_its_reason_to_stop() -> None:
    """Although `message_stop` did not come."""
    assert told(read(sse(begin(), *text_block(0, "a"), end()))) == [{"content": "a"}, STOPPED]


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def test_an_error_before_content_is_raised_at_once() -> None:
    """The router then asks somebody else."""
    reader = MessageStream()
    assert len(reader.events(sse(begin()))) == 1
    with pytest.raises(errors.Overloaded):
        reader.events(sse(OVERLOADED))


def test_an_error_behind_content_comes_after_it() -> None:
    """What arrived in the same read is still shown."""
    reader = MessageStream()
    events = reader.events(sse(begin(), *text_block(0, "a"), OVERLOADED, *text_block(1, "b")))
    assert told(events) == [{"content": "a"}]
    assert reader.done
    with pytest.raises(errors.Overloaded):
        reader.end()


BROKEN = [
    b"data: {\n\n",
    b"data: []\n\n",
    b"data: 7\n\n",
    b"data: \xff\n\n",
    b'data: {"type":"message_start","message":7}\n\n',
]


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_no_event_fails_before_content_and_is_left_out_behind_it(data: bytes) -> None:
    """Before content another provider may answer; behind it only a complete stream counts."""
    with pytest.raises(errors.UnreadableAnswer):
        MessageStream().events(data)
    behind = sse(begin(), *text_block(0, "a")) + data + sse(end(), STOP)
    assert told(read(behind)) == [{"content": "a"}, STOPPED]


def test_reasoning_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits in memory for its signature."""
    monkeypatch.setattr(module, "MAX_THINKING_CHARS", 100)
    with pytest.raises(errors.UnreadableAnswer):
        read(sse(begin(), *thinking_block(0, "s", "x" * 60, "x" * 60)))
