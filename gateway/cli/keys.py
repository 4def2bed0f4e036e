"""`lunarbit keys`: API keys, administered without a server. Servers that run see a change within a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gateway.cli import key_tables
from gateway.cli.run import ConfigOption, JsonOption, opened, print_json, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.auth.principal import Principal
    from gateway.auth.service import KeyService, Origin
    from gateway.settings import Settings

T = TypeVar("T")

commands = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke, rotate, statistics.")
NameArgument = Annotated[str, typer.Argument(help="The name of the key.")]


@commands.command()
def create(  # noqa: PLR0913 - each argument is an option of the command.
    name: NameArgument,
    *,
    description: Annotated[str | None, typer.Option()] = None,
    permission: Annotated[list[str] | None, typer.Option(help="Such as canUseAI; repeatable.")] = None,
    rate_limit: Annotated[int | None, typer.Option(help="Requests per 15 minutes.")] = None,
    ai_rate_limit: Annotated[int | None, typer.Option(help="AI requests per hour.")] = None,
    expires_in: Annotated[str | None, typer.Option(metavar="90d", help="A number and m, h, d, w or y.")] = None,
    project: Annotated[list[str] | None, typer.Option(help="The only projects it may see; repeatable.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="The only models it may use; repeatable.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    max_tokens_per_request: Annotated[int | None, typer.Option(help="Tokens of one answer.")] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="Prompt and answer tokens per day (UTC).")] = None,
    max_parallel: Annotated[int | None, typer.Option(help="AI requests at once.")] = None,
    budget: Annotated[float | None, typer.Option(help="What it may cost.")] = None,
    budget_currency: Annotated[str | None, typer.Option(metavar="USD", help="As in the price list.")] = None,
    budget_period: Annotated[str, typer.Option(help="day, week, month or total.")] = "month",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a key and show its secret, this once."""
    given = {
        "name": name,
        "description": description,
        "permissions": dict.fromkeys(permission, True) if permission else None,
        "rateLimit": rate_limit,
        "aiRateLimit": ai_rate_limit,
        "expiresIn": expires_in,
        "allowedProjects": project or None,
        "allowedModels": model or None,
        "tags": tag or None,
        "maxTokensPerRequest": max_tokens_per_request,
        "tokensPerDay": tokens_per_day,
        "maxParallel": max_parallel,
        "budget": _budget(budget, budget_currency, budget_period),
    }
    fields = {field: value for field, value in given.items() if value is not None}

    async def act(service: KeyService) -> dict[str, Any]:
        return (await service.create(fields, *who_asks())).body

    _show(_administer(config, act), key_tables.show_secret, as_json=as_json)


@commands.command("list")
def list_keys(
    *,
    tag: Annotated[str | None, typer.Option(help="Only keys that have it.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List all keys, expired and revoked ones too, without their secrets."""
    from gateway.auth.service import MAX_PER_PAGE

    async def act(service: KeyService) -> dict[str, Any]:
        found = await service.page(tag, 1, MAX_PER_PAGE)
        page = 1
        while len(found["keys"]) < found["total"]:
            page += 1
            more = await service.page(tag, page, MAX_PER_PAGE)
            found["keys"] += more["keys"]
            found["total"] = more["total"] if more["keys"] else len(found["keys"])
        return found | {"per_page": max(MAX_PER_PAGE, found["total"])}

    _show(_administer(config, act), key_tables.show_keys, as_json=as_json)


@commands.command()
def revoke(
    name: NameArgument,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """End a key at once and for good; --json prints nothing, as the HTTP API answers nothing."""

    async def act(service: KeyService) -> None:
        await service.revoke(name, *who_asks())

    _administer(config, act)
    if not as_json:
        typer.echo(f"Revoked the key {name!r}. Gateways that run refuse it within a second.")


@commands.command()
def rotate(
    name: NameArgument,
    *,
    overlap: Annotated[str | None, typer.Option(metavar="24h", help="How long the old secret stays valid.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Give a key a new secret and show it, this once; the old one stays valid for a day, or as long as is said."""
    fields = {} if overlap is None else {"overlap": overlap}

    async def act(service: KeyService) -> dict[str, Any]:
        return await service.rotate(name, fields, *who_asks())

    _show(_administer(config, act), key_tables.show_secret, as_json=as_json)


@commands.command()
def stats(
    name: Annotated[str | None, typer.Argument(help="Only this key, with its days.")] = None,
    *,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what every key did, or one key on each day (UTC)."""
    from gateway.errors import KeyNotFound

    async def act(service: KeyService) -> dict[str, Any]:
        found = await service.stats()
        if name is None:
            return found
        keys = [key for key in found["keys"] if key["name"] == name]
        if not keys:
            raise KeyNotFound(f"There is no key named {name!r}")
        return {"keys": keys, "totals": {field: keys[0][field] for field in found["totals"]}}

    _show(
        _administer(config, act), key_tables.show_statistics if name is None else key_tables.show_days, as_json=as_json
    )


def _administer(config: Path | None, act: Callable[[KeyService], Awaitable[T]]) -> T:
    async def work(settings: Settings) -> T:
        async with opened(settings) as stores:
            # Other processes hear of a change from the database, and this one does not outlive it.
            return await act(stores.key_service(on_change=lambda _: None))

    return run(config, work)


def _show(answer: dict[str, Any], table: Callable[[dict[str, Any]], None], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        table(answer)


def _budget(amount: float | None, currency: str | None, period: str) -> dict[str, Any] | None:
    if amount is None:
        if currency is not None:
            raise typer.BadParameter("needs --budget", param_hint="--budget-currency")
        return None
    if currency is None:
        raise typer.BadParameter("needs --budget-currency", param_hint="--budget")
    return {"amount": amount, "currency": currency, "period": period}


def who_asks() -> tuple[Principal, Origin]:
    """Return the caller, who may do everything, since whoever can write to the database can anyway."""
    from gateway.auth.principal import Permission, Principal
    from gateway.auth.service import Origin
    from gateway.context import new_request_id

    caller = Principal("command-line", f"command-line ({_os_user()})", frozenset(Permission), is_root=True)
    return caller, Origin("local", new_request_id())


def _os_user() -> str:
    """Return the name of the user that this process runs as, which no variable of the environment can change."""
    import getpass
    import os

    try:
        import pwd

        name = pwd.getpwuid(os.getuid()).pw_name
    except ImportError:
        name = getpass.getuser()
    except KeyError:
        name = str(os.getuid())
    return "".join(char if char.isprintable() else "?" for char in name)
