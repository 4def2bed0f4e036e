"""The Anthropic-compatible surface: `POST /v1/messages`. Bytes of a provider that speaks this dialect pass through."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.error_bodies import error_object
from gateway.errors import InvalidRequest, ProviderFailed
from gateway.json_body import parse_object, raw_fields
from providers.anthropic.native import MessagesRequest
from providers.anthropic.reverse.answer import message_of
from providers.anthropic.reverse.stream import MessageWriter
from providers.errors import UnreadableAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.errors import GatewayError
    from gateway.streaming import StreamFacts
    from providers.base import CompletionResponse, StreamEvent, Usage
    from routing.plan import ModelEntry

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
# As it stands in the data, since an event need not have a name.
_STOP = b'"message_stop"'
_encode = msgspec.json.encode
_TURN: Final = {"type": "object", "properties": {"role": {"type": "string"}}, "required": ["role"]}
_FIELDS: Final = {
    "model": {"type": ["string", "null"]},
    "messages": {"type": "array", "minItems": 1, "items": _TURN},
    "stream": {"type": ["boolean", "null"]},
}
_MAX_TOKENS: Final = {"type": "integer"}
# What `parse_request` takes, by the names of the bodies; all other fields go on as they are.
REQUEST_SCHEMAS: Final = {
    "MessagesRequest": {
        "type": "object",
        "properties": {**_FIELDS, "max_tokens": _MAX_TOKENS},
        "required": ["max_tokens", "messages"],
    },
    "TokenCountRequest": {"type": "object", "properties": _FIELDS, "required": ["messages"]},
}


def parse_request(
    body: bytes, native_headers: Mapping[str, str], *, counts_only: bool = False
) -> tuple[str | None, MessagesRequest]:
    """Read the body of a message: the model asked for, and the request.

    Only what the gateway itself needs is checked; the rest is the provider's to judge. `native_headers` are those for a
    provider of the same dialect. A body whose tokens are only counted has no `max_tokens`. Raises `InvalidRequest`.
    """
    fields = parse_object(body)
    problems = _problems(fields)
    if not counts_only and type(fields.get("max_tokens")) is not int:
        problems.append(("max_tokens", "Field required, a whole number"))
    if problems:
        msg = f"{problems[0][0]}: {problems[0][1]}"
        raise InvalidRequest(msg, errors=problems)
    request = MessagesRequest("", raw_fields(body), stream=bool(fields.get("stream")), native_headers=native_headers)
    return fields.get("model") or None, request


def _problems(fields: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    turns = fields.get("messages")
    if not isinstance(turns, list) or not turns:
        found.append(("messages", "must be a list with at least one message"))
    else:
        for number, turn in enumerate(turns):
            if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
                found.append((f"messages.{number}", "must be an object with a role"))
    if not isinstance(fields.get("model"), str | None):
        found.append(("model", "must be a string"))
    if not isinstance(fields.get("stream"), bool | None):
        found.append(("stream", "must be true or false"))
    return found


def whole_answer(answer: CompletionResponse, usage: Usage, request_id: str, model: str) -> bytes:
    """Return the JSON body of a whole answer: the provider's own, or one made from its fields.

    Raises `ProviderFailed` for an answer that this dialect has no form for.
    """
    if answer.native is not None:
        return answer.native
    try:
        return _encode(message_of(answer, usage, id_=_message_id(request_id), model=model))
    except UnreadableAnswer as exc:
        raise ProviderFailed("The provider did not give a usable answer") from exc


def _message_id(request_id: str) -> str:
    return f"msg_{request_id}"


class AnthropicCodec:
    """Writes a streamed answer as the events of a message."""

    ping = PING

    def __init__(self, request_id: str, docs_url: str) -> None:
        self._request_id = request_id
        self._docs_url = docs_url
        self._writer = MessageWriter(_message_id(request_id))
        self._last_native = b""

    def start(self, facts: StreamFacts) -> bytes:  # noqa: ARG002 - this dialect starts with its first event.
        """Return what goes out before the first event: nothing."""
        return b""

    def events(self, events: list[StreamEvent], facts: StreamFacts) -> bytes:
        """Return the events of this dialect, the provider's own as they came."""
        out: list[bytes] = []
        for event in events:
            native = event.native
            if native is None:
                if not self._last_native and event.commits:
                    out += self._built(event, facts)
                continue
            self._last_native = native
            out.append(native)
        return out[0] if len(out) == 1 else b"".join(out)

    def _built(self, event: StreamEvent, facts: StreamFacts) -> list[bytes]:
        begin = [] if self._writer.is_begun else self._writer.start(event.model or facts.model, facts.usage)
        return [_frame(one) for one in begin + self._writer.events(event)]

    def end(self, facts: StreamFacts) -> bytes:
        """Return what is missing of a whole answer's end."""
        if self._last_native:
            return b"" if _STOP in self._last_native else _frame({"type": "message_stop"})
        begin = [] if self._writer.is_begun else self._writer.start(facts.model, facts.usage)
        return b"".join(_frame(one) for one in begin + self._writer.end(facts.finish_reason, facts.usage))

    def error(self, error: GatewayError, facts: StreamFacts) -> bytes:  # noqa: ARG002 - other dialects name the model.
        """Return the event that ends a broken answer; `message_stop` never follows it."""
        return _frame(error_object(error, "anthropic", self._request_id, self._docs_url))


def _frame(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _encode(event))


def model_page(entries: Iterable[ModelEntry], created_s: int) -> dict[str, Any]:
    """Return a list of models, all on one page; `created_s` is in Unix seconds."""
    found = [model_info(entry, created_s) for entry in entries]
    ids = [model["id"] for model in found]
    return {"data": found, "has_more": False, "first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}


def model_info(entry: ModelEntry, created_s: int) -> dict[str, Any]:
    """Return one model; when it was made is not known, so this is when the gateway began to serve it."""
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": f"{datetime.fromtimestamp(created_s, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "lifecycle": "active",
        "max_input_tokens": entry.context_length,
    }
