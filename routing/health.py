"""Background health checks and discovery of models: what `/ai/status` and the router know without asking anybody."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from routing.router import ModelRouter
    from routing.targets import ProviderState

CHECK_EVERY_S = 15.0
DISCOVER_EVERY_S = 60.0
CHECK_TIMEOUT_S = 15.0
LOOK_FOR_NEW_EVERY_S = 1.0
JITTER = 0.2


class HealthMonitor:
    """Asks each provider about every 15 s whether it is healthy, and about every minute for its models.

    `on_failure` hears of every check that failed, with the provider's name and the error (None when the provider said
    so itself). Run `first_round` once, then `run` as a background task until it is cancelled.
    """

    def __init__(
        self,
        router: ModelRouter,
        on_failure: Callable[[str, Exception | None], None],
        *,
        check_every_s: float = CHECK_EVERY_S,
        discover_every_s: float = DISCOVER_EVERY_S,
    ) -> None:
        self._router = router
        self._on_failure = on_failure
        self._check_every_s = check_every_s
        self._rounds_per_discovery = max(1, round(discover_every_s / check_every_s))
        self._rng = random.Random()  # noqa: S311 - jitter is no secret.

    async def first_round(self, timeout_s: float) -> None:
        """Check and discover all providers at once; return after `timeout_s` although some have not answered."""
        checks = [asyncio.create_task(self._check(state, discover=True)) for state in self._states()]
        if checks:
            _, late = await asyncio.wait(checks, timeout=timeout_s)
            for check in late:
                check.cancel()
            if late:
                await asyncio.wait(late)

    async def run(self) -> None:
        """Check every provider on its own schedule until cancelled; those that are registered later join."""
        watched: set[ProviderState] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                for state in self._states():
                    if state not in watched:
                        watched.add(state)
                        group.create_task(self._watch(state))
                await asyncio.sleep(LOOK_FOR_NEW_EVERY_S)

    def _states(self) -> list[ProviderState]:
        return list(self._router.providers.values())

    async def _watch(self, state: ProviderState) -> None:
        rounds = 0
        # A provider that the first round did not reach is asked soon, everybody else after a spread interval.
        delay_s = 0.0 if state.healthy is None else self._check_every_s * self._rng.random()
        while True:
            await asyncio.sleep(delay_s)
            if self._router.providers.get(state.name) is not state:
                return  # Another provider took its name.
            await self._check(state, discover=rounds % self._rounds_per_discovery == 0 or not state.models)
            rounds += 1
            delay_s = self._check_every_s * self._rng.uniform(1 - JITTER, 1 + JITTER)

    async def _check(self, state: ProviderState, *, discover: bool) -> None:
        error: Exception | None = None
        healthy = False
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                healthy = await state.provider.is_healthy()
                if healthy and discover and not state.has_closed_list:
                    self._router.set_models(state.name, await state.provider.get_models())
        except Exception as exc:  # noqa: BLE001 - an adapter of any make must not end the monitor.
            error = exc
        state.healthy = healthy
        if not healthy:
            state.breaker.record_failure(None)
        elif state.breaker.is_closed:
            state.breaker.record_success()
        elif state.breaker.may_probe():
            state.breaker.start_probe()
            state.breaker.record_success()
        if not healthy or error is not None:
            self._on_failure(state.name, error)
