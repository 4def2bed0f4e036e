"""`lunarbit openapi`."""

from __future__ import annotations

from typing import Annotated

import typer


def openapi(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of YAML.")] = False,
) -> None:
    """Print the description of the interface, OpenAPI 3.1, as it is served at /openapi.yaml."""
    from gateway.app import ROUTES
    from gateway.openapi import document, text

    made = document.build(ROUTES)
    typer.echo(text.as_json(made) if as_json else text.as_yaml(made), nl=False)
