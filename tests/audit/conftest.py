"""A database of each kind, and what an intruder who can write to it would do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.storage.audit import AuditTable
from gateway.storage.database import Database, sqlite_url
from tests.gateway.conftest import log, restored_logging
from tests.services.postgres import postgres, postgres_url

__all__ = ["log", "postgres", "postgres_url", "restored_logging"]

Intrude = Callable[..., Awaitable[None]]

_NO_TRIGGERS = {
    "sqlite": [f"DROP TRIGGER audit_log_no_{what}" for what in ("update", "delete", "replace")],
    "postgresql": [f"DROP TRIGGER audit_log_no_{what} ON audit_log" for what in ("change", "truncate")],
}


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of an empty database of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "lunarbit.sqlite3")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def database(database_url: str, log: BytesIO) -> AsyncIterator[Database]:
    """Open the database."""
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def table(database: Database) -> AuditTable:
    """Return the audit log of the database."""
    return AuditTable(database)


@pytest.fixture
def intrude(database: Database) -> Intrude:
    """Run statements as somebody who may write to the database, and drops the triggers first."""

    async def run(*statements: str) -> None:
        async def work(connection: AsyncConnection) -> None:
            for statement in (*_NO_TRIGGERS[database.dialect], *statements):
                await connection.execute(text(statement))

        await database.write(work)

    return run
