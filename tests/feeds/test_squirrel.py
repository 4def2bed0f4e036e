"""Both Squirrels. Neither runs here, so what they read is read by their own rules."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

import pytest
import pytest_asyncio

from tests.feeds.package_catalogue import FEEDS, NOTES, PUBLIC, content, feeds, make_notes, package, publish
from tests.gateway.canonical import assert_canonical_error
from tests.releases.catalogue_http import Running, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RELEASES = f"{FEEDS}/squirrel-win/RELEASES"


class Entry(NamedTuple):
    """What Squirrel.Windows makes of a line of RELEASES."""

    sha1: str
    file_name: str
    size: int
    version: str
    is_delta: bool


def read_releases(text: str) -> list[Entry]:
    """Read the file as `ReleaseEntry` and `VersionExtensions` of Squirrel.Windows do; raises where they do."""
    entries = []
    for line in filter(None, (re.sub(r"\s*#.*$", "", line).strip("\n") for line in text.split("\n"))):
        match = re.fullmatch(r"([0-9a-fA-F]{40})\s+(\S+)\s+(\d+)[\r]*", line)
        assert match, f"Invalid release entry: {line}"
        sha1, name, size = match.groups()
        assert not set(name) & set('<>:"/\\|?*'), "Filename can either be an absolute HTTP[s] URL, *or* a file name"
        version = re.search(r"\d+(\.\d+){0,3}(-[A-Za-z][0-9A-Za-z-]*)?$", re.sub(r"(-full|-delta)?\.nupkg$", "", name))
        assert version, f"no version in {name}"
        entries.append(Entry(sha1, name, int(size), version[0], name.lower().endswith("-delta.nupkg")))
    return entries


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a gateway with an empty catalogue."""
    async with feeds(tmp_path) as found:
        yield found


async def listed(found: Running, channel: str = "stable", **parameters: str) -> list[tuple[str, bool]]:
    """Ask for RELEASES, and return the version of every entry and whether it is a delta."""
    response = await found.client.get(f"/updates/notes/{channel}/squirrel-win/RELEASES", params=parameters)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    return [(entry.version, entry.is_delta) for entry in read_releases(response.text)]


async def test_releases_has_a_line_for_the_highest_package(gateway: Running) -> None:
    """With the SHA-1 and the size that the client compares with."""
    await make_notes(gateway.client, *({"id": v, "builds": [package(v, "win")]} for v in ("1.0.0", "1.10.0", "1.9.0")))
    found = read_releases((await gateway.client.get(RELEASES, params={"localVersion": "1.0.0", "id": "Notes"})).text)
    expected = package("1.10.0", "win")
    sha1 = expected["checksum"]["sha1"].upper()
    assert found == [Entry(sha1, "Notes-1.10.0-win-full.nupkg", len(content("1.10.0")), "1.10.0-win", False)]


async def test_a_name_leads_to_the_file(gateway: Running) -> None:
    """The client resolves it against the address that it asks; the download is counted."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [package("1.0.0", "win")]})
    (entry,) = read_releases((await gateway.client.get(RELEASES)).text)
    response = await gateway.client.get(urljoin(RELEASES, entry.file_name))
    assert response.status_code == 302
    assert response.headers["location"] == package("1.0.0", "win")["download_url"]
    assert (await gateway.client.get(f"{NOTES}/versions/1.0.0")).json()["downloads"] == 1


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0", "1.0.0.7", "nonsense"])
async def test_the_list_is_not_empty_for_who_is_up_to_date(gateway: Running, version: str) -> None:
    """The client takes an empty list for a broken one, and compares by itself."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [package("1.0.0", "win")]})
    assert await listed(gateway, localVersion=version) == [("1.0.0-win", False)]


async def test_no_line_has_a_package_without_sha1(gateway: Running) -> None:
    """So the next lower version is the one to take, and not a version without a file."""
    for version, sha1 in (("1.0.0", True), ("1.1.0", False)):
        builds = [package(version, "win", sha1=sha1)]
        if version == "1.0.0":
            await make_notes(gateway.client, {"id": version, "builds": builds})
        else:
            await publish(gateway.client, {"id": version, "builds": builds})
    assert await listed(gateway) == [("1.0.0-win", False)]


async def test_deltas_come_before_the_whole_package(gateway: Running) -> None:
    """The lowest first, as Squirrel itself writes the file."""
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        names = {kind: f"Notes-{version}-{kind}.nupkg" for kind in ("full", "delta")}
        builds = [package(version, "win", kind, file_name=name) for kind, name in names.items()]
        if version == "1.0.0":
            await make_notes(gateway.client, {"id": version, "builds": builds})
        else:
            await publish(gateway.client, {"id": version, "builds": builds})
    assert await listed(gateway, localVersion="1.0.0") == [("1.1.0", True), ("1.2.0", True), ("1.2.0", False)]
    assert await listed(gateway, localVersion="1.2.0") == [("1.2.0", False)]
    assert await listed(gateway) == [("1.2.0", False)]


async def test_a_delta_without_sha1_leaves_the_whole_package(gateway: Running) -> None:
    """A list with a part of the deltas would lead the client astray."""
    full = {version: package(version, "win", file_name=f"Notes-{version}-full.nupkg") for version in ("1.0.0", "1.1.0")}
    delta = package("1.1.0", "win", "delta", sha1=False)
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [full["1.0.0"]]})
    await publish(gateway.client, {"id": "1.1.0", "builds": [full["1.1.0"], delta]})
    assert await listed(gateway, localVersion="1.0.0") == [("1.1.0", False)]


async def test_a_pre_release_is_listed_by_a_name_that_the_client_reads(gateway: Running) -> None:
    """It would take 1.1.0-beta.1 for version 1; electron-winstaller leaves the dot out."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [package("1.0.0", "win")]})
    for name in ("beta.2", "beta1"):
        file_name = f"Notes-1.1.0-{name}-full.nupkg"
        builds = [package("1.1.0", "win", file_name=file_name)]
        await publish(gateway.client, {"id": f"1.1.0-beta.{name[-1]}", "builds": builds}, "beta")
    assert await listed(gateway, "beta") == [("1.1.0-beta1", False)]


async def test_the_processor_is_the_one_of_the_installation(gateway: Running) -> None:
    """A 64-bit system says amd64; `architecture` in the address of the feed comes before that."""
    channels = {"win-x64": "2.0.0", "win-x86": "1.0.0", "win-arm64": "3.0.0"}
    versions = [{"id": version, "builds": [package(version, name)]} for name, version in channels.items()]
    await make_notes(gateway.client, *versions)
    assert await listed(gateway, arch="amd64") == [("2.0.0-win-x64", False)]
    assert await listed(gateway, arch="x86") == [("1.0.0-win-x86", False)]
    assert await listed(gateway, arch="amd64", architecture="arm64") == [("3.0.0-win-arm64", False)]
    assert_canonical_error(await gateway.client.get(f"{RELEASES}?architecture=z80"), "INVALID_REQUEST", 400)


async def test_nothing_to_serve_is_an_empty_file(gateway: Running) -> None:
    """There is nothing better to say; packages for other platforms are no use."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [package("1.0.0")]})
    assert await listed(gateway) == []
    assert await listed(gateway, architecture="x64") == []


async def test_a_rollout_leaves_out_who_does_not_say_an_id(gateway: Running) -> None:
    """Squirrel.Windows says none by itself; an app may put `client_id` into the address of the feed."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [package("1.0.0", "win")]})
    await publish(gateway.client, {"id": "1.1.0", "rollout_percent": 50, "builds": [package("1.1.0", "win")]})
    assert await listed(gateway) == [("1.0.0-win", False)]
    seen = {(await listed(gateway, client_id=f"app-{number}"))[0][0] for number in range(20)}
    assert seen == {"1.0.0-win", "1.1.0-win"}


# --- Squirrel.Mac -----------------------------------------------------------------------------------------------------


def archive(version: str, architecture: str, **more: Any) -> dict[str, Any]:
    """Return a build for macOS as publishers send it."""
    return {
        "platform": "macos",
        "architecture": architecture,
        "file_size": 1000,
        "download_url": f"https://cdn.example.com/{version}/Notes-{architecture}.zip",
        "checksum": {"sha256": "ab" * 32},
        **more,
    }


async def mac(found: Running, version: str, architecture: str = "universal") -> Any:
    """Ask as Squirrel.Mac does; None for 204."""
    response = await found.client.get(f"{FEEDS}/squirrel-mac/{architecture}/{version}")
    if response.status_code == 204:
        assert response.content == b""
        return None
    assert response.status_code == 200, response.text
    return response.json()


async def test_squirrel_mac_is_told_of_an_update(gateway: Running) -> None:
    """At an absolute address of ours, so that the download is counted and a key stays here."""
    version = {"id": "1.1.0", "name": "Notes 1.1", "release_notes": "## New", "published_at": "2026-02-05T14:30:00Z"}
    await make_notes(gateway.client, version | {"builds": [archive("1.1.0", "universal")]})
    address = f"{PUBLIC}{NOTES}/versions/1.1.0/builds/macos-universal/download"
    expected = {"url": address, "name": "Notes 1.1", "notes": "## New", "pub_date": "2026-02-05T14:30:00Z"}
    assert await mac(gateway, "1.0.0") == expected
    assert datetime.fromisoformat(expected["pub_date"]).tzinfo is UTC
    led = await gateway.client.get(address.removeprefix(PUBLIC))
    assert led.headers["location"] == "https://cdn.example.com/1.1.0/Notes-universal.zip"


@pytest.mark.parametrize("version", ["1.1.0", "1.2.0-dev", "2.0.0"])
async def test_squirrel_mac_has_nothing_to_do_when_it_is_up_to_date(gateway: Running, version: str) -> None:
    """204, since it installs whatever it is told."""
    await make_notes(gateway.client, {"id": "1.1.0", "builds": [archive("1.1.0", "universal")]})
    assert await mac(gateway, version) is None


async def test_squirrel_mac_gets_what_runs_on_its_processor(gateway: Running) -> None:
    """Its own build or a universal one, and only archives."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [archive("1.0.0", "universal")]})
    await publish(gateway.client, {"id": "1.1.0", "builds": [archive("1.1.0", "arm64")]})
    await publish(gateway.client, {"id": "1.2.0", "builds": [archive("1.2.0", "universal", file_name="Notes.dmg")]})
    found = {name: (await mac(gateway, "0.1.0", name))["name"] for name in ("arm64", "x64", "universal")}
    assert found == {"arm64": "v1.1.0", "x64": "v1.0.0", "universal": "v1.0.0"}


async def test_squirrel_mac_goes_back_only_where_that_is_allowed(gateway: Running) -> None:
    """From a withdrawn version in a project that says so."""
    versions = [{"id": version, "builds": [archive(version, "universal")]} for version in ("1.0.0", "1.1.0")]
    await make_notes(gateway.client, *versions)
    await gateway.client.post(f"{NOTES}/versions/1.1.0/yank", json={})
    assert await mac(gateway, "1.1.0") is None
    await gateway.client.patch("/projects/notes", json={"allow_rollback": True})
    assert (await mac(gateway, "1.1.0"))["name"] == "v1.0.0"


@pytest.mark.parametrize("path", ["z80/1.0.0", "arm64/1.0", "arm64/latest"])
async def test_squirrel_mac_is_told_of_a_mistake_in_its_address(gateway: Running, path: str) -> None:
    """The address is written by a developer, who should hear of it."""
    await make_notes(gateway.client)
    assert_canonical_error(await gateway.client.get(f"{FEEDS}/squirrel-mac/{path}"), "INVALID_REQUEST", 400)


async def test_squirrel_mac_needs_the_public_address(tmp_path: Path) -> None:
    """It never comes from the request, which could name any host; without the setting the error says so."""
    async with running(tmp_path, APP_ENV="production") as found:
        await make_notes(found.client, {"id": "1.1.0", "builds": [archive("1.1.0", "universal")]})
        headers = {"host": "evil.example", "x-forwarded-host": "evil.example"}
        for path in ("squirrel-mac/arm64/1.0.0", "sparkle/appcast.xml", "releases.atom"):
            response = await found.client.get(f"{FEEDS}/{path}", headers=headers)
            error = assert_canonical_error(response, "INTERNAL_ERROR", 500)
            assert "server.public_url" in error["message"]
