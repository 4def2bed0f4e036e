"""Two gateways on one database, as two processes are: what one changes, the other one hears of."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import KEY, LIMIT_S, asgi_client
from tests.gateway.keyring import KEYS, Clock, bearer, clocked_app, create, granted, listed, make_key, path_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from gateway.app import Gateway

NEVER_S = 3600.0


class Two(NamedTuple):
    """The one that administers, the one that hears of it, the latter's application, and the time of both."""

    here: httpx.AsyncClient
    there: httpx.AsyncClient
    app: Gateway
    clock: Clock

    async def status_there(self, key: dict[str, str]) -> int:
        """Return what the other gateway answers to a key."""
        return (await self.there.get("/v1/models", headers=key)).status_code

    async def until_there(self, key: dict[str, str], status: int) -> None:
        """Wait until the other gateway answers so."""
        async with asyncio.timeout(LIMIT_S):
            while await self.status_there(key) != status:
                await asyncio.sleep(0.01)


@pytest.fixture
async def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    """Run two gateways that look for changes as often as the test wants, in seconds."""
    monkeypatch.setattr("gateway.upkeep.KEYS_EVERY_S", getattr(request, "param", 0.02))
    clock = Clock()
    apps = [clocked_app(tmp_path, clock) for _ in range(2)]
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(asgi_client(app)) for app in apps]
        for client in (here, there):
            client.headers.update(KEY)
        yield Two(here, there, apps[1], clock)


async def test_a_revocation_reaches_the_other_one(two: Two) -> None:
    """Although it knows the key and asks nobody for it."""
    key, other = await make_key(two.here, "k", "canUseAI"), await make_key(two.here, "other", "canUseAI")
    assert [await two.status_there(key), await two.status_there(other)] == [200, 200]
    assert (await two.here.delete(path_of("k"))).status_code == 204
    await two.until_there(key, 401)
    assert_canonical_error(await two.there.get("/v1/models", headers=key), "KEY_REVOKED", 401)
    assert await two.status_there(other) == 200


async def test_a_change_and_a_rotation_reach_the_other_one(two: Two) -> None:
    """Permissions, and the end of an old secret."""
    old = await make_key(two.here, "k", "canUseAI")
    assert await two.status_there(old) == 200
    await two.here.patch(path_of("k"), json={"permissions": {"canUseAI": False}})
    await two.until_there(old, 403)
    await two.here.patch(path_of("k"), json={"permissions": granted("canUseAI")})
    await two.until_there(old, 200)
    new = bearer((await two.here.post(path_of("k", "/rotate"), json={"overlap": "0"})).json()["key"])
    assert await two.status_there(new) == 200
    await two.until_there(old, 401)
    assert await two.status_there(new) == 200


@pytest.mark.parametrize("two", [NEVER_S], indirect=True)
async def test_it_is_the_look_for_changes_that_brings_the_news(two: Two) -> None:
    """One is enough, however many changes there were, and it counts nothing twice."""
    keys = [await make_key(two.here, f"k{number}", "canUseAI") for number in range(5)]
    assert [await two.status_there(key) for key in keys] == [200] * 5
    for number in (1, 3):
        await two.here.delete(path_of(f"k{number}"))
    await two.here.patch(path_of("k4"), json={"permissions": {"canUseAI": False}})
    assert [await two.status_there(key) for key in keys] == [200] * 5
    await two.app.state.authenticator.refresh()  # type: ignore[attr-defined]
    assert [await two.status_there(key) for key in keys] == [200, 401, 200, 401, 403]
    await two.app.state.authenticator.refresh()  # type: ignore[attr-defined]
    assert [await two.status_there(key) for key in keys] == [200, 401, 200, 401, 403]


@pytest.mark.parametrize("two", [NEVER_S], indirect=True)
async def test_a_new_key_works_there_at_once(two: Two) -> None:
    """Its first request is looked up, and needs no news."""
    assert await two.status_there(await make_key(two.here, "k", "canUseAI")) == 200


@pytest.mark.parametrize("two", [NEVER_S], indirect=True)
async def test_both_administer_one_set_of_keys(two: Two) -> None:
    """Names, lists, idempotency and the audit log are those of the database."""
    once = {"idempotency-key": "once"}
    assert (await two.here.post(KEYS, json={"name": "k"}, headers=once)).status_code == 201
    assert (await two.there.post(KEYS, json={"name": "k"}, headers=once)).status_code == 200
    assert_canonical_error(await two.there.post(KEYS, json={"name": "k"}), "KEY_NAME_EXISTS", 409)
    assert (await two.there.delete(path_of("k"))).status_code == 204
    assert_canonical_error(await two.here.delete(path_of("k")), "KEY_NOT_FOUND", 404)
    two.clock.turn(1)
    await create(two.here, "k")
    assert (await listed(two.there))["k"]["status"] == "active"
    actions = [event["action"] for event in (await two.here.get("/admin/audit")).json()["events"]]
    assert actions == ["key.create", "key.revoke", "key.create"]


async def test_requests_for_one_name_at_both_make_one_key(two: Two) -> None:
    """The database decides, one after the other; the rows of the audit log stay one chain."""
    clients = [two.here, two.there] * 10
    answers = await asyncio.gather(*(client.post(KEYS, json={"name": "k"}) for client in clients))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    made = await asyncio.gather(
        *(client.post(KEYS, json={"name": f"k{number}"}) for number, client in enumerate(clients))
    )
    assert {answer.status_code for answer in made} == {201}
    events = (await two.there.get("/admin/audit", params={"per_page": 100})).json()["events"]
    assert [event["seq"] for event in events] == list(range(21, 0, -1))
