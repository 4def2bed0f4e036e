"""The OpenAI-compatible surface: `POST /v1/chat/completions`. Bytes of an OpenAI-dialect provider pass through."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.error_bodies import error_object
from gateway.errors import InvalidRequest
from gateway.json_body import parse_object, raw_fields
from providers.base import CompletionRequest, Usage

if TYPE_CHECKING:
    from gateway.errors import GatewayError
    from gateway.streaming import StreamFacts
    from providers.base import CompletionResponse, StreamEvent

PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.encode
# What `parse_request` takes; all other fields go on as they are.
REQUEST_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "model": {"type": ["string", "null"]},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "properties": {"role": {"type": "string"}}, "required": ["role"]},
        },
        "stream": {"type": ["boolean", "null"]},
        "stream_options": {"type": ["object", "null"]},
    },
    "required": ["messages"],
}


def parse_request(body: bytes) -> tuple[str | None, CompletionRequest, bool]:
    """Read a chat-completions body: the model asked for, the request, and whether the client wants streamed usage.

    Only what the gateway itself needs is checked; the rest is the provider's to judge. Raises `InvalidRequest`.
    """
    fields = parse_object(body)
    problems = _problems(fields)
    if problems:
        msg = f"{problems[0][0]}: {problems[0][1]}"
        raise InvalidRequest(msg, errors=problems)
    options = fields.get("stream_options")
    wants_usage = bool(options and options.get("include_usage"))
    request = CompletionRequest("", raw_fields(body), stream=bool(fields.get("stream")))
    return fields.get("model") or None, request, wants_usage


def _problems(fields: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        found.append(("messages", "must be a list with at least one message"))
    else:
        for number, message in enumerate(messages):
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                found.append((f"messages[{number}]", "must be an object with a role"))
    if not isinstance(fields.get("model"), str | None):
        found.append(("model", "must be a string"))
    if not isinstance(fields.get("stream"), bool | None):
        found.append(("stream", "must be true or false"))
    options = fields.get("stream_options")
    if not isinstance(options, dict | None):
        found.append(("stream_options", "must be an object"))
    return found


def whole_answer(answer: CompletionResponse, usage: Usage, request_id: str, model: str) -> bytes:
    """Return the JSON body of a whole answer: the provider's own, or one made from its fields."""
    if answer.raw is not None:
        return answer.raw
    message: dict[str, Any] = {"role": "assistant", "content": answer.content}
    if answer.tool_calls and not answer.content:
        # Where there is no text beside tool calls, this dialect has null.
        message["content"] = None
    message |= _set_members(
        reasoning_content=answer.reasoning,
        refusal=answer.refusal,
        tool_calls=answer.tool_calls,
        thinking_blocks=answer.thinking_blocks,
    )
    return _encode(
        {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": answer.model or model,
            "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason or "stop"}],
            "usage": usage.to_dict(),
        }
    )


class OpenAICodec:
    """Writes a streamed answer as OpenAI chunks. `wants_usage`: the client asked for the usage chunk."""

    ping = PING

    def __init__(self, request_id: str, docs_url: str, *, wants_usage: bool) -> None:
        self._request_id = request_id
        self._docs_url = docs_url
        self._wants_usage = wants_usage
        self._usage_sent = False
        self._created = int(time.time())
        self._role_sent = False
        self._model = ""

    def start(self, facts: StreamFacts) -> bytes:  # noqa: ARG002 - this dialect starts with its first chunk.
        """Return what goes out before the first event: nothing."""
        return b""

    def events(self, events: list[StreamEvent], facts: StreamFacts) -> bytes:
        """Return the chunks of `events` as whole SSE events."""
        out: list[bytes] = []
        for event in events:
            raw = event.raw
            if raw is None:
                out.append(self._built(event, facts))
                continue
            if event.usage is not None:
                raw = self._with_usage_as_asked(event, raw)
            if b"\n" in raw:
                # JSON that came as several data lines goes out the same way; a bare line break would end the event.
                raw = raw.replace(b"\n", b"\ndata: ")
            if raw:
                out.append(b"data: %b\n\n" % raw)
        return out[0] if len(out) == 1 else b"".join(out)

    def _with_usage_as_asked(self, event: StreamEvent, raw: bytes) -> bytes:
        """Return a chunk with usage as it is if the client asked for it, else without.

        Empty if nothing else is in it.
        """
        self._usage_sent = True
        if self._wants_usage:
            return raw
        return b"" if event.usage_only else _without_usage(raw)

    def end(self, facts: StreamFacts) -> bytes:
        """Return the end of a whole answer: usage if it was asked for and the provider sent none, then `[DONE]`."""
        if not self._wants_usage or self._usage_sent:
            return DONE
        last: dict[str, Any] = {"choices": [], "usage": facts.usage.to_dict()}
        if facts.usage.estimated:
            last["usage_estimated"] = True
        return _frame(self._chunk(facts.model) | last) + DONE

    def error(self, error: GatewayError, facts: StreamFacts) -> bytes:  # noqa: ARG002 - other dialects name the model.
        """Return the event that ends a broken answer; `[DONE]` never follows it."""
        return _frame(error_object(error, "openai", self._request_id, self._docs_url))

    def _chunk(self, model: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._request_id}",
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model or model,
        }

    def _built(self, event: StreamEvent, facts: StreamFacts) -> bytes:
        """Write an event that has no bytes of this dialect; its usage waits for the end, where clients expect it."""
        if not event.commits:
            return b""
        delta: dict[str, Any] = {}
        if not self._role_sent:
            self._role_sent = True
            delta["role"] = "assistant"
        delta |= _set_members(
            content=event.content,
            reasoning_content=event.reasoning,
            refusal=event.refusal,
            tool_calls=event.tool_calls,
            thinking_blocks=event.thinking_blocks,
        )
        if not delta and event.finish_reason is None:
            return b""
        self._model = event.model or self._model
        choice = {"index": 0, "delta": delta, "finish_reason": event.finish_reason}
        return _frame(self._chunk(facts.model) | {"choices": [choice]})


def _set_members(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


def _without_usage(raw: bytes) -> bytes:
    fields = raw_fields(raw)
    fields.pop("usage", None)
    return _encode(fields)
