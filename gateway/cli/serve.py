"""`lunarbit serve`, `check-config` and `version`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway import start
from gateway.cli.run import ConfigOption
from gateway.errors import CannotStart
from gateway.settings import Settings, SettingsError, load_settings
from gateway.storage.database import Database
from gateway.stores import database_url, prices_of
from gateway.version import VERSION
from gateway.wiring import provider_configs
from providers import registry
from providers.errors import CredentialRefused, ProviderError
from providers.registry import ProviderSetupError
from providers.transport import Transport

if TYPE_CHECKING:
    from providers.config import ProviderConfig

PROBE_TIMEOUT_S = 15.0


def serve(
    *,
    config: ConfigOption = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when a source file changes.")] = False,
) -> None:
    """Run the gateway."""
    start.serve(config, reload=reload)


def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


def check_config(
    *,
    config: ConfigOption = None,
    probe: Annotated[bool, typer.Option("--probe", help="Ask every provider for its models.")] = False,
) -> None:
    """Check the configuration, and with --probe every provider. Exit code 0 when all is well, 1 or 2 when not."""
    try:
        settings = load_settings(config_path=config)
        configs = provider_configs(settings)
        transport = Transport()
        for entry in configs:
            registry.build(entry, transport)
        prices_of(settings)
        Database(database_url(settings))
    except (SettingsError, ProviderSetupError, CannotStart) as exc:
        typer.echo(str(exc), err=True)
        raise typer.Exit(start.EXIT_BAD_SETTINGS) from exc
    typer.echo(f"The configuration is valid: {len(configs)} provider(s), {len(settings.routing.routes)} route(s).")
    if probe and not asyncio.run(_probe_all(settings)):
        raise typer.Exit(1)


async def _probe_all(settings: Settings) -> bool:
    """Ask every provider for its models and print a row for each; True when all answered."""
    transport = Transport()
    table = Table("provider", "kind", "result", "models or setting to look at")
    all_good = True
    try:
        for config in provider_configs(settings):
            good, result, hint = await _probe(config, transport)
            if not good and config.name not in settings.providers:
                # LM Studio on this machine is used when it is there; nobody has asked for it.
                good, result, hint = True, "not found, and not configured", ""
            all_good = all_good and good
            table.add_row(config.name, config.kind, result, hint)
    finally:
        await transport.aclose()
    Console(width=120).print(table)
    return all_good


async def _probe(config: ProviderConfig, transport: Transport) -> tuple[bool, str, str]:
    provider = registry.build(config, transport)
    setting = f"providers.{config.name}"
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            models = await provider.get_models()
            healthy = await provider.is_healthy()
    except Exception as exc:  # noqa: BLE001 - an adapter of another package may raise anything; the table tells it.
        return False, *_explain(exc, setting)
    if not healthy:
        return False, "does not answer, or refuses the credential", f"{setting}.base_url, {setting}.api_key"
    missing = [model for model in config.models or () if models and model not in models]
    if missing:
        return False, f"does not list {', '.join(missing[:3])}", f"{setting}.models"
    return True, "ok", ", ".join(models[:4]) or "(no list)"


def _explain(error: Exception, setting: str) -> tuple[str, str]:
    """Return what went wrong and which setting to look at."""
    if isinstance(error, CredentialRefused):
        return f"credential refused (HTTP {error.status})", f"{setting}.api_key"
    if isinstance(error, TimeoutError):
        return "no answer in time", f"{setting}.base_url"
    if isinstance(error, ProviderError):
        return error.message, f"{setting}.base_url"
    return type(error).__name__, setting
