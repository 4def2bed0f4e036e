"""A real PostgreSQL that crashes while usage is being written to it."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

from gateway.storage.database import Database
from gateway.storage.usage import UsageTable
from gateway.usage.recorder import UsageRecorder
from tests.usage.support import LIMIT_S, NOW_MS, record_of
from tests.usage.test_table import rows_of

if TYPE_CHECKING:
    from tests.services.postgres import PostgresServer

CRASHES = 20 if os.environ.get("LUNARBIT_TEST_FULL") == "1" else 2


async def test_a_server_that_crashes_again_and_again_gets_every_record_once(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """Whether a commit got through before a crash, only the server knows."""
    rng = random.Random(11)
    database = Database(postgres_url, patience_s=5)
    await database.open()
    recorder = UsageRecorder(
        UsageTable(database), clock_ms=lambda: NOW_MS, on_dropped=lambda count: None, flush_every_s=0.002
    )
    task = asyncio.create_task(recorder.run())
    written = 0

    async def traffic() -> None:
        nonlocal written
        while True:
            recorder.record(record_of(request_id=f"req_{written}"))
            recorder.count("k1", NOW_MS, error=False)
            written += 1
            await asyncio.sleep(0.0005)

    clients = asyncio.create_task(traffic())
    for _ in range(CRASHES):
        await asyncio.sleep(0.1 + rng.random() / 5)
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)
    clients.cancel()
    task.cancel()
    await asyncio.wait({clients, task})
    async with asyncio.timeout(LIMIT_S):
        while not await recorder.flush():
            await asyncio.sleep(0.05)
    assert [record.request_id for record in await rows_of(database)] == [f"req_{number}" for number in range(written)]
    assert (await UsageTable(database).key_totals())["k1"].requests == written
    await database.close()
