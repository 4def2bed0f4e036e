"""What the corpora of both directions are written in: messages, parts and blocks of OpenAI's and Anthropic's."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]

MODEL = "claude-sonnet-4-5"
NEW_MODEL = "claude-opus-4-7"
PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQ="
EPHEMERAL = {"type": "ephemeral"}
THOUGHT = {"type": "thinking", "thinking": "Paris is warm.", "signature": "EqoB"}
REDACTED = {"type": "redacted_thinking", "data": "EmwK"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def user(content: Any) -> JsonObject:
    """Return a message of the user, which both dialects write the same."""
    return {"role": "user", "content": content}


def text(content: str, **members: Any) -> JsonObject:
    """Return a part or block of text, which both dialects write the same."""
    return {"type": "text", "text": content, **members}


def turn(role: str, *blocks: JsonObject) -> JsonObject:
    """Return a turn of Anthropic's."""
    return {"role": role, "content": list(blocks)}


def image(url: str, **members: Any) -> JsonObject:
    """Return an image as OpenAI's part."""
    return {"type": "image_url", "image_url": {"url": url, **members}}


def picture(media_type: str = "image/png", data: str = PNG) -> JsonObject:
    """Return an image as Anthropic's block."""
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def document(**members: Any) -> JsonObject:
    """Return a PDF as Anthropic's block."""
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, **members}


def file(data: str, **members: Any) -> JsonObject:
    """Return a file as OpenAI's part."""
    return {"type": "file", "file": {"file_data": data, **members}}


def call(name: str = "weather", arguments: str = '{"city":"Paris"}', id_: str = "toolu_1") -> JsonObject:
    """Return a tool call of OpenAI's."""
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def use(name: str = "weather", value: Any = None, id_: str = "toolu_1") -> JsonObject:
    """Return a tool call as Anthropic's block."""
    return {"type": "tool_use", "id": id_, "name": name, "input": {"city": "Paris"} if value is None else value}


def calls(*tool_calls: JsonObject, **members: Any) -> JsonObject:
    """Return an assistant's message that calls tools."""
    return {"role": "assistant", "content": None, "tool_calls": list(tool_calls), **members}


def result(content: Any = "15", id_: str = "toolu_1", **members: Any) -> JsonObject:
    """Return a tool's result as OpenAI's message."""
    return {"role": "tool", "tool_call_id": id_, "content": content, **members}


def returned(*blocks: JsonObject, id_: str = "toolu_1", **members: Any) -> JsonObject:
    """Return a tool's result as Anthropic's block."""
    content = {"content": list(blocks)} if blocks else {}
    return {"type": "tool_result", "tool_use_id": id_, **content, **members}


def tool(name: str = "weather", **members: Any) -> JsonObject:
    """Return a tool of OpenAI's."""
    return {"type": "function", "function": {"name": name, **members}}
