"""`lunarbit audit`: whether the audit log is still what the gateway wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.run import ConfigOption, JsonOption, opened, print_json, run

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.audit.chain import Head
    from gateway.audit.verify import Verification
    from gateway.settings import Settings

EXIT_TAMPERED = 1
EXIT_NOT_VERIFIED = 2

commands = typer.Typer(no_args_is_help=True, help="The audit log: verify that nobody has tampered with it.")


@commands.callback()
def _group() -> None:
    """Keep `verify` a command of its own; typer would make the only one the whole group."""


@commands.command()
def verify(
    *,
    head: Annotated[
        str | None,
        typer.Option(metavar="COUNT:MAC", help="A head that was kept elsewhere, from a log line or an answer."),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Verify every row. Exit code 0 when the log is intact, 1 when it was tampered with, 2 when that cannot be told."""
    expected = _kept_head(head)
    result = _result(config, expected)
    if as_json:
        print_json(_json(result))
    else:
        _tell(result)
    if result.is_tampered:
        raise typer.Exit(EXIT_TAMPERED)
    if not result.is_intact:
        raise typer.Exit(EXIT_NOT_VERIFIED)


def _kept_head(text: str | None) -> Head | None:
    from gateway.audit.chain import Head

    try:
        return None if text is None else Head.parse(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--head") from exc


def _result(config: Path | None, expected: Head | None) -> Verification:
    try:
        return run(config, lambda settings: _verified(settings, expected), refused=EXIT_NOT_VERIFIED)
    except typer.Exit:
        raise
    except Exception as exc:
        # Python's own exit code after an error is 1, which here means that someone tampered with the log.
        typer.echo(f"The audit log cannot be read: {type(exc).__name__}", err=True)
        raise typer.Exit(EXIT_NOT_VERIFIED) from exc


async def _verified(settings: Settings, expected: Head | None) -> Verification:
    from gateway.audit.verify import verify as verify_log

    _check_it_exists(settings)
    async with opened(settings) as stores:
        return await verify_log(stores.audit.rows(), stores.audit.head, stores.audit_keys, expected)


def _check_it_exists(settings: Settings) -> None:
    """Raise `DatabaseUnusable` for a file that is not there: it would be made, and its empty log found intact."""
    from gateway.storage.backends import sqlite_path
    from gateway.storage.failures import DatabaseUnusable
    from gateway.stores import database_url

    url = database_url(settings)
    if url.startswith("sqlite") and not sqlite_path(url).exists():
        raise DatabaseUnusable(f"There is no database at {sqlite_path(url)}")


def _json(result: Verification) -> dict[str, Any]:
    return {
        "intact": result.is_intact,
        "tampered": result.is_tampered,
        "rows": result.rows,
        "head": result.head,
        "findings": [finding._asdict() for finding in result.findings],
        "unlisted": result.unlisted,
    }


def _tell(result: Verification) -> None:
    for finding in result.findings:
        typer.echo(finding.text)
    if result.unlisted:
        typer.echo(f"... and {result.unlisted} findings more")
    if result.is_tampered:
        typer.secho(f"The audit log was TAMPERED WITH: {result.rows} rows read.", fg="red", bold=True)
    elif not result.is_intact:
        typer.echo("The audit log cannot be verified: give the keys of all rows (audit.key, auth.pepper_previous).")
    else:
        typer.echo(f"The audit log is intact: {result.rows} rows.")
        typer.echo(f"Keep its head elsewhere, and give it to --head one day: {result.head}")
