"""A process of its own that writes to an audit log: `python -m tests.audit.writer URL COUNT`."""

from __future__ import annotations

import asyncio
import sys

from gateway.storage.audit import AuditTable
from gateway.storage.database import Database
from tests.audit.logs import KEYS, entry


async def write(url: str, count: int, target: str) -> None:
    """Open the database and append `count` rows at once."""
    database = Database(url)
    await database.open()
    try:
        table = AuditTable(database)
        await asyncio.gather(*(table.record(entry(number, target), KEYS) for number in range(count)))
    finally:
        await database.close()


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
