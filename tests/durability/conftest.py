"""What the tests of durability share: a PostgreSQL, and a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.services.postgres import postgres, postgres_url
from tests.upstream import Upstream

__all__ = ["postgres", "postgres_url"]


@pytest.fixture
async def a() -> AsyncIterator[Upstream]:
    """The provider of all answers."""
    async with Upstream() as upstream:
        yield upstream
