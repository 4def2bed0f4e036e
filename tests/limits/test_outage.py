"""Redis stops, dies, refuses or is not there: limits go on in the process, nothing fails, and it returns by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import structlog
from redis.asyncio import Redis

from gateway.limits.windows import Window
from tests.limits.conftest import NewProcess, Process
from tests.services.redis import RedisServer

WINDOWS = (Window("key", "k", 10_000, 900), Window("ip", "192.0.2.1", 5, 900))
PATIENCE_S = 0.3
LIMIT_S = 30.0


async def until(condition: Callable[[], object]) -> None:
    """Return when the condition holds."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.02)


async def returned(process: Process) -> None:
    """Return when the limiter asks Redis again."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            before = process.fallbacks
            await process.limiter.peek(WINDOWS)
            if process.fallbacks == before:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["pause", "kill", "stop"])
async def test_decisions_go_on_while_redis_is_away(
    new_process: NewProcess, redis_process: RedisServer, how: str
) -> None:
    """Under the local limiter, which begins empty; each is counted; and all without anybody doing anything."""
    process = new_process(patience_s=PATIENCE_S)
    assert [(await process.limiter.hit(WINDOWS)).allowed for _ in range(6)] == [True] * 5 + [False]
    assert process.fallbacks == 0
    getattr(redis_process, how)()
    # If each of these waited for Redis, it would take minutes.
    async with asyncio.timeout(LIMIT_S):
        away = [(await process.limiter.hit(WINDOWS)).allowed for _ in range(400)]
    assert away == [True] * 5 + [False] * 395
    assert process.fallbacks == 400
    if how == "pause":
        redis_process.resume()
    else:
        redis_process.start()
    await returned(process)
    # A Redis that was only paused remembers; what it was asked while nobody waited is refused like anything else.
    assert (await process.limiter.hit(WINDOWS)).allowed == (how != "pause")


async def test_many_requests_at_the_moment_of_the_outage_are_all_answered(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """More than there are connections, under way when Redis stops; none fails and the pause does not grow with them."""
    process = new_process(patience_s=PATIENCE_S)
    await process.limiter.peek(WINDOWS)
    redis_process.pause()
    async with asyncio.timeout(LIMIT_S):
        decisions = await asyncio.gather(*(process.limiter.hit(WINDOWS) for _ in range(200)))
    assert sum(decision.allowed for decision in decisions) == 5
    assert process.fallbacks == 200
    assert process.link._pause_s == 1.0
    redis_process.resume()
    await returned(process)


async def test_the_pause_doubles_up_to_five_seconds(new_process: NewProcess, redis_process: RedisServer) -> None:
    """And begins anew after an answer."""
    process = new_process()
    redis_process.stop()
    pauses = []
    for _ in range(5):
        process.link._ask_again_at = 0.0
        await process.limiter.hit(WINDOWS)
        pauses.append(process.link._pause_s)
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]
    redis_process.start()
    process.link._ask_again_at = 0.0
    await process.limiter.hit(WINDOWS)
    assert process.fallbacks == 5
    assert process.link._pause_s == 1.0


async def test_one_question_at_a_time_finds_out_whether_redis_is_back(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """Otherwise every request that comes after the pause would wait for a Redis that does not answer."""
    process = new_process(patience_s=PATIENCE_S)
    redis_process.pause()
    await process.limiter.hit(WINDOWS)
    process.link._ask_again_at = 0.0
    assert [process.link.ready() for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("command", ["maxmemory 1", "requirepass secret-of-redis"])
async def test_an_error_that_redis_answers_is_no_error_of_the_gateway(
    new_process: NewProcess, redis_url: str, command: str
) -> None:
    """Memory full, a password that was changed, a replica that may not be written to: all the same."""
    process = new_process()
    async with Redis.from_url(redis_url) as client:
        await client.config_set(*command.split())
        if "pass" in command:
            await client.client_kill_filter(_type="normal", skipme=True)
        else:
            await client.config_set("maxmemory-policy", "noeviction")
    assert (await process.limiter.hit(WINDOWS)).allowed
    assert process.fallbacks == 1
    assert not await process.counters.enter("parallel:k", 0, "a")


async def test_the_log_says_it_once_and_without_the_password(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """Once a minute at most while it lasts, and once when it is over."""
    url = redis_process.url.replace("redis://", "redis://someone:hunter-2@") + "?socket_read_size=4096"
    process = new_process(url)
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            process.link._ask_again_at = 0.0
            await process.limiter.hit(WINDOWS)
        async with Redis.from_url(redis_process.url) as client:
            await client.acl_setuser("someone", enabled=True, passwords=["+hunter-2"], commands=["+@all"], keys=["*"])
        process.link._ask_again_at = 0.0
        await process.limiter.hit(WINDOWS)
    assert process.fallbacks == 3
    assert logged == [
        {
            "log_level": "warning",
            "event": "redis_unavailable",
            "redis": redis_process.url,
            "error_type": "AuthenticationError",
            "hint": "each process limits by itself until Redis answers again",
        },
        {"log_level": "info", "event": "redis_available", "redis": redis_process.url},
    ]


async def test_a_redis_that_was_never_there_is_one_that_is_away(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """The gateway starts without it, and uses it from when it is there."""
    redis_process.stop()
    process = new_process()
    assert (await process.limiter.hit(WINDOWS)).remaining == 4
    assert (await process.limiter.peek(WINDOWS)).remaining == 3
    redis_process.start()
    await returned(process)
    assert (await process.limiter.hit(WINDOWS)).remaining == 4


async def test_closing_does_not_wait_for_a_redis_that_does_not_answer(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """No task and no connection is left, and what comes later is answered in the process."""
    before = asyncio.all_tasks()
    process = new_process(patience_s=PATIENCE_S)
    await process.counters.enter("parallel:k", 1, "a")
    redis_process.pause()
    await process.limiter.hit(WINDOWS)
    async with asyncio.timeout(LIMIT_S):
        await process.aclose()
    assert asyncio.all_tasks() == before
    redis_process.resume()
    assert (await process.limiter.hit(WINDOWS)).allowed
    assert await process.counters.enter("parallel:k", 1, "b")
    assert asyncio.all_tasks() == before


async def test_a_client_that_leaves_does_not_disturb_the_answers_of_others(
    new_process: NewProcess, redis_process: RedisServer
) -> None:
    """A question that is cancelled half-way would leave its answer in the connection for the next one."""
    process = new_process()
    await process.limiter.peek(WINDOWS)
    redis_process.pause()
    hits = [asyncio.create_task(process.limiter.hit(WINDOWS)) for _ in range(5)]
    quotas = [asyncio.create_task(process.counters.enter(f"parallel:{number}", 1, "a")) for number in range(5)]
    await asyncio.sleep(0.1)
    for task in [*hits[:3], *quotas[:3]]:
        task.cancel()
    redis_process.resume()
    assert [decision.window for decision in await asyncio.gather(*hits[3:])] == [WINDOWS[1]] * 2
    assert await asyncio.gather(*quotas[3:]) == [True, True]
    # They were counted all the same: the requests did come.
    assert not (await process.limiter.hit(WINDOWS)).allowed
    assert process.fallbacks == 0
