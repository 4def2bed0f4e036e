"""Refusing what a chat completion cannot express, with the name of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from providers.errors import NotExpressible

if TYPE_CHECKING:
    from collections.abc import Collection

CANNOT = "cannot be expressed in a chat completion, which is what the provider takes"


def refuse(field: str, why: str = CANNOT) -> NoReturn:
    """Raise `NotExpressible` for `field`, a path in the client's own dialect, such as `messages.0.content.1.type`."""
    raise NotExpressible(f"{field}: {why}", status=400, param=field)


def members(value: Any, where: str, known: Collection[str], hints: Collection[str] = ()) -> dict[str, Any]:
    """Return the members of an object that are not null and no `hints`; refuses those that are not `known` either."""
    if not isinstance(value, dict):
        refuse(where, "must be an object")
    found = {name: member for name, member in value.items() if member is not None and name not in hints}
    for name in found:
        if name not in known:
            refuse(f"{where}.{name[:100]}")
    return found


def text(value: Any, where: str) -> str:
    """Return a string; refuses anything else."""
    if not isinstance(value, str):
        refuse(where, "must be a string")
    return value


def listed(value: Any, where: str) -> list[Any]:
    """Return a list; refuses anything else."""
    if not isinstance(value, list):
        refuse(where, "must be a list")
    return value
