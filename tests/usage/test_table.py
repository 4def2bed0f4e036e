"""The ledger on both databases: each batch once, sums right, old rows away."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from gateway.storage import usage as ledger
from gateway.storage.tables import key_days, usage, usage_writers
from gateway.storage.usage import UsageTable
from gateway.usage.record import Batch, DayCount, UsageRecord
from gateway.usage.recorder import UsageRecorder
from gateway.usage.report import DayTotals, KeyTotals
from tests.usage.support import DAY_MS, NOW_MS, Hanging, Unsure, random_record, record_of

if TYPE_CHECKING:
    from gateway.storage.database import Database


def day_count(**fields: int) -> DayCount:
    """Return counters of a day with these values."""
    count = DayCount()
    for name, value in fields.items():
        setattr(count, name, value)
    return count


def batch_of(number: int, *records: UsageRecord, writer: str = "w", **days: DayCount) -> Batch:
    """Return a batch; the names of `days` are keys that were used on 2026-05-28."""
    return Batch(writer, number, list(records), {(key, "2026-05-28"): count for key, count in days.items()})


async def rows_of(database: Database) -> list[UsageRecord]:
    """Return every record in the order in which they were written."""
    columns = [column for column in usage.columns if column.name != "id"]
    rows = await database.read(lambda connection: _fetch(connection, select(*columns).order_by(usage.c.id)))
    return [UsageRecord(*row) for row in rows]


async def count_of(database: Database, table: Any) -> int:
    """Return the number of rows of a table."""
    ((count,),) = await database.read(lambda connection: _fetch(connection, select(func.count()).select_from(table)))
    return int(count)


async def _fetch(connection: Any, statement: Any) -> Any:
    return (await connection.execute(statement)).all()


def test_the_fields_of_a_record_are_the_columns_of_its_table() -> None:
    """Records go to the driver as they are, so their order is the order of the columns."""
    assert list(UsageRecord._fields) == usage.c.keys()[1:]
    assert set(DayCount.__slots__) == set(key_days.c.keys()[2:])


async def test_a_record_comes_back_as_it_was(database: Database, table: UsageTable) -> None:
    """Nulls, booleans, fractions and letters of every alphabet."""
    rng = random.Random(5)
    records = [random_record(rng, NOW_MS + number) for number in range(200)]
    records.append(
        record_of(model="\U0001f319 \u0645\u0648\u062f\u0644", prompt_tokens=10**12, cost_nano=10**15, latency_ms=0.1)
    )
    await table.write_batch(batch_of(1, *records))
    assert await rows_of(database) == records


async def test_a_batch_that_comes_again_changes_nothing(database: Database, table: UsageTable) -> None:
    """After a lost answer the same batch is sent again, whether it was written or not."""
    first = batch_of(1, record_of(), k1=day_count(requests=3, prompt_tokens=7))
    second = batch_of(2, record_of(), k1=day_count(requests=1, errors=1, completion_tokens=2))
    for batch in (first, first, second, first, second):
        await table.write_batch(batch)
    assert len(await rows_of(database)) == 2
    assert (await table.key_totals())["k1"][:4] == (4, 1, 7, 2)


async def test_writers_do_not_hide_each_others_batches(database: Database, table: UsageTable) -> None:
    """Every process counts from 1."""
    for writer in ("a", "b", "c"):
        for number in (1, 2):
            await table.write_batch(batch_of(number, record_of(), writer=writer, k1=day_count(requests=1)))
    assert len(await rows_of(database)) == 6
    assert (await table.key_totals())["k1"].requests == 6


async def test_a_batch_is_written_whole_or_not_at_all(database: Database, table: UsageTable) -> None:
    """Otherwise its second time would find it marked as written, and the rest would be missing."""
    bad = batch_of(1, record_of(), record_of(route=None), k1=day_count(requests=1))
    with pytest.raises(Exception, match=r"(?i)null"):
        await table.write_batch(bad)
    assert await rows_of(database) == []
    assert await table.key_totals() == {}
    await table.write_batch(batch_of(1, record_of(), k1=day_count(requests=1)))
    assert len(await rows_of(database)) == 1


async def test_the_same_batch_twice_at_the_same_time_is_written_once(database: Database, table: UsageTable) -> None:
    """A write that took too long may still be under way when it is tried again."""
    for number in range(1, 21):
        batch = batch_of(number, record_of(), k1=day_count(requests=1))
        await asyncio.gather(*(table.write_batch(batch) for _ in range(4)))
    assert len(await rows_of(database)) == 20
    assert (await table.key_totals())["k1"].requests == 20


async def test_processes_that_count_the_same_keys_do_not_lock_each_other_out(
    database: Database, table: UsageTable
) -> None:
    """PostgreSQL ends one of two transactions that wait for each other's rows."""
    keys = [f"k{number}" for number in range(60)]

    async def work(writer: str) -> None:
        rng = random.Random(writer)
        for number in range(1, 11):
            shuffled = rng.sample(keys, len(keys))
            days = {key: day_count(requests=1, last_used_at=number) for key in shuffled}
            await table.write_batch(batch_of(number, writer=writer, **days))

    await asyncio.gather(*(work(f"w{number}") for number in range(4)))
    totals = await table.key_totals()
    assert {key: (total.requests, total.last_used_at) for key, total in totals.items()} == dict.fromkeys(keys, (40, 10))


@pytest.mark.parametrize("seed", range(3))
async def test_recorder_and_database_keep_every_record_once_through_lost_answers(database: Database, seed: int) -> None:
    """The ledger is what bills are made from."""
    rng = random.Random(seed)
    store = Unsure(UsageTable(database), rng, 0.4)
    recorder = UsageRecorder(store, clock_ms=lambda: NOW_MS, on_dropped=lambda count: None)
    records = []
    for _ in range(30):
        for _ in range(rng.randrange(20)):
            records.append(random_record(rng, NOW_MS + rng.randrange(2 * DAY_MS)))
            recorder.record(records[-1])
            recorder.count(records[-1].key_id, records[-1].at, error=False)
        await recorder.flush()
    store.chance = 0.0
    await recorder.aclose()
    assert store.failed_after
    assert await rows_of(database) == records
    totals = await UsageTable(database).key_totals()
    assert sum(total.requests for total in totals.values()) == len(records)
    for key, total in totals.items():
        mine = [record for record in records if record.key_id == key]
        assert total.prompt_tokens == sum(record.prompt_tokens for record in mine)
        assert await UsageTable(database).spent_nano(key, "") == sum(record.cost_nano or 0 for record in mine)


async def test_what_waited_for_a_hanging_database_arrives(database: Database, table: UsageTable) -> None:
    """An outage is over some time, and what was queued within the bound is written then."""
    store = Hanging(table)
    recorder = UsageRecorder(store, clock_ms=lambda: NOW_MS, on_dropped=lambda count: None, flush_every_s=0.001)
    task = asyncio.create_task(recorder.run())
    records = [record_of(request_id=f"req_{number}") for number in range(300)]
    for record in records:
        recorder.record(record)
        await asyncio.sleep(0)
    store.release.set()
    task.cancel()
    await asyncio.wait({task})
    await recorder.aclose()
    assert await rows_of(database) == records


async def test_tokens_and_cost_are_summed_from_the_days_of_a_key(table: UsageTable) -> None:
    """Quotas begin to count where the ledger ends."""
    for number, day in enumerate(("2026-05-27", "2026-05-28", "2026-06-01"), 1):
        count = day_count(prompt_tokens=10 * number, completion_tokens=number, cost_nano=10**number)
        await table.write_batch(Batch("w", number, [], {("k1", day): count, ("k2", day): count}))
    assert await table.tokens_used("k1", "2026-05-28") == 22
    assert await table.tokens_used("k1", "2026-05-29") == 0
    assert await table.spent_nano("k1", "2026-05-28") == 1_100
    assert await table.spent_nano("k1", "2026-01-01") == 1_110
    assert await table.spent_nano("nobody", "2026-01-01") == 0


async def test_statistics_show_sums_last_use_and_days_in_order(table: UsageTable) -> None:
    """This is what GET /admin/keys/stats is made of."""
    days = {
        ("k1", "2026-05-28"): day_count(requests=2, errors=1, prompt_tokens=5, completion_tokens=3, last_used_at=9_000),
        ("k1", "2026-05-27"): day_count(requests=1, prompt_tokens=1, last_used_at=4_000),
        ("k2", "2026-05-01"): day_count(requests=7, last_used_at=1_000),
    }
    await table.write_batch(Batch("w", 1, [], days))
    first, second = DayTotals("2026-05-27", 1, 0, 1, 0), DayTotals("2026-05-28", 2, 1, 5, 3)
    k2 = DayTotals("2026-05-01", 7, 0, 0, 0)
    assert await table.key_totals() == {
        "k1": KeyTotals(3, 1, 6, 3, 9_000, [first, second]),
        "k2": KeyTotals(7, 0, 0, 0, 1_000, [k2]),
    }
    recent = await table.key_totals("2026-05-28")
    assert {key: total.by_day for key, total in recent.items()} == {"k1": [second], "k2": []}
    assert recent["k1"].requests == 3
    assert await table.last_used(["k2", "k1", "nobody"]) == {"k1": 9_000, "k2": 1_000}
    assert await table.last_used([]) == {}


async def test_a_late_batch_does_not_turn_the_last_use_back(table: UsageTable) -> None:
    """Batches of several processes arrive in any order."""
    await table.write_batch(batch_of(1, writer="a", k1=day_count(requests=1, last_used_at=2_000)))
    await table.write_batch(batch_of(1, writer="b", k1=day_count(requests=1, last_used_at=1_000)))
    assert await table.last_used(["k1"]) == {"k1": 2_000}


async def test_old_usage_is_deleted_in_portions_and_nothing_else(
    database: Database, table: UsageTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention must not hold the database for as long as a year of rows takes to delete."""
    monkeypatch.setattr(ledger, "_PRUNED_AT_ONCE", 10)
    monkeypatch.setattr("time.time", lambda: NOW_MS / 1000)
    border = NOW_MS - NOW_MS % DAY_MS
    records = [record_of(at=border + offset * 1_000) for offset in range(-45, 5)]
    days = {(f"k{key}", day): day_count(requests=1) for key in range(15) for day in ("2026-05-27", "2026-05-28")}
    await table.write_batch(Batch("w", 1, records, days))
    writes = 0
    write = database.write

    async def counted(work: Any) -> Any:
        nonlocal writes
        writes += 1
        return await write(work)

    monkeypatch.setattr(database, "write", counted)
    assert await table.prune(border + 1) == 46
    assert writes == 5 + 2 + 1
    assert await rows_of(database) == [record for record in records if record.at > border]
    assert {day.day for total in (await table.key_totals()).values() for day in total.by_day} == {"2026-05-28"}
    assert await count_of(database, usage_writers) == 1
    assert await table.prune(NOW_MS + 1) == 4
    assert await count_of(database, usage_writers) == 0
    assert await count_of(database, key_days) == 15
