"""PostgreSQL through asyncpg, which reads the address by itself, so that all of libpq's options for TLS work."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

import asyncpg  # type: ignore[import-untyped]  # It has no annotations for others to see.
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from gateway.storage.backends import MIGRATION_LOCK_S

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncEngine

_DRIVER = "postgresql+asyncpg://"
_FOR_PING = 1
# Any number that nobody else uses for an advisory lock in the same database.
_MIGRATION_LOCK = 0x6C756E6172626974


class PostgresBackend:
    """The server at `dsn`. No statement takes longer than `patience_s`, and half of that to wait for a lock."""

    dialect: Literal["postgresql"] = "postgresql"
    title = "The PostgreSQL database"
    writers = 5
    readers = 4

    def __init__(self, dsn: str, patience_s: float) -> None:
        self._dsn = dsn
        self._patience_s = patience_s

    def prepare(self) -> None:
        """Do nothing: the server is there already."""

    def engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        """Return the engine for writing and the one for reading, which share their connections."""
        size = self.writers + self.readers + _FOR_PING
        engine = create_async_engine(
            _DRIVER,
            async_creator=partial(self._connect, self._patience_s, self._patience_s / 2),
            isolation_level="READ COMMITTED",
            poolclass=AsyncAdaptedQueuePool,
            pool_size=size,
            max_overflow=0,
            # Connections that a restart of the server has cut are noticed before they are used.
            pool_pre_ping=True,
            pool_use_lifo=True,
            hide_parameters=True,
        )
        return engine, engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def migrator(self) -> tuple[AsyncEngine, Executable]:
        """Return an engine whose statements may take long, and the statement that waits for other processes."""
        creator = partial(self._connect, None, MIGRATION_LOCK_S)
        engine = create_async_engine(_DRIVER, async_creator=creator, poolclass=NullPool, hide_parameters=True)
        return engine, text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")

    async def verify(self) -> None:
        """Do nothing: a connection leads to one database for as long as it lives."""

    async def answers(self, reader: AsyncEngine) -> bool:
        """Read one of our tables."""
        try:
            async with reader.connect() as connection:
                await connection.execute(text("SELECT count FROM audit_head"))
        except (SQLAlchemyError, OSError):
            return False
        return True

    async def _connect(self, statement_s: float | None, lock_s: float) -> Any:
        settings = {
            "application_name": "lunarbit",
            "statement_timeout": str(_ms(statement_s or 0)),
            "lock_timeout": str(_ms(lock_s)),
            "idle_in_transaction_session_timeout": str(_ms(MIGRATION_LOCK_S)),
        }
        # What the address says goes first.
        told = parse_qs(urlsplit(self._dsn).query)
        try:
            return await asyncpg.connect(
                self._dsn,
                timeout=self._patience_s / 2,
                # For a server that does not answer any more; one that does is faster with its own timeout.
                command_timeout=None if statement_s is None else statement_s + 1,
                server_settings={name: value for name, value in settings.items() if name not in told},
            )
        except ValueError:
            # The driver's message quotes the address, and with it perhaps a part of the password.
            raise ConnectionError("the driver cannot read its address, or a file that this names") from None


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
