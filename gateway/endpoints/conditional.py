"""JSON that clients may keep: strong validators, and 304 for who has it already (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from gateway.endpoints.responses import json_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request


def cached_json(request: Request, validator: str, max_age_s: int, make: Callable[[], Any], **headers: str) -> Response:
    """Return what `make` returns, or 304 when the client names its validator.

    `validator` says which state of the catalogue, and which representation of it, the answer shows; no counter is part
    of it, since then every download would make every client ask again.
    """
    tag = f'"{hashlib.sha256(validator.encode()).hexdigest()[:32]}"'
    kept = {
        "etag": tag,
        "cache-control": f"private, max-age={max_age_s}",
        "vary": "Authorization",
        **headers,
    }
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=kept)
    return json_response(make(), headers=kept)


def _has(condition: str, tag: str) -> bool:
    """Whether `If-None-Match` names the tag; the comparison is weak (RFC 9110, section 13.1.2)."""
    if condition.strip() == "*":
        return True
    return any(part.strip().removeprefix("W/") == tag for part in condition.split(","))
