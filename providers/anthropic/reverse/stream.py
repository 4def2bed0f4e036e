"""From the gateway's own events to those of a message of Anthropic's, in the order that the vendor documents.

One block is open at a time: `content_block_start`, its deltas, `content_block_stop`. OpenAI's dialect may mix the
pieces of several tool calls; then the first goes on as it comes, and what cannot follow it yet waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from providers.anthropic.reverse.answer import call_id, stop_reason, usage_fields
from providers.wire import beside_text, call_piece

if TYPE_CHECKING:
    from providers.base import StreamEvent, Usage
    from providers.wire import CallPiece

Event = dict[str, Any]
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeError, RecursionError)


class _Block:
    """A block that is open or waits. `key` is what further pieces of it are known by."""

    __slots__ = ("id", "key", "kind", "name", "pieces")

    def __init__(self, kind: str, key: Any) -> None:
        self.kind = kind
        self.key = key
        self.id: Any = None
        self.name = ""
        self.pieces: list[str] = []

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it can follow: of a call, when its arguments are whole JSON."""
        if self.kind != "tool_use":
            return True
        try:
            return isinstance(msgspec.json.decode("".join(self.pieces)), dict)
        except _DECODE_ERRORS:
            return False


class MessageWriter:
    """Turns the events of one answer into Anthropic's. `start` first, then `events` for each, then `end`."""

    def __init__(self, id_: str) -> None:
        self._id = id_
        self._blocks = 0
        self._calls = 0
        self._open: _Block | None = None
        self._waiting: list[_Block] = []
        self._done_keys: set[Any] = set()
        self._refused = False
        self.is_begun = False

    def start(self, model: str, usage: Usage) -> list[Event]:
        """Return the event that begins the message. `usage` is what is known, or estimated, of the prompt."""
        self.is_begun = True
        message: Event = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage_fields(usage), "output_tokens": 0},
        }
        return [{"type": "message_start", "message": message}]

    def events(self, event: StreamEvent) -> list[Event]:
        """Return what one event becomes."""
        out: list[Event] = []
        thought = event.reasoning or (beside_text(event.raw)[0] if event.other_content else "")
        if thought:
            out += self._piece("thinking", thought)
        for block in event.thinking_blocks or ():
            out += self._signed(block)
        for said in (event.content, event.refusal):
            if said:
                out += self._piece("text", said)
        self._refused = self._refused or bool(event.refusal)
        for number, call in enumerate(event.tool_calls or ()):
            out += self._call(call_piece(call, number))
        return out

    def end(self, finish_reason: str | None, usage: Usage) -> list[Event]:
        """Return what ends the message: the blocks that are left, the reason, the tokens."""
        out = self._close()
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            out += self._begin(block)
            out += self._close()
        reason = stop_reason(finish_reason, called=self._calls > 0, refused=self._refused)
        delta = {"stop_reason": reason, "stop_sequence": None}
        out.append({"type": "message_delta", "delta": delta, "usage": usage_fields(usage)})
        return [*out, {"type": "message_stop"}]

    def _piece(self, kind: str, piece: str) -> list[Event]:
        """Return the next piece of text or reasoning, which begins a block unless one of its kind is open."""
        if self._open is not None and self._open.kind == kind and not self._waiting:
            return [self._delta(self._open, piece)]
        if self._waiting and self._waiting[-1].kind == kind:
            self._waiting[-1].pieces.append(piece)
            return []
        block = _Block(kind, kind)
        block.pieces.append(piece)
        return self._next(block)

    def _signed(self, block: dict[str, Any]) -> list[Event]:
        """Return the end of a block of reasoning, which has its signature, or a block of what is hidden."""
        if block.get("type") == "redacted_thinking":
            out = self._close()
            begun = {"type": "redacted_thinking", "data": block.get("data", "")}
            return [*out, self._start(begun), self._stop()]
        out = [] if self._open is not None and self._open.kind == "thinking" else self._next(_Block("thinking", None))
        signature = {"type": "signature_delta", "signature": block.get("signature", "")}
        return [*out, {"type": "content_block_delta", "index": self._blocks, "delta": signature}, *self._close()]

    def _call(self, piece: CallPiece) -> list[Event]:
        block = self._known(piece.key)
        if block is None or piece.is_another_than(block.id):
            if block is None and piece.key in self._done_keys and not piece.name:
                # Its arguments were whole, so that this can only be blanks.
                return []
            block = _Block("tool_use", piece.key)
            block.id, block.name = piece.id, piece.name
            block.pieces.append(piece.arguments)
            return self._next(block)
        block.name = block.name or piece.name
        if block is self._open:
            return [self._delta(block, piece.arguments)] if piece.arguments else []
        block.pieces.append(piece.arguments)
        return []

    def _known(self, key: int) -> _Block | None:
        """Return the last call that has this key and may have more pieces."""
        known = [self._open] if self._open is not None else []
        return next((b for b in reversed([*known, *self._waiting]) if b.kind == "tool_use" and b.key == key), None)

    def _next(self, block: _Block) -> list[Event]:
        """Begin a block, or let it wait when one that is not whole is open."""
        if self._waiting or (self._open is not None and not self._open.is_complete):
            self._waiting.append(block)
            return []
        return [*self._close(), *self._begin(block)]

    def _begin(self, block: _Block) -> list[Event]:
        self._open = block
        if block.kind == "tool_use":
            id_ = call_id(block.id, self._calls)
            self._calls += 1
            begun: Event = {"type": "tool_use", "id": id_, "name": block.name, "input": {}}
        elif block.kind == "text":
            begun = {"type": "text", "text": ""}
        else:
            begun = {"type": "thinking", "thinking": "", "signature": ""}
        pieces, block.pieces = "".join(block.pieces), []
        return [self._start(begun), *([self._delta(block, pieces)] if pieces else [])]

    def _delta(self, block: _Block, piece: str) -> Event:
        if block.kind == "tool_use":
            block.pieces.append(piece)
            delta = {"type": "input_json_delta", "partial_json": piece}
        elif block.kind == "text":
            delta = {"type": "text_delta", "text": piece}
        else:
            delta = {"type": "thinking_delta", "thinking": piece}
        return {"type": "content_block_delta", "index": self._blocks, "delta": delta}

    def _start(self, begun: Event) -> Event:
        return {"type": "content_block_start", "index": self._blocks, "content_block": begun}

    def _stop(self) -> Event:
        index, self._blocks = self._blocks, self._blocks + 1
        return {"type": "content_block_stop", "index": index}

    def _close(self) -> list[Event]:
        closed, self._open = self._open, None
        if closed is None:
            return []
        self._done_keys.add(closed.key)
        return [self._stop()]
