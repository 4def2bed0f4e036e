"""The five headers of the product page: exactly once, with exactly its values, on whatever the gateway answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.app import Gateway, create_app
from gateway.auth.principal import Principal
from tests.gateway.canonical import SECURITY_HEADERS, assert_canonical_error, assert_security_headers
from tests.gateway.edge import (
    ECHO,
    HELLO,
    JSON_HEADERS,
    KEY,
    asgi_client,
    edge_client,
    log_lines,
    request_lines,
    served,
    settings_for,
)
from tests.gateway.wire import get, wire

if TYPE_CHECKING:
    from io import BytesIO
    from pathlib import Path

    import httpx

BASES = ["", "/api/v2"]
CHAT = json.dumps(HELLO)


class BrokenAuthenticator:
    """Stands for any endpoint or part that raises something unplanned."""

    def known(self, secret: str) -> Principal | None:
        """Raise with a message that quotes what nobody may read."""
        message = f"cannot look up {secret}"
        raise ZeroDivisionError(message)

    def may_be_live(self, secret: str) -> bool:
        """Say yes to everything."""
        return True

    async def look_up(self, secret: str) -> Principal | None:
        """Raise like `known`."""
        return self.known(secret)


def broken_app(tmp_path: Path, toml: str = ECHO) -> Gateway:
    """Make a gateway that fails at every key."""
    app = create_app(settings_for(tmp_path, toml))
    app.state.authenticator = BrokenAuthenticator()
    return app


REQUESTS: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/", {}, 200, ""),
    ("GET", "/health", {}, 200, ""),
    ("GET", "/health/live", {}, 200, ""),
    ("GET", "/health/ready", {}, 200, ""),
    ("GET", "/ai/status", {}, 200, ""),
    ("GET", "/metrics", {}, 200, ""),
    ("GET", "/v1/models", {"headers": KEY}, 200, ""),
    ("POST", "/ai/chat", {"content": CHAT, "headers": JSON_HEADERS}, 200, ""),
    ("POST", "/v1/chat/completions", {"content": CHAT, "headers": JSON_HEADERS}, 200, ""),
    ("GET", "/nowhere", {}, 404, "NOT_FOUND"),
    ("GET", "/v1/nowhere", {}, 404, "NOT_FOUND"),
    ("POST", "/v1/messages/nowhere", {}, 404, "NOT_FOUND"),
    ("DELETE", "/ai/chat", {}, 405, "METHOD_NOT_ALLOWED"),
    ("PUT", "/v1/chat/completions", {}, 405, "METHOD_NOT_ALLOWED"),
    ("POST", "/ai/chat", {"content": CHAT}, 401, "UNAUTHORIZED"),
    ("POST", "/v1/chat/completions", {"content": CHAT}, 401, "UNAUTHORIZED"),
    ("POST", "/ai/chat", {"content": "{", "headers": JSON_HEADERS}, 400, "INVALID_REQUEST"),
    ("POST", "/v1/chat/completions", {"content": "{", "headers": JSON_HEADERS}, 400, "INVALID_REQUEST"),
    ("POST", "/ai/chat", {"content": "x" * 2000, "headers": JSON_HEADERS}, 413, "PAYLOAD_TOO_LARGE"),
    ("POST", "/v1/chat/completions", {"content": "x" * 2000, "headers": JSON_HEADERS}, 413, "PAYLOAD_TOO_LARGE"),
    ("POST", "/ai/chat", {"data": {"a": "b"}, "headers": KEY}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    ("POST", "/v1/chat/completions", {"data": {"a": "b"}, "headers": KEY}, 415, "UNSUPPORTED_MEDIA_TYPE"),
]


@pytest.mark.parametrize("base", BASES, ids=["root", "prefix"])
@pytest.mark.parametrize(("method", "path", "request_parts", "status", "code"), REQUESTS)
async def test_every_answer_has_them_once(
    tmp_path: Path, base: str, method: str, path: str, request_parts: dict[str, Any], status: int, code: str
) -> None:
    """At the root and under the prefix; errors in their canonical shape besides."""
    toml = ECHO + "[server]\nmax_ai_body_bytes = 1000\n"
    async with edge_client(tmp_path, toml) as client:
        response = await client.request(method, base + path, **request_parts)
    assert response.status_code == status
    assert_security_headers(response)
    if code:
        assert_canonical_error(response, code, status)


@pytest.mark.parametrize("path", ["/ai/chat", "/api/v2/ai/chat", "/v1/chat/completions"])
async def test_an_unhandled_exception_is_a_canonical_500(tmp_path: Path, path: str, log: BytesIO) -> None:
    """Starlette answers such errors outside of its middleware; the exception's text goes nowhere."""
    app = broken_app(tmp_path)
    async with asgi_client(app) as client:
        response = await client.post(path, json=HELLO, headers={"authorization": "Bearer canary-of-a-secret-key"})
    assert_canonical_error(response, "INTERNAL_ERROR", 500)
    assert b"canary" not in response.content + log.getvalue()
    assert b"Traceback" not in response.content + log.getvalue()
    (line,) = [line for line in log_lines(log) if line["event"] == "unhandled_exception"]
    assert line["error_type"] == "ZeroDivisionError"
    assert line["request_id"] == response.headers["x-request-id"]
    assert any("known" in frame for frame in line["where"])
    (finished,) = request_lines(log)
    assert (finished["status"], finished["code"]) == (500, "INTERNAL_ERROR")


async def test_an_unhandled_exception_on_a_socket_leaves_the_connection_usable(tmp_path: Path, log: BytesIO) -> None:
    """The server itself must not add its own plain answer."""
    app = broken_app(tmp_path)
    async with served(app) as running, wire(running.port) as connection:
        for _ in range(2):
            await connection.send(get("/v1/models", "Authorization: Bearer something"))
            answer = await connection.answer()
            assert answer.status == 500
            for name, value in SECURITY_HEADERS.items():
                assert answer.all(name) == [value]
            assert json.loads(answer.body)["error"]["type"] == "server_error"
    assert not [line for line in log_lines(log) if "ASGI" in str(line.get("message"))]


@pytest.mark.parametrize("origin", ["https://console.example", "https://evil.example"])
async def test_preflights_have_them_once(tmp_path: Path, origin: str) -> None:
    """Allowed or refused, a preflight is an answer like any other."""
    headers = {"origin": origin, "access-control-request-method": "POST"}
    async with edge_client(tmp_path, ECHO + "[server]\ncors_origins = ['https://console.example']\n") as client:
        response = await client.options("/ai/chat", headers=headers)
    assert_security_headers(response)


async def test_a_streamed_answer_has_them_once(tmp_path: Path) -> None:
    """The streaming responses write their heads themselves."""
    async with served(create_app(settings_for(tmp_path))) as running:
        for path in ("/ai/chat", "/v1/chat/completions"):
            response = await running.client.post(path, json={**HELLO, "stream": True}, headers=KEY)
            assert response.status_code == 200
            assert_security_headers(response)
            names = [name for name, _ in response.headers.multi_items()]
            assert "content-length" not in names
            assert "content-encoding" not in names
            assert response.headers["cache-control"] == "no-cache"
            assert response.headers["x-accel-buffering"] == "no"


async def test_the_server_does_not_name_itself(client: httpx.AsyncClient) -> None:
    """A version in a header only helps whoever looks for a known hole."""
    response = await client.get("/health")
    assert not {"server", "x-powered-by", "via"} & set(response.headers)
