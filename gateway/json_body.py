"""Strict reading of request bodies: everything that is not plain JSON in UTF-8 is a 400 that says why, never a 500."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import ClientError, InvalidRequest, PayloadTooLarge, UnsupportedMediaType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive

_decode = msgspec.json.Decoder().decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_MAX_INTEGER = 1 << 64
# Far more than any request needs, and far less than what ends the recursion of a decoder further on.
MAX_DEPTH = 256


class ClientGone(Exception):
    """The client closed its connection before it had its answer. Nobody is left to be told."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read a request body whole. Raises `PayloadTooLarge` as soon as it passes `limit` bytes, `ClientGone` if cut."""
    message = await receive()
    first: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body") and len(first) <= limit:
        return first
    chunks = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def too_large(limit: int) -> ClientError:
    """Return the error for a body over `limit` bytes; the connection closes, since the rest of the body is unread."""
    return PayloadTooLarge(
        f"The body is larger than {limit} bytes", details={"max_bytes": limit}, headers={"connection": "close"}
    )


def check_media_type(headers: Mapping[bytes, bytes]) -> None:
    """Refuse bodies that are declared as something else than JSON, and compressed ones (RFC 9110, section 15.5.16)."""
    content_type = headers.get(b"content-type", b"")
    if content_type == b"application/json" and b"content-encoding" not in headers:
        return
    media_type = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if media_type not in ("", "application/json") and not media_type.endswith("+json"):
        msg = f"The body must be application/json, not {media_type[:100]}"
        raise UnsupportedMediaType(msg, headers={"accept": "application/json"})
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        msg = "The body must not be compressed"
        raise UnsupportedMediaType(msg, headers={"accept-encoding": "identity"})


def parse_object(body: bytes) -> dict[str, Any]:
    """Decode a JSON object strictly. Raises `InvalidRequest` for everything else.

    Refused are NaN and Infinity, other encodings than UTF-8, lone surrogates, more than `MAX_DEPTH` levels of nesting
    and integers beyond 64 bits.
    """
    try:
        value = _decode(body)
    except RecursionError as exc:
        raise _too_deep() from exc
    except UnicodeDecodeError as exc:
        msg = "The body is not UTF-8"
        raise InvalidRequest(msg) from exc
    except msgspec.DecodeError as exc:
        # msgspec names the byte, never the content.
        msg = f"The body is not valid JSON: {exc}"
        raise InvalidRequest(msg) from exc
    if not isinstance(value, dict):
        msg = "The body must be a JSON object"
        raise InvalidRequest(msg)
    _refuse_extremes(value)
    return value


def raw_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """Return the top-level fields of a body that `parse_object` accepted, each as raw JSON."""
    return _decode_fields(body)


def refuse_duplicate_keys(body: bytes) -> None:
    """Raise `InvalidRequest` when an object anywhere in an accepted body has the same key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for name, _ in pairs:
            if name in seen:
                msg = "The body has the same key twice"
                raise InvalidRequest(msg, errors=[(name[:100], "stands twice in one object")])
            seen.add(name)

    json.loads(body, object_pairs_hook=unique)


def _refuse_extremes(value: dict[str, Any]) -> None:
    """Walk through the value level by level and refuse integers and depths that others could not read again."""
    level: list[Any] = [value]
    depth = 0
    while level:
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                below.extend(item.values())
            elif type(item) is list:
                below.extend(item)
            elif type(item) is int and not -_MAX_INTEGER < item < _MAX_INTEGER:
                msg = "The body has an integer of more than 64 bits"
                raise InvalidRequest(msg)
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise _too_deep()
        level = below


def _too_deep() -> InvalidRequest:
    return InvalidRequest("The body is nested too deeply")
