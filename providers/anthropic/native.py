"""Requests that come in Anthropic's own dialect: they pass through to a provider that speaks it, as they are.

For every other provider the same request has its fields in the OpenAI dialect too, translated when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from providers.anthropic.reverse.request import to_chat
from providers.anthropic.stream import MessageStream, kind_of
from providers.base import CompletionRequest, StreamEvent, text_chars

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from providers.sse import ServerSentEvent

# Reasoning without a signature is what other vendors' models think; Anthropic's refuse a history that has it.
_UNSIGNED = (b'"signature":""', b'"signature": ""')
# There is only one choice, and only one name for the longest answer.
_NEVER_THERE = frozenset({"n", "max_completion_tokens"})
_ALSO_READ = ("system", "tools")
_NO_HEADERS: Mapping[str, str] = {}


class MessagesRequest(CompletionRequest):
    """A request of Anthropic's, in both dialects.

    `native` are its top-level fields, each as raw JSON, `native_headers` its `anthropic-` headers, both for providers
    of this dialect; `fields` are those of a chat completion, for all others.
    `fields`, `messages` and `get` raise `NotExpressible` for what the OpenAI dialect cannot say.
    """

    __slots__ = ("_translated", "native", "native_headers")

    def __init__(
        self,
        model: str,
        native: Mapping[str, msgspec.Raw],
        *,
        stream: bool = False,
        native_headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        super().__init__(model, {}, stream=stream, defaulted=frozenset({"reasoning_effort"}))
        self.native = native
        self.native_headers = native_headers
        self._translated: Mapping[str, msgspec.Raw] | None = None

    @property
    def fields(self) -> Mapping[str, msgspec.Raw]:
        """The fields of a chat completion, translated on first use."""
        if self._translated is None:
            decoded = {name: msgspec.json.decode(raw) for name, raw in self.native.items()}
            made = to_chat(decoded)
            self._translated = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in made.items()}
        return self._translated

    @fields.setter
    def fields(self, value: Mapping[str, msgspec.Raw]) -> None:
        self._translated = value

    def get(self, name: str, default: Any = None) -> Any:
        """Return one field of the chat completion decoded; those that every surface asks for need no translation."""
        if name in _NEVER_THERE:
            return default
        if name == "max_tokens":
            raw = self.native.get(name)
            return default if raw is None else msgspec.json.decode(raw)
        return super().get(name, default)

    def read_chars(self) -> tuple[list[int], list[int]]:
        """Return how many characters each turn has, and each further field that the model reads."""
        turns = msgspec.json.decode(self.native.get("messages", b"[]"))
        said = [_chars(turn.get("content")) for turn in turns if isinstance(turn, dict)]
        return said, [len(self.native[name]) for name in _ALSO_READ if name in self.native]

    def json_bytes(self) -> int:
        """Return how many bytes of JSON the request is."""
        return sum(map(len, self.native.values()))

    def for_model(self, model: str) -> MessagesRequest:
        """Return the same request for another model."""
        other = MessagesRequest(model, self.native, stream=self.stream, native_headers=self.native_headers)
        other.headers, other.request_id = self.headers, self.request_id
        other.is_capped, other._translated = self.is_capped, self._translated
        return other


def _chars(content: Any) -> int:
    """Return the characters of a turn, those of tools' arguments and results too, but not of images."""
    if not isinstance(content, list):
        return text_chars(content)
    blocks = [block for block in content if isinstance(block, dict)]
    called = sum(len(msgspec.json.encode(block.get("input"))) for block in blocks if block.get("type") == "tool_use")
    results = sum(_chars(block.get("content")) for block in blocks if block.get("type") == "tool_result")
    return text_chars(content) + called + results


def native_body(request: MessagesRequest, omitted: Collection[str]) -> dict[str, Any]:
    """Return the body as the client wrote it, for the model of `request`, without `stream` and what is `omitted`."""
    body: dict[str, Any] = {name: raw for name, raw in request.native.items() if name not in omitted}
    body.pop("stream", None)
    body["model"] = request.model
    turns = bytes(body.get("messages", b""))
    if any(mark in turns for mark in _UNSIGNED):
        body["messages"] = [_without_unsigned(turn) for turn in msgspec.json.decode(turns)]
    return body


def _without_unsigned(turn: Any) -> Any:
    content = turn.get("content") if isinstance(turn, dict) else None
    if not isinstance(content, list):
        return turn
    kept = [block for block in content if not _is_unsigned(block)]
    # A turn must not be empty, and one that was nothing else says nothing either way.
    return {**turn, "content": kept or content}


def _is_unsigned(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "thinking" and block.get("signature") == ""


class NativeStream(MessageStream):
    """Reads the events of one message, and keeps each as it came."""

    def read_event(self, event: ServerSentEvent) -> StreamEvent | None:
        """Read one event; those of unknown types pass through too. Raises as `MessageStream` does."""
        found = super().read_event(event)
        if found is None:
            kind = kind_of(event.data)
            if kind is None:
                return None
            # Signatures, citations and the work of the vendor's own tools are as good a sign of an answer as text.
            found = StreamEvent(other_content=kind == "content_block_delta")
        found.native = _written(event)
        return found


def _written(event: ServerSentEvent) -> bytes:
    data = event.data.replace(b"\n", b"\ndata: ") if b"\n" in event.data else event.data
    return b"event: %b\ndata: %b\n\n" % (event.event, data) if event.event else b"data: %b\n\n" % data
