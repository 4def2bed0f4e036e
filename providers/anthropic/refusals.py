"""Refusing what Anthropic's dialect cannot express, with the name of the field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from providers.errors import NotExpressible

if TYPE_CHECKING:
    from collections.abc import Collection

CANNOT = "cannot be expressed in Anthropic's dialect"


def refuse(field: str, why: str = CANNOT) -> NoReturn:
    """Raise `NotExpressible` for `field`, a path such as `messages[0].content[1].type`."""
    raise NotExpressible(f"{field} {why}", status=400, param=field)


def members(value: Any, where: str, known: Collection[str]) -> dict[str, Any]:
    """Return the members of an object that are not null; refuses anything else, and members that are not `known`."""
    if not isinstance(value, dict):
        refuse(where, "must be an object")
    found = {name: member for name, member in value.items() if member is not None}
    for name in found:
        if name not in known:
            refuse(f"{where}.{name}")
    return found


def text(value: Any, where: str) -> str:
    """Return a string; refuses anything else."""
    if not isinstance(value, str):
        refuse(where, "must be a string")
    return value
