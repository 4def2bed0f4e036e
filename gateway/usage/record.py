"""What is noted of each request: one record per AI request, and counters per key and day for every request."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class UsageRecord(NamedTuple):
    """One AI request. `at` is Unix milliseconds; `cost_nano` billionths of `currency`, None for an unpriced model.

    The fields are the columns of the table `usage`, in its order, without `id`.
    """

    at: int
    request_id: str
    key_id: str
    key_name: str
    route: str
    provider: str | None
    model: str | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    estimated: bool
    status: int
    error_code: str | None
    attempts: int
    latency_ms: float
    ttft_ms: float | None
    cost_nano: int | None
    currency: str | None


class DayCount:
    """What one key did on one day (UTC); `last_used_at` is Unix milliseconds."""

    __slots__ = ("completion_tokens", "cost_nano", "errors", "last_used_at", "prompt_tokens", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cost_nano = 0
        self.last_used_at = 0


class Batch(NamedTuple):
    """What is written together. `number` grows by one with each batch of `writer`.

    A batch that is written a second time, because nobody knows whether the first time succeeded, changes nothing.
    """

    writer: str
    number: int
    records: list[UsageRecord]
    # By key id and day (`YYYY-MM-DD`, UTC).
    days: dict[tuple[str, str], DayCount]


class UsageStore(Protocol):
    """Where usage is kept."""

    async def write_batch(self, batch: Batch) -> None:
        """Add a batch, once. Raises `StorageUnavailable`."""
        ...
