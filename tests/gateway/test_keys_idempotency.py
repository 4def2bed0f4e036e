"""`Idempotency-Key` on `POST /admin/keys`: whoever did not see the answer asks again, and no second key is made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import HELLO, KEY, asgi_client, log_lines
from tests.gateway.keyring import (
    DAY_S,
    KEYS,
    PERMISSIONS,
    Clock,
    bearer,
    clocked_app,
    granted,
    listed,
    make_key,
    path_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import BytesIO
    from pathlib import Path

    import httpx

BODY: dict[str, Any] = {"name": "k", "permissions": granted("canUseAI"), "expiresIn": "90d"}
ONCE = {"idempotency-key": "0f8f1f2e-create-k"}


@pytest.fixture
def clock() -> Clock:
    """Let time stand still."""
    return Clock()


@pytest.fixture
async def admin(tmp_path: Path, clock: Clock, log: BytesIO) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway as the bootstrap admin."""
    async with asgi_client(clocked_app(tmp_path, clock)) as client:
        client.headers.update(KEY)
        yield client


async def test_a_repeat_is_200_without_the_secret(admin: httpx.AsyncClient, clock: Clock) -> None:
    """The secret is not kept, so it cannot be told again; the rest is what the first answer said."""
    first = await admin.post(KEYS, json=BODY, headers=ONCE)
    assert first.status_code == 201
    clock.turn(60)
    for _ in range(2):
        again = await admin.post(KEYS, json=BODY, headers=ONCE)
        assert again.status_code == 200
        assert again.headers["cache-control"] == "no-store"
        expected = {name: value for name, value in first.json().items() if name not in {"key", "warning"}}
        assert again.json() == expected
    assert list(await listed(admin)) == ["k"]
    works = await admin.post("/ai/chat", json=HELLO, headers=bearer(first.json()["key"]))
    assert works.status_code == 200


async def test_the_order_and_spelling_of_a_body_do_not_matter(admin: httpx.AsyncClient) -> None:
    """It is the same request for whoever reads JSON."""
    await admin.post(KEYS, json=BODY, headers=ONCE)
    content = '{ "expiresIn":"90d", "permissions": {"canUseAI" : true},\n"n\\u0061me":"k"}'
    headers = {**ONCE, "content-type": "application/json"}
    assert (await admin.post(KEYS, content=content, headers=headers)).status_code == 200


@pytest.mark.parametrize("more", [{"name": "other"}, {"rateLimit": 5}, {"permissions": {}}, {"expiresIn": "91d"}])
async def test_another_body_is_409(admin: httpx.AsyncClient, more: dict[str, Any]) -> None:
    """Else the caller would believe that it has what it asked for."""
    await admin.post(KEYS, json=BODY, headers=ONCE)
    assert_canonical_error(await admin.post(KEYS, json=BODY | more, headers=ONCE), "IDEMPOTENCY_KEY_REUSED", 409)
    assert list(await listed(admin)) == ["k"]
    assert (await admin.post(KEYS, json=BODY, headers=ONCE)).status_code == 200


async def test_without_one_a_repeat_is_a_second_request(admin: httpx.AsyncClient) -> None:
    """And with another one too."""
    await admin.post(KEYS, json=BODY, headers=ONCE)
    assert_canonical_error(await admin.post(KEYS, json=BODY), "KEY_NAME_EXISTS", 409)
    other = {"idempotency-key": ONCE["idempotency-key"].upper()}
    assert_canonical_error(await admin.post(KEYS, json=BODY, headers=other), "KEY_NAME_EXISTS", 409)


async def test_a_refused_request_is_not_remembered(admin: httpx.AsyncClient) -> None:
    """Whoever mends the mistake may use the same one."""
    bad = await admin.post(KEYS, json=BODY | {"rateLimit": 0}, headers=ONCE)
    assert_canonical_error(bad, "INVALID_REQUEST", 400)
    assert (await admin.post(KEYS, json=BODY, headers=ONCE)).status_code == 201
    taken = {"idempotency-key": "another"}
    assert_canonical_error(await admin.post(KEYS, json=BODY, headers=taken), "KEY_NAME_EXISTS", 409)
    assert (await admin.post(KEYS, json=BODY | {"name": "free"}, headers=taken)).status_code == 201


async def test_another_caller_has_its_own(admin: httpx.AsyncClient) -> None:
    """One caller can neither see nor block what another one made."""
    other = await make_key(admin, "second-admin", *PERMISSIONS)
    await admin.post(KEYS, json=BODY, headers=ONCE)
    assert (await admin.post(KEYS, json=BODY | {"name": "mine"}, headers=ONCE | other)).status_code == 201
    assert (await admin.post(KEYS, json=BODY, headers=ONCE)).status_code == 200
    repeat = await admin.post(KEYS, json=BODY | {"name": "mine"}, headers=ONCE | other)
    assert (repeat.status_code, repeat.json()["name"]) == (200, "mine")


async def test_it_is_kept_for_24_hours(admin: httpx.AsyncClient, clock: Clock) -> None:
    """To the millisecond, counted from the first answer; then it is a new request."""
    await admin.post(KEYS, json=BODY, headers=ONCE)
    clock.turn(DAY_S - 0.001)
    assert (await admin.post(KEYS, json=BODY, headers=ONCE)).status_code == 200
    clock.turn(0.001)
    assert_canonical_error(await admin.post(KEYS, json=BODY, headers=ONCE), "KEY_NAME_EXISTS", 409)
    assert (await admin.post(KEYS, json=BODY | {"name": "new"}, headers=ONCE)).status_code == 201
    assert (await admin.post(KEYS, json=BODY | {"name": "new"}, headers=ONCE)).status_code == 200


async def test_a_repeat_makes_no_key_anew_that_was_revoked(admin: httpx.AsyncClient) -> None:
    """A late repeat of a lost answer must not undo what somebody has decided since."""
    secret = (await admin.post(KEYS, json=BODY, headers=ONCE)).json()["key"]
    await admin.delete(path_of("k"))
    assert (await admin.post(KEYS, json=BODY, headers=ONCE)).status_code == 200
    assert (await listed(admin))["k"]["status"] == "revoked"
    assert_canonical_error(await admin.get("/v1/models", headers=bearer(secret)), "KEY_REVOKED", 401)


@pytest.mark.parametrize("value", ["", "x" * 256, "a\tb"])
async def test_one_that_cannot_be_kept_is_400(admin: httpx.AsyncClient, value: str) -> None:
    """Rather than one that is cut off and then meets another."""
    error = assert_canonical_error(
        await admin.post(KEYS, json=BODY, headers={"idempotency-key": value}), "INVALID_REQUEST", 400
    )
    assert error["details"]["errors"][0]["field"] == "Idempotency-Key"
    assert (await admin.post(KEYS, json=BODY, headers={"idempotency-key": "x" * 255})).status_code == 201


async def test_repeats_at_the_same_time_make_one_key(admin: httpx.AsyncClient, log: BytesIO) -> None:
    """Exactly one of them is told the secret, and there is one row in the audit log."""
    answers = await asyncio.gather(*(admin.post(KEYS, json=BODY, headers=ONCE) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    (secret,) = [answer.json()["key"] for answer in answers if "key" in answer.json()]
    assert (await admin.get("/v1/models", headers=bearer(secret))).status_code == 200
    assert list(await listed(admin)) == ["k"]
    audited = (await admin.get("/admin/audit")).json()["events"]
    assert [event["action"] for event in audited] == ["key.create"]
    assert [line["action"] for line in log_lines(log) if line["event"] == "audit"] == ["key.create"]


async def test_requests_for_one_name_at_the_same_time_make_one_key(admin: httpx.AsyncClient) -> None:
    """Also without it, and the others are told that the name is taken."""
    answers = await asyncio.gather(*(admin.post(KEYS, json=BODY) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert list(await listed(admin)) == ["k"]
