"""The composition root: the one place that knows every concrete class, and builds each long-lived object once."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from gateway.auth.bootstrap import BootstrapAuthenticator
from gateway.dev_key import development_admin_key
from gateway.drain import Drain
from gateway.observability.logs import exception_fields, get_logger
from gateway.observability.metrics import Metrics
from gateway.state import GatewayState
from gateway.storage.sqlite import SQLiteDatabase
from providers import registry
from providers.config import ModelOptions, ProviderConfig, Timeouts
from providers.transport import Transport
from routing.health import HealthMonitor
from routing.plan import Route
from routing.router import ModelRouter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.auth.principal import Authenticator
    from gateway.settings import ProviderSettings, Settings

FIRST_ROUND_S = 1.0
LAG_EVERY_S = 0.5
DATABASE_FILE = "lunarbit.sqlite3"
_SPARE_CONNECTIONS = 64


class Wiring:
    """Builds the parts from the settings; `running` starts and stops what runs in the background.

    Any part can be given instead of built: `transport`, `authenticator`, `clock` (monotonic seconds, for the router).
    Raises `providers.registry.ProviderSetupError` for a provider that cannot be made.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: Transport | None = None,
        authenticator: Authenticator | None = None,
        clock: Callable[[], float] = time.monotonic,
        check_every_s: float | None = None,
    ) -> None:
        metrics = Metrics()
        configs = provider_configs(settings)
        most = sum(config.max_in_flight for config in configs) + _SPARE_CONNECTIONS
        self.transport = transport or Transport(max_connections=most)
        router = ModelRouter(
            strategy=settings.routing.strategy,
            routes=_routes(settings),
            default_route=settings.routing.default_route,
            observer=metrics,
            clock=clock,
        )
        for config in configs:
            register(router, config, self.transport, auto=config.name not in settings.providers)
        metrics.is_listed = router.is_listed
        self.database = SQLiteDatabase(settings.data.dir / DATABASE_FILE)
        self.state = GatewayState(
            settings=settings,
            router=router,
            metrics=metrics,
            authenticator=authenticator or BootstrapAuthenticator(admin_key(settings), _read_key(settings)),
            database=self.database,
            drain=Drain(settings.server.drain_s),
            disabled_providers=tuple(name for name, entry in settings.providers.items() if not entry.enabled),
        )
        intervals = {} if check_every_s is None else {"check_every_s": check_every_s, "discover_every_s": check_every_s}
        guessed = frozenset(name for name, entry in router.providers.items() if entry.auto)
        self._monitor = HealthMonitor(router, partial(_log_health, guessed), **intervals)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the database, look at the providers once, and keep the background work going meanwhile."""
        async with AsyncExitStack() as stack:
            await self.database.open()
            stack.push_async_callback(self.database.close)
            stack.push_async_callback(self.transport.aclose)
            stack.push_async_callback(self.state.router.aclose)
            await self._monitor.first_round(FIRST_ROUND_S)
            for work in (self._monitor.run(), self._keep_gauges()):
                task = asyncio.create_task(work)
                stack.push_async_callback(_stop, task)
            yield

    async def _keep_gauges(self) -> None:
        """Set what is not counted but looked at, twice a second, so that the gauges of every worker are fresh.

        How much later than planned this task wakes up is how long every other one may have waited.
        """
        loop = asyncio.get_running_loop()
        metrics, providers = self.state.metrics, self.state.router.providers
        while True:
            planned = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            metrics.loop_lag.observe(max(0.0, loop.time() - planned))
            metrics.show_providers(list(providers.values()))


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


def _read_key(settings: Settings) -> str:
    return settings.auth.read_key.get_secret_value()


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
