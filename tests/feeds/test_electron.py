"""electron-updater itself, against a real gateway: what it is offered, and which bytes it ends up with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from gateway.releases.model import BuildState
from gateway.releases.rollout import bucket
from tests.feeds.shop import digest_of
from tests.releases import fileserver as fs

if TYPE_CHECKING:
    from tests.feeds.conftest import RunElectron
    from tests.feeds.shop import Shop

pytestmark = pytest.mark.slow

WINDOWS = {"updater": "NsisUpdater", "platform": "win32"}
MACOS = {"updater": "MacUpdater", "platform": "darwin"}
# What means something to YAML, and what is more than two bytes long.
NOTES = "Fixes:\n\n- *one*: 'two' #3 & \"four\"\n\t{{ }} \\ \N{ROCKET} \u00e9"


def feed(shop: Shop, project: str = "app") -> str:
    """Return the address that an application is built with."""
    return f"{shop.base}/updates/{project}/stable/electron"


def downloads(shop: Shop, project: str = "app") -> int:
    """Return how often files of a project were counted."""
    return shop.gateway.app.state.downloads.of(project)


async def test_an_update_is_offered_and_downloaded(shop: Shop, run_electron: RunElectron) -> None:
    """The right bytes, under the file's own name, and counted once."""
    await shop.open_project()
    await shop.publish("1.1.0+9", shop.build("App-1.1.0.AppImage"), release_notes=NOTES)
    found = await run_electron(url=feed(shop))
    assert found["events"] == ["update-available", "update-downloaded"], found
    assert (found["file"], found["sha256"]) == ("App-1.1.0.AppImage", digest_of("App-1.1.0.AppImage"))
    assert found["info"]["version"] == "1.1.0"
    assert found["info"]["releaseNotes"] == NOTES
    assert downloads(shop) == 1
    whole = [request for request in shop.files.requests if "range" not in request.headers]
    assert [request.path for request in whole] == ["/files/App-1.1.0.AppImage"]


@pytest.mark.parametrize("installed", ["1.1.0", "1.1.0+7", "1.2.0"])
async def test_the_same_and_a_newer_version_are_no_update(
    shop: Shop, run_electron: RunElectron, installed: str
) -> None:
    """And no error: the file is there for everybody."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("App-1.1.0.AppImage"))
    found = await run_electron(url=feed(shop), version=installed)
    assert (found["available"], found["events"]) == (False, ["update-not-available"])


async def test_nothing_for_a_platform_is_a_missing_file(shop: Shop, run_electron: RunElectron) -> None:
    """As it would be on any file server; and Linux on ARM does not take what is for x64."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("App-1.1.0.AppImage"))
    for client in (WINDOWS, MACOS, {"arch": "arm64"}):
        found = await run_electron(url=feed(shop), **client)
        assert found["error"] == "ERR_UPDATER_CHANNEL_FILE_NOT_FOUND", found


async def test_a_package_is_chosen_by_its_kind(shop: Shop, run_electron: RunElectron) -> None:
    """Whoever installed a .deb gets a .deb."""
    await shop.open_project()
    names = {"DebUpdater": "app.deb", "RpmUpdater": "app.rpm", "PacmanUpdater": "app.pacman"}
    builds = [shop.build(name, id=f"b{place}") for place, name in enumerate(["app.AppImage", *names.values()])]
    await shop.publish("1.1.0", *builds)
    for updater, name in names.items():
        assert (await run_electron(url=feed(shop), updater=updater))["sha256"] == digest_of(name)


async def test_a_tampered_file_is_refused(shop: Shop, run_electron: RunElectron) -> None:
    """By its SHA-512, or by its SHA-256 where no other is known."""
    await shop.open_project()
    build = shop.build("App-1.1.0.AppImage")
    await shop.publish("1.1.0", build)
    shop.files.routes["/files/App-1.1.0.AppImage"] = fs.file(b"something else")
    assert (await run_electron(url=feed(shop)))["error"] == "ERR_CHECKSUM_MISMATCH"
    await shop.open_project("old")
    only_sha256 = {**build, "checksum": {"sha256": build["checksum"]["sha256"]}}
    await shop.publish("1.1.0", only_sha256, project="old")
    assert (await run_electron(url=feed(shop, "old")))["error"] == "ERR_CHECKSUM_MISMATCH"
    shop.build("App-1.1.0.AppImage")
    assert (await run_electron(url=feed(shop, "old")))["sha256"] == digest_of("App-1.1.0.AppImage")


async def test_a_wrong_checksum_is_refused(shop: Shop, run_electron: RunElectron) -> None:
    """What was published is believed, and not the file."""
    await shop.open_project()
    build = shop.build("App-1.1.0.AppImage")
    build["checksum"]["sha512"] = "ab" * 64
    await shop.publish("1.1.0", build)
    assert (await run_electron(url=feed(shop)))["error"] == "ERR_CHECKSUM_MISMATCH"


async def test_a_rollout_reaches_some_installations(shop: Shop, run_electron: RunElectron) -> None:
    """The server decides by the id that the client sends, and shows the others the version before."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("App-1.1.0.AppImage"))
    await shop.publish("1.2.0", shop.build("App-1.2.0.AppImage"), rollout_percent=50)
    salt = shop.gateway.app.state.catalogue.now.project("app", None).version("stable", "1.2.0").version.rollout_salt
    ids = [str(UUID(int=number, version=4)) for number in range(20)]
    within = next(each for each in ids if bucket(salt, each) < 50)
    without = next(each for each in ids if bucket(salt, each) >= 50)
    for staging_id, version in ((within, "1.2.0"), (without, "1.1.0")):
        found = await run_electron(url=feed(shop), staging_id=staging_id)
        assert found["sha256"] == digest_of(f"App-{version}.AppImage")
        assert "stagingPercentage" not in found["info"]


@pytest.mark.parametrize("allow_downgrade", [False, True])
async def test_a_version_that_is_held_back_is_no_update(
    shop: Shop, run_electron: RunElectron, *, allow_downgrade: bool
) -> None:
    """Where there is no other to show, the client hears of none, and does not fail."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("App-1.1.0.AppImage"), rollout_percent=0)
    found = await run_electron(url=feed(shop), allow_downgrade=allow_downgrade)
    assert (found["available"], found["events"]) == (False, ["update-not-available"])


async def test_a_key_goes_no_further_than_the_gateway(shop: Shop, run_electron: RunElectron) -> None:
    """The file server is another origin, and is not asked with the key that the check needs."""
    await shop.open_project(public_updates=False)
    await shop.publish("1.1.0", shop.build("App-1.1.0.AppImage"))
    refused = await run_electron(url=feed(shop))
    assert "401" in refused["message"], refused
    headers = {"Authorization": shop.client.headers["authorization"]}
    found = await run_electron(url=feed(shop), headers=headers)
    assert found["sha256"] == digest_of("App-1.1.0.AppImage")
    assert shop.files.requests
    assert not any("authorization" in request.headers for request in shop.files.requests)


# Their names lie, or say nothing; the first product's own name would be taken for a processor's.
WINDOWS_FILES = {"x64": "Setup.exe", "arm64": "Setup for x64 and ia32.exe", "x86": "arm64.exe"}
MACOS_FILES = {"x64": "box64-arm64.zip", "arm64": "plain.zip"}


@pytest.mark.parametrize("project", ["box64", "arm64-tools", "plain"])
async def test_windows_gets_the_file_of_its_processor(shop: Shop, run_electron: RunElectron, project: str) -> None:
    """Whatever the files, the builds and the product are called, and in whatever order they were published."""
    await shop.open_project(project)
    builds = [
        shop.build(name, "windows", architecture, id=f"id-x64-arm64-{place}")
        for place, (architecture, name) in enumerate(reversed(WINDOWS_FILES.items()))
    ]
    await shop.publish("1.1.0", *builds, project=project)
    for arch, name in (("x64", WINDOWS_FILES["x64"]), ("arm64", WINDOWS_FILES["arm64"]), ("ia32", "arm64.exe")):
        found = await run_electron(url=feed(shop, project), arch=arch, **WINDOWS)
        assert (found.get("file"), found.get("sha256")) == (name, digest_of(name)), (arch, found)


async def test_an_installer_comes_before_a_portable_program(shop: Shop, run_electron: RunElectron) -> None:
    """Both are .exe files, but only one of them can update what is installed."""
    await shop.open_project()
    names = ["Portable.exe", "App.exe", "App-Setup.exe"]
    for version, published in (("1.1.0", names[:2]), ("1.2.0", names)):
        builds = [shop.build(name, "windows", id=f"b{place}") for place, name in enumerate(published)]
        await shop.publish(version, *builds)
        assert (await run_electron(url=feed(shop), **WINDOWS))["file"] == published[-1]


@pytest.mark.parametrize("project", ["arm64-tools", "plain"])
async def test_macos_gets_the_file_of_its_processor(shop: Shop, run_electron: RunElectron, project: str) -> None:
    """The same there; the disk image, which the client cannot install, is in nobody's way."""
    await shop.open_project(project)
    builds = [shop.build(name, "macos", architecture) for architecture, name in MACOS_FILES.items()]
    image = shop.build("App.dmg", "macos", "universal")
    await shop.publish("1.1.0", image, *builds, project=project)
    for arch, name in MACOS_FILES.items():
        found = await run_electron(url=feed(shop, project), arch=arch, **MACOS)
        assert (found.get("file"), found.get("sha256")) == (name, digest_of(name)), (arch, found)


async def test_one_file_for_all_macs(shop: Shop, run_electron: RunElectron) -> None:
    """A universal build is everybody's."""
    await shop.open_project()
    await shop.publish("1.1.0", shop.build("App.zip", "macos", "universal"))
    for arch in ("x64", "arm64"):
        assert (await run_electron(url=feed(shop), arch=arch, **MACOS))["sha256"] == digest_of("App.zip")


async def test_a_version_waits_until_all_processors_have_it(shop: Shop, run_electron: RunElectron) -> None:
    """Of a list that lacks its own file, a client would take another's."""
    await shop.open_project()
    for version in ("1.1.0", "1.2.0"):
        pairs = [(arch, f"{arch}-{version}.exe") for arch in ("x64", "arm64")]
        await shop.publish(version, *(shop.build(name, "windows", arch) for arch, name in pairs))
    await shop.settle("1.2.0", "windows-arm64", BuildState.FAILED)
    for arch in ("x64", "arm64"):
        found = await run_electron(url=feed(shop), arch=arch, **WINDOWS)
        assert found["sha256"] == digest_of(f"{arch}-1.1.0.exe")
    await shop.settle("1.2.0", "windows-arm64", BuildState.VERIFIED)
    found = await run_electron(url=feed(shop), arch="arm64", **WINDOWS)
    assert found["sha256"] == digest_of("arm64-1.2.0.exe")


# The version of the kernel: Darwin 22 is macOS 13.
SYSTEMS: list[tuple[dict[str, Any], str, str, str, bool]] = [
    (MACOS, "App.zip", "13.0", "21.6.0", False),
    (MACOS, "App.zip", "13.0", "22.1.0", True),
    (MACOS, "App.zip", "26.1", "24.6.0", False),
    (MACOS, "App.zip", "26.1", "25.1.0", True),
    (MACOS, "App.zip", "10.15", "19.0.0", True),
    (WINDOWS, "Setup.exe", "10.0.19041", "10.0.17763", False),
    (WINDOWS, "Setup.exe", "10.0", "10.0.17763", True),
]


@pytest.mark.parametrize(("client", "name", "needed", "release", "offered"), SYSTEMS)
async def test_an_old_system_is_left_alone(
    shop: Shop,
    run_electron: RunElectron,
    client: dict[str, Any],
    name: str,
    needed: str,
    release: str,
    *,
    offered: bool,
) -> None:
    """The client compares its kernel with what the build needs."""
    await shop.open_project()
    platform = "macos" if client is MACOS else "windows"
    await shop.publish("1.1.0", shop.build(name, platform, min_os_version=needed))
    found = await run_electron(url=feed(shop), release=release, **client)
    assert found["available"] is offered


async def test_the_lowest_need_of_a_version_counts(shop: Shop, run_electron: RunElectron) -> None:
    """One file is for several processors, and nobody is kept from a build that runs."""
    await shop.open_project()
    needy = shop.build("x64.zip", "macos", min_os_version="13.0")
    await shop.publish("1.1.0", needy, shop.build("arm64.zip", "macos", "arm64"))
    assert (await run_electron(url=feed(shop), release="20.0.0", arch="arm64", **MACOS))["file"] == "arm64.zip"


async def test_a_version_of_an_included_channel(shop: Shop, run_electron: RunElectron) -> None:
    """Its file is where that channel has it."""
    await shop.open_project(channels=[{"id": "stable"}, {"id": "beta", "includes": ["stable"]}])
    await shop.publish("1.1.0", shop.build("App-1.1.0.AppImage"))
    found = await run_electron(url=feed(shop).replace("/stable/", "/beta/"))
    assert found["sha256"] == digest_of("App-1.1.0.AppImage")
