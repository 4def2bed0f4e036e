"""A process that does nothing but check builds: `python -m tests.releases.check_process DATABASE_URL`.

It prints a line whenever it asked for the lease: `working` when it has it, `waiting` when another process does.
"""

from __future__ import annotations

import asyncio
import sys
import time

from gateway.audit.chain import AuditKeys
from gateway.releases.checks import BuildChecks, Pace
from gateway.releases.snapshot import CatalogueReader
from gateway.storage.catalog import CatalogTable
from gateway.storage.checks import CheckTable
from gateway.storage.database import Database
from gateway.storage.leases import Leases
from tests.releases.verifying import SELDOM, make_verifier

KEYS = AuditKeys.derive("a key of the tests", "a pepper", "")
LEASE_S = 1.5


class _TellingLeases(Leases):
    async def acquire(self, name: str, holder: str, ttl_s: float) -> bool:
        held = await super().acquire(name, holder, ttl_s)
        print("working" if held else "waiting", flush=True)  # noqa: T201 - this is what the test reads.
        return held


async def check(url: str) -> None:
    """Check the builds of a database until killed."""
    database = Database(url)
    await database.open()
    reader = CatalogueReader(CatalogTable(database, KEYS))
    checks = BuildChecks(
        reader,
        CheckTable(database, KEYS),
        _TellingLeases(database),
        make_verifier,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        schedule=SELDOM,
        pace=Pace(lease_s=LEASE_S, look_s=0.02),
    )
    task = asyncio.create_task(checks.run())
    while not task.done():
        await reader.refresh()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(check(sys.argv[1]))
