"""What people do by hand beside the synchronisation with GitHub: it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.github.scene import LINUX, SETTLE_S, WINDOWS, scene

if TYPE_CHECKING:
    from pathlib import Path

STABLE = ("stable", "1.0.0")


async def test_what_people_published_is_left_alone(tmp_path: Path) -> None:
    """The gateway cannot know which of both they mean."""
    async with scene(tmp_path) as at:
        await at.add_project()
        service, who = at.service()
        await service.publish("app", "stable", {"id": "1.0.0", "name": "By hand"}, who)
        at.github.publish("v1.0.0", LINUX)
        await at.settle()
        version = (await at.versions())[STABLE]
        assert (version.name, version.builds) == ("By hand", ())
        assert "was not taken over" in (await at.seen())["v1.0.0"].reason


async def test_what_people_changed_is_left_alone(tmp_path: Path) -> None:
    """Notes that were corrected, and a version that was withdrawn here because it is broken."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX, body="Old notes")
        await at.settle()
        service, who = at.service()
        release.body = "Better notes"
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        await at.round()
        assert (await at.versions())[STABLE].release_notes == "Better notes"
        await service.change_version("app", *STABLE, {"release_notes": "By hand"}, who)
        await service.yank("app", *STABLE, {"reason": "broken"}, who)
        release.body = "Newer notes"
        at.github.upload(release, WINDOWS)
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        await at.round()
        version = (await at.versions())[STABLE]
        assert (version.release_notes, version.yank_reason) == ("By hand", "broken")
        assert [build.id for build in version.builds] == ["linux-x64", "windows-x64"]


async def test_a_withdrawal_that_people_took_back_stays_taken_back(tmp_path: Path) -> None:
    """They have the files elsewhere."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX)
        await at.settle()
        del at.github.releases[release.id]
        await at.next_poll()
        assert await at.served() == {}
        service, who = at.service()
        await service.restore("app", *STABLE, who)
        for _ in range(3):
            await at.next_poll()
        assert list(await at.served()) == [STABLE]


async def test_a_build_that_people_replaced_stays_theirs(tmp_path: Path) -> None:
    """They have signed it again and put it on a server of their own."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX, WINDOWS)
        await at.settle()
        service, who = at.service()
        mine = {
            "platform": "linux",
            "architecture": "x64",
            "file_size": 5,
            "download_url": "https://cdn.example.com/app.AppImage",
            "checksum": {"sha256": "ab" * 32},
        }
        await service.add_build("app", *STABLE, mine, who)
        for asset in list(release.assets):
            at.github.remove(release, asset)
            at.github.upload(release, asset.name)
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        await at.round()
        builds = (await at.served())[STABLE]
        assert builds["linux-x64"].download_url == mine["download_url"]
        assert builds["windows-x64"].sha256 == release.assets[1].sha256
        assert (await at.seen())["v1.0.0"].reason == "changed by hand: linux-x64"
        at.github.remove(release, release.assets[0])
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        await at.round()
        assert (await at.served())[STABLE].keys() == {"linux-x64", "windows-x64"}


async def test_a_project_that_was_made_anew_owes_nothing_to_the_old_one(tmp_path: Path) -> None:
    """What is published by hand in it is nobody else's, though the old one had a version of that name from GitHub."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0", LINUX)
        await at.settle()
        service, who = at.service()
        await service.delete_project("app", who)
        await at.add_project()
        await service.publish("app", "stable", {"id": "1.0.0", "name": "By hand"}, who)
        await at.next_poll()
        at.clock.advance(SETTLE_S)
        await at.round()
        assert (await at.versions())[STABLE].builds == ()
        assert "was not taken over" in (await at.seen())["v1.0.0"].reason
        del at.github.releases[release.id]
        await at.next_poll()
        assert list(await at.served()) == [STABLE]


async def test_a_channel_that_was_made_anew_owes_nothing_to_the_old_one(tmp_path: Path) -> None:
    """The same for a channel alone."""
    async with scene(tmp_path) as at:
        await at.add_project()
        release = at.github.publish("v1.0.0-beta.1", LINUX)
        await at.settle()
        assert list(await at.served()) == [("beta", "1.0.0-beta.1")]
        service, who = at.service()
        await service.delete_channel("app", "beta", who)
        await service.create_channel("app", {"id": "beta"}, who)
        await service.publish("app", "beta", {"id": "1.0.0-beta.1", "name": "By hand"}, who)
        del at.github.releases[release.id]
        await at.next_poll()
        assert list(await at.served()) == [("beta", "1.0.0-beta.1")]
