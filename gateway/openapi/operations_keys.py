"""The operations of administrators: keys, usage, the audit log."""

from __future__ import annotations

from typing import Final, get_args

from gateway.auth.service import MAX_IDEMPOTENCY_KEY, MAX_PER_PAGE
from gateway.endpoints import audit, keys
from gateway.errors import IdempotencyKeyReused, InvalidRequest, KeyNameExists
from gateway.openapi.answers_keys import AuditPage, Key, KeyCreated, KeyPage, KeyReport, KeyRotated, UsageReport
from gateway.openapi.model import Answer, Body, Operation, header, paging, query
from gateway.usage.report import TIME_RULE, GroupBy

_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 200}
_FROM: Final = query("from", f"The beginning: {TIME_RULE}.", _TEXT, example="2026-01-31")
_TO: Final = query("to", f"The end: {TIME_RULE}.", _TEXT, example="2026-12-31")

OPERATIONS: Final[dict[str, Operation]] = {
    "POST /admin/keys": Operation(
        "Keys",
        (
            Answer(201, "The key with its secret, which is shown this one time.", KeyCreated),
            Answer(200, "The repeat of an earlier request, without the secret.", KeyCreated),
        ),
        parameters=(
            header(
                "Idempotency-Key",
                "A request that is repeated with the same value makes no second key.",
                {"type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY, "pattern": "^[!-~]+$"},
            ),
        ),
        body=Body(
            "NewKey",
            {"name": "launcher", "permissions": {"canCheckUpdates": True}, "rateLimit": 500, "expiresIn": "90d"},
        ),
        errors=(KeyNameExists, IdempotencyKeyReused),
        description="Nobody can give what they do not hold themselves.",
    ),
    "GET /admin/keys": Operation(
        "Keys",
        (Answer(200, "A page of keys.", KeyPage),),
        parameters=(
            query("tag", "Only keys with this tag.", _TEXT),
            *paging(keys.PER_PAGE, MAX_PER_PAGE, keys.MAX_PAGE),
        ),
        errors=(InvalidRequest,),
    ),
    "GET /admin/keys/stats": Operation("Keys", (Answer(200, "Every key, and all of them together.", KeyReport),)),
    "PATCH /admin/keys/{name}": Operation(
        "Keys",
        (Answer(200, "The key as it is now.", Key),),
        body=Body("KeyChanges", {"rateLimit": 1000, "tags": ["launcher"]}),
        description="Null sets a field back; permissions are merged.",
    ),
    "DELETE /admin/keys/{name}": Operation("Keys", (Answer(204, "The key is no more."),)),
    "POST /admin/keys/{name}/rotate": Operation(
        "Keys",
        (Answer(201, "The key with its new secret.", KeyRotated),),
        body=Body("Rotation", {"overlap": "24h"}, required=False),
    ),
    "GET /admin/usage": Operation(
        "Usage",
        (
            Answer(200, "The report, as JSON unless CSV is preferred.", UsageReport, headers=("Vary",)),
            Answer(
                200,
                "The rows without the totals.",
                {"type": "string"},
                "text/csv",
                ("Vary", "Content-Disposition"),
                "day,requests\r\n2026-02-05,42\r\n",
            ),
        ),
        parameters=(
            query("group_by", "What a row stands for.", {"type": "string", "enum": list(get_args(GroupBy))}),
            _FROM,
            _TO,
        ),
        errors=(InvalidRequest,),
    ),
    "GET /admin/audit": Operation(
        "Audit",
        (Answer(200, "A page of the log.", AuditPage),),
        parameters=(
            query("actor", "Only what this key did, by its name.", _TEXT),
            query("action", "Only acts of this kind.", _TEXT, example="key.create"),
            query("target", "Only what was done to this.", _TEXT),
            _FROM,
            _TO,
            *paging(audit.PER_PAGE, audit.MAX_PER_PAGE, audit.MAX_PAGE),
        ),
        errors=(InvalidRequest,),
    ),
}
