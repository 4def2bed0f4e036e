"""Nagle's algorithm is off on both sides of the gateway."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.client import STREAMS, Client
from tests.e2e.server import Running, provider, serving, settings
from tests.e2e.sockets import connections, needs_list_of_sockets
from tests.upstream import Script, Upstream

ROOT = Path(__file__).parents[2]
LOOPS = {"asyncio": asyncio.new_event_loop}
with suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


def nodelay(*, local: int | None = None, remote: int | None = None) -> set[bool]:
    """Return how TCP_NODELAY stands on the connections from the port `local` or to the port `remote`."""
    return {
        bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        for sock in connections(local=local, remote=remote)
    }


pytestmark = needs_list_of_sockets


@asynccontextmanager
async def upstream_process() -> AsyncIterator[str]:
    """Run the upstream as a program of its own, so that it does not depend on the loop under test."""
    command = (sys.executable, "-m", "tests.upstream", "--text", "abc", "--pieces", "3", "--delay", "0.3")
    program = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert program.stdout is not None
    try:
        async with asyncio.timeout(30):
            base_url = (await program.stdout.readline()).decode().strip()
        yield base_url
    finally:
        program.terminate()
        await program.communicate()


@pytest.mark.parametrize("loop", LOOPS)
def test_small_writes_leave_at_once_on_both_sides(tmp_path: Path, loop: str) -> None:
    """With Nagle's algorithm a token waits for the acknowledgement of the last one, which is delayed by 40 ms."""

    async def look() -> None:
        async with (
            upstream_process() as base_url,
            serving(settings(tmp_path, {"a": provider(base_url, timeouts={"first_token_s": 30.0})})) as gateway,
        ):
            upstream_port = int(base_url.rpartition(":")[2].removesuffix("/v1"))
            for mode in STREAMS:
                async with Client(gateway) as client:
                    await client.ask(mode)
                    await client.reply(until=b'"a"')
                    assert nodelay(local=gateway.port) == {True}, "towards the client"
                    assert nodelay(remote=upstream_port) == {True}, "towards the provider"
                    await client.reply()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(look())


async def test_the_tests_own_upstream_sends_at_once_too(one: Running, a: Upstream) -> None:
    """Otherwise every measurement of the gateway has 40 ms of the upstream's in it."""
    a.default = Script.stall_after(1)
    async with Client(one) as client:
        await client.ask(STREAMS[0])
        await client.reply(until=b"tok0")
        assert nodelay(local=a.port) == {True}
