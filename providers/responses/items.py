"""From the items of `input` to the messages of a chat completion."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import msgspec

from providers.translation import listed, members, refuse, text

if TYPE_CHECKING:
    from collections.abc import Callable

Message = dict[str, Any]
Part = dict[str, Any]
# Signed reasoning of another dialect travels as encrypted content; what follows is JSON in base64.
THINKING: Final = "thinking:"
_ROLES: Final = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
# The packages of the vendor add the last one to a call, and `parsed` to a text, when they read structured output
# (`ParsedResponseFunctionToolCall` and `ParsedResponseOutputText` in openai-python, `ResponsesParser` in openai-node).
_SAID_BY_ITEM: Final = ("id", "status", "phase", "parsed_arguments")
_TEXT_HINTS: Final = ("annotations", "logprobs", "parsed", "prompt_cache_breakpoint")
_SEE_NEXT: Final = "The result is in the next message."


def messages_of(value: Any) -> list[Message]:
    """Return the messages of an `input`, a text or a list of items. Raises `NotExpressible`.

    What the model said and called between two other items becomes one message of the assistant.
    """
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    history = _History()
    for number, item in enumerate(listed(value, "input")):
        history.add(item, f"input[{number}]")
    return history.end()


def thinking_content(blocks: list[dict[str, Any]]) -> str:
    """Return signed reasoning in the form of encrypted content, which `messages_of` reads again."""
    return THINKING + base64.b64encode(msgspec.json.encode(blocks)).decode()


class _Turn:
    """What the model did in one go."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.refused: list[str] = []
        self.thought: list[str] = []
        self.thinking_blocks: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []

    def messages(self) -> list[Message]:
        """Return the message; none if nothing is left, as of reasoning alone."""
        if not (self.said or self.refused or self.calls):
            return []
        said = "".join(self.said)
        message: Message = {"role": "assistant", "content": said if said or not (self.calls or self.refused) else None}
        if self.refused:
            message["refusal"] = "".join(self.refused)
        if self.calls:
            message["tool_calls"] = self.calls
            if self.thought:
                # Models that think between calls lose the thread without it; elsewhere none wants to read it again.
                message["reasoning_content"] = "".join(self.thought)
        if self.thinking_blocks:
            message["thinking_blocks"] = self.thinking_blocks
        return [message]


class _History:
    """Messages in the making."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._turn = _Turn()
        self._shown: list[Part] = []

    def add(self, item: Any, where: str) -> None:
        """Take the next item."""
        kind = item.get("type") if isinstance(item, dict) else None
        if kind is None and isinstance(item, dict) and "role" in item:
            kind = "message"
        read = _ITEMS.get(kind) if isinstance(kind, str) else None
        if read is None:
            refuse(f"{where}.type")
        read(self, item, where)

    def end(self) -> list[Message]:
        """Return all messages."""
        self._end_turn()
        self._show()
        return self._messages

    def message(self, item: Any, where: str) -> None:
        """Take what somebody said."""
        fields = members(item, where, {"type", "role", "content"}, _SAID_BY_ITEM)
        role = _ROLES.get(text(fields.get("role"), f"{where}.role"))
        if role is None:
            refuse(f"{where}.role", "must be user, assistant, system or developer")
        content, at = fields.get("content"), f"{where}.content"
        if role == "assistant":
            self._said(content, at)
            return
        self._end_turn()
        self._show()
        if isinstance(content, str):
            said: str | list[Part] = content
        else:
            said = _plain([_part(part, f"{at}[{n}]") for n, part in enumerate(listed(content, at))])
        if role == "system" and not isinstance(said, str):
            if any(part["type"] != "text" for part in said):
                refuse(at, "must be text")
            said = "\n\n".join(part["text"] for part in said)
        self._messages.append({"role": role, "content": said})

    def _said(self, content: Any, where: str) -> None:
        self._show()
        if self._turn.said and not self._turn.calls:
            self._end_turn()
        if isinstance(content, str):
            self._turn.said.append(content)
            return
        for number, part in enumerate(listed(content, where)):
            at = f"{where}[{number}]"
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "refusal":
                self._turn.refused.append(text(members(part, at, {"type", "refusal"}).get("refusal"), f"{at}.refusal"))
            elif kind in _TEXTS:
                self._turn.said.append(_text(part, at)["text"])
            else:
                refuse(f"{at}.type")

    def call(self, item: Any, where: str) -> None:
        """Take a call of a tool."""
        self._show()
        fields = members(item, where, {"type", "call_id", "name", "arguments"}, _SAID_BY_ITEM)
        function = {name: text(fields.get(name), f"{where}.{name}") for name in ("name", "arguments")}
        call_id = text(fields.get("call_id"), f"{where}.call_id")
        self._turn.calls.append({"id": call_id, "type": "function", "function": function})

    def result(self, item: Any, where: str) -> None:
        """Take what a tool gave."""
        fields = members(item, where, {"type", "call_id", "output"}, (*_SAID_BY_ITEM, "name"))
        call_id = text(fields.get("call_id"), f"{where}.call_id")
        self._end_turn()
        output, at = fields.get("output"), f"{where}.output"
        if not isinstance(output, str):
            parts = [_part(part, f"{at}[{number}]") for number, part in enumerate(listed(output, at))]
            shown = [part for part in parts if part["type"] != "text"]
            output = "\n\n".join(part["text"] for part in parts if part["type"] == "text")
            if shown:
                # Only a message of the user can carry them.
                self._shown += [text_part(f"From the result of the tool call {call_id}:"), *shown]
                output = output or _SEE_NEXT
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": output})

    def reasoning(self, item: Any, where: str) -> None:
        """Take what the model thought."""
        self._show()
        fields = members(item, where, {"type", "summary", "content", "encrypted_content"}, _SAID_BY_ITEM)
        hidden = text(fields.get("encrypted_content", ""), f"{where}.encrypted_content")
        if hidden.startswith(THINKING):
            self._turn.thinking_blocks += _thinking_blocks(hidden, f"{where}.encrypted_content")
        elif hidden:
            refuse(f"{where}.encrypted_content", "can only be read by the provider that made it; leave the item out")
        thought = _thoughts(fields.get("content"), f"{where}.content", "reasoning_text")
        self._turn.thought += thought or _thoughts(fields.get("summary"), f"{where}.summary", "summary_text")

    def reference(self, _: Any, where: str) -> None:
        """Refuse an item that is only named."""
        refuse(f"{where}.type", "nothing is kept that it could refer to; send the item itself")

    def _end_turn(self) -> None:
        self._messages += self._turn.messages()
        self._turn = _Turn()

    def _show(self) -> None:
        """Show the images and files of the results before, which have to stand after all of them."""
        if self._shown:
            self._messages.append({"role": "user", "content": self._shown})
            self._shown = []


def text_part(content: str) -> Part:
    """Return a part of text."""
    return {"type": "text", "text": content}


def _plain(parts: list[Part]) -> str | list[Part]:
    """Return a message's content: the text alone where that is all, since every server takes a string."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        said: str = parts[0]["text"]
        return said
    return parts


def _thoughts(value: Any, where: str, kind: str) -> list[str]:
    found = []
    for number, part in enumerate(listed(value if value is not None else [], where)):
        at = f"{where}[{number}]"
        fields = members(part, at, {"type", "text"})
        if fields.get("type") != kind:
            refuse(f"{at}.type", f"must be {kind}")
        found.append(text(fields.get("text"), f"{at}.text"))
    return found


def _thinking_blocks(hidden: str, where: str) -> list[dict[str, Any]]:
    try:
        blocks: list[dict[str, Any]] = msgspec.json.decode(
            base64.b64decode(hidden.removeprefix(THINKING), validate=True), type=list[dict[str, Any]]
        )
    except (ValueError, RecursionError):
        refuse(where, "is not as it was received")
    return blocks


def _part(part: Any, where: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    if read is None:
        refuse(f"{where}.type")
    return read(part, where)


def _text(part: Any, where: str) -> Part:
    fields = members(part, where, {"type", "text"}, _TEXT_HINTS)
    return text_part(text(fields.get("text"), f"{where}.text"))


def _image(part: Any, where: str) -> Part:
    fields = members(part, where, {"type", "image_url", "detail"}, _TEXT_HINTS)
    image = {"url": text(fields.get("image_url"), f"{where}.image_url")}
    detail = text(fields.get("detail", "auto"), f"{where}.detail")
    return {"type": "image_url", "image_url": image if detail == "auto" else {**image, "detail": detail}}


def _file(part: Any, where: str) -> Part:
    fields = members(part, where, {"type", "file_data", "filename"}, _TEXT_HINTS)
    file = {"file_data": text(fields.get("file_data"), f"{where}.file_data")}
    if "filename" in fields:
        file["filename"] = text(fields["filename"], f"{where}.filename")
    return {"type": "file", "file": file}


def _audio(part: Any, where: str) -> Part:
    fields = members(part, where, {"type", "input_audio"})
    sound = members(fields.get("input_audio"), f"{where}.input_audio", {"data", "format"})
    return {"type": "input_audio", "input_audio": sound}


_TEXTS: Final = ("input_text", "output_text", "text")
_PARTS: Final[dict[str, Callable[[Any, str], Part]]] = {
    **dict.fromkeys(_TEXTS, _text),
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}
_ITEMS: Final[dict[str, Callable[[_History, Any, str], None]]] = {
    "message": _History.message,
    "function_call": _History.call,
    "function_call_output": _History.result,
    "reasoning": _History.reasoning,
    "item_reference": _History.reference,
}
