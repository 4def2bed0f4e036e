"""The report on usage: what may be asked, what the numbers are, and how they look as JSON and as CSV.

A request is an error when its status is 400 or more, except 499 for clients that left, or when its stream ended with an
error event. One that reached no provider has neither a price nor tokens; one that did and has no cost in the present
currency is unpriced.
"""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, get_args

import msgspec

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

GroupBy = Literal["key", "model", "provider", "day"]
DAY_MS: Final = 86_400_000
DEFAULT_DAYS: Final = 30
# Clients can name models that no list holds, so a report must not grow with their imagination.
MAX_ROWS: Final = 10_000

_GROUPS: Final[dict[str, GroupBy]] = {name: name for name in get_args(GroupBy)}
_PARAMETERS: Final = ("group_by", "from", "to")
_NANO: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_370_764_800_000
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATE_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
TIME_RULE: Final = "must be a date (2026-01-31) or a date-time with Z or an offset, from 1970 to 9998"
# Spreadsheets take a cell that begins with one of these for a formula (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_COUNTS: Final = ("requests", "errors")
_TOKENS: Final = ("prompt", "completion", "cached", "reasoning", "total")


class ReportQuery(NamedTuple):
    """What is asked: a group, and the time from `from_ms` to before `to_ms`, in Unix milliseconds."""

    group_by: GroupBy
    from_ms: int
    to_ms: int


class ReportRow(NamedTuple):
    """The sums of one group. `cost_nano` is None when no request of it is priced; `key_id` only stands for keys.

    `group` is the key's name, the model, the provider, or the day (`YYYY-MM-DD`); None where no provider was reached.
    """

    group: str | None
    key_id: str | None
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_nano: int | None
    unpriced_requests: int


class Report(NamedTuple):
    """At most `MAX_ROWS` rows, those with the highest cost first (days in order), and the sums of all.

    `unpriced_models` are written `provider/model`, in order.
    """

    rows: list[ReportRow]
    totals: ReportRow
    unpriced_models: list[str]


class DayTotals(NamedTuple):
    """What a key did on one day (`YYYY-MM-DD`, UTC)."""

    day: str
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int


class KeyTotals(NamedTuple):
    """What a key did in all; `last_used_at` is Unix milliseconds, `by_day` in order."""

    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    last_used_at: int
    by_day: list[DayTotals]


class UsageReader(Protocol):
    """Where reports come from."""

    async def report(self, query: ReportQuery, currency: str) -> Report:
        """Add up the records of the query's time; only costs in `currency` count. Raises `StorageUnavailable`."""
        ...


def parse_report_query(parameters: Iterable[tuple[str, str]], now_ms: int) -> ReportQuery:
    """Read the parameters of `GET /admin/usage`. Raises `InvalidRequest` that names every one that is wrong.

    A date stands for the whole day (UTC), `to` included; a date-time is exact, `to` excluded. Without them: the last
    30 days, today included.
    """
    errors: list[tuple[str, str]] = []
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in _PARAMETERS:
            errors.append((name, f"is not a parameter here; there are {', '.join(_PARAMETERS)}"))
        elif name in given:
            errors.append((name, "is given twice"))
        given[name] = value
    group_by = given.get("group_by", "key")
    if group_by not in _GROUPS:
        errors.append(("group_by", f"must be one of {', '.join(_GROUPS)}"))
    from_ms, to_ms = _period(given, now_ms, errors)
    if errors:
        msg = "The report cannot be made from these parameters"
        raise InvalidRequest(msg, errors=errors)
    return ReportQuery(_GROUPS[group_by], from_ms, to_ms)


def _period(given: dict[str, str], now_ms: int, errors: list[tuple[str, str]]) -> tuple[int, int]:
    bounds: dict[str, int] = {}
    for name in ("from", "to"):
        if name in given:
            bound = instant_ms(given[name], whole_day=name == "to")
            if bound is None:
                errors.append((name, TIME_RULE))
                return 0, 0
            bounds[name] = bound
    to_ms = bounds.get("to", now_ms - now_ms % DAY_MS + DAY_MS)
    from_ms = bounds.get("from", max(0, to_ms - DEFAULT_DAYS * DAY_MS))
    if from_ms >= to_ms:
        errors.append(("from", "must be before to"))
    return from_ms, to_ms


def instant_ms(text: str, *, whole_day: bool) -> int | None:
    """Return a time in Unix milliseconds, rounded up; the end of a date's day if `whole_day`. None if it is neither."""
    # A + that was not escaped arrives as a space.
    text = text.replace(" ", "+")
    try:
        if _DATE.fullmatch(text):
            found = (date.fromisoformat(text).toordinal() - _EPOCH.toordinal() + whole_day) * DAY_MS
        elif _DATE_TIME.fullmatch(text):
            found = -((_EPOCH - datetime.fromisoformat(text.upper())) // timedelta(milliseconds=1))
        else:
            return None
    except ValueError:
        return None
    return found if 0 <= found <= _LAST_MS else None


def time_text(at_ms: int) -> str:
    """Return Unix milliseconds as ISO 8601 in UTC with `Z`; milliseconds only where there are some."""
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds") + "Z"


def money_text(nano: int) -> str:
    """Return billionths of a unit as a plain decimal number, exactly and without trailing zeros."""
    whole, rest = divmod(abs(nano), _NANO)
    sign = "-" if nano < 0 else ""
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".")


def report_json(query: ReportQuery, currency: str, report: Report) -> bytes:
    """Return the report as the JSON of `GET /admin/usage`."""
    rows = [{**_group(query.group_by, row), **_numbers(row)} for row in report.rows]
    body = {
        "groupBy": query.group_by,
        "from": time_text(query.from_ms),
        "to": time_text(query.to_ms),
        "currency": currency,
        "rows": rows,
        "totals": _numbers(report.totals),
        "unpricedModels": report.unpriced_models,
    }
    return msgspec.json.encode(body)


def _group(group_by: GroupBy, row: ReportRow) -> dict[str, str | None]:
    return {"key": row.group, "keyId": row.key_id} if group_by == "key" else {group_by: row.group}


def _token_counts(row: ReportRow) -> tuple[int, ...]:
    total = row.prompt_tokens + row.completion_tokens
    return row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.reasoning_tokens, total


def _numbers(row: ReportRow) -> dict[str, Any]:
    return {
        "requests": row.requests,
        "errors": row.errors,
        "tokens": dict(zip(_TOKENS, _token_counts(row), strict=True)),
        # The digits as they are: a float would make 0.1 and 0.2 into 0.30000000000000004.
        "cost": None if row.cost_nano is None else msgspec.Raw(money_text(row.cost_nano).encode()),
        "unpricedRequests": row.unpriced_requests,
    }


def report_csv(query: ReportQuery, currency: str, report: Report) -> bytes:
    """Return the rows as CSV (RFC 4180) in UTF-8 with a header line, and without totals, which would add up twice."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    groups = ["key", "keyId"] if query.group_by == "key" else [query.group_by]
    writer.writerow([*groups, *_COUNTS, *(f"{name}Tokens" for name in _TOKENS), "cost", "currency", "unpricedRequests"])
    for row in report.rows:
        cost = "" if row.cost_nano is None else money_text(row.cost_nano)
        cells = [_cell(value) for value in _group(query.group_by, row).values()]
        numbers = [row.requests, row.errors, *_token_counts(row), cost, currency, row.unpriced_requests]
        writer.writerow([*cells, *numbers])
    return out.getvalue().encode("utf-8", "replace")


def csv_name(query: ReportQuery) -> str:
    """Return a file name for the CSV: what it is by, and its first and last day."""
    first, last = time_text(query.from_ms)[:10], time_text(query.to_ms - 1)[:10]
    return f"usage-by-{query.group_by}-{first}-{last}.csv"


def _cell(text: str | None) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    text = text or ""
    return f"'{text}" if text.startswith(_FORMULA) else text
