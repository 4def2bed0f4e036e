"""The parameters of the report: every form that is allowed, and every mistake named."""

from __future__ import annotations

import pytest

from gateway.errors import InvalidRequest
from gateway.usage.report import ReportQuery, parse_report_query, time_text
from tests.usage.support import DAY_MS, NOW_MS

TODAY_MS = NOW_MS - NOW_MS % DAY_MS


def parsed(**parameters: str) -> ReportQuery:
    """Read parameters; `from_` stands for `from`."""
    return parse_report_query([(name.rstrip("_"), value) for name, value in parameters.items()], NOW_MS)


def refused(*parameters: tuple[str, str]) -> list[dict[str, str]]:
    """Return what is said against parameters."""
    with pytest.raises(InvalidRequest) as caught:
        parse_report_query(parameters, NOW_MS)
    errors: list[dict[str, str]] = caught.value.details["errors"]
    return errors


def test_without_parameters_it_is_the_last_30_days_by_key() -> None:
    """Whole days, so that the first day of a chart is not a stump."""
    assert parsed() == ReportQuery("key", TODAY_MS - 29 * DAY_MS, TODAY_MS + DAY_MS)


def test_dates_are_whole_days_and_include_the_last() -> None:
    """A person who asks for May wants its 31st day as well."""
    query = parsed(group_by="day", from_="2026-05-01", to="2026-05-31")
    assert (time_text(query.from_ms), time_text(query.to_ms)) == ("2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01T10:00Z", "2026-05-01T10:00:00Z"),
        ("2026-05-01t10:00:30z", "2026-05-01T10:00:30Z"),
        ("2026-05-01T10:00:30.25Z", "2026-05-01T10:00:30.250Z"),
        ("2026-05-01T10:00:30.250001Z", "2026-05-01T10:00:30.251Z"),
        ("2026-05-01T10:00:00+02:00", "2026-05-01T08:00:00Z"),
        ("2026-05-01T10:00:00 02:00", "2026-05-01T08:00:00Z"),
        ("2026-05-01T22:00:00-05:30", "2026-05-02T03:30:00Z"),
    ],
)
def test_date_times_are_exact(text: str, expected: str) -> None:
    """Whoever asks to the second is a program; many of them leave the + unescaped, which arrives as a space."""
    query = parsed(from_=text, to="2027-01-01")
    assert time_text(query.from_ms) == expected
    assert time_text(parsed(from_="2025-01-01", to=text).to_ms) == expected


def test_one_end_of_the_period_is_enough() -> None:
    """From some day until now, or the 30 days before some day."""
    assert parsed(from_="2026-01-01").to_ms == TODAY_MS + DAY_MS
    query = parsed(to="2026-01-30")
    assert (time_text(query.from_ms), time_text(query.to_ms)) == ("2026-01-01T00:00:00Z", "2026-01-31T00:00:00Z")
    assert parsed(to="1970-01-02").from_ms == 0


def test_every_mistake_is_named() -> None:
    """Whoever calls this by hand wants to mend it all at once."""
    errors = refused(("group_by", "team"), ("from", "yesterday"), ("limit", "5"), ("to", "2026-01-01"), ("to", "x"))
    assert [error["field"] for error in errors] == ["limit", "to", "group_by", "from"]
    assert errors[2]["message"] == "must be one of key, model, provider, day"


@pytest.mark.parametrize(
    "text",
    [
        *("", "2026", "20260101", "2026-W01-1", "2026-02-30", "2026-13-01", "2026-01-01T25:00Z", "2026-01-01T10:00:00"),
        *("2026-01-01 10:00", "1780000000", "0001-01-01", "9999-12-31", "1969-12-31T23:59:59Z", "\uff12026-01-01"),
        *("2026-01-01T00:00:00+99:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01\n"),
    ],
)
@pytest.mark.parametrize("name", ["from", "to"])
def test_what_is_no_time_is_refused(name: str, text: str) -> None:
    """A guess at what was meant would answer another question."""
    (error,) = refused((name, text))
    assert error["field"] == name


def test_a_period_that_ends_before_it_begins_is_refused() -> None:
    """It would answer with an empty report, which looks as if nothing had been used."""
    assert refused(("from", "2026-05-02"), ("to", "2026-05-01")) == [{"field": "from", "message": "must be before to"}]
    assert refused(("from", "2030-01-01"))[0]["field"] == "from"
