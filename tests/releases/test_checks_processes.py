"""Several processes, one of which checks; one that is killed, and a database that is away."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.errors import StorageUnavailable
from gateway.releases.checks import BuildChecks, Pace
from gateway.releases.model import Architecture, Build, BuildState, Channel, Platform, Project, Version
from gateway.releases.snapshot import CatalogueReader
from gateway.releases.store import BuildKey, CatalogTransaction
from gateway.storage.catalog import CatalogTable
from gateway.storage.checks import CheckTable
from gateway.storage.leases import Leases
from tests.architecture.installation import REPOSITORY
from tests.e2e.process import gateway_process
from tests.e2e.server import ADMIN_KEY
from tests.releases import fileserver as fs
from tests.releases.check_process import KEYS
from tests.releases.checking import GOOD
from tests.releases.fileserver import FileServer
from tests.releases.verifying import LIMIT_S, SELDOM, STABLE, Checked, declare, make_verifier
from tests.services.postgres import PostgresServer
from tests.storage.conftest import database, database_url, log, postgres, postgres_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.releases.check_rules import CheckRecord
    from gateway.releases.examiner import Written
    from gateway.storage.database import Database

pytestmark = pytest.mark.slow

__all__ = ["database", "database_url", "log", "postgres", "postgres_url"]


@asynccontextmanager
async def _process(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = sys.executable, "-m", "tests.releases.check_process", url
    process = await asyncio.create_subprocess_exec(*arguments, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _says(process: asyncio.subprocess.Process, word: str) -> None:
    """Read what a process prints until it is this."""
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        while line := await process.stdout.readline():
            if line.decode().strip() == word:
                return
    raise AssertionError("the process has ended")


async def _publish(database: Database, *urls: str) -> CatalogTable:
    """Put a project with a build of GOOD at each of these addresses into a database."""
    table = CatalogTable(database, KEYS)

    async def fill(tx: CatalogTransaction) -> None:
        await tx.put_project(Project("app"))
        await tx.put_channel("app", Channel("stable"))
        await tx.put_version("app", "stable", Version("1.0.0"))
        for number, url in enumerate(urls):
            build = Build(f"b{number}", Platform.LINUX, Architecture.X64, "app", len(GOOD), url, "", created_at=1)
            await tx.put_build(BuildKey("app", "stable", "1.0.0", build.id), build)

    await table.administer(fill)
    return table


async def _states(table: CatalogTable) -> set[BuildState]:
    _, [change] = await table.changes(0)
    assert change.project is not None
    return {build.state for build in change.project.channels[0].versions[0].builds}


async def _until_verified(table: CatalogTable) -> None:
    async with asyncio.timeout(LIMIT_S):
        while await _states(table) != {BuildState.VERIFIED}:
            await asyncio.sleep(0.05)


async def test_another_process_takes_over_from_one_that_was_killed(database: Database, database_url: str) -> None:
    """In the middle of a download, which it begins again; until then it downloaded nothing."""
    async with FileServer({"/file": fs.dripping(GOOD, len(GOOD))}) as server, _process(database_url) as first:
        table = await _publish(database, server.url("/file"))
        await _says(first, "working")
        await server.asked()
        async with _process(database_url) as second:
            await _says(second, "waiting")
            await _says(second, "waiting")
            assert len(server.requests) == 1
            server.routes["/file"] = fs.file(GOOD)
            first.kill()
            await _says(second, "working")
            await _until_verified(table)
        assert len(server.requests) == 2


class _Flaky:
    """Stands before the stores, and is away when told to."""

    def __init__(self, database: Database) -> None:
        self.is_away = False
        self.refused = 0
        self._checks = CheckTable(database, KEYS)
        self._leases = Leases(database)
        self.lost = False

    def _look(self) -> None:
        if self.is_away:
            self.refused += 1
            raise StorageUnavailable("away")

    async def load(self) -> dict[BuildKey, CheckRecord]:
        self._look()
        return await self._checks.load()

    async def write(self, *arguments: Any) -> Written | None:
        self._look()
        return await self._checks.write(*arguments)

    async def acquire(self, name: str, holder: str, ttl_s: float) -> bool:
        self._look()
        return not self.lost and await self._leases.acquire(name, holder, ttl_s)

    async def release(self, name: str, holder: str) -> None:
        self._look()
        await self._leases.release(name, holder)


@asynccontextmanager
async def _checking(database: Database, table: CatalogTable, flaky: _Flaky, lease_s: float) -> AsyncIterator[None]:
    reader = CatalogueReader(table)
    await reader.refresh()
    pace = Pace(lease_s=lease_s, look_s=0.01, retry_s=0.01)
    checks = BuildChecks(reader, flaky, flaky, make_verifier, clock_ms=lambda: 1_000_000, schedule=SELDOM, pace=pace)
    task = asyncio.create_task(checks.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=LIMIT_S)
        assert task.cancelled()
    flaky.is_away = False
    # Who stops gives the lease back.
    assert flaky.lost or await Leases(database).acquire("build-verification", "somebody else", 0.0)


async def test_what_was_found_while_the_database_is_away_is_written_when_it_is_back(database: Database) -> None:
    """Nothing is downloaded again, and no more than two results wait."""
    routes = {f"/{number}": fs.file(GOOD) for number in range(5)}
    flaky = _Flaky(database)
    flaky.is_away = True
    async with FileServer(routes) as server:
        table = await _publish(database, *(server.url(path) for path in routes))
        async with _checking(database, table, flaky, lease_s=30.0):
            while flaky.refused < 3:
                await asyncio.sleep(0.01)
            assert server.requests == []
    flaky = _Flaky(database)
    gate = asyncio.Event()

    async def late(request: fs.Request, writer: fs.Writer) -> None:
        await gate.wait()
        await fs.file(GOOD)(request, writer)

    async with FileServer(dict.fromkeys(routes, late)) as server:
        await _publish(database, *(server.url(path) for path in routes))
        async with _checking(database, table, flaky, lease_s=30.0):
            await server.asked(2)
            flaky.is_away = True
            gate.set()
            while flaky.refused < 10:
                await asyncio.sleep(0.01)
            assert await _states(table) == {BuildState.PENDING}
            assert len(server.requests) == 2
            flaky.is_away = False
            await _until_verified(table)
        assert len(server.requests) == 5


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_result_outlives_the_lease(database: Database) -> None:
    """The database is away for so long that the lease runs out; then what was found out is written all the same."""
    gate = asyncio.Event()
    flaky = _Flaky(database)

    async def late(request: fs.Request, writer: fs.Writer) -> None:
        await gate.wait()
        await fs.file(GOOD)(request, writer)

    async with FileServer({"/file": late}) as server:
        table = await _publish(database, server.url("/file"))
        async with _checking(database, table, flaky, lease_s=3.0):
            await server.asked()
            flaky.is_away = True
            gate.set()
            await asyncio.sleep(3.5)
            flaky.is_away = False
            await _until_verified(table)
            await asyncio.sleep(0.1)
        assert len(server.requests) == 1


async def test_who_has_lost_the_lease_stops(database: Database) -> None:
    """Its downloads end, and it begins no others."""
    async with FileServer({"/file": fs.endless(GOOD[:100])}) as server:
        table = await _publish(database, server.url("/file"))
        build = BuildKey("app", "stable", "1.0.0", "b0")
        version = await table.administer(lambda tx: tx.version("app", "stable", "1.0.0"))
        assert version is not None
        large = Build("b0", Platform.LINUX, Architecture.X64, "app", 10**12, server.url("/file"), "", created_at=1)
        await table.administer(lambda tx: tx.put_build(build, large))
        flaky = _Flaky(database)
        async with _checking(database, table, flaky, lease_s=0.2):
            await server.asked()
            flaky.lost = True
            await server.all_closed()
            count = len(server.requests)
            await asyncio.sleep(0.3)
            assert len(server.requests) == count


async def test_an_outage_of_the_real_database_loses_no_result(tmp_path: Path) -> None:
    """PostgreSQL dies during a download; the file is not downloaded a second time when it is back."""
    server = PostgresServer()
    server.start()
    gate = asyncio.Event()

    async def late(request: fs.Request, writer: fs.Writer) -> None:
        await gate.wait()
        await fs.file(GOOD)(request, writer)

    environ: dict[str, Any] = {"GATEWAY_VERIFICATION__ENABLED": "true", "DATABASE_URL": server.new_database()}
    toml = '[verification]\nallow_networks = ["127.0.0.0/8"]\n'
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    try:
        async with (
            FileServer({"/file": late}) as files,
            gateway_process(tmp_path, {}, toml=toml, **environ) as process,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{process.port}", headers=headers, trust_env=False, timeout=LIMIT_S
            ) as client,
        ):
            checked = Checked(process, client)  # type: ignore[arg-type] # It only makes requests here.
            assert (await client.post("/projects", json={"id": "app", "name": "App"})).status_code == 201
            await checked.publish("1.0.0", declare(GOOD, files.url("/file")))
            await files.asked()
            await asyncio.to_thread(server.kill)
            gate.set()
            await files.all_closed()
            assert (await client.get(f"{STABLE}/versions/1.0.0/builds/linux-x64")).json()["status"] == "pending"
            await asyncio.to_thread(server.start)
            await checked.until_status("1.0.0", "verified")
            assert len(files.requests) == 1
    finally:
        server.close()
