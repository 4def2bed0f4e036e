"""The JSON answers of the endpoints."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

_NO_STORE = {"cache-control": "no-store"}


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return `value` as JSON (bytes are taken to be JSON already). Nobody may store it unless `headers` say so."""
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return Response(body, status, {**_NO_STORE, **(headers or {})}, "application/json")


def timestamp() -> str:
    """Return the present time in UTC, ISO 8601 with `Z`, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
