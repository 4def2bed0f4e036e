"""Records by the thousand, and stores that fail in the ways in which databases fail."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from gateway.errors import StorageUnavailable
from gateway.usage.record import UsageRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.usage.record import Batch, UsageStore

# 2026-05-28T20:26:40Z, which is 3 h 33 min before midnight.
NOW_MS = 1_780_000_000_000
DAY_MS = 86_400_000
LIMIT_S = 20.0
KEYS = [("bootstrap-admin", "bootstrap-admin"), ("k1", "mobile app"), ("k2", "=launcher"), ("k3", "Büro")]
TARGETS = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("azure", "gpt-4o"), ("lmstudio", "qwen/qwen3-8b")]
UNPRICED = [("openai", "o9-preview"), ("lmstudio", "unheard-of")]


def record_of(**fields: Any) -> UsageRecord:
    """Return the record of one good request, with other values where `fields` give them."""
    usual: dict[str, Any] = {
        "at": NOW_MS,
        "request_id": "req_0123456789abcdef",
        "key_id": "k1",
        "key_name": "mobile app",
        "route": "/v1/chat/completions",
        "provider": "openai",
        "model": "gpt-4o",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "cached_tokens": 40,
        "reasoning_tokens": 5,
        "estimated": False,
        "status": 200,
        "error_code": None,
        "attempts": 1,
        "latency_ms": 123.456,
        "ttft_ms": None,
        "cost_nano": 400_000,
        "currency": "USD",
    }
    return UsageRecord(**{**usual, **fields})


def random_record(rng: random.Random, at_ms: int) -> UsageRecord:
    """Return a record as they come in: good, failed, abandoned, refused, and of models without a price."""
    key_id, key_name = rng.choice(KEYS)
    status, error_code = rng.choice([(200, None)] * 6 + [(200, "STREAM_INTERRUPTED"), (499, None), (502, "PROVIDER")])
    more: dict[str, Any] = {}
    if rng.random() < 0.1:
        status, error_code = 429, "RATE_LIMIT_EXCEEDED"
        more = {"provider": None, "model": None, "cost_nano": None, "currency": None, "attempts": 0}
        more |= dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"), 0)
    else:
        provider, model = rng.choice(TARGETS + UNPRICED)
        prompt, completion = rng.randrange(3000), rng.randrange(1000)
        more = {"provider": provider, "model": model, "prompt_tokens": prompt, "completion_tokens": completion}
        more |= {"cached_tokens": rng.randint(0, prompt), "reasoning_tokens": rng.randint(0, completion)}
        more |= {"cost_nano": rng.randrange(10**8), "currency": rng.choice(["USD"] * 9 + ["EUR"])}
        if (provider, model) in UNPRICED:
            more |= {"cost_nano": None, "currency": None}
    return record_of(
        at=at_ms,
        request_id=f"req_{rng.getrandbits(64):016x}",
        key_id=key_id,
        key_name=key_name,
        estimated=rng.random() < 0.2,
        status=status,
        error_code=error_code,
        latency_ms=rng.random() * 5000,
        ttft_ms=rng.choice([None, rng.random() * 900]),
        **more,
    )


class Ledger:
    """A store in memory that adds each batch once, as the real one does. `before` and `after` run around the adding."""

    def __init__(self, before: Callable[[], Any] = lambda: None, after: Callable[[], Any] = lambda: None) -> None:
        self.before = before
        self.after = after
        self.records: list[UsageRecord] = []
        self.requests: dict[tuple[str, str], int] = defaultdict(int)
        self.errors: dict[tuple[str, str], int] = defaultdict(int)
        self.tokens: dict[tuple[str, str], int] = defaultdict(int)
        self.cost_nano: dict[tuple[str, str], int] = defaultdict(int)
        self.seen: list[tuple[str, int]] = []
        self.applied: list[Batch] = []

    async def write_batch(self, batch: Batch) -> None:
        """Add a batch, unless its writer has written this number or a later one."""
        self.seen.append((batch.writer, batch.number))
        self.before()
        await asyncio.sleep(0)
        if all(done.writer != batch.writer or done.number < batch.number for done in self.applied):
            self.applied.append(batch)
            self.records += batch.records
            for key, count in batch.days.items():
                self.requests[key] += count.requests
                self.errors[key] += count.errors
                self.tokens[key] += count.prompt_tokens + count.completion_tokens
                self.cost_nano[key] += count.cost_nano
        self.after()


class Unsure:
    """A store in front of another: what it does now and then, by `chance`, is fail before or after the writing."""

    def __init__(self, store: UsageStore, rng: random.Random, chance: float) -> None:
        self._store = store
        self._rng = rng
        self.chance = chance
        self.failed_before = 0
        self.failed_after = 0

    async def write_batch(self, batch: Batch) -> None:
        """Write, or say that it could not be done, whether or not it was."""
        if self._rng.random() < self.chance:
            self.failed_before += 1
            raise unavailable()
        await self._store.write_batch(batch)
        if self._rng.random() < self.chance:
            self.failed_after += 1
            raise unavailable()


class Hanging:
    """A store that answers nothing until `release` is set."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        self.release = asyncio.Event()
        self.asked = 0
        self.cancelled = 0

    async def write_batch(self, batch: Batch) -> None:
        """Wait for the release, then write."""
        self.asked += 1
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await self._store.write_batch(batch)


def unavailable() -> StorageUnavailable:
    """Return what a database raises that does not answer."""
    return StorageUnavailable("The database does not answer")
