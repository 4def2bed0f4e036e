"""Several real processes share what is in Redis."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.limits.conftest import NewProcess
from tests.services.redis import RedisServer

FOLDER = Path(__file__).parents[2]
CLIENTS = (17, 17, 16)
LIMIT = 400
REQUESTS = 20


@asynccontextmanager
async def program(*arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `tests.limits.program` until the block is left; it has said that it is ready."""
    # One that is killed leaves half a file of measurements, so none is measured.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.limits.program", *map(str, arguments)),
        cwd=FOLDER,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            assert await line(process) == "ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    """Return the next line that a program says."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def test_three_processes_with_50_clients_are_admitted_exactly_the_limit(redis_url: str) -> None:
    """Not one more and not one less, whoever asks; and the windows that had room counted the same."""
    async with (
        program("hammer", redis_url, LIMIT, CLIENTS[0], REQUESTS) as one,
        program("hammer", redis_url, LIMIT, CLIENTS[1], REQUESTS) as two,
        program("hammer", redis_url, LIMIT, CLIENTS[2], REQUESTS) as three,
    ):
        processes = (one, two, three)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        admitted = [int(await line(process)) for process in processes]
    assert sum(admitted) == LIMIT < sum(CLIENTS) * REQUESTS
    assert all(admitted)


async def test_the_slots_of_a_killed_process_come_back(new_process: NewProcess, redis_process: RedisServer) -> None:
    """Its leases run out, because nobody renews them any more; while it lives they do not."""
    lease_s = 2.0
    counters = new_process(lease_s=lease_s).counters
    async with program("hold", redis_process.url, 2, lease_s) as holder:
        for _ in range(4):
            assert not await counters.enter("parallel:k", 2, "other")
            await asyncio.sleep(lease_s / 2)
        holder.kill()
        async with asyncio.timeout(60):
            while not await counters.enter("parallel:k", 2, "other"):
                await asyncio.sleep(0.05)
