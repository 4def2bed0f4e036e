"""The database: SQLite or PostgreSQL behind one interface of reads and writes."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import StorageUnavailable
from gateway.observability.logs import get_logger
from gateway.storage.backends import backend_for, sqlite_url
from gateway.storage.failures import RETRY_AFTER_S, Complaints, DatabaseTooNew, DatabaseUnusable, reason
from gateway.storage.lanes import Lane
from gateway.storage.migrations import HEAD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import Literal

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["Database", "DatabaseTooNew", "DatabaseUnusable", "Upgrade", "sqlite_url"]

T = TypeVar("T")

PATIENCE_S = 10.0
PING_TIMEOUT_S = 2.0
# Whoever had something to write has waited for it before the database is closed; a store that hangs must not keep the
# process from stopping.
_FINISH_S = 2.0
_DISPOSE_S = 1.0


class Upgrade(NamedTuple):
    """The revisions of the tables before and after; both are the same when there was nothing to do."""

    before: str | None
    after: str


class Database:
    """A database at `url`: `sqlite:///relative`, `sqlite:////absolute` or `postgresql://user:password@host/name`.

    A read or write takes at most `patience_s`, waiting included. Raises `DatabaseUnusable` for an address that leads
    nowhere.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self._backend = backend_for(url, patience_s)
        self.dialect: Literal["sqlite", "postgresql"] = self._backend.dialect
        self._patience_s = patience_s
        self._complaints = Complaints(self.dialect)
        self._engines: tuple[AsyncEngine, ...] = ()
        self._write_lane: Lane | None = None
        self._read_lane: Lane | None = None
        self._probe: asyncio.Task[bool] | None = None

    async def open(self) -> None:
        """Connect, and bring the tables up to date. Raises `DatabaseUnusable`, also `DatabaseTooNew`."""
        with self._opening():
            await asyncio.to_thread(self._backend.prepare)
            self._engines = (writer, reader) = self._backend.engines()
            try:
                async with reader.connect() as connection:
                    revision = await connection.run_sync(_revision)
                if revision != HEAD:
                    await self.upgrade()
            except BaseException:
                await self.close()
                raise
        backend, complaints = self._backend, self._complaints
        self._write_lane = Lane(writer, backend.writers, writing=True, verify=backend.verify, complaints=complaints)
        self._read_lane = Lane(reader, backend.readers, writing=False, verify=backend.verify, complaints=complaints)

    async def upgrade(self) -> Upgrade:
        """Bring the tables up to date; other processes that want to do the same wait meanwhile.

        Also works without `open`. Raises `DatabaseUnusable`, also `DatabaseTooNew`.
        """
        from gateway.storage.migrate import bring_up_to_date

        with self._opening():
            await asyncio.to_thread(self._backend.prepare)
            engine, lock = self._backend.migrator()
            try:
                async with engine.begin() as connection:
                    await connection.execute(lock)
                    before = await connection.run_sync(bring_up_to_date)
            finally:
                await engine.dispose()
        if before != HEAD:
            get_logger().info("database_upgraded", dialect=self.dialect, before=before, after=HEAD)
        return Upgrade(before, HEAD)

    async def close(self) -> None:
        """Finish what was asked for, if that takes no longer than two seconds, and disconnect."""
        lanes = [lane for lane in (self._write_lane, self._read_lane) if lane is not None]
        self._write_lane = self._read_lane = None
        await asyncio.gather(*(lane.close(_FINISH_S) for lane in lanes))
        # A store that hangs must not keep the process from stopping.
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.wait({self._probe}, timeout=_DISPOSE_S)
        disposals = [asyncio.ensure_future(engine.dispose()) for engine in self._engines]
        self._engines = ()
        if disposals:
            await asyncio.wait(disposals, timeout=_DISPOSE_S)

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a transaction that sees one state of the database throughout, and can only read.

        Raises `StorageUnavailable`; what else `work` raises passes through. A cancelled caller does not cancel `work`.
        """
        return await self._lane(self._read_lane).run(work, self._patience_s)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a transaction, and return when it is committed and on the disk.

        `work` does nothing but database work: on SQLite all other writes wait for it. Raises `StorageUnavailable`,
        after which nothing was written, unless the connection was lost, or the patience over, during the commit
        itself. What else `work` raises passes through, `IntegrityError` among it. A cancelled caller does not cancel
        `work`.
        """
        return await self._lane(self._write_lane).run(work, self._patience_s)

    async def ping(self) -> bool:
        """Say whether the database answers within two seconds, and is still the one that was opened. Never raises."""
        if not self._engines:
            return False
        # A store that hangs holds one probe, and not one more for every time that somebody asks.
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._backend.answers(self._engines[-1]))
        done, _ = await asyncio.wait({self._probe}, timeout=PING_TIMEOUT_S)
        return bool(done) and not self._probe.cancelled() and self._probe.exception() is None and self._probe.result()

    def _lane(self, lane: Lane | None) -> Lane:
        if lane is None:
            raise StorageUnavailable("The database is not open", retry_after_s=RETRY_AFTER_S)
        return lane

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise DatabaseUnusable(f"{self._backend.title} cannot be used: {reason(error)}") from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
