"""An API key as it is stored and as administrators see it. The names of fields on the wire are the product page's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gateway.auth.principal import NO_LIMITS, Budget, KeyLimits, Permission, Principal

NANO = 10**9


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key without its secret. Times are Unix milliseconds; `revision` is the audit row of its last change."""

    id: str
    name: str
    created_at: int
    description: str = ""
    permissions: frozenset[Permission] = frozenset()
    limits: KeyLimits = NO_LIMITS
    allowed_projects: tuple[str, ...] | None = None
    allowed_models: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    expires_at: int | None = None
    revoked_at: int | None = None
    revision: int = 0

    def status(self, now_ms: int) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now_ms else "active"

    def principal(self) -> Principal:
        """Return the caller that this key stands for."""
        return Principal(
            id=self.id,
            name=self.name,
            permissions=self.permissions,
            allowed_projects=None if self.allowed_projects is None else frozenset(self.allowed_projects),
            allowed_models=None if self.allowed_models is None else frozenset(self.allowed_models),
            limits=self.limits,
            expires_at=self.expires_at,
        )

    def fields(self) -> dict[str, Any]:
        """Return what administrators set, by the names on the wire; this is also what the audit log keeps."""
        limits = self.limits
        return {
            "name": self.name,
            "description": self.description,
            "permissions": permission_flags(self.permissions),
            "rateLimit": limits.rate_limit,
            "aiRateLimit": limits.ai_rate_limit,
            "maxTokensPerRequest": limits.max_tokens_per_request,
            "tokensPerDay": limits.tokens_per_day,
            "maxParallel": limits.max_parallel,
            "budget": _budget_fields(limits.budget),
            "allowedProjects": None if self.allowed_projects is None else list(self.allowed_projects),
            "allowedModels": None if self.allowed_models is None else list(self.allowed_models),
            "tags": list(self.tags),
            "createdAt": iso(self.created_at),
            "expiresAt": iso(self.expires_at),
        }


def permission_flags(permissions: frozenset[Permission]) -> dict[str, bool]:
    """Return every permission by name with whether it is given."""
    return {str(permission): permission in permissions for permission in Permission}


def iso(at_ms: int | None) -> str | None:
    """Return Unix milliseconds as UTC, ISO 8601 with `Z`, to the second; None for None."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _budget_fields(budget: Budget | None) -> dict[str, Any] | None:
    if budget is None:
        return None
    amount = Decimal(budget.nano) / NANO
    return {"amount": float(amount), "currency": budget.currency, "period": budget.period}
