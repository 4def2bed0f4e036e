"""What one AI request may use of its key's tokens, money and parallel requests.

Before the call an estimate of its tokens is reserved, afterwards the truth takes its place; so requests at the same
time cannot together pass a limit by more than each its own last answer. A stream that has used up what was reserved
asks for more, and ends when there is none.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from gateway.errors import BudgetExceeded, InvalidRequest, RateLimitExceeded, StorageUnavailable, TokenLimitExceeded
from gateway.limits.counters import Quota
from gateway.tokens import estimated_tokens, estimated_usage
from providers.operations import EMBEDDINGS, TextRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.auth.principal import Budget, KeyLimits, Principal
    from gateway.limits.counters import Counters
    from providers.base import CompletionRequest

T = TypeVar("T")

# What is reserved for an answer whose length nobody limits, and what a stream takes in each further step.
ASSUMED_ANSWER_TOKENS = 1_000
STEP_TOKENS = 256
_SETTLE_S = 2.0
# How long a request waits for the ledger, and for how long the next ones do not.
_LEDGER_S = 1.0
_LEDGER_PAUSE_S = 5.0


class Spent(Protocol):
    """What the ledger says that a key has used."""

    async def tokens_used(self, key_id: str, day: str) -> int:
        """Return the tokens of one day (`YYYY-MM-DD`, UTC)."""
        ...

    async def spent_nano(self, key_id: str, from_day: str) -> int:
        """Return the cost since the beginning of a day, in billionths."""
        ...


class Unwritten(Protocol):
    """What this process has counted and the ledger may not have yet."""

    def unwritten(self, key_id: str, day: str) -> tuple[int, int]:
        """Return tokens, and cost in billionths, of one day (`YYYY-MM-DD`, UTC)."""
        ...

    async def between_writes(self, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` returns when nothing is written meanwhile; it may be run more than once."""
        ...


class Allowances:
    """Gives AI requests their allowance.

    `clock_ms` gives Unix milliseconds; `on_refused` hears the scope of each refusal.
    """

    def __init__(
        self,
        counters: Counters,
        spent: Spent,
        pending: Unwritten,
        *,
        clock_ms: Callable[[], int],
        on_refused: Callable[[str], None],
    ) -> None:
        self._counters = counters
        self._spent = spent
        self._pending = pending
        self._clock_ms = clock_ms
        self._on_refused = on_refused
        self._ask_again_at = 0.0

    async def begin(self, principal: Principal | None, request: CompletionRequest) -> Allowance | None:
        """Reserve what `request` may use; None for a key that has no such limits.

        A key's `max_tokens_per_request` is put into a request that names no maximum. Raises `InvalidRequest`,
        `BudgetExceeded`, `TokenLimitExceeded`, `RateLimitExceeded`.
        """
        if principal is None:
            return None
        limits = principal.limits
        if limits.max_tokens_per_request is not None and request.operation != EMBEDDINGS:
            _cap(request, limits.max_tokens_per_request)
        if limits.tokens_per_day is None and limits.max_parallel is None and limits.budget is None:
            return None
        allowance = Allowance(self._counters, self._clock_ms)
        try:
            await self._reserve(allowance, principal.id, limits, request)
        except BaseException:
            await allowance.settle(0, None)
            raise
        return allowance

    async def _reserve(self, allowance: Allowance, key_id: str, limits: KeyLimits, request: CompletionRequest) -> None:
        now = datetime.fromtimestamp(self._clock_ms() / 1000, UTC)
        if limits.budget is not None:
            allowance.budget = await self._budget(key_id, limits.budget, now)
        if limits.max_parallel is not None:
            await self._enter(allowance, f"parallel:{key_id}", limits.max_parallel)
        if limits.tokens_per_day is not None:
            allowance.tokens = await self._tokens(key_id, limits.tokens_per_day, now)
            await self._take(allowance, request)

    async def _budget(self, key_id: str, budget: Budget, now: datetime) -> Quota:
        start, end = _period(budget.period, now)
        quota = Quota(f"budget:{key_id}:{budget.period}:{start}", budget.nano, _ms(end))
        if not await self._counters.knows(quota):
            today = f"{now:%Y-%m-%d}"
            spent = partial(self._spent.spent_nano, key_id, start)
            await self._start(quota, spent, lambda: self._pending.unwritten(key_id, today)[1])
        used = await self._counters.used(quota)
        if used < budget.nano:
            return quota
        self._on_refused("budget")
        amount = f"{budget.nano / 10**9:g} {budget.currency}"
        until = "" if end is None else f" until {end:%Y-%m-%dT%H:%M:%SZ}"
        raise BudgetExceeded(
            f"The budget of this key, {amount} ({budget.period}), is spent{until}",
            details={"limit": budget.nano / 10**9, "currency": budget.currency, "period": budget.period},
        )

    async def _tokens(self, key_id: str, limit: int, now: datetime) -> Quota:
        day, end = _period("day", now)
        quota = Quota(f"tokens:{key_id}:{day}", limit, _ms(end))
        if not await self._counters.knows(quota):
            used = partial(self._spent.tokens_used, key_id, day)
            await self._start(quota, used, lambda: self._pending.unwritten(key_id, day)[0])
        return quota

    async def _start(self, quota: Quota, written: Callable[[], Awaitable[int]], unwritten: Callable[[], int]) -> None:
        """Begin to count where the ledger ends; while there is no database, from nothing, so that traffic goes on."""
        now = time.monotonic()
        if now < self._ask_again_at:
            return

        async def all_used() -> int:
            return await written() + unwritten()

        try:
            async with asyncio.timeout(_LEDGER_S):
                before = await self._pending.between_writes(all_used)
        except (StorageUnavailable, TimeoutError):
            self._ask_again_at = now + _LEDGER_PAUSE_S
            return
        # What was counted here while the ledger was away is in it by now, or waits to be.
        await self._counters.start(quota, before)

    async def _enter(self, allowance: Allowance, key: str, limit: int) -> None:
        holder = secrets.token_hex(8)
        if not await self._counters.enter(key, limit, holder):
            self._on_refused("parallel")
            msg = f"This key may have {limit} AI requests at once; wait for one of them to end"
            raise RateLimitExceeded(msg, retry_after_s=1, details={"limit": limit, "window": None, "scope": "parallel"})
        allowance.slot = (key, holder)

    async def _take(self, allowance: Allowance, request: CompletionRequest) -> None:
        quota = allowance.tokens
        if quota is None:
            return
        allowance.prompt_tokens = estimated_usage(request, 0).prompt_tokens
        wanted = max(1, allowance.prompt_tokens)
        if request.operation != EMBEDDINGS:
            wanted += _asked_tokens(request) or ASSUMED_ANSWER_TOKENS
        allowance.granted = await self._counters.take(quota, wanted)
        if allowance.granted == 0:
            self._on_refused("tokens")
            raise _tokens_spent(quota, self._clock_ms())


class Allowance:
    """What one request has reserved. `note` tells of its progress, `settle` of its end."""

    __slots__ = ("_asking", "_clock_ms", "_counters", "_done", "budget", "granted", "prompt_tokens", "slot", "tokens")

    def __init__(self, counters: Counters, clock_ms: Callable[[], int]) -> None:
        self._counters = counters
        self._clock_ms = clock_ms
        self._asking: asyncio.Task[None] | None = None
        self._done = False
        self.budget: Quota | None = None
        self.tokens: Quota | None = None
        self.slot: tuple[str, str] | None = None
        self.granted = 0
        self.prompt_tokens = 0

    def note(self, answer_chars: int, stop: Callable[[Exception], None]) -> None:
        """Hear how many characters the answer has so far; `stop` gets a `TokenLimitExceeded` when that is too many."""
        if self.tokens is None or self.prompt_tokens + estimated_tokens(answer_chars) <= self.granted:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._extend(self.tokens, stop))

    async def _extend(self, quota: Quota, stop: Callable[[Exception], None]) -> None:
        more = await self._counters.take(quota, STEP_TOKENS)
        self.granted += more
        if more == 0:
            stop(_tokens_spent(quota, self._clock_ms()))

    async def settle(self, tokens: int, cost_nano: int | None) -> None:
        """Put the truth in place of what was reserved, and leave the slot. A second call does nothing.

        Finishes also while being cancelled.
        """
        if self._done:
            return
        self._done = True
        # A server that stops cancels its requests in a way that no scope shields from, so a task of its own does it.
        settling = asyncio.get_running_loop().create_task(self._settle(tokens, cost_nano))
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _SETTLE_S):
            await asyncio.wait([settling])

    async def _settle(self, tokens: int, cost_nano: int | None) -> None:
        if self._asking is not None and not self._asking.done():
            await asyncio.wait([self._asking])
        if self.slot is not None:
            await self._counters.leave(*self.slot)
        if self.tokens is not None and tokens != self.granted:
            await self._counters.adjust(self.tokens, tokens - self.granted)
        if self.budget is not None and cost_nano:
            await self._counters.adjust(self.budget, cost_nano)


def _cap(request: CompletionRequest, most: int) -> None:
    """Hold a request to its key's longest answer, all choices together.

    One that names no length, or had it filled in, gets this one. What a provider could take for no limit is refused.
    """
    request.is_capped = True
    choices = _choices(request)
    # Some providers take "5" and 5.0 for five choices.
    for field in ("n", "best_of") if isinstance(request, TextRequest) else ("n",):
        if choices > most or type(request.get(field, 1)) not in (int, type(None)):
            raise _over(field, most)
    named = [
        field for field in request.length_fields if request.get(field) is not None and field not in request.defaulted
    ]
    for field in named:
        asked = request.get(field)
        if type(asked) is not int or not 1 <= asked <= most // choices:
            raise _over(field, most // choices)
    if not named and (_asked_tokens(request) or math.inf) > most:
        request.limit_answer(most // choices)


def _over(field: str, most: int) -> InvalidRequest:
    rule = f"must be a whole number from 1 to {most} for this key"
    return InvalidRequest(f"{field}: {rule}", errors=[(field, rule)], param=field)


def _choices(request: CompletionRequest) -> int:
    if isinstance(request, TextRequest):
        return request.choices
    asked = request.get("n")
    return asked if isinstance(asked, int) and asked > 0 else 1


def _asked_tokens(request: CompletionRequest) -> int | None:
    """Return the longest answer that the request allows, in tokens; None if it does not say."""
    for field in request.length_fields:
        asked = request.get(field)
        if isinstance(asked, int) and asked > 0:
            return asked * _choices(request)
    return None


def _tokens_spent(quota: Quota, now_ms: int) -> TokenLimitExceeded:
    wait_s = (quota.ends_at_ms - now_ms) / 1000
    msg = f"This key has used its {quota.limit} tokens of today; the next day (UTC) brings new ones"
    details = {"limit": quota.limit, "window": 86_400, "scope": "tokens"}
    return TokenLimitExceeded(msg, retry_after_s=wait_s, details=details)


def _period(period: str, now: datetime) -> tuple[str, datetime | None]:
    """Return the first day (`YYYY-MM-DD`, UTC) of the period that holds `now`, and its end; `total` has none."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        start, end = day, day + timedelta(days=1)
    elif period == "week":
        start = day - timedelta(days=day.weekday())
        end = start + timedelta(days=7)
    elif period == "month":
        start = day.replace(day=1)
        end = (start + timedelta(days=31)).replace(day=1)
    else:
        return "0001-01-01", None
    return f"{start:%Y-%m-%d}", end


def _ms(end: datetime | None) -> int:
    """Return the end of a period in Unix milliseconds; of one without an end, what no clock will show."""
    return 2**53 if end is None else int(end.timestamp() * 1000)
