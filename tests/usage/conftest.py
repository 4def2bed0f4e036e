"""What the tests of usage share: a log in memory, and both databases."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import structlog

from gateway.observability import logs
from gateway.storage.database import Database, sqlite_url
from gateway.storage.usage import UsageTable
from tests.services.postgres import postgres, postgres_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

__all__ = ["database", "log", "postgres", "postgres_url", "table"]


@pytest.fixture
def log() -> Iterator[BytesIO]:
    """Write the gateway's log, as JSON, into memory, and leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = BytesIO()
    logs.configure("info", "json", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Open an empty database of each kind."""
    where = sqlite_url(tmp_path / "data.sqlite3") if request.param == "sqlite" else "postgres_url"
    opened = Database(where if request.param == "sqlite" else request.getfixturevalue(where))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def table(database: Database) -> UsageTable:
    """Return the ledger of an empty database."""
    return UsageTable(database)
