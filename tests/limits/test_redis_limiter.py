"""Sliding windows in a real Redis: exact under a clock that the tests turn, and under Redis' own."""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest
from redis.asyncio import Redis

from gateway.limits import redis as redis_limits
from gateway.limits.redis_scripts import DECIDE
from gateway.limits.windows import Decision, Window
from tests.limits.clock import SECOND, TurnedClock
from tests.limits.conftest import NewProcess
from tests.limits.model import Model, Walk

WALKS = 20 if os.environ.get("LUNARBIT_TEST_FULL") == "1" else 2
STEPS = 500
REAL_STEPS = 3000 if os.environ.get("LUNARBIT_TEST_FULL") == "1" else 300
TIME = "local time = redis.call('TIME')\nlocal now = tonumber(time[1]) * 1000000 + tonumber(time[2])\n"
TURNED = "{lunarbit}:now"
KEY = Window("key", "a", 3, 900)


@pytest.mark.parametrize("seed", range(WALKS))
async def test_every_answer_is_that_of_the_model(
    new_process: NewProcess, redis_url: str, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The script itself, with nothing replaced but where it reads the time."""
    assert TIME in DECIDE
    monkeypatch.setattr(
        redis_limits,
        "DECIDE",
        DECIDE.replace(TIME, f"local now = tonumber(redis.call('GET', '{TURNED}'))"),
    )
    walk, model, process = Walk(1000 + seed), Model(), new_process()
    last: Decision | None = None
    async with Redis.from_url(redis_url) as client:
        for _ in range(STEPS):
            clock.pass_us(max(0, walk.wait_us(last, model, clock.unix_us)))
            await client.set(TURNED, clock.unix_us)
            windows = walk.windows()
            peek = walk.random.random() < 0.2
            last = await (process.limiter.peek(windows) if peek else process.limiter.hit(windows))
            assert last == model.decide(windows, clock.unix_us, clock.unix_us, count=not peek)
    assert process.fallbacks == 0


async def test_under_its_own_clock_nothing_is_over_the_limit_and_nothing_refused_under_it(
    new_process: NewProcess,
) -> None:
    """Each decision was made between two readings of the clock, which is the machine's; more is not known of it."""
    process, rng = new_process(), random.Random(7)
    admitted: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
    refused = 0
    for _ in range(REAL_STEPS):
        window = Window("key", rng.choice("ab"), rng.randint(2, 6), 1)
        times = admitted[window.subject]
        before = time.time_ns() // 1000
        decision = await process.limiter.hit([window])
        after = time.time_ns() // 1000 + 1
        surely = [at for at in times if at[0] > after - SECOND]
        perhaps = [at for at in times if at[1] > before - SECOND]
        if decision.allowed:
            assert len(surely) < window.limit
            assert window.limit - len(perhaps) - 1 <= decision.remaining <= window.limit - len(surely) - 1
            times.append((before, after))
        else:
            refused += 1
            assert len(perhaps) >= window.limit
            assert decision.retry_after_s == 1
        oldest = perhaps[0][0] if perhaps else before
        assert oldest + SECOND <= decision.reset * SECOND < after + 2 * SECOND
        assert decision.remaining >= 0
        await asyncio.sleep(rng.choice((0, 0, 0.01, 0.1 * rng.random())))
    assert process.fallbacks == 0
    assert refused > 10
    assert len(admitted["a"]) + len(admitted["b"]) > 10


async def test_waiting_as_told_is_long_enough(new_process: NewProcess) -> None:
    """With real seconds."""
    process = new_process()
    one = Window("key", "a", 1, 1)
    await process.limiter.hit([one])
    refused = await process.limiter.hit([one])
    assert (refused.allowed, refused.remaining, refused.retry_after_s) == (False, 0, 1)
    await asyncio.sleep(refused.retry_after_s)
    assert (await process.limiter.hit([one])).allowed


async def test_a_refused_request_counts_in_no_window_and_neither_does_a_peek(new_process: NewProcess) -> None:
    """All windows of a request are decided in one step."""
    limiter = new_process().limiter
    full = Window("ai", "a", 1, 3600)
    await limiter.hit([full])
    for _ in range(5):
        assert not (await limiter.hit([KEY, full])).allowed
        assert (await limiter.peek([KEY])).remaining == KEY.limit - 1
    assert (await limiter.hit([KEY])).remaining == KEY.limit - 1


async def test_windows_are_forgotten_when_they_are_empty(new_process: NewProcess, redis_url: str) -> None:
    """Redis is not to fill up with visitors of last week; every key has an end, and all share a hash tag."""
    await new_process().limiter.hit([KEY, Window("ip", "192.0.2.1", 10, 60)])
    async with Redis.from_url(redis_url) as client:
        left_ms = {name: await client.pttl(name) for name in await client.keys("*")}
    assert left_ms.keys() == {b"{lunarbit}:window:key:900:a", b"{lunarbit}:window:ip:60:192.0.2.1"}
    assert 900_000 < left_ms[b"{lunarbit}:window:key:900:a"] <= 901_000
    assert 60_000 < left_ms[b"{lunarbit}:window:ip:60:192.0.2.1"] <= 61_000


async def test_a_clock_that_is_set_back_keeps_nobody_out_for_longer_than_the_window(
    new_process: NewProcess, redis_url: str
) -> None:
    """Requests with times an hour ahead would otherwise fill the window until the clock has caught up."""
    limiter = new_process().limiter
    name = f"{{lunarbit}}:window:key:900:{KEY.subject}"
    async with Redis.from_url(redis_url) as client:
        seconds, _ = await client.time()
        past, ahead = (seconds - 800) * SECOND, (seconds + 3600) * SECOND
        await client.rpush(name, past, ahead, ahead + 1)
        refused = await limiter.hit([KEY])
        times = [int(at) for at in await client.lrange(name, 0, -1)]
    assert not refused.allowed
    assert refused.retry_after_s <= 100
    assert times[0] == past
    assert times[1] == times[2] < ahead


async def test_many_clients_of_one_process_are_admitted_up_to_the_limit(new_process: NewProcess) -> None:
    """There are more of them than connections."""
    process = new_process()
    window = KEY._replace(limit=120)
    decisions = await asyncio.gather(*(process.limiter.hit([window]) for _ in range(300)))
    assert sum(decision.allowed for decision in decisions) == 120
    assert process.fallbacks == 0


async def test_a_redis_that_was_flushed_is_told_the_scripts_again(new_process: NewProcess, redis_url: str) -> None:
    """As after a restart, or when another server has taken over."""
    process = new_process()
    async with Redis.from_url(redis_url) as client:
        for _ in range(2):
            assert (await process.limiter.hit([KEY])).allowed
            await client.script_flush()
    assert process.fallbacks == 0
