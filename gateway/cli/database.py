"""`lunarbit db`: the tables, and a copy of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.run import EXIT_REFUSED, ConfigOption, run

if TYPE_CHECKING:
    from gateway.settings import Settings

commands = typer.Typer(no_args_is_help=True, help="The database: bring its tables up to date, copy it.")


@commands.command()
def upgrade(config: ConfigOption = None) -> None:
    """Bring the tables up to date, as every start of the gateway does too."""
    from gateway.storage.database import Database
    from gateway.stores import database_url

    async def work(settings: Settings) -> None:
        database = Database(database_url(settings))
        before, after = await database.upgrade()
        told = f"was at {before or 'nothing'} and is now" if before != after else "is up to date"
        typer.echo(f"The {database.dialect} database {told} at revision {after}.")

    run(config, work)


@commands.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy goes; it must not exist yet.")],
    config: ConfigOption = None,
) -> None:
    """Copy the database as it is at one moment; the gateway may go on writing meanwhile."""
    from gateway.storage.backup import BackupFailed
    from gateway.storage.backup import backup as copy
    from gateway.stores import database_url

    async def work(settings: Settings) -> None:
        result = await copy(database_url(settings), file)
        typer.echo(f"Copied the database to {result.path} ({result.size_bytes:,} bytes).")

    try:
        run(config, work)
    except BackupFailed as exc:
        typer.echo(str(exc), err=True)
        raise typer.Exit(EXIT_REFUSED) from exc
