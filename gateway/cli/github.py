"""`lunarbit releases sync`: look at the repositories on GitHub now, without a server."""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.run import EXIT_REFUSED, ConfigOption, JsonOption, console, opened, print_json, run

if TYPE_CHECKING:
    from rich.progress import Progress

    from gateway.releases.github_sync import GithubSync
    from gateway.releases.snapshot import Catalogue
    from gateway.settings import Settings
    from gateway.stores import Stores

_LEASE_S = 600.0
# How long another process that looks just now is waited for.
_TRIES = 120
_AGAIN_S = 0.5


def sync(
    project: Annotated[str | None, typer.Argument(help="Only this project.")] = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Look at the releases on GitHub now, and take over what is new; 1 if anything went wrong."""

    async def work(settings: Settings) -> list[dict[str, Any]]:
        return await _sync(settings, project, quiet=as_json)

    rows = run(config, work)
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            _print(row)
    if any(row["problem"] for row in rows):
        raise typer.Exit(EXIT_REFUSED)


async def _sync(settings: Settings, project: str | None, *, quiet: bool) -> list[dict[str, Any]]:
    """Look at each project in turn and return what was found. Raises `ProjectNotFound`, `Overloaded`."""
    from rich.progress import Progress

    from gateway.releases.github_setup import github_api, github_sync
    from gateway.releases.github_worker import LEASE
    from gateway.releases.snapshot import CatalogueReader

    async with opened(settings) as stores:
        reader = CatalogueReader(stores.catalog)
        await reader.refresh()
        names = _chosen(reader.now, project)
        holder = secrets.token_hex(8)
        await _wait_for_lease(stores, holder)
        try:
            async with github_api(settings, clock_ms=stores.clock_ms) as api:
                look = github_sync(settings, stores.github, api, clock_ms=stores.clock_ms)
                with Progress(console=console(), transient=True, disable=quiet or not sys.stdout.isatty()) as progress:
                    return [await _row(stores, look, name, progress) for name in names]
        finally:
            await stores.leases.release(LEASE, holder)


async def _wait_for_lease(stores: Stores, holder: str) -> None:
    """Take the lease once no other process looks. Raises `Overloaded`."""
    from gateway.errors import Overloaded
    from gateway.releases.github_worker import LEASE

    for _ in range(_TRIES):
        if await stores.leases.acquire(LEASE, holder, _LEASE_S):
            return
        await asyncio.sleep(_AGAIN_S)
    raise Overloaded("Another process has been looking at GitHub for a minute", retry_after_s=10)


def _chosen(catalogue: Catalogue, project: str | None) -> list[str]:
    from gateway.errors import InvalidRequest

    if project is None:
        return [name for name, found in catalogue.projects.items() if found.project.github is not None]
    if catalogue.project(project, None).project.github is None:
        raise InvalidRequest(f"The project {project!r} follows no repository: set its field github", param="project")
    return [project]


async def _row(stores: Stores, look: GithubSync, name: str, progress: Progress) -> dict[str, Any]:
    """Look at one project, and return what changed and what all its releases are like now."""
    from gateway.releases.github_store import OutOfTurn
    from gateway.releases.github_sync import Report

    bar = progress.add_task(name, total=None)

    async def tell(done: int, total: int) -> None:
        progress.update(bar, completed=done, total=total)

    try:
        report = await look.poll(name, tell)
    except OutOfTurn:
        report = Report(name, problem="another process has looked at it meanwhile")
    seen = (await stores.github.all_seen(name)).values()
    changed = {event.tag for event in report.events if event.changed}
    return {
        "project": name,
        "problem": report.problem or None,
        "requests": report.requests,
        "releases": [
            {
                "tag": release.tag,
                "state": str(release.state),
                "reason": release.reason,
                "channel": release.channel_id,
                "version": release.version_id,
                "changed": release.tag in changed,
            }
            for release in sorted(seen, key=lambda release: release.release_id, reverse=True)
        ],
    }


def _print(row: dict[str, Any]) -> None:
    for release in row["releases"]:
        where = f" {release['channel']} {release['version']}" if release["version"] else ""
        reason = f": {release['reason']}" if release["reason"] else ""
        changed = " (changed now)" if release["changed"] else ""
        typer.echo(f"{row['project']} {release['tag']}: {release['state']}{where}{reason}{changed}")
    problem = f" Problem: {row['problem']}." if row["problem"] else ""
    typer.echo(f"{row['project']}: {len(row['releases'])} release(s), {row['requests']} request(s).{problem}")
