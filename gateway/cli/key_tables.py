"""How keys and their statistics are shown to people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import typer
from rich.table import Table

from gateway.cli.run import console

_LIMITS = {
    "rateLimit": "{} requests / window",
    "aiRateLimit": "{} AI requests / window",
    "tokensPerDay": "{} tokens / day",
    "maxTokensPerRequest": "{} tokens / request",
    "maxParallel": "{} at once",
}


def show_secret(answer: dict[str, Any]) -> None:
    """Show a new secret, on a line of its own so that it can be copied, and what it is for."""
    typer.echo(f"{answer['message']}: {answer['name']}\n\n  {answer['key']}\n")
    typer.secho(answer["warning"], fg="yellow", bold=True)
    typer.echo(f"Permissions: {_permissions(answer)}")
    typer.echo(f"Expires: {_time(answer['expiresAt'], ' UTC')}")
    if "previousKeyValidUntil" in answer:
        typer.echo(f"The previous secret is valid until: {_time(answer['previousKeyValidUntil'], ' UTC')}")


def show_keys(answer: dict[str, Any]) -> None:
    """Show a row for each key."""
    table = _table("name", "key", "status", "permissions", "limits", "tags", "created", "expires", "last used")
    for key in answer["keys"]:
        table.add_row(
            key["name"],
            key["maskedKey"] or "",
            key["status"],
            _permissions(key),
            _limits(key),
            ", ".join(key["tags"]),
            _time(key["createdAt"]),
            _time(key["expiresAt"]),
            _time(key["lastUsedAt"]),
        )
    console().print(table)
    typer.echo(f"{answer['total']} key(s). Times are in UTC.")


def show_statistics(answer: dict[str, Any]) -> None:
    """Show a row for each key, the busiest first, and what they came to together."""
    table = _table("name", *_COUNTED, "last used")
    for key in sorted(answer["keys"], key=lambda key: -int(key["requests"])):
        table.add_row(key["name"], *_counts(key), _time(key["lastUsedAt"]))
    table.add_section()
    table.add_row("total", *_counts(answer["totals"]), "")
    console().print(table)


def show_days(answer: dict[str, Any]) -> None:
    """Show a row for each day of the one key in the answer, and what they came to together."""
    (key,) = answer["keys"]
    table = _table("day (UTC)", *_COUNTED)
    for day in key["byDay"]:
        table.add_row(day["date"], *_counts(day))
    table.add_section()
    table.add_row("total", *_counts(key))
    console().print(table)
    typer.echo(f"{key['name']} was last used: {_time(key['lastUsedAt'], ' UTC')}")


_COUNTED = ("requests", "errors", "prompt tokens", "answer tokens")


def _table(*names: str) -> Table:
    table = Table()
    for name in names:
        # A name that is cut short with dots could not be copied.
        table.add_column(name, justify="right" if name in _COUNTED else "left", overflow="fold")
    return table


def _counts(row: dict[str, Any]) -> tuple[str, str, str, str]:
    tokens = row["tokens"]
    return f"{row['requests']:,}", f"{row['errors']:,}", f"{tokens['prompt']:,}", f"{tokens['completion']:,}"


def _permissions(key: dict[str, Any]) -> str:
    return ", ".join(name for name, given in key["permissions"].items() if given) or "none"


def _limits(key: dict[str, Any]) -> str:
    told = [text.format(key[field]) for field, text in _LIMITS.items() if key[field] is not None]
    if key["budget"] is not None:
        told.append("{amount} {currency} / {period}".format(**key["budget"]))
    told += [
        f"only {', '.join(key[field])}" for field in ("allowedProjects", "allowedModels") if key[field] is not None
    ]
    return "\n".join(told)


def _time(text: str | None, zone: str = "") -> str:
    """Return a time of an answer as people read it."""
    if text is None:
        return "never"
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M") + zone
