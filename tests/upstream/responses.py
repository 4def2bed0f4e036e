"""Scripts of a provider that speaks OpenAI's Responses API itself: `up.responses = responses.answer("Hello")`."""

from __future__ import annotations

from typing import Any

from tests.upstream.frames import JsonObject, encode, split_text
from tests.upstream.recorded import Recorded
from tests.upstream.script import Script
from tests.upstream.steps import PerCall, Step, Whole

ID = "resp_up"
ENCRYPTED = "gAAAAB=="
_USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 12,
}


def document(output: list[JsonObject], **members: Any) -> JsonObject:
    """Return a whole response."""
    fixed = {"id": ID, "object": "response", "created_at": 1_700_000_000, "model": "gpt-4-2026", "status": "completed"}
    about = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "store": True, "of_a_vendor": [1.5]}
    return {**fixed, "output": output, **about, "error": None, "usage": _USAGE, **members}


def message(text: str, status: str = "completed") -> JsonObject:
    """Return an item with what was said."""
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_up", "role": "assistant", "status": status, "content": [part]}


def thought(text: str) -> JsonObject:
    """Return an item of reasoning that only the provider can read."""
    summary = [{"type": "summary_text", "text": text}]
    return {"type": "reasoning", "id": "rs_up", "summary": summary, "encrypted_content": ENCRYPTED}


def whole(
    text: str, *, reasoning: str = "", previous: str | None = None, calls: list[JsonObject] | None = None
) -> bytes:
    """Return the body of a whole response."""
    output = [*([thought(reasoning)] if reasoning else []), message(text), *(calls or [])]
    return encode(document(output, previous_response_id=previous))


def stream(text: str, *, reasoning: str = "", pieces: int = 4, previous: str | None = None) -> bytes:
    """Return the events of a response."""
    return b"".join(_numbered(_events(text, reasoning, pieces, previous)))


def broken(text: str = "Hello world", *, failed: bool = False) -> bytes:
    """Return the beginning of a response, up to the middle of its text; or one that then says that it `failed`."""
    events = _events(text, "", 4, None)[:6]
    if failed:
        error = {"code": "server_error", "message": "secret"}
        events.append(("response.failed", {"response": document([], status="failed", error=error)}))
    return b"".join(_numbered(events))


def answer(text: str = "Hello world", *, reasoning: str = "") -> Script:
    """Answer with text, streamed if the call asked for a stream; an earlier response is repeated as asked."""

    def choose(call: Recorded) -> list[Step]:
        previous = call.document.get("previous_response_id")
        if call.stream:
            return list(Script.sse(stream(text, reasoning=reasoning, previous=previous)).plan)
        return [Whole(whole(text, reasoning=reasoning, previous=previous))]

    return Script.steps(PerCall(choose))


def _events(text: str, reasoning: str, pieces: int, previous: str | None) -> list[tuple[str, JsonObject]]:
    begun = document([], status="in_progress", usage=None, previous_response_id=previous)
    output = [*([thought(reasoning)] if reasoning else []), message(text)]
    place = len(output) - 1
    said = {"item_id": "msg_up", "output_index": place, "content_index": 0}
    thinking: list[tuple[str, JsonObject]] = [
        ("response.output_item.added", {"output_index": 0, "item": {**thought(""), "summary": []}}),
        ("response.output_item.done", {"output_index": 0, "item": thought(reasoning)}),
    ]
    part = {"type": "output_text", "text": text, "annotations": []}
    return [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        *(thinking if reasoning else []),
        ("response.output_item.added", {"output_index": place, "item": message("", "in_progress") | {"content": []}}),
        ("response.content_part.added", {**said, "part": {**part, "text": ""}}),
        *(
            ("response.output_text.delta", {**said, "delta": piece, "logprobs": [], "obfuscation": "x"})
            for piece in split_text(text, pieces)
        ),
        ("response.output_text.done", {**said, "text": text, "logprobs": []}),
        ("response.content_part.done", {**said, "part": part}),
        ("response.output_item.done", {"output_index": place, "item": message(text)}),
        ("response.completed", {"response": document(output, previous_response_id=previous)}),
    ]


def _numbered(events: list[tuple[str, JsonObject]]) -> list[bytes]:
    return [
        b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields, "sequence_number": number}))
        for number, (kind, fields) in enumerate(events)
    ]
