"""What every answer of the gateway has in common, asserted in one place: the security headers and the error shapes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

DOCS_URL = "https://docs.lunarbit.dev/api-errors"
# The five of the product page, written down here once more so that a change of the code does not change the test.
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-xss-protection": "1; mode=block",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "content-security-policy": "default-src 'self'",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def assert_security_headers(response: httpx.Response) -> None:
    """Assert that each security header and the request id stand exactly once, with exactly the page's values."""
    names = [name.lower() for name, _ in response.headers.multi_items()]
    for name, value in SECURITY_HEADERS.items():
        assert names.count(name) == 1, (name, names)
        assert response.headers[name] == value
    assert names.count("x-request-id") == 1, names
    assert _REQUEST_ID.fullmatch(response.headers["x-request-id"])
    assert "server" not in names


def assert_canonical_error(
    response: httpx.Response, code: str, status: int, *, docs_url: str = DOCS_URL
) -> dict[str, Any]:
    """Assert the whole shape of an error on the surface that was asked, and return its `error` object."""
    assert response.status_code == status, (response.status_code, response.text)
    assert_security_headers(response)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    if response.request.method == "HEAD":
        assert response.content == b""
        return {}
    path = response.request.url.path.removeprefix("/api/v2")
    body = json.loads(response.content)
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return _assert_anthropic(response, body, code, status)
    if path.startswith("/v1/"):
        return _assert_openai(response, body, code)
    return assert_lunarbit_body(body, code, response.headers["x-request-id"], docs_url=docs_url)


def assert_lunarbit_body(body: Any, code: str, request_id: str, *, docs_url: str = DOCS_URL) -> dict[str, Any]:
    """Assert the LunarBit error body, the one of the product page, and return its `error` object."""
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "lc_code", "message", "details", "documentation_url", "request_id"}
    assert error["code"] == code == code.upper()
    assert error["lc_code"] == f"LC_ERR_{code}"
    assert error["documentation_url"] == f"{docs_url}#{code}"
    assert error["request_id"] == request_id
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["details"], dict)
    if code == "INVALID_REQUEST":
        assert error["details"]["errors"]
        assert all(set(entry) == {"field", "message"} for entry in error["details"]["errors"])
    return error


def _assert_openai(response: httpx.Response, body: Any, code: str) -> dict[str, Any]:
    assert response.headers["x-lunarbit-error-code"] == code
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    assert isinstance(error["param"], str | None)
    assert isinstance(error["code"], str | None)
    return error


def _assert_anthropic(response: httpx.Response, body: Any, code: str, status: int) -> dict[str, Any]:
    assert response.headers["x-lunarbit-error-code"] == code
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["request_id"] == response.headers["x-request-id"]
    error: dict[str, Any] = body["error"]
    assert set(error) == {"type", "message"}
    assert error["type"] == _ANTHROPIC_TYPES.get(status, "api_error")
    assert error["message"]
    return error
