"""From the gateway's own whole answer to a message of Anthropic's, and what both kinds of answers share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from providers.errors import UnreadableAnswer
from providers.wire import beside_text

if TYPE_CHECKING:
    from providers.base import CompletionResponse, Usage

Block = dict[str, Any]
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_UNFIT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def message_of(answer: CompletionResponse, usage: Usage, *, id_: str, model: str) -> dict[str, Any]:
    """Return the message; `model` is told when the answer names none.

    Raises `UnreadableAnswer` for a tool call whose arguments are no object, unless the answer was cut there.
    """
    reasoning, refusal = beside_text(answer.raw)
    refused = answer.refusal or refusal
    calls = answer.tool_calls or []
    is_cut = answer.finish_reason == "length"
    content: list[Block] = [_known_block(block) for block in answer.thinking_blocks or ()]
    thought = answer.reasoning or reasoning
    if thought and not content:
        content.append({"type": "thinking", "thinking": thought, "signature": ""})
    content += [text_block(said) for said in (answer.content, refused) if said]
    content += [_tool_use(call, number, is_cut=is_cut) for number, call in enumerate(calls)]
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": answer.model or model,
        "content": content,
        "stop_reason": stop_reason(answer.finish_reason, called=bool(calls), refused=bool(refused)),
        "stop_sequence": None,
        "usage": usage_fields(usage),
    }


def stop_reason(finish_reason: str | None, *, called: bool, refused: bool) -> str:
    """Return Anthropic's word for why an answer ended.

    Some servers say `stop` after a call, OpenAI's own when the tool was prescribed; clients then would not run it.
    """
    reason = _STOP_REASONS.get(finish_reason or "stop", "end_turn")
    if reason == "end_turn":
        reason = "tool_use" if called else ("refusal" if refused else reason)
    return reason


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return Anthropic's usage object, in which what was read from a cache or written to it counts by itself."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    created = min(usage.cache_creation_tokens, usage.prompt_tokens - cached)
    fields: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens - cached - created,
        "cache_creation_input_tokens": created,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens,
    }
    if usage.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if usage.estimated:
        fields["usage_estimated"] = True
    return fields


def text_block(said: str) -> Block:
    """Return a block of text."""
    return {"type": "text", "text": said}


def call_id(value: Any, number: int) -> str:
    """Return a call's id in the letters that Anthropic takes, since a client may go on with the history there."""
    return _UNFIT_IN_ID.sub("_", value) if isinstance(value, str) and value else f"call_{number}"


def _known_block(block: Block) -> Block:
    """Return signed reasoning without the index that put the pieces of a stream together."""
    return {name: value for name, value in block.items() if name != "index"}


def _tool_use(call: Any, number: int, *, is_cut: bool) -> Block:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        function = {}
    name, written = _string(function.get("name")), function.get("arguments") or "{}"
    try:
        arguments = msgspec.json.decode(written) if isinstance(written, str) else written
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        if not is_cut:
            msg = "the arguments of a tool call are not an object"
            raise UnreadableAnswer(msg)
        arguments = {}
    return {"type": "tool_use", "id": call_id(call.get("id"), number), "name": name, "input": arguments}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
