"""The headers of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.field_rules import Schema

ALWAYS: Final = ("X-Request-ID",)
LIMITED: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy")
KEPT: Final = ("ETag", "Cache-Control", "Vary")
ANSWERED_BY: Final = ("X-LunarBit-Provider", "X-LunarBit-Model", "X-LunarBit-Attempts")


def _header(description: str, *, required: bool = False, **schema: object) -> Schema:
    return {"description": description, "required": required, "schema": {"type": "string", **schema}}


HEADERS: Final[dict[str, Schema]] = {
    "X-Request-ID": _header(
        "Names the request in logs; the client's own if it sent one.", required=True, pattern="^[A-Za-z0-9._-]{1,128}$"
    ),
    "X-RateLimit-Limit": _header("How many requests the tightest window allows.", pattern="^[0-9]+$"),
    "X-RateLimit-Remaining": _header("How many of them are left.", pattern="^[0-9]+$"),
    "X-RateLimit-Reset": _header("The Unix second at which the oldest counted request leaves it.", pattern="^[0-9]+$"),
    "RateLimit": _header("What is left of each window (IETF draft 10)."),
    "RateLimit-Policy": _header("The windows (IETF draft 10)."),
    "Retry-After": _header("Seconds after which it is worth to ask again.", pattern="^[1-9][0-9]*$"),
    "WWW-Authenticate": _header("How to authenticate.", required=True, enum=["Bearer"]),
    "X-LunarBit-Error-Code": _header("The gateway's own code of the error.", required=True),
    "ETag": _header("A strong validator; send it as If-None-Match.", required=True),
    "Cache-Control": _header("Who may keep the answer, and for how long.", required=True),
    "Vary": _header("Which headers of the request the answer depends on."),
    "Link": _header("The pages before and after (RFC 8288)."),
    "Location": _header("Where the file is.", required=True, format="uri-reference"),
    "X-LunarBit-Provider": _header("Who answers."),
    "X-LunarBit-Model": _header("The model that answers."),
    "X-LunarBit-Attempts": _header("How many attempts it took.", pattern="^[0-9]+$"),
    "Content-Disposition": _header("A name for the file."),
}


def references(names: tuple[str, ...]) -> Schema:
    """Return these headers, by reference to the document's components."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
