"""From OpenAI's answers to Anthropic's messages, whole ones, and the way there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.anthropic.answer import read_answer
from providers.anthropic.reverse.answer import message_of
from providers.base import CompletionResponse, Usage
from providers.errors import UnreadableAnswer
from providers.wire import parse_answer
from tests.providers.anthropic_reverse_corpus import use
from tests.providers.anthropic_words import REDACTED, THOUGHT, JsonObject, call, text
from tests.providers.test_anthropic_requests import JSON, TEXT
from tests.upstream.frames import completion, encode

USAGE = Usage(prompt_tokens=7, completion_tokens=5)


def told(answer: CompletionResponse, usage: Usage = USAGE) -> JsonObject:
    """Return the message for an answer."""
    return message_of(answer, usage, id_="msg_1", model="asked")


def from_openai(content: str | None = None, finish_reason: str | None = "stop", **message: Any) -> JsonObject:
    """Return the message for an answer as OpenAI's provider sends it."""
    body = encode(completion(content, finish_reason=finish_reason or "stop", message=message))
    answer, _ = parse_answer(body)
    return told(answer)


def test_a_whole_message() -> None:
    """Every member that the vendor documents."""
    assert told(CompletionResponse(content="Hello", model="gpt")) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "gpt",
        "content": [text("Hello")],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 7,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 5,
        },
    }
    assert told(CompletionResponse())["model"] == "asked"


CONTENTS: dict[str, tuple[JsonObject, list[JsonObject]]] = {
    "nothing": ({}, []),
    "text and calls": (
        {"content": "I look.", "tool_calls": [call(), call("now", "", "toolu_2")]},
        [text("I look."), use(), {**use("toolu_2", "now"), "input": {}}],
    ),
    "reasoning": (
        {"content": "15", "reasoning_content": "Hm."},
        [{"type": "thinking", "thinking": "Hm.", "signature": ""}, text("15")],
    ),
    "reasoning by its other name": (
        {"content": "15", "reasoning": "Hm."},
        [{"type": "thinking", "thinking": "Hm.", "signature": ""}, text("15")],
    ),
    "reasoning in a form that is nobody's": ({"content": "15", "reasoning": {"x": 1}}, [text("15")]),
    "a refusal": ({"refusal": "Not this."}, [text("Not this.")]),
    "an id that Anthropic does not take": (
        {"tool_calls": [call(id_="call.1:é")]},
        [use("call_1__")],
    ),
    "a call without an id": ({"tool_calls": [{"function": {"name": "now"}}]}, [{**use("call_0", "now"), "input": {}}]),
    "arguments that are an object already": (
        {"tool_calls": [{"id": "c", "function": {"name": "now", "arguments": {"a": 1}}}]},
        [use("c", "now", a=1)],
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_the_blocks_of_an_answer(name: str) -> None:
    """As OpenAI's dialect has them, and its relatives."""
    message, blocks = CONTENTS[name]
    assert from_openai(**message)["content"] == blocks


@pytest.mark.parametrize(
    ("finish_reason", "more", "reason"),
    [
        ("stop", {}, "end_turn"),
        (None, {}, "end_turn"),
        ("length", {}, "max_tokens"),
        ("tool_calls", {"tool_calls": [call()]}, "tool_use"),
        # OpenAI itself says so when the tool was prescribed.
        ("stop", {"tool_calls": [call()]}, "tool_use"),
        ("function_call", {}, "tool_use"),
        ("content_filter", {}, "refusal"),
        ("stop", {"refusal": "No."}, "refusal"),
        ("of_tomorrow", {}, "end_turn"),
    ],
)
def test_why_an_answer_ended(finish_reason: str | None, more: JsonObject, reason: str) -> None:
    """Agents run tools only after `tool_use`."""
    assert from_openai(finish_reason=finish_reason, **more)["stop_reason"] == reason


@pytest.mark.parametrize("arguments", ['{"city"', "[1]", "5", '"\\ud800"'])
def test_arguments_that_are_no_object(arguments: str) -> None:
    """A tool must not run with arguments that nobody wrote, but an answer that was cut there is one all the same."""
    calls = [call(arguments=arguments)]
    with pytest.raises(UnreadableAnswer):
        told(CompletionResponse(tool_calls=calls, finish_reason="tool_calls"))
    cut = told(CompletionResponse(tool_calls=calls, finish_reason="length"))
    assert (cut["stop_reason"], cut["content"]) == ("max_tokens", [{**use(), "input": {}}])


def test_cached_tokens_do_not_count_twice() -> None:
    """Anthropic's input tokens are those beside the cache; a provider's count may not fit together."""
    fields = told(
        CompletionResponse(),
        Usage(
            prompt_tokens=127, completion_tokens=50, cached_tokens=100, cache_creation_tokens=20, reasoning_tokens=40
        ),
    )["usage"]
    assert fields == {
        "input_tokens": 7,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 100,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 40},
    }
    odd = told(CompletionResponse(), Usage(prompt_tokens=5, cached_tokens=9, estimated=True))["usage"]
    assert (odd["input_tokens"], odd["cache_read_input_tokens"], odd["usage_estimated"]) == (0, 5, True)


def test_signed_reasoning_keeps_its_signature() -> None:
    """An adapter of another package may have it."""
    answer = CompletionResponse(reasoning="Paris is warm.", thinking_blocks=[{"index": 0, **THOUGHT}, REDACTED])
    assert told(answer)["content"] == [THOUGHT, REDACTED]


@given(
    st.lists(TEXT.map(text), max_size=1),
    st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=3),
    st.booleans(),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
)
def test_a_message_survives_there_and_back(
    said: list[JsonObject], arguments: list[JsonObject], thinks: bool, fresh: int, cached: int
) -> None:
    """Read as the adapter for Anthropic does, and written again: the same blocks, reason and tokens."""
    uses = [{**use(f"toolu_{number}"), "input": one} for number, one in enumerate(arguments)]
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [*([THOUGHT] if thinks else []), *said, *uses],
        "stop_reason": "tool_use" if uses else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": fresh,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": cached,
            "output_tokens": 1,
        },
    }
    answer = read_answer(json.dumps(message).encode())
    assert answer.usage is not None
    assert told(answer, answer.usage) == message
