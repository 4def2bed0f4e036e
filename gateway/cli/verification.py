"""`lunarbit releases verify`: check builds now, without a server."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gateway.cli.run import EXIT_REFUSED, ConfigOption, JsonOption, console, opened, print_json, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.releases.check_queue import Due
    from gateway.releases.check_rules import CheckRecord
    from gateway.releases.examiner import Examiner
    from gateway.releases.snapshot import Catalogue
    from gateway.releases.store import BuildKey
    from gateway.settings import Settings


class _Where(NamedTuple):
    """Which builds; None is all."""

    project: str | None
    channel: str | None
    version: str | None


def verify(
    project: Annotated[str | None, typer.Argument(help="Only this project.")] = None,
    channel: Annotated[str | None, typer.Argument(help="Only this channel of it.")] = None,
    version: Annotated[str | None, typer.Argument(help="Only this version, also a withdrawn one.")] = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Download builds, compare them with what was declared, and record the results; 1 if any is not right."""

    async def work(settings: Settings) -> list[dict[str, Any]]:
        return await _verify(settings, _Where(project, channel, version), quiet=as_json)

    rows = run(config, work)
    if as_json:
        print_json(rows)
    if any(row["status"] != "verified" for row in rows):
        raise typer.Exit(EXIT_REFUSED)


async def _verify(settings: Settings, where: _Where, *, quiet: bool) -> list[dict[str, Any]]:
    """Check the builds of the configured database, and return a row for each."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from gateway.releases.addresses import AddressRules
    from gateway.releases.check_rules import Schedule
    from gateway.releases.examiner import Examiner
    from gateway.releases.snapshot import CatalogueReader
    from gateway.releases.verify import Verifier

    async with opened(settings) as stores:
        reader = CatalogueReader(stores.catalog)
        await reader.refresh()
        dues = _chosen(reader.now, where, await stores.checks.load())
        verifier = Verifier(AddressRules(settings.verification.allow_networks))
        schedule = Schedule(recheck_s=settings.verification.recheck_s)
        examiner = Examiner(verifier, stores.checks, schedule=schedule, clock_ms=stores.clock_ms)
        columns = TextColumn("Verifying"), BarColumn(), DownloadColumn()
        hidden = quiet or not sys.stdout.isatty()
        try:
            with Progress(*columns, console=console(), transient=True, disable=hidden) as progress:
                bar = progress.add_task("", total=sum(due.build.file_size for due in dues))
                tell = _say_nothing if quiet else _print_row
                return await _check_all(examiner, dues, lambda size: progress.advance(bar, size), tell)
        finally:
            verifier.close()


def _chosen(catalogue: Catalogue, where: _Where, records: dict[BuildKey, CheckRecord]) -> list[Due]:
    """Return the builds to check. Raises the `NotFound` of what is named and not there."""
    from gateway.releases.check_queue import Due, builds_of

    wanted = list(catalogue.projects.values()) if where.project is None else [catalogue.project(where.project, None)]
    version = where.version
    if version is not None and where.channel is not None:
        version = wanted[0].version(where.channel, version).version.id
    elif where.channel is not None:
        wanted[0].channel(where.channel)
    dues = []
    for found in wanted:
        for key, build in builds_of(found, withdrawn=version is not None):
            if where.channel in (None, key.channel_id) and version in (None, key.version_id):
                record = records.get(key)
                dues.append(Due(key, build, record if record is not None and record.fits(build) else None))
    return dues


async def _check_all(
    examiner: Examiner, dues: list[Due], on_bytes: Callable[[int], object], tell: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Check as many builds at a time as the server does, and return the rows in the order of the builds."""
    from gateway.releases.checks import AT_ONCE

    waiting = iter(enumerate(dues))
    rows: dict[int, dict[str, Any]] = {}

    async def work() -> None:
        for number, due in waiting:
            outcome = await examiner.examine(due, whole=True, on_bytes=on_bytes)
            written = await examiner.record(due, examiner.conclude(due, outcome))
            rows[number] = {
                **dict(zip(("project", "channel", "version", "build"), due.key, strict=True)),
                "status": str(outcome.state),
                "reason": str(outcome.reason or ""),
                "message": outcome.message,
                "recorded": written is not None,
            }
            tell(rows[number])

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return [rows[number] for number in sorted(rows)]


def _print_row(row: dict[str, Any]) -> None:
    reason = f" ({row['reason']}): {row['message']}" if row["reason"] else ""
    changed = "" if row["recorded"] else " It was changed meanwhile, so this is not recorded."
    typer.echo(f"{row['project']} {row['channel']} {row['version']} {row['build']}: {row['status']}{reason}{changed}")


def _say_nothing(row: dict[str, Any]) -> None:
    """Take a row that is told at the end."""
