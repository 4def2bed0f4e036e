"""From Anthropic's `system` and turns to OpenAI's list of messages."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from providers.anthropic.reverse.parts import HINTS, Part, block_parts, parts_of, plain, text_part
from providers.translation import members, refuse, text

Message = dict[str, Any]
_SHOWN = ("text", "image", "document")
# Only the model that wrote it can read it, and it is not asked here.
_REASONING = frozenset({"thinking", "redacted_thinking"})
_TURN = frozenset({"role", "content"})
_RESULT = frozenset({"type", "tool_use_id", "content", "is_error"})
_USE = frozenset({"type", "id", "name", "input", "caller"})
_SEE_NEXT = "The result is in the next message."
_ERROR = "Error: "
_IS_ERROR = re.compile("error", re.IGNORECASE)


def system_messages(system: Any) -> list[Message]:
    """Return the system message, whose blocks become one text: not every server takes parts there."""
    found = parts_of(system, "system", ("text",))
    return [{"role": "system", "content": "\n\n".join(part["text"] for part in found)}] if found else []


def messages_of(turns: list[Any]) -> list[Message]:
    """Return the messages of the turns. Raises `NotExpressible`.

    A turn's results of tools become messages of their own, before what else the user says in it.
    """
    return [message for number, turn in enumerate(turns) for message in _turn(turn, f"messages.{number}")]


def _turn(turn: Any, where: str) -> list[Message]:
    role = turn.get("role") if isinstance(turn, dict) else None
    if not isinstance(role, str) or role not in ("user", "assistant", "system"):
        refuse(f"{where}.role", "must be user or assistant")
    content = members(turn, where, _TURN, HINTS).get("content")
    if role == "user":
        return _user(content, f"{where}.content")
    if role == "assistant":
        return _assistant(content, f"{where}.content")
    parts = parts_of(content, f"{where}.content", ("text",))
    return [{"role": "system", "content": "\n\n".join(part["text"] for part in parts)}]


def _user(content: Any, where: str) -> list[Message]:
    if not isinstance(content, list):
        return _said(parts_of(content, where, _SHOWN), where)
    results: list[Message] = []
    pictures: list[Part] = []
    parts: list[Part] = []
    for number, block in enumerate(content):
        if isinstance(block, dict) and block.get("type") == "tool_result":
            message, shown = _result(block, f"{where}.{number}")
            results.append(message)
            pictures += shown
        else:
            parts += block_parts(block, f"{where}.{number}", _SHOWN)
    parts = pictures + parts
    return [*results, *_said(parts, where)] if parts or not results else results


def _said(parts: list[Part], where: str) -> list[Message]:
    if not parts:
        refuse(where, "must not be empty")
    return [{"role": "user", "content": plain(parts)}]


def _result(block: Any, where: str) -> tuple[Message, list[Part]]:
    """Return the message with a tool's result, and what of it only a user's message can carry: images and files."""
    fields = members(block, where, _RESULT, HINTS)
    call_id = text(fields.get("tool_use_id"), f"{where}.tool_use_id")
    parts = parts_of(fields.get("content"), f"{where}.content", _SHOWN)
    said = [part["text"] for part in parts if part["type"] == "text"]
    shown = [part for part in parts if part["type"] != "text"]
    content = "\n\n".join(said) or (_SEE_NEXT if shown else "")
    if fields.get("is_error") and not _IS_ERROR.match(content):
        # There is no other place that says so.
        content = _ERROR + content
    if shown:
        shown.insert(0, text_part(f"From the result of the tool call {call_id}:"))
    return {"role": "tool", "tool_call_id": call_id, "content": content}, shown


def _assistant(content: Any, where: str) -> list[Message]:
    blocks = content if isinstance(content, list) else []
    calls: list[dict[str, Any]] = []
    said: list[Part] = [] if blocks else parts_of(content, where, ("text",))
    for number, block in enumerate(blocks):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "tool_use":
            calls.append(_call(block, f"{where}.{number}"))
        elif not isinstance(kind, str) or kind not in _REASONING:
            said += block_parts(block, f"{where}.{number}", ("text",))
    spoken = "".join(part["text"] for part in said)
    if not calls:
        # A turn of which nothing is left was reasoning only.
        return [{"role": "assistant", "content": spoken}] if spoken else []
    return [{"role": "assistant", "content": spoken or None, "tool_calls": calls}]


def _call(block: Any, where: str) -> dict[str, Any]:
    fields = members(block, where, _USE, HINTS)
    arguments = fields.get("input", {})
    if not isinstance(arguments, dict):
        refuse(f"{where}.input", "must be an object")
    return {
        "id": text(fields.get("id"), f"{where}.id"),
        "type": "function",
        "function": {
            "name": text(fields.get("name"), f"{where}.name"),
            "arguments": msgspec.json.encode(arguments).decode(),
        },
    }
