"""What is in a gateway's tables, read from beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.database import Database, sqlite_url
from gateway.storage.tables import usage
from gateway.stores import DATABASE_FILE

LIMIT_S = 20.0


def embedded_url(data_folder: Path) -> str:
    """Return the address of the database that a gateway makes when it is told of none."""
    return sqlite_url(data_folder / DATABASE_FILE)


async def rows_of(url: str, table: Table) -> list[Row[Any]]:
    """Return every row of a table, in the order of its primary key."""

    async def work(connection: AsyncConnection) -> list[Row[Any]]:
        return list(await connection.execute(select(table).order_by(*table.primary_key.columns)))

    database = Database(url)
    await database.open()
    try:
        return await database.read(work)
    finally:
        await database.close()


async def records_of(url: str, key_name: str, count: int) -> list[Row[Any]]:
    """Wait until the ledger has so many records of a key, and return them in the order in which they were written."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = [row for row in await rows_of(url, usage) if row.key_name == key_name]
            if len(found) >= count:
                assert len(found) == count
                return found
            await asyncio.sleep(0.1)
