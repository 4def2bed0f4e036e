"""The ModelRouter: knows the providers, resolves models and opens calls."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from routing.failover import Failover, Observer
from routing.plan import ModelEntry, Plan, Planner, Route
from routing.retry import RetryBudget
from routing.stream import StreamCall
from routing.targets import ProviderState, Target
from routing.whole import Answer, WholeCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from providers.base import AIProvider, CompletionRequest

BYTES_A_TOKEN = 4


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


class ModelRouter:
    """Picks a provider for each request by strategy and fails over to the next.

    `strategy` is the global one; `routes` may have their own. `default_route` answers requests that name no model.
    `clock` gives monotonic seconds and drives breakers, cool-downs and latencies; deadlines follow the event loop's
    clock. `prompt_tokens` estimates how much of a model's context a request takes; without it nobody looks.
    """

    def __init__(
        self,
        *,
        strategy: str = "priority",
        routes: Mapping[str, Route] | None = None,
        default_route: str | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        prompt_tokens: Callable[[CompletionRequest], int] | None = None,
    ) -> None:
        self.providers: dict[str, ProviderState] = {}
        self._planner = Planner(self.providers, strategy=strategy, routes=routes, default_route=default_route)
        self._observer: Observer = observer or _Deaf()
        self._clock = clock
        self._prompt_tokens = prompt_tokens
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

    def models(self, allowed: frozenset[str] | None = None) -> list[ModelEntry]:
        """List what clients may ask for, those that are `allowed` if that is given."""
        return self._planner.models(allowed)

    def model(self, name: str, allowed: frozenset[str] | None = None) -> ModelEntry:
        """Return one id that clients may ask for; raises `routing.errors.ModelNotFound`."""
        return self._planner.model(name, allowed)

    def is_listed(self, model: str) -> bool:
        """Whether `model` is in a list of the operator's or a provider's, and so may be a metric label."""
        return self._planner.is_listed(model)

    def plan(self, model: str | None, allowed: frozenset[str] | None = None) -> Plan:
        """Resolve `model`, among those that are `allowed` if that is given; raises `routing.errors.ModelNotFound`."""
        return self._planner.plan(model, allowed)

    def open_stream(self, plan: Plan, request: CompletionRequest, *, caller: str) -> StreamCall:
        """Start a streamed call; `caller` names the client's key. The returned call must be closed."""
        failover, deadline = self._failover(plan, request, caller)
        return StreamCall(request, failover, deadline, self._observer)

    def whole_call(self, plan: Plan, request: CompletionRequest, *, caller: str) -> WholeCall:
        """Prepare a call for a whole answer; `caller` names the client's key."""
        failover, deadline = self._failover(plan, request, caller)
        return WholeCall(request, failover, deadline, self._observer, self._clock)

    async def complete(self, plan: Plan, request: CompletionRequest, *, caller: str) -> Answer:
        """Ask for a whole answer. Raises the last `ProviderError`, or a `RoutingError` when nobody could be asked."""
        return await self.whole_call(plan, request, caller=caller).run()

    async def aclose(self) -> None:
        """Close every provider."""
        for state in self.providers.values():
            await state.provider.aclose()

    def _failover(self, plan: Plan, request: CompletionRequest, caller: str) -> tuple[Failover, float]:
        self._budget.count_request()
        if len(plan.targets) > 1 and self._prompt_tokens is not None:
            plan = self._with_room(plan, request, self._prompt_tokens)
        longest_s = max(target.provider.timeouts.total_s for target in plan.targets)
        deadline = asyncio.get_running_loop().time() + longest_s
        failover = Failover(plan, caller=caller, deadline=deadline, budget=self._budget, observer=self._observer)
        return failover, deadline

    def _with_room(
        self, plan: Plan, request: CompletionRequest, prompt_tokens: Callable[[CompletionRequest], int]
    ) -> Plan:
        """Leave out targets whose context is known and too small for the prompt, unless none would be left."""
        lengths = [target.provider.provider.context_length(target.model) for target in plan.targets]
        known = [length for length in lengths if length is not None]
        # Most prompts are so short that nobody has to look inside.
        if not known or request.json_bytes() // BYTES_A_TOKEN <= min(known):
            return plan
        tokens = prompt_tokens(request)
        fitting = [t for t, length in zip(plan.targets, lengths, strict=True) if length is None or length > tokens]
        return plan._replace(targets=tuple(fitting)) if fitting else plan
