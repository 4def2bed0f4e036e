"""The recorder and stores that fail: nothing lost, nothing twice, and never more memory than the bound."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from gateway.usage.recorder import UsageRecorder
from tests.routing.virtual_time import in_virtual_time, now
from tests.usage.support import LIMIT_S, NOW_MS, Hanging, Ledger, Unsure, random_record, record_of, unavailable

if TYPE_CHECKING:
    from io import BytesIO

    from gateway.usage.record import UsageStore

DAY = "2026-05-28"


class Drops:
    """Counts the records that a recorder gives up."""

    def __init__(self) -> None:
        self.records = 0

    def __call__(self, records: int) -> None:
        """Hear of some."""
        self.records += records


def recorder_for(store: UsageStore, drops: Drops | None = None, **more: Any) -> UsageRecorder:
    """Return a recorder of at most 100 records unless `more` says otherwise."""
    options: dict[str, Any] = {"clock_ms": lambda: NOW_MS, "max_records": 100, "flush_every_s": 0.5, **more}
    return UsageRecorder(store, on_dropped=drops or Drops(), **options)


def events(stream: BytesIO) -> list[dict[str, Any]]:
    """Return the lines of the log."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("seed", range(20))
async def test_a_store_that_fails_before_and_after_its_commits_gets_everything_once(seed: int) -> None:
    """After a lost answer nobody knows whether the batch is in; the same number tells the store."""
    rng = random.Random(seed)
    ledger = Ledger()
    store = Unsure(ledger, rng, 0.4)
    recorder = recorder_for(store, max_records=2_000)
    records = []
    for _ in range(60):
        for _ in range(rng.randrange(20)):
            records.append(random_record(rng, NOW_MS))
            recorder.record(records[-1])
            recorder.count(records[-1].key_id, NOW_MS, error=False)
        await recorder.flush()
    store.chance = 0
    assert await recorder.flush()
    assert store.failed_before > 5
    assert store.failed_after > 5
    assert ledger.records == records
    assert sum(ledger.requests.values()) == len(records)
    assert sum(ledger.tokens.values()) == sum(record.prompt_tokens + record.completion_tokens for record in records)


async def test_nothing_newer_overtakes_a_batch_whose_fate_is_unknown() -> None:
    """The store remembers only the last number of each writer."""
    ledger = Ledger()
    store = Unsure(ledger, random.Random(1), 1.0)
    recorder = recorder_for(store)
    recorder.record(record_of(request_id="first"))
    for _ in range(5):
        assert not await recorder.flush()
        recorder.record(record_of(request_id="later"))
    store.chance = 0.0
    assert await recorder.flush()
    assert [[record.request_id for record in batch.records] for batch in ledger.applied] == [["first"], ["later"] * 5]
    assert [batch.number for batch in ledger.applied] == [1, 2]


def test_the_waits_grow_to_five_seconds_and_shrink_at_once() -> None:
    """A database that comes back up has enough to do; one that is back gets its half seconds again."""
    asked_at: list[float] = []
    shown: list[bool] = []
    broken = [True]

    def before() -> None:
        asked_at.append(now())
        if broken:
            raise unavailable()

    @in_virtual_time
    async def run() -> None:
        recorder = recorder_for(Ledger(before))
        task = asyncio.create_task(recorder.run())
        recorder.record(record_of())
        await asyncio.sleep(23)
        shown.append(recorder.last_write_failed)
        broken.clear()
        await asyncio.sleep(5.1)
        shown.append(recorder.last_write_failed)
        recorder.record(record_of())
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait({task})

    run()
    waits = [round(later - earlier, 3) for earlier, later in itertools.pairwise(asked_at)]
    assert shown == [True, False]
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0, 1.0]


async def test_a_cancelled_flush_cancels_no_write() -> None:
    """A write that is cut off leaves its connection with an answer that belongs to nobody."""
    ledger = Ledger()
    store = Hanging(ledger)
    recorder = recorder_for(store)
    recorder.record(record_of())
    flush = asyncio.create_task(recorder.flush())
    async with asyncio.timeout(LIMIT_S):
        while not store.asked:
            await asyncio.sleep(0)
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    store.release.set()
    assert await recorder.flush()
    assert (store.asked, store.cancelled, len(ledger.records)) == (1, 0, 1)


async def test_a_store_that_hangs_cannot_fill_the_memory(log: BytesIO) -> None:
    """A day of traffic must not wait in memory for a database that will not answer."""
    ledger, drops = Ledger(), Drops()
    store = Hanging(ledger)
    recorder = recorder_for(store, drops)
    task = asyncio.create_task(recorder.run())
    for number in range(60):
        recorder.record(record_of(request_id=f"batched-{number}"))
    flush = asyncio.create_task(recorder.flush())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for number in range(10_000):
        recorder.record(record_of(request_id=f"req_{number}", prompt_tokens=1, completion_tokens=0))
        recorder.count("k1", NOW_MS, error=False)
        assert recorder.pending <= 100
    task.cancel()
    store.release.set()
    await asyncio.wait({task, flush})
    assert await recorder.flush()
    assert len(ledger.records) + drops.records == 10_060
    assert [record.request_id for record in ledger.records[-2:]] == ["req_9998", "req_9999"]
    # The counters of days are sums and lose nothing.
    assert ledger.requests["k1", DAY] == 10_000
    assert ledger.tokens["k1", DAY] == 60 * 120 + 10_000
    assert [line["event"] for line in events(log)] == ["usage_records_dropped"]


async def test_drops_are_logged_once_a_minute_with_their_number(log: BytesIO) -> None:
    """The log is not to grow by a line for every request of an outage."""
    clock = [NOW_MS]
    recorder = recorder_for(Ledger(), max_records=4, clock_ms=lambda: clock[0])
    for _ in range(120):
        recorder.record(record_of())
        clock[0] += 1_000
    lines = [line for line in events(log) if line["event"] == "usage_records_dropped"]
    assert [line["records"] for line in lines] == [1, 60]


async def test_the_end_waits_for_a_store_no_longer_than_it_may(log: BytesIO) -> None:
    """A container that does not stop is killed, and then the log does not even say what is missing."""
    ledger = Ledger()
    store = Hanging(ledger)
    recorder = recorder_for(store)
    recorder.record(record_of())
    recorder.count("k1", NOW_MS, error=False)
    async with asyncio.timeout(LIMIT_S):
        await recorder.aclose(timeout_s=0.05)
    (line,) = events(log)
    assert (line["event"], line["records"], line["counted_requests"]) == ("usage_not_written", 1, 1)
    assert store.cancelled == 0
    store.release.set()
    assert await recorder.flush()
    assert len(ledger.records) == 1


async def test_the_end_tries_again_while_it_has_time() -> None:
    """A database that is just being restarted is back in time for the last batch."""
    failures = iter([True, True, False])

    def before() -> None:
        if next(failures):
            raise unavailable()

    ledger = Ledger(before)
    recorder = recorder_for(ledger)
    recorder.record(record_of())
    await recorder.aclose()
    assert len(ledger.records) == 1
    assert len(ledger.seen) == 3


async def test_a_batch_that_is_refused_for_what_is_in_it_does_not_block_the_others(log: BytesIO) -> None:
    """A mistake of ours in one record must not end the recording of all."""
    refused = True

    def before() -> None:
        if refused:
            msg = "value out of range"
            raise ValueError(msg)

    ledger, drops = Ledger(before), Drops()
    recorder = recorder_for(ledger, drops)
    for _ in range(3):
        recorder.record(record_of())
    for _ in range(10):
        assert recorder.pending == 3
        assert not await recorder.flush()
    assert (recorder.pending, drops.records) == (0, 3)
    refused = False
    recorder.record(record_of(request_id="good"))
    assert await recorder.flush()
    assert [record.request_id for record in ledger.records] == ["good"]
    assert [line["event"] for line in events(log)] == ["usage_not_written_yet", "usage_refused", "usage_written_again"]
    assert "out of range" not in log.getvalue().decode()


async def test_an_outage_is_never_taken_for_a_refusal() -> None:
    """However long a database is away, its first batch waits for it."""
    ledger, drops = Ledger(), Drops()
    store = Unsure(ledger, random.Random(0), 1.0)
    recorder = recorder_for(store, drops)
    recorder.record(record_of())
    for _ in range(100):
        assert not await recorder.flush()
    assert (recorder.pending, drops.records) == (1, 0)
    store.chance = 0.0
    assert await recorder.flush()
    assert len(ledger.records) == 1
