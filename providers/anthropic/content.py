"""From parts of an OpenAI message's content to Anthropic's content blocks: text, images, documents."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from providers.anthropic.refusals import members, refuse, text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

Block = dict[str, Any]
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"
# Images are always looked at closely, so only the wish for the cheaper look cannot be met.
_DETAILS = frozenset({"auto", "high", "original"})


def blocks_of(content: Any, where: str, kinds: Collection[str]) -> list[Block]:
    """Return the blocks of a message's content, a string or a list of parts; empty text gives none.

    `kinds` are the types of parts that this message may have. Raises `NotExpressible`.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [text_block(content)] if content else []
    if not isinstance(content, list):
        refuse(where, "must be a string or a list of parts")
    found = [_block(part, f"{where}[{number}]", kinds) for number, part in enumerate(content)]
    return [block for block in found if block is not None]


def text_block(content: str) -> Block:
    """Return a block of text."""
    return {"type": "text", "text": content}


def _block(part: Any, where: str, kinds: Collection[str]) -> Block | None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        shown = f"{str(kind)[:50]!r} cannot be expressed here in Anthropic's dialect"
        refuse(f"{where}.type", shown)
    fields = members(part, where, {"type", kind, "cache_control"})
    block = _PARTS[kind](fields.get(kind), f"{where}.{kind}")
    if block is not None and "cache_control" in fields:
        block["cache_control"] = fields["cache_control"]
    return block


def _text(value: Any, where: str) -> Block | None:
    return text_block(value) if text(value, where) else None


def _image(value: Any, where: str) -> Block:
    image = members(value, where, {"url", "detail"})
    if image.get("detail", "auto") not in _DETAILS:
        refuse(f"{where}.detail")
    url = text(image.get("url"), f"{where}.url")
    if url.startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _data_url(url, f"{where}.url")
    if media_type == _PDF:
        return _document(media_type, data, f"{where}.url")
    if media_type not in _IMAGES:
        refuse(f"{where}.url", "must be a JPEG, PNG, GIF or WebP image")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def _file(value: Any, where: str) -> Block:
    file = members(value, where, {"file_data", "filename"})
    media_type, data = _data_url(text(file.get("file_data"), f"{where}.file_data"), f"{where}.file_data")
    block = _document(media_type, data, f"{where}.file_data")
    if "filename" in file:
        block["title"] = text(file["filename"], f"{where}.filename")
    return block


def _document(media_type: str, data: str, where: str) -> Block:
    if media_type == _PDF:
        return {"type": "document", "source": {"type": "base64", "media_type": _PDF, "data": data}}
    if media_type != "text/plain":
        refuse(where, "must be a PDF or plain text")
    try:
        plain = b64decode(data, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        refuse(where, "is not base64 of UTF-8 text")
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": plain}}


def _data_url(url: str, where: str) -> tuple[str, str]:
    """Return media type and base64 data of a `data:` URL (RFC 2397)."""
    head, comma, data = url.partition(",")
    scheme, _, description = head.partition(":")
    media_type, *parameters = description.lower().split(";")
    if scheme.lower() != "data" or not comma or "base64" not in parameters:
        refuse(where, "must be a data: URL in base64, or for an image an http(s) address")
    return ("image/jpeg" if media_type == "image/jpg" else media_type), data


_PARTS: dict[str, Callable[[Any, str], Block | None]] = {
    "text": _text,
    "refusal": _text,
    "image_url": _image,
    "file": _file,
}
