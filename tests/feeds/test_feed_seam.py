"""What all feeds share: the decisions over what fits, the addresses, and who may ask."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import ChannelNotFound
from gateway.releases.decision import Client
from gateway.releases.feeds import kinds
from gateway.releases.feeds.kinds import Kind, compiled_for, fits
from gateway.releases.model import Architecture, Build, Channel, Platform, Project, Verification, Version
from gateway.releases.snapshot import ProjectSnapshot, compiled
from tests.feeds.shop import open_shop
from tests.gateway.canonical import assert_canonical_error
from tests.gateway.keyring import make_key
from tests.releases.catalogue_http import make_project, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.feeds.shop import Shop

LINUX_X64 = (Platform.LINUX, Architecture.X64)
TAURI_TEXT = "untrusted comment: signature\nRWQ=\ntrusted comment: timestamp:1\nc2ln\n"
FEEDS = ("electron/latest-linux.yml", "tauri/linux/x86_64/1.0.0")


def a_build(name: str, platform: Platform = Platform.LINUX, **fields: Any) -> Build:
    """Return a build for x64."""
    return Build(f"{platform}-x64-{name}", platform, Architecture.X64, name, 1, "https://cdn.example/f", "ab", **fields)


def a_project(*versions: Version) -> ProjectSnapshot:
    """Return a project whose channel has these versions."""
    channel = Channel("stable", versions=versions)
    return compiled(Project("app", verification=Verification.TRUSTED, channels=(channel,)), 1)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (a_build("app.AppImage"), {Kind.ELECTRON}),
        (a_build("app.deb", signature=TAURI_TEXT), {Kind.ELECTRON, Kind.TAURI}),
        (a_build("app.tar.gz", signature="not minisign"), set()),
        (a_build("app.exe"), set()),
        (a_build("Setup.EXE", Platform.WINDOWS), {Kind.ELECTRON}),
        (a_build("app.msi", Platform.WINDOWS), set()),
        (a_build("app.zip", Platform.MACOS), {Kind.ELECTRON, Kind.SQUIRREL_MAC}),
        (a_build("app.zip", Platform.WINDOWS), set()),
        (a_build("app.dmg", Platform.MACOS, ed_signature="c2ln"), {Kind.SPARKLE}),
        (replace(a_build("app.AppImage"), download_url=""), set()),
    ],
)
def test_what_fits(build: Build, expected: set[Kind]) -> None:
    """By what the client looks for itself: the ending of the name, the platform, the signature."""
    assert {kind for kind in Kind if fits(kind, build)} == expected


async def test_the_highest_version_that_fits_is_offered() -> None:
    """A higher one in another format is as if it were not there."""
    found = a_project(
        Version("1.0.0", builds=(a_build("app.AppImage"),)),
        Version("2.0.0", builds=(a_build("app.tar.gz"), a_build("Setup.exe", Platform.WINDOWS))),
    )
    decision = (await compiled_for(found, "stable", Kind.ELECTRON)).decide(Client(*LINUX_X64))
    assert decision.offered is not None
    assert decision.offered.version.id == "1.0.0"
    assert (await compiled_for(found, "stable", Kind.TAURI)).decide(Client(*LINUX_X64)).offered is None


async def test_a_version_without_a_checksum_waits_for_it() -> None:
    """electron-updater refuses a file in which one build has none."""
    both = a_build("app.AppImage"), replace(a_build("app.deb"), sha256="")
    found = a_project(Version("1.0.0", builds=both[:1]), Version("2.0.0", builds=both))
    decision = (await compiled_for(found, "stable", Kind.ELECTRON)).decide(Client(*LINUX_X64))
    assert decision.offered is not None
    assert decision.offered.version.id == "1.0.0"


async def test_a_missing_channel_is_told_before_any_work() -> None:
    """With those that there are."""
    found = a_project()
    with pytest.raises(ChannelNotFound):
        await compiled_for(found, "beta", Kind.TAURI)
    assert found.feeds == {}


async def test_many_askers_share_one_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which goes on when the first of them is gone, is off the event loop, and is kept."""
    begun, may_end, calls = threading.Event(), threading.Event(), []

    def slow(project: Project) -> dict[str, Any]:
        calls.append(threading.current_thread())
        begun.set()
        assert may_end.wait(20)
        return {"stable": "decisions"}

    monkeypatch.setattr(kinds, "compile_project", slow)
    found = a_project(Version("1.0.0"))
    asked: list[Any] = [asyncio.create_task(compiled_for(found, "stable", Kind.TAURI)) for _ in range(5)]
    await asyncio.to_thread(begun.wait, 20)
    asked[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked[0]
    may_end.set()
    assert await asyncio.gather(*asked[1:]) == ["decisions"] * 4
    asked = [asyncio.create_task(compiled_for(found, "stable", Kind.TAURI))]
    assert await asked[0] == "decisions"
    assert len(calls) == 1
    assert calls[0] is not threading.main_thread()


async def test_a_failure_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks later tries again."""
    found = a_project(Version("1.0.0"))

    def fail(project: Project) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(kinds, "compile_project", fail)
        with pytest.raises(MemoryError):
            await compiled_for(found, "stable", Kind.TAURI)
    assert (await compiled_for(found, "stable", Kind.TAURI)).latest is not None


async def test_a_new_snapshot_decides_anew(shop: Shop) -> None:
    """What was worked out of the old one goes with it."""
    await shop.open_project()
    path = "/updates/app/stable/electron/latest-linux.yml"
    for version in ("1.0.0", "1.1.0"):
        await shop.publish(version, shop.build(f"App-{version}.AppImage"))
        assert (await shop.client.get(path)).json()["version"] == version


@pytest.mark.parametrize("feed", FEEDS)
async def test_feeds_ask_for_a_key(shop: Shop, feed: str) -> None:
    """One that may check for updates, and may see this project; but not for a public one."""
    await shop.open_project(public_updates=False)
    await shop.open_project("other", public_updates=False)
    await shop.publish("1.1.0", shop.build("a.AppImage", signature=TAURI_TEXT))
    path = f"/updates/app/stable/{feed}"
    right = await make_key(shop.client, "right", "canCheckUpdates", allowedProjects=["app"])
    for base in ("", "/api/v2"):
        assert (await shop.client.get(base + path, headers=right)).status_code == 200
    assert (await shop.client.head(path, headers=right)).status_code == 200
    narrow = await make_key(shop.client, "narrow", "canCheckUpdates", allowedProjects=["other"])
    assert_canonical_error(await shop.client.get(path, headers=narrow), "PROJECT_NOT_FOUND", 404)
    wrong = await make_key(shop.client, "wrong", "canReadProjects")
    assert_canonical_error(await shop.client.get(path, headers=wrong), "FORBIDDEN", 403)
    del shop.client.headers["authorization"]
    assert_canonical_error(await shop.client.get(path), "UNAUTHORIZED", 401)


async def test_a_file_is_only_there_under_its_own_name(shop: Shop) -> None:
    """So a block map beside it is missing, and does not count as a download."""
    await shop.open_project(public_updates=False)
    await shop.publish("1.1.0+1", shop.build("a b.AppImage"))
    offered = (await shop.client.get("/updates/app/stable/electron/latest-linux.yml")).json()
    url = offered["files"][0]["url"]
    assert url == f"{shop.base}/updates/app/stable/files/1.1.0%2B1/linux-x64/x64/a%20b.AppImage".replace(
        "linux-x64", "linux-x6%34"
    )
    response = await shop.client.get(url)
    assert (response.status_code, response.headers["location"]) == (302, shop.files.url("/files/a%20b.AppImage"))
    assert_canonical_error(await shop.client.get(f"{url}.blockmap"), "BUILD_NOT_FOUND", 404)
    assert shop.gateway.app.state.downloads.of("app") == 1
    other = await make_key(shop.client, "other", "canCheckUpdates", allowedProjects=["none"])
    assert_canonical_error(await shop.client.get(url, headers=other), "PROJECT_NOT_FOUND", 404)


async def test_addresses_come_from_the_settings(tmp_path: Path) -> None:
    """And never from the request, whose Host could be anybody's."""
    async with open_shop(tmp_path, public_url="https://updates.example/gateway") as shop:
        await shop.open_project()
        await shop.publish("1.1.0", shop.build("a.AppImage", signature=TAURI_TEXT))
        for feed in FEEDS:
            response = await shop.client.get(f"/updates/app/stable/{feed}", headers={"host": "evil.example"})
            found = response.json()
            url = found.get("url") or found["files"][0]["url"]
            assert url.startswith("https://updates.example/gateway/")


async def test_in_development_the_address_is_this_machine(tmp_path: Path) -> None:
    """So that nothing has to be configured to try it."""
    async with open_shop(tmp_path, public_url="") as shop:
        await shop.open_project()
        await shop.publish("1.1.0", shop.build("a.AppImage"))
        found = (await shop.client.get("/updates/app/stable/electron/latest-linux.yml")).json()
        assert found["files"][0]["url"].startswith(f"http://localhost:{shop.gateway.port}/updates/app/")


@pytest.mark.parametrize("feed", FEEDS)
async def test_without_an_address_the_error_says_what_to_set(tmp_path: Path, feed: str) -> None:
    """Also when there is no update, so that it is seen at once."""
    async with running(tmp_path, APP_ENV="production") as (_, client):
        await make_project(client, "1.0.0")
        response = await client.get(f"/updates/trackly/stable/{feed}")
        assert_canonical_error(response, "INTERNAL_ERROR", 500)
        assert "server.public_url" in response.json()["error"]["message"]


async def test_nobody_keeps_an_answer_of_a_feed(shop: Shop) -> None:
    """It depends on who asks; and a validator could only lead to a 304, which some clients take for an error."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("a.AppImage", signature=TAURI_TEXT))
    for feed in FEEDS:
        response = await shop.client.get(f"/updates/app/stable/{feed}", headers={"if-none-match": "*"})
        assert response.status_code == 200
        assert response.headers["cache-control"] == "private, no-cache"
        assert {"Authorization", "X-User-Staging-Id"} <= set(response.headers["vary"].split(", "))
        assert "etag" not in response.headers
