"""What the administration of keys, the usage report and the audit log are answered with."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from gateway.openapi.scalars import Count, Currency, Date, KeyName, Model, Page, RequestId, Text, Time

Permissions = Annotated[dict[str, bool], Meta(examples=[{"canUseAI": True, "canReadProjects": False}])]
Secret = Annotated[str, Meta(examples=["lbapi_EXAMPLE0000000000000000000000000000000000000000"])]


class Budget(TypedDict):
    """What a key may cost in a period."""

    amount: Annotated[float, Meta(gt=0, examples=[20.0])]
    currency: Currency
    period: Literal["day", "week", "month", "total"]


class Key(TypedDict):
    """A key without its secret; null limits are the gateway's defaults."""

    name: KeyName
    description: Text
    maskedKey: Annotated[str | None, Meta(examples=["lbapi_Ab3d..."])]
    permissions: Permissions
    rateLimit: Count | None
    aiRateLimit: Count | None
    maxTokensPerRequest: Count | None
    tokensPerDay: Count | None
    maxParallel: Count | None
    budget: Budget | None
    allowedProjects: list[str] | None
    allowedModels: list[Model] | None
    tags: list[str]
    createdAt: Time
    expiresAt: Time | None
    lastUsedAt: Time | None
    status: Literal["active", "expired", "revoked"]


class KeyPage(TypedDict):
    """A page of keys."""

    keys: list[Key]
    total: Count
    page: Page
    per_page: Page


class KeyCreated(TypedDict):
    """A new key. `key` and `warning` are missing when the request is the repeat of one with its Idempotency-Key."""

    message: Annotated[str, Meta(examples=["API key created successfully"])]
    key: NotRequired[Secret]
    name: KeyName
    permissions: Permissions
    createdAt: Time
    expiresAt: Time | None
    warning: NotRequired[Annotated[str, Meta(examples=["Save this key now - it will not be shown again!"])]]


class KeyRotated(TypedDict):
    """A key with its new secret."""

    message: Annotated[str, Meta(examples=["API key rotated successfully"])]
    key: Secret
    name: KeyName
    permissions: Permissions
    createdAt: Time
    expiresAt: Time | None
    previousKeyValidUntil: Time
    warning: Annotated[str, Meta(examples=["Save this key now - it will not be shown again!"])]


class TokenSums(TypedDict):
    """Tokens, added up."""

    prompt: Count
    completion: Count
    total: Count


class KeyDay(TypedDict):
    """What a key came to on one day (UTC)."""

    date: Date
    requests: Count
    errors: Count
    tokens: TokenSums


class KeyStatistics(TypedDict):
    """What a key came to."""

    name: KeyName
    requests: Count
    errors: Count
    tokens: TokenSums
    lastUsedAt: Time | None
    byDay: list[KeyDay]


class KeyTotals(TypedDict):
    """What all keys came to."""

    requests: Count
    errors: Count
    tokens: TokenSums


class KeyReport(TypedDict):
    """What every key came to, and all of them together."""

    keys: list[KeyStatistics]
    totals: KeyTotals


class UsageTokens(TypedDict):
    """Tokens by kind, added up."""

    prompt: Count
    completion: Count
    cached: Count
    reasoning: Count
    total: Count


class UsageTotals(TypedDict):
    """Sums; `cost` is null when no request has a price."""

    requests: Count
    errors: Count
    tokens: UsageTokens
    cost: Annotated[float | None, Meta(examples=[1.25])]
    unpricedRequests: Count


class UsageRow(UsageTotals):
    """The sums of one group, which is named by one of `key`, `model`, `provider` and `day`."""

    key: NotRequired[Annotated[str | None, Meta(examples=["launcher"])]]
    keyId: NotRequired[Annotated[str | None, Meta(examples=["key_0f1e2d3c4b5a6978"])]]
    model: NotRequired[str | None]
    provider: NotRequired[str | None]
    day: NotRequired[str | None]


UsageReport = TypedDict(
    "UsageReport",
    {
        "groupBy": Literal["key", "model", "provider", "day"],
        "from": Time,
        "to": Time,
        "currency": Currency,
        "rows": list[UsageRow],
        "totals": UsageTotals,
        "unpricedModels": list[Model],
    },
)


class AuditEvent(TypedDict):
    """One thing that an administrator did."""

    seq: Page
    at: Annotated[str, Meta(examples=["2026-02-05T14:30:00.250Z"], extra_json_schema={"format": "date-time"})]
    actor: Annotated[str, Meta(examples=["bootstrap-admin"])]
    actorId: Annotated[str, Meta(examples=["bootstrap-admin"])]
    action: Annotated[str, Meta(examples=["key.create"])]
    target: Annotated[str | None, Meta(examples=["launcher"])]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    clientIp: Annotated[str, Meta(examples=["192.0.2.7"])]
    requestId: RequestId


class AuditHead(TypedDict):
    """How many entries the log has, and the MAC of the last one."""

    count: Count
    mac: Annotated[str, Meta(examples=["5e" * 32])]


class AuditPage(TypedDict):
    """A page of the audit log, the newest first; `head` is null when someone has removed it."""

    events: list[AuditEvent]
    total: Count
    page: Page
    per_page: Page
    head: AuditHead | None
