"""The embedded database: one SQLite file in the data folder, in WAL mode so that readers never wait for the writer."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import aiosqlite

if TYPE_CHECKING:
    from pathlib import Path

PING_TIMEOUT_S = 2.0


class SQLiteDatabase:
    """The gateway's database file. `open` makes it when it does not exist; `ping` says whether it answers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: aiosqlite.Connection | None = None

    async def open(self) -> None:
        """Open or create the file. Raises `sqlite3.Error` or `OSError` when that cannot be done."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = await aiosqlite.connect(self.path)
        try:
            await connection.execute("PRAGMA journal_mode=WAL")
            await connection.execute("PRAGMA synchronous=FULL")
            await connection.commit()
        except BaseException:
            await connection.close()
            raise
        self._connection = connection

    async def ping(self) -> bool:
        """Say whether the database answers a read of its file within two seconds."""
        if self._connection is None:
            return False
        try:
            # The query runs in a task of its own: cancelling it half-way would leave its answer to the next caller.
            query = asyncio.ensure_future(self._read_schema(self._connection))
            done, _ = await asyncio.wait({query}, timeout=PING_TIMEOUT_S)
        except (sqlite3.Error, ValueError):
            return False
        return bool(done) and query.exception() is None and self.path.exists()

    async def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    @staticmethod
    async def _read_schema(connection: aiosqlite.Connection) -> None:
        async with connection.execute("SELECT count(*) FROM sqlite_master") as cursor:
            await cursor.fetchone()
