"""The embedded database: one SQLite file in the data folder, in WAL mode so that readers never wait for the writer."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
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
        self._file = (0, 0)
        self._probe: asyncio.Future[bool] | None = None

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
        self._file = _identity(self.path)

    async def ping(self) -> bool:
        """Say whether the database file answers a read within two seconds, and is still the one that was opened."""
        if self._connection is None:
            return False
        # A disk that hangs holds one thread, and not one more for every time that somebody asks.
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().run_in_executor(None, self._answers)
        done, _ = await asyncio.wait({self._probe}, timeout=PING_TIMEOUT_S)
        return bool(done) and self._probe.result()

    async def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    def _answers(self) -> bool:
        """Read the file over a new connection, since one that is open has its pages in memory."""
        address = f"{self.path.absolute().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=PING_TIMEOUT_S / 2)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return _identity(self.path) == self._file and self.path.stat().st_size > 0
        except (sqlite3.Error, OSError):
            return False


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
