"""`PATCH`, `POST .../rotate` and `DELETE` of one key: what each answers, and that it holds from the next request on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.canonical import assert_canonical_error, assert_security_headers
from tests.gateway.edge import ECHO, HELLO, KEY, asgi_client
from tests.gateway.keyring import (
    DAY_S,
    HOUR_S,
    KEYS,
    MINUTE_S,
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
from tests.gateway.test_keys_create import BAD_DURATIONS, BAD_VALUES, BUDGET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

FULL: dict[str, Any] = {
    "description": "before",
    "rateLimit": 100,
    "aiRateLimit": 50,
    "maxTokensPerRequest": 500,
    "tokensPerDay": 10_000,
    "maxParallel": 4,
    "budget": {**BUDGET, "amount": 5.0},
    "allowedProjects": ["trackly"],
    "allowedModels": ["echo"],
    "tags": ["a", "b"],
}
RESET: dict[str, Any] = {**dict.fromkeys(FULL), "description": "", "tags": []}


@pytest.fixture
def clock() -> Clock:
    """Begin at the time of the product page's example."""
    return Clock()


@pytest.fixture
async def admin(tmp_path: Path, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway as the bootstrap admin."""
    prices = tmp_path / "prices.toml"
    prices.write_text("currency = 'USD'\n", encoding="utf-8")
    async with asgi_client(clocked_app(tmp_path, clock, ECHO + f"[usage]\nprices = '{prices}'\n")) as client:
        client.headers.update(KEY)
        yield client


async def status(client: httpx.AsyncClient, key: dict[str, str]) -> int:
    """Return what `GET /v1/models` answers to a key."""
    return (await client.get("/v1/models", headers=key)).status_code


async def test_an_absent_field_stays_and_null_resets(admin: httpx.AsyncClient) -> None:
    """Field by field, and all of them together; the answer is the key as lists show it."""
    await create(admin, "k", "canUseAI", expiresIn="1y", **FULL)
    before = (await listed(admin))["k"]
    assert {field: before[field] for field in FULL} == FULL
    same = await admin.patch(path_of("k"), json={})
    assert (same.status_code, same.json()) == (200, before)
    assert same.headers["cache-control"] == "no-store"
    assert_security_headers(same)
    for field, value in FULL.items():
        changed = (await admin.patch(path_of("k"), json={field: None})).json()
        assert changed == {**before, field: RESET[field]}
        assert (await admin.patch(path_of("k"), json={field: value})).json() == before
    gone = (await admin.patch(path_of("k"), json=dict.fromkeys([*FULL, "expiresIn"]))).json()
    assert gone == {**before, **RESET, "expiresAt": None}
    assert (await listed(admin))["k"] == gone


async def test_permissions_are_merged(admin: httpx.AsyncClient) -> None:
    """Who adds one must not take the others away without a word; false takes one away."""
    await create(admin, "k", "canUseAI", "canReadUsage")
    changed = await admin.patch(path_of("k"), json={"permissions": {"canReadAudit": True, "canReadUsage": False}})
    held = {name for name, has in changed.json()["permissions"].items() if has}
    assert held == {"canUseAI", "canReadAudit"}
    assert set(changed.json()["permissions"]) == set(PERMISSIONS)


async def test_an_expiry_counts_from_the_change(admin: httpx.AsyncClient, clock: Clock) -> None:
    """Also that of a key which has expired: it works again."""
    key = await make_key(admin, "k", "canUseAI", expiresIn="1h")
    clock.turn(HOUR_S)
    assert await status(admin, key) == 401
    changed = (await admin.patch(path_of("k"), json={"expiresIn": "30m"})).json()
    assert (changed["createdAt"], changed["expiresAt"]) == ("2026-02-07T10:00:00Z", "2026-02-07T11:30:00Z")
    assert changed["status"] == "active"
    assert await status(admin, key) == 200
    clock.turn(30 * MINUTE_S)
    assert await status(admin, key) == 401
    assert (await admin.patch(path_of("k"), json={"expiresIn": None})).json()["expiresAt"] is None
    assert await status(admin, key) == 200


async def test_a_change_holds_from_the_next_request_on(admin: httpx.AsyncClient) -> None:
    """In this process at once, although the key is known and needs no look-up."""
    key = await make_key(admin, "k", "canUseAI")
    for flag, expected in ((True, 200), (False, 403)) * 3:
        await admin.patch(path_of("k"), json={"permissions": {"canUseAI": flag}})
        assert await status(admin, key) == expected
        assert await status(admin, key) == expected


@pytest.mark.parametrize("field", [field for field in BAD_VALUES if field not in {"name", "Name"}])
async def test_a_change_follows_the_rules_of_a_creation(admin: httpx.AsyncClient, field: str) -> None:
    """And a refused one changes nothing."""
    await create(admin, "k", "canUseAI", **FULL)
    before = await listed(admin)
    for value in BAD_VALUES[field]:
        body = {"description": "after", field.partition(".")[0]: value}
        error = assert_canonical_error(await admin.patch(path_of("k"), json=body), "INVALID_REQUEST", 400)
        assert [entry["field"] for entry in error["details"]["errors"]] == [field], value
    assert await listed(admin) == before


async def test_a_name_stays(admin: httpx.AsyncClient) -> None:
    """It is the key's id, in logs and in the audit too; the other mistakes are told with it."""
    await create(admin, "k")
    for name in ("k", "other", "a/b", None):
        error = assert_canonical_error(
            await admin.patch(path_of("k"), json={"name": name, "rateLimit": 0, "x": 1}), "INVALID_REQUEST", 400
        )
        told = {entry["field"]: entry["message"] for entry in error["details"]["errors"]}
        assert set(told) == {"name", "rateLimit", "x"}
        assert told["name"] == "cannot be changed"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"tags":["a"],"tags":[]}'])
async def test_a_body_that_is_not_one_plain_object_is_400(admin: httpx.AsyncClient, content: bytes) -> None:
    """For a rotation an empty one is enough."""
    await create(admin, "k")
    headers = {"content-type": "application/json"}
    changed = await admin.patch(path_of("k"), content=content, headers=headers)
    assert_canonical_error(changed, "INVALID_REQUEST", 400)
    rotated = await admin.post(path_of("k", "/rotate"), content=content, headers=headers)
    if content:
        assert_canonical_error(rotated, "INVALID_REQUEST", 400)
    else:
        assert rotated.status_code == 201


@pytest.mark.parametrize("name", ["nobody", "gone", "K", "k ", "x" * 5000, "a%2Fb"])
async def test_a_key_that_is_not_there_is_404(admin: httpx.AsyncClient, name: str) -> None:
    """One that was revoked is not there either; the names that are help against typing errors."""
    await create(admin, "k")
    await create(admin, "gone")
    await admin.delete(path_of("gone"))
    for response in (
        await admin.patch(path_of(name), json={}),
        await admin.post(path_of(name, "/rotate")),
        await admin.delete(path_of(name)),
    ):
        error = assert_canonical_error(response, "KEY_NOT_FOUND", 404)
        assert error["details"] == {"name": name[:100], "available_keys": ["k"]}
        assert len(response.content) < 1000
    assert_canonical_error(await admin.get(path_of("k")), "METHOD_NOT_ALLOWED", 405)


async def test_a_rotation_gives_a_new_secret_and_an_overlap(admin: httpx.AsyncClient, clock: Clock) -> None:
    """A day, if nobody says otherwise: time to exchange the old one everywhere."""
    old = await create(admin, "k", "canUseAI", expiresIn="90d")
    clock.turn(60)
    response = await admin.post(path_of("k", "/rotate"))
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    assert re.fullmatch(r"lbapi_[0-9A-Za-z]{46}", answer["key"])
    assert answer == {
        "message": "API key rotated successfully",
        "key": answer["key"],
        "name": "k",
        "permissions": old["permissions"],
        "createdAt": "2026-02-07T10:00:00Z",
        "expiresAt": "2026-05-08T10:00:00Z",
        "previousKeyValidUntil": "2026-02-08T10:01:00Z",
        "warning": "Save this key now - it will not be shown again!",
    }
    assert (await listed(admin))["k"]["maskedKey"] == answer["key"][:10] + "********"
    for _ in range(2):
        assert await status(admin, bearer(old["key"])) == 200
        assert await status(admin, bearer(answer["key"])) == 200
        clock.turn(DAY_S / 2 - 0.0005)
    clock.turn(0.001)
    refused = await admin.get("/v1/models", headers=bearer(old["key"]))
    assert_canonical_error(refused, "KEY_EXPIRED", 401)
    assert await status(admin, bearer(answer["key"])) == 200


@pytest.mark.parametrize(("overlap", "seconds"), [("0", 0), ("1m", 60), ("2h", 2 * HOUR_S), ("2w", 14 * DAY_S)])
async def test_an_overlap_is_as_long_as_asked_for(
    admin: httpx.AsyncClient, clock: Clock, overlap: Any, seconds: int
) -> None:
    """Nothing at all, if the old secret is known to have leaked; its use just before changes nothing."""
    old = await make_key(admin, "k", "canUseAI")
    assert await status(admin, old) == 200
    answer = (await admin.post(path_of("k", "/rotate"), json={"overlap": overlap})).json()
    if seconds:
        clock.turn(seconds - 0.001)
        assert await status(admin, old) == 200
        clock.turn(0.001)
    assert await status(admin, old) == 401
    assert await status(admin, bearer(answer["key"])) == 200


@pytest.mark.parametrize("overlap", [value for value in BAD_DURATIONS if value != "0"] + [0, 0.0, False, -1])
async def test_a_bad_overlap_is_400(admin: httpx.AsyncClient, overlap: Any) -> None:
    """And the secret stays what it was."""
    key = await make_key(admin, "k", "canUseAI")
    response = await admin.post(path_of("k", "/rotate"), json={"overlap": overlap})
    error = assert_canonical_error(response, "INVALID_REQUEST", 400)
    assert error["details"]["errors"][0]["field"] == "overlap"
    wrong = await admin.post(path_of("k", "/rotate"), json={"Overlap": "1h"})
    assert_canonical_error(wrong, "INVALID_REQUEST", 400)
    assert await status(admin, key) == 200


async def test_an_overlap_of_null_is_the_usual_one(admin: httpx.AsyncClient, clock: Clock) -> None:
    """Null is the same as absent, here as everywhere; it ends no secret."""
    old = await make_key(admin, "k", "canUseAI")
    answer = (await admin.post(path_of("k", "/rotate"), json={"overlap": None})).json()
    assert answer["previousKeyValidUntil"] == "2026-02-08T10:00:00Z"
    assert await status(admin, old) == 200


async def test_a_second_rotation_puts_no_end_off(admin: httpx.AsyncClient, clock: Clock) -> None:
    """Every earlier secret ends when it was to end, or sooner."""
    first = await make_key(admin, "k", "canUseAI")
    second = bearer((await admin.post(path_of("k", "/rotate"), json={"overlap": "1h"})).json()["key"])
    third = bearer((await admin.post(path_of("k", "/rotate"), json={"overlap": "2h"})).json()["key"])
    clock.turn(HOUR_S)
    assert [await status(admin, key) for key in (first, second, third)] == [401, 200, 200]
    fourth = bearer((await admin.post(path_of("k", "/rotate"), json={"overlap": "1m"})).json()["key"])
    clock.turn(60)
    assert [await status(admin, key) for key in (first, second, third, fourth)] == [401, 401, 401, 200]


async def test_a_rotation_changes_nothing_else(admin: httpx.AsyncClient, clock: Clock) -> None:
    """Neither expiry nor limits, nor what is counted: both secrets are one key."""
    old = await make_key(admin, "k", "canUseAI", rateLimit=10, expiresIn="1h")
    before = (await listed(admin))["k"]
    assert (await admin.get("/v1/models", headers=old)).headers["x-ratelimit-remaining"] == "9"
    new = bearer((await admin.post(path_of("k", "/rotate"))).json()["key"])
    assert (await admin.get("/v1/models", headers=new)).headers["x-ratelimit-remaining"] == "8"
    assert (await admin.get("/v1/models", headers=old)).headers["x-ratelimit-remaining"] == "7"
    after = (await listed(admin))["k"]
    assert after == {**before, "maskedKey": after["maskedKey"], "lastUsedAt": after["lastUsedAt"]}
    assert (await admin.get(f"{KEYS}/stats")).json()["keys"][0]["requests"] == 3
    clock.turn(HOUR_S)
    assert [await status(admin, key) for key in (old, new)] == [401, 401]


async def test_a_revocation_ends_every_secret_for_good(admin: httpx.AsyncClient) -> None:
    """204 with no body; 401 KEY_REVOKED from the next request on; 404 for who revokes it again."""
    old = await make_key(admin, "k", "canUseAI")
    new = bearer((await admin.post(path_of("k", "/rotate"))).json()["key"])
    other = await make_key(admin, "other", "canUseAI")
    assert [await status(admin, key) for key in (old, new)] == [200, 200]
    response = await admin.delete(path_of("k"))
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["cache-control"] == "no-store"
    assert_security_headers(response)
    for key in (old, new):
        for path, method in (("/v1/models", "GET"), ("/ai/chat", "POST"), ("/v1/chat/completions", "POST")):
            refused = await admin.request(method, path, json=HELLO, headers=key)
            assert_canonical_error(refused, "KEY_REVOKED", 401)
            assert refused.headers["www-authenticate"] == "Bearer"
    assert_canonical_error(await admin.delete(path_of("k")), "KEY_NOT_FOUND", 404)
    assert await status(admin, other) == 200
    shown = (await listed(admin))["k"]
    assert (shown["status"], shown["permissions"]["canUseAI"]) == ("revoked", True)


async def test_a_name_that_is_used_again_does_not_wake_the_old_secret(admin: httpx.AsyncClient) -> None:
    """The name is the same, the key is not."""
    old = await make_key(admin, "k", "canUseAI")
    await admin.delete(path_of("k"))
    new = await make_key(admin, "k", "canUseAI")
    assert [await status(admin, key) for key in (old, new)] == [401, 200]
    await admin.patch(path_of("k"), json={"permissions": granted("canReadUsage")})
    assert [await status(admin, key) for key in (old, new)] == [401, 200]
    await admin.delete(path_of("k"))
    assert [await status(admin, key) for key in (old, new)] == [401, 401]


@pytest.mark.parametrize("name", ["bootstrap-admin", "bootstrap-read"])
async def test_the_bootstrap_keys_are_not_in_the_store(tmp_path: Path, name: str) -> None:
    """They can be neither revoked nor changed here, and no other key can take their names."""
    async with asgi_client(clocked_app(tmp_path, Clock(), API_KEY_READ="a-read-key-of-these-tests")) as client:
        client.headers.update(KEY)
        assert_canonical_error(await client.delete(path_of(name)), "KEY_NOT_FOUND", 404)
        assert_canonical_error(await client.patch(path_of(name), json={}), "KEY_NOT_FOUND", 404)
        assert await listed(client) == {}
        assert_canonical_error(await client.post(KEYS, json={"name": name}), "KEY_NAME_EXISTS", 409)
        assert (await client.get(KEYS)).status_code == 200
