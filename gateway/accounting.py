"""What every request leaves behind: a log line, metrics, its key's counters, and an AI request also a usage record."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.context import CLIENT_GONE, AIFacts, RequestContext
from gateway.observability.logs import RequestLine, log_request, now
from gateway.usage.record import UsageRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.observability.metrics import Metrics
    from gateway.usage.prices import Prices
    from gateway.usage.recorder import UsageRecorder
    from providers.base import Usage
    from routing.targets import Target

_FRESH_S = 1.0


class Accounts:
    """Closes the account of each request. `clock_ms` gives Unix milliseconds."""

    def __init__(self, metrics: Metrics, recorder: UsageRecorder, prices: Prices, clock_ms: Callable[[], int]) -> None:
        self.metrics = metrics
        self.prices = prices
        self._recorder = recorder
        self._clock_ms = clock_ms

    async def written(self) -> None:
        """Wait until what was counted so far is in the database, for at most `_FRESH_S`, so that a report has it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FRESH_S):
                await self._recorder.flush()

    def answered(
        self, context: RequestContext, target: Target | None, attempts: int, usage: Usage, ttft_s: float | None
    ) -> None:
        """Note what an AI request came to, however it ended; `target` is None when no provider answered."""
        facts = context.ai = context.ai or AIFacts()
        facts.attempts = attempts
        facts.ttft_s = ttft_s
        if target is None:
            return
        facts.provider, facts.model, facts.usage = target.provider.name, target.model, usage
        facts.cost_nano = self.prices.cost_nano(facts.provider, facts.model, usage)
        self.metrics.answered(target, usage, ttft_s)

    def finished(self, context: RequestContext) -> None:
        """Write down a request whose last byte is out, or whose client has left."""
        seconds = time.perf_counter() - context.started
        if context.client_gone:
            context.status = CLIENT_GONE
            self.metrics.client_disconnects.labels(context.route or "other").inc()
        self.metrics.request_finished(context.route, context.method, context.status, seconds)
        self.take_down(context, seconds)
        self._log_line(context, seconds)

    def take_down(self, context: RequestContext, seconds: float) -> None:
        """Count the request for its key and, if it was an AI request, leave its usage record."""
        principal = context.principal
        if principal is None:
            return
        now = self._clock_ms()
        # A client that leaves has not met with an error; a stream that broke has, although its status is 200.
        error = (context.status >= 400 and not context.client_gone) or context.error_code is not None
        self._recorder.count(principal.id, now, error=error)
        facts = context.ai
        if facts is None:
            return
        usage = facts.usage
        self._recorder.record(
            UsageRecord(
                at=now,
                request_id=context.request_id,
                key_id=principal.id,
                key_name=principal.name,
                route=context.route or "",
                provider=facts.provider,
                model=facts.model,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                cached_tokens=usage.cached_tokens,
                reasoning_tokens=usage.reasoning_tokens,
                estimated=usage.estimated,
                status=context.status,
                error_code=context.error_code,
                attempts=facts.attempts,
                latency_ms=round(seconds * 1000, 3),
                ttft_ms=None if facts.ttft_s is None else round(facts.ttft_s * 1000, 3),
                cost_nano=facts.cost_nano,
                currency=None if facts.cost_nano is None else self.prices.currency,
            )
        )

    def _log_line(self, context: RequestContext, seconds: float) -> None:
        principal = context.principal
        line = RequestLine(
            now(),
            "info",
            "request",
            context.request_id,
            context.method,
            context.path,
            context.status,
            round(seconds * 1000, 2),
            principal.name if principal is not None else None,
            context.client_ip,
        )
        if context.error_code is not None:
            line.code = context.error_code
        ai = context.ai
        if ai is not None:
            line.provider = ai.provider
            line.model = ai.model
            line.attempts = ai.attempts
            line.ttft_ms = None if ai.ttft_s is None else round(ai.ttft_s * 1000, 2)
            line.prompt_tokens = ai.usage.prompt_tokens
            line.completion_tokens = ai.usage.completion_tokens
        log_request(line)
