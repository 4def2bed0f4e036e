"""Whole answers of Anthropic's: text, tools, reasoning, reasons to stop, tokens, and what is no answer at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providers import errors
from providers.anthropic.answer import read_answer
from providers.base import Usage
from tests.providers.anthropic_words import REDACTED, THOUGHT, JsonObject, call, text, use

MODEL = "claude-sonnet-4-5-20250929"
COUNT = {"input_tokens": 7, "output_tokens": 5}


def answered(*content: JsonObject, stop_reason: str | None = "end_turn", **members: Any) -> bytes:
    """Return the JSON of a message."""
    return json.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": list(content),
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": COUNT,
            **members,
        },
        ensure_ascii=False,
    ).encode()


CITED = {**text("It is 15 °C."), "citations": [{"type": "web_search_result_location", "url": "https://example.com"}]}

# The blocks of an answer, and the fields of ours that are set; `content` is empty unless it is named.
CONTENT: dict[str, tuple[list[JsonObject], JsonObject]] = {
    "text": ([text("Hello")], {"content": "Hello"}),
    "several texts": ([text("naïve — "), text("日本語 🌍\u2028")], {"content": "naïve — 日本語 🌍\u2028"}),
    "nothing": ([], {}),
    "text with its sources": ([CITED], {"content": "It is 15 °C."}),
    "a tool": ([use()], {"tool_calls": [call()]}),
    "text and tools in parallel": (
        [text("I look."), use(), use(value={"city": "Tokyo"}, id_="toolu_2")],
        {"content": "I look.", "tool_calls": [call(), call(arguments='{"city":"Tokyo"}', id_="toolu_2")]},
    ),
    "a tool without arguments": ([use("now", {})], {"tool_calls": [call("now", "{}")]}),
    "arguments in other letters": (
        [use(value={"city": "Zürich 日本"})],
        {"tool_calls": [call(arguments='{"city":"Zürich 日本"}')]},
    ),
    "reasoning before text": (
        [THOUGHT, text("15")],
        {"content": "15", "reasoning": "Paris is warm.", "thinking_blocks": [THOUGHT]},
    ),
    "hidden reasoning before a tool": (
        [REDACTED, THOUGHT, use()],
        {"reasoning": "Paris is warm.", "thinking_blocks": [REDACTED, THOUGHT], "tool_calls": [call()]},
    ),
    "blocks of server tools and of tomorrow": (
        [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, {"type": "dream"}, text("a")],
        {"content": "a"},
    ),
}


@pytest.mark.parametrize("name", CONTENT)
def test_blocks_become_a_message(name: str) -> None:
    """Fields that a case does not name stay empty."""
    blocks, expected = CONTENT[name]
    answer = read_answer(answered(*blocks))
    found = {field: getattr(answer, field) for field in ("content", "reasoning", "tool_calls", "thinking_blocks")}
    assert {field: value for field, value in found.items() if value} == expected
    assert (answer.model, answer.raw, answer.finish_reason) == (MODEL, None, "stop")


STOPS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "tomorrows_reason": "stop",
}


@pytest.mark.parametrize("reason", STOPS)
def test_reasons_to_stop(reason: str) -> None:
    """Agents go on or stop by this word."""
    assert read_answer(answered(text("a"), stop_reason=reason)).finish_reason == STOPS[reason]


def test_a_refusal_is_explained_where_the_vendor_does() -> None:
    """OpenAI's dialect has a field for it."""
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    answer = read_answer(answered(stop_reason="refusal", stop_details=details))
    assert (answer.finish_reason, answer.refusal, answer.content) == ("content_filter", "Not this.", "")
    assert read_answer(answered(stop_reason="refusal", stop_details={"explanation": None})).refusal == ""


# Anthropic's usage, and prompt, completion, cached, written and reasoning tokens.
USAGES: dict[str, tuple[JsonObject, tuple[int, int, int, int, int]]] = {
    "no cache": ({"input_tokens": 7, "output_tokens": 5}, (7, 5, 0, 0, 0)),
    "read from the cache": (
        {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0},
        (107, 5, 100, 0, 0),
    ),
    "written to the cache": (
        {
            "input_tokens": 7,
            "output_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 0},
        },
        (127, 5, 100, 20, 0),
    ),
    "thinking": (
        {"input_tokens": 7, "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 40}},
        (7, 50, 0, 0, 40),
    ),
    "null and nonsense": (
        {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": None, "cache_creation_input_tokens": "x"},
        (7, 5, 0, 0, 0),
    ),
    "negative and huge": ({"input_tokens": -1, "output_tokens": 10**15}, (0, 10**12, 0, 0, 0)),
}


@pytest.mark.parametrize(
    ("lifetimes", "hour"),
    [({"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 15}, 15), (None, 0), ("x", 0), ({}, 0)],
)
def test_what_is_kept_for_an_hour_is_known(lifetimes: object, hour: int) -> None:
    """It costs more than what is kept for minutes."""
    reported = {"input_tokens": 7, "output_tokens": 5, "cache_creation_input_tokens": 20, "cache_creation": lifetimes}
    usage = read_answer(answered(text("a"), usage=reported)).usage
    assert usage is not None
    assert (usage.cache_creation_tokens, usage.cache_creation_1h_tokens) == (20, hour)


@pytest.mark.parametrize("name", USAGES)
def test_tokens_are_counted_as_openai_counts_them(name: str) -> None:
    """`prompt_tokens` holds the cached ones, so that they can never be more than it."""
    reported, expected = USAGES[name]
    usage = read_answer(answered(text("a"), usage=reported)).usage
    assert isinstance(usage, Usage)
    prompt, completion, cached, written, reasoning = expected
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (prompt, completion, cached)
    assert (usage.cache_creation_tokens, usage.reasoning_tokens, usage.estimated) == (written, reasoning, False)
    assert usage.to_dict() == {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_creation_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def test_an_answer_without_usage_has_none() -> None:
    """The gateway then estimates."""
    assert read_answer(answered(text("a"), usage=None)).usage is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'"text"',
        b'{"type":"message"}',
        b'{"type":"message","content":"text"}',
        b'{"type":"message","content":[1]}',
        b'{"content":[{"type":"text","te',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_unreadable(body: bytes) -> None:
    """Another provider may do better."""
    with pytest.raises(errors.UnreadableAnswer):
        read_answer(body)


def test_an_error_inside_a_200_is_that_error() -> None:
    """Proxies in front of a provider answer so."""
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(errors.Overloaded):
        read_answer(json.dumps(body).encode())
