"""How often the store is asked: once for a key that is not known, whatever is wrong with it, and else never."""

from __future__ import annotations

from functools import partial, partialmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gateway.auth.secret import new_secret
from gateway.storage.database import Database
from gateway.storage.keys import KeyTable
from gateway.stores import DATABASE_FILE
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import KEY, asgi_client
from tests.gateway.keyring import HOUR_S, Clock, bearer, clocked_app, granted, make_key, path_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from gateway.app import Gateway


class Asked:
    """How often keys were looked up, and how many transactions of any kind there were that read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.finds = 0
        self.reads = 0
        find, read = KeyTable.find, Database.read

        async def counted_find(table: KeyTable, digests: list[str]) -> Any:
            self.finds += 1
            return await find(table, digests)

        async def counted_read(database: Database, work: Any) -> Any:
            self.reads += 1
            return await read(database, work)

        monkeypatch.setattr(KeyTable, "find", counted_find)
        monkeypatch.setattr(Database, "read", counted_read)


class Rig(NamedTuple):
    """A gateway and what it asks its store."""

    app: Gateway
    client: httpx.AsyncClient
    clock: Clock
    asked: Asked

    async def spent(self, key: dict[str, str]) -> tuple[int, int, int]:
        """Ask for the models with a key; return the status, how many look-ups and how many reads it took."""
        finds, reads = self.asked.finds, self.asked.reads
        status = (await self.client.get("/v1/models", headers=key)).status_code
        return status, self.asked.finds - finds, self.asked.reads - reads


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """Run a gateway that hears of changes only when the test says so."""
    monkeypatch.setattr("gateway.upkeep.KEYS_EVERY_S", 3600.0)
    clock = Clock()
    app = clocked_app(tmp_path, clock)
    async with asgi_client(app) as client:
        yield Rig(app, client, clock, Asked(monkeypatch))


async def test_unknown_revoked_and_expired_keys_take_one_look_up_each(rig: Rig) -> None:
    """Every time, with the same single read: how long the answer takes says nothing of which it was."""
    revoked = await make_key(rig.client, "revoked", "canUseAI")
    expired = await make_key(rig.client, "expired", "canUseAI", expiresIn="1h")
    rotated = await make_key(rig.client, "rotated", "canUseAI")
    assert [(await rig.spent(key))[0] for key in (revoked, expired, rotated)] == [200, 200, 200]
    await rig.client.delete(path_of("revoked"), headers=KEY)
    await rig.client.post(path_of("rotated", "/rotate"), json={"overlap": "1h"}, headers=KEY)
    rig.clock.turn(HOUR_S)
    unknown = bearer(new_secret())
    for _ in range(3):
        taken = {name: await rig.spent(key) for name, key in locals().items() if name in NAMES}
        assert taken == dict.fromkeys(NAMES, (401, 1, 1))


NAMES = ("unknown", "revoked", "expired", "rotated")


async def test_a_wrong_checksum_takes_no_look_up(rig: Rig) -> None:
    """Nor does anything else that cannot be a key."""
    secret = new_secret()
    typed = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    for wrong in (typed, secret[:-1], secret + "0", "lbapi_", "x", "dev-admin-key", "lbapi_" + "ü" * 46):
        assert await rig.spent({"authorization": b"Bearer " + wrong.encode()}) == (401, 0, 0)  # type: ignore[dict-item]
    assert await rig.spent({}) == (401, 0, 0)


async def test_a_key_that_was_seen_takes_none(rig: Rig) -> None:
    """The first request looks it up, the others find it in memory; the bootstrap keys always are there."""
    key = await make_key(rig.client, "k", "canUseAI")
    assert await rig.spent(key) == (200, 1, 1)
    for _ in range(5):
        rig.clock.turn(0.2)
        assert await rig.spent(key) == (200, 0, 0)
    assert await rig.spent(KEY) == (200, 0, 0)


async def test_a_change_is_looked_up_once(rig: Rig) -> None:
    """After it what is in memory would be old."""
    key = await make_key(rig.client, "k", "canUseAI")
    assert await rig.spent(key) == (200, 1, 1)
    for flag, status in ((False, 403), (True, 200)):
        await rig.client.patch(path_of("k"), json={"permissions": {"canUseAI": flag}}, headers=KEY)
        assert [await rig.spent(key) for _ in range(2)] == [(status, 1, 1), (status, 0, 0)]
    await rig.client.post(path_of("k", "/rotate"), headers=KEY)
    assert [await rig.spent(key) for _ in range(2)] == [(200, 1, 1), (200, 0, 0)]
    await make_key(rig.client, "another")
    assert await rig.spent(key) == (200, 0, 0)


async def test_what_was_looked_up_since_a_change_is_not_looked_up_again(rig: Rig) -> None:
    """The change is heard of a moment after the first request with a new key; an outage may lie in between."""
    key = await make_key(rig.client, "k", "canUseAI")
    assert await rig.spent(key) == (200, 1, 1)
    await rig.app._wiring.authenticator.refresh()
    assert await rig.spent(key) == (200, 0, 0)


async def test_a_change_of_another_key_during_a_look_up_changes_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the key itself makes the next request look again."""
    key = await make_key(rig.client, "k", "canUseAI")
    find = KeyTable.find

    async def found_then_changed(name: str, table: KeyTable, digests: list[str]) -> Any:
        found = await find(table, digests)
        await rig.client.patch(path_of(name), json={"description": "changed"}, headers=KEY)
        return found

    await make_key(rig.client, "other")
    for name, look_ups in (("k", 1), ("other", 0)):
        await rig.client.patch(path_of("k"), json={"description": "as before"}, headers=KEY)
        with monkeypatch.context() as patched:
            patched.setattr(KeyTable, "find", partialmethod(_called, partial(found_then_changed, name)))
            assert (await rig.client.get("/v1/models", headers=key)).status_code == 200
        assert (await rig.spent(key))[:2] == (200, look_ups)


async def _called(table: KeyTable, act: Any, digests: list[str]) -> Any:
    return await act(table, digests)


async def test_a_key_expires_without_a_look_up_that_says_so(rig: Rig) -> None:
    """Its end is known from the first look-up on; the one after it finds out what to answer."""
    key = await make_key(rig.client, "k", "canUseAI", expiresIn="1h")
    assert await rig.spent(key) == (200, 1, 1)
    rig.clock.turn(HOUR_S - 0.001)
    assert await rig.spent(key) == (200, 0, 0)
    rig.clock.turn(0.001)
    assert await rig.spent(key) == (401, 1, 1)


@pytest.fixture
async def without_database(rig: Rig, tmp_path: Path) -> AsyncIterator[dict[str, dict[str, str]]]:
    """Make a key that was seen and one that was not, then take the database away."""
    keys = {name: await make_key(rig.client, name, "canUseAI") for name in ("seen", "unseen")}
    assert await rig.spent(keys["seen"]) == (200, 1, 1)
    file = tmp_path / "data" / DATABASE_FILE
    hidden = file.rename(file.with_name("hidden"))
    yield keys
    hidden.rename(file)


async def test_a_key_that_was_seen_works_without_the_database(
    rig: Rig, without_database: dict[str, dict[str, str]]
) -> None:
    """For at least a minute; another one is told that nobody knows, and never that it is wrong."""
    for _ in range(3):
        rig.clock.turn(30)
        assert await rig.spent(without_database["seen"]) == (200, 0, 0)
    for key in (without_database["unseen"], bearer(new_secret())):
        refused = await rig.client.get("/v1/models", headers=key)
        assert_canonical_error(refused, "STORAGE_UNAVAILABLE", 503)
        assert int(refused.headers["retry-after"]) >= 1
    assert await rig.spent(bearer("lbapi_nonsense")) == (401, 0, 0)


async def test_public_routes_answer_without_the_database(rig: Rig, without_database: dict[str, dict[str, str]]) -> None:
    """They need no key, so it does not matter whose it is."""
    for key in (without_database["unseen"], bearer(new_secret()), {}):
        for path in ("/", "/ai/status", "/health"):
            assert (await rig.client.get(path, headers=key)).status_code == 200
        assert (await rig.client.get("/nowhere", headers=key)).status_code == 404


async def test_acts_that_must_be_audited_wait_for_the_database(
    rig: Rig, without_database: dict[str, dict[str, str]]
) -> None:
    """503, and nothing of it is done; afterwards everything goes on."""
    for response in (
        await rig.client.post("/admin/keys", json={"name": "new"}, headers=KEY),
        await rig.client.patch(path_of("seen"), json={"permissions": granted("canReadUsage")}, headers=KEY),
        await rig.client.post(path_of("seen", "/rotate"), headers=KEY),
        await rig.client.delete(path_of("seen"), headers=KEY),
        await rig.client.get("/admin/keys", headers=KEY),
    ):
        assert_canonical_error(response, "STORAGE_UNAVAILABLE", 503)
        assert int(response.headers["retry-after"]) >= 1
    assert await rig.spent(without_database["seen"]) == (200, 0, 0)
