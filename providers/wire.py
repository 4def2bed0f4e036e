"""The OpenAI dialect of completions on the wire: what the gateway reads of a chunk, a whole answer and an error.

Only the fields that decide something are typed; everything else passes through as bytes. Vendors differ from the
documentation in small ways that are accepted here: `content: null`, `choices: []` on annotation frames (Azure), usage
on any chunk, integer error codes (llama.cpp).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from providers.base import CompletionResponse, StreamEvent, Usage
from providers.errors import UnreadableAnswer

_NULL = msgspec.Raw(b"null")
_NULL_LENGTH = len(_NULL)
_EMPTY = (b"null", b'""', b"[]", b"{}", b"false")
# More than any answer has; what a provider reports must not break the sums that it goes into.
MOST_TOKENS = 10**12


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: msgspec.Raw = _NULL
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: msgspec.Raw = _NULL
    audio: msgspec.Raw = _NULL


class _ChunkChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct, gc=False):
    """The part of one `chat.completion.chunk` that the gateway reads."""

    choices: list[_ChunkChoice] | None = None
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    model: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | list[Any] | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    model: str | None = None


class _Beside(msgspec.Struct):
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None


class _ChoiceBeside(msgspec.Struct):
    message: _Beside | None = None
    delta: _Beside | None = None


class _AnswerBeside(msgspec.Struct):
    choices: list[_ChoiceBeside]


class _ModelEntry(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_ModelEntry]


_NO_DELTA = _Delta()
_decode_chunk = msgspec.json.Decoder(Chunk).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_beside = msgspec.json.Decoder(_AnswerBeside).decode
_decode_models = msgspec.json.Decoder(_ModelList).decode
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class MalformedEvent(ValueError):
    """An event's data is not a chunk of the dialect."""


def is_set(raw: msgspec.Raw) -> bool:
    """Say whether a raw JSON value carries anything: not null, not empty, not false."""
    return raw is not _NULL and bytes(raw) not in _EMPTY


def parse_chunk(data: bytes) -> Chunk:
    """Decode one event's data; raises `MalformedEvent`."""
    try:
        return _decode_chunk(data)
    except _DECODE_ERRORS as exc:
        raise MalformedEvent(str(exc)) from exc


def chunk_event(chunk: Chunk, data: bytes) -> StreamEvent:
    """Turn a decoded chunk into an event that carries its bytes and the facts of its first choice."""
    usage = parse_usage(chunk.usage) if len(chunk.usage) > _NULL_LENGTH else None
    if not chunk.choices:
        return StreamEvent(raw=data, usage=usage, usage_only=usage is not None, model=chunk.model or "")
    first = chunk.choices[0]
    delta = first.delta or _NO_DELTA
    event = StreamEvent(
        raw=data,
        content=delta.content or first.text or "",
        finish_reason=first.finish_reason,
        usage=usage,
        model=chunk.model or "",
        tool_calls=delta.tool_calls,
    )
    if delta.reasoning_content is not None:
        event.reasoning = delta.reasoning_content
    if delta.refusal is not None:
        event.refusal = delta.refusal
    if len(chunk.choices) > 1 or not (delta.audio is delta.function_call is delta.reasoning is _NULL):
        event.other_content = any(_has_other_content(choice) for choice in chunk.choices)
    return event


def _has_other_content(choice: _ChunkChoice) -> bool:
    """Say whether a choice carries content that the fields of an event do not show."""
    delta = choice.delta or _NO_DELTA
    beside_the_first = choice.index > 0 and bool(
        delta.content or choice.text or delta.tool_calls or choice.finish_reason
    )
    return beside_the_first or is_set(delta.audio) or is_set(delta.function_call) or is_set(delta.reasoning)


def parse_usage(raw: msgspec.Raw) -> Usage | None:
    """Read a usage object; None for anything that is not one."""
    try:
        fields = msgspec.json.decode(raw)
    except _DECODE_ERRORS:
        return None
    if not isinstance(fields, dict):
        return None
    return Usage(
        prompt_tokens=_count(fields, "prompt_tokens"),
        completion_tokens=_count(fields, "completion_tokens"),
        cached_tokens=_count(_part(fields, "prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(_part(fields, "completion_tokens_details"), "reasoning_tokens"),
        raw=fields,
    )


def _part(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _count(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    return min(value, MOST_TOKENS) if type(value) is int and value >= 0 else 0


def parse_answer(body: bytes) -> tuple[CompletionResponse, msgspec.Raw]:
    """Read a whole answer. Returns it with its raw `error` member (null when there is none).

    Raises `UnreadableAnswer` when the body is not an object of the dialect, or has neither choices nor an error.
    """
    try:
        answer = _decode_answer(body)
    except _DECODE_ERRORS as exc:
        msg = "the answer is not a chat completion"
        raise UnreadableAnswer(msg) from exc
    if is_set(answer.error):
        return CompletionResponse(), answer.error
    if answer.choices is None:
        msg = "the answer has no choices"
        raise UnreadableAnswer(msg)
    response = CompletionResponse(model=answer.model or "", usage=parse_usage(answer.usage), raw=body)
    if answer.choices:
        first = answer.choices[0]
        message = first.message or _Message()
        response.content = _text_of(message.content) or first.text or ""
        response.tool_calls = message.tool_calls
        response.finish_reason = first.finish_reason
    return response, _NULL


def _text_of(content: str | list[Any] | None) -> str:
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in content or [] if isinstance(part, dict)]
    return "".join(part for part in parts if isinstance(part, str))


def beside_text(raw: bytes | None) -> tuple[str, str]:
    """Return the reasoning and the refusal of a whole answer or a chunk, empty where there is none.

    Reasoning stands in `reasoning_content`, or in `reasoning` as OpenRouter and Ollama write it.
    """
    try:
        choices = _decode_beside(raw or b"").choices
    except _DECODE_ERRORS:
        return "", ""
    said = (choices[0].message or choices[0].delta if choices else None) or _Beside()
    return _string(said.reasoning_content) or _string(said.reasoning), _string(said.refusal)


class CallPiece(NamedTuple):
    """What one event says of a tool call. `key` is what further pieces of it are known by; `id` may be empty."""

    key: int
    id: str
    name: str
    arguments: str

    def is_another_than(self, id_: Any) -> bool:
        """Whether this begins another call than that of `id_`: some servers give all calls the same index, or none."""
        return bool(self.id and self.name and id_ and self.id != id_)


def call_piece(call: Any, number: int) -> CallPiece:
    """Read an entry of `tool_calls`, the one with `number` in its event; what is of no use in it is left out."""
    call = call if isinstance(call, dict) else {}
    index, function = call.get("index"), call.get("function")
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    key = index if isinstance(index, int) else number
    return CallPiece(key, _string(call.get("id")), _string(function.get("name")), _string(arguments))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def parse_models(body: bytes) -> list[str]:
    """Read the ids of a `GET /models` answer; raises `UnreadableAnswer`."""
    try:
        return [entry.id for entry in _decode_models(body).data]
    except _DECODE_ERRORS as exc:
        msg = "the list of models is not readable"
        raise UnreadableAnswer(msg) from exc
