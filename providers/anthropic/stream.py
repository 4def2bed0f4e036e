"""From Anthropic's stream of events to the gateway's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from providers import errors, vendor_errors
from providers.anthropic.answer import (
    TokenCount,
    arguments_of,
    finish_reason,
    refusal_of,
    thinking_block,
    tool_call,
)
from providers.base import StreamEvent
from providers.http import StreamedAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from providers.sse import ServerSentEvent

# Reasoning is kept until its signature comes. This is many times what any model thinks.
MAX_THINKING_CHARS = 8 << 20
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Kind(msgspec.Struct, gc=False):
    type: str = ""


class _Message(msgspec.Struct, gc=False):
    model: str = ""
    usage: dict[str, Any] | None = None


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None
    stop_details: dict[str, Any] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: dict[str, Any] | None = None
    delta: _Delta | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_kind = msgspec.json.Decoder(_Kind).decode
_NO_DELTA = _Delta()


class _OpenBlock:
    """A content block that has begun; `number` is its place among those of its kind, as OpenAI counts."""

    __slots__ = ("block", "has_arguments", "number", "signature", "thinking")

    def __init__(self, block: dict[str, Any], number: int) -> None:
        self.block = block
        self.number = number
        self.has_arguments = False
        self.thinking: list[str] = []
        self.signature: list[str] = []


class MessageStream(StreamedAnswer):
    """Reads the events of one streamed message. Types of events, blocks and deltas that it does not know are left out.

    A `ping` becomes an event without content, which shows that the provider is alive.
    """

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[int, _OpenBlock] = {}
        self._tools = 0
        self._thoughts = 0
        self._thinking_chars = 0
        self._model = ""
        self._count = TokenCount()
        self._finish_reason: str | None = None

    @property
    def finished(self) -> bool:
        """Whether a stop reason has come."""
        return self._finish_reason is not None

    def read_event(self, event: ServerSentEvent) -> StreamEvent | None:
        """Read one event; raises the typed error that an `error` event stands for."""
        try:
            fields = _decode(event.data)
        except _DECODE_ERRORS as exc:
            if kind_of(event.data) in (None, *_READERS):
                self.malformed(exc)
            return None
        if fields.type == "error" or (not fields.type and fields.error):
            raise vendor_errors.from_event(fields.error)
        read = _READERS.get(fields.type)
        found = read(self, fields) if read is not None else None
        if found is not None:
            found.model = self._model
        return found

    def _ping(self, _: _Event) -> StreamEvent:
        return StreamEvent()

    def _message_start(self, event: _Event) -> StreamEvent:
        message = event.message or _Message()
        self._model = message.model
        self._count.update(message.usage)
        return StreamEvent(usage=self._count.usage(final=False) if message.usage else None)

    def _block_start(self, event: _Event) -> StreamEvent | None:
        block = event.content_block or {}
        kind = block.get("type")
        if kind == "tool_use":
            opened = self._open[event.index] = _OpenBlock(block, self._tools)
            self._tools += 1
            return StreamEvent(tool_calls=[{"index": opened.number, **tool_call(block, "")}])
        if kind in ("thinking", "redacted_thinking"):
            self._open[event.index] = _OpenBlock(block, self._thoughts)
            self._thoughts += 1
            # The model has begun to answer, although it may show nothing of its reasoning for minutes.
            return StreamEvent(other_content=True)
        text = block.get("text") if kind == "text" else None
        return StreamEvent(content=text) if isinstance(text, str) and text else None

    def _block_delta(self, event: _Event) -> StreamEvent | None:
        delta = event.delta or _NO_DELTA
        if delta.type == "text_delta":
            return StreamEvent(content=delta.text)
        opened = self._open.get(event.index)
        if opened is None:
            return None
        if delta.type == "input_json_delta" and delta.partial_json:
            opened.has_arguments = True
            return StreamEvent(tool_calls=[_more_arguments(opened, delta.partial_json)])
        if delta.type == "thinking_delta":
            self._keep(opened.thinking, delta.thinking)
            return StreamEvent(reasoning=delta.thinking)
        if delta.type == "signature_delta":
            self._keep(opened.signature, delta.signature)
        return None

    def _keep(self, pieces: list[str], piece: str) -> None:
        self._thinking_chars += len(piece)
        if self._thinking_chars > MAX_THINKING_CHARS:
            msg = "the reasoning is too long"
            raise errors.UnreadableAnswer(msg)
        pieces.append(piece)

    def _block_stop(self, event: _Event) -> StreamEvent | None:
        opened = self._open.pop(event.index, None)
        if opened is None:
            return None
        block = opened.block
        if block["type"] == "tool_use":
            if opened.has_arguments:
                return None
            # A call without arguments brings no delta, and clients read the empty string as broken JSON.
            return StreamEvent(tool_calls=[_more_arguments(opened, arguments_of(block))])
        begun = thinking_block(block)
        for name, pieces in (("thinking", opened.thinking), ("signature", opened.signature)):
            if pieces:
                begun[name] = begun.get(name, "") + "".join(pieces)
        return StreamEvent(thinking_blocks=[{"index": opened.number, **begun}])

    def _message_delta(self, event: _Event) -> StreamEvent:
        delta = event.delta or _NO_DELTA
        self._count.update(event.usage)
        found = StreamEvent(usage=self._count.usage(final=True) if event.usage else None)
        if delta.stop_reason is not None and self._finish_reason is None:
            found.finish_reason = self._finish_reason = finish_reason(delta.stop_reason)
            found.refusal = refusal_of(delta.stop_details)
        return found

    def _message_stop(self, _: _Event) -> None:
        self.done = True


def kind_of(data: bytes) -> str | None:
    """Return the type of any event; None when it has none or is no event at all."""
    try:
        return _decode_kind(data).type or None
    except _DECODE_ERRORS:
        return None


def _more_arguments(opened: _OpenBlock, arguments: str) -> dict[str, Any]:
    return {"index": opened.number, "function": {"arguments": arguments}}


_READERS: dict[str, Callable[[MessageStream, _Event], StreamEvent | None]] = {
    "ping": MessageStream._ping,  # noqa: SLF001 - the table is a part of the class.
    "message_start": MessageStream._message_start,  # noqa: SLF001
    "content_block_start": MessageStream._block_start,  # noqa: SLF001
    "content_block_delta": MessageStream._block_delta,  # noqa: SLF001
    "content_block_stop": MessageStream._block_stop,  # noqa: SLF001
    "message_delta": MessageStream._message_delta,  # noqa: SLF001
    "message_stop": MessageStream._message_stop,  # noqa: SLF001
}
