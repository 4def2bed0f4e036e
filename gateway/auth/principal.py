"""The caller of a request, its permissions, and the interface that finds it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


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


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. `id` is stable and internal, `name` is what logs show."""

    id: str
    name: str
    permissions: frozenset[Permission]


class Authenticator(Protocol):
    """Finds the principal of a bearer secret."""

    async def authenticate(self, secret: str) -> Principal | None:
        """Return whose secret this is; None when nobody's.

        Raises `KeyExpired` or `KeyRevoked` for a secret that was valid once.
        """
        ...
