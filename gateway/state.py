"""The long-lived objects that endpoints use; made once in `gateway/wiring.py`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.accounting import Accounts
    from gateway.allowance import Allowances
    from gateway.audit.entry import AuditLog
    from gateway.auth.principal import Authenticator
    from gateway.auth.service import KeyService
    from gateway.drain import Drain
    from gateway.limits.windows import Limiter, LimitPolicy
    from gateway.observability.metrics import Metrics
    from gateway.releases.github_store import GithubStore
    from gateway.releases.service import CatalogService
    from gateway.releases.snapshot import CatalogueReader, Downloads
    from gateway.settings import Settings
    from gateway.usage.prices import Prices
    from gateway.usage.report import UsageReader
    from routing.router import ModelRouter


class Database(Protocol):
    """What readiness asks of the storage."""

    async def ping(self) -> bool:
        """Say whether the storage answers."""
        ...


@dataclass(slots=True)
class GatewayState:
    """One app's parts."""

    settings: Settings
    router: ModelRouter
    metrics: Metrics
    authenticator: Authenticator
    keys: KeyService
    limiter: Limiter
    limit_policy: LimitPolicy
    allowances: Allowances
    accounts: Accounts
    prices: Prices
    usage: UsageReader
    audit: AuditLog
    catalogue: CatalogueReader
    downloads: Downloads
    releases: CatalogService
    github: GithubStore
    database: Database
    drain: Drain
    disabled_providers: tuple[str, ...] = ()
    started_at: int = field(default_factory=lambda: int(time.time()))


def state_of(request: Request) -> GatewayState:
    """Return the parts of the app that answers `request`."""
    return cast("GatewayState", request.app.state)
