"""From OpenAI's list of messages to Anthropic's `system` and its turns of user and assistant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from providers.anthropic.content import Block, blocks_of, text_block
from providers.anthropic.refusals import members, refuse, text

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT = ("text",)
_USER = ("text", "image_url", "file")
_ASSISTANT = ("text", "refusal")
_COMMON = frozenset({"role", "content", "cache_control"})
# What an assistant's message repeats of an answer and no model is asked to read again. Reasoning without its signature
# is among it, because Anthropic takes none.
_ONLY_SHOWN = frozenset(
    {"annotations", "index", "parsed", "parsed_arguments", "reasoning", "reasoning_content", "reasoning_details"}
    | {"provider_specific_fields"}  # What litellm keeps of an answer.
)
_ASSISTANTS = _COMMON | _ONLY_SHOWN | {"refusal", "thinking_blocks", "tool_calls"}
# A tool's name stands in the call that the message answers.
_TOOLS = _COMMON | {"tool_call_id", "name", "is_error"}
_UNFIT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_THINKING = {"thinking": ("type", "thinking", "signature"), "redacted_thinking": ("type", "data")}


def conversation(messages: list[Any]) -> tuple[list[Block], list[dict[str, Any]]]:
    """Return the blocks of `system` and the turns.

    System and developer messages all go to `system`, in their order. Neighbours of one role become one turn, and in a
    turn of the user the results of tools come first. Raises `NotExpressible`.
    """
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        speaker, blocks = _read(message, f"messages[{number}]")
        if speaker == "system":
            system += blocks
        elif turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": speaker, "content": blocks})
    if not turns:
        refuse("messages", "must hold more than system messages")
    for turn in turns:
        turn["content"].sort(key=lambda block: turn["role"] == "user" and block["type"] != "tool_result")
    return system, turns


def _read(message: Any, where: str) -> tuple[str, list[Block]]:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(role, str) or role not in _ROLES:
        refuse(f"{where}.role", "must be system, developer, user, assistant or tool")
    speaker, read = _ROLES[role]
    blocks = read(message, where)
    if blocks and message.get("cache_control") is not None:
        # Beside a plain string there is no other place for it.
        blocks[-1]["cache_control"] = message["cache_control"]
    return speaker, blocks


def _system(message: dict[str, Any], where: str) -> list[Block]:
    return blocks_of(members(message, where, _COMMON).get("content"), f"{where}.content", _TEXT)


def _user(message: dict[str, Any], where: str) -> list[Block]:
    blocks = blocks_of(members(message, where, _COMMON).get("content"), f"{where}.content", _USER)
    if not blocks:
        refuse(f"{where}.content", "must not be empty")
    return blocks


def _assistant(message: dict[str, Any], where: str) -> list[Block]:
    fields = members(message, where, _ASSISTANTS)
    spoken = blocks_of(fields.get("content"), f"{where}.content", _ASSISTANT)
    if not spoken and fields.get("refusal"):
        spoken = [text_block(text(fields["refusal"], f"{where}.refusal"))]
    thoughts = _each(fields.get("thinking_blocks"), f"{where}.thinking_blocks", _thinking)
    return thoughts + spoken + _each(fields.get("tool_calls"), f"{where}.tool_calls", _tool_use)


def _tool(message: dict[str, Any], where: str) -> list[Block]:
    fields = members(message, where, _TOOLS)
    result: Block = {"type": "tool_result", "tool_use_id": _id(fields.get("tool_call_id"), f"{where}.tool_call_id")}
    content = blocks_of(fields.get("content"), f"{where}.content", _USER)
    if content:
        result["content"] = content
    if fields.get("is_error"):
        result["is_error"] = True
    return [result]


def _each(values: Any, where: str, read: Callable[[Any, str], Block]) -> list[Block]:
    if values is None:
        return []
    if not isinstance(values, list):
        refuse(where, "must be a list")
    return [read(value, f"{where}[{number}]") for number, value in enumerate(values)]


def _thinking(value: Any, where: str) -> Block:
    """Return a block as it was received; the model refuses the next turn of a tool's loop without its signature."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _THINKING:
        refuse(f"{where}.type", "must be thinking or redacted_thinking")
    # The index only served to put the pieces of a stream together.
    fields = members(value, where, {*_THINKING[kind], "index"})
    return {name: text(fields.get(name), f"{where}.{name}") for name in _THINKING[kind]}


def _tool_use(value: Any, where: str) -> Block:
    call = members(value, where, {"id", "type", "function", "index"})
    if call.get("type", "function") != "function":
        refuse(f"{where}.type")
    function = members(call.get("function"), f"{where}.function", {"name", "arguments", "parsed_arguments"})
    return {
        "type": "tool_use",
        "id": _id(call.get("id"), f"{where}.id"),
        "name": text(function.get("name"), f"{where}.function.name"),
        "input": _arguments(function.get("arguments", ""), f"{where}.function.arguments"),
    }


def _arguments(value: Any, where: str) -> dict[str, Any]:
    """Read the JSON of a call's arguments; nothing at all stands for no arguments."""
    if not text(value, where).strip():
        return {}
    try:
        arguments = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        refuse(where, "is not valid JSON")
    if not isinstance(arguments, dict):
        refuse(where, "must be a JSON object")
    return arguments


def _id(value: Any, where: str) -> str:
    """Return a call's id in the letters that Anthropic takes; ids of other vendors may have more."""
    if not text(value, where):
        refuse(where, "must not be empty")
    return _UNFIT_IN_ID.sub("_", value)


_ROLES: dict[str, tuple[str, Callable[[dict[str, Any], str], list[Block]]]] = {
    "system": ("system", _system),
    "developer": ("system", _system),
    "user": ("user", _user),
    "assistant": ("assistant", _assistant),
    "tool": ("user", _tool),
}
