"""Token quotas and parallel slots: what both kinds of counters have to do."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from gateway.limits.counters import Counters, Quota
from gateway.limits.memory import MemoryCounters
from tests.limits.clock import TurnedClock
from tests.limits.conftest import NewProcess

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
QUOTA = Quota("tokens:k:2026-11-23", 1000, int(time.time() * 1000) + DAY_MS)


async def test_no_more_is_granted_than_is_left(counters: Counters) -> None:
    """The last one gets what there is, and the next one nothing."""
    await counters.start(QUOTA, 300)
    assert [await counters.take(QUOTA, 400) for _ in range(3)] == [400, 300, 0]
    assert await counters.used(QUOTA) == 1000


async def test_requests_at_the_same_time_get_together_what_is_left(counters: Counters) -> None:
    """None of them can overlook what another one took."""
    await counters.start(QUOTA, 0)
    granted = await asyncio.gather(*(counters.take(QUOTA, 30) for _ in range(50)))
    assert sum(granted) == 1000
    assert sorted(set(granted)) == [0, 10, 30]


async def test_what_was_taken_and_not_used_is_given_back(counters: Counters) -> None:
    """The estimate was reserved, the truth is counted."""
    await counters.start(QUOTA, 0)
    await counters.take(QUOTA, 900)
    assert await counters.adjust(QUOTA, -650) == 250
    assert await counters.take(QUOTA, 800) == 750


async def test_the_truth_may_be_over_the_limit(counters: Counters) -> None:
    """It was used; nothing is granted until the quota ends or the limit is raised."""
    await counters.start(QUOTA, 990)
    assert await counters.adjust(QUOTA, 500) == 1490
    assert await counters.take(QUOTA, 1) == 0
    assert await counters.take(QUOTA._replace(limit=1500), 100) == 10
    assert await counters.used(QUOTA) == 1500


async def test_nothing_is_used_less_than_not_at_all(counters: Counters) -> None:
    """Giving back more than is counted must not make room beyond the limit."""
    await counters.start(QUOTA, 100)
    assert await counters.adjust(QUOTA, -400) == 0
    assert await counters.take(QUOTA, 5000) == 1000


async def test_what_was_used_before_is_told_once(counters: Counters) -> None:
    """Two requests may ask the database at the same time; the second one's answer is older than the counter."""
    assert not await counters.knows(QUOTA)
    await counters.start(QUOTA, 500)
    await counters.take(QUOTA, 100)
    await counters.start(QUOTA, 900)
    assert await counters.knows(QUOTA)
    assert await counters.used(QUOTA) == 600


async def test_zero_used_before_is_known_too(counters: Counters) -> None:
    """Otherwise every request of a new day would ask the database until the first one has used something."""
    await counters.start(QUOTA, 0)
    assert await counters.knows(QUOTA)


async def test_taking_without_knowing_does_not_make_it_known(counters: Counters) -> None:
    """While the database is down traffic goes on from zero; then it is asked, and the larger number holds."""
    assert await counters.take(QUOTA, 100) == 100
    assert not await counters.knows(QUOTA)
    await counters.start(QUOTA, 700)
    assert await counters.used(QUOTA) == 700
    other = QUOTA._replace(key="tokens:other")
    await counters.adjust(other, 200)
    await counters.start(other, 50)
    assert await counters.used(other) == 200


async def test_asking_leaves_no_trace(counters: Counters) -> None:
    """And a quota of nothing grants nothing."""
    assert await counters.used(QUOTA) == 0
    assert await counters.take(QUOTA._replace(limit=0), 10) == 0
    assert await counters.take(QUOTA, 0) == 0
    assert not await counters.knows(QUOTA)


async def test_quotas_without_an_end_and_of_large_numbers_are_exact(counters: Counters) -> None:
    """A budget is counted in billionths and may have no end but one that no clock will show."""
    budget = Quota("budget:k", 4 * 10**15, 2**53)
    await counters.start(budget, 10**15 + 1)
    assert await counters.adjust(budget, 2 * 10**15 + 6) == 3 * 10**15 + 7
    assert await counters.take(budget, 10**15) == 10**15 - 7
    assert await counters.knows(budget)


async def test_no_more_slots_are_held_than_there_are(counters: Counters) -> None:
    """Each key has its own."""
    entered = await asyncio.gather(*(counters.enter("parallel:k", 3, f"holder-{number}") for number in range(10)))
    assert sum(entered) == 3
    assert await counters.enter("parallel:other", 1, "holder-0")


async def test_a_slot_that_is_left_can_be_taken(counters: Counters) -> None:
    """Leaving twice, or without having entered, is leaving."""
    assert await counters.enter("parallel:k", 1, "a")
    assert await counters.enter("parallel:k", 1, "a")
    assert not await counters.enter("parallel:k", 1, "b")
    await counters.leave("parallel:k", "b")
    assert not await counters.enter("parallel:k", 1, "b")
    await counters.leave("parallel:k", "a")
    await counters.leave("parallel:k", "a")
    assert await counters.enter("parallel:k", 1, "b")


async def test_with_fewer_slots_than_are_held_nobody_enters(counters: Counters) -> None:
    """The limit was lowered; those who are in stay in."""
    for holder in "abc":
        await counters.enter("parallel:k", 3, holder)
    await counters.leave("parallel:k", "a")
    assert not await counters.enter("parallel:k", 2, "d")
    await counters.leave("parallel:k", "b")
    assert await counters.enter("parallel:k", 2, "d")


async def test_quotas_that_have_ended_are_forgotten_some_time_later(clock: TurnedClock) -> None:
    """Not at once, because a stream that began before midnight is settled after it."""
    counters = MemoryCounters(clock)
    quota = Quota("tokens:k", 1000, clock.unix_us // 1000 + DAY_MS)
    other = quota._replace(key="tokens:other", ends_at_ms=quota.ends_at_ms + DAY_MS)
    await counters.start(quota, 100)
    for hours, left in ((24.5, 1), (1, 0)):
        clock.pass_us(int(hours * HOUR_MS * 1000))
        await counters.take(other, 1)
        assert await counters.used(quota) == 100 * left
    assert list(counters._quotas) == [other.key]
    await counters.aclose()


async def test_redis_forgets_quotas_that_have_ended_and_slots_that_nobody_renews(
    new_process: NewProcess, redis_url: str
) -> None:
    """Every key has an end."""
    counters = new_process().counters
    await counters.take(QUOTA, 1)
    await counters.enter("parallel:k", 1, "a")
    async with Redis.from_url(redis_url) as client:
        assert set(await client.keys("*")) == {
            f"{{lunarbit}}:quota:{QUOTA.key}".encode(),
            b"{lunarbit}:slots:parallel:k",
        }
        assert await client.pexpiretime(f"{{lunarbit}}:quota:{QUOTA.key}") == QUOTA.ends_at_ms + HOUR_MS
        assert 60_000 < await client.pttl("{lunarbit}:slots:parallel:k") <= 120_000


async def test_processes_share_quotas_and_slots(new_process: NewProcess) -> None:
    """What one of them takes is not there for the other."""
    one, two = new_process(), new_process()
    await one.counters.start(QUOTA, 100)
    assert await one.counters.take(QUOTA, 500) == 500
    assert await two.counters.knows(QUOTA)
    assert await two.counters.take(QUOTA, 900) == 400
    assert await one.counters.enter("parallel:k", 1, "a")
    assert not await two.counters.enter("parallel:k", 1, "b")
    assert one.fallbacks == two.fallbacks == 0


async def test_slots_are_given_back_when_a_process_stops(new_process: NewProcess, redis_url: str) -> None:
    """Nobody is to wait for leases of a process that has ended in order."""
    one, two = new_process(), new_process()
    for holder in "ab":
        await one.counters.enter("parallel:k", 2, holder)
    await one.counters.aclose()
    assert await two.counters.enter("parallel:k", 1, "c")
