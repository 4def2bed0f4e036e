"""Tokens and slots across an outage of Redis: counted here, told there when it is back, and nothing twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from gateway.limits.counters import Quota
from gateway.limits.redis_scripts import RENEW
from tests.limits.conftest import NewProcess, Process
from tests.limits.test_outage import LIMIT_S, PATIENCE_S, returned, until
from tests.services.redis import RedisServer

QUOTA = Quota("tokens:k:2026-11-23", 1000, int(time.time() * 1000) + 86_400_000)


async def settled(process: Process) -> None:
    """Return when nothing is under way to Redis and nothing is owed to it."""
    await until(lambda: not process.link._tasks and not process.counters._owed and not process.counters._left)


async def entered(process: Process, key: str, limit: int, holder: str) -> None:
    """Return when `holder` has got a slot."""
    async with asyncio.timeout(LIMIT_S):
        while not await process.counters.enter(key, limit, holder):
            await asyncio.sleep(0.02)


async def refused(process: Process, key: str, limit: int, holder: str) -> None:
    """Return when `holder` does not get a slot any more."""
    async with asyncio.timeout(LIMIT_S):
        while await process.counters.enter(key, limit, holder):
            await process.counters.leave(key, holder)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["pause", "stop"])
async def test_a_quota_goes_on_from_where_it_was(new_process: NewProcess, redis_process: RedisServer, how: str) -> None:
    """Also from what other processes had used; an outage is no occasion to start again from nothing."""
    process, other = new_process(patience_s=PATIENCE_S), new_process()
    await process.counters.start(QUOTA, 500)
    await other.counters.take(QUOTA, 200)
    await process.counters.take(QUOTA, 100)
    getattr(redis_process, how)()
    assert await process.counters.knows(QUOTA)
    assert await process.counters.used(QUOTA) == 800
    assert [await process.counters.take(QUOTA, 150) for _ in range(3)] == [150, 50, 0]
    assert await process.counters.adjust(QUOTA, -90) == 910
    assert process.fallbacks > 0
    redis_process.resume() if how == "pause" else redis_process.start()


async def test_what_was_used_during_the_outage_is_told_afterwards(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """What Redis did late, when nobody waited any more, does not count besides."""
    process, other = new_process(patience_s=PATIENCE_S), new_process()
    await process.counters.start(QUOTA, 0)
    await process.counters.take(QUOTA, 300)
    redis_process.pause()
    assert await process.counters.take(QUOTA, 100) == 100
    assert await process.counters.adjust(QUOTA, -250) == 150
    redis_process.resume()
    await returned(process)
    await settled(process)
    assert await other.counters.used(QUOTA) == 150


async def test_the_truth_that_is_told_late_counts_once(new_process: NewProcess, redis_process: RedisServer) -> None:
    """The first question of an outage is one that Redis answers when it wakes up; here it is the settlement."""
    process, other = new_process(patience_s=PATIENCE_S), new_process()
    await process.counters.start(QUOTA, 0)
    await process.counters.take(QUOTA, 300)
    redis_process.pause()
    assert await process.counters.adjust(QUOTA, -250) == 50
    redis_process.resume()
    await returned(process)
    await settled(process)
    assert await other.counters.used(QUOTA) == 50


async def test_the_truth_that_redis_refuses_is_told_later(new_process: NewProcess, redis_url: str) -> None:
    """Its memory was full for a moment; the key must not pay for that until the day is over."""
    process, other = new_process(), new_process()
    await process.counters.start(QUOTA, 0)
    await process.counters.take(QUOTA, 300)
    async with Redis.from_url(redis_url) as client:
        await client.config_set("maxmemory", 1)
        assert await process.counters.adjust(QUOTA, -250) == 50
        await client.config_set("maxmemory", 0)
    await settled(process)
    assert await other.counters.used(QUOTA) == 50


async def test_a_redis_that_lost_the_quota_is_told_by_the_database(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """It knows of all that was used meanwhile, so that what is owed must not come on top."""
    process = new_process()
    await process.counters.start(QUOTA, 500)
    redis_process.kill()
    assert await process.counters.take(QUOTA, 100) == 100
    redis_process.start()
    await returned(process)
    await settled(process)
    assert not await process.counters.knows(QUOTA)
    await process.counters.start(QUOTA, 600)
    assert await process.counters.used(QUOTA) == 600


async def test_what_is_owed_to_a_quota_that_has_ended_is_forgotten(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """Or an outage over midnight would leave something to tell for ever."""
    process = new_process()
    redis_process.stop()
    await process.counters.take(QUOTA._replace(key="tokens:ended", ends_at_ms=QUOTA.ends_at_ms - 100_000_000), 10)
    await process.counters.take(QUOTA, 10)
    assert len(process.counters._owed) == 2
    await until(lambda: len(process.counters._owed) == 1)
    redis_process.start()
    await settled(process)


async def test_tokens_granted_to_a_client_that_has_left_are_given_back(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """It was cancelled while it waited for them, so nobody else would settle."""
    process = new_process()
    await process.counters.start(QUOTA, 10)
    redis_process.pause()
    waiting = asyncio.create_task(process.counters.take(QUOTA, 500))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait({waiting})
    redis_process.resume()
    await until(lambda: not process.link._tasks)
    await settled(process)
    assert await process.counters.used(QUOTA) == 10


async def test_a_slot_given_to_a_client_that_has_left_is_given_back(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """Long before its lease runs out."""
    process = new_process()
    redis_process.pause()
    waiting = asyncio.create_task(process.counters.enter("parallel:k", 1, "a"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait({waiting})
    redis_process.resume()
    await entered(process, "parallel:k", 1, "b")


async def test_slots_count_during_the_outage_and_after_it(new_process: NewProcess, redis_process: RedisServer) -> None:
    """Those taken before count in it, those taken in it count afterwards, and those left in it are free."""
    process = new_process(patience_s=PATIENCE_S, lease_s=10 * LIMIT_S)
    assert await process.counters.enter("parallel:k", 3, "before")
    await until(lambda: process.counters._renew_at and not process.link._tasks)
    redis_process.pause()
    assert await process.counters.enter("parallel:k", 3, "told late")
    assert await process.counters.enter("parallel:k", 3, "not told")
    assert not await process.counters.enter("parallel:k", 3, "too many")
    await process.counters.leave("parallel:k", "before")
    redis_process.resume()
    async with Redis.from_url(redis_process.url) as client, asyncio.timeout(LIMIT_S):
        while sorted(await client.zrange("{lunarbit}:slots:parallel:k", 0, -1)) != [b"not told", b"told late"]:
            await asyncio.sleep(0.02)


async def test_slots_are_told_to_a_redis_that_has_forgotten_them(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """It was started again empty while requests ran on."""
    process, other = new_process(lease_s=0.5), new_process()
    assert await process.counters.enter("parallel:k", 1, "a")
    redis_process.kill()
    redis_process.start()
    await refused(other, "parallel:k", 1, "b")
    await process.counters.leave("parallel:k", "a")
    await entered(other, "parallel:k", 1, "b")


async def test_a_slot_that_is_left_while_its_lease_is_renewed_is_free(
    new_process: NewProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewal may reach Redis after the leaving, and would bring the slot back for a whole lease."""
    process, other = new_process(), new_process()
    evaluate = process.link.evaluate
    renewing, go_on = asyncio.Event(), asyncio.Event()

    async def held_back(script: str, keys: Sequence[str], arguments: Sequence[int | str]) -> list[int]:
        if script == RENEW:
            renewing.set()
            await go_on.wait()
        return await evaluate(script, keys, arguments)

    monkeypatch.setattr(process.link, "evaluate", held_back)
    assert await process.counters.enter("parallel:k", 1, "a")
    await renewing.wait()
    await process.counters.leave("parallel:k", "a")
    go_on.set()
    await entered(other, "parallel:k", 1, "b")
    await settled(process)
    assert not await process.counters.enter("parallel:k", 1, "c")
