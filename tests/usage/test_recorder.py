"""The recorder in fair weather: what is counted, when it is written, and what happens at the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

from gateway.usage.recorder import UsageRecorder, utc_day
from tests.routing.virtual_time import in_virtual_time, now
from tests.usage.support import DAY_MS, NOW_MS, Ledger, random_record, record_of

if TYPE_CHECKING:
    from gateway.usage.record import UsageStore

MIDNIGHT_MS = NOW_MS - NOW_MS % DAY_MS + DAY_MS


def recorder_for(store: UsageStore, *, max_records: int = 50_000) -> UsageRecorder:
    """Return a recorder whose clock stands still and that drops nothing."""
    return UsageRecorder(
        store, clock_ms=lambda: NOW_MS, on_dropped=lambda count: None, max_records=max_records, flush_every_s=0.5
    )


async def test_what_is_recorded_arrives_once_and_in_order() -> None:
    """The ledger has to agree with what the providers were asked."""
    ledger, rng = Ledger(), random.Random(3)
    recorder = recorder_for(ledger)
    records = [random_record(rng, NOW_MS + number * 60_000) for number in range(2_000)]
    for record in records:
        recorder.count(record.key_id, record.at, error=record.status >= 400)
        recorder.record(record)
    assert recorder.pending == 2_000
    assert await recorder.flush()
    assert recorder.pending == 0
    assert ledger.records == records
    by_day = Counter((record.key_id, utc_day(record.at)) for record in records)
    assert ledger.requests == by_day
    assert len({day for _, day in by_day}) == 3
    for key in by_day:
        mine = [record for record in records if (record.key_id, utc_day(record.at)) == key]
        assert ledger.errors[key] == sum(record.status >= 400 for record in mine)
        assert ledger.tokens[key] == sum(record.prompt_tokens + record.completion_tokens for record in mine)
        assert ledger.cost_nano[key] == sum(record.cost_nano or 0 for record in mine)


async def test_requests_are_counted_on_the_day_on_which_they_ended() -> None:
    """Around midnight, requests of both days come in turn."""
    ledger = Ledger()
    recorder = recorder_for(ledger)
    for at_ms in (MIDNIGHT_MS - 1, MIDNIGHT_MS, MIDNIGHT_MS - 1, MIDNIGHT_MS + DAY_MS - 1, MIDNIGHT_MS + DAY_MS):
        recorder.count("k1", at_ms, error=False)
    await recorder.flush()
    assert ledger.requests == {("k1", "2026-05-28"): 2, ("k1", "2026-05-29"): 2, ("k1", "2026-05-30"): 1}
    (batch,) = ledger.applied
    assert batch.days["k1", "2026-05-28"].last_used_at == MIDNIGHT_MS - 1


async def test_a_request_that_asked_no_model_is_counted_without_a_record() -> None:
    """The statistics of a key count every request, the ledger only those to providers."""
    ledger = Ledger()
    recorder = recorder_for(ledger)
    recorder.count("k1", NOW_MS, error=True)
    assert recorder.pending == 0
    await recorder.flush()
    assert (ledger.records, ledger.requests, ledger.errors) == (
        [],
        {("k1", "2026-05-28"): 1},
        {("k1", "2026-05-28"): 1},
    )


async def test_nothing_is_written_when_there_is_nothing() -> None:
    """An idle gateway leaves the database alone."""
    ledger = Ledger()
    recorder = recorder_for(ledger)
    assert await recorder.flush()
    await recorder.aclose()
    assert ledger.seen == []


async def test_what_is_not_written_yet_is_known() -> None:
    """A quota that starts to count must not forget the last half second."""
    ledger = Ledger()
    recorder = recorder_for(ledger)
    recorder.record(record_of(prompt_tokens=70, completion_tokens=30, cost_nano=9))
    recorder.record(record_of(prompt_tokens=1, completion_tokens=0, cost_nano=None))
    recorder.record(record_of(key_id="k2"))
    assert recorder.unwritten("k1", "2026-05-28") == (101, 9)
    assert recorder.unwritten("k1", "2026-05-29") == (0, 0)
    await recorder.flush()
    assert recorder.unwritten("k1", "2026-05-28") == (0, 0)


async def test_numbers_and_names_that_no_database_holds_are_cut() -> None:
    """One record that PostgreSQL refuses would keep every other one of its batch from being written."""
    ledger = Ledger()
    recorder = recorder_for(ledger)
    huge = {"prompt_tokens": 10**30, "completion_tokens": 10**30, "cached_tokens": 10**30, "reasoning_tokens": 10**30}
    recorder.record(record_of(model="a\0" + "b" * 10_000_000, cost_nano=10**40, **huge))
    recorder.record(record_of(model=None, cost_nano=None, **huge))
    await recorder.flush()
    first, second = ledger.records
    assert first.model == "a?" + "b" * 198
    assert (second.model, second.cost_nano) == (None, None)
    assert all(value < 2**62 for record in ledger.records for value in record if isinstance(value, int))
    assert ledger.tokens["k1", "2026-05-28"] < 2**62


async def test_a_long_queue_is_written_in_transactions_of_bounded_length() -> None:
    """A transaction of everything would hold up the keys and the audit log behind it."""
    ledger = Ledger()
    recorder = recorder_for(ledger)
    records = [record_of(request_id=f"req_{number}") for number in range(12_345)]
    for record in records:
        recorder.record(record)
    assert await recorder.flush()
    assert ledger.records == records
    assert [len(batch.records) for batch in ledger.applied] == [5_000, 5_000, 2_345]
    assert [batch.number for batch in ledger.applied] == [1, 2, 3]


def test_it_is_written_every_half_second_however_much_comes() -> None:
    """Writing again as soon as the last write is done would write a few records at a time without rest."""
    ledger = Ledger()
    written_at: list[float] = []

    @in_virtual_time
    async def run() -> None:
        recorder = recorder_for(ledger)

        def after() -> None:
            written_at.append(now())
            recorder.count("k1", NOW_MS, error=False)

        ledger.after = after
        recorder.count("k1", NOW_MS, error=False)
        task = asyncio.create_task(recorder.run())
        await asyncio.sleep(2.6)
        task.cancel()
        await asyncio.wait({task})

    run()
    assert [round(at - 1_000, 3) for at in written_at] == [0.5, 1.0, 1.5, 2.0, 2.5]


async def test_the_end_writes_what_is_left() -> None:
    """SIGTERM loses nothing."""
    ledger = Ledger()
    recorder = recorder_for(ledger)
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    recorder.record(record_of())
    recorder.count("k1", NOW_MS, error=False)
    task.cancel()
    await asyncio.wait({task})
    await recorder.aclose()
    assert len(ledger.records) == 1
    assert ledger.requests == {("k1", "2026-05-28"): 1}


async def test_each_recorder_writes_under_a_name_of_its_own() -> None:
    """Two processes that numbered their batches under one name would each hide the other's."""
    ledger = Ledger()
    for _ in range(3):
        recorder = recorder_for(ledger)
        recorder.record(record_of())
        await recorder.flush()
    assert len({writer for writer, _ in ledger.seen}) == 3
    assert len(ledger.records) == 3
