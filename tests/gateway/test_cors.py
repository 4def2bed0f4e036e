"""CORS: off unless origins are configured, exact origins only, and never credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.canonical import assert_canonical_error, assert_security_headers
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client, edge_client
from tests.gateway.test_security_headers import broken_app

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

CONSOLE = "https://console.example"
ON = ECHO + f"[server]\ncors_origins = ['{CONSOLE}', 'http://localhost:5173']\n"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
EXPOSED = {
    "x-request-id",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-should-retry",
    "etag",
    "x-lunarbit-provider",
    "x-lunarbit-model",
    "x-lunarbit-attempts",
    "x-lunarbit-error-code",
    "x-lunarbit-upstream-request-id",
}


def _cors_headers(response: httpx.Response) -> set[str]:
    return {name for name in response.headers if name.startswith("access-control-")}


async def test_without_configured_origins_no_cors_header_is_sent(client: httpx.AsyncClient) -> None:
    """A browser then refuses every cross-origin use by itself."""
    simple = await client.get("/health", headers={"origin": CONSOLE})
    assert simple.status_code == 200
    assert _cors_headers(simple) == set()
    preflight = await client.options("/ai/chat", headers={"origin": CONSOLE, **PREFLIGHT})
    assert_canonical_error(preflight, "METHOD_NOT_ALLOWED", 405)
    assert _cors_headers(preflight) == set()


@pytest.mark.parametrize("origin", [CONSOLE, "http://localhost:5173"])
async def test_a_configured_origin_may_ask_and_read(tmp_path: Path, origin: str) -> None:
    """The answer names this origin alone, and every header of ours that a page may want to read."""
    async with edge_client(tmp_path, ON) as client:
        preflight = await client.options("/api/v2/ai/chat", headers={"origin": origin, **PREFLIGHT})
        actual = await client.post("/ai/chat", json=HELLO, headers={"origin": origin, **KEY})
    assert_security_headers(preflight)
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert_security_headers(actual)
    assert actual.status_code == 200
    for response in (preflight, actual):
        assert response.headers["access-control-allow-origin"] == origin
        assert "Origin" in response.headers["vary"]
        assert "access-control-allow-credentials" not in response.headers
    exposed = {name.strip().lower() for name in actual.headers["access-control-expose-headers"].split(",")}
    assert exposed >= EXPOSED
    assert "*" not in exposed


async def test_the_headers_of_the_vendors_sdks_are_allowed(tmp_path: Path) -> None:
    """Browsers ask for each of them before a request that the SDK sends."""
    sent = (
        "anthropic-beta,anthropic-dangerous-direct-browser-access,anthropic-version,authorization,content-type,"
        "openai-organization,openai-project,user-agent,x-api-key,x-stainless-arch,x-stainless-helper-method,"
        "x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,"
        "x-stainless-runtime-version,x-stainless-timeout"
    )
    headers = {"origin": CONSOLE, **PREFLIGHT, "access-control-request-headers": sent}
    async with edge_client(tmp_path, ON) as client:
        assert (await client.options("/v1/messages", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{CONSOLE}.evil.example", "null", "http://console.example"]
)
async def test_another_origin_is_refused_in_our_shape(tmp_path: Path, origin: str) -> None:
    """The preflight is a 403; a simple request is answered, but without leave to read it."""
    async with edge_client(tmp_path, ON) as client:
        preflight = await client.options("/ai/chat", headers={"origin": origin, **PREFLIGHT})
        simple = await client.get("/health", headers={"origin": origin})
    assert_canonical_error(preflight, "FORBIDDEN", 403)
    assert "access-control-allow-origin" not in preflight.headers
    assert simple.status_code == 200
    assert "access-control-allow-origin" not in simple.headers


async def test_a_header_that_is_not_allowed_is_refused_in_our_shape(tmp_path: Path) -> None:
    """An allowed origin does not open everything."""
    headers = {"origin": CONSOLE, **PREFLIGHT, "access-control-request-headers": "x-forwarded-for"}
    async with edge_client(tmp_path, ON) as client:
        assert_canonical_error(await client.options("/ai/chat", headers=headers), "FORBIDDEN", 403)


async def test_preflights_need_no_key_and_plain_options_are_405(tmp_path: Path) -> None:
    """A browser sends no key with a preflight; an OPTIONS that is none is a method like any other."""
    async with edge_client(tmp_path, ON) as client:
        assert (await client.options("/ai/chat", headers={"origin": CONSOLE, **PREFLIGHT})).status_code == 200
        assert_canonical_error(await client.options("/ai/chat"), "METHOD_NOT_ALLOWED", 405)


@pytest.mark.parametrize(
    ("path", "code", "status"), [("/nowhere", "NOT_FOUND", 404), ("/v1/models", "UNAUTHORIZED", 401)]
)
async def test_errors_can_be_read_by_an_allowed_origin(tmp_path: Path, path: str, code: str, status: int) -> None:
    """A page that may use the API has to see why it does not work."""
    async with edge_client(tmp_path, ON) as client:
        response = await client.get(path, headers={"origin": CONSOLE})
    assert_canonical_error(response, code, status)
    assert response.headers["access-control-allow-origin"] == CONSOLE


async def test_an_unhandled_exception_can_be_read_by_an_allowed_origin(tmp_path: Path) -> None:
    """Also the 500, which is made outside of the application's own middleware."""
    async with asgi_client(broken_app(tmp_path, ON)) as client:
        response = await client.get("/v1/models", headers={"origin": CONSOLE, **KEY})
    assert_canonical_error(response, "INTERNAL_ERROR", 500)
    assert response.headers["access-control-allow-origin"] == CONSOLE
