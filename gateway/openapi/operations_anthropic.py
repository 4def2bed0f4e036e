"""The operations of the Anthropic-compatible surface."""

from __future__ import annotations

from typing import Final

from gateway.openapi.answers_anthropic import (
    BlockDelta,
    BlockStart,
    BlockStop,
    Message,
    MessageDelta,
    MessagePing,
    MessageStart,
    MessageStop,
    TokenCount,
)
from gateway.openapi.headers import ANSWERED_BY
from gateway.openapi.model import EVENT_STREAM, Answer, Body, Events, Operation, header
from gateway.openapi.operations_ai import AI_ERRORS, STREAM

_MESSAGES: Final = [{"role": "user", "content": "Hello!"}]
_NATIVE: Final = (
    header("anthropic-version", "The version of the dialect; goes to providers that speak it.", {"type": "string"}),
    header("anthropic-beta", "Betas of the dialect; go to providers that speak it.", {"type": "string"}),
)
_EVENTS: Final = Events(
    (
        ("message_start", MessageStart),
        ("content_block_start", BlockStart),
        ("content_block_delta", BlockDelta),
        ("content_block_stop", BlockStop),
        ("message_delta", MessageDelta),
        ("message_stop", MessageStop),
        ("ping", MessagePing),
        ("error", "AnthropicError"),
    ),
    "event: content_block_delta\n"
    'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello!"}}\n\n'
    'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)

OPERATIONS: Final[dict[str, Operation]] = {
    "POST /v1/messages": Operation(
        "Anthropic",
        (
            Answer(200, "The whole answer.", Message, headers=ANSWERED_BY),
            Answer(200, STREAM, _EVENTS, EVENT_STREAM, ANSWERED_BY),
        ),
        parameters=_NATIVE,
        body=Body("MessagesRequest", {"max_tokens": 100, "messages": _MESSAGES}),
        errors=AI_ERRORS,
        description="Only what the gateway itself needs is checked. The key may also come as `x-api-key`.",
    ),
    "POST /v1/messages/count_tokens": Operation(
        "Anthropic",
        (Answer(200, "How many tokens the prompt has.", TokenCount),),
        parameters=_NATIVE,
        body=Body("TokenCountRequest", {"messages": _MESSAGES}),
        errors=AI_ERRORS,
    ),
}
