"""Three gateways that share their limits in Redis, and what they do without it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.admin import Answer, call, new_key, until
from tests.e2e.client import LUNARBIT, OPENAI, STREAMS, WHOLES, Client, Seen, ask, assert_error
from tests.e2e.process import Process, gateway_process
from tests.services.redis import RedisServer
from tests.upstream import Script, Upstream

pytestmark = pytest.mark.slow

CLIENTS = 50
REQUESTS = 5
LIMIT = 60
AI_LIMIT = 40
OUTAGE_S = 1.5
BUSY_S = 1.0
# How often to try again when the machine was so busy that Redis did not answer within the gateway's patience.
TRIES = 3
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def three(tmp_path: Path, a: Upstream, redis_process: RedisServer) -> AsyncIterator[list[Process]]:
    """Three gateways with one database and one Redis."""
    async with AsyncExitStack() as stack:
        started = [_gateway(tmp_path, a, redis_process, name) for name in ("one", "two", "three")]
        yield list(await asyncio.gather(*(stack.enter_async_context(gateway) for gateway in started)))


@asynccontextmanager
async def _gateway(folder: Path, a: Upstream, redis: RedisServer, name: str) -> AsyncIterator[Process]:
    async with gateway_process(folder, {"a": a}, name=name, REDIS_URL=redis.url) as process:
        yield process


async def fallbacks(three: list[Process]) -> float:
    """Return how often the gateways have decided without Redis."""
    return sum([await gateway.metric("lunarbit_redis_fallbacks_total") for gateway in three])


async def hammer(three: list[Process], key: str, method: str, path: str) -> list[Answer]:
    """Have 50 clients ask at once, each of them several times and every gateway in turn; return all answers."""

    async def client(number: int) -> list[Answer]:
        document = CHAT if method == "POST" else None
        gateways = [three[(number + turn) % len(three)] for turn in range(REQUESTS)]
        return [await call(gateway, method, path, document, key=key) for gateway in gateways]

    return list(itertools.chain(*await asyncio.gather(*(client(number) for number in range(CLIENTS)))))


@pytest.mark.parametrize(
    ("field", "limit", "method", "path"),
    [("rateLimit", LIMIT, "GET", "/v1/models"), ("aiRateLimit", AI_LIMIT, "POST", LUNARBIT)],
    ids=["rateLimit", "aiRateLimit"],
)
async def test_three_processes_admit_exactly_the_limit(
    three: list[Process], field: str, limit: int, method: str, path: str
) -> None:
    """Not one more, whoever asks where; and every place in the window is given away once."""
    for number in range(TRIES):
        before = await fallbacks(three)
        key = await new_key(three[0], f"shared-{number}", **{field: limit})
        answers = await hammer(three, key, method, path)
        if await fallbacks(three) == before:
            break
    else:
        pytest.fail("Redis never answered in time")
    assert Counter(answer.status for answer in answers) == {200: limit, 429: CLIENTS * REQUESTS - limit}
    left = sorted(int(answer.headers["x-ratelimit-remaining"]) for answer in answers if answer.status == 200)
    assert left == list(range(limit))
    refused = [answer for answer in answers if answer.status == 429]
    assert {str(answer.code).upper() for answer in refused} == {"RATE_LIMIT_EXCEEDED"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


async def test_traffic_goes_on_without_redis_and_limits_are_shared_again_when_it_is_back(
    three: list[Process], redis_process: RedisServer
) -> None:
    """A cache that is down must not take the gateway with it, and nobody has to restart anything afterwards."""
    key = await new_key(three[0], "user", rateLimit=100_000)
    stopped, seen = asyncio.Event(), Counter[int]()

    async def client(number: int) -> None:
        while not stopped.is_set():
            method, path = (("GET", "/v1/models"), ("POST", LUNARBIT))[number % 2]
            answer = await call(three[number % 3], method, path, CHAT if number % 2 else None, key=key)
            seen[answer.status] += 1
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        for number in range(9):
            group.create_task(client(number))
        await asyncio.sleep(BUSY_S)
        redis_process.kill()
        await until(lambda: _grows(three), 30)
        await asyncio.sleep(OUTAGE_S)
        await asyncio.to_thread(redis_process.start)
        await until(lambda: _rests(three), 60)
        stopped.set()
    assert seen.keys() == {200}
    key = await new_key(three[0], "limited", rateLimit=5)
    answers = [await call(gateway, "GET", "/v1/models", key=key) for gateway in three * 3]
    assert [answer.status for answer in answers] == [200] * 5 + [429] * 4


async def _grows(three: list[Process]) -> bool:
    return await fallbacks(three) > 0


async def _rests(three: list[Process]) -> bool:
    """Whether no gateway does without Redis any more, although all are busy."""
    before = await fallbacks(three)
    await asyncio.sleep(BUSY_S)
    return await fallbacks(three) == before


async def test_parallel_requests_of_all_processes_count_together(three: list[Process], a: Upstream) -> None:
    """The slots belong to the key; one that is left by a client that goes away is free everywhere."""
    key = await new_key(three[0], "narrow", maxParallel=3)
    a.default = Script.stall_after(1)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(gateway)) for gateway in three]
        for client, mode in zip(clients, [*STREAMS, STREAMS[0]], strict=True):
            await client.ask(mode, key=key)
            await client.reply(until=b"tok0")
        for gateway in three:
            refused = await ask(gateway, WHOLES[0], key=key)
            assert_error(refused, 429, "RATE_LIMIT_EXCEEDED")
            assert refused.document["error"]["details"]["scope"] == "parallel"
        clients[0].close()
        await a.wait_for(lambda: a.in_flight == 2)
        a.default = Script.text("free")
        await until(lambda: _is_admitted(three[2], key))


async def _is_admitted(gateway: Process, key: str) -> bool:
    return (await ask(gateway, WHOLES[1], key=key)).status == 200


async def test_tokens_of_all_processes_count_together_and_are_not_forgotten_with_redis(
    three: list[Process], redis_process: RedisServer
) -> None:
    """Twelve tokens an answer: the ninth passes the hundred, and the tenth is refused wherever it comes in."""
    key = await new_key(three[0], "thrifty", tokensPerDay=100)
    statuses = [(await ask(gateway, WHOLES[number % 2], key=key)).status for number, gateway in enumerate(three * 4)]
    assert statuses == [200] * 9 + [429] * 3
    redis_process.kill()
    for gateway in three:
        assert_spent(await ask(gateway, WHOLES[0], key=key))
    # It comes back empty, and what was used is then asked of the ledger.
    redis_process.start()
    await until(lambda: _rests_asked(three, key), 60)
    for gateway in three:
        assert_spent(await ask(gateway, WHOLES[1], key=key))


def assert_spent(seen: Seen) -> None:
    """Hold that a request was refused because of the tokens of the day."""
    assert seen.status == 429
    expected = "rate_limit_exceeded" if seen.mode.path == OPENAI else "TOKEN_LIMIT_EXCEEDED"
    assert (seen.error or {})["code"] == expected


async def _rests_asked(three: list[Process], key: str) -> bool:
    before = await fallbacks(three)
    for gateway in three:
        assert_spent(await ask(gateway, WHOLES[0], key=key))
    return await fallbacks(three) == before
