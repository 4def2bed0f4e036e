"""The four rate limits of the product page, seen from outside, on a clock that the tests turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gateway.auth.secret import new_secret
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client
from tests.gateway.keyring import HOUR_S, KEYS, Clock, bearer, clocked_app, make_key, path_of
from tests.gateway.test_metrics import scrape, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import httpx

    from gateway.app import Gateway

BEHIND_A_PROXY = ECHO + "[server]\ntrusted_proxies = ['127.0.0.0/8']\n"
LIMIT = 5
SCOPES = ("key", "ip", "ai", "unauthenticated")


class Rig(NamedTuple):
    """A gateway with one small limit."""

    app: Gateway
    client: httpx.AsyncClient
    clock: Clock

    async def get(self, key: dict[str, str] | None = None, path: str = "/v1/models", ip: str = "") -> httpx.Response:
        """Ask for a page, from an address if one is given."""
        headers = {**(key or {}), **({"x-forwarded-for": ip} if ip else {})}
        return await self.client.get(path, headers=headers)

    async def chat(self, key: dict[str, str], path: str = "/ai/chat") -> httpx.Response:
        """Ask a model."""
        return await self.client.post(path, json=HELLO, headers=key)

    async def key(self, name: str, **fields: Any) -> dict[str, str]:
        """Make a key that may use AI; as the admin, from an address that nobody else has."""
        self.client.headers["x-forwarded-for"] = "192.0.2.254"
        made = await make_key(self.client, name, "canUseAI", **fields)
        del self.client.headers["x-forwarded-for"]
        return made


@pytest.fixture
async def rig(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Run a gateway in which the limit of the test's choice is `LIMIT`."""
    clock = Clock()
    environ = {f"GATEWAY_LIMITS__{name}": str(LIMIT) for name in getattr(request, "param", "").split()}
    app = clocked_app(tmp_path, clock, BEHIND_A_PROXY, **environ)
    async with asgi_client(app) as client:
        yield Rig(app, client, clock)


def small(*names: str) -> pytest.MarkDecorator:
    """Make these limits small."""
    return pytest.mark.parametrize("rig", [" ".join(names)], indirect=True, ids=[""])


def assert_spent(response: httpx.Response, scope: str, window_s: int) -> int:
    """Assert the documented 429 and return its Retry-After in seconds."""
    error = assert_canonical_error(response, "RATE_LIMIT_EXCEEDED", 429)
    if "details" in error:
        assert error["details"] == {"limit": LIMIT, "window": window_s, "scope": scope}
    else:
        assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
    assert response.headers["x-ratelimit-remaining"] == "0"
    assert response.headers["ratelimit"].startswith(f'"{scope}";r=0;t=')
    wait = response.headers["retry-after"]
    assert wait.isdigit()
    assert f"try again in {wait} s" in error["message"]
    assert 1 <= int(wait) <= window_s
    return int(wait)


@small("PER_KEY")
async def test_each_key_has_its_own_window(rig: Rig) -> None:
    """Whatever is asked for counts, from whatever address; another key has all of its own left."""
    key, other = await rig.key("k"), await rig.key("other")
    left = []
    for number in range(LIMIT):
        response = await rig.get(key, ["/v1/models", "/nowhere", "/"][number % 3], ip=f"192.0.2.{number}")
        left.append(response.headers["x-ratelimit-remaining"])
    assert left == ["4", "3", "2", "1", "0"]
    assert_spent(await rig.get(key), "key", 900)
    assert_spent(await rig.get(key, "/api/v2/v1/models"), "key", 900)
    assert (await rig.get(other)).headers["x-ratelimit-remaining"] == "4"


@small("PER_IP")
async def test_each_address_has_its_own_window(rig: Rig) -> None:
    """All keys from it together, and requests without one."""
    keys = [await rig.key(f"k{number}") for number in range(2)]
    for number in range(LIMIT):
        key = keys[number % 2] if number else None
        assert (await rig.get(key, ip="192.0.2.1")).status_code == (200 if key else 401)
    for key in keys:
        assert_spent(await rig.get(key, ip="192.0.2.1"), "ip", 900)
        assert (await rig.get(key, ip="192.0.2.2")).status_code == 200
    assert_spent(await rig.get(None, "/", ip="192.0.2.1"), "ip", 900)


@small("AI")
async def test_ai_requests_have_a_window_besides(rig: Rig) -> None:
    """Both surfaces count in it, streamed and refused ones too; the list of models and the rest do not."""
    key = await rig.key("k")
    answers = [await rig.chat(key, path) for path in ("/ai/chat", "/v1/chat/completions", "/api/v2/ai/chat")]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert (await rig.client.post("/ai/chat", json={}, headers=key)).status_code == 400
    assert (await rig.client.post("/ai/chat", json={**HELLO, "stream": True}, headers=key)).status_code == 200
    for path in ("/ai/chat", "/v1/chat/completions", "/api/v2/v1/chat/completions"):
        wait = assert_spent(await rig.chat(key, path), "ai", 3600)
        assert wait == HOUR_S
    assert (await rig.get(key)).status_code == 200
    assert (await rig.chat(await rig.key("other"))).status_code == 200


@small("UNAUTHENTICATED")
@pytest.mark.parametrize("path", ["/v1/models", "/", "/nowhere", "/ai/status", "/admin/keys", "/api/v1/projects"])
async def test_requests_without_a_valid_key_count_by_address(rig: Rig, path: str) -> None:
    """Refused or public, missing or wrong, revoked or expired: it is all one window, of an hour."""
    revoked = await rig.key("revoked")
    await rig.client.delete(path_of("revoked"), headers=KEY)
    expired = await rig.key("expired", expiresIn="1m")
    rig.clock.turn(60)
    strangers = (None, bearer("nonsense"), bearer(new_secret()), revoked, expired)
    for number, key in enumerate(strangers):
        response = await rig.get(key, path, ip="192.0.2.1")
        assert response.status_code in {200, 401, 404, 410}
        assert response.headers["x-ratelimit-limit"] == str(LIMIT)
        assert response.headers["x-ratelimit-remaining"] == str(LIMIT - 1 - number)
    for key in strangers:
        assert_spent(await rig.get(key, path, ip="192.0.2.1"), "unauthenticated", 3600)
    assert (await rig.get(None, path, ip="192.0.2.2")).status_code in {200, 401, 404, 410}


async def _by_key(rig: Rig) -> Callable[[], Awaitable[httpx.Response]]:
    key = await rig.key("k")
    return lambda: rig.get(key)


async def _by_ai(rig: Rig) -> Callable[[], Awaitable[httpx.Response]]:
    key = await rig.key("k")
    return lambda: rig.chat(key)


async def _anonymously(rig: Rig) -> Callable[[], Awaitable[httpx.Response]]:
    return lambda: rig.get(None, "/")


@pytest.mark.parametrize(
    ("rig", "scope", "window_s", "make"),
    [
        ("PER_KEY", "key", 900, _by_key),
        ("PER_IP", "ip", 900, _by_key),
        ("AI", "ai", 3600, _by_ai),
        ("UNAUTHENTICATED", "unauthenticated", 3600, _anonymously),
    ],
    indirect=["rig"],
    ids=["key", "ip", "ai", "unauthenticated"],
)
async def test_who_waits_as_told_gets_through(rig: Rig, scope: str, window_s: int, make: Any) -> None:
    """To the second, and no sooner; what was refused meanwhile does not count, so the wait is not put off."""
    ask = await make(rig)
    for _ in range(LIMIT):
        assert (await ask()).status_code == 200
        rig.clock.turn(10)
    told = [assert_spent(await ask(), scope, window_s) for _ in range(20)]
    assert set(told) == {window_s - 10 * LIMIT}
    rig.clock.turn(told[0] - 1)
    assert assert_spent(await ask(), scope, window_s) == 1
    rig.clock.turn(1)
    for number in range(LIMIT):
        if number:
            # The window slides: the next place is free when the next request has left it.
            assert assert_spent(await ask(), scope, window_s) == 10
            rig.clock.turn(10)
        assert (await ask()).status_code == 200


@small("PER_KEY", "PER_IP")
async def test_a_rate_limit_of_its_own_replaces_both(rig: Rig) -> None:
    """More or less than the default; and such a key is not limited by address, nor does it spend that of others."""
    more, less, usual = await rig.key("more", rateLimit=12), await rig.key("less", rateLimit=2), await rig.key("usual")
    for number in range(12):
        response = await rig.get(more, ip="192.0.2.1")
        assert (response.status_code, response.headers["x-ratelimit-remaining"]) == (200, str(11 - number))
        assert response.headers["ratelimit-policy"] == '"key";q=12;w=900'
    refused = assert_canonical_error(await rig.get(more, "/", ip="192.0.2.1"), "RATE_LIMIT_EXCEEDED", 429)
    assert refused["details"] == {"limit": 12, "window": 900, "scope": "key"}
    assert [(await rig.get(less, ip="192.0.2.1")).status_code for _ in range(3)] == [200, 200, 429]
    for _ in range(LIMIT):
        assert (await rig.get(usual, ip="192.0.2.1")).status_code == 200
    assert (await rig.get(usual, ip="192.0.2.1")).status_code == 429


@small("AI")
async def test_an_ai_rate_limit_of_its_own_replaces_the_default(rig: Rig) -> None:
    """More or less; the other windows stay."""
    more, less = await rig.key("more", aiRateLimit=7), await rig.key("less", aiRateLimit=1)
    assert [(await rig.chat(more)).status_code for _ in range(8)] == [200] * 7 + [429]
    response = await rig.chat(less)
    assert response.headers["ratelimit-policy"] == '"key";q=1000000;w=900, "ip";q=1000000;w=900, "ai";q=1;w=3600'
    refused = assert_canonical_error(await rig.chat(less), "RATE_LIMIT_EXCEEDED", 429)
    assert refused["details"] == {"limit": 1, "window": 3600, "scope": "ai"}


@small("PER_KEY")
async def test_a_changed_limit_holds_for_the_next_request(rig: Rig) -> None:
    """With what was counted already."""
    key = await rig.key("k")
    for _ in range(LIMIT):
        await rig.get(key)
    assert (await rig.get(key)).status_code == 429
    await rig.client.patch(path_of("k"), json={"rateLimit": LIMIT + 1}, headers=KEY)
    assert [(await rig.get(key)).status_code for _ in range(2)] == [200, 429]
    await rig.client.patch(path_of("k"), json={"rateLimit": 1}, headers=KEY)
    refused = await rig.get(key)
    assert (refused.status_code, refused.headers["x-ratelimit-limit"]) == (429, "1")
    await rig.client.patch(path_of("k"), json={"rateLimit": None}, headers=KEY)
    assert (await rig.get(key)).headers["x-ratelimit-limit"] == str(LIMIT)


@small("UNAUTHENTICATED")
async def test_a_valid_key_on_a_public_route_is_no_stranger(rig: Rig) -> None:
    """It counts for its key there too."""
    key = await rig.key("k", rateLimit=50)
    for _ in range(LIMIT + 1):
        response = await rig.get(key, "/ai/status")
        assert (response.status_code, response.headers["x-ratelimit-limit"]) == (200, "50")
    assert (await rig.get(None, "/ai/status")).headers["x-ratelimit-remaining"] == str(LIMIT - 1)


@pytest.mark.parametrize(
    ("rig", "same", "other"),
    [
        ("UNAUTHENTICATED", ["2001:db8:0:1::1", "2001:db8:0:1:ffff::9", "2001:DB8:0:1:0:0:0:2"], "2001:db8:0:2::1"),
        ("PER_IP", ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:8000::"], "2001:db8:0:1::1"),
        ("PER_IP", ["198.51.100.7", "::ffff:198.51.100.7", "::ffff:c633:6407"], "198.51.100.8"),
    ],
    indirect=["rig"],
)
async def test_ipv6_counts_by_64_bits(rig: Rig, same: list[str], other: str) -> None:
    """That is what one customer is given, who could else have a new address for every request."""
    for number in range(LIMIT):
        assert (await rig.get(None, "/", ip=same[number % len(same)])).status_code == 200
    for ip in same:
        assert (await rig.get(None, "/", ip=ip)).status_code == 429
    assert (await rig.get(None, "/", ip=other)).status_code == 200


@small("UNAUTHENTICATED")
async def test_what_a_client_writes_does_not_change_its_address(rig: Rig) -> None:
    """Only the last entry was written by the proxy."""
    for number in range(LIMIT):
        await rig.get(None, "/", ip=f"203.0.113.{number}, 192.0.2.1")
    assert (await rig.get(None, "/", ip="203.0.113.99, 192.0.2.1")).status_code == 429


@small("PER_KEY", "AI", "UNAUTHENTICATED")
async def test_refusals_are_counted_by_scope(rig: Rig) -> None:
    """And stand in the log and in the statistics of the key as what they are."""
    by_key, by_ai = await rig.key("by-key"), await rig.key("by-ai", rateLimit=1000)
    for _ in range(LIMIT + 2):
        await rig.get(by_key)
        await rig.get(None, "/")
    for _ in range(LIMIT + 3):
        await rig.chat(by_ai)
    samples = await scrape(rig.client)
    counted = {scope: value(samples, "lunarbit_rate_limit_refusals_total", scope=scope) for scope in SCOPES}
    assert counted == {"key": 2, "unauthenticated": 2, "ai": 3, "ip": 0}
    admin = {**KEY, "x-forwarded-for": "192.0.2.77"}
    rig.clock.turn(HOUR_S)
    stats = (await rig.client.get(f"{KEYS}/stats", headers=admin)).json()["keys"]
    assert {row["name"]: (row["requests"], row["errors"]) for row in stats} == {"by-key": (7, 2), "by-ai": (8, 3)}
