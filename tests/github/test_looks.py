"""Who looks at GitHub when, how often, and at what cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.releases.github_store import OutOfTurn
from tests.github.scene import LINUX, SETTLE_S, scene

if TYPE_CHECKING:
    from pathlib import Path

STABLE = ("stable", "1.0.0")


async def test_a_look_that_was_overtaken_writes_nothing(tmp_path: Path) -> None:
    """A process that hung for minutes comes back with what GitHub said before."""
    async with scene(tmp_path) as at:
        await at.add_project()
        begun = await at.store.begin("app")
        assert begun is not None
        await at.store.begin("app")
        with pytest.raises(OutOfTurn):
            await at.store.finish(begun[1])


async def test_a_changed_configuration_judges_everything_anew(tmp_path: Path) -> None:
    """GitHub itself says that nothing has changed."""
    async with scene(tmp_path) as at:
        await at.add_project()
        at.github.publish("v1.0.0", LINUX, "app-portable.zip")
        at.github.publish("build-1.1.0", LINUX)
        await at.settle()
        await at.next_poll()
        override = json.dumps({"pattern": "portable", "platform": "windows", "architecture": "x64"})
        await at.change_source(overrides=(override,))
        await at.round()
        assert list((await at.served())[STABLE]) == ["linux-x64", "windows-x64"]
        await at.change_source(tag_pattern="build-{version}")
        await at.round()
        assert list(await at.served()) == [("stable", "1.1.0")]


async def test_a_look_at_what_has_not_changed_costs_nothing(tmp_path: Path) -> None:
    """Every page answers 304; with downloads in between, every page has to be read once."""
    async with scene(tmp_path, per_page=2) as at:
        await at.add_project()
        for number in range(5):
            at.github.publish(f"v1.0.{number}", LINUX)
        await at.settle()
        await at.next_poll()
        asked = len(at.github.requests)
        (report,) = await at.next_poll()
        assert [one.status for one in at.github.requests[asked:]] == [304, 304, 304]
        assert report.requests == 3
        at.github.noisy = True
        asked = len(at.github.requests)
        await at.next_poll()
        assert [one.status for one in at.github.requests[asked:]] == [200, 200, 200]
        assert await at.round() == []


async def test_a_hint_is_not_followed_again_and_again_while_github_fails(tmp_path: Path) -> None:
    """Each try would be a request a second."""
    async with scene(tmp_path) as at:
        await at.add_project()
        at.github.faults = ["500"]
        await at.round()
        assert await at.store.take_delivery("d", 4711, "Octo-Org/App", (5, "v1.0.0"), at.clock()) == 1
        at.github.faults = ["500"] * 10
        await at.round()
        assert len(at.github.requests) == 2
        for _ in range(5):
            at.clock.advance(1)
            await at.round()
        assert len(at.github.requests) == 2


async def test_a_fault_of_our_own_does_not_stop_other_projects(tmp_path: Path) -> None:
    """What a release of one project brings up must not take the others away."""
    async with scene(tmp_path) as at:
        await at.add_project("broken", overrides=("no JSON",))
        await at.add_project()
        at.github.publish("v1.0.0", LINUX)
        first, second = await at.round()
        assert (first.project_id, second.project_id) == ("app", "broken")
        assert second.problem == "a release could not be dealt with; the log says why"
        at.clock.advance(SETTLE_S)
        await at.round()
        assert list(await at.served()) == [STABLE]


async def test_two_processes_do_not_look_at_once(tmp_path: Path) -> None:
    """The lease is with one of them; the other does not even ask."""
    async with scene(tmp_path) as at:
        await at.add_project()
        assert await at.leases.acquire("github-sync", "somebody-else", 60)
        assert await at.round() == []
        assert at.github.requests == []
        await at.leases.release("github-sync", "somebody-else")
        assert len(await at.round()) == 1


async def test_a_limit_holds_for_every_project_and_after_a_restart(tmp_path: Path) -> None:
    """The token is the same, and so is the address."""
    async with scene(tmp_path) as at:
        await at.add_project()
        await at.add_project("second", repository="octo-org/app")
        at.github.faults = ["spent"]
        await at.round()
        assert len(at.github.requests) == 1
        await at.restart()
        at.clock.advance(100)
        await at.round()
        await at.store.take_delivery("d", 4711, "octo-org/app", None, at.clock())
        await at.round()
        assert len(at.github.requests) == 1
        at.clock.advance(301)
        await at.round()
        assert at.github.violations == []
        assert len(at.watcher.looks) == 3
