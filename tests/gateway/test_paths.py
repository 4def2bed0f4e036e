"""Paths, versions and methods: one table at the root and under /api/v2, what is gone, what does not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.app import ROUTES
from gateway.version import VERSION
from tests.gateway.canonical import assert_canonical_error, assert_security_headers
from tests.gateway.edge import HELLO, KEY
from tests.gateway.settings_files import GOOD_KEY

if TYPE_CHECKING:
    import httpx

BASES = ["", "/api/v2"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
PATHS = sorted({row.path for row in ROUTES})


@pytest.mark.parametrize("path", ["/", "/api/v2/", "/api/v2"])
async def test_the_front_page_says_what_this_is(client: httpx.AsyncClient, path: str) -> None:
    """Name, version and links; also at the base URL as clients write it, without a slash."""
    response = await client.get(path)
    assert_security_headers(response)
    assert response.status_code == 200
    page = response.json()
    assert set(page) == {"name", "version", "links"}
    assert page["version"] == VERSION
    assert page["links"]["health"] == "/health"


@pytest.mark.parametrize("path", ["/health", "/ai/status", "/v1/models", "/health/live", "/health/ready", "/metrics"])
async def test_both_bases_answer_alike(client: httpx.AsyncClient, path: str) -> None:
    """The product page has its examples at the root and its base URL under the prefix."""
    at_root = await client.get(path, headers=KEY)
    below = await client.get(f"/api/v2{path}", headers=KEY)
    assert at_root.status_code == below.status_code == 200
    if path not in {"/health", "/metrics"}:
        assert at_root.json() == below.json()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/", "/api/v1/projects", "/api/v1/ai/chat", "/api/v1/a/b/c"])
async def test_api_v1_is_gone_for_every_method(client: httpx.AsyncClient, method: str, path: str) -> None:
    """410 with a pointer to the migration section."""
    response = await client.request(method, path, headers=KEY)
    error = assert_canonical_error(response, "API_VERSION_GONE", 410)
    if method == "HEAD":
        return
    assert "migration" in error["details"]["migration"]
    assert "/api/v2" in error["message"]


async def test_a_path_that_only_begins_like_api_v1_is_unknown(client: httpx.AsyncClient) -> None:
    """`/api/v10` is nobody's grave."""
    assert_canonical_error(await client.get("/api/v10"), "NOT_FOUND", 404)


@pytest.mark.parametrize("path", ["/ai/chat", "/v1/models", "/api/v2/ai/chat"])
async def test_the_header_of_v1_is_told_to_use_bearer(client: httpx.AsyncClient, path: str) -> None:
    """Also with a key that would be right."""
    method = "GET" if path.endswith("models") else "POST"
    response = await client.request(method, path, json=HELLO, headers={"authorization": f"ApiKey {GOOD_KEY}"})
    error = assert_canonical_error(response, "UNAUTHORIZED", 401)
    assert "Bearer" in error["message"]
    assert "ApiKey" in error["message"]
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("base", BASES, ids=["root", "prefix"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_method_is_told_all_the_right_ones(client: httpx.AsyncClient, base: str, path: str) -> None:
    """405 with a complete `Allow`, whoever asks: the method is wrong with any key."""
    known = {row.method for row in ROUTES if row.path == path}
    known |= {"HEAD"} if "GET" in known else set()
    for method in sorted(set(METHODS) - known):
        response = await client.request(method, base + path)
        error = assert_canonical_error(response, "METHOD_NOT_ALLOWED", 405)
        allowed = set(response.headers["allow"].split(", "))
        assert allowed == known
        if "details" in error:
            assert set(error["details"]["allowed"]) == known


UNKNOWN = [
    "/nowhere",
    "/api",
    "/api/",
    "/api/v3/health",
    "/api/v2/api/v2/health",
    "/api/v2/api/v1",
    "/health/",
    "/health/nowhere",
    "/HEALTH",
    "/health%00",
    "/ai/status/",
    "/api/v2/ai/status/",
    "/api/v2/ai/chat/",
    "/v1",
    "/v1/",
    "/v1/models/",
    "/v1/nowhere",
    "/v1/messages/batches",
    "/api/v2/v1/messages/count",
]


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("headers", [{}, KEY], ids=["anonymous", "admin"])
async def test_an_unknown_path_is_404_with_and_without_a_key(
    client: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    """Never 401, which would ask for a key that cannot help, and never a redirect to a path with another slash."""
    for method in ("GET", "POST"):
        assert_canonical_error(await client.request(method, path, headers=headers), "NOT_FOUND", 404)


async def test_a_404_does_not_repeat_the_path(client: httpx.AsyncClient) -> None:
    """Some clients put their key there."""
    response = await client.get("/keys/lbapi_0123456789abcdefghij")
    assert "0123456789" not in assert_canonical_error(response, "NOT_FOUND", 404)["message"]


@pytest.mark.parametrize(
    "path", ["/v1/models%0A", "/projects/x/channels/y/latest%0A", "/health/live%0a", "/Health", "/health/%2e"]
)
async def test_a_path_is_only_its_own(client: httpx.AsyncClient, path: str) -> None:
    """What nearly looks like a known path is no second way to it, past who filters paths before the gateway."""
    assert_canonical_error(await client.get(path, headers=KEY), "NOT_FOUND", 404)
