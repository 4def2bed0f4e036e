"""Nobody can make, change or remove a key that may do more than they may themselves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.auth.principal import Budget, KeyLimits, Permission
from gateway.errors import Forbidden

if TYPE_CHECKING:
    from gateway.auth.keys import ApiKey
    from gateway.auth.principal import Principal


class Defaults(NamedTuple):
    """The limits of a key that has none of its own, in requests per window; 0 is no limit."""

    rate_limit: int
    ai_rate_limit: int


def check_not_wider(caller: Principal, key: ApiKey, defaults: Defaults) -> None:
    """Raise `Forbidden`, which names it, if `key` has what `caller` has not: permissions, lists, limits or time."""
    if caller.is_root:
        return
    wider = [f"permissions.{name}" for name in sorted(key.permissions - caller.permissions)]
    wider += _wider_lists(caller, key)
    wider += _wider_limits(caller.limits, key.limits, defaults)
    if _number(key.expires_at) > _number(caller.expires_at):
        wider.append("expiresAt")
    if wider:
        msg = f"The key would have more than the key that asks: {', '.join(wider)}"
        details: dict[str, Any] = {"wider": wider}
        missing = sorted(key.permissions - caller.permissions)
        details["required_permission"] = str(missing[0] if missing else Permission.CREATE_KEYS)
        raise Forbidden(msg, details=details)


def _wider_lists(caller: Principal, key: ApiKey) -> list[str]:
    pairs = {
        "allowedProjects": (caller.allowed_projects, key.allowed_projects),
        "allowedModels": (caller.allowed_models, key.allowed_models),
    }
    return [
        field
        for field, (own, asked) in pairs.items()
        if own is not None and (asked is None or not own.issuperset(asked))
    ]


def _wider_limits(own: KeyLimits, asked: KeyLimits, defaults: Defaults) -> list[str]:
    own_rates = (own.rate_limit or defaults.rate_limit, own.ai_rate_limit or defaults.ai_rate_limit)
    asked_rates = (asked.rate_limit or defaults.rate_limit, asked.ai_rate_limit or defaults.ai_rate_limit)
    pairs = {
        "rateLimit": (own_rates[0], asked_rates[0]),
        "aiRateLimit": (own_rates[1], asked_rates[1]),
        "maxTokensPerRequest": (own.max_tokens_per_request, asked.max_tokens_per_request),
        "tokensPerDay": (own.tokens_per_day, asked.tokens_per_day),
        "maxParallel": (own.max_parallel, asked.max_parallel),
    }
    wider = [field for field, (mine, theirs) in pairs.items() if _number(theirs) > _number(mine)]
    return [*wider, "budget"] if _is_wider_budget(own.budget, asked.budget) else wider


def _is_wider_budget(own: Budget | None, asked: Budget | None) -> bool:
    if own is None:
        return False
    # Budgets of different periods or currencies cannot be compared, so they count as wider.
    return asked is None or asked[1:] != own[1:] or asked.nano > own.nano


def _number(limit: int | None) -> float:
    """Return a limit as a number; none, or one that is switched off, is infinite."""
    return limit or math.inf
