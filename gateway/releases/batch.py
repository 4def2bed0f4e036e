"""Reading the list that a launcher sends: itself, and what it has installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.errors import InvalidRequest
from gateway.field_rules import Rule, Schema, Wrong, object_schema, optional, refuse_if_wrong, takes, text, try_fields
from gateway.releases.decision import Client
from gateway.releases.model import STABLE, Architecture, Platform
from gateway.releases.targets import UnknownTarget, architecture_of_client, platform_of_client
from gateway.releases.versions import VERSION_SCHEMA, InvalidVersion, VersionKey, parse_query_version

MAX_ITEMS = 100
VERSION_RULE = "must be a version such as 1.2.3 (https://semver.org)"
_MAX_TEXT = 300


class Launcher(NamedTuple):
    """The launcher that asks, and the machine that it runs on."""

    version: VersionKey
    channel: str
    platform: Platform | None
    architecture: Architecture | None
    os_version: str | None
    staging_id: str | None

    def client(self, current: VersionKey) -> Client:
        """Return the client of one product that is installed there."""
        return Client(self.platform, self.architecture, current, self.os_version, self.version, self.staging_id)


def version_of(name: str, value: str) -> VersionKey:
    """Read a version that a client sent in the field `name`. Raises `InvalidRequest`."""
    try:
        return parse_query_version(value)
    except InvalidVersion as exc:
        raise InvalidRequest(f"{name}: {VERSION_RULE}", errors=[(name, VERSION_RULE)]) from exc


class Installed(NamedTuple):
    """One product of the list, as far as it can be read, and what is wrong with the rest."""

    project_id: str
    version: str
    channel: str | None
    errors: list[tuple[str, str]]


def read_batch(fields: Mapping[str, Any]) -> tuple[Launcher, list[Installed]]:
    """Return the launcher and its list of products.

    What is wrong with one product is for its own answer to say. Raises `InvalidRequest` for all else.
    """
    found, errors = try_fields(fields, _BATCH, required=_BATCH_REQUIRED)
    client, wrong = try_fields(found.get("client", {}), _CLIENT, required=_CLIENT_REQUIRED, prefix="client.")
    errors += wrong if "client" in found else []
    installed = []
    for number, item in enumerate(found.get("installed", [])):
        name = f"installed[{number}]"
        if not isinstance(item, dict):
            installed.append(Installed("", "", None, [(name, "must be an object")]))
            continue
        values, wrong = try_fields(item, _ITEM, required=_ITEM_REQUIRED, prefix=f"{name}.")
        texts = values.get("project_id", ""), values.get("version", ""), values.get("channel")
        installed.append(Installed(*texts, wrong))
    refuse_if_wrong(errors)
    launcher = Launcher(
        client["launcher_version"],
        client.get("launcher_channel") or STABLE,
        client["os"],
        client["architecture"],
        client.get("os_version"),
        client.get("client_id"),
    )
    return launcher, installed


def batch_schema() -> Schema:
    """Return the JSON Schema of what `read_batch` takes."""
    return object_schema(_BATCH, _BATCH_REQUIRED)


@takes(**VERSION_SCHEMA)
def _version(value: Any) -> VersionKey:
    try:
        return parse_query_version(value)
    except (InvalidVersion, AttributeError, TypeError) as exc:
        raise Wrong(VERSION_RULE) from exc


@takes(type="string", examples=list(Platform))
def _platform(value: Any) -> Platform | None:
    try:
        return platform_of_client(value)
    except (UnknownTarget, AttributeError, TypeError) as exc:
        raise Wrong(f"must be one of {', '.join(Platform)}") from exc


@takes(type="string", examples=list(Architecture))
def _architecture(value: Any) -> Architecture | None:
    try:
        return architecture_of_client(value)
    except (UnknownTarget, AttributeError, TypeError) as exc:
        raise Wrong(f"must be one of {', '.join(Architecture)}") from exc


_CLIENT: dict[str, Rule] = {
    "launcher_version": _version,
    "launcher_channel": optional(text(_MAX_TEXT)),
    "os": _platform,
    "os_version": optional(text(_MAX_TEXT)),
    "architecture": _architecture,
    "client_id": optional(text(_MAX_TEXT)),
}
_ITEM: dict[str, Rule] = {
    "project_id": text(_MAX_TEXT),
    "version": text(_MAX_TEXT),
    "channel": optional(text(_MAX_TEXT)),
}
_CLIENT_REQUIRED = ("launcher_version", "os", "architecture")
_ITEM_REQUIRED = ("project_id", "version")
_BATCH_REQUIRED = ("client", "installed")


@takes(**object_schema(_CLIENT, _CLIENT_REQUIRED))
def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("must be an object")
    return value


@takes(type="array", maxItems=MAX_ITEMS, items=object_schema(_ITEM, _ITEM_REQUIRED))
def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise Wrong(f"must be a list of at most {MAX_ITEMS} objects")
    return value


_BATCH: dict[str, Rule] = {"client": _object, "installed": _list}
