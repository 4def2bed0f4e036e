"""The addresses of the document. It is made when the first asks for it, so that nobody else pays for it."""

from __future__ import annotations

import asyncio
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.endpoints.conditional import cached_body

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.middleware.guard import Row

MAX_AGE_S: Final = 300


class _Written(NamedTuple):
    json: bytes
    yaml: bytes
    validator: str


async def as_json(request: Request) -> Response:
    """Answer the description of the interface, OpenAPI 3.1, as JSON."""
    written = await asyncio.to_thread(_write, request.app.rows)
    return _answer(request, written.json, f"json {written.validator}", "application/json")


async def as_yaml(request: Request) -> Response:
    """Answer the description of the interface, OpenAPI 3.1, as YAML."""
    written = await asyncio.to_thread(_write, request.app.rows)
    return _answer(request, written.yaml, f"yaml {written.validator}", "application/yaml")


def _answer(request: Request, body: bytes, validator: str, media_type: str) -> Response:
    public = {"cache-control": f"public, max-age={MAX_AGE_S}", "vary": "Accept-Encoding"}
    return cached_body(request, validator, MAX_AGE_S, lambda: body, media_type, **public)


@lru_cache(maxsize=1)
def _write(rows: tuple[Row, ...]) -> _Written:
    from gateway.openapi import document, text

    made = document.build(rows)
    body = text.as_json(made)
    return _Written(body, text.as_yaml(made), hashlib.sha256(body).hexdigest())
