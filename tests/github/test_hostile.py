"""Repositories that mean no good, and people who notice it in the middle of a look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.releases.github_plan import assess, new_version
from gateway.releases.github_store import OutOfTurn, ReleaseState
from gateway.releases.github_sync import GithubSync
from tests.github.scene import LINUX, POLL_S, scene
from tests.github.test_plan import PROJECT, SOURCE, asset, release

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("change", [None, {"repository": "octo-org/other"}], ids=["removed", "another repository"])
async def test_a_source_that_was_changed_publishes_nothing_more(tmp_path: Path, change: dict[str, Any] | None) -> None:
    """Who disconnects a repository that was taken over is told that it is done, and then it is."""
    async with scene(tmp_path) as at:
        await at.add_project()
        for number in range(4):
            at.github.publish(f"v1.0.{number}", LINUX)
        at.clock.advance(3601)
        service, who = at.service()
        left: list[int] = []

        async def progress(done: int, _total: int) -> None:
            if done == 2:
                left.append(len(await at.served()))
                await service.change_project("app", {"github": change}, who)

        sync = GithubSync(at.store, at.api, at.outgoing, clock_ms=at.clock, poll_s=POLL_S)
        with pytest.raises(OutOfTurn):
            await sync.poll("app", progress)
        assert left == [2]
        assert len(await at.served()) == 2


PATHS = (
    *("../app-linux-x64.AppImage", "a/app-linux-x64.AppImage", "C:app-windows-x64.exe", "..\\app-windows-x64.exe"),
    *("app-linux-x64\n.AppImage", "app-linux-x64\x00.AppImage", "a" * 250 + "-linux-x64.deb"),
)


@pytest.mark.parametrize("name", PATHS)
def test_a_name_that_is_none_of_a_file_is_no_build(name: str) -> None:
    """Launchers save downloads under these names."""
    plain = "https://github.com/d/app"
    found = assess(release("v1.0.0", asset(name, browser_download_url=plain)), PROJECT, SOURCE)
    assert (found.state, found.builds) == (ReleaseState.SKIPPED, ())
    both = assess(release("v1.0.0", asset(name, browser_download_url=plain), asset(LINUX)), PROJECT, SOURCE)
    assert [wanted.asset.name for wanted in both.builds] == [LINUX]


async def test_nothing_is_read_of_a_private_repository(tmp_path: Path) -> None:
    """The token is the operator's: whoever may change one project must not see with it what it can see."""
    async with scene(tmp_path) as at:
        at.github.is_private = True
        at.github.publish("v1.0.0", LINUX, body="nobody's business")
        at.clock.advance(3601)
        await at.add_project()
        (report,) = await at.round()
        assert "private" in report.problem
        assert await at.versions() == {}
        at.github.is_private = False
        await at.next_poll()
        assert len(await at.served()) == 1


async def test_a_release_of_a_thousand_files_is_dealt_with(tmp_path: Path) -> None:
    """That many are GitHub's limit; others have to be answered meanwhile."""
    async with scene(tmp_path) as at:
        await at.add_project()
        at.github.publish("v1.0.0", LINUX, *(f"notes-{number}.txt" for number in range(999)))
        await at.settle()
        assert list((await at.served())["stable", "1.0.0"]) == ["linux-x64"]


def test_notes_keep_the_spaces_and_joiners_of_every_language() -> None:
    """Without them words run together and a family falls apart into people; what acts on a terminal goes."""
    body = "Nouveautés\u00a0: 10\u202fMo\r\n\u5168\u3000\u89d2 👨\u200d👩\u200d👧 🩷\x1b[31m\u202e"
    wanted = release("v1.0.0", body=body)
    version = new_version(wanted, assess(wanted, PROJECT, SOURCE), "salt", 0).version
    assert version is not None
    assert version.release_notes == "Nouveautés\u00a0: 10\u202fMo\n\u5168\u3000\u89d2 👨\u200d👩\u200d👧 🩷[31m"
