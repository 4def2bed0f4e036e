"""The report on the wire: JSON for programs, CSV for spreadsheets, and which of them is asked for."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

from gateway.endpoints.usage import prefers_csv, report
from gateway.errors import InvalidRequest
from gateway.usage.prices import Prices
from gateway.usage.report import Report, ReportQuery, ReportRow, money_text, report_csv, report_json

if TYPE_CHECKING:
    from starlette.responses import Response

MAY = ReportQuery("key", 1_777_593_600_000, 1_780_272_000_000)
ROWS = [
    ReportRow("mobile app", "k1", 12, 1, 3_000, 500, 1_000, 20, 12_345_678_901, 0),
    ReportRow('=HYPERLINK("http://x","y")', "k2", 3, 0, 10, 20, 0, 0, 300_000_001, 1),
    ReportRow("+49, Büro\nNord", "@k3", 1, 1, 0, 0, 0, 0, None, 1),
]
TOTALS = ReportRow(None, None, 16, 2, 3_010, 520, 1_000, 20, 12_645_678_902, 2)
REPORT = Report(ROWS, TOTALS, ["openai/o9-preview"])

GOLDEN_CSV = (
    "key,keyId,requests,errors,promptTokens,completionTokens,cachedTokens,reasoningTokens,totalTokens,"
    "cost,currency,unpricedRequests\r\n"
    "mobile app,k1,12,1,3000,500,1000,20,3500,12.345678901,USD,0\r\n"
    '"\'=HYPERLINK(""http://x"",""y"")",k2,3,0,10,20,0,0,30,0.300000001,USD,1\r\n'
    "\"'+49, Büro\nNord\",'@k3,1,1,0,0,0,0,0,,USD,1\r\n"
)


class Reader:
    """Answers every query with one report, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[ReportQuery, str]] = []

    async def report(self, query: ReportQuery, currency: str) -> Report:
        """Return the report."""
        self.asked.append((query, currency))
        return REPORT


async def get(query: str, *accept: str, reader: Reader | None = None) -> Response:
    """Call the endpoint."""

    async def written() -> None:
        """Have nothing that waits to be written."""

    parts = {"usage": reader or Reader(), "prices": Prices("USD", {}), "accounts": SimpleNamespace(written=written)}
    state = SimpleNamespace(**parts)
    app = SimpleNamespace(state=state)
    headers = [(b"accept", value.encode()) for value in accept]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "query_string": query.encode(), "headers": headers}
    return await report(Request({**scope, "app": app}))


def numbers(row: ReportRow, cost: Decimal | None) -> dict[str, Any]:
    """Return what the JSON says of a row besides its group."""
    tokens = {
        "prompt": row.prompt_tokens,
        "completion": row.completion_tokens,
        "cached": row.cached_tokens,
        "reasoning": row.reasoning_tokens,
        "total": row.prompt_tokens + row.completion_tokens,
    }
    more = {"tokens": tokens, "cost": cost, "unpricedRequests": row.unpriced_requests}
    return {"requests": row.requests, "errors": row.errors, **more}


def test_json_has_the_agreed_fields_and_exact_costs() -> None:
    """Programs read it, and add it up."""
    body = json.loads(report_json(MAY, "USD", REPORT), parse_float=Decimal)
    costs = [Decimal("12.345678901"), Decimal("0.300000001"), None]
    assert body == {
        "groupBy": "key",
        "from": "2026-05-01T00:00:00Z",
        "to": "2026-06-01T00:00:00Z",
        "currency": "USD",
        "rows": [
            {"key": row.group, "keyId": row.key_id, **numbers(row, cost)} for row, cost in zip(ROWS, costs, strict=True)
        ],
        "totals": numbers(TOTALS, Decimal("12.645678902")),
        "unpricedModels": ["openai/o9-preview"],
    }
    assert list(body) == ["groupBy", "from", "to", "currency", "rows", "totals", "unpricedModels"]


@pytest.mark.parametrize("group_by", ["model", "provider", "day"])
def test_other_groups_are_named_for_what_they_are(group_by: Any) -> None:
    """A row of a model has no key, and one that reached no provider has null."""
    rows = [TOTALS._replace(group="2026-05-01"), TOTALS]
    query = MAY._replace(group_by=group_by)
    body = json.loads(report_json(query, "USD", Report(rows, TOTALS, [])))
    assert [row[group_by] for row in body["rows"]] == ["2026-05-01", None]
    assert not {"key", "keyId"} & body["rows"][0].keys()
    lines = report_csv(query, "EUR", Report(rows, TOTALS, [])).decode().split("\r\n")
    assert lines[0].startswith(f"{group_by},requests,")
    assert lines[1].startswith("2026-05-01,16,")
    assert lines[2].startswith(",16,")


def test_csv_is_what_it_was() -> None:
    """Spreadsheets and scripts of other people hang on every character."""
    assert report_csv(MAY, "USD", REPORT).decode() == GOLDEN_CSV


def test_csv_is_read_back_as_it_was_written() -> None:
    """Commas, quotes and line breaks in the name of a key are part of the name."""
    rows = list(csv.reader(io.StringIO(report_csv(MAY, "USD", REPORT).decode(), newline="")))
    assert [len(row) for row in rows] == [12] * 4
    assert rows[3][0] == "'+49, Büro\nNord"


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(begin: str) -> None:
    """A client chooses the model's name, and an operator opens the file."""
    row = TOTALS._replace(group=f"{begin}cmd|' /C calc'!A0")
    written = report_csv(MAY._replace(group_by="model"), "USD", Report([row], TOTALS, [])).decode()
    (_, cells) = csv.reader(io.StringIO(written, newline=""))
    assert cells[0] == f"'{row.group}"


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (300_000_000, "0.3"),
        (1_000_000_000, "1"),
        (10_000_000_000, "10"),
        (12_345_678_901_234_567_890, "12345678901.23456789"),
        (-1_500_000_000, "-1.5"),
    ],
)
def test_money_is_written_in_digits(nano: int, text: str) -> None:
    """No exponent, no zeros at the end, and none of the digits that floats make up."""
    assert money_text(nano) == text


@pytest.mark.parametrize(
    ("accept", "csv_wins"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("text/csv", True),
        ("TEXT/CSV; header=present", True),
        ("text/*", True),
        ("text/csv, application/json", False),
        ("application/json;q=0.5, text/csv;q=0.6", True),
        ("application/json;q=0.6, text/csv;q=0.5", False),
        ("text/csv;q=0.5, */*;q=0.4", True),
        ("text/csv;q=0.5, */*", False),
        ("text/*;q=1, text/csv;q=0", False),
        ("text/csv ; Q=0.9 , application/json ; q=0.8", True),
        ("text/csv;q=nan, application/json;q=0.9", True),
        ("text/csv;q=0", False),
        ("image/png", False),
        (",,;,/", False),
    ],
)
def test_csv_is_sent_to_those_who_prefer_it(accept: str, csv_wins: bool) -> None:
    """Everybody else gets JSON, as everywhere (RFC 9110, section 12.5.1)."""
    assert prefers_csv(accept) is csv_wins


async def test_the_endpoint_answers_json_unless_asked_otherwise() -> None:
    """The query goes to the store, and the answer is nobody's to keep."""
    reader = Reader()
    answer = await get("from=2026-05-01&to=2026-05-31", reader=reader)
    assert reader.asked == [(MAY, "USD")]
    assert answer.headers["content-type"] == "application/json"
    assert (answer.headers["cache-control"], answer.headers["vary"]) == ("no-store", "Accept")
    assert answer.body == report_json(MAY, "USD", REPORT)


async def test_the_endpoint_answers_csv_as_a_file() -> None:
    """A browser saves it under a name that says what it is."""
    answer = await get("from=2026-05-01&to=2026-05-31", "application/json;q=0.1", "text/csv")
    assert answer.headers.getlist("content-type") == ["text/csv; charset=utf-8; header=present"]
    assert answer.headers["content-disposition"] == 'attachment; filename="usage-by-key-2026-05-01-2026-05-31.csv"'
    assert (answer.headers["cache-control"], answer.headers["vary"]) == ("no-store", "Accept")
    assert bytes(answer.body).decode() == GOLDEN_CSV


async def test_the_endpoint_refuses_what_it_does_not_know() -> None:
    """A misspelt parameter that is ignored gives a wrong report."""
    with pytest.raises(InvalidRequest) as caught:
        await get("groupBy=key&from=&from=")
    assert [error["field"] for error in caught.value.details["errors"]] == ["groupBy", "from", "from"]
