"""The ledger against two thousand requests of every kind: what clients saw, what upstreams counted, what is written."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row

from gateway.auth.bootstrap import ADMIN
from gateway.context import CLIENT_GONE
from gateway.storage.tables import key_days, usage
from gateway.usage.recorder import utc_day
from tests.e2e.admin import new_key, read
from tests.e2e.client import bearer
from tests.e2e.mix import KINDS, PROMPT_ESTIMATE, Books, Call, Kind, Outcome, play, scripts
from tests.e2e.server import ADMIN_KEY, Running, provider, serving, settings
from tests.e2e.tables import embedded_url, rows_of
from tests.upstream import Upstream
from tests.upstream.raw_client import RawClient

pytestmark = pytest.mark.slow

REQUESTS = 2_000
AT_ONCE = 20
# After so many requests the router's clock moves on, so that broken targets are asked again.
ROUND = 100
ROUND_S = 400.0
SEED = 11
AI_LIMIT = 30
BUDGET_NANO = 50_000_000
KEYS: dict[str, dict[str, Any]] = {
    "user": {},
    "other": {},
    "restricted": {"allowedModels": ["fine"]},
    "capped": {"aiRateLimit": AI_LIMIT},
    "thrifty": {"tokensPerDay": 50_000},
    "poor": {"budget": {"amount": 0.05, "currency": "EUR", "period": "month"}},
    "narrow": {"maxParallel": 1},
    "reader": {"permissions": {"canReadProjects": True}},
}
PRICES = """
currency = "EUR"
[models."fine"]
input = 2.5
cached_input = 1.25
output = 10
[models."a/uncounted"]
input = 0.333333333
output = 1.1
[models."stalled"]
input = 1
output = 0.0005
[models."b/*"]
input = 0.15
cached_input = 0.075
output = 0.60
"""
# The same, as the test reads it: per million tokens, what is new, cached and written.
RATES = {
    "a/fine": ("2.5", "1.25", "10"),
    "a/uncounted": ("0.333333333", "0.333333333", "1.1"),
    "a/stalled": ("1", "1", "0.0005"),
}
RATE_OF_B = ("0.15", "0.075", "0.60")
# What a mix of this size has met with; without one of these it would not be the mix that it says it is.
ENDS = {
    *[(200, code) for code in (None, "STREAM_INTERRUPTED", "PROVIDER_ERROR")],
    *[(400, code) for code in ("INVALID_REQUEST", "CONTEXT_LENGTH_EXCEEDED")],
    *[(403, "FORBIDDEN"), (404, "MODEL_NOT_FOUND"), (415, "UNSUPPORTED_MEDIA_TYPE")],
    *[(429, f"{what}_EXCEEDED") for what in ("RATE_LIMIT", "TOKEN_LIMIT", "BUDGET")],
    *[(429, "PROVIDER_RATE_LIMITED"), (CLIENT_GONE, None), (502, "PROVIDER_ERROR")],
}


async def play_all(gateway: Running, books: Books, secrets: dict[str, str]) -> list[Outcome]:
    """Play the mix, a bounded number of requests at a time, and return what the clients saw."""
    randomly = random.Random(SEED)
    kinds = randomly.choices(KINDS, [kind.weight for kind in KINDS], k=REQUESTS)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, kind: Kind) -> Outcome:
        async with gate:
            return await play(gateway, books, kind, secrets[kind.key_name], number, random.Random(number))

    outcomes: list[Outcome] = []
    for start in range(0, REQUESTS, ROUND):
        numbered = list(enumerate(kinds))[start : start + ROUND]
        outcomes += await asyncio.gather(*(one(number, kind) for number, kind in numbered))
        gateway.clock.ahead_s += ROUND_S
    return outcomes


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_the_ledger_agrees_with_two_thousand_requests(
    tmp_path: Path, a: Upstream, b: Upstream, kind: str, request: pytest.FixtureRequest
) -> None:
    """Whoever pays by this ledger must find in it what was asked, what came of it, what it cost, and nothing else."""
    books = Books()
    models = scripts(books, a, b)
    (tmp_path / "prices.toml").write_text(PRICES)
    providers = {name: provider(upstream, models=models) for name, upstream in (("a", a), ("b", b))}
    url = embedded_url(tmp_path) if kind == "sqlite" else request.getfixturevalue("postgres_url")
    prices = {"prices": tmp_path / "prices.toml"}
    configured = settings(tmp_path, providers, usage=prices, database={"url": url})
    async with serving(configured) as gateway:
        secrets = {name: await new_key(gateway, name, **fields) for name, fields in KEYS.items()}
        outcomes = await play_all(gateway, books, secrets | {"nobody": "lbapi_nobodys-key"})
        await gateway.until(lambda: not any(gateway.in_flight()))
        stats = await read(gateway, "/admin/keys/stats")
        reports = {by: await read(gateway, f"/admin/usage?group_by={by}") for by in ("key", "model", "provider", "day")}
        csv = await csv_by_model(gateway)
    records = await rows_of(url, usage)
    known = [outcome for outcome in outcomes if outcome.key_name != "nobody"]
    assert {(outcome.status, outcome.code) for outcome in known} >= ENDS
    assert_same(known, records, books)
    assert_limits_held(known)
    assert sum(len(calls) for calls in books.calls.values()) == len(a.chat_requests) + len(b.chat_requests)
    assert_days_agree(await rows_of(url, key_days), records)
    assert_stats_agree(stats, records)
    for by, report in reports.items():
        assert_report_agrees(by, report, records)
    assert csv.count("\r\n") == 1 + len(reports["model"]["rows"])


async def csv_by_model(gateway: Running) -> str:
    """Return the report by model as CSV."""
    async with RawClient(gateway.port) as client:
        await client.send("GET", "/admin/usage?group_by=model", headers=bearer(ADMIN_KEY) | {"accept": "text/csv"})
        return (await client.reply()).body.decode()


def assert_same(outcomes: list[Outcome], records: list[Row[Any]], books: Books) -> None:
    """Hold that there is one record for each request, and that it says what client and upstream say."""
    found = {record.request_id: record for record in records}
    assert Counter(record.request_id for record in records) == Counter(outcome.request_id for outcome in outcomes)
    wrong = []
    for outcome in outcomes:
        record, calls = found[outcome.request_id], books.calls.get(outcome.request_id, [])
        expected = expected_record(outcome, calls)
        shown = {name: getattr(record, name) for name in expected}
        if outcome.model == "flowing" and outcome.status == CLIENT_GONE:
            # What was on its way when the client left is counted too.
            assert expected["completion_tokens"] <= shown.pop("completion_tokens") <= -(-calls[-1].chars // 4)
            del expected["completion_tokens"]
        if shown != expected:
            wrong.append(
                (outcome, {name: (shown[name], expected[name]) for name in shown if shown[name] != expected[name]})
            )
        if outcome.status == 200 and "x-lunarbit-attempts" in outcome.headers:
            assert outcome.headers["x-lunarbit-attempts"] == str(record.attempts)
            assert outcome.headers["x-lunarbit-provider"] == record.provider
        assert record.latency_ms > 0
        assert record.ttft_ms is None or 0 < record.ttft_ms <= record.latency_ms
    assert not wrong, f"{len(wrong)} differ, for example {wrong[:3]}"


def expected_record(outcome: Outcome, calls: list[Call]) -> dict[str, Any]:
    """Return what the ledger must say about a request, by what its client and the upstreams say."""
    was_answered = bool(outcome.text) if outcome.mode.stream else outcome.status == 200
    last = calls[-1] if was_answered else None
    is_whole = outcome.status == 200 and outcome.code is None
    tokens = _tokens(last, outcome) if last and is_whole and last.usage else None
    estimate = (PROMPT_ESTIMATE, -(-len(outcome.text) // 4), 0, 0) if last else (0, 0, 0, 0)
    prompt, completion, cached, reasoning = tokens or estimate
    return {
        "key_name": outcome.key_name,
        "route": outcome.mode.path,
        "status": outcome.status,
        "error_code": outcome.code,
        "attempts": len(calls),
        "provider": last.upstream if last else None,
        "model": outcome.model if last else None,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": cached,
        "reasoning_tokens": reasoning,
        "estimated": last is not None and tokens is None,
        "cost_nano": _cost_nano(last.upstream, outcome.model, prompt, completion, cached) if last else None,
    }


def _tokens(call: Call, outcome: Outcome) -> tuple[int, int, int, int]:
    assert call.usage is not None
    assert call.chars == len(outcome.text)
    return (
        call.usage["prompt_tokens"],
        call.usage["completion_tokens"],
        call.usage["prompt_tokens_details"]["cached_tokens"],
        call.usage["completion_tokens_details"]["reasoning_tokens"],
    )


def _cost_nano(upstream: str, model: str, prompt: int, completion: int, cached: int) -> int | None:
    rate = RATE_OF_B if upstream == "b" else RATES.get(f"{upstream}/{model}")
    if rate is None:
        return None
    new, old, written = map(Fraction, rate)
    # Python rounds half to even, as the ledger does.
    return round(((prompt - cached) * new + cached * old + completion * written) * 1_000)


def assert_limits_held(outcomes: list[Outcome]) -> None:
    """Hold that limits let through what they promise."""
    of = defaultdict(list)
    for outcome in outcomes:
        of[outcome.key_name].append(outcome)
    capped = Counter(outcome.code for outcome in of["capped"])
    assert capped == {None: AI_LIMIT, "RATE_LIMIT_EXCEEDED": len(of["capped"]) - AI_LIMIT}
    assert {outcome.code for outcome in of["narrow"]} == {None, "RATE_LIMIT_EXCEEDED"}
    assert {outcome.status for outcome in of["reader"]} == {403}


def assert_days_agree(days: list[Row[Any]], records: list[Row[Any]]) -> None:
    """Hold that the counters of each key and day are the sums of its records."""
    chatting = [day for day in days if day.key_id != ADMIN.id]
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        sums[record.key_id] += Counter(_sums(record))
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for day in chatting:
        found[day.key_id] += Counter({name: getattr(day, name) for name in _SUMMED})
    assert found == sums
    last = {record.key_id: record.at for record in sorted(records, key=lambda record: record.at)}
    assert {day.key_id: day.last_used_at for day in sorted(chatting, key=lambda day: day.day)} == last


_SUMMED = ("requests", "errors", "prompt_tokens", "completion_tokens", "cost_nano")


def _sums(record: Row[Any]) -> dict[str, int]:
    is_error = record.status != CLIENT_GONE and record.error_code is not None
    tokens = (record.prompt_tokens, record.completion_tokens)
    return dict(zip(_SUMMED, (1, int(is_error), *tokens, record.cost_nano or 0), strict=True))


def assert_stats_agree(stats: Any, records: list[Row[Any]]) -> None:
    """Hold that the statistics of the keys show the sums of the records."""
    shown = {entry.pop("name"): entry for entry in stats["keys"]}
    assert shown.keys() == KEYS.keys()
    for name, entry in shown.items():
        own = [record for record in records if record.key_name == name]
        assert _shown(entry) == _shown(_added(own))
        assert _shown(_of_days(entry["byDay"])) == _shown(entry)
        assert entry["lastUsedAt"].endswith("Z")
    assert _shown(stats["totals"]) == _shown(_added(records))


def _added(records: list[Row[Any]]) -> dict[str, Any]:
    sums = sum((Counter(_sums(record)) for record in records), Counter[str]())
    prompt, completion = sums["prompt_tokens"], sums["completion_tokens"]
    tokens = {"prompt": prompt, "completion": completion, "total": prompt + completion}
    return {"requests": sums["requests"], "errors": sums["errors"], "tokens": tokens}


def _of_days(days: list[dict[str, Any]]) -> dict[str, Any]:
    tokens = {name: sum(day["tokens"][name] for day in days) for name in ("prompt", "completion", "total")}
    return {"tokens": tokens, **{name: sum(day[name] for day in days) for name in ("requests", "errors")}}


def _shown(entry: dict[str, Any]) -> tuple[int, ...]:
    tokens = entry["tokens"]
    return (entry["requests"], entry["errors"], tokens["prompt"], tokens["completion"], tokens["total"])


def assert_report_agrees(by: str, report: Any, records: list[Row[Any]]) -> None:
    """Hold that a report shows the sums of the records of each group, and of all."""
    groups = defaultdict(list)
    for record in records:
        groups[getattr(record, {"key": "key_name"}.get(by, by)) if by != "day" else _day(record)].append(record)
    assert len(report["rows"]) == len(groups)
    for row in report["rows"]:
        assert_row_agrees(row, groups[row[by]])
    assert_row_agrees(report["totals"], records)
    unpriced = {f"{r.provider}/{r.model}" for r in records if r.provider is not None and r.cost_nano is None}
    assert report["unpricedModels"] == sorted(unpriced)
    assert report["currency"] == "EUR"


def assert_row_agrees(row: dict[str, Any], records: list[Row[Any]]) -> None:
    """Hold that a row of a report is the sum of these records."""
    assert _shown(row) == _shown(_added(records))
    assert row["tokens"]["cached"] == sum(record.cached_tokens for record in records)
    assert row["tokens"]["reasoning"] == sum(record.reasoning_tokens for record in records)
    costs = [record.cost_nano for record in records if record.cost_nano is not None]
    assert (None if row["cost"] is None else round(row["cost"] * 10**9)) == (sum(costs) if costs else None)
    assert row["unpricedRequests"] == sum(r.provider is not None and r.cost_nano is None for r in records)


def _day(record: Row[Any]) -> str:
    return utc_day(record.at)
