"""Retries on one target: how many the router may spend, and how long tenacity waits before each."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, wait_exponential_jitter

from routing.policy import Next, verdict_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

WINDOW_S = 10
SHARE = 0.1
FLOOR = 10
RETRIES_PER_TARGET = 1


class RetryBudget:
    """Allows retries up to 10 % of the requests of the last 10 s, and never fewer than 10 in that time.

    It keeps a failing provider from being asked twice as often just when it can answer least (Google's SRE book,
    "Handling Overload", per-client retry budget). `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds: deque[list[int]] = deque()

    def count_request(self) -> None:
        """Count one request that may later want retries."""
        self._current()[1] += 1

    def take(self) -> bool:
        """Take one retry out of the budget; False when it is spent."""
        current = self._current()
        requests = sum(bucket[1] for bucket in self._seconds)
        retries = sum(bucket[2] for bucket in self._seconds)
        if retries >= max(FLOOR, SHARE * requests):
            return False
        current[2] += 1
        return True

    def _current(self) -> list[int]:
        second = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
            while self._seconds[0][0] <= second - WINDOW_S:
                self._seconds.popleft()
        return self._seconds[-1]


async def retry_same_target(
    first_error: Exception, attempt: Callable[[], Awaitable[T]], may_retry: Callable[[], bool]
) -> T:
    """Try `attempt` once more after `first_error`, with a jittered pause that tenacity keeps.

    `may_retry` is asked before the repetition and takes it from the budget. Raises the last error.
    tenacity comes in only here, after a failure, because its loop costs more than a whole good request may.
    """
    failures = [first_error]

    async def first_failed_then_attempt() -> T:
        if failures:
            raise failures.pop()
        return await attempt()

    def follows(state: RetryCallState) -> bool:
        # tenacity asks this before it looks at `stop`: the last failure must not take from the budget too.
        error = state.outcome.exception() if state.outcome is not None else None
        if error is None or state.attempt_number > RETRIES_PER_TARGET:
            return False
        return verdict_for(error).next is Next.RETRY_ONCE and may_retry()

    retrying = AsyncRetrying(
        stop=stop_after_attempt(1 + RETRIES_PER_TARGET),
        wait=wait_exponential_jitter(multiplier=0.05, max=1.0, jitter=0.1),
        retry=follows,
        sleep=asyncio.sleep,
        reraise=True,
    )
    return await retrying(first_failed_then_attempt)
