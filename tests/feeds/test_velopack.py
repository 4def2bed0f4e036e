"""Velopack: its own client finds, downloads and checks what the gateway offers, and what the list says besides."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from gateway.releases.feeds.packages import is_full, read_package
from gateway.releases.feeds.velopack import read_channel
from gateway.releases.model import Architecture, Platform
from tests.feeds.package_catalogue import (
    FEEDS,
    NOTES,
    Installed,
    OnSockets,
    content,
    feeds,
    make_notes,
    on_sockets,
    package,
    publish,
    versions_of,
)
from tests.gateway.keyring import make_key
from tests.releases.catalogue_http import Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LIST = f"{FEEDS}/velopack/releases.linux.json"


@pytest_asyncio.fixture
async def net(tmp_path: Path) -> AsyncIterator[OnSockets]:
    """Run a gateway and a server of files, with Notes 1.0.0 and 1.1.0 for everybody."""
    async with on_sockets(tmp_path) as found:
        versions = [{"id": version, "builds": [found.add(version)]} for version in ("1.0.0", "1.1.0")]
        await make_notes(found.client, *versions, public_updates=True)
        yield found


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a gateway without sockets and with an empty catalogue."""
    async with feeds(tmp_path) as found:
        yield found


async def listed(found: Running, channel: str = "linux", **parameters: str) -> dict[str, Any]:
    """Ask for the list as the client does."""
    response = await found.client.get(f"{FEEDS}/velopack/releases.{channel}.json", params=parameters)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def downloads(net: OnSockets, version: str) -> int:
    """Return how many downloads of a version were counted."""
    count: int = (await net.client.get(f"{NOTES}/versions/{version}")).json()["downloads"]
    return count


async def test_the_client_finds_an_update_and_downloads_it(net: OnSockets, tmp_path: Path) -> None:
    """By way of a redirect to another origin, with the right bytes, and counted once."""
    app = Installed(tmp_path / "app", net.feed, "1.0.0")
    update = await app.check()
    assert update is not None
    assert (update.TargetFullRelease.Version, update.IsDowngrade) == ("1.1.0", False)
    assert update.TargetFullRelease.FileName == "Notes-1.1.0-linux-full.nupkg"
    assert await app.download(update) == content("1.1.0")
    assert await downloads(net, "1.1.0") == 1


@pytest.mark.parametrize("version", ["1.1.0", "1.1.1-dev", "2.0.0"])
async def test_the_client_finds_nothing_when_it_is_up_to_date(net: OnSockets, tmp_path: Path, version: str) -> None:
    """Neither with the highest version nor with a higher one, which only a developer can have."""
    assert await Installed(tmp_path / "app", net.feed, version).check() is None


async def test_a_client_that_allows_downgrades_is_not_led_to_any(net: OnSockets, tmp_path: Path) -> None:
    """It would take whatever is lower, as when a rollout has not reached it or it runs a development build."""
    app = Installed(tmp_path / "app", net.feed, "2.0.0", downgrade=True)
    assert await app.check() is None


async def test_who_runs_a_withdrawn_version_may_go_back(net: OnSockets, tmp_path: Path) -> None:
    """If the project allows it and the client does: then a lower version is what is meant."""
    await net.client.patch("/projects/notes", json={"allow_rollback": True})
    await net.client.post(f"{NOTES}/versions/1.1.0/yank", json={})
    update = await Installed(tmp_path / "app", net.feed, "1.1.0", downgrade=True).check()
    assert update is not None
    assert (update.TargetFullRelease.Version, update.IsDowngrade) == ("1.0.0", True)
    assert await Installed(tmp_path / "other", net.feed, "1.1.0").check() is None


async def test_the_client_finds_nothing_where_there_is_nothing(net: OnSockets, tmp_path: Path) -> None:
    """An empty list, since 204 and 404 are errors to it."""
    for version in ("1.0.0", "1.1.0"):
        await net.client.post(f"{NOTES}/versions/{version}/yank", json={})
    assert await Installed(tmp_path / "app", net.feed, "0.9.0").check() is None


async def test_the_client_refuses_a_file_that_was_exchanged(net: OnSockets, tmp_path: Path) -> None:
    """Of the same length, so only the checksum can tell."""
    true = content("1.2.0")
    await publish(net.client, {"id": "1.2.0", "builds": [net.add("1.2.0", body=b"X" + true[1:])]})
    app = Installed(tmp_path / "app", net.feed, "1.0.0")
    update = await app.check()
    assert update is not None
    with pytest.raises(Exception, match=r"(?i)checksum"):
        await app.download(update)
    assert app.left() == []


async def test_the_client_refuses_a_file_of_another_length(net: OnSockets, tmp_path: Path) -> None:
    """The size is part of the list."""
    await publish(net.client, {"id": "1.2.0", "builds": [net.add("1.2.0", body=b"short")]})
    app = Installed(tmp_path / "app", net.feed, "1.0.0")
    update = await app.check()
    assert update is not None
    with pytest.raises(Exception, match=r"(?i)size"):
        await app.download(update)
    assert app.left() == []


async def test_a_package_that_was_withdrawn_meanwhile_is_not_handed_out(net: OnSockets, tmp_path: Path) -> None:
    """Between the check and the download; the client says that it could not download."""
    app = Installed(tmp_path / "app", net.feed, "1.0.0")
    update = await app.check()
    assert update is not None
    await net.client.post(f"{NOTES}/versions/1.1.0/yank", json={})
    with pytest.raises(Exception, match="410"):
        await app.download(update)
    assert net.asked_for() == []


async def test_a_rollout_reaches_the_clients_that_the_update_check_names(net: OnSockets, tmp_path: Path) -> None:
    """The id that a client draws for itself decides, the same here as for any other launcher."""
    await publish(net.client, {"id": "1.2.0", "rollout_percent": 50, "builds": [net.add("1.2.0")]})
    seen = set()
    for number in range(12):
        staging_id = str(uuid.UUID(int=number))
        app = Installed(tmp_path / f"app{number}", net.feed, "1.0.0")
        app.call_itself(staging_id)
        update = await app.check()
        assert update is not None
        asked = {"current_version": "1.0.0", "platform": "linux", "architecture": "x64", "client_id": staging_id}
        native = (await net.client.get(f"{NOTES}/update", params=asked)).json()["latest_version"]
        assert update.TargetFullRelease.Version == native
        seen.add(native)
    assert seen == {"1.1.0", "1.2.0"}


async def test_the_clients_key_stays_with_the_gateway(net: OnSockets, tmp_path: Path) -> None:
    """A closed project needs it, and the redirect to the files must not carry it there."""
    await net.client.patch("/projects/notes", json={"public_updates": False})
    with pytest.raises(Exception, match="401"):
        await Installed(tmp_path / "stranger", net.feed, "1.0.0").check()
    key = await make_key(net.client, "app", "canCheckUpdates")
    app = Installed(tmp_path / "app", net.feed, "1.0.0", key=key["authorization"])
    update = await app.check()
    assert update is not None
    assert await app.download(update) == content("1.1.0")
    assert ["authorization" in request.headers for request in net.files.requests] == [False]


async def test_the_client_takes_deltas_where_they_are_without_a_gap(net: OnSockets, tmp_path: Path) -> None:
    """It downloads them in place of the whole package, each by its bare name, and checks each."""
    for version in ("1.2.0", "1.3.0"):
        await publish(net.client, {"id": version, "builds": [net.add(version), net.add(version, "delta")]})
    app = Installed(tmp_path / "app", net.feed, "1.1.0")
    app.keep_own_package()
    update = await app.check()
    assert update is not None
    assert [step.Version for step in update.DeltasToTarget] == ["1.2.0", "1.3.0"]
    assert await app.download(update) == content("1.2.0", "delta") + content("1.3.0", "delta")
    assert net.asked_for() == ["/Notes-1.2.0-linux-delta.nupkg", "/Notes-1.3.0-linux-delta.nupkg"]


async def test_the_client_takes_the_whole_package_when_a_delta_is_wrong(net: OnSockets, tmp_path: Path) -> None:
    """So a damaged delta costs time and not the update."""
    builds = [net.add("1.2.0"), net.add("1.2.0", "delta", body=b"X" + content("1.2.0", "delta")[1:])]
    await publish(net.client, {"id": "1.2.0", "builds": builds})
    app = Installed(tmp_path / "app", net.feed, "1.1.0")
    app.keep_own_package()
    update = await app.check()
    assert update is not None
    assert await app.download(update) == content("1.2.0")


async def test_a_delta_is_no_update_by_itself(gateway: Running) -> None:
    """Also when it stands before the whole package, and in a version that has nothing else."""
    both = [package("1.1.0", kind="delta"), package("1.1.0")]
    await make_notes(gateway.client, {"id": "1.1.0", "builds": both})
    await publish(gateway.client, {"id": "1.2.0", "builds": [package("1.2.0", kind="delta")]})
    assert versions_of(await listed(gateway)) == [("1.1.0", "Full")]


@pytest.mark.parametrize(
    ("middle", "deltas"),
    [
        ({}, ["1.1.0", "1.2.0"]),
        ({"rollout_percent": 99}, []),
        ({"builds": [package("1.1.0")]}, []),
        ({"builds": [package("1.1.0", "win"), package("1.1.0", "win", "delta")]}, ["1.2.0"]),
    ],
    ids=["whole", "not rolled out", "no delta", "another platform"],
)
async def test_deltas_are_listed_all_or_none(gateway: Running, middle: dict[str, Any], deltas: list[str]) -> None:
    """The client takes every delta above its own version for a part of the way, and would patch the wrong file."""
    builds = {version: [package(version), package(version, kind="delta")] for version in ("1.0.0", "1.1.0", "1.2.0")}
    await make_notes(gateway.client, *({"id": version, "builds": builds[version]} for version in ("1.0.0", "1.2.0")))
    await publish(gateway.client, {"id": "1.1.0", "builds": builds["1.1.0"], **middle})
    found = await listed(gateway, localVersion="1.0.0")
    assert sorted(version for version, kind in versions_of(found) if kind == "Delta") == deltas
    assert versions_of(found)[0] == ("1.2.0", "Full")


async def test_a_withdrawn_step_leaves_no_deltas(gateway: Running) -> None:
    """Its file answers 410, and the next delta fits on nothing else."""
    builds = {version: [package(version), package(version, kind="delta")] for version in ("1.0.0", "1.1.0", "1.2.0")}
    await make_notes(gateway.client, *({"id": version, "builds": found} for version, found in builds.items()))
    await gateway.client.post(f"{NOTES}/versions/1.1.0/yank", json={})
    assert versions_of(await listed(gateway, localVersion="1.0.0")) == [("1.2.0", "Full")]


async def test_no_deltas_lead_from_one_channel_to_another(gateway: Running) -> None:
    """A delta is made against the version before it in its own channel."""
    await make_notes(gateway.client, {"id": "1.1.0", "builds": [package("1.1.0"), package("1.1.0", kind="delta")]})
    await publish(gateway.client, {"id": "1.1.0-beta.1", "builds": [package("1.1.0-beta.1")]}, "beta")
    asked = {"localVersion": "1.1.0-beta.1"}
    response = await gateway.client.get("/updates/notes/beta/velopack/releases.linux.json", params=asked)
    assert versions_of(response.json()) == [("1.1.0", "Full")]


async def test_an_asset_has_what_the_client_reads(gateway: Running) -> None:
    """Names are bare: it would write an absolute address to the disk as it stands."""
    await make_notes(gateway.client, {"id": "1.1.0", "release_notes": "## New\n- \u2713", "builds": [package("1.1.0")]})
    build = package("1.1.0")
    asset = {
        "PackageId": "Notes",
        "Version": "1.1.0",
        "Type": "Full",
        "FileName": "Notes-1.1.0-linux-full.nupkg",
        "SHA1": build["checksum"]["sha1"].upper(),
        "SHA256": build["checksum"]["sha256"].upper(),
        "Size": build["file_size"],
        "NotesMarkdown": "## New\n- \u2713",
    }
    assert await listed(gateway) == {"Assets": [asset]}
    # What is installed is listed too, for a client that changes to another channel with the same version.
    assert await listed(gateway, localVersion="1.1.0") == {"Assets": [asset]}


async def test_a_checksum_that_nobody_knows_is_left_out(gateway: Running) -> None:
    """An empty one would never match."""
    await make_notes(gateway.client, {"id": "1.1.0", "builds": [package("1.1.0", sha1=False)]})
    assert "SHA1" not in (await listed(gateway))["Assets"][0]


async def test_a_plus_that_arrives_as_a_space_is_read(gateway: Running) -> None:
    """The client does not escape it, and would take other metadata for an update or for a way back, so it sees none."""
    await make_notes(gateway.client, {"id": "1.1.0+2", "builds": [package("1.1.0")]})
    for text, expected in (("1.1.0+2", []), ("1.1.0+1", []), ("1.0.0+9", [("1.1.0", "Full")])):
        response = await gateway.client.get(f"{LIST}?localVersion={text}&id=Notes")
        assert versions_of(response.json()) == expected, text


async def test_an_unreadable_version_is_an_error(gateway: Running) -> None:
    """The client's own are always Semantic Versions, so somebody has made a mistake."""
    await make_notes(gateway.client)
    response = await gateway.client.get(LIST, params={"localVersion": "1.2"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "INVALID_REQUEST")


async def test_a_channel_without_packages_has_an_empty_list(gateway: Running) -> None:
    """Also for a name that says nothing of a platform."""
    await make_notes(gateway.client)
    assert [await listed(gateway, name) for name in ("linux", "win-x64", "anything")] == [{"Assets": []}] * 3


async def test_a_name_without_a_platform_will_do_while_there_is_only_one(gateway: Running) -> None:
    """Once there are two, the answer says what to put, and names that say it still work."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [package("1.0.0", "win")]})
    assert versions_of(await listed(gateway, "stable")) == [("1.0.0", "Full")]
    await publish(gateway.client, {"id": "1.1.0", "builds": [package("1.1.0")]})
    response = await gateway.client.get(f"{FEEDS}/velopack/releases.stable.json")
    assert response.status_code == 400
    assert "linux and windows: win, osx or linux" in response.json()["error"]["message"]
    assert versions_of(await listed(gateway, "win")) == [("1.0.0", "Full")]
    assert versions_of(await listed(gateway, "linux-stable")) == [("1.1.0", "Full")]


@pytest.mark.parametrize(
    ("name", "platform", "architecture"),
    [
        ("win", Platform.WINDOWS, None),
        ("osx", Platform.MACOS, None),
        ("linux", Platform.LINUX, None),
        ("win-x64", Platform.WINDOWS, Architecture.X64),
        ("win-x86-beta", Platform.WINDOWS, Architecture.X86),
        ("win_arm64", Platform.WINDOWS, Architecture.ARM64),
        ("osx-arm64.nightly", Platform.MACOS, Architecture.ARM64),
        ("linux-x86_64", Platform.LINUX, Architecture.X64),
        ("linux-arm", Platform.LINUX, Architecture.ARMV7),
        ("win64", Platform.WINDOWS, Architecture.X64),
        ("stable", None, None),
        ("darwinia", None, None),
        ("win-linux", None, None),
    ],
)
def test_a_channel_of_velopack_names_platform_and_processor(
    name: str, platform: Platform | None, architecture: Architecture | None
) -> None:
    """By words of their own, so nothing is found inside of another word."""
    assert read_channel(name) == (platform, architecture)


@pytest.mark.parametrize(
    ("name", "package_id", "is_delta"),
    [
        ("Notes-1.0.0-full.nupkg", "Notes", False),
        ("My.App-2-1.0.0-beta.1-win-x64-delta.nupkg", "My.App-2", True),
        ("notes-10.20.30+build.7-linux-FULL.NUPKG", "notes", False),
    ],
)
def test_the_name_of_a_package_says_its_id(name: str, package_id: str, is_delta: bool) -> None:
    """Everything before the version, which may itself have hyphens and digits."""
    assert read_package(name) == (package_id, is_delta)
    assert is_full(name) is not is_delta


@pytest.mark.parametrize(
    "name",
    [
        "Notes-1.0.0.nupkg",
        "Notes-full.nupkg",
        "-1.0.0-full.nupkg",
        "No tes-1.0.0-full.nupkg",
        "a/b-1.0.0-full.nupkg",
        "https://x/Notes-1.0.0-full.nupkg",
        "Notes-1.0.0-full.nupkg\n",
        "N\u00f6tes-1.0.0-full.nupkg",
        "RELEASES",
        "",
    ],
)
async def test_other_names_are_of_no_package(gateway: Running, name: str) -> None:
    """No client could fetch or write them, so no list has them, and nobody gets a file by such a name."""
    assert read_package(name) is None
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [package("1.0.0", file_name="x.nupkg")]})
    assert await listed(gateway) == {"Assets": []}
    response = await gateway.client.get(f"{FEEDS}/velopack/x.nupkg")
    assert response.status_code == 404


async def test_no_build_is_listed_that_may_not_be_served(gateway: Running) -> None:
    """In a project that serves verified builds only; its file then says why not."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [package("1.0.0")]}, verification="required")
    assert await listed(gateway) == {"Assets": []}
    response = await gateway.client.get(f"{FEEDS}/velopack/Notes-1.0.0-linux-full.nupkg")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "BUILD_NOT_VERIFIED")


async def test_a_package_of_an_included_channel_is_found_behind_the_channels_own(gateway: Running) -> None:
    """Both may have a file of the same name, and who follows a channel means that channel's."""
    own = package("1.0.0", base="https://cdn.example.com/beta")
    both = [package("1.0.0"), package("1.0.0", "win")]
    await make_notes(gateway.client, {"id": "1.0.0", "builds": both})
    await publish(gateway.client, {"id": "1.0.0", "builds": [own]}, "beta")
    names = ("Notes-1.0.0-linux-full.nupkg", "Notes-1.0.0-win-full.nupkg")
    led = [await gateway.client.get(f"/updates/notes/beta/velopack/{name}") for name in names]
    assert [response.headers["location"] for response in led] == [own["download_url"], both[1]["download_url"]]
    await gateway.client.post("/projects/notes/channels/beta/versions/1.0.0/yank", json={})
    led = [await gateway.client.get(f"/updates/notes/beta/velopack/{name}") for name in names]
    assert [response.headers["location"] for response in led] == [build["download_url"] for build in both]


async def test_the_list_may_be_kept_by_who_asked(gateway: Running) -> None:
    """For a minute, and with a validator, though no Velopack client sends one."""
    await make_notes(gateway.client, {"id": "1.0.0", "builds": [package("1.0.0")]})
    first = await gateway.client.get(LIST)
    assert first.headers["cache-control"] == "private, max-age=60"
    assert first.headers["vary"] == "Authorization, X-User-Staging-Id"
    again = await gateway.client.get(LIST, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert (await gateway.client.get(LIST, params={"stagingId": "other"})).headers["etag"] != first.headers["etag"]
