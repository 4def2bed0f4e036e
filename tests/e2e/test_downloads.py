"""Downloads at two gateways at once, each a process of its own, with one database: every one counts, once."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.e2e.admin import call, read, until
from tests.e2e.client import bearer
from tests.e2e.process import Process, gateway_process
from tests.e2e.server import ADMIN_KEY

if TYPE_CHECKING:
    from pathlib import Path

DOWNLOADS = 5_000 if os.environ.get("LUNARBIT_TEST_FULL") else 1_000
CONNECTIONS = 20
PLATFORMS = ("windows", "linux")
PROJECT = "/projects/trackly"
VERSION = f"{PROJECT}/channels/stable/versions/1.0.0"


def build(platform: str) -> dict[str, object]:
    """Return a build as publishers send it."""
    url = f"https://cdn.example.com/trackly-{platform}.bin"
    checksum = {"sha256": "ab" * 32}
    return {"platform": platform, "architecture": "x64", "file_size": 1, "download_url": url, "checksum": checksum}


async def download(gateway: Process, count: int) -> list[int]:
    """Download one build after the other on one connection, and what does not count in between; return the statuses."""
    found = []
    async with gateway.client() as client:
        for number in range(count):
            path = f"{VERSION}/builds/{PLATFORMS[number % 2]}-x64/download"
            if number % 10 == 0:
                await client.send("GET", path, headers=bearer(ADMIN_KEY) | {"range": "bytes=5-"})
                assert (await client.reply()).status == 302
            await client.send("GET", path, headers=bearer(ADMIN_KEY))
            found.append((await client.reply()).status)
    return found


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_parallel_downloads_at_two_processes_are_all_counted(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """Both write the same rows while they serve; what is still unwritten when they stop is written then."""
    start = partial(gateway_process, tmp_path, {})
    if kind == "postgresql":
        start = partial(start, DATABASE_URL=str(request.getfixturevalue("postgres_url")))
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(start(name=name)) for name in ("one", "two")]
        project = {"id": "trackly", "name": "Trackly", "verification": "trusted"}
        assert (await call(gateways[0], "POST", "/projects", project)).status == 201
        version = {"id": "1.0.0", "builds": [build(platform) for platform in PLATFORMS]}
        assert (await call(gateways[0], "POST", f"{PROJECT}/channels/stable/versions", version)).status == 201

        async def is_known() -> bool:
            return (await call(gateways[1], "GET", VERSION)).status == 200

        await until(is_known)
        each = DOWNLOADS // (len(gateways) * CONNECTIONS)
        work = [download(gateway, each) for gateway in gateways for _ in range(CONNECTIONS)]
        statuses = [status for found in await asyncio.gather(*work) for status in found]
        assert statuses == [302] * DOWNLOADS
        for gateway in gateways:
            gateway.program.terminate()
        assert [await gateway.stopped() for gateway in gateways] == [0, 0]
    async with start(name="three") as gateway:
        odd = DOWNLOADS // each * (each // 2)
        counts = [(await read(gateway, f"{VERSION}/builds/{name}-x64"))["downloads"] for name in PLATFORMS]
        assert counts == [DOWNLOADS - odd, odd]
        assert (await read(gateway, VERSION))["downloads"] == DOWNLOADS
        assert (await read(gateway, PROJECT))["total_downloads"] == DOWNLOADS
