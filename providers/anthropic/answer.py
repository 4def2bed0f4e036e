"""From a whole answer of Anthropic's to the gateway's own, and what both kinds of answers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from providers import vendor_errors
from providers.base import CompletionResponse, Usage
from providers.errors import UnreadableAnswer
from providers.wire import MOST_TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping

# A reason that is newer than this table ends an answer like any other.
_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_USAGE_FIELDS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_encode = msgspec.json.encode
Block = dict[str, Any]


class _Message(msgspec.Struct):
    content: list[Block] | None = None
    model: str = ""
    stop_reason: str | None = None
    stop_details: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Message).decode


class TokenCount:
    """Adds up what is known of an answer's tokens; a later report without a field leaves that field as it was."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(_USAGE_FIELDS, 0)
        self._thinking = 0
        self._written_1h = 0

    def update(self, reported: Mapping[str, Any] | None) -> None:
        """Take over a usage object; every number in it is a total."""
        for name in _USAGE_FIELDS:
            count = _count(reported, name)
            if count is not None:
                self._counts[name] = count
        details = (reported or {}).get("output_tokens_details")
        thinking = _count(details if isinstance(details, dict) else None, "thinking_tokens")
        self._thinking = self._thinking if thinking is None else thinking
        lifetimes = (reported or {}).get("cache_creation")
        hour = _count(lifetimes if isinstance(lifetimes, dict) else None, "ephemeral_1h_input_tokens")
        self._written_1h = self._written_1h if hour is None else hour

    def usage(self, *, final: bool) -> Usage:
        """Return the tokens in the gateway's words; those of the answer are an estimate until the count is `final`."""
        fresh, written, read, answer = (self._counts[name] for name in _USAGE_FIELDS)
        return Usage(
            prompt_tokens=fresh + written + read,
            completion_tokens=answer,
            cached_tokens=read,
            cache_creation_tokens=written,
            cache_creation_1h_tokens=self._written_1h,
            reasoning_tokens=self._thinking,
            estimated=not final,
            raw={
                "prompt_tokens_details": {"cached_tokens": read, "cache_creation_tokens": written},
                "completion_tokens_details": {"reasoning_tokens": self._thinking},
            },
        )


def _count(fields: Mapping[str, Any] | None, name: str) -> int | None:
    value = (fields or {}).get(name)
    return min(value, MOST_TOKENS) if type(value) is int and value >= 0 else None


def finish_reason(stop_reason: str | None) -> str:
    """Return OpenAI's word for why an answer ended."""
    return _FINISH_REASONS.get(stop_reason or "", "stop")


def refusal_of(details: Mapping[str, Any] | None) -> str:
    """Return the explanation of a refusal, empty when there is none."""
    explanation = (details or {}).get("explanation")
    return explanation if isinstance(explanation, str) else ""


def tool_call(block: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    """Return OpenAI's tool call for a `tool_use` block."""
    function = {"name": _text(block, "name"), "arguments": arguments}
    return {"id": _text(block, "id"), "type": "function", "function": function}


def arguments_of(block: Mapping[str, Any]) -> str:
    """Return the JSON of a whole `tool_use` block's arguments."""
    value = block.get("input")
    return _encode(value if isinstance(value, dict) else {}).decode()


def thinking_block(block: Mapping[str, Any]) -> Block:
    """Return the members of a block of reasoning that have to come back unchanged."""
    if block.get("type") == "redacted_thinking":
        return {"type": "redacted_thinking", "data": _text(block, "data")}
    return {"type": "thinking", "thinking": _text(block, "thinking"), "signature": _text(block, "signature")}


def _text(block: Mapping[str, Any], name: str) -> str:
    value = block.get(name)
    return value if isinstance(value, str) else ""


def read_answer(body: bytes) -> CompletionResponse:
    """Read a whole answer. Raises `UnreadableAnswer`, and the typed error that came instead of an answer.

    Blocks of a type that OpenAI's dialect has nothing for, such as those of server tools, are left out.
    """
    try:
        message = _decode(body)
    except _DECODE_ERRORS as exc:
        msg = "the answer is not a message"
        raise UnreadableAnswer(msg) from exc
    if message.error:
        raise vendor_errors.from_event(message.error)
    if message.content is None:
        msg = "the answer has no content"
        raise UnreadableAnswer(msg)
    count = TokenCount()
    count.update(message.usage)
    tools = [block for block in message.content if block.get("type") == "tool_use"]
    thoughts = [thinking_block(b) for b in message.content if b.get("type") in ("thinking", "redacted_thinking")]
    return CompletionResponse(
        content="".join(_text(block, "text") for block in message.content if block.get("type") == "text"),
        model=message.model,
        finish_reason=finish_reason(message.stop_reason),
        reasoning="".join(_text(block, "thinking") for block in thoughts),
        refusal=refusal_of(message.stop_details),
        tool_calls=[tool_call(block, arguments_of(block)) for block in tools] or None,
        thinking_blocks=thoughts or None,
        usage=count.usage(final=True) if message.usage else None,
        native=body,
    )
