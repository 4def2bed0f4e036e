"""`lunarbit releases`: the catalogue of releases, changed without a server. Servers that run see it within a second."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gateway.cli.github import sync
from gateway.cli.run import ConfigOption, JsonOption, console, opened, print_json, run
from gateway.cli.verification import verify

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.releases.service import CatalogService, Publisher
    from gateway.releases.snapshot import Catalogue
    from gateway.settings import Settings

T = TypeVar("T")

commands = typer.Typer(no_args_is_help=True, help="Releases: import, list, publish, yank, restore, verify, sync.")
commands.command()(verify)
commands.command()(sync)
ProjectArgument = Annotated[str, typer.Argument(help="The id of the project.")]
ChannelArgument = Annotated[str, typer.Argument(help="The id of the channel.")]
VersionArgument = Annotated[str, typer.Argument(help="The version, such as 1.2.5.")]


@commands.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A TOML or JSON file; see config/catalog.example.toml.")],
    *,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Do nothing when there is a project already.")] = False,
    config: ConfigOption = None,
) -> None:
    """Add the projects, channels and versions of a file; what is there already stays as it is."""
    from rich.progress import Progress

    from gateway.releases.importing import Imported, count_versions, import_catalogue, read_catalogue

    async def act(service: CatalogService, who: Publisher, catalogue: Catalogue) -> Imported | None:
        projects = read_catalogue(file)
        if if_empty and catalogue.projects:
            return None
        with Progress(transient=True) as progress:
            bar = progress.add_task("Versions", total=count_versions(projects))
            return await import_catalogue(service, projects, who, lambda: progress.advance(bar))

    done = _administer(config, act)
    if done is not None:
        added = f"{done.projects} project(s), {done.channels} channel(s), {done.versions} version(s)"
        typer.echo(f"Added {added} with {done.builds} build(s); {done.skipped} were there already.")


@commands.command("list")
def list_releases(*, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List every project and channel with its newest version."""
    from rich.table import Table

    async def act(_service: CatalogService, _who: Publisher, catalogue: Catalogue) -> list[dict[str, Any]]:
        return [
            {
                "project": found.project.id,
                "channel": channel.channel.id,
                "versions": len(channel.entries),
                "latest_version": channel.compiled.latest.key.text if channel.compiled.latest else None,
            }
            for found in catalogue.projects.values()
            for channel in found.channels.values()
        ]

    rows = _administer(config, act)
    if as_json:
        print_json(rows)
        return
    table = Table("project", "channel", "versions", "latest")
    for row in rows:
        table.add_row(row["project"], row["channel"], str(row["versions"]), row["latest_version"] or "-")
    console().print(table)


@commands.command()
def publish(
    project: ProjectArgument,
    channel: ChannelArgument,
    file: Annotated[Path, typer.Argument(help="A TOML or JSON file with one version, as the HTTP API takes it.")],
    *,
    config: ConfigOption = None,
) -> None:
    """Publish a version with its builds."""
    from gateway.releases.importing import read_document

    async def act(service: CatalogService, who: Publisher, _catalogue: Catalogue) -> str:
        return (await service.publish(project, channel, read_document(file), who)).id

    typer.echo(f"Published {project} {_administer(config, act)} in the channel {channel}.")


@commands.command()
def yank(
    project: ProjectArgument,
    channel: ChannelArgument,
    version: VersionArgument,
    *,
    reason: Annotated[str, typer.Option(help="What was wrong with it.")] = "",
    config: ConfigOption = None,
) -> None:
    """Withdraw a version: nobody is offered it any more."""

    async def act(service: CatalogService, who: Publisher, _catalogue: Catalogue) -> None:
        await service.yank(project, channel, version, {"reason": reason}, who)

    _administer(config, act)
    typer.echo(f"Withdrew {project} {version}.")


@commands.command()
def restore(
    project: ProjectArgument, channel: ChannelArgument, version: VersionArgument, *, config: ConfigOption = None
) -> None:
    """Take the withdrawal of a version back."""

    async def act(service: CatalogService, who: Publisher, _catalogue: Catalogue) -> None:
        await service.restore(project, channel, version, who)

    _administer(config, act)
    typer.echo(f"Restored {project} {version}.")


def _administer(config: Path | None, act: Callable[[CatalogService, Publisher, Catalogue], Awaitable[T]]) -> T:
    """Open the configured database, and run `act` with what changes the catalogue and the catalogue as it is."""
    from gateway.cli.keys import who_asks
    from gateway.releases.service import CatalogService, Publisher
    from gateway.releases.snapshot import CatalogueReader

    async def work(settings: Settings) -> T:
        async with opened(settings) as stores:
            reader = CatalogueReader(stores.catalog)
            await reader.refresh()
            service = CatalogService(
                stores.catalog,
                clock_ms=stores.clock_ms,
                on_change=reader.refresh,
                networks=settings.verification.allow_networks,
            )
            principal, origin = who_asks()
            return await act(service, Publisher(principal, origin.client_ip, origin.request_id), reader.now)

    return run(config, work)
