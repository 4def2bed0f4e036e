"""The document as JSON and as YAML.

YAML is written here, since no library that the gateway needs to run writes it: mappings and lists as blocks, and every
scalar as JSON, which YAML 1.2 takes as it is (https://yaml.org/spec/1.2.2, section 1.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

# Keys that nobody reads as anything but a text. The words are those that YAML 1.1 takes for something else.
_PLAIN: Final = re.compile(r"(?!(?:true|false|yes|no|on|off|null|y|n)$)[A-Za-z_][A-Za-z0-9_-]*", re.IGNORECASE)

# Line breaks and characters that nobody sees, which JSON takes as they are and YAML does not.
_ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def as_json(document: dict[str, Any]) -> bytes:
    """Return the document as JSON, in one line."""
    return msgspec.json.encode(document)


def as_yaml(document: dict[str, Any]) -> bytes:
    """Return the document as YAML."""
    return ("\n".join(_lines(document, "")) + "\n").encode()


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if _is_block(item):
                yield f"{indent}{_key(str(key))}:"
                yield from _lines(item, f"{indent}  ")
            else:
                yield f"{indent}{_key(str(key))}: {_scalar(item)}"
        return
    for item in value:
        # What is in an entry of a list begins on the line of its dash.
        first, *others = _lines(item, f"{indent}  ") if _is_block(item) else [_scalar(item)]
        yield f"{indent}- {first.lstrip()}"
        yield from others


def _is_block(value: Any) -> bool:
    return bool(value) and isinstance(value, dict | list | tuple)


def _key(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else _scalar(name)


def _scalar(value: Any) -> str:
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", msgspec.json.encode(value).decode())
