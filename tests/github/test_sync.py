"""Taking releases over from GitHub: when, into which channel, and what becomes of them later."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.releases.model import BuildState
from tests.github.scene import LINUX, MAC, SETTLE_S, WINDOWS, scene, sums

if TYPE_CHECKING:
    from pathlib import Path

STABLE = ("stable", "1.0.0")


async def test_a_release_is_published_once_it_has_settled(tmp_path: Path) -> None:
    """A workflow publishes first and uploads afterwards; who takes it over at once serves half of it."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX)
        await at.round()
        at.clock.advance(20)
        late = at.github.upload(release, WINDOWS, done=False)
        await at.next_poll()
        assert await at.served() == {}
        assert (await at.seen())["v1.0.0"].reason == f"still being uploaded: {WINDOWS}"
        at.github.finish(release, late)
        await at.next_poll()
        assert await at.served() == {}
        at.clock.advance(SETTLE_S)
        await at.round()
        assert list((await at.served())[STABLE]) == ["linux-x64", "windows-x64"]
        assert at.github.violations == []


async def test_releases_of_long_ago_are_published_at_the_first_look(tmp_path: Path) -> None:
    """Whoever connects a repository with years of releases need not wait; nobody is uploading to those."""
    async with scene(tmp_path, per_page=3) as at:
        for number in range(7):
            at.github.publish(f"v1.0.{number}", LINUX)
        at.clock.advance(3601)
        await at.add_project()
        (report,) = await at.round()
        assert len(await at.served()) == 7
        assert report.requests == 4


async def test_files_that_come_later_are_added(tmp_path: Path) -> None:
    """The slow runner for macOS ends after the others."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX)
        await at.settle()
        at.github.upload(release, MAC)
        await at.next_poll()
        assert list((await at.served())[STABLE]) == ["linux-x64"]
        at.clock.advance(SETTLE_S)
        await at.round()
        assert list((await at.served())[STABLE]) == ["linux-x64", "macos-arm64"]


async def test_a_file_that_is_replaced_is_a_build_to_be_verified_anew(tmp_path: Path) -> None:
    """The same name with other content is what an attacker would do, too."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX, WINDOWS)
        await at.settle()
        before = (await at.served())[STABLE]
        at.github.remove(release, release.assets[0])
        new = at.github.upload(release, LINUX, b"other content")
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        (report,) = await at.round()
        after = (await at.served())[STABLE]
        assert after["linux-x64"].sha256 == new.sha256 != before["linux-x64"].sha256
        assert after["linux-x64"].state is BuildState.PENDING
        assert after["windows-x64"] == before["windows-x64"]
        assert report.has_changed


async def test_a_release_that_goes_is_withdrawn_and_comes_back(tmp_path: Path) -> None:
    """Never deleted: who has it must still be told what it is."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX)
        await at.settle()
        release.draft = True
        at.github.touch(release)
        await at.next_poll()
        version = (await at.versions())[STABLE]
        assert version.yanked_at == at.clock()
        assert "unpublished" in version.yank_reason
        assert len(version.builds) == 1
        release.draft = False
        at.github.touch(release)
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        await at.round()
        assert (await at.versions())[STABLE].yanked_at is None


async def test_nothing_is_withdrawn_because_github_does_not_answer(tmp_path: Path) -> None:
    """A token that has run out looks as if everything were gone."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX)
        await at.settle()
        at.github.is_gone = True
        await at.store.take_delivery("d", 4711, "octo-org/app", (release.id, release.tag), at.clock())
        await at.round()
        (report,) = await at.next_poll()
        assert "no such repository" in report.problem
        assert list(await at.served()) == [STABLE]
        watched = await at.store.watched("app")
        assert watched is not None
        assert watched.problem == report.problem


async def test_a_release_that_is_missing_from_a_list_is_asked_for(tmp_path: Path) -> None:
    """The list moves while its pages are read, and then one falls between two of them."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX)
        await at.settle()
        at.github.publish("v2.0.0", LINUX)
        hidden = at.github.releases.pop(release.id)
        page = at.github._list

        def once(request: object) -> object:
            answer = page(request)  # type: ignore[arg-type]
            at.github.releases[release.id] = hidden
            return answer

        at.github._list = once  # type: ignore[method-assign, assignment]
        await at.next_poll()
        assert STABLE in await at.served()


async def test_an_edited_flag_or_tag_moves_the_version(tmp_path: Path) -> None:
    """Somebody notices that it should have been a pre-release."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX)
        await at.settle()
        release.prerelease = True
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        await at.round()
        assert list(await at.served()) == [("beta", "1.0.0")]
        release.prerelease, release.tag = False, "v1.0.1"
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        await at.round()
        assert list(await at.served()) == [("stable", "1.0.1")]
        release.tag = "v1.0.0"
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        await at.round()
        assert list(await at.served()) == [STABLE]


async def test_channels_are_made_on_demand_with_what_they_include(tmp_path: Path) -> None:
    """Users of a nightly are to get the release that follows it."""
    async with scene(tmp_path) as at:
        await at.add_project()
        at.github.publish("v1.0.0-alpha.1", LINUX)
        await at.settle()
        _, (change,) = await at.catalog.changes(-1)
        assert change.project is not None
        included = {channel.id: channel.includes for channel in change.project.channels}
        assert included == {"stable": (), "beta": ("stable",), "dev": ("beta", "stable")}


async def test_a_channel_that_was_named_is_not_made(tmp_path: Path) -> None:
    """It was deleted, or never there; somebody has to say which."""
    async with scene(tmp_path) as at:
        await at.add_project(channels=(("beta", "preview"),))
        at.github.publish("v1.0.0-beta.1", LINUX)
        await at.settle()
        seen = (await at.seen())["v1.0.0-beta.1"]
        assert (seen.state, seen.reason) == ("skipped", "the project has no channel 'preview'")


async def test_what_is_skipped_says_why(tmp_path: Path) -> None:
    """People look there when a release does not appear."""
    async with scene(tmp_path) as at:
        await at.add_project()
        for tag in ("latest", "otherlib-v1.0.0", "v1.0.0", "v1.1.0"):
            at.github.publish(tag, *(["app.txt"] if tag == "v1.1.0" else []))
        at.github.publish("v1.2.0", LINUX, "app-portable.zip")
        await at.settle()
        reasons = {tag: seen.reason for tag, seen in (await at.seen()).items()}
        assert reasons == {
            "latest": "'latest' ends in no version of SemVer 2.0 such as 1.2.3",
            "otherlib-v1.0.0": "the tag is one of 'otherlib' and not of this project",
            "v1.0.0": "it has no build",
            "v1.1.0": "it has no build",
            "v1.2.0": "left out: app-portable.zip: the name says no platform",
        }


async def test_checksums_come_from_files_when_github_knows_none(tmp_path: Path) -> None:
    """Releases of before 2025 have no digests; the token does not go to where the files are."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0")
        for name in (LINUX, WINDOWS, MAC):
            at.github.upload(release, name, name.encode(), digest=False)
        at.github.upload(release, "SHA256SUMS", sums(**{LINUX: LINUX.encode()}))
        at.github.upload(release, f"{WINDOWS}.sha256", sums(**{WINDOWS: WINDOWS.encode()}).split()[0])
        await at.settle()
        builds = (await at.served())[STABLE]
        known = {asset.name: asset.sha256 for asset in release.assets}
        assert builds["linux-x64"].sha256 == known[LINUX]
        assert builds["windows-x64"].sha256 == known[WINDOWS]
        assert builds["macos-arm64"].sha256 == ""
        assert at.github.violations == []


async def test_signatures_for_tauri_come_from_the_files_beside(tmp_path: Path) -> None:
    """As minisign writes them and as Tauri does; a signature of PGP has the same ending and is passed over."""
    text = b"untrusted comment: signature from tauri secret key\nRUQ=\ntrusted comment: x\nRUQ=\n"
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0")
        for name in (LINUX, WINDOWS, MAC):
            at.github.upload(release, name)
        at.github.upload(release, f"{LINUX}.sig", base64.b64encode(text))
        at.github.upload(release, f"{WINDOWS}.minisig", text)
        at.github.upload(release, f"{MAC}.sig", b"\x89\x01\x33\x04\x00 binary")
        at.github.upload(release, f"{MAC}.minisig", text * 100)
        await at.settle()
        builds = (await at.served())[STABLE]
        assert builds["linux-x64"].signature == base64.b64encode(text).decode()
        assert builds["windows-x64"].signature == text.decode().strip()
        assert builds["macos-arm64"].signature is None
        at.github.remove(release, next(asset for asset in release.assets if asset.name == f"{LINUX}.sig"))
        later = text.replace(b"RUQ=", b"RUU=")
        at.github.upload(release, f"{LINUX}.sig", later)
        before = builds["linux-x64"]
        await at.next_poll()
        await at.settle()
        after = (await at.served())[STABLE]["linux-x64"]
        assert after == replace(before, signature=later.decode().strip())
        assert at.github.violations == []


async def test_a_checksum_file_that_cannot_be_read_is_waited_for(tmp_path: Path) -> None:
    """Otherwise who can disturb the download of the list decides that nothing is compared."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0")
        at.github.upload(release, LINUX, digest=False)
        at.github.upload(release, "SHA256SUMS", b"x")
        file = at.github._file
        at.github._file = lambda request: at.github._not_found()  # type: ignore[method-assign]
        await at.settle()
        seen = (await at.seen())["v1.0.0"]
        assert (seen.state, seen.reason) == ("waiting", "SHA256SUMS could not be read: status 404")
        at.github._file = file  # type: ignore[method-assign]
        at.clock.advance(61)
        await at.round()
        assert list(await at.served()) == [STABLE]
