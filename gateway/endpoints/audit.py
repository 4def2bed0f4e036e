"""The audit log for administrators: who did what, the newest first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.audit.entry import AuditEntry, AuditFilters
from gateway.endpoints.query import Query
from gateway.endpoints.responses import json_response
from gateway.state import state_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PER_PAGE = 20
MAX_PER_PAGE = 100
MAX_PAGE = 1_000_000_000


async def audit(request: Request) -> Response:
    """Answer `GET /admin/audit?actor&action&target&from&to&page&per_page`, in which texts must match exactly.

    A date stands for the whole day (UTC), `to` included; a date-time is exact, `to` excluded. Raises `InvalidRequest`
    for parameters that are not understood, `StorageUnavailable`.
    """
    query = Query(request)
    filters = AuditFilters(
        actor=query.text("actor"),
        action=query.text("action"),
        target=query.text("target"),
        from_ms=query.time_ms("from"),
        until_ms=query.time_ms("to", whole_day=True),
    )
    page = query.number("page", 1, MAX_PAGE)
    per_page = query.number("per_page", PER_PAGE, MAX_PER_PAGE)
    query.refuse_if_wrong()
    found = await state_of(request).audit.page(filters, page, per_page)
    body = {
        "events": [event(seq, entry) for seq, entry in found.entries],
        "total": found.total,
        "page": page,
        "per_page": per_page,
        "head": found.head,
    }
    return json_response(body)


def event(seq: int, entry: AuditEntry) -> dict[str, Any]:
    """Return a row of the audit log as it is shown."""
    return {
        "seq": seq,
        "at": datetime.fromtimestamp(entry.at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{entry.at % 1000:03d}Z",
        "actor": entry.actor,
        # Names can be given again, and by people; the id tells one key from another.
        "actorId": entry.actor_id,
        "action": entry.action,
        "target": entry.target,
        "before": entry.before,
        "after": entry.after,
        "clientIp": entry.client_ip,
        "requestId": entry.request_id,
    }
