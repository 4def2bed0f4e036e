"""A call for a whole answer: the attempts, and what is known of them while it is under way."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from routing.stream import total_timed_out
from routing.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from providers.base import CompletionRequest, CompletionResponse
    from routing.failover import Failover, Observer
    from routing.targets import Target


class Answer(NamedTuple):
    """A whole answer, the target that gave it, and how many attempts that took."""

    response: CompletionResponse
    target: Target
    attempts: int


class WholeCall:
    """One request for a whole answer; `run` it once. `attempts` grows meanwhile, and is still known after a failure."""

    def __init__(
        self,
        request: CompletionRequest,
        failover: Failover,
        deadline: float,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._request = request
        self._failover = failover
        self._deadline = deadline
        self._observer = observer
        self._clock = clock

    @property
    def attempts(self) -> int:
        """How many attempts were made so far."""
        return self._failover.attempts

    async def run(self) -> Answer:
        """Return the answer. Raises the last `ProviderError`, or a `RoutingError` when nobody could be asked."""
        failover = self._failover
        try:
            response = await failover.run(self._attempt)
            return Answer(response, failover.answered_by, failover.attempts)
        finally:
            if failover.slot is not None:
                failover.slot.release()

    async def _attempt(self, target: Target) -> CompletionResponse:
        limit = asyncio.get_running_loop().time() + target.provider.timeouts.total_s
        started = time.perf_counter()
        with Watchdog(min(self._deadline, limit), total_timed_out):
            answer = await target.provider.provider.chat_completion(self._request.for_model(target.model))
        target.whole.observe(time.perf_counter() - started, self._clock())
        self._observer.attempt(target, "ok")
        return answer
