"""From Anthropic's content blocks to the parts of an OpenAI message: text, images, documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from providers.translation import members, refuse, text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

Part = dict[str, Any]
# Both are about costs and form, and change no answer.
HINTS = ("cache_control",)
_PDF = "application/pdf"


def parts_of(content: Any, where: str, kinds: Collection[str]) -> list[Part]:
    """Return the parts of a content, a string or a list of blocks; empty text gives none.

    `kinds` are the types of blocks that may stand here. Raises `NotExpressible`.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [text_part(content)] if content else []
    if not isinstance(content, list):
        refuse(where, "must be a string or a list of blocks")
    return [part for number, block in enumerate(content) for part in block_parts(block, f"{where}.{number}", kinds)]


def block_parts(block: Any, where: str, kinds: Collection[str]) -> list[Part]:
    """Return the parts of one block. Raises `NotExpressible`."""
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        refuse(f"{where}.type")
    return _BLOCKS[kind](block, where)


def text_part(content: str) -> Part:
    """Return a part of text."""
    return {"type": "text", "text": content}


def plain(parts: list[Part]) -> str | list[Part]:
    """Return a message's content: the text alone where that is all, since every server takes a string."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        said: str = parts[0]["text"]
        return said
    return parts


def _text(block: Any, where: str) -> list[Part]:
    fields = members(block, where, {"type", "text", "citations"}, HINTS)
    # What an earlier answer cited stands in its text as well.
    return [text_part(fields["text"])] if text(fields.get("text"), f"{where}.text") else []


def _image(block: Any, where: str) -> list[Part]:
    fields = members(block, where, {"type", "source"}, HINTS)
    return [{"type": "image_url", "image_url": {"url": _address(fields.get("source"), f"{where}.source")}}]


def _address(value: Any, where: str) -> str:
    """Return an image's own address, or one that holds it (RFC 2397)."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "url":
        return text(members(value, where, {"type", "url"}).get("url"), f"{where}.url")
    if kind != "base64":
        refuse(f"{where}.type")
    source = members(value, where, {"type", "media_type", "data"})
    media_type = text(source.get("media_type"), f"{where}.media_type")
    return f"data:{media_type};base64,{text(source.get('data'), f'{where}.data')}"


def _document(block: Any, where: str) -> list[Part]:
    fields = members(block, where, {"type", "source", "title", "context", "citations"}, HINTS)
    if isinstance(fields.get("citations"), dict) and fields["citations"].get("enabled"):
        refuse(f"{where}.citations.enabled")
    title = text(fields.get("title", ""), f"{where}.title")
    context = text(fields.get("context", ""), f"{where}.context")
    value = fields.get("source")
    source = value if isinstance(value, dict) else {}
    kind = source.get("type")
    if kind == "base64":
        if source.get("media_type") != _PDF:
            refuse(f"{where}.source.media_type", "must be application/pdf")
        file = {"filename": title or "document.pdf", "file_data": _address(source, f"{where}.source")}
        return [*([text_part(context)] if context else []), {"type": "file", "file": file}]
    if kind == "text":
        said = [text_part(text(source.get("data"), f"{where}.source.data"))]
    elif kind == "content":
        said = parts_of(source.get("content"), f"{where}.source.content", ("text", "image"))
    else:
        refuse(f"{where}.source.type")
    # There are no documents of text there, so its name and what it is about stand before its text.
    return [text_part(one) for one in (title, context) if one] + said


_BLOCKS: dict[str, Callable[[Any, str], list[Part]]] = {"text": _text, "image": _image, "document": _document}
