"""Callers leave at any moment: nothing may stay open, and no place in the pool may be lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from providers import errors
from providers.base import StreamItem, events_of
from providers.openai import OpenAIProvider
from providers.transport import Transport
from tests.providers.support import collect, openai, question
from tests.upstream import Script, Upstream

POOL = 10
CANCELS = 1_000 if os.environ.get("LUNARBIT_TEST_FULL") == "1" else 100
FAULTS: dict[str, Script] = {
    "status": Script.status(500),
    "html": Script.html(),
    "invalid json": Script.invalid_json(),
    "headers then close": Script.headers_then_close(),
    "malformed": Script.malformed_event(),
    "error event": Script.error_event(),
    "huge event": Script.huge_event(),
    "reset": Script.reset_after(),
    "end of file": Script.eof_after(),
    "cut": Script.cut_after(),
}


async def _ask(provider: OpenAIProvider, *, stream: bool) -> Any:
    return await (collect(provider) if stream else provider.chat_completion(question()))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_failure_closes_what_it_opened(up: Upstream, fault: str, stream: bool) -> None:
    """With one connection in the pool, a response left open would block the next request for ever."""
    pool = Transport(max_connections=1)
    provider = openai(up, pool)
    up.queue(FAULTS[fault])
    with contextlib.suppress(errors.ProviderError):
        await _ask(provider, stream=stream)
    await up.wait_for(lambda: up.in_flight == 0)
    async with asyncio.timeout(10):
        await _ask(provider, stream=stream)
    await pool.aclose()
    await up.wait_for(lambda: up.open_connections == 0)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", [Script.text(), Script.split_every_byte("ab"), Script.status(500)])
async def test_a_cancellation_at_any_await_closes_the_upstream(up: Upstream, stream: bool, script: Script) -> None:
    """The task is cancelled after more and more turns of the event loop, until it is done before that."""
    pool = Transport(max_connections=1)
    provider = openai(up, pool)
    up.default = script
    over = False
    turns = 0
    while not over:
        task = asyncio.create_task(_ask(provider, stream=stream))
        for _ in range(turns):
            await asyncio.sleep(0)
        over = task.done()
        task.cancel()
        await asyncio.wait([task])
        turns += 1 + turns // 16
    up.default = Script.text()
    async with asyncio.timeout(10):
        await _ask(provider, stream=stream)
    await up.wait_for(lambda: up.in_flight == 0)
    await pool.aclose()
    await up.wait_for(lambda: up.open_connections == 0)


@pytest.mark.parametrize(
    "script",
    [
        Script.hang(),
        Script.hang_after_headers(),
        Script.stall_after(1),
        Script.endless(),
        Script.text(hang_at_end=True),
    ],
)
async def test_the_upstream_learns_that_its_reader_left(up: Upstream, transport: Transport, script: Script) -> None:
    """A model that nobody listens to must stop at once, since it costs money."""
    up.default = script
    task = asyncio.create_task(collect(openai(up, transport)))
    await up.wait_for(lambda: up.chat_requests and up.chat_requests[0].bytes_sent >= 0)
    await asyncio.sleep(0.02)
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([task])
        await up.chat_requests[0].disconnected.wait()


async def test_a_stream_that_is_left_half_read_closes_its_connection(up: Upstream, transport: Transport) -> None:
    """Closing the generator is how the router stops; the rest of the answer must not meet the next request."""
    provider = openai(up, transport)
    up.queue(Script.text("left", 4, hold_after=1))
    stream = cast("AsyncGenerator[StreamItem]", provider.stream_completion(question()))
    async for item in stream:
        if any(event.content for event in events_of(item)):
            break
    await stream.aclose()
    await up.chat_requests[0].disconnected.wait()
    assert [event.content for event in await collect(provider) if event.content] == ["He", "llo", " wo", "rld"]


async def test_cancelled_requests_lose_no_place_in_the_pool(up: Upstream) -> None:
    """The default transport of httpx loses one for each request that is cancelled before its connection is up."""
    pool = Transport(max_connections=POOL)
    provider = openai(up, pool)
    up.default = Script.text(delay_s=0.002)
    dice = random.Random(7)
    for _ in range(CANCELS // POOL):
        tasks = [asyncio.create_task(_ask(provider, stream=dice.random() < 0.5)) for _ in range(POOL)]
        for task in tasks:
            for _ in range(dice.randrange(6)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
    async with asyncio.timeout(10):
        await asyncio.gather(*(_ask(provider, stream=True) for _ in range(POOL)))
    assert up.open_connections <= POOL
    await pool.aclose()
    await up.wait_for(lambda: up.open_connections == 0)
