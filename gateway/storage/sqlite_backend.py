"""SQLite: one file in WAL mode, so that readers never wait for the writer, and one connection that writes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import URL, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from gateway.storage.backends import MIGRATION_LOCK_S

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Executable

_MAKING = threading.Lock()
_PROBE_S = 1.0
_RETRY_S = 0.05


class FileChanged(OSError):
    """The database file is not the one that was opened, so what is written to that one would be lost."""


class SQLiteBackend:
    """The file at `path`. A lock that somebody else holds is waited for half of `patience_s`."""

    dialect: Literal["sqlite"] = "sqlite"
    # SQLite lets one transaction write at a time, whatever is done here.
    writers = 1
    readers = 4

    def __init__(self, path: Path, patience_s: float) -> None:
        self.path = path
        self.title = f"The database file {path}"
        self._busy_s = patience_s / 2
        self._file = (0, 0)
        # Threads of its own: those that everybody shares may all be waiting for a name server.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="lunarbit-sqlite")

    def prepare(self) -> None:
        """Make the folder and a file that only its owner can read, turn WAL on, and see whether it can be written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # To close a file that SQLite has open elsewhere in this process would take away its locks, and the database
        # would be damaged (https://www.sqlite.org/howtocorrupt.html, 2.2): so the file is opened here only to make it.
        with _MAKING, suppress(FileExistsError):
            # SQLite gives its other files the rights of this one.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(self.path, timeout=self._busy_s, isolation_level=None)) as connection:
            give_up = time.monotonic() + MIGRATION_LOCK_S
            while True:
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    # SQLite does not always wait for the lock here, although several processes may start at once.
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                        raise
                    time.sleep(_RETRY_S)
                else:
                    connection.execute("ROLLBACK")
                    break
        self._file = _identity(self.path)

    def engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        """Return the engine whose transactions write from the start, and the one whose transactions only read."""
        # A deferred transaction that writes later fails at once when another one wrote meanwhile.
        writer = self._engine("BEGIN IMMEDIATE", self.writers, self._busy_s, ("synchronous=FULL", "foreign_keys=ON"))
        return writer, self._engine("BEGIN", self.readers, self._busy_s, ("query_only=ON",))

    def migrator(self) -> tuple[AsyncEngine, Executable]:
        """Return an engine whose BEGIN takes the lock already."""
        pragmas = ("synchronous=FULL", "foreign_keys=ON")
        return self._engine("BEGIN IMMEDIATE", 1, MIGRATION_LOCK_S, pragmas), text("SELECT 1")

    async def verify(self) -> None:
        """Raise `FileChanged` when the file was deleted, emptied or exchanged."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._check_file)

    async def answers(self, reader: AsyncEngine) -> bool:  # noqa: ARG002 - an open connection has pages in memory.
        """Read the file over a new connection."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read_anew)

    def _engine(self, begin: str, size: int, busy_s: float, pragmas: tuple[str, ...]) -> AsyncEngine:
        engine = create_async_engine(
            # `mode=rw`, since SQLite would make a new file in the place of one that has gone.
            URL.create("sqlite+aiosqlite", database=self.path.absolute().as_uri(), query={"uri": "true", "mode": "rw"}),
            connect_args={"timeout": busy_s, "isolation_level": None},
            poolclass=AsyncAdaptedQueuePool,
            pool_size=size,
            max_overflow=0,
            hide_parameters=True,
        )

        @event.listens_for(engine.sync_engine, "connect")
        def set_up(connection: Any, _: object) -> None:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").close()

        @event.listens_for(engine.sync_engine, "begin")
        def start(connection: Connection) -> None:
            # One visit to the connection's thread; SQLAlchemy's way to execute takes five.
            driver: Any = connection.connection.dbapi_connection
            driver.run_async(lambda raw: raw.execute_fetchall(begin))

        return engine

    def _check_file(self) -> None:
        stat = self.path.stat()
        if not stat.st_size:
            # SQLite may write a part of it again from its log, which would then look like the whole.
            self._file = (0, 0)
        if (stat.st_dev, stat.st_ino) != self._file:
            raise FileChanged

    def _read_anew(self) -> bool:
        address = f"{self.path.absolute().as_uri()}?mode=ro"
        try:
            # First the file alone, whose first page may be in the log too; `immutable` leaves the log out.
            for look, query in (("&immutable=1", "PRAGMA schema_version"), ("", "SELECT count(*) FROM sqlite_master")):
                with closing(sqlite3.connect(address + look, uri=True, timeout=_PROBE_S)) as connection:
                    connection.execute(query).fetchone()
            self._check_file()
        except (sqlite3.Error, OSError):
            return False
        return True


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino
