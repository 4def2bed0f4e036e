"""A circuit breaker: keeps requests away from a target that fails, and lets one through to see whether it recovered."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

State = Literal["closed", "open", "half_open"]

CONSECUTIVE_FAILURES = 5
DISTINCT_CALLERS = 2
WINDOW_S = 30
WINDOW_MIN_CALLS = 20
WINDOW_FAILURE_SHARE = 0.5
FIRST_OPEN_S = 10.0
MAX_OPEN_S = 300.0
JITTER = 0.2
CALM_S = 60.0


class Breaker:
    """Opens after 5 failures in a row, or when half of at least 20 calls within 30 s failed.

    Failures in a row count only if they come from two callers, or from health checks (caller None), so that the poison
    request of one client cannot take a target from all. It stays open for 10 s, doubled each time it opens again soon,
    at most 300 s, +-20 %. Then one probe is let through: it closes the breaker or opens it anew. `clock` gives
    monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random | None = None) -> None:
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter is no secret.
        self._open_until: float | None = None
        self._opened_times = 0
        self._closed_at = clock() - CALM_S
        self._probing = False
        self._probes = 0
        self._early_probe_spent = False
        self._failures_in_a_row = 0
        self._failing_callers: set[str] = set()
        self._health_failed = False
        self._window: dict[int, list[int]] = {}

    @property
    def state(self) -> State:
        """`closed`, `open`, or `half_open` while a probe is under way."""
        if self._open_until is None:
            return "closed"
        return "half_open" if self._probing else "open"

    @property
    def is_closed(self) -> bool:
        """Whether requests pass freely."""
        return self._open_until is None

    def retry_after_s(self) -> float:
        """Return the seconds until the next probe may pass; 0 when closed or due."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._clock())

    def may_probe(self, *, early: bool = False) -> bool:
        """Say whether one request may pass although the breaker is open.

        `early` asks for the single probe that each opening allows before its time is over, for the case that no
        other target is left.
        """
        if self._open_until is None or self._probing:
            return False
        return self._clock() >= self._open_until or (early and not self._early_probe_spent)

    def start_probe(self) -> int:
        """Mark the probe as under way; its success, failure or `abandon_probe`, given what this returns, ends it."""
        self._probing = True
        self._early_probe_spent = True
        self._probes += 1
        return self._probes

    def abandon_probe(self, probe: int) -> None:
        """End a probe that told nothing, for example because its client left; one that is over already stays so."""
        if self._probing and probe == self._probes:
            self._probing = False
            self._early_probe_spent = False

    def record_success(self) -> None:
        """Count a good call; as the probe's, it closes the breaker.

        A call that was under way when the breaker opened says nothing about what made it open.
        """
        if self._open_until is not None and not self._probing:
            return
        if self._failures_in_a_row:
            self._failures_in_a_row = 0
            self._failing_callers.clear()
            self._health_failed = False
        self._bucket()[0] += 1
        if self._open_until is not None:
            self._open_until = None
            self._probing = False
            self._closed_at = self._clock()
            self._window.clear()

    def record_failure(self, caller: str | None) -> None:
        """Count a failed call of `caller` (None for a health check); may open the breaker."""
        self._failures_in_a_row += 1
        if caller is None:
            self._health_failed = True
        elif len(self._failing_callers) < DISTINCT_CALLERS:
            self._failing_callers.add(caller)
        self._bucket()[1] += 1
        if self._probing or (self._open_until is None and self._should_open()):
            self.trip()

    def trip(self) -> None:
        """Open the breaker now, or anew after a probe; one that is open stays so no longer for a late failure."""
        if self._open_until is not None and not self._probing:
            return
        now = self._clock()
        soon_again = self._open_until is not None or now - self._closed_at < CALM_S
        self._opened_times = self._opened_times + 1 if soon_again else 0
        length = min(MAX_OPEN_S, FIRST_OPEN_S * 2.0 ** min(self._opened_times, 10))
        self._early_probe_spent = self._probing
        self._probing = False
        self._open_until = now + length * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _should_open(self) -> bool:
        if self._failures_in_a_row >= CONSECUTIVE_FAILURES and (
            self._health_failed or len(self._failing_callers) >= DISTINCT_CALLERS
        ):
            return True
        oldest = int(self._clock()) - WINDOW_S
        recent = [counts for second, counts in self._window.items() if second > oldest]
        calls = sum(good + bad for good, bad in recent)
        return calls >= WINDOW_MIN_CALLS and sum(bad for _, bad in recent) >= WINDOW_FAILURE_SHARE * calls

    def _bucket(self) -> list[int]:
        """Return the [good, bad] counts of the current second, dropping those that left the window."""
        second = int(self._clock())
        bucket = self._window.get(second)
        if bucket is None:
            self._window = {at: counts for at, counts in self._window.items() if at > second - WINDOW_S}
            bucket = self._window[second] = [0, 0]
        return bucket
