"""`GET /admin/keys` and `GET /admin/keys/stats`: what is shown of keys, never their secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.canonical import assert_canonical_error, assert_security_headers
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client, upstream_toml
from tests.gateway.keyring import (
    DAY_S,
    HOUR_S,
    KEYS,
    PERMISSIONS,
    Clock,
    bearer,
    clocked_app,
    create,
    granted,
    listed,
    make_key,
    path_of,
)
from tests.upstream import Script, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

STATS = f"{KEYS}/stats"
EMPTY_TOKENS = {"prompt": 0, "completion": 0, "total": 0}


@pytest.fixture
def clock() -> Clock:
    """Begin at the time of the product page's example."""
    return Clock()


@pytest.fixture
async def admin(tmp_path: Path, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway as the bootstrap admin."""
    prices = tmp_path / "prices.toml"
    prices.write_text("currency = 'EUR'\n", encoding="utf-8")
    async with asgi_client(clocked_app(tmp_path, clock, ECHO + f"[usage]\nprices = '{prices}'\n")) as client:
        client.headers.update(KEY)
        yield client


async def test_a_list_shows_every_field(admin: httpx.AsyncClient, clock: Clock) -> None:
    """Exactly the documented ones, with what was asked for; and no secret."""
    fields: dict[str, Any] = {
        "description": "two\nlines",
        "rateLimit": 10,
        "aiRateLimit": 2**53,
        "maxTokensPerRequest": 1,
        "tokensPerDay": 100_000,
        "maxParallel": 3,
        "budget": {"amount": 0.000000001, "currency": "EUR", "period": "total"},
        "allowedProjects": ["trackly", "csviewer"],
        "allowedModels": ["gpt-4", "up/gpt-4"],
        "tags": ["ü", "production", "ü"],
    }
    answer = await create(admin, "full", "canUseAI", "canReadAudit", expiresIn="1w", **fields)
    clock.turn(3)
    await admin.get("/v1/models", headers=bearer(answer["key"]))
    response = await admin.get(KEYS)
    assert response.headers["cache-control"] == "no-store"
    assert_security_headers(response)
    assert response.json() == {
        "keys": [
            {
                "name": "full",
                "maskedKey": answer["key"][:10] + "********",
                "permissions": {name: name in {"canUseAI", "canReadAudit"} for name in PERMISSIONS},
                "createdAt": "2026-02-07T10:00:00Z",
                "expiresAt": "2026-02-14T10:00:00Z",
                "lastUsedAt": "2026-02-07T10:00:03Z",
                "status": "active",
                **fields,
                "tags": ["ü", "production"],
            }
        ],
        "total": 1,
        "page": 1,
        "per_page": 20,
    }


async def test_a_new_key_has_nothing_to_show(admin: httpx.AsyncClient) -> None:
    """What was not given is null, or empty where it is a list or a text."""
    await create(admin, "bare")
    shown = (await listed(admin))["bare"]
    empty = {name: value for name, value in shown.items() if name not in {"name", "maskedKey", "createdAt", "status"}}
    limits = ("rateLimit", "aiRateLimit", "maxTokensPerRequest", "tokensPerDay", "maxParallel", "budget")
    nothing = dict.fromkeys((*limits, "allowedProjects", "allowedModels", "expiresAt", "lastUsedAt"))
    assert empty == {"description": "", "permissions": dict.fromkeys(PERMISSIONS, False), "tags": [], **nothing}


async def test_pages_hold_every_key_once_in_the_order_of_their_creation(admin: httpx.AsyncClient, clock: Clock) -> None:
    """Also those of one millisecond; revoked and expired ones stay in the list, so that nothing is forgotten."""
    names = [f"k{number}" for number in range(23)]
    for number, name in enumerate(names):
        await create(admin, name, expiresIn="1d" if name == "k3" else None)
        clock.turn(number % 3)
    await admin.delete(path_of("k5"))
    clock.turn(DAY_S)
    by_time: dict[str, list[str]] = {}
    for per_page in (1, 7, 20, 23, 100):
        found = []
        for page in range(1, 25):
            answer = (await admin.get(KEYS, params={"page": page, "per_page": per_page})).json()
            assert (answer["total"], answer["page"], answer["per_page"]) == (23, page, per_page)
            assert len(answer["keys"]) <= per_page
            found += answer["keys"]
        assert sorted(key["name"] for key in found) == sorted(names)
        assert [key["createdAt"] for key in found] == sorted(key["createdAt"] for key in found)
        by_time.setdefault("order", [key["name"] for key in found])
        assert [key["name"] for key in found] == by_time["order"]
    statuses = {name: key["status"] for name, key in (await listed(admin, per_page=100)).items()}
    assert {name for name, status in statuses.items() if status != "active"} == {"k3", "k5"}
    assert (statuses["k3"], statuses["k5"]) == ("expired", "revoked")
    assert (await admin.get(KEYS)).json()["per_page"] == 20


async def test_a_tag_must_fit_whole_and_in_its_case(admin: httpx.AsyncClient, clock: Clock) -> None:
    """Filters are for programs too, which do not want what merely looks alike."""
    tags = {
        "a": ["prod", "mobile-app"],
        "b": ["production"],
        "c": ["Prod"],
        "d": ["pro", "d"],
        "e": [],
        "f": ["x prod", "prod y", "%", "_", "straße"],
        "g": ["prod"],
    }
    for name, own in tags.items():
        await create(admin, name, tags=own)
        clock.turn(1)
    await admin.delete(path_of("g"))
    for tag in ("prod", "Prod", "PROD", "pro", "production", "%", "_", "x prod", "straße", "STRASSE", "prod%", "a,b"):
        expected = [name for name, own in tags.items() if tag in own]
        answer = (await admin.get(KEYS, params={"tag": tag})).json()
        assert [key["name"] for key in answer["keys"]] == expected, tag
        assert answer["total"] == len(expected)
    second = (await admin.get(KEYS, params={"tag": "prod", "per_page": 1, "page": 2})).json()
    assert ([key["name"] for key in second["keys"]], second["total"]) == (["g"], 2)


BAD_QUERIES = {
    "page=0": ["page"],
    "page=-1": ["page"],
    "page=x": ["page"],
    "page=": ["page"],
    "page=1.0": ["page"],
    "page=%D9%A1": ["page"],
    "page=1000000001": ["page"],
    "page=99999999999999999999999": ["page"],
    "per_page=0": ["per_page"],
    "per_page=101": ["per_page"],
    "perPage=5": ["perPage"],
    "tag=": ["tag"],
    "tag=a%0Ab": ["tag"],
    "tag=a&tag=b": ["tag"],
    "page=1&page=2": ["page"],
    "tags=a&per_page=0&page=0": ["page", "per_page", "tags"],
}


@pytest.mark.parametrize("query", BAD_QUERIES)
async def test_a_parameter_that_is_not_understood_is_400(admin: httpx.AsyncClient, query: str) -> None:
    """All of them at once, and none is ignored: a filter with a typing error would show every key."""
    error = assert_canonical_error(await admin.get(f"{KEYS}?{query}"), "INVALID_REQUEST", 400)
    assert sorted(entry["field"] for entry in error["details"]["errors"]) == BAD_QUERIES[query]


async def test_the_statistics_of_an_unused_gateway(admin: httpx.AsyncClient) -> None:
    """Zeros, not absences; the bootstrap admin is no key of the store."""
    assert (await admin.get(STATS)).json() == {
        "keys": [],
        "totals": {"requests": 0, "errors": 0, "tokens": EMPTY_TOKENS},
    }
    await create(admin, "k")
    zero = {"name": "k", "requests": 0, "errors": 0, "tokens": EMPTY_TOKENS, "lastUsedAt": None, "byDay": []}
    response = await admin.get(STATS)
    assert response.json() == {"keys": [zero], "totals": {"requests": 0, "errors": 0, "tokens": EMPTY_TOKENS}}
    assert response.headers["cache-control"] == "no-store"


async def test_the_statistics_count_requests_errors_and_tokens_by_day(tmp_path: Path, clock: Clock) -> None:
    """As the provider reported them; a refused permission is an error of the key, a wrong key nobody's."""
    async with Upstream() as up, asgi_client(clocked_app(tmp_path, clock, upstream_toml(up.base_url))) as client:
        first = await make_key(client, "first", "canUseAI")
        clock.turn(1)
        second = await make_key(client, "second", "canUseAI")
        for _ in range(2):
            assert (await client.post("/ai/chat", json=HELLO, headers=first)).status_code == 200
        assert (await client.get("/v1/models", headers=first)).status_code == 200
        assert (await client.post("/ai/chat", json={**HELLO, "model": "x"}, headers=first)).status_code == 404
        assert (await client.get("/admin/usage", headers=first)).status_code == 403
        assert (await client.get("/nowhere", headers=first)).status_code == 404
        assert (await client.get("/v1/models", headers=bearer("lbapi_nobody"))).status_code == 401
        up.queue(Script.status(400))
        assert (await client.post("/v1/chat/completions", json=HELLO, headers=second)).status_code == 400
        clock.turn(14 * HOUR_S - 2)
        assert (await client.post("/v1/chat/completions", json=HELLO, headers=first)).status_code == 200
        clock.turn(DAY_S)
        assert (await client.post("/ai/chat", json={**HELLO, "stream": True}, headers=first)).status_code == 200
        stats = (await client.get(STATS, headers=KEY)).json()

    def tokens(answers: int) -> dict[str, int]:
        return {"prompt": 7 * answers, "completion": 5 * answers, "total": 12 * answers}

    def day(date: str, requests: int, errors: int, answers: int) -> dict[str, Any]:
        return {"date": date, "requests": requests, "errors": errors, "tokens": tokens(answers)}

    assert stats["keys"] == [
        {
            "name": "first",
            "requests": 8,
            "errors": 3,
            "tokens": tokens(4),
            "lastUsedAt": "2026-02-08T23:59:59Z",
            "byDay": [day("2026-02-07", 7, 3, 3), day("2026-02-08", 1, 0, 1)],
        },
        {
            "name": "second",
            "requests": 1,
            "errors": 1,
            "tokens": tokens(0),
            "lastUsedAt": "2026-02-07T10:00:01Z",
            "byDay": [day("2026-02-07", 1, 1, 0)],
        },
    ]
    assert stats["totals"] == {"requests": 9, "errors": 4, "tokens": tokens(4)}


async def test_a_revoked_name_that_is_used_again_starts_at_zero(admin: httpx.AsyncClient, clock: Clock) -> None:
    """What another key did under this name is not the new one's; both stand in the list."""
    old = await make_key(admin, "name", "canUseAI")
    for _ in range(3):
        await admin.post("/ai/chat", json=HELLO, headers=old)
    await admin.delete(path_of("name"))
    (of_old,) = (await admin.get(STATS)).json()["keys"]
    assert of_old["requests"] == 3
    assert of_old["tokens"]["total"] > 0
    clock.turn(60)
    await create(admin, "name", "canUseAI")
    (of_new,) = (await admin.get(STATS)).json()["keys"]
    assert of_new == {**of_old, "requests": 0, "tokens": EMPTY_TOKENS, "lastUsedAt": None, "byDay": []}
    both = (await admin.get(KEYS)).json()["keys"]
    assert [(key["status"], key["lastUsedAt"]) for key in both] == [
        ("revoked", "2026-02-07T10:00:00Z"),
        ("active", None),
    ]


@pytest.mark.parametrize("permission", ["canCreateKeys", "canRevokeKeys"])
async def test_who_may_create_or_revoke_may_read(admin: httpx.AsyncClient, permission: str) -> None:
    """Either needs to see what there is."""
    reader = await make_key(admin, "reader", permission)
    for path in (KEYS, STATS):
        assert (await admin.get(path, headers=reader)).status_code == 200
        assert (await admin.head(path, headers=reader)).status_code == 200
    await admin.patch(path_of("reader"), json={"permissions": {**granted("canUseAI"), permission: False}})
    for path in (KEYS, STATS):
        error = assert_canonical_error(await admin.get(path, headers=reader), "FORBIDDEN", 403)
        assert error["details"] == {"required_permission": "canCreateKeys"}
