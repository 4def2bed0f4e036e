"""A Redis, links to it, and limiters of both kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from gateway.limits.counters import Counters
from gateway.limits.memory import MemoryCounters, MemoryLimiter
from gateway.limits.redis import RedisCounters, RedisLimiter
from gateway.limits.redis_link import RedisLink
from tests.limits.clock import TurnedClock
from tests.services.redis import redis_process, redis_url

__all__ = ["redis_process", "redis_url"]

# So long that a busy machine never makes a test answer locally that is about Redis.
PATIENT_S = 30.0


class Process:
    """What one gateway process has: a link, and what goes over it. `fallbacks` counts the answers without Redis."""

    def __init__(self, url: str, patience_s: float, lease_s: float) -> None:
        self.fallbacks = 0
        self.link = RedisLink(url, self._fell_back, patience_s=patience_s)
        self.limiter = RedisLimiter(self.link, MemoryLimiter())
        self.counters = RedisCounters(self.link, MemoryCounters(), lease_s=lease_s, tick_s=0.05)

    def _fell_back(self) -> None:
        self.fallbacks += 1

    async def aclose(self) -> None:
        """Close everything in order."""
        await self.counters.aclose()
        await self.limiter.aclose()
        await self.link.aclose()


NewProcess = Callable[..., Process]


@pytest.fixture
def clock() -> TurnedClock:
    """A clock that the test turns."""
    return TurnedClock()


@pytest.fixture
async def new_process(redis_url: str) -> AsyncIterator[NewProcess]:
    """Make what one process of several has; closed at the end."""
    async with AsyncExitStack() as stack:

        def make(url: str = redis_url, *, patience_s: float = PATIENT_S, lease_s: float = 60.0) -> Process:
            process = Process(url, patience_s, lease_s)
            stack.push_async_callback(process.aclose)
            return process

        yield make


@pytest.fixture(params=["memory", "redis"])
def counters(request: pytest.FixtureRequest) -> Counters:
    """Counters of each kind in turn."""
    if request.param == "memory":
        return MemoryCounters()
    make: NewProcess = request.getfixturevalue("new_process")
    return make().counters
