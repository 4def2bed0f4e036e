"""An upstream and the pooled connections to it."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest

from providers.transport import Transport
from tests.upstream import Upstream


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    """A model provider on loopback."""
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """Connections, closed at the end."""
    pool = Transport()
    yield pool
    await pool.aclose()


@pytest.fixture(autouse=True, scope="module")
def _nothing_unclosed() -> Iterator[None]:
    """Collect what a module left, so that a resource that nobody closed is reported in that module."""
    yield
    gc.collect()
