"""The ModelRouter: knows the providers, resolves models and opens calls."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from routing.failover import Failover, Observer
from routing.plan import ModelEntry, Plan, Planner, Route
from routing.retry import RetryBudget
from routing.stream import StreamCall, total_timed_out
from routing.targets import ProviderState, Target
from routing.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from providers.base import AIProvider, CompletionRequest, CompletionResponse


class _Deaf:
    """The observer for a router that nobody counts."""

    def attempt(self, target: Target, outcome: str) -> None:
        """Ignore it."""

    def surprised(self, target: Target, error: BaseException) -> None:
        """Ignore it."""

    def retried(self, target: Target) -> None:
        """Ignore it."""

    def failed_over(self, source: Target, error: BaseException) -> None:
        """Ignore it."""


class Answer(NamedTuple):
    """A whole answer, the target that gave it, and how many attempts that took."""

    response: CompletionResponse
    target: Target
    attempts: int


class ModelRouter:
    """Picks a provider for each request by strategy and fails over to the next.

    `strategy` is the global one; `routes` may have their own. `default_route` answers requests that name no model.
    `clock` gives monotonic seconds and drives breakers, cool-downs and latencies; deadlines follow the event loop's
    clock.
    """

    def __init__(
        self,
        *,
        strategy: str = "priority",
        routes: Mapping[str, Route] | None = None,
        default_route: str | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.providers: dict[str, ProviderState] = {}
        self._planner = Planner(self.providers, strategy=strategy, routes=routes, default_route=default_route)
        self._observer: Observer = observer or _Deaf()
        self._clock = clock
        self._budget = RetryBudget(clock)

    def register_provider(self, name: str, provider: AIProvider, **settings: Any) -> ProviderState:
        """Add `provider` under `name`, replacing one of that name. `settings` are those of `ProviderState`.

        Its models become known with the next health check, or at once with `set_models`. Raises ValueError for a name
        with a slash, which could never be asked for as `provider/model`.
        """
        if not name or "/" in name:
            msg = f"a provider's name is not empty and has no slash: {name!r}"
            raise ValueError(msg)
        state = self.providers[name] = ProviderState(name, provider, clock=self._clock, **settings)
        self._planner.forget()
        return state

    def set_models(self, name: str, models: list[str]) -> None:
        """Take over a provider's discovered models; a closed list stays as it was configured."""
        state = self.providers[name]
        if not state.has_closed_list and state.models != tuple(models):
            state.models = tuple(models)
            self._planner.forget()

    def models(self) -> list[ModelEntry]:
        """List what clients may ask for."""
        return self._planner.models()

    def is_listed(self, model: str) -> bool:
        """Whether `model` is in a list of the operator's or a provider's, and so may be a metric label."""
        return self._planner.is_listed(model)

    def plan(self, model: str | None) -> Plan:
        """Resolve `model`; raises `routing.errors.ModelNotFound`."""
        return self._planner.plan(model)

    def open_stream(self, plan: Plan, request: CompletionRequest, *, caller: str) -> StreamCall:
        """Start a streamed call; `caller` names the client's key. The returned call must be closed."""
        failover, deadline = self._failover(plan, caller)
        return StreamCall(request, failover, deadline, self._observer)

    async def complete(self, plan: Plan, request: CompletionRequest, *, caller: str) -> Answer:
        """Ask for a whole answer. Raises the last `ProviderError`, or a `RoutingError` when nobody could be asked."""
        failover, deadline = self._failover(plan, caller)

        async def attempt(target: Target) -> CompletionResponse:
            limit = asyncio.get_running_loop().time() + target.provider.timeouts.total_s
            started = time.perf_counter()
            with Watchdog(min(deadline, limit), total_timed_out):
                answer = await target.provider.provider.chat_completion(request.for_model(target.model))
            target.whole.observe(time.perf_counter() - started, self._clock())
            self._observer.attempt(target, "ok")
            return answer

        try:
            response = await failover.run(attempt)
            target = failover.answered_by
            return Answer(response, target, failover.attempts)
        finally:
            if failover.slot is not None:
                failover.slot.release()

    async def aclose(self) -> None:
        """Close every provider."""
        for state in self.providers.values():
            await state.provider.aclose()

    def _failover(self, plan: Plan, caller: str) -> tuple[Failover, float]:
        self._budget.count_request()
        longest_s = max(target.provider.timeouts.total_s for target in plan.targets)
        deadline = asyncio.get_running_loop().time() + longest_s
        failover = Failover(plan, caller=caller, deadline=deadline, budget=self._budget, observer=self._observer)
        return failover, deadline
