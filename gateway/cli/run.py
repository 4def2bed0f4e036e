"""What the commands share: settings, the opened database, one line for what went wrong, exit codes, tables."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console

from gateway.errors import CannotStart, GatewayError, InvalidRequest
from gateway.observability import logs
from gateway.settings import Settings, SettingsError, load_settings
from gateway.start import EXIT_BAD_SETTINGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from gateway.stores import Stores

T = TypeVar("T")

EXIT_REFUSED = 1
# Where the output goes to a file or another program, tables do not depend on the size of a terminal.
_WIDTH = 140

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The TOML file; default config/gateway.toml.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, and nothing else.")]


def run(config: Path | None, work: Callable[[Settings], Coroutine[Any, Any, T]], *, refused: int = EXIT_REFUSED) -> T:
    """Load the settings, run `work` with them, and return its result.

    What goes wrong is told on standard error, and the command ends: with 2 when the settings, or what they name, cannot
    be used, with `refused` when the gateway refuses what was asked.
    """
    try:
        settings = load_settings(config_path=config)
        # Standard output belongs to the answer. People get text, and collectors what they are configured to get.
        logs.configure(settings.log.level, "text" if sys.stderr.isatty() else settings.log.format, sys.stderr.buffer)
        return asyncio.run(work(settings))
    except (SettingsError, CannotStart) as exc:
        typer.echo(str(exc), err=True)
        raise typer.Exit(EXIT_BAD_SETTINGS) from exc
    except GatewayError as exc:
        typer.echo(f"{_in_one_line(exc)} ({exc.code})", err=True)
        raise typer.Exit(refused) from exc


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Stores]:
    """Open the configured database as a server does. Raises `DatabaseUnusable`, `DataFolderUnusable`, `PricesError`."""
    from gateway.stores import Stores

    stores = Stores(settings)
    await stores.database.open()
    try:
        yield stores
    finally:
        await stores.database.close()


def print_json(answer: Any) -> None:
    """Print what the HTTP API would answer, byte for byte."""
    typer.echo(msgspec.json.encode(answer))


def console() -> Console:
    """Return where tables go; what is in them is shown as it is and never taken for markup."""
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _WIDTH)


def _in_one_line(error: GatewayError) -> str:
    if not isinstance(error, InvalidRequest):
        return error.message
    return "; ".join(f"{wrong['field']}: {wrong['message']}" for wrong in error.details["errors"])
