"""The client of GitHub's API: what it sends, what it waits for, and what it makes of answers that are wrong."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.releases import github_api
from gateway.releases.github_api import (
    GithubApi,
    GithubBroken,
    GithubLimited,
    GithubNotFound,
    GithubRefused,
    GithubUnreachable,
    next_page,
    place_of,
)
from tests.github.fake_github import Clock, FakeGithub
from tests.github.scene import LINUX, TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PLACE = "repositories/4711"


@asynccontextmanager
async def pair(token: str = TOKEN, timeout_s: float = 5.0) -> AsyncIterator[tuple[FakeGithub, GithubApi, list[str]]]:
    """Run a fake GitHub, a client for it, and a list of what the client tells of its requests."""
    clock = Clock()
    results: list[str] = []
    async with (
        FakeGithub(clock) as github,
        GithubApi(github.url, token, clock_ms=clock, on_request=results.append, timeout_s=timeout_s, per_page=2) as api,
    ):
        yield github, api, results


async def test_all_pages_are_read_by_their_links() -> None:
    """Who reads one page loses every version but the newest thirty."""
    async with pair() as (github, api, _):
        for number in range(5):
            github.publish(f"v1.0.{number}")
        pages = [await api.releases(PLACE)]
        while pages[-1].next_url:
            pages.append(await api.releases(PLACE, url=pages[-1].next_url))
        tags = [release.tag_name for page in pages for release in page.releases or ()]
        assert tags == ["v1.0.4", "v1.0.3", "v1.0.2", "v1.0.1", "v1.0.0"]
        assert github.violations == []
        assert {asked.authorization for asked in github.requests} == {f"Bearer {TOKEN}"}


async def test_a_list_is_asked_for_with_its_etag() -> None:
    """A 304 costs nothing."""
    async with pair() as (github, api, results):
        release = github.publish("v1.0.0", LINUX)
        first = await api.releases(PLACE)
        assert (await api.releases(PLACE, etag=first.etag)).releases is None
        release.assets[0].downloads += 1
        assert (await api.releases(PLACE, etag=first.etag)).releases is not None
        assert results == ["200", "304", "200"]


async def test_one_release_is_asked_for_with_its_date_alone() -> None:
    """Its ETag changes with every download, and a date beside an ETag does not count."""
    async with pair() as (github, api, results):
        release = github.publish("v1.0.0", LINUX)
        first = await api.release(PLACE, release.id)
        release.assets[0].downloads += 1
        assert (await api.release(PLACE, release.id, since=first.last_modified)).release is None
        github.clock.advance(1)
        github.touch(release)
        assert (await api.release(PLACE, release.id, since=first.last_modified)).release is not None
        assert results == ["200", "304", "200"]
        assert github.violations == []


async def test_a_renamed_repository_is_followed() -> None:
    """GitHub answers 301 with the number in the address."""
    async with pair() as (github, api, _):
        github.rename("octo-org/renamed")
        found = await api.repository("octo-org/app")
        assert (found.id, found.full_name) == (4711, "octo-org/renamed")
        assert place_of("octo-org/app", found.id) == PLACE
        github.publish("v1.0.0")
        page = await api.releases(place_of("octo-org/app", None))
        assert len(page.releases or ()) == 1


@pytest.mark.parametrize(("fault", "wait_s"), [("429", 30), ("secondary", 60), ("spent", 120)])
async def test_nothing_is_sent_before_the_time_that_github_names(fault: str, wait_s: int) -> None:
    """Who goes on asking is shut out for longer."""
    async with pair() as (github, api, results):
        github.faults = [fault]
        with pytest.raises(GithubLimited):
            await api.releases(PLACE)
        for _ in range(3):
            with pytest.raises(GithubLimited):
                await api.releases(PLACE)
        assert len(github.requests) == 1
        github.clock.advance(wait_s - 1)
        with pytest.raises(GithubLimited):
            await api.releases(PLACE)
        github.clock.advance(2)
        assert (await api.releases(PLACE)).releases == ()
        assert github.violations == []
        assert results == ["limited", "200"]


async def test_a_reset_in_the_past_is_waited_for_too() -> None:
    """When our clock is ahead of GitHub's; otherwise every second would bring another refusal."""
    async with pair() as (github, api, _):
        github.remaining, github.reset_at = 0, github.clock() + 5000
        ours = github.clock() + 600_000
        api._clock_ms = lambda: ours
        for _ in range(3):
            with pytest.raises(GithubLimited):
                await api.releases(PLACE)
        assert len(github.requests) == 1
        assert api.held_until_ms == ours + 60_000


async def test_the_last_request_of_a_budget_is_noticed() -> None:
    """The answer that spends it is good; the next one would be refused."""
    async with pair() as (github, api, _):
        github.remaining, github.reset_at = 1, github.clock() + 90_000
        await api.releases(PLACE)
        with pytest.raises(GithubLimited):
            await api.releases(PLACE)
        github.clock.advance(91)
        await api.releases(PLACE)
        assert github.violations == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("404", GithubNotFound),
        ("401", GithubRefused),
        ("403", GithubRefused),
        ("500", GithubUnreachable),
        ("cut", GithubUnreachable),
        ("slow", GithubUnreachable),
        ("garbage", GithubBroken),
    ],
)
async def test_each_failure_has_a_type_of_its_own(fault: str, error: type[Exception]) -> None:
    """A token that is wrong needs a person, a server that is down needs patience."""
    async with pair(timeout_s=0.3) as (github, api, _):
        github.faults = [fault]
        with pytest.raises(error):
            await api.releases(PLACE)
        assert (await api.releases(PLACE)).releases == ()


async def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stands behind the address must not fill the memory."""
    monkeypatch.setattr(github_api, "MAX_BODY_BYTES", 1000)
    async with pair() as (github, api, _):
        github.publish("v1.0.0", body="n" * 2000)
        with pytest.raises(GithubBroken):
            await api.releases(PLACE)


async def test_without_a_token_none_is_sent() -> None:
    """An empty one would be refused."""
    async with pair(token="") as (github, api, _):
        await api.releases(PLACE)
        assert github.requests[0].authorization is None


async def test_a_page_on_another_server_is_not_asked_for() -> None:
    """It would get the token."""
    async with pair() as (_, api, _), pair() as (other, _, _):
        with pytest.raises(GithubBroken):
            api._own(f"{other.url}/{PLACE}/releases?page=2")


@pytest.mark.parametrize(
    ("link", "url"),
    [
        (
            '<https://api.test/r?page=2>; rel="next", <https://api.test/r?page=9>; rel="last"',
            "https://api.test/r?page=2",
        ),
        (
            '<https://api.test/r?page=1>; rel="prev", <https://api.test/r?page=3>; rel="next"',
            "https://api.test/r?page=3",
        ),
        ('<https://api.test/r?page=1>; rel="first"', None),
        ("", None),
        ("next", None),
    ],
)
def test_the_next_page_is_found(link: str, url: str | None) -> None:
    """RFC 8288, as GitHub writes it."""
    assert next_page(link) == url
