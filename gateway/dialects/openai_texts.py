"""The older and smaller parts of the OpenAI-compatible surface: `POST /v1/completions` and `POST /v1/embeddings`.

Both pass through: only what the gateway itself needs is checked, and answers come back as the provider sent them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.dialects.openai import OpenAICodec
from gateway.errors import InvalidRequest, ProviderFailed
from gateway.json_body import parse_object, raw_fields
from providers.operations import EmbeddingsRequest, TextRequest

if TYPE_CHECKING:
    from gateway.streaming import StreamFacts
    from providers.base import CompletionResponse, StreamEvent, Usage

_encode = msgspec.json.encode
_TEXTS: Final = {"type": ["string", "array"], "minLength": 1, "minItems": 1}
# What the two functions below take; all other fields go on as they are.
TEXT_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "model": {"type": ["string", "null"]},
        "prompt": _TEXTS,
        "stream": {"type": ["boolean", "null"]},
        "stream_options": {"type": ["object", "null"]},
    },
    "required": ["prompt"],
}
EMBEDDINGS_SCHEMA: Final = {
    "type": "object",
    "properties": {"model": {"type": "string", "minLength": 1}, "input": _TEXTS},
    "required": ["model", "input"],
}


def parse_text_request(body: bytes) -> tuple[str | None, TextRequest, bool]:
    """Read a body for `/v1/completions`: the model, the request, and whether the client wants streamed usage.

    Raises `InvalidRequest`.
    """
    fields = parse_object(body)
    found = _input_problems(fields, "prompt")
    if not isinstance(fields.get("model"), str | None):
        found.append(("model", "must be a string"))
    if not isinstance(fields.get("stream"), bool | None):
        found.append(("stream", "must be true or false"))
    options = fields.get("stream_options")
    if not isinstance(options, dict | None):
        found.append(("stream_options", "must be an object"))
    _refuse(found)
    request = TextRequest("", raw_fields(body), stream=bool(fields.get("stream")))
    return fields.get("model") or None, request, bool(options and options.get("include_usage"))


def parse_embeddings_request(body: bytes) -> tuple[str, EmbeddingsRequest]:
    """Read a body for `/v1/embeddings`: the model, which has no default, and the request. Raises `InvalidRequest`."""
    fields = parse_object(body)
    found = _input_problems(fields, "input")
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        found.append(("model", "must be a string that is not empty"))
    _refuse(found)
    return str(model), EmbeddingsRequest("", raw_fields(body))


def _input_problems(fields: dict[str, Any], name: str) -> list[tuple[str, str]]:
    value = fields.get(name)
    return [] if isinstance(value, str | list) and value else [(name, "must be a text or a list that is not empty")]


def _refuse(found: list[tuple[str, str]]) -> None:
    if found:
        raise InvalidRequest(f"{found[0][0]}: {found[0][1]}", errors=found)


def embeddings_answer(answer: CompletionResponse) -> bytes:
    """Return the provider's own JSON. Raises `ProviderFailed` for an adapter that gave none."""
    if answer.raw is None:
        msg = "The provider did not give a usable answer"
        raise ProviderFailed(msg)
    return answer.raw


def text_answer(answer: CompletionResponse, usage: Usage, request_id: str, model: str) -> bytes:
    """Return the JSON body of a whole text completion: the provider's own, or one made from its fields."""
    if answer.raw is not None:
        return answer.raw
    choice = _choice(answer.content, answer.finish_reason or "stop")
    made = {"id": f"cmpl-{request_id}", "object": "text_completion", "created": int(time.time())}
    return _encode({**made, "model": answer.model or model, "choices": [choice], "usage": usage.to_dict()})


def _choice(text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish_reason}


class TextCodec(OpenAICodec):
    """Writes a streamed text completion, whose chunks are OpenAI's own as well."""

    def _chunk(self, model: str) -> dict[str, Any]:
        return {**super()._chunk(model), "id": f"cmpl-{self._request_id}", "object": "text_completion"}

    def _built(self, event: StreamEvent, facts: StreamFacts) -> bytes:
        if not event.content and event.finish_reason is None:
            return b""
        self._model = event.model or self._model
        chunk = {**self._chunk(facts.model), "choices": [_choice(event.content, event.finish_reason)]}
        return b"data: " + _encode(chunk) + b"\n\n"
