"""From the gateway's own whole answer to a response, and what whole and streamed responses share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from providers.base import StreamEvent
from providers.responses.stream import ResponseWriter
from providers.wire import beside_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providers.base import CompletionResponse, Usage


def response_of(
    answer: CompletionResponse, usage: Usage, *, id_: str, tag: str, asked: Mapping[str, Any], model: str
) -> dict[str, Any]:
    """Return the response of a whole answer; `model` is told when the answer names none.

    `asked` are the fields of the request, which a response repeats, `tag` is that of the provider.
    """
    reasoning, refusal = beside_text(answer.raw)
    event = StreamEvent(
        content=answer.content,
        reasoning=answer.reasoning or reasoning,
        refusal=answer.refusal or refusal,
        tool_calls=answer.tool_calls,
        thinking_blocks=answer.thinking_blocks,
    )
    writer = ResponseWriter(id_, tag, asked)
    writer.start(answer.model or model)
    writer.events(event)
    response: dict[str, Any] = writer.end(answer.finish_reason, usage)[-1]["response"]
    return response
