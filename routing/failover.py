"""The attempts of one request: choose a target, ask it, and on failure decide what follows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from providers import errors
from routing.errors import AllRateLimited, AllTargetsBusy, ModelNotFound, NoTargetAvailable, RoutingError
from routing.policy import Next, Signal, verdict_for
from routing.retry import RetryBudget, retry_same_target
from routing.targets import Slot, Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from routing.breaker import Breaker
    from routing.plan import Plan

T = TypeVar("T")

MAX_ATTEMPTS = 5
MAX_WAIT_S = 20.0
UNSERVED_S = 60.0
COOL_DOWN_S = (1.0, 300.0)
DEFAULT_COOL_DOWN_S = 2.0
OVERLOADED_PAUSE_S = 0.25
LOOK_AGAIN_S = 0.1
# A timer of the loop may go off a little before the clock says so.
TIMER_SLACK_S = 0.002


class Observer(Protocol):
    """Hears what attempts come to; the gateway counts it."""

    def attempt(self, target: Target, outcome: str) -> None:
        """One attempt ended: `ok`, `cancelled` or the name of an error type."""

    def surprised(self, target: Target, error: BaseException) -> None:
        """An adapter raised something that is no `ProviderError`, which is most likely a bug of its own."""

    def retried(self, target: Target) -> None:
        """The same target is asked again."""

    def failed_over(self, source: Target, error: BaseException) -> None:
        """Another target is asked because `source` failed."""


class Failover:
    """Runs the attempts of one request over the targets of its plan.

    At most 5 attempts in all, until `deadline` (the running loop's clock). `caller` names the client's key for the
    breakers. After `run` returned, `slot` is the place held at the target that answered; the caller releases it.
    """

    def __init__(self, plan: Plan, *, caller: str, deadline: float, budget: RetryBudget, observer: Observer) -> None:
        self._strategy = plan.strategy
        self._model = plan.model
        self.caller = caller
        self._deadline = deadline
        self._budget = budget
        self._observer = observer
        self._pool = _pool(plan.targets)
        self._asked: set[Target] = set()
        self._failed: set[Target] = set()
        self._again: list[tuple[Target, float]] = []
        self._errors: list[Exception] = []
        self._last_target: Target | None = None
        self._held_up_until: float | None = None
        self.attempts = 0
        self.slot: Slot | None = None

    @property
    def answered_by(self) -> Target:
        """The target that holds the slot; only to be asked after `run` returned."""
        assert self.slot is not None  # noqa: S101 - run sets it before it returns.
        return self.slot.target

    async def run(self, attempt: Callable[[Target], Awaitable[T]]) -> T:
        """Return what `attempt(target)` gives at the first target that answers.

        Raises the last `ProviderError`, or a `RoutingError` when no target could be asked.
        """
        while True:
            slot = self.slot = await self._next_slot()
            target = slot.target
            if self._last_target not in (None, target):
                self._observer.failed_over(self._last_target, self._errors[-1])
            self._last_target = target
            self._asked.add(target)
            try:
                return await self._ask(target, attempt)
            except Exception as exc:  # noqa: BLE001 - whatever an adapter raises, the next target may answer.
                slot.release()
                self._after_failure(target, exc)
            except BaseException:
                slot.release()
                self._observer.attempt(target, "cancelled")
                raise

    async def _ask(self, target: Target, attempt: Callable[[Target], Awaitable[T]]) -> T:
        async def once() -> T:
            self.attempts += 1
            try:
                result = await attempt(target)
            except Exception as exc:
                record_failure(target, exc, self.caller, self._observer)
                raise
            record_success(target)
            return result

        def may_retry() -> bool:
            if self.attempts >= MAX_ATTEMPTS or not target.breaker.is_closed or not self._budget.take():
                return False
            self._observer.retried(target)
            return True

        try:
            return await once()
        except Exception as exc:
            if verdict_for(exc).next is not Next.RETRY_ONCE:
                raise
            return await retry_same_target(exc, once, may_retry)

    def _after_failure(self, target: Target, error: Exception) -> None:
        """Note what the failure means for the targets that are left; raise it when nothing can follow."""
        self._errors.append(error)
        now = target.provider.clock()
        following = verdict_for(error).next
        if following is Next.STOP:
            raise error
        if following is Next.LARGER_CONTEXT:
            self._pool = _with_larger_context(self._pool, target)
            if not self._pool:
                raise error
        if isinstance(error, errors.RateLimited):
            target.cooled_until = max(target.cooled_until, now + _cool_down_s(error))
            return
        if isinstance(error, errors.ModelNotServed):
            target.unserved_until = now + UNSERVED_S
        if isinstance(error, errors.Overloaded) and target not in self._failed:
            self._again.append((target, error.retry_after_s or OVERLOADED_PAUSE_S))
        self._failed.add(target)

    async def _next_slot(self) -> Slot:
        while self.attempts < MAX_ATTEMPTS and asyncio.get_running_loop().time() < self._deadline:
            now = self._pool[0].provider.clock()
            ready = [t for t in self._pool if t not in self._failed and t.is_open_to_requests(now)]
            if ready:
                target = ready[0] if len(ready) == 1 else self._pick(ready, now)
                return Slot(target)
            early = [t for t in self._pool if t not in self._failed and t.may_probe_early(now)]
            if early:
                return Slot(self._pick(early, now))
            if not await self._wait_for_others(now) and not await self._wait_for_one(now):
                break
        raise self._final_error()

    def _pick(self, ready: list[Target], now: float) -> Target:
        """Let the strategy pick; targets whose provider failed its last health check only when no other is left."""
        up = [target for target in ready if target.provider.is_up]
        return self._strategy.pick(up or ready, now)

    async def _wait_for_others(self, now: float) -> bool:
        """Wait a moment if a target is only kept busy with other models; as long in all as its first token may take."""
        held_up = [t for t in self._pool if t not in self._failed and t.is_held_up(now)]
        if not held_up:
            return False
        if self._held_up_until is None:
            self._held_up_until = now + max(t.provider.timeouts.first_token_s for t in held_up)
        if now >= self._held_up_until:
            return False
        await asyncio.sleep(LOOK_AGAIN_S)
        return True

    async def _wait_for_one(self, now: float) -> bool:
        """With nothing left to ask at once, wait for a limited or overloaded target, if that is soon enough."""
        waits = [(t.cooled_until - now, t) for t in self._pool if t not in self._failed and t.cooled_until > now]
        waits += [(wait, target) for target, wait in self._again]
        if not waits:
            return False
        wait_s, target = min(waits, key=lambda item: item[0])
        loop = asyncio.get_running_loop()
        if wait_s > MAX_WAIT_S or loop.time() + wait_s >= self._deadline:
            return False
        if target in self._asked and not self._budget.take():
            return False
        await asyncio.sleep(wait_s + TIMER_SLACK_S)
        self._again = [item for item in self._again if item[0] is not target]
        self._failed.discard(target)
        if target is self._last_target:
            self._observer.retried(target)
        return True

    def _final_error(self) -> Exception:
        """Name why there is no answer: the last failure that says more than a rate limit or a missing model does.

        That a target's dialect has no word for a field is only told when nothing else kept the others from answering.
        """
        if self._errors and all(isinstance(error, errors.NotExpressible) for error in self._errors):
            return self._errors[-1]
        lesser = (errors.RateLimited, errors.ModelNotServed, errors.NotExpressible)
        failures = [error for error in self._errors if not isinstance(error, lesser)]
        return failures[-1] if failures else _why_nobody(self._pool, self._model)


def record_success(target: Target) -> None:
    """Tell both breakers of a target that it answered."""
    target.breaker.record_success()
    target.provider.breaker.record_success()


def record_failure(target: Target, error: BaseException, caller: str, observer: Observer) -> None:
    """Tell the observer of a failed attempt, and both breakers of its target what it says about it."""
    observer.attempt(target, type(error).__name__)
    if not isinstance(error, errors.ProviderError):
        observer.surprised(target, error)
    verdict = verdict_for(error)
    _signal(target.breaker, verdict.target, caller)
    _signal(target.provider.breaker, verdict.provider, caller)


def _signal(breaker: Breaker, signal: Signal, caller: str) -> None:
    if signal is Signal.GOOD:
        breaker.record_success()
    elif signal is Signal.BAD:
        breaker.record_failure(caller)
    elif signal is Signal.TRIP:
        breaker.trip()


def _pool(targets: tuple[Target, ...]) -> list[Target]:
    """Return the targets that may be considered at all: a last resort only when there is nothing else."""
    pool = [t for t in targets if not t.provider.last_resort and (t.provider.is_up or not t.provider.auto)]
    return pool or [t for t in targets if t.provider.last_resort] or list(targets)


def _with_larger_context(pool: list[Target], target: Target) -> list[Target]:
    """Return the targets that are known to take more tokens than `target` does."""
    lengths = {t: t.provider.provider.context_length(t.model) for t in pool}
    own = lengths.get(target)
    return [t for t, length in lengths.items() if own is not None and length is not None and length > own]


def _cool_down_s(error: errors.RateLimited) -> float:
    shortest, longest = COOL_DOWN_S
    if error.quota_spent:
        return longest
    wait_s = DEFAULT_COOL_DOWN_S if error.retry_after_s is None else error.retry_after_s
    return min(longest, max(shortest, wait_s))


def _why_nobody(pool: list[Target], model: str) -> RoutingError:
    now = pool[0].provider.clock()
    pool = [target for target in pool if target.unserved_until <= now]
    if not pool:
        return ModelNotFound(model, [])
    waits = [target.retry_after_s(now) for target in pool]
    if all(target.cooled_until > now for target in pool):
        return AllRateLimited("Every provider of this model limits requests now", retry_after_s=min(waits))
    if all(not target.has_room for target in pool):
        return AllTargetsBusy("Every provider of this model is busy", retry_after_s=1.0)
    if any(target.is_held_up(now) for target in pool):
        return AllTargetsBusy(
            "The provider is answering with another model, which this one would unload", retry_after_s=5.0
        )
    return NoTargetAvailable("No provider of this model is available now", retry_after_s=max(1.0, min(waits)))
