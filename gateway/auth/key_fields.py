"""Reading what administrators send about a key: every field by its rule, all mistakes told at once."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gateway.auth.keys import NANO, ApiKey
from gateway.auth.principal import Budget, KeyLimits, Permission
from gateway.errors import InvalidRequest
from gateway.field_rules import PRINTABLE, PRINTABLE_LINES, Schema, object_schema, or_null, takes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_TAGS = 20
MAX_LISTED = 200
PERIODS = ("day", "week", "month", "total")
_MAX_NAME = 64
_MAX_MODEL = 200
_MAX_DESCRIPTION = 1_000
_MAX_NUMBER = 2**53
_MAX_AMOUNT = 10**9
_RESERVED = frozenset({".", "..", "stats"})
_DURATION = re.compile(r"([0-9]{1,9})([mhdwy])", re.ASCII)
_DURATION_PATTERN = f"^{_DURATION.pattern}$"
_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
_LONGEST_MS = 10 * _UNIT_MS["y"]
_DURATION_RULE = "must be a number and a unit (m minutes, h, d, w, y) such as 90d, at most 10y"


class _Wrong(Exception):
    """One field breaks its rule; the text is the rule."""


def new_key(fields: Mapping[str, Any], key_id: str, now_ms: int, currency: str) -> ApiKey:
    """Return the key that `fields` describe. Raises `InvalidRequest` with every mistake."""
    values = _read(fields, {"name": name_of} | _RULES)
    if "name" not in fields:
        values.errors.append(("name", "is required"))
    values.refuse_if_wrong()
    key = ApiKey(key_id, values.given["name"], now_ms)
    return _applied(key, values.given, now_ms, currency)


def changed_key(key: ApiKey, fields: Mapping[str, Any], now_ms: int, currency: str) -> ApiKey:
    """Return `key` with `fields` changed: a field that is absent stays, null resets it, permissions are merged.

    Raises `InvalidRequest`.
    """
    values = _read(fields, _RULES)
    if "name" in fields:
        values.errors = [error for error in values.errors if error[0] != "name"]
        values.errors.append(("name", "cannot be changed"))
    values.refuse_if_wrong()
    return _applied(key, values.given, now_ms, currency)


def overlap_ms(fields: Mapping[str, Any], default_ms: int) -> int:
    """Return for how long the old secret stays valid after a rotation, in milliseconds. Raises `InvalidRequest`."""
    values = _read(fields, {"overlap": _overlap})
    values.refuse_if_wrong()
    overlap: int | None = values.given.get("overlap")
    return default_ms if overlap is None else overlap


@takes(
    type="string", minLength=1, maxLength=_MAX_NAME, pattern=r"^[^/\u0000-\u0020\u007f-\u00a0]+$", examples=["launcher"]
)
def name_of(value: Any) -> str:
    """Return a key's name: 1-64 characters, no slash, nothing unprintable, no outer spaces, not one of the reserved."""
    ok = isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value == value.strip()
    if not ok or "/" in value or not value.isprintable() or value in _RESERVED:
        raise _Wrong(
            "must be 1 to 64 printable characters without a slash or outer spaces, and not '.', '..' or 'stats'"
        )
    return str(value)


class _Values:
    """The fields that were read, and what is wrong with the others."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.errors: list[tuple[str, str]] = []

    def refuse_if_wrong(self) -> None:
        if self.errors:
            field, rule = self.errors[0]
            raise InvalidRequest(f"{field}: {rule}", errors=self.errors)


def _read(fields: Mapping[str, Any], rules: Mapping[str, Callable[[Any], Any]]) -> _Values:
    values = _Values()
    for field, value in fields.items():
        rule = rules.get(field)
        if rule is None:
            values.errors.append((field, f"is not a field here; there are {', '.join(rules)}"))
            continue
        try:
            values.given[field] = rule(value)
        except _Wrong as wrong:
            values.errors.append((field, str(wrong)))
    return values


def _applied(key: ApiKey, given: dict[str, Any], now_ms: int, currency: str) -> ApiKey:
    """Return `key` with the fields that were given."""
    budget = given.get("budget")
    if budget is not None and budget.currency != currency:
        rule = f"must be {currency}, the currency of the price list" if currency else "needs a price list first"
        raise InvalidRequest(f"budget.currency: {rule}", errors=[("budget.currency", rule)])
    limits = {name: given[field] for field, name in _LIMIT_FIELDS.items() if field in given}
    changes = {name: given[field] for field, name in _KEY_FIELDS.items() if field in given}
    if "permissions" in given:
        flags = given["permissions"]
        kept = key.permissions - {name for name, flag in flags.items() if not flag}
        changes["permissions"] = kept | {name for name, flag in flags.items() if flag}
    if "expiresIn" in given:
        changes["expires_at"] = None if given["expiresIn"] is None else now_ms + given["expiresIn"]
    return replace(key, limits=KeyLimits(**{**key.limits._asdict(), **limits}), **changes)


@takes(type=["string", "null"], maxLength=_MAX_DESCRIPTION, pattern=PRINTABLE_LINES)
def _description(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_DESCRIPTION or not value.replace("\n", "").isprintable():
        raise _Wrong(f"must be a text of at most {_MAX_DESCRIPTION} printable characters and line breaks")
    return value


@takes(
    type="object",
    properties={str(permission): {"type": "boolean"} for permission in Permission},
    additionalProperties=False,
    examples=[{"canUseAI": True}],
)
def _permissions(value: Any) -> dict[Permission, bool]:
    known = [str(permission) for permission in Permission]
    if not isinstance(value, dict):
        raise _Wrong("must be an object of permissions, each true or false")
    for name, flag in value.items():
        if name not in known:
            raise _Wrong(f"{name[:100]!r} is no permission; there are {', '.join(known)}")
        if not isinstance(flag, bool):
            raise _Wrong(f"{name} must be true or false")
    return {Permission(name): flag for name, flag in value.items()}


@takes(type=["integer", "null"], minimum=1, maximum=_MAX_NUMBER)
def _count(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= _MAX_NUMBER:
        raise _Wrong("must be a whole number of 1 or more, or null for the default")
    return value


def _duration(value: Any) -> int:
    """Return `<n>m|h|d|w|y` in milliseconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _Wrong(_DURATION_RULE)
    length_ms = int(match[1]) * _UNIT_MS[match[2]]
    if not 0 < length_ms <= _LONGEST_MS:
        raise _Wrong(_DURATION_RULE)
    return length_ms


@takes(type=["string", "null"], pattern=_DURATION_PATTERN, examples=["90d"])
def _expiry(value: Any) -> int | None:
    return None if value is None else _duration(value)


@takes(type=["string", "null"], pattern=f"^0$|{_DURATION_PATTERN}", examples=["24h"])
def _overlap(value: Any) -> int | None:
    return 0 if value == "0" else _expiry(value)


def _texts(value: Any, most: int, longest: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise _Wrong(f"must be a list of at most {most} texts")
    for text in value:
        if not isinstance(text, str) or not 0 < len(text) <= longest or not text.isprintable():
            raise _Wrong(f"must hold printable texts of 1 to {longest} characters")
    return tuple(dict.fromkeys(value))


def _text_schema(longest: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": PRINTABLE}


def _restriction(longest: int) -> Callable[[Any], tuple[str, ...] | None]:
    @takes(**or_null({"type": "array", "minItems": 1, "maxItems": MAX_LISTED, "items": _text_schema(longest)}))
    def rule(value: Any) -> tuple[str, ...] | None:
        if value == []:
            raise _Wrong("must not be empty; null allows all")
        return None if value is None else _texts(value, MAX_LISTED, longest)

    return rule


@takes(type=["array", "null"], maxItems=MAX_TAGS, items=_text_schema(_MAX_NAME))
def _tags(value: Any) -> tuple[str, ...]:
    return () if value is None else _texts(value, MAX_TAGS, _MAX_NAME)


@takes(
    type=["object", "null"],
    properties={
        "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": _MAX_AMOUNT},
        "currency": {"type": "string", "examples": ["USD"]},
        "period": {"type": "string", "enum": list(PERIODS)},
    },
    required=["amount", "currency", "period"],
    additionalProperties=False,
)
def _budget(value: Any) -> Budget | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"amount", "currency", "period"}:
        raise _Wrong("must be an object with amount, currency and period, or null")
    amount, currency, period = value["amount"], value["currency"], value["period"]
    if type(amount) not in (int, float) or not 0 < amount <= _MAX_AMOUNT:
        raise _Wrong(f"amount must be a number above 0, at most {_MAX_AMOUNT}")
    if period not in PERIODS:
        raise _Wrong(f"period must be one of {', '.join(PERIODS)}")
    nano = int(Decimal(repr(amount)) * NANO)
    if not isinstance(currency, str) or nano < 1:
        raise _Wrong("currency must be a text such as USD, and amount at least 0.000000001")
    return Budget(nano, currency, period)


_LIMIT_FIELDS = {
    "rateLimit": "rate_limit",
    "aiRateLimit": "ai_rate_limit",
    "maxTokensPerRequest": "max_tokens_per_request",
    "tokensPerDay": "tokens_per_day",
    "maxParallel": "max_parallel",
    "budget": "budget",
}
_KEY_FIELDS = {
    "description": "description",
    "allowedProjects": "allowed_projects",
    "allowedModels": "allowed_models",
    "tags": "tags",
}
_RULES: dict[str, Callable[[Any], Any]] = {
    "description": _description,
    "permissions": _permissions,
    "rateLimit": _count,
    "aiRateLimit": _count,
    "maxTokensPerRequest": _count,
    "tokensPerDay": _count,
    "maxParallel": _count,
    "budget": _budget,
    "expiresIn": _expiry,
    "allowedProjects": _restriction(_MAX_NAME),
    "allowedModels": _restriction(_MAX_MODEL),
    "tags": _tags,
}


def body_schemas() -> dict[str, Schema]:
    """Return the JSON Schemas of all bodies that are read here, by their names."""
    return {
        "NewKey": object_schema({"name": name_of} | _RULES, ("name",)),
        "KeyChanges": object_schema(_RULES),
        "Rotation": object_schema({"overlap": _overlap}),
    }
