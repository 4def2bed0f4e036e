"""What the tests of the edge share: a log in memory, and one gateway with the echo provider."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio
import structlog

from gateway.observability import logs
from tests.gateway.edge import edge_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Leave the process's logging as it was, since `logs.configure` is for a whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def log(restored_logging: None) -> BytesIO:
    """Write the gateway's log, as JSON at level info, into memory."""
    stream = BytesIO()
    logs.configure("info", "json", stream)
    return stream


@pytest_asyncio.fixture
async def client(tmp_path: Path, log: BytesIO) -> AsyncIterator[httpx.AsyncClient]:
    """Call a gateway in development that has the echo provider and a known admin key."""
    async with edge_client(tmp_path) as running:
        yield running
