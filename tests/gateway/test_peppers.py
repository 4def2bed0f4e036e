"""Changing the pepper: keys move to the new one as they are used, and those that did not are told of."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from gateway.app import create_app
from gateway.auth.secret import Peppers
from gateway.dev_key import PEPPER_FILE
from gateway.errors import StorageUnavailable
from gateway.storage.keys import KeyTable
from gateway.stores import DATABASE_FILE
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.edge import KEY, asgi_client, log_lines, settings_for
from tests.gateway.keyring import DAY_S, Clock, bearer, clocked_app, create, make_key, path_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from io import BytesIO
    from pathlib import Path

    import httpx

OLD, NEW, NEWEST = "old-pepper-0123456789", "new-pepper-0123456789", "newest-pepper-0123456789"


@asynccontextmanager
async def gateway(
    tmp_path: Path, pepper: str, previous: str = "", clock: Clock | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Run a gateway with these peppers on the data of the one before it."""
    environ = {"KEY_PEPPER": pepper} | ({"KEY_PEPPER_PREVIOUS": previous} if previous else {})
    async with asgi_client(clocked_app(tmp_path, clock or Clock(), **environ)) as client:
        yield client


async def status(client: httpx.AsyncClient, key: dict[str, str]) -> int:
    """Return what `GET /v1/models` answers to a key."""
    return (await client.get("/v1/models", headers=key)).status_code


def stored(tmp_path: Path) -> dict[str, str]:
    """Return the pepper's id of every stored digest."""
    with closing(sqlite3.connect(tmp_path / "data" / DATABASE_FILE)) as connection:
        return dict(connection.execute("SELECT digest, pepper_id FROM key_secrets").fetchall())


def warnings(log: BytesIO) -> list[dict[str, Any]]:
    """Return the lines that tell of keys which cannot work."""
    return [line for line in log_lines(log) if line["event"] == "keys_of_unknown_pepper"]


async def test_a_key_moves_to_the_new_pepper_when_it_is_used(tmp_path: Path, log: BytesIO) -> None:
    """Afterwards it needs the old one no more; one that was not used does, and works again with it."""
    async with gateway(tmp_path, OLD) as client:
        used, unused = await create(client, "used", "canUseAI"), await create(client, "unused", "canUseAI")
    old, new = Peppers(OLD), Peppers(NEW)
    assert stored(tmp_path) == {old.digest(key["key"]): old.ids[0] for key in (used, unused)}
    async with gateway(tmp_path, NEW, OLD) as client:
        made = await create(client, "made", "canUseAI")
        for _ in range(2):
            assert await status(client, bearer(used["key"])) == 200
    expected = {new.digest(key["key"]): new.ids[0] for key in (used, made)} | {old.digest(unused["key"]): old.ids[0]}
    assert stored(tmp_path) == expected
    assert warnings(log) == []
    async with gateway(tmp_path, NEW) as client:
        assert [await status(client, bearer(key["key"])) for key in (used, made)] == [200, 200]
        assert_canonical_error(await client.get("/v1/models", headers=bearer(unused["key"])), "UNAUTHORIZED", 401)
    assert stored(tmp_path) == expected
    (warning,) = warnings(log)
    assert (warning["level"], warning["pepper_ids"]) == ("warning", list(old.ids))
    assert "KEY_PEPPER_PREVIOUS" in warning["hint"]
    async with gateway(tmp_path, NEW, OLD) as client:
        assert await status(client, bearer(unused["key"])) == 200
    assert set(stored(tmp_path).values()) == set(new.ids)
    async with gateway(tmp_path, NEWEST, NEW) as client:
        assert [await status(client, bearer(key["key"])) for key in (used, made, unused)] == [200] * 3
    assert set(stored(tmp_path).values()) == set(Peppers(NEWEST).ids)
    assert len(warnings(log)) == 1
    for pepper in (OLD, NEW, NEWEST):
        assert pepper.encode() not in log.getvalue()


async def test_a_moved_secret_keeps_its_end(tmp_path: Path) -> None:
    """One that was rotated away ends when it was to end, under whatever pepper."""
    clock = Clock()
    async with gateway(tmp_path, OLD, clock=clock) as client:
        first = await make_key(client, "k", "canUseAI")
        second = bearer((await client.post(path_of("k", "/rotate"), headers=KEY)).json()["key"])
    async with gateway(tmp_path, NEW, OLD, clock) as client:
        assert [await status(client, key) for key in (first, second)] == [200, 200]
        clock.turn(DAY_S - 0.001)
        assert [await status(client, key) for key in (first, second)] == [200, 200]
        clock.turn(0.001)
        assert [await status(client, key) for key in (first, second)] == [401, 200]
    async with gateway(tmp_path, NEW, clock=clock) as client:
        assert [await status(client, key) for key in (first, second)] == [401, 200]


async def test_a_revoked_key_is_not_moved_and_not_warned_of(tmp_path: Path, log: BytesIO) -> None:
    """It is to be forgotten."""
    async with gateway(tmp_path, OLD) as client:
        key = await make_key(client, "k", "canUseAI")
        await client.delete(path_of("k"), headers=KEY)
    before = stored(tmp_path)
    async with gateway(tmp_path, NEW, OLD) as client:
        assert_canonical_error(await client.get("/v1/models", headers=key), "KEY_REVOKED", 401)
    assert stored(tmp_path) == before
    async with gateway(tmp_path, NEW):
        assert warnings(log) == []


async def test_a_key_that_cannot_be_moved_now_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full is no reason to refuse a valid key; the next look-up tries again."""
    async with gateway(tmp_path, OLD) as client:
        key = await make_key(client, "k", "canUseAI")
    before = stored(tmp_path)

    async def full(*_: Any) -> None:
        raise StorageUnavailable("full")

    with monkeypatch.context() as patched:
        patched.setattr(KeyTable, "rehash", full)
        async with gateway(tmp_path, NEW, OLD) as client:
            assert [await status(client, key) for _ in range(2)] == [200, 200]
    assert stored(tmp_path) == before
    async with gateway(tmp_path, NEW, OLD) as client:
        assert await status(client, key) == 200
    assert set(stored(tmp_path).values()) == set(Peppers(NEW).ids)


async def test_the_chain_of_the_audit_log_survives_the_change(tmp_path: Path) -> None:
    """Its key is derived from the pepper, and the previous one verifies the older rows."""
    async with gateway(tmp_path, OLD) as client:
        await create(client, "a")
    async with gateway(tmp_path, NEW, OLD) as client:
        await create(client, "b")
        page = (await client.get("/admin/audit", headers=KEY)).json()
    assert [event["target"] for event in page["events"]] == ["b", "a"]
    assert page["total"] == 2


async def test_development_makes_a_pepper_that_stays(tmp_path: Path) -> None:
    """A key works after a restart; without the folder's pepper it does not."""
    settings = settings_for(tmp_path, KEY_PEPPER="")
    async with asgi_client(create_app(settings)) as client:
        key = await make_key(client, "k", "canUseAI")
    file = tmp_path / "data" / PEPPER_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    async with asgi_client(create_app(settings)) as client:
        assert await status(client, key) == 200
    file.unlink()
    async with asgi_client(create_app(settings)) as client:
        assert await status(client, key) == 401
