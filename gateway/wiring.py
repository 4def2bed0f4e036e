"""The composition root: the one place that knows every concrete class, and builds each long-lived object once."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from gateway import upkeep
from gateway.accounting import Accounts
from gateway.allowance import Allowances
from gateway.auth.authenticator import KeyAuthenticator
from gateway.auth.bootstrap import bootstrap_keys
from gateway.dev_key import development_admin_key
from gateway.drain import Drain
from gateway.errors import KeyRevoked
from gateway.limits.memory import MemoryCounters, MemoryLimiter
from gateway.limits.windows import LimitPolicy
from gateway.observability.logs import exception_fields, get_logger
from gateway.observability.metrics import Metrics
from gateway.releases.check_rules import Schedule
from gateway.releases.checks import BuildChecks
from gateway.releases.service import CatalogService
from gateway.releases.snapshot import CatalogueReader, Downloads
from gateway.state import GatewayState
from gateway.stores import Stores, now_ms
from gateway.tokens import prompt_tokens
from gateway.usage.recorder import UsageRecorder
from providers import registry
from providers.config import ModelOptions, ProviderConfig, Timeouts
from providers.transport import Transport
from routing.health import HealthMonitor
from routing.plan import Route
from routing.router import ModelRouter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from gateway.limits.clock import Clock
    from gateway.limits.counters import Counters
    from gateway.limits.redis_link import RedisLink
    from gateway.limits.windows import Limiter
    from gateway.releases.verify import Verifier
    from gateway.settings import ProviderSettings, Settings

FIRST_ROUND_S = 1.0
_SPARE_CONNECTIONS = 64


class Wiring:
    """Builds the parts from the settings; `running` starts and stops what runs in the background.

    Any part can be given instead of built: `transport`, `clock` (monotonic seconds, for the router), `clock_ms` (Unix
    milliseconds, for keys and usage), `limit_clock` (for limits), `checks` (arguments of `BuildChecks`). Raises
    `ProviderSetupError` for a provider that cannot be made, `DatabaseUnusable`, `DataFolderUnusable` and `PricesError`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
        clock_ms: Callable[[], int] = now_ms,
        limit_clock: Clock | None = None,
        check_every_s: float | None = None,
        checks: Mapping[str, Any] | None = None,
    ) -> None:
        self._settings = settings
        self._checks = checks or {}
        self.metrics = metrics = Metrics()
        self.router = self._make_router(transport, clock)
        metrics.is_listed = self.router.is_listed
        self.stores = stores = Stores(settings, clock_ms=clock_ms)
        self.drain = Drain(settings.server.drain_s)
        self.downloads = Downloads(stores.catalog)
        self.catalogue = CatalogueReader(stores.catalog, self.downloads.forget)
        self.recorder = UsageRecorder(stores.usage, clock_ms=clock_ms, on_dropped=metrics.usage_dropped.inc)
        self.authenticator = KeyAuthenticator(
            bootstrap_keys(admin_key(settings), settings.auth.read_key.get_secret_value()),
            stores.keys,
            stores.peppers,
            on_revoked=self._end_calls,
            clock_ms=clock_ms,
        )
        self.limiter: Limiter = MemoryLimiter(limit_clock)
        self.counters: Counters = MemoryCounters(limit_clock)
        self._link: RedisLink | None = None
        if settings.redis.url:
            self._share_limits(settings.redis.url)
        self.state = self._state()
        intervals = {} if check_every_s is None else {"check_every_s": check_every_s, "discover_every_s": check_every_s}
        guessed = frozenset(name for name, entry in self.router.providers.items() if entry.auto)
        self._monitor = HealthMonitor(self.router, partial(_log_health, guessed), **intervals)

    def _make_router(self, transport: Transport | None, clock: Callable[[], float]) -> ModelRouter:
        settings = self._settings
        configs = provider_configs(settings)
        most = sum(config.max_in_flight for config in configs) + _SPARE_CONNECTIONS
        self.transport = transport or Transport(max_connections=most)
        router = ModelRouter(
            strategy=settings.routing.strategy,
            routes=_routes(settings),
            default_route=settings.routing.default_route,
            observer=self.metrics,
            clock=clock,
            prompt_tokens=prompt_tokens,
        )
        for config in configs:
            register(router, config, self.transport, auto=config.name not in settings.providers)
        return router

    def _share_limits(self, url: str) -> None:
        """Keep the limits in Redis; what was made for this process alone answers while Redis does not."""
        from gateway.limits.redis import RedisCounters, RedisLimiter
        from gateway.limits.redis_link import RedisLink

        self._link = RedisLink(url, self.metrics.redis_fallbacks.inc)
        self.limiter = RedisLimiter(self._link, cast("MemoryLimiter", self.limiter))
        self.counters = RedisCounters(self._link, cast("MemoryCounters", self.counters))

    def _state(self) -> GatewayState:
        settings, stores, metrics = self._settings, self.stores, self.metrics
        clock_ms = stores.clock_ms
        return GatewayState(
            settings=settings,
            router=self.router,
            metrics=metrics,
            authenticator=self.authenticator,
            keys=stores.key_service(self.authenticator.take_in),
            limiter=self.limiter,
            limit_policy=LimitPolicy(settings.limits),
            allowances=Allowances(
                self.counters, stores.usage, self.recorder, clock_ms=clock_ms, on_refused=metrics.refused
            ),
            accounts=Accounts(metrics, self.recorder, stores.prices, clock_ms),
            prices=stores.prices,
            usage=stores.usage,
            audit=stores.audit,
            catalogue=self.catalogue,
            downloads=self.downloads,
            releases=CatalogService(
                stores.catalog,
                clock_ms=clock_ms,
                on_change=self.catalogue.refresh,
                networks=settings.verification.allow_networks,
            ),
            github=stores.github,
            database=stores.database,
            drain=self.drain,
            disabled_providers=tuple(name for name, entry in settings.providers.items() if not entry.enabled),
        )

    def _end_calls(self, key_id: str) -> None:
        self.drain.end_calls_of(key_id, KeyRevoked("The API key was revoked while its answer was under way"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the database, look at the providers once, and keep the background work going meanwhile."""
        stores = self.stores
        async with AsyncExitStack() as stack:
            await stores.database.open()
            stack.push_async_callback(stores.database.close)
            upkeep.warn_of_unknown_peppers(stores.peppers, await self.authenticator.load())
            self.metrics.database_up.set(1)
            await self.catalogue.refresh()
            await self.downloads.load()
            stack.push_async_callback(self.downloads.aclose)
            stack.push_async_callback(self.recorder.aclose)
            if self._link is not None:
                stack.push_async_callback(self._link.aclose)
            stack.push_async_callback(self.limiter.aclose)
            stack.push_async_callback(self.counters.aclose)
            stack.push_async_callback(self.transport.aclose)
            stack.push_async_callback(self.router.aclose)
            await self._monitor.first_round(FIRST_ROUND_S)
            for work in self._background():
                task = asyncio.create_task(work)
                stack.push_async_callback(_stop, task)
            yield

    def _background(self) -> tuple[Coroutine[Any, Any, None], ...]:
        stores, metrics = self.stores, self.metrics
        return (
            self._monitor.run(),
            self.recorder.run(),
            upkeep.keep_gauges(metrics, self.router, self.recorder),
            upkeep.follow_keys(self.authenticator, metrics),
            upkeep.follow_catalogue(self.catalogue, metrics),
            upkeep.write_downloads(self.downloads),
            upkeep.prune_usage(stores.usage, stores.leases, self._settings.usage.retention_days, stores.clock_ms),
            *([self._build_checks().run()] if self._settings.verification.enabled else []),
            self._follow_github(),
        )

    async def _follow_github(self) -> None:
        """Follow GitHub's releases once a project has a source; before that nothing of it is loaded."""
        await upkeep.wait_for_sources(self._has_github_sources)
        from gateway.releases.github_setup import github_api, github_sync
        from gateway.releases.github_worker import GithubWorker

        settings, stores, metrics = self._settings, self.stores, self.metrics
        async with github_api(settings, clock_ms=stores.clock_ms, on_request=metrics.github_asked) as api:
            await GithubWorker(
                stores.github,
                stores.leases,
                github_sync(settings, stores.github, api, clock_ms=stores.clock_ms),
                clock_ms=stores.clock_ms,
                on_change=self.catalogue.refresh,
                watcher=metrics,
            ).run(self._has_github_sources)

    def _has_github_sources(self) -> bool:
        return any(found.project.github is not None for found in self.catalogue.now.projects.values())

    def _build_checks(self) -> BuildChecks:
        stores, settings = self.stores, self._settings.verification
        given = {
            "make_verifier": partial(_verifier, tuple(settings.allow_networks)),
            "schedule": Schedule(recheck_s=settings.recheck_s),
            **self._checks,
        }
        return BuildChecks(
            self.catalogue,
            stores.checks,
            stores.leases,
            clock_ms=stores.clock_ms,
            observer=self.metrics,
            **given,
        )


def _verifier(allow_networks: tuple[str, ...]) -> Verifier:
    """Make what downloads builds, which a gateway without builds does not load."""
    from gateway.releases.addresses import AddressRules
    from gateway.releases.verify import Verifier

    return Verifier(AddressRules(allow_networks))


def register(router: ModelRouter, config: ProviderConfig, transport: Transport, *, auto: bool = False) -> None:
    """Make the adapter for `config` and add it to the router. Raises `ProviderSetupError`."""
    router.register_provider(
        config.name,
        registry.build(config, transport),
        priority=config.priority,
        max_in_flight=config.max_in_flight,
        timeouts=config.timeouts,
        closed_models=config.models,
        last_resort=config.kind == "echo",
        auto=auto and config.kind != "echo",
    )


def provider_configs(settings: Settings) -> list[ProviderConfig]:
    """Return the enabled providers; without any, LM Studio if it answers and, outside production, echo."""
    configs = [provider_config(name, entry) for name, entry in settings.providers.items() if entry.enabled]
    if configs:
        return configs
    if "lmstudio" not in settings.providers:
        configs.append(ProviderConfig("lmstudio", "lmstudio", timeouts=Timeouts(first_token_s=300.0)))
    if not settings.is_production and "echo" not in settings.providers:
        configs.append(ProviderConfig("echo", "echo"))
    return configs


def provider_config(name: str, entry: ProviderSettings) -> ProviderConfig:
    """Turn the settings of one provider into what its adapter is told."""
    timeouts = entry.timeouts
    echo = {
        "chunk_chars": entry.chunk_chars,
        "chunk_delay_s": entry.chunk_delay_s,
        "first_token_delay_s": entry.first_token_delay_s,
    }
    return ProviderConfig(
        name=name,
        kind=entry.kind,
        base_url=entry.base_url,
        api_key=entry.api_key.get_secret_value(),
        token_file=str(entry.token_file or ""),
        token_command=tuple(entry.token_command),
        models=None if entry.models is None else tuple(entry.models),
        priority=entry.priority,
        max_in_flight=entry.max_in_flight,
        timeouts=Timeouts(timeouts.connect_s, timeouts.first_token_s, timeouts.idle_s, timeouts.total_s),
        headers=dict(entry.headers),
        organization=entry.organization,
        project=entry.project,
        api_version=entry.api_version,
        defaults=ModelOptions(tuple(entry.omit_params), entry.max_tokens_field),
        model_options={
            model: ModelOptions(tuple(options.omit_params), options.max_tokens_field)
            for model, options in entry.model_options.items()
        },
        options={**entry.options, **{name: value for name, value in echo.items() if value is not None}},
    )


def admin_key(settings: Settings) -> str:
    """Return the configured admin key; outside production one is made when there is none."""
    configured = settings.auth.admin_key.get_secret_value()
    return configured or development_admin_key(settings.data.dir)


def _routes(settings: Settings) -> dict[str, Route]:
    routes = {}
    for name, route in settings.routing.routes.items():
        pairs = tuple(target.partition("/")[::2] for target in route.targets)
        routes[name] = Route(pairs, route.strategy)
    return routes


def _log_health(guessed: frozenset[str], provider: str, error: Exception | None) -> None:
    if provider in guessed:
        return  # Nobody said that there is one.
    fields = {} if error is None else exception_fields(error)
    get_logger().warning("provider_unhealthy", provider=provider, **fields)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
