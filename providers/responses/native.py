"""Requests for responses: as they came for a provider that speaks this API itself, and as a chat for all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from providers import vendor_errors
from providers.base import CompletionRequest, CompletionResponse, StreamEvent, Usage
from providers.errors import UnreadableAnswer
from providers.http import StreamedAnswer
from providers.responses.binding import Binding, bound_event, bound_response, is_sealed
from providers.responses.request import to_chat
from providers.responses.stream import TRANSLATED_REASONING
from providers.sse import SSEReader
from providers.wire import MOST_TOKENS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from providers.sse import ServerSentEvent

RESPONSES: Final = "responses"
# The last event repeats the whole response, with the images in it.
MAX_EVENT_BYTES: Final = 8 << 20
_ALSO_READ: Final = ("instructions", "tools", "text")
_DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TRANSLATED: Final = f'"{TRANSLATED_REASONING}'.encode()
_TRUE: Final = msgspec.Raw(b"true")
_NO_RESPONSE: Final = "the answer is not a response"
# They only say that an answer has begun, or will; until another one comes, the next provider may still be asked.
_BEGINNINGS: Final = frozenset(
    {
        "keepalive",
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    }
)
_REASONS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesRequest(CompletionRequest):
    """A request for a response, in both forms.

    `native` are its top-level fields, each as raw JSON, for a provider of this API; `fields` are those of a chat
    completion, for all others. `bindings` are the parts that only one provider understands.
    `fields`, `messages` and `get` raise `NotExpressible` for what a chat cannot say.
    """

    __slots__ = ("_translated", "bindings", "native")
    length_fields = ("max_output_tokens",)

    def __init__(
        self,
        model: str,
        native: Mapping[str, msgspec.Raw],
        *,
        stream: bool = False,
        bindings: tuple[Binding, ...] = (),
    ) -> None:
        super().__init__(model, {}, stream=stream)
        self.native = native
        self.bindings = bindings
        self._translated: Mapping[str, msgspec.Raw] | None = None

    @property
    def fields(self) -> Mapping[str, msgspec.Raw]:
        """The fields of a chat completion, translated on first use."""
        if self._translated is None:
            made = to_chat({name: msgspec.json.decode(raw) for name, raw in self.native.items()})
            self._translated = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in made.items()}
        return self._translated

    @fields.setter
    def fields(self, value: Mapping[str, msgspec.Raw]) -> None:
        self._translated = value

    def get(self, name: str, default: Any = None) -> Any:
        """Return one field of the chat completion decoded; those that every surface asks for need no translation."""
        if name == "n":
            return default
        if name in self.length_fields:
            raw = self.native.get(name)
            return default if raw is None else msgspec.json.decode(raw)
        return super().get(name, default)

    def limit_answer(self, tokens: int) -> None:
        """Put the longest answer, in tokens, into both forms."""
        self.native = {**self.native, "max_output_tokens": msgspec.Raw(str(tokens).encode())}
        self.defaulted |= {"max_tokens"}
        self._translated = None

    def read_chars(self) -> tuple[list[int], list[int]]:
        """Return how many characters each item has, and each further field that the model reads."""
        given = msgspec.json.decode(self.native.get("input", b"null"))
        items = given if isinstance(given, list) else [given]
        return [_chars(item) for item in items], [len(self.native[name]) for name in _ALSO_READ if name in self.native]

    def json_bytes(self) -> int:
        """Return how many bytes of JSON the request is."""
        return sum(map(len, self.native.values()))

    def for_model(self, model: str) -> ResponsesRequest:
        """Return the same request for another model."""
        other = ResponsesRequest(model, self.native, stream=self.stream, bindings=self.bindings)
        other.headers, other.request_id, other.defaulted = self.headers, self.request_id, self.defaulted
        other.is_capped, other._translated = self.is_capped, self._translated
        return other


def _chars(value: Any) -> int:
    """Return the characters of what an item says, calls or gives, but not of images and files."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_chars, value))
    if not isinstance(value, dict):
        return 0
    return sum(_chars(value.get(name)) for name in ("content", "text", "arguments", "output", "summary", "refusal"))


def native_body(request: ResponsesRequest, omitted: Collection[str], *, stream: bool) -> dict[str, Any]:
    """Return the body as the client wrote it, for the model of `request`, without what is `omitted`."""
    body: dict[str, Any] = {name: raw for name, raw in request.native.items() if name not in omitted}
    body.pop("stream", None)
    given = bytes(body.get("input", b""))
    if given.startswith(b"[") and _TRANSLATED in given:
        # They look up reasoning by its id, and refuse the request when they did not make it.
        body["input"] = [item for item in msgspec.json.decode(given) if not _is_translated_reasoning(item)]
    return {**body, "model": request.model, **({"stream": _TRUE} if stream else {})}


def _is_translated_reasoning(item: Any) -> bool:
    is_reasoning = isinstance(item, dict) and item.get("type") == "reasoning"
    return is_reasoning and str(item.get("id")).startswith(TRANSLATED_REASONING)


class _InputDetails(msgspec.Struct):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int = 0


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    output: list[dict[str, Any]] | None = None
    status: str | None = None
    model: str | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct):
    type: str
    delta: Any = None
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


class _Failure(msgspec.Struct):
    error: Any = None


_decode_response: Final = msgspec.json.Decoder(_Response).decode
_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_usage: Final = msgspec.json.Decoder(_Usage).decode
_decode_failure: Final = msgspec.json.Decoder(_Failure).decode


def read_response(body: bytes, tag: str) -> CompletionResponse:
    """Read a whole response, which keeps its bytes but for what is bound to its provider by `tag`.

    Raises `UnreadableAnswer`, and the typed error of a response that failed.
    """
    try:
        failure = _decode_failure(body).error
        if failure:
            raise vendor_errors.from_event(failure)
        response = _decode_response(body)
        raw = bound_response(tag, body)
    except _DECODE_ERRORS as exc:
        raise UnreadableAnswer(_NO_RESPONSE) from exc
    if response.output is None:
        raise UnreadableAnswer(_NO_RESPONSE)
    said, calls = _said(response.output)
    return CompletionResponse(
        content=said,
        model=response.model or "",
        finish_reason=_finish_reason(response),
        tool_calls=calls or None,
        usage=_usage(response.usage),
        raw=raw,
    )


def _said(output: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Return what is needed to estimate an answer's length: its text, and the arguments of its calls."""
    parts = [part for item in output for part in _parts(item.get("content"))]
    calls = [{"function": {"arguments": item.get("arguments")}} for item in output if item.get("arguments")]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str)), calls


def _parts(content: Any) -> list[dict[str, Any]]:
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def _finish_reason(response: _Response) -> str:
    if response.status == "incomplete":
        details = response.incomplete_details or _Incomplete()
        return _REASONS.get(details.reason or "", "length")
    return "tool_calls" if any(item.get("type") == "function_call" for item in response.output or ()) else "stop"


def _usage(raw: msgspec.Raw) -> Usage | None:
    """Return the tokens; None for none, and for what is no count of them."""
    try:
        usage = _decode_usage(raw)
    except _DECODE_ERRORS:
        return None
    read, wrote = usage.input_tokens_details or _InputDetails(), usage.output_tokens_details or _OutputDetails()
    return Usage(
        prompt_tokens=_count(usage.input_tokens),
        completion_tokens=_count(usage.output_tokens),
        cached_tokens=_count(read.cached_tokens),
        cache_creation_tokens=_count(read.cache_write_tokens),
        reasoning_tokens=_count(wrote.reasoning_tokens),
    )


def _count(tokens: int) -> int:
    return min(max(tokens, 0), MOST_TOKENS)


class NativeStream(StreamedAnswer):
    """Reads the events of one response, and keeps each as it came but for what is bound to its provider by `tag`."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self._reader = SSEReader(MAX_EVENT_BYTES)
        self._tag = tag

    @property
    def finished(self) -> bool:
        """Whether the response is over; nothing follows the event that says so."""
        return self.done

    def read_event(self, event: ServerSentEvent) -> StreamEvent | None:
        """Read one event; those of unknown types pass through too. Raises types of `providers.errors`."""
        data = event.data
        try:
            fields = _decode_event(data)
            if len(fields.response) > 4 or is_sealed(data):
                data = bound_event(self._tag, data)
            found = self._found(fields)
        except _DECODE_ERRORS as exc:
            if not data.startswith(b"[DONE]"):
                self.malformed(exc)
            return None
        found.native = _written(fields.type, data)
        return found

    def _found(self, fields: _Event) -> StreamEvent:
        kind = fields.type
        if kind == "error":
            raise vendor_errors.from_event(
                fields.error or {"code": fields.code, "message": fields.message, "param": fields.param}
            )
        if kind == "response.failed":
            raise vendor_errors.from_event(_decode_failure(fields.response).error)
        if kind in ("response.completed", "response.incomplete"):
            response = _decode_response(fields.response)
            self.done = True
            return StreamEvent(
                finish_reason=_finish_reason(response), usage=_usage(response.usage), model=response.model or ""
            )
        piece = fields.delta if isinstance(fields.delta, str) else ""
        if kind == "response.output_text.delta":
            return StreamEvent(content=piece, other_content=True)
        if kind == "response.function_call_arguments.delta":
            return StreamEvent(tool_calls=[{"function": {"arguments": piece}}])
        if kind in ("response.reasoning_text.delta", "response.reasoning_summary_text.delta"):
            return StreamEvent(reasoning=piece, other_content=True)
        return StreamEvent(other_content=kind not in _BEGINNINGS)


def _written(kind: str, data: bytes) -> bytes:
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    # A name is one word; whatever else it holds must not end the line.
    return b"event: %b\ndata: %b\n\n" % (b"".join(kind.encode().split()), data)
