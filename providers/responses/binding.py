"""Which provider made a response: a mark in what the client keeps of it, so that nothing has to be kept here.

The id of a response becomes `resp_lb<tag>_<the provider's own id>`, and encrypted reasoning `lb<tag>.<its own>`. The
tag is made from the provider's name in the configuration, so it holds over restarts and in every process, and a
provider that is renamed has made nothing any more.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

_ID: Final = re.compile(r"resp_lb([0-9a-f]{8})_(.+)", re.DOTALL)
_SEALED: Final = re.compile(r"lb([0-9a-f]{8})\.(.+)", re.DOTALL)
# What either may hold that has to be bound; cheaper to look for than to decode.
_MARK: Final = b'"encrypted_content"'
_encode = msgspec.json.encode


class Binding(NamedTuple):
    """A part of a request that only one provider understands: its tag, and the field that it stands in.

    `is_native` is whether that takes the Responses API itself.
    """

    tag: str
    field: str
    is_native: bool = False


@lru_cache
def tag_of(provider: str) -> str:
    """Return the tag of a provider's name."""
    return hashlib.sha256(provider.encode()).hexdigest()[:8]


def bound_id(tag: str, id_: str) -> str:
    """Return the id that the client sees."""
    return f"resp_lb{tag}_{id_}"


def unbound_id(id_: str) -> tuple[str, str] | None:
    """Return the tag and the provider's own id, or None for an id that no provider gave."""
    found = _ID.fullmatch(id_)
    return (found[1], found[2]) if found else None


def sealed(tag: str, content: str) -> str:
    """Return encrypted reasoning as the client sees it."""
    return f"lb{tag}.{content}"


def unsealed_items(items: list[Any]) -> tuple[list[Any], list[Binding]]:
    """Return the items of an input with encrypted reasoning as its provider wrote it, and what binds them."""
    found: list[Binding] = []
    out = []
    for number, item in enumerate(items):
        content = item.get("encrypted_content") if isinstance(item, dict) else None
        match = _SEALED.fullmatch(content) if isinstance(content, str) else None
        if match is None:
            out.append(item)
            continue
        found.append(Binding(match[1], f"input[{number}].encrypted_content"))
        out.append({**item, "encrypted_content": match[2]})
    return out, found


def bound_event(tag: str, data: bytes) -> bytes:
    """Return the data of an event with its response, or its item, bound. Raises `msgspec.DecodeError`."""
    fields: dict[str, msgspec.Raw] = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    if "response" in fields:
        fields["response"] = msgspec.Raw(bound_response(tag, fields["response"]))
    if "item" in fields:
        fields["item"] = msgspec.Raw(_encode(_sealed_item(tag, msgspec.json.decode(fields["item"]))))
    return _encode(fields)


def bound_response(tag: str, body: bytes) -> bytes:
    """Return a response with its ids and its encrypted reasoning bound, all else as it was."""
    fields: dict[str, msgspec.Raw] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for name in ("id", "previous_response_id"):
        id_ = msgspec.json.decode(fields.get(name, b"null"))
        if isinstance(id_, str):
            fields[name] = msgspec.Raw(_encode(bound_id(tag, id_)))
    output = fields.get("output")
    if output is not None and is_sealed(output):
        fields["output"] = msgspec.Raw(_encode([_sealed_item(tag, item) for item in msgspec.json.decode(output)]))
    return _encode(fields)


def is_sealed(data: bytes) -> bool:
    """Say whether JSON may hold encrypted reasoning."""
    return _MARK in bytes(data)


def _sealed_item(tag: str, item: Any) -> Any:
    content = item.get("encrypted_content") if isinstance(item, dict) else None
    return {**item, "encrypted_content": sealed(tag, content)} if isinstance(content, str) and content else item
