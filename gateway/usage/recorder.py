"""Takes down what was used without making a request wait, and writes it in batches, each once.

    count(), record() ──> queue, day counters ──> batch ──> store
                                                   ^  |
                                                   └──┘ not known to be written: the same batch again

What is waiting is bounded: over `max_records` the oldest records that are not yet in a batch are dropped. Day counters
are sums, one per key and day, and are never dropped.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import deque
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.errors import StorageUnavailable
from gateway.observability.logs import exception_fields, get_logger
from gateway.usage.record import Batch, DayCount

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.usage.record import UsageRecord, UsageStore

T = TypeVar("T")

DAY_MS: Final = 86_400_000
CLOSE_TIMEOUT_S: Final = 5.0
_MAX_WAIT_S: Final = 5.0
_RETRY_WHILE_CLOSING_S: Final = 0.1
# A transaction of this many rows is over in some tens of milliseconds, so that nobody waits long behind it.
_BATCH_RECORDS: Final = 5_000
# A batch that the store refuses for another reason than its own state would be refused for ever.
_MAX_REFUSALS: Final = 10
_LOG_EVERY_MS: Final = 60_000
# Providers report what they like, and clients name models; these keep sums within 64 bits and memory within bounds.
_MAX_TOKENS: Final = 10**12
_MAX_COST_NANO: Final = 10**15
_MAX_MODEL_CHARS: Final = 200


@lru_cache(maxsize=16)
def _day_text(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def utc_day(at_ms: int) -> str:
    """Return the day (UTC) of a time in Unix milliseconds, as `YYYY-MM-DD`."""
    return _day_text(at_ms // DAY_MS)


class UsageRecorder:
    """Counts requests and keeps records until they are written; `run` writes, `aclose` writes what is left.

    `clock_ms` is the present time in Unix milliseconds. `on_dropped` is told how many records were given up.
    """

    def __init__(
        self,
        store: UsageStore,
        *,
        clock_ms: Callable[[], int],
        on_dropped: Callable[[int], None],
        max_records: int = 50_000,
        flush_every_s: float = 0.5,
    ) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._on_dropped = on_dropped
        self._batch_records = max(1, min(_BATCH_RECORDS, max_records // 2))
        # A whole batch may be waiting besides.
        self._max_queued = max_records - self._batch_records
        self._flush_every_s = flush_every_s
        self._wait_s = flush_every_s
        self._log = get_logger()
        self._queue: deque[UsageRecord] = deque()
        self._days: dict[tuple[str, str], DayCount] = {}
        # The day that most times fall into, from its first millisecond to the first one after it.
        self._day, self._day_from, self._day_to = "", 0, 0
        self._writer = secrets.token_hex(8)
        self._number = 0
        self._batch: Batch | None = None
        self._refusals = 0
        self._writing: asyncio.Task[bool] | None = None
        self._dropped = 0
        self._drops_logged_at = -_LOG_EVERY_MS
        self.last_write_failed = False

    @property
    def pending(self) -> int:
        """The number of records that are not known to be written."""
        return len(self._queue) + (len(self._batch.records) if self._batch else 0)

    def count(self, key_id: str, at_ms: int, *, error: bool) -> None:
        """Count one authenticated request of a key; `at_ms` is Unix milliseconds."""
        day = self._day_count(key_id, at_ms)
        day.requests += 1
        if error:
            day.errors += 1
        day.last_used_at = max(day.last_used_at, at_ms)

    def record(self, record: UsageRecord) -> None:
        """Keep the record of one AI request, and add its tokens and cost (not the request) to its key's day."""
        if _is_extreme(record):
            record = _within_bounds(record)
        if len(self._queue) >= self._max_queued:
            self._queue.popleft()
            self._drop(1)
        self._queue.append(record)
        day = self._day_count(record.key_id, record.at)
        day.prompt_tokens += record.prompt_tokens
        day.completion_tokens += record.completion_tokens
        if record.cost_nano:
            day.cost_nano += record.cost_nano

    def unwritten(self, key_id: str, day: str) -> tuple[int, int]:
        """Return the tokens, and the cost in billionths, of a key's day that the store may not have yet."""
        waiting = [self._days.get((key_id, day)), self._batch.days.get((key_id, day)) if self._batch else None]
        found = [count for count in waiting if count is not None]
        tokens = sum(count.prompt_tokens + count.completion_tokens for count in found)
        return tokens, sum(count.cost_nano for count in found)

    async def between_writes(self, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` returns when nothing is written meanwhile, so that it sees nothing twice.

        `read` may be run more than once.
        """
        while True:
            await self._written()
            last = self._writing
            found = await read()
            if self._writing is last:
                return found

    async def run(self) -> None:
        """Write every `flush_every_s`, less often while writing fails; until cancelled."""
        while True:
            await asyncio.sleep(self._wait_s)
            await self.flush()

    async def flush(self) -> bool:
        """Write what is waiting now, and say whether it is written. Cancelling this cancels no write."""
        await self._written()
        writing = self._writing = asyncio.create_task(self._write_waiting())
        await asyncio.wait({writing})
        return writing.result()

    async def _written(self) -> None:
        """Wait until no write is under way."""
        while self._writing is not None and not self._writing.done():
            await asyncio.wait({self._writing})

    async def aclose(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Write what is left, for at most `timeout_s` seconds, and log what could not be written."""
        try:
            async with asyncio.timeout(timeout_s):
                written = await self.flush()
                while not written:
                    await asyncio.sleep(_RETRY_WHILE_CLOSING_S)
                    written = await self.flush()
        except TimeoutError:
            days = [*self._days.values(), *(self._batch.days.values() if self._batch else ())]
            requests = sum(day.requests for day in days)
            self._log.error("usage_not_written", records=self.pending, counted_requests=requests)

    def _day_count(self, key_id: str, at_ms: int) -> DayCount:
        if not self._day_from <= at_ms < self._day_to:
            self._day_from = at_ms - at_ms % DAY_MS
            self._day_to = self._day_from + DAY_MS
            self._day = utc_day(at_ms)
        key = (key_id, self._day)
        day = self._days.get(key)
        if day is None:
            day = self._days[key] = DayCount()
        return day

    async def _write_waiting(self) -> bool:
        """Write the batch that is not known to be written, then what is waiting now; what comes later waits its turn.

        Runs in a task of its own, since nobody may cancel a write.
        """
        due = math.ceil(len(self._queue) / self._batch_records) or bool(self._days)
        for _ in range(due + (self._batch is not None)):
            batch = self._batch = self._batch or self._next_batch()
            try:
                await self._store.write_batch(batch)
            except Exception as exc:  # noqa: BLE001 - whatever it is, what is waiting must not be lost by it.
                self._failed(batch, exc)
                return False
            self._succeeded()
        return True

    def _next_batch(self) -> Batch:
        self._number += 1
        records = [self._queue.popleft() for _ in range(min(len(self._queue), self._batch_records))]
        days, self._days = self._days, {}
        return Batch(self._writer, self._number, records, days)

    def _succeeded(self) -> None:
        self._batch = None
        self._refusals = 0
        self._wait_s = self._flush_every_s
        if self.last_write_failed:
            self.last_write_failed = False
            self._log.info("usage_written_again", records_waiting=self.pending)

    def _failed(self, batch: Batch, error: Exception) -> None:
        """Keep the batch for the next time, unless the store has refused it too often for what is in it."""
        if not self.last_write_failed:
            self.last_write_failed = True
            self._log.error("usage_not_written_yet", records=self.pending, **exception_fields(error))
        self._wait_s = min(2 * self._wait_s, _MAX_WAIT_S)
        self._refusals += not isinstance(error, StorageUnavailable)
        if self._refusals >= _MAX_REFUSALS:
            self._log.error("usage_refused", records=len(batch.records), **exception_fields(error))
            self._batch = None
            self._refusals = 0
            self._on_dropped(len(batch.records))

    def _drop(self, records: int) -> None:
        self._dropped += records
        self._on_dropped(records)
        now = self._clock_ms()
        if not 0 <= now - self._drops_logged_at < _LOG_EVERY_MS:
            self._log.error("usage_records_dropped", records=self._dropped)
            self._drops_logged_at, self._dropped = now, 0


def _is_extreme(record: UsageRecord) -> bool:
    model = record.model
    return (
        record.prompt_tokens > _MAX_TOKENS
        or record.completion_tokens > _MAX_TOKENS
        or record.cached_tokens > _MAX_TOKENS
        or record.reasoning_tokens > _MAX_TOKENS
        or (record.cost_nano or 0) > _MAX_COST_NANO
        or (model is not None and (len(model) > _MAX_MODEL_CHARS or "\0" in model))
    )


def _within_bounds(record: UsageRecord) -> UsageRecord:
    """Return a record that every database can hold: PostgreSQL has no NUL in texts, and integers have 64 bits."""
    return record._replace(
        model=None if record.model is None else record.model[:_MAX_MODEL_CHARS].replace("\0", "?"),
        prompt_tokens=min(record.prompt_tokens, _MAX_TOKENS),
        completion_tokens=min(record.completion_tokens, _MAX_TOKENS),
        cached_tokens=min(record.cached_tokens, _MAX_TOKENS),
        reasoning_tokens=min(record.reasoning_tokens, _MAX_TOKENS),
        cost_nano=None if record.cost_nano is None else min(record.cost_nano, _MAX_COST_NANO),
    )
