"""The caller of a request, what it may do and how much, and the interface that finds it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class Permission(StrEnum):
    """What a key may do, by the names of the product page; an absent one is false."""

    READ_PROJECTS = "canReadProjects"
    READ_VERSIONS = "canReadVersions"
    CHECK_UPDATES = "canCheckUpdates"
    USE_AI = "canUseAI"
    CREATE_KEYS = "canCreateKeys"
    REVOKE_KEYS = "canRevokeKeys"
    MANAGE_RELEASES = "canManageReleases"
    READ_USAGE = "canReadUsage"
    READ_AUDIT = "canReadAudit"
    READ_METRICS = "canReadMetrics"

    # Enum's own hash is a call of Python, several times on every request.
    __hash__ = str.__hash__


class Budget(NamedTuple):
    """What a key may cost: billionths of `currency` in each `period` (`day`, `week`, `month` in UTC, or `total`)."""

    nano: int
    currency: str
    period: str


class KeyLimits(NamedTuple):
    """How much a key may do; None is the default or, where there is none, no limit.

    `rate_limit` is in requests per `limits.per_key_window_s`, `ai_rate_limit` in AI requests per `limits.ai_window_s`,
    `max_tokens_per_request` in tokens of an answer, `tokens_per_day` in prompt and answer tokens per day (UTC), and
    `max_parallel` in AI requests at once.
    """

    rate_limit: int | None = None
    ai_rate_limit: int | None = None
    max_tokens_per_request: int | None = None
    tokens_per_day: int | None = None
    max_parallel: int | None = None
    budget: Budget | None = None


NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `id` is stable and internal, `name` is what logs show.

    `allowed_projects` and `allowed_models` are None for all. `expires_at` is in Unix milliseconds. `is_root` is true
    for the bootstrap admin alone, who may hand out more than it has itself.
    """

    id: str
    name: str
    permissions: frozenset[Permission]
    allowed_projects: frozenset[str] | None = None
    allowed_models: frozenset[str] | None = None
    limits: KeyLimits = NO_LIMITS
    expires_at: int | None = None
    is_root: bool = False


class Authenticator(Protocol):
    """Finds the principal of a bearer secret."""

    def known(self, secret: str) -> Principal | None:
        """Return whose secret this is if that is known without a look-up."""
        ...

    def may_be_live(self, secret: str) -> bool:
        """Say, without a look-up, whether this may be the secret of a live key."""
        ...

    async def look_up(self, secret: str) -> Principal | None:
        """Return whose secret this is; None when nobody's.

        Raises `KeyExpired` or `KeyRevoked` for a secret that was valid once, and `StorageUnavailable`.
        """
        ...
