"""Reading what publishers send about projects, channels, versions and builds: every field by its rule."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from gateway.errors import InvalidRequest
from gateway.field_rules import (
    Rule,
    Schema,
    Wrong,
    count,
    flag,
    object_schema,
    optional,
    read_fields,
    refuse_if_wrong,
    schema_of,
    takes,
    text,
    try_fields,
)
from gateway.releases.asset_files import MAX_FILE_NAME, is_file_name
from gateway.releases.model import Architecture, Build, Channel, Platform, Verification, Version
from gateway.releases.sources import source_schema, try_source
from gateway.releases.versions import VERSION_SCHEMA, InvalidVersion, parse_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Kind = TypeVar("Kind", bound=StrEnum)

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
ID_RULE = "must be 1 to 64 of a-z, 0-9, '.', '_' and '-', and begin with a letter or a digit"
MAX_BUILDS = 100
MAX_CHANNELS = 20
_MAX_TEXT = 1_000
_MAX_NOTES = 200_000
_MAX_BYTES = 2**50
_ED25519_BYTES = 64
_LATEST_MS = 253_402_300_800_000
_HEX_CHARS = {"sha256": 64, "md5": 32, "sha512": 128, "sha1": 40}
# What may stand in a Location header as it is.
_ADDRESS = re.compile(r"[!-~]+", re.ASCII)
_OS_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}", re.ASCII)


@takes(type="string", pattern=f"^{ID.pattern}$")
def identifier(value: Any) -> str:
    """Take the id of a project, channel or build."""
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise Wrong(ID_RULE)
    return value


@takes(**VERSION_SCHEMA)
def version_id(value: Any) -> str:
    """Take a SemVer 2.0 version; a leading v is dropped."""
    if not isinstance(value, str):
        raise Wrong("must be a version such as 1.2.3 (https://semver.org)")
    try:
        return str(parse_version(value))
    except InvalidVersion as exc:
        raise Wrong("must be a version such as 1.2.3 (https://semver.org)") from exc


def _one_of(kinds: type[Kind]) -> Rule:
    names = ", ".join(kinds)

    @takes(type="string", enum=list(kinds))
    def rule(value: Any) -> Kind:
        try:
            return kinds(value.lower())
        except (AttributeError, ValueError) as exc:
            raise Wrong(f"must be one of {names}") from exc

    return rule


def _address(value: Any) -> SplitResult:
    """Take an address without credentials; whether it may be fetched is checked when it is."""
    rule = "must be an address that begins with https://, percent-encoded, without a user or password in it"
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not _ADDRESS.fullmatch(value):
        raise Wrong(rule)
    try:
        parts = urlsplit(value)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError as exc:
        raise Wrong(rule) from exc
    if not is_whole or parts.scheme not in ("https", "http") or "@" in parts.netloc:
        raise Wrong(rule)
    return parts


@takes(type=["string", "null"], format="uri", maxLength=_MAX_TEXT, examples=["https://example.com/notes"])
def _homepage(value: Any) -> str:
    """Take an address that a browser opens, or nothing."""
    if value in (None, ""):
        return ""
    _address(value)
    return str(value)


def _download_url(networks: Sequence[Network]) -> Rule:
    """Return the rule of download addresses: https, or http where what is sent stays on this machine or in `networks`.

    For a name the latter is known only when a check looks it up, so any network will do here.
    """

    def is_near(host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host == "localhost" or bool(networks)
        return address.is_loopback or any(address in network for network in networks)

    @takes(type="string", format="uri", maxLength=_MAX_TEXT, examples=["https://cdn.example.com/notes-setup.exe"])
    def rule(value: Any) -> str:
        parts = _address(value)
        if parts.scheme == "http" and not is_near(parts.hostname or ""):
            raise Wrong("must begin with https://; plain http is for this machine and verification.allow_networks only")
        return str(value)

    return rule


def _hex(name: str) -> Rule:
    chars = _HEX_CHARS[name]

    @takes(type="string", pattern=f"^[0-9A-Fa-f]{{{chars}}}$", examples=["5e" * (chars // 2)])
    def rule(value: Any) -> str:
        lower = value.lower() if isinstance(value, str) else ""
        if len(lower) != chars or set(lower) - set("0123456789abcdef"):
            raise Wrong(f"must be {chars} hexadecimal digits")
        return str(lower)

    return rule


_CHECKSUM_RULES: dict[str, Rule] = {
    "sha256": _hex("sha256"),
    **{name: optional(_hex(name)) for name in ("md5", "sha1", "sha512")},
}


@takes(**object_schema(_CHECKSUM_RULES, ("sha256",)))
def _checksum(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Wrong("must be an object with sha256 and, if known, md5, sha1 and sha512")
    found, errors = try_fields(value, _CHECKSUM_RULES, required=("sha256",))
    if errors:
        raise Wrong(f"{errors[0][0]} {errors[0][1]}")
    return found


@takes(type="string", contentEncoding="base64", pattern="^[A-Za-z0-9+/]{86}==$", examples=["A" * 86 + "=="])
def _ed_signature(value: Any) -> str:
    """Take an Ed25519 signature (RFC 8032) as Sparkle's `sign_update` prints it."""
    try:
        signature = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        signature = b""
    if len(signature) != _ED25519_BYTES:
        raise Wrong(f"must be the {_ED25519_BYTES} bytes of an Ed25519 signature in base64")
    return str(value)


@takes(type="string", minLength=1, maxLength=MAX_FILE_NAME, pattern=r"^[^\u0000-\u001f\u007f-\u00a0/\\:]+$")
def _file_name(value: Any) -> str:
    if not isinstance(value, str) or not is_file_name(value):
        raise Wrong(f"must be the name of a file: 1 to {MAX_FILE_NAME} printable characters, no slashes or colons")
    return value


@takes(type="number", minimum=0, maximum=100)
def _percent(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 100:
        raise Wrong("must be a number from 0 to 100")
    return float(value)


@takes(type="string", format="date-time", examples=["2026-02-05T14:30:00Z"])
def _moment(value: Any) -> int:
    """Take an ISO 8601 time with its zone; Unix milliseconds."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        found = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    except (TypeError, ValueError, OverflowError) as exc:
        raise Wrong("must be a time such as 2026-02-05T14:30:00Z") from exc
    if not 0 <= found < _LATEST_MS:
        raise Wrong("must be a time between 1970 and 9999")
    return found


@takes(type="string", pattern=f"^{_OS_VERSION.pattern}$", examples=["10.0.19045"])
def _os_version(value: Any) -> str:
    if not isinstance(value, str) or not _OS_VERSION.fullmatch(value):
        raise Wrong("must be up to four numbers with dots between them, such as 10.0.19045")
    return value


def _objects(most: int, rules: Mapping[str, Rule], required: tuple[str, ...]) -> Rule:
    """Return the rule of a list of objects; `rules` only tell what is in them, which is read by its own names."""

    @takes(type="array", maxItems=most, items=object_schema(rules, required))
    def rule(value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list) or len(value) > most or not all(isinstance(item, dict) for item in value):
            raise Wrong(f"must be a list of at most {most} objects")
        return value

    return rule


@takes(type="array", maxItems=MAX_CHANNELS, items=schema_of(identifier))
def _ids(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_CHANNELS:
        raise Wrong(f"must be a list of at most {MAX_CHANNELS} channel ids")
    return tuple(dict.fromkeys(identifier(item) for item in value))


_CHANNEL_RULES: dict[str, Rule] = {
    "name": text(200),
    "description": text(_MAX_TEXT),
    "auto_update": flag,
    "includes": _ids,
}
_PROJECT_RULES: dict[str, Rule] = {
    "name": text(200),
    "description": text(_MAX_TEXT),
    "repository": text(200),
    "homepage": _homepage,
    "default_channel": identifier,
    "verification": _one_of(Verification),
    "public_updates": flag,
    "allow_rollback": flag,
    "arm64_runs_x64": flag,
}
_VERSION_RULES: dict[str, Rule] = {
    "name": text(200),
    "description": text(_MAX_TEXT),
    "release_notes": text(_MAX_NOTES, lines=True),
    "breaking_changes": optional(flag),
    "required": flag,
    "min_launcher_version": optional(version_id),
    "rollout_percent": _percent,
    "published_at": _moment,
}
_BUILD_RULES: dict[str, Rule] = {
    "id": identifier,
    "platform": _one_of(Platform),
    "architecture": _one_of(Architecture),
    "file_name": _file_name,
    "file_size": count(1, _MAX_BYTES),
    "download_url": _download_url(()),
    "checksum": _checksum,
    "signature": optional(text(_MAX_TEXT, lines=True)),
    "ed_signature": optional(_ed_signature),
    "min_os_version": optional(_os_version),
}
_BUILD_REQUIRED = ("platform", "architecture", "file_size", "download_url", "checksum")
_NEW_CHANNEL_RULES: dict[str, Rule] = {"id": identifier, **_CHANNEL_RULES}
_NEW_PROJECT_RULES: dict[str, Rule] = {
    "id": identifier,
    **_PROJECT_RULES,
    "channels": _objects(MAX_CHANNELS, _NEW_CHANNEL_RULES, ("id",)),
}
_NEW_VERSION_RULES: dict[str, Rule] = {
    "id": version_id,
    **_VERSION_RULES,
    "builds": _objects(MAX_BUILDS, _BUILD_RULES, _BUILD_REQUIRED),
}


def body_schemas() -> dict[str, Schema]:
    """Return the JSON Schemas of all bodies that are read here, by their names."""
    schemas = {
        "NewProject": object_schema(_NEW_PROJECT_RULES, ("id", "name")),
        "ProjectChanges": object_schema(_PROJECT_RULES),
        "NewChannel": object_schema(_NEW_CHANNEL_RULES, ("id",)),
        "ChannelChanges": object_schema(_CHANNEL_RULES),
        "NewVersion": object_schema(_NEW_VERSION_RULES, ("id",)),
        "VersionChanges": object_schema(_VERSION_RULES),
        "NewBuild": object_schema(_BUILD_RULES, _BUILD_REQUIRED),
    }
    for name in ("NewProject", "ProjectChanges"):
        schemas[name]["properties"]["github"] = source_schema()
    return schemas


def project_changes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be changed of a project. Raises `InvalidRequest`."""
    found, errors = _try_project(fields, _PROJECT_RULES, ())
    refuse_if_wrong(errors)
    return found


def new_project(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[Channel]]:
    """Return a new project's fields and its channels; without any, one named stable. Raises `InvalidRequest`."""
    found, errors = _try_project(fields, _NEW_PROJECT_RULES, ("id", "name"))
    channels = []
    for number, item in enumerate(found.pop("channels", [{"id": "stable", "name": "Stable", "auto_update": True}])):
        values, wrong = try_fields(item, _NEW_CHANNEL_RULES, required=("id",), prefix=f"channels[{number}].")
        errors += wrong
        if not wrong:
            channels.append(Channel(**{"name": values["id"].capitalize(), **values}))
    if len({channel.id for channel in channels}) < len(channels):
        errors.append(("channels", "must not have the same id twice"))
    refuse_if_wrong(errors)
    return found, channels


def _try_project(
    fields: Mapping[str, Any], rules: Mapping[str, Rule], required: tuple[str, ...]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    found, errors = try_fields(fields, {**rules, "github": lambda value: value}, required=required)
    if "github" in found:
        # What is inside is told by its own names.
        found["github"], wrong = try_source(found["github"])
        errors += wrong
    return found, errors


def channel_changes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be changed of a channel. Raises `InvalidRequest`."""
    return read_fields(fields, _CHANNEL_RULES)


def new_channel(fields: Mapping[str, Any]) -> Channel:
    """Return a new channel. Raises `InvalidRequest`."""
    found = read_fields(fields, _NEW_CHANNEL_RULES, required=("id",))
    return Channel(**{"name": found["id"].capitalize(), **found})


def version_changes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be changed of a version, by the names of `Version`. Raises `InvalidRequest`."""
    return _version_values(read_fields(fields, _VERSION_RULES))


def new_version(fields: Mapping[str, Any], now_ms: int, networks: Sequence[Network] = ()) -> Version:
    """Return a new version with its builds. Raises `InvalidRequest` with every mistake in any of them.

    Plain http may lead to `networks`.
    """
    found, errors = try_fields(fields, _NEW_VERSION_RULES, required=("id",))
    builds = []
    for number, item in enumerate(found.pop("builds", [])):
        build, wrong = _try_build(item, now_ms, networks, f"builds[{number}].")
        errors += wrong
        if build is not None:
            builds.append(build)
    if len({build.id for build in builds}) < len(builds):
        errors.append(("builds", "must not have the same id twice"))
    refuse_if_wrong(errors)
    values = {"name": f"v{found['id']}", "published_at": now_ms, **_version_values(found)}
    return Version(**values, builds=tuple(builds))


def new_build(fields: Mapping[str, Any], now_ms: int, networks: Sequence[Network] = ()) -> Build:
    """Return a new build, which waits to be verified. Plain http may lead to `networks`. Raises `InvalidRequest`."""
    build, errors = _try_build(fields, now_ms, networks, "")
    refuse_if_wrong(errors)
    if build is None:
        raise InvalidRequest("The build cannot be read")
    return build


def _try_build(
    fields: Mapping[str, Any], now_ms: int, networks: Sequence[Network], prefix: str
) -> tuple[Build | None, list[tuple[str, str]]]:
    rules = {**_BUILD_RULES, "download_url": _download_url(networks)}
    found, errors = try_fields(fields, rules, required=_BUILD_REQUIRED, prefix=prefix)
    if errors:
        return None, errors
    checksum = found.pop("checksum")
    file_name = urlsplit(found["download_url"]).path.rpartition("/")[2]
    if "file_name" not in found and not is_file_name(file_name):
        return None, [(prefix + "file_name", "is required, since the download address does not end in one")]
    names = {"id": f"{found['platform']}-{found['architecture']}", "file_name": file_name}
    return Build(**{**names, **found}, **checksum, created_at=now_ms), []


def _version_values(found: dict[str, Any]) -> dict[str, Any]:
    if "breaking_changes" in found:
        found["breaking"] = found.pop("breaking_changes")
    return found
