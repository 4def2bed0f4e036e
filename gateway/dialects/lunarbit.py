"""The gateway's own chat: `POST /ai/chat` of the product page, and its stream of `start`, deltas, `done` or `error`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.error_bodies import error_object
from gateway.errors import InvalidRequest
from gateway.field_rules import Schema, object_schema, or_null, takes
from gateway.json_body import parse_object, raw_fields, refuse_duplicate_keys
from providers.base import CompletionRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.errors import GatewayError
    from gateway.streaming import StreamFacts
    from providers.base import StreamEvent, Usage

DEFAULT_TEMPERATURE = 0.7
DEFAULT_MAX_TOKENS = 2000
_MESSAGE_FIELDS = ("role", "content")
_ROLES = ("system", "user", "assistant")
_MAX_TEMPERATURE = 2
_MAX_STOPS = 4
_encode = msgspec.json.encode


def parse_request(body: bytes) -> tuple[str | None, CompletionRequest]:
    """Read a body of the product page: the model asked for and the request, with the page's defaults filled in.

    Raises `InvalidRequest` that lists every field at fault; a field that the page does not have is one.
    """
    fields = parse_object(body)
    refuse_duplicate_keys(body)
    problems = [(name, "is not a known field") for name in fields if name not in _CHECKS]
    if "messages" not in fields:
        problems.append(("messages", "is required"))
    for name, value in fields.items():
        check = _CHECKS.get(name)
        # null stands for an absent optional field, as most client libraries write it.
        if check is not None and (value is not None or name == "messages"):
            problems += check(name, value)
    if problems:
        msg = f"{problems[0][0][:200]} {problems[0][1]}"
        raise InvalidRequest(msg, errors=problems)
    raw = {name: value for name, value in raw_fields(body).items() if fields[name] is not None}
    defaults = {"temperature": DEFAULT_TEMPERATURE, "max_tokens": DEFAULT_MAX_TOKENS}
    defaulted = frozenset(name for name in defaults if name not in raw)
    for name in defaulted:
        raw[name] = msgspec.Raw(_encode(defaults[name]))
    request = CompletionRequest("", raw, stream=bool(fields.get("stream")), defaulted=defaulted)
    return fields.get("model") or None, request


Problems = list[tuple[str, str]]


@takes(
    type="array",
    minItems=1,
    items={
        "type": "object",
        "properties": {
            "role": {"type": "string", "enum": list(_ROLES)},
            "content": {"type": "string", "minLength": 1},
        },
        "required": list(_MESSAGE_FIELDS),
        "additionalProperties": False,
    },
    examples=[[{"role": "user", "content": "Hello!"}]],
)
def _check_messages(name: str, value: Any) -> Problems:
    if not isinstance(value, list) or not value:
        return [(name, "must be a list with at least one message")]
    problems: Problems = []
    for number, message in enumerate(value):
        where = f"{name}[{number}]"
        if not isinstance(message, dict):
            problems.append((where, "must be an object"))
            continue
        if message.get("role") not in _ROLES:
            problems.append((f"{where}.role", "must be system, user or assistant"))
        content = message.get("content")
        if not isinstance(content, str) or not content:
            problems.append((f"{where}.content", "must be a string that is not empty"))
        problems += [(f"{where}.{extra}", "is not a known field") for extra in message if extra not in _MESSAGE_FIELDS]
    return problems


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@takes(**or_null({"type": "number", "minimum": 0, "maximum": _MAX_TEMPERATURE}))
def _check_temperature(name: str, value: Any) -> Problems:
    good = _is_number(value) and 0 <= value <= _MAX_TEMPERATURE
    return [] if good else [(name, "must be a number from 0 to 2")]


@takes(**or_null({"type": "number", "minimum": 0, "maximum": 1}))
def _check_top_p(name: str, value: Any) -> Problems:
    good = _is_number(value) and 0 <= value <= 1
    return [] if good else [(name, "must be a number from 0 to 1")]


@takes(**or_null({"type": "integer", "minimum": 1}))
def _check_max_tokens(name: str, value: Any) -> Problems:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return [] if good else [(name, "must be a whole number of at least 1")]


@takes(**or_null({"type": "boolean"}))
def _check_stream(name: str, value: Any) -> Problems:
    return [] if isinstance(value, bool) else [(name, "must be true or false")]


@takes(**or_null({"type": "string", "minLength": 1}))
def _check_model(name: str, value: Any) -> Problems:
    return [] if isinstance(value, str) and value else [(name, "must be a string that is not empty")]


@takes(
    anyOf=[
        {"type": ["string", "null"], "minLength": 1},
        {"type": "array", "maxItems": _MAX_STOPS, "items": {"type": "string", "minLength": 1}},
    ]
)
def _check_stop(name: str, value: Any) -> Problems:
    stops = [value] if isinstance(value, str) else value
    good = isinstance(stops, list) and len(stops) <= _MAX_STOPS and all(isinstance(s, str) and s for s in stops)
    return [] if good else [(name, "must be a string or a list of at most 4 strings")]


_CHECKS: dict[str, Callable[[str, Any], Problems]] = {
    "messages": _check_messages,
    "temperature": _check_temperature,
    "max_tokens": _check_max_tokens,
    "stream": _check_stream,
    "model": _check_model,
    "top_p": _check_top_p,
    "stop": _check_stop,
}


def request_schema() -> Schema:
    """Return the JSON Schema of what `parse_request` takes."""
    return object_schema(_CHECKS, ("messages",))


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return `tokens_used` and `usage`, and `usage_estimated` when the provider did not count."""
    fields: dict[str, Any] = {"tokens_used": usage.total_tokens, "usage": usage.to_dict()}
    if usage.estimated:
        fields["usage_estimated"] = True
    return fields


class LunarBitCodec:
    """Writes a streamed answer as the events of the product's own chat."""

    ping = b": ping\n\n"

    def __init__(self, request_id: str, docs_url: str) -> None:
        self._request_id = request_id
        self._docs_url = docs_url
        self._started = time.perf_counter()

    def start(self, facts: StreamFacts) -> bytes:
        """Return the `start` event, which names who answers."""
        return _named(b"start", {"request_id": self._request_id, "provider": facts.provider, "model": facts.model})

    def events(self, events: list[StreamEvent], facts: StreamFacts) -> bytes:  # noqa: ARG002 - start named the model.
        """Return one unnamed event for each delta of text."""
        deltas = [event.content for event in events if event.content]
        return b"".join(b'data: {"delta":' + _encode(delta) + b"}\n\n" for delta in deltas)

    def end(self, facts: StreamFacts) -> bytes:
        """Return the `done` event, the last of a whole answer."""
        return _named(
            b"done",
            {
                "model": facts.model,
                "provider": facts.provider,
                "finish_reason": facts.finish_reason,
                **usage_fields(facts.usage),
                "processing_time_ms": round((time.perf_counter() - self._started) * 1000),
            },
        )

    def error(self, error: GatewayError, facts: StreamFacts) -> bytes:  # noqa: ARG002 - part of the codec's shape.
        """Return the `error` event, the last of an answer that is not whole."""
        return _named(b"error", error_object(error, "lunarbit", self._request_id, self._docs_url))


def _named(event: bytes, value: dict[str, Any]) -> bytes:
    return b"event: " + event + b"\ndata: " + _encode(value) + b"\n\n"
