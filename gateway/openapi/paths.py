"""The parameters in paths, which mean the same wherever they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.errors import (
    BuildNotFound,
    ChannelNotFound,
    GatewayError,
    KeyNotFound,
    ProjectNotFound,
    UnknownModel,
    VersionNotFound,
)
from gateway.field_rules import schema_of
from gateway.releases.fields import identifier
from gateway.releases.model import Architecture, Platform
from gateway.releases.versions import VERSION_SCHEMA

if TYPE_CHECKING:
    from gateway.field_rules import Schema

_TEXT: Final = {"type": "string", "minLength": 1}
_ID: Final = schema_of(identifier)

# Description, schema, example.
_PARAMETERS: Final[dict[str, tuple[str, Schema, Any]]] = {
    "project": ("The id of the project.", _ID, "notes"),
    "channel": ("The id of the channel.", _ID, "stable"),
    "version": ("The version; a leading v is dropped.", VERSION_SCHEMA, "1.2.3"),
    "build": ("The id of the build.", _ID, "windows-x64"),
    "name": ("The name of the key.", _TEXT, "launcher"),
    "model": ("A model, which may hold slashes, also as `provider/model`.", _TEXT, "gpt-4"),
    "file": ("The update file that electron-updater asks for.", _TEXT, "latest.yml"),
    "target": ("The operating system, by any of its usual names.", _TEXT | {"examples": list(Platform)}, "windows"),
    "arch": ("The processor, by any of its usual names.", _TEXT | {"examples": list(Architecture)}, "x86_64"),
    "architecture": ("The processor, by any of its usual names.", _TEXT | {"examples": list(Architecture)}, "arm64"),
    "current_version": ("The version that is installed.", VERSION_SCHEMA, "1.2.2"),
    "processor": ("The processor, which only makes the address tell files apart.", _TEXT, "x64"),
    "file_name": ("The name of the file.", _TEXT, "notes-1.2.3-setup.exe"),
    "asset": ("A file of the page at `/docs`.", _TEXT, "page.css"),
    "velopack_channel": ("Velopack's own name of the platform.", _TEXT, "win"),
}
_MISSING: Final[dict[str, type[GatewayError]]] = {
    "project": ProjectNotFound,
    "channel": ChannelNotFound,
    "version": VersionNotFound,
    "build": BuildNotFound,
    "name": KeyNotFound,
    "model": UnknownModel,
}


def parameter(name: str) -> Schema:
    """Return the parameter of that name. Raises `LookupError` for one that nobody described."""
    if name not in _PARAMETERS:
        raise LookupError(f"Say in gateway/openapi/paths.py what the path parameter {{{name}}} is")
    description, schema, example = _PARAMETERS[name]
    found = {"name": name, "in": "path", "description": description, "required": True}
    return found | {"schema": schema, "example": example}


def not_found(names: list[str]) -> list[type[GatewayError]]:
    """Return the errors that say which of these is not there."""
    return [_MISSING[name] for name in names if name in _MISSING]
