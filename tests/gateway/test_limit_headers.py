"""What every answer tells of the limits, which answers tell nothing, and what an address that guesses keys is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.app import create_app
from gateway.auth.secret import new_secret
from gateway.storage.keys import KeyTable
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, HELLO, JSON_HEADERS, KEY, asgi_client, served, settings_for, until
from tests.gateway.keyring import (
    HOUR_S,
    KEYS,
    ONE_KEY,
    PAGE_TIME_MS,
    Clock,
    OneKey,
    bearer,
    clocked_app,
    create,
    make_key,
    path_of,
)
from tests.gateway.test_security_headers import broken_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

LIMIT_HEADERS = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy"}
SMALL_BODIES = ECHO + "[server]\nmax_body_bytes = 1000\nmax_ai_body_bytes = 1000\n"
CORS = ECHO + "[server]\ncors_origins = ['https://console.example']\n"
PREFLIGHT = {"origin": "https://console.example", "access-control-request-method": "POST"}


def told(response: httpx.Response) -> set[str]:
    """Return which of the limits' headers an answer has; none may stand there twice."""
    names = [name.lower() for name, _ in response.headers.multi_items()]
    found = [name for name in names if name in LIMIT_HEADERS]
    assert len(found) == len(set(found)), found
    return set(found)


CHAT = json.dumps(HELLO)
LIMITED: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/", {}, 200),
    ("GET", "/ai/status", {}, 200),
    ("HEAD", "/ai/status", {}, 200),
    ("GET", "/v1/models", {"headers": KEY}, 200),
    ("GET", "/admin/keys", {"headers": KEY}, 200),
    ("GET", "/admin/usage", {"headers": KEY}, 200),
    ("POST", "/admin/keys", {"json": {"name": "new"}, "headers": KEY}, 201),
    ("DELETE", "/admin/keys/old", {"headers": KEY}, 204),
    ("POST", "/ai/chat", {"content": CHAT, "headers": JSON_HEADERS}, 200),
    ("POST", "/v1/chat/completions", {"content": CHAT, "headers": JSON_HEADERS}, 200),
    ("POST", "/ai/chat", {"content": "{", "headers": JSON_HEADERS}, 400),
    ("POST", "/ai/chat", {"content": CHAT}, 401),
    ("GET", "/v1/models", {"headers": {"authorization": "ApiKey old"}}, 401),
    ("GET", "/v1/models", {"headers": bearer("wrong")}, 401),
    ("GET", "/admin/audit", {"headers": bearer("a-read-key-of-these-tests")}, 403),
    ("GET", "/nowhere", {}, 404),
    ("GET", "/v1/nowhere", {"headers": KEY}, 404),
    ("DELETE", "/admin/keys/nobody", {"headers": KEY}, 404),
    ("PUT", "/ai/chat", {}, 405),
    ("POST", "/v1/models", {"headers": KEY}, 405),
    ("POST", "/admin/keys", {"json": {"name": "old"}, "headers": KEY}, 409),
    ("GET", "/api/v1/projects", {}, 410),
    ("POST", "/ai/chat", {"content": "x" * 1001, "headers": JSON_HEADERS}, 413),
    ("POST", "/v1/chat/completions", {"content": iter([b"x" * 1001]), "headers": JSON_HEADERS}, 413),
    ("POST", "/ai/chat", {"data": {"a": "b"}, "headers": KEY}, 415),
]


@pytest.mark.parametrize("base", ["", "/api/v2"])
async def test_every_limited_answer_tells_of_the_limit_once(tmp_path: Path, base: str) -> None:
    """Whatever it is, also where nothing is found and where the method is wrong."""
    settings = settings_for(tmp_path, SMALL_BODIES, API_KEY_READ="a-read-key-of-these-tests")
    async with asgi_client(create_app(settings)) as client:
        await create(client, "old")
        await create(client, "taken")
        for method, path, parts, status in LIMITED:
            more = dict(parts)
            if status == 409:
                more["json"] = {"name": "taken"}
            if "content" in more and not isinstance(more["content"], str):
                more["content"] = _chunks(b"x" * 1001)
            if path.startswith("/api"):
                response = await client.request(method, path, **more)
            else:
                response = await client.request(method, base + path, **more)
            assert response.status_code == status, (method, path, response.text)
            assert told(response) == LIMIT_HEADERS, (method, path, status)


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_a_failure_of_ours_tells_of_the_limit(tmp_path: Path) -> None:
    """If it was known by then; a 500 from before that has nothing to tell."""
    app = create_app(settings_for(tmp_path))
    async with asgi_client(app) as client:

        async def broken(*_: Any) -> None:
            raise ZeroDivisionError

        app.state.keys.page = broken  # type: ignore[method-assign,assignment]
        response = await client.get(KEYS, headers=KEY)
        assert_canonical_error(response, "INTERNAL_ERROR", 500)
        assert told(response) == LIMIT_HEADERS
    async with asgi_client(broken_app(tmp_path)) as client:
        assert (await client.get(KEYS, headers=KEY)).status_code == 500


async def test_a_streamed_answer_tells_of_the_limit(tmp_path: Path) -> None:
    """Its head is written by other code."""
    async with served(create_app(settings_for(tmp_path, GATEWAY_LIMITS__AI="10"))) as running:
        for number, path in enumerate(("/ai/chat", "/v1/chat/completions")):
            response = await running.client.post(path, json={**HELLO, "stream": True}, headers=KEY)
            assert response.status_code == 200
            assert told(response) == LIMIT_HEADERS
            assert response.headers["x-ratelimit-remaining"] == str(9 - number)


@pytest.mark.parametrize("toml", [ECHO, CORS], ids=["without CORS", "with CORS"])
@pytest.mark.parametrize("base", ["", "/api/v2"])
async def test_health_metrics_and_options_are_outside_of_all_limits(tmp_path: Path, toml: str, base: str) -> None:
    """A probe must not be refused, and a browser sends its preflights without a key; they spend nothing either."""
    environ = {f"GATEWAY_LIMITS__{name}": "1" for name in ("PER_KEY", "PER_IP", "UNAUTHENTICATED")}
    async with asgi_client(create_app(settings_for(tmp_path, toml, **environ))) as client:
        for _ in range(3):
            for headers in ({}, KEY, bearer("wrong")):
                for path in ("/health", "/health/live", "/health/ready", "/metrics"):
                    for method in ("GET", "HEAD", "POST", "OPTIONS"):
                        response = await client.request(method, base + path, headers=headers)
                        assert response.status_code == (200 if method in {"GET", "HEAD"} else 405)
                        assert told(response) == set()
                for path in ("/ai/chat", "/v1/models", "/admin/keys", "/", "/nowhere"):
                    for more in ({}, PREFLIGHT):
                        response = await client.options(base + path, headers={**headers, **more})
                        assert response.status_code in {200, 404, 405}
                        assert told(response) == set()
        assert (await client.get("/")).headers["x-ratelimit-remaining"] == "0"
        assert (await client.get("/")).status_code == 429


async def test_a_refused_scrape_counts_as_a_failed_authentication(tmp_path: Path) -> None:
    """Outside of the limits is who may scrape, not who guesses the token."""
    environ = {"METRICS_TOKEN": "a-token-of-the-tests", "GATEWAY_LIMITS__UNAUTHENTICATED": "3"}
    async with asgi_client(create_app(settings_for(tmp_path, ECHO, **environ))) as client:
        statuses = [(await client.get("/metrics", headers=bearer(f"guess-{n}"))).status_code for n in range(5)]
        assert statuses == [401] * 3 + [429] * 2
        for _ in range(5):
            scrape = await client.get("/metrics", headers=bearer("a-token-of-the-tests"))
            assert (scrape.status_code, told(scrape)) == (200, set())


async def test_the_headers_show_the_window_with_the_least_left(tmp_path: Path) -> None:
    """And when its oldest request leaves it, as a Unix second; the IETF's fields say all of them."""
    clock = Clock()
    limits = {"GATEWAY_LIMITS__PER_KEY": "10", "GATEWAY_LIMITS__PER_IP": "8", "GATEWAY_LIMITS__AI": "3"}
    async with asgi_client(clocked_app(tmp_path, clock, **limits)) as client:
        first = await client.get("/v1/models", headers=KEY)
        assert {name: first.headers[name] for name in LIMIT_HEADERS} == {
            "x-ratelimit-limit": "8",
            "x-ratelimit-remaining": "7",
            "x-ratelimit-reset": str(PAGE_TIME_MS // 1000 + 900),
            "ratelimit": '"ip";r=7;t=900',
            "ratelimit-policy": '"key";q=10;w=900, "ip";q=8;w=900',
        }
        clock.turn(0.25)
        chat = await client.post("/ai/chat", json=HELLO, headers=KEY)
        assert {name: chat.headers[name] for name in LIMIT_HEADERS} == {
            "x-ratelimit-limit": "3",
            "x-ratelimit-remaining": "2",
            # Rounded up, so that who comes at that second is not a moment too early.
            "x-ratelimit-reset": str(PAGE_TIME_MS // 1000 + 3601),
            "ratelimit": '"ai";r=2;t=3600',
            "ratelimit-policy": '"key";q=10;w=900, "ip";q=8;w=900, "ai";q=3;w=3600',
        }
        clock.turn(100)
        public = await client.get("/")
        assert public.headers["ratelimit-policy"] == '"unauthenticated";q=1000000;w=3600, "ip";q=8;w=900'
        assert public.headers["x-ratelimit-reset"] == str(PAGE_TIME_MS // 1000 + 900)


@pytest.mark.parametrize("off", ["PER_KEY", "PER_IP", "AI", "UNAUTHENTICATED"])
async def test_zero_switches_a_limit_off(tmp_path: Path, off: str) -> None:
    """That one only; and without any there is nothing to tell."""
    scopes = {"PER_KEY": "key", "PER_IP": "ip", "AI": "ai", "UNAUTHENTICATED": "unauthenticated"}
    async with asgi_client(create_app(settings_for(tmp_path, **{f"GATEWAY_LIMITS__{off}": "0"}))) as client:
        chat = (await client.post("/ai/chat", json=HELLO, headers=KEY)).headers["ratelimit-policy"]
        public = (await client.get("/")).headers["ratelimit-policy"]
    for name, scope in scopes.items():
        expected = name not in {off, "UNAUTHENTICATED"}
        assert (f'"{scope}"' in chat) is expected
        assert (f'"{scope}"' in public) is (name != off and name in {"UNAUTHENTICATED", "PER_IP"})


async def test_without_any_limit_nothing_is_told_and_nothing_refused(tmp_path: Path) -> None:
    """A key's own limit still holds: somebody wanted it."""
    none = {f"GATEWAY_LIMITS__{name}": "0" for name in ("PER_KEY", "PER_IP", "AI", "UNAUTHENTICATED")}
    async with asgi_client(create_app(settings_for(tmp_path, **none))) as client:
        key = await make_key(client, "k", "canUseAI", rateLimit=2)
        for headers in (KEY, {}, bearer("wrong")):
            for _ in range(5):
                response = await client.post("/ai/chat", json=HELLO, headers=headers)
                assert response.status_code == (200 if headers is KEY else 401)
                assert told(response) == set()
        assert [(await client.get("/v1/models", headers=key)).status_code for _ in range(3)] == [200, 200, 429]


class Finds:
    """Counts the look-ups of keys."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        find = KeyTable.find

        async def counted(table: KeyTable, digests: list[str]) -> Any:
            self.count += 1
            return await find(table, digests)

        monkeypatch.setattr(KeyTable, "find", counted)


async def test_who_has_guessed_too_often_is_refused_before_any_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A valid key from the same address passes all the same, also one that this process has never seen."""
    clock = Clock()
    async with asgi_client(clocked_app(tmp_path, clock, GATEWAY_LIMITS__UNAUTHENTICATED="10")) as client:
        seen, unseen = await make_key(client, "seen", "canUseAI"), await make_key(client, "unseen", "canUseAI")
        revoked, expired = await make_key(client, "revoked"), await make_key(client, "expired", expiresIn="1m")
        rotated = await make_key(client, "rotated")
        await client.post(path_of("rotated", "/rotate"), json={"overlap": "1m"}, headers=KEY)
        await client.delete(path_of("revoked"), headers=KEY)
        clock.turn(60)
        assert (await client.get("/v1/models", headers=seen)).status_code == 200
        for _ in range(10):
            assert (await client.get("/v1/models", headers=bearer(new_secret()))).status_code == 401
        finds = Finds(monkeypatch)
        for key in (bearer(new_secret()), revoked, expired, rotated, bearer("nonsense"), {}) * 2:
            refused = await client.get("/v1/models", headers=key)
            assert_canonical_error(refused, "RATE_LIMIT_EXCEEDED", 429)
            assert int(refused.headers["retry-after"]) == HOUR_S
        assert finds.count == 0
        for key in (seen, unseen, KEY):
            assert (await client.get("/v1/models", headers=key)).status_code == 200
        assert finds.count == 1
        clock.turn(HOUR_S)
        for key in (revoked, expired):
            assert (await client.get("/v1/models", headers=key)).status_code == 401
        assert finds.count == 3


async def test_a_key_made_after_the_start_passes_from_an_address_that_has_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here at once; at another gateway as soon as it has heard of the key."""
    monkeypatch.setattr("gateway.upkeep.KEYS_EVERY_S", 0.02)
    environ = {"GATEWAY_LIMITS__UNAUTHENTICATED": "2"}
    here, there = (create_app(settings_for(tmp_path, **environ)) for _ in range(2))
    async with asgi_client(here) as client, asgi_client(there) as other:
        for _ in range(3):
            for one in (client, other):
                await one.get("/v1/models", headers=bearer(new_secret()))
        made = await create(client, "k", "canUseAI")
        assert (await client.get("/v1/models", headers=bearer(made["key"]))).status_code == 200
        await until(lambda: there.state.authenticator.may_be_live(made["key"]))
        assert (await other.get("/v1/models", headers=bearer(made["key"]))).status_code == 200


async def test_a_key_without_any_permission_is_no_stranger(tmp_path: Path) -> None:
    """What it may not do is no failed authentication."""
    app = create_app(settings_for(tmp_path, GATEWAY_LIMITS__UNAUTHENTICATED="2"))
    app.state.authenticator = OneKey()
    async with asgi_client(app) as client:
        for _ in range(5):
            assert (await client.get("/admin/keys/x", headers=ONE_KEY)).status_code == 405
        assert (await client.get("/")).headers["x-ratelimit-remaining"] == "1"
