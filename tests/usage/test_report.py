"""The report's numbers, held against sums made the slow way, on both databases."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from gateway.storage import usage as ledger
from gateway.usage.record import Batch, UsageRecord
from gateway.usage.recorder import utc_day
from gateway.usage.report import GroupBy, Report, ReportQuery, ReportRow
from tests.usage.support import DAY_MS, NOW_MS, random_record, record_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.storage.usage import UsageTable

_VALUE: dict[GroupBy, Callable[[UsageRecord], tuple[str | None, str | None]]] = {
    "key": lambda record: (record.key_name, record.key_id),
    "model": lambda record: (record.model, None),
    "provider": lambda record: (record.provider, None),
    "day": lambda record: (utc_day(record.at), None),
}


def is_unpriced(record: UsageRecord) -> bool:
    """Say whether nobody knows what a request to a provider cost in dollars."""
    return record.provider is not None and (record.cost_nano is None or record.currency != "USD")


def row_of(group: tuple[str | None, str | None], records: list[UsageRecord]) -> ReportRow:
    """Add records up, one after the other."""
    costs = [record.cost_nano for record in records if record.currency == "USD" and record.cost_nano is not None]
    return ReportRow(
        *group,
        len(records),
        sum((record.status >= 400 and record.status != 499) or record.error_code is not None for record in records),
        sum(record.prompt_tokens for record in records),
        sum(record.completion_tokens for record in records),
        sum(record.cached_tokens for record in records),
        sum(record.reasoning_tokens for record in records),
        sum(costs) if costs else None,
        sum(is_unpriced(record) for record in records),
    )


def naive(records: list[UsageRecord], query: ReportQuery) -> Report:
    """Make the report from a list."""
    inside = [record for record in records if query.from_ms <= record.at < query.to_ms]
    groups: dict[tuple[str | None, str | None], list[UsageRecord]] = {}
    for record in inside:
        groups.setdefault(_VALUE[query.group_by](record), []).append(record)
    rows = [row_of(group, members) for group, members in groups.items()]
    if query.group_by == "day":
        rows.sort(key=lambda row: row.group or "")
    else:
        rows.sort(key=lambda row: (row.cost_nano is None, -(row.cost_nano or 0), -row.requests, row.group or ""))
    unpriced = sorted({f"{record.provider}/{record.model}" for record in inside if is_unpriced(record)})
    return Report(rows, row_of((None, None), inside), unpriced)


@pytest.mark.parametrize("group_by", ["key", "model", "provider", "day"])
async def test_the_numbers_are_those_of_the_records(table: UsageTable, group_by: GroupBy) -> None:
    """Good and failed requests, prices in two currencies, no prices, and no provider at all."""
    rng = random.Random(group_by)
    records = [random_record(rng, NOW_MS + rng.randrange(10 * DAY_MS)) for _ in range(3_000)]
    await table.write_batch(Batch("w", 1, records, {}))
    for first, last in ((0, 10), (2, 5), (3, 3.0001), (20, 30)):
        query = ReportQuery(group_by, NOW_MS + round(first * DAY_MS), NOW_MS + round(last * DAY_MS))
        assert await table.report(query, "USD") == naive(records, query)


async def test_a_period_includes_its_first_millisecond_and_not_its_last(table: UsageTable) -> None:
    """Two reports of neighbouring periods must add up to one of both."""
    records = [record_of(at=at) for at in (NOW_MS - 1, NOW_MS, NOW_MS + 9, NOW_MS + 10)]
    await table.write_batch(Batch("w", 1, records, {}))
    report = await table.report(ReportQuery("key", NOW_MS, NOW_MS + 10), "USD")
    assert report.totals.requests == 2


async def test_a_row_without_any_price_has_no_cost(table: UsageTable) -> None:
    """Null says that nobody knows; 0 is what a free model costs."""
    records = [
        record_of(model="unheard-of", cost_nano=None, currency=None),
        record_of(model="own", provider="lmstudio", cost_nano=0),
        record_of(model="euro", currency="EUR"),
        record_of(model=None, provider=None, cost_nano=None, currency=None, status=429),
    ]
    await table.write_batch(Batch("w", 1, records, {}))
    report = await table.report(ReportQuery("model", 0, 2 * NOW_MS), "USD")
    assert {row.group: (row.cost_nano, row.unpriced_requests) for row in report.rows} == {
        "own": (0, 0),
        "unheard-of": (None, 1),
        "euro": (None, 1),
        None: (None, 0),
    }
    assert (report.totals.cost_nano, report.totals.unpriced_requests) == (0, 2)
    assert report.unpriced_models == ["openai/euro", "openai/unheard-of"]


async def test_more_rows_than_a_report_has_are_left_out_but_counted(
    table: UsageTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients can make up models without end, and a report must stay one that a person can open."""
    monkeypatch.setattr(ledger, "MAX_ROWS", 5)
    records = [record_of(model=f"m{number:02}", cost_nano=number) for number in range(20)]
    records += [record_of(model=f"unheard-of-{number}", cost_nano=None, currency=None) for number in range(20)]
    await table.write_batch(Batch("w", 1, records, {}))
    report = await table.report(ReportQuery("model", 0, 2 * NOW_MS), "USD")
    assert [row.group for row in report.rows] == ["m19", "m18", "m17", "m16", "m15"]
    assert report.totals == row_of((None, None), records)


async def test_sums_beyond_64_bits_of_one_row_do_not_break_a_report(table: UsageTable) -> None:
    """The largest numbers that the recorder lets through, many times over."""
    records = [record_of(prompt_tokens=10**12, cost_nano=10**15) for _ in range(2_000)]
    await table.write_batch(Batch("w", 1, records, {}))
    report = await table.report(ReportQuery("provider", 0, 2 * NOW_MS), "USD")
    assert (report.totals.prompt_tokens, report.totals.cost_nano) == (2_000 * 10**12, 2_000 * 10**15)
