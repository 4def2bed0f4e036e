"""Downloads: where they lead, which of them count, and that no count is lost or doubled."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from gateway.releases.model import BuildState
from gateway.releases.snapshot import Downloads
from gateway.releases.store import BuildKey, Counted
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.keyring import make_key
from tests.releases.catalogue_http import (
    STABLE,
    TRACKLY,
    VERSIONS,
    Running,
    build,
    made,
    make_project,
    publish,
    running,
    until_true,
)
from tests.services.postgres import postgres, postgres_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

__all__ = ["postgres", "postgres_url"]

DOWNLOADS = 5_000 if os.environ.get("LUNARBIT_TEST_FULL") else 500
VERSION = f"{VERSIONS}/1.0.0"
WINDOWS = f"{VERSION}/builds/windows-x64"
LINUX = f"{VERSION}/builds/linux-x64"
BOTH = {"id": "1.0.0", "builds": [build("1.0.0"), build("1.0.0", "linux")]}


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a gateway that has one version with two builds."""
    async with running(tmp_path) as found:
        await make_project(found.client, BOTH)
        yield found


async def counts(client: httpx.AsyncClient) -> tuple[int, int, int, int]:
    """Return the downloads of both builds, of the version, and of the project."""
    builds = [(await client.get(path)).json()["downloads"] for path in (WINDOWS, LINUX)]
    version = (await client.get(VERSION)).json()["downloads"]
    listed = (await client.get(VERSIONS)).json()["versions"][0]["downloads"]
    assert version == listed
    return builds[0], builds[1], version, (await client.get(TRACKLY)).json()["total_downloads"]


async def test_a_download_leads_to_the_file(gateway: Running) -> None:
    """And nobody keeps the answer, or the next one would not be counted."""
    response = await gateway.client.get(f"{WINDOWS}/download")
    assert (response.status_code, response.content) == (302, b"")
    assert response.headers["location"] == build("1.0.0")["download_url"]
    assert response.headers["cache-control"] == "no-store"


async def test_only_whole_downloads_count(gateway: Running) -> None:
    """Once each: no HEAD, no part of a file, no error, and nobody without a key."""
    client = gateway.client
    assert (await client.get(f"{WINDOWS}/download")).status_code == 302
    assert (await client.get(f"{LINUX}/download", headers={"range": "bytes=0-"})).status_code == 302
    expected = (1, 1, 2, 2)
    assert await counts(client) == expected
    assert (await client.head(f"{WINDOWS}/download")).status_code == 302
    for wanted in ("bytes=0-99", "bytes=100-", "bytes=-5", "bytes=0-0,5-9"):
        assert (await client.get(f"{WINDOWS}/download", headers={"range": wanted})).status_code == 302
    assert (await client.get(f"{VERSION}/builds/x/download")).status_code == 404
    refused = await client.get(f"{WINDOWS}/download", headers={"authorization": "Bearer lbapi_x"})
    assert refused.status_code == 401
    assert await counts(client) == expected


async def test_either_permission_is_enough(gateway: Running) -> None:
    """A launcher that may only ask for updates may also get them."""
    for name in ("canReadVersions", "canCheckUpdates"):
        key = await make_key(gateway.client, name, name)
        assert (await gateway.client.get(f"{WINDOWS}/download", headers=key)).status_code == 302
    key = await make_key(gateway.client, "other", "canReadProjects")
    assert_canonical_error(await gateway.client.get(f"{WINDOWS}/download", headers=key), "FORBIDDEN", 403)


@pytest.mark.parametrize(
    ("verification", "state", "served"),
    [
        *(("trusted", state, state != "failed") for state in ("pending", "verified", "failed", "unreachable")),
        *(("required", state, state == "verified") for state in ("pending", "verified", "failed", "unreachable")),
    ],
)
async def test_only_what_may_be_served_is(gateway: Running, verification: str, state: str, served: bool) -> None:
    """409 for all else, with the state and its reason; and no update offers it either."""
    client, state_of = gateway.client, gateway.app.state
    assert (await client.patch(TRACKLY, json={"verification": verification})).status_code == 200
    key = BuildKey("trackly", "stable", "1.0.0", "windows-x64")
    found = state_of.catalogue.now.project("trackly", None).build(*key[1:])[1]
    found = replace(found, state=BuildState(state), state_reason="sha256 differs", state_at=1)
    await state_of.releases._store.administer(lambda tx: tx.put_build(key, found))
    await state_of.catalogue.refresh()
    asked = {"current_version": "0.9.0", "platform": "windows", "architecture": "x64"}
    assert (await client.get(f"{STABLE}/update", params=asked)).json()["update_available"] is served
    shown = (await client.get(WINDOWS)).json()
    assert (shown["status"], shown["status_reason"], shown["status_at"]) == (
        state,
        "sha256 differs",
        "1970-01-01T00:00:00Z",
    )
    response = await client.get(f"{WINDOWS}/download")
    if served:
        assert response.status_code == 302
    else:
        error = assert_canonical_error(response, "BUILD_NOT_VERIFIED", 409)
        assert error["details"] == {"build": "windows-x64", "status": state, "reason": "sha256 differs"}
        assert (await counts(client))[0] == 0


async def test_a_yanked_version_is_gone_but_stays_counted(gateway: Running) -> None:
    """410 with the reason, until it is restored."""
    client = gateway.client
    assert (await client.get(f"{WINDOWS}/download")).status_code == 302
    assert (await client.post(f"{VERSION}/yank", json={"reason": "deletes files"})).status_code == 200
    error = assert_canonical_error(await client.get(f"{WINDOWS}/download"), "VERSION_YANKED", 410)
    assert error["details"] == {"version": "1.0.0", "reason": "deletes files"}
    assert await counts(client) == (1, 0, 1, 1)
    assert (await client.post(f"{VERSION}/restore")).status_code == 200
    assert (await client.get(f"{WINDOWS}/download")).status_code == 302
    assert await counts(client) == (2, 0, 2, 2)


async def test_counts_outlive_the_process(tmp_path: Path) -> None:
    """What was not yet written is written when it stops, once."""
    for before in (0, 3):
        async with running(tmp_path) as (_, client):
            if before == 0:
                await make_project(client, BOTH)
            assert (await counts(client))[0] == before
            for _ in range(3):
                await client.get(f"{WINDOWS}/download")
            assert await counts(client) == (before + 3, 0, before + 3, before + 3)


async def test_a_count_never_goes_back_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks meanwhile sees every download once."""
    monkeypatch.setattr("gateway.upkeep.DOWNLOADS_EVERY_S", 0.001)
    monkeypatch.setattr("gateway.upkeep.ROUNDS_PER_DOWNLOADS", 2)
    async with running(tmp_path) as (_, client):
        await make_project(client, BOTH)
        for number in range(1, 101):
            await client.get(f"{WINDOWS}/download")
            assert (await client.get(WINDOWS)).json()["downloads"] == number
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_is_made_anew_counts_anew(tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    """Neither what was written nor what waits outlives a delete, here or at another gateway, nor in the database."""
    environ = {} if kind == "sqlite" else {"DATABASE_URL": str(request.getfixturevalue("postgres_url"))}
    channels = [{"id": "stable"}, {"id": "beta"}]
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(running(tmp_path, **environ)) for _ in range(2)]
        await make_project(here.client, BOTH, channels=channels, default_channel="beta")
        await publish(here.client, "1.0.0", "beta")
        for removed, kept in ((TRACKLY, 0), (STABLE, 2)):
            await there.app.state.catalogue.refresh()
            for each in (here, there):
                for path in (WINDOWS, WINDOWS.replace("stable", "beta")):
                    await each.client.get(f"{path}/download")
            await here.app.state.downloads.flush()
            assert (await here.client.delete(removed)).status_code == 204
            if removed == TRACKLY:
                await make_project(here.client, BOTH, channels=channels, default_channel="beta")
                await publish(here.client, "1.0.0", "beta")
            else:
                await made(here.client, f"{TRACKLY}/channels", {"id": "stable"})
                await publish(here.client, BOTH)
            await there.app.state.catalogue.refresh()
            for each, left in ((here, kept // 2), (there, kept // 2)):
                await each.app.state.downloads.flush()
                assert await counts(each.client) == (0, 0, 0, left)
            await here.app.state.downloads.load()
            assert await counts(here.client) == (0, 0, 0, kept)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_what_was_counted_of_a_removed_version_is_not_written(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Nor added to the next one of its name, by a gateway that has heard of neither; what it counted of others is."""
    environ = {} if kind == "sqlite" else {"DATABASE_URL": str(request.getfixturevalue("postgres_url"))}
    async with running(tmp_path, **environ) as (app, client):
        await make_project(client, BOTH, default_channel="beta", channels=[{"id": "stable"}, {"id": "beta"}])
        await publish(client, "1.0.0", "beta")
        project = app.state.catalogue.now.projects["trackly"]
        gone, kept = [
            Counted("trackly", name, "1.0.0", "windows-x64", project.version(name, "1.0.0").version.rollout_salt)
            for name in ("stable", "beta")
        ]
        late = Downloads(app.state.catalogue._store)
        assert (await client.delete(STABLE)).status_code == 204
        for is_back in (False, True):
            if is_back:
                await made(client, f"{TRACKLY}/channels", {"id": "stable"})
                await publish(client, BOTH)
            for key in (gone, kept):
                late.count(key)
            await late.flush()
        assert await late._store.downloads() == {BuildKey(*kept[:4]): 2}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_parallel_downloads_at_two_gateways_are_all_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, kind: str
) -> None:
    """Both write the same rows at the same time, and each hears of what the other one counted."""
    monkeypatch.setattr("gateway.upkeep.KEYS_EVERY_S", 0.02)
    monkeypatch.setattr("gateway.upkeep.DOWNLOADS_EVERY_S", 0.01)
    environ = {} if kind == "sqlite" else {"DATABASE_URL": str(request.getfixturevalue("postgres_url"))}
    async with AsyncExitStack() as stack:
        clients = [(await stack.enter_async_context(running(tmp_path, **environ))).client for _ in range(2)]
        here, there = clients
        await make_project(here, BOTH)

        async def is_there() -> bool:
            return (await there.get(WINDOWS)).status_code == 200

        await until_true(is_there)
        paths = [f"{(WINDOWS, LINUX)[number % 4 == 0]}/download" for number in range(DOWNLOADS)]

        async def one(number: int) -> int:
            return (await clients[number % 2].get(paths[number])).status_code

        for start in range(0, DOWNLOADS, 100):
            statuses = await asyncio.gather(*(one(number) for number in range(start, start + 100)))
            assert set(statuses) == {302}
        expected = (DOWNLOADS * 3 // 4, DOWNLOADS // 4, DOWNLOADS, DOWNLOADS)
        for client in clients:

            async def is_right(client: httpx.AsyncClient = client) -> bool:
                return await counts(client) == expected

            await until_true(is_right)
    async with running(tmp_path, **environ) as (_, client):
        assert await counts(client) == expected
