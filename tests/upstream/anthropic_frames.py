"""The JSON documents and events of Anthropic's dialect, as an upstream sends them (Anthropic API reference)."""

from __future__ import annotations

import json
from typing import Any

from tests.upstream.frames import JsonObject, split_text

MODEL = "claude-sonnet-4-5-20250929"
PING: JsonObject = {"type": "ping"}
STOP: JsonObject = {"type": "message_stop"}


def sse(*events: JsonObject) -> bytes:
    """Return events as they stand on the wire."""
    lines = [f"event: {event.get('type', '')}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
    return "".join(lines).encode()


def begin(**usage: Any) -> JsonObject:
    """Return the event that begins a message."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    counted = {"input_tokens": 7, "output_tokens": 1, **usage}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "usage": counted}}


def start(index: int, block: JsonObject) -> JsonObject:
    """Return the event that begins a block."""
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, value: Any) -> JsonObject:
    """Return a piece of a block: `text`, `thinking`, `signature` or `input_json`."""
    name = "partial_json" if kind == "input_json" else kind
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", name: value}}


def stop(index: int) -> JsonObject:
    """Return the event that ends a block."""
    return {"type": "content_block_stop", "index": index}


def end(reason: str | None = "end_turn", usage: JsonObject | None = None, **members: Any) -> JsonObject:
    """Return the event that says why a message ended."""
    counted = {"output_tokens": 5} if usage is None else usage
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None, **members},
        "usage": counted,
    }


def text_block(index: int, *pieces: str) -> list[JsonObject]:
    """Return the events of a block of text."""
    return [start(index, {"type": "text", "text": ""}), *(delta(index, "text", piece) for piece in pieces), stop(index)]


def tool_block(index: int, name: str, id_: str, *pieces: str) -> list[JsonObject]:
    """Return the events of a tool call; as in reality, the first piece of its arguments is empty."""
    block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
    return [start(index, block), *(delta(index, "input_json", piece) for piece in ("", *pieces)), stop(index)]


def thinking_block(index: int, signature: str, *pieces: str) -> list[JsonObject]:
    """Return the events of a block of reasoning."""
    opening = start(index, {"type": "thinking", "thinking": "", "signature": ""})
    told = [delta(index, "thinking", piece) for piece in pieces]
    return [opening, *told, delta(index, "signature", signature), stop(index)]


def blocks_of(content: list[JsonObject]) -> list[JsonObject]:
    """Return the events of whole blocks, each in a few pieces."""
    events = []
    for index, block in enumerate(content):
        if block["type"] == "text":
            events += text_block(index, *split_text(block["text"], 4))
        elif block["type"] == "tool_use":
            written = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
            events += tool_block(index, block["name"], block["id"], *split_text(written, 3))
        elif block["type"] == "thinking":
            events += thinking_block(index, block["signature"], *split_text(block["thinking"], 2))
        else:
            events += [start(index, block), stop(index)]
    return events


def message(content: list[JsonObject], stop_reason: str = "end_turn", **members: Any) -> JsonObject:
    """Return a whole answer."""
    answer: JsonObject = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": content}
    counted = {"input_tokens": 7, "output_tokens": 5}
    return {**answer, "stop_reason": stop_reason, "stop_sequence": None, "usage": counted, **members}


def error(kind: str, text: str = "No.", **members: Any) -> JsonObject:
    """Return an error, as the body of an answer or as an event."""
    return {"type": "error", "error": {"type": kind, "message": text, **members}, "request_id": "req_upstream"}


def model_page(names: list[str], *, after: str | None, limit: int) -> JsonObject:
    """Return the page of the list of models that follows the model `after`."""
    first = names.index(after) + 1 if after in names else 0
    shown = names[first : first + limit]
    entries = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-09-29T00:00:00Z"} for name in shown
    ]
    ends = {"first_id": shown[0] if shown else None, "last_id": shown[-1] if shown else None}
    return {"data": entries, "has_more": first + limit < len(names), **ends}
