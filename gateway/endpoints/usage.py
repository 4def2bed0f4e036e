"""What was used and what it cost, for operators."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from starlette.responses import Response

from gateway.endpoints.responses import json_response
from gateway.state import state_of
from gateway.usage.report import csv_name, parse_report_query, report_csv, report_json

if TYPE_CHECKING:
    from starlette.requests import Request

_RANGE = re.compile(r"\s*([\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+)\s*(;[^,]*)?", re.ASCII)
_QUALITY = re.compile(r"(?i:;\s*q\s*=\s*)(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)", re.ASCII)


async def report(request: Request) -> Response:
    """Answer `GET /admin/usage?group_by=key|model|provider|day&from&to`, as CSV if that is what is preferred.

    Raises `InvalidRequest` for parameters that are not understood, `StorageUnavailable` without a database.
    """
    state = state_of(request)
    query = parse_report_query(request.query_params.multi_items(), int(time.time() * 1000))
    currency = state.prices.currency
    await state.accounts.written()
    found = await state.usage.report(query, currency)
    if not prefers_csv(",".join(request.headers.getlist("accept"))):
        return json_response(report_json(query, currency, found), headers={"vary": "Accept"})
    headers = {
        "cache-control": "no-store",
        "vary": "Accept",
        "content-type": "text/csv; charset=utf-8; header=present",
        "content-disposition": f'attachment; filename="{csv_name(query)}"',
    }
    return Response(report_csv(query, currency, found), headers=headers)


def prefers_csv(accept: str) -> bool:
    """Say whether an `Accept` header ranks text/csv above application/json (RFC 9110, section 12.5.1)."""
    ranges: dict[str, float] = {}
    for part in accept.split(","):
        if match := _RANGE.fullmatch(part):
            ranges[match[1].lower()] = _quality(match[2] or "")
    return _rank("text/csv", ranges) > _rank("application/json", ranges)


def _quality(parameters: str) -> float:
    match = _QUALITY.search(parameters)
    return float(match[1]) if match else 1.0


def _rank(media_type: str, ranges: dict[str, float]) -> float:
    """Return the quality of the most specific range that fits."""
    kind = media_type.partition("/")[0]
    return next((ranges[name] for name in (media_type, f"{kind}/*", "*/*") if name in ranges), 0.0)
