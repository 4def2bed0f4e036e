"""What the tests of storage share: both databases, and a log in memory."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import structlog

from gateway.observability import logs
from gateway.storage.database import Database, sqlite_url
from tests.services.postgres import postgres, postgres_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

__all__ = ["database", "database_url", "log", "postgres", "postgres_url"]


@pytest.fixture(autouse=True)
def log() -> Iterator[BytesIO]:
    """Write the log, as JSON, into memory, and leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = BytesIO()
    logs.configure("info", "json", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty database of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "data.sqlite3")
    return str(request.getfixturevalue("postgres_url"))


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Open an empty database of each kind."""
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()
