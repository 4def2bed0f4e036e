"""A copy of a database whose gateway is at work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.settings import Settings
from gateway.storage.backup import backup
from gateway.storage.database import sqlite_url
from tests.durability.evidence import assert_file_is_sound, assert_nothing_lost, opened
from tests.durability.load import ADMINISTRATORS, Answered, keep_busy
from tests.e2e.admin import new_key
from tests.e2e.process import PEPPER, Process, gateway_process
from tests.e2e.tables import embedded_url
from tests.services.postgres import PostgresServer
from tests.upstream import Upstream

COPIES = 3
BUSY_S = 0.5
ENDED_S = 60.0


async def copies_of(process: Process, url: str, folder: Path, answered: Answered) -> list[tuple[Path, Answered]]:
    """Copy the database of a gateway that is kept busy, and return each copy with what was answered before it."""
    key = await new_key(process, "user")
    clients = asyncio.create_task(keep_busy(process, "r", key, answered))
    copies = []
    for number in range(COPIES):
        await asyncio.sleep(BUSY_S)
        async with asyncio.timeout(ENDED_S):
            # On a busy machine that takes longer.
            while len(answered.acts) <= ADMINISTRATORS:
                await asyncio.sleep(0.01)
        before = Answered(list(answered.acts), dict(answered.chats))
        copies.append(((await backup(url, folder / f"copy-{number}")).path, before))
    assert not clients.done()
    process.program.kill()
    async with asyncio.timeout(ENDED_S):
        await clients
    return copies


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_copy_of_a_busy_database_is_whole(
    tmp_path: Path, a: Upstream, kind: str, request: pytest.FixtureRequest
) -> None:
    """Everything that was acknowledged before is in it, and what came later is in it whole or not at all."""
    url = embedded_url(tmp_path / "data") if kind == "sqlite" else request.getfixturevalue("postgres_url")
    answered = Answered()
    async with gateway_process(tmp_path, {"a": a}, DATABASE_URL=url) as process:
        copies = await copies_of(process, url, tmp_path, answered)
    for path, before in copies:
        assert len(before.acts) > ADMINISTRATORS
        if kind == "sqlite":
            assert_file_is_sound(path)
            copy_url = sqlite_url(path)
        else:
            copy_url = restored(request.getfixturevalue("postgres"), path)
        settings = Settings(data={"dir": tmp_path}, database={"url": copy_url}, auth={"pepper": PEPPER})
        async with opened(settings) as stores:
            # One act made the key that chats.
            later = len(answered.acts) - len(before.acts) + ADMINISTRATORS + 1
            await assert_nothing_lost(stores, before.acts, later)


def restored(server: PostgresServer, archive: Path) -> str:
    """Restore an archive to a new database, and return its address."""
    url = server.new_database()
    server.client("pg_restore", f"--dbname={url.rpartition('/')[2]}", "--exit-on-error", "--no-owner", str(archive))
    return url
