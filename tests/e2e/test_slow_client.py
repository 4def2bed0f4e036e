"""Clients that read slowly or not at all: memory stays bounded, and nobody waits for them for ever."""

from __future__ import annotations

import asyncio
from typing import Self

import pytest

from routing.mailbox import Mailbox
from routing.stream import StreamCall
from tests.e2e.client import STREAMS, Client, Mode, Seen, assert_whole
from tests.e2e.conftest import Start
from tests.e2e.server import Running, provider
from tests.e2e.sockets import needs_list_of_sockets, shrink_buffers
from tests.upstream import Script, Upstream

OURS_BYTES = 256 << 10
# Ours, and what the kernel and the event loops of client and upstream hold on the way.
HELD_BYTES = OURS_BYTES + (2 << 20)
pytestmark = needs_list_of_sockets


class SlowClient(Client):
    """A client that reads only when it is told to, over connections that hold little."""

    def __init__(self, gateway: Running, a: Upstream) -> None:
        super().__init__(gateway)
        self._ports = (gateway.port, a.port)

    async def __aenter__(self) -> Self:
        """Connect; the connection to the upstream is there already, left by the check of its health."""
        await super().__aenter__()
        # The gateway has accepted as soon as it answers something.
        await self.send("GET", "/health/live")
        await self.reply()
        for port in self._ports:
            shrink_buffers(port)
        return self


def mailboxes() -> list[Mailbox[object]]:
    """Return the queues of all streamed calls that run now."""
    coroutines = [task.get_coro() for task in asyncio.all_tasks() if task.get_name() == "upstream-call"]
    calls = [coroutine.cr_frame.f_locals["self"] for coroutine in coroutines]  # type: ignore[union-attr]
    assert all(isinstance(call, StreamCall) for call in calls)
    return [call.mailbox for call in calls]


async def until_still(a: Upstream) -> int:
    """Wait until the upstream can send no more; returns how much it sent."""
    sent, still = -1, 0
    async with asyncio.timeout(20):
        while still < 3:
            await asyncio.sleep(0.1)
            now = a.chat_requests[0].bytes_sent
            still = still + 1 if now == sent > 100_000 else 0
            sent = now
    return sent


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_client_that_stops_reading_is_dropped_after_send_timeout_s(
    start: Start, a: Upstream, mode: Mode
) -> None:
    """Both sides are closed; it counts as a client that left."""
    gateway = await start({"a": provider(a)}, stream={"send_timeout_s": 0.4})
    a.default = Script.endless(16_384)
    async with SlowClient(gateway, a) as client:
        await client.ask(mode)
        await a.wait_for(lambda: a.chat_requests and a.chat_requests[0].disconnected.is_set())
        (line,) = await gateway.logged()
        reply = await client.reply()
    assert (line["status"], line["provider"]) == (499, "a")
    assert line["completion_tokens"] > 0
    assert reply.ending in {"reset", "fin"}
    assert b"event: done" not in reply.body
    assert b"[DONE]" not in reply.body
    assert gateway.outcomes("a") == {"cancelled": 1}
    assert gateway.metric("lunarbit_client_disconnects_total", route=mode.path) == 1
    assert gateway.target("a").breaker.is_closed


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_slow_client_stops_the_upstream_and_costs_little_memory(start: Start, a: Upstream, mode: Mode) -> None:
    """What the gateway holds is bounded, so the provider waits; that is not taken for a stall of the provider."""
    gateway = await start({"a": provider(a, timeouts={"idle_s": 0.3})})
    text = "x" * 6_000_000
    a.default = Script.text(text, pieces=300)
    async with SlowClient(gateway, a) as client:
        await client.ask(mode)
        await a.wait_for(lambda: a.chat_requests)
        sent = await until_still(a)
        assert sent < HELD_BYTES
        (mailbox,) = mailboxes()
        assert mailbox._bytes <= OURS_BYTES
        # Longer than the provider's `idle_s`, but nobody asked it for anything in this time.
        await asyncio.sleep(0.4)
        assert a.chat_requests[0].bytes_sent == sent
        assert not a.chat_requests[0].disconnected.is_set()
        seen = Seen(mode, await client.reply(timeout_s=30))
    assert seen.reply.ending == "complete"
    assert_whole(seen, text, "a", 1)


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_slow_client_that_leaves_frees_the_upstream(start: Start, a: Upstream, mode: Mode) -> None:
    """It is noticed although the gateway waits for room to send and not for the provider."""
    gateway = await start({"a": provider(a)})
    a.default = Script.endless(16_384)
    async with SlowClient(gateway, a) as client:
        await client.ask(mode)
        await a.wait_for(lambda: a.chat_requests)
        await until_still(a)
        client.reset()
        await a.wait_for(a.chat_requests[0].disconnected.is_set)
        (line,) = await gateway.logged()
    assert line["status"] == 499


@pytest.mark.parametrize("mode", STREAMS, ids=str)
async def test_a_slow_client_makes_no_other_one_wait(start: Start, a: Upstream, mode: Mode) -> None:
    """Each stream has its own queue."""
    gateway = await start({"a": provider(a)})
    a.queue(Script.endless(16_384))
    async with SlowClient(gateway, a) as slow:
        await slow.ask(mode)
        await a.wait_for(lambda: a.chat_requests)
        await until_still(a)
        async with Client(gateway) as quick:
            await quick.ask(mode)
            assert_whole(Seen(mode, await quick.reply()), "Hello world", "a", 1)
        slow.reset()
        await gateway.logged(2)
