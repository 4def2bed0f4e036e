"""Limits kept in this process."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final

from gateway.limits.clock import Clock, SystemClock
from gateway.limits.counters import Quota
from gateway.limits.windows import Decision, Seen, Window, admission, decide

_MICROSECONDS: Final = 1_000_000
_SWEEP_EVERY_US: Final = _MICROSECONDS
_SWEPT_AT_ONCE: Final = 1000
_QUOTAS_SWEPT_EVERY_S: Final = 60.0
# A stream that began before midnight is settled after it.
QUOTA_KEPT_MS: Final = 3_600_000

# When each counted request came, the oldest first, in microseconds of the monotonic clock.
_Log = deque[int]
_NO_LOGS: Final[OrderedDict[str, _Log]] = OrderedDict()


class MemoryLimiter:
    """Exact sliding windows in memory, on the monotonic clock: turning the system's clock admits and refuses nobody.

    Memory is bounded: of each scope (and length of window) at most `max_subjects` are kept. When one more comes, the
    least recently used one is forgotten and starts again with an empty window. So whoever can send from more addresses
    than that within a window is limited less by address; keys are not affected, since their scope has a table of its
    own. Windows that have become empty are swept once a second.
    """

    def __init__(self, clock: Clock | None = None, *, max_subjects: int = 100_000) -> None:
        clock = clock or SystemClock()
        self._monotonic = clock.monotonic
        self._time = clock.time
        self._max_subjects = max_subjects
        self._tables: dict[tuple[str, int], OrderedDict[str, _Log]] = {}
        self._sweep_at_us = 0

    async def hit(self, windows: Sequence[Window]) -> Decision:
        """Count a request in every window, or in none when one of them is full."""
        now_us = self._now_us()
        decision, logs = self._decide(windows, now_us)
        if decision[0]:
            for number, log in enumerate(logs):
                (self._new_log(windows[number]) if log is None else log).append(now_us)
        return decision

    async def peek(self, windows: Sequence[Window]) -> Decision:
        """Return what `hit` would, and count nothing."""
        return self._decide(windows, self._now_us())[0]

    async def aclose(self) -> None:
        """Nothing is held but memory."""

    def _now_us(self) -> int:
        """Return the time of a request, and clean up when that is due; not later, when windows are in hand."""
        now_us = round(self._monotonic() * _MICROSECONDS)
        if now_us >= self._sweep_at_us:
            self._sweep(now_us)
        return now_us

    def _decide(self, windows: Sequence[Window], now_us: int) -> tuple[Decision, list[_Log | None]]:
        """Return the decision, and for each window when the requests came that are still in it, None for no request."""
        logs: list[_Log | None] = []
        shown: Window | None = None
        least = until = 0
        for window in windows:
            scope, subject, limit, window_s = window
            span_us = window_s * _MICROSECONDS
            table = self._tables.get((scope, window_s), _NO_LOGS)
            log = table.get(subject)
            logs.append(log)
            left, ends = limit - 1, now_us + span_us
            if log is not None:
                table.move_to_end(subject)
                while log and log[0] + span_us <= now_us:
                    log.popleft()
                if log:
                    left, ends = limit - len(log) - 1, log[0] + span_us
            # Most requests are admitted, and `decide` would come to the same in twice the time.
            if shown is None or left < least or (left == least and ends > until):
                shown, least, until = window, left, ends
        unix_us = round(self._time() * _MICROSECONDS)
        if shown is None or least < 0:
            seen = [_seen(window, log, now_us) for window, log in zip(windows, logs, strict=True)]
            return decide(windows, seen, now_us, unix_us), logs
        return admission(shown, least, until - now_us, unix_us), logs

    def _new_log(self, window: Window) -> _Log:
        table = self._tables.setdefault((window.scope, window.window_s), OrderedDict())
        if len(table) >= self._max_subjects:
            table.popitem(last=False)
        return table.setdefault(window.subject, deque())

    def _sweep(self, now_us: int) -> None:
        """Forget empty windows, from the least recently used on; a bounded number, so that nobody waits for it."""
        self._sweep_at_us = now_us + _SWEEP_EVERY_US
        for (_, window_s), table in self._tables.items():
            left_us = now_us - window_s * _MICROSECONDS
            for _ in range(_SWEPT_AT_ONCE):
                subject = next(iter(table), None)
                if subject is None:
                    break
                log = table[subject]
                if log and log[-1] > left_us:
                    break
                del table[subject]


def _seen(window: Window, log: _Log | None, now_us: int) -> Seen:
    """Return what a window has counted; `log` holds nothing that has left it."""
    if not log:
        return 0, now_us, 0
    used, limit = len(log), window.limit
    # A limit that was lowered can leave more than one too many.
    return used, log[0], log[used - limit] if used >= limit else 0


class _Used:
    """What is used of a quota; `known` once somebody told what was used before."""

    __slots__ = ("ends_at_ms", "known", "tokens")

    def __init__(self, ends_at_ms: int) -> None:
        self.ends_at_ms = ends_at_ms
        self.tokens = 0
        self.known = False


class MemoryCounters:
    """Token quotas and parallel slots in memory. A quota is forgotten about an hour after its period has ended."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._quotas: dict[str, _Used] = {}
        self._sweep_at_s = 0.0
        self.slots: dict[str, set[str]] = {}

    async def knows(self, quota: Quota) -> bool:
        """Say whether somebody has told, with `start`, what was used before."""
        found = self._quotas.get(quota.key)
        return found is not None and found.known

    async def start(self, quota: Quota, used: int) -> None:
        """Tell what was used before, unless somebody has told already."""
        entry = self._entry(quota)
        if not entry.known:
            entry.known = True
            entry.tokens = max(entry.tokens, used)

    async def take(self, quota: Quota, amount: int) -> int:
        """Count as much of `amount` as the limit leaves, and return how much that is."""
        entry = self._entry(quota)
        granted = max(0, min(amount, quota.limit - entry.tokens))
        entry.tokens += granted
        return granted

    async def adjust(self, quota: Quota, delta: int) -> int:
        """Add the truth after a call, and return what is used in all."""
        entry = self._entry(quota)
        entry.tokens = max(0, entry.tokens + delta)
        return entry.tokens

    async def used(self, quota: Quota) -> int:
        """Return what is used."""
        found = self._quotas.get(quota.key)
        return 0 if found is None else found.tokens

    async def enter(self, key: str, limit: int, holder: str) -> bool:
        """Take one of `limit` parallel slots for `holder`; False when all are held."""
        holders = self.slots.get(key, ())
        if holder not in holders and len(holders) >= limit:
            return False
        self.hold(key, holder)
        return True

    async def leave(self, key: str, holder: str) -> None:
        """Give the slot back, if `holder` has one."""
        holders = self.slots.get(key)
        if holders is not None:
            holders.discard(holder)
            if not holders:
                del self.slots[key]

    async def aclose(self) -> None:
        """Nothing is held but memory."""

    def hold(self, key: str, holder: str) -> None:
        """Note a slot that was taken elsewhere, whatever the limit."""
        self.slots.setdefault(key, set()).add(holder)

    def note(self, quota: Quota, used: int, *, known: bool) -> None:
        """Note what is used as somebody else counted it."""
        entry = self._entry(quota)
        entry.tokens, entry.known = used, known

    def _entry(self, quota: Quota) -> _Used:
        now_s = self._clock.monotonic()
        if now_s >= self._sweep_at_s:
            self._sweep_at_s = now_s + _QUOTAS_SWEPT_EVERY_S
            ended_ms = self._clock.time() * 1000 - QUOTA_KEPT_MS
            self._quotas = {key: used for key, used in self._quotas.items() if used.ends_at_ms > ended_ms}
        found = self._quotas.get(quota.key)
        if found is None:
            found = self._quotas[quota.key] = _Used(quota.ends_at_ms)
        return found
