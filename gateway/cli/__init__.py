"""The command line, split by noun: serving and configuration, keys, the database, the audit log."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import audit, database, interface, keys, releases, serve

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # A variable in a traceback may hold a secret.
    pretty_exceptions_show_locals=False,
    help="The LunarBit Gateway.",
)


def _version_and_exit(*, asked: bool) -> None:
    if asked:
        serve.version()
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version_and_exit, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take what may stand before a command."""


app.command()(serve.serve)
app.command()(serve.version)
app.command("check-config")(serve.check_config)
app.command("openapi")(interface.openapi)
app.add_typer(keys.commands, name="keys")
app.add_typer(database.commands, name="db")
app.add_typer(releases.commands, name="releases")
app.add_typer(audit.commands, name="audit")

__all__ = ["app"]
