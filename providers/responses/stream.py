"""From the gateway's own events to those of a response, numbered, in the order that the vendor documents.

Text and reasoning are one item at a time: it is added, its parts come in deltas, it is done. Calls may come in mixed
pieces; each is an item of its own, told apart by `output_index`, and all of them are done at the end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from providers.responses.binding import sealed
from providers.responses.items import thinking_content
from providers.wire import beside_text, call_piece

if TYPE_CHECKING:
    from collections.abc import Mapping

    from providers.base import StreamEvent, Usage
    from providers.wire import CallPiece

Event = dict[str, Any]
# With it begin the ids of reasoning that was translated, which no provider of this API knows.
TRANSLATED_REASONING: Final = "rs_lb_"
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What a response repeats of its request, and what each is when the request does not say.
_REPEATED: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_NULL: Final = b"null"


class _Part:
    """A part of an item in the making; `kind` is its type, which also names its events and its member of text."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.pieces: list[str] = []

    def written(self) -> Event:
        said = "".join(self.pieces)
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": said}
        if self.kind == "reasoning_text":
            return {"type": "reasoning_text", "text": said}
        return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


class _Item:
    """An item of the output in the making."""

    def __init__(self, kind: str, index: int, id_: str) -> None:
        self.kind = kind
        self.index = index
        self.id = id_
        self.status = "in_progress"
        self.parts: list[_Part] = []
        self.blocks: list[dict[str, Any]] = []
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []

    def written(self, tag: str) -> Event:
        common = {"id": self.id, "type": self.kind, "status": self.status}
        parts = [part.written() for part in self.parts]
        if self.kind == "message":
            return {**common, "role": "assistant", "content": parts}
        if self.kind == "reasoning":
            hidden = {"encrypted_content": sealed(tag, thinking_content(self.blocks))} if self.blocks else {}
            return {**common, "summary": [], "content": parts, **hidden}
        return {**common, "call_id": self.call_id, "name": self.name, "arguments": "".join(self.arguments)}


class ResponseWriter:
    """Turns the events of one answer into those of a response. `start` first, then `events`, then `end` or `fail`.

    `tag` is the provider's, `asked` are the fields of the request, which a response repeats.
    """

    def __init__(self, id_: str, tag: str, asked: Mapping[str, Any]) -> None:
        self._id = id_
        self._tag = tag
        self._asked = asked
        self._created = int(time.time())
        self._model = ""
        self._number = 0
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._refused = False

    def start(self, model: str) -> list[Event]:
        """Return the events that begin the response."""
        self._model = model
        response = self._response("in_progress", [])
        return [self.event(f"response.{kind}", response=response) for kind in ("created", "in_progress")]

    def events(self, event: StreamEvent) -> list[Event]:
        """Return what one event becomes."""
        out: list[Event] = []
        thought = event.reasoning or (beside_text(event.raw)[0] if event.other_content else "")
        for kind, said in (
            ("reasoning_text", thought),
            ("output_text", event.content),
            ("refusal", event.refusal),
        ):
            if said:
                out += self._piece(kind, said)
            if kind == "reasoning_text" and event.thinking_blocks:
                out += self._signed(event.thinking_blocks)
        for number, call in enumerate(event.tool_calls or ()):
            out += self._call(call_piece(call, number))
        return out

    def end(self, finish_reason: str | None, usage: Usage) -> list[Event]:
        """Return what ends the response: what is left of its items, and the whole of it."""
        reason = _INCOMPLETE.get(finish_reason or "")
        if reason == "content_filter" and self._refused:
            # The model declined by itself, and said so to the end.
            reason = None
        status = "incomplete" if reason else "completed"
        out = self._close(status)
        for item in self._items:
            if item.kind == "function_call":
                out += self._done(item, status)
        output = [item.written(self._tag) for item in self._items]
        response = self._response(status, output, usage=usage_fields(usage))
        if reason:
            response["incomplete_details"] = {"reason": reason}
        else:
            response["completed_at"] = int(time.time())
        return [*out, self.event(f"response.{status}", response=response)]

    def fail(self, error: Event, usage: Usage) -> list[Event]:
        """Return the event of a response that broke off; `error` has a `code` and a `message`."""
        for item in self._items:
            item.status = "completed" if item.status == "completed" else "incomplete"
        output = [item.written(self._tag) for item in self._items]
        response = self._response("failed", output, error=error, usage=usage_fields(usage))
        return [self.event("response.failed", response=response)]

    def _piece(self, kind: str, piece: str) -> list[Event]:
        """Return the next piece of text, reasoning or a refusal, which may begin an item or a part."""
        self._refused = self._refused or kind == "refusal"
        holder = "reasoning" if kind == "reasoning_text" else "message"
        out: list[Event] = []
        item = self._open
        # Reasoning behind a signature is another block.
        if item is None or item.kind != holder or item.blocks:
            out += self._close("completed")
            item = self._open = self._new(holder)
            out.append(self._added(item))
        if not item.parts or item.parts[-1].kind != kind:
            out += self._part_done(item)
            item.parts.append(_Part(kind))
            out.append(self._of_part("response.content_part.added", item, part=item.parts[-1].written()))
        item.parts[-1].pieces.append(piece)
        beside: Event = {"logprobs": []} if kind == "output_text" else {}
        return [*out, self._of_part(f"response.{kind}.delta", item, delta=piece, **beside)]

    def _signed(self, blocks: list[dict[str, Any]]) -> list[Event]:
        """Take signed or hidden reasoning into its item, where the client keeps it unread."""
        out: list[Event] = []
        item = self._open
        if item is None or item.kind != "reasoning":
            out += self._close("completed")
            item = self._open = self._new("reasoning")
            out.append(self._added(item))
        item.blocks += [{name: value for name, value in block.items() if name != "index"} for block in blocks]
        return out

    def _call(self, piece: CallPiece) -> list[Event]:
        item = self._calls.get(piece.key)
        out: list[Event] = []
        if item is None or piece.is_another_than(item.call_id):
            out += self._close("completed")
            item = self._calls[piece.key] = self._new("function_call")
            item.call_id = piece.id or f"call_{item.id}"
            item.name = piece.name
            out.append(self._added(item))
        item.name = item.name or piece.name
        if piece.arguments:
            item.arguments.append(piece.arguments)
            out.append(self._of_item("response.function_call_arguments.delta", item, delta=piece.arguments))
        return out

    def _close(self, status: str) -> list[Event]:
        """Return the end of the text or the reasoning that is open."""
        item, self._open = self._open, None
        return [] if item is None else [*self._part_done(item), *self._done(item, status)]

    def _part_done(self, item: _Item) -> list[Event]:
        if not item.parts:
            return []
        part = item.parts[-1]
        written = part.written()
        said = {"refusal": written["refusal"]} if part.kind == "refusal" else {"text": written["text"]}
        beside: Event = {"logprobs": []} if part.kind == "output_text" else {}
        return [
            self._of_part(f"response.{part.kind}.done", item, **said, **beside),
            self._of_part("response.content_part.done", item, part=written),
        ]

    def _done(self, item: _Item, status: str) -> list[Event]:
        out: list[Event] = []
        item.status = status
        written = item.written(self._tag)
        if item.kind == "function_call":
            told = {"name": item.name, "arguments": written["arguments"]}
            out.append(self._of_item("response.function_call_arguments.done", item, **told))
        return [*out, self.event("response.output_item.done", output_index=item.index, item=written)]

    def _new(self, kind: str) -> _Item:
        index = len(self._items)
        prefix = {"message": "msg_", "reasoning": TRANSLATED_REASONING, "function_call": "fc_"}[kind]
        item = _Item(kind, index, f"{prefix}{self._id.removeprefix('resp_')}_{index}")
        self._items.append(item)
        return item

    def _added(self, item: _Item) -> Event:
        return self.event("response.output_item.added", output_index=item.index, item=item.written(self._tag))

    def _of_item(self, kind: str, item: _Item, **members: Any) -> Event:
        return self.event(kind, item_id=item.id, output_index=item.index, **members)

    def _of_part(self, kind: str, item: _Item, **members: Any) -> Event:
        return self._of_item(kind, item, content_index=len(item.parts) - 1, **members)

    def event(self, kind: str, **members: Any) -> Event:
        """Return an event with the next number."""
        number, self._number = self._number, self._number + 1
        return {"type": kind, "sequence_number": number, **members}

    def _response(
        self, status: str, output: list[Event], *, error: Event | None = None, usage: Event | None = None
    ) -> Event:
        given = {
            name: self._asked[name] for name in _REPEATED if name in self._asked and not _is_null(self._asked[name])
        }
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": None,
            "model": self._model,
            "output": output,
            "previous_response_id": None,
            # Nothing is kept, whatever was asked for.
            "store": False,
            **_REPEATED,
            **given,
            "usage": usage,
        }


def usage_fields(usage: Usage) -> Event:
    """Return the usage object of a response."""
    fields: Event = {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_creation_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
    return {**fields, "usage_estimated": True} if usage.estimated else fields


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, msgspec.Raw) and bytes(value) == _NULL)
