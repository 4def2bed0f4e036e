"""One process of several that share a Redis: `python -m tests.limits.program hammer|hold URL ...`."""

from __future__ import annotations

import asyncio
import sys

from gateway.limits.memory import MemoryCounters, MemoryLimiter
from gateway.limits.redis import RedisCounters, RedisLimiter
from gateway.limits.redis_link import RedisLink
from gateway.limits.windows import Window

# Answers without Redis would be counted as admitted by Redis, so they end the program.
_PATIENT_S = 60.0


def _never() -> None:
    sys.exit("Redis did not answer")


async def hammer(url: str, limit: int, clients: int, requests: int) -> None:
    """Ask with several clients at once for one key, and print how many were admitted. Begins at a line of input."""
    link = RedisLink(url, _never, patience_s=_PATIENT_S)
    limiter = RedisLimiter(link, MemoryLimiter())
    windows = (Window("key", "shared", limit, 600), Window("ip", "192.0.2.1", 10 * limit, 600))
    await limiter.peek(windows)
    print("ready", flush=True)  # noqa: T201 - this is how the test hears of it.
    await asyncio.to_thread(sys.stdin.readline)

    async def client() -> int:
        return sum([(await limiter.hit(windows)).allowed for _ in range(requests)])

    print(sum(await asyncio.gather(*(client() for _ in range(clients)))), flush=True)  # noqa: T201 - see above.
    await limiter.aclose()
    await link.aclose()


async def hold(url: str, slots: int, lease_s: float) -> None:
    """Take parallel slots and keep them until killed."""
    link = RedisLink(url, _never, patience_s=_PATIENT_S)
    counters = RedisCounters(link, MemoryCounters(), lease_s=lease_s, tick_s=lease_s / 10)
    for number in range(slots):
        await counters.enter("parallel:k", slots, f"holder-{number}")
    print("ready", flush=True)  # noqa: T201 - this is how the test hears of it.
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "hammer":
        asyncio.run(hammer(sys.argv[2], *map(int, sys.argv[3:])))
    else:
        asyncio.run(hold(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
