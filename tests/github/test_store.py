"""What is remembered of GitHub, on both databases."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.releases.github_store import OutOfTurn
from tests.github.fake_github import Clock, FakeGithub
from tests.github.scene import LINUX, SETTLE_S, WINDOWS, Scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.storage.database import Database

DAY_MS = 86_400_000


@pytest.fixture
async def at(database: Database) -> AsyncIterator[Scene]:
    """Set up a scene on each database."""
    clock = Clock()
    async with FakeGithub(clock) as github:
        scene = Scene(github, database, clock)
        yield scene
        await scene.api.aclose()


async def test_a_release_lives_through_all_its_states(at: Scene) -> None:
    """Every statement runs once on each database."""
    await at.add_project()
    release = at.github.publish("v1.0.0", LINUX, WINDOWS)
    await at.settle()
    assert at.watcher.states == {"new": 0, "skipped": 0, "waiting": 0, "published": 1, "withdrawn": 0}
    at.github.remove(release, release.assets[1])
    await at.next_poll()
    at.clock.advance(SETTLE_S)
    await at.round()
    assert list((await at.served())["stable", "1.0.0"]) == ["linux-x64"]
    del at.github.releases[release.id]
    await at.next_poll()
    assert await at.served() == {}
    seen, total = await at.store.page("app", 1, 10)
    assert total == 1
    assert [(one.tag, str(one.state)) for one in seen] == [("v1.0.0", "withdrawn")]
    assert await at.store.page("app", 2, 10) == ([], 1)


async def test_what_is_due_depends_on_the_time_the_source_and_the_hold(at: Scene) -> None:
    """A process that starts asks this first."""
    assert (await at.store.due(at.clock())).projects == []
    await at.add_project()
    assert (await at.store.due(at.clock())).projects == ["app"]
    await at.round()
    assert (await at.store.due(at.clock())).projects == []
    await at.change_source(tag_pattern="v{version}")
    assert (await at.store.due(at.clock())).projects == ["app"]
    await at.store.hold(at.clock() + 1000)
    await at.add_project("second")
    assert (await at.store.due(at.clock())).projects == []
    assert (await at.store.due(at.clock() + 1000)).projects == ["app", "second"]


async def test_a_delivery_is_taken_once_however_many_come_at_once(at: Scene) -> None:
    """Two processes are asked at the same moment."""
    await at.add_project()
    await at.round()
    taken = await asyncio.gather(
        *(at.store.take_delivery("d-1", 4711, "Octo-Org/APP", (5, "v1"), at.clock()) for _ in range(8))
    )
    assert sorted(taken, key=str) == [1, *[None] * 7]
    assert (await at.store.due(at.clock())).releases == [("app", 5)]
    assert await at.store.take_delivery("d-2", 1, "octo-org/app", (5, "v1"), at.clock()) == 0
    await at.store.prune_deliveries(at.clock() + DAY_MS)
    assert await at.store.take_delivery("d-1", 4711, "octo-org/app", (5, "v1"), at.clock()) == 1


async def test_a_hint_that_comes_during_a_look_is_not_lost(at: Scene) -> None:
    """The look may have asked GitHub just before the change."""
    await at.add_project()
    release = at.github.publish("v1.0.0", LINUX)
    await at.settle()
    answer = at.github._one

    def once(request: object, found: object) -> object:
        at.github._one = answer  # type: ignore[method-assign]
        hint = at.store.take_delivery("d-2", 4711, "octo-org/app", (release.id, "v1.0.0"), at.clock() + 1)
        hints.append(asyncio.get_running_loop().create_task(hint))
        return answer(request, found)  # type: ignore[arg-type]

    hints: list[asyncio.Task[int | None]] = []
    at.github._one = once  # type: ignore[method-assign, assignment]
    await at.store.take_delivery("d-1", 4711, "octo-org/app", (release.id, "v1.0.0"), at.clock())
    await at.round()
    await asyncio.gather(*hints)
    at.clock.advance(1)
    due = await at.store.due(at.clock())
    assert due.releases == [("app", release.id)]


async def test_only_the_last_look_at_a_project_writes(at: Scene) -> None:
    """A process that hung for minutes comes back with what GitHub said before."""
    await at.add_project()
    first = await at.store.begin("app")
    second = await at.store.begin("app")
    assert first is not None
    assert second is not None
    with pytest.raises(OutOfTurn):
        await at.store.finish(first[1])
    with pytest.raises(OutOfTurn):
        await at.store.administer("app", first[1].turn, lambda tx: tx.forget("app"))
    await at.store.finish(second[1])
    assert await at.store.begin("nothing") is None
